#include "archive/base_tar.hpp"

#include <vector>

#include <fmt/format.h>

#include "base/hash.hpp"
#include "base/json.hpp"

namespace pgrunbook::archive {
namespace {

using base::Result;
using postgres::TarEntry;

constexpr std::uint64_t kLargerFile = 1U << 20U;       // begins a frame of its own
constexpr std::uint64_t kSmallestFrame = 256U << 10U;  // small files are grouped at least up to this
constexpr std::uint64_t kGroup = 2U << 20U;            // a group of small files ends here
constexpr std::uint64_t kLargestKept = 1U << 30U;      // of backup_manifest, in memory

// Hashes files and keeps the two whose text is needed.
class Contents : public postgres::TarSink {
 public:
  Result<> on_raw(std::string_view bytes) override {
    contents_.bytes += bytes.size();
    return {};
  }
  Result<> on_entry(const TarEntry& entry) override {
    if (entry.kind == postgres::TarKind::kSymbolicLink) {
      return base::fail(base::refused(
          "TablespacesUnsupported", fmt::format("the backup holds the link {} to {}", entry.path, entry.link),
          "tablespaces outside the data directory are not supported yet"));
    }
    entry_ = entry;
    keep_ = nullptr;
    if (entry.path == "backup_manifest") keep_ = &contents_.manifest;
    if (entry.path == "backup_label") keep_ = &contents_.backup_label;
    if (keep_ != nullptr && entry.size > kLargestKept) {
      return base::fail(base::ErrorCode::kCorrupt, fmt::format("{} has {} bytes", entry.path, entry.size));
    }
    hash_ = base::Sha256();
    return {};
  }
  Result<> on_content(std::string_view bytes) override {
    hash_.update(bytes);
    if (keep_ != nullptr) keep_->append(bytes);
    return {};
  }
  Result<> on_file_end() override {
    postgres::ManifestFile file{entry_.size, hash_.hex()};
    if (!contents_.files.emplace(entry_.path, std::move(file)).second) {
      return base::fail(base::ErrorCode::kCorrupt, fmt::format("the tar holds {} twice", entry_.path));
    }
    return {};
  }
  [[nodiscard]] const TarContents& contents() const { return contents_; }

 protected:
  TarContents contents_;
  TarEntry entry_;

 private:
  base::Sha256 hash_;
  std::string* keep_ = nullptr;
};

class Writer : public BaseTarWriter {
 public:
  explicit Writer(FrameWriter frames) : sink_(std::move(frames)), parser_(&sink_) {}
  Result<> feed(std::string_view bytes) override { return parser_.feed(bytes); }
  Result<> finish() override {
    PGR_TRY(parser_.finish());
    return sink_.frames.finish();
  }
  [[nodiscard]] const TarContents& contents() const override { return sink_.contents(); }
  [[nodiscard]] std::string index() const override {
    std::string out;
    for (const Frame& f : sink_.frames.frames()) {
      out += fmt::format("{{\"frame\":[{},{},{},{}]}}\n", f.offset, f.size, f.raw_offset, f.raw_size);
    }
    return out + sink_.file_lines;
  }
  [[nodiscard]] std::uint64_t stored_bytes() const override { return sink_.frames.stored_bytes(); }
  [[nodiscard]] std::string stored_sha256() const override { return sink_.frames.stored_sha256(); }

 private:
  class Sink : public Contents {
   public:
    explicit Sink(FrameWriter writer) : frames(std::move(writer)) {}
    Result<> on_raw(std::string_view bytes) override {
      PGR_TRY(Contents::on_raw(bytes));
      return frames.append(bytes);
    }
    Result<> on_entry(const TarEntry& entry) override {
      std::uint64_t open = frames.open_bytes();
      bool own = entry.size >= kLargerFile && open >= kSmallestFrame;
      if (own || open >= kGroup) PGR_TRY(frames.cut());
      return Contents::on_entry(entry);
    }
    Result<> on_file_end() override {
      PGR_TRY(Contents::on_file_end());
      base::Json line = {{"file", entry_.path},
                         {"size", entry_.size},
                         {"sha256", contents_.files[entry_.path].sha256},
                         {"rawOffset", entry_.offset}};
      file_lines += line.dump(-1, ' ', false, base::Json::error_handler_t::replace) + "\n";
      return {};
    }
    FrameWriter frames;
    std::string file_lines;
  };
  Sink sink_;
  postgres::TarParser parser_;
};

}  // namespace

Result<std::unique_ptr<BaseTarWriter>> BaseTarWriter::create(const std::string& path, int level) {
  PGR_ASSIGN(FrameWriter frames, FrameWriter::create(path, level));
  return std::unique_ptr<BaseTarWriter>(std::make_unique<Writer>(std::move(frames)));
}

Result<TarContents> read_base_tar(const std::string& path,
                                  const std::function<void(std::uint64_t)>& progress) {
  Contents sink;
  postgres::TarParser parser(&sink);
  auto take = [&](std::string_view bytes) -> Result<> {
    if (progress) progress(sink.contents().bytes);
    return parser.feed(bytes);
  };
  PGR_TRY(read_frames(path, take));
  PGR_TRY(parser.finish());
  return sink.contents();
}

}  // namespace pgrunbook::archive
