#include "agent/target.hpp"

#include <fmt/format.h>

namespace pgrunbook::agent {
namespace {

using postgres::WalRecord;
using postgres::WalRecordKind;

}  // namespace

std::string TargetResolver::nearest_below() const {
  if (last_commit_ && last_commit_->end >= question_.backup_end) {
    return fmt::format("the latest possible targetTime is {}", base::format_time_micro(last_commit_->time));
  }
  return fmt::format("the only possible target is the end of backup {}: {}", question_.backup_id,
                     base::format_time_micro(question_.backup_stop));
}

base::Result<bool> TargetResolver::feed(const WalRecord& r) {
  if (excluded_) return false;
  switch (r.kind) {
    case WalRecordKind::kCommit:
    case WalRecordKind::kAbort:
      if (question_.time && r.time > *question_.time) {
        excluded_ = r;
        return false;
      }
      if (r.kind == WalRecordKind::kCommit) stop_ = last_commit_ = r;
      break;
    case WalRecordKind::kPrepare:
      stop_ = r;
      break;  // a prepared transaction comes back prepared
    case WalRecordKind::kBackupEnd:
      if (r.backup_start == question_.backup_start) backup_end_ = r;
      break;
    case WalRecordKind::kParameterChange: {
      auto level = r.settings.find("wal_level");
      if (level != r.settings.end() && level->second == "minimal") {
        return base::fail(base::refused(
            "WalLevelMinimal",
            fmt::format(
                "at {} the server was started with wal_level = minimal: WAL from there on cannot be replayed",
                r.start.text()),
            nearest_below() + "; or use a backup made after that"));
      }
      break;
    }
    case WalRecordKind::kTablespaceCreate:
      return base::fail(base::refused(
          "TablespaceInWal",
          fmt::format("at {} a tablespace was made in {}: a restore would have to write there",
                      r.start.text(), r.path),
          nearest_below() +
              "; or use a backup made after that, once backups with tablespaces are supported"));
    case WalRecordKind::kOther:
      break;
  }
  return true;
}

base::Result<TargetAnswer> TargetResolver::finish(const WalEnd& end) const {
  if (excluded_ && excluded_->start < question_.backup_end) {
    return base::fail(base::refused(
        "TargetBeforeBackup",
        fmt::format(
            "target {} lies before the end of backup {}: PostgreSQL would silently give a later state",
            base::format_time_micro(*question_.time), question_.backup_id),
        fmt::format("the earliest possible targetTime with this backup is {}; or name an older backup",
                    base::format_time_micro(question_.backup_stop))));
  }
  TargetAnswer answer;
  answer.excluded = excluded_;
  answer.included = last_commit_;
  bool complete = backup_end_ || (stop_ && stop_->end >= question_.backup_end);
  if (!excluded_) {
    if (!complete) {
      return base::fail(
          base::refused("WalGap",
                        fmt::format("the archive lacks WAL up to {}, the end of backup {}{}{}",
                                    question_.backup_end.text(), question_.backup_id,
                                    end.missing_segment.empty() ? "" : "; the first missing segment is ",
                                    end.missing_segment),
                        "use another backup, or bring the missing segments into the archive"));
    }
    if (question_.time && !end.missing_segment.empty()) {
      return base::fail(base::refused(
          "WalGap",
          fmt::format("target {} lies behind a gap in the archive; the first missing segment is {}",
                      base::format_time_micro(*question_.time), end.missing_segment),
          nearest_below()));
    }
    if (question_.time && !end.proven_current) {
      return base::fail(base::refused("TargetAfterArchive",
                                      fmt::format("target {} lies after the last transaction in the archive",
                                                  base::format_time_micro(*question_.time)),
                                      nearest_below() + "; or leave out targetTime to get the latest state"));
    }
  }
  // Nothing before the backup's consistent point can be stopped at: there the target is that point itself.
  bool before_consistent = !stop_ || (backup_end_ && stop_->start < backup_end_->start);
  if (before_consistent) {
    if (!backup_end_) {
      return base::fail(
          base::refused("NoConsistentPoint",
                        fmt::format("the WAL of backup {} holds no end-of-backup record before the target",
                                    question_.backup_id),
                        "choose a later targetTime, or another backup"));
    }
    answer.stop = *backup_end_;
    return answer;
  }
  answer.stop = *stop_;
  return answer;
}

base::Result<TargetAnswer> resolve_target(const TargetQuestion& question,
                                          const std::vector<WalRecord>& records, const WalEnd& end) {
  TargetResolver resolver(question);
  for (const WalRecord& r : records) {
    PGR_ASSIGN(bool more, resolver.feed(r));
    if (!more) break;
  }
  return resolver.finish(end);
}

}  // namespace pgrunbook::agent
