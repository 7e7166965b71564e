# A failure at every step of every action. Before the point of no return all is put back, after it there is only
# forward. The means are the API server's refusal of one write (422, which no retry mends), and the death of a Job's
# pod. The table in docs/faults.md says which case is which step's; a unit test compares both with the flows. Sourced
# after tests/sweep/lib.sh, operator outside.
# shellcheck shell=bash

# Cases that build on each other, in order; a group has a namespace of its own.
declare -A groups
# Archiving is not set up, the applications are at 0; "leave" follows once it is.
groups[setup]="setup_hold_refused setup_stop_refused setup_job_refused setup_killed setup_start_refused setup_proof_refused setup_proof_killed
  setup_put_back_refused setup_put_back_killed setup_completes
  leave_hold_refused leave_stop_refused leave_job_refused leave_job_killed leave_start_refused"
# Onto a standby at 0, whose volume must be byte for byte as before; then onto one at 1.
groups[restore]="restore_plan_refused restore_plan_killed restore_hold_refused restore_intent_refused restore_recover_refused restore_recover_killed
  restore_recover_deleted restore_undo_refused restore_undo_killed restore_start_refused restore_proof_refused restore_proof_killed
  restore_transcript_refused restore_stop_refused restore_start_refused_at_one"
groups[cutover]="cutover_plan_refused cutover_plan_killed cutover_hold_refused cutover_fence_ready_refused cutover_fence_ready_killed
  cutover_applications_refused cutover_stop_refused cutover_fence_killed cutover_unfence_refused cutover_unfence_killed cutover_switch_refused
  cutover_service_does_not_follow cutover_goes_forward"
# From a primary at 0, then from one that crash-loops; the cutover is from a dead primary.
groups[salvage]="backup_plan_refused backup_plan_killed backup_hold_refused backup_refused backup_killed backup_transcript_refused backup_record_refused
  backup_record_killed
  salvage_refused salvage_killed salvage_resolve_refused salvage_resolve_killed salvage_recover_killed salvage_stop_refused salvage_killed_at_one
  dead_fence_refused dead_fence_killed dead_cutover_goes_forward"

