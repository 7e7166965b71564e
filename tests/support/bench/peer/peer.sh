# CloudNativePG's operator, built from its Go module and installed by the manifest of its release, which the module
# holds. Two things differ from that: the image is local, and there are no limits (it would be killed at 200Mi, and slow
# to start with a tenth of a core). It watches the one namespace that ours does. Sourced by the benches.
# shellcheck shell=bash

PEER_NAME=cloudnative-pg
PEER_NAMESPACE=cnpg-system
PEER_LABELS=app.kubernetes.io/name=cloudnative-pg
PEER_VERSION=$(sed -n 's#^require github.com/cloudnative-pg/cloudnative-pg ##p' tests/support/bench/peer/go.mod)
PEER_IMAGE=cnpg-manager:$PEER_VERSION

# In a shell of its own: the cluster's functions have names that ours have too.
peer_build() (
  . tests/support/cluster/lib.sh
  . tests/support/cluster/install.sh
  . tests/support/cluster/build.sh
  go=$(go_program)
  program=$BIN/cnpg-manager-$PEER_VERSION
  if [ ! -x "$program" ]; then
    # As its releases are: stripped, without cgo.
    go_build build -C tests/support/bench/peer -o "$program.part" -ldflags "-s -w -X github.com/cloudnative-pg/cloudnative-pg/pkg/versions.buildVersion=${PEER_VERSION#v}" github.com/cloudnative-pg/cloudnative-pg/cmd/manager >&2
    mv "$program.part" "$program"
  fi
  echo "$program $(cd tests/support/bench/peer && "$go" list -m -f '{{.Dir}}' github.com/cloudnative-pg/cloudnative-pg)"
)
# Sets PEER_PROGRAM, PEER_MODULE, PEER_ARCHIVE, and puts the image on the nodes.
peer_prepare() {
  local context=build/bench/peer-image
  read -r PEER_PROGRAM PEER_MODULE < <(peer_build)
  [ -x "${PEER_PROGRAM:-}" ] && [ -d "${PEER_MODULE:-}" ] || fail "$PEER_NAME could not be built"
  rm -rf "$context"
  mkdir -p "$context/root/operator"
  cp "$PEER_PROGRAM" "$context/root/operator/manager_amd64"
  chmod 755 "$context/root/operator/manager_amd64"
  ln -s operator/manager_amd64 "$context/root/manager"
  printf 'FROM scratch\nCOPY root/ /\nWORKDIR /\nUSER 65532:65532\nENTRYPOINT ["/manager"]\n' >"$context/Dockerfile"
  PEER_ARCHIVE=$(tests/cluster build-image "$PEER_IMAGE" "$context" "$context/Dockerfile" | tail -n 1)
  tests/cluster load-image "$PEER_ARCHIVE"
}
peer_manifest() { # namespace to watch
  scene_kubectl create --dry-run=client -o json -f "$PEER_MODULE/releases/cnpg-${PEER_VERSION#v}.yaml" | jq -c --arg image "$PEER_IMAGE" '
    if .kind == "Deployment" then .spec.template.spec.containers[0] |= (.image = $image | .imagePullPolicy = "IfNotPresent" | .resources = {}) else . end'
  jq -nc --arg ns "$PEER_NAMESPACE" --arg watched "$1" '{apiVersion: "v1", kind: "ConfigMap", metadata: {name: "cnpg-controller-manager-config", namespace: $ns}, data: {WATCH_NAMESPACE: $watched}}'
}
peer_install() { # namespace to watch
  peer_manifest "$1" >"$work/peer.json"
  # Server-side: its CRDs are too long for kubectl's annotation.
  scene_kubectl apply --server-side --force-conflicts -f "$work/peer.json" >/dev/null
  peer_ready
}
peer_ready() { scene_kubectl -n "$PEER_NAMESPACE" rollout status deploy/cnpg-controller-manager --timeout=180s >/dev/null || fail "$PEER_NAME does not become ready"; }
peer_start() {
  # Its webhooks are there again before it: it writes its authority into them.
  scene_kubectl apply --server-side --force-conflicts -f "$work/peer.json" >/dev/null
  scene_kubectl -n "$PEER_NAMESPACE" scale deploy/cnpg-controller-manager --replicas=1 >/dev/null
  peer_ready
}
peer_stop() {
  scene_kubectl -n "$PEER_NAMESPACE" scale deploy/cnpg-controller-manager --replicas=0 >/dev/null
  _scene_until 60 "$PEER_NAME is gone" peer_gone
  # They refuse its objects while nobody answers.
  scene_kubectl delete validatingwebhookconfiguration/cnpg-validating-webhook-configuration mutatingwebhookconfiguration/cnpg-mutating-webhook-configuration --ignore-not-found >/dev/null
}
peer_gone() { [ -z "$(scene_kubectl -n "$PEER_NAMESPACE" get pods -l "$PEER_LABELS" -o name)" ]; }

