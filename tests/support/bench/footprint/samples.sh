#!/bin/bash
# Makes backups one after another and waits for the first Job of each; run in a node's network, so that nothing but curl
# starts while a sample is under way. Prints "name first-8-of-uid" of each.
#   samples.sh SERVER PKI NAMESPACE TOKEN OBJECT.json NAME COUNT
set -euo pipefail
server=$1 pki=$2 ns=$3 token=$4 object=$5 prefix=$6 count=$7
backups=$server/apis/pgrunbook.io/v1alpha1/namespaces/$ns/postgresbackups
jobs=$server/apis/batch/v1/namespaces/$ns/jobs
applier() { curl -sS --fail-with-body --cacert "$pki/ca.crt" -H "Authorization: Bearer $token" "$@"; }
admin() { curl -sS --fail-with-body --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" "$@"; }
for ((i = 1; i <= count; i++)); do
  name=$prefix-$i
  uid=$(sed "s/\"NAME\"/\"$name\"/" "$object" | applier -H 'Content-Type: application/json' --data-binary @- "$backups" | jq -r .metadata.uid)
  for ((wait = 0; ; wait++)); do
    sleep .5
    [ "$(admin "$jobs?labelSelector=pgrunbook.io%2Faction-uid%3D$uid" | jq '.items | length')" = 0 ] || break
    ((wait < 60)) || { echo "no Job came of backup $name: $(admin "$backups/$name" | jq -c '.status | {phase, message}')" >&2; exit 1; }
  done
  echo "$name ${uid:0:8}"
  admin -X DELETE -o /dev/null "$backups/$name"
  sleep 1
done