# A recovery that takes its time: in the verification, everything replayed.
slow='select count(*) from (select pg_sleep(25)) x'
wrong='select count(*) from organization' # with an expectation that nothing meets
refuse() { printf '%s\n' "$@" >"$work/fail.new" && mv "$work/fail.new" "$work/fail"; } # "STATUS REGEX"...
nothing_refused() { : >"$work/fail"; }
was_refused() { [ "$(jq -r 'select(.status == 422 and .n == 0) | .what' "$work/writes.jsonl" | wc -l)" != 0 ] || fail "nothing was refused: the step did not write what it was thought to"; }
job_name() { # kind/name step [number]
  local kind
  case $1 in pgt/*) kind=pgt ;; pgb/*) kind=pgb ;; pgr/*) kind=pgr ;; *) kind=pgf ;; esac
  echo "$kind-$(uid "$1" | cut -c1-8)-$2-${3:-1}"
}
job_pod() { scene get pods -l "job-name=$1" -o jsonpath='{.items[0].metadata.name}'; }
# The processes of a Job's container, as the kernel's OOM killer would.
kill_pod_of() { # kind/name step [number]
  local pid=''
  # What a process has done is seen sooner than the kubelet says which container it is.
  _scene_until 20 "Job $2 of $1 has a process" work_has_pid "$(job_name "$@")" || fail "Job $2 of $1 has no process"
  kill -9 "$pid"
}
work_has_pid() { pid=$(container_pid "job-name=$1" work); [ -n "$pid" ]; }
died='JobDied|PodFailed' # as far as its pod had come
because() { [[ $(field "$1" reason) =~ ^($2)$ ]] || fail "reason of $1: is $(field "$1" reason), should be $2"; } # kind/name regex
# Jobs that are done within a second: their pod is deleted as soon as it is there.
pod_dies() { # kind/name step [number]
  local job pod='' until=$((SECONDS + 150))
  job=$(job_name "$@")
  while [ -z "$pod" ]; do
    ((SECONDS < until)) || fail "Job $job has no pod"
    pod=$(scene get pods -l "job-name=$job" -o name)
  done
  scene delete "$pod" --wait=false >/dev/null
}
claimed() { [ -e "$(volume "$1")/.pgrunbook/claim" ]; }
unclaimed() { local m; for m; do ! claimed "$m" || fail "the volume of $m is still claimed: $(cat "$(volume "$m")/.pgrunbook/claim")"; done; }
# Refused before the first step.
never_begun() { # kind/name reason
  settled "$1" Failed 300
  because "$1" "$2"
  same "status.safePoint of $1" "$(field "$1" safePoint)" "nothing was touched"
  nothing_held "$1"
  nothing_refused
}
way_back_is_blocked() { # kind/name step words...: then what was refused is allowed, and it goes on by itself
  phase "$1" Blocked 300
  says "$1" "putting back step $2 needs help" "${@:3}"
  was_refused
  nothing_refused
}

# ---- setup: on a primary that archives by another command
setup_field() { scene get pgt tfrs -o jsonpath="{.status.setup.$1}"; }
setup_attempt() { local n; n=$(setup_field operation.attempt 2>/dev/null); echo "${n:-0}"; }
setup_is() { [ "$(setup_attempt)/$(setup_field phase)" = "$1" ]; }
setup_phase() { # Phase seconds: of this case's attempt
  _scene_until "$2" "setup $attempt is $1" setup_is "$attempt/$1" || fail "setup $attempt is not $1: $(setup_attempt) $(setup_field phase) $(setup_field message)"
}
configuration() { (cd "$(volume postgresql)/userdata" && sha256sum pg_hba.conf postgresql.conf postgresql.auto.conf); }
archive_command() { scene_sql "$ns" postgresql 'show archive_command'; }
setup_wanted() { user patch pgt tfrs --type=merge -p "{\"spec\":{\"archive\":{\"wal\":{\"setup\":\"$1\"}}}}" >/dev/null; } # Report|ConfigureAndRestart
setup_begins() {
  files_before=$(configuration) command_before=$(archive_command)
  attempt=$(($(scene get pgt tfrs -o name >/dev/null 2>&1 && setup_attempt || echo 0) + 1))
  if [ "$attempt" = 1 ]; then user apply -f - <<<"$(demo_topology)" >/dev/null; else setup_wanted ConfigureAndRestart; fi
  _scene_until 60 "setup $attempt begins" setup_has_begun || fail "setup $attempt does not begin"
}
setup_has_begun() { [ "$(setup_attempt)" = "$attempt" ]; }
setup_put_back() { # reason words...: after a failure
  setup_phase Failed 400
  [[ $(setup_field reason) =~ ^($1)$ ]] || fail "reason of setup: is $(setup_field reason), should be $1"
  holds "message of setup" "$(setup_field message)" "${@:2}" "Everything is as it was before"
  nothing_refused
  setup_wanted Report
  same "replicas of postgresql" "$(replicas postgresql)" 1
  _scene_rollout "$ns" postgresql
  same "configuration of postgresql" "$(configuration)" "$files_before"
  same archive_command "$(archive_command)" "$command_before"
  unclaimed postgresql
  same "Leases" "$(scene get leases -o name)" lease.coordination.k8s.io/pgrunbook
}
# The whole pod: the first process of that process namespace.
kill_container_with() { # pid
  local pid=$1
  while [ "$(awk '/^NSpid:/ { print $NF }' "/proc/$pid/status")" != 1 ]; do pid=$(awk '/^PPid:/ { print $2 }' "/proc/$pid/status"); done
  kill -9 "$pid"
}
# While `postgres --single` of a Job works on this volume; its working directory is the data directory. It is held
# first, for it may be over before its container is found.
dies_as_single_user() { # claim
  local pid='' until=$((SECONDS + 200)) data
  data=$(volume "$1")/userdata
  while [ -z "$pid" ]; do
    ((SECONDS < until)) || fail "no postgres --single works on $data"
    for pid in $(pgrep -f -- ' --single ' || true); do
      [ "/proc/$pid/cwd" -ef "$data" ] && kill -STOP "$pid" 2>/dev/null && break || pid=''
    done
    sleep .02
  done
  kill_container_with "$pid"
}
setup_hold_refused() { refuse '422 ^POST .*/leases/pgrunbook-'; setup_begins; setup_put_back Invalid; was_refused; }
setup_stop_refused() { refuse '422 ^PATCH .*/deployments/postgresql .*"replicas":0'; setup_begins; setup_put_back Invalid "scale Deployment postgresql to 0"; }
setup_job_refused() { refuse '422 ^POST .*-setup-[0-9]+$'; setup_begins; setup_put_back Invalid "create Job"; }
setup_killed() { setup_begins; dies_as_single_user postgresql; setup_put_back JobDied "left no answer"; }
setup_start_refused() { # the way back needs the same write
  refuse '422 ^PATCH .*/deployments/postgresql .*"replicas":1'
  setup_begins
  setup_phase Blocked 300
  holds "message of setup" "$(setup_field message)" "putting back step stop-primary needs help" "scale Deployment postgresql to 1"
  nothing_refused
  setup_put_back Invalid "scale Deployment postgresql to 1"
}
setup_proof_refused() { refuse '422 ^POST .*-proof-[0-9]+$'; setup_begins; setup_put_back Invalid "create Job"; }
setup_proof_killed() { setup_begins; pod_dies pgt/tfrs proof "$attempt"; setup_put_back "$died"; }
setup_put_back_refused() {
  refuse '422 ^POST .*-(proof|put-back(-[0-9]+)?)-[0-9]+$'
  setup_begins
  setup_phase Blocked 300
  holds "message of setup" "$(setup_field message)" "putting back step setup needs help" "create Job"
  nothing_refused
  setup_put_back Invalid "create Job"
}
setup_put_back_killed() { # what is to be put back at attempt 9 is what that one found: the user has written meanwhile
  echo "# written between two attempts" >>"$(volume postgresql)/userdata/pg_hba.conf"
  refuse '422 ^POST .*-proof-[0-9]+$'
  setup_begins
  pod_dies pgt/tfrs "put-back-$attempt"
  setup_put_back Invalid "create Job"
  grep -q "written between two attempts" "$(volume postgresql)/userdata/pg_hba.conf" || fail "a line of the user's is gone"
}
setup_completes() {
  setup_begins
  setup_phase Completed 300
  _scene_until 90 "the topology archives" archiving || fail "the topology does not archive: $(scene get pgt tfrs -o jsonpath='{.status.message}')"
  setup_wanted Report
  unclaimed postgresql
}
archiving() { [ "$(scene get pgt tfrs -o jsonpath='{.status.conditions[?(@.type=="ContinuousArchiving")].status}')" = True ]; }

# ---- leave: the applications are at 0
archiving_again() {
  archiving && [[ $(archive_command) = *pgrunbook-agent* ]] && return
  setup_completes
}
leave_begins() {
  archiving_again
  : >"$work/leave.out"
  rm -f "$work/leave.rc"
  ( trap - EXIT ERR; set +eE; tests/cluster exec "$out/operator/pgrunbook" leave tfrs --kubeconfig "$(realpath "$admin")" -n "$ns" >"$work/leave.out" 2>"$work/leave.err"; echo $? >"$work/leave.rc" ) </dev/null >/dev/null 2>&1 3<&- &
}
leave_ended() { [ -s "$work/leave.rc" ]; }
leave_says() { # exit code, words...
  _scene_until 400 "leave ends" leave_ended || fail "leave does not end: $(cat "$work/leave.out" "$work/leave.err")"
  nothing_refused
  same "exit code of leave" "$(cat "$work/leave.rc")" "$1"
  holds "what leave says" "$(cat "$work/leave.out" "$work/leave.err")" "${@:2}"
  same "replicas of postgresql" "$(replicas postgresql)" 1
  _scene_rollout "$ns" postgresql
  unclaimed postgresql postgresql-standby
  same "Leases" "$(scene get leases -o name)" lease.coordination.k8s.io/pgrunbook
}
still_set_up() {
  same "the role" "$(scene_sql "$ns" postgresql "select count(*) from pg_roles where rolname = 'pgrunbook'")" 1
  holds archive_command "$(archive_command)" "pgrunbook-agent archive-wal"
}
nothing_of_setup_on() { # member: what the files say, whether it runs or not
  ! grep -q pgrunbook "$(volume "$1")"/userdata/{postgresql.auto.conf,pg_hba.conf} || fail "the configuration of $1 still names pgrunbook"
  [ ! -e "$(volume "$1")/.pgrunbook/bin" ] || fail "the agent is still on the volume of $1"
}
left() { nothing_of_setup_on postgresql; nothing_of_setup_on postgresql-standby; same "the role" "$(scene_sql "$ns" postgresql "select count(*) from pg_roles where rolname = 'pgrunbook'")" 0; }
leave_job() { echo "leave-$(scene get pvc "$1" -o jsonpath='{.metadata.uid}' | cut -c1-8)"; } # member
leave_hold_refused() { refuse '422 ^POST .*/leases/pgrunbook-[0-9a-f]{8}$'; leave_begins; leave_says 1 "refused by the test" "Everything is as it was before"; still_set_up; }
leave_stop_refused() { refuse '422 ^PATCH .*/deployments/postgresql .*"replicas":0'; leave_begins; leave_says 1 "scale Deployment postgresql to 0" "Everything is as it was before"; still_set_up; }
# The primary is left, the standby is not: said as it is, and the next time ends it.
leave_job_refused() {
  archiving_again
  refuse "422 ^POST .*-$(leave_job postgresql-standby)-1\$"
  leave_begins
  leave_says 1 "create Job" "Nothing of setup is left on postgresql; postgresql-standby is as it was. HINT: leave again"
  nothing_of_setup_on postgresql
  leave_once_more
  left
}
leave_once_more() {
  rm -f "$work/leave.rc"
  tests/cluster exec "$out/operator/pgrunbook" leave tfrs --kubeconfig "$(realpath "$admin")" -n "$ns" >"$work/leave.out" 2>"$work/leave.err" || fail "leave: $(cat "$work/leave.err")"
}
leave_job_killed() { # its successor takes the volume over, in whatever state the server is
  leave_begins
  dies_as_single_user postgresql
  leave_says 0 "topology tfrs is left"
  left
}
leave_start_refused() {
  archiving_again
  refuse '422 ^PATCH .*/deployments/postgresql .*"replicas":1'
  leave_begins
  _scene_until 300 "leave is Blocked" leave_is_blocked || fail "leave is not Blocked: $(cat "$work/leave.out" "$work/leave.err")"
  nothing_refused
  leave_says 1 "scale Deployment postgresql to 1" "Nothing of setup is left on postgresql, postgresql-standby"
  leave_once_more
  left
}
leave_is_blocked() { grep -q '^Blocked.*needs help' "$work/leave.out"; }

# ---- restore
# With a former count of 0 the step stop-target has nothing to write; see restore_stop_refused.
restore_put_back() { # name reason words...: after a failure
  put_back_with "everything is as it was before the action" "$@"
}
put_back_with() { # safe-point name reason words...
  local safe=$1 name=$2 to
  shift 2
  to=$(other_member "$(primary_now)")
  settled "pgr/$name" Failed 400
  because "pgr/$name" "$1"
  says "pgr/$name" "${@:2}" "Everything is as it was before"
  same "status.safePoint" "$(field "pgr/$name" safePoint)" "$safe"
  unclaimed "$to"
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
recovering() { reaches "pgr/$1" message 'verification runs' 240; } # name

restore_plan_refused() { refuse '422 ^POST .*-plan-1$'; restore_begins "$1"; never_begun "pgr/$1" Invalid; was_refused; same_bytes; }
restore_plan_killed() { restore_begins "$1"; pod_dies "pgr/$1" plan; never_begun "pgr/$1" "$died"; same_bytes; }
restore_hold_refused() { refuse '422 ^POST .*/leases/pgrunbook-'; restore_begins "$1"; restore_put_back "$1" Invalid; was_refused; same_bytes; }
# The note of what must be put back comes before all else, the intent of a step before its act: while neither may be
# written nothing is done, and it goes on once both may.
restore_intent_refused() {
  refuse '422 ^PATCH .*/leases/pgrunbook-.* /metadata/annotations='
  restore_begins "$1" "$wrong" 19999
  phase "pgr/$1" Blocked 240
  says "pgr/$1" "step hold needs help: keep what must be put back" "refused by the test"
  refuse '422 ^PATCH .*/status /status=Running recover/'
  _scene_until 60 "the intent is refused" intent_refused || fail "the intent of recover was never refused"
  sleep 3
  same "recover Jobs without an intent" "$(jobs_of "$(uid "pgr/$1")" recover)" ""
  nothing_refused
  restore_put_back "$1" VerificationMismatch
  same_bytes
}
intent_refused() { [ "$(jq -r 'select(.status == 422 and (.what | test("/status=Running recover/"))) | .what' "$work/writes.jsonl" | wc -l)" != 0 ]; }
restore_recover_refused() { refuse '422 ^POST .*-recover-1$'; restore_begins "$1"; restore_put_back "$1" Invalid "create Job"; was_refused; same_bytes; }
restore_recover_killed() { # the pod's processes, while everything is replayed
  restore_begins "$1" "$slow" 1
  recovering "$1"
  kill_pod_of "pgr/$1" recover
  restore_put_back "$1" JobDied "left no answer"
  same_bytes
}
restore_recover_deleted() {
  restore_begins "$1" "$slow" 1
  recovering "$1"
  scene delete pod "$(job_pod "$(job_name "pgr/$1" recover)")" --wait=false >/dev/null
  restore_put_back "$1" "$died"
  same_bytes
}
restore_undo_refused() {
  restore_begins "$1" "$slow" 1
  recovering "$1"
  refuse '422 ^POST .*-undo-1$'
  kill_pod_of "pgr/$1" recover
  way_back_is_blocked "pgr/$1" recover "create Job"
  restore_put_back "$1" JobDied
  same_bytes
}
# The Undo Job dies as well, with the volume's claim in its hand: the next one may break it. It hangs there reading its
# journal, which is a pipe that nobody writes to.
restore_undo_killed() {
  local own
  restore_begins "$1" "$slow" 1
  recovering "$1"
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
  way_back_is_blocked "pgr/$1" stop-target "scale Deployment $to to 1"
  restore_put_back "$1" Invalid "scale Deployment $to to 1"
}
restore_start_refused_at_one() { restore_start_refused "$1"; }
# The member has served already: what it wrote is kept beside.
# Put back, and the copy that had been started lies beside.
put_back_beside() { # inode of the former directory, name reason words...
  local to copy before=$1
  shift
  to=$(other_member "$(primary_now)")
  settled "pgr/$1" Failed 400
  copy=userdata.pgrunbook-$(uid "pgr/$1" | cut -c1-8)
  put_back_with "Everything is as it was before; the restored copy had been started, so it stays on the volume of $to in /var/lib/pgsql/data/$copy. HINT: remove that directory when nobody needs it" "$@"
  same "data directory" "$(inode "$(volume "$to")/userdata")" "$before"
  [ -e "$(volume "$to")/$copy/PG_VERSION" ] || fail "the restored copy is not beside"
  rm -rf "$(volume "$to")"/userdata.pgrunbook-*
}
restore_proof_refused() {
  local before
  before=$(inode "$(volume "$(other_member "$(primary_now)")")/userdata")
  refuse '422 ^POST .*-proof-1$'
  restore_begins "$1"
  put_back_beside "$before" "$1" Invalid "create Job"
}
restore_proof_killed() {
  local before
  before=$(inode "$(volume "$(other_member "$(primary_now)")")/userdata")
  restore_begins "$1"
  pod_dies "pgr/$1" proof
  put_back_beside "$before" "$1" "$died"
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
cutover_asked() { # name
  from=$(primary_now)
  cutover_yaml "$1" | sed "s/candidate: .*/candidate: $(other_member "$from")/" | user apply -f -
}
cutover_begins() { # name
  cutover_asked "$1"
  phase "pgf/$1" AwaitingApproval 240
  approve "pgf/$1"
}
cutover_put_back() { # name reason words...
  local name=$1
  settled "pgf/$name" Failed 400
  because "pgf/$name" "$2"
  says "pgf/$name" "${@:3}" "Everything is as it was before"
  same selector "$(selector)" "$from"
  same "replicas of the members" "$(replicas postgresql)/$(replicas postgresql-standby)" 1/1
  same "replicas of the applications" "$(replicas tfrs)/$(replicas report)" 1/1
  [ ! -e "$(volume "$from")/userdata/standby.signal" ] || fail "$from is still fenced"
  unclaimed "$from"
  same "$from is read-only" "$(scene_sql "$ns" "$from" 'select pg_is_in_recovery()')" f
  nothing_held "pgf/$name"
  nothing_refused
  writes_on "after $name was put back"
}
cutover_plan_refused() { refuse '422 ^POST .*-plan-1$'; cutover_asked "$1"; never_begun "pgf/$1" Invalid; was_refused; }
cutover_plan_killed() { cutover_asked "$1"; pod_dies "pgf/$1" plan; never_begun "pgf/$1" "$died"; }
cutover_hold_refused() { refuse '422 ^POST .*/leases/pgrunbook-'; cutover_begins "$1"; cutover_put_back "$1" Invalid; }
cutover_fence_ready_refused() { refuse '422 ^POST .*-fence-1$'; cutover_begins "$1"; cutover_put_back "$1" Invalid "create Job"; }
cutover_fence_ready_killed() { cutover_begins "$1"; pod_dies "pgf/$1" fence; cutover_put_back "$1" "$died"; }
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
fence_dies() { # name: the Job dies while it waits for the stop
  cutover_begins "$1"
  reaches "pgf/$1" step '^stop-' 180
  kill_pod_of "pgf/$1" fence
}
cutover_fence_killed() { fence_dies "$1"; cutover_put_back "$1" JobDied "left no answer"; }
cutover_unfence_refused() {
  refuse '422 ^POST .*-unfence-1$'
  fence_dies "$1"
  phase "pgf/$1" Blocked 300
  says "pgf/$1" "needs help" "create Job"
  was_refused
  nothing_refused
  cutover_put_back "$1" JobDied "left no answer"
}
cutover_unfence_killed() {
  fence_dies "$1"
  pod_dies "pgf/$1" unfence
  cutover_put_back "$1" JobDied "left no answer"
}
cutover_switch_refused() {
  refuse '422 ^PATCH .*/services/postgresql '
  cutover_begins "$1"
  cutover_put_back "$1" Invalid "refused by the test"
}
# The candidate's server stands still from the approval on: no endpoint is ready.
cutover_service_does_not_follow() {
  local pid
  cutover_asked "$1"
  phase "pgf/$1" AwaitingApproval 240
  pid=$(container_pid "name=$(other_member "$from")" postgresql)
  kill -STOP "$pid"
  approve "pgf/$1"
  _scene_until 240 "the switch is taken back" selector_is_again "$from" "$1" || { kill -CONT "$pid"; fail "the selector is $(selector)"; }
  kill -CONT "$pid"
  cutover_put_back "$1" ServiceDoesNotFollow "s after the switch"
}
selector_is_again() { [ "$(selector)" = "$1" ] && [[ $(field "pgf/$2" reason) = ServiceDoesNotFollow ]]; } # member name
# Past the point of no return it is tried again for ever; then the applications may not reach the new primary.
cutover_goes_forward() { # name
  local to
  to=$(other_member "$(primary_now)")
  # Both: one that is back connects, and its session outlives the policies.
  refuse '422 ^PATCH .*/deployments/(report|tfrs) .*"replicas":1'
  cutover_begins "$1"
  phase "pgf/$1" Blocked 300
  says "pgf/$1" "step start-applications needs help" "scale Deployment report to 1"
  same selector "$(selector)" "$to"
  was_refused
  sleep 5
  same "phase of a cutover that only goes forward" "$(field "pgf/$1" phase)" Blocked
  user delete networkpolicy app-standby-in report-standby-in app-in report-in >/dev/null
  nothing_refused
  scene wait "pgf/$1" --for=jsonpath='{.status.reason}'=ApplicationDoesNotConnect --timeout=180s >/dev/null || fail "the applications connect: $(status_of "pgf/$1")"
  says "pgf/$1" "step first-connection needs help" "it goes on by itself"
  sweep_policies
  settled "pgf/$1" Completed 240
  cut_over "$1" "$from" "$to"
}
sweep_policies() { # the clients of both members
  {
    scene_allow "$ns" app 'name: tfrs' 'name: postgresql'
    scene_allow "$ns" report 'role: client' 'name: postgresql'
    scene_allow "$ns" app-standby 'name: tfrs' 'name: postgresql-standby'
    scene_allow "$ns" report-standby 'role: client' 'name: postgresql-standby'
  } | user apply -f - >/dev/null
}

# ---- backup
backup_begins() { # name [sed expressions...]
  local name=$1
  shift
  archive_before=$(archive_files)
  user apply -f - <<<"$(sed "s/name: tfrs-1/name: $name/${1:+; $1}" manifests/examples/backup.yaml)"
}
archive_kept() { same "files of the archive that changed" "$(comm -23 <(echo "$archive_before") <(archive_files))" ""; }
backup_put_back() { # name reason words...
  settled "pgb/$1" Failed 300
  because "pgb/$1" "$2"
  says "pgb/$1" "${@:3}" "Everything is as it was before"
  same "complete backups of $1" "$(find "$(archive)/basebackup" -path "*-$(uid "pgb/$1" | cut -c1-8)/backup.json" | wc -l)" 0
  archive_kept
  nothing_held "pgb/$1"
  nothing_refused
}
backup_completed() { # name words...: but the record
  settled "pgb/$1" Completed 300
  says "pgb/$1" "the transcript is not in the archive" "${@:2}"
  same "complete backups of $1" "$(ls "$(archive)/basebackup/$(field "pgb/$1" backupID)/backup.json" | wc -l)" 1
  nothing_held "pgb/$1"
  nothing_refused
}
backup_plan_refused() { refuse '422 ^POST .*-plan-1$'; backup_begins "$1"; never_begun "pgb/$1" Invalid; archive_kept; }
backup_plan_killed() { backup_begins "$1"; pod_dies "pgb/$1" plan; never_begun "pgb/$1" "$died"; archive_kept; }
backup_hold_refused() { refuse '422 ^POST .*/leases/pgrunbook-'; backup_begins "$1"; backup_put_back "$1" Invalid; was_refused; }
backup_refused() { refuse '422 ^POST .*-backup-1$'; backup_begins "$1"; backup_put_back "$1" Invalid "create Job"; }
backup_killed() { # the Job's processes, as soon as they run
  backup_begins "$1" 's/checkpoint: Fast/checkpoint: Spread/'
  _scene_until 120 "the backup's Job runs" backup_runs "$1" || fail "no Job of $1 runs"
  kill_pod_of "pgb/$1" backup
  backup_put_back "$1" JobDied "left no answer"
}
backup_runs() { [ -n "$(container_pid "job-name=$(job_name "pgb/$1" backup)" work)" ]; }
backup_transcript_refused() { refuse '422 ^POST .*/configmaps/'; backup_begins "$1"; backup_completed "$1" "write ConfigMap"; }
backup_record_refused() { refuse '422 ^POST .*-record-1$'; backup_begins "$1"; backup_completed "$1" "create Job"; }
backup_record_killed() { backup_begins "$1"; pod_dies "pgb/$1" record; backup_completed "$1" Job; }

# ---- salvage: a restore from a primary that is down
stopped_primary() { # both volumes are still
  [ "$(replicas postgresql)" = 0 ] || scene_scale "$ns" postgresql 0
  primary_before=$(volume_hash postgresql)
}
salvage_begins() { # name [sql expect]
  replicas_before=$(replicas postgresql-standby) primary_replicas=$(replicas postgresql)
  hash_before=$(volume_hash postgresql-standby)
  user apply -f - <<<"$(salvage_yaml "$1" "" "${@:2}")"
  if [ "$primary_replicas" != 0 ]; then
    phase "pgr/$1" AwaitingApproval 240
    approve "pgr/$1"
  fi
}
salvage_put_back() { # name reason words...
  restore_put_back "$@"
  same "replicas of postgresql" "$(replicas postgresql)" "$primary_replicas"
  same "hash of the standby's volume" "$(volume_hash postgresql-standby)" "$hash_before"
  [ "$primary_replicas" != 0 ] || same "hash of the primary's volume" "$(volume_hash postgresql)" "$primary_before"
}
salvage_refused() { stopped_primary; refuse '422 ^POST .*-salvage-1$'; salvage_begins "$1"; salvage_put_back "$1" Invalid "create Job"; was_refused; }
salvage_killed() { stopped_primary; salvage_begins "$1"; pod_dies "pgr/$1" salvage; salvage_put_back "$1" "$died"; }
salvage_resolve_refused() { stopped_primary; refuse '422 ^POST .*-resolve-1$'; salvage_begins "$1"; salvage_put_back "$1" Invalid "create Job"; was_refused; }
salvage_resolve_killed() { stopped_primary; salvage_begins "$1"; pod_dies "pgr/$1" resolve; salvage_put_back "$1" "$died"; }
salvage_recover_killed() {
  stopped_primary
  salvage_begins "$1" "$slow" 1
  recovering "$1"
  kill_pod_of "pgr/$1" recover
  salvage_put_back "$1" JobDied "left no answer"
}
# Its server was stopped cleanly before; then it dies under write load, and crash-loops.
crashed_primary() {
  ! crashed || return 0
  [ "$(replicas postgresql)" = 1 ] || scene_scale "$ns" postgresql 1
  scene_wait_ready "$ns"
  kill_primary postgresql
  touch "$work/crashed"
}
crashed() { [ -e "$work/crashed" ] && [ "$(replicas postgresql)" = 1 ]; }
salvage_stop_refused() {
  local wal
  crashed_primary
  wal=$(pg_wal postgresql)
  refuse '422 ^PATCH .*/deployments/postgresql .*"replicas":0'
  salvage_begins "$1"
  salvage_put_back "$1" Invalid "scale Deployment postgresql to 0"
  same "pg_wal of the dead primary" "$(pg_wal postgresql)" "$wal"
}
salvage_killed_at_one() { # it gets its count back
  local wal
  crashed_primary
  wal=$(pg_wal postgresql)
  salvage_begins "$1"
  pod_dies "pgr/$1" salvage
  salvage_put_back "$1" "$died"
  same "pg_wal of the dead primary" "$(pg_wal postgresql)" "$wal"
}
# The cutover away from it; the selector still leads to the dead one.
salvaged() {
  [ "$(replicas postgresql)/$(replicas postgresql-standby)" != 0/1 ] || return 0
  local name=good-$RANDOM
  crashed_primary
  user apply -f - <<<"$(salvage_yaml "$name" "" 'select count(*) from organization' 20000)"
  phase "pgr/$name" AwaitingApproval 240
  approve "pgr/$name"
  settled "pgr/$name" Completed 300
}
dead_put_back() { # name reason words...
  settled "pgf/$1" Failed 400
  because "pgf/$1" "$2"
  says "pgf/$1" "${@:3}" "Everything is as it was before"
  same selector "$(selector)" postgresql
  same "replicas of the members" "$(replicas postgresql)/$(replicas postgresql-standby)" 0/1
  same "replicas of the applications" "$(replicas tfrs)/$(replicas report)" 1/1
  same "hash of the dead primary's volume" "$(volume_hash postgresql)" "$primary_before"
  unclaimed postgresql
  nothing_held "pgf/$1"
  nothing_refused
}
dead_fence_refused() { salvaged; primary_before=$(volume_hash postgresql); refuse '422 ^POST .*-fence-1$'; cutover_begins "$1"; dead_put_back "$1" Invalid "create Job"; }
dead_fence_killed() { salvaged; primary_before=$(volume_hash postgresql); cutover_begins "$1"; pod_dies "pgf/$1" fence; dead_put_back "$1" "$died"; }
dead_cutover_goes_forward() {
  salvaged
  refuse '422 ^PATCH .*/deployments/(report|tfrs) .*"replicas":1'
  cutover_begins "$1"
  phase "pgf/$1" Blocked 300
  says "pgf/$1" "step start-applications needs help"
  nothing_refused
  settled "pgf/$1" Completed 240
  cut_over "$1" postgresql postgresql-standby
}

# ---- the groups
prepare_group() {
  case $group in
  setup)
    [[ $work = /* ]] || work=$PWD/$work
    e2e_namespace
    applications 0
    operator_moves_out
    ;;
  *)
    prepare_sweep
    rm -f "$work/crashed"
    [ "$group" != cutover ] || { outside_begins; restore_case for-cutovers; }
    ;;
  esac
}
# The longest first.
steps_groups() {
  local g c
  for g in salvage setup cutover restore; do
    for c in ${groups[$g]}; do [[ -n $only && ! $c =~ $only ]] || { echo "$g"; break; }; done
  done
}
# Takes groups until none is left; each in a namespace of its own.
steps_lane() {
  local group ns work one n restores=0 preparing=prepare_group
  while group=$(pop queue-groups); do
    ns=steps-$group work=$top/$group n=0
    mkdir -p "$work"
    scene_delete "$ns" >/dev/null 2>&1
    if prepared prepare; then
      for one in ${groups[$group]}; do
        [ -z "$only" ] || [[ $one =~ $only ]] || continue
        pop open >/dev/null || break
        case_ "$(dashed "$one")" one_fault "$one" "$(dashed "$one")-$((++n))"
      done
    else
      echo "FAIL prepare $ns: $(tail -n 2 "$work/prepare.log" | tr '\n' ' ')" | tee -a "$top/results"
    fi
    stop_recording
    scene_delete "$ns" >/dev/null 2>&1
  done
}
