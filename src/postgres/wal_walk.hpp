// Where the WAL of a server ends that did not say so: record by record, as its own crash recovery would read
// it (xlogreader.c), but without a server and without pg_control.
//
// Page headers, record headers and their checksums have been the same since 9.5. Files that were recycled for
// later use carry a later name and the right magic, timeline and system identifier; only the page address
// inside tells that they are old. So nothing is believed by name or by date: a byte counts when an unbroken
// chain of valid records leads to it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "postgres/timeline.hpp"

namespace pgrunbook::postgres {

// The uncompressed file of a segment; nothing where there is none.
using FindSegment = std::function<base::Result<std::optional<std::string>>(std::uint64_t number)>;

struct WalWalk {
  Lsn begin;                  // the first byte of the segment it began with
  Lsn end;                    // behind the last valid record; = begin where there is none
  Lsn record_end;             // the same, but of a switch without the empty rest of its segment
  std::optional<Lsn> first;   // start of the first valid record
  std::optional<Lsn> last;    // of the last one
  std::uint64_t records = 0;  // how many were valid
  std::string words;          // why it ends there
  std::uint64_t looked = 0;   // the last segment that was looked for
  std::uint16_t magic = 0;    // of the pages; 0 = not one was valid
};

struct WalkOrder {
  TimelineHistory history;  // pages belong to its timeline, or to the ancestor they were copied from
  std::uint64_t system_identifier = 0;  // of every first page
  std::uint64_t segment_size = 0;
  std::uint64_t first = 0;  // segment to begin with
};

// Reads on as long as records are valid: length, link to the record before, checksum; and pages are what
// their place says. An error only where a file that is there cannot be read.
[[nodiscard]] base::Result<WalWalk> walk_wal(const WalkOrder& order, const FindSegment& find);

// CRC-32C (Castagnoli), as WAL records and pg_control carry it.
[[nodiscard]] std::uint32_t crc32c(std::string_view bytes);

}  // namespace pgrunbook::postgres
