// Laying a base backup down as a data directory, every byte checked on the way.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "archive/repository.hpp"
#include "base/result.hpp"

namespace pgrunbook::agent {

struct LaidDown {
  std::uint64_t files = 0, bytes = 0;
};

// What backup_manifest says of one file.
struct ManifestFile {
  std::uint64_t size = 0;
  std::string sha256;  // empty where the manifest has another checksum
};
// The JSON of backup_manifest ("78.1. Backup Manifest Top-level Object"), path -> file.
[[nodiscard]] base::Result<std::map<std::string, ManifestFile>> parse_manifest(std::string_view text);

// Unpacks a tar as pg_basebackup writes it (ustar; directories, files, symbolic links), fed in pieces of any
// size. Paths with "..", absolute ones and other kinds of entries are kCorrupt; a link in pg_tblspc is
// kRefused (TablespaceInBackup).
class TarUnpacker {
 public:
  explicit TarUnpacker(std::string directory);
  TarUnpacker(const TarUnpacker&) = delete;
  TarUnpacker& operator=(const TarUnpacker&) = delete;
  ~TarUnpacker();
  [[nodiscard]] base::Result<> feed(std::string_view bytes);
  // kCorrupt where the archive ended inside an entry.
  [[nodiscard]] base::Result<> finish();
  // Size and SHA-256 of every file, by path.
  [[nodiscard]] const std::map<std::string, ManifestFile>& files() const;
  [[nodiscard]] std::uint64_t bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// base.tar.zst of a backup into `directory`, which must not exist, mode 0700. Compared with the backup's own
// manifest (the manifest with its hash in backup.json), or, where there is none (before PostgreSQL 13), with
// the hash of base.tar.zst. kCorrupt (BackupDamaged) names the first wrong file; what was laid down is left
// for the caller to remove. Afterwards everything is on disk (syncfs).
[[nodiscard]] base::Result<LaidDown> lay_down(
    const archive::Repository& repository, const archive::BackupRecord& backup, const std::string& directory,
    const std::function<void(std::uint64_t done, std::uint64_t total)>& on_progress);

}  // namespace pgrunbook::agent
