# Statuses as the operator writes them, and what kubectl shows of them. Sourced by tests/apiserver/run.
# shellcheck shell=bash

# An action's status as operator/api/status.cpp writes it: every field, null where there is nothing.
action() { # phase step progress message; more fields on stdin as JSON
  jq --arg phase "$1" --arg step "$2" --arg progress "$3" --arg message "$4" '. as $more | {
    phase: $phase, step: $step, progress: $progress, message: $message, reason: "Because", safePoint: null,
    progressDetail: {bytesDone: 1, bytesTotal: 9007199254740993, remainingSeconds: {low: 1, high: 2}},
    plan: {digest: "0123456789abcdef", facts: {backupID: "x", deep: {list: [1, {a: null}]}}, dataAtStake: {transactions: 3},
      steps: [{name: "recover", kind: "Irreversible", text: "Recovers"}], gitChanges: [{object: "Service/postgresql", manager: "argocd", diff: "-a\n+b"}]},
    startTime: "2026-11-20T15:00:00Z", completionTime: null, observedGeneration: 1,
    conditions: [{type: "Ready", status: "False", reason: "Because", message: $message, observedGeneration: 1, lastTransitionTime: "2026-11-20T15:00:00Z"},
      {type: "Finished", status: (if $phase == "Completed" then "True" else "False" end), reason: "Because", message: $message, observedGeneration: 1, lastTransitionTime: "2026-11-20T15:00:00Z"}],
    operation: {format: 1, step: $step, state: "Intent", attempt: 1, rollingBack: false, pastNoReturn: false, inputs: {any: {thing: [1, 2]}},
      results: {recover: {newTimeline: 2}}, log: [{step: "recover", text: "x", startTime: "2026-11-20T15:00:00.000001Z"}], failure: null},
    transcript: "pgr-tfrs-before-transcript"} + $more'
}
BACKUP='{"backupID": "20261120T150405Z-1a2b3c4d", "location": "basebackup/20261120T150405Z-1a2b3c4d", "beginLSN": "0/2000028", "endLSN": "0/2000100",
  "beginWAL": "000000010000000000000002", "endWAL": "000000010000000000000002", "timeline": 1, "systemIdentifier": "7574883322117734912",
  "majorVersion": 15, "databaseBytes": 45088768, "storedBytes": 6291456, "stopTime": "2026-11-20T15:04:09.000001Z", "size": "6.0 MiB", "duration": "1 h 12 min", "configurationFiles": ["/opt/app-root/src/postgresql-cfg/archive.conf"],
  "verified": "972 files against the manifest"}'
RESTORE='{"backupID": "20261120T150405Z-1a2b3c4d", "target": {"asked": "2026-11-20T15:00:00Z", "lsn": "0/3000148", "timeline": 1, "included": {"xid": 741, "time": "2026-11-20T14:59:59.9Z", "lsn": "0/3000148"}, "excluded": null},
  "reached": {"lsn": "0/3000170", "timeline": 2, "systemIdentifier": "7574883322117734912"}, "verified": "1 query of 1", "verification": {"queries": [{"sql": "select 1", "expect": "1", "got": "1"}], "counts": {"credit_trade": 5}},
  "undo": {"directory": "/var/lib/pgsql/data/userdata.pgrunbook-1a2b3c4d", "bytes": 45088768, "claim": "postgresql-standby"}}'
FAILOVER='{"from": "postgresql", "to": "postgresql-standby", "fence": {"proof": "Terminated", "podUID": "x", "finishedAt": "2026-11-20T15:00:00Z"},
  "dataLoss": {"exact": true, "transactions": 12, "fromLSN": "0/3000170", "toLSN": "0/3001000"}, "writeDowntimeSeconds": 9.5}'
TOPOLOGY='{"primary": "postgresql-standby", "message": "recoverable to any moment since 2026-11-20T15:04:05Z", "observedGeneration": 1,
  "members": [{"name": "postgresql", "role": "Fenced", "ready": false, "more": {"a": 1}}, {"name": "postgresql-standby", "role": "Primary", "ready": true, "version": "15.14", "systemIdentifier": "7574883322117734912", "timeline": 2, "lsn": "0/3001000"}],
  "restorableWindow": {"earliest": "2026-11-20T15:04:05Z", "latest": "2026-11-20T16:04:05Z", "latestLSN": "0/3001000", "timeline": 2, "contiguous": true, "proven": true, "observedTime": "2026-11-20T16:04:06Z", "gaps": []},
  "archiver": {"lastArchived": "000000010000000000000002", "failedCount": 0}, "lastBackup": {"name": "tfrs-1", "id": "20261120T150405Z-1a2b3c4d", "time": "2026-11-20T15:04:05Z"},
  "timelines": [{"timeline": 1, "state": "abandoned"}, {"timeline": 2, "state": "live", "parent": 1, "forkLSN": "0/3000170"}],
  "setup": {"phase": "Completed", "message": "x", "plan": null, "operation": {"format": 1, "log": []}},
  "conditions": [{"type": "ContinuousArchiving", "status": "True", "reason": "Because", "message": "x", "observedGeneration": 1, "lastTransitionTime": "2026-11-20T15:00:00Z"}]}'

