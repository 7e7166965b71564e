# Bad inputs and bad worlds, each with the exact message and its way out; at the end nothing was scaled, moved or
# deleted. The worlds stand beside the running database: Deployments at 0, Services, claims, topologies of their own.
# shellcheck shell=bash
tests=(refused_by_kubectl refused_side_by_side refused_by_the_archive refused_for_want_of_room refused_by_the_server
  nothing_was_touched)

prepare() {
  e2e_namespace
  applications 0
  user apply -f - <<<"$(demo_topology)"
  user wait --for=condition=ContinuousArchiving pgt/tfrs --timeout=240s || fail "archiving was not set up: $(user get pgt tfrs -o jsonpath='{.status.message}')"
  e2e_backup
  # Two segments behind the backup, for a gap.
  for _ in 1 2 3; do scene_sql "$ns" postgresql 'insert into credit_trade default values; select pg_switch_wal()' >/dev/null; done
  scene patch resourcequota quota --type=merge -p '{"spec":{"hard":{"limits.cpu":"9","limits.memory":"4Gi","requests.memory":"4Gi","count/jobs.batch":"200"}}}'
  local claim dir
  for claim in spare rolling rootdata tight deaf; do "$SCENE_CLUSTER" volume create "$ns" "$claim" RWO 1Gi; done
  # A volume that is full.
  dir=$(volume tight) && mount -t tmpfs -o size=20m,mode=777 tmpfs "$dir"
  worlds
  world >"$work/world"
  for claim in postgresql-standby spare rolling rootdata tight; do echo "$claim $(volume_hash "$claim")"; done >"$work/volumes"
  archive_files >"$work/archive"
}

# ---- what must be as it was: scaling changes a generation, a restart a pod's uid
world() {
  scene get deployments,services,persistentvolumeclaims -o json |
    jq -r '.items[] | "\(.kind)/\(.metadata.name) \(.metadata.uid) \(.metadata.generation) \(.spec.replicas) \(.spec.selector) \(.spec.volumeName)"'
  scene get pods -o json | jq -r '.items[] | select(.metadata.labels["app.kubernetes.io/component"] != "job") | "Pod/\(.metadata.name) \(.metadata.uid)"'
}

# ---- bad worlds
# A Deployment like the standby's, at 0, with its own label.
like() { # name jq-filter
  jq -c --arg n "$1" '{apiVersion: "apps/v1", kind: "Deployment", metadata: {name: $n, labels: {name: $n}}, spec: (.spec | {replicas: 0, strategy, template})}
    | .spec.selector.matchLabels = {name: $n} | .spec.template.metadata = {labels: {name: $n}}
    | .spec.template.spec.volumes[0].persistentVolumeClaim.claimName = "spare" | '"$2" <<<"$standby" >>"$work/objects"
}
service() { # name selector
  jq -nc --arg n "$1" --argjson s "$2" '{apiVersion: "v1", kind: "Service", metadata: {name: $n}, spec: {selector: $s, ports: [{port: 5432}]}}' >>"$work/objects"
}
# A topology of one member of the same name, reached by Service postgresql, that asks for setting up.
topology() { # name jq-filter
  jq -c --arg n "$1" '{apiVersion, kind, metadata: {name: $n}, spec} | del(.spec.applications, .spec.archive.wal.replaceExisting)
    | .spec.members = [{name: $n, workloadRef: {apiVersion: "apps/v1", kind: "Deployment", name: $n}, container: "postgresql", dataDirectory: "/var/lib/pgsql/data/userdata"}]
    | '"${2:-.}" <<<"$tfrs" >>"$work/objects"
}
primary='.spec.members[0] += {name: "postgresql"} | .spec.members[0].workloadRef.name = "postgresql"'
second='{name: "tight", workloadRef: {apiVersion: "apps/v1", kind: "Deployment", name: "tight"}, container: "postgresql", dataDirectory: "/var/lib/pgsql/data/userdata"}'
make_objects() { user apply -f "$work/objects" >/dev/null; : >"$work/objects"; }

