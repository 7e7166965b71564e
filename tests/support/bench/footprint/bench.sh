# What the operator takes of a node while nothing happens, and how long an object waits for its first Job; beside
# CloudNativePG's operator in the same cluster. docs/footprint.md says how each figure is made. Sourced by tests/bench.
# shellcheck shell=bash
. tests/support/cluster/scene.sh
. tests/support/bench/peer/peer.sh

ns=bench-footprint
work=build/bench/footprint
WINDOW=${PGRUNBOOK_BENCH_WINDOW:-60}   # seconds of a quiet look
SETTLE=${PGRUNBOOK_BENCH_SETTLE:-25}   # seconds from ready to the look
SAMPLES=${PGRUNBOOK_BENCH_SAMPLES:-30} # of latency, at each number of objects
MANY=1000

say() { printf '%(%H:%M:%S)T %s\n' -1 "$*" >&2; }
scene() { scene_kubectl -n "$ns" "$@"; }

# ---- the API server, faster than kubectl
connection() { # sets server and pki, once the cluster is up
  pki=$(tests/cluster state)/pki
  server=$(sed -n 's/.*server: "\([^"]*\)".*/\1/p' "$(tests/cluster kubeconfig)")
}
api() { tests/cluster exec curl -sS --fail-with-body --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" "${@:1:$#-1}" "$server${*: -1}"; } # curl arguments..., path
# Many requests at once: files DIRECTORY/*.json go to a path, in which NAME is each file's name.
api_each() { # method content-type directory path
  local f next=''
  for f in "$3"/*.json; do
    f=${f##*/} f=${f%.json}
    printf '%surl = "%s%s"\nrequest = %s\nheader = "Content-Type: %s"\nheader = "Accept: application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"\ndata-binary = "@%s"\noutput = /dev/null\ncacert = %s\ncert = %s\nkey = %s\nfail\nsilent\nshow-error\nno-progress-meter\n' \
      "$next" "$server" "${4//NAME/$f}" "$1" "$2" "$PWD/$3/$f.json" "$pki/ca.crt" "$pki/admin.crt" "$pki/admin.key"
    next=$'next\n'
  done >"$3.curl"
  tests/cluster exec curl -sS -Z --parallel-max 10 -K "$PWD/$3.curl" || fail "some of $3 could not be sent"
}

# ---- both operators
ours_start() {
  scene scale deploy/pgrunbook --replicas=1 >/dev/null
  scene rollout status deploy/pgrunbook --timeout=120s >/dev/null || fail "the operator does not become ready"
}
ours_stop() { scene scale deploy/pgrunbook --replicas=0 >/dev/null; _scene_until 60 "the operator is gone" ours_gone; }
ours_gone() { [ -z "$(scene get pods -l app.kubernetes.io/name=pgrunbook,app.kubernetes.io/component=controller -o name)" ]; }
pid_of_pod() { # namespace labels
  local id pid
  id=$(scene_kubectl -n "$1" get pods -l "$2" -o jsonpath='{.items[0].status.containerStatuses[0].containerID}')
  pid=$(tests/cluster ctr tasks ls | awk -v id="${id#containerd://}" '$1 == id { print $2 }')
  [ -n "$pid" ] || fail "no process of $2 in $1"
  echo "$pid"
}

# Both for the same WINDOW seconds, looked at in turn.
look() { # case
  local ours peer t0 t1 begun span i
  local -a a=() b=()
  say "$1: both settle for $SETTLE s"
  sleep "$SETTLE"
  ours=$(pid_of_pod "$ns" app.kubernetes.io/name=pgrunbook,app.kubernetes.io/component=controller)
  peer=$(pid_of_pod "$PEER_NAMESPACE" "$PEER_LABELS")
  t0=("$(ticks_of "$ours")" "$(ticks_of "$peer")")
  begun=${EPOCHREALTIME/./}
  for ((i = 0; i < WINDOW / 5; i++)); do
    sleep 5
    a+=("$(field_of "$ours" VmRSS)")
    b+=("$(field_of "$peer" VmRSS)")
  done
  t1=("$(ticks_of "$ours")" "$(ticks_of "$peer")")
  span=$((${EPOCHREALTIME/./} - begun))
  [ "$(pid_of_pod "$ns" app.kubernetes.io/name=pgrunbook,app.kubernetes.io/component=controller) $(pid_of_pod "$PEER_NAMESPACE" "$PEER_LABELS")" = "$ours $peer" ] || fail "an operator was started again while it was looked at"
  row "RSS, $1" MiB "$(mib "$(printf '%s\n' "${a[@]}" | sort -n | percentile 50)")" "$PEER_NAME" "$(mib "$(printf '%s\n' "${b[@]}" | sort -n | percentile 50)")" 20
  row "RSS, private part, $1" MiB "$(mib "$(field_of "$ours" RssAnon)")" "$PEER_NAME" "$(mib "$(field_of "$peer" RssAnon)")"
  row "RSS, at most since its start, $1" MiB "$(mib "$(field_of "$ours" VmHWM)")" "$PEER_NAME" "$(mib "$(field_of "$peer" VmHWM)")"
  row "CPU, $1" "% of a core" "$(cpu $((t1[0] - t0[0])) $span)" "$PEER_NAME" "$(cpu $((t1[1] - t0[1])) $span)" 0.2
}
cpu() { awk -v ticks="$1" -v us="$2" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.3f", ticks / hz / (us / 1e6) * 100 }'; }

# ---- what stands around
foreign() { # make|remove: 300 Secrets and 300 ConfigMaps of 100 KiB that nobody of us names
  local i data kind
  if [ "$1" = remove ]; then
    for kind in secrets configmaps; do api -X DELETE -o /dev/null "/api/v1/namespaces/$ns/$kind?labelSelector=bench%3Dforeign"; done
    return
  fi
  for kind in Secret ConfigMap; do
    rm -rf "$work/$kind"
    mkdir -p "$work/$kind"
    for ((i = 1; i <= 300; i++)); do
      data=$(head -c 76800 /dev/urandom | base64 -w0)
      printf '{"apiVersion":"v1","kind":"%s","metadata":{"name":"foreign-%03d","labels":{"bench":"foreign"}},"data":{"blob":"%s"}}' "$kind" "$i" "$data" >"$work/$kind/foreign-$i.json"
    done
    api_each POST application/json "$work/$kind" "/api/v1/namespaces/$ns/${kind,,}s"
    rm -rf "$work/$kind"
  done
  [ "$(scene get secret,configmap -l bench=foreign -o name | wc -l)" = 600 ] || fail "the foreign objects are not there"
}
# Backups that have ended, with the status of the one that was really made; the operators must not run meanwhile.
finished_backups() { # upto
  local have i
  have=$(scene get pgb -o name | wc -l)
  ((have < $1)) || return 0
  rm -rf "$work/made" "$work/status"
  mkdir -p "$work/made" "$work/status"
  for ((i = have; i < $1; i++)); do
    jq -c --arg n "done-$i" '{apiVersion, kind, metadata: {name: $n}, spec}' "$work/backup.json" >"$work/made/done-$i.json"
    jq -c '{status}' "$work/backup.json" >"$work/status/done-$i.json"
  done
  api_each POST application/json "$work/made" "/apis/pgrunbook.io/v1alpha1/namespaces/$ns/postgresbackups"
  api_each PATCH application/merge-patch+json "$work/status" "/apis/pgrunbook.io/v1alpha1/namespaces/$ns/postgresbackups/NAME/status"
  [ "$(scene get pgb -o jsonpath='{range .items[?(@.status.phase=="Completed")]}x{end}' | wc -c)" = "$1" ] || fail "there are not $1 finished backups"
}

# ---- from an object to its first Job
# By the API server's own log: from the reply to the object's creation to the arrival of the Job's.
latency() { # objects
  local log from token
  say "apply to Job with $1 objects, $SAMPLES samples"
  log=$(tests/cluster state)/log/audit.log
  from=$(stat -c %s "$log")
  token=$(scene create token applier --duration=1h)
  jq -c '{apiVersion, kind, metadata: {name: "NAME"}, spec}' "$work/backup.json" >"$work/sample.json"
  tests/cluster exec "$PWD/tests/support/bench/footprint/samples.sh" "$server" "$pki" "$ns" "$token" "$PWD/$work/sample.json" "wait-$1" "$SAMPLES" >"$work/latency-$1" || fail "no samples"
  sleep 1
  tail -c +$((from + 1)) "$log" | jq -rc 'select(.verb == "create" and (.responseStatus.code // 0) == 201) | [.objectRef.resource, .objectRef.name, .requestReceivedTimestamp, .stageTimestamp] | @tsv' >"$work/audit-$1"
  awk -F'[\t ]' 'function us(t,  p) { split(t, p, /[T:Z]/); return ((p[2] * 60 + p[3]) * 60 + p[4]) * 1000 }
    FNR == NR { if ($1 == "postgresbackups") made[$2] = us($4); if ($1 == "jobs" && !($2 in job)) job[$2] = us($3); next } # the first: one that is deleted with its object may come again
    { j = "pgb-" $2 "-plan-1"; if (!($1 in made) || !(j in job)) { print "no pair for " $1 > "/dev/stderr"; exit 1 }
      d = job[j] - made[$1]; if (d < 0) d += 86400000; printf "%.1f\n", d }' "$work/audit-$1" "$work/latency-$1" | sort -n >"$work/ms-$1" || fail "the audit log does not hold all samples"
  row "apply to Job, p50, $1 objects" ms "$(percentile 50 <"$work/ms-$1")"
  row "apply to Job, p95, $1 objects" ms "$(percentile 95 <"$work/ms-$1")" "" "" 100
}

bench_footprint() {
  local admin archive server pki
  rm -rf "$work"
  mkdir -p "$work"
  say "cluster, images, programs"
  prepare_cluster
  prepare_image >"$work/image.log" 2>&1 || { tail -n 20 "$work/image.log"; fail "no image"; }
  peer_prepare >"$work/peer.log" 2>&1 || { tail -n 20 "$work/peer.log"; fail "no $PEER_NAME"; }
  install_crds
  connection
  trap 'status=$?; [ $status = 0 ] || show_trouble "$ns"; footprint_end; exit $status' EXIT
  footprint_clear
  say "scene: members, operator, archiving, one backup"
  scene_create "$ns"
  admin=$(scene_admin "$ns")
  install_operator "$ns" "$admin"
  scene_scale "$ns" tfrs 0
  scene_scale "$ns" report 0
  scene apply -f - <<<"$(demo_topology)" >/dev/null
  scene wait --for=condition=ContinuousArchiving pgt/tfrs --timeout=240s >/dev/null || fail "archiving was not set up: $(scene get pgt tfrs -o jsonpath='{.status.message}')"
  scene apply -f manifests/examples/backup.yaml >/dev/null
  finished pgb/tfrs-1 Completed 240
  scene get pgb tfrs-1 -o json >"$work/backup.json"
  # Samples are made by one whom the audit log names, and their Jobs' pods stay Pending: only the way to the Job counts.
  scene create serviceaccount applier >/dev/null
  scene create rolebinding applier --clusterrole=admin --serviceaccount="$ns:applier" >/dev/null
  scene create role applier --verb=create --resource=postgresbackups.pgrunbook.io >/dev/null
  scene create rolebinding applier-backups --role=applier --serviceaccount="$ns:applier" >/dev/null
  scene delete resourcequota quota >/dev/null
  say "$PEER_NAME $PEER_VERSION"
  peer_install "$ns"

  peer_check
  look "idle"
  scene_kubectl cordon node1 >/dev/null
  latency 1
  scene_kubectl uncordon node1 >/dev/null

  ours_stop; peer_stop
  foreign make
  ours_start; peer_start; peer_check
  look "600 foreign Secrets and ConfigMaps of 100 KiB"
  foreign remove

  ours_stop; peer_stop
  finished_backups 100
  ours_start
  scene_kubectl cordon node1 >/dev/null
  sleep 5
  latency 100
  scene_kubectl uncordon node1 >/dev/null
  ours_stop
  finished_backups $MANY
  peer_backups "$ns" $MANY
  ours_start; peer_start; peer_check
  look "1000 finished backups"
  scene_kubectl cordon node1 >/dev/null
  latency $MANY
  scene_kubectl uncordon node1 >/dev/null

  archive=$(tests/cluster state)/images/${IMAGE//[:\/]/_}.tar
  row "image, unpacked" MiB "$(mib $(($(stat -c %s "$archive") / 1024)))" "$PEER_NAME on nothing" "$(mib $(($(stat -c %s "$PEER_ARCHIVE") / 1024)))"
  row "programs in the image" MiB "$(mib $((($(stat -c %s "build/$preset/operator/pgrunbook") + $(stat -c %s "build/$preset/operator/pgrunbook-agent")) / 1024)))" "$PEER_NAME" "$(mib $(($(stat -c %s "$PEER_PROGRAM") / 1024)))"
  row "the operator's program" MiB "$(mib $(($(stat -c %s "build/$preset/operator/pgrunbook") / 1024)))" "$PEER_NAME" "$(mib $(($(stat -c %s "$PEER_PROGRAM") / 1024)))"
}

footprint_clear() { peer_remove; scene_delete "$ns"; } >/dev/null 2>&1
footprint_end() {
  scene_kubectl uncordon node1 >/dev/null 2>&1 || true
  [ -z "${PGRUNBOOK_BENCH_KEEP:-}" ] || return 0
  footprint_clear || true
  release_cluster
}
