// Recover when something is wrong, planted or interrupted: the source's archive and the old directory stay as
// they are.
#include "agent/recover.hpp"

#include "agent/exchange.hpp"
#include "postgres/pitr_scene.hpp"

namespace pgrunbook::agent {
namespace {

using ::testing::HasSubstr;

class RecoverJob : public Scene {
 protected:
  // A backup, writes, and a plan to their end.
  base::Json planned(Server& primary) {
    backup(primary);
    insert(primary, 3);
    return plan_now(1, primary).result;
  }
  void make_old_directory() {
    must(base::make_directories(standby_data() + "/base"));
    test::write_file(standby_data() + "/base/old", "the old data");
  }
};

TEST_F(RecoverJob, LeftoversOfAnotherLifeHarmNobody) {
  Server& primary = start_primary();
  insert(primary, 2);
  std::string wal = repository().layout().timeline_directory(postgres::TimelineId(1));
  primary.sql("ALTER SYSTEM SET archive_cleanup_command = 'pg_archivecleanup " + wal + " %r'");
  primary.sql("ALTER SYSTEM SET recovery_end_command = 'touch " + path("recovery-end-ran") + "'");
  primary.sql("ALTER SYSTEM SET recovery_target_time = '2020-01-01 00:00:00+00'");
  primary.sql("ALTER SYSTEM SET recovery_target_action = 'promote'");
  primary.sql("ALTER SYSTEM SET recovery_target_timeline = 'latest'");
  primary.sql("ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'");
  primary.sql("ALTER SYSTEM SET primary_slot_name = 'nobody'");
  primary.sql("ALTER SYSTEM SET restore_command = 'touch " + path("restore-ran") + "; false'");
  primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'ghost'");
  primary.sql("ALTER SYSTEM SET recovery_min_apply_delay = '1h'");
  for (const char* name : {"standby.signal", "recovery.signal", "recovery.done"})
    test::write_file(primary.data() + "/" + name, "");
  base::Json plan = planned(primary);
  for (const char* name : {"standby.signal", "recovery.signal", "recovery.done"})
    ::unlink((primary.data() + "/" + name).c_str());
  auto before = listing(repository_path());
  auto a = must_succeed(recover_order(1, plan));
  EXPECT_EQ(a.result["synchronousStandbyNamesEmptied"], true);
  auto after = listing(repository_path());
  for (const auto& [name, hash] : before) {
    if (name == "repository.json") continue;
    EXPECT_EQ(after[name], hash) << name;
  }
  for (const auto& [name, hash] : after) {
    if (before.count(name) != 0 || name == ".lock") continue;
    EXPECT_THAT(name, HasSubstr("00000002"));
  }
  EXPECT_FALSE(base::exists(path("recovery-end-ran")));
  EXPECT_FALSE(base::exists(path("restore-ran")));
  std::string conf = must(base::read_file(standby_data() + "/postgresql.auto.conf"));
  for (const char* word : {"recovery_", "primary_", "restore_command", "archive_cleanup", "ghost"})
    EXPECT_EQ(conf.find(word), std::string::npos) << word;
  EXPECT_THAT(conf, HasSubstr(kStandbyClaim));
  for (const char* name : {"standby.signal", "recovery.signal", "recovery.done", "postmaster.pid"})
    EXPECT_FALSE(base::exists(standby_data() + "/" + name)) << name;
  Server restored = start_member(standby_mount());
  EXPECT_EQ(restored.sql("SELECT count(*) FROM credit_trade"), "5");
  EXPECT_EQ(restored.sql("SELECT pg_is_in_recovery()"), "f");
  insert(restored, 1);
}

TEST_F(RecoverJob, AMismatchIsPutBackToTheByte) {
  Server& primary = start_primary();
  base::Json plan = planned(primary);
  make_old_directory();
  auto before = listing(standby_mount());
  auto archive = listing(repository_path());
  Order o = recover_order(1, plan);
  o.recover.queries = {{"SELECT 1", "1"}, {"SELECT count(*) FROM credit_trade", "4711"}};
  auto a = run(o);
  EXPECT_EQ(a.outcome, api::Outcome::kFailed);
  EXPECT_EQ(a.reason, "VerificationMismatch");
  EXPECT_EQ(
      a.message,
      "SELECT count(*) FROM credit_trade gave 3, expected was 4711; the data directory was not touched");
  EXPECT_EQ(listing(standby_data()),
            (std::map<std::string, std::string>{{"base/old", before["data/base/old"]}}));
  EXPECT_FALSE(base::exists(sibling_of(standby_data(), uid(1))));
  EXPECT_FALSE(base::exists(standby_mount() + "/.pgrunbook/claim"));
  EXPECT_EQ(listing(repository_path()), archive);
  // A query cannot be a command of psql's, and cannot write.
  o.recover.queries = {{"\\! touch " + path("shell-ran"), ""}};
  EXPECT_EQ(run(o).reason, "VerificationFailed");
  EXPECT_FALSE(base::exists(path("shell-ran")));
  o.recover.queries = {{"DELETE FROM credit_trade RETURNING 1", "1"}};
  EXPECT_EQ(run(o).reason, "VerificationFailed");
  test::set_secrets(path("secrets"), {{api::secrets::kAppPassword, "wrong"}});
  EXPECT_EQ(run(o).reason, "ApplicationRoleRefused");
}

TEST_F(RecoverJob, ADamagedBackupIsNamedAndNothingIsLeft) {
  Server& primary = start_primary();
  base::Json plan = planned(primary);
  std::string tar = repository().layout().backup_directory("b1") + "/base.tar.zst";
  std::string bytes = must(base::read_file(tar));
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] + 1);
  test::write_file(tar, bytes);
  make_old_directory();
  auto a = run(recover_order(1, plan));
  EXPECT_EQ(a.outcome, api::Outcome::kFailed);
  EXPECT_EQ(must(base::list_directory(standby_mount())), (std::vector<std::string>{".pgrunbook", "data"}));
  EXPECT_TRUE(base::exists(standby_data() + "/base/old"));
}

