// archive-wal called by real servers.
#include <csignal>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "archive/repository.hpp"
#include "base/hash.hpp"
#include "support/paths.hpp"
#include "support/postgres/server.hpp"

namespace pgrunbook::agent {
namespace {

using archive::Repository;
using postgres::TimelineId;
using std::chrono::seconds;
using test::must;
using test::Server;
using ::testing::HasSubstr;

constexpr const char* kFailed = "SELECT failed_count > 0 FROM pg_stat_archiver";
constexpr const char* kReady = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'";

class ArchiveWal : public ::testing::Test {
 protected:
  ArchiveWal() {
    test::become_postgres();
    directory_ = std::make_unique<test::TemporaryDirectory>();
  }
  std::string path(const std::string& name) const { return directory_->path() + "/" + name; }
  Repository make_repository(const Server& server) const {
    auto control = server.control();
    return must(Repository::create(path("tfrs"), {"tfrs", "topology-uid"}, control.system_identifier,
                                   control.segment_size, 15, control.timeline));
  }
  // Every archived segment up to the newest, without a gap, each with the right header.
  void expect_whole(const Repository& repository) const {
    auto segments = must(repository.segments(TimelineId(1)));
    ASSERT_FALSE(segments.empty());
    for (std::size_t i = 0; i < segments.size(); ++i) {
      EXPECT_EQ(segments[i].number, segments.front().number + i);
      auto checked = repository.check_stored(must(postgres::parse_wal_name(segments[i].name)));
      EXPECT_TRUE(checked.has_value()) << checked.error().text();
    }
  }
  std::unique_ptr<test::TemporaryDirectory> directory_;
};

TEST_F(ArchiveWal, I1_WhatTheServerCallsArchivedIsThereAndRight) {
  Server server(path("server"));
  Repository repository = make_repository(server);
  server.archive_to(path("tfrs"), "claim-a", PGRUNBOOK_AGENT_PATH);
  server.start();
  std::string last;
  for (int i = 0; i < 5; ++i) last = server.switch_segment();
  server.wait_for("SELECT last_archived_wal FROM pg_stat_archiver", last);
  EXPECT_EQ(server.sql("SELECT failed_count FROM pg_stat_archiver"), "0");
  EXPECT_EQ(must(repository.newest_segment(TimelineId(1)))->name, last);
  EXPECT_EQ(must(repository.writer_of(TimelineId(1))), "claim-a");
  expect_whole(repository);
  for (const auto& s : must(repository.segments(TimelineId(1)))) {
    if (s.name == last) {
      EXPECT_EQ(base::sha256(must(archive::get_bytes(
                    repository.layout().wal_file(must(postgres::parse_wal_name(s.name)))))),
                must(base::sha256_file(server.data() + "/pg_wal/" + s.name)));
    }
  }
}

TEST_F(ArchiveWal, I3_APushWhoseSuccessWasLostIsRepeatedWithoutHarm) {
  Server server(path("server"));
  Repository repository = make_repository(server);
  server.archive_to(path("tfrs"), "claim-a", PGRUNBOOK_AGENT_PATH);
  server.start();
  std::string name = server.switch_segment();
  server.wait_for("SELECT last_archived_wal FROM pg_stat_archiver", name);
  // As after a crash between the publish and .done.
  std::string status = server.data() + "/pg_wal/archive_status/" + name;
  ASSERT_EQ(::rename((status + ".done").c_str(), (status + ".ready").c_str()), 0);
  std::string next = server.switch_segment();
  server.wait_for("SELECT last_archived_wal FROM pg_stat_archiver", next);
  EXPECT_THAT(server.log(),
              HasSubstr("pgrunbook: archive-wal " + name + ": already archived with the same content\n"));
  EXPECT_EQ(server.sql("SELECT failed_count FROM pg_stat_archiver"), "0");
}

TEST_F(ArchiveWal, I4_SameNameOtherContentIsNeverOverwritten) {
  Server server(path("server"));
  Repository repository = make_repository(server);
  server.start();
  std::string name = server.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
  server.stop();
  auto parsed = must(postgres::parse_wal_name(name));
  must(archive::put_bytes_if_absent("another server's bytes", repository.layout().wal_file(parsed)));
  std::string before = must(base::sha256_file(repository.layout().wal_file(parsed)));
  server.archive_to(path("tfrs"), "claim-a", PGRUNBOOK_AGENT_PATH);
  server.start();
  server.switch_segment();
  server.wait_for(kFailed, "t");
  EXPECT_THAT(server.log(), HasSubstr(name + ".zst exists with other content"));
  EXPECT_THAT(server.log(), HasSubstr("HINT: two servers write one archive; nothing was overwritten"));
  EXPECT_EQ(must(base::sha256_file(repository.layout().wal_file(parsed))), before);
  EXPECT_EQ(server.sql("SELECT last_archived_wal IS NULL FROM pg_stat_archiver"), "t");
}

TEST_F(ArchiveWal, I5_ANewTimelinesHistoryComesBeforeItsSegments) {
  Server server(path("server"));
  Repository repository = make_repository(server);
  server.archive_to(path("tfrs"), "claim-a", PGRUNBOOK_AGENT_PATH);
  server.start();
  server.switch_segment();
  server.stop();
  // A recovery to the end of its own WAL, with archiving on: PostgreSQL promotes to timeline 2.
  test::write_file(server.data() + "/recovery.signal", "");
  server.configure("restore_command='false'");
  server.start();
  server.wait_for("SELECT pg_is_in_recovery()", "f");
  std::string name = server.switch_segment();
  ASSERT_EQ(name.substr(0, 8), "00000002");
  server.wait_for("SELECT last_archived_wal FROM pg_stat_archiver", name);
  EXPECT_EQ(must(repository.history(TimelineId(2))).parent(), TimelineId(1));
  EXPECT_EQ(server.log().find("waits: 00000002.history"), std::string::npos);
}

TEST_F(ArchiveWal, I6_OtherSegmentSizesAreArchivedToo) {
  for (int mib : {1, 64}) {
    test::TemporaryDirectory directory;
    Server server(directory / "server", {.segment_mib = mib});
    auto control = server.control();
    EXPECT_EQ(control.segment_size, static_cast<std::uint64_t>(mib) << 20U);
    Repository repository =
        must(Repository::create(directory / "tfrs", {"tfrs", "u"}, control.system_identifier,
                                control.segment_size, 15, control.timeline));
    server.archive_to(directory / "tfrs", "claim-a", PGRUNBOOK_AGENT_PATH);
    server.start();
    std::string name = server.switch_segment();
    server.wait_for("SELECT last_archived_wal FROM pg_stat_archiver", name);
    expect_whole(repository);
    server.stop();
  }
}

TEST_F(ArchiveWal, I8_ACloneWithTheOldConfigurationOfAnotherClusterIsRefused) {
  Server server(path("server"));
  Repository repository = make_repository(server);
  Server stranger(path("stranger"));
  stranger.archive_to(path("tfrs"), "claim-b", PGRUNBOOK_AGENT_PATH);
  stranger.start();
  stranger.switch_segment();
  stranger.wait_for(kFailed, "t");
  EXPECT_THAT(stranger.log(),
              HasSubstr("is of the cluster with system identifier " +
                        std::to_string(stranger.control().system_identifier) + ", the repository of " +
                        std::to_string(server.control().system_identifier)));
  EXPECT_TRUE(must(repository.segments(TimelineId(1))).empty());
}

TEST_F(ArchiveWal, S18_ACopyOfTheServerOnAnotherVolumeIsRefused) {
  Server server(path("server"));
  Repository repository = make_repository(server);
  server.archive_to(path("tfrs"), "claim-a", PGRUNBOOK_AGENT_PATH);
  server.start();
  std::string name = server.switch_segment();
  server.wait_for("SELECT last_archived_wal FROM pg_stat_archiver", name);
  server.stop();
  std::size_t before = must(repository.segments(TimelineId(1))).size();
  server.archive_to(path("tfrs"), "claim-b",
                    PGRUNBOOK_AGENT_PATH);  // the same data, on the volume of another claim
  server.start();
  server.switch_segment();
  server.wait_for(kFailed, "t");
  EXPECT_THAT(
      server.log(),
      HasSubstr("timeline 1 is written by the server on the claim with uid claim-a, not by the one on "
                "claim-b. HINT: this server is a copy of the other one: set archive_mode=off on it, or "
                "recover it through a PostgresRestore"));
  EXPECT_EQ(must(repository.segments(TimelineId(1))).size(), before);
}

TEST_F(ArchiveWal, I9_AnArchiveThatWasAwayLeavesNoGap) {
  Server server(path("server"));
  Repository repository = make_repository(server);
  server.archive_to(path("tfrs"), "claim-a", PGRUNBOOK_AGENT_PATH);
  server.start();
  std::string first = server.switch_segment();
  server.wait_for("SELECT last_archived_wal FROM pg_stat_archiver", first);
  ASSERT_EQ(::rename(path("tfrs").c_str(), path("away").c_str()), 0);
  std::string last;
  for (int i = 0; i < 4; ++i) last = server.switch_segment();
  server.wait_for(kFailed, "t");
  EXPECT_FALSE(base::exists(path("tfrs")));  // an empty mount point is never taken for an archive
  EXPECT_NE(server.sql(kReady), "0");
  ASSERT_EQ(::rename(path("away").c_str(), path("tfrs").c_str()), 0);
  server.sql("SELECT pg_switch_wal()");
  server.wait_for(kReady, "0", seconds(120));
  expect_whole(repository);
  EXPECT_GE(must(repository.newest_segment(TimelineId(1)))->name, last);
}

TEST_F(ArchiveWal, I10_ErrorsAreCountedAndTheArchiverLives) {
  Server server(path("server"));
  server.archive_to(path("tfrs"), "claim-a", PGRUNBOOK_AGENT_PATH);  // no repository
  server.start();
  std::string pid = server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'archiver'");
  server.switch_segment();
  server.wait_for("SELECT failed_count >= 2 FROM pg_stat_archiver", "t");
  EXPECT_EQ(server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'archiver'"), pid);
  EXPECT_THAT(server.log(), HasSubstr("archive command failed with exit code 1"));
}

// M14: a program that is not there would end the archiver process, uncounted; the form of the command
// prevents it.
TEST_F(ArchiveWal, M14_AMissingProgramIsCountedToo) {
  Server server(path("server"));
  server.archive_to(path("tfrs"), "claim-a", "/nowhere/pgrunbook-agent");
  server.start();
  server.switch_segment();
  server.wait_for(kFailed, "t");
}

TEST_F(ArchiveWal, I11_AKilledServerLeavesNothingThatStopsTheNextPush) {
  Server server(path("server"));
  Repository repository = make_repository(server);
  server.archive_to(path("tfrs"), "claim-a", PGRUNBOOK_AGENT_PATH);
  server.start();
  for (int round = 0; round < 3; ++round) {
    server.switch_segment();
    server.switch_segment();
    server.kill_hard();
    server.start();
  }
  std::string name = server.switch_segment();
  server.wait_for(kReady, "0");
  EXPECT_GE(must(repository.newest_segment(TimelineId(1)))->name, name);
  expect_whole(repository);
}

TEST_F(ArchiveWal, I12_ArchiveTimeoutBoundsWhatIsNotArchived) {
  Server server(path("server"), {.settings = {"archive_timeout=2"}});
  Repository repository = make_repository(server);
  server.archive_to(path("tfrs"), "claim-a", PGRUNBOOK_AGENT_PATH);
  server.start();
  // The checkpointer of a server that was stopped cleanly sleeps until its first checkpoint, archive_timeout
  // or not.
  server.sql("CHECKPOINT");
  server.sql("CREATE TABLE t (id int)");
  std::string lsn = server.sql("SELECT pg_current_wal_lsn()");
  server.wait_for(
      "SELECT count(*) > 0 FROM pg_stat_archiver WHERE last_archived_wal >= pg_walfile_name('" + lsn + "')",
      "t", seconds(30));
  EXPECT_FALSE(must(repository.segments(TimelineId(1))).empty());
}

}  // namespace
}  // namespace pgrunbook::agent
