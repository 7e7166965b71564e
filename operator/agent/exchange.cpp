#include "agent/exchange.hpp"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/file.hpp"

namespace pgrunbook::agent {
namespace {

constexpr unsigned kRenameExchange = 2;  // linux/fs.h

std::string parent_of(const std::string& path) { return std::filesystem::path(path).parent_path().string(); }

base::Result<> rename_path(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return base::fail(base::system_error("rename to", to));
  return base::sync_path(parent_of(to));
}

// Aside while two renames are needed; a crash in between leaves exactly this name, which where_are_we()
// knows.
std::string aside_of(const std::string& sibling) { return sibling + ".aside"; }

base::Result<std::uint64_t> inode_or_zero(const std::string& path) {
  auto inode = directory_inode(path);
  if (!inode && inode.error().code == base::ErrorCode::kNotFound) return std::uint64_t{0};
  return inode;
}

}  // namespace

base::Json to_json(const ExchangeJournal& j) {
  base::Json json = {{"actionUID", j.action_uid}, {"dataDirectory", j.data_directory}, {"sibling", j.sibling},
                     {"oldInode", j.old_inode},   {"newInode", j.new_inode},           {"state", j.state},
                     {"result", j.result}};
  if (j.served) json["served"] = *j.served;
  return json;
}

base::Result<ExchangeJournal> exchange_journal_from_json(const base::Json& json) {
  ExchangeJournal j;
  j.action_uid = base::text_at(json, {"actionUID"});
  j.data_directory = base::text_at(json, {"dataDirectory"});
  j.sibling = base::text_at(json, {"sibling"});
  j.old_inode = static_cast<std::uint64_t>(base::number_at(json, {"oldInode"}));
  j.new_inode = static_cast<std::uint64_t>(base::number_at(json, {"newInode"}));
  j.state = base::text_at(json, {"state"});
  if (const base::Json& served = base::at(json, {"served"}); served.is_boolean())
    j.served = served.get<bool>();
  j.result = base::at(json, {"result"});
  if (j.action_uid.empty() || j.data_directory.empty() || j.sibling.empty() || j.new_inode == 0) {
    return base::fail(base::ErrorCode::kCorrupt, "the journal of an exchange lacks fields");
  }
  return j;
}

std::string journal_path(const std::string& mount, const std::string& action_uid) {
  return fmt::format("{}/.pgrunbook/undo-{}.json", mount, action_uid);
}

base::Result<ExchangeJournal> read_journal(const std::string& mount, const std::string& action_uid) {
  std::string path = journal_path(mount, action_uid);
  PGR_ASSIGN(std::string text, base::read_file(path));
  PGR_ASSIGN(base::Json json, base::parse_json(text, path));
  return exchange_journal_from_json(json);
}

base::Result<> write_journal(const std::string& mount, const ExchangeJournal& journal) {
  return base::replace_file(journal_path(mount, journal.action_uid), to_json(journal).dump(2) + "\n");
}

base::Result<std::uint64_t> directory_inode(const std::string& path) {
  struct stat s{};
  if (::lstat(path.c_str(), &s) != 0) return base::fail(base::system_error("look at", path));
  if (S_ISLNK(s.st_mode)) {
    return base::fail(base::refused("DataDirectoryIsLink", fmt::format("{} is a symbolic link", path),
                                    "set dataDirectory to the directory the link points to"));
  }
  if (!S_ISDIR(s.st_mode)) {
    return base::fail(base::ErrorCode::kConflict, fmt::format("{} exists and is no directory", path));
  }
  return static_cast<std::uint64_t>(s.st_ino);
}

base::Result<Placed> where_are_we(const ExchangeJournal& journal) {
  PGR_ASSIGN(std::uint64_t here, inode_or_zero(journal.data_directory));
  if (here == journal.new_inode) return Placed::kNewInPlace;
  if (here == 0 && journal.old_inode != 0) return Placed::kBetween;
  if (here == journal.old_inode) return Placed::kOldInPlace;
  return base::fail(base::ErrorCode::kConflict,
                    fmt::format("{} is neither the directory from before action {} nor the one it made",
                                journal.data_directory, journal.action_uid),
                    fmt::format("somebody replaced it; compare with {}", journal.sibling));
}

base::Result<std::string> place_of_new(const ExchangeJournal& journal) {
  for (const std::string& path : {journal.data_directory, journal.sibling, aside_of(journal.sibling)}) {
    PGR_ASSIGN(std::uint64_t inode, inode_or_zero(path));
    if (inode == journal.new_inode) return path;
  }
  return base::fail(base::ErrorCode::kNotFound,
                    fmt::format("the directory that action {} made lies neither in {} nor beside it",
                                journal.action_uid, journal.data_directory));
}

base::Result<bool> new_lies_beside(const ExchangeJournal& journal) {
  PGR_ASSIGN(std::uint64_t beside, inode_or_zero(journal.sibling));
  if (beside == 0) return false;
  if (beside == journal.new_inode && beside != journal.old_inode) return true;
  bool former = beside == journal.old_inode;
  return base::fail(
      base::ErrorCode::kConflict,
      fmt::format("{} is {}, not the one that action {} made: it is not removed", journal.sibling,
                  former ? fmt::format("the directory that was {} before", journal.data_directory)
                         : "another directory",
                  journal.action_uid),
      former
          ? "was it undone twice at once? the former data are safe there: with the member stopped, let the "
            "two directories change places by hand"
          : "somebody put it there; move it away, then undo again");
}

base::Result<> exchange(const std::string& from, const std::string& to) {
  PGR_ASSIGN(bool there, base::is_there(to));
  if (!there) return rename_path(from, to);
  if (::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), kRenameExchange) == 0) {
    PGR_TRY(base::sync_path(parent_of(to)));
    if (parent_of(from) != parent_of(to)) PGR_TRY(base::sync_path(parent_of(from)));
    return {};
  }
  if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP)
    return base::fail(base::system_error("exchange", to));
  PGR_TRY(rename_path(to, aside_of(from)));
  PGR_TRY(rename_path(from, to));
  return rename_path(aside_of(from), from);
}

