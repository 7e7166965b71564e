#include "agent/claim.hpp"

#include <atomic>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.hpp"
#include "support/postgres/temporary.hpp"

namespace pgrunbook::agent {
namespace {

using test::must;

api::Order order(const std::string& pod, const std::string& action = "action-1",
                 const std::string& broken = "") {
  api::Order o;
  o.job = api::jobs::kRecover;
  o.pod_uid = pod;
  o.action.uid = action;
  if (!broken.empty()) o.undo = {{"brokenClaim", broken}};
  return o;
}

class Claim : public ::testing::Test {
 protected:
  test::TemporaryDirectory directory_;
  base::Result<VolumeClaim> acquire(const api::Order& o) const {
    return VolumeClaim::acquire(o, directory_.path());
  }
  [[nodiscard]] std::vector<std::string> files() const {
    return must(base::list_directory(directory_ / ".pgrunbook"));
  }
};

TEST_F(Claim, IsHeldUntilReleased) {
  VolumeClaim claim = must(acquire(order("pod-1")));
  EXPECT_THAT(files(), ::testing::ElementsAre("claim"));
  must(claim.release());
  EXPECT_TRUE(files().empty());
  EXPECT_TRUE(acquire(order("pod-2")).has_value());
}

TEST_F(Claim, AnotherPodLeavesWithoutTouchingAnything) {
  must(acquire(order("pod-1")));
  std::string before = must(base::read_file(directory_ / ".pgrunbook/claim"));
  auto second = acquire(order("pod-2"));
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, base::ErrorCode::kRefused);
  EXPECT_EQ(second.error().reason, "VolumeClaimed");
  EXPECT_THAT(second.error().text(),
              ::testing::MatchesRegex(
                  "the volume at " + directory_.path() +
                  " is claimed by pod pod-1 for job Recover of action action-1 since 20..-..-..T..:..:..Z. "
                  "HINT: it goes on by itself when that action has ended; nothing was touched"));
  EXPECT_EQ(must(base::read_file(directory_ / ".pgrunbook/claim")), before);
  EXPECT_EQ(files().size(), 1U);
}

TEST_F(Claim, TheSamePodMayAskAgain) {
  must(acquire(order("pod-1")));
  EXPECT_TRUE(acquire(order("pod-1")).has_value());
}

TEST_F(Claim, OnlyThePodNamedAsEndedIsSucceeded) {
  must(acquire(order("pod-1")));
  EXPECT_FALSE(acquire(order("pod-2", "action-1", "pod-0")).has_value());
  EXPECT_FALSE(acquire(order("pod-2", "action-2", "pod-1")).has_value());  // of another action
  EXPECT_TRUE(acquire(order("pod-2", "action-1", "pod-1")).has_value());
  EXPECT_FALSE(acquire(order("pod-1")).has_value());                       // it lost it
  EXPECT_FALSE(acquire(order("pod-3", "action-1", "pod-1")).has_value());  // pod-2 holds it now
  VolumeClaim third = must(acquire(order("pod-3", "action-1", "pod-2")));
  must(third.release());
  EXPECT_TRUE(files().empty());
}

// A Job's second try is killed as well while it holds the claim: the third names both.
TEST_F(Claim, AnyOfThePodsNamedAsEndedIsSucceeded) {
  must(acquire(order("recover-1")));
  must(acquire(order("undo-1", "action-1", "recover-1")));
  api::Order third = order("undo-2");
  third.undo = {{"brokenClaim", {"undo-0", "recover-1"}}};
  EXPECT_EQ(acquire(third).error().reason, "VolumeClaimed");
  third.undo = {{"brokenClaim", {"undo-1", "recover-1"}}};
  third.action.uid = "action-2";
  EXPECT_EQ(acquire(third).error().reason, "VolumeClaimed");
  third.action.uid = "action-1";
  VolumeClaim claim = must(acquire(third));
  EXPECT_FALSE(acquire(order("undo-1", "action-1", "recover-1")).has_value()) << "it lost it";
  must(claim.release());
  EXPECT_TRUE(files().empty());
}

TEST_F(Claim, OfManyAskersOneGetsIt) {
  std::atomic<int> got = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&, i] {
      if (acquire(order("pod-" + std::to_string(i)))) ++got;
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(got, 1);
}

TEST_F(Claim, OfManySuccessorsOneGetsIt) {
  for (int round = 0; round < 20; ++round) {
    test::TemporaryDirectory volume;
    must(VolumeClaim::acquire(order("dead"), volume.path()));
    std::atomic<int> got = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&, i] {
        if (VolumeClaim::acquire(order("pod-" + std::to_string(i), "action-1", "dead"), volume.path())) ++got;
      });
    }
    for (auto& t : threads) t.join();
    EXPECT_EQ(got, 1);
  }
}

TEST_F(Claim, WithoutAPodUidNothingIsClaimed) {
  EXPECT_EQ(acquire(order("")).error().message, "'' cannot be the uid of a pod");
  EXPECT_FALSE(base::exists(directory_ / ".pgrunbook"));
}

}  // namespace
}  // namespace pgrunbook::agent
