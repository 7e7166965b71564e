// Stopping and starting members: by their replica count only, cleanly, and never two servers on one volume.
#include "execute/members.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/hash.hpp"
#include "unit/execute/bench.hpp"

namespace pgrunbook::execute {
namespace {

namespace k = kube::kinds;
namespace tfrs = test::tfrs;
using base::text_at;
using test::Bench;
using test::FakeApi;
using test::FakePostgres;
using test::kPrimary;
using test::kStandby;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Kind = StepResult::Kind;
using Reply = FakePostgres::Reply;

// ---- a member that is dead

Json not_ready(Json pod) {
  pod["status"]["conditions"][0]["status"] = "False";
  return pod;
}
Json using_claim(Json pod, const std::string& claim) {
  pod["spec"]["volumes"] =
      Json::array({{{"name", "data"}, {"persistentVolumeClaim", {{"claimName", claim}}}}});
  return pod;
}

TEST(DeadMember, IsOneThatHasNoReadyPodAndDoesNotAnswer) {
  Bench b;
  auto verdict = [&] {
    plan::SceneView scene = b.scene();
    return is_down(b.a, scene, *scene.member("postgresql"));
  };
  std::vector<Json> pods = b.scene().member("postgresql")->pods;
  ASSERT_EQ(pods.size(), 1U);
  StepResult r = verdict();
  EXPECT_EQ(r.kind, Kind::kFailed);
  EXPECT_EQ(r.error.text(),
            "postgresql is not down: it has a ready pod. HINT: a running primary needs no salvage, its WAL "
            "is switched "
            "and archived first: leave salvage out");
  EXPECT_EQ(r.error.reason, "PrimaryRuns");
  b.api.put(k::kPod, not_ready(pods.front()));
  EXPECT_EQ(verdict().kind, Kind::kDone) << verdict().error.text();
  // Not ready, but it answers: its probe is wrong, not its server.
  FakePostgres server;
  b.servers[text_at(pods.front(), {"status", "podIP"})] = &server;
  r = verdict();
  EXPECT_EQ(r.kind, Kind::kFailed);
  EXPECT_THAT(r.error.message, HasSubstr("answers, though its pod is not ready"));
  server.refuse(FakePostgres::Refusal{"57P03", "the database system is starting up"});
  r = verdict();
  EXPECT_EQ(r.kind, Kind::kBlocked);
  EXPECT_EQ(r.error.reason, "PrimaryNotDown");
  b.servers.clear();
  b.api.erase(k::kPod, text_at(pods.front(), {"metadata", "name"}));
  EXPECT_EQ(verdict().kind, Kind::kDone);
  EXPECT_THAT(b.api.write_texts(), IsEmpty());
}

TEST(DeadMember, IsAtZeroOnlyWhenNoPodAtAllUsesItsVolume) {
  Bench b;
  plan::SceneView scene = b.scene();
  const plan::MemberView& m = *scene.member("postgresql");
  Json pod = not_ready(m.pods.front());
  std::string name = text_at(pod, {"metadata", "name"});
  b.api.put(k::kPod, pod);
  StepResult r = stop_dead_member(b.a, "stop-primary", "postgresql");
  EXPECT_EQ(r.message, "scaled to 0");
  EXPECT_EQ(b.replicas("postgresql"), 0);
  EXPECT_EQ(b.annotation("postgresql"), "1");
  EXPECT_EQ(stop_dead_member(b.a, "stop-primary", "postgresql").message,
            "waiting for the pod of postgresql to end");
  b.api.erase(k::kPod, name);
  Json stranger = using_claim(tfrs::pod("debug", {{"who", "somebody"}}, "10.0.0.77"), m.data_claim);
  b.api.put(k::kPod, stranger);
  r = stop_dead_member(b.a, "stop-primary", "postgresql");
  EXPECT_EQ(r.kind, Kind::kWaiting);
  EXPECT_EQ(r.message, "waiting for pod debug, which uses the volume of postgresql, to end");
  b.api.erase(k::kPod, "debug");
  r = stop_dead_member(b.a, "stop-primary", "postgresql");
  EXPECT_EQ(r.kind, Kind::kDone);
  EXPECT_EQ(r.result["proof"], "NoPod");
  EXPECT_EQ(r.result["podUIDs"], Json::array({"uid-" + name}));
  b.terminations.observe(tfrs::terminated(pod, 137));
  EXPECT_EQ(stop_dead_member(b.a, "stop-primary", "postgresql").result["proof"], "Terminated");
}

TEST(DeadMember, ThatCameUpMeanwhileIsLeftAlone) {
  Bench b;
  StepResult r = stop_dead_member(b.a, "stop-primary", "postgresql");
  EXPECT_EQ(r.kind, Kind::kFailed);
  EXPECT_EQ(r.error.reason, "PrimaryRuns");
  EXPECT_THAT(b.api.write_texts(), IsEmpty());
}

TEST(DeadMember, GetsItsCountBackWithoutBeingWaitedFor) {
  Bench b;
  EXPECT_EQ(restore_count(b.a, "postgresql-standby", 0).kind, Kind::kDone);
  b.api.put(k::kPod, tfrs::terminating(tfrs::pod("standby-0", kStandby, "10.0.0.5")));
  EXPECT_EQ(restore_count(b.a, "postgresql-standby", 1).message,
            "waiting for the former pod of postgresql-standby to end");
  EXPECT_EQ(b.replicas("postgresql-standby"), 0);
  b.api.erase(k::kPod, "standby-0");
  EXPECT_EQ(restore_count(b.a, "postgresql-standby", 1).kind, Kind::kWaiting);
  EXPECT_EQ(b.replicas("postgresql-standby"), 1);
  EXPECT_EQ(restore_count(b.a, "postgresql-standby", 1).kind, Kind::kDone);  // no pod of it is ready
}

// It was at 0 already, and somebody has started it while a restore from it was under way: it may be the
// primary.
TEST(DeadMember, ThatWasAtZeroIsNeverPutBackToZero) {
  Bench b;
  ASSERT_EQ(b.replicas("postgresql"), 1);
  EXPECT_EQ(restore_count(b.a, "postgresql", 0).kind, Kind::kDone);
  EXPECT_EQ(b.replicas("postgresql"), 1);
  EXPECT_THAT(b.api.write_texts(), IsEmpty());
}

TEST(StartMember, ScalesUpAndWaitsUntilReady) {
  Bench b;
  StepResult r = start_member(b.a, "postgresql-standby", 1);
  EXPECT_EQ(r.kind, Kind::kWaiting);
  EXPECT_EQ(r.message, "scaled postgresql-standby to 1");
  EXPECT_EQ(b.replicas("postgresql-standby"), 1);
  EXPECT_EQ(start_member(b.a, "postgresql-standby", 1).message, "waiting until postgresql-standby is ready");
  Json pod = tfrs::pod("standby-1", kStandby, "10.0.0.5");
  pod["status"]["conditions"][0]["status"] = "False";
  b.api.put(k::kPod, pod);
  EXPECT_EQ(start_member(b.a, "postgresql-standby", 1).kind, Kind::kWaiting);
  b.api.put(k::kPod, tfrs::pod("standby-1", kStandby, "10.0.0.5"));
  r = start_member(b.a, "postgresql-standby", 1);
  EXPECT_EQ(r.kind, Kind::kDone);
  EXPECT_EQ(r.result, (Json{{"podUID", "uid-standby-1"}, {"address", "10.0.0.5"}}));
  EXPECT_THAT(b.api.write_texts(), ElementsAre("patch Deployment/postgresql-standby"));
}

// Two servers on one data directory both accept connections: the worst that can happen.
TEST(StartMember, NeverScalesUpBesideAPodThatIsStillThere) {
  Bench b;
  for (const Json& pod :
       {tfrs::terminating(tfrs::pod("standby-0", kStandby, "10.0.0.5")),
        tfrs::pod("standby-0", kStandby, "10.0.0.5"),
        tfrs::terminating(tfrs::terminated(tfrs::pod("standby-0", kStandby, "10.0.0.5"), 0))}) {
    b.api.put(k::kPod, pod);
    StepResult r = start_member(b.a, "postgresql-standby", 1);
    EXPECT_EQ(r.kind, Kind::kWaiting);
    EXPECT_EQ(r.message, "waiting for the former pod of postgresql-standby to end");
    EXPECT_EQ(b.replicas("postgresql-standby"), 0);
  }
  EXPECT_THAT(b.api.write_texts(), IsEmpty());
  b.api.erase(k::kPod, "standby-0");
  EXPECT_EQ(start_member(b.a, "postgresql-standby", 1).message, "scaled postgresql-standby to 1");
}

TEST(StartMember, TakesTheAnnotationOff) {
  Bench b;
  b.api.merge(k::kDeployment, "postgresql-standby",
              {{"metadata", {{"annotations", {{api::kAnnotationReplicasBefore, "1"}}}}}});
  (void)start_member(b.a, "postgresql-standby", 1);
  EXPECT_TRUE(b.annotation("postgresql-standby").is_null());
}

TEST(StartMember, ThatCrashesFailsWithItsOwnWords) {
  Bench b;
  b.api.merge(k::kDeployment, "postgresql-standby", {{"spec", {{"replicas", 1}}}});
  Json pod = tfrs::pod("standby-1", kStandby, "10.0.0.5");
  pod["status"]["conditions"][0]["status"] = "False";
  pod["status"]["containerStatuses"][0]["restartCount"] = 2;
  b.api.put(k::kPod, pod);
  EXPECT_EQ(start_member(b.a, "postgresql-standby", 1).kind, Kind::kWaiting);
  pod["status"]["containerStatuses"][0]["restartCount"] = 3;
  b.api.put(k::kPod, pod);
  EXPECT_EQ(start_member(b.a, "postgresql-standby", 1).error.text(),
            "postgresql-standby was restarted 3 times and is not ready; its log ends: (no log). HINT: look "
            "at the pod's log");
  b.api.set_log("standby-1", "postgresql", "FATAL: could not write");
  StepResult r = start_member(b.a, "postgresql-standby", 1);
  EXPECT_EQ(r.kind, Kind::kFailed);
  EXPECT_EQ(r.error.reason, "MemberDoesNotStart");
  EXPECT_THAT(r.error.message, HasSubstr("its log ends: FATAL: could not write"));
}

// As the way back of a start: to 0, and its pods gone.
TEST(StartMember, ToZeroIsAStop) {
  Bench b;
  b.api.merge(k::kDeployment, "postgresql-standby", {{"spec", {{"replicas", 1}}}});
  b.api.put(k::kPod, tfrs::pod("standby-1", kStandby, "10.0.0.5"));
  EXPECT_EQ(start_member(b.a, "postgresql-standby", 0).message, "scaled postgresql-standby to 0");
  EXPECT_EQ(start_member(b.a, "postgresql-standby", 0).message,
            "waiting for the pod of postgresql-standby to end");
  b.api.erase(k::kPod, "standby-1");
  EXPECT_EQ(start_member(b.a, "postgresql-standby", 0).kind, Kind::kDone);
}

TEST(ScaleDown, KeepsTheCountForWhoeverMustFinishByHand) {
  Bench b;
  b.api.merge(k::kDeployment, "postgresql-standby", {{"spec", {{"replicas", 1}}}});
  b.api.put(k::kPod, tfrs::pod("standby-1", kStandby, "10.0.0.5"));
  EXPECT_EQ(scale_down(b.a, "postgresql-standby").message, "scaled to 0");
  EXPECT_EQ(b.annotation("postgresql-standby"), "1");
  EXPECT_EQ(b.replicas("postgresql-standby"), 0);
  b.api.put(k::kPod, tfrs::terminating(tfrs::pod("standby-1", kStandby, "10.0.0.5")));
  EXPECT_EQ(scale_down(b.a, "postgresql-standby").message,
            "waiting for the pod of postgresql-standby to end");
  b.api.erase(k::kPod, "standby-1");
  EXPECT_EQ(scale_down(b.a, "postgresql-standby").kind, Kind::kDone);
  EXPECT_EQ(scale_down(b.a, "postgresql-standby").kind, Kind::kDone);
  EXPECT_EQ(b.annotation("postgresql-standby"), "1") << "a second look keeps it";
  EXPECT_EQ(b.api.writes().size(), 1U);
  for (const FakeApi::Call& call : b.api.writes())
    EXPECT_FALSE(call.body["spec"].contains("template")) << "never a template change";
}

TEST(ScaleDown, RefusesThePrimary) {
  Bench b;
  StepResult r = scale_down(b.a, "postgresql");
  EXPECT_EQ(r.kind, Kind::kFailed);
  EXPECT_EQ(r.error.reason, "TargetIsPrimary");
  EXPECT_EQ(r.error.text(),
            "member postgresql has become the primary; it is not stopped. HINT: restore to another member");
  b.api.put(k::kService, tfrs::service("postgresql-standby"));  // somebody switched meanwhile
  EXPECT_EQ(scale_down(b.a, "postgresql-standby").kind, Kind::kFailed);
  EXPECT_THAT(b.api.write_texts(), IsEmpty());
}

TEST(Members, ThatLeftTheTopologyAreFailures) {
  Bench b;
  for (const StepResult& r : {scale_down(b.a, "other"), start_member(b.a, "other", 1),
                              stop_member(b.a, "stop", "other", Login::kRole)}) {
    EXPECT_EQ(r.kind, Kind::kFailed);
    EXPECT_EQ(r.error.message, "member other is no longer in the topology");
    EXPECT_EQ(r.error.hint, "put it back into spec.members");
  }
}

TEST(Members, WhoseApiServerIsAwayAreWaitedFor) {
  Bench b;
  b.api.fault = [](const FakeApi::Call&, FakeApi::Moment) {
    return std::optional(base::error(base::ErrorCode::kUnavailable, "no answer"));
  };
  for (const StepResult& r :
       {scale_down(b.a, "postgresql-standby"), start_member(b.a, "postgresql-standby", 1),
        stop_applications(b.a), start_applications(b.a),
        stop_member(b.a, "stop", "postgresql", Login::kRole)}) {
    EXPECT_EQ(r.kind, Kind::kWaiting);
    EXPECT_EQ(r.message, "no answer");
  }
}

TEST(Members, ThatWeMayNotScaleAreBlocked) {
  Bench b;
  b.api.fault = [](const FakeApi::Call& call, FakeApi::Moment) {
    return call.verb == "patch"
               ? std::optional(base::error(base::ErrorCode::kForbidden, "the role lacks patch"))
               : std::nullopt;
  };
  StepResult r = start_member(b.a, "postgresql-standby", 1);
  EXPECT_EQ(r.kind, Kind::kBlocked);
  EXPECT_EQ(r.error.message, "scale Deployment postgresql-standby to 1: the role lacks patch");
}

TEST(Applications, GoToZeroAndBackToTheirOwnCounts) {
  Bench b;
  EXPECT_EQ(stop_applications(b.a).message, "waiting for the applications' pods to end");
  EXPECT_EQ(b.replicas("tfrs"), 0);
  EXPECT_EQ(b.annotation("tfrs"), "2");
  EXPECT_EQ(stop_applications(b.a).kind, Kind::kWaiting) << "its pod is still there";
  b.api.erase(k::kPod, "tfrs-1");
  EXPECT_EQ(stop_applications(b.a).kind, Kind::kDone);
  b.a.status.operation.inputs["applications"] = {{"tfrs", 2}};
  StepResult r = start_applications(b.a);
  EXPECT_EQ(r.kind, Kind::kDone);
  EXPECT_EQ(r.result, (Json{{"replicas", {{"tfrs", 2}}}}));
  EXPECT_EQ(b.replicas("tfrs"), 2);
  EXPECT_TRUE(b.annotation("tfrs").is_null());
  EXPECT_EQ(b.replicas("postgresql"), 1);
}

TEST(Applications, ThatWereAtZeroStayThere) {
  Bench b;
  b.api.put(k::kDeployment, tfrs::application(0));
  b.api.erase(k::kPod, "tfrs-1");
  b.a.status.operation.inputs["applications"] = {{"tfrs", 0}};
  EXPECT_EQ(stop_applications(b.a).kind, Kind::kDone);
  EXPECT_EQ(start_applications(b.a).kind, Kind::kDone);
  EXPECT_EQ(b.replicas("tfrs"), 0);
  EXPECT_THAT(b.api.write_texts(), IsEmpty());
}

// The server as a script: who is connected, and how it shuts down.
struct Server {
  sql::Rows sessions;
  std::string ready = "0";
  FakePostgres postgres{[this](const std::string& sql, const std::vector<std::string>&) -> Reply {
    auto says = [&](const char* part) { return sql.find(part) != std::string::npos; };
    if (says("pg_stat_activity")) return {sessions};
    if (says("150000")) return {{{"t"}}};
    if (says("pg_control_system")) return {{{"7000000000000000001", "1", "f", "10.0.0.1", "150010"}}};
    if (says("pg_create_restore_point")) return {{{"0/3FFFFD8", "000000010000000000000003"}}};
    if (says(".ready")) return {{{ready}}};
    return {{{""}}};
  }};
};

sql::Row session(const std::string& pid, const std::string& role, bool superuser, bool own) {
  return {pid, role, "10.0.0.2", superuser ? "t" : "f", own ? "t" : "f"};
}

struct Stopping : testing::Test {
  Bench b;
  Server server;
  Stopping() {
    b.servers["10.0.0.1"] = &server.postgres;
    // The kubelet: SIGTERM at once, a smart shutdown follows.
    b.api.react = [this](FakeApi&, const kube::Resource& r, const Json& object) {
      if (r == k::kDeployment && text_at(object, {"metadata", "name"}) == "postgresql" &&
          base::number_at(object, {"spec", "replicas"}) == 0) {
        server.postgres.refuse(FakePostgres::Refusal{"57P03", "the database system is shutting down"});
      }
    };
  }
  StepResult stop(Login login = Login::kRole) {
    return stop_member(b.a, "stop-primary", "postgresql", login);
  }
  void began_long_ago() {
    b.a.status.operation.log =
        Json::array({{{"step", "stop-primary"}, {"startTime", "2026-01-01T00:00:00Z"}}});
  }
};

TEST_F(Stopping, IsCleanAndInOrder) {
  server.sessions = {session("77", "pgrunbook", false, true)};
  StepResult r = stop();
  EXPECT_EQ(r.kind, Kind::kWaiting);
  EXPECT_EQ(r.message, "waiting for the pod of postgresql to end");
  std::vector<std::string> heads;
  for (const std::string& s : server.postgres.statements()) heads.push_back(s.substr(0, 34));
  EXPECT_THAT(heads, ElementsAre("set idle_session_timeout = '20s'", "select a.pid, a.usename, host(a.cl",
                                 "select current_setting('server_ver", "CHECKPOINT",
                                 "select (select system_identifier f", "select m, pg_walfile_name(m - 1) f",
                                 "select pg_switch_wal()", "select count(*) from pg_ls_archive",
                                 "select a.pid, a.usename, host(a.cl", "select pg_terminate_backend($1::in",
                                 "select a.pid, a.usename, host(a.cl", "select pg_terminate_backend($1::in"));
  EXPECT_EQ(server.postgres.statements().back(), "select pg_terminate_backend($1::int) [77]");
  EXPECT_THAT(server.postgres.statements()[5],
              ::testing::MatchesRegex(".* from pg_create_restore_point.*pgrunbook stop switch [0-9a-f]+."));
  EXPECT_EQ(server.postgres.password(), "role-secret");
  EXPECT_EQ(b.logins.front().user, "pgrunbook");
  EXPECT_EQ(b.replicas("postgresql"), 0);
  EXPECT_EQ(b.annotation("postgresql"), "1");
  // The pods whose end is the proof are written before the scale-down, the scale-down after it.
  EXPECT_EQ(b.saves, 2);
  EXPECT_EQ(b.a.result("stop-primary-pods"), (Json::array({"uid-postgresql-1"})));
  EXPECT_THAT(b.api.write_texts(), ElementsAre("patch Deployment/postgresql"));
}

// What puts an archiving back that does not work cannot wait for it.
TEST_F(Stopping, ThatMendsTheArchivingDoesNotWaitForTheArchive) {
  server.ready = "10";
  StepResult r = stop_member(b.a, "undo-stop", "postgresql", Login::kRole, UnarchivedWal::kStays);
  EXPECT_EQ(r.message, "waiting for the pod of postgresql to end");
  EXPECT_EQ(b.replicas("postgresql"), 0);
  for (const std::string& s : server.postgres.statements())
    EXPECT_EQ(s.find("pg_switch_wal"), std::string::npos);
}

// An operator that dies with the scale-down leaves nobody behind who would hold the shutdown.
TEST_F(Stopping, EndsSessionsBeforeItScales) {
  b.api.fault = [&](const FakeApi::Call& call, FakeApi::Moment moment) -> std::optional<base::Error> {
    if (!call.is_write() || moment != FakeApi::Moment::kBefore) return std::nullopt;
    EXPECT_EQ(server.postgres.statements().back(), "select pg_terminate_backend($1::int) [77]");
    return base::error(base::ErrorCode::kUnavailable, "no answer");
  };
  server.sessions = {session("77", "pgrunbook", false, true)};
  EXPECT_EQ(stop().message, "scale Deployment postgresql to 0: no answer");
  EXPECT_EQ(server.postgres.statements().back(), "select pg_terminate_backend($1::int) [77]");
}

// The operator died after the scale-down. Its successor sees the server off as long as that lets anybody in.
TEST_F(Stopping, IsSeenOffByTheSuccessor) {
  b.api.merge(k::kDeployment, "postgresql", {{"spec", {{"replicas", 0}}}});
  b.a.status.operation.results["stop-primary-pods"] = Json::array({"uid-postgresql-1"});
  b.api.put(k::kPod, tfrs::terminating(tfrs::pod("postgresql-1", kPrimary, "10.0.0.1")));
  server.sessions = {session("78", "tfrs", false, false)};
  int connections = 0;
  auto real = b.world.connect;
  b.world.connect = [&](const sql::Target& t, base::Deadline d) {
    if (++connections == 3)
      server.postgres.refuse(FakePostgres::Refusal{"57P03", "the database system is shutting down"});
    return real(t, d);
  };
  EXPECT_EQ(stop().message, "waiting for the pod of postgresql to end");
  EXPECT_EQ(connections, 3);
  EXPECT_EQ(server.postgres.statements().back(), "select pg_terminate_backend($1::int) [78]");
  EXPECT_THAT(b.api.write_texts(), IsEmpty());
  // Nobody gets in any more: from now on it only waits.
  EXPECT_EQ(stop().message, "waiting for the pod of postgresql to end");
  EXPECT_EQ(connections, 3);
  EXPECT_EQ(server.postgres.statements().size(), 3U);
}

TEST_F(Stopping, IsProvenByWhatTheKubeletReported) {
  (void)stop();
  Json pod = tfrs::terminating(tfrs::pod("postgresql-1", kPrimary, "10.0.0.1"));
  b.api.put(k::kPod, pod);
  EXPECT_EQ(stop().message, "waiting for the pod of postgresql to end");
  b.terminations.observe(tfrs::terminated(pod, 0));
  b.api.erase(k::kPod, "postgresql-1");
  StepResult r = stop();
  EXPECT_EQ(r.kind, Kind::kDone);
  EXPECT_EQ(r.result, (Json{{"proof", "Terminated"},
                            {"podUIDs", {"uid-postgresql-1"}},
                            {"exitCode", 0},
                            {"finishedAt", "2026-11-20T15:00:01Z"}}));
}

TEST_F(Stopping, OfAPodThatVanishedIsUnproven) {
  (void)stop();
  b.api.erase(k::kPod, "postgresql-1");  // force-deleted: the process may live on
  StepResult r = stop();
  EXPECT_EQ(r.kind, Kind::kDone);
  EXPECT_EQ(r.result["proof"], "Unproven");
  // Another container's end, or another pod's, proves nothing.
  Json other = tfrs::terminated(tfrs::pod("postgresql-1", kPrimary, "10.0.0.1"), 0);
  other["status"]["containerStatuses"][0]["name"] = "exporter";
  b.terminations.observe(other);
  b.terminations.observe(tfrs::terminated(tfrs::pod("postgresql-2", kPrimary, "10.0.0.1"), 0));
  EXPECT_EQ(stop().result["proof"], "Unproven");
}

TEST_F(Stopping, IsHeldByClientsThatNobodyNamed) {
  server.sessions = {session("1", "reporting", false, false), session("2", "reporting", false, false),
                     session("3", "tfrs", false, false)};
  began_long_ago();
  StepResult r = stop();
  EXPECT_EQ(r.kind, Kind::kBlocked);
  EXPECT_EQ(r.error.reason, "ClientsHoldTheStop");
  EXPECT_EQ(r.error.text(),
            "sessions that nobody of the topology's applications owns would be cut off by stopping "
            "postgresql: role reporting from 10.0.0.2, role tfrs "
            "from 10.0.0.2. HINT: end them, or add their workload to spec.applications of the topology; it "
            "goes on by itself");
  EXPECT_EQ(b.replicas("postgresql"), 1);
  EXPECT_THAT(b.api.write_texts(), IsEmpty());
  server.sessions.clear();
  EXPECT_EQ(stop().message, "waiting for the pod of postgresql to end");
}

TEST_F(Stopping, IsHeldBySuperusersWhomNobodyCanEnd) {
  server.sessions = {session("1", "postgres", true, false)};
  began_long_ago();
  StepResult r = stop();
  EXPECT_EQ(r.error.reason, "SuperuserSessions");
  EXPECT_EQ(r.error.hint, "end them; a superuser's session cannot be ended by the role pgrunbook");
  EXPECT_EQ(b.replicas("postgresql"), 1);
}

TEST_F(Stopping, WaitsForClientsThatAreJustLeaving) {
  server.sessions = {session("1", "tfrs", false, false)};
  b.a.status.operation.log =
      Json::array({{{"step", "stop-primary"}, {"startTime", base::format_time_micro(base::now())}}});
  StepResult r = stop();
  EXPECT_EQ(r.kind, Kind::kWaiting);
  EXPECT_EQ(r.message, "waiting for clients to leave: role tfrs from 10.0.0.2");
}

// At the first setup there is only the application's role: it may end its own sessions, no checkpoint, no
// switch.
TEST_F(Stopping, AsTheApplicationEndsOnlyItsOwnSessions) {
  server.sessions = {session("5", "tfrs", false, true)};
  StepResult r = stop(Login::kApplication);
  EXPECT_EQ(r.kind, Kind::kWaiting);
  EXPECT_EQ(b.logins.front().user, "tfrs");
  EXPECT_EQ(b.logins.front().database, "tfrs");
  EXPECT_EQ(server.postgres.password(), "application-secret");
  for (const std::string& s : server.postgres.statements()) {
    EXPECT_TRUE(s.find("CHECKPOINT") == std::string::npos && s.find("switch_wal") == std::string::npos) << s;
  }
  EXPECT_EQ(server.postgres.statements().back(), "select pg_terminate_backend($1::int) [5]");
}

TEST_F(Stopping, WaitsForTheArchiveAndSaysSoWhenItIsBehind) {
  server.ready = "3";
  b.stop.request_stop();  // or it would look for 30 s
  StepResult r = stop();
  EXPECT_EQ(r.kind, Kind::kBlocked);
  EXPECT_EQ(r.error.text(),
            "3 segments of postgresql wait for the archive; stopping now could not be clean. HINT: look at "
            "the server's log for the "
            "archive command's messages");
  EXPECT_EQ(b.replicas("postgresql"), 1);
}

TEST_F(Stopping, ScalesNothingWhereItsIntentCannotBeSaved) {
  b.save_fails = base::error(base::ErrorCode::kConflict, "changed");
  EXPECT_EQ(stop().kind, Kind::kWaiting);
  EXPECT_EQ(b.replicas("postgresql"), 1);
}

TEST_F(Stopping, OfAMemberThatDoesNotRunNeedsNoSession) {
  b.api.erase(k::kPod, "postgresql-1");
  EXPECT_EQ(stop().message, "scaled to 0");
  EXPECT_EQ(b.replicas("postgresql"), 0);
  EXPECT_TRUE(b.logins.empty());
  StepResult r = stop();
  EXPECT_EQ(r.kind, Kind::kDone);
  EXPECT_EQ(r.result["proof"], "Unproven");
}

TEST_F(Stopping, WithoutALoginSaysWhichSecret) {
  b.api.put(k::kSecret, {{"metadata", {{"name", "pgrunbook-roles"}}}, {"data", Json::object()}});
  StepResult r = stop();
  EXPECT_EQ(r.kind, Kind::kFailed);
  EXPECT_EQ(
      r.error.text(),
      "Secret pgrunbook-roles has no key password, or it is empty. HINT: it is filled when archiving is "
      "set up: set archive.wal.setup of the topology to ConfigureAndRestart");
  b.api.erase(k::kSecret, "postgresql");
  r = stop(Login::kApplication);
  EXPECT_EQ(r.error.text(),
            "Secret postgresql does not exist in namespace tfrs. HINT: create it, or correct "
            "spec.connection.secretRef.name of the topology");
  b.api.fault = [](const FakeApi::Call& call, FakeApi::Moment) {
    return call.kind == "Secret" ? std::optional(base::error(base::ErrorCode::kForbidden, "no right"))
                                 : std::nullopt;
  };
  r = stop(Login::kApplication);
  EXPECT_EQ(r.kind, Kind::kBlocked);
  EXPECT_EQ(r.error.text(), "no right. HINT: add postgresql to the chart's value secretNames");
}

TEST(Scenes, WhoseObjectsAreMissingSayWhich) {
  struct {
    std::function<void(FakeApi&)> change;
    const char* words;
  } table[] = {
      {[](FakeApi& api) { api.erase(k::kTopology, "tfrs"); },
       "PostgresTopology tfrs does not exist in namespace tfrs. HINT: create it, or correct "
       "spec.topologyRef.name"},
      {[](FakeApi& api) { api.erase(k::kDeployment, "postgresql"); },
       "member postgresql: Deployment postgresql does not exist in namespace tfrs. HINT: correct "
       "workloadRef, or create the workload"},
      {[](FakeApi& api) { api.erase(k::kDeployment, "tfrs"); },
       "application: Deployment tfrs does not exist in namespace tfrs. HINT: correct workloadRef, or create "
       "the workload"},
      {[](FakeApi& api) { api.erase(k::kService, "postgresql"); },
       "Service postgresql does not exist in namespace tfrs. HINT: correct spec.services"},
      {[](FakeApi& api) { api.erase(k::kPersistentVolumeClaim, "postgresql-standby"); },
       "member postgresql-standby: PersistentVolumeClaim postgresql-standby does not exist. HINT: create the "
       "claim or correct its name"},
      {[](FakeApi& api) {
         Json d = tfrs::deployment("postgresql-standby", 0);
         d["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = "postgresql";
         api.put(k::kDeployment, d);
       },
       "members postgresql and postgresql-standby keep their data on the same claim postgresql. HINT: every "
       "member needs a volume of its own"},
  };
  for (const auto& row : table) {
    Bench b;
    row.change(b.api);
    auto scene = observe_scene(b.world, "tfrs");
    ASSERT_FALSE(scene.has_value()) << row.words;
    EXPECT_EQ(scene.error().text(), row.words);
  }
}

TEST(Scenes, KnowThePrimaryOnlyWhereAllServicesAgree) {
  Bench b;
  EXPECT_EQ(b.scene().primary, "postgresql");
  Json topology = tfrs::topology();
  topology["spec"]["services"] = {{{"name", "postgresql"}}, {{"name", "reports"}}, {{"name", "third"}}};
  b.api.put(k::kTopology, topology);
  auto put = [&](const char* name, const char* selected) {
    Json s = tfrs::service(selected);
    s["metadata"]["name"] = name;
    b.api.put(k::kService, s);
  };
  struct {
    const char *one, *two, *three, *primary;
  } table[] = {{"postgresql", "postgresql", "postgresql", "postgresql"},
               {"postgresql", "postgresql-standby", "postgresql", ""},
               {"postgresql", "postgresql", "nobody", ""},
               {"nobody", "postgresql", "postgresql", ""},
               {"nobody", "nobody", "postgresql", ""}};
  for (const auto& row : table) {
    put("postgresql", row.one);
    put("reports", row.two);
    put("third", row.three);
    EXPECT_EQ(b.scene().primary, row.primary) << row.one << " " << row.two << " " << row.three;
  }
}

TEST(RolePassword, IsMadeOnceAndByOneOperatorOnly) {
  Bench b;
  b.api.put(k::kSecret, {{"metadata", {{"name", "pgrunbook-roles"}}}});
  ASSERT_TRUE(ensure_role_password(b.world).has_value());
  Json made = b.api.peek(k::kSecret, "pgrunbook-roles")["data"]["password"];
  EXPECT_EQ(base::base64_decode(made.get<std::string>())->size(), 48U);
  ASSERT_TRUE(ensure_role_password(b.world).has_value());
  EXPECT_EQ(b.api.peek(k::kSecret, "pgrunbook-roles")["data"]["password"], made);
  // Another operator is faster between our look and our write: its password stays.
  Bench c;
  c.api.put(k::kSecret, {{"metadata", {{"name", "pgrunbook-roles"}}}});
  c.api.fault = [&](const FakeApi::Call& call, FakeApi::Moment moment) -> std::optional<base::Error> {
    if (call.verb == "patch" && moment == FakeApi::Moment::kBefore)
      c.api.merge(k::kSecret, "pgrunbook-roles", {{"data", {{"password", "b3RoZXI="}}}});
    return std::nullopt;
  };
  ASSERT_TRUE(ensure_role_password(c.world).has_value());
  EXPECT_EQ(c.api.peek(k::kSecret, "pgrunbook-roles")["data"]["password"], "b3RoZXI=");
}

TEST(Terminations, KeepWhatWasSeenAfterThePodIsGone) {
  Terminations t;
  Json pod = tfrs::pod("p", kPrimary, "10.0.0.1");
  t.observe(pod);
  EXPECT_TRUE(t.of("uid-p", "postgresql").is_null());
  t.observe(tfrs::terminated(pod, 137));
  EXPECT_EQ(t.of("uid-p", "postgresql"),
            (Json{{"exitCode", 137}, {"finishedAt", "2026-11-20T15:00:01Z"}, {"reason", "Error"}}));
  EXPECT_TRUE(t.of("uid-p", "other").is_null());
  t.observe(Json::object());
}

// The same pod's container, started again and then lost with its node: how it ended the time before proves
// nothing.
TEST(Terminations, AreForgottenOnceTheContainerRunsAgain) {
  Terminations t;
  Json pod = tfrs::pod("p", kPrimary, "10.0.0.1");
  t.observe(tfrs::terminated(pod, 137));
  Json waits = pod;
  waits["status"]["containerStatuses"][0]["state"] = {{"waiting", {{"reason", "CrashLoopBackOff"}}}};
  t.observe(waits);
  EXPECT_FALSE(t.of("uid-p", "postgresql").is_null());
  t.observe(pod);
  EXPECT_TRUE(t.of("uid-p", "postgresql").is_null());
}

}  // namespace
}  // namespace pgrunbook::execute
