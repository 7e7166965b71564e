# The scene of the tests: PostgreSQL as it already runs in a hostile namespace. Sourced by the
# demo and the end-to-end tests; every function takes the namespace, and several may stand side by side.
#
# The namespace: PodSecurity restricted, ResourceQuota, LimitRange, default deny.
# In it, all as uid 1000230000:
#   postgresql            the master, one pod, image sclorg:15, settings outside PGDATA
#   postgresql-standby    the standby, scaled to 0, with a cluster of its own that initdb made
#   postgresql-backup-cns the shared backup volume, with a walbackup/ filled by the master's archive_command
#   tfrs                  the application: writes to credit_trade through Service postgresql five times
#                         a second and prints each id once it is acknowledged
#   report                a client that holds its session open and never writes
#
# Both clients keep their session, as pools do, so a member that gets SIGTERM waits for them until
# it is killed (30 s). Deleting a member's pod instead of scaling to 0 lets its successor start
# beside it: two servers on one volume, and acknowledged rows are lost. That is Kubernetes, not the scene.
# shellcheck shell=bash

SCENE_CLUSTER=${SCENE_CLUSTER:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/cluster}
SCENE_IMAGE=${SCENE_IMAGE:-sclorg:15}
SCENE_UID=1000230000

# The cluster of PGRUNBOOK_TEST_KUBECONFIG, or the local one. Arguments: as for kubectl.
scene_kubectl() {
  if [ -n "${PGRUNBOOK_TEST_KUBECONFIG:-}" ]; then
    kubectl --kubeconfig "$PGRUNBOOK_TEST_KUBECONFIG" "$@"
  else
    "$SCENE_CLUSTER" kubectl "$@"
  fi
}

scene_create() { # namespace
  local ns=$1
  _scene_namespace "$ns" | scene_kubectl apply -f - >/dev/null
  _scene_volume "$ns" postgresql RWO
  _scene_volume "$ns" postgresql-standby RWO
  _scene_volume "$ns" postgresql-backup-cns RWX
  # Both members at 1 for a moment: the standby becomes a cluster of its own.
  scene_workloads "$ns" 0 1 | scene_kubectl apply -f - >/dev/null
  _scene_rollout "$ns" postgresql
  _scene_rollout "$ns" postgresql-standby
  scene_scale "$ns" postgresql-standby 0
  # What the runbook left behind: segments of some other time, beside those the master archives.
  scene_kubectl -n "$ns" exec deploy/postgresql -- bash -c \
    'mkdir -p /postgresql-backup/walbackup && cd /postgresql-backup/walbackup && for i in AA AB; do head -c 16777216 /dev/zero >0000000100000000000000$i; done'
  scene_sql "$ns" postgresql "set role tfrs;
    create table credit_trade (id bigserial primary key, at timestamptz not null default clock_timestamp());
    create table organization as select id, repeat('x', 200) as name from generate_series(1, 20000) id"
  scene_sql "$ns" postgresql 'select pg_switch_wal()' >/dev/null
  scene_scale "$ns" tfrs 1
  scene_wait_ready "$ns"
}

scene_delete() { # namespace
  scene_kubectl delete namespace "$1" --ignore-not-found --timeout=120s >/dev/null
  [ -n "${PGRUNBOOK_TEST_KUBECONFIG:-}" ] || "$SCENE_CLUSTER" volume delete "$1"
}

# psql as postgres over the member's own socket: only to set the scene and to look at it.
scene_sql() { # namespace deployment sql
  scene_kubectl -n "$1" exec "deploy/$2" -c postgresql -- psql -U postgres -d tfrs -v ON_ERROR_STOP=1 -XqAtc "$3"
}

scene_wait_ready() { # namespace
  _scene_rollout "$1" postgresql
  _scene_rollout "$1" tfrs
  _scene_rollout "$1" report
  _scene_until 60 "the application writes" scene_writing "$1"
}

# Whether the application had a write acknowledged in the last two seconds.
scene_writing() { scene_kubectl -n "$1" logs deploy/tfrs --since=2s 2>/dev/null | grep -q '^[0-9]'; }

# The ids the running application pod was told are committed, in order.
scene_acknowledged() { scene_kubectl -n "$1" logs deploy/tfrs | grep '^[0-9][0-9]*$' | sort -n; }

