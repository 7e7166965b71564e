#include "agent/own_wal.hpp"

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
      "a copy of the server's volume archives under its name: stop the copy, move what it "
      "wrote out of walbackup/, and the server archives its own");
}

// Whether a record that `wanted` knows lies in [begin, end).
template <typename F>
Result<bool> holds(const WalRange& range, const archive::Repository& repository, const F& wanted,
                   WalReading* reading) {
  PGR_ASSIGN(*reading, read_wal(range, scratch_path("own"), from_repository(repository),
                                [&](const WalRecord& r) -> Result<bool> { return !wanted(r); }));
  return reading->enough;
}

}  // namespace

Result<> check_mark(const archive::Repository& repository, const api::PlanOrder& plan) {
  if (plan.mark.name.empty() || plan.wait_for.empty()) return {};
  PGR_ASSIGN(auto waited, postgres::parse_wal_name(plan.wait_for.back()));
  PGR_ASSIGN(auto history, repository.history(waited.timeline));
  PGR_ASSIGN(Lsn end, Lsn::parse(plan.mark.lsn));
  const std::uint64_t size = repository.segment_size();
  const std::uint64_t last = end.previous_segment(size);
  auto wanted = [&](const WalRecord& r) {
    return r.kind == WalRecordKind::kRestorePoint && r.name == plan.mark.name;
  };
  WalRange range{repository.record().major_version, size, {}, {}, end};
  WalReading reading;
  // It may begin in the segment before the one in which it ends.
  for (std::uint64_t first : {last, last - 1}) {
    SegmentRef segment = repository.segment_at(history, Lsn(first * size));
    if (!repository.has_segment(segment)) break;
    range.segments.insert(range.segments.begin(), segment);
    range.begin = Lsn(first * size);
    PGR_ASSIGN(bool there, holds(range, repository, wanted, &reading));
    if (there) return {};
    if (first == 0) break;
  }
  return base::fail(
      foreign(repository.segment_at(history, Lsn(last * size)).name,
              fmt::format("the restore point '{}', set just now up to {}, is not in it{}", plan.mark.name,
                          end.text(), reading.words.empty() ? "" : " (" + reading.words + ")")));
}

Result<> check_backup_end(const archive::Repository& repository, const archive::BackupRecord& record,
                          const std::vector<SegmentRef>& segments) {
  WalRange range{record.major_version, repository.segment_size(), segments, record.begin_lsn, record.end_lsn};
  WalReading reading;
  auto wanted = [&](const WalRecord& r) {
    return r.kind == WalRecordKind::kBackupEnd && r.backup_start == record.begin_lsn;
  };
  PGR_ASSIGN(bool there, holds(range, repository, wanted, &reading));
  if (there) return {};
  if (reading.unreadable) {
    return base::fail(
        base::refused("WalDamaged",
                      fmt::format("the WAL of backup {} cannot be read at {} ({})", record.id,
                                  reading.unreadable->text(), reading.words),
                      "keep the archive as it is, and look at its volume; then make a new backup"));
  }
  return base::fail(foreign(segments.back().name, fmt::format("the end of backup {}, up to {}, is not in it",
                                                              record.id, record.end_lsn.text())));
}

}  // namespace pgrunbook::agent
