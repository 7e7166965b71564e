// From a container's state and its log to a diagnosis, and from there to the object that mends it.
#include "plan/symptoms.hpp"

#include <fstream>
#include <set>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include "support/paths.hpp"

namespace pgrunbook::plan {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kNow = "2026-11-28T16:12:05Z";
base::SystemTime at_time(const std::string& text) { return *base::parse_time(text, "test"); }

constexpr const char* kNoCheckpoint = "PANIC:  could not locate a valid checkpoint record\n";
constexpr const char* kBadPage = "ERROR:  invalid page in block 3 of relation base/5/16439\n";
constexpr const char* kReadOnlySql = "ERROR:  cannot execute ALTER ROLE in a read-only transaction\n";

ContainerView serving() {
  ContainerView c;
  c.there = c.ready = c.running = true;
  c.pod = "postgresql-1";
  c.pod_uid = "u1";
  c.running_since = "2026-11-28T10:00:00Z";
  return c;
}
ContainerView looping(int restarts = 2) {
  ContainerView c = serving();
  c.ready = c.running = false;
  c.running_since = "";
  c.restarts = restarts;
  c.waiting = "CrashLoopBackOff";
  c.ended = "Error";
  c.ended_at = "2026-11-28T16:12:00Z";
  c.exit_code = 1;
  return c;
}
ContainerView starting() {
  ContainerView c = serving();
  c.ready = false;
  c.running_since = "2026-11-28T16:12:00Z";
  return c;
}
ContainerView waiting(const char* why) {
  ContainerView c = looping(0);
  c.waiting = why;
  c.ended = c.ended_at = "";
  return c;
}

struct Told {
  const char* name;
  ContainerView container;
  const char* log;
  const char* reason;  // "" = nothing
};
ContainerView oom() {
  ContainerView c = looping();
  c.ended = "OOMKilled";
  c.exit_code = 137;
  return c;
}
ContainerView collector_starting() {
  ContainerView c = starting();
  c.restarts = 1;
  return c;
}

class Diagnosis : public testing::TestWithParam<Told> {};
TEST_P(Diagnosis, Is) {
  auto s = diagnose(GetParam().container, GetParam().log);
  EXPECT_EQ(s ? s->reason : "", GetParam().reason) << (s ? s->line : "");
  if (s) {
    EXPECT_EQ(s->serves, GetParam().container.ready);
  }
}
INSTANTIATE_TEST_SUITE_P(
    Table, Diagnosis,
    testing::Values(
        Told{"NoPod", {}, kNoCheckpoint, ""}, Told{"Well", serving(), "LOG:  checkpoint complete\n", ""},
        Told{"Destroyed", looping(), kNoCheckpoint, "CheckpointLost"},
        Told{"FirstLife", looping(0), kNoCheckpoint, "CheckpointLost"},
        Told{"Starting", starting(), "LOG:  redo starts at 0/6000028\n", ""},
        Told{"StartsInVain", starting(), kNoCheckpoint, "CheckpointLost"},
        Told{"LastStartCounts", looping(),
             "FATAL:  lock file \"postmaster.pid\" already exists\nPANIC:  could not write to file "
             "\"pg_wal/xlogtemp.31\": No space left on device\n",
             "DiskFull"},
        Told{"PageOfOneThatServes", serving(), kBadPage, "PageDamaged"},
        Told{"WorstOfOneThatServes", serving(),
             "ERROR:  index \"i\" contains unexpected zero page at block 1\nERROR:  invalid page in block 3 "
             "of "
             "relation base/5/16439\nERROR:  could not extend file \"base/5/1\": No space left on device\n",
             "PageDamaged"},
        // A former life's, or an application on a standby.
        Told{"FatalOfOneThatServes", serving(), kNoCheckpoint, ""},
        Told{"ReadOnlyOfOneThatServes", serving(), kReadOnlySql, ""},
        Told{"Fenced", looping(), kReadOnlySql, "ReadOnlyServer"},
        Told{"ReadOnlyInItsFirstStart", starting(), kReadOnlySql, ""},
        Told{"OutOfMemory", oom(), "LOG:  starting PostgreSQL\n", "OutOfMemory"},
        Told{"OutOfMemoryIsNotTheFirstGuess", oom(), kNoCheckpoint, "CheckpointLost"},
        Told{"Collector", looping(), "LOG:  redirecting log output to logging collector process\n",
             "LogElsewhere"},
        Told{"CollectorMayComeUp", collector_starting(),
             "LOG:  redirecting log output to logging collector process\n", ""},
        Told{"Unknown", looping(), "sh: exec: postgres: not found\n", "CrashLoops"},
        Told{"Image", waiting("ImagePullBackOff"), "", "ContainerWaits"},
        Told{"Creating", waiting("ContainerCreating"), "", ""}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(Diagnosis, AnUnknownEndIsQuoted) {
  auto s = diagnose(looping(4), "one\nsh: exec: postgres: not found\n\n");
  ASSERT_TRUE(s);
  EXPECT_EQ(s->line, "sh: exec: postgres: not found");
  EXPECT_THAT(s->what, HasSubstr("ended 4 times, last with exit code 1"));
}

TEST(ContainerOf, ReadsWhatTheKubeletSays) {
  MemberView m;
  m.container = "postgresql";
  EXPECT_FALSE(container_of(m).there);
  m.pods = {base::Json::parse(R"({"metadata":{"name":"p-1","uid":"u"},"status":{
    "conditions":[{"type":"Ready","status":"False"}],
    "containerStatuses":[{"name":"sidecar","restartCount":9},
      {"name":"postgresql","restartCount":3,"state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off"}},
       "lastState":{"terminated":{"reason":"Error","exitCode":7,"finishedAt":"2026-11-28T16:00:00Z"}}}]}})")};
  ContainerView c = container_of(m);
  EXPECT_TRUE(c.there);
  EXPECT_FALSE(c.ready);
  EXPECT_FALSE(c.running);
  EXPECT_EQ(c.pod, "p-1");
  EXPECT_EQ(c.restarts, 3);
  EXPECT_EQ(c.waiting, "CrashLoopBackOff");
  EXPECT_EQ(c.ended, "Error");
  EXPECT_EQ(c.exit_code, 7);
}

