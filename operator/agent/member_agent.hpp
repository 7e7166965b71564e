// The agent on a member's own volume, where its archive_command finds it.
#pragma once

#include <string>

#include "api/job.hpp"
#include "base/result.hpp"

namespace pgrunbook::agent {

struct Installed {
  std::string path;  // as the member's container sees it
  std::string sha256;
  bool on_shared_volume = false;  // there was no place beside the data directory
  std::string archive_command;
};

// Copies the running agent (order.agent_path, else /proc/self/exe) to
// <mount>/.pgrunbook/bin/<version>/<architecture>/pgrunbook-agent: whole, synced, mode 0555, never
// overwritten. Where a file of that name has other content the directory is <version>-<first 8 digits of the
// hash>. Where the data directory is the mount's root it goes into the repository instead. The copy is run
// once: where the volume is mounted noexec that is Refused, reason NoexecVolume.
[[nodiscard]] base::Result<Installed> install_on_member(const api::Order& order);

// "[ -x P ] || exit 1; exec P archive-wal --repository R --writer W "%p" "%f"": a missing program must be an
// ordinary failure, for exit codes above 125 end PostgreSQL's archiver (pgarch.c). A "%" in a path is
// doubled.
[[nodiscard]] std::string archive_command_text(const std::string& agent, const std::string& repository,
                                               const std::string& writer);
// restore_command for a server inside a Job. salvage: uid of the action whose last segment counts as well;
// empty = none.
[[nodiscard]] std::string restore_command_text(const std::string& agent, const std::string& repository,
                                               const std::string& salvage = {});
// Whether an archive_command is one of ours, of any version.
[[nodiscard]] bool is_our_archive_command(const std::string& command);
// The agent's own executable: order.agent_path, else /proc/self/exe resolved.
[[nodiscard]] base::Result<std::string> running_agent(const api::Order& order);

}  // namespace pgrunbook::agent