TEST_F(RecoverJob, TheSameActionAgainAnswersTheSame) {
  Server& primary = start_primary();
  base::Json plan = planned(primary);
  make_old_directory();
  auto first = must_succeed(recover_order(1, plan));
  auto archive = listing(repository_path());
  Order retry = recover_order(1, plan);
  retry.pod_uid = "another-pod";
  EXPECT_EQ(to_json(must_succeed(retry)), to_json(first));
  EXPECT_EQ(listing(repository_path()), archive);
  EXPECT_EQ(must(base::read_file(base::text_at(first.result, {"undoDirectory"}) + "/base/old")),
            "the old data");
}

TEST_F(RecoverJob, AHalfMadeDirectoryOfADeadPodIsRemovedFirst) {
  Server& primary = start_primary();
  base::Json plan = planned(primary);
  make_old_directory();
  must(base::make_directories(sibling_of(standby_data(), uid(1)) + "/base"));
  must(base::make_directories(standby_mount() + "/.pgrunbook"));
  test::write_file(
      standby_mount() + "/.pgrunbook/claim",
      fmt::format(R"({{"podUID":"dead","actionUID":"{}","job":"Recover","since":"2026-11-20T15:00:00Z"}})",
                  uid(1)));
  Order o = recover_order(1, plan);
  EXPECT_EQ(run(o).reason, "VolumeClaimed");
  o.undo = {{"brokenClaim", "dead"}};
  auto a = must_succeed(o);
  EXPECT_EQ(a.result["newTimeline"], 2);
}

TEST_F(RecoverJob, SettingsThatRoseAfterTheBackupAreRaised) {
  Server& primary = start_primary();
  backup(primary);
  insert(primary, 2);
  primary.sql("ALTER SYSTEM SET max_connections = 77");
  primary.sql("ALTER SYSTEM SET max_worker_processes = 19");
  primary.stop();
  primary.start();
  insert(primary, 2);
  auto plan = plan_now(1, primary);
  must_succeed(recover_order(1, plan.result));
  Server restored = start_member(standby_mount());
  EXPECT_EQ(restored.sql("SELECT count(*) FROM credit_trade"), "4");
}

TEST_F(RecoverJob, ATimelineNumberThatIsTakenMeanwhileMakesItTakeTheNext) {
  Server& primary = start_primary();
  base::Json plan = planned(primary);
  // Another recovery holds the number, but its history is not visible yet: it appears between promotion and
  // publication. Here its writer is registered beforehand, which only the publication sees.
  must(repository().claim_writer(postgres::TimelineId(2), "5b1d6a3c-0000-4000-8000-00000000000f"));
  auto a = must_succeed(recover_order(1, plan));
  EXPECT_EQ(a.result["newTimeline"], 3);
}

TEST_F(RecoverJob, TheMountsRootIsRefused) {
  Order o = recover_order(1, {{"backupID", "b1"}, {"timeline", 1}, {"targetLSN", "0/1"}});
  o.member->mount = o.member->data_directory;
  auto a = run(o);
  EXPECT_EQ(a.outcome, api::Outcome::kRefused);
  EXPECT_EQ(a.reason, "DataDirectoryIsMountRoot");
}

}  // namespace
}  // namespace pgrunbook::agent
