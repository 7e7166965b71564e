# Argo CD's health of an action in every phase, by a real Lua. Sourced by tests/apiserver/run.
# shellcheck shell=bash

health() { # Lua of .status, health, message
  same "$(lua5.4 -e "obj = {status = $1}; local h = dofile('manifests/argocd/health.lua'); print(h.status .. ': ' .. h.message)")" "$2: $3"
}
# A phase that the API knows and the script does not would be Unknown.
phases_known() {
  local phase known
  known=$(sed -n '/kPhases{/,/};/p' operator/api/status.cpp | grep -o '"[A-Za-z]*"' | tr -d '"')
  [ "$(wc -l <<<"$known")" -ge 10 ] || { wrong "no phases found in operator/api/status.cpp"; return 1; }
  for phase in $known; do
    [ "$(lua5.4 -e "obj = {status = {phase = '$phase'}}; print(dofile('manifests/argocd/health.lua').status)")" != Unknown ] || { wrong "$phase"; return 1; }
  done
}
t "Argo CD: nothing known yet" health nil Progressing 'the operator has not looked at it yet'
for pair in Pending=Progressing Planning=Progressing Running=Progressing RollingBack=Progressing AwaitingApproval=Suspended Paused=Suspended \
  Blocked=Degraded Failed=Degraded Cancelled=Degraded Completed=Healthy NewerThanThis=Unknown; do
  t "Argo CD: ${pair%=*}" health "{phase = '${pair%=*}', message = 'why'}" "${pair#*=}" why
done
t "Argo CD: every phase is known" phases_known
