// From the target a person asks for to the place in the WAL where recovery stops: PostgreSQL's own rule,
// worked out beforehand.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/time.hpp"
#include "postgres/waldump.hpp"

namespace pgrunbook::agent {

// At most one of time, lsn, record and immediate; none = the latest moment.
struct TargetQuestion {
  // Everything up to the first commit or abort that is later; with `exclusive` the first that is not earlier.
  std::optional<base::SystemTime> time{};
  // Every transaction whose commit record ends at or before this place: what pg_current_wal_lsn() had behind
  // it when it was noted. A place within a commit record (or at its start, as pg_waldump shows it) can mean
  // both: `exclusive` true leaves that one out, false includes it, and not said it is refused.
  std::optional<postgres::Lsn> lsn{};
  // Up to and including the record that starts here, found beforehand: a commit (with `exclusive`: all before
  // it), or a restore point.
  std::optional<postgres::Lsn> record{};
  bool immediate = false;  // the backup's own consistent point
  std::optional<bool> exclusive{};
  std::string record_words{};  // what `record` is: "transaction 745"
  std::string backup_id{};
  postgres::Lsn backup_start{}, backup_end{};
  base::SystemTime backup_stop{};

  // "target 2026-11-20T15:00:00.000000Z", "target LSN 0/3000148", "transaction 745"
  [[nodiscard]] std::string words() const;
};

// What is known about the end of the WAL that was read.
struct WalEnd {
  std::string missing_segment{};  // the first one that is not there although a later one is; empty = no gap
  bool proven_current =
      false;  // WAL was switched after the target's time and has arrived: silence means nothing happened
  postgres::Lsn until{};  // every record before it was read
};

struct TargetAnswer {
  postgres::WalRecord stop;  // replayed last: recovery_target_lsn = stop.start, reached = stop.end
  std::optional<postgres::WalRecord>
      included;  // the last commit; empty = none since the backup's consistent point
  std::optional<postgres::WalRecord> excluded;  // the commit or abort at which PostgreSQL would have stopped
};

// Takes the records from the backup's begin on, in WAL order. PostgreSQL (recoveryStopsBefore) stops at the
// first commit or abort record whose time exceeds the target; commit times do not rise monotonically in WAL,
// so this is not "all commits up to that time".
class TargetResolver {
 public:
  explicit TargetResolver(TargetQuestion question) : question_(std::move(question)) {}
  // False once the stop is found: nothing after it matters. Refused: WalLevelMinimal, TablespaceInWal,
  // AmbiguousTarget.
  [[nodiscard]] base::Result<bool> feed(const postgres::WalRecord& record);
  // Refused, each naming the nearest possible target: TargetBeforeBackup, TargetAfterArchive, WalGap,
  // NoConsistentPoint.
  [[nodiscard]] base::Result<TargetAnswer> finish(const WalEnd& end) const;
  // The last commit so far.
  [[nodiscard]] const std::optional<postgres::WalRecord>& last_commit() const { return last_commit_; }

 private:
  enum class Side { kIncluded, kBehind, kUnclear };
  [[nodiscard]] Side side(const postgres::WalRecord& record) const;
  // Behind the last record that counts: only the first transaction left out is still looked for.
  [[nodiscard]] bool settled(const postgres::WalRecord& record) const;
  [[nodiscard]] std::string nearest_below(postgres::Lsn known) const;
  [[nodiscard]] std::optional<base::Error> before_backup() const;
  [[nodiscard]] std::optional<base::Error> behind_end(const WalEnd& end) const;

  TargetQuestion question_;
  std::optional<postgres::WalRecord> stop_, last_commit_, excluded_, backup_end_;
  postgres::Lsn seen_;        // end of the newest record
  bool record_seen_ = false;  // question_.record
};

[[nodiscard]] base::Result<TargetAnswer> resolve_target(const TargetQuestion& question,
                                                        const std::vector<postgres::WalRecord>& records,
                                                        const WalEnd& end);

}  // namespace pgrunbook::agent
