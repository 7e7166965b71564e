#include "postgres/tar.hpp"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "postgres/wal_page.hpp"

namespace pgrunbook::postgres {
namespace {

using base::Result;

constexpr std::size_t kBlock = 512;

base::Failure corrupt(std::string message) {
  base::Error e = base::error(base::ErrorCode::kCorrupt, std::move(message));
  e.reason = "TarDamaged";
  return base::fail(std::move(e));
}

std::string text(std::string_view field) { return std::string(field.substr(0, field.find('\0'))); }

// Octal digits; or base 256, big-endian, with the highest bit set, for sizes from 8 GiB on.
std::optional<std::uint64_t> number(std::string_view field) {
  std::uint64_t value = 0;
  if ((static_cast<unsigned char>(field.front()) & 0x80U) != 0) {
    for (char c : field.substr(field.size() - 8)) value = (value << 8U) | static_cast<unsigned char>(c);
    return value;
  }
  bool any = false;
  for (char c : field) {
    if (c == ' ' && !any) continue;
    if (c == ' ' || c == '\0') break;
    if (c < '0' || c > '7') return std::nullopt;
    value = (value << 3U) | static_cast<std::uint64_t>(c - '0');
    any = true;
  }
  return any ? std::optional(value) : std::nullopt;
}

bool checksum_right(std::string_view block) {
  auto stated = number(block.substr(148, 8));
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kBlock; ++i) {
    sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(block[i]);
  }
  return stated && *stated == sum;
}

Result<std::string> clean_path(std::string path) {
  while (path.starts_with("./")) path.erase(0, 2);
  while (path.ends_with('/')) path.pop_back();
  bool bad = path.starts_with('/') || path.find('\n') != std::string::npos;
  std::string_view rest = path;
  while (!rest.empty()) {
    auto end = std::min(rest.find('/'), rest.size());
    bad = bad || end == 0 || rest.substr(0, end) == "..";
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (bad) return corrupt(fmt::format("the tar holds the path '{}'", path));
  return path;
}

}  // namespace

Result<> TarParser::header() {
  std::string_view b = block_;
  if (all_zero(b)) {
    ++zero_blocks_;
    PGR_TRY(sink_->on_raw(b));
    position_ += kBlock;
    block_.clear();
    return {};
  }
  if (zero_blocks_ > 0) return corrupt(fmt::format("the tar goes on at byte {} behind its end", position_));
  if (!checksum_right(b)) return corrupt(fmt::format("the tar has no header at byte {}", position_));
  TarEntry entry;
  std::string name = text(b.substr(0, 100)), prefix = text(b.substr(345, 155));
  if (b.substr(257, 5) == "ustar" && !prefix.empty()) name = prefix + "/" + name;
  PGR_ASSIGN(entry.path, clean_path(std::move(name)));
  auto size = number(b.substr(124, 12));
  if (!size) return corrupt(fmt::format("the tar gives {} no size", entry.path));
  entry.mode = static_cast<unsigned>(number(b.substr(100, 8)).value_or(0));
  char type = b[156];
  if (type == '0' || type == '\0') {
    entry.kind = TarKind::kFile;
    entry.size = *size;
  } else if (type == '5') {
    entry.kind = TarKind::kDirectory;
  } else if (type == '2') {
    entry.kind = TarKind::kSymbolicLink;
    entry.link = text(b.substr(157, 100));
  } else {
    return corrupt(fmt::format("the tar holds {} of type '{}'", entry.path, type));
  }
  entry.offset = position_ + kBlock;
  PGR_TRY(sink_->on_entry(entry));
  PGR_TRY(sink_->on_raw(b));
  position_ += kBlock;
  block_.clear();
  content_left_ = entry.size;
  padding_left_ = (kBlock - entry.size % kBlock) % kBlock;
  if (entry.kind == TarKind::kFile && entry.size == 0) return sink_->on_file_end();
  return {};
}

Result<> TarParser::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    if (content_left_ > 0) {
      std::string_view piece = bytes.substr(0, std::min<std::uint64_t>(content_left_, bytes.size()));
      PGR_TRY(sink_->on_content(piece));
      PGR_TRY(sink_->on_raw(piece));
      content_left_ -= piece.size();
      position_ += piece.size();
      bytes.remove_prefix(piece.size());
      if (content_left_ == 0) PGR_TRY(sink_->on_file_end());
    } else if (padding_left_ > 0) {
      std::string_view piece = bytes.substr(0, std::min<std::uint64_t>(padding_left_, bytes.size()));
      PGR_TRY(sink_->on_raw(piece));
      padding_left_ -= piece.size();
      position_ += piece.size();
      bytes.remove_prefix(piece.size());
    } else {
      std::string_view piece = bytes.substr(0, kBlock - block_.size());
      block_.append(piece);
      bytes.remove_prefix(piece.size());
      if (block_.size() == kBlock) PGR_TRY(header());
    }
  }
  return {};
}

Result<> TarParser::finish() const {
  if (content_left_ > 0 || padding_left_ > 0 || !block_.empty()) {
    return corrupt(fmt::format("the tar ends inside an entry, at byte {}", position_));
  }
  if (zero_blocks_ < 2) return corrupt("the tar has no end: it was cut off");
  return {};
}

}  // namespace pgrunbook::postgres
