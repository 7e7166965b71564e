# A cutover that fails on either side of the point of no return, and what it left behind.
# shellcheck shell=bash
tests=(failure_before_no_return_is_put_back failure_after_no_return_goes_forward writes_left_behind_are_in_the_undo
  undone_along_the_left_timeline)

prepare() {
  e2e_namespace
  # Then every transaction of the old primary is one insert, or the image's ALTER USER at a start.
  scene_sql "$ns" postgresql 'alter system set autovacuum = off'
  e2e_archiving
  e2e_backup
  user apply -f - <<<"$(restore_yaml before "$(now)" 'select count(*) from organization' 20000)"
  finished pgr/before Completed 300
  clients_policies | user apply -f -
}
clients_policies() { scene_allow "$ns" app-standby 'name: tfrs' 'name: postgresql-standby'; scene_allow "$ns" report-standby 'role: client' 'name: postgresql-standby'; }

fenced() { [ -e "$(volume postgresql)/userdata/standby.signal" ] && [ -e "$(volume postgresql)/.pgrunbook/fence.json" ]; }

failure_before_no_return_is_put_back() {
  cutover_yaml first | user apply -f -
  phase pgf/first AwaitingApproval 120
  [ "$(field pgf/first plan.dataAtStake.transactions)" -gt 0 ] || fail "the plan counts no data at stake: $(field pgf/first plan.dataAtStake)"
  policy_yaml pgrunbook-member-1 >"$work/policy.json"
  approve pgf/first
  reaches pgf/first step '^stop-' 120
  # From now on the operator does not reach the candidate.
  user delete networkpolicy pgrunbook-member-1
  reaches pgf/first phase RollingBack 240
  finished pgf/first Failed 240
  reason_is pgf/first ServiceDoesNotFollow
  says pgf/first "a query through Service postgresql fails" "90 s after the switch" "HINT: look at the candidate's readiness and at the NetworkPolicies" \
    "Everything is as it was before"
  same "status.safePoint" "$(field pgf/first safePoint)" "everything is as it was before the action"
  same selector "$(selector)" postgresql
  same "replicas of the members" "$(replicas postgresql)/$(replicas postgresql-standby)" 1/1
  same "replicas of the applications" "$(replicas tfrs)/$(replicas report)" 1/1
  [ ! -e "$(volume postgresql)/userdata/standby.signal" ] || fail "postgresql is still fenced"
  [ ! -e "$(volume postgresql)/.pgrunbook/fence.json" ] || fail "the fence's record is still there"
  same "postgresql is read-only" "$(scene_sql "$ns" postgresql 'select pg_is_in_recovery()')" f
  nothing_held pgf/first
  writes_on "after the roll-back"
  acknowledged >"$work/acknowledged"
  all_there postgresql "$work/acknowledged"
  user apply -f "$work/policy.json"
}

failure_after_no_return_goes_forward() {
  local old new
  cutover_yaml second | user apply -f -
  phase pgf/second AwaitingApproval 120
  old=$(scene get pods -l name=tfrs -o jsonpath='{.items[0].metadata.name}')
  approve pgf/second
  reaches pgf/second step '^(stop-primary|fence|switch|service-agrees)$' 120
  # The clients that will be started do not reach the candidate; the operator does.
  clients_policies | user delete -f -
  phase pgf/second Blocked 240
  reason_is pgf/second ApplicationDoesNotConnect
  says pgf/second "no pod of the applications has a connection to postgresql-standby after 60 s" "HINT: look at the applications' logs and at their NetworkPolicies" \
    "it goes on by itself"
  sleep 8
  same "phase of a cutover that only goes forward" "$(field pgf/second phase)" Blocked
  same "its step" "$(field pgf/second step)" first-connection
  same selector "$(selector)" postgresql-standby
  same "replicas of the members" "$(replicas postgresql)/$(replicas postgresql-standby)" 0/1
  fenced || fail "postgresql is not fenced"
  clients_policies | user apply -f -
  finished pgf/second Completed 120
  reason_is pgf/second Completed
  nothing_held pgf/second
  writes_on "through the switched Service"
  new=$(scene get pods -l name=tfrs -o jsonpath='{.items[0].metadata.name}')
  [ "$new" != "$old" ] || fail "the application was not restarted"
  writes | awk -v pod="$new" '$1 == pod { print $2 }' | sort -u >"$work/through"
  all_there postgresql-standby "$work/through"
  writes | awk -v pod="$new" '$1 != pod { print $2 }' | sort -u >"$work/on-the-old"
}