# Writes the status twice, by merge patch and as a whole, and reads it back: nothing may be refused or dropped.
takes() { # example status
  local clean='del(.. | nulls)' stored
  created "$1" || return 1
  k patch -f "$WORK/$1.json" --subresource=status --type=merge -p "$(jq -c '{status: .}' <<<"$2")" || return 1
  stored=$(k get -f "$WORK/$1.json" -o json | jq -Sc ".status | $clean")
  same "$stored" "$(jq -Sc "$clean" <<<"$2")" || return 1
  k get -f "$WORK/$1.json" -o json | jq --argjson status "$2" '.status = $status' | k replace --subresource=status -f - || return 1
  stored=$(k get -f "$WORK/$1.json" -o json | jq -Sc ".status | $clean")
  same "$stored" "$(jq -Sc "$clean" <<<"$2")"
}
shows() { # example status header: kubectl get in at most 120 columns
  local out
  takes "$1" "$2" >/dev/null || { takes "$1" "$2"; return 1; }
  out=$(k get -f "$WORK/$1.json")
  same "$(head -1 <<<"$out" | sed 's/  */ /g; s/ $//')" "$3" || return 1
  [ "$(awk '{ if (length > n) n = length } END { print n }' <<<"$out")" -le 120 ] || wrong "wider than 120: $out"
}
wide() { k get -f "$WORK/$1.json" -o wide | grep -qF "$2" || wrong "-o wide has no message"; }
by_category() { # name
  same "$(k get "$1" -o name | sort | tr '\n' ' ')" \
    "failover.pgrunbook.io/tfrs-to-standby postgresbackup.pgrunbook.io/tfrs-1 postgresrestore.pgrunbook.io/tfrs-before postgresrestore.pgrunbook.io/tfrs-latest postgresrestore.pgrunbook.io/tfrs-salvage postgrestopology.pgrunbook.io/tfrs "
}
# With several kinds kubectl puts each one's full name before the object's.
category_fits() {
  local out
  takes topology "$TOPOLOGY" >/dev/null && takes backup "$(action Blocked backup 3/6 "$LONG" <<<"$BACKUP" | jq '.reason = "NetworkPolicyMissing"')" >/dev/null || return 1
  takes restore-to-time "$(action AwaitingApproval first-connection 11/12 "$LONG" <<<"$RESTORE" | jq '.reason = "TargetOnAbandonedTimeline"')" >/dev/null || return 1
  takes cutover "$(action AwaitingApproval first-connection 11/12 "$LONG" <<<"$FAILOVER" | jq '.reason = "ApplicationDoesNotConnect"')" >/dev/null || return 1
  out=$(k get pgrunbook)
  grep -q '^postgresrestore.pgrunbook.io/tfrs-before ' <<<"$out" && grep -q ApplicationDoesNotConnect <<<"$out" || { wrong "not what this is about: $out"; return 1; }
  [ "$(awk '{ sub(/ +$/, ""); if (length > n) n = length } END { print n }' <<<"$out")" -le 120 ] || wrong "wider than 120: $out"
}
empty_columns() { # an object that nobody has looked at yet
  created restore-to-time && k get -f "$WORK/restore-to-time.json"
}
finished() {
  takes backup "$(action Completed "" 6/6 "it is done" <<<"$BACKUP")" >/dev/null && k wait --for=condition=Finished pgb/tfrs-1 --timeout=5s
}
large() { # 64 steps and 20,000 characters of results are within what is stored
  takes restore-to-time "$(action Running recover 3/64 x <<<"$RESTORE" | jq '.plan.steps = [range(64) | {name: "step-\(.)", kind: "Convergent", text: ("x" * 500)}] | .operation.results.recover.pushed = [range(800) | "000000010000000000000002"]')"
}

LONG='waits for the segment 000000010000000000000002 to arrive in the archive. HINT: look at pg_stat_archiver'
t "status: a backup's is stored whole" takes backup "$(action Running copy 3/6 "$LONG" <<<"$BACKUP")"
t "status: a restore's is stored whole" takes restore-to-time "$(action Running recover 7/12 "$LONG" <<<"$RESTORE")"
t "status: a failover's is stored whole" takes cutover "$(action Running fence 7/12 "$LONG" <<<"$FAILOVER")"
t "status: a topology's is stored whole" takes topology "$TOPOLOGY"
t "status: a large one is stored whole" large
TH='NAME PRIMARY ARCHIVING LAST BACKUP EARLIEST LATEST AGE'
BH='NAME PHASE WHY SIZE AGE'
RH='NAME PHASE STEP WHY AGE'
FH='NAME PHASE STEP WHY AGE'
t "columns: topology" shows topology "$TOPOLOGY" "$TH"
t "columns: topology that nothing is known of" shows topology '{"observedGeneration": 1}' "$TH"
for phase in Pending AwaitingApproval Running Blocked RollingBack Completed Failed; do
  step=recover
  case $phase in Pending | AwaitingApproval | Completed | Failed) step= ;; esac
  t "columns: backup, $phase" shows backup "$(action $phase "$step" 3/6 "$LONG" <<<"$BACKUP")" "$BH"
  t "columns: restore, $phase" shows restore-to-time "$(action $phase "$step" 11/12 "$LONG" <<<"$RESTORE")" "$RH"
  t "columns: failover, $phase" shows cutover "$(action $phase "$step" 11/12 "$LONG" <<<"$FAILOVER")" "$FH"
done
t "columns: -o wide adds the message" wide cutover "$LONG"
t "columns: an object without status" empty_columns
[ -n "$LIST" ] || for example in topology backup restore-to-time restore-latest cutover; do created $example || true; done
t "categories: kubectl get pgrunbook" by_category pgrunbook
t "categories: kubectl get pgrunbook is at most 120 columns wide" category_fits
t "categories: kubectl get postgres" by_category postgres
t "conditions: kubectl wait ends by Finished" finished
