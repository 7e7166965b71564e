# An action happens once: the finished object applied again, deleted and created again, replaced by force.
# shellcheck shell=bash
tests=(backup_happens_once restore_happens_once cutover_happens_once columns_fit)

prepare() { :; }

# Scaling changes a generation, a restart a pod's uid.
world() {
  scene get deployments,services -o jsonpath='{range .items[*]}{.kind}/{.metadata.name} {.metadata.uid} {.metadata.generation} {.spec.replicas} {.spec.selector}{"\n"}{end}'
  pod_uids postgresql; pod_uids postgresql-standby; pod_uids tfrs; pod_uids report
}

happens_once() { # kind/name file steps...: none of these is ever a Job of the second object
  local object=$1 file=$2 before first again step
  shift 2
  before=$(world)
  first=$(uid "$object")
  user apply -f "$file"
  user delete "$object"
  user create -f "$file"
  finished "$object" Completed 120
  reason_is "$object" AlreadyDone
  says "$object" "has been done in this repository before" "nothing was started" "HINT: an action happens once; to do it again, give the object another name"
  again=$(uid "$object")
  [ "$again" != "$first" ] || fail "$object is still the first one"
  for step in "$@"; do same "Jobs $step of the second $object" "$(jobs_of "$again" "$step")" ""; done
  user replace --force -f "$file"
  finished "$object" Completed 120
  reason_is "$object" AlreadyDone
  for step in "$@"; do same "Jobs $step of the third $object" "$(jobs_of "$(uid "$object")" "$step")" ""; done
  same "workloads and Services" "$(world)" "$before"
}

backup_happens_once() {
  local id
  id=$(field pgb/tfrs-1 backupID)
  happens_once pgb/tfrs-1 manifests/examples/backup.yaml backup
  same "backup shown by the second object" "$(field pgb/tfrs-1 backupID)" "$id"
  same "backups in the archive" "$(ls "$(volume postgresql-backup-cns)/tfrs/basebackup")" "$id"
}

restore_happens_once() {
  scene get pgr tfrs-before -o json | jq '{apiVersion, kind, metadata: {name: .metadata.name}, spec}' >"$work/restore.json"
  happens_once pgr/tfrs-before "$work/restore.json" recover undo
}

cutover_happens_once() { happens_once pgf/tfrs-to-standby manifests/examples/cutover.yaml fence unfence; }

columns_fit() {
  local kind
  holds "kubectl get pgrunbook" "$(user get pgrunbook)" postgrestopology postgresbackup postgresrestore failover Completed
  for kind in pgt pgb pgr pgf; do
    same "lines of kubectl get $kind over 120" "$(user get "$kind" | awk '{ sub(/ +$/, "") } length > 120')" ""
  done
  same "lines of kubectl get pgrunbook over 120" "$(user get pgrunbook | awk '{ sub(/ +$/, "") } length > 120')" ""
}
