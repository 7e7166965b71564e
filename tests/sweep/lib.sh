# The operator as a process of its own, outside its pod's container but in the pod's network: the same address, labels
# and policies, the same ServiceAccount, and whatever it says to the API server passes pgrunbook-proxy, which counts
# its writes, kills it at them and answers them with failures. It is started again the moment it ends, without leader
# election: nothing waits for a Lease. Sourced after tests/e2e/lib.sh; files lie in $work.
# shellcheck shell=bash

out=build/$preset

# The image's own, and the proxy. Lanes that come at the same time share one build tree: one after the other.
sweep_binaries() {
  [ "${PGRUNBOOK_E2E_IMAGE:-}" != loaded ] || return 0
  mkdir -p "build/$preset"
  (
    flock 9
    cmake --preset "$preset" >/dev/null
    cmake --build --preset "$preset" --target pgrunbook pgrunbook-agent pgrunbook-proxy >"build/$preset/log" || { tail -n 40 "build/$preset/log" >&2; fail "the $preset build failed"; }
  ) 9>"build/$preset/building"
}

container_pid() { # labels container
  local id
  id=$(scene get pods -l "$1" -o jsonpath="{.items[0].status.containerStatuses[?(@.name==\"$2\")].containerID}")
  tests/cluster ctr tasks ls | awk -v id="${id#containerd://}" '$1 == id { print $2 }'
}
in_operators_network() { nsenter --net="/proc/$(cat "$work/sandbox")/ns/net" "$@"; }

