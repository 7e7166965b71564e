#include "kube/lease.hpp"

#include <thread>

#include <gtest/gtest.h>

#include "unit/kube/memory_api.hpp"

namespace pgrunbook::kube {
namespace {

using base::ErrorCode;
using test::MemoryApi;

class LeaseTest : public ::testing::Test {
 protected:
  Lease lease(const std::string& holder) {
    LeaseOptions options;
    options.ns = "ns";
    options.name = "pgrunbook";
    options.holder = holder;
    return Lease(api_, options, [this] { return now_; });
  }
  std::string holder() {
    return base::text_at(*api_.peek(kinds::kLease, "ns", "pgrunbook"), {"spec", "holderIdentity"});
  }

  MemoryApi api_;
  std::chrono::steady_clock::time_point now_{std::chrono::hours(1)};
  base::Deadline d_ = base::Deadline::after(std::chrono::seconds(5));
};

TEST_F(LeaseTest, IsTakenOnceAndRenewed) {
  auto a = lease("a"), b = lease("b");
  ASSERT_TRUE(a.acquire(d_));
  EXPECT_TRUE(a.valid());
  EXPECT_EQ(a.valid_until(), now_ + std::chrono::seconds(15));
  auto refused = b.acquire(d_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "LeaseHeld");
  EXPECT_EQ(refused.error().message, "Lease pgrunbook is held by a");
  EXPECT_EQ(b.holder(), "a");
  EXPECT_FALSE(b.valid());
  now_ += std::chrono::seconds(10);
  ASSERT_TRUE(a.renew(d_));
  EXPECT_EQ(a.valid_until(), now_ + std::chrono::seconds(15));
}

TEST_F(LeaseTest, ExpiresOnlyAfterItWasSeenUnchangedForItsDuration) {
  auto a = lease("a"), b = lease("b");
  ASSERT_TRUE(a.acquire(d_));
  ASSERT_FALSE(b.acquire(d_));  // b sees it for the first time
  now_ += std::chrono::seconds(14);
  ASSERT_TRUE(a.renew(d_));
  now_ += std::chrono::seconds(14);
  ASSERT_FALSE(b.acquire(d_));  // it changed meanwhile: b's wait starts again
  now_ += std::chrono::seconds(16);
  ASSERT_TRUE(b.acquire(d_));
  EXPECT_EQ(holder(), "b");
  EXPECT_EQ(base::number_at(*api_.peek(kinds::kLease, "ns", "pgrunbook"), {"spec", "leaseTransitions"}), 1);
  EXPECT_FALSE(a.valid());
  EXPECT_EQ(a.renew(d_).error().reason, "LeaseHeld");
}

TEST_F(LeaseTest, ReleasedOneIsFreeAtOnce) {
  auto a = lease("a"), b = lease("b");
  ASSERT_TRUE(a.acquire(d_));
  ASSERT_TRUE(a.release(d_));
  EXPECT_FALSE(a.valid());
  EXPECT_EQ(holder(), "");
  ASSERT_TRUE(b.acquire(d_));
  ASSERT_TRUE(a.release(d_));  // not ours: nothing happens
  EXPECT_EQ(holder(), "b");
}

TEST_F(LeaseTest, TheSlowerOfTwoSeesAConflict) {
  auto a = lease("a"), b = lease("b");
  api_.fail_next("get", ErrorCode::kNotFound);
  ASSERT_TRUE(a.acquire(d_));
  api_.fail_next("get", ErrorCode::kNotFound);  // b looked before a wrote
  EXPECT_EQ(b.acquire(d_).error().code, ErrorCode::kConflict);
  EXPECT_EQ(holder(), "a");
}

TEST_F(LeaseTest, ARenewalAsksNothingItKnows) {
  auto a = lease("a");
  ASSERT_TRUE(a.acquire(d_));
  int asked = api_.count("get");
  ASSERT_TRUE(a.renew(d_));
  ASSERT_TRUE(a.renew(d_));
  EXPECT_EQ(api_.count("get"), asked);
  // Somebody else touched it, and it is still ours: looked at, and written over what is there.
  Json touched = *api_.peek(kinds::kLease, "ns", "pgrunbook");
  touched["metadata"]["annotations"] = {{"by", "somebody"}};
  api_.put(kinds::kLease, "ns", touched);
  now_ += std::chrono::seconds(5);
  ASSERT_TRUE(a.renew(d_));
  EXPECT_EQ(api_.count("get"), asked + 1);
  EXPECT_EQ(a.valid_until(), now_ + std::chrono::seconds(15));
  EXPECT_EQ(base::text_at(*api_.peek(kinds::kLease, "ns", "pgrunbook"), {"metadata", "annotations", "by"}),
            "somebody");
}

TEST_F(LeaseTest, ARenewalWhoseReplyWasLostIsFollowedByALook) {
  auto a = lease("a");
  ASSERT_TRUE(a.acquire(d_));
  // It was written, and we do not know: what we know is old now.
  Json written = *api_.peek(kinds::kLease, "ns", "pgrunbook");
  api_.put(kinds::kLease, "ns", written);
  ASSERT_TRUE(a.renew(d_));
  EXPECT_TRUE(a.valid());
  api_.objects.clear();  // removed by hand: made anew
  ASSERT_TRUE(a.renew(d_));
  EXPECT_EQ(holder(), "a");
}

TEST_F(LeaseTest, FailedRenewalProlongsNothing) {
  auto a = lease("a");
  ASSERT_TRUE(a.acquire(d_));
  auto until = a.valid_until();
  now_ += std::chrono::seconds(5);
  api_.fail_next("patch", ErrorCode::kInDoubt);
  EXPECT_EQ(a.renew(d_).error().code, ErrorCode::kInDoubt);
  EXPECT_EQ(a.valid_until(), until);
  ASSERT_TRUE(a.renew(d_));
  EXPECT_GT(a.valid_until(), until);
}

TEST_F(LeaseTest, ExclusionIsNeverBrokenByTime) {
  auto first = lease("uid-1"), second = lease("uid-2");
  auto never = [](const std::string&) { return false; };
  ASSERT_TRUE(first.acquire_when(never, d_));
  now_ += std::chrono::hours(24);
  EXPECT_EQ(second.acquire_when(never, d_).error().reason, "LeaseHeld");
  now_ += std::chrono::hours(24);
  std::string asked_about;
  ASSERT_TRUE(second.acquire_when(
      [&](const std::string& h) {
        asked_about = h;
        return true;
      },
      d_));
  EXPECT_EQ(asked_about, "uid-1");
  EXPECT_EQ(holder(), "uid-2");
  ASSERT_TRUE(second.acquire_when(never, d_));  // ours already: a restarted action goes on
}

LeaseOptions leader(const std::string& holder) {
  LeaseOptions options;
  options.ns = "ns";
  options.name = "leader";
  options.holder = holder;
  return options;
}

TEST(LeadershipTest, SecondFollowsAfterTheFirstLetsGo) {
  MemoryApi api;
  Leadership::Timing timing{std::chrono::milliseconds(10), std::chrono::milliseconds(5000)};
  Leadership first(api, leader("a"), timing), second(api, leader("b"), timing);
  ASSERT_TRUE(first.acquire({}));
  EXPECT_FALSE(first.lost().stop_requested());
  std::jthread release([&] { first.release(base::Deadline::after(std::chrono::seconds(5))); });
  ASSERT_TRUE(second.acquire({}));
  EXPECT_FALSE(first.lost().stop_requested());
}

TEST(LeadershipTest, IsLostWhenAnotherTookIt) {
  MemoryApi api;
  Leadership first(api, leader("a"), {std::chrono::milliseconds(5), std::chrono::milliseconds(5000)});
  ASSERT_TRUE(first.acquire({}));
  std::atomic<bool> heard = false;
  std::stop_callback on_lost(first.lost(), [&] {
    heard = true;
    heard.notify_all();
  });
  api.put(kinds::kLease, "ns", {{"metadata", {{"name", "leader"}}}, {"spec", {{"holderIdentity", "b"}}}});
  heard.wait(false);
  EXPECT_TRUE(first.lost().stop_requested());
}

// The first renewal goes nowhere until its deadline, as on a connection whose peer is gone.
class OnceLost : public MemoryApi {
 public:
  Result<Json> patch(const Resource& r, const std::string& ns, const std::string& name, PatchType type,
                     const Json& body, const std::string& subresource, Deadline d) override {
    if (++patches == 1) {
      patience = d.left();
      return base::fail(ErrorCode::kInDoubt, "the reply is lost");
    }
    auto done = MemoryApi::patch(r, ns, name, type, body, subresource, d);
    patches.notify_all();
    return done;
  }
  std::atomic<int> patches = 0;
  std::chrono::milliseconds patience{};
};

TEST(LeadershipTest, LeavesTimeForASecondAttempt) {
  OnceLost api;
  Leadership first(api, leader("a"), {std::chrono::milliseconds(5), std::chrono::milliseconds(5000)});
  ASSERT_TRUE(first.acquire({}));
  for (int seen = api.patches; seen < 2; seen = api.patches) api.patches.wait(seen);
  EXPECT_LE(api.patience, std::chrono::milliseconds(5000)) << "of the ten seconds until the margin";
  EXPECT_GT(api.patience, std::chrono::milliseconds(0));
  EXPECT_FALSE(first.lost().stop_requested());
  first.release(base::Deadline::after(std::chrono::seconds(5)));
  EXPECT_EQ(base::text_at(*api.peek(kinds::kLease, "ns", "leader"), {"spec", "holderIdentity"}), "");
}

TEST(LeadershipTest, StopsWaitingWhenAsked) {
  MemoryApi api;
  api.put(kinds::kLease, "ns", {{"metadata", {{"name", "leader"}}}, {"spec", {{"holderIdentity", "b"}}}});
  Leadership waiting(api, leader("a"), {std::chrono::hours(1), std::chrono::milliseconds(5000)});
  std::stop_source stop;
  std::jthread asker([&] { stop.request_stop(); });
  EXPECT_EQ(waiting.acquire(stop.get_token()).error().code, ErrorCode::kCancelled);
}

}  // namespace
}  // namespace pgrunbook::kube
