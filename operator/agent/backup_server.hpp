// What a Backup Job asks the server, through the image's own psql, as the role pgrunbook.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "archive/backup_record.hpp"
#include "base/json.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "postgres/psql.hpp"

namespace pgrunbook::agent {

struct ServerFacts {
  std::string version;  // "15.20 (Debian ...)"
  int major = 0;
  std::uint64_t system_identifier = 0, segment_size = 0;
  int control_version = 0;
  std::int64_t catalog_version = 0;
  bool in_recovery = false, data_checksums = false;
  std::string archive_mode, encoding, collate, ctype, superuser, data_directory;
  std::uint64_t database_bytes = 0;
  std::vector<std::string> tablespaces;  // "name at location", other than the two built in
  std::vector<std::string> preload_libraries, wal_resource_managers;
  base::Json databases = base::Json::array();
  base::SystemTime now{};  // the server's clock
};

[[nodiscard]] base::Result<ServerFacts> ask_facts(const postgres::PsqlTarget& server,
                                                  base::Deadline deadline);

// Tries until the server answers or the deadline passes; a refused password is final at once.
[[nodiscard]] base::Result<> wait_for_server(const postgres::PsqlTarget& server, base::Deadline deadline);

// Writes a restore point and switches to the next segment: what came before can be archived, on an idle
// server too. Returns the server's clock before that.
[[nodiscard]] base::Result<base::SystemTime> mark_and_switch(const postgres::PsqlTarget& server,
                                                             const std::string& name,
                                                             base::Deadline deadline);

// Configuration files outside the data directory with their content; where the role may not read one, with
// the settings in force that the server read from it, and the server's words why. Never keys or certificates.
struct OutsideFile {
  archive::ConfigurationFile file;
  std::string content;
};
[[nodiscard]] base::Result<std::vector<OutsideFile>> ask_outside_files(const postgres::PsqlTarget& server,
                                                                       const std::string& data_directory,
                                                                       base::Deadline deadline);

// In words: what the server's archiver last failed at; empty where nothing is known.
[[nodiscard]] std::string archiver_words(const postgres::PsqlTarget& server, base::Deadline deadline);
// Ends our own base backup on the server, known by its application_name.
void cancel_backup(const postgres::PsqlTarget& server, const std::string& application_name);

}  // namespace pgrunbook::agent
