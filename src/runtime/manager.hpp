// Puts the parts together and runs them until told to stop.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <vector>

#include "kube/lease.hpp"
#include "runtime/controller.hpp"
#include "runtime/health.hpp"

namespace pgrunbook::runtime {

// Order of a run: health server; informers (also while another leads, so that taking over is quick);
// leadership; all informers synced; controllers. Order of an end: not ready; no new work; running reconciles
// end within the limit; Lease released; informers and server stopped. One thread calls it.
class Manager {
 public:
  struct Options {
    std::optional<kube::LeaseOptions> leader{};  // none: no election
    // Through which the Lease is held; outlives the manager. None: as everything else.
    kube::Api* leader_api = nullptr;
    kube::Leadership::Timing timing{};
    std::uint16_t health_port = 8080;
    bool health = true;
    std::chrono::milliseconds sync_patience{std::chrono::minutes(2)};
    std::chrono::milliseconds stop_patience{std::chrono::seconds(20)};
    std::chrono::milliseconds resync{std::chrono::hours(1)};
    std::chrono::milliseconds tidy{std::chrono::minutes(1)};  // between two times that memory is given back
    // Reconciles that do not end cannot be ended from outside, and the threads cannot be destroyed; so by
    // default the process ends at once, with code 70, its Lease left to expire.
    std::function<void()> on_stuck = [] { std::_Exit(70); };
  };

  Manager(kube::Api& api, Options options);
  ~Manager() = default;
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  // All before run(), and alive until it returns; they may be destroyed before the manager, whose metrics()
  // they use. Informers that controllers watch are added by themselves.
  void add(Informer& informer);
  void add(Controller& controller);
  [[nodiscard]] Metrics& metrics() { return metrics_; }
  [[nodiscard]] Checks& alive() { return alive_; }
  [[nodiscard]] Checks& ready() { return ready_; }
  [[nodiscard]] std::uint16_t health_port() const { return server_.port(); }
  // Until when our leadership surely holds; the far future without election. Any thread.
  [[nodiscard]] std::chrono::steady_clock::time_point leader_until() const;

  // Returns without error after a stop that was asked for; kUnavailable where leadership was lost or the
  // caches did not fill: the process should end and be started again.
  [[nodiscard]] base::Result<> run(const std::stop_token& stop);

 private:
  base::Result<> lead(const std::stop_token& stop);
  bool stop_controllers();

  const Options options_;
  Metrics metrics_;
  Checks alive_, ready_;
  HealthServer server_{alive_, ready_, metrics_};
  std::vector<Informer*> informers_;
  std::vector<Controller*> controllers_;
  std::unique_ptr<kube::Leadership> leadership_;
  enum class Phase { kStarting, kWaiting, kSyncing, kRunning, kStopping };
  std::atomic<Phase> phase_ = Phase::kStarting;
};

// Blocks SIGTERM and SIGINT in this thread and those it starts (and programs they start, which must unblock
// them): call it first in main. The first of them becomes a stop request; a second one ends the process at
// once.
class Signals {
 public:
  Signals();
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  [[nodiscard]] std::stop_token stop_token() const { return source_.get_token(); }

 private:
  std::stop_source source_;
  base::Fd fd_, wake_;
  std::jthread thread_;
};

}  // namespace pgrunbook::runtime
