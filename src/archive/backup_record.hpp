// backup.json: what a finished base backup says of itself. Published last: without it there is no backup.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "postgres/lsn.hpp"
#include "postgres/timeline.hpp"

namespace pgrunbook::archive {

// A configuration file the server reads from outside its data directory.
struct ConfigurationFile {
  std::string path;     // on the member
  std::string kept_as;  // name in configuration/; empty = not kept
  std::string why_not;  // the server's words, where it was not readable: then at most its settings are kept
};

struct BackupRecord {
  int format = 1;
  std::string id;
  std::string method = "Base", type = "Full";
  std::string parent_id;  // incremental backups; empty = none
  std::string topology, member, action_uid;
  std::string server_version;  // "15.20 (Debian ...)"
  int major_version = 0;
  int control_version = 0;           // 0 = unknown
  std::int64_t catalog_version = 0;  // 0 = unknown
  std::uint64_t system_identifier = 0;
  std::uint64_t segment_size = 0;
  postgres::TimelineId timeline;  // on which it ended
  postgres::Lsn begin_lsn, end_lsn;
  std::string begin_wal, end_wal;  // first and last segment needed
  base::SystemTime start_time{},
      stop_time{};                   // the server's clock; a restore reaches back to stop_time, not before
  std::uint64_t database_bytes = 0;  // sum of pg_database_size
  std::uint64_t tar_bytes = 0, stored_bytes = 0;
  std::uint64_t files = 0;
  std::string stored_sha256;    // of base.tar.zst
  std::string manifest_sha256;  // of backup_manifest
  std::string index_sha256;     // of base.index.jsonl
  std::string compression = "zstd";
  int level = 1;
  bool data_checksums = false;
  std::string server_encoding, collate, ctype;
  std::string verified = "None";         // Manifest | None
  std::string superuser;                 // name of the role with oid 10
  std::vector<std::string> tablespaces;  // always empty: refused so far
  std::vector<std::string> preload_libraries;
  std::vector<std::string> wal_resource_managers;  // custom ones (15+)
  base::Json databases = base::Json::array();  // [{name, bytes, encoding, collate, ctype, collationVersion}]
  std::vector<ConfigurationFile> configuration_files;
};

// Adds "recordSHA256": the hash of everything else, so that no byte of the file can change unnoticed.
[[nodiscard]] base::Json to_json(const BackupRecord& record);
// kCorrupt where the hash or a field is wrong; kInvalid for a format we do not know.
[[nodiscard]] base::Result<BackupRecord> backup_record_from_json(const base::Json& json);

}  // namespace pgrunbook::archive
