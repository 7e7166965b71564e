# "tests/cluster check": proves the cluster with an instance of its own, in about a minute.
# Prints one line per check; the exit status is 0 if all held. Sourced by tests/cluster.
# shellcheck shell=bash

check() {
  local before
  need_root
  export PGRUNBOOK_CLUSTER_NAME=$NAME-check PGRUNBOOK_TEST_STATE=$STATE-check
  CHECK_FAILED=0 CHECK_COUNT=0
  "$0" down
  before=$(leftovers)
  ok "node Ready" "$0" up
  checks
  ok "down leaves nothing" check_down "$before"
  echo "$((CHECK_COUNT - CHECK_FAILED)) passed, $CHECK_FAILED failed"
  [ "$CHECK_FAILED" = 0 ]
}

# What an instance may leave on the machine: one line each.
leftovers() {
  local path=$PGRUNBOOK_TEST_STATE name=$PGRUNBOOK_CLUSTER_NAME
  { pgrep -fa -- "$path/" || true; } | grep -v ' check$' || true
  grep -F " $path/" /proc/self/mounts || true
  find /run/netns /run/containerd /var/lib/cni /var/log/containers /sys/fs/cgroup "$SHARED" -maxdepth 2 2>/dev/null | grep -F -- "$name" || true
  ls -d "$path" 2>/dev/null || true
  sysctl vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops
}
check_down() { # what there was before
  local after
  "$0" down || return
  after=$(leftovers)
  [ "$after" = "$1" ] || { diff <(echo "$1") <(echo "$after"); return 1; }
}

ok() { # text command...
  local text=$1 out
  shift
  CHECK_COUNT=$((CHECK_COUNT + 1))
  if out=$("$@" 2>&1 </dev/null); then
    printf '%4ds ok   %s\n' "$SECONDS" "$text"
  else
    printf '%4ds FAIL %s\n%s\n' "$SECONDS" "$text" "$(tail -n 15 <<<"$out" | sed 's/^/           /')"
    CHECK_FAILED=$((CHECK_FAILED + 1))
  fi
}
not() { ! "$@"; }
says() { local want=$1 out; shift; out=$("$@" 2>&1); grep -q -- "$want" <<<"$out" || { echo "$out"; return 1; }; }
kn() { "$0" kubectl -n check "$@"; }
# A pod that PodSecurity restricted admits.
pod() { # name image script [volume claim]
  local volumes='' mounts=''
  if [ -n "${4:-}" ]; then
    volumes="volumes: [{name: data, persistentVolumeClaim: {claimName: $4}}]" mounts='volumeMounts: [{name: data, mountPath: /var/lib/pgsql/data}]'
  fi
  cat <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $1, labels: {name: $1}}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, runAsUser: 1000230000, fsGroup: 1000230000, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: c
    image: $2
    imagePullPolicy: IfNotPresent
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    command: [bash, -c, '$3']
    ports: [{name: greet, containerPort: 8000}]
    env: [{name: POSTGRESQL_USER, value: app}, {name: POSTGRESQL_PASSWORD, value: secret}, {name: POSTGRESQL_DATABASE, value: app}]
    $mounts
  $volumes
---
YAML
}
greeter='perl -MIO::Socket::INET -e "\$s = IO::Socket::INET->new(LocalPort => 8000, Listen => 5, ReuseAddr => 1); while (\$c = \$s->accept) { print \$c \$ENV{HOSTNAME}; close \$c }"'
service() { echo "{apiVersion: v1, kind: Service, metadata: {name: greet}, spec: {selector: {name: $1}, ports: [{port: 80, targetPort: greet}]}}"; }
greeting() { # host port: what the pod "client" is answered
  kn exec client -- timeout 2 bash -c "cat </dev/tcp/$1/$2"
}
pod_address() { kn get pod "$1" -o 'jsonpath={.status.podIP}'; }
sql() { # psql options...
  kn exec database -- env PGPASSWORD="$PASSWORD" psql -XAtc 'select 1' -U app -d app "$@"
}

