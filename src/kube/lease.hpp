// Leases (coordination.k8s.io/v1): who may work. A Lease only avoids doing work twice; it is check-then-act,
// so whatever must not happen twice is guarded by names, resourceVersions and claim files as well.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "kube/client.hpp"

namespace pgrunbook::kube {

struct LeaseOptions {
  std::string ns;
  std::string name;    // leader election: the operator's; exclusion: "pgrunbook-<first 8 of a uid>"
  std::string holder;  // leader election: the pod's name and a random part; exclusion: the action's uid
  std::chrono::seconds duration{15};
  Json labels = Json::object();
};

// One Lease and our hold on it. Thread-safe; blocks only in the API server. Time is judged on the local
// steady clock alone: another holder's Lease counts as expired once we saw it unchanged for its own duration
// (as client-go does), so clocks of different machines need not agree.
class Lease {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  Lease(Api& api, LeaseOptions options, Clock clock = std::chrono::steady_clock::now);

  // Takes it where it is missing, released, ours, or expired. kRefused with reason LeaseHeld where another
  // holds it (see holder()); kConflict where somebody was faster. Safe to repeat after any error.
  [[nodiscard]] base::Result<> acquire(Deadline d);
  // The same for exclusion: never by time, but where `finished(holder)` says that the former holder is done
  // and the world was looked at.
  [[nodiscard]] base::Result<> acquire_when(const std::function<bool(const std::string& holder)>& finished,
                                            Deadline d);
  // kRefused/LeaseHeld where it is no longer ours; then valid_until() is in the past.
  [[nodiscard]] base::Result<> renew(Deadline d);
  // Lets it go; success where it is not ours anyway. The object stays.
  [[nodiscard]] base::Result<> release(Deadline d);

  // Until when nobody else may take it: the start of our last successful write plus its duration.
  [[nodiscard]] std::chrono::steady_clock::time_point valid_until() const;
  [[nodiscard]] bool valid(std::chrono::milliseconds margin = {}) const {
    return clock_() + margin < valid_until();
  }
  // The holder we saw last, "" for none.
  [[nodiscard]] std::string holder() const;

 private:
  using MayTake = std::function<bool(const Json& lease, const std::string& holder)>;
  [[nodiscard]] base::Result<> take(const MayTake& may_take, Deadline d);
  [[nodiscard]] base::Result<> write(const Json* former, Deadline d);
  void observe(const Json& lease);

  Api& api_;
  const LeaseOptions options_;
  const Clock clock_;
  mutable std::mutex mutex_;
  std::string holder_;                               // guarded by mutex_, like all below
  std::string seen_version_;                         // resourceVersion we saw last ...
  std::chrono::steady_clock::time_point seen_at_{};  // ... and since when it is unchanged
  std::chrono::steady_clock::time_point valid_until_{};
};

// Leader election: keeps a Lease renewed on a thread of its own and says when it is lost.
class Leadership {
 public:
  struct Timing {
    std::chrono::milliseconds retry{2000};  // between attempts; twice as long after one that renewed
    std::chrono::milliseconds margin{
        5000};  // given up so long before it expires, so that work can stop in time
  };
  // `on_trouble` hears each failed attempt (for the log); it is called on the calling or the renewing thread.
  Leadership(
      Api& api, LeaseOptions options, Timing timing,
      std::function<void(const base::Error&)> on_trouble = [](const base::Error&) {});
  // Stops renewing; releases nothing (see release()).
  ~Leadership() = default;
  Leadership(const Leadership&) = delete;
  Leadership& operator=(const Leadership&) = delete;

  // Blocks until we lead, then renews in the background; kCancelled where `stop` came first. Once.
  [[nodiscard]] base::Result<> acquire(const std::stop_token& stop);
  // Stop is requested on it when leadership is lost; never before acquire() succeeded.
  [[nodiscard]] std::stop_token lost() const { return lost_.get_token(); }
  [[nodiscard]] std::chrono::steady_clock::time_point valid_until() const { return lease_.valid_until(); }
  // Stops renewing and lets the Lease go, so that a successor need not wait for it to expire. Only after all
  // work has ended. Failures do not matter: it expires.
  void release(Deadline d);

 private:
  void renew_until(const std::stop_token& stop);

  Lease lease_;
  const LeaseOptions options_;
  const Timing timing_;
  const std::function<void(const base::Error&)> on_trouble_;
  std::stop_source lost_;
  std::jthread renewing_;  // last: it uses everything above
};

}  // namespace pgrunbook::kube
