# What is refused, with which words. Sourced by tests/apiserver/run.
# shellcheck shell=bash

# Changes an example with jq; the API server must answer with exactly this.
refused() { attempt strict "$@"; } # example jq-filter message
attempt() { # validation example jq-filter message
  local out
  if out=$(example "$2" | jq "$3" | k create --dry-run=server --validate="$1" -f - 2>&1); then wrong "accepted"; return 1; fi
  same "$(reasons <<<"$out")" "$4"
}
# What the API server says about the fields. That it skipped its rules after an error of type is its own affair.
reasons() { sed 's/^The [A-Za-z]* "[^"]*" is invalid: *//; s/^\* //; /^$/d; /some validation rules were not checked/d'; }
allowed() { # example jq-filter
  example "$1" | jq "$2" | k create --dry-run=server --validate=strict -f -
}
# A client that does not ask for strict validation: the unknown word is dropped, and then?
lenient() { attempt ignore "$@"; } # example jq-filter message
pruned() { # example jq-filter, filter that must hold of what is stored
  example "$1" | jq "$2" | k create --dry-run=server --validate=ignore -o json -f - | jq -e "$3" >/dev/null || wrong "$3 does not hold"
}
strict() { # example jq-filter field
  local out
  if out=$(example "$1" | jq "$2" | k create --dry-run=server --validate=strict -f - 2>&1); then wrong "accepted"; return 1; fi
  [[ $out == *"strict decoding error: unknown field \"$3\""* ]] || wrong "$out"
}
at_time() { refused restore-to-time ".spec.recoveryTarget.targetTime = \"$1\"" "spec.recoveryTarget.targetTime: Invalid value: \"string\": targetTime $1 $2"; }
good_time() { allowed restore-to-time ".spec.recoveryTarget.targetTime = \"$1\""; }
NO_SUCH="names a moment that does not exist. HINT: look at its month, day and time"
NO_TIME="is not a time by RFC 3339. HINT: write it like 2026-11-20T15:00:00Z"
NO_ZONE="has a zone that is not by RFC 3339. HINT: end it with Z or an offset like +02:00"

t "time: no zone" at_time 2026-11-20T15:00:00 'names no time zone. HINT: write 2026-11-20T15:00:00Z for UTC'
t "time: no zone, with a fraction" at_time 2026-11-20T15:00:00.25 'names no time zone. HINT: write 2026-11-20T15:00:00.25Z for UTC'
t "time: a blank instead of T" at_time "2026-11-20 15:00:00Z" "$NO_TIME"
t "time: only a day" at_time 2026-11-20 "$NO_TIME"
t "time: words" at_time yesterday "$NO_TIME"
t "time: an empty fraction" at_time 2026-11-20T15:00:00.Z "$NO_TIME"
t "time: an offset without colon" at_time 2026-11-20T15:00:00+0200 "$NO_ZONE"
t "time: an offset of 25 hours" at_time 2026-11-20T15:00:00+25:00 "$NO_ZONE"
t "time: text behind the zone" at_time 2026-11-20T15:00:00ZZ "$NO_ZONE"
t "time: a zone's name" at_time 2026-11-20T15:00:00Europe/Berlin "$NO_ZONE"
t "time: April 31" at_time 2026-04-31T15:00:00Z "$NO_SUCH"
t "time: February 29 of a year that has none" at_time 2027-02-29T15:00:00Z "$NO_SUCH"
t "time: February 29, 1900" at_time 1900-02-29T15:00:00Z "$NO_SUCH"
t "time: month 13" at_time 2026-13-01T15:00:00Z "$NO_SUCH"
t "time: 24 o'clock" at_time 2026-11-20T24:00:00Z "$NO_SUCH"
t "time: second 60" at_time 2026-11-20T15:00:60Z "$NO_SUCH"
t "time: February 29, 2028, is accepted" good_time 2028-02-29T15:00:00Z
t "time: an offset and a fraction are accepted" good_time 2026-11-20T07:00:00.000001-08:00

t "restore: a target that names nothing" refused restore-to-time '.spec.recoveryTarget = {}' \
  'spec.recoveryTarget: Invalid value: "object": recoveryTarget names no target. HINT: set targetTime, or remove recoveryTarget to recover to the latest moment'
