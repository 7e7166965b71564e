// Follows one kind: lists it, then watches it, for ever. The shape is kube-rs's: the state is visible, and a
// relist is told as such (Init, InitApply..., InitDone), so that a store can swap its contents in one move
// and find out what was deleted while nobody looked.
#pragma once

#include <chrono>
#include <functional>
#include <stop_token>
#include <string>

#include "kube/client.hpp"
#include "runtime/backoff.hpp"

namespace pgrunbook::runtime {

using base::Json;

// One thread runs it.
class Watcher {
 public:
  struct Event {
    enum class Type { kInit, kInitApply, kInitDone, kApply, kDelete };
    Type type = Type::kInit;
    Json object{};  // null for kInit and kInitDone
  };
  // kEmpty: nothing is known; a list comes next. kListed: we know the world up to a resourceVersion and no
  // stream is open; a watch from there comes next. kWatching: a stream is open.
  enum class State { kEmpty, kListed, kWatching };

  struct Options {
    kube::ListOptions select{};
    std::chrono::milliseconds list_patience{std::chrono::seconds(60)};
    std::chrono::milliseconds backoff_base{500}, backoff_most{std::chrono::seconds(30)};
    std::chrono::milliseconds forbidden_wait{std::chrono::seconds(60)};
    std::chrono::milliseconds shortest_watch{1000};  // a shorter one without an event is counted as broken
  };

  Watcher(kube::Api& api, kube::Resource resource, std::string ns)
      : Watcher(api, std::move(resource), std::move(ns), Options()) {}
  Watcher(kube::Api& api, kube::Resource resource, std::string ns, Options options);

  // One list or one watch; blocks. Returns how long to wait before the next step. Events are handed out on
  // the calling thread. After a broken stream the next watch goes on at the last resourceVersion seen; after
  // kGone comes a list.
  std::chrono::milliseconds step(const std::function<void(Event)>& on_event, const std::stop_token& stop);
  // step() until `stop`.
  void run(const std::function<void(Event)>& on_event, const std::stop_token& stop);

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] const std::string& resource_version() const { return version_; }
  [[nodiscard]] const kube::Resource& resource() const { return resource_; }
  // Called on each failure, before the wait, on the running thread: for the log, metrics and readiness.
  void on_trouble(std::function<void(const base::Error&)> f) { on_trouble_ = std::move(f); }
  // Called after each success (a list, or any sign of life of a watch).
  void on_well(std::function<void()> f) { on_well_ = std::move(f); }

 private:
  std::chrono::milliseconds list(const std::function<void(Event)>& on_event);
  std::chrono::milliseconds watch(const std::function<void(Event)>& on_event, const std::stop_token& stop);
  std::chrono::milliseconds failed(const base::Error& e);

  kube::Api& api_;
  const kube::Resource resource_;
  const std::string ns_;
  const Options options_;
  Backoff backoff_;
  State state_ = State::kEmpty;
  std::string version_;
  std::function<void(const base::Error&)> on_trouble_ = [](const base::Error&) {};
  std::function<void()> on_well_ = [] {};
};

}  // namespace pgrunbook::runtime
