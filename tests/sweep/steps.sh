# A failure at every step of every action. Before the point of no return all is put back, after it there is only
# forward. The means are the API server's refusal of one write (422, which no retry mends), and the death of a Job's
# pod. Sourced after tests/sweep/lib.sh, operator outside.
# shellcheck shell=bash

# A recovery that takes its time: in the verification, everything replayed.
slow='select count(*) from (select pg_sleep(25)) x'
refuse() { printf '%s\n' "$@" >"$work/fail.new" && mv "$work/fail.new" "$work/fail"; } # "STATUS REGEX"...
nothing_refused() { : >"$work/fail"; }
was_refused() { [ "$(jq -r 'select(.status == 422 and .n == 0) | .what' "$work/writes.jsonl" | wc -l)" != 0 ] || fail "nothing was refused: the step did not write what it was thought to"; }
data_hash() { (cd "$(volume "$1")/userdata" && { find . -printf '%y %m %p\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum; } | sha256sum); } # claim
job_pod() { scene get pods -l "job-name=$1" -o jsonpath='{.items[0].metadata.name}'; }
job_name() { jobs_of "$(uid "$1")" "$2" | sed 's|.*/||'; } # kind/name step
# The processes of a Job's container, as the kernel's OOM killer would.
kill_pod_of() { # kind/name step
  local pid
  pid=$(container_pid "job-name=$(job_name "$1" "$2")" work)
  [ -n "$pid" ] || fail "Job $2 of $1 has no process"
  kill -9 "$pid"
}

# ---- restore, onto a standby at 0 whose server is never started: byte-identical afterwards
# With a former count of 0 the step stop-target has nothing to write; see step_fails_at_one.
restore_put_back() { # name reason words...: after a failure
  local name=$1 to
  shift
  to=$(other_member "$(primary_now)")
  settled "pgr/$name" Failed 400
  reason_is "pgr/$name" "$1"
  says "pgr/$name" "${@:2}" "Everything is as it was before"
  same "status.safePoint" "$(field "pgr/$name" safePoint)" "everything is as it was before the action"
  [ ! -e "$(volume "$to")/.pgrunbook/claim" ] || fail "the volume of $to is still claimed"
  same "replicas of $to" "$(replicas "$to")" "$replicas_before"
  nothing_held "pgr/$name"
  nothing_refused
}
restore_begins() { # name [sql expect]: to the latest
  local to
  to=$(other_member "$(primary_now)")
  replicas_before=$(replicas "$to") hash_before=$([ "$(replicas "$to")" != 0 ] || volume_hash "$to")
  user apply -f - <<<"$(restore_yaml "$1" "" "${@:2}" | sed "s/{name: postgresql-standby}/{name: $to}/")"
}
same_bytes() { [ "$replicas_before" != 0 ] || same "hash of the volume" "$(volume_hash "$(other_member "$(primary_now)")")" "$hash_before"; }

restore_hold_refused() { refuse '422 ^POST .*/leases/pgrunbook-'; restore_begins "$1"; restore_put_back "$1" Invalid; same_bytes; }
restore_recover_refused() { refuse '422 ^POST .*-recover-1$'; restore_begins "$1"; restore_put_back "$1" Invalid "create Job"; same_bytes; }
restore_recover_killed() { # the pod's processes, while everything is replayed
  restore_begins "$1" "$slow" 1
  reaches "pgr/$1" message 'verification runs' 180
  kill_pod_of "pgr/$1" recover
  restore_put_back "$1" JobDied "left no answer"
  same_bytes
}
restore_recover_deleted() {
  restore_begins "$1" "$slow" 1
  reaches "pgr/$1" message 'verification runs' 180
  scene delete pod "$(job_pod "$(job_name "pgr/$1" recover)")" --wait=false >/dev/null
  restore_put_back "$1" JobDied
  same_bytes
}
# The Undo Job dies as well, with the volume's claim in its hand: the next one may break it. It hangs there reading its
# journal, which is a pipe that nobody writes to.
restore_undo_killed() {
  local own
  restore_begins "$1" "$slow" 1
  reaches "pgr/$1" message 'verification runs' 180
  own=$(volume "$(other_member "$(primary_now)")")/.pgrunbook
  mkfifo -m 666 "$own/undo-$(uid "pgr/$1").json"
  kill_pod_of "pgr/$1" recover
  _scene_until 90 "the Undo Job has the claim" claim_is_taken_over "$own" || fail "no Undo Job took the claim over: $(ls "$own")"
  kill_pod_of "pgr/$1" undo
  rm "$own/undo-$(uid "pgr/$1").json"
  restore_put_back "$1" JobDied
  [ "$(jobs_of "$(uid "pgr/$1")" undo | wc -l)" = 2 ] || fail "there were not two Undo Jobs: $(jobs_of "$(uid "pgr/$1")" undo)"
  same_bytes
}
claim_is_taken_over() { ls "$1"/claim.after-* >/dev/null 2>&1; }
restore_start_refused() { # exchanged already, and exchanged back
  local to
  to=$(other_member "$(primary_now)")
  refuse "422 ^PATCH .*/deployments/$to .*\"replicas\":1"
  restore_begins "$1"
  if [ "$replicas_before" = 0 ]; then
    restore_put_back "$1" Invalid "scale Deployment $to to 1"
    was_refused
    same_bytes
    return
  fi
  # The way back needs the same write: it waits for help, and goes on by itself.
  phase "pgr/$1" Blocked 300
  says "pgr/$1" "putting back step stop-target needs help" "scale Deployment $to to 1"
  was_refused
  nothing_refused
  restore_put_back "$1" Invalid "scale Deployment $to to 1"
}
restore_proof_refused() { # the member has served already: what it wrote is kept beside
  local to before
  to=$(other_member "$(primary_now)")
  before=$(inode "$(volume "$to")/userdata")
  refuse '422 ^POST .*-proof-1$'
  restore_begins "$1"
  restore_put_back "$1" Invalid "create Job"
  same "data directory" "$(inode "$(volume "$to")/userdata")" "$before"
  rm -rf "$(volume "$to")"/userdata.pgrunbook-*
}
restore_stop_refused() { # only where the member was at 1
  local to
  to=$(other_member "$(primary_now)")
  refuse "422 ^PATCH .*/deployments/$to .*\"replicas\":0"
  restore_begins "$1"
  restore_put_back "$1" Invalid "scale Deployment $to to 0"
}
restore_transcript_refused() { # the work is done and proven: it is Completed, and says what is missing
  refuse '422 ^POST .*/configmaps/'
  restore_begins "$1"
  settled "pgr/$1" Completed 400
  says "pgr/$1" "the transcript is not in the archive" "write ConfigMap"
  was_refused
  nothing_refused
  nothing_held "pgr/$1"
  rm -rf "$(volume "$(other_member "$(primary_now)")")"/userdata.pgrunbook-*
}

# ---- cutover
cutover_begins() { # name
  local to
  from=$(primary_now) to=$(other_member "$(primary_now)")
  cutover_yaml "$1" | sed "s/candidate: .*/candidate: $to/" | user apply -f -
  phase "pgf/$1" AwaitingApproval 240
  approve "pgf/$1"
}
cutover_put_back() { # name reason words...
  local name=$1 to
  to=$(other_member "$from")
  settled "pgf/$name" Failed 400
  reason_is "pgf/$name" "$2"
  says "pgf/$name" "${@:3}" "Everything is as it was before"
  same selector "$(selector)" "$from"
  same "replicas of the members" "$(replicas postgresql)/$(replicas postgresql-standby)" 1/1
  same "replicas of the applications" "$(replicas tfrs)/$(replicas report)" 1/1
  [ ! -e "$(volume "$from")/userdata/standby.signal" ] || fail "$from is still fenced"
  [ ! -e "$(volume "$from")/.pgrunbook/claim" ] || fail "the volume of $from is still claimed"
  same "$from is read-only" "$(scene_sql "$ns" "$from" 'select pg_is_in_recovery()')" f
  nothing_held "pgf/$name"
  nothing_refused
  writes_on "after $name was put back"
}
cutover_hold_refused() { refuse '422 ^POST .*/leases/pgrunbook-'; cutover_begins "$1"; cutover_put_back "$1" Invalid; }
cutover_fence_ready_refused() { refuse '422 ^POST .*-fence-1$'; cutover_begins "$1"; cutover_put_back "$1" Invalid "create Job"; }
cutover_applications_refused() {
  refuse '422 ^PATCH .*/deployments/tfrs .*"replicas":0'
  cutover_begins "$1"
  cutover_put_back "$1" Invalid "scale Deployment tfrs to 0"
}
cutover_stop_refused() {
  refuse "422 ^PATCH .*/deployments/$(primary_now) .*\"replicas\":0"
  cutover_begins "$1"
  cutover_put_back "$1" Invalid "scale Deployment $from to 0"
}
cutover_fence_killed() { # the Job dies while it waits for the stop
  cutover_begins "$1"
  reaches "pgf/$1" step '^stop-' 180
  kill_pod_of "pgf/$1" fence
  cutover_put_back "$1" JobDied "left no answer"
}
cutover_switch_refused() {
  refuse '422 ^PATCH .*/services/postgresql '
  cutover_begins "$1"
  cutover_put_back "$1" Invalid "refused by the test"
}
# Past the point of no return it is tried again for ever.
cutover_goes_forward() { # name
  local to
  to=$(other_member "$(primary_now)")
  refuse '422 ^PATCH .*/deployments/tfrs .*"replicas":1'
  cutover_begins "$1"
  phase "pgf/$1" Blocked 300
  says "pgf/$1" "step start-applications needs help" "scale Deployment tfrs to 1"
  same selector "$(selector)" "$to"
  was_refused
  sleep 5
  same "phase of a cutover that only goes forward" "$(field "pgf/$1" phase)" Blocked
  nothing_refused
  settled "pgf/$1" Completed 240
  cut_over "$1" "$from" "$to"
}

# ---- backup
backup_refused() {
  local files
  files=$(archive_files)
  refuse '422 ^POST .*-backup-1$'
  user apply -f - <<<"$(sed "s/name: tfrs-1/name: $1/" manifests/examples/backup.yaml)"
  settled "pgb/$1" Failed 300
  reason_is "pgb/$1" Invalid
  same "files of the archive that changed" "$(comm -23 <(echo "$files") <(archive_files))" ""
  nothing_held "pgb/$1"
  nothing_refused
}
backup_killed() { # the Job's processes, as soon as they run
  user apply -f - <<<"$(sed "s/name: tfrs-1/name: $1/; s/checkpoint: Fast/checkpoint: Spread/" manifests/examples/backup.yaml)"
  _scene_until 120 "the backup's Job runs" backup_runs "$1" || fail "no Job of $1 runs"
  kill_pod_of "pgb/$1" backup
  settled "pgb/$1" Failed 300
  reason_is "pgb/$1" JobDied
  same "complete backups of $1" "$(find "$(archive)/basebackup" -path "*-$(uid "pgb/$1" | cut -c1-8)/backup.json" | wc -l)" 0
  nothing_held "pgb/$1"
}
backup_runs() { [ -n "$(job_name "pgb/$1" backup)" ] && [ -n "$(container_pid "job-name=$(job_name "pgb/$1" backup)" work)" ]; }