t "restore: a misspelt targetTime is not the latest moment" lenient restore-to-time '.spec.recoveryTarget = {targettime: "2026-11-20T15:00:00Z"}' \
  'spec.recoveryTarget: Invalid value: "object": recoveryTarget names no target. HINT: set targetTime, or remove recoveryTarget to recover to the latest moment'
t "restore: an unknown target by name" strict restore-to-time '.spec.recoveryTarget.targetTimeline = "12"' spec.recoveryTarget.targetTimeline

target() { refused restore-to-time ".spec.recoveryTarget = $1" "spec.recoveryTarget$2"; } # value message
good_target() { allowed restore-to-time ".spec.recoveryTarget = $1"; }
t "target: two of them" target '{targetXID: "745", targetLSN: "0/3000148", targetTLI: 1}' \
  ': Invalid value: "object": recoveryTarget names more than one target: targetLSN targetXID. HINT: keep one of them; targetTLI goes with any'
t "target: all of them" target '{targetTime: "2026-11-20T15:00:00Z", targetXID: "745", targetLSN: "0/3000148", targetName: "a", targetImmediate: true}' \
  ': Invalid value: "object": recoveryTarget names more than one target: targetTime targetLSN targetXID targetName targetImmediate. HINT: keep one of them; targetTLI goes with any'
EXCLUSIVE=': Invalid value: "object": exclusive goes with targetTime, targetLSN or targetXID only. HINT: remove it; a restore point and the end of a backup lie between transactions'
t "target: exclusive with a restore point" target '{targetName: "a", exclusive: true}' "$EXCLUSIVE"
t "target: exclusive with the end of the backup" target '{targetImmediate: true, exclusive: false}' "$EXCLUSIVE"
t "target: exclusive with a timeline alone" target '{targetTLI: 1, exclusive: true}' "$EXCLUSIVE"
t "target: exclusive alone" refused restore-to-time '.spec.recoveryTarget = {exclusive: true}' \
  'spec.recoveryTarget: Invalid value: "object": recoveryTarget names no target. HINT: set targetTime, or remove recoveryTarget to recover to the latest moment
spec.recoveryTarget'"$EXCLUSIVE"
for lsn in 3000148 0/ /3000148 0/300000148 0x3/14 0-3000148 "0/3000148 "; do
  t "target: LSN '$lsn'" target "{targetLSN: \"$lsn\"}" \
    ".targetLSN: Invalid value: \"string\": targetLSN $lsn is not a place in the WAL. HINT: write it as pg_current_wal_lsn() shows it, like 0/3000148"
done
for xid in '"0"' '"-5"' '"7e3"' '"0745"' '"745;"' -5 0; do
  t "target: XID $xid" target "{targetXID: $xid}" \
    ".targetXID: Invalid value: \"\": targetXID ${xid//\"/} is not the number of a transaction. HINT: write it in digits, like \"745\""
done
t "target: a name that YAML takes for a number" target '{targetName: 20261120}' \
  '.targetName: Invalid value: "": targetName is the number 20261120 in YAML. HINT: write it in quotes, as it was given to pg_create_restore_point(): "20261120"'
t "target: an empty name" target '{targetName: ""}' '.targetName: Invalid value: "": targetName is not the name of a restore point. HINT: it has 1 to 63 characters'
t "target: not immediate" target '{targetImmediate: false}' '.targetImmediate: Invalid value: "boolean": targetImmediate: false asks for nothing. HINT: remove it'
for tli in '"latest"' '"current"' 0 '"01"' -1; do
  t "target: timeline $tli" target "{targetTLI: $tli}" \
    ".targetTLI: Invalid value: \"\": targetTLI ${tli//\"/} is not the number of a timeline. HINT: write the number, like 1; to follow the living primary leave it out"
done
for value in '{targetXID: 745}' '{targetXID: "745", exclusive: true}' '{targetXID: "18446744073709551615"}' '{targetXID: 8589935337, targetTLI: 2}' \
  '{targetLSN: "0/3000148"}' '{targetLSN: "FFFFFFFF/ffffffff", exclusive: false}' '{targetName: "20261120"}' '{targetImmediate: true}' '{targetTLI: 1}' \
  '{targetTLI: "1", targetImmediate: true}' '{targetTime: "2026-11-20T15:00:00Z", exclusive: true, targetTLI: 1}'; do
  t "target: $value is accepted" good_target "$value"