scene_scale() { # namespace deployment replicas; waits until it is so
  scene_kubectl -n "$1" scale "deploy/$2" --replicas="$3" >/dev/null
  if [ "$3" = 0 ]; then
    _scene_until 60 "$2 has no pod" _scene_no_pod "$1" "$2"
  else
    _scene_rollout "$1" "$2"
  fi
}

# Prints a kubeconfig for a user who is admin of that namespace and nothing else.
scene_admin() { # namespace
  scene_kubectl -n "$1" create rolebinding "$1-admin" --clusterrole=admin --user="$1-admin" --dry-run=client -o yaml |
    scene_kubectl apply -f - >/dev/null
  "$SCENE_CLUSTER" kubeconfig --user "$1-admin" --namespace "$1"
}

# What Git holds of the members and their clients; applied again it is "the day after".
scene_workloads() { # namespace [replicas of the application] [of the standby]
  _scene_member "$1" postgresql 1
  _scene_member "$1" postgresql-standby "${3:-0}"
  _scene_client "$1" tfrs 'name: tfrs' "${2:-1}" '
          trap "exit 0" TERM
          while :; do
            while sleep .2; do echo "insert into credit_trade default values returning id;"; done | psql "$TARGET" -XqAt -v ON_ERROR_STOP=1 2>&1
          done'
  _scene_client "$1" report 'name: report, role: client' 1 '
          trap "exit 0" TERM
          while sleep 1; do
            { echo "select 1;"; sleep 86400; } | psql "$TARGET" -XqAt
          done'
  cat <<YAML
apiVersion: v1
kind: Service
metadata: {name: postgresql, namespace: $1}
spec: {selector: {name: postgresql}, ports: [{name: postgresql, port: 5432}]}
YAML
}

_scene_until() { # seconds what command...
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < until)) || { echo "scene: gave up waiting: $what" >&2; return 1; }
    sleep .5
  done
}
_scene_no_pod() { [ -z "$(scene_kubectl -n "$1" get pod -l "name=$2" -o name)" ]; }
_scene_rollout() {
  scene_kubectl -n "$1" rollout status "deploy/$2" --timeout=90s >/dev/null || {
    scene_kubectl -n "$1" get pods,events >&2
    return 1
  }
}
_scene_volume() { # namespace claim RWO|RWX
  local mode=ReadWriteOnce
  [ "$3" = RWO ] || mode=ReadWriteMany
  if [ -z "${PGRUNBOOK_TEST_KUBECONFIG:-}" ]; then
    "$SCENE_CLUSTER" volume create "$1" "$2" "$3" 5Gi >/dev/null
  else # the cluster's own storage
    scene_kubectl apply -f - >/dev/null <<YAML
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: $2, namespace: $1}
spec: {accessModes: [$mode], resources: {requests: {storage: 5Gi}}}
YAML
  fi
}

# The quota holds both members, the application, report, the operator (64Mi, 500m) and one Job (256Mi, 600m), no more.
_scene_namespace() { # namespace
  cat <<YAML
apiVersion: v1
kind: Namespace
metadata:
  name: $1
  labels: {pod-security.kubernetes.io/enforce: restricted}
  annotations: {openshift.io/sa.scc.uid-range: $SCENE_UID/10000}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: quota, namespace: $1}
spec: {hard: {limits.cpu: 2500m, limits.memory: 960Mi, requests.memory: 960Mi, count/jobs.batch: "60"}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: limits, namespace: $1}
spec:
  limits:
  - {type: Container, default: {cpu: 100m, memory: 64Mi}, defaultRequest: {cpu: 20m, memory: 64Mi}, max: {cpu: "1", memory: 300Mi}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: $1}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: v1
kind: Secret
metadata: {name: postgresql, namespace: $1}
stringData: {database-user: tfrs, database-password: "p$(od -An -N9 -tx1 /dev/urandom | tr -d ' \n')", database-name: tfrs}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: postgresql, namespace: $1}
data:
  archive.conf: |
    track_commit_timestamp = on
    archive_mode = on
    archive_command = 'test ! -f /postgresql-backup/walbackup/%f && cp %p /postgresql-backup/walbackup/%f'