worlds() {
  : >"$work/objects"
  standby=$(scene get deploy postgresql-standby -o json)
  like no-pvc '.spec.template.spec.volumes[0].persistentVolumeClaim.claimName = "nowhere"'
  like emptydir '.spec.template.spec.volumes[0] = {name: "data", emptyDir: {}}'
  like two-containers '.spec.template.spec.containers += [{name: "exporter", image: .spec.template.spec.containers[0].image}]'
  like plain .
  like relative '.spec.template.spec.containers[0].env += [{name: "PGDATA", value: "userdata"}]'
  like subpath '.spec.template.spec.containers[0].volumeMounts[0].subPath = "pg"'
  like replicas '.spec.replicas = 2 | .spec.paused = true'
  like no-archive 'del(.spec.template.spec.containers[0].volumeMounts[1])'
  like read-only '.spec.template.spec.containers[0].volumeMounts[1].readOnly = true'
  like twin .
  like alike '.spec.template.metadata.labels = {name: "plain", role: "standby"} | .spec.selector.matchLabels = {role: "standby"} | .spec.template.spec.volumes[0].persistentVolumeClaim.claimName = "rolling"'
  like leaving '.spec.template.spec.volumes[0].persistentVolumeClaim.claimName = "leaving"'
  like block '.spec.template.spec.volumes[0].persistentVolumeClaim.claimName = "block"'
  like alone .
  like rolling '.spec.strategy = {type: "RollingUpdate"} | .spec.template.spec.volumes[0].persistentVolumeClaim.claimName = "rolling"'
  like rootdata '.spec.template.spec.volumes[0].persistentVolumeClaim.claimName = "rootdata"'
  like tight '.spec.template.spec.volumes[0].persistentVolumeClaim.claimName = "tight"'
  # A pod that is ready and serves nothing, and that a selector for the standby's pods matches.
  like deaf '.spec.replicas = 1 | .spec.template.metadata.labels = {name: "postgresql-standby", deaf: "yes"} | .spec.selector.matchLabels = {deaf: "yes"}
    | .spec.template.spec.volumes[0].persistentVolumeClaim.claimName = "deaf"
    | .spec.template.spec.containers[0] |= (del(.readinessProbe) | .command = ["sleep", "86400"] | .resources = {requests: {cpu: "10m", memory: "64Mi"}, limits: {cpu: "100m", memory: "64Mi"}})'
  service bare null
  service nobody '{"name": "nobody"}'
  service several '{"tier": "db"}'
  service other '{"name": "tight"}'
  service alone '{"name": "alone"}'
  service deaf '{"deaf": "yes"}'
  jq -nc '{apiVersion: "v1", kind: "PersistentVolumeClaim", metadata: {name: ("leaving", "block")}, spec: {accessModes: ["ReadWriteOnce"], storageClassName: "manual", resources: {requests: {storage: "1Gi"}}}}
    | if .metadata.name == "block" then .spec.volumeMode = "Block" else .metadata.finalizers = ["e2e.pgrunbook.io/hold"] end' >>"$work/objects"
  # Named ports are those of the server's pod: this lets our Jobs in, but not out.
  jq -nc '{apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata: {name: "alone-in"}, spec: {podSelector: {matchLabels: {name: "alone"}}, policyTypes: ["Ingress"],
    ingress: [{from: [{podSelector: {}}], ports: [{port: "postgresql", protocol: "TCP"}]}]}}' >>"$work/objects"
  make_objects
  scene delete pvc leaving --wait=false
  scene rollout status deploy/deaf --timeout=90s
  mkdir "$(volume postgresql-backup-cns)"/{foreign,stolen}
  echo somebody >"$(volume postgresql-backup-cns)/foreign/notes.txt"
  cp "$(volume postgresql-backup-cns)/tfrs/repository.json" "$(volume postgresql-backup-cns)/stolen/"
  chown -R --reference="$(volume postgresql-backup-cns)/tfrs" "$(volume postgresql-backup-cns)"/{foreign,stolen}
}

