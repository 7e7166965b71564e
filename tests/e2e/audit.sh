# What the operators of a whole run asked of the API server, by its audit log: nothing that was not granted, nothing that
# was refused; and for every right that no test used docs/security.md says why it is there. Sourced by tests/e2e/run.
# shellcheck shell=bash

audit_log() { echo "$(tests/cluster state)/log/audit.log"; }
audit_begin() { audit_from=$(stat -c %s "$(audit_log)" 2>/dev/null || echo 0); }

# "verb group/resource[/subresource]" of every rule of the chart's Role.
audit_granted() {
  tests/cluster helm template pgrunbook charts/pgrunbook --kube-version 1.34.0 --values manifests/values.yaml --show-only templates/role.yaml |
    tests/cluster kubectl create --dry-run=client -o json -f - |
    jq -r 'select(.kind == "Role") | .rules[] | .apiGroups[] as $g | .resources[] as $r | .verbs[] as $v | "\($v) \($g)/\($r)"' | sort -u
}
# The rows of the table "Granted and not used by the tests": | resource | verbs | why |
audit_explained() {
  sed -n '/^### Granted and not used by the tests/,/^#\{1,3\} [^G]/p' docs/security.md | awk -F'|' '
    /^\| `/ { n = split($2, r, ","); m = split($3, v, ",")
      for (i = 1; i <= n; i++) for (j = 1; j <= m; j++) { gsub(/[` ]/, "", r[i]); gsub(/ /, "", v[j]); if ($4 ~ /[a-z]/) print v[j] " " r[i] } }' | sort -u
}
# What the operators of this run were answered, one JSON line each; not what they asked after their Role had gone.
audit_requests() {
  tail -c +$((audit_from + 1)) "$(audit_log)" | jq -c -s '
    def ns: .objectRef.namespace // "";
    (map(select(.objectRef.resource == "roles" or .objectRef.resource == "rolebindings")
      | select(.verb | startswith("delete")) | {ns: ns, at: .requestReceivedTimestamp})) as $gone
    | (map(select(.objectRef.resource == "roles" or .objectRef.resource == "rolebindings")
      | select(.verb == "create") | {ns: ns, at: .stageTimestamp})) as $made
    | .[] | select(.user.username | test("^system:serviceaccount:[^:]+:pgrunbook$"))
    | (.user.username | split(":")[2]) as $ns | .stageTimestamp as $at
    | select([$gone[] | select(.ns == $ns and .at <= $at) | .at as $g
        | select([$made[] | select(.ns == $ns and .at > $g and .at <= $at)] | length == 0)] | length == 0)
    | {verb, uri: .requestURI, code: (.responseStatus.code // 0), decision: .annotations["authorization.k8s.io/decision"],
       what: (if .objectRef then "\(.verb) \(.objectRef.apiGroup // "")/\(.objectRef.resource)\(if .objectRef.subresource then "/" + .objectRef.subresource else "" end)" else "" end)}'
}

audit_check() {
  set -eEuo pipefail
  trap 'echo "FAIL: line $LINENO of ${BASH_SOURCE[0]}: $BASH_COMMAND" >&2' ERR
  local w=build/e2e/audit
  audit_requests >"$w/requests"
  audit_granted >"$w/granted"
  jq -r 'select(.what != "") | .what' "$w/requests" | sort | uniq -c | sort -rn >"$w/counts"
  awk '{ print $2, $3 }' "$w/counts" | sort -u >"$w/used"
  cat "$w/counts"
  [ "$(wc -l <"$w/requests")" -gt 1000 ] || fail "only $(wc -l <"$w/requests") requests are in the audit log: that is no whole run"
  # One refusal is a test's own: a topology that names a Secret which the chart's secretNames do not. And where charts and
  # namespaces are deleted and made anew, an operator that is ending asks between two of their objects.
  jq -r 'select(.decision == "forbid") | "\(.verb) \(.uri)"' "$w/requests" | grep -v -e '^get .*/namespaces/e2e-refusals/secrets/another$' -e '/namespaces/e2e-leaving/' | sort -u >"$w/forbidden" || true
  [ ! -s "$w/forbidden" ] || fail "the operator was refused: $(head -n 3 "$w/forbidden" | tr '\n' ';')"
  # Refused by a quota or PodSecurity, not for want of a right: it asked what it may ask.
  jq -r 'select(.code == 403) | "\(.verb) \(.uri)"' "$w/requests" | sort | uniq -c
  comm -23 "$w/used" "$w/granted" >"$w/beyond"
  [ ! -s "$w/beyond" ] || fail "used and not granted: $(tr '\n' ';' <"$w/beyond")"
  # apiGroups do not stand in the documentation's table.
  comm -13 "$w/used" "$w/granted" | sed 's|^\([a-z]*\) [^/]*/|\1 |' | sort -u >"$w/unused"
  audit_explained >"$w/explained"
  comm -23 "$w/unused" "$w/explained" >"$w/unexplained"
  [ ! -s "$w/unexplained" ] || fail "granted, not used, and docs/security.md does not say why: $(tr '\n' ';' <"$w/unexplained")"
  echo "$(wc -l <"$w/requests") requests, $(wc -l <"$w/used") of $(wc -l <"$w/granted") rights used, $(wc -l <"$w/unused") unused and explained"
}
