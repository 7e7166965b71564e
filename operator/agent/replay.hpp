// Replaying WAL in a private server up to the planned place, and knowing that it got there.
#pragma once

#include <string>

#include "agent/report.hpp"
#include "agent/server.hpp"
#include "base/result.hpp"
#include "postgres/lsn.hpp"

namespace pgrunbook::agent {

struct ReplayOrder {
  std::string data_directory;  // with recovery.signal in it
  ServerSettings settings;
  std::string superuser;
  std::string authenticated;  // role that must give its password
  postgres::Lsn reached;      // the end of the last record to be replayed; 0/0 = unknown
};

struct Replayed {
  PrivateServer server;  // paused
  postgres::Lsn lsn;     // replayed to here
};

// Starts the server and waits, without limit (replay may take hours, and ends by itself), until it is paused
// with exactly the planned record replayed. Where WAL asks for larger settings than pg_control did (they can
// rise after a backup) it is restarted with them. kUnavailable, reason RecoveryEnded with the server's own
// FATAL, where it stopped; ReplayedShort or ReplayedTooFar where it paused elsewhere; PromotedItself where it
// is no longer in recovery.
[[nodiscard]] base::Result<Replayed> replay(const ReplayOrder& order, Report& report);

// What the pause looks like from outside.
struct ReplayState {
  bool in_recovery = true, paused = false;
  postgres::Lsn lsn;
};
enum class ReplayVerdict { kGoOn, kReached, kShort, kTooFar, kPromoted };
[[nodiscard]] ReplayVerdict judge(const ReplayState& state, postgres::Lsn reached);

}  // namespace pgrunbook::agent