# ---- what must be said
# Addresses and times are not known beforehand; everything else is, to the letter.
expect() { # kind/name phase-or-Stalled reason message
  jq -nc '$ARGS.positional | {object: .[0], state: .[1], reason: .[2], message: .[3]}' --args "$@" >>"$work/expected"
}
# shellcheck disable=SC2016
said='def plain: gsub("[0-9]+\\.[0-9]+\\.[0-9]+\\.[0-9]+"; "IP") | gsub("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z"; "TIME") | gsub("targetLSN: [0-9A-F]+/[0-9A-F]+"; "targetLSN: LSN") | gsub("\t"; " ");
  def short: {PostgresTopology: "pgt", PostgresBackup: "pgb", PostgresRestore: "pgr", Failover: "pgf"};
  [.items[] | {key: (short[.kind] + "/" + .metadata.name),
    value: (if .kind == "PostgresTopology" then (.status.conditions // [] | map(select(.type == "Stalled" and .status == "True")) | first | {state: "Stalled", reason, message})
            else {state: .status.phase, reason: .status.reason, message: .status.message} end | .message |= ((. // "") | plain))}] | from_entries as $is
  | $expected[] | . as $e | $is[$e.object] as $i
  | select(($i.state != $e.state) or ($i.reason != $e.reason) or ($i.message != $e.message))
  | "\($e.object) says\n  \($i.state) \($i.reason): \($i.message)\nshould say\n  \($e.state) \($e.reason): \($e.message)"'
all_said() { # seconds
  local until=$((SECONDS + $1)) wrong count
  count=$(wc -l <"$work/expected")
  while :; do
    wrong=$(scene get pgt,pgb,pgr,pgf -o json | jq -r --slurpfile expected "$work/expected" "$said")
    [ -n "$wrong" ] || break
    ((SECONDS < until)) || { echo "$wrong"; fail "not all of $count refusals are as they should be: $(head -n 1 <<<"$wrong")"; }
    sleep 1
  done
  echo "$count refusals as they should be"
  cat "$work/expected" >>"$work/said"
  : >"$work/expected"
}
kubectl_says() { # message kubectl-arguments...; kubectl's answer is exactly this, the rest of its sentence apart
  local said message=$1
  shift
  if said=$(user "$@" 2>&1); then fail "accepted: $*"; fi
  [[ $said == *"$message"* ]] || fail "kubectl says: $said; it should say: $message"
  jq -nc '$ARGS.positional' --args "$message" >>"$work/said"
}
object() { # kind name spec (as JSON)
  jq -nc --arg k "$1" --arg n "$2" --argjson s "$3" '{apiVersion: "pgrunbook.io/v1alpha1", kind: $k, metadata: {name: $n}, spec: ({topologyRef: {name: "tfrs"}} + $s)}'
}
backup() { object PostgresBackup "$1" "$(jq -nc --arg t "$2" '{topologyRef: {name: $t}, method: "Base"}')" >>"$work/objects"; } # name topology
restore() { # name member [more of the spec]
  object PostgresRestore "$1" "$(jq -nc --arg m "$2" --argjson more "${3:-{\}}" '{source: {type: "Latest"}, to: {type: "Member", member: {name: $m}}, mode: "Plan"} + $more')" >>"$work/objects"
}
failover() { object Failover "$1" "$(jq -nc --arg c "$2" '{type: "Cutover", candidate: $c}')" >>"$work/objects"; } # name candidate
at_time() { jq -nc --arg t "$1" '{recoveryTarget: {targetTime: $t}}'; }

refused_by_kubectl() {
  tfrs=$(scene get pgt tfrs -o json)
  : >"$work/objects"
  : >"$work/said"
  restore naive postgresql-standby "$(at_time 2026-11-20T15:00:00)"
  kubectl_says 'spec.recoveryTarget.targetTime: Invalid value: "string": targetTime 2026-11-20T15:00:00 names no time zone. HINT: write 2026-11-20T15:00:00Z for UTC' create -f "$work/objects"
  : >"$work/objects"
  restore unknown postgresql-standby '{"recoveryTarget": {"targetTyme": "2026-11-20T15:00:00Z"}}'
  kubectl_says 'strict decoding error: unknown field "spec.recoveryTarget.targetTyme"' create --validate=strict -f "$work/objects"
  kubectl_says 'spec.recoveryTarget: Invalid value: "object": recoveryTarget names no target. HINT: set targetTime, or remove recoveryTarget to recover to the latest moment' \
    create --validate=ignore -f "$work/objects"
  : >"$work/objects"
  topology daemon '.spec.members[0].workloadRef.kind = "DaemonSet"'
  kubectl_says 'spec.members[0].workloadRef.kind: Unsupported value: "DaemonSet": supported values: "Deployment", "StatefulSet"' create -f "$work/objects"
  : >"$work/objects"
  topology twice '.spec.members += [.spec.members[0] + {name: "again"}]'
  kubectl_says 'two members name the same workload. HINT: a member is one workload with one PostgreSQL on its own volume' create -f "$work/objects"
  : >"$work/objects"
  kubectl_says 'topologyRef cannot change. HINT: a PostgresBackup acts once as it was created; create another one' patch pgb tfrs-1 --type=merge -p '{"spec":{"topologyRef":{"name":"other"}}}'
}

# Topologies, and actions that need nothing of each other: all made at once.
refused_side_by_side() {
  tfrs=$(scene get pgt tfrs -o json)
  standby=$(scene get deploy postgresql-standby -o json)
  : >"$work/objects"
  : >"$work/expected"
  # What a member is.
  topology missing
  expect pgt/missing Stalled NoWorkload "member missing: Deployment missing does not exist in namespace $ns. HINT: correct workloadRef, or create the workload"
  topology no-pvc
  expect pgt/no-pvc Stalled NoClaim "member no-pvc: PersistentVolumeClaim nowhere does not exist. HINT: create the claim or correct its name"
  topology emptydir
  expect pgt/emptydir Stalled NoDataVolume "member emptydir: the data directory /var/lib/pgsql/data/userdata lies on volume data, which is no PersistentVolumeClaim but emptyDir. HINT: a member's data must lie on a claim of its own; check dataDirectory and the volumes of the workload"
  topology two-containers 'del(.spec.members[0].container)'
  expect pgt/two-containers Stalled UnknownContainer "member two-containers: Deployment two-containers has several containers. HINT: set spec.members[name=two-containers].container to the one that runs PostgreSQL"
  topology no-container '.spec.members[0] |= (.container = "db" | .workloadRef.name = "plain")'
  expect pgt/no-container Stalled UnknownContainer "member no-container: Deployment plain has no container db. HINT: set spec.members[name=no-container].container to the one that runs PostgreSQL"
  topology no-pgdata 'del(.spec.members[0].dataDirectory) | .spec.members[0].workloadRef.name = "plain"'
  expect pgt/no-pgdata Stalled UnknownDataDirectory "member no-pgdata: the container sets no PGDATA. HINT: set spec.members[name=no-pgdata].dataDirectory"
  topology relative 'del(.spec.members[0].dataDirectory)'
  expect pgt/relative Stalled UnknownDataDirectory "member relative: PGDATA of container postgresql is userdata, which is not absolute. HINT: set spec.members[name=relative].dataDirectory to the absolute path"
  topology subpath
  expect pgt/subpath Stalled SubPath "member subpath: a volume is mounted by subPath, which this version does not support. HINT: mount the volume's root"
  topology replicas
  expect pgt/replicas Stalled SeveralReplicas "member replicas: Deployment replicas has 2 replicas; a member is one PostgreSQL instance. HINT: scale it to 1, or name each instance as a member of its own"
  topology no-archive
  expect pgt/no-archive Stalled ArchiveNotMounted "member no-archive: the archive's claim postgresql-backup-cns is not mounted in container postgresql. HINT: mount the claim postgresql-backup-cns into Deployment no-archive"
  topology read-only
  expect pgt/read-only Stalled ReadOnlyMount "member read-only: volume backup is mounted readOnly at /postgresql-backup. HINT: PostgreSQL writes there: remove readOnly from Deployment read-only"
  topology own-archive '.spec.archive.volume.claimName = "spare" | .spec.members[0].workloadRef.name = "plain"'
  expect pgt/own-archive Stalled ArchiveOnDataVolume "member own-archive: the claim spare holds its data directory /var/lib/pgsql/data/userdata and is spec.archive.volume.claimName too. HINT: the archive needs a claim of its own, which every member mounts: what loses the data must not lose the archive"
  topology twin '.spec.members += [.spec.members[0] | .name = "plain" | .workloadRef.name = "plain"]'
  expect pgt/twin Stalled SharedVolume "members twin and plain keep their data on the same claim spare. HINT: every member needs a volume of its own"
  topology alike '.spec.members += [.spec.members[0] | .name = "plain" | .workloadRef.name = "plain"]'
  expect pgt/alike Stalled MembersLookAlike 'the pods of members alike and plain cannot be told apart: both carry all of {"name":"plain"}. HINT: give the pod templates a label that differs between the members'
  topology leaving
  expect pgt/leaving Stalled ClaimDeleted "member leaving: PersistentVolumeClaim leaving is being deleted; it goes with the last pod that uses it. HINT: keep its volume (set the PersistentVolume's reclaim policy to Retain) and copy what it holds before that pod ends"
  topology block
  expect pgt/block Stalled BlockVolume "member block: PersistentVolumeClaim block has volumeMode Block. HINT: a data directory and an archive need volumeMode Filesystem"
  # Services and applications.
  topology no-service "$primary | .spec.services = [{name: \"nowhere\"}]"
  expect pgt/no-service Stalled NoService "Service nowhere does not exist in namespace $ns. HINT: correct spec.services"
  topology bare "$primary | .spec.services = [{name: \"bare\"}]"
  expect pgt/bare Stalled NoSelector "Service bare has no selector. HINT: a Service without a selector cannot be switched; give it one that matches the primary's pods"
  topology nobody "$primary | .spec.services = [{name: \"nobody\"}]"
  expect pgt/nobody Stalled NoPrimary 'the selector {"name":"nobody"} of Service nobody matches no member. HINT: correct the selector, or spec.services and spec.members of the topology'
  like member-a '.spec.template.metadata.labels = {name: "member-a", tier: "db"}'
  like member-b '.spec.template.metadata.labels = {name: "member-b", tier: "db"} | .spec.template.spec.volumes[0].persistentVolumeClaim.claimName = "rolling"'
  topology several '.spec.services = [{name: "several"}] | .spec.members = [.spec.members[0] | (.name, .workloadRef.name) = ("member-a"), ((.name, .workloadRef.name) = "member-b")]'
  expect pgt/several Stalled SelectorAmbiguous 'the selector {"tier":"db"} of Service several matches more than one member: member-a, member-b. HINT: add a label to the selector that differs between the members'
  topology disagree "$primary | .spec.members += [$second] | .spec.services += [{name: \"other\"}]"
  expect pgt/disagree Stalled ServicesDisagree "the Services do not agree on one member: postgresql selects postgresql, other selects tight. HINT: let every Service under spec.services select the primary; one for something else does not belong there"
  topology no-application "$primary | .spec.applications = [{workloadRef: {apiVersion: \"apps/v1\", kind: \"Deployment\", name: \"web\"}}]"
  expect pgt/no-application Stalled NoWorkload "application: Deployment web does not exist in namespace $ns. HINT: correct workloadRef, or create the workload"
  # Logins, on the running primary, which setting up would stop.
  topology wrong-key "$primary | .spec.connection.secretRef.usernameKey = \"user\""
  expect pgt/wrong-key Stalled NoSecretKey "Secret postgresql has no key user, or it is empty. HINT: correct spec.connection.secretRef.usernameKey of the topology, or fill the key"
  topology wrong-secret "$primary | .spec.connection.secretRef.name = \"another\""
  expect pgt/wrong-secret Stalled Forbidden "get secrets/another: secrets \"another\" is forbidden: User \"system:serviceaccount:$ns:pgrunbook\" cannot get resource \"secrets\" in API group \"\" in the namespace \"$ns\". HINT: add another to the chart's value secretNames"
  topology wrong-password "$primary | .spec.connection.secretRef.passwordKey = \"database-name\""
  expect pgt/wrong-password Stalled AuthenticationFailed 'tfrs@IP:5432/tfrs: connection to server at "IP", port 5432 failed: FATAL:  password authentication failed for user "tfrs". HINT: the Secret and the server disagree about this role: correct the Secret, or set the role'"'"'s password there'
  topology foreign-command "$primary"
  expect pgt/foreign-command Stalled ForeignArchiveCommand "postgresql archives by another command: $(scene_sql "$ns" postgresql 'show archive_command'). HINT: it is kept; to replace it set spec.archive.wal.replaceExisting: true"
  # Backups.
  backup no-topology nowhere
  expect pgb/no-topology Failed NoTopology "PostgresTopology nowhere does not exist in namespace $ns. HINT: create it, or correct spec.topologyRef.name"
  topology foreign "$primary"
  expect pgt/foreign Stalled ForeignArchiveCommand "postgresql archives by another command: $(scene_sql "$ns" postgresql 'show archive_command'). HINT: it is kept; to replace it set spec.archive.wal.replaceExisting: true"
  backup foreign foreign
  expect pgb/foreign Failed RepositoryNotEmpty "/postgresql-backup/foreign is not empty (notes.txt) and has no repository.json. HINT: name an archive path where nothing lies yet; what is there is not touched"
  topology stolen "$primary"
  topology alone '.spec.services = [{name: "alone"}]'
  backup alone alone
  expect pgb/alone Blocked NetworkPolicyMissing 'no NetworkPolicy lets pods of our Jobs (egress is denied) reach member alone on port 5432. HINT: add this with kubectl apply, and it goes on by itself:
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: pgrunbook-jobs-egress}
spec:
  podSelector: {matchLabels: {app.kubernetes.io/component: "job", app.kubernetes.io/name: "pgrunbook"}}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {matchLabels: {name: "alone"}}}], ports: [{port: 5432, protocol: TCP}]}]
'
  topology deaf '.spec.services = [{name: "deaf"}]'
  backup deaf deaf
  expect pgb/deaf Blocked Unreachable 'pgrunbook@IP:5432/postgres: connection to server at "IP", port 5432 failed: Connection refused  Is the server running on that host and accepting TCP/IP connections?. HINT: is the server up and listening on that port? It goes on by itself once it is'
  # More members of the real topology, none of them able to take a restore.
  jq -c '{apiVersion, kind, metadata: {name: "tfrs"}, spec} | .spec.members += ["rolling", "rootdata", "tight" | {name: ., container: "postgresql", workloadRef: {apiVersion: "apps/v1", kind: "Deployment", name: .},
    dataDirectory: (if . == "rootdata" then "/var/lib/pgsql/data" else "/var/lib/pgsql/data/userdata" end)}]' <<<"$tfrs" >"$work/tfrs.json"
  user apply -f "$work/tfrs.json"
  make_objects
  expect pgb/stolen Failed RepositoryOfAnother "the repository /postgresql-backup/stolen belongs to the topology tfrs with uid $(uid pgt/tfrs), not to stolen with uid $(uid pgt/stolen). HINT: give this topology another archive path, or another name"
  backup stolen stolen
  # Restores.
  restore unknown-member nobody
  expect pgr/unknown-member Failed NoMember "spec.to.member.name is nobody, which topology tfrs does not have. HINT: name one of its members"
  restore onto-primary postgresql
  expect pgr/onto-primary Failed TargetIsPrimary "member postgresql is the primary; a restore goes to a member that is not. HINT: restore beside it: name a standby in spec.to.member"
  restore future postgresql-standby "$(at_time 2999-01-01T00:00:00Z)"
  expect pgr/future Failed TargetInFuture "targetTime TIME lies in the future. HINT: leave recoveryTarget out to recover to the latest archived transaction"
  restore too-early postgresql-standby "$(at_time 2001-01-01T00:00:00Z)"
  expect pgr/too-early Failed TargetBeforeBackup "target TIME lies before the end of backup $(field pgb/tfrs-1 backupID). HINT: the earliest possible targetTime is TIME"
  restore no-backup postgresql-standby '{"source": {"type": "Backup", "backupRef": {"name": "nothing"}}}'
  expect pgr/no-backup Failed UnknownBackup "PostgresBackup nothing does not exist. HINT: correct spec.source.backupRef, or use source.type Latest"
  restore others-backup postgresql-standby '{"source": {"type": "Backup", "backupRef": {"name": "alone"}}}'
  expect pgr/others-backup Failed BackupOfOtherTopology "PostgresBackup alone is of topology alone, the restore is of tfrs. HINT: name a backup of the same topology in spec.source.backupRef, or correct spec.topologyRef"
  restore rolling rolling
  expect pgr/rolling Failed RollingUpdate "Deployment rolling has strategy RollingUpdate: two pods could open one data directory. HINT: set spec.strategy.type: Recreate on the workload"
  restore rootdata rootdata
  expect pgr/rootdata Failed DataDirectoryIsMountRoot "the data directory /var/lib/pgsql/data of member rootdata is the root of its volume: nothing can be exchanged beside it. HINT: set PGDATA to a directory below the volume's root, or restore onto another member"
  # Cutovers.
  failover nobody nobody
  expect pgf/nobody Failed NoMember "spec.candidate is nobody, which topology tfrs does not have. HINT: name one of its members"
  failover to-primary postgresql
  expect pgf/to-primary Failed AlreadyPrimary "postgresql is the primary already. HINT: nothing is to be done"
  failover to-rolling rolling
  expect pgf/to-rolling Failed RollingUpdate "Deployment rolling has strategy RollingUpdate: two pods could open one data directory. HINT: set spec.strategy.type: Recreate on the workload"
  failover not-running tight
  expect pgf/not-running Blocked CandidateNotRunning "candidate tight has no ready pod. HINT: a cutover goes to a member that a PostgresRestore has restored and started"
  failover strangers postgresql-standby
  expect pgf/strangers Failed SelectorMatchesOthers 'once switched to postgresql-standby, Service postgresql would select by {"name":"postgresql-standby"}, which Deployment deaf matches too. HINT: change the labels of Deployment deaf, or add a label to the Service'"'"'s selector and to the members'"'"' pod templates that only the members carry'
  make_objects
  all_said 300
  user delete pgf/not-running pgb/alone pgb/deaf
}

