// What a PostgreSQL server writes into its log when its data, its disk or its surroundings are broken, and
// what each such message means. Versions 12 to 18; English and Russian as in PostgreSQL's own catalogue; in
// any language where log_line_prefix has %e.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgrunbook::postgres {

// What mends it.
enum class Trouble {
  kDestroyed,  // the server cannot start on this data directory: another copy, from the archive
  kDamaged,    // the server runs, parts of its data are lost: another copy, from the archive
  kRecovery,   // a recovery made by hand misses WAL: a recovery from the archive
  kIndex,      // only an index: REINDEX
  kRoom,       // a full volume: nothing is damaged
  kDisk,       // the disk or its driver fails
  kVersion,    // another server than the data are of: nothing is damaged
  kAccess,     // owner or permissions: nothing is damaged
  kLock,       // another server may run on this directory
  kReadOnly,   // a server that does not let itself be written to, as a fenced one
  kSettings,   // a configuration that no server starts with
  kElsewhere,  // the log is not in this stream
};

struct Complaint {
  std::string reason;  // "ControlFileDestroyed"
  Trouble trouble = Trouble::kDestroyed;
  std::string what;    // "its control file (global/pg_control) is destroyed"
  std::string line;    // as it was logged, at most 400 bytes
  bool fatal = false;  // the process that wrote it did not go on: FATAL, PANIC, or before there was a log
};

// One row of the table, for tests and documentation.
struct KnownMessage {
  const char* reason;
  const char* english;  // % stands for anything
  const char* russian;  // nullptr: PostgreSQL does not translate it
};
[[nodiscard]] const std::vector<KnownMessage>& known_messages();
// Every reason that complaints() can give, the worst first, and what mends it.
[[nodiscard]] std::vector<std::string> complaint_reasons();
[[nodiscard]] std::optional<Trouble> trouble_of(std::string_view reason);

// In the order of the log. What a statement quotes, or a function raises, is no complaint of the server.
[[nodiscard]] std::vector<Complaint> complaints(std::string_view log);

// The last line that is not empty, at most `limit` bytes; for a log in which nothing is known.
[[nodiscard]] std::string last_words(std::string_view log, std::size_t limit = 400);

}  // namespace pgrunbook::postgres
