#include "agent/lay_down.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "archive/frames.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"

namespace pgrunbook::agent {
namespace {

constexpr std::size_t kBlock = 512;

base::Failure damaged(std::string message) {
  base::Error e = base::error(base::ErrorCode::kCorrupt, std::move(message), "use another backup");
  e.reason = "BackupDamaged";
  return base::fail(std::move(e));
}

// A number in a tar header: octal text, or base 256 with the highest bit set.
std::optional<std::uint64_t> tar_number(std::string_view field) {
  std::uint64_t value = 0;
  if ((static_cast<unsigned char>(field[0]) & 0x80U) != 0) {
    for (std::size_t i = 1; i < field.size(); ++i) value = value << 8U | static_cast<unsigned char>(field[i]);
    return value;
  }
  bool any = false;
  for (char c : field) {
    if (c == ' ' && !any) continue;
    if (c == ' ' || c == 0) break;
    if (c < '0' || c > '7') return std::nullopt;
    value = value * 8 + static_cast<std::uint64_t>(c - '0');
    any = true;
  }
  return any ? std::optional(value) : std::nullopt;
}

std::string tar_text(std::string_view field) { return std::string(field.substr(0, field.find('\0'))); }

bool checksum_right(std::string_view header) {
  auto stated = tar_number(header.substr(148, 8));
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kBlock; ++i)
    sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(header[i]);
  return stated && *stated == sum;
}

// A path that stays inside: relative, no "..", no empty part but a trailing slash.
base::Result<std::string> inside(std::string path) {
  while (path.starts_with("./")) path.erase(0, 2);
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  bool bad = path.starts_with('/') || path.find('\n') != std::string::npos;
  for (std::size_t from = 0; from <= path.size();) {
    auto end = std::min(path.find('/', from), path.size());
    std::string_view part = std::string_view(path).substr(from, end - from);
    if (part == ".." || (part.empty() && !path.empty())) bad = true;
    from = end + 1;
  }
  if (bad) return damaged(fmt::format("the backup's tar holds the path {}", path));
  return path;
}

}  // namespace

base::Result<std::map<std::string, ManifestFile>> parse_manifest(std::string_view text) {
  PGR_ASSIGN(base::Json json, base::parse_json(text, "backup_manifest"));
  std::map<std::string, ManifestFile> out;
  for (const base::Json& file : base::at(json, {"Files"})) {
    std::string path = base::text_at(file, {"Path"});
    if (path.empty()) {  // not UTF-8: in hexadecimal
      std::string hex = base::text_at(file, {"Encoded-Path"});
      for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
        path.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
      }
    }
    if (path.empty()) return damaged("backup_manifest holds a file without path");
    ManifestFile& entry = out[path];
    entry.size = static_cast<std::uint64_t>(base::number_at(file, {"Size"}));
    if (base::text_at(file, {"Checksum-Algorithm"}) == "SHA256")
      entry.sha256 = base::text_at(file, {"Checksum"});
  }
  if (out.empty()) return damaged("backup_manifest names no file");
  return out;
}

struct TarUnpacker::State {
  std::string directory;
  std::string header;      // bytes of a header so far
  std::uint64_t left = 0;  // of the current file's content
  std::uint64_t padding = 0;
  bool ended = false;
  std::string path;
  base::Fd fd;
  std::optional<base::Sha256> hash;
  std::uint64_t size = 0, bytes = 0;
  std::map<std::string, ManifestFile> files;

  base::Result<> make_parents(const std::string& relative) const {
    for (auto slash = relative.find('/'); slash != std::string::npos; slash = relative.find('/', slash + 1)) {
      std::string parent = directory + "/" + relative.substr(0, slash);
      if (::mkdir(parent.c_str(), 0700) != 0 && errno != EEXIST)
        return base::fail(base::system_error("create directory", parent));
    }
    return {};
  }

