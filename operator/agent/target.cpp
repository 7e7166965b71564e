#include "agent/target.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace pgrunbook::agent {

using base::refused;
using postgres::Lsn;
using postgres::WalRecord;
using postgres::WalRecordKind;

std::string TargetQuestion::words() const {
  if (time) return "target " + base::format_time_micro(*time);
  if (lsn) return "target LSN " + lsn->text();
  return record_words.empty() ? "the target" : record_words;
}

std::string TargetResolver::nearest_below(Lsn known) const {
  if (question_.lsn && known > question_.backup_end) {
    return fmt::format("the latest possible targetLSN is {}", known.text());
  }
  if (last_commit_ && last_commit_->end >= question_.backup_end) {
    // Not its time: without more WAL nobody knows whether another one committed in that very moment.
    return fmt::format(
        "the latest possible target is targetLSN: {}, the end of the last transaction there ({})",
        last_commit_->end.text(), base::format_time_micro(last_commit_->time));
  }
  return fmt::format("the only possible target is the end of backup {}: {}", question_.backup_id,
                     base::format_time_micro(question_.backup_stop));
}

TargetResolver::Side TargetResolver::side(const WalRecord& r) const {
  bool before = question_.exclusive.value_or(false);
  if (question_.time) {
    if (r.kind == WalRecordKind::kPrepare) return Side::kIncluded;
    return r.time > *question_.time || (before && r.time == *question_.time) ? Side::kBehind
                                                                             : Side::kIncluded;
  }
  if (question_.lsn) {
    if (r.end <= *question_.lsn) return Side::kIncluded;
    if (r.start > *question_.lsn) return Side::kBehind;
    if (!question_.exclusive) return Side::kUnclear;
    return before ? Side::kBehind : Side::kIncluded;
  }
  if (question_.record) {
    if (r.start == *question_.record) return before ? Side::kBehind : Side::kIncluded;
    return r.start < *question_.record ? Side::kIncluded : Side::kBehind;
  }
  return question_.immediate && backup_end_ ? Side::kBehind : Side::kIncluded;
}

bool TargetResolver::settled(const WalRecord& r) const {
  if (question_.lsn) return r.start >= *question_.lsn;
  if (question_.record) return r.start > *question_.record;
  return question_.immediate && backup_end_.has_value();
}

base::Result<bool> TargetResolver::feed(const WalRecord& r) {
  if (excluded_) return false;
  if (question_.record && r.start >= *question_.record) record_seen_ = true;
  switch (r.kind) {
    case WalRecordKind::kCommit:
    case WalRecordKind::kAbort:
    case WalRecordKind::kPrepare: {
      Side where = side(r);
      if (where == Side::kUnclear && r.kind != WalRecordKind::kAbort) {
        return base::fail(refused(
            "AmbiguousTarget",
            fmt::format("target LSN {} lies where the {} of transaction {} ({}) is written: it may mean the "
                        "moment before it or after it",
                        question_.lsn->text(), r.kind == WalRecordKind::kCommit ? "commit" : "PREPARE", r.xid,
                        base::format_time_micro(r.time)),
            "add exclusive: true to leave that transaction out, as for an LSN noted with "
            "pg_current_wal_lsn() before it; or exclusive: false to include it"));
      }
      if (where == Side::kIncluded) {
        if (r.kind == WalRecordKind::kCommit) last_commit_ = r;
        if (r.kind != WalRecordKind::kAbort) stop_ = r;  // a prepared transaction comes back prepared
      } else if (r.kind == WalRecordKind::kCommit || (r.kind == WalRecordKind::kAbort && question_.time)) {
        excluded_ = r;
        return false;
      }
      break;
    }
    case WalRecordKind::kBackupEnd:
      if (r.backup_start == question_.backup_start) backup_end_ = r;
      break;
    case WalRecordKind::kRestorePoint:
      if (question_.record && r.start == *question_.record) stop_ = r;
      break;
    case WalRecordKind::kParameterChange: {
      if (settled(r)) return false;
      auto level = r.settings.find("wal_level");
      if (level != r.settings.end() && level->second == "minimal") {
        return base::fail(refused(
            "WalLevelMinimal",
            fmt::format(
                "at {} the server was started with wal_level = minimal: WAL from there on cannot be replayed",
                r.start.text()),
            nearest_below(r.start) + "; or use a backup made after that"));
      }
      break;
    }
    case WalRecordKind::kTablespaceCreate:
      if (settled(r)) return false;
      return base::fail(
          refused("TablespaceInWal",
                  fmt::format("at {} a tablespace was made in {}: a restore would have to write there",
                              r.start.text(), r.path),
                  nearest_below(r.start) +
                      "; or use a backup made after that, once backups with tablespaces are supported"));
    case WalRecordKind::kOther:
      break;
  }
  seen_ = std::max(seen_, r.end);
  return true;
}

