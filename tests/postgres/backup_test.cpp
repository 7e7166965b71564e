// The Backup Job against real servers.
#include "agent/backup.hpp"

#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <set>
#include <sstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/own_wal.hpp"
#include "archive/base_tar.hpp"
#include "archive/repository.hpp"
#include "base/hash.hpp"
#include "support/paths.hpp"
#include "support/postgres/damage.hpp"
#include "support/postgres/server.hpp"

namespace pgrunbook::agent {
namespace {

using archive::Repository;
using std::chrono::seconds;
using test::must;
using test::Server;
using ::testing::HasSubstr;

constexpr const char* kBackedUpTopology = "9f0c1f6e-0000-4000-8000-000000000001";
constexpr const char* kWriter = "5b1d6a3c-0000-4000-8000-00000000000a";
constexpr const char* kID = "20261120T150405Z-1a2b3c4d";

// A server that archives into its own repository.
class Backup : public ::testing::Test {
 protected:
  Backup() {
    test::become_postgres();
    directory_ = std::make_unique<test::TemporaryDirectory>();
    test::set_secrets(path("secrets"), {{api::secrets::kRolePassword, test::kRolePassword}});
    report_ = std::make_unique<Report>(::open("/dev/null", O_WRONLY), path("termination"));
  }
  std::string path(const std::string& name) const { return directory_->path() + "/" + name; }
  std::string repository_path() const { return path("archive/tfrs"); }

