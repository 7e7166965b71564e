// Files: a crash leaves all or nothing, and of many writers of one name exactly one wins.
#include "base/file.hpp"

#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include <gtest/gtest.h>

#include "support/postgres/temporary.hpp"

namespace pgrunbook::base {
namespace {

class Files : public testing::Test {
 protected:
  test::TemporaryDirectory directory;
  [[nodiscard]] std::vector<std::string> names() const { return *list_directory(directory.path()); }
  static unsigned mode(const std::string& path) {
    struct stat s{};
    return ::stat(path.c_str(), &s) == 0 ? s.st_mode & 07777U : 0;
  }
};

TEST_F(Files, OfManyCreatorsExactlyOneWinsWithAllOfItsBytes) {
  for (int round = 0; round < 20; ++round) {
    std::string path = directory / ("f" + std::to_string(round));
    std::atomic<int> won{0}, lost{0}, winner{-1};
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&, i] {
        auto made = create_file(path, std::string(5000, static_cast<char>('a' + i)));
        if (made) {
          ++won;
          winner = i;
        } else if (made.error().code == ErrorCode::kAlreadyExists) {
          ++lost;
        }
      });
    }
    for (std::thread& t : threads) t.join();
    EXPECT_EQ(won, 1);
    EXPECT_EQ(lost, 7);
    EXPECT_EQ(*read_file(path), std::string(5000, static_cast<char>('a' + winner)));
  }
  EXPECT_EQ(names().size(), 20U) << "temporary names are left behind";
}

TEST_F(Files, CreateLeavesAnExistingFileAlone) {
  ASSERT_TRUE(create_file(directory / "f", "first").has_value());
  auto second = create_file(directory / "f", "second");
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, ErrorCode::kAlreadyExists);
  EXPECT_EQ(second.error().message, "cannot create " + (directory / "f") + ": File exists");
  EXPECT_EQ(*read_file(directory / "f"), "first");
  ASSERT_EQ(::symlink("nowhere", (directory / "link").c_str()), 0);
  EXPECT_EQ(create_file(directory / "link", "x").error().code, ErrorCode::kAlreadyExists);
  EXPECT_TRUE(exists(directory / "link"));
  EXPECT_FALSE(exists(directory / "nowhere"));
}

TEST_F(Files, AreMissingOnlyWhereTheFileSystemSaysSo) {
  ASSERT_TRUE(create_file(directory / "f", "x").has_value());
  ASSERT_EQ(::symlink("loop", (directory / "loop").c_str()), 0);
  EXPECT_EQ(is_there(directory / "f").value_or(false), true);
  EXPECT_EQ(is_there(directory / "loop").value_or(false), true) << "the link itself";
  EXPECT_EQ(is_there(directory / "none").value_or(true), false);
  EXPECT_EQ(is_there(directory / "none/below").value_or(true), false);
  EXPECT_EQ(is_there(directory / "f/below").value_or(true), false);
  auto unknown = is_there(directory / "loop/f");
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(unknown.error().message,
            "cannot look at " + (directory / "loop/f") + ": Too many levels of symbolic links");
}

TEST_F(Files, ReplaceGivesReadersTheOldOrTheNewWhole) {
  std::string path = directory / "f";
  ASSERT_TRUE(replace_file(path, std::string(20000, 'a')).has_value());
  std::atomic<bool> stop{false};
  std::atomic<int> torn{0}, reads{0};
  std::thread reader([&] {
    while (!stop) {
      auto text = read_file(path);
      ++reads;
      if (!text || text->size() != 20000 || text->find_first_not_of((*text)[0]) != std::string::npos) ++torn;
    }
  });
  for (int i = 0; i < 30; ++i)
    ASSERT_TRUE(replace_file(path, std::string(20000, static_cast<char>('a' + i % 26))).has_value());
  stop = true;
  reader.join();
  EXPECT_EQ(torn, 0);
  EXPECT_GT(reads, 0);
  EXPECT_EQ(names(), std::vector<std::string>{"f"});
}

TEST_F(Files, HaveTheModeAskedForWhateverTheUmask) {
  mode_t old = ::umask(0077);
  ASSERT_TRUE(replace_file(directory / "a", "x").has_value());
  ASSERT_TRUE(create_file(directory / "b", "x", 0600).has_value());
  ASSERT_TRUE(make_directories(directory / "d/e/f").has_value());
  ::umask(old);
  EXPECT_EQ(mode(directory / "a"), 0640U);
  EXPECT_EQ(mode(directory / "b"), 0600U);
  EXPECT_EQ(mode(directory / "d/e/f"), 02750U);
}

