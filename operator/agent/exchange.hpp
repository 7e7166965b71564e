// Exchanging two directories, so that at no moment the data directory is missing or half there: an image that
// finds no data directory makes a new, empty cluster.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/json.hpp"
#include "base/result.hpp"

namespace pgrunbook::agent {

// What is written to <mount>/.pgrunbook/undo-<uid>.json before anything is renamed. Inode numbers say, after
// a crash, which directory is where: the journal is never guessed from names.
struct ExchangeJournal {
  std::string action_uid;
  std::string data_directory;   // absolute
  std::string sibling;          // where the new directory was made; afterwards the old one lies there
  std::uint64_t old_inode = 0;  // of the data directory before; 0 = there was none (an empty volume)
  std::uint64_t new_inode = 0;
  std::string state = "Prepared";  // Prepared | Exchanged | Undone: what the writer knew; the inodes decide
  // In an undone one: whether a server of the member ran on the new directory, or nobody can tell.
  std::optional<bool> served{};
  base::Json result = base::Json::object();  // what Recover answered
};

[[nodiscard]] base::Json to_json(const ExchangeJournal& journal);
[[nodiscard]] base::Result<ExchangeJournal> exchange_journal_from_json(const base::Json& json);
// <mount>/.pgrunbook/undo-<uid>.json
[[nodiscard]] std::string journal_path(const std::string& mount, const std::string& action_uid);
[[nodiscard]] base::Result<ExchangeJournal> read_journal(const std::string& mount,
                                                         const std::string& action_uid);
[[nodiscard]] base::Result<> write_journal(const std::string& mount, const ExchangeJournal& journal);

// Inode of a directory; kNotFound where there is nothing, kRefused (DataDirectoryIsLink) for a symbolic link.
[[nodiscard]] base::Result<std::uint64_t> directory_inode(const std::string& path);

enum class Placed {
  kOldInPlace,  // the data directory is what it was before the action
  kNewInPlace,  // the exchange has happened
  kBetween,     // a crash between two renames: the data directory is absent
};
// Looks at the inodes. kConflict when the data directory is neither: somebody else has replaced it.
[[nodiscard]] base::Result<Placed> where_are_we(const ExchangeJournal& journal);

// Where the new directory lies: in place, beside it, or where two renames were cut off. kNotFound where it is
// in none of these.
[[nodiscard]] base::Result<std::string> place_of_new(const ExchangeJournal& journal);
// Whether the new directory lies under `sibling`, false where nothing does. kConflict where something else
// does: before an undo has ended that is the former data, and it must not be removed, nor called the copy.
[[nodiscard]] base::Result<bool> new_lies_beside(const ExchangeJournal& journal);

// Brings the new directory into place. One renameat2(RENAME_EXCHANGE), a plain rename where there was no
// directory, or two renames where the file system cannot exchange; the parent is synced. Doing it again does
// nothing.
[[nodiscard]] base::Result<> exchange_forward(const ExchangeJournal& journal);
// The way back; the new directory then lies under `sibling`.
[[nodiscard]] base::Result<> exchange_back(const ExchangeJournal& journal);

// Exchanges two existing directories, or renames `from` to `to` where `to` does not exist.
[[nodiscard]] base::Result<> exchange(const std::string& from, const std::string& to);

}  // namespace pgrunbook::agent
