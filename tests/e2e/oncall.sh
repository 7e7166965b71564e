# What a person sees who is called at night: kubectl get and describe at six moments, compared with tests/e2e/golden.
# PGRUNBOOK_GOLDEN=write writes them anew; read them before you commit them.
# shellcheck shell=bash
tests=(seen_when_idle seen_when_blocked_by_quota seen_when_running seen_when_failed seen_when_awaiting_approval seen_afterwards
  events_are_few metrics_answer)

prepare() {
  e2e_namespace
  e2e_archiving
}

# ---- what differs from run to run
values() {
  sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z| UTC|\+00)/<time>/g
    s/[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}/<backup>/g
    s/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/<uid>/g
    s/\b(pg[btrf])-[0-9a-f]{8}-/\1-<uid>-/g
    s/(pgrunbook-)[0-9a-f]{8,32}\b/\1<uid>/g
    s/\b[0-9a-f]{64}\b/<hash>/g
    s/\b[0-9a-f]{16}\b/<digest>/g
    s/\b[0-9A-F]{24}\b/<segment>/g
    s/\b[0-9A-F]{1,8}\/[0-9A-F]{6,8}\b/<lsn>/g
    s/\b[67][0-9]{18}\b/<system>/g
    s/-[0-9a-f]{8,10}-[a-z0-9]{5}\b/-<pod>/g
    s/\b10(\.[0-9]+){3}\b/<ip>/g
    s/\b[0-9]+(\.[0-9]+)? (B|KiB|MiB|GiB|s)\b/<n> \2/g
    s/\b[0-9]+ (bytes|files|transactions?)\b/<n> \1/g
    s/\b(xid) [0-9]+/\1 <n>/g
    s/^( *(.* )?(Bytes|Transactions|Xid|Seconds|Resource Version|credit_trade|Done|Total):  +)[0-9.]+$/\1<n>/'
}
# kubectl's tables with the cells in columns as wide as what is left in them.
table() {
  awk '{ sub(/ +$/, "") }
    /^NAME / { columns = 0; rest = $0; at = 1
      while (match(rest, /^[A-Z]+( [A-Z]+)*( +|$)/)) { start[++columns] = at; at += RLENGTH; rest = substr(rest, RLENGTH + 1) } }
    $0 == "" { print ""; next }
    { for (i = 1; i <= columns; i++) {
        cell = i < columns ? substr($0, start[i], start[i + 1] - start[i]) : substr($0, start[i])
        gsub(/^ +| +$/, "", cell)
        if (cell ~ /^([0-9]+[smhd])+$/) cell = "<age>"
        printf "%s%s", cell, i < columns ? "\t" : "\n" } }' | awk 'NF || !blank; { blank = !NF }' | values |
    awk -F '\t' 'function out(  r, i) {
        for (r = 1; r <= rows; r++) { line = ""
          for (i = 1; i <= wide; i++) line = line (i < wide ? sprintf("%-" (width[i] + 3) "s", cell[r, i]) : cell[r, i])
          sub(/ +$/, "", line); print line }
        rows = wide = 0; delete width }
      $0 == "" { out(); print ""; next }
      { rows++; if (NF > wide) wide = NF
        for (i = 1; i <= NF; i++) { cell[rows, i] = $i; if (length($i) > width[i]) width[i] = length($i) } }
      END { out() }'
}
# What the operator keeps for itself is left out; Events of one second, which kubectl lists in any order, are put in theirs.
described() { # kind/name
  local uid text
  uid=$(uid "$1")
  text=$(user describe "$1")
  sed '/^Events:/,$d' <<<"$text" | awk '{ at = match($0, /[^ ]/) } skip && at > skip { next } { skip = 0 } $1 == "Operation:" { skip = at; $0 = $0 "  (for the operator)" } { print }' | values
  echo Events:
  awk 'NR == FNR { rank[$1] = NR; next } $2 in rank && /^  (Normal|Warning) / { print rank[$2] "\t" $0 }' \
    <(scene get events --field-selector "involvedObject.uid=$uid" -o json | jq -r '[.items[] | select(.source.component == "pgrunbook")] | sort_by(.metadata.name)[] | .reason') \
    <(sed '1,/^Events:/d' <<<"$text") | sort -n | cut -f2- | sed -E 's/^  (Normal|Warning) +([A-Za-z]+) +[0-9smhd]+( \(x[0-9]+ over [0-9smhd]+\))? +pgrunbook +/  \1  \2  <age>  /' | values
}
narrow() { # what on stdin: goes on as it is
  local text
  text=$(cat)
  same "lines of $1 over 120 columns" "$(awk '{ sub(/ +$/, "") } length > 120' <<<"$text")" ""
  printf '%s\n' "$text"
}
seen() { # moment kind/name: as golden/<moment>.txt says
  local file=tests/e2e/golden/$1.txt message
  {
    printf '$ kubectl get pgrunbook\n'
    user get pgrunbook | narrow "kubectl get pgrunbook" | table
    printf '\n$ kubectl get %s -o wide\n' "${2%/*}"
    user get "${2%/*}" -o wide | table
    printf '\n$ kubectl describe %s\n' "$2"
    described "$2"
  } >"$work/$1.txt"
  user get "${2%/*}" | narrow "kubectl get ${2%/*}" >/dev/null
  message=$(field "$2" message)
  same "the condition Ready of $2" "$(field "$2" 'conditions[?(@.type=="Ready")].message')" "$message"
  holds "kubectl describe $2" "$(user describe "$2" | tr -s ' ')" "Message: $message"
  if [ "${PGRUNBOOK_GOLDEN:-}" = write ]; then mkdir -p "${file%/*}"; cp "$work/$1.txt" "$file"; return; fi
  diff -u "$file" "$work/$1.txt" >"$work/$1.diff" || fail "not as in $file: $(grep -m 6 '^[-+][^-+]' "$work/$1.diff")"
}
judged() { # kind/name status: what Flux makes of it
  same "kstatus of $1" "$(scene get "$1" -o json | tests/cluster kstatus | sed 's/.*: //')" "$2"
}

