#include "archive/repository.hpp"

#include <atomic>
#include <fstream>
#include <sys/stat.h>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.hpp"
#include "support/postgres/temporary.hpp"
#include "support/postgres/wal_file.hpp"

namespace pgrunbook::archive {
namespace {

using postgres::Lsn;
using postgres::TimelineHistory;
using postgres::TimelineId;
using test::must;
using ::testing::ElementsAre;

constexpr std::uint64_t kSystem = 7000000000000000001;
constexpr std::uint64_t kSize = 1U << 20U;
const Owner kOwner{"tfrs", "uid-of-tfrs"};

class RepositoryTest : public ::testing::Test {
 protected:
  test::TemporaryDirectory directory_;
  std::string path_ = directory_ / "mount/tfrs";
  Repository make() const {
    return must(Repository::create(path_, kOwner, kSystem, kSize, 15, TimelineId(1)));
  }
  void put(const Repository& repository, const std::string& name) const {
    std::string source = test::write_segment(directory_.path(), {.name = name, .system_identifier = kSystem});
    must(repository.put_wal(source, must(postgres::parse_wal_name(name))));
  }
  void put_history(const Repository& repository, std::uint32_t timeline, const std::string& content) const {
    must(put_bytes_if_absent(content, repository.layout().history_file(TimelineId(timeline))));
  }
  static std::string seg(std::uint32_t timeline, std::uint64_t number) {
    return postgres::segment_name(TimelineId(timeline), number, kSize);
  }
  static std::vector<std::string> names(const Walk& walk) {
    std::vector<std::string> out;
    for (const SegmentRef& s : walk.segments) out.push_back(s.name);
    return out;
  }
};

using RepositoryOwner = RepositoryTest;
using RepositoryTimelines = RepositoryTest;
using RepositoryWal = RepositoryTest;
using RepositoryLedger = RepositoryTest;

TEST_F(RepositoryOwner, CreatedOnceAndOpenedAgain) {
  Repository first = make();
  EXPECT_EQ(first.record().topology, "tfrs");
  ASSERT_NE(first.record().live(), nullptr);
  EXPECT_EQ(first.record().live()->timeline, TimelineId(1));
  Repository second = make();
  EXPECT_EQ(second.record().system_identifiers, std::vector<std::uint64_t>{kSystem});
  EXPECT_EQ(second.segment_size(), kSize);
  struct stat st{};
  ::stat((path_ + "/repository.json").c_str(), &st);
  EXPECT_EQ(st.st_mode & 07777, 0640);
}

TEST_F(RepositoryOwner, I8_AnotherTopologyIsRefused) {
  make();
  auto other = Repository::open(path_, {"tfrs", "another-uid"});
  ASSERT_FALSE(other.has_value());
  EXPECT_EQ(other.error().reason, "RepositoryOfAnother");
  EXPECT_EQ(other.error().text(),
            "the repository " + path_ +
                " belongs to the topology tfrs with uid uid-of-tfrs, not to tfrs with uid another-uid. "
                "HINT: give this topology another archive path, or another name");
  auto created = Repository::create(path_, {"tfrs", "another-uid"}, kSystem, kSize, 15, TimelineId(1));
  EXPECT_EQ(created.error().reason, "RepositoryOfAnother");
}

TEST_F(RepositoryOwner, I8_AnotherClusterIsRefused) {
  make();
  auto created = Repository::create(path_, kOwner, 42, kSize, 15, TimelineId(1));
  ASSERT_FALSE(created.has_value());
  EXPECT_EQ(created.error().reason, "SystemIdentifierMismatch");
  EXPECT_EQ(created.error().message,
            "the repository " + path_ +
                " is of the cluster with system identifier 7000000000000000001, this server's is 42");
}

TEST_F(RepositoryOwner, I8_AForeignFolderIsRefusedAndLeftAlone) {
  must(base::make_directories(path_));
  test::write_file(path_ + "/precious.dump", "somebody's");
  auto created = Repository::create(path_, kOwner, kSystem, kSize, 15, TimelineId(1));
  ASSERT_FALSE(created.has_value());
  EXPECT_EQ(created.error().reason, "RepositoryNotEmpty");
  EXPECT_EQ(created.error().text(),
            path_ +
                " is not empty (precious.dump) and has no repository.json. HINT: name an archive "
                "path where nothing lies yet; what is there is not touched");
  EXPECT_EQ(Repository::open(path_, kOwner).error().reason, "RepositoryNotEmpty");
  EXPECT_THAT(must(base::list_directory(path_)), ElementsAre("precious.dump"));
}

TEST_F(RepositoryOwner, WhatLiesBesideItIsNeverRead) {
  must(base::make_directories(directory_ / "mount/walbackup/00000001"));
  test::write_segment(directory_ / "mount/walbackup/00000001", {});
  test::write_file(directory_ / "mount/000000010000000000000009", "the runbook's own archive");
  Repository repository = make();
  EXPECT_TRUE(must(repository.segments(TimelineId(1))).empty());
  EXPECT_TRUE(must(repository.archived_timelines()).empty());
  EXPECT_TRUE(must(repository.backups()).empty());
}

TEST_F(RepositoryOwner, NoRepositoryIsNotFound) {
  EXPECT_EQ(Repository::open(path_).error().code, base::ErrorCode::kNotFound);
  EXPECT_EQ(Repository::open(path_, kOwner).error().code, base::ErrorCode::kNotFound);
}

TEST_F(RepositoryOwner, OfManyCreatorsOneMakesItAndTheRightOnesGetIt) {
  std::atomic<int> ours = 0, refused = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&, i] {
      Owner owner{"tfrs", i % 2 == 0 ? "even" : "odd"};
      auto r = Repository::create(path_, owner, kSystem, kSize, 15, TimelineId(1));
      if (r && r->record().topology_uid == owner.topology_uid) ++ours;
      if (!r && r.error().reason == "RepositoryOfAnother") ++refused;
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(ours, 8);
  EXPECT_EQ(refused, 8);
}

TEST_F(RepositoryOwner, AnUnknownFieldIsNotIgnored) {
  make();
  std::string text = must(base::read_file(path_ + "/repository.json"));
  text.insert(text.find('{') + 1, "\"encryption\": \"aes\",");
  test::write_file(path_ + "/repository.json", text);
  auto repository = Repository::open(path_);
  ASSERT_FALSE(repository.has_value());
  EXPECT_THAT(repository.error().message, ::testing::HasSubstr("encryption"));
}

TEST_F(RepositoryTimelines, AreRecordedWithParentForkMakerAndState) {
  Repository repository = make();
  TimelineRecord second{
      TimelineId(2), TimelineId(1), Lsn(0x5000098), "action-1", TimelineState::kPrepared, ""};
  must(repository.add_timeline(second));
  must(repository.add_timeline(second));  // the same Job again
  must(repository.set_timeline_state(TimelineId(2), TimelineState::kLive));
  must(repository.set_timeline_state(TimelineId(1), TimelineState::kAbandoned));
  Repository again = must(Repository::open(path_, kOwner, kSystem));
  ASSERT_EQ(again.record().timelines.size(), 2U);
  EXPECT_EQ(again.record().live()->timeline, TimelineId(2));
  EXPECT_EQ(again.record().find(TimelineId(2))->parent, TimelineId(1));
  EXPECT_EQ(again.record().find(TimelineId(2))->fork, Lsn(0x5000098));
  EXPECT_EQ(again.record().find(TimelineId(2))->maker, "action-1");
  EXPECT_EQ(to_string(again.record().find(TimelineId(1))->state), "abandoned");
}

TEST_F(RepositoryTimelines, ANumberIsTakenOnce) {
  Repository repository = make();
  must(repository.add_timeline(
      {TimelineId(2), TimelineId(1), Lsn(100), "action-1", TimelineState::kPrepared, ""}));
  auto taken = repository.add_timeline(
      {TimelineId(2), TimelineId(1), Lsn(200), "action-2", TimelineState::kPrepared, ""});
  ASSERT_FALSE(taken.has_value());
  EXPECT_EQ(taken.error().reason, "TimelineTaken");
  EXPECT_EQ(taken.error().text(),
            "timeline 2 was already made by action action-1, from timeline 1 at 0/64. HINT: recover "
            "again: PostgreSQL then takes the next number");
}

TEST_F(RepositoryTimelines, S18_TheFirstWriterOfATimelineStaysItsWriter) {
  Repository repository = make();
  EXPECT_EQ(must(repository.writer_of(TimelineId(1))), "");
  must(repository.claim_writer(TimelineId(1), "claim-a"));
  must(repository.claim_writer(TimelineId(1), "claim-a"));
  auto other = repository.claim_writer(TimelineId(1), "claim-b");
  ASSERT_FALSE(other.has_value());
  EXPECT_EQ(other.error().reason, "TimelineOfAnotherWriter");
  EXPECT_EQ(other.error().message,
            "timeline 1 is written by the server on the claim with uid claim-a, not by the one on claim-b");
  must(repository.claim_writer(TimelineId(2), "claim-b"));
  must(repository.reload());
  EXPECT_EQ(repository.record().find(TimelineId(1))->writer, "claim-a");
}

TEST_F(RepositoryTimelines, S18_OfManyClaimsOneWins) {
  Repository repository = make();
  std::atomic<int> won = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&, i] {
      if (repository.claim_writer(TimelineId(1), "claim-" + std::to_string(i))) ++won;
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(won, 1);
}

TEST_F(RepositoryTimelines, ManyUpdatesAtOnceLoseNothing) {
  Repository repository = make();
  std::vector<std::thread> threads;
  std::atomic<int> failed = 0;
  for (std::uint32_t i = 2; i < 22; ++i) {
    threads.emplace_back([&, i] {
      Repository mine = must(Repository::open(path_));
      if (!mine.add_timeline({TimelineId(i), TimelineId(1), Lsn(i), "a", TimelineState::kPrepared, ""}))
        ++failed;
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(failed, 0);
  must(repository.reload());
  EXPECT_EQ(repository.record().timelines.size(), 21U);
}

TEST_F(RepositoryTimelines, HistoriesComeFromTheArchive) {
  Repository repository = make();
  EXPECT_TRUE(must(repository.history(TimelineId(1))).ancestors().empty());
  auto missing = repository.history(TimelineId(2));
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code, base::ErrorCode::kNotFound);
  EXPECT_EQ(missing.error().message, "00000002.history is not in the repository");
  put_history(repository, 2, "1\t0/300000\tx\n");
  EXPECT_EQ(must(repository.history(TimelineId(2))).fork(), Lsn(0x300000));
  put(repository, seg(1, 3));
  EXPECT_THAT(must(repository.archived_timelines()), ElementsAre(TimelineId(1), TimelineId(2)));
}

TEST_F(RepositoryTimelines, AFirstTimelineWithoutParentNeedsNoHistory) {
  Repository repository = must(Repository::create(path_, kOwner, kSystem, kSize, 15, TimelineId(5)));
  EXPECT_TRUE(must(repository.history(TimelineId(5))).ancestors().empty());
  EXPECT_FALSE(repository.history(TimelineId(4)).has_value());
}

TEST_F(RepositoryWal, WalksAsLongAsSegmentsAreThere) {
  Repository repository = make();
  for (std::uint64_t n : std::initializer_list<std::uint64_t>{3, 4, 5, 7}) put(repository, seg(1, n));
  TimelineHistory history{TimelineId(1)};
  Walk walk = must(repository.walk(history, Lsn(3 * kSize + 40)));
  EXPECT_THAT(names(walk), ElementsAre(seg(1, 3), seg(1, 4), seg(1, 5)));
  EXPECT_EQ(walk.end, Lsn(6 * kSize));
  ASSERT_TRUE(walk.missing.has_value());
  EXPECT_EQ(walk.missing->name, seg(1, 6));
  EXPECT_TRUE(walk.gap);
  EXPECT_EQ(must(repository.newest_segment(TimelineId(1)))->name, seg(1, 7));

  walk = must(repository.walk(history, Lsn(7 * kSize)));
  EXPECT_THAT(names(walk), ElementsAre(seg(1, 7)));
  EXPECT_FALSE(walk.gap);  // nothing behind it: that is where WAL ends today

  walk = must(repository.walk(history, Lsn(6 * kSize)));
  EXPECT_TRUE(walk.segments.empty());
  EXPECT_EQ(walk.end, Lsn(6 * kSize));
}

TEST_F(RepositoryWal, StopsWhereItIsToldTo) {
  Repository repository = make();
  for (std::uint64_t n : std::initializer_list<std::uint64_t>{3, 4, 5}) put(repository, seg(1, n));
  TimelineHistory history{TimelineId(1)};
  EXPECT_EQ(must(repository.walk(history, Lsn(3 * kSize), Lsn(3 * kSize + 100))).segments.size(), 1U);
  EXPECT_EQ(must(repository.walk(history, Lsn(3 * kSize), Lsn(4 * kSize))).segments.size(),
            1U);  // ends at the border
  EXPECT_EQ(must(repository.walk(history, Lsn(3 * kSize), Lsn(4 * kSize + 1))).segments.size(), 2U);
  Walk walk = must(repository.walk(history, Lsn(3 * kSize), Lsn(9 * kSize)));
  ASSERT_TRUE(walk.missing.has_value());
  EXPECT_EQ(walk.missing->name, seg(1, 6));
}

// S3: from a fork's segment on, the child's file counts and the parent's is not needed.
TEST_F(RepositoryWal, S3_FollowsAForkToTheChildsFile) {
  Repository repository = make();
  put_history(repository, 2, "1\t0/500040\tx\n");  // inside segment 5
  for (std::uint64_t n : std::initializer_list<std::uint64_t>{3, 4, 5, 6}) put(repository, seg(1, n));
  TimelineHistory history = must(repository.history(TimelineId(2)));
  Walk walk = must(repository.walk(history, Lsn(3 * kSize)));
  EXPECT_THAT(names(walk), ElementsAre(seg(1, 3), seg(1, 4)));
  EXPECT_EQ(walk.missing->name, seg(2, 5));
  EXPECT_FALSE(walk.gap);  // the parent's 5 and 6 are another branch
  put(repository, seg(2, 5));
  put(repository, seg(2, 7));
  walk = must(repository.walk(history, Lsn(3 * kSize)));
  EXPECT_THAT(names(walk), ElementsAre(seg(1, 3), seg(1, 4), seg(2, 5)));
  EXPECT_EQ(walk.missing->name, seg(2, 6));
  EXPECT_TRUE(walk.gap);
}

TEST_F(RepositoryWal, ForeignNamesInItsFoldersAreNotCounted) {
  Repository repository = make();
  put(repository, seg(1, 3));
  std::string folder = repository.layout().timeline_directory(TimelineId(1));
  for (const char* name :
       {"000000010000000000000004", "000000020000000000000004.zst", "000000010000000000000004.gz",
        "000000010000000000000004.partial.zst", ".000000010000000000000004.zst.x.part", "lost+found"}) {
    test::write_file(folder + "/" + name, "x");
  }
  EXPECT_EQ(must(repository.segments(TimelineId(1))).size(), 1U);
}

TEST_F(RepositoryWal, StoredSegmentsAreHeldAgainstTheirNames) {
  Repository repository = make();
  put(repository, seg(1, 3));
  EXPECT_TRUE(repository.check_stored(must(postgres::parse_wal_name(seg(1, 3)))).has_value());
  std::string folder = repository.layout().timeline_directory(TimelineId(1));
  ASSERT_EQ(
      ::rename((folder + "/" + seg(1, 3) + ".zst").c_str(), (folder + "/" + seg(1, 4) + ".zst").c_str()), 0);
  auto renamed = repository.check_stored(must(postgres::parse_wal_name(seg(1, 4))));
  ASSERT_FALSE(renamed.has_value());
  EXPECT_EQ(renamed.error().reason, "WalNameMismatch");
}

TEST_F(RepositoryLedger, TheFirstEntryStands) {
  Repository repository = make();
  ActionKey key{"PostgresRestore", "before-the-loss", "0123456789abcdef", "uid-1"};
  EXPECT_FALSE(must(repository.find_action(key)).has_value());
  LedgerEntry first = must(repository.publish_action(key, {{"actionUID", "uid-1"}}));
  EXPECT_TRUE(first.ours);
  LedgerEntry second = must(repository.publish_action(key, {{"actionUID", "uid-2"}}));
  EXPECT_FALSE(second.ours);
  EXPECT_EQ(second.content["actionUID"], "uid-1");
  EXPECT_FALSE(second.outcome.has_value());
  EXPECT_EQ(must(repository.finish_action(key, {{"outcome", "Completed"}}))["outcome"], "Completed");
  EXPECT_EQ(must(repository.finish_action(key, {{"outcome", "Failed"}}))["outcome"], "Completed");
  auto found = must(repository.find_action(key));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->outcome->at("outcome"), "Completed");
}

TEST_F(RepositoryLedger, NoNameBecomesAPath) {
  Repository repository = make();
  for (const char* bad : {"", "../x", "a/b", ".hidden", "a b", "a\nb"}) {
    EXPECT_FALSE(repository.publish_action({"PostgresRestore", bad, "00", ""}, {}).has_value()) << bad;
    EXPECT_FALSE(repository.publish_action({bad, "name", "00", ""}, {}).has_value()) << bad;
    EXPECT_FALSE(repository.backup(bad).has_value()) << bad;
  }
}

TEST_F(RepositoryLedger, I19_ABackupWithoutBackupJsonIsListedAsUnfinished) {
  Repository repository = make();
  must(base::make_directories(repository.layout().backup_directory("20261120T150405Z-1a2b3c4d")));
  auto list = must(repository.backups());
  ASSERT_EQ(list.size(), 1U);
  EXPECT_FALSE(list[0].record.has_value());
  EXPECT_EQ(list[0].problem,
            "the repository has no finished backup 20261120T150405Z-1a2b3c4d. HINT: a backup without "
            "backup.json was never completed and cannot be restored");
}

}  // namespace
}  // namespace pgrunbook::archive