TEST(LogWish, IsBounded) {
  auto now = at_time(kNow);
  auto second = std::chrono::seconds(1);
  EXPECT_FALSE(log_wish({}, {}, now).read);
  EXPECT_FALSE(log_wish(waiting("ImagePullBackOff"), {}, now).read);
  EXPECT_FALSE(log_wish(waiting("ContainerCreating"), {}, now).read);

  // One that does not serve: at once, again when it was restarted, else once a minute.
  LogWish first = log_wish(looping(2), {}, now);
  EXPECT_TRUE(first.read && first.previous);
  EXPECT_EQ(first.since_seconds, 0);
  LogRead last{"u1", 2, now};
  EXPECT_FALSE(log_wish(looping(2), last, now + 59 * second).read);
  EXPECT_TRUE(log_wish(looping(2), last, now + 60 * second).read);
  EXPECT_TRUE(log_wish(looping(3), last, now + second).read);

  // One that serves: once a minute, what came since.
  LogWish well = log_wish(serving(), LogRead{"u1", 0, now}, now + 62 * second);
  EXPECT_TRUE(well.read);
  EXPECT_FALSE(well.previous);
  EXPECT_EQ(well.since_seconds, 67);
  EXPECT_FALSE(log_wish(serving(), LogRead{"u1", 0, now}, now + 30 * second).read);
  EXPECT_EQ(log_wish(serving(), LogRead{"u1", 0, now}, now + 100000 * second).since_seconds, 3600);
  // It crashed and came back: what it said last is in the log of that life, unless that is long ago.
  ContainerView back = serving();
  back.restarts = 1;
  back.ended_at = "2026-11-28T16:11:00Z";
  EXPECT_TRUE(log_wish(back, LogRead{"u1", 0, now}, now + second).previous);
  EXPECT_FALSE(log_wish(back, LogRead{"u1", 1, now}, now + 60 * second).previous);
  back.ended_at = "2026-11-28T09:00:00Z";
  EXPECT_FALSE(log_wish(back, {}, now).previous);
}

