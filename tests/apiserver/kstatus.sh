# What Flux makes of an action in every phase, by its own library (kstatus): statuses as operator/api writes them, as
# the API server stores them. Sourced by tests/apiserver/run.
# shellcheck shell=bash

# What docs/status.md promises.
KSTATUS='Pending=InProgress Planning=InProgress AwaitingApproval=InProgress Running=InProgress Paused=InProgress Blocked=Failed
  RollingBack=InProgress Completed=Current Failed=Failed Cancelled=Failed'
kstatus() { "$CLUSTER" kstatus; } # JSON objects on stdin
statuses_built() {
  cmake --preset asan && cmake --build --preset asan --target pgrunbook-statuses && build/asan/tests/pgrunbook-statuses >"$WORK/statuses" || return 1
  same "$(jq -r .phase "$WORK/statuses" | sort | tr '\n' ' ')" "$(sed -n '/kPhases{/,/};/p' operator/api/status.cpp | grep -o '"[A-Za-z]*"' | tr -d '"' | sort | tr '\n' ' ')"
}
judged() { # example: every phase
  local status phases
  created "$1" || return 1
  while read -r status; do
    k patch -f "$WORK/$1.json" --subresource=status --type=merge -p "{\"status\": $status}" >/dev/null || return 1
    k get -f "$WORK/$1.json" -o json
  done <"$WORK/statuses" >"$WORK/stored"
  phases=$(paste -d= <(jq -r .status.phase "$WORK/stored") <(kstatus <"$WORK/stored" | sed 's/.*: //'))
  same "$(xargs <<<"$phases")" "$(xargs <<<"$KSTATUS")"
}
with_status() { # example phase
  created "$1" && k patch -f "$WORK/$1.json" --subresource=status --type=merge -p "{\"status\": $(jq -c "select(.phase == \"$2\")" "$WORK/statuses")}"
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
t "kstatus: a backup in every phase" judged backup
t "kstatus: a restore in every phase" judged restore-to-time
t "kstatus: a failover in every phase" judged cutover
t "kstatus: an action whose spec has changed since" changed_since
t "kstatus: an action that is being deleted" being_deleted
for example in topology backup restore-to-time cutover; do
  t "kstatus: $example that nobody has looked at yet" not_looked_at "$example" InProgress
done
