# What the end-to-end tests share. Every function works in namespace $ns, with files of its own in $work.
# shellcheck shell=bash

scene() { scene_kubectl -n "$ns" "$@"; }                              # the cluster's admin: sets the scene, looks
user() { scene_kubectl --kubeconfig "$admin" -n "$ns" "$@"; }        # the namespace's admin, as everybody there is
field() { scene get "$1" -o jsonpath="{.status.$2}"; }
same() { [ "$2" = "$3" ] || fail "$1: is $2, should be $3"; }        # what is should
holds() { # what text parts...: the text has every part
  local what=$1 text=$2 part
  shift 2
  for part in "$@"; do [[ $text == *"$part"* ]] || fail "$what does not say \"$part\": $text"; done
}
reason_is() { same "reason of $1" "$(field "$1" reason)" "$2"; }     # kind/name reason
says() { local o=$1; shift; holds "message of $o" "$(field "$o" message)" "$@"; }

# ---- setting up
e2e_namespace() {
  scene_create "$ns"
  admin=$(scene_admin "$ns")
  echo "$admin" >"$work/admin"
  install_operator "$ns" "$admin"
}
applications() { scene_scale "$ns" tfrs "$1"; scene_scale "$ns" report "$1"; }
e2e_archiving() {
  applications 0
  user apply -f - <<<"$(demo_topology)"
  user wait --for=condition=ContinuousArchiving pgt/tfrs --timeout=240s || fail "archiving was not set up: $(user get pgt tfrs -o jsonpath='{.status.message}')"
  applications 1
  scene_wait_ready "$ns"
  record_writes
}
e2e_backup() { user apply -f manifests/examples/backup.yaml && finished pgb/tfrs-1 Completed 240; }
restore_yaml() { # name targetTime|"" [sql expect]...
  echo "apiVersion: pgrunbook.io/v1alpha1
kind: PostgresRestore
metadata: {name: $1}
spec:
  topologyRef: {name: tfrs}
  source: {type: Latest}
  to: {type: Member, member: {name: postgresql-standby}}"
  [ -z "$2" ] || echo "  recoveryTarget: {targetTime: \"$2\"}"
  shift 2
  [ $# = 0 ] || echo "  verification:
    queries:"
  for (( ; $# > 0; )); do echo "    - {sql: \"$1\", expect: \"$2\"}"; shift 2; done
}
cutover_yaml() { sed "s/name: tfrs-to-standby/name: $1/" manifests/examples/cutover.yaml; } # name
approve() { user patch "$1" --type=merge -p "{\"spec\":{\"approvedPlan\":\"$(field "$1" plan.digest)\"}}"; }
now() { scene_sql "$ns" postgresql "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"; }

# Looks often until a field of an action's status matches; an action that has ended never will.
reaches() { # kind/name field regex seconds
  local until=$((SECONDS + $4)) status
  while :; do
    status=$(scene get "$1" -o jsonpath="{.status.$2}{\"\\t\"}{.status.phase}")
    [[ ! ${status%$'\t'*} =~ $3 ]] || return 0
    [[ ${status##*$'\t'} =~ ^(Completed|Failed|Cancelled)$ ]] && fail "$1 ended before its $2 was $3: $(status_of "$1")"
    ((SECONDS < until)) || fail "$2 of $1 did not become $3: $(status_of "$1")"
  done
}
topology_says() { # reason seconds: of condition ContinuousArchiving
  scene wait pgt/tfrs --for=jsonpath='{.status.conditions[?(@.type=="ContinuousArchiving")].reason}'="$1" --timeout="$2s" ||
    fail "the topology does not say $1: $(scene get pgt tfrs -o jsonpath='{.status.conditions[?(@.type=="ContinuousArchiving")]}')"
}

# ---- what is
replicas() { scene get deploy "$1" -o jsonpath='{.spec.replicas}'; }
pod_uids() { scene get pods -l "name=$1" -o jsonpath='{.items[*].metadata.uid}'; }
selector() { scene get svc postgresql -o jsonpath='{.spec.selector.name}'; }
uid() { scene get "$1" -o jsonpath='{.metadata.uid}'; }
jobs_of() { scene get jobs -l "pgrunbook.io/action-uid=$1${2:+,pgrunbook.io/step=$2}" -o name; } # uid [step]
nothing_held() { # kind/name: no finalizer, no Lease but the operator's own
  same "finalizers of $1" "$(scene get "$1" -o jsonpath='{.metadata.finalizers}')" ""
  same "Leases" "$(scene get leases -o name)" lease.coordination.k8s.io/pgrunbook
}
# An action whose object has gone is over once its Lease has: on it stands what must be put back.
put_back() {
  _scene_until 240 "everything is put back" only_the_operators_lease ||
    fail "Leases: $(scene get leases -o json | jq -r '.items[] | .metadata.name + " " + (.metadata.annotations["pgrunbook.io/duty"] // "{}" | fromjson | .status.message // "")')"
}
no_jobs_of() { [ -z "$(jobs_of "$1")" ]; }
only_the_operators_lease() { [ "$(scene get leases -o name)" = lease.coordination.k8s.io/pgrunbook ]; }
volume() { # claim: its directory on this machine
  local pv
  pv=$(scene get pvc "$1" -o jsonpath='{.spec.volumeName}')
  scene_kubectl get pv "$pv" -o jsonpath='{.spec.local.path}'
}
# Every file and directory of a volume but the operator's own notes beside the data directory. What was hashed stays in
# $work/<claim>.files, and of the time before in <claim>.files.old: that is where to look when two differ.
volume_hash() { # claim
  local list=$PWD/$work/$1.files
  [[ $work != /* ]] || list=$work/$1.files
  [ ! -e "$list" ] || mv "$list" "$list.old"
  (
    cd "$(volume "$1")"
    { find . -path ./.pgrunbook -prune -o -printf '%y %p\n' | sort; find . -path ./.pgrunbook -prune -o -type f -print0 | sort -z | xargs -0 sha256sum; } >"$list"
    sha256sum <"$list"
  ) || fail "no hash of $1"
}
# The repository without its catalogue, which every action may update: hash and name of each file.
archive_files() { (cd "$(volume postgresql-backup-cns)/tfrs" && find . -type f ! -path './repository*' ! -name '.*' -exec sha256sum {} + | sort); }
rows() { scene_sql "$ns" "$1" "select count(*) || '/' || coalesce(sum(hashtext(t::text)), 0) from credit_trade t"; } # deployment

# ---- the application's writes
# Every id acknowledged to any pod of the application, from its start to its end: a link to each pod's log outlives it.
record_writes() {
  local links
  links=$(tests/cluster state)/$ns.writes
  rm -rf "$links"
  mkdir -p "$links"
  (
    set +eE
    while [ -d "$links" ]; do
      for log in "$links"/../n*/log/pods/"$ns"_tfrs-*/client/0.log; do
        pod=${log%/client/0.log} pod=${pod##*"$ns"_} pod=${pod%_*}
        [ -e "$links/$pod" ] || ln "$log" "$links/$pod"
      done
      sleep .3
    done
  ) </dev/null >/dev/null 2>&1 3<&- &
}
stop_recording() { rm -rf "$(tests/cluster state)/$ns.writes"; }
# "pod id" each, sorted.
writes() { (cd "$(tests/cluster state)/$ns.writes" && awk '$2 == "stdout" && $4 ~ /^[0-9]+$/ { print FILENAME, $4 }' ./tfrs-* | sed 's|^\./||' | sort -u); }
acknowledged() { writes | cut -d' ' -f2 | sort -u; }
# No acknowledged id is missing.
all_there() { # deployment ids...(file)
  local lost
  lost=$(comm -23 "$2" <(scene_sql "$ns" "$1" 'select id from credit_trade' | sort -u) | tr '\n' ' ')
  [ -z "$lost" ] || fail "acknowledged and not on $1: $lost"
  [ "$(wc -l <"$2")" -gt 5 ] || fail "only $(wc -l <"$2") writes were acknowledged: that proves nothing"
}
# Counted with their pods: a cutover goes back to ids that were given out before.
writes_on() { # what: more is acknowledged than a moment ago
  local before
  before=$(writes | wc -l)
  _scene_until 60 "the application writes ($1)" more_than "$before" || fail "the application does not write: $1"
}
more_than() { [ "$(writes | wc -l)" -gt "$(($1 + 3))" ]; }

# The process itself, as the kernel's OOM killer would: no signal to prepare for.
kill_operator() {
  local id pid
  id=$(scene get pods -l app.kubernetes.io/name=pgrunbook,app.kubernetes.io/component=controller -o jsonpath='{.items[0].status.containerStatuses[0].containerID}')
  pid=$(tests/cluster ctr tasks ls | awk -v id="${id#containerd://}" '$1 == id { print $2 }')
  [ -n "$pid" ] || fail "the operator has no process"
  kill -9 "$pid"
}
operator_restarts() { scene get pods -l app.kubernetes.io/name=pgrunbook,app.kubernetes.io/component=controller -o jsonpath='{.items[0].status.containerStatuses[0].restartCount}'; }
policy_yaml() { scene get networkpolicy "$@" -o json | jq 'del(.. | .resourceVersion?, .uid?, .creationTimestamp?, .generation?, .managedFields?)'; }
# The YAML in a message, as it is.
yaml_in() { sed -n '/^apiVersion:/,$p' <<<"$1"; }

# ---- a primary that dies
salvage_yaml() { restore_yaml "$@" && echo "  salvage: StoppedPrimary"; }
pg_wal() { (cd "$(volume "$1")/userdata/pg_wal" && find . -type f -exec sha256sum {} + | sort -k2); } # member
salvaged_segment() { field "$1" salvage.last; }                                                        # kind/name
in_archive() { [ -e "$(volume postgresql-backup-cns)/tfrs/walbackup/${1:0:8}/$1.zst" ]; }              # segment
server_processes() { # member: of its container, all of that process namespace
  local id pid
  id=$(scene get pods -l "name=$1" -o jsonpath='{.items[0].status.containerStatuses[0].containerID}')
  pid=$(tests/cluster ctr tasks ls | awk -v id="${id#containerd://}" '$1 == id { print $2 }')
  [ -n "$pid" ] || fail "$1 has no process"
  [ "$(readlink "/proc/$pid/ns/pid")" != "$(readlink /proc/self/ns/pid)" ] || fail "$1 has no process namespace of its own"
  pgrep --ns "$pid" --nslist pid
}
# All processes at once, and without a control file the next one cannot start.
kill_primary() { # member
  local pids
  pids=$(server_processes "$1")
  # shellcheck disable=SC2086
  kill -STOP $pids
  head -c 8192 /dev/urandom | dd of="$(volume "$1")/userdata/global/pg_control" conv=notrunc status=none
  # shellcheck disable=SC2086
  kill -KILL $pids
  scene delete pod -l "name=$1" --force --grace-period=0
  _scene_until 120 "$1 crash-loops" crash_loops "$1" || fail "$1 does not crash-loop"
}
crash_loops() { [ "$(scene get pods -l "name=$1" -o jsonpath='{.items[0].status.containerStatuses[0].restartCount}')" -ge 1 ]; }
