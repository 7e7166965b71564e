#include "agent/settings.hpp"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

#include "agent/member_agent.hpp"

namespace pgrunbook::agent {
namespace {

constexpr std::string_view kHbaLines =
    "# pgrunbook: backups and statements of the operator\n"
    "host replication pgrunbook all scram-sha-256\n"
    "host all pgrunbook all scram-sha-256\n";

// Settings of a former life of a data directory.
bool belongs_to_another_life(std::string_view name) {
  return name.starts_with("recovery_") || name.starts_with("primary_") || name == "restore_command" ||
         name == "archive_cleanup_command" || name == "promote_trigger_file" || name == "trigger_file" ||
         name == "standby_mode" || name == "hot_standby_feedback";
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.front())) != 0) s.remove_prefix(1);
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.back())) != 0) s.remove_suffix(1);
  return s;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    auto end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// One line of a configuration file: "name = value", "name value", value quoted or not; empty for comments.
std::optional<Setting> parse_line(std::string_view line) {
  line = trimmed(line);
  std::size_t n = 0;
  while (n < line.size() &&
         (std::isalnum(static_cast<unsigned char>(line[n])) != 0 || line[n] == '_' || line[n] == '.'))
    ++n;
  if (n == 0) return std::nullopt;
  std::string name = lower(line.substr(0, n));
  line = trimmed(line.substr(n));
  if (line.starts_with("=")) line = trimmed(line.substr(1));
  std::string value;
  if (line.starts_with("'")) {
    for (std::size_t i = 1; i < line.size(); ++i) {
      if (line[i] == '\'') {
        if (i + 1 >= line.size() || line[i + 1] != '\'') break;
        ++i;
      } else if (line[i] == '\\' && i + 1 < line.size()) {
        ++i;
      }
      value.push_back(line[i]);
    }
  } else {
    value = std::string(trimmed(line.substr(0, line.find('#'))));
  }
  return Setting(name, value);
}

std::string directory_of(const std::string& path) { return path.substr(0, path.find_last_of('/')); }

struct Reading {
  const ReadFile& read;
  const ListFiles& list;
  Configuration* out;

  std::string absolute(const std::string& path, const std::string& from) const {
    return path.starts_with("/") ? path : directory_of(from) + "/" + path;
  }

  void file(const std::string& path, bool must_exist, int depth) {
    auto text = read(path);
    if (!text) {
      if (must_exist || text.error().code != base::ErrorCode::kNotFound) out->unreachable.push_back(path);
      return;
    }
    for (std::string_view line : lines_of(*text)) {
      auto setting = parse_line(line);
      if (!setting) continue;
      const auto& [name, value] = *setting;
      bool include = name == "include" || name == "include_if_exists" || name == "include_dir";
      if (!include) {
        out->settings[name] = {value, path};
      } else if (depth >= 10) {
        out->unreachable.push_back(value);
      } else if (name == "include_dir") {
        directory(absolute(value, path), depth);
      } else {
        file(absolute(value, path), name == "include", depth + 1);
      }
    }
  }

  void directory(const std::string& path, int depth) {
    auto names = list(path);
    if (!names) {
      out->unreachable.push_back(path);
      return;
    }
    std::sort(names->begin(), names->end());
    for (const std::string& name : *names) {
      if (name.ends_with(".conf") && !name.starts_with("."))
        file(fmt::format("{}/{}", path, name), true, depth + 1);
    }
  }
};

}  // namespace

std::vector<Setting> server_settings(const ServerSettings& s) {
  bool recovering = !s.restore_command.empty();
  std::vector<Setting> list;
  auto add = [&](std::string name, std::string value) {
    list.emplace_back(std::move(name), std::move(value));
  };
  for (const auto& [name, value] : s.carried) add(name, value);
  add("listen_addresses", "");
  add("unix_socket_directories", s.socket_directory);
  add("port", "5432");
  add("archive_mode", s.archive_mode ? "on" : "off");
  add("archive_command", "");
  if (s.major >= 15 && s.major < 90) add("archive_library", "");
  add("archive_timeout", "0");
  add("synchronous_standby_names", "");
  add("shared_preload_libraries", "");
  add("session_preload_libraries", "");
  add("local_preload_libraries", "");
  add("max_logical_replication_workers", "0");
  add("autovacuum", "off");
  add("restart_after_crash", "off");
  add("ssl", "off");
  add("logging_collector", "off");
  add("log_destination", "stderr");
  add("log_min_messages", "warning");
  add("log_timezone", "UTC");
  add("huge_pages", "off");
  add("shared_buffers", fmt::format("{}MB", s.shared_buffers_mib));
  add("default_transaction_read_only", "off");
  add("fsync", "on");
  add("full_page_writes", "on");
  add("ignore_checksum_failure", "off");
  add("zero_damaged_pages", "off");
  if (s.major >= 17 && s.major < 90) add("event_triggers", "off");
  if (s.major >= 12 && s.major < 90) {
    add("archive_cleanup_command", "");
    add("recovery_end_command", "");
    add("primary_conninfo", "");
    add("primary_slot_name", "");
    add("recovery_min_apply_delay", "0");
    add("hot_standby", "on");
    for (const char* target :
         {"recovery_target", "recovery_target_time", "recovery_target_xid", "recovery_target_name"}) {
      add(target, "");
    }
    add("restore_command", s.restore_command);
    add("recovery_target_action", "pause");
    add("recovery_target_inclusive", "on");
    add("recovery_target_timeline", recovering ? std::to_string(s.timeline) : "current");
    add("recovery_target_lsn", recovering ? s.target.text() : "");
  }
  return list;
}

