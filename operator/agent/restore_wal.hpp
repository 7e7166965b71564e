// `pgrunbook-agent restore-wal`: what restore_command calls, once per file.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"

namespace pgrunbook::agent {

struct RestoreWal {
  std::string repository;  // --repository
  std::string salvage;     // --salvage: uid of the action whose salvaged segments count as well
  int attempts = 5;        // --attempts: of a fetch that fails for another reason than "not there"
  std::string name, path;  // %f %p
};

// A server that gets any code from 1 to 125 takes it for the end of WAL and goes on without it; above 125 it
// stops.
inline constexpr int kRestoreNotThere = 1;
inline constexpr int kRestoreFailed = 200;

[[nodiscard]] base::Result<RestoreWal> parse_restore_wal(const std::vector<std::string>& arguments);
// Delivers whole and checked, or not at all. kNotFound only where the repository can be read and has no such
// file.
[[nodiscard]] base::Result<> restore_wal(const RestoreWal& order);
// 0, kRestoreNotThere or kRestoreFailed.
int restore_wal_command(const std::vector<std::string>& arguments);

}  // namespace pgrunbook::agent
