// zstd in independent frames: still one plain .zst file for every tool, and each frame can be read alone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.hpp"
#include "base/result.hpp"

namespace pgrunbook::archive {

struct Frame {
  std::uint64_t offset = 0, size = 0;          // in the compressed file
  std::uint64_t raw_offset = 0, raw_size = 0;  // of what it holds
};

// Writes frames to a new file, compressing several at once. Every frame has zstd's own checksum and its
// uncompressed length.
class FrameWriter {
 public:
  // `path` must not exist. Level as zstd's (1 to 19).
  [[nodiscard]] static base::Result<FrameWriter> create(const std::string& path, int level);
  FrameWriter(FrameWriter&&) noexcept;
  FrameWriter& operator=(FrameWriter&&) noexcept;
  FrameWriter(const FrameWriter&) = delete;
  FrameWriter& operator=(const FrameWriter&) = delete;
  ~FrameWriter();

  // Appends to the frame that is open; begins a new one by itself after kLargestFrame bytes.
  [[nodiscard]] base::Result<> append(std::string_view bytes);
  // Ends the open frame; nothing where it is empty.
  [[nodiscard]] base::Result<> cut();
  // Ends the last frame and syncs the file. Nothing may be appended afterwards.
  [[nodiscard]] base::Result<> finish();

  [[nodiscard]] std::uint64_t open_bytes() const;          // uncompressed bytes in the open frame
  [[nodiscard]] std::uint64_t raw_bytes() const;           // uncompressed bytes so far
  [[nodiscard]] std::uint64_t stored_bytes() const;        // compressed bytes written so far
  [[nodiscard]] const std::vector<Frame>& frames() const;  // all of them after finish()
  [[nodiscard]] const std::string& stored_sha256() const;  // of the file, after finish()

  static constexpr std::uint64_t kLargestFrame = 4U << 20U;

 private:
  struct State;
  explicit FrameWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

using OnRaw = std::function<base::Result<>(std::string_view)>;

// Uncompresses a whole .zst file of any number of frames, piece by piece. kCorrupt for a bad checksum, a bad
// frame or a file that ends inside one.
[[nodiscard]] base::Result<> read_frames(const std::string& path, const OnRaw& on_raw);
// Uncompresses one frame.
[[nodiscard]] base::Result<std::string> read_frame(const std::string& path, const Frame& frame);

}  // namespace pgrunbook::archive