std::vector<std::string> as_arguments(const std::vector<Setting>& settings) {
  std::vector<std::string> out;
  for (const auto& [name, value] : settings) {
    out.emplace_back("-c");
    out.push_back(fmt::format("{}={}", name, value));
  }
  return out;
}

std::string as_file(const std::vector<Setting>& settings) {
  std::string out =
      "# Made by pgrunbook for a server inside a Job; the same settings are on its command line.\n";
  for (const auto& [name, value] : settings) out += fmt::format("{} = {}\n", name, quote_setting(value));
  return out;
}

int shared_buffers_for(int memory_mib) { return memory_mib <= 0 ? 32 : std::clamp(memory_mib / 4, 16, 128); }

std::map<std::string, std::string> insufficient_settings(std::string_view log) {
  std::map<std::string, std::string> out;
  for (std::string_view line : lines_of(log)) {
    auto lowered = line.find(" is a lower setting than on the primary server");
    if (lowered == std::string_view::npos)
      lowered = line.find(" is a lower setting than on the master server");
    if (lowered == std::string_view::npos) continue;
    auto value = line.find(" was ", lowered);
    auto equals = line.rfind(" = ", lowered);
    if (value == std::string_view::npos || equals == std::string_view::npos) continue;
    std::string_view name = line.substr(0, equals);
    name = name.substr(name.find_last_of(' ') + 1);
    std::string_view number = line.substr(value + 5);
    number = number.substr(0, number.find_first_not_of("0123456789"));
    if (!number.empty()) out[std::string(name)] = std::string(number);
  }
  return out;
}

std::string last_fatal(std::string_view log) {
  std::string found;
  for (std::string_view line : lines_of(log)) {
    for (std::string_view word : {"FATAL:  ", "PANIC:  "}) {
      auto at = line.find(word);
      if (at == std::string_view::npos) continue;
      std::string_view text = line.substr(at + word.size());
      if (text.find("the database system is ") == std::string_view::npos) found = std::string(text);
    }
  }
  return found;
}

std::string quote_setting(std::string_view value) {
  std::string out = "'";
  for (char c : value) {
    if (c == '\'' || c == '\\') out.push_back(c);
    out.push_back(c);
  }
  return out + "'";
}

Configuration read_configuration(const std::string& data_directory, const ReadFile& read,
                                 const ListFiles& list) {
  Configuration out;
  Reading reading{read, list, &out};
  reading.file(data_directory + "/postgresql.conf", true, 0);
  reading.file(data_directory + "/postgresql.auto.conf", false, 0);
  return out;
}

std::string clean_auto_conf(std::string_view content, const std::vector<Setting>& ours,
                            std::vector<std::string>* removed) {
  std::string out;
  for (std::string_view line : lines_of(content)) {
    auto setting = parse_line(line);
    if (setting) {
      bool replaced =
          std::any_of(ours.begin(), ours.end(), [&](const Setting& o) { return o.first == setting->first; });
      bool other = belongs_to_another_life(setting->first);
      if (other && removed != nullptr) removed->push_back(setting->first);
      if (replaced || other) continue;
    }
    out.append(line);
    out.push_back('\n');
  }
  for (const auto& [name, value] : ours) out += fmt::format("{} = {}\n", name, quote_setting(value));
  return out;
}

base::Json setup_settings_in(std::string_view content) {
  base::Json out = base::Json::object();
  for (std::string_view line : lines_of(content)) {
    auto setting = parse_line(line);
    if (!setting) continue;
    for (const char* name : kSetupSettings) {
      if (setting->first == name) out[name] = setting->second;
    }
  }
  return out;
}

std::string without_setup(std::string_view content, const base::Json& former) {
  if (!is_our_archive_command(base::text_at(setup_settings_in(content), {"archive_command"})))
    return std::string(content);
  std::string out;
  for (std::string_view line : lines_of(content)) {
    auto setting = parse_line(line);
    bool ours = setting && std::any_of(std::begin(kSetupSettings), std::end(kSetupSettings),
                                       [&](const char* name) { return setting->first == name; });
    if (ours) continue;
    out.append(line);
    out.push_back('\n');
  }
  if (former.is_object()) {
    for (const auto& [name, value] : former.items()) {
      if (value.is_string()) out += fmt::format("{} = {}\n", name, quote_setting(value.get<std::string>()));
    }
  }
  return out;
}

std::string without_hba_lines(std::string_view content) {
  if (auto at = content.find(kHbaLines); at != std::string_view::npos)
    return std::string(content.substr(0, at)) + std::string(content.substr(at + kHbaLines.size()));
  return std::string(content);
}

std::string with_hba_lines(std::string_view content) {
  if (content.starts_with(kHbaLines)) return std::string(content);
  return std::string(kHbaLines) + std::string(content);
}

}  // namespace pgrunbook::agent
