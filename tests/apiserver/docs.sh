# The pages of docs/ show the examples as they are. Sourced by tests/apiserver/run.
# shellcheck shell=bash

contains_example() { # page example
  local text
  text=$(cat "$2")
  [[ $(cat "docs/$1") == *"$text"* ]] || wrong "docs/$1 does not show $2 as it is"
}
rights_table() { # docs/security.md has a row for every resource of the Role
  local resource
  for resource in $(render --values manifests/values.yaml --show-only templates/role.yaml | k create --dry-run=client -o json -f - |
    jq -r 'select(.kind == "Role") | .rules[].resources[]' | sort -u); do
    grep -q "^| .*\`$resource\`" docs/security.md || wrong "no row for $resource"
  done
}
# What the end-to-end tests see is what docs/monitoring.md shows.
moments() {
  local file seen
  for file in tests/e2e/golden/*.txt; do
    seen=$(sed '/^\$ /{1!Q}' "$file")
    [[ $(cat docs/monitoring.md) == *"$seen"* ]] || { wrong "docs/monitoring.md does not show the first table of $file"; return 1; }
  done
  same "$(find tests/e2e/golden -name '*.txt' | wc -l)" 6
}
no_dead_links() {
  local page link
  for page in docs/*.md; do
    for link in $(grep -o '](\([^)#]*\)' "$page" | cut -c3- | grep -v '^https\?:'); do
      [ -e "docs/$link" ] || wrong "$page: $link"
    done
  done
}

t "docs: topology.md shows the example" contains_example topology.md manifests/examples/topology.yaml
t "docs: backup.md shows the example" contains_example backup.md manifests/examples/backup.yaml
t "docs: restore.md shows the example to a time" contains_example restore.md manifests/examples/restore-to-time.yaml
t "docs: restore.md shows the example to the latest" contains_example restore.md manifests/examples/restore-latest.yaml
t "docs: restore.md shows the example with salvage" contains_example restore.md manifests/examples/restore-salvage.yaml
t "docs: restore.md shows the example to an LSN" contains_example restore.md manifests/examples/restore-to-lsn.yaml
t "docs: failover.md shows the example" contains_example failover.md manifests/examples/cutover.yaml
t "docs: security.md names every right" rights_table
t "docs: monitoring.md shows the six moments" moments
t "docs: no dead links" no_dead_links
