#include "controllers/topology.hpp"

#include <fmt/format.h>

#include "controllers/actions.hpp"
#include "controllers/leftovers.hpp"
#include "execute/duty.hpp"
#include "execute/gate.hpp"
#include "execute/members.hpp"
#include "runtime/log.hpp"

namespace pgrunbook::controllers {

using base::at;
using base::Deadline;
using base::ErrorCode;
using base::Json;
using base::number_at;
using base::text_at;
using execute::Action;
using execute::World;

namespace {

constexpr auto kCalm = std::chrono::seconds(15);
constexpr std::int64_t kBehindSeconds = 180;  // three times the archive_timeout that setup writes

// How archiving stands on the primary, judged by what waits for the archive, never by failed_count alone: an
// archiver whose program is missing dies and counts nothing.
struct Archiving {
  std::string status = "Unknown", reason = "Unknown", message = "not looked at yet";
  bool needs_setup = false;
  Json archiver;
  Json primary;  // what identify() said
};

Archiving look(World& world, const plan::SceneView& scene, const plan::MemberView& m) {
  Archiving out;
  if (m.pods.empty() || !plan::pod_ready(m.pods.front())) {
    out.reason = "PrimaryNotReady";
    out.message = fmt::format("the primary {} has no ready pod", m.name);
    return out;
  }
  auto password = execute::role_login(world, scene, m);
  auto session = password ? world.connect(*password, Deadline::after(std::chrono::seconds(5)))
                          : base::Result<sql::Connection>(base::fail(password.error()));
  if (!session) {
    bool unset = session.error().code == ErrorCode::kUnauthorized || session.error().reason == "NoSecretKey";
    out.needs_setup = unset;
    out.status = unset ? "False" : "Unknown";
    out.reason = unset ? "NotSetUp" : session.error().reason_or_code();
    out.message =
        unset ? fmt::format("the role pgrunbook cannot log in to {}: {}", m.name, session.error().message)
              : session.error().text();
    return out;
  }
  if (auto who = execute::identify(*session)) out.primary = *who;
  auto rows = session->query(
      "select current_setting('archive_mode'), current_setting('archive_command'), a.archived_count, "
      "a.last_archived_wal, "
      "to_char(a.last_archived_time at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), a.failed_count, "
      "(select count(*) from pg_ls_archive_statusdir() where name like '%.ready'), "
      "(select coalesce(extract(epoch from now() - min(modification))::bigint, 0) from "
      "pg_ls_archive_statusdir() where name like '%.ready'), "
      "pg_current_wal_lsn() from pg_stat_archiver a",
      {}, Deadline::after(std::chrono::seconds(5)));
  if (!rows || rows->empty()) {
    out.message = rows ? "pg_stat_archiver is empty" : rows.error().text();
    if (!rows) out.reason = rows.error().reason_or_code();
    return out;
  }
  const sql::Row& r = rows->front();
  std::int64_t waiting = std::atoll(r[6].value_or("0").c_str()),
               oldest = std::atoll(r[7].value_or("0").c_str());
  out.archiver = {{"ready", waiting}};
  if (r[3]) out.archiver["lastArchivedWAL"] = *r[3];
  if (r[4]) out.archiver["lastArchivedTime"] = *r[4];
  if (waiting > 0) out.archiver["oldestReadySeconds"] = oldest;
  if (r[8]) out.primary["lsn"] = *r[8];
  bool ours = r[1].value_or("").find("pgrunbook-agent archive-wal") != std::string::npos &&
              r[1].value_or("").find(" --repository " + m.repository + " ") != std::string::npos;
  if (r[0] != "on" || !ours) {
    out.status = "False";
    out.reason = ours || r[1].value_or("").empty() ? "NotSetUp" : "ForeignArchiveCommand";
    out.needs_setup = true;
    out.message = fmt::format("{} runs with archive_mode {} and archive_command: {}", m.name,
                              r[0].value_or("?"), r[1].value_or("(none)"));
  } else if (waiting > 0 && oldest > kBehindSeconds) {
    out.status = "False";
    out.reason = "ArchivingBehind";
    out.message = fmt::format(
        "{} finished segments of {} wait for the archive, the oldest for {} s. HINT: look at the server's "
        "log for archive-wal's messages",
        waiting, m.name, oldest);
  } else {
    out.status = "True";
    out.reason = "Archiving";
    out.message =
        fmt::format("{} archives to {}; last segment {}", m.name, m.repository, r[3].value_or("none yet"));
  }
  return out;
}

void last_backup(const runtime::Store& backups, const std::string& topology,
                 const std::string& archived_until, Json* status) {
  std::string newest, earliest;
  for (const runtime::Snapshot& snapshot : backups.list()) {
    const Json& b = *snapshot;
    if (text_at(b, {"spec", "topologyRef", "name"}) != topology ||
        text_at(b, {"status", "phase"}) != "Completed")
      continue;
    std::string stop = text_at(b, {"status", "stopTime"});
    if (stop.empty()) continue;
    if (stop > newest) {
      newest = stop;
      (*status)["lastBackup"] = {{"name", text_at(b, {"metadata", "name"})},
                                 {"id", text_at(b, {"status", "backupID"})},
                                 {"time", text_at(b, {"status", "completionTime"})}};
    }
    if (earliest.empty() || stop < earliest) earliest = stop;
  }
  if (earliest.empty()) return;
  Json window = {{"earliest", earliest}, {"proven", false}, {"observedTime", base::format_time(base::now())}};
  if (!archived_until.empty()) window["latest"] = archived_until;
  (*status)["restorableWindow"] = window;
}

std::string report_statements(const plan::MemberView& m) {
  return fmt::format(
      "with archive.wal.setup: ConfigureAndRestart this operator stops {} once and does, in a Job on its "
      "volume: CREATE ROLE pgrunbook LOGIN REPLICATION; "
      "GRANT pg_monitor, pg_read_all_settings, pg_signal_backend, pg_checkpoint TO pgrunbook; ALTER SYSTEM "
      "SET archive_mode = on; ALTER SYSTEM SET "
      "archive_command = '... pgrunbook-agent archive-wal --repository {} ...'; ALTER SYSTEM SET "
      "archive_timeout = 60; and two pg_hba lines for the role",
      m.name, m.repository);
}

}  // namespace

runtime::Outcome reconcile_topology(World& world, runtime::Metrics& metrics, const runtime::Store& backups,
                                    const runtime::Key& key, std::stop_token stop) {
  const kube::Resource& kind = kube::kinds::kTopology;
  auto object = world.api.get(kind, key.ns, key.name, World::soon());
  if (!object) {
    if (object.error().code != ErrorCode::kNotFound) return object.error();
    return drive_leftover(world, kind.kind, key, "", stop).value_or(runtime::Done{});
  }
  if (auto first = drive_leftover(world, kind.kind, key, text_at(*object, {"metadata", "uid"}), stop); first)
    return *first;
  Action a{world,
           kind,
           *object,
           api::meta_of(*object),
           api::status_of(Json{{"status", at(*object, {"status", "setup"})}}),
           kind.kind,
           {}};
  a.save = [](Action& action) -> base::Result<> {
    PGR_TRY(execute::keep_duty(action, at(action.object, {"status", "setup", "operation"})));
    Json status = at(action.object, {"status"}).is_object() ? at(action.object, {"status"}) : Json::object();
    status["setup"] = api::to_json(action.status);
    PGR_ASSIGN(Json written, write_status(action.world.api, action.resource, action.object, status));
    action.object = std::move(written);
    action.meta = api::meta_of(action.object);
    return {};
  };
  Json status = at(*object, {"status"}).is_object() ? at(*object, {"status"}) : Json::object();
  Json& conditions = status["conditions"];
  if (!conditions.is_array()) conditions = Json::array();
  std::string now = base::format_time(base::now());
  std::int64_t generation = a.meta.generation;
  auto set = [&](std::string_view type, std::string_view value, std::string_view reason,
                 std::string_view message) {
    api::set_condition(&conditions, type, value, reason, message, generation, now);
  };
  auto write = [&]() -> base::Result<> {
    status["observedGeneration"] = generation;
    if (status == at(a.object, {"status"})) return {};
    PGR_ASSIGN(Json written, write_status(world.api, kind, a.object, status));
    a.object = std::move(written);
    return {};
  };
  auto stalled = [&](const base::Error& e) -> runtime::Outcome {
    set("Ready", "False", e.reason_or_code(), e.text());
    set("Stalled", "True", e.reason_or_code(), e.text());
    api::remove_condition(&conditions, "Reconciling");
    status["message"] = e.text();
    if (auto w = write(); !w) return w.error();
    return runtime::After{kCalm};
  };

  auto spec = api::topology_spec(at(*object, {"spec"}));
  if (!spec) return stalled(spec.error());
  auto scene = execute::observe_scene(world, key.name);
  if (!scene)
    return scene.error().code == ErrorCode::kRefused || scene.error().code == ErrorCode::kInvalid
               ? stalled(scene.error())
               : runtime::Outcome(scene.error());
  const plan::MemberView* primary = scene->member(scene->primary);
  if (primary == nullptr) {
    base::Error why = plan::no_primary(*scene);
    set("ServiceConsistent", "False", why.reason, why.text());
    return stalled(why);
  }
  status["primary"] = primary->name;
  set("ServiceConsistent", "True", "OneMember", fmt::format("every Service selects {}", primary->name));

  Archiving archiving = look(world, *scene, *primary);
  bool allowed = spec->archive.wal.setup == "ConfigureAndRestart";
  bool setup_under_way = a.status.phase != api::Phase::kPending && !api::terminal(a.status.phase);
  // A setup that failed was put back; it is tried again when the spec changes, never in a loop of restarts.
  bool failed_before = api::terminal(a.status.phase) && a.status.phase != api::Phase::kCompleted &&
                       a.status.observed_generation == generation;
  std::string set_up_member = text_at(a.status.operation.inputs, {"member"});
  if (archiving.needs_setup && allowed && !setup_under_way && !failed_before) {
    int attempt = api::terminal(a.status.phase) ? a.status.operation.attempt + 1 : 1;
    a.status = api::status_of(Json::object());
    a.status.operation.attempt = attempt;
    setup_under_way = true;
  }
  runtime::Outcome outcome = runtime::After{kCalm};
  if (setup_under_way) {
    outcome = drive(a, execute::setup_flow(a, *spec), stop);
    if (std::holds_alternative<base::Error>(outcome)) return outcome;
    if (std::holds_alternative<runtime::Done>(outcome))
      outcome = runtime::After{std::chrono::milliseconds(200)};
    // The status was written under us: go on from what is there now.
    Json later = at(a.object, {"status"}).is_object() ? at(a.object, {"status"}) : Json::object();
    status["setup"] = at(later, {"setup"});
    if (!api::terminal(a.status.phase)) {
      bool blocked = a.status.phase == api::Phase::kBlocked;
      set("ContinuousArchiving", "False", blocked ? a.status.reason : "SettingUp", a.status.message);
      set("Ready", "False", blocked ? a.status.reason : "SettingUp", a.status.message);
      if (blocked) {
        set("Stalled", "True", a.status.reason, a.status.message);
        api::remove_condition(&conditions, "Reconciling");
      } else {
        set("Reconciling", "True", "SettingUp", a.status.message);
        api::remove_condition(&conditions, "Stalled");
      }
      status["message"] = a.status.message;
      if (auto w = write(); !w) return w.error();
      return outcome;
    }
    archiving = look(world, *scene, *primary);
  }
  (void)set_up_member;
  set("ContinuousArchiving", archiving.status, archiving.reason, archiving.message);
  metrics.set("pgrunbook_continuous_archiving", {{"topology", key.name}}, archiving.status == "True" ? 1 : 0);
  if (archiving.archiver.is_object()) {
    status["archiver"] = archiving.archiver;
    metrics.set("pgrunbook_wal_ready_files", {{"topology", key.name}},
                static_cast<double>(number_at(archiving.archiver, {"ready"})));
  } else {
    status.erase("archiver");
    metrics.unset("pgrunbook_wal_ready_files", {{"topology", key.name}});
  }
  Json members = Json::array();
  for (const plan::MemberView& m : scene->members) {
    bool ready = !m.pods.empty() && plan::pod_ready(m.pods.front());
    Json entry = {{"name", m.name},
                  {"role", m.name == primary->name ? "Primary"
                           : ready                 ? "Restored"
                                                   : "ColdSpare"},
                  {"ready", ready}};
    if (m.name == primary->name && archiving.primary.is_object()) {
      for (const char* field : {"systemIdentifier", "timeline", "lsn"}) {
        if (!at(archiving.primary, {field}).is_null()) entry[field] = at(archiving.primary, {field});
      }
    }
    members.push_back(entry);
  }
  status["members"] = members;
  status.erase("lastBackup");
  status.erase("restorableWindow");
  last_backup(backups, key.name, text_at(archiving.archiver, {"lastArchivedTime"}), &status);
  bool window = status.contains("restorableWindow");
  bool archives = archiving.status == "True";
  set("LastBackupSucceeded", window ? "True" : "Unknown", window ? "Completed" : "NoBackup",
      window ? "a backup is complete" : "no backup is complete yet");
  std::string recoverable = !window                       ? "NotRecoverable"
                            : archives                    ? "Recoverable"
                            : archiving.status == "False" ? "NotToThePresent"
                                                          : "Unknown";
  set("Recoverable",
      recoverable == "Recoverable" ? "True"
      : recoverable == "Unknown"   ? "Unknown"
                                   : "False",
      recoverable,
      !window    ? "no backup is complete yet. HINT: create a PostgresBackup"
      : archives ? "a backup and the WAL since are in the archive"
                 : archiving.message);
  if (archives) {
    set("Ready", "True", "Archiving", archiving.message);
    status["message"] = archiving.message;
    api::remove_condition(&conditions, "Stalled");
  } else {
    std::string message = archiving.message;
    if (archiving.needs_setup && !allowed) message += ". HINT: " + report_statements(*primary);
    if (failed_before) message = fmt::format("setting up archiving failed: {}", a.status.message);
    set("Ready", "False", archiving.reason, message);
    status["message"] = message;
    if (archiving.needs_setup)
      set("Stalled", "True", failed_before ? a.status.reason : archiving.reason, message);
  }
  api::remove_condition(&conditions, "Reconciling");
  // The window's time of observation alone is no news; without this every look would be a write.
  Json compare = at(a.object, {"status"});
  if (compare.is_object() && compare.contains("restorableWindow") && status.contains("restorableWindow")) {
    Json mine = status;
    mine["restorableWindow"].erase("observedTime");
    compare["restorableWindow"].erase("observedTime");
    mine["observedGeneration"] = generation;
    if (mine == compare) return outcome;
  }
  if (auto w = write(); !w) return w.error();
  return outcome;
}

}  // namespace pgrunbook::controllers