  Server& make_server(const test::ServerOptions& options = {}) {
    server_ = std::make_unique<Server>(path("server"), options);
    auto control = server_->control();
    (void)must(Repository::create(repository_path(), {"tfrs", kBackedUpTopology}, control.system_identifier,
                                  control.segment_size, 15, control.timeline));
    server_->archive_to(repository_path(), kWriter, PGRUNBOOK_AGENT_PATH);
    return *server_;
  }
  Server& start_server(const test::ServerOptions& options = {}) {
    make_server(options).start();
    server_->make_role();
    server_->sql(
        "CREATE TABLE credit_trade AS SELECT i AS id, md5(i::text) AS text FROM generate_series(1, 50000) i");
    return *server_;
  }
  Order order(const std::string& id = kID) const {
    Order o;
    o.job = api::jobs::kBackup;
    o.action = {"PostgresBackup", "nightly", "8d3f4c11-0000-4000-8000-000000000002", "0123456789abcdef"};
    o.repository = {repository_path(), "tfrs", kBackedUpTopology};
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
  auto walk =
      must(repository().walk(postgres::TimelineHistory(record.timeline), record.begin_lsn, record.end_lsn));
  EXPECT_FALSE(walk.missing.has_value());
  EXPECT_EQ(walk.segments.front().name, record.begin_wal);
  EXPECT_EQ(walk.segments.back().name, record.end_wal);
}

TEST_F(Backup, I18_IsNotCompleteUntilItsWalIsThere) {
  Server& server = start_server();
  server.sql("ALTER SYSTEM SET archive_command = 'false'");
  server.sql("SELECT pg_reload_conf()");
  auto answer = run_backup_within(order(), *report_, short_limits());
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().reason, "WALNotArchived");
  EXPECT_THAT(
      answer.error().text(),
      ::testing::MatchesRegex(
          std::string("backup ") + kID +
          " needs 0000000100000000000000.., which did not reach the "
          "repository within 4 s; the server's archive_command last failed for 0000000100000000000000... "
          "HINT: the server's log says why its archive_command fails"));
  EXPECT_EQ(answer_of(answer.error()).outcome, api::Outcome::kFailed);
  EXPECT_TRUE(must(repository().backups()).empty());  // nothing is left, and nothing counts
  EXPECT_EQ(server.sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'"), "0");
  server.sql("ALTER SYSTEM RESET archive_command");
  server.sql("SELECT pg_reload_conf()");
  EXPECT_TRUE(run_backup(order(), *report_).has_value());
}

TEST_F(Backup, I18_AnIdleServerIsNoProblem) {
  start_server();
  ASSERT_TRUE(run_backup(order("20261120T150405Z-00000001"), *report_).has_value());
  ASSERT_TRUE(run_backup(order("20261120T150406Z-00000002"), *report_).has_value());
  auto list = must(repository().backups());
  ASSERT_EQ(list.size(), 2U);
  EXPECT_LT(list[0].record->end_lsn, list[1].record->begin_lsn);
}

TEST_F(Backup, I18_ASegmentUnderItsNameWithOtherContentIsNoProof) {
  Server& server = start_server();
  server.wait_for("SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'", "0");
  std::string name = server.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
  server.sql("ALTER SYSTEM SET archive_command = 'true'");  // claims success, stores nothing
  server.sql("SELECT pg_reload_conf()");
  auto next = [&](std::uint64_t more) {
    auto parsed = must(postgres::parse_wal_name(name));
    return postgres::segment_name(parsed.timeline, must(parsed.segment(16U << 20U)) + more, 16U << 20U);
  };
  for (std::uint64_t i = 0; i < 6; ++i) {
    std::string wrong = test::segment_bytes({.name = next(i + 1),
                                             .system_identifier = server.control().system_identifier,
                                             .segment_size = 16U << 20U});
    must(archive::put_bytes_if_absent(
        wrong, repository().layout().wal_file(must(postgres::parse_wal_name(next(i))))));
  }
  auto answer = run_backup_within(order(), *report_, short_limits());
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().reason, "WalNameMismatch");
  EXPECT_TRUE(must(repository().backups()).empty());
}

TEST_F(Backup, ItsEndIsFoundInTheLastSegmentsToo) {
  Server& server = start_server();
  for (int i = 0; i < 3; ++i) server.switch_segment();
  Order o = order();
  o.backup.verify = "None";
  ASSERT_TRUE(run_backup(o, *report_).has_value());
  auto record = must(repository().backup(kID));
  EXPECT_EQ(record.verified, "None");
  auto segments = must(repository().segments(record.timeline));
  while (segments.back().name > record.end_wal) segments.pop_back();
  ASSERT_GT(segments.size(), 2U);
  EXPECT_TRUE(check_backup_end(repository(), record, segments).has_value());
  record.begin_lsn = postgres::Lsn(record.begin_lsn.value() - 8);
  auto other = check_backup_end(repository(), record, segments);
  ASSERT_FALSE(other.has_value());
  EXPECT_EQ(other.error().reason, "ForeignWal");
}

// A recovery from it would end there, and never get to the end of the backup.
TEST_F(Backup, DamageInTheMiddleOfItsWalIsFoundWhereAllOfItIsRead) {
  Server& server = start_server();
  std::vector<std::string> statements{
      "CREATE TABLE began AS SELECT pg_backup_start('held open', true) AS lsn"};
  for (int i = 0; i < 4; ++i) {
    statements.emplace_back(fmt::format("CREATE TABLE t{} AS SELECT generate_series(1, 5000)", i));
    statements.emplace_back("SELECT pg_switch_wal()");
  }
  statements.emplace_back("SELECT b.lsn, e.lsn FROM began b, pg_backup_stop(false) e");
  auto ends = must(postgres::psql(server.superuser(), statements, base::Deadline::after(seconds(60))));
  server.switch_segment();
  server.wait_for("SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'", "0");

  archive::BackupRecord record;
  record.id = "held-open";
  record.major_version = 15;
  record.timeline = postgres::TimelineId(1);
  record.begin_lsn = must(postgres::Lsn::parse(ends.front()[0]));
  record.end_lsn = must(postgres::Lsn::parse(ends.front()[1]));
  auto segments =
      must(repository().walk(postgres::TimelineHistory(record.timeline), record.begin_lsn, record.end_lsn))
          .segments;
  ASSERT_GT(segments.size(), 4U);
  int seen = 0;
  auto whole = [&](postgres::Lsn at) {
    EXPECT_GE(at, record.begin_lsn);
    ++seen;
  };
  EXPECT_TRUE(check_backup_end(repository(), record, segments, whole).has_value());
  EXPECT_GT(seen, 4);

  test::damage_archived(repository(), segments[1].name, path("scratch"));
  auto found = check_backup_end(repository(), record, segments, whole);
  ASSERT_FALSE(found.has_value());
  EXPECT_EQ(found.error().reason, "WalDamaged");
  EXPECT_THAT(found.error().message,
              HasSubstr(fmt::format("segment {} in the archive cannot be read behind ", segments[1].name)));
  EXPECT_TRUE(check_backup_end(repository(), record, segments).has_value()) << "only its end was asked for";
}

// The right names and the right headers, and none of it is this server's.
TEST_F(Backup, I18_WhatACopyOfTheServerArchivedIsNoProof) {
  Server& server = start_server();
  server.stop();
  test::must_run({"/bin/cp", "-a", path("server"), path("copy")});
  {
    Server copy = Server::existing(path("copy"));
    copy.configure(fmt::format("port={}\nunix_socket_directories='{}'", copy.port(), path("copy")));
    copy.start();
    for (int i = 0; i < 8; ++i) copy.switch_segment();
    copy.stop();
  }
  server.start();
  server.sql("ALTER SYSTEM SET archive_command = 'true'");  // claims success, stores nothing
  server.sql("SELECT pg_reload_conf()");
  auto answer = run_backup_within(order(), *report_, short_limits());
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().reason, "ForeignWal") << answer.error().text();
  EXPECT_THAT(answer.error().message, HasSubstr(std::string("the end of backup ") + kID + ", up to "));
  EXPECT_TRUE(must(repository().backups()).empty());
}

TEST_F(Backup, I19_AKillAtAnyMomentLeavesNoBackup) {
  Server& server = start_server();
  int killed = 0;
  for (int i = 0; i < 12; ++i) {
    std::string id = fmt::format("20261120T150405Z-0000000{:x}", i);
    pid_t pid = ::fork();
    if (pid == 0) {
      (void)!::freopen("/dev/null", "w", stderr);
      auto answer = run_backup(order(id), *report_);
      ::_exit(answer ? 0 : 1);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(150 * i));
    ::kill(pid, SIGKILL);
    int status = 0;
    ::waitpid(pid, &status, 0);
    bool finished = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    killed += finished ? 0 : 1;
    auto record = repository().backup(id);
    EXPECT_EQ(record.has_value(), base::exists(repository().layout().backup_json(id))) << i;
    EXPECT_TRUE(record.has_value() || !finished) << i;
    if (record) {
      auto stored = archive::read_base_tar(repository().layout().backup_directory(id) + "/base.tar.zst");
      EXPECT_TRUE(stored.has_value()) << stored.error().text();
    }
  }
  EXPECT_GT(killed, 3);
  server.wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'", "0");
  EXPECT_TRUE(run_backup(order("20261120T150405Z-ffffffff"), *report_).has_value());
}

TEST_F(Backup, I19_WhatAKillLeftIsRemovedOnlyWhenItIsOld) {
  start_server();
  std::string fresh = repository().layout().backup_directory("20261120T150405Z-00000001");
  std::string old = repository().layout().backup_directory("20261119T150405Z-00000002");
  for (const std::string& d : {fresh, old}) {
    must(base::make_directories(d));
    test::write_file(d + "/base.tar.zst", "half");
  }
  timespec times[2] = {{::time(nullptr) - 100000, 0}, {::time(nullptr) - 100000, 0}};
  ::utimensat(AT_FDCWD, (old + "/base.tar.zst").c_str(), times, 0);
  ::utimensat(AT_FDCWD, old.c_str(), times, 0);
  ASSERT_TRUE(run_backup(order(), *report_).has_value());
  EXPECT_TRUE(base::exists(fresh));
  EXPECT_FALSE(base::exists(old));
}

// As on a volume that answers with an error now and then: a finished backup is always older than a day.
TEST_F(Backup, I19_WhatCannotBeReadIsNotTakenForUnfinished) {
  start_server();
  auto directory = [&](const std::string& id) { return repository().layout().backup_directory(id); };
  auto make_old = [&](const std::string& path) {
    timespec times[2] = {{::time(nullptr) - 100000, 0}, {::time(nullptr) - 100000, 0}};
    ::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW);
  };
  auto make_all_old = [&](const std::string& path) {
    for (const std::string& name : must(base::list_directory(path))) make_old(path + "/" + name);
    make_old(path);
  };
  const std::string finished = "20261101T150405Z-00000001", locked = "20261102T150405Z-00000002",
                    away = "20261103T150405Z-00000003", corrupt = "20261104T150405Z-00000004",
                    unfinished = "20261105T150405Z-00000005";
  for (const std::string& id : {finished, locked}) ASSERT_TRUE(run_backup(order(id), *report_).has_value());
  for (const std::string& id : {corrupt, unfinished}) {
    must(base::make_directories(directory(id)));
    test::write_file(directory(id) + "/base.tar.zst", "half");
  }
  test::write_file(directory(corrupt) + "/backup.json", "{\"id\": ");
  for (const std::string& id : {finished, locked, corrupt, unfinished}) make_all_old(directory(id));
  must(base::make_directories(path("elsewhere"), 0700));
  ASSERT_EQ(std::rename(directory(locked).c_str(), path("elsewhere/locked").c_str()), 0);
  ASSERT_EQ(::symlink(path("elsewhere/locked").c_str(), directory(locked).c_str()), 0);
  ASSERT_EQ(::symlink(path("elsewhere/away").c_str(), directory(away).c_str()), 0);
  for (const std::string& id : {locked, away}) make_old(directory(id));

