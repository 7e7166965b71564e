// Which logs are read, how often, and what is kept of them.
#include "execute/symptoms.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/execute/bench.hpp"

namespace pgrunbook::execute {
namespace {

class Logs : public testing::Test {
 protected:
  std::vector<plan::MemberHealth> look(int seconds, const base::Json& before = {}) {
    return look_at_members(bench_.world, bench_.scene(), before, start_ + std::chrono::seconds(seconds));
  }
  [[nodiscard]] int reads() const {
    int n = 0;
    for (const auto& c : asked_) n += c.verb == "log" ? 1 : 0;
    return n;
  }
  void SetUp() override {
    bench_.api.fault = [this](const test::FakeApi::Call& c,
                              test::FakeApi::Moment) -> std::optional<base::Error> {
      asked_.push_back(c);
      return c.verb == "log" ? refuses_ : std::nullopt;
    };
  }
  void crash_loop(int restarts) {
    bench_.api.merge(kube::kinds::kPod, "postgresql-1",
                     {{"status",
                       {{"conditions", {{{"type", "Ready"}, {"status", "False"}}}},
                        {"containerStatuses",
                         {{{"name", "postgresql"},
                           {"restartCount", restarts},
                           {"state", {{"waiting", {{"reason", "CrashLoopBackOff"}}}}},
                           {"lastState", {{"terminated", {{"reason", "Error"}, {"exitCode", 1}}}}}}}}}}});
  }
  test::Bench bench_;
  base::SystemTime start_ = base::now();
  std::vector<test::FakeApi::Call> asked_;
  std::optional<base::Error> refuses_;
};

TEST_F(Logs, OfOneThatServesOnceAMinuteAndLittle) {
  for (int s = 0; s < 60; s += 15) EXPECT_FALSE(look(s)[0].symptom);
  EXPECT_EQ(reads(), 1);
  (void)look(60);
  EXPECT_EQ(reads(), 2);
  EXPECT_EQ(asked_.back().body["sinceSeconds"], 65);
  EXPECT_EQ(asked_.back().name, "postgresql-1") << "the standby has no pod";
}

TEST_F(Logs, OfOneThatCrashLoopsOncePerRestart) {
  crash_loop(1);
  bench_.api.set_log("postgresql-1", "postgresql/previous",
                     "PANIC:  could not locate a valid checkpoint record\n");
  bench_.api.set_log("postgresql-1", "postgresql", "LOG:  starting PostgreSQL 15.14\n");
  auto health = look(0);
  ASSERT_TRUE(health[0].symptom);
  EXPECT_EQ(health[0].symptom->reason, "CheckpointLost");
  EXPECT_EQ(reads(), 2) << "both lives";
  base::Json before = {{{"name", "postgresql"}, {"symptom", plan::to_json(*health[0].symptom)}}};
  for (int s = 15; s < 60; s += 15) EXPECT_TRUE(look(s, before)[0].symptom);
  EXPECT_EQ(reads(), 2);
  crash_loop(2);
  (void)look(50, before);
  EXPECT_EQ(reads(), 4);
  // What was read and not kept is read again.
  bench_.world.log_reads->forget();
  (void)look(51, before);
  EXPECT_EQ(reads(), 6);
}

TEST_F(Logs, ThatMayNotBeReadAreSaid) {
  refuses_ = base::error(base::ErrorCode::kForbidden, "pods \"postgresql-1\" is forbidden");
  auto health = look(0);
  EXPECT_FALSE(health[0].symptom);
  EXPECT_THAT(health[0].unreadable, testing::HasSubstr("forbidden"));
  EXPECT_THAT(look(15)[0].unreadable, testing::HasSubstr("forbidden"))
      << "not asked again, and not forgotten";
  EXPECT_EQ(reads(), 1);
  refuses_ = base::error(base::ErrorCode::kUnavailable, "the kubelet does not answer");
  EXPECT_EQ(look(60)[0].unreadable, "");
}

}  // namespace
}  // namespace pgrunbook::execute
