// Plan: reads catalogue, ledger and WAL, and says what an action would do, before anything is touched.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/target.hpp"
#include "archive/repository.hpp"
#include "base/result.hpp"
#include "base/time.hpp"

namespace pgrunbook::agent {

// The timeline a restore follows: `asked` where it is not 0, else the one in state live. Refused:
// AmbiguousTimeline where more than one is live, or none and there are several; UnknownTimeline where the
// repository does not have it.
[[nodiscard]] base::Result<postgres::TimelineId> choose_timeline(const archive::RepositoryRecord& record,
                                                                 int asked);

struct BackupChoice {
  std::vector<archive::BackupRecord> candidates;  // best first: the newest that ended before the target
};
// Before what a backup must have ended; nothing = any backup will do.
struct BackupBound {
  std::optional<base::SystemTime> time{};
  std::optional<postgres::Lsn> lsn{};
  std::string words{};  // of the target
  bool record = false;  // `lsn` is where a record was found, not what was asked for
};
// Backups that can be the beginning of a restore along `history`. A backup is chosen by where it ended, never
// by where it began; one made on an ancestor counts only if it ended before the fork. Refused: NoBackup,
// UnknownBackup, BackupOnOtherTimeline, TargetBeforeBackup.
[[nodiscard]] base::Result<BackupChoice> choose_backups(const std::vector<archive::BackupEntry>& backups,
                                                        const postgres::TimelineHistory& history,
                                                        const std::string& asked, const BackupBound& bound);

// Commits of a timeline that was left: was the target's time lived through there? Then "the state at that
// time" means other rows than the ones on the live timeline.
struct AbandonedBranch {
  postgres::TimelineId timeline;
  postgres::Lsn fork;  // where the chosen history left it, or where it left the history
  std::optional<base::SystemTime> first{}, last{};  // of its commits behind the fork
};
// Where two histories part: the end of what both have. 0/0 where they share nothing.
[[nodiscard]] postgres::Lsn parting(const postgres::TimelineHistory& a, const postgres::TimelineHistory& b);

// Refused, reason TargetOnAbandonedTimeline, naming the nearest possible targets.
[[nodiscard]] base::Result<> check_branch(const AbandonedBranch& branch, base::SystemTime target,
                                          const TargetAnswer& answer, postgres::TimelineId chosen);

}  // namespace pgrunbook::agent
