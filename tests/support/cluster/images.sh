# Images, from Debian packages, without a registry. Sourced by tests/cluster.
#   pause:local  postgres:15  sclorg:15            on the nodes
#   debian:bookworm-pgrunbook                      what the repository's Dockerfile is built on
# shellcheck shell=bash

LIBRARY=docker.io/library
BASE=$LIBRARY/debian:bookworm-pgrunbook
SYSTEM_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
POSTGRES_PATH=/usr/lib/postgresql/15/bin:$SYSTEM_PATH
POSTGRES_PACKAGES=postgresql-15,zstd,procps,libnss-wrapper
RUNTIME_PACKAGES=libcpprest2.10,libpq5,libyaml-cpp0.7,libspdlog1.10,libfmt9,libzstd1,libssl3,ca-certificates
NODE_IMAGES=$CACHE/images/nodes.tar
BASE_IMAGE=$CACHE/images/base.tar

images() { need_root; locked "$CACHE/images.lock" images_locked; }
images_locked() {
  local key
  mkdir -p "$CACHE/images"
  key=$(cat "$HERE/images.sh" "$HERE"/images/* | sha256sum)
  [ -f "$NODE_IMAGES" ] && [ -f "$BASE_IMAGE" ] && [ "$(cat "$CACHE/images/key" 2>/dev/null)" = "$key" ] && return
  images_made
  echo "$key" >"$CACHE/images/key"
}
images_made() (
  WORK=$(mktemp -d "$CACHE/images/work.XXXXXX")
  trap 'rm -rf "$WORK"' EXIT
  postgres=$(debian "$POSTGRES_PACKAGES")
  runtime=$(debian "$RUNTIME_PACKAGES")
  cd "$WORK"
  gcc -Os -static -s -o pause "$HERE/images/pause.c"
  tar cf pause.layer --owner=0 --group=0 pause

  # Group 0 may write what a random uid of OpenShift needs.
  mkdir -p sclorg/usr/bin sclorg/var/lib/pgsql/data sclorg/run/postgresql sclorg/opt/app-root/src/postgresql-cfg
  chmod 775 sclorg/var/lib/pgsql sclorg/var/lib/pgsql/data sclorg/run/postgresql
  command install -m 755 "$HERE/images/run-postgresql" "$HERE/images/container-entrypoint" sclorg/usr/bin/
  tar cf sclorg.layer --owner=0 --group=0 -C sclorg .

  image pause:local '{"Entrypoint":["/pause"]}' pause.layer
  image postgres:15 "{\"Env\":[\"PATH=$POSTGRES_PATH\",\"LANG=C.UTF-8\"]}" "$postgres"
  image sclorg:15 "{\"Env\":[\"PATH=$POSTGRES_PATH\",\"LANG=C.UTF-8\",\"HOME=/var/lib/pgsql\",\"PGUSER=postgres\"],\"User\":\"26\",
    \"Entrypoint\":[\"container-entrypoint\"],\"Cmd\":[\"run-postgresql\"],\"WorkingDir\":\"/var/lib/pgsql\"}" "$postgres" sclorg.layer
  archive nodes.tar && mv nodes.tar "$NODE_IMAGES"
  image debian:bookworm-pgrunbook "{\"Env\":[\"PATH=$SYSTEM_PATH\",\"LANG=C.UTF-8\"]}" "$runtime"
  archive base.tar && mv base.tar "$BASE_IMAGE"
)

# A Debian root file system with these packages, as a layer; kept by what is in it. Prints its path.
debian() { # packages, with commas
  local sources=() line layer options=(
    --mode=root --variant=minbase --quiet
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*'
    # Just-in-time compilation is a package of its own in sclorg's image, and half of the size here.
    --dpkgopt='path-exclude=/usr/lib/*/libLLVM*' --dpkgopt='path-exclude=/usr/lib/postgresql/*/lib/llvmjit*'
    --dpkgopt='path-exclude=/usr/lib/postgresql/*/lib/bitcode/*'
    --setup-hook='mkdir -p "$1/etc/postgresql-common"; echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.conf"'
    --customize-hook='rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/var/log/* "$1"/etc/postgresql-common'
  )
  layer=$CACHE/images/debian-$(echo "$1 ${options[*]}" | sha256sum | cut -c-16).layer
  if [ ! -f "$layer" ]; then
    # The mirror is whatever this machine uses itself.
    while read -r line; do sources+=("$line"); done < <(debian_sources)
    [ ${#sources[@]} -gt 0 ] || { apt-get -qq update >&2; while read -r line; do sources+=("$line"); done < <(debian_sources); }
    [ ${#sources[@]} -gt 0 ] || fail "this machine has no apt source for Debian bookworm"
    nice mmdebstrap "${options[@]}" --include="$1" bookworm "$WORK/debian.tar" "${sources[@]}" >&2
    mv "$WORK/debian.tar" "$layer"
  fi
  echo "$layer"
}
# shellcheck disable=SC2016
debian_sources() {
  apt-get indextargets 'Created-By: Packages' 'Origin: Debian' 'Component: main' --format '$(REPO_URI) $(RELEASE)' |
    awk '$2 ~ /^bookworm/ { print "deb " $1 " " $2 " main" }' | sort -u
}
image() { # name, config, layers...: notes one image for the next archive
  local ids='' names='' layer id
  for layer in "${@:3}"; do
    id=$(sha256sum "$layer" | cut -c-64)
    [ -f "$WORK/$id.tar" ] || ln "$layer" "$WORK/$id.tar" 2>/dev/null || cp "$layer" "$WORK/$id.tar"
    ids+=",\"sha256:$id\""
    names+=",\"$id.tar\""
    echo "$id.tar" >>"$WORK/content"
  done
  echo "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":$2,\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[${ids#,}]}}" >"$WORK/${1/:/_}.json"
  echo "${1/:/_}.json" >>"$WORK/content"
  echo "{\"Config\":\"${1/:/_}.json\",\"RepoTags\":[\"$LIBRARY/$1\"],\"Layers\":[${names#,}]}" >>"$WORK/manifest"
}
archive() { # file: one archive of all images noted since the last
  jq -s . "$WORK/manifest" >"$WORK/manifest.json"
  sort -u "$WORK/content" | tar cf "$WORK/$1" -C "$WORK" manifest.json -T -
  rm "$WORK/manifest" "$WORK/content"
}

# ---- images on top, from a Dockerfile, without a network or a registry
buildah_here() {
  local driver=vfs store=$CACHE/buildah
  ! grep -qw overlay /proc/filesystems || driver=overlay
  mkdir -p "$store"
  [ -f "$store/policy.json" ] || echo '{"default":[{"type":"insecureAcceptAnything"}]}' >"$store/policy.json"
  [ -f "$store/registries.conf" ] || echo 'unqualified-search-registries = ["docker.io"]' >"$store/registries.conf"
  printf '[network]\nnetwork_config_dir = "%s"\n' "$store/cni" >"$store/containers.conf"
  CONTAINERS_REGISTRIES_CONF=$store/registries.conf CONTAINERS_CONF=$store/containers.conf buildah --root "$store/root" --runroot "$store/run" --storage-driver "$driver" "$@"
}
build_image() { # tag context Dockerfile [--build-arg k=v]...
  [ $# -ge 3 ] || fail "usage: tests/cluster build-image TAG CONTEXT DOCKERFILE [--build-arg K=V]..."
  need_root
  images
  locked "$CACHE/buildah.lock" build_image_locked "$@"
}
build_image_locked() {
  local tag=$1 context=$2 file=$3 policy=$CACHE/buildah/policy.json out cache=/var/lib/containers
  [ ! -e "$cache" ] || cache=
  shift 3
  out=$STATE/images/${tag//[:\/]/_}.tar
  mkdir -p "$STATE/images"
  rm -f "$out"
  if [ ! "$CACHE/buildah/base" -nt "$BASE_IMAGE" ]; then
    rm -rf "$CACHE/buildah"
    buildah_here pull --quiet --signature-policy "$policy" "docker-archive:$BASE_IMAGE" >/dev/null
    touch "$CACHE/buildah/base"
  fi
  buildah_here bud --isolation chroot --pull-never --signature-policy "$policy" --build-arg BASE="$BASE" "$@" \
    --tag "$(full_name "$tag")" --file "$file" "$context" >&2
  buildah_here push --quiet --signature-policy "$policy" "$(full_name "$tag")" "docker-archive:$out:$(full_name "$tag")" >&2
  [ -z "$cache" ] || rm -rf "$cache" # made by buildah, outside of its own directories
  echo "$out"
}
full_name() { # as containerd and the kubelet complete it
  case $1 in *.*/* | localhost/*) echo "$1" ;; */*) echo "docker.io/$1" ;; *) echo "$LIBRARY/$1" ;; esac
}
load_image() { # archive or tag: into every node
  local file=${1:?usage: tests/cluster load-image ARCHIVE-OR-TAG} i
  [ -f "$file" ] || file=$STATE/images/${1//[:\/]/_}.tar
  [ -f "$file" ] || fail "no archive $1, nor a tag that build-image made"
  [ "$(nodes)" -gt 0 ] || fail "no cluster is up" "run tests/cluster up"
  for ((i = 1; i <= $(nodes); i++)); do node_ctr "$i" images import "$file" >&2; done
}
