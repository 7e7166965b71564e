// The queue of keys to reconcile, with client-go's semantics: a key is in it once however often it is added,
// no two workers have the same key, and a key added while it is worked on comes back once the worker is done.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <stop_token>

#include "runtime/key.hpp"

namespace pgrunbook::runtime {

// Thread-safe. A fake clock works when clock_moved() is called after each move.
class WorkQueue {
 public:
  using Time = std::chrono::steady_clock::time_point;
  struct Options {
    std::chrono::milliseconds backoff_base{500};  // after the first failure; doubles each time
    std::chrono::milliseconds backoff_most{std::chrono::minutes(2)};
    double jitter = 0.2;  // up to this part is added, at random
    unsigned seed = std::random_device{}();
    std::function<Time()> clock = std::chrono::steady_clock::now;
  };
  WorkQueue() : WorkQueue(Options()) {}
  explicit WorkQueue(Options options);

  void add(const Key& key);
  // Adds later; of several such waits for one key the earliest counts. A wait of zero or less adds now.
  void add_after(const Key& key, std::chrono::milliseconds wait);
  // Adds after this key's backoff, which grows with each call until forget(), but not before `least`. Returns
  // the wait.
  std::chrono::milliseconds add_rate_limited(const Key& key, std::chrono::milliseconds least = {});
  // The key is well again: its backoff starts over.
  void forget(const Key& key);
  [[nodiscard]] int failures(const Key& key) const;

  // Blocks until a key is due; nothing once `stop` is asked or the queue is shut down. The caller owes a
  // done().
  [[nodiscard]] std::optional<Key> get(const std::stop_token& stop);
  void done(const Key& key);

  // Nothing is handed out any more; keys in work may still be done().
  void shut_down();
  // Keys ready to be handed out; the waiting and those in work are not counted.
  [[nodiscard]] std::size_t ready() const;
  [[nodiscard]] std::size_t waiting() const;
  // Keys in work, for a message about what still runs.
  [[nodiscard]] std::set<Key> processing() const;
  void clock_moved() { wake_.notify_all(); }

 private:
  void add_locked(const Key& key);
  void add_due_locked();

  const Options options_;
  mutable std::mutex mutex_;
  std::condition_variable_any wake_;
  // Guarded by mutex_:
  std::deque<Key> queue_;                 // due and not in work, in order; each also in dirty_
  std::set<Key> dirty_;                   // to be worked on (again)
  std::set<Key> processing_;              // in work
  std::set<std::pair<Time, Key>> later_;  // the heap of waits ...
  std::map<Key, Time> later_by_key_;      // ... and each key's place in it
  std::map<Key, int> failures_;
  std::minstd_rand random_;
  bool down_ = false;
};

}  // namespace pgrunbook::runtime