Symptom known(const char* reason, bool serves, const char* seen = kNow) {
  return {reason, "what", "line", serves, "2026-11-28T10:00:00Z", seen};
}

TEST(Carry, ANewOneBeginsNow) {
  auto s = carry({}, Symptom{"CheckpointLost", "w", "l", false, "", ""}, looping(), true, at_time(kNow));
  ASSERT_TRUE(s);
  EXPECT_EQ(s->since, kNow);
  EXPECT_EQ(s->seen, kNow);
  EXPECT_EQ(to_json(*symptom_from_json(to_json(*s))), to_json(*s));
  EXPECT_FALSE(symptom_from_json(base::Json()));
  EXPECT_FALSE(symptom_from_json({{"reason", "X"}, {"since", "yesterday"}}));
}

TEST(Carry, TheSameOneKeepsItsBeginningAndIsWrittenEveryTenMinutes) {
  Symptom again{"CheckpointLost", "w", "other line", false, "", ""};
  auto soon =
      carry(known("CheckpointLost", false, "2026-11-28T16:05:00Z"), again, looping(3), true, at_time(kNow));
  ASSERT_TRUE(soon);
  EXPECT_EQ(soon->line, "line") << "a write for each restart";
  auto later =
      carry(known("CheckpointLost", false, "2026-11-28T16:00:00Z"), again, looping(3), true, at_time(kNow));
  ASSERT_TRUE(later);
  EXPECT_EQ(later->line, "other line");
  EXPECT_EQ(later->since, "2026-11-28T10:00:00Z");
  EXPECT_EQ(later->seen, kNow);
  Symptom other{"DiskFull", "w", "l", false, "", ""};
  EXPECT_EQ(carry(known("CheckpointLost", false), other, looping(3), true, at_time(kNow))->since, kNow);
}

TEST(Carry, AVagueOneDoesNotReplaceOneThatSaysWhy) {
  Symptom vague{"CrashLoops", "w", "l", false, "", ""};
  EXPECT_EQ(carry(known("CheckpointLost", false), vague, looping(), true, at_time(kNow))->reason,
            "CheckpointLost");
  EXPECT_EQ(carry(known("LogElsewhere", false), vague, looping(), true, at_time(kNow))->reason, "CrashLoops");
}

TEST(Carry, EndsWhenItIsOver) {
  auto now = at_time(kNow);
  auto destroyed = known("CheckpointLost", false);
  EXPECT_TRUE(carry(destroyed, {}, looping(), true, now));
  EXPECT_TRUE(carry(destroyed, {}, {}, true, now)) << "scaled to 0: nothing was mended by that";
  EXPECT_FALSE(carry(destroyed, {}, {}, false, now)) << "a spare at 0";
  EXPECT_FALSE(carry(destroyed, {}, serving(), true, now));
  ContainerView just_up = serving();
  just_up.running_since = "2026-11-28T16:12:00Z";
  EXPECT_TRUE(carry(destroyed, {}, just_up, true, now)) << "without a readiness probe every start is ready";

  EXPECT_TRUE(carry(known("PageDamaged", true, "2026-11-27T17:00:00Z"), {}, serving(), true, now));
  EXPECT_FALSE(carry(known("PageDamaged", true, "2026-11-27T16:00:00Z"), {}, serving(), true, now));
  EXPECT_FALSE(carry(known("DiskFull", true, "2026-11-28T16:00:00Z"), {}, serving(), true, now));
}

