# Somebody else is steering the namespace too: Flux's kustomize-controller, Helm, kubectl apply with the manifests of
# before. Before, during and after a cutover; and what Flux delivers happens once.
# shellcheck shell=bash
tests=(flux_delivers_a_backup_once flux_without_replicas_does_not_fight flux_takes_the_standby_back
  flux_steers_through_a_cutover kubectl_applies_in_a_cutover helm_upgrades_in_a_cutover flux_reverts_past_no_return
  flux_delivers_a_cutover_once flux_reverts_a_cutover kubectl_reverts_a_cutover helm_reverts_a_cutover)

git=build/e2e/steering/git

prepare() {
  e2e_namespace
  # Every action keeps its Jobs, and here are many actions.
  scene patch resourcequota quota --type=merge -p '{"spec":{"hard":{"count/jobs.batch":"300"}}}'
  scene_allow "$ns" app-standby 'name: tfrs' 'name: postgresql-standby' | user apply -f -
  scene_allow "$ns" report-standby 'role: client' 'name: postgresql-standby' | user apply -f -
  tests/cluster flux up
  in_git postgresql '' ''
  applications 0
  flux_commits 1s
  user apply -f - <<<"$(demo_topology)"
  user wait --for=condition=ContinuousArchiving pgt/tfrs --timeout=240s || fail "archiving was not set up: $(user get pgt tfrs -o jsonpath='{.status.message}')"
  applications 1
  scene_wait_ready "$ns"
  record_writes
  writes_on "before anything"
}