  ASSERT_EQ(::chmod(path("elsewhere").c_str(), 0), 0);
  auto answer = run_backup(order(), *report_);
  ASSERT_EQ(::chmod(path("elsewhere").c_str(), 0700), 0);
  ASSERT_TRUE(answer.has_value()) << answer.error().text();
  for (const std::string& id : {finished, locked, away, corrupt})
    EXPECT_TRUE(base::exists(directory(id))) << id;
  EXPECT_FALSE(base::exists(directory(unfinished)));
  EXPECT_TRUE(repository().backup(locked).has_value());
}

TEST_F(Backup, I19_OnlyWhatCouldBeLookedAtIsQuiet) {
  must(base::make_directories(path("d"), 0700));
  test::write_file(path("d/base.tar.zst"), "half");
  timespec times[2] = {{::time(nullptr) - 5000, 0}, {::time(nullptr) - 5000, 0}};
  for (const std::string& p : {path("d/base.tar.zst"), path("d")}) ::utimensat(AT_FDCWD, p.c_str(), times, 0);
  EXPECT_GE(must(quiet_for(path("d"))), 5000);
  EXPECT_EQ(must(quiet_for(path("none"))), 0);  // it was there when somebody asked
  for (unsigned mode : {0300U, 0400U}) {        // its names cannot be read; or they can, but nothing of them
    ASSERT_EQ(::chmod(path("d").c_str(), mode), 0);
    auto quiet = quiet_for(path("d"));
    ASSERT_FALSE(quiet.has_value()) << mode;
    EXPECT_EQ(quiet.error().code, base::ErrorCode::kForbidden);
  }
  ASSERT_EQ(::chmod(path("d").c_str(), 0700), 0);
  ASSERT_EQ(::symlink("loop", path("loop").c_str()), 0);
  EXPECT_EQ(quiet_for(path("loop")).error().code, base::ErrorCode::kUnavailable);
}