MemberView member(const char* name, int replicas) {
  MemberView m;
  m.name = name;
  m.workload.name = name;
  m.replicas = replicas;
  m.container = "postgresql";
  m.image = "sclorg:15";
  m.data_claim = std::string(name) + "-data";
  m.data_directory = "/var/lib/pgsql/data/userdata";
  return m;
}
SceneView scene() {
  SceneView s;
  s.ns = "ns";
  s.topology = "tfrs";
  s.primary = "postgresql";
  s.members = {member("postgresql", 1), member("postgresql-standby", 0)};
  return s;
}
base::Json restore(const char* name, const char* phase, bool salvage = true,
                   const char* created = "2026-11-28T10:05:00Z") {
  base::Json r = {{"metadata", {{"name", name}, {"creationTimestamp", created}}},
                  {"spec",
                   {{"topologyRef", {{"name", "tfrs"}}},
                    {"to", {{"type", "Member"}, {"member", {{"name", "postgresql-standby"}}}}}}},
                  {"status", {{"phase", phase}}}};
  if (salvage) r["spec"]["salvage"] = "StoppedPrimary";
  return r;
}
base::Json as_json(const YAML::Node& node) {
  if (node.IsScalar()) return node.as<std::string>();
  base::Json out = node.IsSequence() ? base::Json::array() : base::Json::object();
  if (node.IsSequence()) {
    for (const auto& n : node) out.push_back(as_json(n));
  } else {
    for (const auto& n : node) out[n.first.as<std::string>()] = as_json(n.second);
  }
  return out;
}

TEST(WayOut, DestroyedPrimaryIsSalvaged) {
  WayOut way = way_out(scene(), scene().members[0], known("ControlFileDestroyed", false), {true, {}, {}});
  EXPECT_THAT(way.hint, AllOf(HasSubstr("no pg_resetwal"), HasSubstr("candidate: postgresql-standby")));
  base::Json object = as_json(YAML::Load(way.yaml));
  EXPECT_EQ(object["kind"], "PostgresRestore");
  EXPECT_EQ(object["metadata"]["name"], "tfrs-salvage-20261128-1000")
      << "the incident's, so that twice is once";
  EXPECT_EQ(object["metadata"]["namespace"], "ns");
  auto spec = api::restore_spec(object["spec"]);
  ASSERT_TRUE(spec) << spec.error().text();
  EXPECT_EQ(spec->to_member, "postgresql-standby");
  EXPECT_EQ(spec->salvage, "StoppedPrimary");
  EXPECT_EQ(spec->cutover, "Manual");
  EXPECT_EQ(spec->mode, "Execute");
}

TEST(WayOut, FollowsWhatWasDone) {
  SceneView s = scene();
  Symptom symptom = known("ControlFileDestroyed", false);
  auto way = [&](base::Json restores, base::Json failovers = base::Json::array()) {
    return way_out(s, s.members[0], symptom, {true, std::move(restores), std::move(failovers)});
  };
  // The name of one that failed is used up.
  EXPECT_THAT(way(base::Json::array({restore("tfrs-salvage-20261128-1000", "Failed")})).yaml,
              HasSubstr("name: tfrs-salvage-20261128-1000-2,"));
  WayOut waits = way(base::Json::array({restore("by-hand", "AwaitingApproval")}));
  EXPECT_EQ(waits.yaml, "");
  EXPECT_THAT(waits.hint, HasSubstr("PostgresRestore by-hand is to restore it on postgresql-standby"));
  WayOut done = way(base::Json::array({restore("by-hand", "Completed"), restore("x", "Failed")}));
  base::Json failover = as_json(YAML::Load(done.yaml));
  EXPECT_EQ(failover["kind"], "Failover");
  auto spec = api::failover_spec(failover["spec"]);
  ASSERT_TRUE(spec) << spec.error().text();
  EXPECT_EQ(spec->candidate, "postgresql-standby");
  EXPECT_EQ(failover["metadata"]["name"], "tfrs-cutover-20261128-1000");
  base::Json tried = {{"metadata", {{"name", "tfrs-cutover-20261128-1000"}}},
                      {"status", {{"phase", "Failed"}}}};
  EXPECT_THAT(way(base::Json::array({restore("by-hand", "Completed")}), base::Json::array({tried})).yaml,
              HasSubstr("name: tfrs-cutover-20261128-1000-2,"));
  // Not those of another incident, nor without what only this volume holds.
  EXPECT_THAT(way(base::Json::array({restore("old", "Completed", true, "2026-11-28T09:59:00Z")})).yaml,
              HasSubstr("PostgresRestore"));
  EXPECT_THAT(way(base::Json::array({restore("test", "Completed", false)})).yaml,
              HasSubstr("PostgresRestore"));
}

