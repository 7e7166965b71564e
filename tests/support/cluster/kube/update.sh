#!/bin/bash
# Writes go.mod and go.sum for another Kubernetes version: update.sh 1.34.4
# k8s.io/kubernetes requires its staging modules as v0.0.0; each needs a replace
# to the tag of the same release (v1.34.4 -> v0.34.4).
set -euo pipefail
cd "$(dirname "$0")"
version=${1:?usage: update.sh VERSION}
rm -f go.mod go.sum
go mod init pgrunbook.io/tests/cluster
go mod edit -go=1.24.0 -require="k8s.io/kubernetes@v$version"
upstream=$(go mod download -json "k8s.io/kubernetes@v$version" | sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p')
for module in $(sed -n 's#.*=> \./staging/src/\(k8s.io/.*\)#\1#p' "$upstream" | sort -u); do
  go mod edit -replace="$module=$module@v0.${version#1.}"
done
go mod tidy
