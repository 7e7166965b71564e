#include "archive/layout.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace pgrunbook::archive {

std::string Layout::wal_file(const postgres::WalName& name) const {
  if (name.kind == postgres::WalKind::kHistory) return history_file(name.timeline);
  return timeline_directory(name.timeline) + "/" + name.text + ".zst";
}

std::string Layout::action_json(const ActionKey& k) const {
  return fmt::format("{}/actions/{}-{}-{}.json", root_, k.kind, k.name, k.hash);
}

std::string Layout::outcome_json(const ActionKey& k) const {
  return fmt::format("{}/actions/{}-{}-{}.outcome.json", root_, k.kind, k.name, k.hash);
}

base::Result<> check_word(std::string_view word, std::string_view what) {
  bool good = !word.empty() && word.size() <= 253 && word.front() != '.' &&
              std::all_of(word.begin(), word.end(), [](char c) {
                return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '-' || c == '_';
              });
  if (good) return {};
  return base::fail(base::ErrorCode::kInvalid, fmt::format("'{:.80}' cannot be {}", word, what),
                    "only letters, digits, '.', '-' and '_' are allowed");
}

base::Result<> check_key(const ActionKey& key) {
  PGR_TRY(check_word(key.kind, "an action's kind"));
  PGR_TRY(check_word(key.name, "an action's name"));
  PGR_TRY(check_word(key.hash, "the hash of an action's spec"));
  return {};
}

}  // namespace pgrunbook::archive
