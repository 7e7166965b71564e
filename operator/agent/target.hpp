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

struct TargetQuestion {
  std::optional<base::SystemTime> time;  // empty = latest
  std::string backup_id;
  postgres::Lsn backup_start, backup_end;
  base::SystemTime backup_stop{};
};

// What is known about the end of the WAL that was read.
struct WalEnd {
  std::string missing_segment{};  // the first one that is not there although a later one is; empty = no gap
  bool proven_current =
      false;  // WAL was switched after the target's time and has arrived: silence means nothing happened
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
  // False once the stop is found: nothing after it matters. Refused: WalLevelMinimal, TablespaceInWal.
  [[nodiscard]] base::Result<bool> feed(const postgres::WalRecord& record);
  // Refused, each naming the nearest possible target: TargetBeforeBackup, TargetAfterArchive, WalGap,
  // BackupIncomplete.
  [[nodiscard]] base::Result<TargetAnswer> finish(const WalEnd& end) const;
  // The last commit so far.
  [[nodiscard]] const std::optional<postgres::WalRecord>& last_commit() const { return last_commit_; }

 private:
  [[nodiscard]] std::string nearest_below() const;

  TargetQuestion question_;
  std::optional<postgres::WalRecord> stop_, last_commit_, excluded_, backup_end_;
};

[[nodiscard]] base::Result<TargetAnswer> resolve_target(const TargetQuestion& question,
                                                        const std::vector<postgres::WalRecord>& records,
                                                        const WalEnd& end);

}  // namespace pgrunbook::agent
