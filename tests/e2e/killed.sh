# kill -9 of the operator in the middle of a cutover (for a restore see restore.sh): the same end.
# shellcheck shell=bash
tests=(operator_killed_in_a_cutover)

prepare() { :; }

operator_killed_in_a_cutover() {
  local restarts old_pods
  restarts=$(operator_restarts)
  approve pgf/tfrs-to-standby
  reaches pgf/tfrs-to-standby step '^(stop-primary|fence)$' 120
  kill_operator
  finished pgf/tfrs-to-standby Completed 300
  [ "$(operator_restarts)" -gt "$restarts" ] || fail "the operator was not killed"
  reason_is pgf/tfrs-to-standby Completed
  same selector "$(selector)" postgresql-standby
  same "replicas of postgresql" "$(replicas postgresql)" 0
  same "replicas of the applications" "$(replicas tfrs)/$(replicas report)" 1/1
  [ -e "$(volume postgresql)/userdata/standby.signal" ] || fail "postgresql is not fenced"
  same "the fence's action" "$(jq -r .actionUID "$(volume postgresql)/.pgrunbook/fence.json")" "$(uid pgf/tfrs-to-standby)"
  same "fence Jobs" "$(jobs_of "$(uid pgf/tfrs-to-standby)" fence | wc -l)" 1
  nothing_held pgf/tfrs-to-standby
  writes_on "after the cutover"
  # The pod that runs now has only ever known the new primary.
  old_pods=$(scene get pods -l name=tfrs -o jsonpath='{.items[0].metadata.name}')
  writes | awk -v pod="$old_pods" '$1 == pod { print $2 }' | sort -u >"$work/through"
  all_there postgresql-standby "$work/through"
}
