# Restores that end early are put back completely while the application writes on; one survives its operator.
# shellcheck shell=bash
tests=(wrong_expectation_is_put_back failed_restore_happens_once cancelled_recovery_is_put_back
  operator_killed_in_a_recovery lsn_and_name_as_targets deleted_restore_is_put_back old_walbackup_is_left_alone)

# A recovery that takes its time: in the verification, everything replayed.
slow='select count(*) from (select pg_sleep(25)) x'
recovering() { reaches "$1" message 'verification runs' 120; }

prepare() {
  e2e_namespace
  e2e_archiving
  # Reading a file with an access time as old as this would change it (relatime).
  local walbackup
  walbackup=$(volume postgresql-backup-cns)/walbackup
  (cd "$walbackup" && sha256sum ./* >"$OLDPWD/$work/walbackup")
  touch -a -d 2001-01-01 "$walbackup"/*
  e2e_backup
}

wrong_expectation_is_put_back() {
  local before files
  before=$(volume_hash postgresql-standby) files=$(archive_files)
  user apply -f - <<<"$(restore_yaml wrong "" 'select count(*) from organization' 19999)"
  writes_on "while a restore goes on"
  finished pgr/wrong Failed 300
  reason_is pgr/wrong VerificationMismatch
  says pgr/wrong "select count(*) from organization gave 20000, expected was 19999" "HINT: choose another target" "Everything is as it was before"
  same "status.safePoint" "$(field pgr/wrong safePoint)" "everything is as it was before the action"
  same "hash of the standby's volume" "$(volume_hash postgresql-standby)" "$before"
  same "replicas of postgresql-standby" "$(replicas postgresql-standby)" 0
  nothing_held pgr/wrong
  same "files of the archive that changed" "$(comm -23 <(echo "$files") <(archive_files))" ""
  writes_on "after the restore"
  acknowledged >"$work/acknowledged"
  all_there postgresql "$work/acknowledged"
}

failed_restore_happens_once() {
  user delete pgr/wrong
  user apply -f - <<<"$(restore_yaml wrong "" 'select count(*) from organization' 19999)"
  finished pgr/wrong Failed 120
  reason_is pgr/wrong AlreadyTried
  says pgr/wrong "has been tried in this repository before" "nothing was started" "HINT: an action happens once; to do it again, give the object another name"
  same "recover Jobs" "$(jobs_of "$(uid pgr/wrong)" recover)" ""
}

cancelled_recovery_is_put_back() {
  local before
  before=$(volume_hash postgresql-standby)
  user apply -f - <<<"$(restore_yaml cancelled "" "$slow" 1)"
  recovering pgr/cancelled
  user patch pgr cancelled --type=merge -p '{"spec":{"cancel":true}}'
  finished pgr/cancelled Cancelled 180
  reason_is pgr/cancelled Cancelled
  says pgr/cancelled "cancelled; everything is as it was before"
  same "hash of the standby's volume" "$(volume_hash postgresql-standby)" "$before"
  same "replicas of postgresql-standby" "$(replicas postgresql-standby)" 0
  nothing_held pgr/cancelled
}

operator_killed_in_a_recovery() {
  local target expected restarts
  target=$(now)
  sleep 1
  expected=$(scene_sql "$ns" postgresql "select count(*) || '/' || coalesce(sum(hashtext(t::text)), 0) from credit_trade t where pg_xact_commit_timestamp(xmin) <= '$target'")
  restarts=$(operator_restarts)
  user apply -f - <<<"$(restore_yaml good "$target" 'select count(*) from organization' 20000 "$slow" 1)"
  recovering pgr/good
  kill_operator
  finished pgr/good Completed 300
  [ "$(operator_restarts)" -gt "$restarts" ] || fail "the operator was not killed"
  same "recover Jobs" "$(jobs_of "$(uid pgr/good)" recover | wc -l)" 1
  same "verified" "$(field pgr/good verified)" "2 queries as expected"
  same "rows of the standby (count/hash)" "$(rows postgresql-standby)" "$expected"
  same "replicas of postgresql-standby" "$(replicas postgresql-standby)" 1
  nothing_held pgr/good
}

# Noted just before somebody deletes; the application writes on all the while.
lsn_and_name_as_targets() {
  local lsn
  lsn=$(scene_sql "$ns" postgresql "select pg_current_wal_lsn()")
  scene_sql "$ns" postgresql "select pg_create_restore_point('20261120')" >/dev/null
  scene_sql "$ns" postgresql "create table deleted as select * from organization; delete from organization where id <= 100" >/dev/null
  user apply -f - <<<"$(restore_yaml by-name "" 'select count(*) from organization' 20000 | sed 's/^  to:/  recoveryTarget: {targetName: "20261120"}\n&/')"
  finished pgr/by-name Completed 300
  same "target of pgr/by-name" "$(field pgr/by-name target.asked)" "name 20261120"
  # Where it is not quite sure what is meant it must be said: the application's next commit may begin right there.
  user apply -f - <<<"$(restore_yaml by-lsn "" 'select count(*) from organization' 20000 | sed "s|^  to:|  recoveryTarget: {targetLSN: $lsn, exclusive: true, targetTLI: 1}\n&|")"
  finished pgr/by-lsn Completed 300
  same "target of pgr/by-lsn" "$(field pgr/by-lsn target.asked)" "before LSN $lsn, timeline 1"
  user get pgr/by-lsn -o wide | grep -qF "before LSN $lsn, timeline 1" || fail "kubectl get does not show the target: $(user get pgr/by-lsn -o wide)"
  user apply -f - <<<"$(restore_yaml by-xid "" | sed "s|^  to:|  recoveryTarget: {targetXID: 4000000000}\n&|")"
  finished pgr/by-xid Failed 120
  reason_is pgr/by-xid UnknownTransaction
  says pgr/by-xid "has no commit of transaction 4000000000 from" "HINT: the nearest committed ones by number are"
  same "replicas of postgresql-standby" "$(replicas postgresql-standby)" 1
  scene_sql "$ns" postgresql "insert into organization select * from deleted where id <= 100; drop table deleted" >/dev/null
  nothing_held pgr/by-lsn
}

deleted_restore_is_put_back() {
  local before served id
  before=$(ls "$(volume postgresql-standby)") served=$(rows postgresql-standby)
  user apply -f - <<<"$(restore_yaml deleted "" "$slow" 1)"
  id=$(uid pgr/deleted)
  recovering pgr/deleted
  same "replicas of postgresql-standby meanwhile" "$(replicas postgresql-standby)" 0
  user delete pgr deleted --timeout=20s || fail "the deleted restore stays: $(status_of pgr/deleted)"
  put_back
  same "replicas of postgresql-standby" "$(replicas postgresql-standby)" 1
  _scene_rollout "$ns" postgresql-standby
  same "rows of the standby (count/hash)" "$(rows postgresql-standby)" "$served"
  same "directories of the standby's volume" "$(ls "$(volume postgresql-standby)")" "$before"
  _scene_until 60 "its Jobs go" no_jobs_of "$id"
  writes_on "after all that"
  acknowledged >"$work/acknowledged"
  all_there postgresql "$work/acknowledged"
}

old_walbackup_is_left_alone() {
  local walbackup repository name
  walbackup=$(volume postgresql-backup-cns)/walbackup repository=$(volume postgresql-backup-cns)/tfrs
  same "files of walbackup/ that were read" "$(find "$walbackup" -type f -newerat 2001-01-02)" ""
  same "files of walbackup/" "$(cd "$walbackup" && sha256sum ./*)" "$(cat "$work/walbackup")"
  [ -n "$(find "$walbackup" -type f -newerat 2001-01-02)" ] || fail "nobody would notice a reader: access times are not kept here"
  for name in "$walbackup"/*A[AB]; do same "copies of it in the archive" "$(find "$repository" -name "${name##*/}*")" ""; done
  ! scene get pgt,pgb,pgr -o json | jq -c '.items[].status' | grep -E '0000000100000000000000A[AB]' || fail "a status counts segments of walbackup/"
}