# ---- what is in Git
# The scene's manifests, one file an object, every line of them as somebody would write it.
in_git() { # selector, replicas of postgresql, of postgresql-standby; '' = not stated, neither are the clients'
  local d
  rm -rf "$git"
  mkdir -p "$git"
  # Each write also says on which timeline the server was that took it.
  scene_workloads "$ns" | sed "s/returning id;/returning id || ' ' || left(pg_walfile_name(pg_current_wal_lsn()), 8);/" |
    awk -v dir="$git" 'BEGIN { RS = "---\n" } match($0, /name: [a-z-]+/) { printf "%s", $0 >(dir "/" substr($0, RSTART + 6, RLENGTH - 6) (/kind: Service/ ? "-service" : "") ".yaml") }'
  cat >"$git/postgresql-service.yaml" <<YAML
apiVersion: v1
kind: Service
metadata:
  name: postgresql
  namespace: $ns
spec:
  selector:
    name: $1
  ports:
  - name: postgresql
    port: 5432
YAML
  for d in "postgresql $2" "postgresql-standby $3" "tfrs ${2:+1}" "report ${2:+1}"; do
    sed -i "$([ -n "${d#* }" ] && echo "s/^  replicas: .*/  replicas: ${d#* }/" || echo '/^  replicas: /d')" "$git/${d% *}.yaml"
  done
}
in_git_too() { # file: what comes on stdin
  cat >"$git/$1.yaml"
}
flux_commits() { tests/cluster flux commit "$ns" "$git" "${1:-1h}"; } # [interval]
# What is in Git as somebody would write it anew; the objects that Flux delivers stay there.
in_git_again() { # as in_git
  rm -rf "$work/delivered"
  mkdir "$work/delivered"
  cp "$git/backup.yaml" "$git/cutover.yaml" "$work/delivered/"
  in_git "$@"
  cp "$work/delivered/"* "$git/"
}
flux_looks() { tests/cluster flux reconcile "$ns"; }
flux_pauses() { scene patch kustomization steering --type=merge -p '{"spec":{"suspend":true}}'; }
# The lines that a plan asked for, put where they belong.
commit_changes() { # kind/name of the action
  local object file diff
  scene get "$1" -o json | jq -r '.status.plan.gitChanges[] | [.object, .diff] | @base64' >"$work/changes"
  [ -s "$work/changes" ] || fail "$1 has no gitChanges"
  while read -r object; do
    diff=$(base64 -d <<<"$object" | jq -r '.[1]') object=$(base64 -d <<<"$object" | jq -r '.[0]')
    file=$git/${object#*/}
    case $object in Service/*) file+=-service ;; esac
    [ -f "$file.yaml" ] || fail "gitChanges names $object, which is not in Git"
    replace_lines "$file.yaml" "$diff"
  done <"$work/changes"
}
# Each line with "-" is there and becomes the line with "+" after it, unless that one is there already; others are
# context.
replace_lines() { # file diff
  local line was=''
  while IFS= read -r line; do
    case $line in
    ---* | +++* | @@*) ;;
    -*)
      was=${line#-}
      ;;
    +*)
      [ -n "$was" ] || fail "a line is added to $1 without a line it replaces: $2"
      grep -qxF -e "$was" -e "${line#+}" "$1" || fail "$1 has neither the line \"$was\" nor \"${line#+}\""
      awk -v was="$was" -v becomes="${line#+}" '$0 == was && !done { $0 = becomes; done = 1 } { print }' "$1" >"$work/line"
      cp "$work/line" "$1"
      was=
      ;;
    esac
  done <<<"$2"
}

# ---- what was acknowledged where
# "time pod id timeline" of each acknowledged write.
acks() {
  (cd "$(tests/cluster state)/$ns.writes" &&
    awk '$2 == "stdout" && $4 ~ /^[0-9]+$/ && length($5) == 8 { print substr($1, 1, 26), substr(FILENAME, 3), $4, $5 }' ./tfrs-*)
}
acks_on() { acks | awk -v t="$1" '$4 == t { print $3 }' | sort -u; } # timeline, 8 digits
timeline_of() { scene_sql "$ns" "$1" 'select left(pg_walfile_name(pg_current_wal_lsn()), 8)'; } # deployment
# What a server on a copy of a stopped member's directory holds.
ids_on_volume() { # claim
  local dir bin=/usr/lib/postgresql/15/bin
  dir=$(mktemp -d /tmp/e2e-steering.XXXXXX)
  cp -a "$(volume "$1")/userdata" "$dir/data"
  rm -f "$dir/data/standby.signal" "$dir/data/postmaster.pid"
  echo 'local all all trust' >"$dir/hba"
  printf '%s\n' "hba_file = '$dir/hba'" "listen_addresses = ''" "unix_socket_directories = '$dir'" 'archive_mode = off' 'max_connections = 100' >"$dir/conf"
  chown -R "$SCENE_UID:$SCENE_UID" "$dir"
  (
    trap 'kill -INT "$(head -n 1 "$dir/data/postmaster.pid")" 2>/dev/null; wait; rm -rf "$dir"' EXIT
    setpriv --reuid "$SCENE_UID" --regid "$SCENE_UID" --clear-groups "$bin/postgres" -D "$dir/data" -c "config_file=$dir/conf" -c archive_mode=off >"$dir/log" 2>&1 </dev/null &
    _scene_until 60 "the copy of $1 answers" "$bin/psql" -h "$dir" -U postgres -d tfrs -XqAtc 'select 1' >/dev/null || fail "the copy of $1 does not start: $(tail -n 3 "$dir/log")"
    "$bin/psql" -h "$dir" -U postgres -d tfrs -XqAtc 'select id from credit_trade' | sort -u
  )
}
fence_time() { scene get "pgf/$1" -o json | jq -r '[.status.operation.log[] | select(.step == "fence") | .endTime][0] // empty' | cut -c-26; }
# After a cutover's fence nothing more was acknowledged by the old primary: what was is on its volume, and counted.
nothing_after_the_fence() { # failover, old primary and its timeline
  local at late
  at=$(fence_time "$1")
  # Delivered again, the object no longer says so.
  [ -z "$at" ] || echo "$at" >"$work/fenced-$1"
  at=$(cat "$work/fenced-$1" 2>/dev/null || true)
  [ -n "$at" ] || fail "pgf/$1 does not say when it fenced"
  late=$(acks | awk -v at="$at" -v t="$3" '$4 == t && $1 > at')
  [ -z "$late" ] || fail "the old primary acknowledged after the fence ($at): $late"
  acks_on "$3" >"$work/old-acks"
  [ "$(wc -l <"$work/old-acks")" -gt 5 ] || fail "too few writes on timeline $3: that proves nothing"
  ids_on_volume "$2" >"$work/old-ids"
  same "acknowledged by the old primary and not on its volume" "$(comm -23 "$work/old-acks" "$work/old-ids" | tr '\n' ' ')" ""
}

# ---- what must hold
condition() { scene get pgt/tfrs -o json | jq -r --arg t "$1" --arg f "$2" '.status.conditions[]? | select(.type == $t) | .[$f]'; } # type field
condition_becomes() { # type status reason seconds
  local until=$((SECONDS + $4))
  until [ "$(condition "$1" status)/$(condition "$1" reason)" = "$2/$3" ]; do
    ((SECONDS < until)) || fail "condition $1 is $(condition "$1" status)/$(condition "$1" reason), not $2/$3: $(condition "$1" message)"
    sleep .5
  done
}
changes_of() { scene get "$1" -o json | jq -c '[.status.plan.gitChanges[]? | {object, manager}]'; } # kind/name
plan_names() { # kind/name manager object...: the plan says who owns these
  local o=$1 manager=$2 object
  shift 2
  for object; do
    same "manager of $object in the plan of $o" \
      "$(scene get "$o" -o json | jq -r --arg o "$object" '[.status.plan.gitChanges[] | select(.object == $o) | .manager][0]')" "$manager"
  done
}
plan_says() { # kind/name object line...: those lines are to be committed
  local o=$1 object=$2
  shift 2
  holds "gitChanges of $object" "$(scene get "$o" -o json | jq -r --arg o "$object" '.status.plan.gitChanges[] | select(.object == $o) | .diff')" "$@"
}
primary_as_before() { # timeline
  same selector "$(selector)" postgresql
  same "replicas of postgresql" "$(replicas postgresql)" 1
  same "replicas of the applications" "$(replicas tfrs)/$(replicas report)" 1/1
  [ ! -e "$(volume postgresql)/userdata/standby.signal" ] || fail "postgresql is still fenced"
  [ ! -e "$(volume postgresql)/.pgrunbook/fence.json" ] || fail "the fence's record is still there"
  scene rollout status deploy/postgresql --timeout=60s
  writes_on "on the primary"
  same "timeline of postgresql" "$(timeline_of postgresql)" "$1"
  acks_on "$1" >"$work/acknowledged"
  all_there postgresql "$work/acknowledged"
}
operator_pid() {
  local id
  id=$(scene get pods -l app.kubernetes.io/name=pgrunbook,app.kubernetes.io/component=controller -o jsonpath='{.items[0].status.containerStatuses[0].containerID}')
  tests/cluster ctr tasks ls | awk -v id="${id#containerd://}" '$1 == id { print $2 }'
}
workload_marks() { scene get deployments,services -o json | jq -r '.items[] | select(.metadata.labels["kustomize.toolkit.fluxcd.io/name"] == "steering") | .kind + "/" + .metadata.name' | sort | tr '\n' ' '; }

# ---- Flux delivers
pruned() { [ -z "$(scene get "$1" --ignore-not-found -o name)" ]; }
# Applied again, pruned and made anew, replaced by force: one execution in total.
delivered_once() { # kind/name file in Git, steps of its Jobs...
  local o=$1 file=$2 first step
  shift 2
  first=$(uid "$o")
  flux_looks
  same "uid of $o, applied again" "$(uid "$o")" "$first"
  cp "$git/$file.yaml" "$work/$file.yaml"
  rm "$git/$file.yaml"
  flux_commits
  _scene_until 60 "$o is pruned" pruned "$o" || fail "Flux did not prune $o"
  cp "$work/$file.yaml" "$git/$file.yaml"
  flux_commits
  finished "$o" Completed 120
  reason_is "$o" AlreadyDone
  [ "$(uid "$o")" != "$first" ] || fail "$o is still the first one"
  for step in "$@"; do same "Jobs $step of the second $o" "$(jobs_of "$(uid "$o")" "$step")" ""; done
  user replace --force -f "$work/$file.yaml"
  finished "$o" Completed 120
  reason_is "$o" AlreadyDone
  for step in "$@"; do same "Jobs $step of the third $o" "$(jobs_of "$(uid "$o")" "$step")" ""; done
}

flux_delivers_a_backup_once() {
  local id
  same "what Flux owns" "$(workload_marks)" "Deployment/postgresql Deployment/postgresql-standby Deployment/report Deployment/tfrs Service/postgresql "
  in_git_too backup <manifests/examples/backup.yaml
  flux_commits
  finished pgb/tfrs-1 Completed 240
  id=$(field pgb/tfrs-1 backupID)
  delivered_once pgb/tfrs-1 backup backup
  same "backups in the archive" "$(ls "$(volume postgresql-backup-cns)/tfrs/basebackup")" "$id"
}

# Git says nothing of replicas: Flux looks every second, and takes nothing back. What Flux delivers waits for a person,
# whatever it says of approval.
flux_without_replicas_does_not_fight() {
  { restore_yaml beside "$(now)" 'select count(*) from organization' 20000; echo "  approval: None"; } | in_git_too restore
  flux_commits 1s
  phase pgr/beside AwaitingApproval 120
  same "replicas of the standby while nobody has approved" "$(replicas postgresql-standby)" 0
  approve pgr/beside
  finished pgr/beside Completed 300
  same "replicas of the members" "$(replicas postgresql)/$(replicas postgresql-standby)" 1/1
  delivered_once pgr/beside restore recover undo
  same "replicas of the members" "$(replicas postgresql)/$(replicas postgresql-standby)" 1/1
  rm "$git/restore.yaml"
}

# Git says replicas: 0, and Flux means it: a restore that ends with the standby running cannot hold.
flux_takes_the_standby_back() {
  local hash kept
  in_git postgresql 1 0
  in_git_too backup <manifests/examples/backup.yaml
  flux_commits 1s
  _scene_until 60 "the standby is at 0" _scene_no_pod "$ns" postgresql-standby
  hash=$(volume_hash postgresql-standby)
  { restore_yaml fought "" 'select count(*) from organization' 20000; echo "  approval: None"; } | user apply -f -
  phase pgr/fought AwaitingApproval 120
  plan_names pgr/fought kustomize-controller Deployment/postgresql-standby
  plan_says pgr/fought Deployment/postgresql-standby "-  replicas: 0" "+  replicas: 1"
  approve pgr/fought
  finished pgr/fought Failed 300
  says pgr/fought "kustomize-controller" "HINT: " "Everything is as it was before"
  # Where the copy had come so far as to start, it may have been written to: it is kept, and named.
  kept=$(volume postgresql-standby)/userdata.pgrunbook-$(uid pgr/fought | cut -c1-8)
  if [ -d "$kept" ]; then
    says pgr/fought "it stays on the volume of postgresql-standby in /var/lib/pgsql/data/${kept##*/}"
    rm -r "$kept"
  fi
  same "the standby's volume" "$(volume_hash postgresql-standby)" "$hash"
  same "replicas of the members" "$(replicas postgresql)/$(replicas postgresql-standby)" 1/0
  nothing_held pgr/fought
  commit_changes pgr/fought
  flux_commits
  scene rollout status deploy/postgresql-standby --timeout=90s
  same "replicas of the members" "$(replicas postgresql)/$(replicas postgresql-standby)" 1/1
  primary_as_before 00000001
}

# ---- during
# Flux takes back within a second whatever a cutover changes.
flux_steers_through_a_cutover() {
  flux_commits 1s
  cutover_yaml steered | user apply -f -
  phase pgf/steered AwaitingApproval 120
  plan_names pgf/steered kustomize-controller Service/postgresql Deployment/postgresql
  approve pgf/steered
  finished pgf/steered Failed 300
  says pgf/steered "kustomize-controller" "HINT: " "Everything is as it was before"
  nothing_held pgf/steered
  primary_as_before 00000001
  flux_commits
}

# One stream of what is in Git, for kubectl: whoever applies this knows nothing of the cutover.
manifests() { local f; for f in postgresql postgresql-standby tfrs report postgresql-service; do echo ---; cat "$git/$f.yaml"; done; }

at_zero() { [ "$(replicas "$1")" = 0 ]; }
fenced() { [ -e "$(volume "$1")/userdata/standby.signal" ] && [ -e "$(volume "$1")/.pgrunbook/fence.json" ]; }
has_pod() { ! _scene_no_pod "$ns" "$1"; }
# The old primary is started again, read-only, right after its fence; the operator stands still meanwhile, so that it is
# always there that it finds out.
kubectl_applies_in_a_cutover() {
  local pid
  manifests >"$work/old.yaml"
  cutover_yaml applied | user apply -f -
  phase pgf/applied AwaitingApproval 120
  pid=$(operator_pid)
  [ -n "$pid" ] || fail "the operator has no process"
  # shellcheck disable=SC2064
  trap "kill -CONT $pid 2>/dev/null || :" EXIT
  approve pgf/applied
  reaches pgf/applied step '^stop-primary$' 120
  _scene_until 60 "postgresql is scaled down" at_zero postgresql
  kill -STOP "$pid"
  _scene_until 90 "the old primary ends" _scene_no_pod "$ns" postgresql
  _scene_until 60 "the fence Job does its work" fenced postgresql
  user apply -f "$work/old.yaml"
  _scene_until 60 "the old primary is started again" has_pod postgresql
  kill -CONT "$pid"
  finished pgf/applied Failed 300
  says pgf/applied "kubectl-client-side-apply" "HINT: " "Everything is as it was before"
  nothing_held pgf/applied
  primary_as_before 00000001
}

helm_release() { # selector, replicas of postgresql, of postgresql-standby
  local chart=$work/chart f
  if [ ! -d "$chart" ]; then
    mkdir -p "$chart/templates"
    printf 'apiVersion: v2\nname: tfrs\nversion: 1.0.0\n' >"$chart/Chart.yaml"
    for f in postgresql postgresql-standby postgresql-service; do cp "$git/$f.yaml" "$chart/templates/"; done
    sed -i 's/^    name: postgresql.*/    name: {{ .Values.selector }}/' "$chart/templates/postgresql-service.yaml"
    sed -i 's/^  replicas: .*/  replicas: {{ .Values.primary }}/' "$chart/templates/postgresql.yaml"
    sed -i 's/^  replicas: .*/  replicas: {{ .Values.standby }}/' "$chart/templates/postgresql-standby.yaml"
  fi
  helm_ upgrade --install tfrs "$chart" -n "$ns" --kubeconfig "$admin" --take-ownership --set selector="$1" --set primary="$2" --set standby="$3"
}
# As if it had never been: the objects stay.
helm_forgets() {
  scene delete secret -l owner=helm,name=tfrs
  scene annotate deploy/postgresql deploy/postgresql-standby svc/postgresql meta.helm.sh/release-name- meta.helm.sh/release-namespace-
  scene label deploy/postgresql deploy/postgresql-standby svc/postgresql app.kubernetes.io/managed-by-
}

# Held where the Service has been switched and nobody writes yet.
helm_upgrades_in_a_cutover() {
  helm_release postgresql 1 1
  cutover_yaml upgraded | user apply -f -
  phase pgf/upgraded AwaitingApproval 120
  policy_yaml pgrunbook-member-1 >"$work/policy.json"
  approve pgf/upgraded
  reaches pgf/upgraded step '^stop-' 120
  user delete networkpolicy pgrunbook-member-1
  reaches pgf/upgraded step '^service-agrees$' 120
  helm_release postgresql 1 1
  finished pgf/upgraded Failed 300
  says pgf/upgraded "helm" "HINT: " "Everything is as it was before"
  nothing_held pgf/upgraded
  user apply -f "$work/policy.json"
  primary_as_before 00000001
  helm_forgets
}

# Past the point of no return: what Flux takes back is not called Completed, and what is put right goes on.
flux_reverts_past_no_return() {
  cutover_yaml forward | user apply -f -
  phase pgf/forward AwaitingApproval 120
  approve pgf/forward
  reaches pgf/forward step '^(stop-primary|fence)$' 120
  scene delete networkpolicy app-standby-out report-standby-out
  reaches pgf/forward step '^first-connection$' 120
  flux_looks
  same "selector, as Flux says" "$(selector)" postgresql
  phase pgf/forward Blocked 120
  says pgf/forward "kustomize-controller" "HINT: "
  sleep 8
  same "phase of a cutover that only goes forward" "$(field pgf/forward phase)" Blocked
  commit_changes pgf/forward
  flux_commits
  scene_allow "$ns" app-standby 'name: tfrs' 'name: postgresql-standby' | user apply -f -
  scene_allow "$ns" report-standby 'role: client' 'name: postgresql-standby' | user apply -f -
  finished pgf/forward Completed 300
  same selector "$(selector)" postgresql-standby
  same "replicas of the members" "$(replicas postgresql)/$(replicas postgresql-standby)" 0/1
  nothing_held pgf/forward
  writes_on "through the switched Service"
  nothing_after_the_fence forward postgresql 00000001
  condition_becomes ServiceConsistent True OneMember 60
  condition_becomes GitOpsAligned True Aligned 60
}

# ---- after
# Back to the first member, by objects in Git: a restore beside, then the cutover.
flux_delivers_a_cutover_once() {
  local mended
  restore_yaml back "" 'select count(*) from organization' 20000 | sed 's/name: postgresql-standby/name: postgresql/' | user apply -f -
  phase pgr/back AwaitingApproval 120
  approve pgr/back
  finished pgr/back Completed 300
  { cutover_yaml home | sed 's/^  candidate: .*/  candidate: postgresql/'; echo "  approval: None"; } | in_git_too cutover
  # As restored; what the restore asks for goes into Git with it.
  commit_changes pgr/back
  flux_commits
  phase pgf/home AwaitingApproval 120
  plan_names pgf/home kustomize-controller Service/postgresql Deployment/postgresql-standby
  approve pgf/home
  finished pgf/home Completed 300
  same "selector and replicas" "$(selector)/$(replicas postgresql)/$(replicas postgresql-standby)" postgresql/1/0
  writes_on "after the way back"
  condition_becomes ServiceConsistent True OneMember 60
  condition_becomes GitOpsAligned False NotCommitted 60
  nothing_after_the_fence home postgresql-standby 00000002
  # Flux finds nothing to change: only by what the message asks for does it own the lines again.
  commit_changes pgf/home
  flux_commits
  condition_becomes GitOpsAligned False NotCommitted 30
  mended=$(condition GitOpsAligned message | grep -oE 'kubectl label .* kustomize.toolkit.fluxcd.io/name- makes it apply them$') || fail "GitOpsAligned does not say how Flux sees it: $(condition GitOpsAligned message)"
  read -ra mended <<<"${mended% makes it apply them}"
  user "${mended[@]:1}"
  flux_looks
  same "selector and replicas, committed" "$(selector)/$(replicas postgresql)/$(replicas postgresql-standby)" postgresql/1/0
  condition_becomes GitOpsAligned True Aligned 60
}

# The application's pods start anew, as pods do: their next session goes where the Service leads.
clients_reconnect() { scene delete pod -l 'name in (tfrs, report)' --wait=false; }
fails_loudly() { scene logs deploy/tfrs --since=15s | grep -qiE 'read-only transaction|connection to server|could not|refused|timeout'; }
# What stands once somebody has taken selector and scale back: nobody writes anywhere, the topology says who did it,
# and no new action begins.
reverted() { # manager as in the reason
  same "selector and replicas, reverted" "$(selector)/$(replicas postgresql)/$(replicas postgresql-standby)" postgresql-standby/0/1
  clients_reconnect
  _scene_until 90 "the new primary has no pod" _scene_no_pod "$ns" postgresql
  acks | wc -l >"$work/acks-before"
  condition_becomes ServiceConsistent False "RevertedBy$1" 60
  _scene_until 60 "the application fails loudly" fails_loudly || fail "the application says nothing: $(scene logs deploy/tfrs --tail=5)"
  sed "s/name: tfrs-1/name: while-$1/" manifests/examples/backup.yaml | sed 's/^  name: .*/\L&/' | user apply -f -
  phase "pgb/while-${1,,}" Blocked 120
  reason_is "pgb/while-${1,,}" ServiceReverted
  sleep 5
  same "selector and replicas: no fight" "$(selector)/$(replicas postgresql)/$(replicas postgresql-standby)" postgresql-standby/0/1
  same "writes acknowledged while it was reverted" "$(acks | wc -l)" "$(<"$work/acks-before")"
}
put_right() { # manager
  _scene_until 90 "the fenced one has no pod" _scene_no_pod "$ns" postgresql-standby
  same "selector and replicas, put right" "$(selector)/$(replicas postgresql)/$(replicas postgresql-standby)" postgresql/1/0
  condition_becomes ServiceConsistent True OneMember 90
  scene_wait_ready "$ns"
  writes_on "put right after $1"
  nothing_after_the_fence home postgresql-standby 00000002
  same "ids on the fenced volume" "$(sha256sum <"$work/old-ids")" "$(<"$work/fenced-ids")"
  acks_on "$(timeline_of postgresql)" >"$work/acknowledged"
  all_there postgresql "$work/acknowledged"
  finished "pgb/while-${1,,}" Completed 240
}

flux_reverts_a_cutover() {
  sha256sum <"$work/old-ids" >"$work/fenced-ids"
  # Somebody reverts the commits.
  in_git_again postgresql-standby 0 1
  flux_commits
  reverted KustomizeController
  in_git_again postgresql 1 0
  flux_commits
  put_right KustomizeController
  condition_becomes GitOpsAligned True Aligned 60
  delivered_once pgf/home cutover fence unfence
  same "selector and replicas, delivered again" "$(selector)/$(replicas postgresql)/$(replicas postgresql-standby)" postgresql/1/0
  # Flux takes its leave; what it made stays.
  tests/cluster flux forget "$ns"
}

kubectl_reverts_a_cutover() {
  in_git postgresql-standby 0 1
  manifests | user apply -f -
  reverted KubectlClientSideApply
  in_git postgresql 1 0
  manifests | user apply -f -
  put_right KubectlClientSideApply
}

helm_reverts_a_cutover() {
  helm_release postgresql-standby 0 1
  reverted Helm
  condition_becomes GitOpsAligned Unknown HelmIsNotAsked 60
  helm_release postgresql 1 0
  put_right Helm
  # What a release owns is not changed without a person.
  { restore_yaml asked ""; echo "  approval: None"; } | user apply -f -
  phase pgr/asked AwaitingApproval 120
  plan_names pgr/asked "Helm release tfrs" Deployment/postgresql-standby
  user patch pgr/asked --type=merge -p '{"spec":{"cancel":true}}'
  finished pgr/asked Cancelled 60
}
