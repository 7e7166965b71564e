#include "agent/member_agent.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <climits>
#include <fmt/format.h>

#include "agent/install.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/subprocess.hpp"

#ifndef PGRUNBOOK_VERSION
#define PGRUNBOOK_VERSION "0"
#endif

namespace pgrunbook::agent {
namespace {

// For /bin/sh; only quoted where it needs to be, so that the usual command stays readable.
std::string shell_word(const std::string& text) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,=@%";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string::npos) return text;
  std::string out = "'";
  for (char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out.push_back(c);
    }
  }
  return out + "'";
}

// For archive_command and restore_command, in which PostgreSQL replaces %p, %f, %r and %%.
std::string command_word(const std::string& text) {
  std::string out;
  for (char c : shell_word(text)) {
    if (c == '%') out.push_back('%');
    out.push_back(c);
  }
  return out;
}

std::string architecture() {
  utsname name{};
  std::string machine = ::uname(&name) == 0 ? static_cast<const char*>(name.machine) : "unknown";
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  return machine;
}

base::Result<> must_run(const std::string& path) {
  PGR_ASSIGN(auto ran, base::run({{path, "version"}}, base::Deadline::after(std::chrono::seconds(20))));
  if (ran.exit_code == 0) return {};
  return base::fail(
      base::refused("NoexecVolume", fmt::format("{} cannot be run from its volume: {:.200}", path, ran.err),
                    "mount the volume without noexec: archive_command must be able to run the agent"));
}

}  // namespace

base::Result<std::string> running_agent(const api::Order& order) {
  if (!order.agent_path.empty()) return order.agent_path;
  char path[PATH_MAX];
  ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  if (n <= 0) return base::fail(base::system_error("resolve", "/proc/self/exe"));
  return std::string(path, static_cast<std::size_t>(n));
}

std::string archive_command_text(const std::string& agent, const std::string& repository,
                                 const std::string& writer) {
  return fmt::format("[ -x {0} ] || exit 1; exec {0} archive-wal --repository {1} --writer {2} \"%p\" \"%f\"",
                     command_word(agent), command_word(repository), command_word(writer));
}

std::string restore_command_text(const std::string& agent, const std::string& repository,
                                 const std::string& salvage) {
  return fmt::format("exec {} restore-wal --repository {}{} \"%f\" \"%p\"", command_word(agent),
                     command_word(repository), salvage.empty() ? "" : " --salvage " + command_word(salvage));
}

bool is_our_archive_command(const std::string& command) {
  return command.find("/.pgrunbook/bin/") != std::string::npos &&
         command.find("pgrunbook-agent") != std::string::npos &&
         command.find(" archive-wal ") != std::string::npos;
}

base::Result<Installed> install_on_member(const api::Order& order) {
  if (!order.member) return base::fail(base::ErrorCode::kInvalid, "the order names no member");
  const api::MemberRef& m = *order.member;
  std::string repository =
      m.archive_mount_repository.empty() ? order.repository.path : m.archive_mount_repository;
  PGR_ASSIGN(std::string source, running_agent(order));
  PGR_ASSIGN(std::string hash, base::sha256_file(source));
  Installed out;
  out.on_shared_volume = m.data_directory == m.mount;
  std::string here = out.on_shared_volume ? order.repository.path : m.mount;  // as this Job sees it
  std::string there = out.on_shared_volume ? repository : m.mount;            // as the member sees it
  for (const std::string& version :
       {std::string(PGRUNBOOK_VERSION), PGRUNBOOK_VERSION "-" + hash.substr(0, 8)}) {
    std::string directory = fmt::format("/.pgrunbook/bin/{}/{}", version, architecture());
    std::string file = directory + "/pgrunbook-agent";
    PGR_TRY(base::make_directories(here + directory));
    auto installed = install_program(source, here + file);
    if (!installed && installed.error().code == base::ErrorCode::kConflict) continue;
    if (!installed) return base::fail(installed.error());
    out.sha256 = *installed;
    PGR_TRY(must_run(here + file));
    out.path = there + file;
    out.archive_command = archive_command_text(out.path, repository, m.claim_uid);
    return out;
  }
  return base::fail(base::ErrorCode::kConflict,
                    fmt::format("{}/.pgrunbook/bin holds other programs under the agent's name", here),
                    "somebody changed them; remove what is not the agent");
}

}  // namespace pgrunbook::agent