refused_by_the_archive() {
  local wal segment path need
  : >"$work/objects"
  : >"$work/expected"
  wal=$(volume postgresql-backup-cns)/tfrs
  path=$(cd "$wal" && find . -type f -name '0000000100000000*' ! -name '*.history' ! -name '*.backup*' | sort | tail -n 2 | head -n 1)
  segment=$(basename "$path" | cut -c1-24)
  mv "$wal/$path" "$wal/../held"
  restore gap postgresql-standby
  expect pgr/gap Failed WalGap "the latest state lies behind a gap in the archive; the first missing segment is $segment. HINT: to recover to the last transaction before it (TIME), write targetTLI: 1 and targetLSN: LSN"
  make_objects
  all_said 180
  mv "$wal/../held" "$wal/$path"
  chmod 000 "$wal/$path"
  restore unreadable postgresql-standby
  expect pgr/unreadable Failed NotPermitted "cannot open /postgresql-backup/tfrs/${path#./}: Permission denied. HINT: its owner and mode must let the members' uid in: chown or chmod /postgresql-backup/tfrs/${path#./}"
  make_objects
  all_said 180
  chmod 640 "$wal/$path"
  # The copy and eight segments; by what the backup says of itself.
  need=$(jq '(.tarBytes + 8 * .segmentSize + 1048575) / 1048576 | floor' "$wal/basebackup/$(field pgb/tfrs-1 backupID)/backup.json")
  restore tight tight
  expect pgr/tight Failed NotEnoughSpace "/var/lib/pgsql/data has 20 MiB free, the restored copy beside the old one needs $need MiB. HINT: make the volume larger, or free space on it"
  make_objects
  all_said 180
}

