// The conditions that each phase shows, and that a status survives being written and read.
#include "api/status.hpp"

#include <gtest/gtest.h>

namespace pgrunbook::api {
namespace {

struct Row {
  Phase phase;
  const char *ready, *reconciling, *stalled, *finished;  // "" = the condition is absent
};

class Conditions : public ::testing::TestWithParam<Row> {};

// The table of docs/status.md.
TEST_P(Conditions, OfPhase) {
  const Row& row = GetParam();
  ActionStatus s;
  // What was there before must go.
  set_condition(&s.conditions, "Reconciling", "True", "Old", "", 1, "2026-11-20T14:00:00Z");
  set_condition(&s.conditions, "Stalled", "True", "Old", "", 1, "2026-11-20T14:00:00Z");
  s.phase = row.phase;
  s.message = "why";
  s.set_conditions(7, "2026-11-20T15:00:00Z");
  EXPECT_EQ(condition_status(s.conditions, "Ready"), row.ready);
  EXPECT_EQ(condition_status(s.conditions, "Reconciling"), row.reconciling);
  EXPECT_EQ(condition_status(s.conditions, "Stalled"), row.stalled);
  EXPECT_EQ(condition_status(s.conditions, "Finished"), row.finished);
  EXPECT_EQ(s.observed_generation, 7);
  for (const Json& c : s.conditions) {
    EXPECT_EQ(c["reason"], std::string(to_string(row.phase)));
    EXPECT_EQ(c["message"], "why");
    EXPECT_EQ(c["observedGeneration"], 7);
  }
  EXPECT_EQ(phase_from(to_string(row.phase)), row.phase);
  EXPECT_EQ(terminal(row.phase), std::string(row.finished) == "True");
}

INSTANTIATE_TEST_SUITE_P(Table, Conditions,
                         ::testing::Values(Row{Phase::kPending, "False", "True", "", "False"},
                                           Row{Phase::kPlanning, "False", "True", "", "False"},
                                           Row{Phase::kAwaitingApproval, "False", "True", "", "False"},
                                           Row{Phase::kRunning, "False", "True", "", "False"},
                                           Row{Phase::kPaused, "False", "True", "", "False"},
                                           Row{Phase::kBlocked, "False", "", "True", "False"},
                                           Row{Phase::kRollingBack, "False", "True", "", "False"},
                                           Row{Phase::kCompleted, "True", "", "", "True"},
                                           Row{Phase::kFailed, "False", "", "True", "True"},
                                           Row{Phase::kCancelled, "False", "", "True", "True"}),
                         [](const auto& param) { return std::string(to_string(param.param.phase)); });

TEST(Condition, KeepsItsTimeWhileItsStatusStays) {
  Json conditions;
  set_condition(&conditions, "Ready", "False", "A", "one", 1, "2026-11-20T15:00:00Z");
  set_condition(&conditions, "Ready", "False", "B", "two", 2, "2026-11-20T16:00:00Z");
  ASSERT_EQ(conditions.size(), 1U);
  EXPECT_EQ(conditions[0]["lastTransitionTime"], "2026-11-20T15:00:00Z");
  EXPECT_EQ(conditions[0]["reason"], "B");
  EXPECT_EQ(conditions[0]["message"], "two");
  set_condition(&conditions, "Ready", "True", "C", "three", 3, "2026-11-20T17:00:00Z");
  EXPECT_EQ(conditions[0]["lastTransitionTime"], "2026-11-20T17:00:00Z");
  remove_condition(&conditions, "Ready");
  EXPECT_EQ(condition_status(conditions, "Ready"), "");
}

TEST(Condition, AlwaysHasAReason) {
  Json conditions;
  set_condition(&conditions, "Ready", "False", "", "", 1, "2026-11-20T15:00:00Z");
  EXPECT_EQ(conditions[0]["reason"], "Unknown");
}

TEST(Phase, UnknownOrEmptyIsPending) {
  EXPECT_EQ(phase_from(""), Phase::kPending);
  EXPECT_EQ(phase_from("Exploded"), Phase::kPending);
}

TEST(Status, SurvivesBeingWrittenAndRead) {
  ActionStatus s;
  s.phase = Phase::kRollingBack;
  s.step = "recover";
  s.progress = "3/9";
  s.message = "m";
  s.reason = "R";
  s.safe_point = "nothing was touched";
  s.progress_detail = {{"bytesDone", 1}};
  s.plan = {{"digest", "0123456789abcdef"}};
  s.start_time = "2026-11-20T15:00:00Z";
  s.completion_time = "2026-11-20T16:00:00Z";
  s.observed_generation = 4;
  s.extra = {{"backupID", "b"}, {"undo", {{"bytes", 5}}}};
  s.operation.step = "recover";
  s.operation.state = "Intent";
  s.operation.attempt = 2;
  s.operation.rolling_back = true;
  s.operation.past_no_return = true;
  s.operation.inputs = {{"a", 1}};
  s.operation.results = {{"plan", {{"b", 2}}}};
  s.operation.log = Json::array({{{"step", "plan"}}});
  s.operation.failure = {{"reason", "X"}};
  s.set_conditions(4, "2026-11-20T15:00:00Z");
  Json written = to_json(s);
  EXPECT_EQ(to_json(status_of({{"status", written}})), written);
  EXPECT_EQ(status_of({{"status", written}}).extra, s.extra);
}

TEST(Status, OfAnObjectWithoutOneIsPending) {
  EXPECT_EQ(status_of(Json::object()).phase, Phase::kPending);
  EXPECT_EQ(status_of({{"status", 3}}).operation.format, 1);
  EXPECT_EQ(status_of({{"status", {{"operation", {{"format", 2}}}}}}).operation.format, 2);
}

TEST(Steps, SayTheirKind) {
  Json steps = to_json(
      std::vector<PlannedStep>{{"a", StepKind::kConvergent, "A"}, {"b", StepKind::kIrreversible, "B"}});
  EXPECT_EQ(
      steps,
      Json::parse(
          R"([{"name": "a", "kind": "Convergent", "text": "A"}, {"name": "b", "kind": "Irreversible", "text": "B"}])"));
}

TEST(Operation, KeepsFieldsThatAnotherVersionWrote) {
  Json status = {{"phase", "Running"},
                 {"operation", {{"format", 1}, {"step", "hold"}, {"turns", 3}, {"inputs", {{"a", 1}}}}}};
  Json written = to_json(status_of({{"status", status}}));
  EXPECT_EQ(written["operation"]["turns"], 3);
  EXPECT_EQ(written["operation"]["step"], "hold");
  EXPECT_FALSE(to_json(ActionStatus())["operation"].contains("turns"));
}

TEST(Operation, OfAFormatThatIsNoNumberIsNotOurs) {
  ActionStatus s = status_of({{"status", {{"operation", {{"format", "two"}, {"step", 7}}}}}});
  EXPECT_EQ(s.operation.format, 0);
  EXPECT_EQ(to_json(s)["operation"]["format"], "two");
  EXPECT_EQ(to_json(s)["operation"]["step"], 7);
}

}  // namespace
}  // namespace pgrunbook::api