done
t "restore: source Backup without a backup" refused restore-latest 'del(.spec.source.backupRef)' \
  'spec.source: Invalid value: "object": source.type Backup names no backup. HINT: set source.backupRef.name to a PostgresBackup'
t "restore: source Latest with a backup" refused restore-latest '.spec.source.type = "Latest"' \
  'spec.source: Invalid value: "object": source.type Latest takes no backupRef. HINT: write type: Backup, or remove backupRef'
t "restore: an unknown source" refused restore-latest '.spec.source = {type: "Dump"}' \
  'spec.source.type: Unsupported value: "Dump": supported values: "Latest", "Backup"'
t "restore: no source" refused restore-latest 'del(.spec.source)' 'spec.source: Required value'
t "restore: no destination" refused restore-latest 'del(.spec.to)' 'spec.to: Required value'
t "restore: Member without a member" refused restore-latest 'del(.spec.to.member)' \
  'spec.to: Invalid value: "object": to.type Member names no member. HINT: set to.member.name to a member of the topology that is not the primary'
t "restore: in place is not there yet" refused restore-latest '.spec.to = {type: "InPlace"}' \
  'spec.to.type: Unsupported value: "InPlace": supported values: "Member"'
t "restore: a verification that verifies nothing" refused restore-to-time '.spec.verification = {}' \
  'spec.verification: Invalid value: "object": verification verifies nothing. HINT: set queries or counts, or remove verification'
t "restore: misspelt queries are not an unverified restore" lenient restore-to-time '.spec.verification = {query: [{sql: "select 1", expect: "1"}]}' \
  'spec.verification: Invalid value: "object": verification verifies nothing. HINT: set queries or counts, or remove verification'
t "restore: an expectation without quotes" refused restore-to-time '.spec.verification.queries[0].expect = 20000' \
  'spec.verification.queries[0].expect: Invalid value: "integer": spec.verification.queries[0].expect in body must be of type string: "integer"'
t "restore: a query without expectation" refused restore-to-time 'del(.spec.verification.queries[0].expect)' \
  'spec.verification.queries[0].expect: Required value'
t "restore: an automatic cutover is not there yet" refused restore-latest '.spec.cutover = "Automatic"' \
  'spec.cutover: Unsupported value: "Automatic": supported values: "None", "Manual"'
t "restore: an unknown salvage" refused restore-salvage '.spec.salvage = "RunningPrimary"' \
  'spec.salvage: Unsupported value: "RunningPrimary": supported values: "None", "StoppedPrimary"'
t "restore: a boolean is no salvage" refused restore-salvage '.spec.salvage = true' \
  $'spec.salvage: Invalid value: "boolean": spec.salvage in body must be of type string: "boolean"\nspec.salvage: Unsupported value: true: supported values: "None", "StoppedPrimary"'
t "restore: an unknown mode" refused restore-latest '.spec.mode = "DryRun"' \
  'spec.mode: Unsupported value: "DryRun": supported values: "Plan", "Execute"'
t "restore: dryRun is no field" strict restore-latest '.spec.dryRun = true' spec.dryRun
t "restore: approval as a boolean" refused restore-latest '.spec.approval = true' \
  $'spec.approval: Invalid value: "boolean": spec.approval in body must be of type string: "boolean"\nspec.approval: Unsupported value: true: supported values: "Required", "None"'
t "restore: a digest that is none" refused restore-latest '.spec.approvedPlan = "yes"' \
  'spec.approvedPlan: Invalid value: "string": approvedPlan yes is not the digest of a plan. HINT: copy it from status.plan.digest'
t "restore: a name longer than a label" refused restore-latest '.metadata.name = "a" * 64' \
  'metadata.name: Too long: may not be more than 63 bytes'
t "restore: 17 queries" refused restore-to-time '.spec.verification.queries = [range(17) | {sql: "select 1", expect: "1"}]' \
  'spec.verification.queries: Too many: 17: must have at most 16 items'

