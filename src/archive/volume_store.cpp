#include "archive/volume_store.hpp"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>
#include <zstd.h>

#include "archive/frames.hpp"
#include "archive/layout.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"

namespace pgrunbook::archive {
namespace {

using base::ErrorCode;
using base::Failure;
using base::Fd;
using base::Result;

constexpr std::size_t kBlock = 1U << 18U;

std::string directory_of(const std::string& path) {
  auto slash = path.find_last_of('/');
  return slash == std::string::npos ? "." : path.substr(0, std::max<std::size_t>(slash, 1));
}
std::string name_of(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

// Unique among hosts, processes and threads; begins with '.', so that no listing of ours takes it for an
// object.
std::string temporary_beside(const std::string& path) {
  char host[65] = {};
  ::gethostname(host, sizeof host - 1);
  std::string safe = host;
  std::replace(safe.begin(), safe.end(), '/', '_');
  return fmt::format("{}/.{}.{}.{}.{}.part", directory_of(path), name_of(path), safe, ::getpid(),
                     base::random_hex(4));
}

// A file that is removed unless it was given away: an error leaves nothing behind.
struct Temporary {
  std::string path;
  Fd fd;
  ~Temporary() { remove(); }
  Temporary() = default;
  Temporary(Temporary&& other) noexcept : path(std::exchange(other.path, {})), fd(std::move(other.fd)) {}
  Temporary& operator=(Temporary&&) = delete;
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  void remove() {
    if (!path.empty()) ::unlink(path.c_str());
    path.clear();
  }
  [[nodiscard]] Result<> write(const char* data, std::size_t size) const {
    while (size > 0) {
      ssize_t n = ::write(fd.get(), data, size);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return base::fail(base::system_error("write", path));
      data += n;
      size -= static_cast<std::size_t>(n);
    }
    return {};
  }
};

Result<Temporary> open_temporary(const std::string& target) {
  Temporary t;
  std::string path = temporary_beside(target);
  t.fd = Fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kFileMode));
  if (!t.fd.valid()) return base::fail(base::system_error("create", path));
  t.path = path;
  ::fchmod(t.fd.get(), kFileMode);
  return t;
}

// What is put: a file or bytes in memory, read in pieces of kBlock.
class Source {
 public:
  static Result<Source> file(const std::string& path) {
    Source s;
    s.path_ = path;
    s.fd_ = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat st{};
    if (!s.fd_.valid() || ::fstat(s.fd_.get(), &st) != 0) return base::fail(base::system_error("open", path));
    s.size_ = static_cast<std::uint64_t>(st.st_size);
    return s;
  }
  static Source bytes(std::string_view content) {
    Source s;
    s.rest_ = s.content_ = content;
    s.size_ = content.size();
    return s;
  }
  [[nodiscard]] std::uint64_t size() const { return size_; }
  Result<> rewind() {
    rest_ = content_;
    if (fd_.valid() && ::lseek(fd_.get(), 0, SEEK_SET) != 0)
      return base::fail(base::system_error("rewind", path_));
    return {};
  }
  // Empty at the end.
  Result<std::string_view> next() {
    if (!fd_.valid()) {
      std::string_view piece = rest_.substr(0, kBlock);
      rest_.remove_prefix(piece.size());
      return piece;
    }
    if (buffer_.empty()) buffer_.resize(kBlock);
    while (true) {
      ssize_t n = ::read(fd_.get(), buffer_.data(), buffer_.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return base::fail(base::system_error("read", path_));
      return std::string_view(buffer_.data(), static_cast<std::size_t>(n));
    }
  }

 private:
  std::string path_;
  Fd fd_;
  std::string_view content_, rest_;
  std::uint64_t size_ = 0;
  std::vector<char> buffer_;
};

Result<std::string> hash_source(Source* source, const PutOptions& options) {
  PGR_TRY(source->rewind());
  base::Sha256 hash;
  while (true) {
    PGR_ASSIGN(std::string_view piece, source->next());
    if (piece.empty()) return hash.hex();
    if (options.inspect) PGR_TRY(options.inspect(piece));
    hash.update(piece);
  }
}

// The target is there already: success where it holds the same bytes.
Result<Put> compare(Source* source, const std::string& target, const PutOptions& options) {
  PGR_ASSIGN(std::string ours, hash_source(source, options));
  base::Sha256 hash;
  auto update = [&](std::string_view piece) -> Result<> {
    hash.update(piece);
    return {};
  };
  PGR_TRY(read_frames(target, update));
  std::string theirs = hash.hex();
  if (ours == theirs) {
    // Whoever published it may have died before the name was durable.
    PGR_TRY(base::sync_path(target));
    PGR_TRY(base::sync_path(directory_of(target)));
    return Put::kAlreadyThere;
  }
  base::Error e = base::error(
      ErrorCode::kConflict,
      fmt::format("{} exists with other content (sha256 {:.16} there, {:.16} here)", target, theirs, ours),
      "two servers write one archive; nothing was overwritten");
  e.reason = "OtherContent";
  return base::fail(std::move(e));
}

Result<> compress(Source* source, const Temporary& out, const PutOptions& options) {
  std::unique_ptr<ZSTD_CCtx, std::size_t (*)(ZSTD_CCtx*)> context(ZSTD_createCCtx(), &ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, options.level);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  ZSTD_CCtx_setPledgedSrcSize(context.get(), source->size());
  std::vector<char> block(ZSTD_CStreamOutSize());
  while (true) {
    PGR_ASSIGN(std::string_view piece, source->next());
    if (!piece.empty() && options.inspect) PGR_TRY(options.inspect(piece));
    ZSTD_inBuffer in{piece.data(), piece.size(), 0};
    ZSTD_EndDirective mode = piece.empty() ? ZSTD_e_end : ZSTD_e_continue;
    std::size_t left = 0;
    do {
      ZSTD_outBuffer to{block.data(), block.size(), 0};
      left = ZSTD_compressStream2(context.get(), &to, &in, mode);
      if (ZSTD_isError(left) != 0) {
        return base::fail(ErrorCode::kUnavailable,
                          fmt::format("the file changed while it was read ({})", ZSTD_getErrorName(left)));
      }
      PGR_TRY(out.write(block.data(), to.pos));
    } while (mode == ZSTD_e_end ? left != 0 : in.pos < in.size);
    if (piece.empty()) return {};
  }
}

Result<Put> put(Source source, const std::string& target, const PutOptions& options) {
  auto step = [&](std::string_view name) {
    if (options.after_step) options.after_step(name);
  };
  if (base::exists(target)) return compare(&source, target, options);
  PGR_TRY(base::make_directories(directory_of(target), kDirectoryMode));
  PGR_ASSIGN(Temporary temporary, open_temporary(target));
  PGR_TRY(compress(&source, temporary, options));
  step("written");
  if (::fsync(temporary.fd.get()) != 0) return base::fail(base::system_error("sync", temporary.path));
  step("synced");
  if (::link(temporary.path.c_str(), target.c_str()) != 0) {
    if (errno != EEXIST) return base::fail(base::system_error("create", target));
    temporary.remove();
    return compare(&source, target, options);
  }
  step("linked");
  temporary.remove();
  PGR_TRY(base::sync_path(directory_of(target)));
  return Put::kStored;
}

}  // namespace

Result<Put> put_file_if_absent(const std::string& source, const std::string& target,
                               const PutOptions& options) {
  PGR_ASSIGN(Source s, Source::file(source));
  return put(std::move(s), target, options);
}

Result<Put> put_bytes_if_absent(std::string_view content, const std::string& target,
                                const PutOptions& options) {
  return put(Source::bytes(content), target, options);
}

Result<> get_file(const std::string& source, const std::string& destination,
                  const std::function<Result<>(std::string_view)>& inspect) {
  PGR_ASSIGN(bool there, base::is_there(source));
  if (!there) return base::fail(ErrorCode::kNotFound, fmt::format("{} is not there", source));
  auto opened = open_temporary(destination);
  if (!opened) {
    base::Error e = opened.error();
    e.code = ErrorCode::kUnavailable;  // kNotFound is only ever said of the object
    return base::fail(std::move(e));
  }
  Temporary temporary = std::move(*opened);
  auto deliver = [&](std::string_view piece) -> Result<> {
    if (inspect) PGR_TRY(inspect(piece));
    return temporary.write(piece.data(), piece.size());
  };
  PGR_TRY(read_frames(source, deliver));
  if (::fsync(temporary.fd.get()) != 0) return base::fail(base::system_error("sync", temporary.path));
  if (::rename(temporary.path.c_str(), destination.c_str()) != 0) {
    return base::fail(base::system_error("rename to", destination));
  }
  temporary.path.clear();
  return base::sync_path(directory_of(destination));
}

Result<std::string> get_bytes(const std::string& source, std::uint64_t limit) {
  std::string out;
  auto collect = [&](std::string_view piece) -> Result<> {
    if (out.size() + piece.size() > limit) {
      return base::fail(ErrorCode::kCorrupt, fmt::format("{} holds more than {} bytes", source, limit));
    }
    out.append(piece);
    return {};
  };
  PGR_TRY(read_frames(source, collect));
  return out;
}

Result<std::string> get_first_bytes(const std::string& source, std::size_t count) {
  std::string out;
  bool enough = false;
  auto read = read_frames(source, [&](std::string_view piece) -> Result<> {
    out.append(piece.substr(0, count - out.size()));
    enough = out.size() == count;
    return enough ? Result<>(base::fail(ErrorCode::kCancelled, "enough")) : Result<>();
  });
  if (!read && !enough) return base::fail(read.error());
  return out;
}

Result<std::uint64_t> stored_length(const std::string& source) {
  Fd fd(::open(source.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return base::fail(base::system_error("open", source));
  char head[18];  // ZSTD_FRAMEHEADERSIZE_MAX
  ssize_t n = ::read(fd.get(), head, sizeof head);
  if (n < 0) return base::fail(base::system_error("read", source));
  auto length = ZSTD_getFrameContentSize(head, static_cast<std::size_t>(n));
  if (length == ZSTD_CONTENTSIZE_ERROR || length == ZSTD_CONTENTSIZE_UNKNOWN) {
    return base::fail(ErrorCode::kCorrupt, fmt::format("{} does not say how long its content is", source));
  }
  return length;
}

void remove_leftovers(const std::string& directory, int seconds) {
  auto names = base::list_directory(directory);
  if (!names) return;
  for (const std::string& name : *names) {
    if (!name.starts_with('.') || !name.ends_with(".part")) continue;
    std::string path = fmt::format("{}/{}", directory, name);
    struct stat st{};
    if (::lstat(path.c_str(), &st) == 0 && std::time(nullptr) - st.st_mtime > seconds) ::unlink(path.c_str());
  }
}

}  // namespace pgrunbook::archive