# That it answers, leads, and has filled its caches: else nothing was compared.
peer_check() {
  local address
  address=$(scene_kubectl -n "$PEER_NAMESPACE" get pods -l "$PEER_LABELS" -o jsonpath='{.items[0].status.podIP}')
  [ "$(tests/cluster exec curl -sk "https://$address:9443/readyz")" = OK ] || fail "$PEER_NAME does not answer on readyz"
  _scene_until 60 "$PEER_NAME works on backups" peer_works
}
peer_works() { scene_kubectl -n "$PEER_NAMESPACE" logs deploy/cnpg-controller-manager | grep '"Starting workers"' | grep -q '"controller":"backup"'; }

# Its backups, finished: with the fields that its own instance manager fills in. Only while it is stopped.
peer_backups() { # namespace number
  local i
  rm -rf "$work/peer-made" "$work/peer-status"
  mkdir -p "$work/peer-made" "$work/peer-status"
  for ((i = 1; i <= $2; i++)); do
    jq -nc --arg n "done-$i" '{apiVersion: "postgresql.cnpg.io/v1", kind: "Backup", metadata: {name: $n}, spec: {cluster: {name: "tfrs"}, method: "barmanObjectStore"}}' >"$work/peer-made/done-$i.json"
    jq -nc --arg n "2026112815$(printf '%04d' "$i")" '{status: {phase: "completed", method: "barmanObjectStore", online: true, backupId: $n, backupName: ("backup-" + $n), serverName: "tfrs",
      destinationPath: "s3://backups/tfrs/", endpointURL: "https://s3.example.org", majorVersion: 15, beginWal: "000000010000000000000005", endWal: "000000010000000000000005", beginLSN: "0/5000028", endLSN: "0/5000138",
      startedAt: "2026-11-28T15:00:00Z", stoppedAt: "2026-11-28T15:01:00Z", instanceID: {podName: "tfrs-1", ContainerID: "containerd://0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
      s3Credentials: {accessKeyId: {name: "s3", key: "id"}, secretAccessKey: {name: "s3", key: "secret"}}}}' >"$work/peer-status/done-$i.json"
  done
  api_each POST application/json "$work/peer-made" "/apis/postgresql.cnpg.io/v1/namespaces/$1/backups"
  api_each PATCH application/merge-patch+json "$work/peer-status" "/apis/postgresql.cnpg.io/v1/namespaces/$1/backups/NAME/status"
  [ "$(scene_kubectl -n "$1" get backups.postgresql.cnpg.io -o jsonpath='{range .items[?(@.status.phase=="completed")]}x{end}' | wc -c)" = "$2" ] || fail "$PEER_NAME does not have $2 finished backups"
}
peer_remove() {
  [ ! -f "$work/peer.json" ] || scene_kubectl delete --ignore-not-found --wait=false -f "$work/peer.json"
  scene_kubectl delete namespace "$PEER_NAMESPACE" --ignore-not-found --timeout=120s
  scene_kubectl get crd -o name | { grep 'cnpg\.io$' || true; } | while read -r crd; do scene_kubectl delete "$crd" --wait=false; done
}
