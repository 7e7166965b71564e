// Wall-clock time as RFC 3339 text, and the clock behind an interface so that tests drive it.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace pgrunbook::base {

using SystemTime = std::chrono::time_point<std::chrono::system_clock, std::chrono::microseconds>;

// "2026-11-20T15:04:05Z", or with microseconds "2026-11-20T15:04:05.000001Z". Always UTC.
[[nodiscard]] std::string format_time(SystemTime t);
[[nodiscard]] std::string format_time_micro(SystemTime t);
// Parses RFC 3339 with a mandatory zone ("Z" or "+02:00"); a time without one is refused with a HINT.
[[nodiscard]] Result<SystemTime> parse_time(std::string_view text, std::string_view field);
// PostgreSQL's own form in UTC: "2026-11-20 15:04:05.000001 UTC" (pg_waldump with TZ=UTC).
[[nodiscard]] Result<SystemTime> parse_postgres_time(std::string_view text);

[[nodiscard]] SystemTime now();

// An absolute point on the steady clock, passed down through every blocking call instead of per-layer
// timeouts.
class Deadline {
 public:
  [[nodiscard]] static Deadline after(std::chrono::milliseconds d) {
    return Deadline(std::chrono::steady_clock::now() + d);
  }
  [[nodiscard]] bool passed() const { return std::chrono::steady_clock::now() >= at_; }
  [[nodiscard]] std::chrono::milliseconds left() const {
    auto d = std::chrono::duration_cast<std::chrono::milliseconds>(at_ - std::chrono::steady_clock::now());
    return d.count() > 0 ? d : std::chrono::milliseconds(0);
  }
  [[nodiscard]] std::chrono::steady_clock::time_point at() const { return at_; }

 private:
  explicit Deadline(std::chrono::steady_clock::time_point at) : at_(at) {}
  std::chrono::steady_clock::time_point at_;
};

}  // namespace pgrunbook::base