TEST_F(Backup, AWorkplaceThatCannotBeLookedAtIsNotCleared) {
  start_server();
  must(base::make_directories(repository().layout().backups_directory()));
  std::string place = repository().layout().backup_directory(kID);
  ASSERT_EQ(::symlink(path("away").c_str(), place.c_str()), 0);
  auto answer = run_backup(order(), *report_);
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().reason, "BackupInProgress");
  EXPECT_TRUE(base::exists(place));
}

TEST_F(Backup, ASecondJobOfTheSameBackupDoesNotDisturbTheFirst) {
  start_server();
  must(base::make_directories(repository().layout().backup_directory(kID)));
  auto answer = run_backup(order(), *report_);
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().reason, "BackupInProgress");
  EXPECT_EQ(answer_of(answer.error()).outcome, api::Outcome::kRefused);
}

TEST_F(Backup, TheSameOrderAgainAnswersTheSame) {
  start_server();
  auto first = run_backup(order(), *report_);
  ASSERT_TRUE(first.has_value());
  server_->stop();  // not even a server is needed
  auto second = run_backup(order(), *report_);
  ASSERT_TRUE(second.has_value()) << second.error().text();
  EXPECT_EQ(first->result, second->result);
  Order other = order();
  other.action.uid = "another";
  EXPECT_EQ(run_backup(other, *report_).error().reason, "BackupExists");
}

