#include "agent/own_wal.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "agent/wal_reader.hpp"

namespace pgrunbook::agent {

using archive::SegmentRef;
using base::Result;
using postgres::Lsn;
using postgres::WalRecord;
using postgres::WalRecordKind;

namespace {

base::Error foreign(const std::string& segment, const std::string& what) {
  return base::refused(
      "ForeignWal", fmt::format("segment {} in the archive is not what this server wrote: {}", segment, what),
      "is there a copy of the server's volume that archives under its name? then stop the copy, wait until "
      "pg_stat_archiver has a last_failed_time later than its last_archived_time, and move what the copy "
      "wrote out of walbackup/, from that last_failed_wal on. Or was this server's volume set back, to a "
      "snapshot? then the archive is the newer one: move nothing, scale this server to 0, restore without "
      "it, and lead the Services to the restored member by hand; what this server has committed since stays "
      "on its volume");
}

base::Error damaged(const std::string& segment, const WalReading& reading) {
  return base::refused(
      "WalDamaged",
      fmt::format("segment {} in the archive cannot be read behind {} ({})", segment,
                  reading.unreadable->text(), reading.words),
      "keep the archive and the members' volumes as they are; a new backup makes a new beginning");
}

}  // namespace

Result<> check_mark(const archive::Repository& repository, const api::PlanOrder& plan) {
  if (plan.mark.name.empty() || plan.wait_for.empty()) return {};
  PGR_ASSIGN(auto waited, postgres::parse_wal_name(plan.wait_for.back()));
  PGR_ASSIGN(auto history, repository.history(waited.timeline));
  PGR_ASSIGN(Lsn end, Lsn::parse(plan.mark.lsn));
  const std::uint64_t size = repository.segment_size();
  const std::uint64_t last = end.previous_segment(size);
  WalRange range{repository.record().major_version, size, {}, {}, end};
  WalReading reading;
  // It may begin in the segment before the one in which it ends.
  for (std::uint64_t back = 0; back <= std::min<std::uint64_t>(1, last); ++back) {
    SegmentRef segment = repository.segment_at(history, Lsn((last - back) * size));
    PGR_ASSIGN(bool there, repository.has_segment(segment));
    if (!there) break;
    range.segments.insert(range.segments.begin(), segment);
    range.begin = Lsn(segment.number * size);
    PGR_ASSIGN(reading, read_wal(range, scratch_path("own"), from_repository(repository),
                                 [&](const WalRecord& r) -> Result<bool> {
                                   return r.kind != WalRecordKind::kRestorePoint || r.name != plan.mark.name;
                                 }));
    if (reading.enough) return {};
  }
  const std::string name = repository.segment_at(history, Lsn(last * size)).name;
  if (reading.unreadable) return base::fail(damaged(name, reading));
  return base::fail(foreign(name, fmt::format("the restore point '{}', set just now up to {}, is not in it",
                                              plan.mark.name, end.text())));
}

Result<> check_backup_end(const archive::Repository& repository, const archive::BackupRecord& record,
                          const std::vector<SegmentRef>& segments, const ReadWhole& whole) {
  WalRange range{record.major_version, repository.segment_size(), segments, record.begin_lsn, record.end_lsn};
  if (!whole && segments.size() > 2) {  // its record may lie across two
    range.segments.erase(range.segments.begin(), range.segments.end() - 2);
    range.begin = Lsn(range.segments.front().number * range.segment_size);
  }
  PGR_ASSIGN(auto reading, read_wal(range, scratch_path("own"), from_repository(repository),
                                    [&](const WalRecord& r) -> Result<bool> {
                                      if (whole) whole(r.start);
                                      return r.kind != WalRecordKind::kBackupEnd ||
                                             r.backup_start != record.begin_lsn;
                                    }));
  if (reading.enough) return {};
  if (reading.unreadable) {
    auto history = repository.history(record.timeline);
    if (!history) return base::fail(history.error());
    return base::fail(damaged(repository.segment_at(*history, *reading.unreadable).name, reading));
  }
  return base::fail(foreign(segments.back().name, fmt::format("the end of backup {}, up to {}, is not in it",
                                                              record.id, record.end_lsn.text())));
}

}  // namespace pgrunbook::agent