TEST(WayOut, WithoutBackupOrMemberNothingIsPromised) {
  SceneView s = scene();
  WayOut bare = way_out(s, s.members[0], known("ControlFileDestroyed", false), {false, {}, {}});
  EXPECT_EQ(bare.yaml, "");
  EXPECT_THAT(bare.hint, AllOf(HasSubstr("no backup is complete"), HasSubstr("no pg_resetwal")));
  s.members.pop_back();
  WayOut alone = way_out(s, s.members[0], known("ControlFileDestroyed", false), {true, {}, {}});
  EXPECT_EQ(alone.yaml, "");
  EXPECT_THAT(alone.hint, HasSubstr("no other member"));
}

TEST(WayOut, DamageInOneThatServesIsRestoredBeside) {
  WayOut way = way_out(scene(), scene().members[0], known("PageDamaged", true), {true, {}, {}});
  EXPECT_THAT(way.yaml, AllOf(HasSubstr("postgresql-standby"), Not(HasSubstr("salvage:"))));
  // A standby is restored onto again; it needs no cutover.
  WayOut standby = way_out(scene(), scene().members[1], known("CheckpointLost", false), {true, {}, {}});
  EXPECT_THAT(standby.yaml, AllOf(HasSubstr("name: postgresql-standby"), Not(HasSubstr("salvage:")),
                                  Not(HasSubstr("cutover"))));
}

struct NoRestore {
  const char* reason;
  const char* hint;
};
class MendedOtherwise : public testing::TestWithParam<NoRestore> {};
TEST_P(MendedOtherwise, NamesNoRestore) {
  Symptom s = known(GetParam().reason, false);
  s.line = "ERROR:  index \"plain_t\" contains unexpected zero page at block 2";
  WayOut way = way_out(scene(), scene().members[0], s, {true, {}, {}});
  EXPECT_EQ(way.yaml, "");
  EXPECT_THAT(way.hint, HasSubstr(GetParam().hint));
}
INSTANTIATE_TEST_SUITE_P(
    Table, MendedOtherwise,
    testing::Values(NoRestore{"IndexDamaged", "REINDEX INDEX CONCURRENTLY plain_t"},
                    NoRestore{"DiskFull", "make PersistentVolumeClaim postgresql-data larger"},
                    NoRestore{"SharedMemoryFull", "/dev/shm"}, NoRestore{"DiskFails", "look at the node"},
                    NoRestore{"OtherVersion", "put the image back"}, NoRestore{"NoAccess", "fsGroup"},
                    NoRestore{"LockFileLeft", "kubectl scale deploy postgresql --replicas=0"},
                    NoRestore{"ReadOnlyServer", "the Services select a member that was fenced"},
                    NoRestore{"SettingsUnfit", "correct the setting"},
                    NoRestore{"OutOfMemory", "resources.limits.memory"},
                    NoRestore{"ContainerWaits", "kubectl describe pod"},
                    NoRestore{"CrashLoops", "kubectl logs deploy/postgresql -c postgresql --previous"}),
    [](const auto& param) { return std::string(param.param.reason); });

TEST(WayOut, ALogElsewhereIsReadByAPlan) {
  WayOut way = way_out(scene(), scene().members[0], known("LogElsewhere", false), {true, {}, {}});
  auto spec = api::restore_spec(as_json(YAML::Load(way.yaml))["spec"]);
  ASSERT_TRUE(spec) << spec.error().text();
  EXPECT_EQ(spec->mode, "Plan");
  EXPECT_EQ(spec->salvage, "StoppedPrimary");
}

