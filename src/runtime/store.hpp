// The objects of one kind as last seen. Readers get shared, immutable snapshots; what they hold stays as it
// is.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/json.hpp"
#include "runtime/key.hpp"

namespace pgrunbook::runtime {

using base::Json;
using Snapshot = std::shared_ptr<const Json>;

// What happened to one object. Added: before is empty. Deleted: after is empty, before is the last known
// state.
struct Change {
  Snapshot before;
  Snapshot after;
  [[nodiscard]] const Json& object() const { return after ? *after : *before; }
};

// Readers: any thread. The writing methods: one thread (the watcher's).
class Store {
 public:
  // Empty where the object is not there, as far as we know.
  [[nodiscard]] Snapshot get(const Key& key) const;
  // Sorted by key. No predicate: all.
  [[nodiscard]] std::vector<Snapshot> list(const std::function<bool(const Json&)>& predicate = {}) const;
  // The first that the predicate takes, or none.
  [[nodiscard]] Snapshot find(const std::function<bool(const Json&)>& predicate) const;
  // A first list is complete; before, "not there" means nothing.
  [[nodiscard]] bool synced() const;
  [[nodiscard]] std::size_t size() const;

  // A relist: begin, each object, and the swap in one move, which returns every difference, deletions
  // included. A name that now has another uid is a deletion and an addition.
  void begin();
  void stage(Json object);
  [[nodiscard]] std::vector<Change> swap();
  // One event. A resourceVersion we already have gives no change.
  [[nodiscard]] std::vector<Change> apply(Json object);
  [[nodiscard]] std::vector<Change> remove(const Json& object);

 private:
  using Objects = std::map<Key, Snapshot>;
  mutable std::mutex mutex_;
  Objects objects_;  // guarded by mutex_
  bool synced_ = false;
  Objects staged_;  // the writing thread's
};

}  // namespace pgrunbook::runtime
