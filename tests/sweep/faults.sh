# What else can die, stand still or come twice. Sourced after tests/sweep/steps.sh.
# shellcheck shell=bash
# The first leaves a standby that can take over, the second takes it; those behind restore it again.
faults=(two_jobs_on_one_volume leader_stands_still two_operators replies_are_lost kubelet_dies apiserver_dies)
standby_ready() { # name: a restored standby, if there is none yet
  [ -e "$work/restored" ] || restore_case "$1"
  rm -f "$work/restored"
}

# Our recovery Job copied by hand under another name: one volume, two Jobs. The claim file stops the second.
two_jobs_on_one_volume() { # name
  local job to
  to=$(other_member "$(primary_now)")
  restore_begins "$1" "$slow" 1
  reaches "pgr/$1" message 'verification runs' 180
  job=$(job_name "pgr/$1" recover)
  scene get job "$job" -o json | jq --arg name "$job-copy" '.metadata = {name: $name, namespace: .metadata.namespace}
    | del(.spec.selector, .status, .spec.template.metadata.labels["controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name"])' |
    scene create -f - >/dev/null
  scene wait --for=condition=Failed "job/$job-copy" --timeout=90s >/dev/null || fail "the copied Job is not Failed: $(scene get job "$job-copy" -o jsonpath='{.status}')"
  holds "the copied Job's answer" "$(scene get pods -l "job-name=$job-copy" -o jsonpath='{.items[0].status.containerStatuses[0].state.terminated.message}')" \
    VolumeClaimed "is claimed by pod" "nothing was touched"
  scene delete job "$job-copy" --wait=false >/dev/null
  settled "pgr/$1" Completed 300
  same verified "$(field "pgr/$1" verified)" "1 queries as expected"
  same "promoted timelines of $1" "$(jq -r .result.newTimeline "$(volume "$to")/.pgrunbook/undo-$(uid "pgr/$1").json")" "$(field "pgr/$1" reached.timeline)"
  nothing_held "pgr/$1"
  rm -rf "$(volume "$to")"/userdata.pgrunbook-*
  touch "$work/restored"
}

# Two operators at once, neither knowing of a leader: names, tests in patches and resourceVersions hold the acts to one.
two_operators() { # name
  operator_start second --no-leader-election --health-port 8081
  restore_case "$1-r"
  rm -f "$work/restored"
  cutover_case "$1-f"
  [ "$(wc -l <"$work/second.log")" -gt 3 ] || fail "the second operator did nothing"
  operator_stop second
}
# With leader election: the holder stands still for longer than its Lease in the middle of a cutover, the other takes
# over and ends it, and then the first one goes on.
leader_stands_still() { # name
  local from to pid leader
  operator_stop
  scene delete lease pgrunbook --ignore-not-found >/dev/null
  operator_start operator --health-port 8080
  _scene_until 60 "the first leads" lease_held || fail "nobody leads"
  operator_start second --health-port 8081
  standby_ready "$1-r"
  from=$(primary_now) to=$(other_member "$(primary_now)")
  : >"$work/writes.jsonl"
  cutover_begins "$1-f"
  reaches "pgf/$1-f" step '^(stop-primary|fence)$' 180
  leader=$(scene get lease pgrunbook -o jsonpath='{.spec.holderIdentity}')
  pid=$(cat "$work/operator.pid")
  kill -STOP "$pid"
  settled "pgf/$1-f" Completed 300
  [ "$(scene get lease pgrunbook -o jsonpath='{.spec.holderIdentity}')" != "$leader" ] || fail "the one that stands still still leads"
  cut_over "$1-f" "$from" "$to"
  kill -CONT "$pid"
  sleep 5
  ! kill -0 "$pid" 2>/dev/null || fail "the one that stood still goes on without its Lease"
  cut_over "$1-f" "$from" "$to"
  operator_stop second
}
# The operator lives, and of every write that differs the first reply never comes: whether it was done only a look tells.
replies_are_lost() { # name
  refuse '999 ^(POST|PATCH|DELETE) .*'
  restore_case "$1-r"
  rm -f "$work/restored"
  cutover_case "$1-f"
  [ "$(jq -r 'select(.lost) | .what' "$work/writes.jsonl" | wc -l)" -ge 20 ] || fail "only these replies were lost: $(jq -r 'select(.lost) | .what' "$work/writes.jsonl")"
  nothing_refused
}
lease_held() { [ -n "$(scene get lease pgrunbook -o jsonpath='{.spec.holderIdentity}' 2>/dev/null)" ]; }

# The kubelet and the API server die and come back in the middle of a recovery, and of a cutover.
component_dies() { # component name
  local pid
  pid=$(tests/cluster pid "$1") || fail "$1 does not run"
  kill -9 "$pid"
  sleep 2
  tests/cluster up >/dev/null 2>&1
  [ "$(tests/cluster pid "$1")" != "$pid" ] || fail "$1 was not killed"
}
dies_in_a_restore() { # name component
  restore_begins "$1" "$slow" 1
  reaches "pgr/$1" message 'verification runs' 180
  component_dies "$2"
  settled "pgr/$1" Completed 400
  jobs_once "pgr/$1" plan recover proof record
  nothing_held "pgr/$1"
  rm -rf "$(volume "$(other_member "$(primary_now)")")"/userdata.pgrunbook-*
}
dies_in_a_cutover() { # name component
  local to
  to=$(other_member "$(primary_now)")
  cutover_begins "$1"
  reaches "pgf/$1" step '^(stop-primary|fence)$' 180
  component_dies "$2"
  settled "pgf/$1" Completed 400
  cut_over "$1" "$from" "$to"
}
dies_twice() { # name component
  rm -f "$work/restored"
  dies_in_a_restore "$1-r" "$2"
  : >"$work/writes.jsonl"
  dies_in_a_cutover "$1-f" "$2"
}
kubelet_dies() { dies_twice "$1" kubelet@1; }
apiserver_dies() { dies_twice "$1" kube-apiserver; }
