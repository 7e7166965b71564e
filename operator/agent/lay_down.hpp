// Laying a base backup down as a data directory, every byte checked on the way.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "archive/repository.hpp"
#include "base/result.hpp"

namespace pgrunbook::agent {

struct LaidDown {
  std::uint64_t files = 0, bytes = 0;
};

// base.tar.zst of a backup into `directory`, which must not exist, mode 0700. Compared with the backup's own
// manifest (the manifest with its hash in backup.json), or, where there is none (before PostgreSQL 13), with
// the hash of base.tar.zst. kCorrupt (BackupDamaged) names the first wrong file, kRefused
// (TablespaceInBackup) a link in pg_tblspc; what was laid down is left for the caller to remove. Afterwards
// everything is on disk (syncfs).
[[nodiscard]] base::Result<LaidDown> lay_down(
    const archive::Repository& repository, const archive::BackupRecord& backup, const std::string& directory,
    const std::function<void(std::uint64_t done, std::uint64_t total)>& on_progress);

}  // namespace pgrunbook::agent
