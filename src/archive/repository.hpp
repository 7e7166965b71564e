// A repository: the catalogue of one topology's backups, WAL, timelines and actions, on a mounted volume.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "archive/backup_record.hpp"
#include "archive/layout.hpp"
#include "archive/volume_store.hpp"
#include "base/json.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "postgres/timeline.hpp"
#include "postgres/wal_name.hpp"
#include "postgres/wal_page.hpp"

namespace pgrunbook::archive {

enum class TimelineState {
  kLive,       // the primary writes on it
  kPrepared,   // made by a recovery, its server is not yet the primary
  kAbandoned,  // was live; another one took over
  kRetired,    // never became live and never will
};
[[nodiscard]] std::string_view to_string(TimelineState state);

struct TimelineRecord {
  postgres::TimelineId timeline;
  postgres::TimelineId parent;  // invalid for the first
  postgres::Lsn fork;
  std::string maker;  // uid of the action that made it; empty for the first
  TimelineState state = TimelineState::kLive;
  std::string writer;  // uid of the claim whose server writes it; from writer.json, never stored in here
};

// repository.json
struct RepositoryRecord {
  int format = 1;
  std::string topology, topology_uid;
  std::vector<std::uint64_t> system_identifiers;
  std::uint64_t segment_size = 0;
  int major_version = 0;  // 0 = not checked
  std::vector<TimelineRecord> timelines;

  [[nodiscard]] const TimelineRecord* find(postgres::TimelineId timeline) const;
  [[nodiscard]] TimelineRecord* find(postgres::TimelineId timeline);
  // The one in state live; nullptr where there is none (before the first setup is proven).
  [[nodiscard]] const TimelineRecord* live() const;
};

struct Owner {
  std::string topology, topology_uid;
};

struct SegmentRef {
  postgres::TimelineId timeline;
  std::uint64_t number = 0;
  std::string name;
  auto operator<=>(const SegmentRef&) const = default;
};

// A run of segments along a timeline's history.
struct Walk {
  std::vector<SegmentRef> segments;
  postgres::Lsn begin, end;  // end: the first byte behind the last segment; = begin where there is none
  std::optional<SegmentRef> missing;  // the first that is not there
  bool gap = false;                   // segments behind `missing` do exist
};

struct BackupEntry {
  std::string id;
  std::optional<BackupRecord> record;  // nothing: unfinished, or unreadable
  std::string problem;                 // why there is no record
};

struct LedgerEntry {
  base::Json content;                 // as published
  std::optional<base::Json> outcome;  // as finished
  bool ours = false;                  // published by this call
};

class Repository {
 public:
  // Opens what is there. kNotFound where there is no repository.json. With an owner: kRefused, reason
  // RepositoryOfAnother, where it belongs to another topology's uid. With a system identifier: kRefused,
  // reason SystemIdentifierMismatch, where it is none of the repository's.
  [[nodiscard]] static base::Result<Repository> open(const std::string& path);
  // Without the writers of the timelines, which cost a file each: for the two commands a server calls per
  // segment.
  [[nodiscard]] static base::Result<Repository> open_quickly(const std::string& path);
  [[nodiscard]] static base::Result<Repository> open(const std::string& path, const Owner& owner,
                                                     std::optional<std::uint64_t> system_identifier = {});
  // Opens, or makes it where `path` is missing or empty: exactly one of two callers makes it, both get it.
  // kRefused, reason RepositoryNotEmpty, where `path` has content but no repository.json. Its first timeline
  // is `timeline`, live, without parent.
  [[nodiscard]] static base::Result<Repository> create(const std::string& path, const Owner& owner,
                                                       std::uint64_t system_identifier,
                                                       std::uint64_t segment_size, int major_version,
                                                       postgres::TimelineId timeline);

  [[nodiscard]] const Layout& layout() const { return layout_; }
  // As read when it was opened, with writers filled in; reload() reads again.
  [[nodiscard]] const RepositoryRecord& record() const { return record_; }
  [[nodiscard]] std::uint64_t segment_size() const { return record_.segment_size; }
  [[nodiscard]] base::Result<> reload();
  // What every segment of this repository must be.
  [[nodiscard]] postgres::WalExpectation expectation() const;
  // The same for one file, with the history of its timeline where the repository has it.
  [[nodiscard]] postgres::WalExpectation expectation_of(const postgres::WalName& name) const;

