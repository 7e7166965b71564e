# What the demo and the end-to-end tests share: the cluster, the image, installing, waiting. Sourced after `cd` to the
# repository's top.
# shellcheck shell=bash
VERSION=$(sed -nE 's/^project\(pgrunbook VERSION ([0-9.]+).*/\1/p' CMakeLists.txt)
IMAGE=pgrunbook:$VERSION
started_cluster=

fail() { echo "FAIL: $*" >&2; exit 1; }

# Packages to compile with. Nothing is installed that is there.
install_build_packages() {
  local missing=() p
  for p in g++ cmake ninja-build ccache nlohmann-json3-dev libfmt-dev libspdlog-dev libyaml-cpp-dev libcpprest-dev libssl-dev libpq-dev \
    libexpected-dev libzstd-dev libcli11-dev libgtest-dev libgmock-dev clang-19 libclang-rt-19-dev llvm-19 \
    postgresql-15 zstd jq git lua5.4; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q '^install ok installed' || missing+=("$p")
  done
  [ ${#missing[@]} = 0 ] && return
  apt-get update -q >/dev/null
  # No cluster of its own: the tests start their own servers.
  mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
}

# A running cluster: the one of PGRUNBOOK_TEST_KUBECONFIG, one that runs already, or a new one (ended by release_cluster).
prepare_cluster() {
  [ -z "${PGRUNBOOK_TEST_KUBECONFIG:-}" ] || return 0
  tests/cluster kubectl get --raw /readyz >/dev/null 2>&1 && return
  tests/cluster install
  tests/cluster up
  started_cluster=1
}
release_cluster() { [ -z "$started_cluster" ] || tests/cluster down --keep-images; }

# PGRUNBOOK_TEST_PRESET: what the image is made of.
preset=${PGRUNBOOK_TEST_PRESET:-release}

# Compiles and puts the repository's image on the nodes.
prepare_image() {
  install_build_packages
  cmake --preset "$preset" >/dev/null
  cmake --build --preset "$preset" --target pgrunbook pgrunbook-agent >"build/$preset/log" || { tail -n 40 "build/$preset/log"; fail "the $preset build failed"; }
  if [ -n "${PGRUNBOOK_TEST_REGISTRY:-}" ]; then
    buildah bud --build-arg FROM=prebuilt --build-arg BINARIES="build/$preset/operator" -t "$PGRUNBOOK_TEST_REGISTRY/$IMAGE" . && buildah push "$PGRUNBOOK_TEST_REGISTRY/$IMAGE"
    return
  fi
  tests/cluster load-image "$(tests/cluster build-image "$IMAGE" . Dockerfile --build-arg FROM=prebuilt --build-arg BINARIES="build/$preset/operator" | tail -n 1)"
}

helm_() { if [ -n "${PGRUNBOOK_TEST_KUBECONFIG:-}" ]; then helm "$@"; else tests/cluster helm "$@"; fi; }

# Once per cluster, as its admin.
install_crds() { helm_ upgrade --install pgrunbook-crds charts/pgrunbook-crds -n kube-system --wait >/dev/null; }

# As the namespace's admin and nobody else.
install_operator() { # namespace kubeconfig [helm arguments...]
  local n=$1 kubeconfig=$2 repository=${PGRUNBOOK_TEST_REGISTRY:+$PGRUNBOOK_TEST_REGISTRY/}pgrunbook
  shift 2
  helm_ upgrade --install pgrunbook charts/pgrunbook -n "$n" --kubeconfig "$kubeconfig" --wait --timeout 90s --set image.repository="$repository" \
    --set-json 'secretNames=["postgresql"]' --set-json 'members=[{"matchLabels":{"name":"postgresql"}},{"matchLabels":{"name":"postgresql-standby"}}]' "$@" >/dev/null
}

# The example's topology; the scene has a second client, which a cutover must know.
demo_topology() {
  sed '/^  applications:/a\  - workloadRef: {apiVersion: apps/v1, kind: Deployment, name: report}' manifests/examples/topology.yaml
}

status_of() { scene_kubectl -n "${2:-$ns}" get "$1" -o jsonpath='{.status.phase}: {.status.message}'; }

# Waits for a terminal phase and checks which.
finished() { # kind/name phase seconds
  scene_kubectl -n "$ns" wait --for=condition=Finished "$1" --timeout="$3s" >/dev/null || fail "$1 did not end: $(status_of "$1")"
  [ "$(scene_kubectl -n "$ns" get "$1" -o jsonpath='{.status.phase}')" = "$2" ] || fail "$1 is not $2: $(status_of "$1")"
}
phase() { # kind/name phase seconds
  scene_kubectl -n "$ns" wait --for=jsonpath='{.status.phase}'="$2" "$1" --timeout="$3s" >/dev/null || fail "$1 is not $2: $(status_of "$1")"
}

show_trouble() { # namespace
  {
    scene_kubectl -n "$1" get pods,jobs,pgrunbook -o wide
    scene_kubectl -n "$1" logs deploy/pgrunbook --tail=60
    scene_kubectl -n "$1" get pgt,pgb,pgr,pgf -o jsonpath='{range .items[*]}{.kind}/{.metadata.name}: {.status.phase} {.status.message}{"\n"}{end}'
    local j
    for j in $(scene_kubectl -n "$1" get jobs -o jsonpath='{range .items[?(@.status.failed)]}{.metadata.name} {end}'); do
      echo "--- $j"
      scene_kubectl -n "$1" logs "job/$j" --tail=20
    done
  } >&2 || true
}