std::optional<base::Error> TargetResolver::before_backup() const {
  std::string earliest;
  if (question_.time && excluded_ && excluded_->start < question_.backup_end) {
    earliest = "the earliest possible targetTime with this backup is " +
               base::format_time_micro(question_.backup_stop);
  } else if (question_.lsn && *question_.lsn < question_.backup_end) {
    earliest = "the earliest possible targetLSN with this backup is " + question_.backup_end.text();
  } else if (question_.record && *question_.record < question_.backup_end) {
    earliest = "the earliest possible state with this backup is targetImmediate: true";
  } else {
    return std::nullopt;
  }
  return refused("TargetBeforeBackup",
                 fmt::format("{} lies before the end of backup {}: PostgreSQL would silently give a later "
                             "state",
                             question_.words(), question_.backup_id),
                 earliest + "; or name an older backup");
}

std::optional<base::Error> TargetResolver::behind_end(const WalEnd& end) const {
  bool latest = !question_.time && !question_.lsn && !question_.record && !question_.immediate;
  bool complete = backup_end_ || (stop_ && stop_->end >= question_.backup_end);
  Lsn known = std::max(end.until, seen_);
  if (!complete) {
    return refused(
        "WalGap",
        fmt::format("the archive lacks WAL up to {}, the end of backup {}{}{}", question_.backup_end.text(),
                    question_.backup_id, end.missing_segment.empty() ? "" : "; the first missing segment is ",
                    end.missing_segment),
        "use another backup, or bring the missing segments into the archive");
  }
  bool reached = latest || question_.immediate || (question_.record && record_seen_) ||
                 (question_.lsn && *question_.lsn <= known);
  if (reached) return std::nullopt;
  if (!end.missing_segment.empty() || question_.record) {
    return refused("WalGap",
                   fmt::format("{} lies behind a gap in the archive{}{}", question_.words(),
                               end.missing_segment.empty() ? "" : "; the first missing segment is ",
                               end.missing_segment),
                   nearest_below(known));
  }
  if (question_.lsn) {
    return refused(
        "TargetAfterArchive",
        fmt::format("{} lies behind {}, the end of the WAL in the archive", question_.words(), known.text()),
        nearest_below(known) + "; or leave out recoveryTarget to get the latest state");
  }
  if (end.proven_current) return std::nullopt;
  return refused("TargetAfterArchive",
                 fmt::format("{} lies after the last transaction in the archive", question_.words()),
                 nearest_below(known) + "; or leave out targetTime to get the latest state");
}

base::Result<TargetAnswer> TargetResolver::finish(const WalEnd& end) const {
  if (auto refusal = before_backup()) return base::fail(*refusal);
  if (!excluded_) {
    if (auto refusal = behind_end(end)) return base::fail(*refusal);
  }
  TargetAnswer answer;
  answer.excluded = excluded_;
  answer.included = last_commit_;
  // Nothing before the backup's consistent point can be stopped at: there the target is that point itself.
  bool before_consistent =
      question_.immediate || !stop_ || (backup_end_ && stop_->start < backup_end_->start);
  if (before_consistent) {
    if (!backup_end_) {
      return base::fail(refused("NoConsistentPoint",
                                fmt::format("the WAL of backup {} holds no end-of-backup record before the "
                                            "target",
                                            question_.backup_id),
                                "choose a later target, or another backup"));
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
