# A primary that dies: every commit it acknowledged is restored, and the clients move to the result.
# shellcheck shell=bash
tests=(running_primary_is_not_salvaged stopped_by_hand_and_started_again destroyed_primary_is_diagnosed
  killed_primary_gets_its_count_back killed_primary_loses_nothing cutover_from_the_dead_primary)

prepare() {
  e2e_namespace
  e2e_archiving
  e2e_backup
}

running_primary_is_not_salvaged() {
  user apply -f - <<<"$(salvage_yaml running "")"
  finished pgr/running Failed 120
  reason_is pgr/running PrimaryRuns
  says pgr/running "postgresql is not down: it has a ready pod" "HINT: a running primary needs no salvage" "leave salvage out"
  same "replicas of the members" "$(replicas postgresql)/$(replicas postgresql-standby)" 1/0
  writes_on "after the refusal"
  same MembersHealthy "$(health status)/$(health reason)" True/NothingSeen
}
health() { scene get pgt tfrs -o jsonpath="{.status.conditions[?(@.type==\"MembersHealthy\")].$1}"; } # status|reason|message
way_out() { user get pgt tfrs -o jsonpath='{.status.wayOut}'; }
way_out_is() { [[ $(way_out) == *"kind: $1"* ]]; } # kind
named() { awk -F'[ ,{}]+' '/^metadata:/ { print $3 }' <<<"$1"; } # yaml

# At 0 already: no approval is asked for. Then the undo: the old primary goes on, and archives by itself the segment
# that was salvaged.
stopped_by_hand_and_started_again() {
  local last wal
  writes_on "before the stop"
  scene_scale "$ns" postgresql 0
  acknowledged >"$work/by-hand"
  wal=$(pg_wal postgresql)
  user apply -f - <<<"$(salvage_yaml by-hand "" 'select count(*) from organization' 20000)"
  finished pgr/by-hand Completed 300
  same "pg_wal of the stopped primary" "$(pg_wal postgresql)" "$wal"
  same "replicas of the members" "$(replicas postgresql)/$(replicas postgresql-standby)" 0/1
  all_there postgresql-standby "$work/by-hand"
  says pgr/by-hand "postgresql was salvaged to $(field pgr/by-hand salvage.endLSN)" "stays at 0 with its data untouched"
  last=$(salvaged_segment pgr/by-hand)
  [ -z "$last" ] || ! in_archive "$last" || fail "$last lies in the archive under its final name"
  nothing_held pgr/by-hand

  scene_scale "$ns" postgresql 1
  scene_wait_ready "$ns"
  writes_on "on the old primary again"
  scene_sql "$ns" postgresql 'select pg_switch_wal()'
  [ -z "$last" ] || _scene_until 60 "$last is archived by its own server" in_archive "$last" || fail "$last does not reach the archive"
  same "failures of the archiver" "$(scene_sql "$ns" postgresql 'select failed_count from pg_stat_archiver')" 0
}

destroyed_primary_is_diagnosed() {
  writes_on "before the kill"
  kill_primary postgresql
  acknowledged >"$work/acknowledged"
  scene wait pgt/tfrs --for=jsonpath='{.status.conditions[?(@.type=="MembersHealthy")].reason}'=ControlFileDestroyed --timeout=60s ||
    fail "the topology does not name it: $(health reason): $(health message); the log: $(scene logs deploy/postgresql --tail=20)"
  holds "the condition" "$(health message)" "postgresql: its control file (global/pg_control) is destroyed: " \
    "PG_CONTROL_VERSION" "HINT: keep its volume as it is: no pg_resetwal" "salvage: StoppedPrimary" "jsonpath='{.status.wayOut}'"
  holds "status.message" "$(field pgt/tfrs message)" "its control file (global/pg_control) is destroyed"
  same "Stalled" "$(scene get pgt tfrs -o jsonpath='{.status.conditions[?(@.type=="Stalled")].reason}')" ControlFileDestroyed
  same "Events" "$(scene get events --field-selector reason=ControlFileDestroyed,type=Warning -o name | wc -l)" 1
  way_out_is PostgresRestore || fail "no restore is named: $(way_out)"
}

