#include "plan/topology_status.hpp"

#include <fmt/format.h>

namespace pgrunbook::plan {

using base::at;
using base::ErrorCode;
using base::text_at;

namespace {

constexpr std::int64_t kBehindSeconds = 180;  // three times the archive_timeout that setup writes

std::string report_statements(const MemberView& m) {
  return fmt::format(
      "with archive.wal.setup: ConfigureAndRestart this operator stops {} once and does, in a Job on its "
      "volume: CREATE ROLE pgrunbook LOGIN REPLICATION; "
      "GRANT pg_monitor, pg_read_all_settings, pg_signal_backend, pg_checkpoint TO pgrunbook; ALTER SYSTEM "
      "SET archive_mode = on; ALTER SYSTEM SET "
      "archive_command = '... pgrunbook-agent archive-wal --repository {} ...'; ALTER SYSTEM SET "
      "archive_timeout = 60; and two pg_hba lines for the role",
      m.name, m.repository);
}

Json members_of(const TopologyFacts& facts) {
  Json members = Json::array();
  for (const MemberView& m : facts.scene->members) {
    bool primary = m.name == facts.scene->primary;
    bool ready = !m.pods.empty() && pod_ready(m.pods.front());
    Json entry = {{"name", m.name},
                  {"role", primary ? "Primary"
                           : ready ? "Restored"
                                   : "ColdSpare"},
                  {"ready", ready}};
    if (primary && facts.archiving.primary.is_object()) {
      for (const char* field : {"systemIdentifier", "timeline", "lsn"}) {
        if (!at(facts.archiving.primary, {field}).is_null())
          entry[field] = at(facts.archiving.primary, {field});
      }
    }
    members.push_back(entry);
  }
  return members;
}

void say_recoverable(StatusEditor& out, bool window, const Archiving& archiving) {
  bool archives = archiving.status == "True";
  out.set("LastBackupSucceeded", window ? "True" : "Unknown", window ? "Completed" : "NoBackup",
          window ? "a backup is complete" : "no backup is complete yet");
  std::string recoverable = !window                       ? "NotRecoverable"
                            : archives                    ? "Recoverable"
                            : archiving.status == "False" ? "NotToThePresent"
                                                          : "Unknown";
  out.set("Recoverable",
          recoverable == "Recoverable" ? "True"
          : recoverable == "Unknown"   ? "Unknown"
                                       : "False",
          recoverable,
          !window    ? "no backup is complete yet. HINT: create a PostgresBackup"
          : archives ? "a backup and the WAL since are in the archive"
                     : archiving.message);
}

}  // namespace

Archiving judge_archiving(const MemberView& m, const ArchiverFacts& f) {
  Archiving out;
  out.primary = f.identity;
  if (!f.ready_pod) {
    out.reason = "PrimaryNotReady";
    out.message = fmt::format("the primary {} has no ready pod", m.name);
    return out;
  }
  if (f.no_login) {
    bool unset = f.no_login->code == ErrorCode::kUnauthorized || f.no_login->reason == "NoSecretKey";
    out.needs_setup = unset;
    out.status = unset ? "False" : "Unknown";
    out.reason = unset ? "NotSetUp" : f.no_login->reason_or_code();
    out.message = unset
                      ? fmt::format("the role pgrunbook cannot log in to {}: {}", m.name, f.no_login->message)
                      : f.no_login->text();
    return out;
  }
  if (f.no_answer) {
    out.reason = f.no_answer->reason_or_code();
    out.message = f.no_answer->text();
    return out;
  }
  out.archiver = {{"ready", f.waiting}};
  if (!f.last_wal.empty()) out.archiver["lastArchivedWAL"] = f.last_wal;
  if (!f.last_time.empty()) out.archiver["lastArchivedTime"] = f.last_time;
  if (f.waiting > 0) out.archiver["oldestReadySeconds"] = f.oldest_seconds;
  if (!f.lsn.empty()) out.primary["lsn"] = f.lsn;
  bool ours = f.archive_command.find("pgrunbook-agent archive-wal") != std::string::npos &&
              f.archive_command.find(" --repository " + m.repository + " ") != std::string::npos;
  if (f.archive_mode != "on" || !ours) {
    out.status = "False";
    out.reason = ours || f.archive_command.empty() ? "NotSetUp" : "ForeignArchiveCommand";
    out.needs_setup = true;
    out.message = fmt::format("{} runs with archive_mode {} and archive_command: {}", m.name, f.archive_mode,
                              f.archive_command);
  } else if (f.waiting > 0 && f.oldest_seconds > kBehindSeconds) {
    out.status = "False";
    out.reason = "ArchivingBehind";
    out.message = fmt::format(
        "{} finished segments of {} wait for the archive, the oldest for {} s. HINT: look at the server's "
        "log for archive-wal's messages",
        f.waiting, m.name, f.oldest_seconds);
  } else {
    out.status = "True";
    out.reason = "Archiving";
    out.message = fmt::format("{} archives to {}; last segment {}", m.name, m.repository,
                              f.last_wal.empty() ? "none yet" : f.last_wal);
  }
  return out;
}

Json backup_window(const Json& backups, const std::string& topology, const std::string& archived_until,
                   const std::string& now) {
  Json out = Json::object();
  if (!backups.is_array()) return out;
  std::string newest, earliest;
  for (const Json& b : backups) {
    if (text_at(b, {"spec", "topologyRef", "name"}) != topology ||
        text_at(b, {"status", "phase"}) != "Completed")
      continue;
    std::string stop = text_at(b, {"status", "stopTime"});
    if (stop.empty()) continue;
    if (stop > newest) {
      newest = stop;
      out["lastBackup"] = {{"name", text_at(b, {"metadata", "name"})},
                           {"id", text_at(b, {"status", "backupID"})},
                           {"time", text_at(b, {"status", "completionTime"})}};
    }
    if (earliest.empty() || stop < earliest) earliest = stop;
  }
  if (earliest.empty()) return out;
  out["restorableWindow"] = {{"earliest", earliest}, {"proven", false}, {"observedTime", now}};
  if (!archived_until.empty()) out["restorableWindow"]["latest"] = archived_until;
  return out;
}

StatusEditor::StatusEditor(Json* status, std::int64_t generation, std::string now)
    : status_(status), generation_(generation), now_(std::move(now)) {
  if (!status_->is_object()) *status_ = Json::object();
  if (Json& conditions = (*status_)["conditions"]; !conditions.is_array()) conditions = Json::array();
}

void StatusEditor::set(std::string_view type, std::string_view value, std::string_view reason,
                       std::string_view message) {
  api::set_condition(&(*status_)["conditions"], type, value, reason, message, generation_, now_);
}

void StatusEditor::remove(std::string_view type) { api::remove_condition(&(*status_)["conditions"], type); }

void StatusEditor::stalled(const base::Error& e) {
  set("Ready", "False", e.reason_or_code(), e.text());
  set("Stalled", "True", e.reason_or_code(), e.text());
  remove("Reconciling");
  (*status_)["message"] = e.text();
}

void StatusEditor::setting_up(const api::ActionStatus& setup) {
  bool blocked = setup.phase == api::Phase::kBlocked;
  std::string reason = blocked ? setup.reason : "SettingUp";
  set("ContinuousArchiving", "False", reason, setup.message);
  set("Ready", "False", reason, setup.message);
  if (blocked) {
    set("Stalled", "True", setup.reason, setup.message);
    remove("Reconciling");
  } else {
    set("Reconciling", "True", "SettingUp", setup.message);
    remove("Stalled");
  }
  (*status_)["message"] = setup.message;
}

void say_topology(StatusEditor& out, const TopologyFacts& facts) {
  const Archiving& archiving = facts.archiving;
  Json& status = out.status();
  out.set("ContinuousArchiving", archiving.status, archiving.reason, archiving.message);
  if (archiving.archiver.is_object()) {
    status["archiver"] = archiving.archiver;
  } else {
    status.erase("archiver");
  }
  status["members"] = members_of(facts);
  status.erase("lastBackup");
  status.erase("restorableWindow");
  status.update(backup_window(facts.backups, facts.scene->topology,
                              text_at(archiving.archiver, {"lastArchivedTime"}), facts.now));
  say_recoverable(out, status.contains("restorableWindow"), archiving);
  if (archiving.status == "True") {
    out.set("Ready", "True", "Archiving", archiving.message);
    status["message"] = archiving.message;
    out.remove("Stalled");
  } else {
    std::string message = archiving.message;
    if (archiving.needs_setup && !facts.setup.allowed)
      message += ". HINT: " + report_statements(*facts.scene->member(facts.scene->primary));
    if (facts.setup.failed_before)
      message = fmt::format("setting up archiving failed: {}", facts.setup.message);
    out.set("Ready", "False", archiving.reason, message);
    status["message"] = message;
    if (archiving.needs_setup) {
      out.set("Stalled", "True", facts.setup.failed_before ? facts.setup.reason : archiving.reason, message);
    } else {
      out.remove("Stalled");  // what it was about has been mended
    }
  }
  out.remove("Reconciling");
}

bool is_news(const Json& before, const Json& after) {
  Json was = before, is = after;
  for (Json* s : {&was, &is}) {
    if (s->is_object() && s->contains("restorableWindow")) (*s)["restorableWindow"].erase("observedTime");
  }
  return was != is;
}

}  // namespace pgrunbook::plan
