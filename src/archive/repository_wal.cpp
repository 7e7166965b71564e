// The repository's WAL: segments, histories, and how far they reach without a gap.
#include <algorithm>
#include <map>
#include <set>
#include <sys/stat.h>

#include <fmt/format.h>

#include "archive/repository.hpp"
#include "base/file.hpp"

namespace pgrunbook::archive {
namespace {

using base::ErrorCode;
using base::Result;
using postgres::Lsn;
using postgres::TimelineHistory;
using postgres::TimelineId;
using postgres::WalKind;

// PostgreSQL writes a few lines; anything large is no such file.
constexpr std::uint64_t kLargestSmallFile = 1U << 20U;

}  // namespace

Result<TimelineHistory> Repository::history(TimelineId timeline) const {
  auto content = get_bytes(layout_.history_file(timeline), kLargestSmallFile);
  if (content) return TimelineHistory::parse(timeline, *content);
  if (content.error().code != ErrorCode::kNotFound) return base::fail(content.error());
  const TimelineRecord* record = record_.find(timeline);
  if (timeline.number() == 1 || (record != nullptr && !record->parent.valid()))
    return TimelineHistory(timeline);
  return base::fail(ErrorCode::kNotFound,
                    fmt::format("{} is not in the repository", postgres::history_name(timeline)),
                    "without it nobody knows where this timeline began");
}

Result<std::vector<TimelineId>> Repository::archived_timelines() const {
  auto names = base::list_directory(layout_.wal_directory());
  if (!names) {
    if (names.error().code == ErrorCode::kNotFound) return std::vector<TimelineId>();
    return base::fail(names.error());
  }
  std::set<TimelineId> found;
  for (const std::string& name : *names) {
    if (name.size() == 8) {
      if (auto id = TimelineId::parse_hex(name)) found.insert(*id);
    } else if (name.ends_with(".zst")) {
      auto parsed = postgres::parse_wal_name(std::string_view(name).substr(0, name.size() - 4));
      if (parsed && parsed->kind == WalKind::kHistory) found.insert(parsed->timeline);
    }
  }
  return std::vector<TimelineId>(found.begin(), found.end());
}

Result<std::vector<SegmentRef>> Repository::segments(TimelineId timeline) const {
  auto names = base::list_directory(layout_.timeline_directory(timeline));
  if (!names) {
    if (names.error().code == ErrorCode::kNotFound) return std::vector<SegmentRef>();
    return base::fail(names.error());
  }
  std::vector<SegmentRef> list;
  for (const std::string& name : *names) {
    if (!name.ends_with(".zst")) continue;
    auto parsed = postgres::parse_wal_name(std::string_view(name).substr(0, name.size() - 4));
    if (!parsed || parsed->kind != WalKind::kSegment || parsed->timeline != timeline) continue;
    auto number = parsed->segment(segment_size());
    if (number) list.push_back({timeline, *number, parsed->text});
  }
  return list;  // names sort as numbers do
}

Result<std::optional<SegmentRef>> Repository::newest_segment(TimelineId timeline) const {
  PGR_ASSIGN(auto list, segments(timeline));
  if (list.empty()) return std::optional<SegmentRef>();
  return std::optional<SegmentRef>(list.back());
}

Result<bool> Repository::has_segment(const SegmentRef& segment) const {
  return base::is_there(fmt::format("{}/{}.zst", layout_.timeline_directory(segment.timeline), segment.name));
}

SegmentRef Repository::segment_at(const TimelineHistory& history, Lsn lsn) const {
  std::uint64_t number = lsn.segment(segment_size());
  TimelineId timeline = history.timeline_of_segment(number, segment_size());
  return {timeline, number, postgres::segment_name(timeline, number, segment_size())};
}

Result<Walk> Repository::walk(const TimelineHistory& history, Lsn begin, std::optional<Lsn> until) const {
  std::map<TimelineId, std::set<std::uint64_t>> there;
  auto load = [&](TimelineId timeline) -> Result<> {
    PGR_ASSIGN(auto list, segments(timeline));
    for (const SegmentRef& s : list) there[timeline].insert(s.number);
    return {};
  };
  for (const postgres::Ancestor& a : history.ancestors()) PGR_TRY(load(a.timeline));
  PGR_TRY(load(history.timeline()));

  const std::uint64_t size = segment_size();
  Walk walk;
  walk.begin = walk.end = begin;
  for (std::uint64_t number = begin.segment(size);; ++number) {
    if (until && number * size >= until->value() && !walk.segments.empty()) return walk;
    SegmentRef segment = segment_at(history, Lsn(number * size));
    if (!there[segment.timeline].contains(number)) {
      walk.missing = segment;
      break;
    }
    walk.segments.push_back(std::move(segment));
    walk.end = Lsn((number + 1) * size);
  }
  for (const auto& [timeline, numbers] : there) {
    for (auto later = numbers.upper_bound(walk.missing->number); later != numbers.end(); ++later) {
      if (history.timeline_of_segment(*later, size) == timeline) walk.gap = true;
    }
  }
  return walk;
}

postgres::WalExpectation Repository::expectation_of(const postgres::WalName& name) const {
  postgres::WalExpectation e = expectation();
  if (name.timeline.number() > 1) {
    if (auto known = history(name.timeline)) e.history = std::move(*known);
  }
  return e;
}

Result<postgres::WalPageHeader> Repository::check_stored(const postgres::WalName& name) const {
  std::string path = layout_.wal_file(name);
  PGR_ASSIGN(std::uint64_t length, stored_length(path));
  PGR_ASSIGN(std::string head, get_first_bytes(path, postgres::kLongHeaderBytes));
  return postgres::check_segment(name, head, length, expectation_of(name));
}

Result<Put> Repository::put_wal(const std::string& source, const postgres::WalName& name,
                                std::optional<base::Deadline> deadline) const {
  struct stat st{};
  if (::stat(source.c_str(), &st) != 0) return base::fail(base::system_error("look at", source));
  auto size = static_cast<std::uint64_t>(st.st_size);
  if (name.kind == WalKind::kHistory || name.kind == WalKind::kBackup) {
    if (size == 0 || size > kLargestSmallFile) {
      return base::fail(ErrorCode::kCorrupt, fmt::format("{} has {} bytes", name.text, size));
    }
    PGR_ASSIGN(std::string content, base::read_file(source));
    if (name.kind == WalKind::kHistory) {
      if (auto parsed = TimelineHistory::parse(name.timeline, content); !parsed)
        return base::fail(parsed.error());
    }
    return put_bytes_if_absent(content, layout_.wal_file(name));
  }
  if (size == 0) return base::fail(ErrorCode::kCorrupt, fmt::format("{} is empty", name.text));
  PutOptions options;
  bool checked = false;
  options.inspect = [&](std::string_view piece) -> Result<> {
    if (deadline && deadline->passed()) {
      return base::fail(ErrorCode::kTimeout, fmt::format("{} could not be stored in time", name.text),
                        "the archive volume is too slow or does not answer");
    }
    if (checked) return {};
    PGR_TRY(postgres::check_segment(name, piece, size, expectation_of(name)));
    checked = true;
    return {};
  };
  return put_file_if_absent(source, layout_.wal_file(name), options);
}

}  // namespace pgrunbook::archive
