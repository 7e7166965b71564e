// What holds an action: NetworkPolicies in its way, and other actions on its volumes.
#include "execute/gate.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include "unit/execute/bench.hpp"

namespace pgrunbook::execute {
namespace {

namespace k = kube::kinds;
namespace tfrs = test::tfrs;
using base::text_at;
using test::Bench;
using test::FakeApi;
using test::kPrimary;
using test::kStandby;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Kind = StepResult::Kind;

void policy(FakeApi& api, const std::string& name, const Json& spec) {
  api.put(k::kNetworkPolicy, {{"metadata", {{"name", name}}}, {"spec", spec}});
}

void default_deny(FakeApi& api) {
  policy(api, "deny", {{"podSelector", Json::object()}, {"policyTypes", {"Ingress", "Egress"}}});
}

// As an application's owner writes them: egress of these, ingress of that member.
void allow(FakeApi& api, const std::string& name, const Json& from, const Json& to) {
  auto peers = [](const Json& labels) { return Json::array({{{"podSelector", {{"matchLabels", labels}}}}}); };
  policy(api, name + "-out",
         {{"podSelector", {{"matchLabels", from}}},
          {"policyTypes", {"Egress"}},
          {"egress", Json::array({{{"to", peers(to)}}})}});
  policy(api, name + "-in",
         {{"podSelector", {{"matchLabels", to}}},
          {"policyTypes", {"Ingress"}},
          {"ingress", Json::array({{{"from", peers(from)}}})}});
}

const Json kApp = {{"name", "tfrs"}};

TEST(NetworkGate, IsOpenWithoutPolicies) {
  Bench b;
  plan::SceneView s = b.scene();
  EXPECT_FALSE(network_gate(b.world, "the operator", "pgrunbook-operator", b.world.own_labels, s.members[0])
                   .has_value());
}

TEST(NetworkGate, BlocksWithTheYamlToAddAndOpensOnceItIsAdded) {
  Bench b;
  default_deny(b.api);
  plan::SceneView s = b.scene();
  auto gate = network_gate(b.world, "the operator", "pgrunbook-operator", b.world.own_labels, s.members[1]);
  ASSERT_TRUE(gate.has_value());
  EXPECT_EQ(gate->kind, Kind::kBlocked);
  EXPECT_EQ(gate->error.reason, "NetworkPolicyMissing");
  EXPECT_EQ(gate->error.message,
            "no NetworkPolicy lets the operator (egress and ingress is denied) reach member "
            "postgresql-standby on port 5432");
  const std::string lead = "add this with kubectl apply, and it goes on by itself:\n";
  ASSERT_EQ(gate->error.hint.rfind(lead, 0), 0U);
  std::string yaml = gate->error.hint.substr(lead.size());
  EXPECT_EQ(yaml.rfind("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: "
                       "pgrunbook-operator-egress}\n",
                       0),
            0U);
  EXPECT_EQ(YAML::LoadAll(yaml).size(), 2U);
  allow(b.api, "operator", b.world.own_labels, kStandby);
  EXPECT_FALSE(network_gate(b.world, "the operator", "pgrunbook-operator", b.world.own_labels, s.members[1])
                   .has_value());
}

TEST(NetworkGate, NamesTheSideThatDenies) {
  struct {
    const char* type;
    const char* side;
  } table[] = {{"Ingress", "ingress"}, {"Egress", "egress"}};
  for (const auto& row : table) {
    Bench b;
    policy(b.api, "deny", {{"podSelector", Json::object()}, {"policyTypes", {row.type}}});
    auto gate = network_gate(b.world, "pods of our Jobs", "jobs", b.world.own_labels, b.scene().members[0]);
    ASSERT_TRUE(gate.has_value());
    EXPECT_EQ(gate->error.message, std::string("no NetworkPolicy lets pods of our Jobs (") + row.side +
                                       " is denied) reach member postgresql on port 5432");
  }
}

TEST(NetworkGate, ThatCannotBeReadIsWaitedFor) {
  Bench b;
  plan::SceneView s = b.scene();
  b.api.fault = [](const FakeApi::Call&, FakeApi::Moment) {
    return std::optional(base::error(base::ErrorCode::kUnavailable, "no answer"));
  };
  auto gate = network_gate(b.world, "x", "x", b.world.own_labels, s.members[0]);
  ASSERT_TRUE(gate.has_value());
  EXPECT_EQ(gate->kind, Kind::kWaiting);
  EXPECT_EQ(gate->message, "read NetworkPolicies: no answer");
}

TEST(ClientsFollow, WhoReachesThePrimaryMustReachTheCandidate) {
  Bench b;
  default_deny(b.api);
  allow(b.api, "app", kApp, kPrimary);
  plan::SceneView s = b.scene();
  auto gate = clients_follow_gate(b.world, s, s.members[0], s.members[1]);
  ASSERT_TRUE(gate.has_value());
  EXPECT_EQ(gate->kind, Kind::kBlocked);
  EXPECT_EQ(gate->error.message,
            "no NetworkPolicy lets clients labelled {\"name\":\"tfrs\"} (egress and ingress is denied) reach "
            "member postgresql-standby on port 5432");
  allow(b.api, "app-standby", kApp, kStandby);
  EXPECT_FALSE(clients_follow_gate(b.world, s, s.members[0], s.members[1]).has_value());
}

TEST(ClientsFollow, AllWhoWouldBeCutOffAreNamedAtOnce) {
  Bench b;
  default_deny(b.api);
  allow(b.api, "app", kApp, kPrimary);
  allow(b.api, "report", {{"role", "client"}}, kPrimary);
  plan::SceneView s = b.scene();
  auto gate = clients_follow_gate(b.world, s, s.members[0], s.members[1]);
  ASSERT_TRUE(gate.has_value());
  EXPECT_THAT(gate->error.message, HasSubstr("clients labelled {\"name\":\"tfrs\"}"));
  EXPECT_THAT(gate->error.message, HasSubstr("clients labelled {\"role\":\"client\"}"));
  std::string yaml = gate->error.hint.substr(gate->error.hint.find('\n') + 1);
  std::vector<YAML::Node> all = YAML::LoadAll(yaml);
  EXPECT_EQ(all.size(), 4U) << yaml;
  std::set<std::string> names;
  for (const YAML::Node& node : all) names.insert(node["metadata"]["name"].as<std::string>());
  EXPECT_EQ(names.size(), 4U) << "no two of them overwrite each other:\n" << yaml;
}

TEST(ClientsFollow, WhoDoesNotReachThePrimaryNeedNotReachTheCandidate) {
  Bench b;
  default_deny(b.api);
  plan::SceneView s = b.scene();
  EXPECT_FALSE(clients_follow_gate(b.world, s, s.members[0], s.members[1]).has_value());
}

TEST(ClientsFollow, IngressOfTheCandidateAloneIsNamed) {
  Bench b;
  policy(b.api, "closed", {{"podSelector", {{"matchLabels", kStandby}}}, {"policyTypes", {"Ingress"}}});
  plan::SceneView s = b.scene();
  auto gate = clients_follow_gate(b.world, s, s.members[0], s.members[1]);
  ASSERT_TRUE(gate.has_value());
  EXPECT_EQ(gate->error.message,
            "no NetworkPolicy lets application tfrs (ingress is denied) reach member postgresql-standby on "
            "port 5432");
}

class Volumes : public testing::Test {
 protected:
  Bench b;
  std::string uid = "0badcafe-1111";
  std::string lease = "pgrunbook-0badcafe";
  [[nodiscard]] std::string holder() {
    return text_at(b.api.peek(k::kLease, lease), {"spec", "holderIdentity"});
  }
  StepResult hold() { return hold_volumes(b.a, {uid}); }
  void held_by(const std::string& who) {
    b.api.put(k::kLease, {{"metadata", {{"name", lease}}}, {"spec", {{"holderIdentity", who}}}});
  }
};

TEST_F(Volumes, ThatAreFreeAreTaken) {
  EXPECT_EQ(hold().kind, Kind::kDone);
  EXPECT_EQ(holder(), Bench::kUid);
  EXPECT_EQ(hold().kind, Kind::kDone) << "again, after a kill";
  EXPECT_EQ(b.api.writes().size(), 1U);
  EXPECT_FALSE(b.api.peek(k::kLease, lease)["metadata"].contains("ownerReferences"))
      << "a foreground delete of the action must not take it";
}

// Else two actions could each hold what the other waits for.
TEST_F(Volumes, AreTakenInOneOrderWhoeverNamesThem) {
  const std::string later = "f00dcafe-2222";
  EXPECT_EQ(hold_volumes(b.a, {later, uid}).kind, Kind::kDone);
  const auto writes = b.api.write_texts();
  ASSERT_EQ(writes.size(), 2U);
  EXPECT_THAT(writes[0], testing::HasSubstr(lease));
  EXPECT_THAT(writes[1], testing::HasSubstr("pgrunbook-f00dcafe"));
}

TEST_F(Volumes, OfAnUnfinishedActionAreWaitedFor) {
  for (const char* phase : {"", "Planning", "Running", "Blocked", "RollingBack", "AwaitingApproval"}) {
    b.api.put(k::kRestore,
              {{"metadata", {{"name", "other"}, {"uid", "other-uid"}}}, {"status", {{"phase", phase}}}});
    held_by("other-uid");
    b.api.forget_calls();
    StepResult r = hold();
    EXPECT_EQ(r.kind, Kind::kWaiting) << phase;
    EXPECT_EQ(
        r.message,
        "another action (uid other-uid) works on the same volume; it comes first (Lease pgrunbook-0badcafe)");
    EXPECT_EQ(holder(), "other-uid");
    EXPECT_THAT(b.api.write_texts(), IsEmpty());
  }
}

TEST_F(Volumes, OfAFinishedOrVanishedActionAreTakenOver) {
  for (const char* phase : {"Completed", "Failed", "Cancelled"}) {
    b.api.put(k::kBackup,
              {{"metadata", {{"name", "other"}, {"uid", "other-uid"}}}, {"status", {{"phase", phase}}}});
    held_by("other-uid");
    EXPECT_EQ(hold().kind, Kind::kDone) << phase;
    EXPECT_EQ(holder(), Bench::kUid);
  }
  held_by("nobody-has-this-uid");
  EXPECT_EQ(hold().kind, Kind::kDone);
  held_by("");
  EXPECT_EQ(hold().kind, Kind::kDone);
}

TEST_F(Volumes, OfATopologysSetupAreItsUntilItIsOver) {
  b.api.merge(k::kTopology, "tfrs", {{"status", {{"setup", {{"phase", "Running"}}}}}});
  held_by("uid-topology");
  EXPECT_EQ(hold().kind, Kind::kWaiting);
  b.api.merge(k::kTopology, "tfrs", {{"status", {{"setup", {{"phase", "Completed"}}}}}});
  EXPECT_EQ(hold().kind, Kind::kDone);
}

TEST_F(Volumes, AreTakenByOneOfTwo) {
  // Somebody makes the Lease between our look and our write.
  b.api.fault = [&](const FakeApi::Call& c, FakeApi::Moment moment) -> std::optional<base::Error> {
    if (c.verb == "create" && moment == FakeApi::Moment::kBefore) held_by("other-uid");
    return std::nullopt;
  };
  b.api.put(k::kRestore,
            {{"metadata", {{"name", "other"}, {"uid", "other-uid"}}}, {"status", {{"phase", "Running"}}}});
  EXPECT_EQ(hold().message, "taking Lease pgrunbook-0badcafe");
  EXPECT_EQ(holder(), "other-uid");
  EXPECT_THAT(hold().message, HasSubstr("it comes first"));
  // Two see the same finished holder: the second one's patch tests what it read.
  held_by("gone");
  b.api.fault = [&](const FakeApi::Call& c, FakeApi::Moment moment) -> std::optional<base::Error> {
    if (c.verb == "patch" && moment == FakeApi::Moment::kBefore) held_by("other-uid");
    return std::nullopt;
  };
  EXPECT_EQ(hold().kind, Kind::kWaiting);
  EXPECT_EQ(holder(), "other-uid");
}

TEST_F(Volumes, WhoseReplyIsLostAreOursAtTheNextLook) {
  b.api.fault = [](const FakeApi::Call& c, FakeApi::Moment moment) {
    return c.verb == "create" && moment == FakeApi::Moment::kAfter
               ? std::optional(base::error(base::ErrorCode::kInDoubt, "the reply was lost"))
               : std::nullopt;
  };
  EXPECT_EQ(hold().kind, Kind::kWaiting);
  EXPECT_EQ(hold().kind, Kind::kDone);
}

TEST_F(Volumes, AreNotTakenWhereTheHolderCannotBeLookedUp) {
  held_by("other-uid");
  b.api.fault = [](const FakeApi::Call& c, FakeApi::Moment) {
    return c.verb == "list" ? std::optional(base::error(base::ErrorCode::kUnavailable, "no answer"))
                            : std::nullopt;
  };
  EXPECT_EQ(hold().kind, Kind::kWaiting);
  EXPECT_EQ(holder(), "other-uid");
}

TEST_F(Volumes, AreReleasedOnlyByTheirHolder) {
  EXPECT_EQ(hold().kind, Kind::kDone);
  EXPECT_EQ(release_volumes(b.a, {uid}).kind, Kind::kDone);
  EXPECT_TRUE(b.api.all(k::kLease).empty());
  EXPECT_EQ(release_volumes(b.a, {uid}).kind, Kind::kDone);
  held_by("other-uid");
  EXPECT_EQ(release_volumes(b.a, {uid}).kind, Kind::kDone);
  EXPECT_EQ(holder(), "other-uid");
}

TEST_F(Volumes, AreReleasedOnceTheirLeaseIsSeenAgain) {
  EXPECT_EQ(hold().kind, Kind::kDone);
  b.api.fault = [](const test::FakeApi::Call& call, test::FakeApi::Moment) -> std::optional<base::Error> {
    if (call.verb == "get") return base::error(base::ErrorCode::kUnavailable, "no API server");
    return std::nullopt;
  };
  EXPECT_EQ(release_volumes(b.a, {uid}).kind, Kind::kWaiting) << "not seeing it is not its absence";
  b.api.fault = nullptr;
  EXPECT_EQ(release_volumes(b.a, {uid}).kind, Kind::kDone);
  EXPECT_TRUE(b.api.all(k::kLease).empty());
}

class Recording : public testing::Test {
 protected:
  Bench b;
  Recording() {
    b.a.status.operation.log = Json::array(
        {{{"step", "hold"}, {"text", "hold it"}, {"startTime", "t"}, {"endTime", "t"}, {"outcome", "ok"}}});
    b.a.status.extra = {{"from", "postgresql"}};
  }
  [[nodiscard]] std::string text() {
    return text_at(b.api.peek(k::kConfigMap, "pgf-switch-transcript"), {"data", "transcript.md"});
  }
  [[nodiscard]] api::Order order() {
    Json job = b.api.peek(k::kJob, "pgf-12345678-record-1");
    Json env = base::at(job, {"spec", "template", "spec"})["containers"][0]["env"][0];
    return *api::order_from_json(Json::parse(text_at(env, {"value"})));
  }
};

TEST_F(Recording, LeavesTheTranscriptInTheNamespaceAndAJobToArchiveIt) {
  EXPECT_EQ(record_action(b.a).message, "starting Job pgf-12345678-record-1");
  EXPECT_THAT(b.api.write_texts(),
              ElementsAre("create ConfigMap/pgf-switch-transcript", "create Job/pgf-12345678-record-1"));
  EXPECT_THAT(text(), HasSubstr("# Failover switch: Completed\n"));
  EXPECT_THAT(text(), HasSubstr("| hold | t | t | hold it | ok |\n"));
  EXPECT_EQ(b.a.status.extra["transcript"], "pgf-switch-transcript");
  EXPECT_EQ(order().record.outcome, "Completed");
  EXPECT_EQ(order().record.summary["from"], "postgresql");
  EXPECT_EQ(order().record.transcript_file, "/pgrunbook-transcript/transcript.md");
  EXPECT_EQ(record_action(b.a).kind, Kind::kWaiting);
  EXPECT_EQ(b.api.writes().size(), 2U) << "written once";
}

// A pod that takes its time, or a quota that is full for a moment: the Job is there and goes on by itself.
TEST_F(Recording, IsWaitedForWhileItsPodCannotStart) {
  (void)record_action(b.a);
  b.api.merge(
      k::kJob, "pgf-12345678-record-1",
      {{"metadata", {{"creationTimestamp", base::format_time(base::now() - std::chrono::seconds(30))}}}});
  StepResult r = record_action(b.a);
  EXPECT_EQ(r.kind, Kind::kWaiting);
  EXPECT_THAT(r.message, HasSubstr("gets no pod"));
  b.a.status.operation.results["transcript"]["time"] =
      base::format_time(base::now() - std::chrono::minutes(3));
  r = record_action(b.a);
  EXPECT_EQ(r.kind, Kind::kBlocked) << "not for ever: the work itself is done";
}

TEST_F(Recording, OfWhatWasPutBackSaysWhy) {
  struct {
    const char* reason;
    const char* outcome;
  } table[] = {{"Cancelled", "Cancelled"}, {"JobDied", "Failed"}};
  for (const auto& row : table) {
    b.api.erase(k::kJob, "pgf-12345678-record-1");
    b.a.status.operation.results = Json::object();
    b.a.status.operation.rolling_back = true;
    b.a.status.operation.failure = {{"reason", row.reason}, {"message", "m"}};
    (void)record_action(b.a);  // over a transcript of the same name that is there already
    EXPECT_THAT(text(), HasSubstr(std::string("# Failover switch: ") + row.outcome));
    EXPECT_EQ(order().record.outcome, row.outcome);
    EXPECT_EQ(order().record.reason, row.reason);
  }
}

}  // namespace
}  // namespace pgrunbook::execute
