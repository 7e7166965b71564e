// The bearer token: a projected service account token is replaced on disk while we run.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <string>

#include "base/result.hpp"

namespace pgrunbook::kube {

// Thread-safe. The token is never logged and never part of an error.
class TokenSource {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  // `file` empty: always the fixed token, which may be empty too (client certificates then).
  TokenSource(std::string file, std::string fixed, Clock clock = std::chrono::steady_clock::now);
  // From the file at least every 60 s. A file that cannot be read leaves the last token in use, as an old
  // token is usually still good; an error only where there never was one.
  [[nodiscard]] base::Result<std::string> get();
  // After a 401: reads the file now; true where it holds another token than `used`.
  [[nodiscard]] bool changed(const std::string& used);

 private:
  [[nodiscard]] base::Result<> read_locked();

  const std::string file_;
  const Clock clock_;
  std::mutex mutex_;
  std::string token_;  // guarded by mutex_
  std::chrono::steady_clock::time_point read_at_{};
  bool read_ = false;
};

}  // namespace pgrunbook::kube
