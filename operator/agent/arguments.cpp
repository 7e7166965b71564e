#include "agent/arguments.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>

#include <fmt/format.h>

namespace pgrunbook::agent {

using base::ErrorCode;
using base::Result;

Result<Arguments> Arguments::parse(const std::vector<std::string>& arguments,
                                   const std::vector<std::string_view>& known) {
  Arguments a;
  std::size_t i = 0;
  while (i < arguments.size() && arguments[i].starts_with("--")) {
    std::string key = arguments[i].substr(2);
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return base::fail(ErrorCode::kInvalid, fmt::format("unknown argument --{:.40}", key));
    }
    if (i + 1 >= arguments.size())
      return base::fail(ErrorCode::kInvalid, fmt::format("--{} has no value", key));
    if (!a.values_.emplace(key, arguments[i + 1]).second) {
      return base::fail(ErrorCode::kInvalid, fmt::format("--{} is given twice", key));
    }
    i += 2;
  }
  a.rest_.assign(arguments.begin() + static_cast<std::ptrdiff_t>(i), arguments.end());
  return a;
}

std::optional<std::string> Arguments::value(std::string_view key) const {
  auto found = values_.find(key);
  if (found == values_.end()) return std::nullopt;
  return found->second;
}

Result<std::string> Arguments::need(std::string_view key) const {
  auto found = value(key);
  if (found && !found->empty()) return *found;
  return base::fail(ErrorCode::kInvalid, fmt::format("--{} is missing", key));
}

Result<std::vector<std::string>> Arguments::rest(std::size_t count, std::string_view what) const {
  if (rest_.size() == count) return rest_;
  return base::fail(ErrorCode::kInvalid,
                    fmt::format("{} words behind the options, expected are {}", rest_.size(), what));
}

Result<std::uint64_t> number_argument(std::string_view key, std::string_view text) {
  std::uint64_t value = 0;
  auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code == std::errc{} && stop == text.data() + text.size()) return value;
  return base::fail(ErrorCode::kInvalid, fmt::format("--{} is '{:.40}', not a number", key, text));
}

void say(std::string_view what, const base::Error& error) {
  std::string line = fmt::format("pgrunbook: {}: {}", what, error.text());
  std::replace(line.begin(), line.end(), '\n', ' ');
  fmt::print(stderr, "{}\n", line);
}

}  // namespace pgrunbook::agent
