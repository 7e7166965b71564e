// What differs between PostgreSQL's major versions: one table, looked up everywhere else.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace pgrunbook::postgres {

struct Version {
  int major = 0;                // 15; 96 for 9.6
  std::uint16_t wal_magic = 0;  // XLOG_PAGE_MAGIC of the released version
  int control_version = 0;      // pg_control version number
  bool manifest = true;         // pg_basebackup writes backup_manifest (13)
  bool manifest_checksums = true;
  bool recovery_signal = true;  // recovery.signal instead of recovery.conf (12)
  bool checkpoint_role = true;  // pg_checkpoint (15)
  bool tested = false;          // this project's tests run on it
};

// nullptr for a major we do not know.
[[nodiscard]] const Version* version_of_major(int major);
// nullptr for a magic we do not know: a file from a development version, or no WAL at all.
[[nodiscard]] const Version* version_of_wal_magic(std::uint16_t magic);
// "15.20", "15.20 (Debian 15.20-1)" or the content of PG_VERSION ("15\n") -> 15; "9.6.24" -> 96. kInvalid
// otherwise.
[[nodiscard]] base::Result<int> parse_major(std::string_view text);
// "15", "9.6"
[[nodiscard]] std::string major_text(int major);

}  // namespace pgrunbook::postgres