namespace {

// After a crash between two renames: the directory that was moved aside goes back to where it was.
base::Result<> settle(const ExchangeJournal& journal) {
  PGR_ASSIGN(std::uint64_t aside, inode_or_zero(aside_of(journal.sibling)));
  if (aside == 0) return {};
  PGR_ASSIGN(std::uint64_t here, inode_or_zero(journal.data_directory));
  if (here == 0) return rename_path(aside_of(journal.sibling), journal.data_directory);
  return rename_path(aside_of(journal.sibling), journal.sibling);
}

}  // namespace

base::Result<> exchange_forward(const ExchangeJournal& journal) {
  PGR_TRY(settle(journal));
  PGR_ASSIGN(Placed placed, where_are_we(journal));
  if (placed == Placed::kNewInPlace) return {};
  PGR_ASSIGN(std::uint64_t beside, directory_inode(journal.sibling));
  if (beside != journal.new_inode) {
    return base::fail(base::ErrorCode::kConflict,
                      fmt::format("{} is not the directory this action made", journal.sibling));
  }
  return exchange(journal.sibling, journal.data_directory);
}

base::Result<> exchange_back(const ExchangeJournal& journal) {
  PGR_TRY(settle(journal));
  PGR_ASSIGN(Placed placed, where_are_we(journal));
  if (placed == Placed::kOldInPlace) return {};
  if (journal.old_inode == 0) return rename_path(journal.data_directory, journal.sibling);
  PGR_ASSIGN(std::uint64_t beside, directory_inode(journal.sibling));
  if (beside != journal.old_inode) {
    return base::fail(
        base::ErrorCode::kConflict,
        fmt::format("{} is not the directory from before action {}", journal.sibling, journal.action_uid),
        "nothing was moved; look for the old directory by hand");
  }
  return exchange(journal.sibling, journal.data_directory);
}

}  // namespace pgrunbook::agent
