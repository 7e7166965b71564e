# The machine's own needs: Debian packages and a Go toolchain. Sourced by tests/cluster.
# shellcheck shell=bash

PACKAGES=(
  containerd runc containernetworking-plugins iptables conntrack iproute2 procps util-linux openssl curl jq kmod ca-certificates
  buildah mmdebstrap debian-archive-keyring gcc libc6-dev
)
GO_SERIES=1.24
GO_MODULE=golang.org/toolchain@v0.0.1-go1.24.13.linux-amd64

install() {
  local package missing=()
  for package in "${PACKAGES[@]}"; do
    [ "$(dpkg-query -Wf '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  command -v go >/dev/null || [ -x /usr/local/go/bin/go ] || missing+=(golang-go)
  if [ ${#missing[@]} -gt 0 ]; then
    need_root
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq install -y --no-install-recommends "${missing[@]}"
  fi
  go_program
}

# Prints a go of GO_SERIES or later: the machine's, or the toolchain module that the
# machine's go fetches (Debian's own is too old to switch toolchains by itself).
go_program() {
  local go version module dir=$CACHE/${GO_MODULE##*/}
  go=$(command -v go) || go=/usr/local/go/bin/go
  [ -x "$go" ] || fail "no Go on this machine" "run tests/cluster install"
  version=$("$go" env GOVERSION)
  if [ "$(printf 'go%s\n%s\n' "$GO_SERIES" "${version%% *}" | sort -V | head -n 1)" = "go$GO_SERIES" ]; then
    echo "$go"
    return
  fi
  if [ ! -x "$dir/bin/go" ]; then
    # What a newer go does itself when it switches: the module has no run bits, and src/go.mod
    # goes by another name in it.
    module=$(cd / && "$go" mod download -json "$GO_MODULE" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    [ -n "$module" ] || fail "cannot fetch $GO_MODULE" "is GOPROXY set for this machine?"
    mkdir -p "$CACHE"
    rm -rf "$dir.part"
    cp -r "$module" "$dir.part"
    chmod -R u+w "$dir.part"
    find "$dir.part/bin" "$dir.part/pkg/tool" -type f -exec chmod +x {} +
    [ -f "$dir.part/src/go.mod" ] || cp "$dir.part/src/_go.mod" "$dir.part/src/go.mod"
    mv "$dir.part" "$dir"
  fi
  echo "$dir/bin/go"
}