seen_when_idle() {
  e2e_backup
  # What the topology shows of it comes with its next look.
  _scene_until 60 "the topology shows the backup" backup_is_shown
  seen idle pgt/tfrs
  judged pgt/tfrs Current
  judged pgb/tfrs-1 Current
}
backup_is_shown() { [ "$(field pgt/tfrs lastBackup.name)" = tfrs-1 ]; }

seen_when_blocked_by_quota() {
  sleep 4 # the quota is counted anew
  scene patch resourcequota quota --type=merge -p '{"spec":{"hard":{"limits.memory":"100Mi"}}}'
  sed 's/name: tfrs-1/name: tfrs-2/' manifests/examples/backup.yaml | user apply -f -
  reaches pgb/tfrs-2 phase '^Blocked$' 60
  seen blocked pgb/tfrs-2
  judged pgb/tfrs-2 Failed
  scene patch resourcequota quota --type=merge -p '{"spec":{"hard":{"limits.memory":"960Mi"}}}'
  finished pgb/tfrs-2 Completed 240
}

seen_when_running() {
  user apply -f - <<<"$(restore_yaml tfrs-wrong "" 'select count(*) from (select pg_sleep(20)) x' 1 'select count(*) from organization' 19999)"
  reaches pgr/tfrs-wrong message 'verification runs' 120
  seen running pgr/tfrs-wrong
  judged pgr/tfrs-wrong InProgress
}

seen_when_failed() {
  finished pgr/tfrs-wrong Failed 240
  seen failed pgr/tfrs-wrong
  judged pgr/tfrs-wrong Failed
}

