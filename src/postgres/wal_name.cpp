#include "postgres/wal_name.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace pgrunbook::postgres {
namespace {

bool upper_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); });
}

// Eight digits at `at`; the caller has checked that they are there and hexadecimal.
std::uint32_t group(std::string_view text, std::size_t at) {
  std::uint32_t value = 0;
  std::from_chars(text.data() + at, text.data() + at + 8, value, 16);
  return value;
}

}  // namespace

base::Result<WalName> parse_wal_name(std::string_view text) {
  auto refuse = [&] {
    return base::fail(base::ErrorCode::kInvalid, fmt::format("'{:.80}' is no name of a WAL file", text),
                      "only segments, .partial, .backup and .history files are archived");
  };
  auto suffix_at = std::min(text.find('.'), text.size());
  std::string_view stem = text.substr(0, suffix_at), suffix = text.substr(suffix_at);
  if (!upper_hex(stem)) return refuse();
  WalName name;
  name.text = std::string(text);
  if (stem.size() == 8 && suffix == ".history") {
    name.kind = WalKind::kHistory;
  } else if (stem.size() == 24) {
    name.high = group(stem, 8);
    name.low = group(stem, 16);
    if (suffix.empty()) {
      name.kind = WalKind::kSegment;
    } else if (suffix == ".partial") {
      name.kind = WalKind::kPartial;
    } else if (suffix.size() == 16 && upper_hex(suffix.substr(1, 8)) && suffix.substr(9) == ".backup") {
      name.kind = WalKind::kBackup;
    } else {
      return refuse();
    }
  } else {
    return refuse();
  }
  name.timeline = TimelineId(group(stem, 0));
  if (!name.timeline.valid()) return refuse();
  return name;
}

base::Result<std::uint64_t> WalName::segment(std::uint64_t segment_size) const {
  std::uint64_t per_high = (std::uint64_t{1} << 32U) / segment_size;
  if (kind == WalKind::kHistory || low >= per_high) {
    return base::fail(base::ErrorCode::kInvalid,
                      fmt::format("{} is no segment of {} MiB", text, segment_size >> 20U));
  }
  return high * per_high + low;
}

std::string WalName::segment_text() const {
  return kind == WalKind::kHistory ? std::string() : fmt::format("{}{:08X}{:08X}", timeline.hex(), high, low);
}

std::string segment_name(TimelineId timeline, std::uint64_t segment, std::uint64_t segment_size) {
  std::uint64_t per_high = (std::uint64_t{1} << 32U) / segment_size;
  return fmt::format("{}{:08X}{:08X}", timeline.hex(), segment / per_high, segment % per_high);
}

std::string segment_name(TimelineId timeline, Lsn lsn, std::uint64_t segment_size) {
  return segment_name(timeline, lsn.segment(segment_size), segment_size);
}

std::string history_name(TimelineId timeline) { return timeline.hex() + ".history"; }

bool valid_segment_size(std::uint64_t bytes) {
  return bytes >= (1U << 20U) && bytes <= (1U << 30U) && (bytes & (bytes - 1)) == 0;
}

}  // namespace pgrunbook::postgres
