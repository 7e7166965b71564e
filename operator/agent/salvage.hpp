// What a dead primary's pg_wal holds that the archive does not, and the WAL that a restore may use with it.
//
// Nothing is believed by `.ready` files, names or pg_control (which may be destroyed): a segment counts as
// far as an unbroken chain of valid records reaches (walk_wal). A segment is complete when the chain leads
// out of it; the server, started again, never changes such a one, so it may lie in the archive under its
// final name. The last, incomplete one it would finish with other bytes: it goes to salvage/<action uid>/
// instead.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/wal_reader.hpp"
#include "api/job.hpp"
#include "archive/repository.hpp"
#include "base/result.hpp"

namespace pgrunbook::agent {

// Found on a volume.
struct UnarchivedWal {
  postgres::TimelineId timeline;
  std::uint64_t system_identifier = 0;
  postgres::Lsn end;                            // behind the last valid record
  std::vector<archive::SegmentRef> complete{};  // rising, those that the archive lacks
  std::optional<archive::SegmentRef> last{};    // the incomplete one that holds `end`
  std::string words{};                          // why it ends there
  // A segment that was written behind `end`. A server syncs a segment before it opens the next: so this is no
  // end, but damage, and what was written behind it is not read. Nothing where it is the end.
  std::optional<archive::SegmentRef> behind{};
  // The beginning of the first segment that the archive lacks; nothing where it lacks none.
  [[nodiscard]] std::optional<postgres::Lsn> begin(std::uint64_t segment_size) const;
};

// Of one that has `behind`.
[[nodiscard]] std::string damage_words(const UnarchivedWal& wal);

// salvage/<action uid>/salvage.json
struct SalvageRecord {
  std::string action_uid, member, writer;  // writer: uid of the claim it was read from
  postgres::TimelineId timeline;
  std::uint64_t system_identifier = 0;
  postgres::Lsn end;
  std::vector<std::string> segments;  // complete ones that were put into the archive
  std::string last;                   // the incomplete one beside salvage.json; empty = none
  std::int64_t transactions = 0;      // committed in what was salvaged
  base::Json last_commit;             // {xid, time, lsn}, null = none in it
};
[[nodiscard]] base::Json to_json(const SalvageRecord& record);
[[nodiscard]] base::Result<SalvageRecord> salvage_from_json(const base::Json& json);
// kNotFound where that action salvaged nothing.
[[nodiscard]] base::Result<SalvageRecord> read_salvage(const archive::Repository& repository,
                                                       const std::string& action_uid);
// Finished ones of a timeline, read from that claim.
[[nodiscard]] base::Result<std::vector<SalvageRecord>> salvages_of(const archive::Repository& repository,
                                                                   postgres::TimelineId timeline,
                                                                   const std::string& writer);

// Walks pg_wal on `timeline` from the archive's newest segment before the first that the archive lacks. The
// directory is only read. Refused: NoWal (no file of that timeline), OtherTimeline (the server has gone on to
// a timeline the repository does not know as that one's), WalGap (segments between archive and pg_wal are
// nowhere), ForeignWal (the archive has another server's segment under the name of one that is here).
[[nodiscard]] base::Result<UnarchivedWal> find_unarchived(const archive::Repository& repository,
                                                          postgres::TimelineId timeline,
                                                          const std::string& pg_wal);

// The archive's WAL together with what was, or could be, salvaged.
class WalSource {
 public:
  explicit WalSource(const archive::Repository& repository) : repository_(&repository) {}
  // With the segments on a mounted volume, as they would be salvaged.
  void add(UnarchivedWal wal, const std::string& pg_wal);
  // With the last segment that an action salvaged.
  void add(const SalvageRecord& record);
  // As Repository::walk; ends at the salvaged end where that is the end.
  [[nodiscard]] base::Result<archive::Walk> walk(const postgres::TimelineHistory& history,
                                                 postgres::Lsn begin) const;
  [[nodiscard]] PlaceSegment place() const;
  // Behind this nothing was ever written on the salvaged timeline. Empty: nothing was salvaged.
  [[nodiscard]] std::optional<postgres::Lsn> end() const { return end_; }

 private:
  struct Extra {
    archive::SegmentRef segment;
    std::string path;  // stored (.zst) or raw
    bool stored = false;
    bool complete = true;
  };
  [[nodiscard]] const Extra* extra(const std::string& name) const;
  const archive::Repository* repository_;
  std::vector<Extra> extras_;
  std::optional<postgres::Lsn> end_;
};

struct Commits {
  std::int64_t count = 0;
  std::optional<postgres::WalRecord> last;
  std::optional<base::SystemTime> first_time, last_time;
};
// Commit records that start in [from, to) on a timeline. kCorrupt where WAL up to `to` is not there, or is
// unreadable: never a number that was not counted.
[[nodiscard]] base::Result<Commits> commits_between(const WalSource& source,
                                                    const archive::Repository& repository,
                                                    postgres::TimelineId timeline, postgres::Lsn from,
                                                    postgres::Lsn to, int major);

// {xid, time, lsn} of a record; null where there is none.
[[nodiscard]] base::Json commit_json(const std::optional<postgres::WalRecord>& record);

}  // namespace pgrunbook::agent
