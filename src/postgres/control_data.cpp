#include "postgres/control_data.hpp"

#include <charconv>

#include <fmt/format.h>

namespace pgrunbook::postgres {
namespace {

using Fields = std::map<std::string, std::string, std::less<>>;

Fields split(std::string_view output) {
  Fields fields;
  while (!output.empty()) {
    auto end = std::min(output.find('\n'), output.size());
    std::string_view line = output.substr(0, end);
    output.remove_prefix(std::min(end + 1, output.size()));
    auto colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    auto begin = line.find_first_not_of(' ', colon + 1);
    fields[std::string(line.substr(0, colon))] =
        begin == std::string_view::npos ? std::string() : std::string(line.substr(begin));
  }
  return fields;
}

base::Result<std::string> need(const Fields& fields, std::string_view key) {
  auto found = fields.find(key);
  if (found != fields.end() && !found->second.empty()) return found->second;
  return base::fail(base::ErrorCode::kCorrupt, fmt::format("pg_controldata printed no '{}'", key),
                    "it must run with LC_ALL=C");
}

template <typename T>
base::Result<T> number(const Fields& fields, std::string_view key) {
  PGR_ASSIGN(std::string text, need(fields, key));
  T value{};
  auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code == std::errc{} && stop == text.data() + text.size()) return value;
  return base::fail(base::ErrorCode::kCorrupt,
                    fmt::format("pg_controldata printed '{}' for '{}'", text, key));
}

base::Result<Lsn> position(const Fields& fields, std::string_view key) {
  PGR_ASSIGN(std::string text, need(fields, key));
  return Lsn::parse(text);
}

// pg_controldata's words and the settings they are.
constexpr std::pair<std::string_view, std::string_view> kSettings[] = {
    {"wal_level setting", "wal_level"},
    {"wal_log_hints setting", "wal_log_hints"},
    {"max_connections setting", "max_connections"},
    {"max_worker_processes setting", "max_worker_processes"},
    {"max_wal_senders setting", "max_wal_senders"},
    {"max_prepared_xacts setting", "max_prepared_transactions"},
    {"max_locks_per_xact setting", "max_locks_per_transaction"},
    {"track_commit_timestamp setting", "track_commit_timestamp"},
};

}  // namespace

base::Result<ControlData> parse_control_data(std::string_view output) {
  if (output.find("Calculated CRC checksum does not match") != std::string_view::npos) {
    return base::fail(base::ErrorCode::kCorrupt, "pg_control's own checksum is wrong",
                      "the file is damaged; nothing it says is used");
  }
  Fields fields = split(output);
  ControlData c;
  PGR_ASSIGN(c.system_identifier, number<std::uint64_t>(fields, "Database system identifier"));
  PGR_ASSIGN(c.state, need(fields, "Database cluster state"));
  PGR_ASSIGN(c.control_version, number<int>(fields, "pg_control version number"));
  PGR_ASSIGN(c.catalog_version, number<std::int64_t>(fields, "Catalog version number"));
  PGR_ASSIGN(c.checkpoint, position(fields, "Latest checkpoint location"));
  PGR_ASSIGN(c.redo, position(fields, "Latest checkpoint's REDO location"));
  PGR_ASSIGN(auto timeline, number<std::uint32_t>(fields, "Latest checkpoint's TimeLineID"));
  c.timeline = TimelineId(timeline);
  PGR_ASSIGN(c.segment_size, number<std::uint64_t>(fields, "Bytes per WAL segment"));
  PGR_ASSIGN(c.min_recovery_end, position(fields, "Minimum recovery ending location"));
  PGR_ASSIGN(c.checksum_version, number<int>(fields, "Data page checksum version"));
  for (const auto& [printed, setting] : kSettings) {
    if (auto found = fields.find(printed); found != fields.end())
      c.settings[std::string(setting)] = found->second;
  }
  return c;
}

}  // namespace pgrunbook::postgres