seen_when_awaiting_approval() {
  user apply -f - <<<"$(restore_yaml tfrs-right "" 'select count(*) from organization' 20000)"
  finished pgr/tfrs-right Completed 240
  { scene_allow "$ns" app-standby 'name: tfrs' 'name: postgresql-standby'; scene_allow "$ns" report-standby 'role: client' 'name: postgresql-standby'; } | user apply -f -
  user apply -f manifests/examples/cutover.yaml
  phase pgf/tfrs-to-standby AwaitingApproval 120
  seen awaiting-approval pgf/tfrs-to-standby
  judged pgf/tfrs-to-standby InProgress
}

seen_afterwards() {
  approve pgf/tfrs-to-standby
  finished pgf/tfrs-to-standby Completed 240
  _scene_until 60 "the topology shows the new primary" archiving_from postgresql-standby
  seen after pgf/tfrs-to-standby
  judged pgf/tfrs-to-standby Current
  judged pgt/tfrs Current
}
archiving_from() { [ "$(field pgt/tfrs primary)/$(field pgt/tfrs 'conditions[?(@.type=="ContinuousArchiving")].status')" = "$1/True" ]; }

events_are_few() {
  local events
  events=$(scene get events -o json | jq '[.items[] | select(.source.component == "pgrunbook")]')
  [ "$(jq length <<<"$events")" -gt 20 ] || fail "only $(jq length <<<"$events") Events: that proves nothing"
  same "Events of one object with one reason within 5 minutes" \
    "$(jq -c 'group_by([.involvedObject.uid, .reason])[] | sort_by(.firstTimestamp) | select([.[1:], .[:-1]] | transpose | any((.[0].firstTimestamp | fromdate) - (.[1].firstTimestamp | fromdate) < 300)) | .[0] | [.involvedObject.name, .reason]' <<<"$events")" ""
  same "Events over 1024 bytes" "$(jq -c '.[] | select(.message | utf8bytelength > 1024) | .reason' <<<"$events")" ""
  same "Warnings" "$(jq -r '[.[] | select(.type == "Warning") | .involvedObject.name + " " + .reason] | unique | join(", ")' <<<"$events")" \
    "tfrs-2 QuotaTooSmall, tfrs-wrong VerificationMismatch"
}

metric() { awk -v series="$1" '$1 == series { print $2 }' <<<"$metrics"; } # name{labels}: its value
metrics_answer() {
  local metrics pod
  pod=$(scene get pods -l app.kubernetes.io/name=pgrunbook,app.kubernetes.io/component=controller -o jsonpath='{.items[0].metadata.name}')
  metrics=$(scene get --raw "/api/v1/namespaces/$ns/pods/$pod:8080/proxy/metrics")
  same leader "$(metric pgrunbook_leader)" 1
  same archiving "$(metric 'pgrunbook_continuous_archiving{topology="tfrs"}')" 1
  same stalled "$(metric 'pgrunbook_topology_stalled{topology="tfrs"}')" 0
  same backups "$(metric 'pgrunbook_actions{kind="PostgresBackup",topology="tfrs",phase="Completed"}')" 2
  same "failed restores" "$(metric 'pgrunbook_actions{kind="PostgresRestore",topology="tfrs",phase="Failed"}')" 1
  # Counted as they end, so that of an operator that was started again is no figure to compare.
  [ "$(operator_restarts)" != 0 ] || same "restores that failed" "$(metric 'pgrunbook_actions_ended_total{kind="PostgresRestore",topology="tfrs",result="Failed"}')" 1
  same "last backup" "$(date -u -d "@$(metric 'pgrunbook_last_backup_timestamp_seconds{topology="tfrs"}' | awk '{ printf "%d", $1 }')" +%FT%TZ)" "$(field pgb/tfrs-2 completionTime)"
  same "names of actions in /metrics" "$(grep -E 'tfrs-|[0-9a-f]{8}-' <<<"$metrics")" ""
  grep -q '^pgrunbook_build_info{version="' <<<"$metrics" || fail "no version: $metrics"
}