TEST_F(Files, ThatCannotBeWrittenSayWhichAndWhy) {
  struct {
    Result<> result;
    ErrorCode code;
    std::string message;
  } table[] = {
      {[&] {
         auto r = read_file(directory / "none");
         return r ? Result<>{} : Result<>(fail(r.error()));
       }(),
       ErrorCode::kNotFound, "cannot open " + (directory / "none") + ": No such file or directory"},
      {[&] {
         auto r = list_directory(directory / "none");
         return r ? Result<>{} : Result<>(fail(r.error()));
       }(),
       ErrorCode::kNotFound, "cannot list " + (directory / "none") + ": No such file or directory"},
      {sync_path(directory / "none"), ErrorCode::kNotFound,
       "cannot open " + (directory / "none") + ": No such file or directory"},
  };
  for (const auto& row : table) {
    ASSERT_FALSE(row.result.has_value());
    EXPECT_EQ(row.result.error().code, row.code);
    EXPECT_EQ(row.result.error().message, row.message);
  }
  EXPECT_EQ(create_file(directory / "no/f", "x").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(replace_file(directory / "no/f", "x").error().code, ErrorCode::kNotFound);
}

TEST_F(Files, SystemErrorsSayWhatTheCallerCanDo) {
  struct {
    int number;
    ErrorCode code;
    const char* reason;
  } table[] = {
      {ENOENT, ErrorCode::kNotFound, "NotFound"},       {EEXIST, ErrorCode::kAlreadyExists, "AlreadyExists"},
      {EACCES, ErrorCode::kForbidden, "NotPermitted"},  {EPERM, ErrorCode::kForbidden, "NotPermitted"},
      {EROFS, ErrorCode::kForbidden, "VolumeReadOnly"}, {EIO, ErrorCode::kUnavailable, "Unavailable"},
      {ENOSPC, ErrorCode::kUnavailable, "VolumeFull"},  {EDQUOT, ErrorCode::kUnavailable, "VolumeFull"}};
  for (const auto& row : table) {
    errno = row.number;
    Error e = system_error("write", "/x");
    EXPECT_EQ(e.code, row.code) << row.number;
    EXPECT_EQ(e.reason_or_code(), row.reason);
  }
  errno = EACCES;
  EXPECT_EQ(
      system_error("open", "/x").text(),
      "cannot open /x: Permission denied. HINT: its owner and mode must let the members' uid in: chown or "
      "chmod /x");
  errno = ENOSPC;
  EXPECT_EQ(system_error("write", "/x").text(),
            "cannot write /x: No space left on device. HINT: free space on the volume or make it larger");
}

TEST_F(Files, DirectoriesAreMadeAndRemovedWithTheirTree) {
  ASSERT_TRUE(make_directories(directory / "a/b").has_value());
  ASSERT_TRUE(make_directories(directory / "a/b").has_value());
  ASSERT_TRUE(replace_file(directory / "a/z", "x").has_value());
  ASSERT_TRUE(replace_file(directory / "keep", "x").has_value());
  ASSERT_EQ(::symlink((directory / "keep").c_str(), (directory / "a/b/link").c_str()), 0);
  EXPECT_EQ(*list_directory(directory / "a"), (std::vector<std::string>{"b", "z"}));
  auto under_file = make_directories(directory / "keep");
  ASSERT_FALSE(under_file.has_value());
  EXPECT_EQ(under_file.error().message, (directory / "keep") + " exists and is no directory");
  ASSERT_TRUE(remove_tree(directory / "a").has_value());
  ASSERT_TRUE(remove_tree(directory / "a").has_value());
  EXPECT_EQ(names(), std::vector<std::string>{"keep"}) << "links are removed, not followed";
}

TEST(Descriptors, AreClosedOnce) {
  int raw = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  {
    Fd a(raw);
    Fd b = std::move(a);
    EXPECT_FALSE(a.valid());  // NOLINT(bugprone-use-after-move)
    EXPECT_EQ(b.get(), raw);
    Fd c;
    c = std::move(b);
    EXPECT_TRUE(c.valid());
  }
  EXPECT_EQ(::fcntl(raw, F_GETFD), -1);
}

}  // namespace
}  // namespace pgrunbook::base
