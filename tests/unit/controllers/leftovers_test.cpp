// Actions whose object was deleted while they ran are put back from their Lease; leaving is asked for and
// done through one.
#include "controllers/leftovers.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "controllers/actions.hpp"
#include "controllers/leave.hpp"
#include "execute/gate.hpp"
#include "unit/execute/bench.hpp"

namespace pgrunbook::controllers {
namespace {

namespace k = kube::kinds;
using base::Json;
using base::text_at;
using execute::Duty;
using test::Bench;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Duty duty(const std::string& kind, const std::string& name, const std::string& uid,
          const std::string& flow = "") {
  Duty d;
  d.kind = kind;
  d.flow = flow;
  d.object = {{"metadata", {{"name", name}, {"uid", uid}}}};
  return d;
}

TEST(Leftovers, AreDutiesWithoutTheirObject) {
  EXPECT_TRUE(is_leftover(duty("Failover", "x", "u"), ""));
  EXPECT_TRUE(is_leftover(duty("Failover", "x", "u"), "another of that name"));
  EXPECT_FALSE(is_leftover(duty("Failover", "x", "u"), "u"));
  EXPECT_TRUE(is_leftover(duty("PostgresTopology", "x", "u", "Leave"), "u"));
}

class Deleted : public ::testing::Test {
 protected:
  Bench b;
  std::string claim = b.scene().members.front().data_claim_uid;
  std::string lease = execute::lease_name(claim);