refused_for_want_of_room() {
  local used
  : >"$work/objects"
  : >"$work/expected"
  _scene_until 60 "no pod of a Job is left" no_job_pods
  sleep 4 # the quota is counted anew
  used=$(scene get resourcequota quota -o jsonpath='{.status.used.limits\.memory}')
  scene patch resourcequota quota --type=merge -p '{"spec":{"hard":{"limits.memory":"100Mi"}}}'
  backup no-room tfrs
  restore no-room postgresql-standby
  expect pgb/no-room Blocked QuotaTooSmall "ResourceQuota quota has no room for the pod of Job plan: limits.memory needed 128Mi, used $used, hard 100Mi. HINT: raise limits.memory of the ResourceQuota to $((128 + ${used%Mi}))Mi, free as much, or lower spec.jobs.resources of the topology; it goes on by itself"
  expect pgr/no-room Blocked QuotaTooSmall "ResourceQuota quota has no room for the pod of Job plan: limits.memory needed 128Mi, used $used, hard 100Mi. HINT: raise limits.memory of the ResourceQuota to $((128 + ${used%Mi}))Mi, free as much, or lower spec.jobs.resources of the topology; it goes on by itself"
  restore unfinished postgresql-standby '{"source": {"type": "Backup", "backupRef": {"name": "no-room"}}}'
  expect pgr/unfinished Failed BackupNotCompleted "PostgresBackup no-room is not Completed. HINT: choose a completed backup: kubectl get postgresbackups"
  make_objects
  all_said 180
  scene patch limitrange limits --type=json -p '[{"op":"add","path":"/spec/limits/0/max/memory","value":"100Mi"}]'
  local tight="HINT: change the LimitRange, or spec.jobs.resources of the topology; it goes on by itself"
  expect pgb/no-room Blocked LimitRangeTooTight "LimitRange limits does not allow the pod of Job plan: container work has the limit memory 128Mi, max is 100Mi. $tight"
  expect pgr/no-room Blocked LimitRangeTooTight "LimitRange limits does not allow the pod of Job plan: container work has the limit memory 128Mi, max is 100Mi. $tight"
  all_said 180
  same "Jobs of the Blocked actions" "$(jobs_of "$(uid pgb/no-room)")$(jobs_of "$(uid pgr/no-room)")" ""
  user delete pgb/no-room pgr/no-room
  scene patch limitrange limits --type=json -p '[{"op":"add","path":"/spec/limits/0/max/memory","value":"300Mi"}]'
  scene patch resourcequota quota --type=merge -p '{"spec":{"hard":{"limits.memory":"4Gi"}}}'
}
no_job_pods() { [ -z "$(scene get pods -l app.kubernetes.io/component=job --field-selector=status.phase!=Succeeded,status.phase!=Failed -o name)" ]; }

