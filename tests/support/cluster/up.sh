# Starts the cluster, or what of it does not run, and waits until it serves. Sourced by tests/cluster.
# shellcheck shell=bash

up() { # wanted number of nodes
  local wanted=$1 i
  need_root
  ((${#STATE} <= 60)) || fail "PGRUNBOOK_TEST_STATE is too long for unix sockets: $STATE"
  build
  images
  lock_instance
  tidy
  ((wanted > $(nodes))) || wanted=$(nodes)
  prepare
  echo "$wanted" >"$STATE/nodes"
  keep_machine
  for ((i = 1; i <= wanted; i++)); do network "$i"; done
  control_plane
  start kube-controller-manager "$BIN/kube-controller-manager" --kubeconfig="$STATE/admin.kubeconfig" \
    --leader-elect=false --bind-address=127.0.0.1 --use-service-account-credentials \
    --service-account-private-key-file="$STATE/pki/sa.key" --root-ca-file="$STATE/pki/ca.crt" \
    --cluster-signing-cert-file="$STATE/pki/ca.crt" --cluster-signing-key-file="$STATE/pki/ca.key" \
    --pvclaimbinder-sync-period=1s --node-monitor-period=1s --node-monitor-grace-period=8s # a silent node is NotReady after 8 s, not 50
  start kube-scheduler "$BIN/kube-scheduler" --kubeconfig="$STATE/admin.kubeconfig" --leader-elect=false --bind-address=127.0.0.1
  names
  for ((i = 1; i <= wanted; i++)); do node "$i"; done
  netpol_start
  for ((i = 1; i <= wanted; i++)); do try 60 kubectl wait --for=condition=Ready "node/node$i" --timeout=2s; done
  try 30 on_node 1 curl -fs "http://$ADDRESS:8181/ready"
  try 30 kubectl get serviceaccount default
  unlock_instance
}

apiserver_up() { # etcd and kube-apiserver only
  need_root
  build
  lock_instance
  tidy
  prepare
  network 1
  control_plane
  unlock_instance
  kubeconfig
}

lock_instance() { mkdir -p "$CACHE/locks" && exec 8>"$CACHE/locks/$NAME" && flock 8; }
unlock_instance() { exec 8>&-; }

# What an unclean end left: after a restart of the machine nothing of the old cluster
# runs, and processes whose state directory is gone cannot be topped up.
tidy() {
  if [ -d "$STATE/pki" ] && [ -e "/run/netns/$NAME.1" ]; then return; fi
  if [ -d "$STATE/pki" ] || [ -e "/run/netns/$NAME.1" ]; then
    echo "clearing what is left of an earlier $NAME" >&2
    sweep
    clear_state --keep-images
  fi
}

prepare() {
  mkdir -p "$STATE"/{pki,log,pid,run,etcd,kubeconfig}
  chmod 755 "$STATE"
  if [ ! -f "$STATE/pki/ready" ]; then
    certificate_authority
    certificate apiserver /CN=kube-apiserver "DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:$ADDRESS,IP:10.96.0.1"
    certificate admin /O=system:masters/CN=admin
    touch "$STATE/pki/ready"
  fi
  write_kubeconfig admin "$STATE/admin.kubeconfig"
}

# The kubelet sets these for the whole machine, and makes a directory whose place is fixed; the
# last instance to end puts things back.
keep_machine() {
  # Pods on one bridge must pass iptables; the kernel may have this built in.
  [ -d /proc/sys/net/bridge ] || modprobe br_netfilter || fail "the kernel has no br_netfilter"
  grep -qw overlay /proc/filesystems || modprobe overlay || fail "the kernel has no overlay file system"
  mkdir -p "$SHARED/users"
  if [ ! -f "$SHARED/sysctl" ]; then
    sysctl vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops \
      kernel.keys.root_maxkeys kernel.keys.root_maxbytes 2>/dev/null | tr -d ' ' >"$SHARED/sysctl"
    [ -e /var/lib/kubelet ] || touch "$SHARED/no-kubelet"
  fi
  touch "$SHARED/users/$NAME"
}

# The bridge has a namespace without iptables rules, so no node's rules see the others' frames.
network() { # node
  local other
  if [ ! -e "/run/netns/$NAME.net" ]; then
    ip netns add "$NAME.net"
    on_node net ip link add br0 up type bridge
  fi
  [ ! -e "/run/netns/$NAME.$1" ] || return 0
  ip netns add "$NAME.$1"
  on_node net ip link add "n$1" up master br0 type veth peer name node0 netns "$NAME.$1"
  on_node "$1" ip link set lo up
  on_node "$1" ip address add "10.99.0.$1/24" dev node0
  on_node "$1" ip link set node0 up
  on_node "$1" ip route add default via "10.99.0.$1" # leads nowhere, but Service addresses need a route
  on_node "$1" sysctl -qw net.ipv4.ip_forward=1
  for ((other = 1; other < $1; other++)); do
    on_node "$1" ip route add "10.244.$other.0/24" via "10.99.0.$other"
    on_node "$other" ip route add "10.244.$1.0/24" via "10.99.0.$1"
  done
}

# Who asked what with which verb, of every ServiceAccount but Kubernetes' own. No bodies: they hold Secrets.
audit_policy() {
  cat <<YAML
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, userGroups: ["system:serviceaccounts:kube-system"]}
- {level: Metadata, userGroups: ["system:serviceaccounts"]}
# Once these have gone a ServiceAccount that still works is refused.
- {level: Metadata, verbs: [create, delete, deletecollection, patch], resources: [{group: rbac.authorization.k8s.io, resources: [roles, rolebindings]}]}
- {level: None}
YAML
}

control_plane() {
  local pki=$STATE/pki
  audit_policy >"$STATE/audit-policy.yaml"
  start etcd "$BIN/etcd" --data-dir "$STATE/etcd" --unsafe-no-fsync --listen-peer-urls http://127.0.0.1:2380 \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
  # InternalIP, or exec and logs would look up the node's name.
  # shellcheck disable=SC2086
  start kube-apiserver "$BIN/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 --advertise-address=$ADDRESS --secure-port=6443 \
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt" \
    --kubelet-client-certificate="$pki/admin.crt" --kubelet-client-key="$pki/admin.key" --kubelet-preferred-address-types=InternalIP \
    --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
    --service-account-issuer=https://kubernetes.default.svc --service-cluster-ip-range=10.96.0.0/16 \
    --audit-policy-file="$STATE/audit-policy.yaml" --audit-log-path="$STATE/log/audit.log" --audit-log-maxsize=2000 \
    --authorization-mode=Node,RBAC --allow-privileged=true --enable-admission-plugins=NodeRestriction \
    ${APISERVER_FLAGS:-} ${PGRUNBOOK_APISERVER_FLAGS:-}
  try 60 kubectl get --raw /readyz
}

# CoreDNS is a process on node 1 whose address the kubelets give to pods: no image, no waiting order.
names() {
  cat >"$STATE/Corefile" <<CONF
. {
  bind $ADDRESS
  errors
  ready $ADDRESS:8181
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $STATE/admin.kubeconfig
    ttl 1
  }
}
CONF
  start coredns "$BIN/coredns" -conf "$STATE/Corefile"
}

node() { # number: containerd, kube-proxy and kubelet
  local n=$1 dir=$STATE/n$1 plugin
  mkdir -p "$dir"/{run,cni/bin,cni/net,log}
  cgroups "$NAME.$n"
  [ -f "$STATE/pki/node$n.crt" ] || certificate "node$n" "/O=system:nodes/CN=system:node:node$n" "DNS:node$n,IP:10.99.0.$n"
  write_kubeconfig "node$n" "$dir/kubelet.kubeconfig"
  for plugin in bridge host-local loopback portmap; do ln -sfn "/usr/lib/cni/$plugin" "$dir/cni/bin/$plugin"; done
  ln -sfn "$HERE/cni-network-policy" "$dir/cni/bin/network-policy"
  # No ipMasq: a pod's address is the same seen from another node.
  cat >"$dir/cni/net/10-pods.conflist" <<CONF
{"cniVersion": "1.0.0", "name": "$NAME.$n", "plugins": [
 {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": "$dir/cni/ipam", "ranges": [[{"subnet": "10.244.$n.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}},
 {"type": "network-policy", "socket": "$STATE/run/netpol.sock"}]}
CONF
  # restrict_oom_score_adj: without CAP_SYS_RESOURCE no pod would start.
  cat >"$dir/containerd.toml" <<CONF
version = 2
root = "$dir/containerd"
state = "$dir/run/containerd"
[grpc]
  address = "$dir/run/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$dir/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$LIBRARY/pause:local"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "$dir/run/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$dir/cni/bin"
    conf_dir = "$dir/cni/net"
CONF
  # The lease is renewed every quarter of its duration: every 2 s, for the short grace period.
  cat >"$dir/kubelet.yaml" <<CONF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $STATE/pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: /$NAME.$n
clusterDNS: [$ADDRESS]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix://$dir/run/containerd.sock
podLogsDir: $dir/log/pods
failSwapOn: false
evictionHard: {memory.available: 100Mi}
enforceNodeAllocatable: []
nodeLeaseDurationSeconds: 8
imageGCHighThresholdPercent: 100
resolvConf: ""
tlsCertFile: $STATE/pki/node$n.crt
tlsPrivateKeyFile: $STATE/pki/node$n.key
volumePluginDir: $dir/kubelet/plugins
CONF
  start "containerd@$n" containerd --config "$dir/containerd.toml"
  start "kube-proxy@$n" "$BIN/kube-proxy" --kubeconfig="$STATE/admin.kubeconfig" --hostname-override="node$n" \
    --cluster-cidr=10.244.0.0/16 --proxy-mode=iptables --conntrack-max-per-core=0
  try 20 node_ctr "$n" version
  if [ ! "$dir/containerd/imported" -nt "$NODE_IMAGES" ]; then
    node_ctr "$n" images import "$NODE_IMAGES" >/dev/null
    touch "$dir/containerd/imported"
  fi
  start "kubelet@$n" "$BIN/kubelet" --config="$dir/kubelet.yaml" --kubeconfig="$dir/kubelet.kubeconfig" \
    --hostname-override="node$n" --node-ip="10.99.0.$n" --root-dir="$dir/kubelet"
}

# A cgroup of its own in every hierarchy, so that two kubelets never delete each other's pods.
cgroups() { # name
  local d controller
  if [ -f /sys/fs/cgroup/cgroup.subtree_control ]; then
    for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
      echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control || true
    done 2>/dev/null
  fi
  for d in /sys/fs/cgroup /sys/fs/cgroup/*; do [ ! -f "$d/cgroup.procs" ] || mkdir -p "$d/$1"; done
}

netpol_start() {
  start netpol "$BIN/network-policy" "$STATE/admin.kubeconfig" "$STATE/run/netpol.sock" "$ADDRESS" "/run/netns/$NAME.[0-9]*"
  try 20 curl -s -o /dev/null --unix-socket "$STATE/run/netpol.sock" http://netpol/
}
netpol_stop() {
  local i
  stop netpol
  rm -f "$STATE/run/netpol.sock"
  for ((i = 1; i <= $(nodes); i++)); do
    on_node "$i" iptables-restore --wait --noflush <<<$'*mangle\n-F INPUT\n-F FORWARD\nCOMMIT'
  done
}
