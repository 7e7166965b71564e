// The header on the first page of a WAL segment, which says what the file is, whatever its name says.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "postgres/lsn.hpp"
#include "postgres/timeline.hpp"
#include "postgres/wal_name.hpp"

namespace pgrunbook::postgres {

// What lies there, little-endian as on every platform we run on; the bytes must reach so far.
template <typename T>
T wal_field(std::string_view bytes, std::size_t at) {
  T value{};
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

// XLogLongPageHeaderData, little-endian as on every platform we run on.
struct WalPageHeader {
  std::uint16_t magic = 0;
  std::uint16_t info = 0;
  TimelineId timeline;
  Lsn address;  // of the page
  std::uint32_t remaining = 0;
  std::uint64_t system_identifier = 0;
  std::uint32_t segment_size = 0;
  std::uint32_t page_size = 0;
};

inline constexpr std::size_t kLongHeaderBytes = 40;   // SizeOfXLogLongPHD, on a segment's first page
inline constexpr std::size_t kShortHeaderBytes = 24;  // SizeOfXLogShortPHD, on every other page

// Records, and what is left of one on a page, begin at multiples of 8 (MAXALIGN).
constexpr std::uint64_t wal_aligned(std::uint64_t n) { return (n + 7) & ~std::uint64_t{7}; }

// kCorrupt where the bytes are too few, all zero, or no long header; the message says which.
[[nodiscard]] base::Result<WalPageHeader> parse_wal_header(std::string_view first_bytes);

// What a segment must be. An empty optional is not checked.
struct WalExpectation {
  std::optional<std::uint64_t> system_identifier;
  std::optional<std::uint64_t> segment_size;
  std::optional<int> major;
  // The first segment of a timeline begins with a copy of its parent's pages, whose headers name the parent:
  // with the history at hand the header must name the timeline on which the page was written. Without it, the
  // one in the file's name.
  std::optional<TimelineHistory> history{};
};

// Holds a segment's (or .partial's) first bytes and its length against its name: magic, timeline, page
// address, segment size, file length, system identifier. A tail of zeros or of recycled pages is normal and
// not looked at. kCorrupt (reasons WalHeaderInvalid, WalNameMismatch, WalSizeMismatch) or kRefused
// (SystemIdentifierMismatch, MajorVersionMismatch).
[[nodiscard]] base::Result<WalPageHeader> check_segment(const WalName& name, std::string_view first_bytes,
                                                        std::uint64_t file_size,
                                                        const WalExpectation& expected);

[[nodiscard]] bool all_zero(std::string_view bytes);

}  // namespace pgrunbook::postgres
