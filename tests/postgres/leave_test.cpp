// Leaving on a real server's volume: role, settings and agent go; what the user has stays.
#include "postgres/pitr_scene.hpp"
#include "support/paths.hpp"

namespace pgrunbook::agent {
namespace {

using ::testing::HasSubstr;

class LeaveJob : public Scene {
 protected:
  [[nodiscard]] Order leave_order(const Answer& setup, int action = 0x1e) const {
    Order o = order(api::jobs::kLeave, action, "primary");
    o.action.kind = "PostgresTopology";
    o.leave = {{"running", false}, {"former", base::at(setup.result, {"previousSettings"})}};
    return o;
  }
  static std::string show(const Server& server, const std::string& name) {
    return server.sql("SELECT setting FROM pg_settings WHERE name = '" + name + "'");
  }
};

TEST_F(LeaveJob, PutsBackWhatWasThereBeforeAndKeepsWhatCameSince) {
  Server& primary = make_primary({"include_if_exists 'site.conf'"});
  test::write_file(primary.data() + "/site.conf", "archive_mode = on\narchive_command = 'cp %p /site/%f'\n");
  primary.start();
  primary.sql("ALTER SYSTEM SET archive_timeout = '7min'");
  primary.stop();
  std::string before = must(base::read_file(primary.data() + "/pg_hba.conf"));
  Order setup = setup_order();
  setup.setup.replace_existing = true;
  Answer made = must_succeed(setup);
  EXPECT_EQ(made.result["previousSettings"], (base::Json{{"archive_timeout", "7min"}}));
  std::string hba = must(base::read_file(primary.data() + "/pg_hba.conf"));
  primary.start();
  primary.sql("ALTER SYSTEM SET work_mem = '7MB'");
  primary.sql("CREATE TABLE mine AS SELECT 1 AS one");
  primary.stop();

  Answer left = must_succeed(leave_order(made));
  EXPECT_EQ(left.result, (base::Json{{"role", "Dropped"}, {"settings", "PutBack"}, {"pgHba", "PutBack"}}));
  EXPECT_FALSE(base::exists(primary_mount() + "/.pgrunbook/bin"));
  EXPECT_FALSE(base::exists(primary_mount() + "/.pgrunbook/before-setup"));
  EXPECT_FALSE(base::exists(primary_mount() + "/.pgrunbook/claim"));
  EXPECT_NE(hba, before);
  EXPECT_EQ(must(base::read_file(primary.data() + "/pg_hba.conf")), before);
  EXPECT_TRUE(base::exists(repository_path() + "/repository.json")) << "the archive stays";

  primary.start();
  EXPECT_EQ(show(primary, "archive_command"), "cp %p /site/%f");
  EXPECT_EQ(show(primary, "archive_mode"), "on");
  EXPECT_EQ(show(primary, "archive_timeout"), "420");
  EXPECT_EQ(show(primary, "work_mem"), "7168");
  EXPECT_EQ(primary.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'pgrunbook'"), "0");
  EXPECT_EQ(primary.sql("SELECT one FROM mine"), "1");
  primary.stop();

  // Again: there is nothing left to take away.
  left = must_succeed(leave_order(made, 0x1f));
  EXPECT_EQ(left.result,
            (base::Json{{"role", "Dropped"}, {"settings", "Unchanged"}, {"pgHba", "Unchanged"}}));
}

// Killed while it worked: the next one takes the volume over and ends the work.
TEST_F(LeaveJob, GoesOnAfterOneThatWasKilled) {
  Server& primary = make_primary();
  Answer made = must_succeed(setup_order());
  primary.start();
  primary.kill_hard();
  Order leave = leave_order(made);
  test::write_file(
      primary_mount() + "/.pgrunbook/claim",
      fmt::format(R"({{"podUID":"dead","actionUID":"{}","job":"Leave","since":"2026-11-20T15:00:00Z"}})",
                  leave.action.uid));
  EXPECT_EQ(run(leave).reason, "VolumeClaimed");
  leave.undo = {{"brokenClaim", base::Json::array({"dead"})}};
  EXPECT_EQ(must_succeed(leave).result["role"], "Dropped");
  EXPECT_FALSE(base::exists(primary_mount() + "/.pgrunbook/claim"));
  primary.start();
  EXPECT_EQ(primary.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'pgrunbook'"), "0");
}

TEST_F(LeaveJob, AFencedVolumeKeepsItsFenceAndItsRole) {
  Server& primary = make_primary();
  Answer made = must_succeed(setup_order());
  test::write_file(primary.data() + "/standby.signal", "");
  Answer left = must_succeed(leave_order(made));
  EXPECT_EQ(left.result["role"], "LeftBehindTheFence");
  EXPECT_EQ(left.result["settings"], "PutBack");
  EXPECT_TRUE(base::exists(primary.data() + "/standby.signal"));
  EXPECT_FALSE(base::exists(primary_mount() + "/.pgrunbook/bin"));
}

TEST_F(LeaveJob, AServerThatRunsIsNotTouched) {
  Server& primary = make_primary();
  Answer made = must_succeed(setup_order());
  primary.start();
  std::string before = must(base::read_file(primary.data() + "/postgresql.auto.conf"));
  Answer a = run(leave_order(made));
  EXPECT_EQ(a.reason, "NotShutDown");
  Order running = leave_order(made);
  running.leave["running"] = true;
  a = run(running);
  EXPECT_EQ(a.reason, "StillArchiving");
  EXPECT_EQ(must(base::read_file(primary.data() + "/postgresql.auto.conf")), before);
  EXPECT_TRUE(base::exists(primary_mount() + "/.pgrunbook/bin"));
}

// Its configuration still names the agent, as far as anybody can tell.
TEST_F(LeaveJob, WhereTheDataCannotBeLookedAtTheAgentStays) {
  Server& primary = make_primary();
  Answer made = must_succeed(setup_order());
  std::string moved = primary_mount() + "/moved";
  ASSERT_EQ(std::rename(primary.data().c_str(), moved.c_str()), 0);
  std::filesystem::create_symlink("data", primary.data());  // every look below it fails
  Order leave = leave_order(made);
  EXPECT_THAT(run(leave).message, HasSubstr("cannot look at " + primary.data() + "/PG_VERSION"));
  EXPECT_TRUE(base::exists(primary_mount() + "/.pgrunbook/bin"));
  EXPECT_TRUE(base::exists(primary_mount() + "/.pgrunbook/before-setup"));
}

TEST_F(LeaveJob, ARoleThatOwnsSomethingElsewhereHoldsItAndAllIsPutBack) {
  Server& primary = make_primary();
  Answer made = must_succeed(setup_order());
  primary.start();
  primary.sql("CREATE DATABASE other OWNER pgrunbook");
  primary.sql("GRANT CREATE ON DATABASE other TO pgrunbook");
  primary.stop();
  std::string before = must(base::read_file(primary.data() + "/postgresql.auto.conf"));
  Answer a = run(leave_order(made));
  EXPECT_EQ(a.reason, "SingleUserFailed");
  EXPECT_THAT(a.message, HasSubstr("role \"pgrunbook\" cannot be dropped because some objects depend on it"));
  EXPECT_EQ(must(base::read_file(primary.data() + "/postgresql.auto.conf")), before);
  primary.start();
  EXPECT_THAT(show(primary, "archive_command"), HasSubstr("pgrunbook-agent archive-wal"));
}

}  // namespace
}  // namespace pgrunbook::agent