---
apiVersion: v1
kind: ConfigMap
metadata: {name: postgresql-standby, namespace: $1}
data:
  standby.conf: |
    track_commit_timestamp = on
---
YAML
  scene_allow "$1" app 'name: tfrs' 'name: postgresql'
  scene_allow "$1" report 'role: client' 'name: postgresql'
}

# Policies that let one kind of pod reach another's PostgreSQL, as the clients' owners write them.
scene_allow() { # namespace name from-labels to-labels
  cat <<YAML
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: $2-out, namespace: $1}
spec:
  podSelector: {matchLabels: {$3}}
  policyTypes: [Egress]
  egress:
  - {to: [{podSelector: {matchLabels: {$4}}}], ports: [{port: 5432, protocol: TCP}]}
  - {ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: $2-in, namespace: $1}
spec:
  podSelector: {matchLabels: {$4}}
  policyTypes: [Ingress]
  ingress:
  - {from: [{podSelector: {matchLabels: {$3}}}], ports: [{port: 5432, protocol: TCP}]}
---
YAML
}

_scene_pod_security="automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, runAsUser: $SCENE_UID, fsGroup: $SCENE_UID, seccompProfile: {type: RuntimeDefault}}"
_scene_container_security='imagePullPolicy: IfNotPresent
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}'

_scene_member() { # namespace name replicas
  cat <<YAML
apiVersion: apps/v1
kind: Deployment
metadata: {name: $2, namespace: $1, labels: {name: $2}}
spec:
  replicas: $3
  strategy: {type: Recreate}
  selector: {matchLabels: {name: $2}}
  template:
    metadata: {labels: {name: $2}}
    spec:
      $_scene_pod_security
      containers:
      - name: postgresql
        image: $SCENE_IMAGE
        $_scene_container_security
        resources: {requests: {cpu: 100m, memory: 256Mi}, limits: {cpu: 600m, memory: 256Mi}}
        ports: [{name: postgresql, containerPort: 5432}]
        readinessProbe: {exec: {command: [pg_isready, -h, 127.0.0.1]}, periodSeconds: 2, timeoutSeconds: 3}
        env:
        - {name: POSTGRESQL_USER, valueFrom: {secretKeyRef: {name: postgresql, key: database-user}}}
        - {name: POSTGRESQL_PASSWORD, valueFrom: {secretKeyRef: {name: postgresql, key: database-password}}}
        - {name: POSTGRESQL_DATABASE, valueFrom: {secretKeyRef: {name: postgresql, key: database-name}}}
        volumeMounts:
        - {name: data, mountPath: /var/lib/pgsql/data}
        - {name: backup, mountPath: /postgresql-backup}
        - {name: settings, mountPath: /opt/app-root/src/postgresql-cfg}
      volumes:
      - {name: data, persistentVolumeClaim: {claimName: $2}}
      - {name: backup, persistentVolumeClaim: {claimName: postgresql-backup-cns}}
      - {name: settings, configMap: {name: $2}}
---
YAML
}

_scene_client() { # namespace name labels replicas script
  cat <<YAML
apiVersion: apps/v1
kind: Deployment
metadata: {name: $2, namespace: $1, labels: {name: $2}}
spec:
  replicas: $4
  selector: {matchLabels: {name: $2}}
  template:
    metadata: {labels: {$3}}
    spec:
      $_scene_pod_security
      terminationGracePeriodSeconds: 1
      containers:
      - name: client
        image: $SCENE_IMAGE
        $_scene_container_security
        resources: {requests: {cpu: 20m, memory: 64Mi}, limits: {cpu: 100m, memory: 64Mi}}
        env:
        - {name: PGUSER, valueFrom: {secretKeyRef: {name: postgresql, key: database-user}}}
        - {name: PGPASSWORD, valueFrom: {secretKeyRef: {name: postgresql, key: database-password}}}
        # A member that vanishes is noticed after three seconds.
        - {name: TARGET, value: host=postgresql dbname=tfrs connect_timeout=2 keepalives_idle=1 keepalives_interval=1 keepalives_count=2 tcp_user_timeout=3000}
        command:
        - bash
        - -c
        - |$5
---
YAML
}
