// Waits that grow with each failure in a row.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <random>
#include <stop_token>

namespace pgrunbook::runtime {

// One thread at a time.
class Backoff {
 public:
  Backoff(std::chrono::milliseconds base, std::chrono::milliseconds most) : base_(base), most_(most) {}
  // The next wait: doubled each time, at most `most`, then half of it random, so that clients do not come in
  // step.
  std::chrono::milliseconds next() {
    now_ = now_.count() == 0 ? base_ : std::min(now_ * 2, most_);
    std::uniform_int_distribution<std::int64_t> half(now_.count() / 2, now_.count());
    return std::chrono::milliseconds(half(random_));
  }
  void reset() { now_ = {}; }

 private:
  const std::chrono::milliseconds base_, most_;
  std::chrono::milliseconds now_{};
  std::minstd_rand random_{std::random_device{}()};
};

// Sleeps; false where `stop` was asked.
inline bool sleep_for(const std::stop_token& stop, std::chrono::milliseconds d) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  wake.wait_for(lock, stop, d, [] { return false; });
  return !stop.stop_requested();
}

}  // namespace pgrunbook::runtime
