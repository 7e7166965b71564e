# The alert rules of the chart, by Prometheus' own tool. Sourced by tests/apiserver/run.
# shellcheck shell=bash

MONITORING=(--set metrics.podMonitor.enabled=true --set metrics.prometheusRule.enabled=true)
monitoring() { render --values manifests/values.yaml "${MONITORING[@]}" --show-only templates/monitoring.yaml "$@"; }
rules() { monitoring "$@" | sed -n '/^kind: PrometheusRule/,$p' | sed '1,/^spec:/d; s/^  //' >"$WORK/rules.yaml" && [ -s "$WORK/rules.yaml" ]; }
rules_check() { rules && "$CLUSTER" promtool check rules "$WORK/rules.yaml"; }
rules_test() { rules && cp tests/apiserver/alerts.yaml "$WORK/" && "$CLUSTER" promtool test rules "$WORK/alerts.yaml"; }
every_alert() { # is tested to fire, and is in docs/monitoring.md
  rules || return 1
  local alert
  for alert in $(sed -n 's/^ *- alert: //p' "$WORK/rules.yaml"); do
    grep -A2 "alertname: $alert\$" tests/apiserver/alerts.yaml | grep -q 'exp_alerts:' || { wrong "$alert is never seen to fire"; return 1; }
    grep -q "^| \`$alert\` |" docs/monitoring.md || { wrong "$alert is not in docs/monitoring.md"; return 1; }
  done
}
# What a rule asks for and nobody measures is an alert that never fires.
every_metric() {
  rules || return 1
  local metric
  for metric in $(grep -o 'pgrunbook_[a-z_]*' "$WORK/rules.yaml" | sort -u); do
    grep -rqF "\"$metric\"" operator src || { wrong "nothing sets $metric"; return 1; }
    grep -q "^| \`$metric\` |" docs/monitoring.md || { wrong "$metric is not in docs/monitoring.md"; return 1; }
  done
}
metrics_documented() {
  local metric
  for metric in $(grep -rhoE '"pgrunbook_[a-z_]+"' operator src | tr -d '"' | sort -u); do
    grep -q "^| \`$metric\` |" docs/monitoring.md || { wrong "$metric"; return 1; }
  done
}
manifest_is_monitoring() { diff <(sed '/^#/d' manifests/monitoring.yaml) <(monitoring | sed '/^#/d'); }
without_monitoring() { ! render --values manifests/values.yaml | grep -q monitoring.coreos.com || wrong "rendered"; }

t "alerts: the rules are Prometheus'" rules_check
t "alerts: each fires when it should, and not before" rules_test
t "alerts: each is tested and documented" every_alert
t "alerts: each asks for what is measured" every_metric
t "metrics: each is documented" metrics_documented
t "alerts: manifests/monitoring.yaml is the chart's output" manifest_is_monitoring
t "alerts: none without asking" without_monitoring
