#include "agent/restore_wal.hpp"

#include <algorithm>
#include <chrono>
#include <fcntl.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include <fmt/format.h>

#include "agent/arguments.hpp"
#include "archive/repository.hpp"
#include "base/file.hpp"

namespace pgrunbook::agent {
namespace {

using archive::Repository;
using base::ErrorCode;
using base::Result;
using postgres::WalKind;
using postgres::WalName;

// Opening a directory makes an NFS client ask the server again: what was not there a moment ago may be now.
void look_again(const std::string& file) {
  std::string directory = file.substr(0, file.find_last_of('/'));
  base::Fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

Result<> deliver_segment(const Repository& repository, const WalName& name, const std::string& source,
                         const std::string& destination) {
  const std::uint64_t whole = repository.segment_size();
  std::uint64_t length = 0;
  auto inspect = [&](std::string_view piece) -> Result<> {
    if (length == 0) PGR_TRY(postgres::check_segment(name, piece, whole, repository.expectation_of(name)));
    length += piece.size();
    return {};
  };
  auto short_or_long = [&] {
    return base::fail(ErrorCode::kCorrupt,
                      fmt::format("{} holds {} bytes instead of {}", source, length, whole));
  };
  // Known before anything is written where the frame says its length, as ours do.
  if (auto says = archive::stored_length(source); says && *says != whole) {
    length = *says;
    return short_or_long();
  }
  auto check_length = [&](std::string_view piece) -> Result<> {
    PGR_TRY(inspect(piece));
    return length > whole ? Result<>(short_or_long()) : Result<>();
  };
  PGR_TRY(archive::get_file(source, destination, check_length));
  if (length == whole) return {};
  ::unlink(destination.c_str());
  return short_or_long();
}

Result<> deliver(const Repository& repository, const WalName& name, const std::string& source,
                 const std::string& destination) {
  if (name.kind == WalKind::kSegment || name.kind == WalKind::kPartial) {
    return deliver_segment(repository, name, source, destination);
  }
  if (name.kind == WalKind::kHistory) {
    PGR_ASSIGN(std::string content, archive::get_bytes(source));
    PGR_TRY(postgres::TimelineHistory::parse(name.timeline, content));
  }
  return archive::get_file(source, destination);
}

Result<> attempt(const RestoreWal& order, const WalName& name) {
  auto repository = Repository::open_quickly(order.repository);
  if (!repository) {
    base::Error e = repository.error();
    // Not "not there": nothing is known about the file.
    if (e.code == ErrorCode::kNotFound) {
      e.code = ErrorCode::kUnavailable;
      e.hint = "is the archive volume mounted in this container, at this path?";
    }
    return base::fail(std::move(e));
  }
  if (!order.salvage.empty()) {
    std::string salvaged = repository->layout().salvage_file(order.salvage, name);
    look_again(salvaged);
    PGR_ASSIGN(bool there, base::is_there(salvaged));
    if (there) return deliver(*repository, name, salvaged, order.path);
  }
  std::string stored = repository->layout().wal_file(name);
  look_again(stored);
  return deliver(*repository, name, stored, order.path);
}

bool is_repository(const std::string& path) { return Repository::open_quickly(path).has_value(); }

}  // namespace

Result<RestoreWal> parse_restore_wal(const std::vector<std::string>& arguments) {
  RestoreWal order;
  PGR_ASSIGN(Arguments a, Arguments::parse(arguments, {"repository", "salvage", "attempts"}));
  PGR_ASSIGN(order.repository, a.need("repository"));
  if (auto salvage = a.value("salvage"); salvage && !salvage->empty()) {
    PGR_TRY(archive::check_word(*salvage, "the uid of an action"));
    order.salvage = *salvage;
  }
  if (auto text = a.value("attempts")) {
    PGR_ASSIGN(auto attempts, number_argument("attempts", *text));
    order.attempts = static_cast<int>(std::clamp<std::uint64_t>(attempts, 1, 100));
  }
  PGR_ASSIGN(auto rest, a.rest(2, "%f %p"));
  order.name = rest[0];
  order.path = rest[1];
  return order;
}

Result<> restore_wal(const RestoreWal& order) {
  PGR_ASSIGN(WalName name, postgres::parse_wal_name(order.name));
  auto pause = std::chrono::milliseconds(200);
  for (int i = 1;; ++i) {
    auto delivered = attempt(order, name);
    // A volume that goes away between two looks makes everything "not there": believe it only while the
    // repository is.
    if (!delivered && delivered.error().code == ErrorCode::kNotFound && !is_repository(order.repository)) {
      delivered =
          base::fail(ErrorCode::kUnavailable, fmt::format("{} cannot be read any more", order.repository));
    }
    if (delivered || delivered.error().code == ErrorCode::kNotFound || i >= order.attempts) return delivered;
    say(fmt::format("restore-wal {}: attempt {} of {}", name.text, i, order.attempts), delivered.error());
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::milliseconds(5000));
  }
}

int restore_wal_command(const std::vector<std::string>& arguments) {
  ::umask(077);  // what is delivered lies in a data directory
  auto order = parse_restore_wal(arguments);
  if (!order) {
    say("restore-wal", order.error());
    return kRestoreFailed;
  }
  auto restored = restore_wal(*order);
  if (restored) return 0;
  if (restored.error().code == ErrorCode::kNotFound) return kRestoreNotThere;
  say(fmt::format("restore-wal {:.80}", order->name), restored.error());
  return kRestoreFailed;
}

}  // namespace pgrunbook::agent
