# Ends exactly what this instance started, and leaves nothing of it. Sourced by tests/cluster.
# shellcheck shell=bash

down() { # [--keep-images]
  local f i n
  need_root
  lock_instance
  if [ -d "$STATE/pid" ]; then
    # The kubelets first, or they restart what is stopped; then pods, through the container runtime.
    for f in "$STATE"/pid/kubelet*; do [ ! -f "$f" ] || stop "${f##*/}"; done
    n=$(nodes)
    for ((i = 1; i <= n; i++)); do
      if [ -e "/run/netns/$NAME.$i" ] && [ -f "$STATE/n$i/containerd.toml" ]; then
        ! f=$(pid_of "containerd@$i") || kill -CONT "$f"
        start "containerd@$i" containerd --config "$STATE/n$i/containerd.toml"
        ! try 20 node_ctr "$i" version || "$BIN/remove-pods" "unix://$STATE/n$i/run/containerd.sock" || true
      fi
      stop "containerd@$i" 10
    done
  fi
  sweep
  clear_state "$@"
  unlock_instance
}

# Whatever is still there, after an unclean end too: this instance's processes are those whose pids
# it noted and those in its network namespaces and cgroups.
sweep() {
  local ns d f id pid identity pods=() found=()
  for f in "$STATE"/pid/*; do [ ! -f "$f" ] || stop "${f##*/}" 1; done
  for ns in /run/netns/"$NAME".{net,[0-9]*}; do
    [ -e "$ns" ] || continue
    mapfile -t -O ${#pods[@]} pods < <(nsenter --net="$ns" ip link show 2>/dev/null | grep -o 'link-netns cni-[0-9a-f-]*' | cut -d' ' -f2)
    mapfile -t -O ${#found[@]} found < <(ip netns pids "${ns##*/}" 2>/dev/null)
  done
  for d in /sys/fs/cgroup/"$NAME".[0-9]* /sys/fs/cgroup/*/"$NAME".[0-9]*; do
    [ ! -d "$d" ] || mapfile -t -O ${#found[@]} found < <(find "$d" -name cgroup.procs -exec cat {} + 2>/dev/null)
  done
  for pid in $(printf '%s\n' "${found[@]}" | sort -un); do
    if [ "$pid" != 0 ] && [ "$pid" != $$ ] && identity=$(started "$pid"); then end "$pid" "$identity" 1; fi
  done
  for f in "$STATE"/n*/run/containerd/io.containerd.runtime.v2.task/k8s.io/*/address; do
    [ ! -f "$f" ] || rm -f "$(sed 's#^unix://##' "$f")"
  done
  for _ in 1 2 3; do
    awk -v d="$STATE/" 'index($2, d) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r f; do
      umount "$f" 2>/dev/null || umount -l "$f" 2>/dev/null || true
    done
  done
  for ns in "${pods[@]}"; do [ ! -e "/run/netns/$ns" ] || ip netns delete "$ns" || true; done
  for ns in /run/netns/"$NAME".{net,[0-9]*}; do [ ! -e "$ns" ] || ip netns delete "${ns##*/}"; done
  for d in /sys/fs/cgroup/"$NAME".[0-9]* /sys/fs/cgroup/*/"$NAME".[0-9]*; do
    [ ! -d "$d" ] || try 5 find "$d" -depth -type d -exec rmdir {} +
  done
  for f in /var/lib/cni/results/"$NAME".[0-9]*-eth0; do # both of the pod's interfaces
    [ ! -f "$f" ] || { id=${f%-eth0}; rm -f "$f" /var/lib/cni/results/*-"${id##*-}"-lo; }
  done
  [ ! -d /var/log/containers ] || find /var/log/containers -lname "$STATE/*" -delete
  rm -f "$SHARED/users/$NAME"
  if [ -f "$SHARED/sysctl" ] && [ -z "$(ls "$SHARED/users")" ]; then
    sysctl -q -p "$SHARED/sysctl" || true
    [ ! -f "$SHARED/no-kubelet" ] || rm -rf /var/lib/kubelet/device-plugins
    rm -rf "$SHARED"
  fi
  # Directories with a fixed place, if they are empty.
  rmdir /var/lib/kubelet /var/lib/cni/{results,cache} /var/lib/cni /run/containerd/{s,runc/k8s.io,runc} /run/containerd \
    /var/log/containers 2>/dev/null || true
}

clear_state() { # [--keep-images]
  if [ "${1:-}" != --keep-images ]; then
    rm -rf "$STATE"
  elif [ -d "$STATE" ]; then
    find "$STATE" -mindepth 1 -maxdepth 1 ! -name images ! -name 'n[0-9]*' -exec rm -rf {} +
    find "$STATE" -mindepth 2 -maxdepth 2 -path "$STATE/n*" ! -name containerd -exec rm -rf {} +
  fi
}
