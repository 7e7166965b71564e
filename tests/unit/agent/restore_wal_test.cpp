#include "agent/restore_wal.hpp"

#include <thread>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "archive/repository.hpp"
#include "base/file.hpp"
#include "base/subprocess.hpp"
#include "support/paths.hpp"
#include "support/postgres/temporary.hpp"
#include "support/postgres/wal_file.hpp"

namespace pgrunbook::agent {
namespace {

using archive::Repository;
using postgres::TimelineId;
using test::must;
using test::SegmentSpec;
using ::testing::EndsWith;

constexpr std::uint64_t kSize = SegmentSpec{}.segment_size;
constexpr const char* kThird = "000000010000000000000003";

class RestoreWalCommand : public ::testing::Test {
 protected:
  RestoreWalCommand()
      : repository_(must(Repository::create(path_, {"tfrs", "uid"}, SegmentSpec{}.system_identifier, kSize,
                                            15, TimelineId(1)))) {
    must(base::make_directories(directory_ / "data/pg_wal"));
  }
  void archive(const SegmentSpec& spec = {}) const {
    std::string source = test::write_segment(directory_.path(), spec);
    must(repository_.put_wal(source, must(postgres::parse_wal_name(spec.name))));
  }
  // The real program, as the server starts it: in the data directory, with a relative %p.
  base::Finished fetch(const std::string& name,
                       const std::vector<std::string>& more = {"--attempts", "1"}) const {
    std::vector<std::string> argv{"/bin/sh",
                                  "-c",
                                  "cd \"$0\" && exec \"$@\" 2>../stderr",
                                  directory_ / "data",
                                  PGRUNBOOK_AGENT_PATH,
                                  "restore-wal",
                                  "--repository",
                                  path_};
    argv.insert(argv.end(), more.begin(), more.end());
    argv.insert(argv.end(), {name, "pg_wal/RECOVERYXLOG"});
    auto ran = must(base::run({argv}, base::Deadline::after(std::chrono::seconds(30))));
    ran.err += said();
    return ran;
  }
  // So far; by the one that runs, too.
  [[nodiscard]] std::string said() const { return base::read_file(directory_ / "stderr").value_or(""); }
  [[nodiscard]] std::string delivered() const {
    auto text = base::read_file(directory_ / "data/pg_wal/RECOVERYXLOG");
    return text ? *text : "nothing";
  }
  [[nodiscard]] std::string stored(const std::string& name = kThird) const {
    return repository_.layout().wal_file(must(postgres::parse_wal_name(name)));
  }
  test::TemporaryDirectory directory_;
  std::string path_ = directory_ / "tfrs";
  Repository repository_;
};

TEST_F(RestoreWalCommand, DeliversASegment) {
  archive();
  auto ran = fetch(kThird);
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_EQ(ran.err, "");
  EXPECT_EQ(delivered(), test::segment_bytes({}));
  EXPECT_EQ(must(base::list_directory(directory_ / "data/pg_wal")).size(), 1U);
}

TEST_F(RestoreWalCommand, I13_NotThereIsOne) {
  EXPECT_EQ(fetch(kThird).exit_code, 1);
  EXPECT_EQ(fetch("00000002.history").exit_code, 1);
  archive();
  EXPECT_EQ(fetch("000000010000000000000004").exit_code, 1);
  EXPECT_EQ(delivered(), "nothing");
}

TEST_F(RestoreWalCommand, I13_AnUnmountedArchiveIsNotTheEndOfWal) {
  archive();
  ASSERT_EQ(::rename(path_.c_str(), (path_ + ".away").c_str()), 0);
  auto ran = fetch(kThird);
  EXPECT_EQ(ran.exit_code, 200);
  EXPECT_EQ(ran.err, "pgrunbook: restore-wal 000000010000000000000003: cannot open " + path_ +
                         "/repository.json: No such file or directory. HINT: is the archive volume mounted "
                         "in this container, "
                         "at this path?\n");
}

TEST_F(RestoreWalCommand, I13_EveryOtherErrorIsAbove125) {
  archive();
  EXPECT_EQ(fetch("../../etc/passwd").exit_code, 200);
  EXPECT_EQ(fetch(kThird, {"--salvage", "../x"}).exit_code, 200);
  EXPECT_EQ(fetch(kThird, {"--nonsense", "1"}).exit_code, 200);
  must(base::remove_tree(directory_ / "data/pg_wal"));
  EXPECT_EQ(fetch(kThird).exit_code, 200);  // nowhere to deliver to
}

TEST_F(RestoreWalCommand, I13_AnErrorIsTriedAgainFirst) {
  archive();
  std::string good = must(base::read_file(stored()));
  test::write_file(stored(), good.substr(0, good.size() / 2));
  std::thread repair([&] {
    const auto deadline = base::Deadline::after(std::chrono::seconds(20));
    while (said().empty() && !deadline.passed()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    test::write_file(stored(), good);
  });
  auto ran = fetch(kThird, {"--attempts", "6"});
  repair.join();
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_THAT(ran.err,
              ::testing::StartsWith("pgrunbook: restore-wal 000000010000000000000003: attempt 1 of 6: " +
                                    stored() + " is damaged: "));
  EXPECT_EQ(delivered(), test::segment_bytes({}));
}

TEST_F(RestoreWalCommand, I14_ATruncatedObjectIsNotDelivered) {
  archive();
  std::string good = must(base::read_file(stored()));
  for (std::size_t length : {std::size_t{0}, std::size_t{10}, good.size() / 2, good.size() - 1}) {
    test::write_file(stored(), good.substr(0, length));
    auto ran = fetch(kThird);
    EXPECT_EQ(ran.exit_code, 200) << length;
    EXPECT_EQ(delivered(), "nothing");
  }
}

TEST_F(RestoreWalCommand, I14_AFlippedBitIsNotDelivered) {
  archive();
  const std::string good = must(base::read_file(stored()));
  for (std::size_t at = 0; at < good.size(); at += 7) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    test::write_file(stored(), bad);
    EXPECT_EQ(fetch(kThird).exit_code, 200) << at;
    EXPECT_EQ(delivered(), "nothing") << at;
  }
  std::string bad = good;
  bad.back() = static_cast<char>(bad.back() ^ 1);
  test::write_file(stored(), bad);
  EXPECT_EQ(fetch(kThird).err, "pgrunbook: restore-wal 000000010000000000000003: " + stored() +
                                   " is damaged: Restored data doesn't match checksum\n");
}

TEST_F(RestoreWalCommand, I14_AShortSegmentIsNotDelivered) {
  // Whole and well-formed as an object, but not a whole segment: made by hand, or by another tool.
  must(base::make_directories(path_ + "/walbackup/00000001"));
  must(archive::put_bytes_if_absent(test::segment_bytes({}).substr(0, 65536), stored()));
  auto ran = fetch(kThird);
  EXPECT_EQ(ran.exit_code, 200);
  EXPECT_EQ(ran.err, "pgrunbook: restore-wal 000000010000000000000003: " + stored() +
                         " holds 65536 bytes instead of 1048576\n");
  EXPECT_EQ(delivered(), "nothing");
}

TEST_F(RestoreWalCommand, I14_AShortSegmentOfUnknownLengthIsNotDelivered) {
  must(base::make_directories(path_ + "/walbackup/00000001"));
  for (std::size_t length : {kSize / 2, 2 * kSize}) {
    std::string bytes = test::segment_bytes({});
    bytes.resize(length, 'x');
    test::write_file(directory_ / "short", bytes);
    // From a pipe zstd does not know the length and does not write it.
    ASSERT_EQ(std::system(("cat " + (directory_ / "short") + " | zstd -q -f -o " + stored()).c_str()), 0);
    auto ran = fetch(kThird);
    EXPECT_EQ(ran.exit_code, 200);
    EXPECT_THAT(ran.err, ::testing::HasSubstr("bytes instead of 1048576"));
    EXPECT_EQ(delivered(), "nothing");
  }
}

TEST_F(RestoreWalCommand, I14_ASegmentUnderAWrongNameIsNotDelivered) {
  archive();
  std::string fourth = stored("000000010000000000000004");
  ASSERT_EQ(::rename(stored().c_str(), fourth.c_str()), 0);
  auto ran = fetch("000000010000000000000004");
  EXPECT_EQ(ran.exit_code, 200);
  EXPECT_THAT(
      ran.err,
      EndsWith("the file called 000000010000000000000004 is segment 000000010000000000000003. HINT: it was "
               "renamed, or recycled and not yet written\n"));
  EXPECT_EQ(delivered(), "nothing");
}

TEST_F(RestoreWalCommand, DeliversAHandMadeObject) {
  must(base::make_directories(path_ + "/walbackup/00000001"));
  test::write_file(directory_ / "plain", test::segment_bytes({}));
  ASSERT_EQ(std::system(("cat " + (directory_ / "plain") + " | zstd -q -19 -o " + stored()).c_str()), 0);
  EXPECT_EQ(fetch(kThird).exit_code, 0);
  EXPECT_EQ(delivered(), test::segment_bytes({}));
}

TEST_F(RestoreWalCommand, I15_AHistoryThatCannotBeReadIsNotAbsent) {
  std::string history = repository_.layout().history_file(TimelineId(2));
  must(archive::put_bytes_if_absent("1\t0/300000\tx\n", history));
  std::string good = must(base::read_file(history));
  test::write_file(history, good.substr(0, 5));
  EXPECT_EQ(fetch("00000002.history").exit_code, 200);
  test::write_file(history, good);  // nothing was remembered
  EXPECT_EQ(fetch("00000002.history").exit_code, 0);
  EXPECT_EQ(delivered(), "1\t0/300000\tx\n");
}

TEST_F(RestoreWalCommand, M4_SalvagedSegmentsAreSeenOnlyByTheActionThatNamesThem) {
  must(archive::put_bytes_if_absent(
      test::segment_bytes({.fill = 's'}),
      repository_.layout().salvage_file("action-1", must(postgres::parse_wal_name(kThird)))));
  EXPECT_EQ(fetch(kThird).exit_code, 1);
  EXPECT_EQ(fetch(kThird, {"--salvage", "action-2"}).exit_code, 1);
  EXPECT_EQ(fetch(kThird, {"--salvage", "action-1"}).exit_code, 0);
  EXPECT_EQ(delivered(), test::segment_bytes({.fill = 's'}));
}

// The archive's own file under the same name may be another one, or end earlier.
TEST_F(RestoreWalCommand, M4_ASalvagedSegmentThatCannotBeLookedAtIsNotPassedOver) {
  archive();
  std::string salvaged =
      repository_.layout().salvage_file("action-1", must(postgres::parse_wal_name(kThird)));
  std::string below = salvaged.substr(0, salvaged.find("/action-1"));
  must(base::make_directories(below));
  ASSERT_EQ(::symlink("action-1", (below + "/action-1").c_str()), 0);
  EXPECT_EQ(fetch(kThird, {"--salvage", "action-1", "--attempts", "1"}).exit_code, 200);
  EXPECT_EQ(delivered(), "nothing");
}

}  // namespace
}  // namespace pgrunbook::agent
