#include "archive/frames.hpp"

#include <algorithm>
#include <cerrno>
#include <deque>
#include <fcntl.h>
#include <future>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include <fmt/format.h>
#include <zstd.h>

#include "archive/layout.hpp"
#include "base/hash.hpp"

namespace pgrunbook::archive {
namespace {

using base::ErrorCode;
using base::Result;

// Enough to hide compression behind a gigabit of network; more would starve the server that shares the node.
constexpr unsigned kMostWorkers = 4;

struct Compressed {
  std::string bytes;
  std::uint64_t raw_size = 0;
};

Result<Compressed> compress_frame(const std::string& raw, int level) {
  std::unique_ptr<ZSTD_CCtx, std::size_t (*)(ZSTD_CCtx*)> context(ZSTD_createCCtx(), &ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  Compressed out;
  out.raw_size = raw.size();
  out.bytes.resize(ZSTD_compressBound(raw.size()));
  std::size_t size =
      ZSTD_compress2(context.get(), out.bytes.data(), out.bytes.size(), raw.data(), raw.size());
  if (ZSTD_isError(size) != 0)
    return base::fail(ErrorCode::kInternal, fmt::format("zstd: {}", ZSTD_getErrorName(size)));
  out.bytes.resize(size);
  return out;
}

base::Failure corrupt(const std::string& path, std::string_view why) {
  base::Error e = base::error(ErrorCode::kCorrupt, fmt::format("{} is damaged: {}", path, why));
  e.reason = "ObjectDamaged";
  return base::fail(std::move(e));
}

}  // namespace

struct FrameWriter::State {
  std::string path;
  base::Fd fd;
  int level = 1;
  std::string open;  // raw bytes of the frame being filled
  std::deque<std::future<Result<Compressed>>> pending;
  std::vector<Frame> frames;
  std::uint64_t raw = 0, stored = 0;
  std::uint64_t written_raw = 0;  // raw bytes of the frames in `frames`
  base::Sha256 hash;
  std::string hex;

  Result<> write_oldest() {
    Result<Compressed> done = pending.front().get();
    pending.pop_front();
    if (!done) return base::fail(done.error());
    std::string_view rest = done->bytes;
    hash.update(rest);
    while (!rest.empty()) {
      ssize_t n = ::write(fd.get(), rest.data(), rest.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return base::fail(base::system_error("write", path));
      rest.remove_prefix(static_cast<std::size_t>(n));
    }
    frames.push_back({stored, done->bytes.size(), written_raw, done->raw_size});
    stored += done->bytes.size();
    written_raw += done->raw_size;
    return {};
  }
};

FrameWriter::FrameWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
FrameWriter::FrameWriter(FrameWriter&&) noexcept = default;
FrameWriter& FrameWriter::operator=(FrameWriter&&) noexcept = default;
FrameWriter::~FrameWriter() = default;

Result<FrameWriter> FrameWriter::create(const std::string& path, int level) {
  auto state = std::make_unique<State>();
  state->path = path;
  state->level = level;
  state->fd = base::Fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kFileMode));
  if (!state->fd.valid()) return base::fail(base::system_error("create", path));
  ::fchmod(state->fd.get(), kFileMode);
  return FrameWriter(std::move(state));
}

Result<> FrameWriter::append(std::string_view bytes) {
  while (!bytes.empty()) {
    std::size_t room = static_cast<std::size_t>(kLargestFrame) - state_->open.size();
    std::string_view piece = bytes.substr(0, room);
    state_->open.append(piece);
    state_->raw += piece.size();
    bytes.remove_prefix(piece.size());
    if (state_->open.size() == kLargestFrame) PGR_TRY(cut());
  }
  return {};
}

Result<> FrameWriter::cut() {
  State& s = *state_;
  if (s.open.empty()) return {};
  std::size_t workers = std::clamp(std::thread::hardware_concurrency(), 1U, kMostWorkers);
  while (s.pending.size() >= workers) PGR_TRY(s.write_oldest());
  s.pending.push_back(std::async(
      std::launch::async, [raw = std::move(s.open), level = s.level] { return compress_frame(raw, level); }));
  s.open = std::string();
  return {};
}

Result<> FrameWriter::finish() {
  PGR_TRY(cut());
  while (!state_->pending.empty()) PGR_TRY(state_->write_oldest());
  if (::fsync(state_->fd.get()) != 0) return base::fail(base::system_error("sync", state_->path));
  // What is read back afterwards shall come from the volume, not from memory.
  ::posix_fadvise(state_->fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  state_->hex = state_->hash.hex();
  return {};
}

std::uint64_t FrameWriter::open_bytes() const { return state_->open.size(); }
std::uint64_t FrameWriter::raw_bytes() const { return state_->raw; }
std::uint64_t FrameWriter::stored_bytes() const { return state_->stored; }
const std::vector<Frame>& FrameWriter::frames() const { return state_->frames; }
const std::string& FrameWriter::stored_sha256() const { return state_->hex; }

Result<> read_frames(const std::string& path, const OnRaw& on_raw) {
  base::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return base::fail(base::system_error("open", path));
  std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), &ZSTD_freeDCtx);
  std::vector<char> from(ZSTD_DStreamInSize()), to(ZSTD_DStreamOutSize());
  std::size_t left = 1;  // not 0: a file without any frame ends inside one
  while (true) {
    ssize_t n = ::read(fd.get(), from.data(), from.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::fail(base::system_error("read", path));
    if (n == 0) break;
    ZSTD_inBuffer in{from.data(), static_cast<std::size_t>(n), 0};
    bool flushed = false;
    while (in.pos < in.size || !flushed) {
      ZSTD_outBuffer out{to.data(), to.size(), 0};
      left = ZSTD_decompressStream(context.get(), &out, &in);
      if (ZSTD_isError(left) != 0) return corrupt(path, ZSTD_getErrorName(left));
      if (out.pos > 0) PGR_TRY(on_raw(std::string_view(to.data(), out.pos)));
      // A full output buffer may mean that more is waiting; only with room to spare the input is really used
      // up.
      flushed = out.pos < out.size || left == 0;
    }
  }
  if (left != 0) return corrupt(path, "it ends too early");
  return {};
}

Result<std::string> read_frame(const std::string& path, const Frame& frame) {
  base::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return base::fail(base::system_error("open", path));
  std::string stored(frame.size, '\0');
  std::size_t have = 0;
  while (have < stored.size()) {
    ssize_t n = ::pread(fd.get(), stored.data() + have, stored.size() - have,
                        static_cast<off_t>(frame.offset + have));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::fail(base::system_error("read", path));
    if (n == 0) return corrupt(path, "it ends too early");
    have += static_cast<std::size_t>(n);
  }
  std::string raw(frame.raw_size, '\0');
  std::size_t size = ZSTD_decompress(raw.data(), raw.size(), stored.data(), stored.size());
  if (ZSTD_isError(size) != 0) return corrupt(path, ZSTD_getErrorName(size));
  if (size != frame.raw_size) return corrupt(path, "a frame is shorter than the index says");
  return raw;
}

}  // namespace pgrunbook::archive