# The chart's Deployment keeps its pod, whose container only sleeps.
operator_moves_out() {
  local at=/spec/template/spec
  scene patch deploy pgrunbook --type=json -p "[
    {\"op\": \"replace\", \"path\": \"$at/containers/0/command\", \"value\": [\"sleep\", \"infinity\"]},
    {\"op\": \"remove\", \"path\": \"$at/containers/0/livenessProbe\"}, {\"op\": \"remove\", \"path\": \"$at/containers/0/readinessProbe\"},
    {\"op\": \"add\", \"path\": \"$at/terminationGracePeriodSeconds\", \"value\": 1}]"
  _scene_rollout "$ns" pgrunbook
  _scene_until 60 "the operator's former pod is gone" one_operator_pod
  container_pid "$operator_labels" controller >"$work/sandbox"
  [ -s "$work/sandbox" ] || fail "the operator's pod has no process"
  cp "$(tests/cluster kubeconfig --serviceaccount "$ns/pgrunbook")" "$work/account.kubeconfig"
  printf 'nameserver 10.99.0.1\nsearch %s.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n' "$ns" >"$work/resolv.conf"
}
operator_labels=app.kubernetes.io/name=pgrunbook,app.kubernetes.io/component=controller
one_operator_pod() { [ "$(scene get pods -l "$operator_labels" -o name | wc -l)" = 1 ]; }

proxy_start() { # arguments of pgrunbook-proxy...
  : >"$work/writes.jsonl"
  : >"$work/fail"
  : >"$work/proxy.out"
  # Not by the function: the pid would be that of the shell around it.
  nsenter --net="/proc/$(cat "$work/sandbox")/ns/net" "$out/tests/pgrunbook-proxy" --kubeconfig "$work/account.kubeconfig" --kubeconfig-out "$work/operator.kubeconfig" \
    --pid-file "$work/operator.pid" --fail-file "$work/fail" --log "$work/writes.jsonl" "$@" >"$work/proxy.out" 2>&1 </dev/null 3<&- &
  echo $! >"$work/proxy.pid"
  _scene_until 20 "the proxy listens" grep -q '^port' "$work/proxy.out" || fail "the proxy does not start: $(cat "$work/proxy.out")"
}
# Runs until operator_stop, again and again.
operator_start() { # [name of its files] [arguments of the operator...]
  local name=${1:-operator} pod
  shift $(($# > 0))
  pod=$(scene get pods -l "$operator_labels" -o jsonpath='{.items[0].metadata.name}')
  touch "$work/$name.run"
  rm -f "$work/$name.pid"
  (
    set +eE
    trap - EXIT ERR
    while [ -e "$work/$name.run" ]; do
      # shellcheck disable=SC2016
      in_operators_network unshare --mount bash -c 'mount --bind "$1/resolv.conf" /etc/resolv.conf && echo $$ >"$1/$2.pid" && shift 2 && exec "$@"' \
        operator "$work" "$name" "$out/operator/pgrunbook" controller --kubeconfig "$work/operator.kubeconfig" --namespace "$ns" --image "$IMAGE" \
        --pod-name "$pod" "${@:---no-leader-election}" >>"$work/$name.log" 2>&1
      echo "$? $(date +%T.%N)" >>"$work/$name.ends"
      sleep .05
    done
  ) </dev/null >/dev/null 2>&1 3<&- &
  echo $! >"$work/$name.loop"
  # One that is stopped before anybody knows its pid would stay, and keep its port.
  _scene_until 20 "the operator begins" test -s "$work/$name.pid" || fail "the operator does not begin"
}
operator_stop() { # [name]
  local name=${1:-operator} pid
  [ -e "$work/$name.loop" ] || return 0
  rm -f "$work/$name.run"
  kill "$(cat "$work/$name.loop")" 2>/dev/null || true
  pid=$(cat "$work/$name.pid" 2>/dev/null || true)
  [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
  rm -f "$work/$name.loop" "$work/$name.pid"
}
proxy_stop() {
  local i
  [ -e "$work/proxy.pid" ] || return 0
  kill "$(cat "$work/proxy.pid")" 2>/dev/null || true
  for ((i = 0; i < 100; i++)); do kill -0 "$(cat "$work/proxy.pid")" 2>/dev/null || break; sleep .05; done
  kill -9 "$(cat "$work/proxy.pid")" 2>/dev/null || true
  rm -f "$work/proxy.pid"
}
outside_ends() {
  local pid
  operator_stop
  operator_stop second
  # One that was just being started.
  for pid in $(pgrep -f -- "--kubeconfig $work/operator.kubeconfig --namespace $ns " || true); do kill -9 "$pid" 2>/dev/null || true; done
  proxy_stop
}
outside_begins() { # arguments of pgrunbook-proxy...
  [[ $work = /* ]] || work=$PWD/$work
  trap outside_ends EXIT
  outside_ends
  proxy_start "$@"
  operator_start
}
writes_that_differ() { jq -s 'map(.n) | max // 0' "$work/writes.jsonl"; }
kills() { jq -r 'select(.killed != null) | .killed' "$work/writes.jsonl" | sort | uniq -c | tr -s ' \n' ' '; }

# ---- one case each: an action from its object to its end, and what must be true then
# Which member is which is read off the Service.
primary_now() { selector; }
other_member() { [ "$1" = postgresql ] && echo postgresql-standby || echo postgresql; }
inode() { stat -c %i "$1" 2>/dev/null || echo none; }
archive() { echo "$(volume postgresql-backup-cns)/tfrs"; }
ledger() { find "$(archive)/actions" -type f -name "$1-*.json" ! -name '*.outcome.json' | wc -l; } # kind-name
histories() { find "$(archive)" -name '*.history*' -type f | wc -l; }
settled() { # kind/name phase seconds: ended, and its last write is done too
  finished "$1" "$2" "$3"
  _scene_until 60 "$1 has no finalizer" without_finalizer "$1" || fail "$1 keeps its finalizer"
}
without_finalizer() { [ -z "$(scene get "$1" -o jsonpath='{.metadata.finalizers}')" ]; }
# Every step had one Job, and it did its work; the Job's own count follows its pod by seconds.
jobs_once() { # kind/name steps...
  local wanted
  wanted=$(printf '%s:1\n' "${@:2}" | sort | tr '\n' ' ')
  _scene_until 40 "the Jobs of $1 are $wanted" jobs_are "$1" "$wanted" || fail "Jobs of $1 (step:succeeded): $(jobs_did "$1"), should be $wanted"
}
jobs_did() { scene get jobs -l "pgrunbook.io/action-uid=$(uid "$1")" -o json | jq -r '.items[] | .metadata.labels["pgrunbook.io/step"] + ":" + (.status.succeeded // 0 | tostring)' | sort | tr '\n' ' '; }
jobs_are() { [ "$(jobs_did "$1")" = "$2" ]; }

backup_case() { # name
  local name=$1
  user apply -f - <<<"$(sed "s/name: tfrs-1/name: $name/" manifests/examples/backup.yaml)"
  settled "pgb/$name" Completed 400
  same "complete backups of $name" "$(ls "$(archive)/basebackup/$(field "pgb/$name" backupID)/backup.json" | wc -l)" 1
  same "backups with its uid" "$(ls "$(archive)/basebackup" | grep -c -- "-$(uid "pgb/$name" | cut -c1-8)$")" 1
  same "ledger entries of $name" "$(ledger "PostgresBackup-$name")" 1
  jobs_once "pgb/$name" plan backup record
  nothing_held "pgb/$name"
}

restore_case() { # name
  local name=$1 to target expected before timelines id data
  to=$(other_member "$(primary_now)")
  data=$(volume "$to")/userdata
  before=$(inode "$data") timelines=$(histories)
  target=$(scene_sql "$ns" "$(primary_now)" "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
  sleep 1
  expected=$(scene_sql "$ns" "$(primary_now)" "select count(*) || '/' || coalesce(sum(hashtext(t::text)), 0) from credit_trade t where pg_xact_commit_timestamp(xmin) <= '$target'")
  user apply -f - <<<"$(restore_yaml "$name" "$target" 'select count(*) from organization' 20000 | sed "s/{name: postgresql-standby}/{name: $to}/")"
  settled "pgr/$name" Completed 400
  id=$(uid "pgr/$name")
  same "rows of $to (count/hash)" "$(rows "$to")" "$expected"
  same "replicas of $to" "$(replicas "$to")" 1
  # Exchanged once: the directory from before lies beside, the one in its place is new. Twice would be as before.
  same "former data directory" "$(inode "$data.pgrunbook-${id:0:8}")" "$before"
  [ "$(inode "$data")" != "$before" ] || fail "the data directory is the former one"
  same "journals of exchanges" "$(jq -r .state "$(volume "$to")/.pgrunbook/undo-$id.json")" Exchanged
  same "promoted timelines" "$(($(histories) - timelines))" 1
  same "ledger entries of $name" "$(ledger "PostgresRestore-$name")" 1
  [ ! -e "$(volume "$to")/.pgrunbook/claim" ] || fail "the volume of $to is still claimed"
  jobs_once "pgr/$name" plan recover proof record
  nothing_held "pgr/$name"
  rm -rf "$data.pgrunbook-${id:0:8}" # space, in a volume that sees dozens of restores
}

cutover_case() { # name: to the other member, which a restore has made ready
  local name=$1 from to id
  from=$(primary_now)
  to=$(other_member "$from")
  cutover_yaml "$name" | sed "s/candidate: .*/candidate: $to/" | user apply -f -
  phase "pgf/$name" AwaitingApproval 240
  approve "pgf/$name"
  settled "pgf/$name" Completed 400
  cut_over "$name" "$from" "$to"
}
cut_over() { # name from to
  local name=$1 from=$2 to=$3 id
  id=$(uid "pgf/$name")
  same selector "$(selector)" "$to"
  same "replicas of the members" "$(replicas "$from")/$(replicas "$to")" 0/1
  same "replicas of the applications" "$(replicas tfrs)/$(replicas report)" 1/1
  [ -e "$(volume "$from")/userdata/standby.signal" ] || fail "$from is not fenced"
  same "the fence's action" "$(jq -r .actionUID "$(volume "$from")/.pgrunbook/fence.json")" "$id"
  # What the API server did, also where its reply never arrived.
  same "selector patches applied" "$(jq -r 'select(.method == "PATCH" and .status == 200 and (.target | test("/services/postgresql"))) | .n' "$work/writes.jsonl" | wc -l)" 1
  same "ledger entries of $name" "$(ledger "Failover-$name")" 1
  [ ! -e "$(volume "$from")/.pgrunbook/claim" ] || fail "the volume of $from is still claimed"
  jobs_once "pgf/$name" plan fence record
  nothing_held "pgf/$name"
  writes_on "after cutover $name"
}

# The primary dies under write load; the other member takes over with every commit it acknowledged. Afterwards the
# members have changed places, and the dead one can be restored to.
salvage_case() { # name
  local name=$1 from to data before timelines id wal last pod
  from=$(primary_now) to=$(other_member "$(primary_now)")
  data=$(volume "$to")/userdata
  before=$(inode "$data") timelines=$(histories)
  # This pod has only known the present primary; others' ids may have stayed on a former one.
  pod=$(scene get pods -l name=tfrs -o jsonpath='{.items[0].metadata.name}')
  writes_on "before the kill"
  kill_primary "$from"
  writes | awk -v pod="$pod" '$1 == pod { print $2 }' | sort -u >"$work/acknowledged"
  wal=$(pg_wal "$from")
  user apply -f - <<<"$(salvage_yaml "$name" "" 'select count(*) from organization' 20000 | sed "s/{name: postgresql-standby}/{name: $to}/")"
  phase "pgr/$name" AwaitingApproval 240
  approve "pgr/$name"
  settled "pgr/$name" Completed 400
  id=$(uid "pgr/$name")
  all_there "$to" "$work/acknowledged"
  same "pg_wal of the dead primary" "$(pg_wal "$from")" "$wal"
  same "replicas of the members" "$(replicas "$from")/$(replicas "$to")" 0/1
  same "former data directory" "$(inode "$data.pgrunbook-${id:0:8}")" "$before"
  [ "$(inode "$data")" != "$before" ] || fail "the data directory is the former one"
  same "journals of exchanges" "$(jq -r .state "$(volume "$to")/.pgrunbook/undo-$id.json")" Exchanged
  same "promoted timelines" "$(($(histories) - timelines))" 1
  same "end of what was salvaged" "$(jq -r .endLSN "$(archive)/salvage/$id/salvage.json")" "$(field "pgr/$name" salvage.endLSN)"
  last=$(salvaged_segment "pgr/$name")
  [ -z "$last" ] || ! in_archive "$last" || fail "the last, incomplete segment lies in the archive under its final name"
  same "ledger entries of $name" "$(ledger "PostgresRestore-$name")" 1
  [ ! -e "$(volume "$to")/.pgrunbook/claim" ] || fail "the volume of $to is still claimed"
  jobs_once "pgr/$name" plan salvage resolve recover proof record
  nothing_held "pgr/$name"
  rm -rf "$data.pgrunbook-${id:0:8}"
  cutover_case "$name-cutover"
  holds "the fence's proof" "$(field "pgf/$name-cutover" fence.proof)" "Salvaged to $(field "pgr/$name" salvage.endLSN)"
  same "status.dataLoss" "$(field "pgf/$name-cutover" dataLoss.transactions)/$(field "pgf/$name-cutover" dataLoss.exact)" 0/true
  all_there "$to" "$work/acknowledged"
}

# A prepared namespace: a backup to restore from, clients let in to both members, the operator outside.
prepare_sweep() {
  [[ $work = /* ]] || work=$PWD/$work
  e2e_namespace
  e2e_archiving
  e2e_backup
  { scene_allow "$ns" app-standby 'name: tfrs' 'name: postgresql-standby'; scene_allow "$ns" report-standby 'role: client' 'name: postgresql-standby'; } | user apply -f -
  operator_moves_out
}
# Finished actions and their Jobs: the quota counts Jobs.
tidy_up() { user delete pgr,pgf,pgb --all --wait=false >/dev/null; }

# ---- killed
# One run of an action in which the operator dies at each of its writes twice.
chain() { # backup|restore|cutover|salvage
  local began=$SECONDS half
  outside_begins --chain 1
  "$1_case" "chain-$1"
  operator_stop
  proxy_stop
  # Both ways at every write; of a status only the last words may never come again, because the next look says more.
  half=$(jq -rs 'group_by(.what)[] | select(any(.killed == "before") and (any(.killed == "after") | not)) | .[0].what' "$work/writes.jsonl")
  [ -z "$(grep -v '/status ' <<<"$half" || true)" ] || fail "killed before and never after: $half"
  [ "$(jq -rs '[.[] | select(.killed == "after" and .method == "POST")] | length' "$work/writes.jsonl")" -ge 3 ] || fail "the chain met fewer than three creations: $(kills)"
  [[ $1 != @(cutover|salvage) ]] || [ "$(jq -rs '[.[] | select(.killed != null and (.target | test("/services/")))] | length' "$work/writes.jsonl")" = 2 ] || fail "the switch was not killed twice"
  echo "chain $1: $(writes_that_differ) writes that differ, killed $(kills), $((SECONDS - began)) s"
}
# One kill at one write: N of those that differ, the topology's own status aside.
single() { # backup|restore|cutover|salvage N before|after
  outside_begins --distinct 1 --skip /postgrestopologies/ --kill-at "$2" --when "$3"
  "$1_case" "$1-$2-$3"
  operator_stop
  proxy_stop
  [ "$(jq -s 'map(select(.killed != null)) | length' "$work/writes.jsonl")" = 1 ] || echo "NOT REACHED: this run had $(writes_that_differ) writes"
}
count_writes() { # backup|restore|cutover|salvage: how many there are to kill at
  outside_begins --distinct 1 --skip /postgrestopologies/
  "$1_case" "$1-unharmed"
  operator_stop
  proxy_stop
  writes_that_differ >"$work/writes-of-$1"
}
