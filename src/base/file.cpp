#include "base/file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/hash.hpp"

namespace pgrunbook::base {
namespace {

std::string parent_of(const std::string& path) {
  auto slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// A complete, synced file under a name nobody else uses, beside `path`.
Result<std::string> write_beside(const std::string& path, std::string_view content, unsigned mode) {
  std::string name = path.substr(path.find_last_of('/') + 1);
  std::string temporary = fmt::format("{}/.{}.{}.part", parent_of(path), name, random_hex(8));
  Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!fd.valid()) return fail(system_error("create", temporary));
  std::string_view rest = content;
  while (!rest.empty()) {
    ssize_t n = ::write(fd.get(), rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      Error e = system_error("write", temporary);
      ::unlink(temporary.c_str());
      return fail(e);
    }
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
  if (::fchmod(fd.get(), mode) != 0 || ::fsync(fd.get()) != 0) {
    Error e = system_error("sync", temporary);
    ::unlink(temporary.c_str());
    return fail(e);
  }
  return temporary;
}

}  // namespace

void Fd::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Error system_error(std::string_view act, std::string_view path) {
  int number = errno;
  ErrorCode code = ErrorCode::kUnavailable;
  if (number == ENOENT) code = ErrorCode::kNotFound;
  if (number == EEXIST) code = ErrorCode::kAlreadyExists;
  if (number == EACCES || number == EPERM || number == EROFS) code = ErrorCode::kForbidden;
  Error e = error(code, fmt::format("cannot {} {}: {}", act, path, std::strerror(number)));
  if (number == EACCES || number == EPERM) {
    e.reason = "NotPermitted";
    e.hint = fmt::format("its owner and mode must let the members' uid in: chown or chmod {}", path);
  }
  if (number == EROFS) {
    e.reason = "VolumeReadOnly";
    e.hint = "mount the volume for writing";
  }
  if (number == ENOSPC || number == EDQUOT) {
    e.reason = "VolumeFull";
    e.hint = "free space on the volume or make it larger";
  }
  return e;
}

bool exists(const std::string& path) {
  struct stat s{};
  return ::lstat(path.c_str(), &s) == 0;
}

Result<bool> is_there(const std::string& path) {
  struct stat s{};
  if (::lstat(path.c_str(), &s) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  return fail(system_error("look at", path));
}

Result<std::string> read_file(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return fail(system_error("open", path));
  std::string out;
  char buffer[1 << 16];
  while (true) {
    ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(system_error("read", path));
    if (n == 0) return out;
    out.append(buffer, static_cast<std::size_t>(n));
  }
}

Result<> replace_file(const std::string& path, std::string_view content, unsigned mode) {
  PGR_ASSIGN(std::string temporary, write_beside(path, content, mode));
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    Error e = system_error("rename to", path);
    ::unlink(temporary.c_str());
    return fail(e);
  }
  return sync_path(parent_of(path));
}

Result<> create_file(const std::string& path, std::string_view content, unsigned mode) {
  PGR_ASSIGN(std::string temporary, write_beside(path, content, mode));
  int linked = ::link(temporary.c_str(), path.c_str());
  Error e = linked == 0 ? Error{} : system_error("create", path);
  ::unlink(temporary.c_str());
  if (linked != 0) return fail(e);
  return sync_path(parent_of(path));
}

Result<> sync_path(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return fail(system_error("open", path));
  if (::fsync(fd.get()) != 0) return fail(system_error("sync", path));
  return {};
}

Result<> make_directories(const std::string& path, unsigned mode) {
  struct stat s{};
  if (::stat(path.c_str(), &s) == 0) {
    if (S_ISDIR(s.st_mode)) return {};
    return fail(ErrorCode::kConflict, fmt::format("{} exists and is no directory", path));
  }
  std::string parent = parent_of(path);
  if (parent != path && parent != "." && parent != "/") PGR_TRY(make_directories(parent, mode));
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST)
    return fail(system_error("create directory", path));
  ::chmod(path.c_str(), mode);
  return sync_path(parent);
}

Result<std::vector<std::string>> list_directory(const std::string& path) {
  std::error_code ec;
  std::filesystem::directory_iterator it(path, ec);
  if (ec) {
    errno = ec.value();
    return fail(system_error("list", path));
  }
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator end; it != end; it.increment(ec)) {
    if (ec) break;
    names.push_back(it->path().filename().string());
  }
  if (ec) {
    errno = ec.value();
    return fail(system_error("list", path));
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<> remove_tree(const std::string& path) {
  std::error_code ec;
  std::filesystem::remove_all(path, ec);
  if (ec) {
    errno = ec.value();
    return fail(system_error("remove", path));
  }
  return {};
}

}  // namespace pgrunbook::base
