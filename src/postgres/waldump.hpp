// Reading what pg_waldump prints: the only view of WAL records this project has besides page headers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/time.hpp"
#include "postgres/lsn.hpp"

namespace pgrunbook::postgres {

enum class WalRecordKind {
  kCommit,           // COMMIT and COMMIT_PREPARED
  kAbort,            // ABORT and ABORT_PREPARED
  kPrepare,          // PREPARE TRANSACTION
  kBackupEnd,        // the end of a base backup: from here on its copy is consistent
  kParameterChange,  // max_connections and others were changed at a restart
  kTablespaceCreate,
  kRestorePoint,  // pg_create_restore_point
  kOther,
};

struct WalRecord {
  WalRecordKind kind = WalRecordKind::kOther;
  Lsn start;                // where the record begins: what recovery_target_lsn is compared with
  Lsn end;                  // what pg_last_wal_replay_lsn() shows once it is replayed
  std::uint32_t xid = 0;    // of the transaction, also where another one committed it (two-phase)
  base::SystemTime time{};  // commit, abort and prepare records only
  Lsn backup_start;         // kBackupEnd: the redo location the backup began with
  std::map<std::string, std::string> settings{};  // kParameterChange, under the names of postgresql.conf
  std::string path{};                             // kTablespaceCreate: its location
  std::string name{};                             // kRestorePoint
  std::vector<std::uint32_t> subxacts{};          // kCommit, kAbort: savepoints and the like within it
};

// The end of a record of `total_length` bytes that begins at `start` (xlogreader.c: a record continues on the
// next page behind that page's header; records are aligned to 8 bytes).
[[nodiscard]] Lsn record_end(Lsn start, std::uint32_t total_length, std::uint64_t segment_size,
                             std::uint32_t page_size = 8192);

// One line of pg_waldump's output, made with TZ=UTC and LC_ALL=C. Empty for a line that is no record ("first
// record is after ..."). kCorrupt where a record of a kind we need has a form we do not know: never guessed,
// never skipped.
[[nodiscard]] base::Result<std::optional<WalRecord>> parse_waldump_line(std::string_view line,
                                                                        std::uint64_t segment_size);

// The position in "pg_waldump: error: error in WAL record at 0/3000060: ...": the last record that could be
// read. Empty where the text is about something else.
[[nodiscard]] std::optional<Lsn> waldump_error_position(std::string_view stderr_text);

// Where the bytes are no record: the last position such an error names. pg_waldump -e reads the page of its
// end only up to the end, so where that is the start of a page's first record it fails right there, with
// everything before it read.
[[nodiscard]] std::optional<Lsn> waldump_broken_at(std::string_view text);

}  // namespace pgrunbook::postgres
