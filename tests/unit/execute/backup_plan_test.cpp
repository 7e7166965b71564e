// A backup's way to its planning Job: what is asked before the Job is made, and what only after it has
// answered.
#include <gtest/gtest.h>

#include "execute/flows.hpp"
#include "execute/jobs.hpp"
#include "unit/execute/bench.hpp"

namespace pgrunbook::execute {
namespace {

namespace k = kube::kinds;
using test::Bench;
using Kind = StepResult::Kind;
using std::chrono::seconds;

sql::Target target(const std::string& password = "p", const std::string& host = "10.0.0.1") {
  sql::Target t;
  t.user = "pgrunbook";
  t.password = password;
  t.host = host;
  return t;
}

TEST(Logins, AreKnownForAWhileAndAsTheyWere) {
  std::chrono::steady_clock::time_point now{std::chrono::hours(1)};
  Logins logins([&] { return now; });
  EXPECT_FALSE(logins.lately(target()));
  logins.note(target());
  EXPECT_TRUE(logins.lately(target()));
  EXPECT_FALSE(logins.lately(target("other"))) << "another password is another login";
  EXPECT_FALSE(logins.lately(target("p", "10.0.0.2"))) << "so is another pod";
  now += seconds(30);
  EXPECT_TRUE(logins.lately(target()));
  now += seconds(1);
  EXPECT_FALSE(logins.lately(target()));
}

class BackupPlan : public testing::Test {
 protected:
  Bench b;
  Logins logins;
  Json object = b.api.put(k::kBackup, {{"metadata", {{"name", "nightly"}, {"uid", "87654321-bbbb"}}},
                                       {"spec", {{"topologyRef", {{"name", "tfrs"}}}, {"method", "Base"}}}});
  Action a{b.world, k::kBackup, object, api::meta_of(object), api::status_of(object), "PostgresBackup", {}};
  const std::string job = "pgb-87654321-plan-1";

  BackupPlan() {
    a.save = [](Action&) -> Result<> { return {}; };
    a.status.start_time = base::format_time(base::now());
  }
  StepResult plan() {
    api::BackupSpec spec;
    spec.topology = "tfrs";
    return backup_flow(a, spec).plan(a);
  }
  void log_in() {
    plan::SceneView scene = b.scene();
    auto t = role_login(b.world, scene, scene.members[0]);
    ASSERT_TRUE(t) << t.error().text();
    logins.note(*t);
    b.world.logins = &logins;
  }
};

TEST_F(BackupPlan, WithoutALoginNoJobIsMade) {
  b.world.logins = &logins;
  StepResult r = plan();
  EXPECT_EQ(r.kind, Kind::kWaiting);
  EXPECT_EQ(r.message, "nobody answers");
  EXPECT_EQ(b.logins.size(), 1U);
  EXPECT_TRUE(b.api.peek(k::kJob, job).is_null());
}

TEST_F(BackupPlan, ALoginOfAMomentAgoIsNotTriedAgainBeforeTheJob) {
  log_in();
  EXPECT_EQ(plan().message, "starting Job " + job);
  EXPECT_TRUE(b.logins.empty());
  EXPECT_FALSE(b.api.peek(k::kJob, job).is_null());
}

TEST_F(BackupPlan, NothingIsPlannedBeforeTheServerHasSaidWhoItIs) {
  log_in();
  ASSERT_EQ(plan().message, "starting Job " + job);
  Json state = {{"terminated",
                 {{"exitCode", 0},
                  {"message",
                   api::to_json(api::Answer{api::Outcome::kSucceeded, "", "", "", Json::object()}).dump()}}}};
  b.api.put(k::kPod, {{"metadata", {{"name", job + "-x"}, {"labels", {{"job-name", job}}}}},
                      {"status", {{"containerStatuses", {{{"name", "work"}, {"state", state}}}}}}});
  StepResult r = plan();
  EXPECT_EQ(r.kind, Kind::kWaiting);
  EXPECT_EQ(r.message, "nobody answers");
  EXPECT_EQ(b.logins.size(), 1U);
  EXPECT_TRUE(a.status.plan.is_null());
}

}  // namespace
}  // namespace pgrunbook::execute