TEST_F(Backup, I20_EveryFileIsInTheRecordTheIndexAndTheManifest) {
  Server& server = start_server({.checksums = true});
  ASSERT_TRUE(run_backup(order(), *report_).has_value());
  std::string directory = repository().layout().backup_directory(kID);
  EXPECT_THAT(must(base::list_directory(directory)),
              ::testing::ElementsAre("RESTORE.md", "backup.json", "backup_manifest", "base.index.jsonl",
                                     "base.tar.zst"));
  auto record = must(repository().backup(kID));
  EXPECT_TRUE(record.data_checksums);
  EXPECT_EQ(record.control_version, 1300);
  EXPECT_EQ(record.catalog_version, server.control().catalog_version);
  EXPECT_EQ(record.databases.size(), 3U);
  EXPECT_EQ(record.stored_sha256, must(base::sha256_file(directory + "/base.tar.zst")));
  EXPECT_EQ(record.manifest_sha256, must(base::sha256_file(directory + "/backup_manifest")));
  EXPECT_EQ(record.index_sha256, must(base::sha256_file(directory + "/base.index.jsonl")));
  EXPECT_EQ(record.major_version, 15);
  EXPECT_TRUE(record.tablespaces.empty());
  std::istringstream index(must(base::read_file(directory + "/base.index.jsonl")));
  std::size_t files = 0, frames = 0;
  for (std::string line; std::getline(index, line);) {
    auto json = must(base::parse_json(line, "index"));
    files += json.contains("file") ? 1 : 0;
    frames += json.contains("frame") ? 1 : 0;
  }
  EXPECT_EQ(files, record.files);
  EXPECT_GT(frames, 3U);
}

TEST_F(Backup, I20_AStoredBackupThatChangedIsNoticed) {
  start_server();
  ASSERT_TRUE(run_backup(order(), *report_).has_value());
  std::string path = repository().layout().backup_directory(kID) + "/base.tar.zst";
  const std::string good = must(base::read_file(path));
  auto manifest = must(postgres::parse_backup_manifest(
      must(base::read_file(repository().layout().backup_directory(kID) + "/backup_manifest"))));
  auto verify = [&]() -> base::Result<> {
    auto stored = archive::read_base_tar(path);
    if (!stored) return base::fail(stored.error());
    return postgres::compare_with_manifest(manifest, stored->files);
  };
  EXPECT_TRUE(verify().has_value());
  for (int i = 0; i < 12; ++i) {
    std::string bad = good;
    // Not the very first bytes: zstd's header has bits that change nothing of what comes out.
    std::size_t at = good.size() / 12 * static_cast<std::size_t>(i) + 100;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    test::write_file(path, bad);
    EXPECT_NE(must(base::sha256_file(path)), must(repository().backup(kID)).stored_sha256) << at;
    EXPECT_FALSE(verify().has_value()) << at;
  }
  test::write_file(path, good.substr(0, good.size() - 9));
  EXPECT_FALSE(verify().has_value());
}

