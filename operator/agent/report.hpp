// How a Job speaks: progress on stdout, one answer in its termination message.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "api/job.hpp"
#include "base/result.hpp"

namespace pgrunbook::agent {

// Bytes of a termination message the controller can rely on.
inline constexpr std::size_t kLargestAnswer = 4000;

class Report {
 public:
  // Progress goes to `fd`; the answer to `termination_path` (PGRUNBOOK_TERMINATION_LOG,
  // /dev/termination-log).
  Report(int fd, std::string termination_path) : fd_(fd), termination_path_(std::move(termination_path)) {}
  [[nodiscard]] static Report standard();

  // A line as soon as the step changes, or a second after the last one; what comes between is dropped.
  void progress(const std::string& step, const std::string& message, std::int64_t bytes_done = 0,
                std::int64_t bytes_total = 0);
  // A line in any case: something happened that a reader of the log needs.
  void note(const std::string& step, const std::string& message);
  // Writes the answer, shortened to kLargestAnswer (longest parts of `result` first, named in "shortened").
  void answer(const api::Answer& answer);

 private:
  void line(const api::Progress& progress);
  int fd_;
  std::string termination_path_;
  std::string step_;
  std::chrono::steady_clock::time_point last_{};
};

// What is written for an answer: JSON of at most `limit` bytes that answer_from_json reads again.
[[nodiscard]] std::string answer_text(const api::Answer& answer, std::size_t limit = kLargestAnswer);
// The answer an error amounts to: kRefused for what a rule or the input forbids before anything was touched,
// else kFailed. A job that has touched something decides itself.
[[nodiscard]] api::Answer answer_of(const base::Error& error);
[[nodiscard]] api::Answer succeeded(std::string reason, std::string message,
                                    base::Json result = base::Json::object());

}  // namespace pgrunbook::agent
