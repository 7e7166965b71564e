// The fence: a record outside the data directory and a standby.signal inside it, so that whoever starts the
// old primary gets a read-only server.
#pragma once

#include <string>

#include "api/job.hpp"
#include "base/json.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "postgres/control_data.hpp"

namespace pgrunbook::agent {

// <mount>/.pgrunbook/fence.json
struct FenceRecord {
  std::string action_uid;
  std::string data_directory;
  std::uint64_t system_identifier = 0;
  std::uint32_t timeline = 0;       // the one that is left
  std::string checkpoint_lsn;       // of the clean stop; empty = there was none
  std::string salvaged_to;          // of a dead primary: where its WAL ended; empty = it was stopped cleanly
  std::uint32_t live_timeline = 0;  // the candidate's
  base::Json at_stake = base::Json::object();
};
[[nodiscard]] std::string fence_path(const std::string& mount);
[[nodiscard]] base::Json to_json(const FenceRecord& record);
[[nodiscard]] base::Result<FenceRecord> fence_from_json(const base::Json& json);
// kNotFound where the volume is not fenced.
[[nodiscard]] base::Result<FenceRecord> read_fence(const std::string& mount);

// Whether a data directory is as a fence left it: cleanly shut down, or started read-only since, which leaves
// "in archive recovery" or "shut down in recovery" with the same checkpoint and timeline.
[[nodiscard]] bool still_fenced(const FenceRecord& record, const postgres::ControlData& control,
                                bool has_signal);
// The same after a salvage, where pg_control may be destroyed: nothing was written to its WAL since.
[[nodiscard]] bool still_fenced(const FenceRecord& record, postgres::Lsn wal_end, bool has_signal);

// Refused, StartedMeanwhile, where a server was started after the clean stop that `stopped` describes. Asked
// once standby.signal lies there: whoever starts later is read-only, and whoever started before is found by
// its postmaster.pid or by what it has written. A postmaster.pid that stays until `stale` is a killed one's.
[[nodiscard]] base::Result<> still_stopped(const api::MemberRef& m, const postgres::ControlData& stopped,
                                           base::Deadline stale);

}  // namespace pgrunbook::agent
