# Default deny: an action that could not connect is Blocked before it touches anything, and shows the policy to add.
# shellcheck shell=bash
tests=(jobs_policy_is_asked_for clients_policy_is_asked_for)

prepare() { :; }

jobs_policy_is_asked_for() {
  policy_yaml pgrunbook-jobs >"$work/policy.json"
  user delete networkpolicy pgrunbook-jobs
  user apply -f manifests/examples/backup.yaml
  phase pgb/tfrs-1 Blocked 60
  reason_is pgb/tfrs-1 NetworkPolicyMissing
  says pgb/tfrs-1 "no NetworkPolicy lets pods of our Jobs (egress is denied) reach member postgresql on port 5432" "HINT: add this with kubectl apply"
  same "Jobs of the Blocked backup but the one that asks the ledger" "$(jobs_of "$(uid pgb/tfrs-1)" | grep -v -- -ledger- || true)" ""
  yaml_in "$(field pgb/tfrs-1 message)" | user apply -f -
  finished pgb/tfrs-1 Completed 240
  user apply -f "$work/policy.json"
}

report_reaches_standby() {
  local ip
  ip=$(scene get pods -l name=postgresql-standby -o jsonpath='{.items[0].status.podIP}')
  scene exec deploy/report -- timeout 3 bash -c "</dev/tcp/$ip/5432" 2>/dev/null
}

clients_policy_is_asked_for() {
  user apply -f - <<<"$(restore_yaml tfrs-before "$(now)" 'select count(*) from organization' 20000)"
  finished pgr/tfrs-before Completed 300
  ! report_reaches_standby || fail "the default deny is not enforced"
  user apply -f manifests/examples/cutover.yaml
  phase pgf/tfrs-to-standby Blocked 60
  reason_is pgf/tfrs-to-standby NetworkPolicyMissing
  says pgf/tfrs-to-standby 'clients labelled {"name":"tfrs"} (egress and ingress is denied)' 'clients labelled {"role":"client"}' \
    "reach member postgresql-standby on port 5432" "HINT: add this with kubectl apply"
  same selector "$(selector)" postgresql
  yaml_in "$(field pgf/tfrs-to-standby message)" | user apply -f -
  phase pgf/tfrs-to-standby AwaitingApproval 60
  report_reaches_standby || fail "the policies of the message do not let the client through"
}