t "backup: no method" refused backup 'del(.spec.method)' 'spec.method: Required value'
t "backup: Dump is not there yet" refused backup '.spec.method = "Dump"' 'spec.method: Unsupported value: "Dump": supported values: "Base"'
t "backup: Incremental is not there yet" refused backup '.spec.base.type = "Incremental"' 'spec.base.type: Unsupported value: "Incremental": supported values: "Full"'
t "backup: an unknown checkpoint" refused backup '.spec.base.checkpoint = "fast"' 'spec.base.checkpoint: Unsupported value: "fast": supported values: "Fast", "Spread"'
t "backup: verify None is not there" refused backup '.spec.verify = "None"' 'spec.verify: Unsupported value: "None": supported values: "Manifest"'
for rate in 20 31k 1025M 0k 20MB fast 2000000k; do
  t "backup: maxRate $rate" refused backup ".spec.base.maxRate = \"$rate\"" \
    "spec.base.maxRate: Invalid value: \"string\": maxRate $rate is not a rate from 32k to 1024M. HINT: write it like 20M"
done
for rate in 32k 20M 1024M 1048576k; do
  t "backup: maxRate $rate is accepted" allowed backup ".spec.base.maxRate = \"$rate\""
done
t "backup: no topology" refused backup 'del(.spec.topologyRef)' 'spec.topologyRef: Required value'
t "backup: approval is no field" strict backup '.spec.approval = "None"' spec.approval

t "failover: no candidate" refused cutover 'del(.spec.candidate)' 'spec.candidate: Required value'
t "failover: no type" refused cutover 'del(.spec.type)' 'spec.type: Required value'
t "failover: Switchover is not there yet" refused cutover '.spec.type = "Switchover"' 'spec.type: Unsupported value: "Switchover": supported values: "Cutover"'
t "failover: a candidate that cannot be" refused cutover '.spec.candidate = "Postgresql_2"' \
  'spec.candidate: Invalid value: "string": candidate Postgresql_2 cannot be the name of a member. HINT: use the name the topology gives it under members'
t "failover: an unknown approval" refused cutover '.spec.approval = "no"' 'spec.approval: Unsupported value: "no": supported values: "Required", "None"'
t "failover: a misspelt approval leaves the default" pruned cutover '.spec.aproval = "None"' '.spec | has("approval") | not'

t "topology: no members" refused topology '.spec.members = []' \
  'spec.members: Invalid value: 0: spec.members in body should have at least 1 items'
t "topology: two members of one name" refused topology '.spec.members[1].name = "postgresql"' \
  'spec.members[1]: Duplicate value: {"name":"postgresql"}'
t "topology: two members on one workload" refused topology '.spec.members[1].workloadRef.name = "postgresql"' \
  'spec: Invalid value: "object": two members name the same workload. HINT: a member is one workload with one PostgreSQL on its own volume'
t "topology: a member's name" refused topology '.spec.members[0].name = "Postgres 1"' \
  'spec.members[0].name: Invalid value: "string": member name Postgres 1 is not a DNS label. HINT: use lower-case letters, digits and -'
t "topology: a member without a workload" refused topology 'del(.spec.members[0].workloadRef)' 'spec.members[0].workloadRef: Required value'
t "topology: DaemonSets" refused topology '.spec.members[0].workloadRef.kind = "DaemonSet"' \
  'spec.members[0].workloadRef.kind: Unsupported value: "DaemonSet": supported values: "Deployment", "StatefulSet"'
t "topology: StreamingReplica is not there yet" refused topology '.spec.members[1].whenStandby = "StreamingReplica"' \
  'spec.members[1].whenStandby: Unsupported value: "StreamingReplica": supported values: "ColdSpare"'
t "topology: a data directory that climbs" refused topology '.spec.members[0].dataDirectory = "/var/lib/../etc"' \
  'spec.members[0].dataDirectory: Invalid value: "string": dataDirectory /var/lib/../etc contains . or .. HINT: write the path without them'
t "topology: a relative data directory" refused topology '.spec.members[0].dataDirectory = "userdata"' \
  'spec.members[0].dataDirectory: Invalid value: "string": dataDirectory userdata is not absolute. HINT: write it from the root, like /var/lib/pgsql/data/userdata'
