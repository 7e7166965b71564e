# Who may do what: people by the roles they have, the operator by its Role. Sourced by tests/apiserver/run.
# shellcheck shell=bash

people() {
  local role
  k create serviceaccount default
  for role in admin edit view; do k create rolebinding "tfrs-$role" --clusterrole="$role" --user="tfrs-$role" || return 1; done
}
[ -n "$LIST" ] || people >/dev/null 2>&1

may() { # user verb resource...
  local user=$1
  shift
  k auth can-i "$@" --as="$user" -q || wrong "$user may not $*"
}
may_not() { # user verb resource...
  local user=$1
  shift
  ! k auth can-i "$@" --as="$user" -q || wrong "$user may $*"
}
OPERATOR=system:serviceaccount:scene:pgrunbook

asks() { example cutover | jq '.metadata.name = "asked"' | k create --dry-run=server --as="$1" -f -; }
approves() {
  k patch pgf tfrs-to-standby --as="$1" --dry-run=server --type=merge -p '{"spec":{"approvedPlan":"0123456789abcdef"}}'
}
does_not() { ! "$@" || wrong "allowed"; }
forbidden_without_kinds() { # E1: what pgrunbook-crds is needed for
  local out
  ! out=$(sed 's/pgrunbook.io/other.example/' <<<"$(render --values manifests/values.yaml --show-only templates/role.yaml)" |
    k apply --dry-run=server --as=tfrs-admin -n scene -f - 2>&1) || wrong "allowed"
  [[ $out == *"attempting to grant RBAC permissions not currently held"* ]] || wrong "$out"
}

t "rights: edit may ask" asks tfrs-edit
t "rights: view may not ask" does_not asks tfrs-view
t "rights: edit may not approve" does_not approves tfrs-edit
t "rights: edit may not delete" may_not tfrs-edit delete postgresrestores
t "rights: admin may approve" approves tfrs-admin
for kind in postgrestopologies postgresbackups postgresrestores failovers; do
  t "rights: view may read $kind" may tfrs-view list $kind
  t "rights: view may not create $kind" may_not tfrs-view create $kind
  t "rights: edit may not write the status of $kind" may_not tfrs-edit patch $kind --subresource=status
  t "rights: admin may delete $kind" may tfrs-admin delete $kind
done
t "rights: a stranger may not read" may_not nobody list postgresrestores
