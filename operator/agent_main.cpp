// pgrunbook-agent: runs in the members' own images, as archive_command and restore_command and as our Jobs.
#include <cstdio>
#include <string>
#include <vector>

#include "agent/archive_wal.hpp"
#include "agent/install.hpp"
#include "agent/job.hpp"
#include "agent/restore_wal.hpp"

namespace {

constexpr char kUsage[] =
    "pgrunbook-agent " PGRUNBOOK_VERSION
    "\n"
    "  job                                          one Job, its order in PGRUNBOOK_ORDER\n"
    "  archive-wal --repository DIR --writer UID [--system-identifier N] [--time-limit SECONDS] %p %f\n"
    "  restore-wal --repository DIR [--salvage UID] [--attempts N] %f %p\n"
    "  install FILE                                 copies this program, for an init container without a "
    "shell\n"
    "  version\n";

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  std::string command = arguments.empty() ? "" : arguments.front();
  if (!arguments.empty()) arguments.erase(arguments.begin());
  if (command == "archive-wal") return pgrunbook::agent::archive_wal_command(arguments);
  if (command == "restore-wal") return pgrunbook::agent::restore_wal_command(arguments);
  if (command == "job") return pgrunbook::agent::job_command();
  if (command == "install") return pgrunbook::agent::install_command(arguments);
  if (command == "version" || command == "--version") {
    std::puts(PGRUNBOOK_VERSION);
    return 0;
  }
  std::fputs(kUsage, stderr);
  return 2;
}
