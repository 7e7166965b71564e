#include "runtime/work_queue.hpp"

#include <algorithm>

namespace pgrunbook::runtime {

WorkQueue::WorkQueue(Options options) : options_(std::move(options)), random_(options_.seed) {}

void WorkQueue::add_locked(const Key& key) {
  if (down_ || !dirty_.insert(key).second) return;
  if (processing_.count(key) != 0) return;  // done() will queue it
  queue_.push_back(key);
  wake_.notify_one();
}

void WorkQueue::add(const Key& key) {
  std::lock_guard lock(mutex_);
  add_locked(key);
}

void WorkQueue::add_after(const Key& key, std::chrono::milliseconds wait) {
  std::lock_guard lock(mutex_);
  if (down_) return;
  if (wait <= std::chrono::milliseconds(0)) {
    add_locked(key);
    return;
  }
  Time at = options_.clock() + wait;
  auto found = later_by_key_.find(key);
  if (found != later_by_key_.end()) {
    if (found->second <= at) return;
    later_.erase({found->second, key});
  }
  later_by_key_[key] = at;
  later_.emplace(at, key);
  wake_.notify_all();  // whoever sleeps may now have to wake earlier
}

std::chrono::milliseconds WorkQueue::add_rate_limited(const Key& key, std::chrono::milliseconds least) {
  std::chrono::milliseconds wait;
  {
    std::lock_guard lock(mutex_);
    int failed = failures_[key]++;
    wait = options_.backoff_base;
    for (int i = 0; i < failed && wait < options_.backoff_most; ++i) wait *= 2;
    wait = std::min(wait, options_.backoff_most);
    double more = std::uniform_real_distribution<double>(0, options_.jitter)(random_);
    wait += std::chrono::milliseconds(static_cast<std::int64_t>(static_cast<double>(wait.count()) * more));
    wait = std::max(wait, least);
  }
  add_after(key, wait);
  return wait;
}

void WorkQueue::forget(const Key& key) {
  std::lock_guard lock(mutex_);
  failures_.erase(key);
}

int WorkQueue::failures(const Key& key) const {
  std::lock_guard lock(mutex_);
  auto found = failures_.find(key);
  return found == failures_.end() ? 0 : found->second;
}

void WorkQueue::add_due_locked() {
  Time now = options_.clock();
  while (!later_.empty() && later_.begin()->first <= now) {
    Key key = later_.begin()->second;
    later_.erase(later_.begin());
    later_by_key_.erase(key);
    add_locked(key);
  }
}

std::optional<Key> WorkQueue::get(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (true) {
    if (down_ || stop.stop_requested()) return std::nullopt;
    add_due_locked();
    if (!queue_.empty()) {
      Key key = std::move(queue_.front());
      queue_.pop_front();
      dirty_.erase(key);
      processing_.insert(key);
      if (!queue_.empty()) wake_.notify_one();
      return key;
    }
    // Wakes for any change; the loop looks at the world again.
    bool woken = false;
    auto changed = [&woken] { return std::exchange(woken, true); };
    if (later_.empty()) {
      wake_.wait(lock, stop, changed);
    } else {
      wake_.wait_for(lock, stop, later_.begin()->first - options_.clock(), changed);
    }
  }
}

void WorkQueue::done(const Key& key) {
  std::lock_guard lock(mutex_);
  processing_.erase(key);
  if (dirty_.count(key) != 0 && !down_) {
    queue_.push_back(key);
    wake_.notify_one();
  }
}

void WorkQueue::shut_down() {
  std::lock_guard lock(mutex_);
  down_ = true;
  wake_.notify_all();
}

std::size_t WorkQueue::ready() const {
  std::lock_guard lock(mutex_);
  return queue_.size();
}

std::size_t WorkQueue::waiting() const {
  std::lock_guard lock(mutex_);
  return later_.size();
}

std::set<Key> WorkQueue::processing() const {
  std::lock_guard lock(mutex_);
  return processing_;
}

}  // namespace pgrunbook::runtime
