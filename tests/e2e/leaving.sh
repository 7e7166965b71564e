# The operator is taken away, exchanged and missed in the middle of its work; the namespace goes. Nothing hangs, what was
# begun is finished or put back, the primary archives on, and no password is seen anywhere.
# shellcheck shell=bash
tests=(uninstalled_in_a_restore deleted_while_nobody_looks upgraded_in_a_cutover no_password_is_seen namespace_deleted_in_a_restore)

slow='select count(*) from (select pg_sleep(20)) x'
recovering() { reaches "$1" message 'verification runs' 120; }
no_finalizers() { same finalizers "$(scene get pgt,pgb,pgr,pgf,leases -o jsonpath='{.items[*].metadata.finalizers}')" ""; }

prepare() {
  e2e_namespace
  watch_processes
  e2e_archiving
  e2e_backup
}

uninstalled_in_a_restore() {
  local segment
  user apply -f - <<<"$(restore_yaml one "" "$slow" 1)"
  recovering pgr/one
  helm_ uninstall pgrunbook -n "$ns" --kubeconfig "$admin" --wait --timeout 60s || fail "the chart is not uninstalled"
  same "the operator" "$(scene get deploy,role,rolebinding,serviceaccount -l app.kubernetes.io/name=pgrunbook -o name)" ""
  no_finalizers
  segment=$(scene_sql "$ns" postgresql "select pg_walfile_name(pg_switch_wal())")
  _scene_until 60 "$segment is in the archive" archived "$segment"
  writes_on "without an operator"
  # Its object can go, too, and without waiting for anybody.
  install_operator "$ns" "$admin"
  finished pgr/one Completed 240
  same "recover Jobs" "$(jobs_of "$(uid pgr/one)" recover | wc -l)" 1
  same "replicas of postgresql-standby" "$(replicas postgresql-standby)" 1
  nothing_held pgr/one
}
archived() { [ -n "$(find "$(volume postgresql-backup-cns)/tfrs" -name "$1*")" ]; }

deleted_while_nobody_looks() {
  local served before
  served=$(rows postgresql-standby) before=$(ls "$(volume postgresql-standby)")
  user apply -f - <<<"$(restore_yaml two "" "$slow" 1)"
  recovering pgr/two
  user scale deploy/pgrunbook --replicas=0
  _scene_until 60 "the operator has no pod" no_operator
  user delete pgr two --timeout=20s || fail "the deleted restore stays"
  same "replicas of postgresql-standby meanwhile" "$(replicas postgresql-standby)" 0
  user scale deploy/pgrunbook --replicas=1
  put_back
  same "replicas of postgresql-standby" "$(replicas postgresql-standby)" 1
  _scene_rollout "$ns" postgresql-standby
  same "rows of the standby (count/hash)" "$(rows postgresql-standby)" "$served"
  same "directories of the standby's volume" "$(ls "$(volume postgresql-standby)")" "$before"
  writes_on "after that"
}
no_operator() { [ -z "$(scene get pods -l app.kubernetes.io/component=controller -o name)" ]; }

upgraded_in_a_cutover() {
  local images
  { scene_allow "$ns" app-standby 'name: tfrs' 'name: postgresql-standby'; scene_allow "$ns" report-standby 'role: client' 'name: postgresql-standby'; } | user apply -f -
  tests/cluster ctr images tag --force "docker.io/library/$IMAGE" docker.io/library/pgrunbook:next
  user apply -f - <<<"$(cutover_yaml upgraded)"
  phase pgf/upgraded AwaitingApproval 120
  approve pgf/upgraded
  reaches pgf/upgraded step '^(fence-ready|stop-applications|stop-primary|fence)$' 120
  install_operator "$ns" "$admin" --set image.tag=next
  same "image of the operator" "$(scene get pods -l app.kubernetes.io/component=controller -o jsonpath='{.items[*].spec.containers[0].image}')" pgrunbook:next
  finished pgf/upgraded Completed 300
  same selector "$(selector)" postgresql-standby
  images=$(scene get jobs -l "pgrunbook.io/action-uid=$(uid pgf/upgraded)" -o json | jq -r '.items[] | .metadata.labels["pgrunbook.io/step"] + " " + .spec.template.spec.initContainers[0].image')
  holds "the Jobs' agents" "$images" "fence $IMAGE" "record pgrunbook:next"
  nothing_held pgf/upgraded
  writes_on "after the upgrade"
}