checks() {
  local PASSWORD=secret image
  kn apply -f - >/dev/null <<<'{apiVersion: v1, kind: Namespace, metadata: {name: check, labels: {pod-security.kubernetes.io/enforce: restricted}}}'
  ok "PodSecurity restricted refuses a root pod" says 'violates PodSecurity' kn run root --image=sclorg:15
  { pod client postgres:15 'sleep infinity'; pod one postgres:15 "$greeter"; pod two postgres:15 "$greeter"; service one; } | kn apply -f - >/dev/null
  "$0" volume create check data RWO 1Gi >/dev/null
  pod database sclorg:15 'exec run-postgresql' data | kn apply -f - >/dev/null
  ok "restricted pods start" kn wait --for=condition=Ready pod --all --timeout=60s
  ok "a name resolves" kn exec client -- getent hosts greet.check.svc.cluster.local
  ok "a Service reaches its pod" try 10 says '^one$' greeting greet 80
  kn patch service greet -p '{"spec":{"selector":{"name":"two"}}}' >/dev/null
  ok "its selector is switched" try 10 says '^two$' greeting greet 80

  kn apply -f - >/dev/null <<<'{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: deny}, spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}'
  ok "default deny holds" try 5 not greeting "$(pod_address two)" 8000
  pod early postgres:15 "cat </dev/tcp/$(pod_address two)/8000 || true; sleep infinity" | kn apply -f - >/dev/null
  kn wait --for=condition=Ready pod/early --timeout=30s >/dev/null
  kn apply -f - >/dev/null <<<'{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: allow-in}, spec: {podSelector: {matchLabels: {name: two}},
    policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {name: client}}}], ports: [{port: greet}]}]}}'
  kn apply -f - >/dev/null <<<"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: allow-out}, spec: {podSelector: {matchLabels: {name: client}},
    policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.244.0.0/16, except: [$(pod_address one)/32]}}]}, {ports: [{port: 53, protocol: UDP}]}]}}"
  ok "policies admit the named peer and port, and names" try 5 says '^two$' greeting greet 80
  ok "and no other address" not greeting "$(pod_address one)" 8000
  ok "a new pod is covered from its first packet on" says '^$' kn logs early
  ok "netpol stop lifts them" eval '"$0" netpol stop; try 5 says "^one$" greeting "$(pod_address one)" 8000; "$0" netpol start; try 5 not greeting "$(pod_address one)" 8000'

  ok "sclorg:15 starts under an uid without a name" try 30 says '^1000230000$' kn exec database -- bash -c 'pg_isready -qh 127.0.0.1 && id -u'
  ok "its volume has the pod's fsGroup" says '^1000230000$' kn exec database -- stat -c %g /var/lib/pgsql/data
  ok "it accepts the password over TCP" sql -h 127.0.0.1
  PASSWORD=wrong
  ok "it refuses another" says 'password authentication failed' sql -h 127.0.0.1
  ok "it trusts its own socket" sql -U postgres

  kn apply -f - >/dev/null <<<'{apiVersion: v1, kind: ResourceQuota, metadata: {name: none}, spec: {hard: {pods: "0"}}}'
  ok "ResourceQuota refuses" try 5 says 'exceeded quota' eval 'pod late postgres:15 true | kn apply --dry-run=server -f -'
  kn delete quota none >/dev/null

  ok "helm is there" says '^v3' "$0" helm version --short
  ok "a user's kubeconfig has the user's rights only" says 'cannot list resource' "$0" kubectl --kubeconfig "$("$0" kubeconfig --user someone --group some)" get pods -A
  image=$(mktemp -d)
  printf 'ARG BASE\nFROM $BASE\nRUN id >/id\nCOPY Dockerfile /\n' >"$image/Dockerfile"
  ok "an image is built offline and loaded" eval '"$0" build-image check:1 '"$image $image/Dockerfile"' && "$0" load-image check:1 && pod built check:1 "cat /id; sleep infinity" | kn apply -f - && kn wait --for=condition=Ready pod/built --timeout=30s'
  rm -rf "$image"
  kill -KILL "$("$0" pid kube-apiserver)" "$("$0" pid kubelet@1)"
  ok "up brings back what was killed" "$0" up
}
