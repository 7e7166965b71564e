# Rows and what is read of processes. Sourced by tests/bench.
# shellcheck shell=bash

# One row; what there is not is an empty word. Printed at once.
row() { # case unit ours [peer's name] [peer's figure] [ceiling]
  local json
  json=$(jq -nc --arg case "$1" --arg unit "$2" --argjson ours "$3" --arg name "${4:-}" --argjson peer "${5:-null}" --argjson ceiling "${6:-null}" \
    '{case: $case, unit: $unit, ours: $ours, peerName: (if $name == "" then null else $name end), peer: $peer,
      ratio: (if $peer == null or $peer == 0 then null else ($ours / $peer * 1000 | round / 1000) end), ceiling: $ceiling}')
  rows+=("$json")
  jq -r '"\(.case): \(.ours) \(.unit)\(if .peer != null then ", \(.peerName) \(.peer)" else "" end)\(if .ratio != null then ", ratio \(.ratio)" else "" end)\(if .ceiling != null then " (aim: under \(.ceiling))" else "" end)"' <<<"$json"
}
write_rows() { # name
  printf '%s\n' "${rows[@]}" | jq -s --arg name "$1" --argjson cores "$(nproc)" --argjson memory "$(($(awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo) / 1024))" \
    '{name: $name, machine: {cores: $cores, memoryMiB: $memory}, rows: .}' >"build/bench/$1.json"
  echo "build/bench/$1.json"
}

field_of() { awk -v field="$2:" '$1 == field { print $2 }' "/proc/$1/status"; } # pid, field: KiB
ticks_of() { local stat; stat=$(<"/proc/$1/stat"); set -- ${stat##*) }; echo $((${12} + ${13})); } # pid: utime + stime
mib() { awk -v kib="$1" 'BEGIN { printf "%.1f", kib / 1024 }'; }
# The nearest rank of a sorted list of numbers on stdin.
percentile() { awk -v p="$1" '{ v[NR] = $1 } END { i = int(NR * p / 100 + 0.999999); print v[i < 1 ? 1 : i] }'; }
