// A directory of one test, gone afterwards.
#pragma once

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "base/file.hpp"
#include "base/result.hpp"

namespace pgrunbook::test {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char path[] = "/tmp/pgrunbook-test-XXXXXX";
    if (::mkdtemp(path) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = path;
  }
  ~TemporaryDirectory() { (void)base::remove_tree(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// The value of a Result, or a failed test with its error.
template <typename T>
T must(base::Result<T> result) {
  if (!result) throw std::runtime_error(result.error().text());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace pgrunbook::test
