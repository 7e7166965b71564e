// The Backup Job: a base backup of a running server, complete only with its WAL in the repository.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "agent/agent.hpp"

namespace pgrunbook::agent {

struct BackupLimits {
  std::chrono::seconds connect{60};       // until the server answers
  std::chrono::seconds first_byte{3600};  // a checkpoint comes before it
  std::chrono::seconds silence{300};      // without a byte from the server once it has begun
  std::chrono::seconds archive{300};      // without a new segment in the repository
  std::chrono::hours whole{72};
};

// Seconds since anything in a directory last changed. An error where not all of it could be looked at; what
// vanished under the look changed just now.
[[nodiscard]] Result<std::int64_t> quiet_for(const std::string& directory);

// run_backup with other limits; for tests.
[[nodiscard]] Result<Answer> run_backup_within(const Order& order, Report& report,
                                               const BackupLimits& limits);

}  // namespace pgrunbook::agent
