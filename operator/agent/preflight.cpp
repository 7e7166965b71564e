#include "agent/preflight.hpp"

#include <charconv>
#include <sys/statvfs.h>

#include <fmt/format.h>

#include "agent/exchange.hpp"
#include "base/file.hpp"
#include "base/subprocess.hpp"
#include "postgres/programs.hpp"
#include "postgres/version.hpp"

namespace pgrunbook::agent {
namespace {

base::Result<struct statvfs> file_system(const std::string& path) {
  struct statvfs s{};
  if (::statvfs(path.c_str(), &s) != 0) return base::fail(base::system_error("look at", path));
  return s;
}

// "postgres (PostgreSQL) 15.14": 15; "9.6.24": 96, as everywhere here.
base::Result<int> major_of_image() {
  PGR_ASSIGN(std::string program, postgres::find_program("postgres"));
  PGR_ASSIGN(auto ran, base::run({{program, "--version"}, {{"LC_ALL", "C"}}},
                                 base::Deadline::after(std::chrono::seconds(20))));
  auto at = ran.out.find(") ");
  int major = 0, minor = 0;
  const char* end = ran.out.data() + ran.out.size();
  if (ran.exit_code == 0 && at != std::string::npos) {
    auto [rest, ec] = std::from_chars(ran.out.data() + at + 2, end, major);
    if (major == 9 && rest != end) {
      (void)std::from_chars(rest + 1, end, minor);
      major = 90 + minor;
    }
  }
  if (major == 0) {
    return base::fail(base::ErrorCode::kInternal,
                      fmt::format("{} --version says: {:.200}", program, ran.out));
  }
  return major;
}

}  // namespace

base::Result<> check_space(const api::MemberRef& member, const archive::BackupRecord& backup) {
  PGR_ASSIGN(auto s, file_system(member.mount));
  std::uint64_t free = static_cast<std::uint64_t>(s.f_bavail) * s.f_frsize;
  std::uint64_t need = backup.tar_bytes + (std::uint64_t{8} * backup.segment_size);
  if (free >= need) return {};
  return base::fail(
      base::refused("NotEnoughSpace",
                    fmt::format("{} has {} MiB free, the restored copy beside the old one needs {} MiB",
                                member.mount, free >> 20U, (need + (1U << 20U) - 1) >> 20U),
                    "make the volume larger, or free space on it"));
}

base::Result<> check_member(const api::MemberRef& member, const archive::BackupRecord& backup) {
  PGR_ASSIGN(int major, major_of_image());
  if (major != backup.major_version) {
    return base::fail(base::refused(
        "MajorVersionMismatch",
        fmt::format("the image of member {} has PostgreSQL {}, backup {} is of PostgreSQL {}", member.name,
                    postgres::major_text(major), backup.id, postgres::major_text(backup.major_version)),
        fmt::format("restore onto a member whose image has PostgreSQL {}",
                    postgres::major_text(backup.major_version))));
  }
  PGR_ASSIGN(auto s, file_system(member.mount));
  if ((s.f_flag & ST_NOEXEC) != 0) {
    return base::fail(base::refused(
        "NoexecVolume",
        fmt::format("the volume of member {} is mounted noexec at {}", member.name, member.mount),
        "mount the volume without noexec: archive_command must be able to run the agent"));
  }
  auto inode = directory_inode(member.data_directory);
  if (!inode && inode.error().code != base::ErrorCode::kNotFound) return base::fail(inode.error());
  return check_space(member, backup);
}

}  // namespace pgrunbook::agent