TEST_F(Backup, ExtraTablespacesAreRefused) {
  Server& server = start_server();
  must(base::make_directories(path("space"), 0700));
  server.sql("CREATE TABLESPACE fast LOCATION '" + path("space") + "'");
  auto answer = run_backup(order(), *report_);
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().reason, "TablespacesUnsupported");
  EXPECT_EQ(answer.error().text(),
            "the server has 1 tablespace outside its data directory: fast at " + path("space") +
                ". HINT: move its tables (ALTER TABLE ... SET TABLESPACE pg_default) and drop it; "
                "backups with extra tablespaces are not supported yet");
  EXPECT_EQ(answer_of(answer.error()).outcome, api::Outcome::kRefused);
  EXPECT_FALSE(base::exists(repository().layout().backups_directory()));
}

TEST_F(Backup, WrongServersAndPasswordsAreRefusedWithTheirReason) {
  Server& server = start_server();
  test::set_secrets(path("secrets"), {{api::secrets::kRolePassword, "wrong"}});
  auto answer = run_backup(order(), *report_);
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().reason, "ConnectionRefusedByServer");
  EXPECT_THAT(answer.error().message, HasSubstr("password authentication failed for user \"pgrunbook\""));
  test::set_secrets(path("secrets"), {{api::secrets::kRolePassword, test::kRolePassword}});
  server.stop();
  BackupLimits limits = short_limits();
  limits.connect = seconds(2);
  answer = run_backup_within(order(), *report_, limits);
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().reason, "ServerUnreachable");
  EXPECT_EQ(answer.error().hint, "is the member running, and does a NetworkPolicy let Jobs reach it?");
  server.configure("archive_mode=off");
  server.start();
  EXPECT_EQ(run_backup(order(), *report_).error().reason, "ArchivingOff");
  test::write_file(server.data() + "/standby.signal", "");
  server.stop();
  server.configure("archive_mode=on");
  server.start();
  EXPECT_EQ(run_backup(order(), *report_).error().reason, "NotPrimary");
  EXPECT_TRUE(must(repository().backups()).empty());
}

TEST_F(Backup, ConfigurationOutsideTheDataDirectoryIsKeptOrAtLeastItsSettings) {
  make_server();
  test::write_file(path("extra.conf"), "work_mem='5MB'\n");
  server_->configure("include='" + path("extra.conf") + "'");
  server_->start();
  server_->make_role();
  auto answer = run_backup(order("20261120T150405Z-00000001"), *report_);
  ASSERT_TRUE(answer.has_value()) << answer.error().text();
  EXPECT_EQ(answer->result["configurationFiles"], base::Json({path("extra.conf")}));
  auto record = must(repository().backup("20261120T150405Z-00000001"));
  ASSERT_EQ(record.configuration_files.size(), 1U);
  EXPECT_EQ(record.configuration_files[0].kept_as, "1-settings.conf");
  std::string first = repository().layout().backup_directory(record.id);
  EXPECT_THAT(must(base::read_file(first + "/configuration/1-settings.conf")),
              HasSubstr("\nwork_mem = '5MB'\n"));
  EXPECT_THAT(
      must(base::read_file(first + "/RESTORE.md")),
      HasSubstr("the settings of `" + path("extra.conf") + "` are kept as `configuration/1-settings.conf`"));
  EXPECT_THAT(record.configuration_files[0].why_not,
              HasSubstr("permission denied for function pg_read_binary_file"));
  server_->sql("GRANT pg_read_server_files TO pgrunbook");
  server_->sql("GRANT EXECUTE ON FUNCTION pg_read_binary_file(text) TO pgrunbook");
  answer = run_backup(order("20261120T150406Z-00000002"), *report_);
  ASSERT_TRUE(answer.has_value()) << answer.error().text();
  std::string directory = repository().layout().backup_directory("20261120T150406Z-00000002");
  EXPECT_EQ(must(base::read_file(directory + "/configuration/1-extra.conf")), "work_mem='5MB'\n");
  EXPECT_THAT(must(base::read_file(directory + "/RESTORE.md")),
              HasSubstr("is kept as `configuration/1-extra.conf`"));
}

