// Where things lie in a repository. An open format: standard tools restore it without us.
//
//   repository.json                              owner, system identifiers, timelines
//   basebackup/<id>/base.tar.zst                 pg_basebackup -Ft, in independent zstd frames
//                   base.index.jsonl             side index: frames and files of the tar
//                   backup_manifest              PostgreSQL's own, as it stands in the tar
//                   configuration/<n>-<name>     configuration files from outside the data directory
//                   RESTORE.md                   how to restore by hand
//                   backup.json                  last: a backup without it does not exist
//   walbackup/<timeline>/<segment>.zst           also <segment>.partial.zst and <segment>.<offset>.backup.zst
//   walbackup/<timeline>/writer.json             whose volume writes this timeline (put-if-absent)
//   walbackup/<timeline>.history.zst             beside the folders, so that one listing shows every timeline
//   salvage/<action uid>/<segment>.zst           a last, incomplete segment, zeros behind its end; seen only
//                                                by restores that name the action
//                        salvage.json            last: what was salvaged (put-if-absent)
//   transcripts/<action uid>.md
//   actions/<kind>-<name>-<hash>.json            what an action set out to do (put-if-absent)
//   actions/<kind>-<name>-<hash>.outcome.json    how it ended (put-if-absent)
//
// Files are 0640, directories 2750: the group of the volume reads. Nothing outside these names is read,
// written or counted, so a repository can stand beside anything else on its volume.
#pragma once

#include <string>

#include "base/result.hpp"
#include "postgres/wal_name.hpp"

namespace pgrunbook::archive {

inline constexpr unsigned kFileMode = 0640;
inline constexpr unsigned kDirectoryMode = 02750;

// What identifies an action in the ledger: the same words again are the same action, whatever its object's
// uid.
struct ActionKey {
  std::string kind, name, hash;
  std::string uid;  // of the object that published it; not part of the file's name
};

class Layout {
 public:
  explicit Layout(std::string root) : root_(std::move(root)) {}
  [[nodiscard]] const std::string& root() const { return root_; }
  [[nodiscard]] std::string repository_json() const { return root_ + "/repository.json"; }
  [[nodiscard]] std::string wal_directory() const { return root_ + "/walbackup"; }
  [[nodiscard]] std::string timeline_directory(postgres::TimelineId timeline) const {
    return wal_directory() + "/" + timeline.hex();
  }
  [[nodiscard]] std::string writer_json(postgres::TimelineId timeline) const {
    return timeline_directory(timeline) + "/writer.json";
  }
  // Any of the four kinds of WAL file.
  [[nodiscard]] std::string wal_file(const postgres::WalName& name) const;
  [[nodiscard]] std::string history_file(postgres::TimelineId timeline) const {
    return wal_directory() + "/" + postgres::history_name(timeline) + ".zst";
  }
  [[nodiscard]] std::string backups_directory() const { return root_ + "/basebackup"; }
  [[nodiscard]] std::string backup_directory(const std::string& id) const {
    return backups_directory() + "/" + id;
  }
  [[nodiscard]] std::string backup_json(const std::string& id) const {
    return backup_directory(id) + "/backup.json";
  }
  [[nodiscard]] std::string salvage_directory(const std::string& action_uid) const {
    return root_ + "/salvage/" + action_uid;
  }
  [[nodiscard]] std::string salvage_file(const std::string& action_uid, const postgres::WalName& name) const {
    return salvage_directory(action_uid) + "/" + name.text + ".zst";
  }
  [[nodiscard]] std::string salvage_json(const std::string& action_uid) const {
    return salvage_directory(action_uid) + "/salvage.json";
  }
  [[nodiscard]] std::string transcript(const std::string& action_uid) const {
    return root_ + "/transcripts/" + action_uid + ".md";
  }
  [[nodiscard]] std::string action_json(const ActionKey& key) const;
  [[nodiscard]] std::string outcome_json(const ActionKey& key) const;

 private:
  std::string root_;
};

// A word that may stand in a file's name: letters, digits, '.', '-', '_', not beginning with '.', 1 to 253
// bytes. kInvalid, naming `what`, otherwise: nothing from outside becomes a path unchecked.
[[nodiscard]] base::Result<> check_word(std::string_view word, std::string_view what);
// check_word on all parts.
[[nodiscard]] base::Result<> check_key(const ActionKey& key);

}  // namespace pgrunbook::archive
