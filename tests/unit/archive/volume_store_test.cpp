#include "archive/volume_store.hpp"

#include <atomic>
#include <csignal>
#include <fstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <gtest/gtest.h>

#include "archive/frames.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "support/postgres/temporary.hpp"
#include "support/postgres/wal_file.hpp"
#include "support/stride.hpp"

namespace pgrunbook::archive {
namespace {

using test::must;

std::string content(char fill, std::size_t size = 300000) {
  std::string text(size, fill);
  for (std::size_t i = 0; i < size; i += 97) text[i] = static_cast<char>(i % 251);
  return text;
}

class VolumeStore : public ::testing::Test {
 protected:
  test::TemporaryDirectory directory_;
  std::string target_ = directory_ / "walbackup/00000001/000000010000000000000003.zst";
  // Names in the target's directory, without what a killed writer left.
  [[nodiscard]] std::vector<std::string> objects() const {
    auto names = base::list_directory(directory_ / "walbackup/00000001");
    if (!names) return {};
    std::erase_if(*names, [](const std::string& n) { return n.starts_with('.'); });
    return *names;
  }
};

TEST_F(VolumeStore, PutAndGet) {
  test::write_file(directory_ / "source", content('a'));
  EXPECT_EQ(must(put_file_if_absent(directory_ / "source", target_)), Put::kStored);
  must(get_file(target_, directory_ / "back"));
  EXPECT_EQ(must(base::read_file(directory_ / "back")), content('a'));
  EXPECT_EQ(must(get_bytes(target_)), content('a'));
  EXPECT_EQ(must(get_first_bytes(target_, 40)), content('a').substr(0, 40));
  EXPECT_EQ(must(stored_length(target_)), 300000U);
  struct stat st{};
  ::stat(target_.c_str(), &st);
  EXPECT_EQ(st.st_mode & 07777, 0640);
  ::stat((directory_ / "walbackup").c_str(), &st);
  EXPECT_EQ(st.st_mode & 07777, 02750);
  EXPECT_EQ(must(base::list_directory(directory_ / "walbackup/00000001")).size(), 1U);
}

// I1: whatever the moment of a kill, the object is complete or not there.
TEST_F(VolumeStore, I1_AKillLeavesNothingOrEverything) {
  for (const char* point : {"written", "synced", "linked"}) {
    pid_t pid = ::fork();
    if (pid == 0) {
      PutOptions options;
      options.after_step = [&](std::string_view step) {
        if (step == point) ::kill(::getpid(), SIGKILL);
      };
      (void)put_bytes_if_absent(content('k'), target_, options);
      ::_exit(1);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << point;
    bool linked = std::string_view(point) == "linked";
    EXPECT_EQ(objects().size(), linked ? 1U : 0U) << point;
    if (linked) {
      EXPECT_EQ(must(get_bytes(target_)), content('k'));
    }
    // I11: no lock survives; the next push succeeds.
    EXPECT_EQ(must(put_bytes_if_absent(content('k'), target_)), linked ? Put::kAlreadyThere : Put::kStored)
        << point;
    ::unlink(target_.c_str());
  }
}

TEST_F(VolumeStore, I2_OfTwoWritersExactlyOneWins) {
  const int kRaces = 1000 / test::stride(3);
  for (int i = 0; i < kRaces; ++i) {
    std::string target = directory_ / ("race/" + std::to_string(i) + ".zst");
    std::atomic<int> stored = 0, refused = 0;
    auto writer = [&](char fill) {
      auto put = put_bytes_if_absent(std::string(100, fill), target);
      if (put && *put == Put::kStored) ++stored;
      if (!put && put.error().reason == "OtherContent") ++refused;
    };
    std::thread a(writer, 'a'), b(writer, 'b');
    a.join();
    b.join();
    ASSERT_EQ(stored, 1) << i;
    ASSERT_EQ(refused, 1) << i;
  }
}

TEST_F(VolumeStore, I3_TheSameContentIsSuccessAtAnyLevel) {
  EXPECT_EQ(must(put_bytes_if_absent(content('s'), target_, {.level = 1})), Put::kStored);
  std::string before = must(base::sha256_file(target_));
  EXPECT_EQ(must(put_bytes_if_absent(content('s'), target_, {.level = 19})), Put::kAlreadyThere);
  EXPECT_EQ(must(base::sha256_file(target_)), before);
}

TEST_F(VolumeStore, I3_AnObjectCompressedByAnotherToolIsComparedUncompressed) {
  must(base::make_directories(directory_ / "walbackup/00000001"));
  test::write_file(directory_ / "plain", content('z'));
  ASSERT_EQ(std::system(("zstd -q19 < " + (directory_ / "plain") + " > " + target_).c_str()), 0);
  EXPECT_EQ(must(put_bytes_if_absent(content('z'), target_)), Put::kAlreadyThere);
}

TEST_F(VolumeStore, I4_OtherContentIsAnErrorAndNothingChanges) {
  must(put_bytes_if_absent(content('1'), target_));
  std::string before = must(base::sha256_file(target_));
  auto put = put_bytes_if_absent(content('2'), target_);
  ASSERT_FALSE(put.has_value());
  EXPECT_EQ(put.error().code, base::ErrorCode::kConflict);
  EXPECT_EQ(put.error().reason, "OtherContent");
  EXPECT_EQ(put.error().text(), target_ + " exists with other content (sha256 " +
                                    base::sha256(content('1')).substr(0, 16) + " there, " +
                                    base::sha256(content('2')).substr(0, 16) +
                                    " here). HINT: two servers write one archive; nothing was overwritten");
  EXPECT_EQ(must(base::sha256_file(target_)), before);
  EXPECT_EQ(must(base::list_directory(directory_ / "walbackup/00000001")).size(), 1U);
}

TEST_F(VolumeStore, ARefusedSourceLeavesNothing) {
  PutOptions options;
  options.inspect = [](std::string_view) {
    return base::Result<>(base::fail(base::ErrorCode::kRefused, "not this"));
  };
  EXPECT_EQ(put_bytes_if_absent(content('r'), target_, options).error().message, "not this");
  EXPECT_TRUE(must(base::list_directory(directory_ / "walbackup/00000001")).empty());
}

TEST_F(VolumeStore, AnEmptyObjectIsOneToo) {
  EXPECT_EQ(must(put_bytes_if_absent("", target_)), Put::kStored);
  EXPECT_EQ(must(get_bytes(target_)), "");
}

TEST_F(VolumeStore, I14_ADamagedObjectIsNeverDelivered) {
  must(put_bytes_if_absent(content('d'), target_));
  const std::string good = must(base::read_file(target_));
  auto attempt = [&](const std::string& bytes) {
    test::write_file(target_, bytes);
    auto got = get_file(target_, directory_ / "delivered");
    EXPECT_FALSE(base::exists(directory_ / "delivered"));
    return got;
  };
  for (std::size_t length : {std::size_t{0}, std::size_t{1}, good.size() / 2, good.size() - 1}) {
    auto got = attempt(good.substr(0, length));
    ASSERT_FALSE(got.has_value()) << length;
    EXPECT_EQ(got.error().reason, "ObjectDamaged");
  }
  for (std::size_t at = 0; at < good.size(); at += good.size() / 50) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    EXPECT_FALSE(attempt(bad).has_value()) << at;
  }
  EXPECT_FALSE(attempt(good + "tail").has_value());
  EXPECT_EQ(base::list_directory(directory_.path())->size(), 1U);  // no half-delivered file beside it
}

TEST_F(VolumeStore, ABareNameIsInTheWorkingDirectory) {
  must(put_bytes_if_absent("x", target_));
  std::string name = "pgrunbook-delivered-" + std::to_string(::getpid());
  must(get_file(target_, name));
  EXPECT_EQ(must(base::read_file(name)), "x");
  ::unlink(name.c_str());
}

TEST_F(VolumeStore, NotThereIsNotFound) {
  EXPECT_EQ(get_file(target_, directory_ / "x").error().code, base::ErrorCode::kNotFound);
  EXPECT_EQ(get_bytes(target_).error().code, base::ErrorCode::kNotFound);
}

TEST_F(VolumeStore, WhatCannotBeLookedAtIsNotSaidToBeMissing) {
  ASSERT_EQ(::symlink("loop", (directory_ / "loop").c_str()), 0);
  EXPECT_EQ(get_file(directory_ / "loop/x.zst", directory_ / "x").error().code,
            base::ErrorCode::kUnavailable);
}

TEST_F(VolumeStore, LeftoversOfKilledWritersGoWhenTheyAreOld) {
  std::string part = directory_ / ".x.host.1.abcd.part";
  test::write_file(part, "half");
  remove_leftovers(directory_.path(), 3600);
  EXPECT_TRUE(base::exists(part));
  remove_leftovers(directory_.path(), -1);
  EXPECT_FALSE(base::exists(part));
}

}  // namespace
}  // namespace pgrunbook::archive
