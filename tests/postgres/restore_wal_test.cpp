// restore-wal called by recovering servers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "archive/repository.hpp"
#include "support/paths.hpp"
#include "support/postgres/server.hpp"

namespace pgrunbook::agent {
namespace {

using archive::Repository;
using postgres::TimelineId;
using test::must;
using test::Server;
using ::testing::HasSubstr;

// A server with some archived segments, stopped, its own pg_wal emptied of them: recovery must fetch.
class RestoreWal : public ::testing::Test {
 protected:
  RestoreWal() {
    test::become_postgres();
    directory_ = std::make_unique<test::TemporaryDirectory>();
    source_ = std::make_unique<Server>(path("server"));
    auto control = source_->control();
    repository_ = std::make_unique<Repository>(must(Repository::create(
        path("tfrs"), {"tfrs", "u"}, control.system_identifier, control.segment_size, 15, control.timeline)));
    source_->archive_to(path("tfrs"), "claim-a", PGRUNBOOK_AGENT_PATH);
    source_->start();
    source_->sql("CREATE TABLE t (id int)");
    source_->sql("CHECKPOINT");
    // A copy by hand while it stands still: what a base backup would be.
    source_->stop();
    test::must_run({"cp", "-a", path("server"), path("copy")});
    source_->start();
    for (int i = 1; i <= 4; ++i) {
      source_->sql("INSERT INTO t VALUES (" + std::to_string(i) + ")");
      last_ = source_->switch_segment();
    }
    source_->wait_for("SELECT last_archived_wal FROM pg_stat_archiver", last_);
    source_->stop();
  }
  std::string path(const std::string& name) const { return directory_->path() + "/" + name; }
  // Recovers the copy as far as the archive goes; pauses never.
  Server recover(const std::string& more = "") const {
    Server copy = Server::existing(path("copy"));
    copy.configure("archive_mode=off\nport=" + std::to_string(copy.port()) + "\nunix_socket_directories='" +
                   path("copy") + "'\nrecovery_target_timeline=1\nrestore_command='" +
                   std::string(PGRUNBOOK_AGENT_PATH) + " restore-wal --repository " + path("tfrs") +
                   " --attempts 2 %f %p'\n" + more);
    test::write_file(copy.data() + "/recovery.signal", "");
    return copy;
  }
  std::string stored(const std::string& name) const {
    return path("tfrs/walbackup/00000001/" + name + ".zst");
  }
  std::unique_ptr<test::TemporaryDirectory> directory_;
  std::unique_ptr<Server> source_;
  std::unique_ptr<Repository> repository_;
  std::string last_;
};

TEST_F(RestoreWal, I13_NotThereEndsTheRecoveryAtTheEndOfWal) {
  Server copy = recover();
  copy.start();
  copy.wait_for("SELECT pg_is_in_recovery()", "f");
  EXPECT_EQ(copy.sql("SELECT count(*) FROM t"), "4");
}

TEST_F(RestoreWal, I13_ADamagedSegmentStopsTheRecoveryInsteadOfEndingIt) {
  std::string good = must(base::read_file(stored(last_)));
  test::write_file(stored(last_), good.substr(0, good.size() / 2));
  Server copy = recover();
  copy.start_and_wait_for_its_end();
  EXPECT_THAT(copy.log(), HasSubstr("is damaged: it ends too early"));
  EXPECT_THAT(copy.log(), HasSubstr("could not restore file \"" + last_ +
                                    "\" from archive: child process exited with exit code 200"));
  EXPECT_THAT(copy.control().state,
              HasSubstr("in archive recovery"));  // nothing was promoted with less than there is
  test::write_file(stored(last_), good);
  copy.start();
  copy.wait_for("SELECT pg_is_in_recovery()", "f");
  EXPECT_EQ(copy.sql("SELECT count(*) FROM t"), "4");
}

TEST_F(RestoreWal, I13_AnUnmountedArchiveStopsTheRecovery) {
  Server copy = recover();
  ASSERT_EQ(::rename(path("tfrs").c_str(), path("away").c_str()), 0);
  copy.start_and_wait_for_its_end();
  EXPECT_THAT(copy.log(), HasSubstr("HINT: is the archive volume mounted in this container, at this path?"));
  ASSERT_EQ(::rename(path("away").c_str(), path("tfrs").c_str()), 0);
  copy.start();
  copy.wait_for("SELECT pg_is_in_recovery()", "f");
  EXPECT_EQ(copy.sql("SELECT count(*) FROM t"), "4");
}

TEST_F(RestoreWal, I14_AShortSegmentNeverReachesTheServer) {
  auto bytes = must(archive::get_bytes(stored(last_), 64U << 20U));
  ASSERT_EQ(::unlink(stored(last_).c_str()), 0);
  must(archive::put_bytes_if_absent(bytes.substr(0, 65536), stored(last_)));
  Server copy = recover();
  copy.start_and_wait_for_its_end();
  EXPECT_THAT(copy.log(), HasSubstr("holds 65536 bytes instead of 16777216"));
  EXPECT_EQ(copy.log().find("has wrong size"), std::string::npos);
}

TEST_F(RestoreWal, I15_AHistoryThatCannotBeReadStopsTheChoiceOfATimeline) {
  must(base::make_directories(path("tfrs/walbackup")));
  test::write_file(path("tfrs/walbackup/00000002.history.zst"), "damaged");
  Server copy = recover();
  copy.start_and_wait_for_its_end();  // "absent" would let it take timeline 2 a second time
  EXPECT_THAT(copy.log(), HasSubstr("00000002.history.zst is damaged"));
}

// M3: a number that is taken in the archive is not taken again.
TEST_F(RestoreWal, M3_AnArchivedHistoryKeepsItsNumber) {
  must(
      archive::put_bytes_if_absent("1\t0/3000000\tabandoned\n", path("tfrs/walbackup/00000002.history.zst")));
  Server copy = recover();
  copy.start();
  copy.wait_for("SELECT pg_is_in_recovery()", "f");
  EXPECT_EQ(copy.sql("SELECT timeline_id FROM pg_control_checkpoint()"), "3");
}

}  // namespace
}  // namespace pgrunbook::agent
