// Whether a member's volume and image can take a restored copy: asked by the Plan Job before anything is
// stopped, and the room once more by the recovery itself.
#pragma once

#include "api/job.hpp"
#include "archive/backup_record.hpp"
#include "base/result.hpp"

namespace pgrunbook::agent {

// kRefused: NotEnoughSpace.
[[nodiscard]] base::Result<> check_space(const api::MemberRef& member, const archive::BackupRecord& backup);

// kRefused: NoexecVolume, DataDirectoryIsLink, MajorVersionMismatch, NotEnoughSpace. Writes nothing.
[[nodiscard]] base::Result<> check_member(const api::MemberRef& member, const archive::BackupRecord& backup);

}  // namespace pgrunbook::agent