# A server on a copy of the old primary's directory, read-only as its standby.signal makes it.
undo_sql() { /usr/lib/postgresql/15/bin/psql -h "$work_undo" -U postgres -d tfrs -XqAtc "$1"; }

writes_left_behind_are_in_the_undo() {
  local included planned left rows bin=/usr/lib/postgresql/15/bin
  fenced || fail "postgresql is not fenced"
  same "the fence's action" "$(jq -r .actionUID "$(volume postgresql)/.pgrunbook/fence.json")" "$(uid pgf/second)"
  same "status.dataLoss.exact" "$(field pgf/second dataLoss.exact)" true
  left=$(field pgf/second dataLoss.transactions)
  work_undo=$(mktemp -d /tmp/e2e-undo.XXXXXX)
  trap 'kill -INT "$(head -n 1 "$work_undo/data/postmaster.pid")" 2>/dev/null && wait; rm -rf "$work_undo"' EXIT
  cp -a "$(volume postgresql)/userdata" "$work_undo/data"
  echo 'local all all trust' >"$work_undo/hba"
  printf '%s\n' "hba_file = '$work_undo/hba'" "listen_addresses = ''" "unix_socket_directories = '$work_undo'" 'track_commit_timestamp = on' \
    'max_connections = 100' >"$work_undo/conf"
  chown -R "$SCENE_UID:$SCENE_UID" "$work_undo"
  setpriv --reuid "$SCENE_UID" --regid "$SCENE_UID" --clear-groups "$bin/postgres" -D "$work_undo/data" -c "config_file=$work_undo/conf" >"$work/undo.log" 2>&1 </dev/null &
  _scene_until 60 "the undo answers" undo_sql 'select 1' >/dev/null || fail "the undo does not start: $(tail -n 3 "$work/undo.log")"
  same "the undo is read-only" "$(undo_sql 'select pg_is_in_recovery()')" t
  # Compared: the transactions counted from WAL between fork and shutdown, with the rows committed after the last
  # transaction that the restore included, plus one ALTER USER of the image for the one start since (the roll-back's).
  included=$(field pgr/before target.included.time)
  rows=$(undo_sql "select count(*) from credit_trade where pg_xact_commit_timestamp(xmin) > '$included'")
  [ "$rows" -gt 10 ] || fail "only $rows rows were left behind: that proves nothing"
  same "transactions left behind" "$left" "$((rows + 1))"
  # The plan's count was up to its own moment.
  planned=$(undo_sql "select count(*) from credit_trade where pg_xact_commit_timestamp(xmin) > '$included' and pg_xact_commit_timestamp(xmin) <= '$(field pgf/second plan.dataAtStake.until)'")
  same "data at stake, as planned" "$(field pgf/second plan.dataAtStake.transactions)" "$((planned + 1))"
  # And every id acknowledged before the cutover is there.
  undo_sql 'select id from credit_trade' | sort -u >"$work/undo-ids"
  same "acknowledged and not in the undo" "$(comm -23 "$work/on-the-old" "$work/undo-ids")" ""
}

# docs/failover.md, "Undo": the old data again, as if the cutover had not been.
undone_along_the_left_timeline() {
  local parent kept
  parent=$(user get pgt tfrs -o jsonpath='{.status.cutover.parentTimeline}')
  user apply -f - <<<"$(restore_yaml back "" | sed 's/postgresql-standby/postgresql/')
  recoveryTarget: {targetTLI: $parent}"
  finished pgr/back Completed 300
  fenced && fail "the restored copy of postgresql carries the fence"
  kept=$(basename "$(field pgr/back undo.directory)")
  [ -e "$(volume postgresql)/$kept/standby.signal" ] || fail "the fenced data are not in the undo directory $kept"
  all_there postgresql "$work/on-the-old"
  writes_on "while the old timeline is restored"
  cutover_yaml back | sed 's/candidate: postgresql-standby/candidate: postgresql/' | user apply -f -
  phase pgf/back AwaitingApproval 120
  [ "$(field pgf/back plan.dataAtStake.transactions)" -gt 0 ] || fail "the plan does not count what was written since: $(field pgf/back plan.dataAtStake)"
  approve pgf/back
  finished pgf/back Completed 240
  same selector "$(selector)" postgresql
  same "replicas of the members" "$(replicas postgresql)/$(replicas postgresql-standby)" 1/0
  all_there postgresql "$work/on-the-old"
  writes_on "after the undo"
  nothing_held pgf/back
}
