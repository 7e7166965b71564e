# Setting up archiving on a database that runs: waits for the applications, keeps what is not ours.
# shellcheck shell=bash
tests=(applications_running_are_waited_for foreign_archive_command_is_kept failed_setup_is_put_back
  setup_goes_on_once_it_may)

prepare() { e2e_namespace; }

message() { scene get pgt tfrs -o jsonpath='{.status.message}'; }
archive_command() { scene_sql "$ns" postgresql 'show archive_command'; }

applications_running_are_waited_for() {
  local pod
  pod=$(pod_uids postgresql)
  record_writes
  user apply -f - <<<"$(demo_topology | sed '/replaceExisting/d')"
  topology_says ApplicationsRunning 60
  holds "the topology's message" "$(message)" "setting up archiving restarts postgresql" tfrs report "are running" "HINT: scale them to 0" "it goes on by itself"
  writes_on "while setting up waits"
  same "pod of postgresql" "$(pod_uids postgresql)" "$pod"
  same "replicas of tfrs" "$(replicas tfrs)" 1
}

foreign_archive_command_is_kept() {
  local pod before
  pod=$(pod_uids postgresql) before=$(archive_command)
  holds "the scene's archive_command" "$before" walbackup
  applications 0
  topology_says ForeignArchiveCommand 60
  holds "the topology's message" "$(message)" "$before" "it is kept" "archive.wal.replaceExisting: true"
  same archive_command "$(archive_command)" "$before"
  same "pod of postgresql" "$(pod_uids postgresql)" "$pod"
}

# In the place of the archive's directory for WAL stands a file: the proof segment does not arrive.
failed_setup_is_put_back() {
  local repository before
  repository=$(volume postgresql-backup-cns)/tfrs before=$(archive_command)
  user patch pgt tfrs --type=merge -p '{"spec":{"archive":{"wal":{"replaceExisting":true}}}}'
  until [[ $(scene get pgt tfrs -o jsonpath='{.status.setup.step}') =~ ^(start-primary|prove)$ ]]; do sleep 0.1; done
  rm -rf "$repository/walbackup"
  touch "$repository/walbackup"
  user wait --for=jsonpath='{.status.setup.phase}'=Failed pgt/tfrs --timeout=240s || fail "setup did not fail: $(message)"
  holds "the setup's message" "$(scene get pgt tfrs -o jsonpath='{.status.setup.message}')" walbackup "Everything is as it was before"
  same archive_command "$(archive_command)" "$before"
  same "replicas of postgresql" "$(replicas postgresql)" 1
  same "the condition" "$(scene get pgt tfrs -o jsonpath='{.status.conditions[?(@.type=="ContinuousArchiving")].status}')" False
  rm "$repository/walbackup"
  user patch pgt tfrs --type=merge -p '{"spec":{"archive":{"wal":{"replaceExisting":false}}}}'
  topology_says ForeignArchiveCommand 60
}

setup_goes_on_once_it_may() {
  local walbackup old
  walbackup=$(volume postgresql-backup-cns)/walbackup
  old=$(cd "$walbackup" && sha256sum ./* | sort)
  user patch pgt tfrs --type=merge -p '{"spec":{"archive":{"wal":{"replaceExisting":true}}}}'
  user wait --for=condition=ContinuousArchiving pgt/tfrs --timeout=240s || fail "archiving was not set up: $(message)"
  holds archive_command "$(archive_command)" "pgrunbook-agent archive-wal"
  # The old command may have added some until the stop.
  same "files of walbackup/ that changed" "$(comm -23 <(echo "$old") <(cd "$walbackup" && sha256sum ./* | sort))" ""
  applications 1
  scene_wait_ready "$ns"
  same "Leases" "$(scene get leases -o name)" lease.coordination.k8s.io/pgrunbook
}
