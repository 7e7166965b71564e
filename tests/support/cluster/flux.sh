# Flux's kustomize-controller, which keeps a namespace as a "commit" says. Sourced by tests/cluster.
#
# There is no Git and no source-controller: a commit is a directory of manifests, packed and served to the controller
# inside node 1; the GitRepository that names it is written by hand. All else is Flux's own: it applies server-side,
# takes fields back that others set, prunes, and marks what it owns.
# shellcheck shell=bash

FLUX_NAME=steering # of the GitRepository and the Kustomization, one pair a namespace
FLUX_FILES=127.0.0.1:8190

flux() {
  case "${1:-} $#" in
  'up 1') flux_up ;;
  'down 1') flux_down ;;
  'commit 3' | 'commit 4') flux_commit "${@:2}" ;;
  'reconcile 2' | 'forget 2') "flux_$1" "$2" ;;
  *) fail "usage: tests/cluster flux up | down | commit NAMESPACE DIRECTORY [INTERVAL] | reconcile NAMESPACE | forget NAMESPACE" ;;
  esac
}

flux_up() {
  locked "$CACHE/build.lock" build_flux
  [ -e "/run/netns/$NAME.1" ] || fail "$NAME is down" "run tests/cluster up"
  mkdir -p "$STATE/flux/source" "$STATE/flux/tmp"
  kubectl apply --server-side -f "$(flux_definitions)" >/dev/null
  kubectl wait --for=condition=Established --timeout=30s -f "$(flux_definitions)" >/dev/null
  # Only files: whatever else kubectl proxy could reach is refused.
  start flux-source "$BIN/kubectl" --kubeconfig "$STATE/admin.kubeconfig" proxy --address="${FLUX_FILES%:*}" --port="${FLUX_FILES#*:}" \
    --www="$STATE/flux/source" --www-prefix=/source/ --reject-paths='.*'
  start kustomize-controller env KUBECONFIG="$STATE/admin.kubeconfig" TMPDIR="$STATE/flux/tmp" RUNTIME_NAMESPACE=kube-system \
    "$BIN/kustomize-controller" --metrics-addr=0 --health-addr=127.0.0.1:9440 --no-remote-bases --requeue-dependency=2s
  try 60 on_node 1 curl -fs http://127.0.0.1:9440/readyz
}

# Its objects first: without it their finalizers would hold their namespaces for ever.
flux_down() {
  local ns
  if kubectl get crd kustomizations.kustomize.toolkit.fluxcd.io >/dev/null 2>&1; then
    for ns in $(kubectl get kustomizations -A -o jsonpath='{.items[*].metadata.namespace}'); do flux_forget "$ns"; done
    kubectl delete -f "$(flux_definitions)" --ignore-not-found >/dev/null
  fi
  stop kustomize-controller
  stop flux-source
  rm -rf "$STATE/flux"
}

# It no longer keeps the namespace; what it made stays, without its marks.
flux_forget() { # namespace
  local kind
  kubectl -n "$1" patch kustomization $FLUX_NAME --type=merge -p '{"spec":{"suspend":true},"metadata":{"finalizers":null}}' >/dev/null
  kubectl -n "$1" delete kustomization/$FLUX_NAME gitrepository/$FLUX_NAME --ignore-not-found >/dev/null
  for kind in deployments services; do
    kubectl -n "$1" label "$kind" -l "kustomize.toolkit.fluxcd.io/name=$FLUX_NAME" kustomize.toolkit.fluxcd.io/name- \
      kustomize.toolkit.fluxcd.io/namespace- >/dev/null
  done
}

# What is in the directory is from now on what the namespace should be. Returns once it has been applied.
flux_commit() { # namespace directory [interval]
  local ns=$1 dir=$2 interval=${3:-} revision file
  running kustomize-controller || fail "Flux does not run" "run tests/cluster flux up"
  [ -n "$(find "$dir" -name '*.yaml')" ] || fail "$dir holds no manifests"
  file=$ns-$(date +%s%N).tar.gz
  tar -C "$dir" --sort=name --owner=0 --group=0 -czf "$STATE/flux/source/$file" .
  revision=main@sha1:$(sha1sum "$STATE/flux/source/$file" | cut -d' ' -f1)
  kubectl apply --server-side --field-manager=flux-test -f - >/dev/null <<YAML
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: $FLUX_NAME, namespace: $ns}
spec: {interval: 1h, url: "https://git.invalid/$ns", ref: {branch: main}}
YAML
  kubectl -n "$ns" patch gitrepository $FLUX_NAME --subresource=status --type=merge -p "$(
    jq -n --arg url "http://$FLUX_FILES/source/$file" --arg path "$file" --arg revision "$revision" --arg now "$(date -u +%FT%TZ)" \
      --arg digest "sha256:$(sha256sum "$STATE/flux/source/$file" | cut -d' ' -f1)" --argjson size "$(stat -c %s "$STATE/flux/source/$file")" \
      '{status: {artifact: {$url, $path, $revision, $digest, $size, lastUpdateTime: $now},
        conditions: [{type: "Ready", status: "True", reason: "Succeeded", message: "stored", lastTransitionTime: $now}]}}'
  )" >/dev/null
  kubectl apply --server-side --field-manager=flux-test -f - >/dev/null <<YAML
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: $FLUX_NAME, namespace: $ns}
spec:
  sourceRef: {kind: GitRepository, name: $FLUX_NAME}
  path: ./
  targetNamespace: $ns
  interval: ${interval:-1h}
  retryInterval: 2s
  timeout: 30s
  prune: true
  wait: false
YAML
  flux_reconcile "$ns"
  kubectl -n "$ns" wait kustomization/$FLUX_NAME --for=jsonpath='{.status.lastAppliedRevision}'="$revision" --timeout=60s >/dev/null ||
    fail "Flux did not apply $dir: $(flux_said "$ns")"
}

# Everything back to what was committed, now. Returns once it has been done.
flux_reconcile() { # namespace
  local asked
  asked=$(date +%s%N)
  kubectl -n "$1" annotate kustomization $FLUX_NAME --overwrite reconcile.fluxcd.io/requestedAt="$asked" >/dev/null
  kubectl -n "$1" wait kustomization/$FLUX_NAME --for=jsonpath='{.status.lastHandledReconcileAt}'="$asked" --timeout=60s >/dev/null ||
    fail "Flux did not look at namespace $1: $(flux_said "$1")"
}
flux_said() { kubectl -n "$1" get kustomization $FLUX_NAME -o jsonpath='{.status.conditions[?(@.type=="Ready")].message}'; }