  // A cutover that has stopped the applications, and is then deleted with nobody looking.
  void cutover_is_deleted() {
    b.a.object["spec"] = {
        {"topologyRef", {{"name", "tfrs"}}}, {"type", "Cutover"}, {"candidate", "postgresql-standby"}};
    b.a.status.phase = api::Phase::kRunning;
    b.a.status.plan = {{"digest", "d"}};
    ASSERT_TRUE(execute::scene_of(b.a).has_value());
    Json& in = b.a.status.operation.inputs;
    in["topologyObject"] = {{"uid", "topology-uid"}, {"spec", b.api.peek(k::kTopology, "tfrs")["spec"]}};
    in["claims"] = Json::array({claim});
    in["applications"] = {{"tfrs", 1}};
    in["from"] = "postgresql";
    in["to"] = "postgresql-standby";
    in["services"] = Json::object();
    ASSERT_EQ(execute::hold_volumes(b.a, {claim}).kind, execute::StepResult::Kind::kDone);
    b.a.status.operation.results["hold"] = Json::object();
    b.a.status.operation.step = "stop-applications";
    ASSERT_TRUE(execute::keep_duty(b.a, Json()).has_value());
    b.api.erase(k::kFailover, "switch");
    b.api.merge(k::kDeployment, "tfrs", {{"spec", {{"replicas", 0}}}});
    for (const Json& pod : b.api.all(k::kPod)) {
      if (text_at(pod, {"metadata", "name"}).rfind("tfrs", 0) == 0)
        b.api.erase(k::kPod, text_at(pod, {"metadata", "name"}));
    }
    b.api.forget_calls();
  }
  void cutover_is_deleted_and_over() {
    cutover_is_deleted();
    Json kept = b.api.peek(k::kLease, lease);
    Json note = Json::parse(text_at(kept, {"metadata", "annotations", api::kAnnotationDuty}));
    note["status"]["phase"] = "Cancelled";
    b.api.merge(k::kLease, lease, {{"metadata", {{"annotations", {{api::kAnnotationDuty, note.dump()}}}}}});
  }
  runtime::Outcome reconcile() {
    return reconcile_action(b.world, k::kFailover, {test::tfrs::kNamespace, "switch"}, {});
  }
};

TEST_F(Deleted, CutoverIsPutBackUnderItsOwnKey) {
  cutover_is_deleted();
  (void)reconcile();
  EXPECT_EQ(b.replicas("tfrs"), 1);
  Json kept = b.api.peek(k::kLease, lease);
  auto now = execute::duty_of(kept);
  ASSERT_TRUE(now.has_value() && now->has_value());
  api::ActionStatus status = api::status_of((*now)->object);
  EXPECT_TRUE(status.operation.rolling_back);
  EXPECT_EQ(text_at(status.operation.failure, {"reason"}), "Cancelled");
}

TEST_F(Deleted, OneOfTheSameNameWaitsUntilTheFirstIsPutBack) {
  cutover_is_deleted();
  b.api.put(k::kFailover, {{"metadata", {{"name", "switch"}, {"uid", "second"}, {"namespace", "tfrs"}}},
                           {"spec", {{"topologyRef", {{"name", "tfrs"}}}}}});
  (void)reconcile();
  EXPECT_EQ(b.replicas("tfrs"), 1);
  EXPECT_TRUE(b.api.peek(k::kFailover, "switch")["status"].is_null()) << "the second has not begun";
}

TEST_F(Deleted, PastTheLastWayBackGoesForward) {
  cutover_is_deleted();
  Json kept = b.api.peek(k::kLease, lease);
  Json note = Json::parse(text_at(kept, {"metadata", "annotations", api::kAnnotationDuty}));
  note["status"]["operation"]["step"] = "start-applications";
  note["status"]["operation"]["pastNoReturn"] = true;
  b.api.merge(k::kDeployment, "postgresql", {{"spec", {{"replicas", 0}}}});
  for (const Json& pod : b.api.all(k::kPod)) {
    if (text_at(pod, {"metadata", "labels", "name"}) == "postgresql")
      b.api.erase(k::kPod, text_at(pod, {"metadata", "name"}));
  }
  b.api.merge(k::kLease, lease, {{"metadata", {{"annotations", {{api::kAnnotationDuty, note.dump()}}}}}});
  (void)reconcile();
  EXPECT_EQ(b.replicas("tfrs"), 1);
  auto now = execute::duty_of(b.api.peek(k::kLease, lease));
  ASSERT_TRUE(now.has_value() && now->has_value());
  EXPECT_FALSE(api::status_of((*now)->object).operation.rolling_back);
  EXPECT_EQ(api::status_of((*now)->object).operation.step, "first-connection");
}

TEST_F(Deleted, IsFoundAtTheStartAndNothingElseIs) {
  b.api.put(k::kLease, {{"metadata", {{"name", "pgrunbook"}}}, {"spec", {{"holderIdentity", "operator"}}}});
  std::vector<std::string> found;
  auto look = [&] {
    found.clear();
    auto outcome = find_leftovers(b.world, [&](const std::string& kind, const runtime::Key& key) {
      found.push_back(kind + " " + key.name);
    });
    EXPECT_TRUE(std::holds_alternative<runtime::After>(outcome));
    return found;
  };
  EXPECT_THAT(look(), ElementsAre());
  cutover_is_deleted();
  EXPECT_THAT(look(), ElementsAre("Failover switch"));
}

TEST_F(Deleted, AfterItsEndLeavesNoLease) {
  cutover_is_deleted_and_over();
  EXPECT_TRUE(std::holds_alternative<runtime::Done>(reconcile()));
  EXPECT_TRUE(b.api.peek(k::kLease, lease).is_null());
}

// Between the look and the removal another action takes the volume.
TEST_F(Deleted, LeavesTheLeaseThatIsAnotherOnesByNow) {
  cutover_is_deleted_and_over();
  bool taken = false;
  b.api.fault = [&](const test::FakeApi::Call& call,
                    test::FakeApi::Moment moment) -> std::optional<base::Error> {
    if (call.text() != "remove Lease/" + lease || moment != test::FakeApi::Moment::kBefore) return {};
    taken = true;
    b.api.erase(k::kLease, lease);
    b.api.put(k::kLease, {{"metadata", {{"name", lease}, {"uid", "another"}}},
                          {"spec", {{"holderIdentity", "another"}}}});
    return {};
  };
  EXPECT_TRUE(std::holds_alternative<runtime::Done>(reconcile()));
  EXPECT_TRUE(taken);
  EXPECT_EQ(text_at(b.api.peek(k::kLease, lease), {"metadata", "uid"}), "another");
}

class Leaving : public ::testing::Test {
 protected:
  Bench b;
  std::vector<std::string> said;
  LeaveOptions options{"", test::tfrs::kNamespace, "tfrs", std::chrono::milliseconds(1),
                       std::chrono::seconds(0)};
  base::Result<> run() {
    return leave(b.api, options, [this](const std::string& line) { said.push_back(line); });
  }
  // The operator answers the request with that status.
  void operator_answers(const Json& status) {
    b.api.react = [status](test::FakeApi& api, const kube::Resource& r, const Json& object) {
      if (r.kind != "Lease") return;
      std::string text = text_at(object, {"metadata", "annotations", api::kAnnotationDuty});
      Json note = text.empty() ? Json() : Json::parse(text);
      if (note.is_null() || note["status"] == status) return;
      note["status"] = status;
      api.merge(r, text_at(object, {"metadata", "name"}),
                {{"metadata", {{"annotations", {{api::kAnnotationDuty, note.dump()}}}}}});
    };
  }
};

TEST_F(Leaving, WithoutAnOperatorIsRefusedAndForgotten) {
  auto left = run();
  ASSERT_FALSE(left.has_value());
  EXPECT_EQ(left.error().reason, "NoOperator");
  EXPECT_THAT(left.error().hint, HasSubstr("install the chart pgrunbook, leave, uninstall"));
  EXPECT_TRUE(b.api.all(k::kLease).empty());
}

TEST_F(Leaving, AnUnknownTopologyIsSaid) {
  options.topology = "none";
  EXPECT_EQ(run().error().reason, "NoTopology");
}

TEST_F(Leaving, RemovesObjectsAndAnnotationsOnceTheOperatorHasDoneItsPart) {
  Json labels = {{"app.kubernetes.io/name", "pgrunbook"}, {api::kLabelTopology, "tfrs"}};
  b.api.put(k::kConfigMap, {{"metadata", {{"name", "pgb-one-transcript"}, {"labels", labels}}}});
  b.api.put(k::kConfigMap, {{"metadata", {{"name", "somebody's"}}}});
  b.api.put(k::kJob, {{"metadata", {{"name", "pgb-1-backup-1"}, {"labels", labels}}}});
  b.api.merge(k::kDeployment, "postgresql",
              {{"metadata", {{"annotations", {{api::kAnnotationReplicasBefore, "1"}}}}}});
  operator_answers({{"phase", "Completed"}, {"message", "topology tfrs is left"}});
  auto left = run();
  ASSERT_TRUE(left.has_value()) << left.error().text();
  EXPECT_THAT(said, ElementsAre("removed Job pgb-1-backup-1", "removed ConfigMap pgb-one-transcript",
                                "topology tfrs is left",
                                "To forget the topology: kubectl delete postgrestopology tfrs -n tfrs"));
  ASSERT_EQ(b.api.all(k::kConfigMap).size(), 1U);
  EXPECT_TRUE(b.annotation("postgresql").is_null());
  EXPECT_TRUE(b.api.all(k::kLease).empty());
}

TEST_F(Leaving, ThatTheOperatorRefusesSaysItsWords) {
  operator_answers({{"phase", "Failed"}, {"reason", "ActionRunning"}, {"message", "a backup is not over"}});
  auto left = run();
  ASSERT_FALSE(left.has_value());
  EXPECT_EQ(left.error().reason, "ActionRunning");
  EXPECT_EQ(left.error().message, "a backup is not over");
  EXPECT_TRUE(b.api.all(k::kLease).empty());
}

// The request as `leave` writes it, without waiting for its end.
void ask(Bench& b) {
  Json topology = b.api.peek(k::kTopology, "tfrs");
  Json note = {{"kind", "PostgresTopology"},
               {"flow", "Leave"},
               {"metadata",
                {{"name", "tfrs"}, {"namespace", "tfrs"}, {"uid", text_at(topology, {"metadata", "uid"})}}},
               {"spec", topology["spec"]},
               {"status", Json::object()}};
  b.api.put(k::kLease, {{"metadata",
                         {{"name", "pgrunbook-leave-tfrs"},
                          {"labels", {{"app.kubernetes.io/name", "pgrunbook"}}},
                          {"annotations", {{api::kAnnotationDuty, note.dump()}}}}},
                        {"spec", {{"holderIdentity", text_at(topology, {"metadata", "uid"})}}}});
}

api::ActionStatus answer(Bench& b) {
  (void)drive_leftover(b.world, "PostgresTopology", {test::tfrs::kNamespace, "tfrs"}, "whatever", {});
  auto duty = execute::duty_of(b.api.peek(k::kLease, "pgrunbook-leave-tfrs"));
  return duty && *duty ? api::status_of((*duty)->object) : api::ActionStatus();
}

void set_setup(Bench& b, const char* setup) {
  Json topology = b.api.peek(k::kTopology, "tfrs");
  topology["spec"]["archive"]["wal"]["setup"] = setup;
  b.api.put(k::kTopology, topology);
}

TEST(LeaveFlow, IsRefusedWhereSetupWouldMakeItAgain) {
  Bench b;
  set_setup(b, "ConfigureAndRestart");
  ask(b);
  api::ActionStatus status = answer(b);
  EXPECT_EQ(status.phase, api::Phase::kFailed);
  EXPECT_EQ(status.reason, "SetupWanted");
  EXPECT_THAT(status.message, HasSubstr("HINT: kubectl patch postgrestopology tfrs --type=merge"));
  EXPECT_TRUE(b.api.all(k::kJob).empty());
}

TEST(LeaveFlow, IsRefusedWhileAnActionRuns) {
  Bench b;
  set_setup(b, "Report");
  ask(b);
  api::ActionStatus status = answer(b);  // the bench has an unfinished Failover
  EXPECT_EQ(status.phase, api::Phase::kFailed);
  EXPECT_EQ(status.reason, "ActionRunning");
  EXPECT_THAT(status.message, HasSubstr("Failover switch is not over"));
}

}  // namespace
}  // namespace pgrunbook::controllers
