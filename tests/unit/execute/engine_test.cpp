// The engine: order, resume after a kill anywhere, roll-back in reverse, the point of no return, and
// approval.
#include "execute/engine.hpp"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "execute/flows.hpp"
#include "support/stride.hpp"
#include "unit/execute/scripted.hpp"

namespace pgrunbook::execute {
namespace {

using test::Crash;
using test::FakeApi;
using test::Scripted;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using End = Scripted::End;
using Strings = std::vector<std::string>;

std::string condition(const Scripted& s, const char* type) {
  return api::condition_status(base::at(s.status(), {"conditions"}), type);
}

TEST(Engine, TakesTheStepsInOrderAndEndsCompleted) {
  Scripted s;
  EXPECT_EQ(s.drive(), 0);
  EXPECT_EQ(s.phase(), "Completed");
  EXPECT_EQ(s.message(), "all is well");
  EXPECT_EQ(s.text({"reason"}), "Completed");
  EXPECT_EQ(s.text({"safePoint"}), "the action is complete");
  EXPECT_EQ(s.text({"progress"}), "4/4");
  EXPECT_EQ(s.text({"step"}), "");
  EXPECT_NE(s.text({"startTime"}), "");
  EXPECT_NE(s.text({"completionTime"}), "");
  EXPECT_THAT(s.acts, ElementsAre("hold", "stop", "recover", "start", "record"));
  EXPECT_THAT(s.log(), ElementsAre("hold: ok", "stop: ok", "recover: ok", "start: ok"));
  EXPECT_EQ(base::at(s.status(), {"operation", "results", "recover"}), (Json{{"of", "recover"}}));
  EXPECT_EQ(condition(s, "Ready"), "True");
  EXPECT_EQ(condition(s, "Finished"), "True");
  EXPECT_EQ(condition(s, "Stalled"), "");
  EXPECT_EQ(condition(s, "Reconciling"), "");
  EXPECT_THAT(s.events, Contains("Normal Completed: all is well"));
}

TEST(Engine, PlansEveryStepWithItsSentence) {
  Scripted s;
  s.drive();
  EXPECT_EQ(base::at(s.status(), {"plan", "steps"}),
            (Json::array({{{"name", "hold"}, {"kind", "Convergent"}, {"text", "do hold"}},
                          {{"name", "stop"}, {"kind", "Irreversible"}, {"text", "do stop"}},
                          {{"name", "recover"}, {"kind", "Irreversible"}, {"text", "do recover"}},
                          {{"name", "start"}, {"kind", "Convergent"}, {"text", "do start"}}})));
}

// Nothing is begun that the status did not name before.
TEST(Engine, WritesTheIntentBeforeTheAct) {
  Scripted s;
  s.script[2].looks = 1;
  std::map<std::string, std::string> named;  // act -> step in the status when it happened
  s.faults = {};
  execute::Flow flow = s.flow();
  auto steps = flow.steps;
  flow.steps = [&](Action& a) {
    auto all = steps(a);
    for (Step& step : all) {
      step.run = [&, run = step.run, name = step.planned.name](Action& x) {
        named[name] = s.text({"operation", "step"}) + "/" + s.text({"operation", "state"}) + "/" + s.phase();
        return run(x);
      };
    }
    return all;
  };
  for (int i = 0; i < 20; ++i) {
    Action a = s.load();
    auto again = advance(a, flow);
    ASSERT_TRUE(again.has_value());
    if (!*again) break;
  }
  EXPECT_EQ(s.phase(), "Completed");
  for (const char* name : {"hold", "stop", "recover", "start"})
    EXPECT_EQ(named[name], std::string(name) + "/Intent/Running");
}

TEST(Engine, TestsTheResourceVersionAtEveryWriteOfTheStatus) {
  for (End end : {End::kDone, End::kFail, End::kBlock}) {
    Scripted s;
    s.script[2].end = end;
    s.script[2].failures = 2;
    s.script[1].stuck_reverts = 1;
    s.drive();
    int seen = 0;
    for (const FakeApi::Call& call : s.api.writes()) {
      EXPECT_EQ(call.text(), "patch PostgresRestore/before/status");
      ASSERT_TRUE(call.body.is_array());
      EXPECT_EQ(call.body[0]["op"], "test");
      EXPECT_EQ(call.body[0]["path"], "/metadata/resourceVersion");
      EXPECT_FALSE(call.body[0]["value"].get<std::string>().empty());
      ++seen;
    }
    EXPECT_GE(seen, 7);
  }
}

TEST(Engine, WritesNothingWhileNothingChanges) {
  Scripted s;
  s.script[1].looks = 1 << 30;
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(s.once().has_value());
  s.script[1].looks = 0;
  Scripted blocked;
  blocked.script[1].end = End::kBlock;
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(blocked.once().has_value());
  std::size_t writes = blocked.api.writes().size();
  std::size_t events = blocked.events.size();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(blocked.once().has_value());
  EXPECT_EQ(blocked.api.writes().size(), writes);
  EXPECT_EQ(blocked.events.size(), events) << "an event per state, not per look";
}

// Whoever applied the object waits for the first Job, and each write before it is waited for too.
TEST(Engine, WritesFirstWhatThePlanCameTo) {
  Scripted s;
  ASSERT_TRUE(s.once().has_value());
  EXPECT_EQ(s.api.writes().size(), 1);
  EXPECT_NE(s.text({"startTime"}), "");
  EXPECT_EQ(s.message(), "the plan is made");
}

TEST(Engine, SaysWhatItWaitsFor) {
  Scripted s;
  s.script[1].looks = 2;
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(s.once().has_value());
  EXPECT_EQ(s.message(), "do stop (look 1)");
  EXPECT_EQ(s.text({"progress"}), "2/4");
  EXPECT_EQ(s.text({"step"}), "stop");
  EXPECT_EQ(condition(s, "Reconciling"), "True");
  EXPECT_EQ(condition(s, "Finished"), "False");
}

// A reply that was lost: the step is looked at again, and the world says that it is done.
TEST(Engine, SettlesALostReplyByLooking) {
  Scripted s;
  s.script[2].end = End::kUnavailable;
  s.script[2].failures = 3;
  s.drive();
  EXPECT_EQ(s.phase(), "Completed");
  EXPECT_EQ(s.counts["recover"], 1);
}

struct Scenario {
  const char* name;
  std::function<void(Scripted&)> set;
  const char* phase;
  Strings acts;  // of an operator that is never killed
};

class KilledAnywhere : public testing::TestWithParam<Scenario> {};

// What is compared: everything but times and the log's doubles.
Json essence(const Scripted& s) {
  const Json status = s.status();
  return {{"phase", s.phase()},
          {"reason", s.text({"reason"})},
          {"message", s.message()},
          {"safePoint", s.text({"safePoint"})},
          {"results", base::at(status, {"operation", "results"})},
          {"failure", base::at(status, {"operation", "failure"})},
          {"pastNoReturn", base::at(status, {"operation", "pastNoReturn"})},
          {"plan", base::at(status, {"plan"})},
          {"world", s.up}};
}

TEST_P(KilledAnywhere, EndsTheSameAndActsEffectivelyOnce) {
  Scripted calm;
  GetParam().set(calm);
  calm.drive();
  ASSERT_EQ(calm.phase(), GetParam().phase);
  EXPECT_EQ(calm.acts, GetParam().acts);
  const Json expected = essence(calm);
  ASSERT_GT(calm.points, 10);
  for (int at = 0; at < calm.points; at += test::stride(4)) {
    Scripted s;
    GetParam().set(s);
    s.crash_at = at;
    EXPECT_EQ(s.drive(), 1) << "point " << at;
    EXPECT_EQ(essence(s), expected) << "killed at point " << at;
    EXPECT_EQ(s.acts, GetParam().acts) << "killed at point " << at << ": every act once, in the same order";
    // The transcript shows each step's end, however often it was begun.
    for (const test::StepScript& step : s.script) {
      if (calm.phase() != "Completed") continue;
      EXPECT_THAT(s.log(), Contains(step.name + ": ok")) << "killed at point " << at;
    }
  }
}

// Two kills: the successor dies too.
TEST_P(KilledAnywhere, EndsTheSameAfterTwoKills) {
  Scripted calm;
  GetParam().set(calm);
  calm.drive();
  const Json expected = essence(calm);
  for (int first = 0; first < calm.points; first += test::stride(20)) {
    for (int second = first + 1; second < calm.points + 4; second += test::stride(7)) {
      Scripted s;
      GetParam().set(s);
      s.crash_at = first;
      for (int i = 0; i < 200; ++i) {
        try {
          auto again = s.once();
          if (again && !*again) break;
        } catch (const Crash&) {
          s.crash_at = s.crash_at == first ? second : -1;
        }
      }
      EXPECT_EQ(essence(s), expected) << "killed at points " << first << " and " << second;
      EXPECT_EQ(s.acts, GetParam().acts);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Scenarios, KilledAnywhere,
    testing::Values(
        Scenario{"Success", [](Scripted&) {}, "Completed", {"hold", "stop", "recover", "start", "record"}},
        Scenario{"WaitingSteps",
                 [](Scripted& s) {
                   for (auto& step : s.script) step.looks = 2;
                 },
                 "Completed",
                 {"hold", "stop", "recover", "start", "record"}},
        Scenario{"FailureOfTheFirstStep",
                 [](Scripted& s) { s.script[0].end = End::kFail; },
                 "Failed",
                 {"hold", "undo hold", "record"}},
        Scenario{"FailureInTheMiddle",
                 [](Scripted& s) { s.script[2].end = End::kFail; },
                 "Failed",
                 {"hold", "stop", "recover", "undo recover", "undo stop", "undo hold", "record"}},
        Scenario{"FailureOfTheLastStep",
                 [](Scripted& s) { s.script[3].end = End::kFail; },
                 "Failed",
                 {"hold", "stop", "recover", "start", "undo start", "undo recover", "undo stop", "undo hold",
                  "record"}},
        Scenario{"BlockedThenMended",
                 [](Scripted& s) {
                   s.script[1].end = End::kBlock;
                   s.script[1].failures = 3;
                 },
                 "Completed",
                 {"hold", "stop", "recover", "start", "record"}},
        Scenario{"StuckOnTheWayBack",
                 [](Scripted& s) {
                   s.script[2].end = End::kFail;
                   s.script[1].stuck_reverts = 3;
                 },
                 "Failed",
                 {"hold", "stop", "recover", "undo recover", "undo stop", "undo hold", "record"}},
        Scenario{"FailureAfterThePointOfNoReturn",
                 [](Scripted& s) {
                   s.script[2].no_return = true;
                   s.script[3].end = End::kFail;
                   s.script[3].failures = 3;
                 },
                 "Completed",
                 {"hold", "stop", "recover", "start", "record"}},
        Scenario{"LostReplies",
                 [](Scripted& s) {
                   for (auto& step : s.script) {
                     step.end = End::kUnavailable;
                     step.failures = 2;
                   }
                 },
                 "Completed",
                 {"hold", "stop", "recover", "start", "record"}}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(RollBack, GoesInReverseAndSaysWhy) {
  Scripted s;
  s.script[2].end = End::kFail;
  s.drive();
  EXPECT_EQ(s.phase(), "Failed");
  EXPECT_EQ(s.text({"reason"}), "Broken");
  EXPECT_EQ(s.message(), "recover is broken. HINT: mend it. Everything is as it was before");
  EXPECT_EQ(s.text({"safePoint"}), "everything is as it was before the action");
  EXPECT_THAT(s.up, ElementsAre("record"));
  EXPECT_THAT(s.log(), ElementsAre("hold: ok", "stop: ok", "recover: failed: recover is broken",
                                   "undo recover: put back", "undo stop: put back", "undo hold: put back"));
  EXPECT_EQ(condition(s, "Stalled"), "True");
  EXPECT_EQ(condition(s, "Finished"), "True");
  EXPECT_THAT(s.events,
              Contains("Warning Broken: putting everything back, because recover is broken. HINT: mend it"));
}

TEST(RollBack, SaysWhatCannotComeBack) {
  Scripted s({{"hold"}, {"leave-a"}, {"leave-b"}});
  s.script[2].end = End::kFail;
  s.remains = "a is left, b is not";
  s.drive();
  EXPECT_EQ(s.phase(), "Failed");
  EXPECT_EQ(s.message(), "leave-b is broken. HINT: mend it. a is left, b is not");
  EXPECT_EQ(s.text({"safePoint"}), "a is left, b is not");
}

TEST(RollBack, SkipsStepsThatLeftNothing) {
  Scripted s;
  s.script[1].reverts = false;
  s.script[2].end = End::kFail;
  s.drive();
  EXPECT_THAT(s.acts, ElementsAre("hold", "stop", "recover", "undo recover", "undo hold", "record"));
}

TEST(RollBack, ThatIsStuckIsBlockedAndProceedsByItself) {
  Scripted s;
  s.script[2].end = End::kFail;
  s.script[1].stuck_reverts = 3;
  for (int i = 0; i < 5 && s.phase() != "Blocked"; ++i) ASSERT_TRUE(s.once().has_value());
  ASSERT_EQ(s.phase(), "Blocked");
  EXPECT_EQ(s.message(), "putting back step stop needs help: no pod for the Job. HINT: raise the quota");
  EXPECT_EQ(s.text({"reason"}), "Stuck");
  EXPECT_EQ(condition(s, "Finished"), "False") << "not terminal: the world is at no safe point";
  EXPECT_EQ(s.events.back(),
            "Warning Stuck: putting back step stop needs help: no pod for the Job. HINT: raise the quota");
  s.drive();
  EXPECT_EQ(s.phase(), "Failed");
  EXPECT_EQ(s.text({"reason"}), "Broken") << "why it was put back, not what held that up";
}

TEST(RollBack, ThatWouldLoseSomethingTurnsForward) {
  Scripted s;
  s.script[2].too_late = true;
  s.script[3].end = End::kFail;
  s.script[3].failures = 1;
  s.script[3].reverts = false;
  for (int i = 0; i < 8 && s.phase() != "Blocked"; ++i) ASSERT_TRUE(s.once().has_value());
  EXPECT_EQ(s.message(),
            "step recover is not put back, there is only forward now: somebody has written. HINT: stop it");
  EXPECT_EQ(s.text({"reason"}), "Written");
  EXPECT_THAT(s.events, Contains("Warning Written: " + s.message()));
  s.cancel = true;  // too late as well
  s.drive();
  EXPECT_EQ(s.phase(), "Completed");
  EXPECT_TRUE(base::at(s.status(), {"operation", "failure"}).empty());
  for (const std::string& act : s.acts) EXPECT_THAT(act, testing::Not(testing::HasSubstr("undo")));
  EXPECT_THAT(s.log(), Contains("undo recover: not put back: somebody has written"));
}

TEST(Waits, ThatTakeLongSaySo) {
  Scripted s;
  s.script[0].patience = std::chrono::seconds(300);
  s.script[0].looks = 1000;
  for (int i = 0; i < 5 && s.text({"step"}) != "hold"; ++i) ASSERT_TRUE(s.once().has_value());
  EXPECT_EQ(s.phase(), "Running");
  s.began(std::chrono::seconds(290));
  ASSERT_TRUE(s.once().has_value());
  EXPECT_EQ(s.phase(), "Running");
  s.began(std::chrono::seconds(301));
  ASSERT_TRUE(s.once().has_value());
  EXPECT_EQ(s.phase(), "Blocked");
  EXPECT_EQ(s.text({"reason"}), "TakesLong");
  EXPECT_THAT(s.message(), testing::HasSubstr("step hold needs help: for more than 300 s: look "));
  EXPECT_THAT(s.message(), testing::HasSubstr("it goes on by itself"));
  EXPECT_EQ(condition(s, "Stalled"), "True");
  s.script[0].looks = 0;
  s.drive();
  EXPECT_EQ(s.phase(), "Completed");
}

TEST(RollBack, ThatTakesLongSaysSo) {
  Scripted s;
  s.script[2].end = End::kFail;
  s.script[1].patience = std::chrono::seconds(300);
  s.script[1].waiting_reverts = 1000;
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(s.once().has_value());
  ASSERT_EQ(s.log().back(), "undo stop: ");
  s.began(std::chrono::seconds(290));
  ASSERT_TRUE(s.once().has_value());
  EXPECT_EQ(s.phase(), "RollingBack");
  s.began(std::chrono::seconds(301));
  ASSERT_TRUE(s.once().has_value());
  EXPECT_EQ(s.phase(), "Blocked");
  EXPECT_EQ(s.text({"reason"}), "TakesLong");
  EXPECT_THAT(s.message(), HasSubstr("putting back step stop needs help: for more than 300 s: the pod is not "
                                     "ready"));
  s.script[1].waiting_reverts = 0;
  s.drive();
  EXPECT_EQ(s.phase(), "Failed");
  EXPECT_EQ(s.text({"reason"}), "Broken");
  EXPECT_EQ(s.counts["undo stop"], 1);
}

TEST(RollBack, IsNeverLeftByCancelOrApproval) {
  Scripted s;
  s.script[2].end = End::kFail;
  s.script[1].stuck_reverts = 2;
  for (int i = 0; i < 5 && s.phase() != "Blocked"; ++i) ASSERT_TRUE(s.once().has_value());
  s.cancel = true;
  s.drive();
  EXPECT_EQ(s.phase(), "Failed");
  EXPECT_EQ(s.counts["undo recover"], 1);
}

TEST(NoReturn, FailureAfterItIsBlockedAndOnlyForward) {
  Scripted s({{"hold"}, {"switch", true}, {"start-applications", true, true}, {"first-connection"}});
  s.script[3].end = End::kFail;
  s.script[3].failures = 2;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(s.once().has_value());
  EXPECT_EQ(s.phase(), "Blocked");
  EXPECT_EQ(s.message(), "step first-connection needs help: first-connection is broken. HINT: mend it");
  EXPECT_EQ(base::at(s.status(), {"operation", "pastNoReturn"}), true);
  s.cancel = true;  // too late
  s.drive();
  EXPECT_EQ(s.phase(), "Completed");
  for (const std::string& act : s.acts) EXPECT_EQ(act.rfind("undo", 0), std::string::npos) << act;
}

// From the moment the step is begun, even if it fails itself.
TEST(NoReturn, HoldsForTheStepItself) {
  Scripted s({{"hold"}, {"start-applications", true, true}});
  s.script[1].end = End::kFail;
  s.script[1].failures = 1;
  s.drive();
  EXPECT_EQ(s.phase(), "Completed");
  EXPECT_THAT(s.acts, ElementsAre("hold", "start-applications", "record"));
}

TEST(NoReturn, FailureBeforeItGoesBack) {
  Scripted s({{"hold"}, {"switch", true}, {"start-applications", true, true}});
  s.script[1].end = End::kFail;
  s.drive();
  EXPECT_EQ(s.phase(), "Failed");
  EXPECT_THAT(s.acts, ElementsAre("hold", "switch", "undo switch", "undo hold", "record"));
}

TEST(Cancel, WhilePlanningTouchesNothing) {
  Scripted s;
  s.cancel = true;
  s.drive();
  EXPECT_EQ(s.phase(), "Cancelled");
  EXPECT_EQ(s.message(), "cancelled before anything was touched");
  EXPECT_EQ(s.text({"safePoint"}), "nothing was touched");
  EXPECT_THAT(s.events, ElementsAre("Normal Cancelled: cancelled before anything was touched"));
  EXPECT_THAT(s.acts, IsEmpty());
}

TEST(Cancel, WhileItWaitsForApproval) {
  Scripted s;
  s.approval_required = true;
  s.drive(2);
  ASSERT_EQ(s.phase(), "AwaitingApproval");
  s.cancel = true;
  s.approved = s.digest();  // both at once: cancel wins
  s.drive();
  EXPECT_EQ(s.phase(), "Cancelled");
  EXPECT_EQ(s.message(), "cancelled while it waited for approval");
  EXPECT_THAT(s.acts, IsEmpty());
}

TEST(Cancel, AtEveryMomentBeforeNoReturnPutsEverythingBack) {
  Scripted calm;
  calm.drive();
  for (int calls = 3; calls < 4; ++calls) {
    for (std::size_t step = 0; step < 4; ++step) {
      Scripted s;
      s.script[step].looks = 1 << 30;
      for (int i = 0; i < 4; ++i) ASSERT_TRUE(s.once().has_value());
      ASSERT_EQ(s.text({"step"}), s.script[step].name);
      s.cancel = true;
      s.drive();
      EXPECT_EQ(s.phase(), "Cancelled");
      EXPECT_EQ(s.text({"reason"}), "Cancelled");
      EXPECT_EQ(s.message(), "cancelled; everything is as it was before");
      EXPECT_THAT(s.up, ElementsAre("record"));
      EXPECT_EQ(s.acts.size(), 2 * (step + 1) + 1);
    }
  }
}

TEST(Cancel, BetweenThePlanAndTheFirstStep) {
  Scripted s;
  ASSERT_TRUE(s.once().has_value());
  ASSERT_EQ(s.phase(), "Running");
  s.cancel = true;
  s.drive();
  EXPECT_EQ(s.phase(), "Cancelled");
  EXPECT_THAT(s.acts, ElementsAre("record"));
}

TEST(Cancel, AfterNoReturnIsTooLate) {
  Scripted s({{"hold"}, {"start-applications", true, true}, {"first-connection"}});
  s.script[2].looks = 3;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(s.once().has_value());
  s.cancel = true;
  s.drive();
  EXPECT_EQ(s.phase(), "Completed");
}

TEST(Cancel, WhileOnlyTheTranscriptIsMissingIsTooLate) {
  Scripted s;
  s.record_result = StepResult::waiting("writing");
  s.drive(2);
  ASSERT_EQ(s.text({"step"}), "record");
  s.cancel = true;
  s.record_result = StepResult::done();
  s.drive();
  EXPECT_EQ(s.phase(), "Completed");
}

TEST(Approval, IsAskedForWithTheCommandToGiveIt) {
  Scripted s;
  s.approval_required = true;
  s.drive(3);
  EXPECT_EQ(s.phase(), "AwaitingApproval");
  EXPECT_EQ(s.message(),
            "the plan is ready and waits for approval. HINT: read status.plan, then: kubectl patch "
            "postgresrestores before -n tfrs --type=merge -p "
            "'{\"spec\":{\"approvedPlan\":\"" +
                s.digest() + "\"}}'");
  EXPECT_EQ(s.digest().size(), 16U);
  EXPECT_THAT(s.acts, IsEmpty());
  EXPECT_EQ(condition(s, "Reconciling"), "True");
  EXPECT_EQ(condition(s, "Finished"), "False");
}

TEST(Approval, SaysWhatIsAtStake) {
  Scripted s;
  s.approval_required = true;
  s.at_stake = "12 transactions stay behind";
  s.drive(3);
  EXPECT_EQ(s.message().rfind("the plan is ready and waits for approval: 12 transactions stay behind. HINT: "
                              "read status.plan, then: kubectl patch",
                              0),
            0U)
      << s.message();
}

TEST(Approval, OfThisDigestRunsIt) {
  Scripted s;
  s.approval_required = true;
  s.drive(2);
  s.approved = s.digest();
  s.drive();
  EXPECT_EQ(s.phase(), "Completed");
  EXPECT_THAT(s.events, Contains("Normal Approved: plan " + s.digest() + " is approved"));
}

// Flux takes away what kubectl set on an object that it applies.
TEST(Approval, CountsFromTheMomentItIsSeen) {
  Scripted s;
  s.approval_required = true;
  s.drive(2);
  s.approved = s.digest();
  s.drive(1);
  s.approved.clear();
  s.drive();
  EXPECT_EQ(s.phase(), "Completed");
  EXPECT_EQ(s.text({"operation", "inputs", "approvedPlan"}), s.digest());
}

// The watch brought it, and it was gone when the object was read.
TEST(Approval, IsSeenByTheWatchToo) {
  Scripted s;
  s.approval_required = true;
  s.drive(2);
  const std::string uid = "12345678-aaaa";
  const Json given = {{"metadata", {{"uid", uid}}}, {"spec", {{"approvedPlan", s.digest()}}}};
  Json other = given;
  other["spec"]["approvedPlan"] = "0000000000000000";
  s.outside.approvals->observe(other);
  s.drive(2);
  EXPECT_EQ(s.text({"reason"}), "AwaitingApproval") << "of another plan it is none";
  s.outside.approvals->observe(given);
  other["spec"].erase("approvedPlan");
  s.outside.approvals->observe(other);
  s.drive();
  EXPECT_EQ(s.phase(), "Completed");
  s.outside.approvals->forget(given);
  EXPECT_EQ(s.outside.approvals->seen(uid), "");
}

TEST(Approval, TakenAwayBeforeItWasSeenIsAskedForAgain) {
  Scripted s;
  s.approval_required = true;
  s.drive(2);
  const std::string asked = s.message();
  s.approved = "0000000000000000";
  s.drive(2);
  EXPECT_EQ(s.text({"reason"}), "OtherPlanApproved");
  s.approved.clear();
  s.drive(2);
  EXPECT_EQ(s.text({"reason"}), "AwaitingApproval");
  EXPECT_EQ(s.message(), asked);
  EXPECT_THAT(s.acts, IsEmpty());
}

TEST(Approval, OfAnotherDigestRunsNothing) {
  Scripted s;
  s.approval_required = true;
  s.drive(2);
  s.approved = "0000000000000000";
  s.drive(5);
  EXPECT_EQ(s.phase(), "AwaitingApproval");
  EXPECT_EQ(s.text({"reason"}), "OtherPlanApproved");
  EXPECT_EQ(s.message(), "spec.approvedPlan is 0000000000000000, but the plan's digest is " + s.digest() +
                             ". HINT: read status.plan again and approve that digest");
  EXPECT_EQ(s.events.back(), "Warning OtherPlanApproved: " + s.message());
  EXPECT_THAT(s.acts, IsEmpty());
  s.approved = s.digest();
  s.drive();
  EXPECT_EQ(s.phase(), "Completed");
}

TEST(Approval, IsVoidOnceTheWorldIsAnother) {
  Scripted s;
  s.approval_required = true;
  s.drive(2);
  std::string old = s.digest();
  s.world = "w2";
  s.approved = old;
  s.drive(5);
  EXPECT_EQ(s.phase(), "AwaitingApproval");
  EXPECT_EQ(s.text({"reason"}), "OtherPlanApproved");
  EXPECT_NE(s.digest(), old);
  EXPECT_THAT(s.events, Contains("Warning WorldChanged: what the plan stood on has changed since; planning "
                                 "again, and the approval is void"));
  EXPECT_EQ(base::number_at(s.status(), {"operation", "attempt"}), 2);
  EXPECT_EQ(base::number_at(s.status(), {"plan", "facts", "attempt"}), 2)
      << "planned again by a Job of another name";
  EXPECT_THAT(s.acts, IsEmpty());
  s.approved = s.digest();
  s.drive();
  EXPECT_EQ(s.phase(), "Completed");
}

TEST(Approval, IsForcedWhereSomebodyElseManagesWhatIsChanged) {
  Scripted s;
  s.git_changes =
      Json::array({{{"object", "Service/postgresql"}, {"manager", "Argo CD"}, {"diff", "-a\n+b"}}});
  s.drive(3);
  EXPECT_EQ(s.phase(), "AwaitingApproval");
  EXPECT_THAT(s.acts, IsEmpty());
  Scripted free;
  free.git_changes = Json::array({{{"object", "Service/postgresql"}, {"diff", "-a\n+b"}}});
  free.drive();
  EXPECT_EQ(free.phase(), "Completed");
}

TEST(Approval, IsForcedWhereThePlanFindsThatItMust) {
  Scripted s;
  s.plan_asks = true;
  s.drive(3);
  EXPECT_EQ(s.phase(), "AwaitingApproval");
  EXPECT_THAT(s.acts, IsEmpty());
  s.approved = s.digest();
  s.drive();
  EXPECT_EQ(s.phase(), "Completed");
}

TEST(Approval, CoversTheUidSoThatItCannotBeWrittenAhead) {
  Json covered = {{"world", "w1"}};
  EXPECT_EQ(plan_digest("uid-1", covered), plan_digest("uid-1", covered));
  EXPECT_NE(plan_digest("uid-1", covered), plan_digest("uid-2", covered));
  EXPECT_NE(plan_digest("uid-1", covered), plan_digest("uid-1", {{"world", "w2"}}));
  EXPECT_EQ(plan_digest("uid-1", covered).find_first_not_of("0123456789abcdef"), std::string::npos);
}

// Killed at every write between plan, approval and the first act: nothing happens that nobody approved.
TEST(Approval, IsNeverLostOrInventedByAKill) {
  for (int at = 0; at < 12; ++at) {
    Scripted s;
    s.approval_required = true;
    s.crash_at = at;
    s.drive(3);
    EXPECT_EQ(s.phase(), "AwaitingApproval") << at;
    EXPECT_THAT(s.acts, IsEmpty()) << at;
    s.approved = s.digest();
    s.drive();
    EXPECT_EQ(s.phase(), "Completed") << at;
    EXPECT_THAT(s.acts, ElementsAre("hold", "stop", "recover", "start", "record")) << at;
  }
}

// An operator that does not understand the object (an older one after a roll-back of its chart) marks it
// Blocked. The one that understands it again must not take that for an approval.
TEST(Approval, IsStillNeededAfterSomebodyMarkedItBlocked) {
  Scripted s;
  s.approval_required = true;
  s.drive(2);
  Json status = s.status();
  status["phase"] = "Blocked";
  status["reason"] = "UnknownField";
  s.api.merge(kube::kinds::kRestore, "before", {{"status", status}});
  s.drive(3);
  EXPECT_EQ(s.phase(), "AwaitingApproval");
  EXPECT_THAT(
      s.message(),
      HasSubstr("the plan is ready and waits for approval. HINT: read status.plan, then: kubectl patch"));
  EXPECT_THAT(s.acts, IsEmpty());
  s.approved = s.digest();
  s.drive();
  EXPECT_EQ(s.phase(), "Completed");
}

TEST(Plan, AloneTouchesNothing) {
  Scripted s;
  s.plan_only = true;
  s.approval_required = true;
  s.drive();
  EXPECT_EQ(s.phase(), "Completed");
  EXPECT_EQ(s.text({"reason"}), "Planned");
  EXPECT_EQ(s.message(), "planned only, as spec.mode Plan asks; status.plan says what Execute would do");
  EXPECT_EQ(s.text({"safePoint"}), "nothing was touched");
  EXPECT_EQ(base::at(s.status(), {"plan", "steps"}).size(), 4U);
  EXPECT_THAT(s.acts, IsEmpty());
}

TEST(Plan, ThatIsRefusedFailsWithNothingTouched) {
  Scripted s;
  s.plan_result =
      StepResult::failed(base::refused("TargetInFuture", "targetTime lies in the future", "leave it out"));
  s.drive();
  EXPECT_EQ(s.phase(), "Failed");
  EXPECT_EQ(s.text({"reason"}), "TargetInFuture");
  EXPECT_EQ(s.message(), "targetTime lies in the future. HINT: leave it out");
  EXPECT_EQ(s.text({"safePoint"}), "nothing was touched");
  EXPECT_THAT(s.events,
              Contains("Warning TargetInFuture: targetTime lies in the future. HINT: leave it out"));
}

TEST(Plan, ThatIsHeldIsBlockedAndGoesOnByItself) {
  Scripted s;
  s.plan_result = StepResult::blocked(base::refused("NetworkPolicyMissing", "no way", "add it"));
  s.drive(3);
  EXPECT_EQ(s.phase(), "Blocked");
  EXPECT_EQ(s.message(), "no way. HINT: add it");
  EXPECT_THAT(s.events, Contains("Warning NetworkPolicyMissing: no way. HINT: add it"));
  EXPECT_EQ(std::count_if(s.events.begin(), s.events.end(),
                          [](const std::string& e) { return e.rfind("Warning", 0) == 0; }),
            1);
  // Another reason is another thing to do.
  s.plan_result = StepResult::blocked(base::refused("QuotaTooSmall", "no room", "raise it"));
  s.drive(3);
  EXPECT_EQ(std::count(s.events.begin(), s.events.end(), "Warning QuotaTooSmall: no room. HINT: raise it"),
            1);
  s.plan_result = StepResult::done();
  s.drive();
  EXPECT_EQ(s.phase(), "Completed");
}

TEST(ActOnce, DoneBeforeIsCompletedAndTriedBeforeIsFailed) {
  struct {
    const char* result;
    const char* phase;
    const char* reason;
    const char* message;
  } table[] = {
      {R"({"alreadyDone": true, "ledger": {"plannedAt": "x", "outcome": {"time": "2026-11-20T15:00:00Z", "summary": {"reached": "0/3"}}}})",
       "Completed", "AlreadyDone",
       "PostgresRestore before with this spec has been done in this repository before "
       "(2026-11-20T15:00:00Z); nothing was started. HINT: an action "
       "happens once; to do it again, give the object another name"},
      {R"({"alreadyTried": true, "ledger": {"plannedAt": "2026-11-20T14:00:00Z"}})", "Failed", "AlreadyTried",
       "PostgresRestore before with this spec has been tried in this repository before "
       "(2026-11-20T14:00:00Z); nothing was started. HINT: an action happens once; to do it "
       "again, give the object another name"},
  };
  for (const auto& row : table) {
    Scripted s;
    Action a = s.load();
    auto before = already(a, Json::parse(row.result));
    ASSERT_TRUE(before.has_value());
    EXPECT_EQ(a.status.extra.contains("reached"), before->error.reason == "AlreadyDone")
        << "what the first one did";
    s.plan_result = *before;
    s.drive();
    EXPECT_EQ(s.phase(), row.phase);
    EXPECT_EQ(s.text({"reason"}), row.reason);
    EXPECT_EQ(s.message(), row.message);
    EXPECT_THAT(s.acts, IsEmpty());
  }
  Scripted s;
  Action a = s.load();
  EXPECT_FALSE(already(a, {{"alreadyDone", false}, {"alreadyTried", false}}).has_value());
  EXPECT_FALSE(already(a, Json::object()).has_value());
}

TEST(Record, ThatFailsDoesNotHideTheEnd) {
  struct {
    End end;
    const char* phase;
    const char* message;
  } table[] = {{End::kDone, "Completed",
                "all is well (the transcript is not in the archive: no pod. HINT: raise the quota)"},
               {End::kFail, "Failed",
                "recover is broken. HINT: mend it. Everything is as it was before (the transcript is not in "
                "the archive: no pod. HINT: raise the quota)"}};
  for (const auto& row : table) {
    for (bool blocked : {false, true}) {
      Scripted s;
      s.script[2].end = row.end;
      base::Error e = base::refused("NoPod", "no pod", "raise the quota");
      s.record_result = blocked ? StepResult::blocked(e) : StepResult::failed(e);
      s.drive();
      EXPECT_EQ(s.phase(), row.phase);
      EXPECT_EQ(s.message(), row.message);
    }
  }
}

TEST(Record, IsWaitedForAndAbsentIsFine) {
  Scripted s;
  s.record_result = StepResult::waiting("Job runs");
  s.drive(2);
  EXPECT_EQ(s.phase(), "Running");
  EXPECT_EQ(s.message(), "writing the transcript");
  Scripted none;
  none.with_record = false;
  none.drive();
  EXPECT_EQ(none.phase(), "Completed");
}

TEST(NewerOperation, IsLeftAlone) {
  Scripted s;
  s.script[1].looks = 1 << 30;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(s.once().has_value());
  Json status = s.status();
  status["operation"]["format"] = 2;
  status["operation"]["turns"] = {{"left", 3}};         // a field of its own
  status["operation"]["attempt"] = "first of several";  // one of ours, meaning something else
  s.api.merge(kube::kinds::kRestore, "before", {{"status", status}});
  const base::Json theirs = s.status()["operation"];
  Strings acts = s.acts;
  s.script[1].looks = 0;
  s.cancel = true;
  for (int i = 0; i < 3; ++i) {
    auto again = s.once();
    ASSERT_TRUE(again.has_value());
    EXPECT_EQ(*again, std::chrono::minutes(1));
  }
  EXPECT_EQ(s.phase(), "Blocked");
  EXPECT_EQ(s.text({"reason"}), "NewerOperation");
  EXPECT_EQ(s.message(),
            "a newer operator began this (operation format 2); this one knows format 1. HINT: upgrade the "
            "operator");
  EXPECT_EQ(s.acts, acts);
  EXPECT_EQ(base::number_at(s.status(), {"operation", "format"}), 2);
  EXPECT_EQ(s.status()["operation"], theirs) << "not a word of what is not understood is dropped";
  EXPECT_EQ(s.text({"operation", "step"}), "stop");
}

// Somebody wrote between our read and our write: the error goes up, nothing was done on the old knowledge.
TEST(Conflicts, OnSavingGoUpAsErrors) {
  Scripted s;
  ASSERT_TRUE(s.once().has_value());
  Action stale = s.load();
  s.api.merge(kube::kinds::kRestore, "before", {{"metadata", {{"annotations", {{"a", "b"}}}}}});
  auto again = advance(stale, s.flow());
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code, base::ErrorCode::kConflict);
  EXPECT_THAT(s.acts, IsEmpty()) << "the intent was not written, so nothing was begun";
  s.drive();
  EXPECT_EQ(s.phase(), "Completed");
}

// Two operators at once (a lease that was lost in a long pause): each act once, and one of them learns of the
// other.
TEST(Conflicts, OfTwoOperatorsEndInOneAction) {
  Scripted s;
  ASSERT_TRUE(s.once().has_value());
  Action a = s.load();
  Action b = s.load();
  ASSERT_TRUE(advance(a, s.flow()).has_value());
  EXPECT_EQ(s.phase(), "Completed");
  auto late = advance(b, s.flow());
  ASSERT_FALSE(late.has_value());
  EXPECT_EQ(late.error().code, base::ErrorCode::kConflict);
  EXPECT_THAT(s.acts, ElementsAre("hold", "stop", "recover", "start", "record"));
  EXPECT_EQ(s.phase(), "Completed");
}

TEST(Unavailable, ApiServersAreOutlived) {
  for (int at = 0; at < 8; ++at) {
    for (FakeApi::Moment moment : {FakeApi::Moment::kBefore, FakeApi::Moment::kAfter}) {
      Scripted s;
      int writes = 0;
      s.faults = [&, moment](const FakeApi::Call& call, FakeApi::Moment now) -> std::optional<base::Error> {
        if (!call.is_write() || now != moment || writes++ != at) return std::nullopt;
        return base::error(
            moment == FakeApi::Moment::kBefore ? base::ErrorCode::kUnavailable : base::ErrorCode::kInDoubt,
            "the reply was lost");
      };
      s.drive();
      EXPECT_EQ(s.phase(), "Completed") << at;
      EXPECT_THAT(s.acts, ElementsAre("hold", "stop", "recover", "start", "record")) << at;
    }
  }
}

TEST(StepResults, OfErrorsSayWhatARetryCanDo) {
  struct {
    base::ErrorCode code;
    StepResult::Kind kind;
  } table[] = {{base::ErrorCode::kUnavailable, StepResult::Kind::kWaiting},
               {base::ErrorCode::kTimeout, StepResult::Kind::kWaiting},
               {base::ErrorCode::kConflict, StepResult::Kind::kWaiting},
               {base::ErrorCode::kInDoubt, StepResult::Kind::kWaiting},
               {base::ErrorCode::kGone, StepResult::Kind::kWaiting},
               {base::ErrorCode::kCancelled, StepResult::Kind::kWaiting},
               {base::ErrorCode::kForbidden, StepResult::Kind::kBlocked},
               {base::ErrorCode::kUnauthorized, StepResult::Kind::kBlocked},
               {base::ErrorCode::kInvalid, StepResult::Kind::kFailed},
               {base::ErrorCode::kNotFound, StepResult::Kind::kFailed},
               {base::ErrorCode::kRefused, StepResult::Kind::kFailed},
               {base::ErrorCode::kCorrupt, StepResult::Kind::kFailed},
               {base::ErrorCode::kInternal, StepResult::Kind::kFailed}};
  for (const auto& row : table)
    EXPECT_EQ(StepResult::of(base::error(row.code, "m")).kind, row.kind) << base::to_string(row.code);
}

}  // namespace
}  // namespace pgrunbook::execute
