// What an action must put back stays on the Lease of its volume, whatever becomes of its object, and the
// topology it was planned with stays what it was.
#include "execute/duty.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "execute/gate.hpp"
#include "unit/execute/bench.hpp"

namespace pgrunbook::execute {
namespace {

namespace k = kube::kinds;
using base::text_at;
using test::Bench;

class Duties : public testing::Test {
 protected:
  Bench b;
  std::string claim;
  Duties() {
    claim = b.scene().members.front().data_claim_uid;
    b.a.status.operation.inputs["claims"] = Json::array({claim});
    EXPECT_EQ(hold_volumes(b.a, {claim}).kind, StepResult::Kind::kDone);
    b.api.forget_calls();
  }
  [[nodiscard]] Json lease() { return b.api.peek(k::kLease, lease_name(claim)); }
  // As after the step hold, with the next one begun.
  void acting() {
    b.a.status.operation.results["hold"] = Json::object();
    b.a.status.operation.step = "stop-applications";
    ASSERT_TRUE(keep_duty(b.a, Json()).has_value());
  }
};

TEST_F(Duties, AreKeptFromTheFirstStepThatTouchesAnything) {
  EXPECT_TRUE(keep_duty(b.a, Json()).has_value());
  EXPECT_TRUE(b.api.writes().empty()) << "nothing is held yet";
  acting();
  auto duty = duty_of(lease());
  ASSERT_TRUE(duty.has_value() && duty->has_value());
  EXPECT_EQ((*duty)->kind, "Failover");
  EXPECT_EQ(text_at((*duty)->object, {"metadata", "uid"}), Bench::kUid);
  EXPECT_EQ(api::status_of((*duty)->object).operation.step, "stop-applications");
  b.api.forget_calls();
  EXPECT_TRUE(keep_duty(b.a, api::to_json(b.a.status)["operation"]).has_value());
  EXPECT_TRUE(b.api.writes().empty()) << "the same is not written twice";
}

TEST_F(Duties, OfBackupsAreNone) {
  b.a.kind = "PostgresBackup";
  b.a.status.operation.results["hold"] = Json::object();
  EXPECT_TRUE(keep_duty(b.a, Json()).has_value());
  EXPECT_TRUE(b.api.writes().empty());
}

TEST_F(Duties, AreNotWrittenOnAnothersLeaseNorWhereItHasGone) {
  b.a.status.operation.results["hold"] = Json::object();
  b.api.merge(k::kLease, lease_name(claim), {{"spec", {{"holderIdentity", "other"}}}});
  EXPECT_TRUE(keep_duty(b.a, Json()).has_value());
  EXPECT_FALSE(lease()["metadata"].contains("annotations"));
  b.api.erase(k::kLease, lease_name(claim));
  EXPECT_TRUE(keep_duty(b.a, Json()).has_value());
  EXPECT_TRUE(lease().is_null());
}

TEST_F(Duties, ThatCannotBeKeptStopTheActionBeforeItActs) {
  b.a.status.operation.results["hold"] = Json::object();
  b.api.fault = [](const test::FakeApi::Call& call, test::FakeApi::Moment) -> std::optional<base::Error> {
    if (call.verb == "patch") return base::error(base::ErrorCode::kUnavailable, "no API server");
    return std::nullopt;
  };
  EXPECT_FALSE(keep_duty(b.a, Json()).has_value());
}

TEST_F(Duties, HoldTheVolumeAfterTheObjectHasGone) {
  acting();
  b.api.erase(k::kFailover, "switch");
  b.a.meta.uid = "next-uid";
  EXPECT_EQ(hold_volumes(b.a, {claim}).kind, StepResult::Kind::kWaiting);
  EXPECT_EQ(text_at(lease(), {"spec", "holderIdentity"}), Bench::kUid);
  b.api.merge(k::kLease, lease_name(claim), {{"metadata", {{"annotations", nullptr}}}});
  EXPECT_EQ(hold_volumes(b.a, {claim}).kind, StepResult::Kind::kDone) << "nothing was left to put back";
}

TEST_F(Duties, ComeBackAsTheActionTheyWere) {
  acting();
  auto duty = duty_of(lease());
  ASSERT_TRUE(duty.has_value() && duty->has_value());
  Action again = action_of(b.world, **duty);
  EXPECT_EQ(again.meta.uid, b.a.meta.uid);
  EXPECT_EQ(again.status.operation.inputs, b.a.status.operation.inputs);
  EXPECT_EQ(text_at(again.owner_reference(), {"kind"}), "Lease")
      << "what a vanished object owns is collected";
  EXPECT_EQ(text_at(again.owner_reference(), {"uid"}), text_at(lease(), {"metadata", "uid"}));
  again.status.operation.step = "fence";
  ASSERT_TRUE(again.save(again).has_value());
  again.status.operation.step = "switch";
  ASSERT_TRUE(again.save(again).has_value());
  EXPECT_EQ(api::status_of((*duty_of(lease()))->object).operation.step, "switch");
  b.api.erase(k::kLease, lease_name(claim));
  EXPECT_TRUE(again.save(again).has_value()) << "given back: there is nothing left to keep";
}

TEST_F(Duties, ThatSomebodyElseWroteMeanwhileAreAConflict) {
  acting();
  auto duty = duty_of(lease());
  ASSERT_TRUE(duty.has_value() && duty->has_value());
  Action mine = action_of(b.world, **duty), other = action_of(b.world, **duty);
  mine.status.operation.step = "fence";
  ASSERT_TRUE(mine.save(mine).has_value());
  auto saved = other.save(other);
  ASSERT_FALSE(saved.has_value());
  EXPECT_EQ(saved.error().code, base::ErrorCode::kConflict);
}

TEST_F(Duties, ThatCannotBeReadAreAnError) {
  b.api.merge(k::kLease, lease_name(claim),
              {{"metadata", {{"annotations", {{api::kAnnotationDuty, "{}"}}}}}});
  EXPECT_EQ(duty_of(lease()).error().code, base::ErrorCode::kInvalid);
}

class FrozenTopology : public testing::Test {
 protected:
  Bench b;
  FrozenTopology() { EXPECT_TRUE(scene_of(b.a).has_value()); }  // as the plan looked
  void plan() { b.a.status.plan = {{"digest", "d"}}; }
  void edit() {
    Json topology = b.api.peek(k::kTopology, "tfrs");
    topology["spec"]["members"].erase(1);
    b.api.put(k::kTopology, topology);
  }
};

TEST_F(FrozenTopology, OutlivesEditsAndTheTopologyItself) {
  plan();
  b.a.status.operation.step = "stop-applications";
  edit();
  auto seen = scene_of(b.a);
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(seen->members.size(), 2U);
  std::string uid = seen->topology_uid;
  b.api.erase(k::kTopology, "tfrs");
  seen = scene_of(b.a);
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(seen->topology_uid, uid) << "the archive knows its owner by it";
}

TEST_F(FrozenTopology, IsLiveUntilThePlanIsCarriedOut) {
  plan();
  edit();
  auto seen = scene_of(b.a);
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(seen->members.size(), 1U) << "an approval is judged by the world as it is";
  b.a.status.operation.state = "Approved";
  EXPECT_EQ(scene_of(b.a)->members.size(), 2U);
}

}  // namespace
}  // namespace pgrunbook::execute
