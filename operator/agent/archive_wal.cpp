#include "agent/archive_wal.hpp"

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstring>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "agent/arguments.hpp"
#include "archive/repository.hpp"

namespace pgrunbook::agent {
namespace {

using archive::Put;
using archive::Repository;
using base::ErrorCode;
using base::Result;
using postgres::WalKind;
using postgres::WalName;

// The last resort where a system call never returns: the server gets its answer, and tries again.
void end_hard_at(std::chrono::seconds limit) {
  ::signal(SIGALRM, [](int) {
    constexpr char kText[] =
        "pgrunbook: archive-wal: the time limit passed. HINT: the archive volume does not answer\n";
    (void)!::write(STDERR_FILENO, kText, sizeof kText - 1);
    ::_exit(1);
  });
  ::alarm(static_cast<unsigned>(limit.count()));
}

// Without its history nobody could follow a timeline's segments; PostgreSQL archives the history first (I5).
Result<> check_history(const Repository& repository, const WalName& name) {
  auto history = repository.history(name.timeline);
  if (history) return {};
  if (history.error().code != ErrorCode::kNotFound) return base::fail(history.error());
  return base::fail(base::refused("HistoryMissing",
                                  fmt::format("{} waits: {} is not in the repository yet", name.text,
                                              postgres::history_name(name.timeline)),
                                  "a timeline's history is archived before its segments"));
}

Result<> check_identifier(const Repository& repository, std::uint64_t identifier) {
  const auto& known = repository.record().system_identifiers;
  if (std::find(known.begin(), known.end(), identifier) != known.end()) return {};
  return base::fail(base::refused(
      "SystemIdentifierMismatch",
      fmt::format("the repository {} is of the cluster with system identifier {}, this server's is {}",
                  repository.layout().root(),
                  known.empty() ? std::string("none") : std::to_string(known.front()), identifier),
      "another database cluster needs another topology, and so a repository of its own"));
}

}  // namespace

Result<ArchiveWal> parse_archive_wal(const std::vector<std::string>& arguments) {
  ArchiveWal order;
  PGR_ASSIGN(Arguments a,
             Arguments::parse(arguments, {"repository", "writer", "system-identifier", "time-limit"}));
  PGR_ASSIGN(order.repository, a.need("repository"));
  PGR_ASSIGN(order.writer, a.need("writer"));
  if (auto text = a.value("system-identifier")) {
    PGR_ASSIGN(order.system_identifier, number_argument("system-identifier", *text));
  }
  if (auto text = a.value("time-limit")) {
    PGR_ASSIGN(auto seconds, number_argument("time-limit", *text));
    order.time_limit = std::chrono::seconds(std::clamp<std::uint64_t>(seconds, 1, 3600));
  }
  PGR_ASSIGN(auto rest, a.rest(2, "%p %f"));
  order.path = rest[0];
  order.name = rest[1];
  return order;
}

Result<Put> archive_wal(const ArchiveWal& order) {
  PGR_ASSIGN(WalName name, postgres::parse_wal_name(order.name));
  auto repository = Repository::open_quickly(order.repository);
  if (!repository) {
    base::Error e = repository.error();
    if (e.code == ErrorCode::kNotFound)
      e.hint = "is the archive volume mounted in this container, at this path?";
    return base::fail(std::move(e));
  }
  if (order.system_identifier) PGR_TRY(check_identifier(*repository, *order.system_identifier));
  if (name.kind == WalKind::kSegment) PGR_TRY(check_history(*repository, name));
  // A server that was promoted archives its parent's last segment as .partial: that is no writing on the
  // parent.
  if (name.kind == WalKind::kSegment || name.kind == WalKind::kBackup) {
    PGR_TRY(repository->claim_writer(name.timeline, order.writer));
  }
  return repository->put_wal(order.path, name, base::Deadline::after(order.time_limit));
}

int archive_wal_command(const std::vector<std::string>& arguments) {
  ::umask(027);
  auto order = parse_archive_wal(arguments);
  if (!order) {
    say("archive-wal", order.error());
    return 2;
  }
  end_hard_at(order->time_limit + std::chrono::seconds(3));
  auto put = archive_wal(*order);
  if (!put) {
    say(fmt::format("archive-wal {:.80}", order->name), put.error());
    return 1;
  }
  if (*put == Put::kAlreadyThere) {
    fmt::print(stderr, "pgrunbook: archive-wal {}: already archived with the same content\n", order->name);
  }
  return 0;
}

}  // namespace pgrunbook::agent
