// Names of files in pg_wal and in an archive, classified strictly: what is none of these four is refused, so
// that no name from outside can ever become a path.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "postgres/lsn.hpp"
#include "postgres/timeline.hpp"

namespace pgrunbook::postgres {

enum class WalKind {
  kSegment,  // 000000010000000000000003
  kPartial,  // 000000010000000000000003.partial: the last one of a timeline that was left at a promotion
  kBackup,   // 000000010000000000000003.00000028.backup: a label left by a base backup
  kHistory,  // 00000002.history
};

struct WalName {
  WalKind kind = WalKind::kSegment;
  TimelineId timeline;
  std::uint32_t high = 0, low = 0;  // second and third group of eight digits; 0 for a history file
  std::string text;

  // Number of the segment; kInvalid where `low` is not below 2^32 / segment_size, i.e. the name belongs to
  // another size.
  [[nodiscard]] base::Result<std::uint64_t> segment(std::uint64_t segment_size) const;
  // "000000010000000000000003" without the suffix; empty for a history file.
  [[nodiscard]] std::string segment_text() const;
};

// kInvalid for anything but the four forms: upper-case hexadecimal, exact length, timeline not zero.
[[nodiscard]] base::Result<WalName> parse_wal_name(std::string_view text);

[[nodiscard]] std::string segment_name(TimelineId timeline, std::uint64_t segment,
                                       std::uint64_t segment_size);
[[nodiscard]] std::string segment_name(TimelineId timeline, Lsn lsn, std::uint64_t segment_size);
[[nodiscard]] std::string history_name(TimelineId timeline);
// A power of two from 1 MiB to 1 GiB.
[[nodiscard]] bool valid_segment_size(std::uint64_t bytes);
inline constexpr std::uint64_t kDefaultSegmentSize = 16U << 20U;

}  // namespace pgrunbook::postgres