  // --- timelines
  // ----------------------------------------------------------------------------------------------- Changes
  // repository.json under its lock (which dies with its holder): reads, applies, replaces atomically.
  [[nodiscard]] base::Result<> update(const std::function<base::Result<>(RepositoryRecord*)>& change);
  // Adds a timeline; the same one by the same maker again is fine, by another maker kConflict
  // (TimelineTaken).
  [[nodiscard]] base::Result<> add_timeline(const TimelineRecord& timeline);
  [[nodiscard]] base::Result<> set_timeline_state(postgres::TimelineId timeline, TimelineState state);
  // Whose volume writes a timeline: the first claim wins for ever. kRefused, reason TimelineOfAnotherWriter.
  [[nodiscard]] base::Result<> claim_writer(postgres::TimelineId timeline,
                                            const std::string& claim_uid) const;
  // Empty where nobody has claimed it.
  [[nodiscard]] base::Result<std::string> writer_of(postgres::TimelineId timeline) const;
  // From the archived .history file; for a first timeline (number 1, or one without parent in the record) no
  // file is needed. kNotFound where a file is needed and missing.
  [[nodiscard]] base::Result<postgres::TimelineHistory> history(postgres::TimelineId timeline) const;
  // Every timeline that has a .history file or segments, rising.
  [[nodiscard]] base::Result<std::vector<postgres::TimelineId>> archived_timelines() const;

  // --- WAL
  // -----------------------------------------------------------------------------------------------------
  // Complete segments of one timeline, rising. Nothing but names is looked at.
  [[nodiscard]] base::Result<std::vector<SegmentRef>> segments(postgres::TimelineId timeline) const;
  [[nodiscard]] base::Result<std::optional<SegmentRef>> newest_segment(postgres::TimelineId timeline) const;
  [[nodiscard]] base::Result<bool> has_segment(const SegmentRef& segment) const;
  [[nodiscard]] SegmentRef segment_at(const postgres::TimelineHistory& history, postgres::Lsn lsn) const;
  // Follows the history from the segment that contains `begin` as long as segments are there, at most to the
  // one whose bytes end at or behind `until`. From a fork's segment on, only the child's file counts.
  [[nodiscard]] base::Result<Walk> walk(const postgres::TimelineHistory& history, postgres::Lsn begin,
                                        std::optional<postgres::Lsn> until = {}) const;
  // Holds a stored segment's header and length against its name and this repository.
  [[nodiscard]] base::Result<postgres::WalPageHeader> check_stored(const postgres::WalName& name) const;
  // Stores a file of pg_wal under its name, put-if-absent, after its header (a history: its lines) was held
  // against name and repository. kTimeout where it is not done by the deadline; then nothing is stored.
  [[nodiscard]] base::Result<Put> put_wal(const std::string& source, const postgres::WalName& name,
                                          std::optional<base::Deadline> deadline = {}) const;

  // --- backups
  // ------------------------------------------------------------------------------------------------- Sorted
  // by id, i.e. by time. A backup without a readable backup.json is listed without a record.
  [[nodiscard]] base::Result<std::vector<BackupEntry>> backups() const;
  [[nodiscard]] base::Result<BackupRecord> backup(const std::string& id) const;

  // --- ledger
  // --------------------------------------------------------------------------------------------------
  // Put-if-absent; whoever comes second gets the first one's content.
  [[nodiscard]] base::Result<LedgerEntry> publish_action(const ActionKey& key,
                                                         const base::Json& content) const;
  [[nodiscard]] base::Result<std::optional<LedgerEntry>> find_action(const ActionKey& key) const;
  // The first outcome stands; returns the one that does.
  [[nodiscard]] base::Result<base::Json> finish_action(const ActionKey& key, const base::Json& outcome) const;

 private:
  explicit Repository(std::string path) : layout_(std::move(path)) {}
  Layout layout_;
  RepositoryRecord record_;
};

}  // namespace pgrunbook::archive
