// The contract between the controller and a Job: what a Job is told, and what it answers.
//
// A Job runs `pgrunbook-agent job` with its order as JSON in the environment variable PGRUNBOOK_ORDER.
// Secrets come as files of a volume of their own (secrets:: below), never in the order or the environment. It
// prints one JSON line per second and per step on stdout (Progress) and leaves an Answer as JSON of at most
// 4,000 bytes in its termination message. Exit code 0 = outcome Succeeded.
//
// Jobs never talk to the API server. An order can be given twice (a Job may run twice): the volume's claim
// file and the put-if-absent records of the repository make the second one do nothing, or answer the same.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"

namespace pgrunbook::api {

using base::Json;
using base::Result;

inline constexpr int kOrderFormat = 1;

// What the Job does. The names are the values of Order::job.
namespace jobs {
inline constexpr const char* kSetup =
    "Setup";  // stopped primary: role, pg_hba, archive settings, agent; or put them back
inline constexpr const char* kProof = "Proof";  // waits until the named segments are in the repository
inline constexpr const char* kPlan = "Plan";    // catalogue, ledger, target -> LSN, data at stake
inline constexpr const char* kBackup =
    "Backup";  // base backup of a running server over the replication protocol
// Reads a stopped primary's WAL from its volume, mounted read-only: what the archive lacks goes there.
inline constexpr const char* kSalvage = "Salvage";
inline constexpr const char* kRecover =
    "Recover";  // restore beside, recover, verify, promote, archive, exchange
inline constexpr const char* kUndo =
    "Undo";  // exchanges back what Recover exchanged; removes a half-done sibling
inline constexpr const char* kFence =
    "Fence";  // waits for the clean stop, then makes the volume read-only for servers
inline constexpr const char* kUnfence = "Unfence";  // takes the fence off again
inline constexpr const char* kLeave = "Leave";      // takes away what Setup made on a stopped member's volume
inline constexpr const char* kRecord = "Record";    // transcript and outcome into the repository
}  // namespace jobs

namespace secrets {
inline constexpr const char* kDirectory = "/pgrunbook-secrets";
inline constexpr const char* kRolePassword = "role-password";  // of the role pgrunbook
inline constexpr const char* kAppUser = "app-user";            // the application's role
inline constexpr const char* kAppPassword = "app-password";
}  // namespace secrets

// Whose work it is.
struct ActionRef {
  std::string kind, name, uid;
  std::string spec_hash;  // SHA-256 of the spec without approvedPlan and cancel, first 16 hex digits
};

// The repository as seen inside the Job's pod: <mount>/<path>/<topology>.
struct RepositoryRef {
  std::string path;          // absolute
  std::string topology;      // name
  std::string topology_uid;  // owner; a repository of another uid is refused
};

// A member's data as seen inside the Job's pod. Volumes are mounted where the member mounts them.
struct MemberRef {
  std::string name;
  std::string mount;  // mount path of the volume that holds the data directory, e.g. /var/lib/pgsql/data
  std::string data_directory;  // e.g. /var/lib/pgsql/data/userdata
  std::string claim_uid;       // uid of the PersistentVolumeClaim: the writer's identity in the repository
  std::string archive_mount_repository;  // the repository's path as the member's own container sees it
  std::string host;                      // address to connect to; empty for a stopped member
  int port = 5432;
};

struct SetupOrder {
  bool put_back = false;          // undo a setup whose proof segment did not arrive
  bool replace_existing = false;  // a foreign archive_command may be replaced
  int archive_timeout = 60;       // seconds
  int attempt = 1;                // of the topology's setups; each keeps files of its own to put back
};

struct BackupOrder {
  std::string id;  // e.g. 20261120T150405Z-1a2b3c4d (time of planning, first 8 of the action's uid)
  std::string checkpoint = "Fast";  // Fast | Spread
  std::string max_rate;             // pg_basebackup --max-rate, empty = none
  std::string compression = "zstd";
  int level = 1;
  std::string verify = "Manifest";  // Manifest | None
};

// The target as asked, by the names of spec.recoveryTarget: at most one of the first five, none = the latest
// moment; exclusive only with time, lsn or xid; any of them along a certain timeline.
struct TargetOrder {
  std::string time{};  // RFC 3339
  std::string lsn{};
  std::string xid{};   // as written: 32 bits, or 64 with the epoch
  std::string name{};  // of a restore point
  bool immediate = false;
  std::optional<bool> exclusive{};  // not said is not the same as false: see TargetQuestion
  int timeline = 0;                 // 0 = the live one

