# Settings, and how processes are started, known and ended. Sourced by tests/cluster.
# shellcheck shell=bash

NAME=${PGRUNBOOK_CLUSTER_NAME:-pgrunbook}
[[ $NAME =~ ^[a-z0-9-]+$ ]] || { echo "PGRUNBOOK_CLUSTER_NAME has other than a-z, 0-9 and -: $NAME" >&2; exit 2; }
STATE=${PGRUNBOOK_TEST_STATE:-/tmp/pgrunbook-$NAME} # all a running cluster writes; short, it holds sockets
CACHE=${PGRUNBOOK_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pgrunbook-cluster}
BIN=$CACHE/bin
SHARED=/run/pgrunbook-cluster # what all instances on this machine share

# Node 1 carries the control plane. Node N is network namespace and cgroup $NAME.N,
# address 10.99.0.N, pods 10.244.N.0/24, files in $STATE/nN. The nodes' links meet
# in a bridge in namespace $NAME.net, whose port to node N is called nN.
ADDRESS=10.99.0.1
SERVER=https://$ADDRESS:6443

fail() { printf 'tests/cluster: %s\n' "$1" >&2; [ -z "${2:-}" ] || printf 'HINT: %s\n' "$2" >&2; exit 1; }
need_root() { [ "$(id -u)" = 0 ] || fail "needs root, for network namespaces and mounts"; }
nodes() { cat "$STATE/nodes" 2>/dev/null || echo 0; }

# Not "ip netns exec": that also unshares mounts, and containerd would not see the kubelet's.
on_node() { nsenter --net="/run/netns/$NAME.$1" "${@:2}"; }
# Thousands of short lives: collecting garbage is a quarter of what each costs.
kubectl() { GOGC=800 on_node 1 "$BIN/kubectl" --kubeconfig "$STATE/admin.kubeconfig" "$@"; }
node_ctr() { ctr --address "$STATE/n$1/run/containerd.sock" --namespace k8s.io "${@:2}"; }

# A process is known by pid, start time and boot, so that a reused pid is never signalled.
started() { # pid: prints what tells it from a later process of the same number
  local stat boot
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -r boot </proc/sys/kernel/random/boot_id
  # shellcheck disable=SC2086
  set -- ${stat##*) }
  # A zombie leader with live threads still holds its sockets: that counts as alive.
  if [ "$1" = Z ] && ((${18} <= 1)); then return 1; fi
  echo "${20} $boot"
}
is() { [ "$(started "$1")" = "$2" ]; } # pid, identity
running() { local pid identity; read -r pid identity 2>/dev/null <"$STATE/pid/$1" && is "$pid" "$identity"; }
pid_of() { local pid; running "$1" && read -r pid _ <"$STATE/pid/$1" && echo "$pid"; }
start() { # name[@node] command...
  local name=$1 node=1
  [[ $name != *@* ]] || node=${name#*@}
  shift
  ! running "$name" || return 0
  setsid nsenter --net="/run/netns/$NAME.$node" "$@" >>"$STATE/log/$name.log" 2>&1 </dev/null 8>&- 9>&- &
  echo "$! $(started $!)" >"$STATE/pid/$name"
}
end() { # pid, identity, seconds before SIGKILL
  local i
  is "$1" "$2" || return 0
  kill -TERM "$1" 2>/dev/null || return 0
  kill -CONT "$1" 2>/dev/null || return 0
  for ((i = 0; i < $3 * 20; i++)); do is "$1" "$2" || return 0; sleep .05; done
  kill -KILL "$1" 2>/dev/null || true
  for ((i = 0; i < 200; i++)); do is "$1" "$2" || return 0; sleep .05; done
  echo "process $1 does not end" >&2
}
stop() { # name [seconds before SIGKILL]
  local pid identity
  [ -f "$STATE/pid/$1" ] || return 0
  read -r pid identity <"$STATE/pid/$1" || true
  [ -z "$pid" ] || end "$pid" "$identity" "${2:-3}"
  rm -f "$STATE/pid/$1"
}
try() { # seconds command...: repeats until it succeeds
  local until=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS >= until)); then
      echo "timed out: $*" >&2
      "$@" >&2 || true
      return 1
    fi
    sleep .2
  done
}
locked() { # file command...: one at a time on this machine
  mkdir -p "$(dirname "$1")"
  exec 9>"$1"
  flock 9
  "${@:2}"
  exec 9>&-
}
