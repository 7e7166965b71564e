// The Backup Job against real servers.
#include <chrono>
#include <csignal>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include <fcntl.h>
#include <sys/wait.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/backup.hpp"
#include "archive/base_tar.hpp"
#include "archive/repository.hpp"
#include "base/hash.hpp"
#include "support/postgres/server.hpp"

namespace pgrunbook::agent {
namespace {

using archive::Repository;
using std::chrono::seconds;
using test::must;
using test::Server;
using ::testing::HasSubstr;

constexpr const char* kTopologyUID = "9f0c1f6e-0000-4000-8000-000000000001";
constexpr const char* kWriter = "5b1d6a3c-0000-4000-8000-00000000000a";
constexpr const char* kID = "20261120T150405Z-1a2b3c4d";

// A server that archives into its own repository.
class Backup : public ::testing::Test {
 protected:
  Backup() {
    test::become_postgres();
    directory_ = std::make_unique<test::TemporaryDirectory>();
    ::setenv("PGRUNBOOK_PASSWORD", test::kRolePassword, 1);
    report_ = std::make_unique<Report>(::open("/dev/null", O_WRONLY), path("termination"));
  }
  std::string path(const std::string& name) const { return directory_->path() + "/" + name; }
  std::string repository_path() const { return path("archive/tfrs"); }

  Server& make_server(const test::ServerOptions& options = {}) {
    server_ = std::make_unique<Server>(path("server"), options);
    auto control = server_->control();
    (void)must(Repository::create(repository_path(), {"tfrs", kTopologyUID}, control.system_identifier, control.segment_size, 15,
                                  control.timeline));
    server_->archive_to(repository_path(), kWriter, PGRUNBOOK_AGENT_PATH);
    return *server_;
  }
  Server& start_server(const test::ServerOptions& options = {}) {
    make_server(options).start();
    server_->make_role();
    server_->sql("CREATE TABLE credit_trade AS SELECT i AS id, md5(i::text) AS text FROM generate_series(1, 50000) i");
    return *server_;
  }
  Order order(const std::string& id = kID) const {
    Order o;
    o.job = api::jobs::kBackup;
    o.action = {"PostgresBackup", "nightly", "8d3f4c11-0000-4000-8000-000000000002", "0123456789abcdef"};
    o.repository = {repository_path(), "tfrs", kTopologyUID};
    api::MemberRef member;
    member.name = "postgresql";
    member.host = "127.0.0.1";
    member.port = server_ ? server_->port() : 1;
    o.member = member;
    o.backup.id = id;
    return o;
  }
  static BackupLimits short_limits() {
    BackupLimits limits;
    limits.connect = seconds(10);
    limits.silence = seconds(4);
    limits.archive = seconds(4);
    return limits;
  }
  Repository repository() const { return must(Repository::open(repository_path())); }

  std::unique_ptr<test::TemporaryDirectory> directory_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Report> report_;
};

TEST_F(Backup, CompletesWithItsWalAndItsManifest) {
  Server& server = start_server();
  auto answer = run_backup(order(), *report_);
  ASSERT_TRUE(answer.has_value()) << answer.error().text() << server.log();
  EXPECT_EQ(answer->outcome, api::Outcome::kSucceeded);
  EXPECT_EQ(answer->result["backupID"], kID);
  EXPECT_EQ(answer->result["verified"], "Manifest");
  EXPECT_EQ(answer->result["majorVersion"], 15);
  EXPECT_EQ(answer->result["configurationFiles"].size(), 0U);
  auto record = must(repository().backup(kID));
  EXPECT_LT(record.begin_lsn, record.end_lsn);
  EXPECT_LE(record.start_time, record.stop_time);
  EXPECT_EQ(record.system_identifier, server.control().system_identifier);
  EXPECT_EQ(record.superuser, "postgres");
  EXPECT_EQ(record.server_encoding, "UTF8");
  auto walk = must(repository().walk(postgres::TimelineHistory(record.timeline), record.begin_lsn, record.end_lsn));
  EXPECT_FALSE(walk.missing.has_value());
  EXPECT_EQ(walk.segments.front().name, record.begin_wal);
  EXPECT_EQ(walk.segments.back().name, record.end_wal);
}

}  // namespace
}  // namespace pgrunbook::agent