t "topology: a data directory with a quote" refused topology ".spec.members[0].dataDirectory = \"/var/lib/a'b\"" \
  "spec.members[0].dataDirectory: Invalid value: \"string\": dataDirectory /var/lib/a'b has a character that is not safe in configuration files. HINT: use letters, digits and / . _ @ + -"
t "topology: a data directory with two dots in a name is accepted" allowed topology '.spec.members[0].dataDirectory = "/var/lib/a..b"'
t "topology: an archive path that climbs" refused topology '.spec.archive.volume.path = "a/../../b"' \
  'spec.archive.volume.path: Invalid value: "string": path a/../../b contains .. HINT: write the path without it'
t "topology: an absolute archive path" refused topology '.spec.archive.volume.path = "/backup"' \
  'spec.archive.volume.path: Invalid value: "string": path /backup is absolute. HINT: it counts from the root of the volume; remove the first /'
t "topology: an archive path with a percent sign" refused topology '.spec.archive.volume.path = "100%p"' \
  'spec.archive.volume.path: Invalid value: "string": path 100%p has a character that is not safe in archive_command. HINT: use letters, digits and / . _ -'
t "topology: an archive without a volume" refused topology '.spec.archive = {}' 'spec.archive.volume: Required value'
t "topology: an object store is not there yet" strict topology '.spec.archive.objectStore = {}' spec.archive.objectStore
t "topology: WAL by stream is not there yet" refused topology '.spec.archive.wal.method = "Stream"' \
  'spec.archive.wal.method: Unsupported value: "Stream": supported values: "Command"'
t "topology: a misspelt setup changes nothing" pruned topology 'del(.spec.archive.wal.setup) | .spec.archive.wal.setUp = "ConfigureAndRestart"' '.spec.archive.wal | has("setup") | not'
t "topology: replaceExisting as a word" refused topology '.spec.archive.wal.replaceExisting = "yes"' \
  'spec.archive.wal.replaceExisting: Invalid value: "string": spec.archive.wal.replaceExisting in body must be of type boolean: "string"'
t "topology: an application that is a member" refused topology '.spec.applications[0].workloadRef.name = "postgresql"' \
  'spec: Invalid value: "object": an application is also a member. HINT: list the clients of the database under applications, the database under members'
t "topology: an application twice" refused topology '.spec.applications += .spec.applications' \
  'spec.applications: Invalid value: "array": two applications name the same workload. HINT: list it once'
t "topology: a Service for standbys is not there yet" refused topology '.spec.services[0].selects = "Standbys"' \
  'spec.services[0].selects: Unsupported value: "Standbys": supported values: "Primary"'
t "topology: a Service twice" refused topology '.spec.services += .spec.services' 'spec.services[1]: Duplicate value: {"name":"postgresql"}'
t "topology: no Secret" refused topology 'del(.spec.connection.secretRef)' 'spec.connection.secretRef: Required value'
t "topology: verify-full is not there yet" refused topology '.spec.connection.sslMode = "verify-full"' \
  'spec.connection.sslMode: Unsupported value: "verify-full": supported values: "disable", "allow", "prefer", "require"'
t "topology: our labels are ours" refused topology '.spec.jobs.labels = {"app.kubernetes.io/name": "mine"}' \
  'spec.jobs.labels: Invalid value: "object": labels below pgrunbook.io, app.kubernetes.io and batch.kubernetes.io are set by the operator. HINT: use a prefix of your own'
t "topology: resources, node rules and labels of Jobs are accepted" allowed topology \
  '.spec.jobs = {resources: {limits: {cpu: 1, memory: "1Gi"}, requests: {cpu: "250m"}}, nodeSelector: {disk: "fast"}, tolerations: [{key: "db", operator: "Exists", effect: "NoSchedule"}], labels: {"billing": "tfrs"}}'
t "topology: resources that are no quantity" refused topology '.spec.jobs.resources.limits.memory = "much"' \
  "$(printf '%s' 'spec.jobs.resources.limits.memory: Invalid value: "much": spec.jobs.resources.limits.memory in body should match '"'"'^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$'"'")"
