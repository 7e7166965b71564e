// What pg_controldata prints: the state of a data directory whether or not a server runs on it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "postgres/lsn.hpp"
#include "postgres/timeline.hpp"

namespace pgrunbook::postgres {

struct ControlData {
  std::uint64_t system_identifier = 0;
  std::string state;  // "shut down", "in production", "in archive recovery", ...
  int control_version = 0;
  std::int64_t catalog_version = 0;
  Lsn checkpoint, redo;
  TimelineId timeline;  // of the latest checkpoint
  std::uint64_t segment_size = 0;
  Lsn min_recovery_end;      // 0/0 = none
  int checksum_version = 0;  // 0 = data checksums off
  // Settings that a standby or a recovery must carry over, under the names of postgresql.conf:
  // wal_level, wal_log_hints, max_connections, max_worker_processes, max_wal_senders,
  // max_prepared_transactions, max_locks_per_transaction, track_commit_timestamp. Those the server's version
  // does not print are absent.
  std::map<std::string, std::string> settings;

  // PostgreSQL ended by itself and wrote its shutdown checkpoint. "shut down in recovery" is another state.
  [[nodiscard]] bool shut_down() const { return state == "shut down"; }
};

// The output of pg_controldata with LC_ALL=C. kCorrupt where a field we need is missing; also where
// pg_controldata itself warns that the file's checksum is wrong.
[[nodiscard]] base::Result<ControlData> parse_control_data(std::string_view output);

}  // namespace pgrunbook::postgres
