// What a topology's status says, from what was found. Pure: execute/archiving and the controller look.
#pragma once

#include <optional>
#include <string>

#include "api/status.hpp"
#include "plan/scene.hpp"

namespace pgrunbook::plan {

// What one look at the primary's archiver found (execute/archiving).
struct ArchiverFacts {
  bool ready_pod = true;
  std::optional<base::Error> no_login;   // nobody got in
  std::optional<base::Error> no_answer;  // somebody got in, and the question was not answered
  Json identity;                         // who the server is (identify), null where it did not say
  std::string archive_mode, archive_command;
  std::string last_wal, last_time;               // last archived; empty = none yet
  std::int64_t waiting = 0, oldest_seconds = 0;  // finished segments that are not in the archive
  std::string lsn;
};

// How archiving stands on the primary, judged by what waits for the archive, never by failed_count alone: an
// archiver whose program is missing dies and counts nothing.
struct Archiving {
  std::string status = "Unknown", reason = "Unknown", message = "not looked at yet";
  bool needs_setup = false;
  Json archiver;  // status.archiver; null where it is not known
  Json primary;   // who the server is
};
[[nodiscard]] Archiving judge_archiving(const MemberView& primary, const ArchiverFacts& facts);

// The topology's setup of archiving, as far as it decides what is said.
struct SetupState {
  bool allowed = false;        // archive.wal.setup: ConfigureAndRestart
  bool failed_before = false;  // it failed for this very spec, and was put back
  std::string reason, message;
};

// The newest completed backup of this topology and the window: {lastBackup, restorableWindow}, absent where
// there is none. archived_until: when the last segment was archived, empty where that is not known.
[[nodiscard]] Json backup_window(const Json& backups, const std::string& topology,
                                 const std::string& archived_until, const std::string& now);

// Conditions as they stand: status is the topology's whole status, changed in place.
class StatusEditor {
 public:
  StatusEditor(Json* status, std::int64_t generation, std::string now);
  void set(std::string_view type, std::string_view value, std::string_view reason, std::string_view message);
  void remove(std::string_view type);
  // Nothing can be said of the topology until somebody mends this.
  void stalled(const base::Error& e);
  // Setup is under way or Blocked.
  void setting_up(const api::ActionStatus& setup);

  [[nodiscard]] Json& status() { return *status_; }

 private:
  Json* status_;
  std::int64_t generation_;
  std::string now_;
};

// All that is known of a topology whose primary is known.
struct TopologyFacts {
  const SceneView* scene = nullptr;
  Archiving archiving;
  Json backups = Json::array();  // the namespace's PostgresBackups; null where they could not be listed
  SetupState setup;
  std::string now;
};
void say_topology(StatusEditor& out, const TopologyFacts& facts);

// Whether a status says anything that the one before did not: the window's time of observation alone is no
// news, or every look would be a write.
[[nodiscard]] bool is_news(const Json& before, const Json& after);

}  // namespace pgrunbook::plan
