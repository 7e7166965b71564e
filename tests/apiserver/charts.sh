# The charts, installed by those whom they are made for. Sourced by tests/apiserver/run.
# shellcheck shell=bash

as_json() { k create --dry-run=client -o json -f "$1" | jq -Sc 'if .kind == "List" then .items[] else . end' | sort; }
crds_chart() {
  helm template x charts/pgrunbook-crds --kube-version 1.34 >"$WORK/chart.yaml" || return 1
  cat crds/*.yaml >"$WORK/source.yaml" && : >"$WORK/all.json"
  local file
  for file in crds/*.yaml manifests/cluster-roles.yaml; do as_json "$file"; done | sort >"$WORK/all.json"
  same "$(as_json "$WORK/chart.yaml")" "$(cat "$WORK/all.json")"
}
kept() { # a team's objects outlive the chart
  local file
  for file in crds/*.yaml; do grep -q '^    helm.sh/resource-policy: keep' "$file" || wrong "$file"; done
}
manifest_is_chart() {
  render --values manifests/values.yaml >"$WORK/rendered.yaml" || return 1
  diff <(sed '/^#/d' manifests/install.yaml) <(sed '/^#/d' "$WORK/rendered.yaml")
}
kustomized() { # every object lands in the namespace, the RoleBinding's subject too
  same "$(k kustomize manifests | grep -c 'namespace: tfrs')" "$(($(grep -c '^kind:' manifests/install.yaml) + 1))"
}
lints() { helm lint "charts/$1" --values manifests/values.yaml --strict; }
not_rendered() { # arguments for helm, text of the error
  local out text=${*: -1}
  ! out=$(render "${@:1:$#-1}" 2>&1) || wrong "rendered"
  [[ $out == *"$text"* ]] || wrong "$out"
}
rendered() { # jq filter that holds of one object, arguments for helm
  render --values manifests/values.yaml "${@:2}" >"$WORK/rendered.yaml" || return 1
  as_json "$WORK/rendered.yaml" | jq -se "map(select($1)) | length == 1" >/dev/null || wrong "none with $1"
}

admin_helm() { KUBECONFIG_FILE=$ADMIN helm "$@"; }
[ -n "$LIST" ] || ADMIN=$("$CLUSTER" apiserver kubeconfig --user tfrs-admin --namespace scene)
installed() { admin_helm install pgrunbook charts/pgrunbook --values manifests/values.yaml; }
upgraded() { admin_helm upgrade --install pgrunbook charts/pgrunbook --values manifests/values.yaml "$@"; }
password() { k get secret pgrunbook-roles -o jsonpath='{.data.password}'; }
upgrade_keeps_password() {
  upgraded && same "$(k get secret pgrunbook-roles -o jsonpath='{.data}')" "" &&
    k patch secret pgrunbook-roles -p '{"stringData":{"password":"kept"}}' &&
    upgraded && same "$(password)" a2VwdA== &&
    upgraded --set podLabels.a=b && same "$(password)" a2VwdA== &&
    admin_helm rollback pgrunbook 1 && same "$(password)" a2VwdA== &&
    k apply --as=tfrs-admin -f <(render --values manifests/values.yaml --show-only templates/secret.yaml) && same "$(password)" a2VwdA== &&
    admin_helm uninstall pgrunbook && same "$(password)" a2VwdA== &&
    installed && same "$(password)" a2VwdA==
}
no_difference() {
  upgraded >/dev/null || return 1
  k diff --server-side --field-manager=helm --force-conflicts -f <(admin_helm get manifest pgrunbook)
}
plain_yaml() { # manifests/install.yaml by the admin of another namespace
  local NS=tfrs
  k create namespace tfrs --dry-run=client -o yaml | k apply -f - && k create rolebinding a --clusterrole=admin --user=plain &&
    k apply --as=plain -f manifests/install.yaml
}
starts_under_restricted() { # the operator's pod, in a namespace that enforces it
  local NS=restricted # read by k
  k create namespace restricted && k label namespace restricted pod-security.kubernetes.io/enforce=restricted >/dev/null
  render --values manifests/values.yaml --show-only templates/deployment.yaml >"$WORK/deployment.yaml"
  as_json "$WORK/deployment.yaml" | jq '.spec.template + {apiVersion: "v1", kind: "Pod"} | .metadata.name = "p"' | k create --dry-run=server -f -
}
policies() { k get networkpolicy -l app.kubernetes.io/name=pgrunbook -o json | jq -c '[.items[].metadata.name] | sort'; }
deny() { # pod selector
  k apply -f - <<YAML
{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny"}, "spec": {"podSelector": $1, "policyTypes": ["Ingress"]}}
YAML
}
auto() { # selector of another policy, policies of ours that must be there
  k delete networkpolicy deny --ignore-not-found
  [ -z "$1" ] || deny "$1" || return 1
  upgraded && same "$(policies)" "$2"
}

t "charts: pgrunbook-crds is crds/ and the cluster roles" crds_chart
t "charts: the kinds outlive their chart" kept
t "charts: manifests/install.yaml is the chart's output" manifest_is_chart
t "charts: kustomize sets every namespace" kustomized
t "charts: pgrunbook-crds lints" helm lint charts/pgrunbook-crds --strict
t "charts: pgrunbook lints" lints pgrunbook
t "charts: members are needed for the policies" not_rendered 'HINT: set members to the labels of their templates'
t "charts: an unknown value is refused" not_rendered --set networkPolicy.enabled=false --set replicas=2 "additional properties 'replicas' not allowed"
t "charts: a wrong word is refused" not_rendered --set networkPolicy.membersIngress=auto --set networkPolicy.enabled=false "value must be one of"
t "charts: without policies none is made" rendered '.kind == "Deployment"' --set networkPolicy.enabled=false
t "charts: the image is handed on" rendered '.kind == "Deployment" and (.spec.template.spec.containers[0] | .image == "r/p@sha256:'"$(printf '0%.0s' {1..64})"'" and any(.env[]; .name == "PGRUNBOOK_IMAGE" and .value == "r/p@sha256:'"$(printf '0%.0s' {1..64})"'"))' \
  --set image.repository=r/p --set image.digest="sha256:$(printf '0%.0s' {1..64})"
t "charts: one pod, never two" rendered '.kind == "Deployment" and .spec.replicas == 1 and .spec.strategy.type == "Recreate"'
t "charts: no uid on OpenShift" rendered '.kind == "Deployment" and (.spec.template.spec.securityContext | has("runAsUser") | not)' --api-versions security.openshift.io/v1
t "charts: no uid where none is wanted" rendered '.kind == "Deployment" and (.spec.template.spec.securityContext | has("runAsUser") | not)' --set runAsUser=null
t "charts: PodSecurity restricted lets the operator start" starts_under_restricted
t "charts: a namespace's admin may not grant kinds that are not there" forbidden_without_kinds
t "charts: a namespace's admin installs the operator" installed
t "charts: a namespace's admin applies the plain YAML" plain_yaml
t "charts: the password survives upgrade, rollback, apply and reinstallation" upgrade_keeps_password
t "charts: a second upgrade changes nothing" no_difference
t "charts: no policy for members that are open" auto '' '["pgrunbook","pgrunbook-jobs"]'
t "charts: a policy for members that default-deny closes" auto '{}' '["pgrunbook","pgrunbook-jobs","pgrunbook-member-0","pgrunbook-member-1"]'
t "charts: a policy only for the member that is closed" auto '{"matchLabels": {"name": "postgresql"}}' '["pgrunbook","pgrunbook-jobs","pgrunbook-member-0"]'
t "charts: a policy for other pods closes no member" auto '{"matchLabels": {"name": "tfrs"}}' '["pgrunbook","pgrunbook-jobs"]'

[ -n "$LIST" ] || upgraded >/dev/null
for right in "get secret/postgresql" "get secret/pgrunbook-roles" "patch secret/pgrunbook-roles" "patch deployments" "create jobs" "delete jobs" \
  "patch services" "patch postgresrestores --subresource=status" "update failovers --subresource=finalizers" "get pods --subresource=log" \
  "create leases.coordination.k8s.io" "list leases.coordination.k8s.io" "create events" "list events" "list networkpolicies.networking.k8s.io" "list resourcequotas" "list limitranges"; do
  # shellcheck disable=SC2086
  t "operator: may $right" may "$OPERATOR" $right
done
for right in "list secrets" "get secret/other" "patch secret/postgresql" "create pods --subresource=exec" "delete pods" "create pods" "delete deployments" \
  "update deployments" "create deployments" "create postgresrestores" "update postgresrestores" "delete postgresrestores" "patch postgresrestores" "update postgresrestores --subresource=status" "create roles.rbac.authorization.k8s.io" \
  "create serviceaccounts --subresource=token" "delete persistentvolumeclaims" "create networkpolicies.networking.k8s.io" "delete configmaps" "list nodes" "list namespaces" \
  "list customresourcedefinitions.apiextensions.k8s.io"; do
  # shellcheck disable=SC2086
  t "operator: may not $right" may_not "$OPERATOR" $right
done
