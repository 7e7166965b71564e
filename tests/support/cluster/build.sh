# Binaries from Go modules, once, into the cache. Sourced by tests/cluster.
# shellcheck shell=bash

COREDNS=github.com/coredns/coredns@v1.12.4 # the last that GO_SERIES builds
HELM=helm.sh/helm/v3/cmd/helm@v3.19.0      # likewise
COMPONENTS="etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl remove-pods network-policy"

# The Go build cache is reused with exactly these settings.
go_build() { env GOFLAGS=-buildvcs=false CGO_ENABLED=0 GOBIN="$BIN" nice "$(go_program)" "$@"; }

build() { locked "$CACHE/build.lock" build_locked; } # what up needs
build_all() { build; locked "$CACHE/build.lock" build_flux; }
build_locked() {
  local version minor key link stamp
  mkdir -p "$BIN"
  version=$(sed -n 's#^\tk8s.io/kubernetes v##p' "$HERE/kube/go.mod")
  key=$(cat "$HERE"/kube/go.mod "$HERE"/kube/go.sum "$HERE"/kube/*.go | sha256sum | cut -c-16)
  if [ ! -x "$BIN/hyper-$key" ]; then
    minor=${version#*.}
    stamp=k8s.io/component-base/version # without it, it calls itself v0.0.0 and charts refuse it
    go_build build -C "$HERE/kube" -o "$BIN/hyper-$key" -ldflags "-s -w -X $stamp.gitVersion=v$version \
      -X $stamp.gitMajor=${version%%.*} -X $stamp.gitMinor=${minor%%.*}"
  fi
  for link in $COMPONENTS; do
    [ "$(readlink "$BIN/$link")" = "hyper-$key" ] || ln -sfn "hyper-$key" "$BIN/$link"
  done
  build_module coredns "$COREDNS"
  build_module helm "$HELM"
  build_kstatus
  fetch_promtool
}
# Prometheus' judge of alert rules, out of Debian's package: installed whole it would start a server.
fetch_promtool() {
  local dir
  [ ! -x "$BIN/promtool" ] || return 0
  mkdir -p "$BIN"
  dir=$(mktemp -d)
  chmod 755 "$dir" # apt downloads as a user of its own
  (
    cd "$dir"
    apt-get -qq download prometheus 2>/dev/null || { apt-get -qq update && apt-get -qq download prometheus; }
    dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
  ) >&2 || { rm -rf "$dir"; fail "cannot get promtool out of Debian's package prometheus"; }
  mv "$dir/usr/bin/promtool" "$BIN/promtool.$$"
  mv "$BIN/promtool.$$" "$BIN/promtool"
  rm -rf "$dir"
}
build_kstatus() { # the library by which Flux judges an object; small, so also on its first use
  local key
  key=$(cat "$HERE"/kstatus/go.mod "$HERE"/kstatus/go.sum "$HERE"/kstatus/*.go | sha256sum | cut -c-16)
  mkdir -p "$BIN"
  [ -x "$BIN/kstatus-$key" ] || go_build build -C "$HERE/kstatus" -o "$BIN/kstatus-$key" -ldflags "-s -w"
  [ "$(readlink "$BIN/kstatus")" = "kstatus-$key" ] || ln -sfn "kstatus-$key" "$BIN/kstatus"
}
build_module() { # program, package@version
  [ "$(readlink "$BIN/$1")" = "$1-${2##*@}" ] && [ -x "$BIN/$1" ] && return
  rm -f "$BIN/$1"
  go_build install "$2"
  mv "$BIN/$1" "$BIN/$1-${2##*@}"
  ln -s "$1-${2##*@}" "$BIN/$1"
}

# Flux's kustomize-controller, and beside it the definitions that it wants to find: out of its own module and
# source-controller's, of the versions in flux/go.mod.
FLUX_DEFINITIONS="kustomize-controller/kustomize.toolkit.fluxcd.io_kustomizations
  source-controller/source.toolkit.fluxcd.io_gitrepositories
  source-controller/source.toolkit.fluxcd.io_ocirepositories
  source-controller/source.toolkit.fluxcd.io_buckets"
build_flux() {
  local key definition
  key=$({ cat "$HERE"/flux/go.mod "$HERE"/flux/go.sum; echo "$FLUX_DEFINITIONS"; } | sha256sum | cut -c-16)
  [ "$(readlink "$BIN/kustomize-controller")" != "kustomize-controller-$key" ] || [ ! -x "$BIN/kustomize-controller" ] || return 0
  go_build build -C "$HERE/flux" -o "$BIN/kustomize-controller-$key" -ldflags '-s -w' github.com/fluxcd/kustomize-controller
  for definition in $FLUX_DEFINITIONS; do
    cat "$(flux_module "${definition%/*}")/config/crd/bases/${definition#*/}.yaml"
    echo ---
  done >"$BIN/kustomize-controller-$key.yaml"
  ln -sfn "kustomize-controller-$key" "$BIN/kustomize-controller"
}
flux_module() { # name: prints where its module lies
  local version
  version=$(sed -nE "s#^\tgithub.com/fluxcd/$1(/api)? (v[^ ]+).*#\2#p" "$HERE/flux/go.mod" | head -n 1)
  (cd / && "$(go_program)" mod download -json "github.com/fluxcd/$1@$version") | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'
}
flux_definitions() { echo "$BIN/$(readlink "$BIN/kustomize-controller").yaml"; }
