# `pgrunbook leave`: refused where it would do harm, then nothing of setting up is left, and the archive is.
# shellcheck shell=bash
tests=(leave_is_refused_while_setup_is_wanted leave_takes_everything_away leave_again_finds_nothing)

prepare() { :; }

leave() { tests/cluster exec "build/$preset/operator/pgrunbook" leave tfrs --kubeconfig "$(realpath "$admin")" -n "$ns" >"$work/leave.out" 2>"$work/leave.err"; }
refused() { # words...
  ! leave || fail "leaving was not refused: $(cat "$work/leave.out")"
  holds "what leave says" "$(cat "$work/leave.err")" "$@"
}

leave_is_refused_while_setup_is_wanted() {
  local pods
  pods=$(pod_uids "$(selector)")
  refused "ConfigureAndRestart: what is taken away would be made again" "HINT: kubectl patch postgrestopology tfrs --type=merge"
  user patch pgt tfrs --type=merge -p '{"spec":{"archive":{"wal":{"setup":"Report"}}}}'
  scene_wait_ready "$ns"
  refused "leaving restarts $(selector) once" "are running" "HINT: kubectl scale deployment/"
  same "pods of the primary" "$(pod_uids "$(selector)")" "$pods"
  same "Leases" "$(scene get leases -o name)" lease.coordination.k8s.io/pgrunbook
}

leave_takes_everything_away() {
  local primary m files lost
  primary=$(selector)
  files=$(archive_files)
  applications 0
  leave || fail "leave: $(cat "$work/leave.err")"
  holds "what leave says" "$(cat "$work/leave.out")" "topology tfrs is left: $primary goes on" "kubectl delete postgrestopology tfrs"
  _scene_rollout "$ns" "$primary"
  same "the role" "$(scene_sql "$ns" "$primary" "select count(*) from pg_roles where rolname = 'pgrunbook'")" 0
  same "settings that name the agent" "$(scene_sql "$ns" "$primary" "select name from pg_settings where setting like '%pgrunbook%'")" ""
  same "lines of pg_hba" "$(scene_sql "$ns" "$primary" "select count(*) from pg_hba_file_rules where 'pgrunbook' = any(user_name)")" 0
  for m in postgresql postgresql-standby; do
    [ ! -e "$(volume "$m")/.pgrunbook/bin" ] || fail "the agent is still on the volume of $m"
    ! grep -q pgrunbook "$(volume "$m")"/userdata/{postgresql.auto.conf,pg_hba.conf} || fail "the configuration of $m still names pgrunbook"
    same "annotation of $m" "$(scene get deploy "$m" -o jsonpath='{.metadata.annotations.pgrunbook\.io/replicas-before}')" ""
  done
  same "Leases" "$(scene get leases -o name)" lease.coordination.k8s.io/pgrunbook
  same "Jobs" "$(scene get jobs -l pgrunbook.io/topology=tfrs -o name)" ""
  same "ConfigMaps" "$(scene get configmaps -l pgrunbook.io/topology=tfrs -o name)" ""
  # The archive is what it was, and the segments of the last stop.
  lost=$(comm -23 <(echo "$files") <(archive_files))
  same "files of the archive that changed" "$lost" ""
  applications 1
  scene_wait_ready "$ns"
}

leave_again_finds_nothing() {
  local pods
  pods=$(pod_uids "$(selector)")
  leave || fail "leave: $(cat "$work/leave.err")"
  same "pods of the primary" "$(pod_uids "$(selector)")" "$pods"
  same "replicas of the applications" "$(replicas tfrs)/$(replicas report)" 1/1
}
