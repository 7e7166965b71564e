{{- define "pgrunbook.labels" -}}
app.kubernetes.io/name: pgrunbook
app.kubernetes.io/component: controller
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "pgrunbook.selector" -}}
app.kubernetes.io/name: pgrunbook
app.kubernetes.io/component: controller
{{- end }}

{{- define "pgrunbook.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "pgrunbook.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default "pgrunbook" }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- define "pgrunbook.dnsPorts" -}}
{{- range .Values.networkPolicy.dnsPorts }}
- {port: {{ . }}, protocol: UDP}
- {port: {{ . }}, protocol: TCP}
{{- end }}
{{- end }}

{{- /* The members as peers of a policy. */ -}}
{{- define "pgrunbook.memberPeers" -}}
{{- range .Values.members }}
- podSelector:
    matchLabels: {{- toYaml .matchLabels | nindent 6 }}
{{- end }}
{{- end }}

{{- /*
"yes" when a policy that is not ours closes pods with these labels to incoming traffic already, or when Helm does not
see the namespace (helm template, --dry-run=client). Arguments: context, labels.
*/ -}}
{{- define "pgrunbook.closed" -}}
{{- $namespace := (index . 0).Release.Namespace }}
{{- $labels := index . 1 }}
{{- $closed := false }}
{{- if not (lookup "v1" "ServiceAccount" $namespace "default") }}
{{- $closed = true }}
{{- end }}
{{- range (lookup "networking.k8s.io/v1" "NetworkPolicy" $namespace "").items }}
{{- if and (has "Ingress" .spec.policyTypes) (ne (dig "labels" "app.kubernetes.io/name" "" .metadata) "pgrunbook") (not .spec.podSelector.matchExpressions) }}
{{- $selects := true }}
{{- range $key, $value := .spec.podSelector.matchLabels }}
{{- if ne (get $labels $key) $value }}{{ $selects = false }}{{ end }}
{{- end }}
{{- if $selects }}{{ $closed = true }}{{ end }}
{{- end }}
{{- end }}
{{- if $closed }}yes{{ end }}
{{- end }}
