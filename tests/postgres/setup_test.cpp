// Setup on a stopped primary's volume, and the way back.
#include "postgres/pitr_scene.hpp"
#include "support/paths.hpp"

namespace pgrunbook::agent {
namespace {

using ::testing::HasSubstr;

class SetupJob : public Scene {
 protected:
  std::map<std::string, std::string> configuration() {
    std::map<std::string, std::string> out;
    for (const char* name : {"pg_hba.conf", "postgresql.conf", "postgresql.auto.conf"})
      out[name] = must(base::read_file(primary_->data() + "/" + name));
    return out;
  }
};

TEST_F(SetupJob, MakesTheRoleKeepsCommitTimestampsAndArchives) {
  Server& primary = make_primary();
  primary.start();
  primary.sql("CREATE TABLE t AS SELECT generate_series(1, 10) i");
  primary.stop();
  auto a = must_succeed(setup_order());
  EXPECT_EQ(a.result["role"], "Created");
  EXPECT_EQ(a.result["previousArchiveCommand"], "");
  EXPECT_EQ(a.result["settings"]["archive_timeout"], "60s");
  EXPECT_EQ(base::text_at(a.result, {"agentSha256"}), must(base::sha256_file(PGRUNBOOK_AGENT_PATH)));
  EXPECT_THAT(a.result["agentPath"].get<std::string>(), HasSubstr(primary_mount() + "/.pgrunbook/bin/"));
  primary.start();
  EXPECT_EQ(primary.sql("SELECT setting FROM pg_settings WHERE name = 'archive_command'"),
            base::text_at(a.result, {"archiveCommand"}));
  EXPECT_EQ(primary.sql("SELECT count(*) FROM t WHERE pg_xact_commit_timestamp(xmin) IS NULL"), "0");
  EXPECT_EQ(primary.sql(
                "SELECT rolpassword LIKE 'SCRAM-SHA-256$4096:%' FROM pg_authid WHERE rolname = 'pgrunbook'"),
            "t");
  EXPECT_EQ(primary.sql("SELECT concat(rolsuper, rolreplication, rolcanlogin, rolcreatedb, rolcreaterole) "
                        "FROM pg_roles WHERE rolname = 'pgrunbook'"),
            "fttff");
  // the verifier opens the door over TCP with the clear password, and the rights suffice
  auto row = must(postgres::psql(
      primary.role(),
      {"CHECKPOINT", "SELECT pg_create_restore_point('x')", "SELECT pg_walfile_name(pg_switch_wal())"},
      base::Deadline::after(std::chrono::seconds(30))));
  Order proof = order(api::jobs::kProof, 1, "primary");
  proof.plan.wait_for = {row.front().front()};
  must_succeed(proof);
  EXPECT_EQ(must(repository().writer_of(postgres::TimelineId(1))), kPrimaryClaim);
  EXPECT_FALSE(base::exists(primary_mount() + "/.pgrunbook/claim"));

  // Again, by another action: nothing is foreign now, nothing is written twice.
  primary.stop();
  auto again = must_succeed(setup_order(0x5f));
  EXPECT_EQ(again.result["role"], "Updated");
  std::string hba = must(base::read_file(primary.data() + "/pg_hba.conf"));
  EXPECT_EQ(hba.find("host replication pgrunbook all"), hba.rfind("host replication pgrunbook all"));
}

TEST_F(SetupJob, AForeignArchiveCommandIsKeptUnlessItMayGo) {
  make_primary({"include_if_exists 'site.conf'"});
  test::write_file(primary_->data() + "/site.conf",
                   "archive_mode = on\narchive_command = 'cp %p /mine/%f'\n");
  auto before = configuration();
  auto a = run(setup_order());
  EXPECT_EQ(a.outcome, api::Outcome::kRefused);
  EXPECT_EQ(a.reason, "ForeignArchiveCommand");
  EXPECT_EQ(a.message,
            fmt::format("archive_command is already 'cp %p /mine/%f' (in {}/site.conf)", primary_->data()));
  EXPECT_EQ(a.hint, "set archive.wal.replaceExisting: true, if what it does may end");
  EXPECT_EQ(configuration(), before);
  EXPECT_FALSE(base::exists(repository_path()));
  Order o = setup_order();
  o.setup.replace_existing = true;
  EXPECT_EQ(must_succeed(o).result["previousArchiveCommand"], "cp %p /mine/%f");
}

TEST_F(SetupJob, IsPutBackToTheByte) {
  make_primary();
  auto before = configuration();
  must_succeed(setup_order());
  EXPECT_NE(configuration(), before);
  Order back = setup_order();
  back.setup.put_back = true;
  must_succeed(back);
  EXPECT_EQ(configuration(), before);
  must_succeed(back);
  EXPECT_EQ(configuration(), before);
}

// What was kept is of one attempt: the next one starts from what the files are by then.
TEST_F(SetupJob, IsPutBackToWhatItFoundNotToWhatAnEarlierOneFound) {
  make_primary();
  Order back = setup_order();
  back.setup.put_back = true;
  must_succeed(setup_order());
  must_succeed(back);
  std::string hba = primary_->data() + "/pg_hba.conf";
  test::write_file(hba, must(base::read_file(hba)) + "# a line that came between\n");
  auto between = configuration();
  Order second = setup_order();
  second.setup.attempt = back.setup.attempt = 2;
  must_succeed(second);
  must_succeed(back);
  EXPECT_EQ(configuration(), between);

  // A third one, after a second that was never put back.
  must_succeed(second);
  test::write_file(hba, must(base::read_file(hba)) + "# and another\n");
  between = configuration();
  second.setup.attempt = back.setup.attempt = 3;
  must_succeed(second);
  must_succeed(back);
  EXPECT_EQ(configuration(), between);
}

// SIGKILL in the middle of postgres --single: the files come back, and the server's next start recovers.
TEST_F(SetupJob, ThatWasKilledIsPutBack) {
  Server& primary = make_primary();
  auto before = configuration();
  Order setup = setup_order(), back = setup_order();
  must_succeed(setup);
  primary.start();
  primary.kill_hard();
  test::write_file(
      primary_mount() + "/.pgrunbook/claim",
      fmt::format(R"({{"podUID":"dead","actionUID":"{}","job":"Setup","since":"2026-11-20T15:00:00Z"}})",
                  setup.action.uid));
  back.setup.put_back = true;
  auto a = run(back);
  EXPECT_EQ(a.reason, "VolumeClaimed");
  back.undo = {{"brokenClaim", "dead"}};
  EXPECT_EQ(must_succeed(back).reason, "SetupPutBack");
  EXPECT_EQ(configuration(), before);
  EXPECT_FALSE(base::exists(primary_mount() + "/.pgrunbook/claim"));
  primary.start();
}

TEST_F(SetupJob, ThatChangedNothingHasNothingToPutBack) {
  make_primary();
  auto before = configuration();
  Order back = setup_order();
  back.setup.put_back = true;
  EXPECT_EQ(must_succeed(back).reason, "SetupPutBack");
  EXPECT_EQ(configuration(), before);
}

TEST_F(SetupJob, AServerThatRunsIsNotTouched) {
  make_primary().start();
  auto before = configuration();
  auto a = run(setup_order());
  EXPECT_EQ(a.outcome, api::Outcome::kRefused);
  EXPECT_EQ(a.reason, "NotShutDown");
  EXPECT_EQ(configuration(), before);
}

TEST_F(SetupJob, WhatFailsIsPutBack) {
  make_primary();
  test::write_file(primary_->data() + "/postgresql.auto.conf",
                   "no_such_setting = 'x'\n");  // the server refuses to start with it
  auto before = configuration();
  auto a = run(setup_order());
  EXPECT_EQ(a.outcome, api::Outcome::kFailed);
  EXPECT_EQ(a.reason, "SingleUserFailed");
  EXPECT_THAT(a.message, HasSubstr("no_such_setting"));
  EXPECT_EQ(configuration(), before);
  EXPECT_FALSE(base::exists(primary_mount() + "/.pgrunbook/claim"));
}

TEST_F(SetupJob, AClaimedVolumeIsNotTouched) {
  make_primary();
  must(base::make_directories(primary_mount() + "/.pgrunbook"));
  test::write_file(primary_mount() + "/.pgrunbook/claim",
                   R"({"podUID":"other","actionUID":"x","job":"Recover","since":"2026-11-20T15:00:00Z"})");
  auto a = run(setup_order());
  EXPECT_EQ(a.outcome, api::Outcome::kRefused);
  EXPECT_EQ(a.reason, "VolumeClaimed");
}

}  // namespace
}  // namespace pgrunbook::agent
