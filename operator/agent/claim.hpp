// The claim file of a member's volume: who may change what lies on it. A Job may run twice, a data directory
// must not be worked on twice.
//
// <mount>/.pgrunbook/claim is made with its whole content by link(2), so of two pods exactly one gets it. A
// claim is never replaced: the successor of a pod that is proven ended adds claim.after-<that pod's uid>,
// again by link(2), and the holder is the end of this chain. So no race between two breakers can end with two
// holders.
#pragma once

#include <string>

#include "api/job.hpp"
#include "base/result.hpp"

namespace pgrunbook::agent {

// Held until release(). Losing the object without release() leaves the claim: after a crash the volume stays
// claimed.
class VolumeClaim {
 public:
  // kRefused, reason VolumeClaimed, where another pod holds it; nothing is touched then. The order's own pod
  // again is fine. The claim of an ended pod is taken over only where order.undo["brokenClaim"] (a pod's uid,
  // or a list of them) names that pod and the claim was made for the same action.
  [[nodiscard]] static base::Result<VolumeClaim> acquire(const api::Order& order, const std::string& mount);
  // Takes the claim off; the volume is free.
  [[nodiscard]] base::Result<> release();
  [[nodiscard]] const std::string& directory() const { return directory_; }

 private:
  std::string directory_;  // <mount>/.pgrunbook
};

// Whether the order follows a Job of its action that was killed while it held the volume: what it left half
// done, a server that is not shut down among it, is our own.
[[nodiscard]] bool after_killed_job(const api::Order& order);

// Directory of ours on a volume: <mount>/.pgrunbook, made where missing.
[[nodiscard]] base::Result<std::string> own_directory(const std::string& mount);

}  // namespace pgrunbook::agent
