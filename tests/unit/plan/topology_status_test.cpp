// What a topology says of itself: archiving, members, window and conditions, row by row.
#include "plan/topology_status.hpp"

#include <functional>

#include <gtest/gtest.h>

#include "support/fake_api.hpp"

namespace pgrunbook::plan {
namespace {

namespace tfrs = test::tfrs;

constexpr const char* kNow = "2026-11-20T15:00:00Z";

MemberView member(const std::string& name, bool ready) {
  MemberView m;
  m.name = name;
  m.repository = "/postgresql-backup/tfrs";
  m.replicas = ready ? 1 : 0;
  if (ready) m.pods = {tfrs::pod(name + "-1", {{"name", name}}, "10.0.0.1")};
  return m;
}

SceneView scene() {
  SceneView s;
  s.topology = "tfrs";
  s.primary = "postgresql";
  s.members = {member("postgresql", true), member("postgresql-standby", false)};
  return s;
}

ArchiverFacts archives() {
  ArchiverFacts f;
  f.identity = {{"systemIdentifier", "7300000000000000001"}, {"timeline", 1}, {"inRecovery", false}};
  f.archive_mode = "on";
  f.archive_command =
      "'/var/lib/pgsql/data/.pgrunbook/bin/1/amd64/pgrunbook-agent archive-wal --repository "
      "/postgresql-backup/tfrs --path %p'";
  f.last_wal = "000000010000000000000007";
  f.last_time = "2026-11-20T14:59:00Z";
  f.lsn = "0/8000000";
  return f;
}

base::Error with_reason(base::ErrorCode code, const char* reason, const char* message) {
  base::Error e = base::error(code, message);
  e.reason = reason;
  return e;
}

struct Look {
  const char* name;
  std::function<void(ArchiverFacts&)> change;
  const char *status, *reason, *message;
  bool needs_setup, knows_archiver;
};

class Looks : public testing::TestWithParam<Look> {};

TEST_P(Looks, AreJudged) {
  ArchiverFacts f = archives();
  GetParam().change(f);
  Archiving a = judge_archiving(member("postgresql", true), f);
  EXPECT_EQ(a.status, GetParam().status);
  EXPECT_EQ(a.reason, GetParam().reason);
  EXPECT_EQ(a.message, GetParam().message);
  EXPECT_EQ(a.needs_setup, GetParam().needs_setup);
  EXPECT_EQ(a.archiver.is_object(), GetParam().knows_archiver);
}

INSTANTIATE_TEST_SUITE_P(
    Table, Looks,
    testing::Values(
        Look{"Archives", [](ArchiverFacts&) {}, "True", "Archiving",
             "postgresql archives to /postgresql-backup/tfrs; last segment 000000010000000000000007", false,
             true},
        Look{"NothingArchivedYet", [](ArchiverFacts& f) { f.last_wal = f.last_time = ""; }, "True",
             "Archiving", "postgresql archives to /postgresql-backup/tfrs; last segment none yet", false,
             true},
        Look{"NoPod",
             [](ArchiverFacts& f) {
               f = {};
               f.ready_pod = false;
             },
             "Unknown", "PrimaryNotReady", "the primary postgresql has no ready pod", false, false},
        Look{"NoRole",
             [](ArchiverFacts& f) {
               f.no_login = base::error(base::ErrorCode::kUnauthorized, "password authentication failed");
             },
             "False", "NotSetUp",
             "the role pgrunbook cannot log in to postgresql: password authentication failed", true, false},
        Look{"NoPasswordMadeYet",
             [](ArchiverFacts& f) {
               f.no_login = base::refused("NoSecretKey", "Secret pgrunbook-roles has no key password");
             },
             "False", "NotSetUp",
             "the role pgrunbook cannot log in to postgresql: Secret pgrunbook-roles has no key password",
             true, false},
        Look{"NobodyAnswers",
             [](ArchiverFacts& f) {
               f.no_login = with_reason(base::ErrorCode::kUnavailable, "Unreachable", "no answer in time");
             },
             "Unknown", "Unreachable", "no answer in time", false, false},
        Look{"TheQuestionFails",
             [](ArchiverFacts& f) {
               f.no_answer =
                   with_reason(base::ErrorCode::kForbidden, "InsufficientPrivilege", "permission denied");
             },
             "Unknown", "InsufficientPrivilege", "permission denied", false, false},
        Look{"ArchiveModeOff",
             [](ArchiverFacts& f) {
               f.archive_mode = "off";
               f.archive_command = "";
             },
             "False", "NotSetUp", "postgresql runs with archive_mode off and archive_command: ", true, true},
        Look{"ForeignCommand", [](ArchiverFacts& f) { f.archive_command = "cp %p /a/%f"; }, "False",
             "ForeignArchiveCommand", "postgresql runs with archive_mode on and archive_command: cp %p /a/%f",
             true, true},
        Look{"RepositoryOfAnotherTopology",
             [](ArchiverFacts& f) {
               f.archive_command =
                   "pgrunbook-agent archive-wal --repository /postgresql-backup/tfrs-2 --path %p";
             },
             "False", "ForeignArchiveCommand",
             "postgresql runs with archive_mode on and archive_command: pgrunbook-agent archive-wal "
             "--repository /postgresql-backup/tfrs-2 --path %p",
             true, true},
        Look{"SomeWaitAndNotForLong",
             [](ArchiverFacts& f) {
               f.waiting = 3;
               f.oldest_seconds = 180;
             },
             "True", "Archiving",
             "postgresql archives to /postgresql-backup/tfrs; last segment 000000010000000000000007", false,
             true},
        Look{
            "SomeWaitForTooLong",
            [](ArchiverFacts& f) {
              f.waiting = 3;
              f.oldest_seconds = 181;
            },
            "False", "ArchivingBehind",
            "3 finished segments of postgresql wait for the archive, the oldest for 181 s. HINT: look at the "
            "server's log for archive-wal's messages",
            false, true}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(JudgeArchiving, KeepsOnlyWhatIsKnown) {
  ArchiverFacts f = archives();
  f.waiting = 2;
  f.oldest_seconds = 9;
  Archiving a = judge_archiving(member("postgresql", true), f);
  EXPECT_EQ(a.archiver, (Json{{"ready", 2},
                              {"lastArchivedWAL", "000000010000000000000007"},
                              {"lastArchivedTime", "2026-11-20T14:59:00Z"},
                              {"oldestReadySeconds", 9}}));
  EXPECT_EQ(a.primary["lsn"], "0/8000000");
  EXPECT_EQ(a.primary["timeline"], 1);
  f.waiting = 0;
  f.last_wal = f.last_time = f.lsn = "";
  a = judge_archiving(member("postgresql", true), f);
  EXPECT_EQ(a.archiver, (Json{{"ready", 0}})) << "never the last value, never 0 for what is not known";
  EXPECT_FALSE(a.primary.contains("lsn"));
}

Json backup(const char* name, const char* topology, const char* phase, const char* stop) {
  Json b = {{"metadata", {{"name", name}}},
            {"spec", {{"topologyRef", {{"name", topology}}}}},
            {"status", {{"phase", phase}, {"backupID", std::string("id-") + name}, {"completionTime", "c"}}}};
  if (*stop != 0) b["status"]["stopTime"] = stop;
  return b;
}

TEST(BackupWindow, IsOfThisTopologysCompletedBackups) {
  Json backups = {backup("b2", "tfrs", "Completed", "2026-11-20T12:00:00Z"),
                  backup("b1", "tfrs", "Completed", "2026-11-20T10:00:00Z"),
                  backup("later", "tfrs", "Failed", "2026-11-20T14:00:00Z"),
                  backup("other", "crm", "Completed", "2026-11-20T09:00:00Z"),
                  backup("unended", "tfrs", "Completed", "")};
  EXPECT_EQ(backup_window(backups, "tfrs", "2026-11-20T14:59:00Z", kNow),
            (Json{{"lastBackup", {{"name", "b2"}, {"id", "id-b2"}, {"time", "c"}}},
                  {"restorableWindow",
                   {{"earliest", "2026-11-20T10:00:00Z"},
                    {"latest", "2026-11-20T14:59:00Z"},
                    {"proven", false},
                    {"observedTime", kNow}}}}));
  EXPECT_FALSE(backup_window(backups, "tfrs", "", kNow)["restorableWindow"].contains("latest"));
  EXPECT_EQ(backup_window(backups, "none", "x", kNow), Json::object());
  EXPECT_EQ(backup_window(Json(), "tfrs", "x", kNow), Json::object());
}

// One condition as "status reason: message".
std::string condition(const Json& status, std::string_view type) {
  for (const Json& c : status["conditions"]) {
    if (c["type"] == type)
      return base::text_at(c, {"status"}) + " " + base::text_at(c, {"reason"}) + ": " +
             base::text_at(c, {"message"});
  }
  return "";
}

struct Said {
  Json status;
  explicit Said(const std::function<void(TopologyFacts&, ArchiverFacts&)>& change, Json before = {}) {
    SceneView s = scene();
    ArchiverFacts archiver = archives();
    TopologyFacts facts;
    facts.scene = &s;
    facts.now = kNow;
    facts.backups = Json::array({backup("b1", "tfrs", "Completed", "2026-11-20T10:00:00Z")});
    change(facts, archiver);
    facts.archiving = judge_archiving(s.members[0], archiver);
    status = std::move(before);
    StatusEditor out(&status, 3, kNow);
    say_topology(out, facts);
  }
  [[nodiscard]] std::string operator()(std::string_view type) const { return condition(status, type); }
};

TEST(SayTopology, ThatAllIsWell) {
  Said said([](auto&, auto&) {}, {{"lastBackup", {{"name", "older"}}}, {"setup", {{"phase", "Completed"}}}});
  EXPECT_EQ(said("Ready"),
            "True Archiving: postgresql archives to /postgresql-backup/tfrs; last segment "
            "000000010000000000000007");
  EXPECT_EQ(said("ContinuousArchiving"), said("Ready"));
  EXPECT_EQ(said("Recoverable"), "True Recoverable: a backup and the WAL since are in the archive");
  EXPECT_EQ(said("LastBackupSucceeded"), "True Completed: a backup is complete");
  EXPECT_EQ(said("Stalled"), "");
  EXPECT_EQ(said("Reconciling"), "");
  EXPECT_EQ(said.status["lastBackup"]["name"], "b1");
  EXPECT_EQ(said.status["setup"]["phase"], "Completed") << "what is not its business stays";
  EXPECT_EQ(said.status["members"],
            (Json{{{"name", "postgresql"},
                   {"role", "Primary"},
                   {"ready", true},
                   {"systemIdentifier", "7300000000000000001"},
                   {"timeline", 1},
                   {"lsn", "0/8000000"}},
                  {{"name", "postgresql-standby"}, {"role", "ColdSpare"}, {"ready", false}}}));
}

TEST(SayTopology, WhatIsMissingForRecovery) {
  struct {
    const char* name;
    std::function<void(TopologyFacts&, ArchiverFacts&)> change;
    const char *recoverable, *last;
  } table[] = {
      {"no backup", [](auto& f, auto&) { f.backups = Json::array(); },
       "False NotRecoverable: no backup is complete yet. HINT: create a PostgresBackup",
       "Unknown NoBackup: no backup is complete yet"},
      {"archiving fails",
       [](auto&, auto& a) {
         a.archive_mode = "off";
         a.archive_command = "";
       },
       "False NotToThePresent: postgresql runs with archive_mode off and archive_command: ",
       "True Completed: a backup is complete"},
      {"archiving is not known", [](auto&, auto& a) { a.ready_pod = false; },
       "Unknown Unknown: the primary postgresql has no ready pod", "True Completed: a backup is complete"},
  };
  for (const auto& row : table) {
    Said said(row.change);
    EXPECT_EQ(said("Recoverable"), row.recoverable) << row.name;
    EXPECT_EQ(said("LastBackupSucceeded"), row.last) << row.name;
  }
}

TEST(SayTopology, WhatSetupWouldDoOrWhyItFailed) {
  auto unset = [](auto&, auto& a) { a.no_login = base::error(base::ErrorCode::kUnauthorized, "no role"); };
  Said reported(unset);
  EXPECT_NE(reported("Ready").find(
                "False NotSetUp: the role pgrunbook cannot log in to postgresql: no role. HINT: "
                "with archive.wal.setup: ConfigureAndRestart this operator stops postgresql once"),
            std::string::npos)
      << reported("Ready");
  EXPECT_EQ(reported("Stalled"), reported("Ready").replace(0, 5, "True"));
  EXPECT_EQ(reported.status["archiver"], Json()) << "what is not known is absent";
  Said failed([&](TopologyFacts& f, ArchiverFacts& a) {
    unset(f, a);
    f.setup = {true, true, "SingleUserFailed", "postgres --single failed"};
  });
  EXPECT_EQ(failed("Ready"), "False NotSetUp: setting up archiving failed: postgres --single failed");
  EXPECT_EQ(failed("Stalled"),
            "True SingleUserFailed: setting up archiving failed: postgres --single failed");
}

TEST(SayTopology, StalledGoesWithWhatItWasAbout) {
  Json status;
  StatusEditor out(&status, 1, kNow);
  out.stalled(base::refused("NoPrimary", "no member is selected", "correct the selector"));
  SceneView s = scene();
  ArchiverFacts a = archives();
  a.ready_pod = false;
  TopologyFacts f;
  f.scene = &s;
  f.now = kNow;
  f.archiving = judge_archiving(s.members.front(), a);
  say_topology(out, f);
  EXPECT_EQ(condition(status, "Ready"), "False PrimaryNotReady: the primary postgresql has no ready pod");
  EXPECT_EQ(condition(status, "Stalled"), "");
}

TEST(StatusEditor, SaysThatSetupIsUnderWayOrNeedsHelp) {
  Json status;
  StatusEditor out(&status, 3, kNow);
  api::ActionStatus setup;
  setup.phase = api::Phase::kRunning;
  setup.message = "stopping postgresql";
  out.setting_up(setup);
  EXPECT_EQ(condition(status, "Ready"), "False SettingUp: stopping postgresql");
  EXPECT_EQ(condition(status, "Reconciling"), "True SettingUp: stopping postgresql");
  setup.phase = api::Phase::kBlocked;
  setup.reason = "ApplicationsRunning";
  setup.message = "tfrs runs";
  out.setting_up(setup);
  EXPECT_EQ(condition(status, "ContinuousArchiving"), "False ApplicationsRunning: tfrs runs");
  EXPECT_EQ(condition(status, "Stalled"), "True ApplicationsRunning: tfrs runs");
  EXPECT_EQ(condition(status, "Reconciling"), "");
  out.stalled(base::refused("NoService", "Service x does not exist", "correct spec.services"));
  EXPECT_EQ(condition(status, "Stalled"),
            "True NoService: Service x does not exist. HINT: correct spec.services");
  EXPECT_EQ(status["message"], "Service x does not exist. HINT: correct spec.services");
}

TEST(IsNews, TheTimeOfALookAloneIsNone) {
  Json was = {{"primary", "a"}, {"restorableWindow", {{"earliest", "e"}, {"observedTime", "1"}}}};
  Json is = was;
  is["restorableWindow"]["observedTime"] = "2";
  EXPECT_FALSE(is_news(was, is));
  is["restorableWindow"]["latest"] = "l";
  EXPECT_TRUE(is_news(was, is));
  EXPECT_TRUE(is_news(Json(), was));
  is = was;
  is.erase("restorableWindow");
  EXPECT_TRUE(is_news(was, is));
}

}  // namespace
}  // namespace pgrunbook::plan
