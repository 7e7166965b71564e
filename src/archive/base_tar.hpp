// base.tar.zst: a base backup's tar, stored in one pass with a hash of every file, and read back to prove it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "archive/frames.hpp"
#include "base/result.hpp"
#include "postgres/backup_manifest.hpp"
#include "postgres/tar.hpp"

namespace pgrunbook::archive {

// What passed through, by path.
struct TarContents {
  std::map<std::string, postgres::ManifestFile> files;
  std::string manifest;      // backup_manifest, whole
  std::string backup_label;  // whole
  std::uint64_t bytes = 0;   // of the tar
};

// Takes the tar as it comes and writes it in frames: a larger file begins its own, small ones share one.
class BaseTarWriter {
 public:
  // `path` must not exist.
  [[nodiscard]] static base::Result<std::unique_ptr<BaseTarWriter>> create(const std::string& path,
                                                                           int level);
  virtual ~BaseTarWriter() = default;
  BaseTarWriter() = default;
  BaseTarWriter(const BaseTarWriter&) = delete;
  BaseTarWriter& operator=(const BaseTarWriter&) = delete;
  [[nodiscard]] virtual base::Result<> feed(std::string_view bytes) = 0;
  // Complete and synced, or an error.
  [[nodiscard]] virtual base::Result<> finish() = 0;
  [[nodiscard]] virtual const TarContents& contents() const = 0;
  // One JSON object per line: {"frame": [offset, size, rawOffset, rawSize]} and {"file": path, "size",
  // "sha256", "rawOffset"}, offsets in bytes, raw = in the uncompressed tar. After finish().
  [[nodiscard]] virtual std::string index() const = 0;
  [[nodiscard]] virtual std::uint64_t stored_bytes() const = 0;
  [[nodiscard]] virtual std::string stored_sha256() const = 0;
};

// Reads a stored tar to its end and hashes every file; nothing is unpacked. `progress` gets the bytes of the
// tar so far.
[[nodiscard]] base::Result<TarContents> read_base_tar(
    const std::string& path, const std::function<void(std::uint64_t)>& progress = {});

}  // namespace pgrunbook::archive
