#include "agent/backup_server.hpp"

#include <charconv>
#include <chrono>
#include <thread>

#include <fmt/format.h>

#include "archive/layout.hpp"
#include "base/hash.hpp"
#include "postgres/version.hpp"

namespace pgrunbook::agent {
namespace {

using base::Deadline;
using base::ErrorCode;
using base::Json;
using base::Result;
using postgres::psql_value;
using postgres::PsqlTarget;

// One row, one JSON object: every name is fixed here, whatever the server's version calls it. to_jsonb(d)
// lets columns be asked for that older versions do not have.
constexpr const char* kFacts = R"(SELECT json_build_object(
  'version', current_setting('server_version'),
  'versionNumber', current_setting('server_version_num'),
  'systemIdentifier', (SELECT system_identifier::text FROM pg_control_system()),
  'controlVersion', (SELECT pg_control_version FROM pg_control_system()),
  'catalogVersion', (SELECT catalog_version_no FROM pg_control_system()),
  'segmentSize', pg_size_bytes(current_setting('wal_segment_size')),
  'inRecovery', pg_is_in_recovery(),
  'dataChecksums', current_setting('data_checksums') = 'on',
  'archiveMode', current_setting('archive_mode'),
  'dataDirectory', current_setting('data_directory'),
  'encoding', current_setting('server_encoding'),
  'collate', (SELECT datcollate FROM pg_database WHERE datname = 'template1'),
  'ctype', (SELECT datctype FROM pg_database WHERE datname = 'template1'),
  'superuser', (SELECT rolname FROM pg_roles WHERE oid = 10),
  'preload', current_setting('shared_preload_libraries'),
  'databaseBytes', (SELECT sum(pg_database_size(oid)) FROM pg_database),
  'tablespaces', (SELECT coalesce(json_agg(spcname || ' at ' || pg_tablespace_location(oid)), '[]')
                  FROM pg_tablespace WHERE oid NOT IN (1663, 1664)),
  'databases', (SELECT json_agg(json_build_object('name', d.datname, 'bytes', pg_database_size(d.oid),
                  'encoding', pg_encoding_to_char(d.encoding), 'collate', d.datcollate, 'ctype', d.datctype,
                  'collationVersion', to_jsonb(d) ->> 'datcollversion') ORDER BY d.oid) FROM pg_database d),
  'now', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')))";

std::vector<std::string> words(const Json& list) {
  std::vector<std::string> out;
  if (!list.is_array()) return out;
  for (const Json& item : list) {
    if (item.is_string()) out.push_back(item.get<std::string>());
  }
  return out;
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    auto end = std::min(text.find(','), text.size());
    std::string_view word = text.substr(0, end);
    while (word.starts_with(' ')) word.remove_prefix(1);
    while (word.ends_with(' ')) word.remove_suffix(1);
    if (!word.empty()) out.emplace_back(word);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::uint64_t unsigned_at(const Json& json, std::string_view key) {
  std::int64_t value = base::number_at(json, {key});
  return value < 0 ? 0 : static_cast<std::uint64_t>(value);
}

}  // namespace

Result<ServerFacts> ask_facts(const PsqlTarget& server, Deadline deadline) {
  PGR_ASSIGN(std::string text, psql_value(server, kFacts, deadline));
  PGR_ASSIGN(Json json, base::parse_json(text, "the server's answer"));
  ServerFacts f;
  f.version = base::text_at(json, {"version"});
  PGR_ASSIGN(f.major, postgres::parse_major(f.version));
  std::string id = base::text_at(json, {"systemIdentifier"});
  std::from_chars(id.data(), id.data() + id.size(), f.system_identifier);
  f.control_version = static_cast<int>(base::number_at(json, {"controlVersion"}));
  f.catalog_version = base::number_at(json, {"catalogVersion"});
  f.segment_size = unsigned_at(json, "segmentSize");
  f.in_recovery = base::at(json, {"inRecovery"}) == true;
  f.data_checksums = base::at(json, {"dataChecksums"}) == true;
  f.archive_mode = base::text_at(json, {"archiveMode"});
  f.data_directory = base::text_at(json, {"dataDirectory"});
  f.encoding = base::text_at(json, {"encoding"});
  f.collate = base::text_at(json, {"collate"});
  f.ctype = base::text_at(json, {"ctype"});
  f.superuser = base::text_at(json, {"superuser"});
  f.preload_libraries = split_list(base::text_at(json, {"preload"}));
  f.database_bytes = unsigned_at(json, "databaseBytes");
  f.tablespaces = words(base::at(json, {"tablespaces"}));
  f.databases = base::at(json, {"databases"});
  PGR_ASSIGN(f.now, base::parse_time(base::text_at(json, {"now"}), "the server's clock"));
  if (f.major >= 15 && f.major < 90) {
    constexpr const char* kManagers =
        "SELECT coalesce(json_agg(rm_name), '[]') FROM pg_get_wal_resource_managers() WHERE NOT rm_builtin";
    if (auto managers = psql_value(server, kManagers, deadline)) {
      PGR_ASSIGN(Json list, base::parse_json(*managers, "the server's answer"));
      f.wal_resource_managers = words(list);
    }
  }
  return f;
}

Result<> wait_for_server(const PsqlTarget& server, Deadline deadline) {
  while (true) {
    auto answer = psql_value(server, "SELECT 1", Deadline::after(std::chrono::seconds(15)));
    if (answer) return {};
    ErrorCode code = answer.error().code;
    bool may_pass = code == ErrorCode::kUnavailable || code == ErrorCode::kTimeout;
    if (!may_pass || deadline.passed()) {
      base::Error e = answer.error().in(
          fmt::format("cannot connect to {}:{} as {}", server.host, server.port, server.user));
      e.reason = code == ErrorCode::kUnauthorized ? "ConnectionRefusedByServer" : "ServerUnreachable";
      e.hint = code == ErrorCode::kUnauthorized
                   ? "the topology's setup must have made the role and its lines in pg_hba.conf"
                   : "is the member running, and does a NetworkPolicy let Jobs reach it?";
      return base::fail(std::move(e));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
}

Result<base::SystemTime> mark_and_switch(const PsqlTarget& server, const std::string& name,
                                         Deadline deadline) {
  PGR_ASSIGN(
      std::string now,
      psql_value(server,
                 "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
                 deadline));
  PGR_ASSIGN(auto time, base::parse_time(now, "the server's clock"));
  std::string point =
      fmt::format("SELECT pg_create_restore_point({})", postgres::quote_literal(name.substr(0, 63)));
  PGR_TRY(postgres::psql(server, {point, "SELECT pg_switch_wal()"}, deadline));
  return time;
}

namespace {

// A configuration file's lines as far as they are in force: what a role may know that may not read the file.
Result<std::string> settings_from(const PsqlTarget& server, const std::string& path, Deadline deadline) {
  PGR_ASSIGN(auto rows,
             postgres::psql(server,
                            {fmt::format("SELECT name || ' = ' || quote_literal(current_setting(name)) FROM "
                                         "pg_settings WHERE sourcefile = {} ORDER BY sourceline",
                                         postgres::quote_literal(path))},
                            deadline));
  std::string lines;
  for (const postgres::Row& row : rows) lines += row.front() + "\n";
  return lines;
}

}  // namespace

Result<std::vector<OutsideFile>> ask_outside_files(const PsqlTarget& server,
                                                   const std::string& data_directory, Deadline deadline) {
  // pg_settings shows a file only while one of its lines is in force; pg_file_settings shows all, but few
  // roles may look.
  std::string list =
      "SELECT DISTINCT f FROM (SELECT setting AS f FROM pg_settings WHERE name IN "
      "('config_file','hba_file','ident_file') "
      "UNION SELECT sourcefile FROM pg_settings WHERE sourcefile IS NOT NULL{}) x WHERE f <> '' AND f NOT "
      "LIKE {} ORDER BY 1";
  std::string prefix = data_directory;
  std::string escaped;
  for (char c : prefix) {
    if (c == '%' || c == '_' || c == '\\') escaped.push_back('\\');
    escaped.push_back(c);
  }
  std::string like = postgres::quote_literal(escaped + "/%");
  auto rows = postgres::psql(
      server, {fmt::format(fmt::runtime(list), " UNION SELECT sourcefile FROM pg_file_settings", like)},
      deadline);
  if (!rows) rows = postgres::psql(server, {fmt::format(fmt::runtime(list), "", like)}, deadline);
  if (!rows) return base::fail(rows.error());
  std::vector<OutsideFile> files;
  for (const postgres::Row& row : *rows) {
    OutsideFile f;
    f.file.path = row.front();
    auto content = psql_value(
        server,
        fmt::format("SELECT encode(pg_read_binary_file({}), 'base64')", postgres::quote_literal(f.file.path)),
        deadline);
    Result<std::string> bytes = content;
    if (content) {
      std::erase(*content, '\n');
      bytes = base::base64_decode(*content);
    }
    if (bytes) {
      f.content = *bytes;
      std::string name = f.file.path.substr(f.file.path.find_last_of('/') + 1);
      if (!archive::check_word(name, "a name")) name = "file";
      f.file.kept_as = fmt::format("{}-{}", files.size() + 1, name);
    } else {
      f.file.why_not = bytes.error().message;
      PGR_ASSIGN(std::string lines, settings_from(server, f.file.path, deadline));
      if (!lines.empty()) {
        f.content = fmt::format(
            "# The settings in force that the server read from {}, as it tells them;\n# the file itself: "
            "{}\n{}",
            f.file.path, f.file.why_not, lines);
        f.file.kept_as = fmt::format("{}-settings.conf", files.size() + 1);
      }
    }
    files.push_back(std::move(f));
  }
  return files;
}

std::string archiver_words(const PsqlTarget& server, Deadline deadline) {
  auto rows =
      postgres::psql(server,
                     {"SELECT coalesce(last_failed_wal, ''), coalesce(last_archived_wal, ''), "
                      "last_failed_time > coalesce(last_archived_time, '-infinity') FROM pg_stat_archiver"},
                     deadline);
  if (!rows || rows->empty() || rows->front().size() != 3) return {};
  const postgres::Row& r = rows->front();
  if (r[2] == "t") return fmt::format("the server's archive_command last failed for {}", r[0]);
  if (!r[1].empty()) return fmt::format("the server's archive_command last succeeded for {}", r[1]);
  return "the server's archive_command has not run";
}

void cancel_backup(const PsqlTarget& server, const std::string& application_name) {
  (void)psql_value(
      server,
      fmt::format("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = {}",
                  postgres::quote_literal(application_name)),
      Deadline::after(std::chrono::seconds(20)));
}

}  // namespace pgrunbook::agent