# ---- passwords

# The application's and, once it is made, the role's; as they are and as a Secret holds them.
passwords() {
  local p
  for p in "$(scene get secret postgresql -o jsonpath='{.data.database-password}')" "$(scene get secret pgrunbook-roles -o jsonpath='{.data.password}')"; do
    [ -z "$p" ] || { echo "$p"; base64 -d <<<"$p"; echo; }
  done
}
# While anything of ours runs: environments and arguments of every process, those of our pods looked at. Members have the
# application's password in their environment, which is theirs and shows that the watch sees what is there.
watch_processes() {
  : >"$work/seen"
  : >"$work/members-seen"
  : >"$work/processes"
  (
    set +eE
    while [ -e "$work/seen" ] && kill -0 $$; do
      # In one piece: the test reads it meanwhile.
      passwords >"$work/passwords.new" 2>/dev/null
      [ -s "$work/passwords.new" ] || continue
      mv "$work/passwords.new" "$work/passwords"
      # Pods of ours, by uid as cgroups spell it.
      scene get pods -l app.kubernetes.io/name=pgrunbook -o jsonpath='{range .items[*]}{.metadata.uid}{"\n"}{end}' >"$work/ours" 2>/dev/null
      for _ in 1 2 3 4; do
        [ ! -s "$work/ours" ] || grep -l -F -f "$work/ours" /proc/[0-9]*/cgroup 2>/dev/null | while read -r p; do
          p=${p%/cgroup}
          { tr '\0' ' ' <"$p/cmdline" | cut -c1-60; echo; } >>"$work/processes" 2>/dev/null
          grep -a -l -F -f "$work/passwords" "$p/environ" "$p/cmdline" >>"$work/seen" 2>/dev/null
        done
        sleep .3
      done
      grep -a -l -F -f "$work/passwords" /proc/[0-9]*/environ >"$work/members-seen.now" 2>/dev/null
      [ ! -s "$work/members-seen.now" ] || cp "$work/members-seen.now" "$work/members-seen"
    done
  ) </dev/null >/dev/null 2>&1 3<&- &
}

no_password_is_seen() {
  local found what
  for what in 'pgrunbook controller' 'pgrunbook-agent job' 'postgres -D' 'psql -XqAt'; do
    grep -q -F -- "$what" "$work/processes" || fail "the watch saw no process \"$what\": $(sort -u "$work/processes" | head -n 20)"
  done
  [ -s "$work/members-seen" ] || fail "the watch does not even see the password that members have"
  same "processes of ours that show a password" "$(sort -u "$work/seen")" ""
  same "passwords" "$(wc -l <"$work/passwords")" 4
  # Objects: all but the Secrets themselves.
  for what in $(scene_kubectl api-resources --namespaced --verbs=list -o name | grep -v '^secrets$'); do
    found=$(scene get "$what" -o json | grep -c -F -f "$work/passwords" || true)
    same "lines of $what that show a password" "$found" 0
  done
  # Logs of every container, ended ones among them, and of Jobs that are no more as far as they are kept.
  found=$(grep -r -l -a -F -f "$work/passwords" "$(tests/cluster state)"/n*/log/pods/"$ns"_* || true)
  same "logs that show a password" "$found" ""
  [ "$(find "$(tests/cluster state)"/n*/log/pods/"$ns"_pg[btrf]-* -name '*.log' | wc -l)" -gt 5 ] || fail "there are hardly any logs of Jobs"
  # Transcripts, the ledger and all else in the archive and beside the data directories.
  found=$(grep -r -l -a -F -f "$work/passwords" "$(volume postgresql-backup-cns)" "$(volume postgresql)/.pgrunbook" "$(volume postgresql-standby)/.pgrunbook" || true)
  same "files that show a password" "$found" ""
  rm "$work/seen"
}

namespace_deleted_in_a_restore() {
  # The old primary is the spare now.
  user apply -f - <<<"$(restore_yaml three "" "$slow" 1 | sed 's/name: postgresql-standby/name: postgresql/')"
  reaches pgr/three step '^(recover)$' 180
  no_finalizers
  stop_recording
  scene_kubectl delete namespace "$ns" --timeout=150s || fail "the namespace hangs: $(scene_kubectl get namespace "$ns" -o jsonpath='{.status.conditions[*].message}')"
}
