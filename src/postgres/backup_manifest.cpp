#include "postgres/backup_manifest.hpp"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "base/hash.hpp"
#include "base/json.hpp"

namespace pgrunbook::postgres {
namespace {

using base::Json;
using base::Result;

base::Failure damaged(std::string message) {
  base::Error e = base::error(base::ErrorCode::kCorrupt, "backup_manifest: " + std::move(message));
  e.reason = "ManifestDamaged";
  return base::fail(std::move(e));
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// Names that are not UTF-8 stand in the manifest as hexadecimal.
std::optional<std::string> decode(const std::string& hex) {
  std::string out;
  if (hex.size() % 2 != 0) return std::nullopt;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    int high = digit(hex[i]), low = digit(hex[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out.push_back(static_cast<char>(high * 16 + low));
  }
  return out;
}

// The checksum covers everything up to and including the newline before the last line, which holds it.
Result<> check_own_checksum(std::string_view content, const std::string& stated) {
  std::string_view body = content;
  if (body.ends_with('\n')) body.remove_suffix(1);
  auto newline = body.rfind('\n');
  if (newline == std::string_view::npos) return damaged("it has no lines");
  if (base::sha256(content.substr(0, newline + 1)) != stated) return damaged("its own checksum is wrong");
  return {};
}

}  // namespace

Result<BackupManifest> parse_backup_manifest(std::string_view content) {
  Json json = Json::parse(content, nullptr, false);
  if (!json.is_object()) return damaged("it is no JSON object");
  PGR_TRY(check_own_checksum(content, base::text_at(json, {"Manifest-Checksum"})));
  BackupManifest m;
  m.version = static_cast<int>(base::number_at(json, {"PostgreSQL-Backup-Manifest-Version"}));
  if (m.version != 1 && m.version != 2) return damaged(fmt::format("version {} is not known", m.version));
  if (const Json& id = base::at(json, {"System-Identifier"}); id.is_number_unsigned()) {
    m.system_identifier = id.get<std::uint64_t>();
  }
  for (const Json& item : base::at(json, {"Files"})) {
    std::string path = base::text_at(item, {"Path"});
    if (path.empty()) {
      auto decoded = decode(base::text_at(item, {"Encoded-Path"}));
      if (!decoded || decoded->empty()) return damaged("a file has no path");
      path = *decoded;
    }
    std::int64_t size = base::number_at(item, {"Size"}, -1);
    if (size < 0) return damaged(fmt::format("{} has no size", path));
    ManifestFile file{static_cast<std::uint64_t>(size), {}};
    if (base::text_at(item, {"Checksum-Algorithm"}) == "SHA256")
      file.sha256 = base::text_at(item, {"Checksum"});
    if (!m.files.emplace(path, std::move(file)).second)
      return damaged(fmt::format("{} is in it twice", path));
  }
  for (const Json& item : base::at(json, {"WAL-Ranges"})) {
    WalRange range;
    range.timeline = TimelineId(static_cast<std::uint32_t>(base::number_at(item, {"Timeline"})));
    PGR_ASSIGN(range.begin, Lsn::parse(base::text_at(item, {"Start-LSN"})));
    PGR_ASSIGN(range.end, Lsn::parse(base::text_at(item, {"End-LSN"})));
    m.ranges.push_back(range);
  }
  std::sort(m.ranges.begin(), m.ranges.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
  if (m.ranges.empty()) return damaged("it names no range of WAL");
  return m;
}

Result<> compare_with_manifest(const BackupManifest& manifest,
                               const std::map<std::string, ManifestFile>& found) {
  std::string first;
  std::size_t count = 0;
  auto differ = [&](std::string text) {
    if (count++ == 0) first = std::move(text);
  };
  for (const auto& [path, file] : manifest.files) {
    auto there = found.find(path);
    if (there == found.end()) {
      differ(fmt::format("{} is missing", path));
    } else if (there->second.size != file.size) {
      differ(fmt::format("{} has {} bytes instead of {}", path, there->second.size, file.size));
    } else if (!file.sha256.empty() && there->second.sha256 != file.sha256) {
      differ(fmt::format("{} has other content than the manifest says", path));
    }
  }
  for (const auto& [path, file] : found) {
    if (path != "backup_manifest" && !manifest.files.contains(path))
      differ(fmt::format("{} is not in the manifest", path));
  }
  if (count == 0) return {};
  base::Error e =
      base::error(base::ErrorCode::kCorrupt,
                  count == 1 ? first : fmt::format("{}, and {} more differences", first, count - 1),
                  "the copy is not what the server sent; make another backup");
  e.reason = "BackupDiffersFromManifest";
  return base::fail(std::move(e));
}

}  // namespace pgrunbook::postgres
