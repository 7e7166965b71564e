// The tar stream of a base backup (ustar as PostgreSQL writes it), parsed while it passes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace pgrunbook::postgres {

enum class TarKind { kFile, kDirectory, kSymbolicLink };

struct TarEntry {
  TarKind kind = TarKind::kFile;
  std::string path;          // relative, without "./", "..", an empty part or a newline
  std::string link;          // target of a symbolic link
  std::uint64_t size = 0;    // of a file
  std::uint64_t offset = 0;  // of its content in the tar
  unsigned mode = 0;
};

// What a parser tells. Every byte of the tar is given to on_raw exactly once, in order; an entry's on_entry
// comes before the on_raw of its header, its on_content before or with the on_raw of the same bytes.
class TarSink {
 public:
  TarSink() = default;
  TarSink(const TarSink&) = delete;
  TarSink& operator=(const TarSink&) = delete;
  virtual ~TarSink() = default;
  virtual base::Result<> on_raw(std::string_view bytes) = 0;
  virtual base::Result<> on_entry(const TarEntry& entry) = 0;
  virtual base::Result<> on_content(std::string_view bytes) = 0;
  // The content of a file is complete; also for an empty one. Not for directories and links.
  virtual base::Result<> on_file_end() = 0;
};

class TarParser {
 public:
  explicit TarParser(TarSink* sink) : sink_(sink) {}
  // kCorrupt for a wrong header checksum, a path that leaves the archive, or an entry of another kind.
  [[nodiscard]] base::Result<> feed(std::string_view bytes);
  // kCorrupt where the stream ended inside an entry or without the two blocks of zeros that end a tar.
  [[nodiscard]] base::Result<> finish() const;

 private:
  base::Result<> header();
  TarSink* sink_;
  std::string block_;           // a header, as far as it has come
  std::uint64_t position_ = 0;  // of the next byte
  std::uint64_t content_left_ = 0, padding_left_ = 0;
  int zero_blocks_ = 0;
};

}  // namespace pgrunbook::postgres
