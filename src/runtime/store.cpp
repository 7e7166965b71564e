#include "runtime/store.hpp"

namespace pgrunbook::runtime {
namespace {

void compare(const Snapshot& before, const Snapshot& after, std::vector<Change>* changes) {
  if (before && after) {
    if (base::text_at(*before, {"metadata", "uid"}) != base::text_at(*after, {"metadata", "uid"})) {
      changes->push_back({before, nullptr});
      changes->push_back({nullptr, after});
      return;
    }
    std::string version = base::text_at(*after, {"metadata", "resourceVersion"});
    if (!version.empty() && version == base::text_at(*before, {"metadata", "resourceVersion"})) return;
  }
  changes->push_back({before, after});
}

}  // namespace

Snapshot Store::get(const Key& key) const {
  std::lock_guard lock(mutex_);
  auto found = objects_.find(key);
  return found == objects_.end() ? nullptr : found->second;
}

std::vector<Snapshot> Store::list(const std::function<bool(const Json&)>& predicate) const {
  std::vector<Snapshot> all;
  {
    std::lock_guard lock(mutex_);
    all.reserve(objects_.size());
    for (const auto& [key, object] : objects_) all.push_back(object);
  }
  if (predicate) std::erase_if(all, [&](const Snapshot& s) { return !predicate(*s); });
  return all;
}

Snapshot Store::find(const std::function<bool(const Json&)>& predicate) const {
  std::lock_guard lock(mutex_);
  for (const auto& [key, object] : objects_) {
    if (predicate(*object)) return object;
  }
  return nullptr;
}

bool Store::synced() const {
  std::lock_guard lock(mutex_);
  return synced_;
}

std::size_t Store::size() const {
  std::lock_guard lock(mutex_);
  return objects_.size();
}

void Store::begin() { staged_.clear(); }

void Store::stage(Json object) {
  Key key = Key::of(object);
  staged_[key] = std::make_shared<const Json>(std::move(object));
}

std::vector<Change> Store::swap() {
  Objects former;
  std::vector<Change> changes;
  {
    std::lock_guard lock(mutex_);
    // An unchanged object keeps its snapshot: readers may compare pointers.
    for (auto& [key, object] : staged_) {
      auto found = objects_.find(key);
      std::vector<Change> difference;
      compare(found == objects_.end() ? nullptr : found->second, object, &difference);
      if (difference.empty()) object = found->second;
      changes.insert(changes.end(), difference.begin(), difference.end());
    }
    for (const auto& [key, object] : objects_) {
      if (staged_.count(key) == 0) changes.push_back({object, nullptr});
    }
    former = std::exchange(objects_, std::move(staged_));
    synced_ = true;
  }
  staged_.clear();
  return changes;
}

std::vector<Change> Store::apply(Json object) {
  Key key = Key::of(object);
  auto fresh = std::make_shared<const Json>(std::move(object));
  std::vector<Change> changes;
  std::lock_guard lock(mutex_);
  Snapshot& place = objects_[key];
  compare(place, fresh, &changes);
  if (!changes.empty()) place = std::move(fresh);
  return changes;
}

std::vector<Change> Store::remove(const Json& object) {
  std::lock_guard lock(mutex_);
  auto found = objects_.find(Key::of(object));
  if (found == objects_.end()) return {};
  // The event carries the object's last state; a handler wants that, not the one before.
  Change change{std::make_shared<const Json>(object), nullptr};
  objects_.erase(found);
  return {change};
}

}  // namespace pgrunbook::runtime
