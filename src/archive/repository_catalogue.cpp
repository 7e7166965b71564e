// The repository's backups and its ledger of actions.
#include <fmt/format.h>

#include "archive/repository.hpp"
#include "base/file.hpp"

namespace pgrunbook::archive {
namespace {

using base::ErrorCode;
using base::Json;
using base::Result;

std::string text_of(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<std::optional<Json>> read_json(const std::string& path) {
  auto text = base::read_file(path);
  if (!text) {
    if (text.error().code == ErrorCode::kNotFound) return std::optional<Json>();
    return base::fail(text.error());
  }
  PGR_ASSIGN(Json json, base::parse_json(*text, path));
  return std::optional<Json>(std::move(json));
}

// True where this call wrote it; false where somebody was first.
Result<bool> put_json(const std::string& path, const Json& json) {
  PGR_TRY(base::make_directories(path.substr(0, path.find_last_of('/')), kDirectoryMode));
  auto made = base::create_file(path, text_of(json), kFileMode);
  if (made) return true;
  if (made.error().code == ErrorCode::kAlreadyExists) return false;
  return base::fail(made.error());
}

}  // namespace

Result<BackupRecord> Repository::backup(const std::string& id) const {
  PGR_TRY(check_word(id, "the id of a backup"));
  PGR_ASSIGN(auto json, read_json(layout_.backup_json(id)));
  if (!json) {
    return base::fail(ErrorCode::kNotFound, fmt::format("the repository has no finished backup {}", id),
                      "a backup without backup.json was never completed and cannot be restored");
  }
  PGR_ASSIGN(BackupRecord record, backup_record_from_json(*json));
  if (record.id != id) {
    return base::fail(ErrorCode::kCorrupt,
                      fmt::format("backup.json of {} is of the backup {}", id, record.id));
  }
  return record;
}

Result<std::vector<BackupEntry>> Repository::backups() const {
  auto names = base::list_directory(layout_.backups_directory());
  if (!names) {
    if (names.error().code == ErrorCode::kNotFound) return std::vector<BackupEntry>();
    return base::fail(names.error());
  }
  std::vector<BackupEntry> list;
  for (const std::string& id : *names) {
    if (!check_word(id, "the id of a backup")) continue;
    BackupEntry entry;
    entry.id = id;
    auto record = backup(id);
    if (record) {
      entry.record = std::move(*record);
    } else {
      entry.problem = record.error().text();
    }
    list.push_back(std::move(entry));
  }
  return list;
}

Result<std::optional<LedgerEntry>> Repository::find_action(const ActionKey& key) const {
  PGR_TRY(check_key(key));
  PGR_ASSIGN(auto content, read_json(layout_.action_json(key)));
  if (!content) return std::optional<LedgerEntry>();
  LedgerEntry entry;
  entry.content = std::move(*content);
  PGR_ASSIGN(entry.outcome, read_json(layout_.outcome_json(key)));
  return std::optional<LedgerEntry>(std::move(entry));
}

Result<LedgerEntry> Repository::publish_action(const ActionKey& key, const Json& content) const {
  PGR_TRY(check_key(key));
  PGR_ASSIGN(bool ours, put_json(layout_.action_json(key), content));
  PGR_ASSIGN(auto entry, find_action(key));
  if (!entry) {
    return base::fail(ErrorCode::kConflict,
                      fmt::format("{} vanished after it was written", layout_.action_json(key)));
  }
  entry->ours = ours;
  return *entry;
}

Result<Json> Repository::finish_action(const ActionKey& key, const Json& outcome) const {
  PGR_TRY(check_key(key));
  PGR_ASSIGN(bool ours, put_json(layout_.outcome_json(key), outcome));
  (void)ours;
  PGR_ASSIGN(auto stands, read_json(layout_.outcome_json(key)));
  if (!stands) {
    return base::fail(ErrorCode::kConflict,
                      fmt::format("{} vanished after it was written", layout_.outcome_json(key)));
  }
  return *stands;
}

}  // namespace pgrunbook::archive
