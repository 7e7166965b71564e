// Reading a run of WAL through the image's own pg_waldump, a few segments at a time.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "archive/repository.hpp"
#include "base/result.hpp"
#include "postgres/waldump.hpp"

namespace pgrunbook::agent {

struct WalRange {
  int major = 0;  // of the server that wrote it
  std::uint64_t segment_size = 0;
  std::vector<archive::SegmentRef> segments;  // without a gap, along a history: at a fork the child's file
  postgres::Lsn begin;                        // a record's start, in the first segment
  std::optional<postgres::Lsn> end{};         // where to stop; empty = the end of the last segment
};

// Brings a segment to a path: uncompressed from the archive, or as a link into pg_wal.
using PlaceSegment =
    std::function<base::Result<>(const archive::SegmentRef& segment, const std::string& path)>;
// False = enough.
using OnRecord = std::function<base::Result<bool>(const postgres::WalRecord& record)>;

struct WalReading {
  bool enough = false;                        // on_record said so
  std::optional<postgres::Lsn> unreadable{};  // the WAL is damaged here; nothing behind it was read
  std::string words{};                        // pg_waldump's, about that
  std::uint64_t segments = 0;                 // how many were looked at
};

// Calls on_record for every Transaction, XLOG and Tablespace record that starts in [begin, end), in WAL
// order, once. All segments get the name of one timeline in the scratch directory, so that pg_waldump reads
// across forks as a server does; never more than nine of them, or 128 MiB and one, lie there. `scratch` must not exist and is
// removed afterwards. pg_waldump always gets an end (without one it waits 5 s) and its exit code alone
// decides nothing: an error message with a position does.
[[nodiscard]] base::Result<WalReading> read_wal(const WalRange& range, const std::string& scratch,
                                                const PlaceSegment& place, const OnRecord& on_record);

// Segments from the repository.
[[nodiscard]] PlaceSegment from_repository(const archive::Repository& repository);
// A new name for a scratch directory: $PGRUNBOOK_SCRATCH, else $TMPDIR, else /tmp.
[[nodiscard]] std::string scratch_path(const std::string& purpose);

}  // namespace pgrunbook::agent
