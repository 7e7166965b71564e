// Whether a member can take a restored copy, on file systems that are what they are called.
#include "agent/preflight.hpp"

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace pgrunbook::agent {
namespace {

namespace fs = std::filesystem;

class Preflight : public ::testing::Test {
 protected:
  Preflight() {
    std::string made = (fs::temp_directory_path() / "pgrunbook-preflight-XXXXXX").string();
    directory_ = ::mkdtemp(made.data());
    fs::create_directory(directory_ + "/bin");
    fs::create_directory(directory_ + "/volume");
    says("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)");
    ::setenv("PGRUNBOOK_PG_BINDIR", (directory_ + "/bin").c_str(), 1);
    member_.name = "postgresql-standby";
    member_.mount = directory_ + "/volume";
    member_.data_directory = member_.mount + "/userdata";
    backup_.id = "b1";
    backup_.major_version = 15;
    backup_.tar_bytes = 5U << 20U;
    backup_.segment_size = 1U << 20U;
  }
  ~Preflight() override {
    ::unsetenv("PGRUNBOOK_PG_BINDIR");
    std::error_code none;
    fs::remove_all(directory_, none);
  }

  // The image's server, as far as it is asked: its version.
  void says(const std::string& version) const {
    std::string program = directory_ + "/bin/postgres";
    std::ofstream(program) << "#!/bin/sh\necho '" << version << "'\n";
    fs::permissions(program, fs::perms(0755));
  }
  [[nodiscard]] std::string judged() const {
    auto r = check_member(member_, backup_);
    return r ? "" : r.error().reason_or_code() + ": " + r.error().text();
  }
  // The same on a file system of its own, in a process whose mounts nobody else sees; nullopt where this
  // machine does not let us mount.
  [[nodiscard]] std::optional<std::string> judged_on(unsigned long flags, const char* options) const {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
    pid_t child = ::fork();
    if (child == 0) {
      bool may = (::unshare(CLONE_NEWNS) == 0 || ::unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) &&
                 ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                 ::mount("tmpfs", member_.mount.c_str(), "tmpfs", flags, options) == 0;
      std::string text = may ? "+" + judged() : "";
      (void)!::write(ends[1], text.data(), text.size());
      ::_exit(0);
    }
    ::close(ends[1]);
    std::string text;
    char buffer[4096];
    for (ssize_t n = 0; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;)
      text.append(buffer, static_cast<std::size_t>(n));
    ::close(ends[0]);
    ::waitpid(child, nullptr, 0);
    if (text.empty()) return std::nullopt;
    return text.substr(1);
  }

  std::string directory_;
  api::MemberRef member_;
  archive::BackupRecord backup_;
};

TEST_F(Preflight, AVolumeWithRoomAndTheRightImageCanTakeIt) {
  EXPECT_EQ(judged(), "");
  fs::create_directory(member_.data_directory);
  EXPECT_EQ(judged(), "");
  EXPECT_EQ(std::distance(fs::directory_iterator(member_.mount), fs::directory_iterator()), 1)
      << "it writes nothing";
}

TEST_F(Preflight, AnotherMajorIsRefused) {
  struct {
    const char* version;
    const char* words;
  } table[] = {
      {"postgres (PostgreSQL) 16.1",
       "MajorVersionMismatch: the image of member postgresql-standby has PostgreSQL 16, backup b1 is of "
       "PostgreSQL 15. HINT: restore onto a member whose image has PostgreSQL 15"},
      {"postgres (PostgreSQL) 9.6.24",
       "MajorVersionMismatch: the image of member postgresql-standby has PostgreSQL 9.6, backup b1 is of "
       "PostgreSQL 15. HINT: restore onto a member whose image has PostgreSQL 15"},
      {"postgres (PostgreSQL) 15devel", ""},
  };
  for (const auto& row : table) {
    says(row.version);
    EXPECT_EQ(judged(), row.words);
  }
}

TEST_F(Preflight, ALinkIsRefused) {
  fs::create_directory(member_.mount + "/real");
  fs::create_directory_symlink(member_.mount + "/real", member_.data_directory);
  EXPECT_EQ(judged(), "DataDirectoryIsLink: " + member_.data_directory +
                          " is a symbolic link. HINT: set dataDirectory to the directory the link points to");
}

TEST_F(Preflight, ANoexecVolumeIsRefused) {
  auto said = judged_on(MS_NOEXEC, "mode=755");
  if (!said) GTEST_SKIP() << "this machine does not let us mount";
  EXPECT_EQ(*said,
            "NoexecVolume: the volume of member postgresql-standby is mounted noexec at " + member_.mount +
                ". HINT: mount the volume without noexec: archive_command must be able to run the agent");
}

TEST_F(Preflight, AVolumeWithoutRoomIsRefusedWithTheFigures) {
  auto enough = judged_on(0, "mode=755,size=13m");
  if (!enough) GTEST_SKIP() << "this machine does not let us mount";
  EXPECT_EQ(*enough, "");
  EXPECT_EQ(judged_on(0, "mode=755,size=12m"),
            "NotEnoughSpace: " + member_.mount +
                " has 12 MiB free, the restored copy beside the old one needs 13 MiB. HINT: make the volume "
                "larger, or free space on it");
}

}  // namespace
}  // namespace pgrunbook::agent
