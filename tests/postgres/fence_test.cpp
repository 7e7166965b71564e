// The fence, and the life after a cutover.
#include "agent/fence.hpp"

#include <thread>

#include "agent/server.hpp"
#include "postgres/pitr_scene.hpp"

namespace pgrunbook::agent {
namespace {

using ::testing::HasSubstr;

class Fence : public Scene {
 protected:
  [[nodiscard]] Order fence_order(int action, const base::Json& recovered = {}) const {
    Order o = order(api::jobs::kFence, action, "primary");
    o.fence.wait_seconds = 60;
    o.fence.timeline = static_cast<int>(base::number_at(recovered, {"newTimeline"}));
    o.fence.fork_lsn = base::text_at(recovered, {"forkLSN"});
    return o;
  }
  [[nodiscard]] archive::TimelineState state(std::uint32_t timeline) const {
    return repository().record().find(postgres::TimelineId(timeline))->state;
  }
};

TEST_F(Fence, WaitsForTheStopThenCountsWhatIsLeft) {
  Server& primary = start_primary();
  insert(primary, 3);
  backup(primary);
  insert(primary, 2);
  auto plan = plan_now(1, primary);
  auto recovered = must_succeed(recover_order(1, plan.result));
  insert(primary, 7);
  primary.switch_segment();
  insert(primary, 4);

  Order cutover = plan_order(2, "");
  cutover.action.kind = "PostgresFailover";
  cutover.plan.candidate = "standby";
  cutover.plan.candidate_timeline = 2;
  auto stake = must_succeed(cutover);
  EXPECT_EQ(stake.result["parentTimeline"], 1);
  EXPECT_EQ(stake.result["atStake"]["transactions"], 8);  // the marker and seven; four are not archived yet

  Answer answer;
  std::thread job([&] { answer = run(fence_order(2, recovered.result)); });
  primary.stop();
  job.join();
  ASSERT_EQ(answer.outcome, api::Outcome::kSucceeded) << answer.message;
  EXPECT_EQ(answer.result["state"], "shut down");
  EXPECT_EQ(answer.result["timeline"], 1);
  EXPECT_EQ(answer.result["atStake"]["transactions"], 12) << answer.result.dump();
  EXPECT_TRUE(base::exists(primary.data() + "/standby.signal"));
  EXPECT_EQ(state(1), archive::TimelineState::kAbandoned);
  EXPECT_EQ(state(2), archive::TimelineState::kLive);
  EXPECT_EQ(to_json(must_succeed(fence_order(2, recovered.result))), to_json(answer));

  // Whoever starts it gets a read-only server; the fence holds afterwards.
  primary.start();
  EXPECT_EQ(primary.sql("SELECT pg_is_in_recovery()"), "t");
  EXPECT_ANY_THROW(insert(primary, 1));
  primary.stop();
  EXPECT_EQ(must_succeed(fence_order(2, recovered.result)).reason, "Fenced");
  EXPECT_EQ(run(fence_order(3, recovered.result)).reason, "FencedByAnother");

  // Another action takes it off as little, and is not held up by it.
  EXPECT_EQ(must_succeed(order(api::jobs::kUnfence, 3, "primary")).reason, "NotFenced");
  EXPECT_TRUE(base::exists(primary.data() + "/standby.signal"));
  EXPECT_TRUE(base::exists(primary_mount() + "/.pgrunbook/fence.json"));
  must_succeed(order(api::jobs::kUnfence, 2, "primary"));
  EXPECT_EQ(must_succeed(order(api::jobs::kUnfence, 2, "primary")).reason, "NotFenced");
  EXPECT_EQ(state(1), archive::TimelineState::kLive);
  EXPECT_EQ(state(2), archive::TimelineState::kPrepared);
  primary.start();
  insert(primary, 1);
  EXPECT_EQ(primary.sql("SELECT count(*) FROM credit_trade"), "17");
}

// Somebody else may scale the primary up between its stop and the fence.
TEST_F(Fence, AServerStartedSinceTheStopIsFound) {
  Server& primary = start_primary();
  auto within = [] { return base::Deadline::after(std::chrono::seconds(2)); };
  api::MemberRef m = *order(api::jobs::kFence, 1, "primary").member;
  primary.stop();
  auto stopped = control_data_of(m.data_directory);
  ASSERT_TRUE(stopped) << stopped.error().text();
  EXPECT_TRUE(still_stopped(m, *stopped, within()));
  primary.start();
  auto runs = still_stopped(m, *stopped, within());
  ASSERT_FALSE(runs);
  EXPECT_EQ(runs.error().reason, "StartedMeanwhile");
  EXPECT_THAT(runs.error().message, HasSubstr("pg_control says \"in production\""));
  primary.stop();
  auto ran = still_stopped(m, *stopped, within());  // it has taken writes, and is down again
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().reason, "StartedMeanwhile");
}

TEST_F(Fence, AServerThatDoesNotStopIsNoFence) {
  Server& primary = start_primary();
  Order o = fence_order(1);
  o.fence.wait_seconds = 0;
  auto a = run(o);
  EXPECT_EQ(a.outcome, api::Outcome::kFailed);
  EXPECT_EQ(a.reason, "NotShutDown");
  EXPECT_THAT(a.message, HasSubstr("in production"));
  EXPECT_FALSE(base::exists(primary.data() + "/standby.signal"));
  EXPECT_FALSE(base::exists(primary_mount() + "/.pgrunbook/fence.json"));
}

TEST_F(Fence, AfterACutoverATimeOnTheLeftTimelineIsRefusedAndOneOnTheNewIsReached) {
  Server& primary = start_primary();
  backup(primary);
  insert(primary, 2);
  auto plan = plan_now(1, primary);
  auto recovered = must_succeed(recover_order(1, plan.result));
  insert(primary, 3);
  std::string lived = clock(primary);
  insert(primary, 3);
  primary.switch_segment();
  primary.stop();
  must_succeed(fence_order(2, recovered.result));

  Server next = start_member(standby_mount());
  insert(next, 4);
  std::string good = clock(next);
  insert(next, 1);
  std::string segment = marker(next);
  auto refused = run(plan_order(3, lived, {segment}));
  EXPECT_EQ(refused.outcome, api::Outcome::kRefused);
  EXPECT_EQ(refused.reason, "TargetOnAbandonedTimeline");
  EXPECT_THAT(refused.message, HasSubstr(fmt::format("at {} the database lived on timeline 1", lived)));
  EXPECT_THAT(refused.hint, HasSubstr("the nearest possible targetTime is "));

  auto second = must_succeed(plan_order(4, good, {segment}));
  EXPECT_EQ(second.result["timeline"], 2);
  // Across the fork, onto the fenced old primary's volume: the fence goes into the undo.
  Order o = recover_order(4, second.result, "primary");
  auto again = must_succeed(o);
  EXPECT_EQ(again.result["newTimeline"], 3);
  EXPECT_FALSE(base::exists(primary.data() + "/standby.signal"));
  EXPECT_TRUE(base::exists(base::text_at(again.result, {"undoDirectory"}) + "/standby.signal"));
  next.stop();
  Server third = start_member(primary_mount());
  EXPECT_EQ(third.sql("SELECT count(*) FROM credit_trade"), "6");
  EXPECT_EQ(third.sql("SELECT pg_is_in_recovery()"), "f");
}

}  // namespace
}  // namespace pgrunbook::agent