// The sh blocks of RESTORE.md as one script.
std::string script_of(const std::string& page) {
  std::istringstream lines(page);
  std::string out = "set -e\n";
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line == "```sh") {
      inside = true;
    } else if (line == "```") {
      inside = false;
    } else if (inside) {
      out += line + "\n";
    }
  }
  return out;
}

void must_run_link(const std::string& tool, const std::string& directory) {
  std::string found = test::must_run({"sh", "-c", "command -v " + tool}).out;
  while (!found.empty() && found.back() == '\n') found.pop_back();
  if (!found.starts_with('/')) found = "/usr/bin/" + tool;
  ASSERT_EQ(::symlink(found.c_str(), (directory + "/" + tool).c_str()), 0) << tool;
}

TEST_F(Backup, RestoreByHandWorksWithStandardToolsOnly) {
  Server& server = start_server();
  server.sql("ALTER SYSTEM SET recovery_target_time = '2020-01-01'");  // left over from somebody; would stop
                                                                       // the recovery
  ASSERT_TRUE(run_backup(order(), *report_).has_value());
  server.sql("DELETE FROM credit_trade WHERE id > 40000");
  server.wait_for("SELECT last_archived_wal FROM pg_stat_archiver", server.switch_segment());
  server.stop();
  std::set<std::string> before;
  auto hashes = [&] {
    std::set<std::string> all;
    std::istringstream list(
        test::must_run({"find", repository_path(), "-type", "f", "-exec", "sha256sum", "{}", "+"}).out);
    for (std::string line; std::getline(list, line);) all.insert(line);
    return all;
  };
  before = hashes();

  std::string page = must(base::read_file(repository().layout().backup_directory(kID) + "/RESTORE.md"));
  auto rule = page.find("archive_mode = off");
  EXPECT_LT(rule, page.find("```sh"));
  EXPECT_LT(page.find("recovery_target_timeline = '1'"), page.find("```sh"));
  // Nothing of ours may be found: the standard tools and PostgreSQL are all there is.
  std::string tools = path("tools");
  must(base::make_directories(tools, 0755));
  for (const char* tool :
       {"sh", "tar", "zstd", "sha256sum", "sed", "cat", "mkdir", "mktemp", "mv", "cut", "echo", "rm"}) {
    must_run_link(tool, tools);
  }
  for (const char* program :
       {"pg_ctl", "psql", "pg_controldata", "pg_verifybackup", "postgres", "pg_waldump"}) {
    ASSERT_EQ(::symlink(Server::program(program).c_str(), (tools + "/" + program).c_str()), 0);
  }
  test::write_file(path("restore.sh"),
                   script_of(page) +
                       "psql -XAt -h \"$SOCKET\" -U postgres -c 'SELECT count(*) FROM credit_trade' > " +
                       path("count") + "\npsql -XAt -h \"$SOCKET\" -U postgres -c 'SHOW archive_mode' > " +
                       path("mode") + "\npg_ctl -s -D \"$DATA\" -m fast stop\n");
  auto ran = must(base::run(
      {{"/bin/sh", path("restore.sh")},
       {{"PATH", tools}, {"REPOSITORY", repository_path()}, {"DATA", path("restored")}, {"PGPORT", "5999"}}},
      base::Deadline::after(seconds(120))));
  auto log = base::read_file(path("restored/restore.log"));
  ASSERT_EQ(ran.exit_code, 0) << ran.out << ran.err << (log ? *log : "");
  EXPECT_EQ(must(base::read_file(path("count"))), "40000\n");  // with the WAL behind the backup
  EXPECT_EQ(must(base::read_file(path("mode"))), "off\n");
  EXPECT_EQ(hashes(), before);  // nothing reached the repository
}

}  // namespace
}  // namespace pgrunbook::agent
