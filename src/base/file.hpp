// Files, written so that a crash leaves either nothing or everything.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace pgrunbook::base {

// An open descriptor, closed at the end of its life.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() { reset(); }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_ = -1;
};

// The error of the last system call, in words: "cannot <act> <path>: <errno>"; ENOENT is kNotFound, EEXIST
// kAlreadyExists, EACCES/EPERM kForbidden, the rest kUnavailable.
[[nodiscard]] Error system_error(std::string_view act, std::string_view path);

// False too where nobody can tell (EIO, ESTALE, ...): where "nothing is there" decides over what is removed
// or written over, ask is_there.
[[nodiscard]] bool exists(const std::string& path);
// False only where the file system says so (ENOENT, ENOTDIR); any other failure is an error.
[[nodiscard]] Result<bool> is_there(const std::string& path);
[[nodiscard]] Result<std::string> read_file(const std::string& path);
// Writes to a temporary name in the same directory, syncs, renames over `path`, syncs the directory.
[[nodiscard]] Result<> replace_file(const std::string& path, std::string_view content, unsigned mode = 0640);
// As replace_file, but fails with kAlreadyExists where `path` exists, by link(2): of two writers exactly one
// wins.
[[nodiscard]] Result<> create_file(const std::string& path, std::string_view content, unsigned mode = 0640);
// Syncs a file or a directory.
[[nodiscard]] Result<> sync_path(const std::string& path);
// Directory and its parents, each synced into its parent. An existing one is fine.
[[nodiscard]] Result<> make_directories(const std::string& path, unsigned mode = 02750);
// Names in a directory, sorted, without "." and "..".
[[nodiscard]] Result<std::vector<std::string>> list_directory(const std::string& path);
// Removes a tree; a missing one is fine. Follows no links.
[[nodiscard]] Result<> remove_tree(const std::string& path);

}  // namespace pgrunbook::base