  base::Result<> begin_entry() {
    if (std::all_of(header.begin(), header.end(), [](char c) { return c == 0; })) {
      ended = true;
      return {};
    }
    if (!checksum_right(header)) return damaged("the backup's tar has a header with a wrong checksum");
    std::string_view h = header;
    std::string name = tar_text(h.substr(0, 100)), prefix = tar_text(h.substr(345, 155));
    if (h.substr(257, 5) == "ustar" && !prefix.empty()) name = prefix + "/" + name;
    PGR_ASSIGN(path, inside(name));
    auto length = tar_number(h.substr(124, 12));
    if (!length) return damaged(fmt::format("the backup's tar gives no size for {}", path));
    char type = h[156];
    std::string full = directory + "/" + path;
    if (type == '5') {
      if (path.empty() || path == ".") return {};
      PGR_TRY(make_parents(path));
      if (::mkdir(full.c_str(), 0700) != 0 && errno != EEXIST)
        return base::fail(base::system_error("create directory", full));
      return {};
    }
    if (type == '2' && path.starts_with("pg_tblspc/")) {
      return base::fail(
          base::refused("TablespaceInBackup", fmt::format("the backup holds the tablespace {}", path),
                        "restores of tablespaces are not supported yet; restore by hand with RESTORE.md"));
    }
    if (type == '2' && path == "pg_wal") {  // always made inside the new directory
      if (::mkdir(full.c_str(), 0700) != 0 && errno != EEXIST)
        return base::fail(base::system_error("create directory", full));
      return {};
    }
    if (type != '0' && type != 0)
      return damaged(fmt::format("the backup's tar holds {} of an unknown kind", path));
    PGR_TRY(make_parents(path));
    fd = base::Fd(::open(full.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd.valid()) return base::fail(base::system_error("create", full));
    hash.emplace();
    size = left = *length;
    padding = (kBlock - size % kBlock) % kBlock;
    if (left == 0) end_entry();
    return {};
  }

  base::Result<> write(std::string_view piece) {
    hash->update(piece);
    bytes += piece.size();
    left -= piece.size();
    while (!piece.empty()) {
      ssize_t n = ::write(fd.get(), piece.data(), piece.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return base::fail(base::system_error("write", directory + "/" + path));
      piece.remove_prefix(static_cast<std::size_t>(n));
    }
    if (left == 0) end_entry();
    return {};
  }

  void end_entry() {
    files[path] = {size, hash->hex()};
    hash.reset();
    fd.reset();
  }
};

TarUnpacker::TarUnpacker(std::string directory) : state_(std::make_unique<State>()) {
  state_->directory = std::move(directory);
}
TarUnpacker::~TarUnpacker() = default;
const std::map<std::string, ManifestFile>& TarUnpacker::files() const { return state_->files; }
std::uint64_t TarUnpacker::bytes() const { return state_->bytes; }

base::Result<> TarUnpacker::feed(std::string_view bytes) {
  State& s = *state_;
  while (!bytes.empty() && !s.ended) {
    if (s.left > 0) {
      std::size_t n = std::min<std::uint64_t>(s.left, bytes.size());
      PGR_TRY(s.write(bytes.substr(0, n)));
      bytes.remove_prefix(n);
    } else if (s.padding > 0) {
      std::size_t n = std::min<std::uint64_t>(s.padding, bytes.size());
      s.padding -= n;
      bytes.remove_prefix(n);
    } else {
      std::size_t n = std::min(kBlock - s.header.size(), bytes.size());
      s.header.append(bytes.substr(0, n));
      bytes.remove_prefix(n);
      if (s.header.size() < kBlock) continue;
      PGR_TRY(s.begin_entry());
      s.header.clear();
    }
  }
  return {};
}

base::Result<> TarUnpacker::finish() {
  if (state_->left > 0 || !state_->header.empty()) return damaged("the backup's tar ends inside an entry");
  return {};
}

base::Result<LaidDown> lay_down(const archive::Repository& repository, const archive::BackupRecord& backup,
                                const std::string& directory,
                                const std::function<void(std::uint64_t, std::uint64_t)>& on_progress) {
  std::string from = repository.layout().backup_directory(backup.id);
  std::map<std::string, ManifestFile> manifest;
  if (!backup.manifest_sha256.empty()) {
    PGR_ASSIGN(std::string text, base::read_file(from + "/backup_manifest"));
    if (base::sha256(text) != backup.manifest_sha256)
      return damaged(fmt::format("backup_manifest of backup {} has changed", backup.id));
    PGR_ASSIGN(manifest, parse_manifest(text));
  }
  bool hash_stored = manifest.empty() || std::any_of(manifest.begin(), manifest.end(),
                                                     [](const auto& f) { return f.second.sha256.empty(); });
  if (::mkdir(directory.c_str(), 0700) != 0)
    return base::fail(base::system_error("create directory", directory));
  TarUnpacker tar(directory);
  auto on_raw = [&](std::string_view bytes) -> base::Result<> {
    PGR_TRY(tar.feed(bytes));
    on_progress(tar.bytes(), backup.tar_bytes);
    return {};
  };
  PGR_TRY(archive::read_frames(from + "/base.tar.zst", on_raw));
  PGR_TRY(tar.finish());
  if (hash_stored) {
    PGR_ASSIGN(std::string stored, base::sha256_file(from + "/base.tar.zst"));
    if (stored != backup.stored_sha256)
      return damaged(fmt::format("base.tar.zst of backup {} has changed", backup.id));
  }
  for (const auto& [path, expected] : manifest) {
    auto found = tar.files().find(path);
    if (found == tar.files().end()) return damaged(fmt::format("backup {} lacks {}", backup.id, path));
    bool same = found->second.size == expected.size &&
                (expected.sha256.empty() || found->second.sha256 == expected.sha256);
    if (!same) return damaged(fmt::format("{} in backup {} is not what its manifest says", path, backup.id));
  }
  for (const auto& [path, file] : tar.files()) {
    if (!manifest.empty() && path != "backup_manifest" && manifest.count(path) == 0 &&
        !path.starts_with("pg_wal/")) {
      return damaged(fmt::format("backup {} holds {}, which its manifest does not name", backup.id, path));
    }
  }
  base::Fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::syncfs(fd.get()) != 0)
    return base::fail(base::system_error("sync the file system of", directory));
  return LaidDown{tar.files().size(), tar.bytes()};
}

}  // namespace pgrunbook::agent
