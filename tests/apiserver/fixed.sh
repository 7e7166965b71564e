# What cannot change once an action is created, and what can, in one direction. Sourced by tests/apiserver/run.
# shellcheck shell=bash

created() { # example: the object, in the API server, as new
  k delete -f "$WORK/$1.json" --ignore-not-found --wait >/dev/null && k create -f "$WORK/$1.json" >/dev/null
}
changed() { # example jq-filter: stores the change
  k get -f "$WORK/$1.json" -o json | jq "$2" | k replace -f -
}
keeps() { # example jq-filter message
  local out
  if out=$(changed "$1" "$2" 2>&1); then wrong "accepted"; return 1; fi
  same "$(reasons <<<"$out")" "$3"
}
once() { # example kind field new-value type: a change of that field is refused
  keeps "$1" ".spec.$3 = $4" "spec.$3: Invalid value: \"$5\": $3 cannot change. HINT: a $2 acts once as it was created; create another one"
}
presence() { # example kind field jq-filter
  keeps "$1" "$4" "spec: Invalid value: \"object\": $3 cannot be added or removed. HINT: a $2 acts once as it was created; create another one"
}
# approvedPlan and cancel, on an object of its own
one_way() { # example kind
  created "$1" &&
    changed "$1" '.spec.approvedPlan = "0123456789abcdef"' &&
    changed "$1" '.spec.approvedPlan = "fedcba9876543210"' &&
    changed "$1" 'del(.spec.approvedPlan)' &&
    changed "$1" '.spec.cancel = false' &&
    changed "$1" '.spec.cancel = true' &&
    keeps "$1" '.spec.cancel = false' "spec.cancel: Invalid value: \"boolean\": cancel cannot be taken back. HINT: where Git states this object, commit cancel: true; to do it after all, create another $2" &&
    keeps "$1" 'del(.spec.cancel)' "spec: Invalid value: \"object\": cancel cannot be taken back. HINT: where Git states this object, commit cancel: true; to do it after all, create another $2"
}
# The manifest of Git applied again, after a person has approved with a patch.
applied_again() {
  k delete -f "$WORK/cutover.json" --ignore-not-found --wait >/dev/null
  k apply -f manifests/examples/cutover.yaml &&
    k patch pgf tfrs-to-standby --type=merge -p '{"spec":{"approvedPlan":"0123456789abcdef"}}' &&
    k apply -f manifests/examples/cutover.yaml &&
    same "$(k get pgf tfrs-to-standby -o jsonpath='{.spec.approvedPlan}')" 0123456789abcdef &&
    k apply --server-side --field-manager=argocd-controller --force-conflicts -f manifests/examples/cutover.yaml &&
    same "$(k get pgf tfrs-to-standby -o jsonpath='{.spec.approvedPlan}')" 0123456789abcdef
}
topology_changes() {
  created topology && changed topology '.spec.members[1].name = "spare" | del(.spec.applications) | .spec.archive.wal.setup = "Report"'
}

[ -n "$LIST" ] || for example in restore-to-time restore-latest restore-salvage backup cutover; do created $example || true; done
t "fixed: restore, topologyRef" once restore-to-time PostgresRestore topologyRef '{name: "other"}' object
t "fixed: restore, source" once restore-to-time PostgresRestore source '{type: "Backup", backupRef: {name: "x"}}' object
t "fixed: restore, the backup" once restore-latest PostgresRestore source '{type: "Backup", backupRef: {name: "x"}}' object
t "fixed: restore, recoveryTarget" once restore-to-time PostgresRestore recoveryTarget '{targetTime: "2026-11-20T15:00:01Z"}' object
t "fixed: restore, to" once restore-to-time PostgresRestore to '{type: "Member", member: {name: "x"}}' object
t "fixed: restore, verification" once restore-to-time PostgresRestore verification '{counts: ["x"]}' object
t "fixed: restore, cutover" once restore-to-time PostgresRestore cutover '"None"' string
t "fixed: restore, approval" once restore-latest PostgresRestore approval '"None"' string
t "fixed: restore, recoveryTarget is not removed" presence restore-to-time PostgresRestore recoveryTarget 'del(.spec.recoveryTarget)'
t "fixed: restore, salvage" once restore-salvage PostgresRestore salvage '"None"' string
t "fixed: restore, salvage is not removed" presence restore-salvage PostgresRestore salvage 'del(.spec.salvage)'
t "fixed: restore, salvage is not added" presence restore-to-time PostgresRestore salvage '.spec.salvage = "None"'
t "fixed: restore, verification is not removed" presence restore-to-time PostgresRestore verification 'del(.spec.verification)'
t "fixed: restore, cutover is not removed" presence restore-to-time PostgresRestore cutover 'del(.spec.cutover)'
t "fixed: restore, mode is not added" presence restore-to-time PostgresRestore mode '.spec.mode = "Execute"'
t "fixed: restore, approval is not added" presence restore-to-time PostgresRestore approval '.spec.approval = "None"'
t "fixed: restore, recoveryTarget is not added" presence restore-latest PostgresRestore recoveryTarget '.spec.recoveryTarget = {targetTime: "2026-11-20T15:00:00Z"}'
t "fixed: backup, topologyRef" once backup PostgresBackup topologyRef '{name: "other"}' object
t "fixed: backup, base" once backup PostgresBackup base '{type: "Full", checkpoint: "Spread"}' object
t "fixed: backup, base is not removed" presence backup PostgresBackup base 'del(.spec.base)'
t "fixed: backup, verify is not removed" presence backup PostgresBackup verify 'del(.spec.verify)'
t "fixed: failover, topologyRef" once cutover Failover topologyRef '{name: "other"}' object
t "fixed: failover, candidate" once cutover Failover candidate '"other"' string
t "fixed: failover, approval is not added" presence cutover Failover approval '.spec.approval = "None"'
t "one-way: restore, approvedPlan and cancel" one_way restore-to-time PostgresRestore
t "one-way: failover, approvedPlan and cancel" one_way cutover Failover
t "one-way: Git's manifest applied again keeps an approval" applied_again
t "topology: may change" topology_changes
