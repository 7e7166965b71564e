# What Flux makes of objects in every state, by its own library (kstatus): statuses as the operator writes them, as
# the API server stores them. Sourced by tests/apiserver/run.
# shellcheck shell=bash

# What docs/status.md promises.
KSTATUS='Pending=InProgress Planning=InProgress AwaitingApproval=InProgress Running=InProgress Paused=InProgress Blocked=Failed
  RollingBack=InProgress Completed=Current Failed=Failed Cancelled=Failed'
# Failed is what needs a person; archiving that is behind, or a primary that starts, may come by itself.
KSTATUS_OF_TOPOLOGY='NoPrimary=Failed SettingUp=InProgress SetupBlocked=Failed Archiving=Current ArchivingBehind=InProgress
  PrimaryNotReady=InProgress PrimaryNotReadyAfterNoPrimary=InProgress NotSetUp=Failed SetupFailed=Failed'
kstatus() { "$CLUSTER" kstatus; } # JSON objects on stdin
statuses_built() {
  cmake --preset asan && cmake --build --preset asan --target pgrunbook-statuses && build/asan/tests/pgrunbook-statuses >"$WORK/statuses" || return 1
  same "$(jq -r 'select(.kind == "Action").case' "$WORK/statuses" | sort | tr '\n' ' ')" "$(sed -n '/kPhases{/,/};/p' operator/api/status.cpp | grep -o '"[A-Za-z]*"' | tr -d '"' | sort | tr '\n' ' ')"
}
judged() { # example, Action or Topology, what is promised of every case
  local status
  created "$1" || return 1
  jq -c --arg kind "$2" 'select(.kind == $kind)' "$WORK/statuses" >"$WORK/cases"
  while read -r status; do
    k patch -f "$WORK/$1.json" --subresource=status --type=json -p "[{\"op\": \"add\", \"path\": \"/status\", \"value\": $status}]" >/dev/null || return 1
    k get -f "$WORK/$1.json" -o json
  done < <(jq -c .status "$WORK/cases") >"$WORK/stored"
  same "$(paste -d= <(jq -r .case "$WORK/cases") <(kstatus <"$WORK/stored" | sed 's/.*: //') | xargs)" "$(xargs <<<"$3")"
}
with_status() { # example phase
  created "$1" && k patch -f "$WORK/$1.json" --subresource=status --type=merge -p "{\"status\": $(jq -c "select(.case == \"$2\").status" "$WORK/statuses")}"
}
kstatus_of() { k get -f "$WORK/$1.json" -o json | kstatus | sed 's/.*: //'; }
not_looked_at() { created "$1" && same "$(kstatus_of "$1")" "$2"; }
changed_since() { # what is asked now is not what the status is about
  with_status restore-to-time Failed >/dev/null && same "$(kstatus_of restore-to-time)" Failed || return 1
  k patch -f "$WORK/restore-to-time.json" --type=merge -p '{"spec": {"cancel": true}}' >/dev/null
  same "$(kstatus_of restore-to-time)" InProgress
}
being_deleted() { # held by somebody else's finalizer
  with_status restore-to-time Completed >/dev/null && same "$(kstatus_of restore-to-time)" Current || return 1
  k patch -f "$WORK/restore-to-time.json" --type=merge -p '{"metadata": {"finalizers": ["example.com/held"]}}' >/dev/null
  k delete -f "$WORK/restore-to-time.json" --wait=false >/dev/null
  local is
  is=$(kstatus_of restore-to-time)
  k patch -f "$WORK/restore-to-time.json" --type=merge -p '{"metadata": {"finalizers": null}}' >/dev/null
  same "$is" Terminating
}

t "kstatus: statuses of every phase" statuses_built
t "kstatus: a backup in every phase" judged backup Action "$KSTATUS"
t "kstatus: a restore in every phase" judged restore-to-time Action "$KSTATUS"
t "kstatus: a failover in every phase" judged cutover Action "$KSTATUS"
t "kstatus: a topology in every state" judged topology Topology "$KSTATUS_OF_TOPOLOGY"
t "kstatus: an action whose spec has changed since" changed_since
t "kstatus: an action that is being deleted" being_deleted
for example in topology backup restore-to-time cutover; do
  t "kstatus: $example that nobody has looked at yet" not_looked_at "$example" InProgress
done
