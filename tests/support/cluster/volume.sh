# Volumes made by hand: a "local" volume and its claim. hostPath would ignore fsGroup. Sourced by tests/cluster.
# shellcheck shell=bash

volume() {
  case ${1:-} in
  create) [ $# -ge 5 ] || fail "usage: tests/cluster volume create NAMESPACE CLAIM RWO|RWX SIZE [NODE]"; volume_create "${@:2}" ;;
  delete) [ $# = 2 ] || fail "usage: tests/cluster volume delete NAMESPACE"; volume_delete "$2" ;;
  *) fail "usage: tests/cluster volume create|delete ..." ;;
  esac
}
# All nodes see one file system, so a volume is reached from every node unless a node is named.
volume_create() { # namespace claim mode size [node]
  local mode dir=$STATE/volumes/$1/$2 where='operator: Exists'
  case $3 in RWO) mode=ReadWriteOnce ;; RWX) mode=ReadWriteMany ;; *) fail "a volume's mode is RWO or RWX, not $3" ;; esac
  [ -z "${5:-}" ] || where="operator: In, values: [$5]"
  mkdir -p "$dir"
  kubectl apply -f - >/dev/null <<YAML
apiVersion: v1
kind: PersistentVolume
metadata: {name: $1-$2, labels: {pgrunbook-test-namespace: $1}}
spec:
  capacity: {storage: $4}
  accessModes: [$mode]
  storageClassName: manual
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: $1, name: $2}
  local: {path: $dir}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, $where}]}]}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: $2, namespace: $1}
spec: {accessModes: [$mode], storageClassName: manual, volumeName: $1-$2, resources: {requests: {storage: $4}}}
YAML
  echo "$dir"
}
volume_delete() { # namespace
  local claims
  claims=$(kubectl get pv -l "pgrunbook-test-namespace=$1" -o 'jsonpath={.items[*].spec.claimRef.name}')
  # shellcheck disable=SC2086
  [ -z "$claims" ] || kubectl -n "$1" delete pvc $claims --ignore-not-found --timeout=60s >/dev/null
  kubectl delete pv -l "pgrunbook-test-namespace=$1" --ignore-not-found --timeout=60s >/dev/null
  # A test may have mounted a file system of its own there.
  findmnt -rno TARGET | { grep "^$STATE/volumes/$1/" || true; } | xargs -r umount -l
  rm -rf "$STATE/volumes/${1:?}"
}
