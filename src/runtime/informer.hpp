// One kind followed: a Watcher filling a Store, and handlers hearing every change, on one thread.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/metrics.hpp"
#include "runtime/store.hpp"
#include "runtime/watcher.hpp"

namespace pgrunbook::runtime {

class Informer {
 public:
  // Called on the informer's thread, one change at a time, after the store holds it. Must not block: it
  // enqueues.
  using Handler = std::function<void(const Change&)>;

  // `api` outlives it; `metrics` may be null.
  Informer(kube::Api& api, kube::Resource resource, std::string ns, Watcher::Options options,
           Metrics* metrics = nullptr);
  Informer(kube::Api& api, kube::Resource resource, std::string ns)
      : Informer(api, std::move(resource), std::move(ns), Watcher::Options()) {}
  ~Informer() { stop(); }
  Informer(const Informer&) = delete;
  Informer& operator=(const Informer&) = delete;

  // Before start().
  void on_change(Handler handler) { handlers_.push_back(std::move(handler)); }
  // In place of start() where a test drives the watcher by hand.
  void take(Watcher::Event event);
  void start();
  // Asks the thread to end (wakes a blocked read) without waiting for it, and waits.
  void request_stop() { thread_.request_stop(); }
  void stop();

  [[nodiscard]] const Store& store() const { return store_; }
  [[nodiscard]] const kube::Resource& resource() const { return watcher_.resource(); }
  // "synced, 12 objects", or why not: for readiness and for whoever waits.
  [[nodiscard]] base::Result<std::string> health() const;

 private:
  void tell(const std::vector<Change>& changes);
  void trouble(const base::Error& e);
  void well();

  Metrics* metrics_;
  Watcher watcher_;
  Store store_;
  std::vector<Handler> handlers_;  // constant after start()
  mutable std::mutex mutex_;
  std::optional<base::Error> trouble_;  // guarded by mutex_; the failure since which nothing worked
  std::chrono::steady_clock::time_point trouble_since_{}, trouble_last_{};  // guarded by mutex_
  std::chrono::steady_clock::time_point
      logged_{};         // guarded by mutex_; one line in 30 s for the same trouble
  std::jthread thread_;  // last: it uses everything above
};

}  // namespace pgrunbook::runtime
