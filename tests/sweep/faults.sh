# What else can die, stand still or come twice. Sourced after tests/sweep/steps.sh.
# shellcheck shell=bash

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
}

# Two operators at once, neither knowing of a leader: names, tests in patches and resourceVersions hold the acts to one.
two_operators() { # name
  operator_start second --no-leader-election --health-port 8081
  restore_case "$1-r"
  cutover_case "$1-f"
  [ "$(wc -l <"$work/second.log")" -gt 3 ] || fail "the second operator did nothing"
  operator_stop second
}
# With leader election: the holder stands still for longer than its Lease in the middle of a cutover, the other takes
# over and ends it, and then the first one goes on.
leader_stands_still() { # name
  local from to pid
  operator_stop
  scene delete lease pgrunbook --ignore-not-found >/dev/null
  operator_start operator --health-port 8080
  _scene_until 60 "the first leads" lease_held || fail "nobody leads"
  operator_start second --health-port 8081
  restore_case "$1-r"
  from=$(primary_now) to=$(other_member "$(primary_now)")
  : >"$work/writes.jsonl"
  cutover_begins "$1-f"
  reaches "pgf/$1-f" step '^(stop-primary|fence)$' 180
  pid=$(cat "$work/operator.pid")
  kill -STOP "$pid"
  settled "pgf/$1-f" Completed 300
  cut_over "$1-f" "$from" "$to"
  kill -CONT "$pid"
  sleep 5
  cut_over "$1-f" "$from" "$to"
  operator_stop second
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
kubelet_dies() { dies_in_a_restore "$1-r" kubelet@1 && : >"$work/writes.jsonl" && dies_in_a_cutover "$1-f" kubelet@1; }
apiserver_dies() { dies_in_a_restore "$1-r" kube-apiserver && : >"$work/writes.jsonl" && dies_in_a_cutover "$1-f" kube-apiserver; }