refused_by_the_server() {
  tfrs=$(scene get pgt tfrs -o json)
  : >"$work/objects"
  : >"$work/expected"
  local hba
  hba=$(volume postgresql)/userdata/pg_hba.conf
  cp -p "$hba" "$work/pg_hba.conf"
  sed -i 's/^host all all all/#&/' "$hba"
  scene_sql "$ns" postgresql 'select pg_reload_conf()' >/dev/null
  topology no-hba "$primary"
  expect pgt/no-hba Stalled NoPgHbaEntry 'tfrs@IP:5432/tfrs: connection to server at "IP", port 5432 failed: FATAL:  no pg_hba.conf entry for host "IP", user "tfrs", database "tfrs", no encryption. HINT: add a line for this role to that server'"'"'s pg_hba.conf and reload it, like: host all tfrs all scram-sha-256'
  # What the operator's role may not do.
  in_postgres 'revoke execute on function pg_create_restore_point(text) from pgrunbook'
  restore no-right postgresql-standby
  expect pgr/no-right Blocked InsufficientPrivilege 'pgrunbook@IP:5432/postgres: ERROR:  permission denied for function pg_create_restore_point. HINT: grant it to the role; what the operator'"'"'s roles need is in docs/security.md'
  make_objects
  all_said 180
  user delete pgr/no-right
  in_postgres 'grant execute on function pg_create_restore_point(text) to pgrunbook'
  cat "$work/pg_hba.conf" >"$hba"
  scene_sql "$ns" postgresql 'select pg_reload_conf()' >/dev/null
}
# Rights to functions belong to a database; the operator's role uses this one.
in_postgres() { scene exec deploy/postgresql -c postgresql -- psql -U postgres -d postgres -v ON_ERROR_STOP=1 -Xqc "$1"; }

