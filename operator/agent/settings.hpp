// Configuration as text: what a server inside a Job is started with, and what is left out of or put into a
// member's own files.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "postgres/control_data.hpp"
#include "postgres/lsn.hpp"

namespace pgrunbook::agent {

using Setting = std::pair<std::string, std::string>;

// ---- a server inside a Job

// What differs between the servers a Job starts.
struct ServerSettings {
  int major = 0;
  std::map<std::string, std::string> carried;  // ControlData::settings, raised where WAL asks for more
  std::string socket_directory;
  int shared_buffers_mib = 32;
  bool archive_mode = true;  // on: PostgreSQL keeps .ready for the new timeline; archive_command stays empty
  // Recovery only.
  std::string restore_command{};  // empty = no recovery
  int timeline = 0;
  postgres::Lsn target{};
};

// Every setting, in the order in which they must be given: the empty recovery targets before the real one,
// for a second non-empty target is FATAL. They go on the command line (nothing in PGDATA outranks it;
// postgresql.auto.conf does outrank a config file) and into the generated file.
[[nodiscard]] std::vector<Setting> server_settings(const ServerSettings& s);
// "-c", "name=value", ...
[[nodiscard]] std::vector<std::string> as_arguments(const std::vector<Setting>& settings);
// name = 'value' lines.
[[nodiscard]] std::string as_file(const std::vector<Setting>& settings);
// A quarter of the Job's memory, between 16 and 128 MiB; 32 where it is unknown.
[[nodiscard]] int shared_buffers_for(int memory_mib);

// Settings the log of a recovering server says are too small ("max_connections = 5 is a lower setting than on
// the primary server, where its value was 10"): names with the value they need. Recovery pauses for ever on
// them (14+) or ends (up to 13).
[[nodiscard]] std::map<std::string, std::string> insufficient_settings(std::string_view log);
// The last line of a server's log that says FATAL or PANIC; empty where there is none.
[[nodiscard]] std::string last_fatal(std::string_view log);

// ---- a member's own files

// 'it''s' as postgresql.conf wants it.
[[nodiscard]] std::string quote_setting(std::string_view value);

struct ConfigurationSource {
  std::string value;
  std::string file;  // where the last, effective one stands
};
struct Configuration {
  std::map<std::string, ConfigurationSource> settings{};  // names in lower case
  std::vector<std::string> unreachable{};                 // included files that cannot be read from here
};
// Reads a file's text, or says that there is none.
using ReadFile = std::function<base::Result<std::string>(const std::string& path)>;
using ListFiles = std::function<base::Result<std::vector<std::string>>(const std::string& directory)>;
// postgresql.conf with its includes and postgresql.auto.conf, in PostgreSQL's order: the last one counts
// ("20.1.2. Parameter Interaction via the Configuration File").
[[nodiscard]] Configuration read_configuration(const std::string& data_directory, const ReadFile& read,
                                               const ListFiles& list);

// postgresql.auto.conf without what belongs to another life of these data (recovery targets, restore and
// clean-up commands, primary_*, promotion triggers), and with `ours` at the end. `removed` receives the names
// of the settings left out.
[[nodiscard]] std::string clean_auto_conf(std::string_view content, const std::vector<Setting>& ours,
                                          std::vector<std::string>* removed = nullptr);

// What setup writes into postgresql.auto.conf.
inline constexpr const char* kSetupSettings[] = {"archive_mode", "archive_command", "archive_timeout",
                                                 "archive_library"};
// Those of them that a postgresql.auto.conf has, as {name: value}.
[[nodiscard]] base::Json setup_settings_in(std::string_view content);
// postgresql.auto.conf without them and with `former` ({name: value}) in their place; unchanged where its
// archive_command is not ours.
[[nodiscard]] std::string without_setup(std::string_view content, const base::Json& former);
// pg_hba.conf without the two lines for the role pgrunbook.
[[nodiscard]] std::string without_hba_lines(std::string_view content);

// pg_hba.conf with the two lines for the role pgrunbook at the top; unchanged where they are there already.
[[nodiscard]] std::string with_hba_lines(std::string_view content);

}  // namespace pgrunbook::agent
