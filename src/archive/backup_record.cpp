#include "archive/backup_record.hpp"

#include <charconv>

#include <fmt/format.h>

#include "base/hash.hpp"

namespace pgrunbook::archive {
namespace {

using base::Json;
using base::Reader;
using base::Result;

constexpr const char* kHashKey = "recordSHA256";

void need_number(Reader* r, std::string_view key, std::uint64_t* out) {
  std::int64_t value = 0;
  if (!r->maybe(key, &value) || value < 0) {
    r->fail_with(base::error(base::ErrorCode::kCorrupt, fmt::format("{} is missing", r->path(key))));
    return;
  }
  *out = static_cast<std::uint64_t>(value);
}

void need_int(Reader* r, std::string_view key, int* out) {
  std::uint64_t value = 0;
  need_number(r, key, &value);
  *out = static_cast<int>(value);
}

// System identifiers are text in JSON: a 64-bit number would lose digits in other people's tools.
void need_identifier(Reader* r, std::string_view key, std::uint64_t* out) {
  std::string text;
  r->need(key, &text);
  auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), *out);
  if (code != std::errc{} || stop != text.data() + text.size()) {
    r->fail_with(base::error(base::ErrorCode::kCorrupt, fmt::format("{} is '{}'", r->path(key), text)));
  }
}

void need_lsn(Reader* r, std::string_view key, postgres::Lsn* out) {
  std::string text;
  r->need(key, &text);
  auto lsn = postgres::Lsn::parse(text);
  if (!lsn) {
    r->fail_with(lsn.error());
    return;
  }
  *out = *lsn;
}

void need_time(Reader* r, std::string_view key, base::SystemTime* out) {
  std::string text;
  r->need(key, &text);
  auto time = base::parse_time(text, r->path(key));
  if (!time) {
    r->fail_with(time.error());
    return;
  }
  *out = *time;
}

Json files_json(const std::vector<ConfigurationFile>& files) {
  Json list = Json::array();
  for (const ConfigurationFile& f : files)
    list.push_back({{"path", f.path}, {"keptAs", f.kept_as}, {"whyNot", f.why_not}});
  return list;
}

std::string hash_of(const Json& without_hash) { return base::sha256(without_hash.dump()); }

}  // namespace

Json to_json(const BackupRecord& b) {
  Json j = {
      {"format", b.format},
      {"backupID", b.id},
      {"method", b.method},
      {"type", b.type},
      {"parentID", b.parent_id},
      {"topology", b.topology},
      {"member", b.member},
      {"actionUID", b.action_uid},
      {"serverVersion", b.server_version},
      {"majorVersion", b.major_version},
      {"controlVersion", b.control_version},
      {"catalogVersion", b.catalog_version},
      {"systemIdentifier", std::to_string(b.system_identifier)},
      {"segmentSize", b.segment_size},
      {"timeline", b.timeline.number()},
      {"beginLSN", b.begin_lsn.text()},
      {"endLSN", b.end_lsn.text()},
      {"beginWAL", b.begin_wal},
      {"endWAL", b.end_wal},
      {"startTime", base::format_time_micro(b.start_time)},
      {"stopTime", base::format_time_micro(b.stop_time)},
      {"databaseBytes", b.database_bytes},
      {"tarBytes", b.tar_bytes},
      {"storedBytes", b.stored_bytes},
      {"files", b.files},
      {"storedSHA256", b.stored_sha256},
      {"manifestSHA256", b.manifest_sha256},
      {"indexSHA256", b.index_sha256},
      {"compression", b.compression},
      {"level", b.level},
      {"dataChecksums", b.data_checksums},
      {"serverEncoding", b.server_encoding},
      {"collate", b.collate},
      {"ctype", b.ctype},
      {"verified", b.verified},
      {"superuser", b.superuser},
      {"tablespaces", b.tablespaces},
      {"preloadLibraries", b.preload_libraries},
      {"walResourceManagers", b.wal_resource_managers},
      {"databases", b.databases},
      {"configurationFiles", files_json(b.configuration_files)},
  };
  j[kHashKey] = hash_of(j);
  return j;
}

Result<BackupRecord> backup_record_from_json(const Json& json) {
  BackupRecord b;
  Reader r(json, "backup.json");
  need_int(&r, "format", &b.format);
  if (json.is_object() && b.format != 1) {
    return base::fail(base::ErrorCode::kInvalid,
                      fmt::format("backup.json has format {}, this version knows 1", b.format));
  }
  std::string hash;
  r.need(kHashKey, &hash);
  if (json.is_object()) {
    Json rest = json;
    rest.erase(kHashKey);
    if (hash_of(rest) != hash) {
      return base::fail(base::ErrorCode::kCorrupt, "backup.json is not what its recordSHA256 says",
                        "it was edited or damaged; this backup is not used");
    }
  }
  r.need("backupID", &b.id);
  r.need("method", &b.method);
  r.need("type", &b.type);
  r.maybe("parentID", &b.parent_id);
  r.maybe("topology", &b.topology);
  r.maybe("member", &b.member);
  r.maybe("actionUID", &b.action_uid);
  r.maybe("serverVersion", &b.server_version);
  need_int(&r, "majorVersion", &b.major_version);
  need_int(&r, "controlVersion", &b.control_version);
  std::uint64_t catalog = 0;
  need_number(&r, "catalogVersion", &catalog);
  b.catalog_version = static_cast<std::int64_t>(catalog);
  need_identifier(&r, "systemIdentifier", &b.system_identifier);
  need_number(&r, "segmentSize", &b.segment_size);
  std::uint64_t timeline = 0;
  need_number(&r, "timeline", &timeline);
  b.timeline = postgres::TimelineId(static_cast<std::uint32_t>(timeline));
  need_lsn(&r, "beginLSN", &b.begin_lsn);
  need_lsn(&r, "endLSN", &b.end_lsn);
  r.need("beginWAL", &b.begin_wal);
  r.need("endWAL", &b.end_wal);
  need_time(&r, "startTime", &b.start_time);
  need_time(&r, "stopTime", &b.stop_time);
  need_number(&r, "databaseBytes", &b.database_bytes);
  need_number(&r, "tarBytes", &b.tar_bytes);
  need_number(&r, "storedBytes", &b.stored_bytes);
  need_number(&r, "files", &b.files);
  r.need("storedSHA256", &b.stored_sha256);
  r.need("manifestSHA256", &b.manifest_sha256);
  r.need("indexSHA256", &b.index_sha256);
  r.maybe("compression", &b.compression);
  need_int(&r, "level", &b.level);
  r.maybe("dataChecksums", &b.data_checksums);
  r.maybe("serverEncoding", &b.server_encoding);
  r.maybe("collate", &b.collate);
  r.maybe("ctype", &b.ctype);
  r.maybe("verified", &b.verified);
  r.maybe("superuser", &b.superuser);
  r.maybe("tablespaces", &b.tablespaces);
  r.maybe("preloadLibraries", &b.preload_libraries);
  r.maybe("walResourceManagers", &b.wal_resource_managers);
  if (const Json* list = r.child("databases")) b.databases = *list;
  if (const Json* list = r.child("configurationFiles"); list != nullptr && list->is_array()) {
    for (const Json& item : *list) {
      b.configuration_files.push_back(
          {base::text_at(item, {"path"}), base::text_at(item, {"keptAs"}), base::text_at(item, {"whyNot"})});
    }
  }
  PGR_TRY(r.done());
  return b;
}

}  // namespace pgrunbook::archive
