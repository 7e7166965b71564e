# An API server of its own for each run, with the CRDs and the examples as JSON. Sourced by tests/apiserver/run.
# shellcheck shell=bash

server_up() {
  KUBECONFIG_FILE=$("$CLUSTER" apiserver up) || return 1
  BIN=${PGRUNBOOK_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pgrunbook-cluster}/bin
  # admin, edit and view get their rules from a controller; nothing else of the controller manager runs.
  setsid "$CLUSTER" apiserver exec "$BIN/kube-controller-manager" --kubeconfig "$KUBECONFIG_FILE" --leader-elect=false \
    --controllers=clusterrole-aggregation-controller --bind-address=127.0.0.1 --secure-port=0 >"$WORK/controllers.log" 2>&1 &
  CONTROLLERS=$!
  k create namespace scene >/dev/null || return 1
  k apply -f crds/ -f manifests/cluster-roles.yaml >/dev/null || return 1
  k wait --for=condition=Established crd --all --timeout=30s >/dev/null || return 1
  within 30 served || return 1
  within 30 aggregated || return 1
  local file
  for file in manifests/examples/*.yaml; do
    k create --dry-run=client -o json -f "$file" >"$WORK/$(basename "$file" .yaml).json" || return 1
  done
}
served() { k get postgrestopologies,postgresbackups,postgresrestores,failovers; }
aggregated() { k get clusterrole admin -o json | jq -e '[.rules[].resources[]] | index("failovers/finalizers") and index("deployments")'; }
within() { # seconds command...
  local until=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < until)) || { echo "timed out: $*" >&2; return 1; }
    sleep .2
  done
}
server_down() {
  [ -z "${CONTROLLERS:-}" ] || kill -- "-$CONTROLLERS" 2>/dev/null
  "$CLUSTER" apiserver down >/dev/null 2>&1
  rm -rf "$WORK"
}
example() { cat "$WORK/$1.json"; } # name of a file in manifests/examples
