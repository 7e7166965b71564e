// `pgrunbook-agent archive-wal`: what archive_command calls, once per file.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "archive/volume_store.hpp"
#include "base/result.hpp"

namespace pgrunbook::agent {

struct ArchiveWal {
  std::string repository;                          // --repository
  std::string writer;                              // --writer: uid of the claim this server's data lie on
  std::optional<std::uint64_t> system_identifier;  // --system-identifier
  std::chrono::seconds time_limit{25};             // --time-limit: below the 30 s a pod usually has to stop
  std::string path, name;                          // %p %f
};

[[nodiscard]] base::Result<ArchiveWal> parse_archive_wal(const std::vector<std::string>& arguments);
// Success means durable in the repository, or already there with the same content.
[[nodiscard]] base::Result<archive::Put> archive_wal(const ArchiveWal& order);
// Exit code 0, 1 (not archived; the server tries again) or 2 (wrong arguments): never above 125, which would
// end the server's archiver process.
int archive_wal_command(const std::vector<std::string>& arguments);

}  // namespace pgrunbook::agent