killed_primary_gets_its_count_back() {
  user apply -f - <<<"$(salvage_yaml wrong "" 'select count(*) from organization' 19999)"
  phase pgr/wrong AwaitingApproval 120
  [ "$(field pgr/wrong plan.facts.salvage.transactions)" -gt 0 ] || fail "nothing is at stake: $(field pgr/wrong plan.facts)"
  holds "the control file" "$(field pgr/wrong plan.facts.oldPrimary.controlFile)" "destroyed: "
  holds "what is at stake" "$(field pgr/wrong plan.dataAtStake.text)" "lie only on the volume of postgresql, which is down"
  approve pgr/wrong
  finished pgr/wrong Failed 300
  reason_is pgr/wrong VerificationMismatch
  says pgr/wrong "Everything is as it was before"
  same "replicas of the members" "$(replicas postgresql)/$(replicas postgresql-standby)" 1/1
  nothing_held pgr/wrong
}

killed_primary_loses_nothing() {
  local wal yaml killed
  wal=$(pg_wal postgresql)
  _scene_until 60 "a restore is named" way_out_is PostgresRestore || fail "no restore is named: $(way_out)"
  yaml=$(way_out)
  killed=$(named "$yaml")
  echo "$killed" >"$work/killed"
  user apply -f - <<<"$yaml" # as it stands
  phase "pgr/$killed" AwaitingApproval 120
  approve "pgr/$killed"
  finished "pgr/$killed" Completed 300
  same "pg_wal of the dead primary" "$(pg_wal postgresql)" "$wal"
  same "replicas of the members" "$(replicas postgresql)/$(replicas postgresql-standby)" 0/1
  all_there postgresql-standby "$work/acknowledged"
  ! in_archive "$(salvaged_segment "pgr/$killed")" || fail "the last segment lies in the archive under its final name"
  nothing_held "pgr/$killed"
}

cutover_from_the_dead_primary() {
  local killed dead
  killed=$(cat "$work/killed")
  scene_allow "$ns" app-standby 'name: tfrs' 'name: postgresql-standby' | user apply -f -
  scene_allow "$ns" report-standby 'role: client' 'name: postgresql-standby' | user apply -f -
  _scene_until 60 "the Failover is named" way_out_is Failover || fail "no Failover is named: $(way_out)"
  dead=$(named "$(way_out)")
  user apply -f - <<<"$(way_out)"
  phase "pgf/$dead" AwaitingApproval 120
  same "data at stake" "$(field "pgf/$dead" plan.dataAtStake.transactions)/$(field "pgf/$dead" plan.dataAtStake.exact)" 0/true
  approve "pgf/$dead"
  finished "pgf/$dead" Completed 240
  holds "the fence's proof" "$(field "pgf/$dead" fence.proof)" "Salvaged to $(field "pgr/$killed" salvage.endLSN)"
  same "status.dataLoss" "$(field "pgf/$dead" dataLoss.transactions)/$(field "pgf/$dead" dataLoss.exact)" 0/true
  same selector "$(selector)" postgresql-standby
  same "replicas of the members" "$(replicas postgresql)/$(replicas postgresql-standby)" 0/1
  [ -e "$(volume postgresql)/userdata/standby.signal" ] || fail "the dead primary is not fenced"
  nothing_held "pgf/$dead"
  writes_on "through the switched Service"
  all_there postgresql-standby "$work/acknowledged"
  acknowledged >"$work/all"
  all_there postgresql-standby "$work/all"
  _scene_until 60 "the topology is well" well || fail "the topology is not well: $(health message)"
}
well() { [ "$(health status)" = True ] && [ -z "$(way_out)" ]; }
