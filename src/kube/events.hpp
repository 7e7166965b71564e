// Kubernetes Events (core/v1; events.k8s.io is not in the ClusterRole admin): what happened to an object, for
// people who ask with kubectl describe.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "kube/client.hpp"

namespace pgrunbook::kube {

// Thread-safe. At most one Event per (object, reason) in 5 minutes: a repeat raises its count and replaces
// its message, written at most every 10 s; another message is written at once, 10 times: how something ended
// must not be hidden by how it went. Nothing waits for or depends on an Event: a failed write is dropped, and
// a call blocks for at most 3 s.
class EventRecorder {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  // `instance` is our pod's name. `on_dropped` hears why an Event was not written.
  EventRecorder(
      Api& api, std::string instance, Clock clock = std::chrono::steady_clock::now,
      std::function<void(const base::Error&)> on_dropped = [](const base::Error&) {});

  enum class Type { kNormal, kWarning };
  // `object`: at least apiVersion, kind, metadata.name and .namespace. `reason` is CamelCase; a message over
  // 1024 bytes is cut at a character's border and ends in "...".
  void emit(const Json& object, Type type, const std::string& reason, const std::string& message);

 private:
  struct Known {
    std::string name;  // of the Event; empty until it was created
    int count = 0, news = 0;
    std::size_t said = 0;  // the hash of the message that was written last
    std::chrono::steady_clock::time_point first{}, written{};
  };

  Api& api_;
  const std::string instance_;
  const Clock clock_;
  const std::function<void(const base::Error&)> on_dropped_;
  std::mutex mutex_;
  std::map<std::string, Known> known_;  // guarded by mutex_; entries older than the 5 minutes are thrown away
};

// The first `limit` bytes at most, cut between UTF-8 characters, ending in "..." where something is missing.
[[nodiscard]] std::string shortened(const std::string& text, std::size_t limit);

}  // namespace pgrunbook::kube
