#include "agent/report.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <string_view>
#include <unistd.h>

#include "base/file.hpp"

namespace pgrunbook::agent {
namespace {

using base::Json;

// Messages hold other programs' words, in whatever encoding they spoke.
std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // nobody reads: the work goes on
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

std::string shortened(const std::string& text, std::size_t limit) {
  if (text.size() <= limit) return text;
  std::size_t end = limit - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U)
    --end;  // not inside a character
  return text.substr(0, end) + "...";
}

// Halves the longest part of `result`; false where nothing is left to take.
bool shorten_longest(Json* result, std::vector<std::string>* names) {
  std::string longest;
  std::size_t length = 40;
  for (const auto& [key, value] : result->items()) {
    std::size_t size = dump(value).size();
    if (key != "shortened" && size > length) {
      longest = key;
      length = size;
    }
  }
  if (longest.empty()) return false;
  if (std::find(names->begin(), names->end(), longest) == names->end()) names->push_back(longest);
  Json& value = (*result)[longest];
  if (value.is_array() && value.size() > 1) {
    value.erase(value.begin() + static_cast<std::ptrdiff_t>(value.size() / 2), value.end());
  } else if (value.is_string()) {
    value = shortened(value.get<std::string>(), length / 2);
  } else {
    result->erase(longest);
  }
  (*result)["shortened"] = *names;
  return true;
}

}  // namespace

Report Report::standard() {
  const char* path = std::getenv("PGRUNBOOK_TERMINATION_LOG");
  return {STDOUT_FILENO, path == nullptr || *path == 0 ? "/dev/termination-log" : path};
}

void Report::line(const api::Progress& progress) {
  step_ = progress.step;
  last_ = std::chrono::steady_clock::now();
  write_all(fd_, dump(api::to_json(progress)) + "\n");
}

void Report::progress(const std::string& step, const std::string& message, std::int64_t done,
                      std::int64_t total) {
  if (step == step_ && std::chrono::steady_clock::now() - last_ < std::chrono::seconds(1)) return;
  line({step, message, done, total});
}

void Report::note(const std::string& step, const std::string& message) { line({step, message, 0, 0}); }

void Report::answer(const api::Answer& answer) {
  std::string text = answer_text(answer);
  write_all(fd_, text + "\n");
  base::Fd fd(::open(termination_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (fd.valid()) write_all(fd.get(), text);
}

std::string answer_text(const api::Answer& answer, std::size_t limit) {
  api::Answer a = answer;
  std::string text = dump(api::to_json(a));
  if (text.size() <= limit) return text;
  a.message = shortened(a.message, 1000);
  a.hint = shortened(a.hint, 500);
  std::vector<std::string> names;
  while ((text = dump(api::to_json(a))).size() > limit && a.result.is_object() &&
         shorten_longest(&a.result, &names)) {
  }
  if (text.size() > limit) {
    a.result = Json::object();
    text = dump(api::to_json(a));
  }
  return text;
}

api::Answer answer_of(const base::Error& error) {
  api::Answer a;
  bool untouched = error.code == base::ErrorCode::kRefused || error.code == base::ErrorCode::kInvalid;
  a.outcome = untouched ? api::Outcome::kRefused : api::Outcome::kFailed;
  a.reason = error.reason_or_code();
  a.message = error.message;
  a.hint = error.hint;
  return a;
}

api::Answer succeeded(std::string reason, std::string message, Json result) {
  api::Answer a;
  a.outcome = api::Outcome::kSucceeded;
  a.reason = std::move(reason);
  a.message = std::move(message);
  a.result = std::move(result);
  return a;
}

}  // namespace pgrunbook::agent
