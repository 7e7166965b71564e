// Whether the archive holds what a server wrote, and not what a copy of its volume wrote under its name: such
// a copy has the same system identifier, timeline and archive_command, and names its segments alike.
#pragma once

#include <functional>
#include <vector>

#include "api/job.hpp"
#include "archive/backup_record.hpp"
#include "archive/repository.hpp"
#include "base/result.hpp"

namespace pgrunbook::agent {

// Looks for the restore point that the operator has just set on the server, in the archive, on the timeline
// of the segments waited for. The order's segments must be there. Does nothing where the order names no
// restore point. Refused: ForeignWal where it is not there, WalDamaged where that cannot be told.
[[nodiscard]] base::Result<> check_mark(const archive::Repository& repository, const api::PlanOrder& plan);

// Told of each place on the way.
using ReadWhole = std::function<void(postgres::Lsn at)>;
// Looks for the end of a backup in its WAL, whose segments are there: in the last two, or reading all of it
// from the backup's begin on. Refused: WalDamaged where it cannot be read, ForeignWal where the end of this
// very backup is not there. Source: PostgreSQL src/backend/access/transam/xlog.c, XLOG_BACKUP_END carries the
// backup's start.
[[nodiscard]] base::Result<> check_backup_end(const archive::Repository& repository,
                                              const archive::BackupRecord& record,
                                              const std::vector<archive::SegmentRef>& segments,
                                              const ReadWhole& whole = {});

}  // namespace pgrunbook::agent
