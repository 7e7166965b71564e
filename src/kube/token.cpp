#include "kube/token.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/file.hpp"

namespace pgrunbook::kube {
namespace {
constexpr auto kLifetime = std::chrono::seconds(60);
}

TokenSource::TokenSource(std::string file, std::string fixed, Clock clock)
    : file_(std::move(file)), clock_(std::move(clock)), token_(std::move(fixed)) {}

base::Result<> TokenSource::read_locked() {
  PGR_ASSIGN(std::string text, base::read_file(file_));
  auto space = [](char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; };
  while (!text.empty() && space(text.back())) text.pop_back();
  if (text.empty() || std::any_of(text.begin(), text.end(), space)) {
    return base::fail(base::ErrorCode::kUnauthorized, fmt::format("{} holds no token", file_));
  }
  token_ = std::move(text);
  read_at_ = clock_();
  read_ = true;
  return {};
}

base::Result<std::string> TokenSource::get() {
  std::lock_guard lock(mutex_);
  if (file_.empty()) return token_;
  if (!read_ || clock_() - read_at_ >= kLifetime) {
    auto fresh = read_locked();
    if (!fresh && !read_) return base::fail(fresh.error().in("cannot read the API server's token"));
  }
  return token_;
}

bool TokenSource::changed(const std::string& used) {
  std::lock_guard lock(mutex_);
  if (file_.empty()) return false;
  return read_locked().has_value() && token_ != used;
}

}  // namespace pgrunbook::kube
