# What the schemas hold. Sourced by tests/apiserver/run.
# shellcheck shell=bash

KINDS="postgrestopologies postgresbackups postgresrestores failovers"

accepted() { k create --dry-run=server --validate=strict -f "$1"; }
# The nodes of the schema of one part (spec or status) of one kind, as [path, node].
nodes() { # plural part
  k get crd "$1.pgrunbook.io" -o json | jq -c --arg part "$2" '
    def walk_schema($path): [$path, .],
      ((.properties // {}) | to_entries[] | .key as $key | .value | walk_schema($path + "." + $key)),
      (.items // empty | walk_schema($path + "[]")),
      (.additionalProperties // empty | objects | walk_schema($path + "{}"));
    .spec.versions[0].schema.openAPIV3Schema.properties[$part] | walk_schema($part)'
}
none() { # plural part jq-filter on [path, node]: no node may pass it
  local found
  found=$(nodes "$1" "$2" | jq -r "select($3) | .[0]")
  [ -z "$found" ] || wrong "$found"
}
described() { none "$1" "$2" '(.[0] | endswith("[]") or endswith("{}") | not) and .[1].description == null'; }
bounded() {
  none "$1" "$2" '.[1] as $n | $n.type == "string" and $n.maxLength == null and $n.enum == null and $n.format != "date-time"' &&
    none "$1" "$2" '.[1].type == "array" and .[1].maxItems == null' &&
    none "$1" "$2" '.[1].additionalProperties != null and .[1].maxProperties == null'
}
# A default that a newer CRD adds would change the hash under which an action happens once.
no_defaults() { none "$1" spec '.[1] | has("default")'; }
# Every rule says what to do, or the API server prints CEL at people.
hints() { none "$1" spec '(.[1]["x-kubernetes-validations"] // []) | any((.message // .messageExpression // "") | contains("HINT: ") | not)'; }
open_only_in_status() { none "$1" spec '.[1]["x-kubernetes-preserve-unknown-fields"]'; }
named() { # plural short kind
  same "$(k get crd "$1.pgrunbook.io" -o json | jq -c '.spec | [.scope, .names.shortNames, .names.categories, .names.kind, (.versions | map([.name, (.subresources | keys)]))]')" \
    "[\"Namespaced\",[\"$2\"],[\"pgrunbook\",\"postgres\"],\"$3\",[[\"v1alpha1\",[\"status\"]]]]"
}
explains() { # path text
  local out
  out=$(k explain "$1" | tr -s ' \n' '  ') || wrong "$out"
  [[ $out == *"$2"* ]] || wrong "no [$2] in: $out"
}
size_of_crd() { # server-side apply needs no annotation, client-side apply stops at 256 KiB
  local bytes
  bytes=$(k get crd "$1.pgrunbook.io" -o json | jq -c . | wc -c)
  ((bytes < 200000)) || wrong "$bytes bytes"
}

t "schema: postgrestopologies is pgt" named postgrestopologies pgt PostgresTopology
t "schema: postgresbackups is pgb" named postgresbackups pgb PostgresBackup
t "schema: postgresrestores is pgr" named postgresrestores pgr PostgresRestore
t "schema: failovers is pgf" named failovers pgf Failover
for kind in $KINDS; do
  t "schema: every field of the spec of $kind is described" described "$kind" spec
  t "schema: every field of the status of $kind is described" described "$kind" status
  t "schema: the spec of $kind is bounded" bounded "$kind" spec
  t "schema: the status of $kind is bounded" bounded "$kind" status
  t "schema: $kind has no defaults" no_defaults "$kind"
  t "schema: every rule of $kind has a HINT" hints "$kind"
  t "schema: the spec of $kind is closed" open_only_in_status "$kind"
  t "schema: $kind fits into client-side apply" size_of_crd "$kind"
done
for file in manifests/examples/*.yaml; do
  t "schema: $file is accepted" accepted "$file"
done
t "explain: topology, which is not about zones" explains postgrestopology 'what stands where'
t "explain: how far setup may go" explains pgt.spec.archive.wal.setup 'it says in status what it would do and changes nothing'
t "explain: method Base" explains pgb.spec.method 'over the replication protocol'
t "explain: a time has a zone" explains pgr.spec.recoveryTarget.targetTime 'A time by RFC 3339 with its zone'
t "explain: mode" explains pgr.spec.mode 'make the plan, show it, complete'
t "explain: approval" explains pgf.spec.approvedPlan 'the value of status.plan.digest'
t "explain: enum values are listed" explains pgr.spec.to.type 'Member'