TEST(WayOut, AFencedMemberIsScaledDownOrRestoredOnto) {
  WayOut way = way_out(scene(), scene().members[1], known("ReadOnlyServer", false), {true, {}, {}});
  EXPECT_THAT(way.hint, HasSubstr("kubectl scale deploy postgresql-standby --replicas=0"));
  EXPECT_THAT(way.yaml, HasSubstr("kind: PostgresRestore"));
}

TEST(Health, IsSaidInTheStatus) {
  base::Json status = {{"members", {{{"name", "postgresql"}, {"symptom", {{"reason", "x"}}}}}},
                       {"message", "before"},
                       {"wayOut", "old"}};
  StatusEditor say(&status, 3, kNow);
  std::vector<MemberHealth> well = {{"postgresql", {}, ""}, {"postgresql-standby", {}, ""}};
  say_health(say, well, judge_health(scene(), well, {true, {}, {}}));
  EXPECT_EQ(api::condition_status(status["conditions"], "MembersHealthy"), "True");
  EXPECT_FALSE(status.contains("wayOut"));
  EXPECT_FALSE(status["members"][0].contains("symptom"));
  EXPECT_EQ(status["members"].size(), 1U);
  EXPECT_EQ(status["message"], "before");

  std::vector<MemberHealth> ill = {{"postgresql-standby", known("PageDamaged", true), ""},
                                   {"postgresql", known("ControlFileDestroyed", false), ""}};
  HealthReport report = judge_health(scene(), ill, {true, {}, {}});
  say_health(say, ill, report);
  EXPECT_EQ(report.reason, "ControlFileDestroyed") << "the primary's first";
  EXPECT_EQ(api::condition_status(status["conditions"], "MembersHealthy"), "False");
  EXPECT_EQ(api::condition_status(status["conditions"], "Ready"), "False");
  EXPECT_EQ(api::condition_status(status["conditions"], "Stalled"), "True");
  EXPECT_THAT(report.message,
              AllOf(HasSubstr("postgresql: what: line. HINT: "), HasSubstr("postgresql-standby: what"),
                    HasSubstr("kubectl get pgt tfrs -o jsonpath='{.status.wayOut}'")));
  EXPECT_THAT(status["wayOut"].get<std::string>(), HasSubstr("salvage: StoppedPrimary"));
  EXPECT_EQ(status["members"][1]["symptom"]["reason"], "PageDamaged");

  // Damage in a primary that serves does not make the topology unready.
  base::Json other = base::Json::object();
  StatusEditor say_other(&other, 3, kNow);
  std::vector<MemberHealth> damaged = {{"postgresql", known("PageDamaged", true), ""}};
  say_health(say_other, damaged, judge_health(scene(), damaged, {true, {}, {}}));
  EXPECT_EQ(api::condition_status(other["conditions"], "Ready"), "");
  EXPECT_THAT(other["message"].get<std::string>(), HasSubstr("MembersHealthy"));

  std::vector<MemberHealth> unread = {{"postgresql", {}, "forbidden"}};
  EXPECT_EQ(judge_health(scene(), unread, {true, {}, {}}).reason, "LogUnreadable");
}

TEST(Docs, CorruptionNamesEveryReason) {
  std::ifstream in(std::string(PGRUNBOOK_SOURCE_DIR) + "/docs/corruption.md");
  std::stringstream text;
  text << in.rdbuf();
  std::vector<std::string> reasons = postgres::complaint_reasons();
  for (const char* more : {"OutOfMemory", "ContainerWaits", "CrashLoops", "LogUnreadable", "NothingSeen"})
    reasons.emplace_back(more);
  for (const std::string& r : reasons) EXPECT_THAT(text.str(), HasSubstr("| `" + r + "` |")) << r;
}

}  // namespace
}  // namespace pgrunbook::plan
