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
#include "postgres/backup_manifest.hpp"
#include "postgres/tar.hpp"

namespace pgrunbook::agent {
namespace {

base::Failure damaged(std::string message) {
  base::Error e = base::error(base::ErrorCode::kCorrupt, std::move(message), "use another backup");
  e.reason = "BackupDamaged";
  return base::fail(std::move(e));
}

// Whatever the parser or the comparison found wrong, it is this backup that is damaged.
base::Result<> of_backup(base::Result<> result, const std::string& id) {
  if (result || result.error().code != base::ErrorCode::kCorrupt) return result;
  return damaged(fmt::format("backup {}: {}", id, result.error().message));
}

base::Result<> make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return base::fail(base::system_error("create directory", path));
  return {};
}

// Writes what a base backup's tar contains into a directory. The parser has checked that no path leads
// outside.
class Unpack final : public postgres::TarSink {
 public:
  Unpack(std::string directory, std::function<void(std::uint64_t)> on_bytes)
      : directory_(std::move(directory)), on_bytes_(std::move(on_bytes)) {}

  base::Result<> on_raw(std::string_view) override { return {}; }

  base::Result<> on_entry(const postgres::TarEntry& entry) override {
    std::string full = directory_ + "/" + entry.path;
    if (entry.path.empty() || entry.path == ".") return {};
    PGR_TRY(make_parents(entry.path));
    if (entry.kind == postgres::TarKind::kDirectory) return make_directory(full);
    if (entry.kind == postgres::TarKind::kSymbolicLink) {
      if (entry.path == "pg_wal") return make_directory(full);  // always made inside the new directory
      if (!entry.path.starts_with("pg_tblspc/"))
        return damaged(fmt::format("the backup's tar holds the link {}", entry.path));
      return base::fail(
          base::refused("TablespaceInBackup", fmt::format("the backup holds the tablespace {}", entry.path),
                        "restores of tablespaces are not supported yet; restore by hand with RESTORE.md"));
    }
    fd_ = base::Fd(::open(full.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd_.valid()) return base::fail(base::system_error("create", full));
    hash_.emplace();
    path_ = entry.path;
    size_ = entry.size;
    return {};
  }

  base::Result<> on_content(std::string_view piece) override {
    hash_->update(piece);
    bytes += piece.size();
    while (!piece.empty()) {
      ssize_t n = ::write(fd_.get(), piece.data(), piece.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return base::fail(base::system_error("write", directory_ + "/" + path_));
      piece.remove_prefix(static_cast<std::size_t>(n));
    }
    on_bytes_(bytes);
    return {};
  }

  base::Result<> on_file_end() override {
    files[path_] = {size_, hash_->hex()};
    fd_.reset();
    return {};
  }

  std::map<std::string, postgres::ManifestFile> files;
  std::uint64_t bytes = 0;

 private:
  base::Result<> make_parents(const std::string& relative) const {
    for (auto slash = relative.find('/'); slash != std::string::npos; slash = relative.find('/', slash + 1))
      PGR_TRY(make_directory(directory_ + "/" + relative.substr(0, slash)));
    return {};
  }

  std::string directory_, path_;
  std::function<void(std::uint64_t)> on_bytes_;
  base::Fd fd_;
  std::optional<base::Sha256> hash_;
  std::uint64_t size_ = 0;
};

}  // namespace

base::Result<LaidDown> lay_down(const archive::Repository& repository, const archive::BackupRecord& backup,
                                const std::string& directory,
                                const std::function<void(std::uint64_t, std::uint64_t)>& on_progress) {
  std::string from = repository.layout().backup_directory(backup.id);
  std::optional<postgres::BackupManifest> manifest;
  if (!backup.manifest_sha256.empty()) {
    PGR_ASSIGN(std::string text, base::read_file(from + "/backup_manifest"));
    if (base::sha256(text) != backup.manifest_sha256)
      return damaged(fmt::format("backup_manifest of backup {} has changed", backup.id));
    auto parsed = postgres::parse_backup_manifest(text);
    if (!parsed) return damaged(fmt::format("backup {}: {}", backup.id, parsed.error().message));
    manifest = std::move(*parsed);
  }
  bool hash_stored = !manifest || std::any_of(manifest->files.begin(), manifest->files.end(),
                                              [](const auto& f) { return f.second.sha256.empty(); });
  if (::mkdir(directory.c_str(), 0700) != 0)
    return base::fail(base::system_error("create directory", directory));
  Unpack contents(directory, [&](std::uint64_t bytes) { on_progress(bytes, backup.tar_bytes); });
  postgres::TarParser tar(&contents);
  PGR_TRY(archive::read_frames(from + "/base.tar.zst", [&](std::string_view bytes) -> base::Result<> {
    return of_backup(tar.feed(bytes), backup.id);
  }));
  PGR_TRY(of_backup(tar.finish(), backup.id));
  if (hash_stored) {
    PGR_ASSIGN(std::string stored, base::sha256_file(from + "/base.tar.zst"));
    if (stored != backup.stored_sha256)
      return damaged(fmt::format("base.tar.zst of backup {} has changed", backup.id));
  }
  if (manifest) PGR_TRY(of_backup(postgres::compare_with_manifest(*manifest, contents.files), backup.id));
  base::Fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::syncfs(fd.get()) != 0)
    return base::fail(base::system_error("sync the file system of", directory));
  return LaidDown{contents.files.size(), contents.bytes};
}

}  // namespace pgrunbook::agent
