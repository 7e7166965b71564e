# Certificates and kubeconfigs. Sourced by tests/cluster.
# shellcheck shell=bash

certificate_authority() {
  new_key ca
  openssl req -x509 -new -key "$STATE/pki/ca.key" -days 3650 -subj /CN=pgrunbook-test-ca -out "$STATE/pki/ca.crt"
  new_key sa
  openssl pkey -in "$STATE/pki/sa.key" -pubout -out "$STATE/pki/sa.pub"
}
new_key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out "$STATE/pki/$1.key"; }
certificate() { # name subject [subjectAltName]
  local pki=$STATE/pki
  new_key "$1"
  openssl req -new -key "$pki/$1.key" -subj "$2" -out "$pki/$1.csr"
  # By chance: the file of -CAcreateserial is not made for several at once.
  openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -set_serial "0x$(openssl rand -hex 15)" -days 3650 -out "$pki/$1.crt" \
    -extfile <(printf 'extendedKeyUsage=serverAuth,clientAuth\n%s' "${3:+subjectAltName=$3}") 2>"$pki/$1.said" || fail "no certificate for $2: $(<"$pki/$1.said")"
}
write_kubeconfig() { # certificate's name or "token:...", file, [namespace]
  local user
  case $1 in
  token:*) user="token: ${1#token:}" ;;
  *) user="client-certificate-data: $(base64 -w0 "$STATE/pki/$1.crt"), client-key-data: $(base64 -w0 "$STATE/pki/$1.key")" ;;
  esac
  cat >"$2.part" <<CONF
apiVersion: v1
kind: Config
clusters: [{name: $NAME, cluster: {server: "$SERVER", certificate-authority-data: $(base64 -w0 "$STATE/pki/ca.crt")}}]
users: [{name: $NAME, user: {$user}}]
contexts: [{name: $NAME, context: {cluster: $NAME, user: $NAME${3:+, namespace: $3}}}]
current-context: $NAME
CONF
  chmod 600 "$2.part"
  mv "$2.part" "$2"
}

# Prints the path of a kubeconfig: the admin's, one for a new client certificate, or one for a ServiceAccount.
kubeconfig() { # [--namespace NS] [--user NAME [--group G]...] [--serviceaccount NS/NAME]
  local user='' account='' namespace='' subject='' file token
  while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || fail "kubeconfig: $1 wants a value"
    case $1 in
    --user) user=$2 ;;
    --group) subject+=/O=$2 ;;
    --namespace) namespace=$2 ;;
    --serviceaccount) account=$2 ;;
    *) fail "kubeconfig: what is $1?" "kubeconfig [--namespace NS] [--user NAME [--group G]...] [--serviceaccount NS/NAME]" ;;
    esac
    shift 2
  done
  [ -f "$STATE/admin.kubeconfig" ] || fail "no cluster $NAME is up" "run tests/cluster up"
  if [ -n "$user" ]; then
    file=user-$user$subject
    file=${file//[^A-Za-z0-9.-]/_}
    certificate "$file" "$subject/CN=$user"
    write_kubeconfig "$file" "$STATE/kubeconfig/$file${namespace:+@$namespace}" "$namespace"
    echo "$STATE/kubeconfig/$file${namespace:+@$namespace}"
  elif [ -n "$account" ]; then
    file=$STATE/kubeconfig/serviceaccount-${account/\//_}
    token=$(kubectl -n "${account%/*}" create token "${account#*/}" --duration=24h)
    write_kubeconfig "token:$token" "$file" "${namespace:-${account%/*}}"
    echo "$file"
  else
    echo "$STATE/admin.kubeconfig"
  fi
}
