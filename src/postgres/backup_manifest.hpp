// backup_manifest: PostgreSQL's own list of what a base backup contains (13 and later).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "postgres/lsn.hpp"
#include "postgres/timeline.hpp"

namespace pgrunbook::postgres {

struct ManifestFile {
  std::uint64_t size = 0;
  std::string sha256;  // lower-case hex; empty where the manifest has another algorithm
};

// WAL needed on one timeline to make the backup consistent.
struct WalRange {
  TimelineId timeline;
  Lsn begin, end;
};

struct BackupManifest {
  int version = 1;
  std::uint64_t system_identifier = 0;        // 0 before PostgreSQL 17
  std::map<std::string, ManifestFile> files;  // by path
  std::vector<WalRange> ranges;               // oldest first, never empty

  [[nodiscard]] Lsn begin() const { return ranges.front().begin; }
  [[nodiscard]] Lsn end() const { return ranges.back().end; }
  [[nodiscard]] TimelineId timeline() const { return ranges.back().timeline; }
};

// Checks the manifest's own checksum first. kCorrupt (reason ManifestDamaged) for anything unexpected.
[[nodiscard]] base::Result<BackupManifest> parse_backup_manifest(std::string_view content);

// Holds files found (path -> size and hash) against the manifest: none missing, none extra, all equal.
// backup_manifest itself is not in it. kCorrupt, reason BackupDiffersFromManifest, naming the first
// difference and their number.
[[nodiscard]] base::Result<> compare_with_manifest(const BackupManifest& manifest,
                                                   const std::map<std::string, ManifestFile>& found);

}  // namespace pgrunbook::postgres