nothing_was_touched() {
  local claim
  [ "$(wc -l <"$work/said")" -ge 40 ] || fail "only $(wc -l <"$work/said") refusals were seen"
  echo "$(wc -l <"$work/said") refusals were seen"
  same "workloads, Services, claims and pods" "$(world | grep -v '/member-[ab] ')" "$(cat "$work/world")"
  for claim in postgresql-standby spare rolling rootdata tight; do echo "$claim $(volume_hash "$claim")"; done >"$work/volumes.now"
  same "volumes" "$(cat "$work/volumes.now")" "$(cat "$work/volumes")"
  same "files of the archive that changed" "$(comm -23 "$work/archive" <(archive_files))" ""
  same "what was put into a foreign archive" "$(cd "$(volume postgresql-backup-cns)" && find foreign stolen | sort | tr '\n' ' ')" "foreign foreign/notes.txt stolen stolen/repository.json "
  same "Jobs that write" "$(scene get jobs -o name | grep -E -- '-(recover|fence|undo|setup)-' | grep -v "/pgt-$(uid pgt/tfrs | cut -c1-8)-" || true)" ""
  same "Leases" "$(scene get leases -o name)" lease.coordination.k8s.io/pgrunbook
  same "primary" "$(field pgt/tfrs primary)" postgresql
  user wait --for=condition=ContinuousArchiving pgt/tfrs --timeout=60s
  scene patch pvc leaving --type=merge -p '{"metadata":{"finalizers":null}}'
  umount "$(volume tight)"
}
