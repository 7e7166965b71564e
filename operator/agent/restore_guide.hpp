// RESTORE.md: how to restore a backup by hand, with standard tools only.
#pragma once

#include <string>

#include "archive/backup_record.hpp"

namespace pgrunbook::agent {

// Its sh blocks, run one after the other by the user that owns PostgreSQL's files, with REPOSITORY and DATA
// set, lead to a running read-only server at the end of the archived WAL; a test does exactly that.
[[nodiscard]] std::string restore_guide(const archive::BackupRecord& backup);

}  // namespace pgrunbook::agent