  [[nodiscard]] bool latest() const;
  // One short line for people: "latest", "2026-11-20T15:00:00Z", "before xid 745, timeline 1".
  [[nodiscard]] std::string asked() const;
};
[[nodiscard]] Json to_json(const TargetOrder& target);
[[nodiscard]] Result<TargetOrder> target_from_json(const Json& json);
// The xid without its epoch, as WAL has it. kInvalid for text that is no transaction's number.
[[nodiscard]] Result<std::uint32_t> xid_of(const std::string& text);

struct Query {
  std::string sql, expect;
};

// A restore point that was set on a running server.
struct Mark {
  std::string name{};
  std::string lsn{};  // the end of its record
};

struct PlanOrder {
  std::string method;     // "" | Base: what a backup is about to do | Ledger: only whether it was done before
  std::string backup_id;  // restore: the backup to use, empty = the newest that can reach the target
  TargetOrder target;
  int timeline = 0;       // of the living primary; 0 = what the repository says is live
  std::string candidate;  // cutover: member whose timeline is to become live
  int candidate_timeline = 0;
  std::vector<std::string> wait_for;  // segments that must have arrived first (marker, switch, wait)
  Mark mark{};                        // must be in them; empty = nothing is looked for
  int wait_seconds = 60;
  std::vector<std::string> counts;  // tables to count before and after, as information
  bool onto_member = false;         // restore: whether the member's volume and image can take it
  // The member's volume is mounted read-only: its WAL counts as well. For a cutover: from a stopped primary.
  bool read_volume = false;
  std::string salvage;  // uid of the action whose salvaged WAL counts as well
};

struct RecoverOrder {
  std::string backup_id;
  int timeline = 1;
  std::string target_lsn;      // start of the last included commit record, inclusive
  std::string reached_lsn;     // end of that record: replayed at least to here
  std::vector<Query> queries;  // run as the application's role, read-only, 60 s each
  std::vector<std::string> counts;
  std::string database;  // where queries run
  int memory_mib = 0;    // of the Job's limit; 0 = unknown
  std::string salvage;   // uid of the action whose salvaged last segment may be replayed
};

struct FenceOrder {
  int wait_seconds = 600;  // for "shut down" in pg_control
  int timeline = 0;        // the candidate's, which becomes live; the old one becomes abandoned
  std::string fork_lsn;    // where the candidate's timeline left the old one: for the data at stake
  // Of a dead primary, instead of the clean stop: the action that salvaged it. Its WAL must still end where
  // that action found its end.
  std::string salvage;
};

struct RecordOrder {
  std::string outcome;  // Completed | Failed | Cancelled
  std::string reason;
  std::string transcript_file;  // mounted ConfigMap
  Json summary;                 // what a later AlreadyDone shows
};

struct Order {
  int format = kOrderFormat;
  std::string job;
  ActionRef action;
  RepositoryRef repository;
  std::optional<MemberRef> member;  // the one whose volume is mounted, or that is connected to
  std::string pod_uid;              // filled by the agent from PGRUNBOOK_POD_UID
  std::string agent_path;           // where the running agent is, to install it on the member's volume
  SetupOrder setup;
  BackupOrder backup;
  PlanOrder plan;
  RecoverOrder recover;
  FenceOrder fence;
  RecordOrder record;
  Json undo;   // Undo: the Answer of Recover, as far as known
  Json leave;  // Leave: {running: bool, former: {name: value}}, what postgresql.auto.conf held before setup
};

[[nodiscard]] Json to_json(const Order& order);
[[nodiscard]] Result<Order> order_from_json(const Json& json);

enum class Outcome {
  kSucceeded,
  kRefused,  // nothing was touched
  kFailed,   // something was touched and has been put back by the Job itself, or is harmless
  kBlocked,  // something was touched and a person must look; the message says what
};

struct Answer {
  Outcome outcome = Outcome::kFailed;
  std::string reason;   // CamelCase
  std::string message;  // one sentence
  std::string hint;
  Json result = Json::object();
};

[[nodiscard]] Json to_json(const Answer& answer);
[[nodiscard]] Result<Answer> answer_from_json(const Json& json);

// One line of stdout.
struct Progress {
  std::string step;     // "copy", "verify", "replay", ...
  std::string message;  // a sentence
  std::int64_t bytes_done = 0, bytes_total = 0;
};
[[nodiscard]] Json to_json(const Progress& progress);
[[nodiscard]] Result<Progress> progress_from_json(const Json& json);

// Results, by job (fields of Answer::result; an absent field is unknown):
//   Setup    {systemIdentifier, timeline, majorVersion, agentPath, agentSha256, archiveCommand,
//   previousArchiveCommand, previousSettings {name: value},
//             role: Created|Updated, settings: {name: value}}
//   Proof    {segments: [..], newestSegment, newestTimeline}
//   Plan     all:     {systemIdentifier, alreadyDone: bool, alreadyTried: bool, ledger: {...}, freeBytes}
//            restore: {backupID, backupEndLSN, backupStopTime, timeline, targetLSN, reachedLSN, included
//            {xid, time, lsn},
//                      excluded {xid, time, lsn}?, walBegin, walEnd, segments, databaseBytes, archivedUntil
//                      {lsn, time}}
//                      with readVolume: salvage {endLSN, segments, last, transactions, lastCommit, words}
//            cutover: {forkLSN, parentTimeline, atStake {transactions, fromLSN, toLSN, since, until}}
//                      with readVolume: salvage, salvagedTo
//   Salvage  {salvage, endLSN, timeline, systemIdentifier, segments, last, transactions, lastCommit {xid,
//            time, lsn}?}
//   Backup   {backupID, beginLSN, endLSN, beginWAL, endWAL, timeline, systemIdentifier, majorVersion,
//   databaseBytes,
//             storedBytes, location, verified, configurationFiles: [..], startTime, stopTime}
//   Recover  {newTimeline, forkLSN, systemIdentifier, replayedLSN, undoDirectory, undoBytes, databaseBytes,
//             queries: [{sql, expect, got}], counts: {table: n}, pushed: [..], databases: [..]}
//   Undo     {exchanged: bool, keptDirectory: the restored copy, where it had been started}
//   Fence    {state, checkpointLSN or salvagedTo, timeline, atStake {transactions, fromLSN, toLSN}}
//   Unfence  {}
//   Leave    {role: Dropped|NotThere|LeftBehindTheFence, settings, pgHba: PutBack|Unchanged}
//   Record   {path}

}  // namespace pgrunbook::api
