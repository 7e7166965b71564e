// Finding by number or name: which record in the archive's WAL a targetXID or a targetName means.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "postgres/timeline.hpp"
#include "postgres/waldump.hpp"

namespace pgrunbook::agent {

// One of them is set.
struct Wanted {
  std::uint32_t xid = 0;
  std::string name{};  // of a restore point

  [[nodiscard]] std::string words() const;  // "transaction 745", "restore point 'nightly'"
};

struct Sighting {
  postgres::WalRecord record;
  postgres::TimelineId timeline;
  std::optional<base::SystemTime> after{};  // time of the last commit before it, as far as read
};

// All that was seen of it along one timeline.
struct Sightings {
  postgres::Lsn from{};            // WAL was read from here on
  std::vector<Sighting> found{};   // commits of that xid, restore points of that name; in WAL order
  std::vector<Sighting> others{};  // restore points of other names, the operator's own left out
  std::optional<postgres::WalRecord> aborted{}, prepared{};
  std::optional<postgres::WalRecord> parent{};          // the commit or abort of which it is a part
  std::optional<postgres::WalRecord> below{}, above{};  // commits nearest to it by number
};

// Takes records in WAL order. A new one for each run of WAL; they add to the same Sightings.
class Lookout {
 public:
  Lookout(Wanted wanted, Sightings* out) : wanted_(std::move(wanted)), out_(out) {}
  void feed(const postgres::WalRecord& record, postgres::TimelineId timeline);

 private:
  void look_for_xid(const postgres::WalRecord& record, postgres::TimelineId timeline);

  Wanted wanted_;
  Sightings* out_;
  std::optional<base::SystemTime> last_commit_;
};

// A timeline that was left, and what was seen behind the place where it was left.
struct SeenOnBranch {
  postgres::TimelineId timeline;
  postgres::Lsn fork;
  Sightings sightings{};
};

// The one record that is meant. Refused, with the nearest way out: AmbiguousTarget (seen twice, also where
// once on a branch that was left), TargetOnAbandonedTimeline (only there), TransactionRolledBack,
// TransactionPrepared, SubTransaction, UnknownTransaction, UnknownRestorePoint.
[[nodiscard]] base::Result<postgres::WalRecord> the_one_meant(const Wanted& wanted, const Sightings& path,
                                                              const std::vector<SeenOnBranch>& branches,
                                                              postgres::TimelineId chosen);

}  // namespace pgrunbook::agent
