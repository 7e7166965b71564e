#include "runtime/work_queue.hpp"

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

namespace pgrunbook::runtime {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class WorkQueueTest : public ::testing::Test {
 protected:
  WorkQueue::Options options() {
    WorkQueue::Options o;
    o.clock = [this] { return now_.load(); };
    o.jitter = 0;
    o.seed = 1;
    o.backoff_base = milliseconds(100);
    o.backoff_most = milliseconds(1000);
    return o;
  }
  std::string take() {
    if (queue_.ready() == 0 && queue_.waiting() == 0) return "";
    std::stop_source stop;
    if (queue_.ready() == 0) stop.request_stop();  // nothing due: do not block
    auto key = queue_.get(stop.get_token());
    return key ? key->name : "";
  }
  void move(milliseconds d) {
    now_ = now_.load() + d;
    queue_.clock_moved();
  }

  std::atomic<WorkQueue::Time> now_{WorkQueue::Time(std::chrono::hours(1))};
  WorkQueue queue_{options()};
  const Key a_{"ns", "a"}, b_{"ns", "b"};
};

TEST_F(WorkQueueTest, AKeyIsInItOnceAndInOrder) {
  queue_.add(a_);
  queue_.add(b_);
  queue_.add(a_);
  EXPECT_EQ(queue_.ready(), 2U);
  EXPECT_EQ(take(), "a");
  EXPECT_EQ(take(), "b");
}

TEST_F(WorkQueueTest, AddedDuringWorkComesBackAfterIt) {
  queue_.add(a_);
  EXPECT_EQ(take(), "a");
  queue_.add(a_);
  queue_.add(a_);
  EXPECT_EQ(queue_.ready(), 0U) << "no two workers have the same key";
  queue_.done(a_);
  EXPECT_EQ(queue_.ready(), 1U);
  EXPECT_EQ(take(), "a");
  queue_.done(a_);
  EXPECT_EQ(queue_.ready(), 0U);
}

TEST_F(WorkQueueTest, LaterMeansLaterAndTheEarliestWaitCounts) {
  queue_.add_after(a_, seconds(10));
  queue_.add_after(a_, seconds(5));
  queue_.add_after(a_, seconds(20));
  EXPECT_EQ(queue_.waiting(), 1U);
  std::jthread worker([this] {
    auto key = queue_.get({});
    EXPECT_EQ(key->name, "a");
    EXPECT_EQ(now_.load(), WorkQueue::Time(std::chrono::hours(1)) + seconds(5));
  });
  move(seconds(4));
  move(seconds(1));
  worker.join();
  EXPECT_EQ(queue_.waiting(), 0U);
  queue_.done(a_);
  queue_.add_after(b_, milliseconds(0));
  EXPECT_EQ(queue_.ready(), 1U);
}

TEST_F(WorkQueueTest, DueDuringWorkComesBackAfterIt) {
  queue_.add(a_);
  EXPECT_EQ(take(), "a");
  queue_.add_after(a_, seconds(1));
  queue_.add(b_);
  move(seconds(2));
  EXPECT_EQ(take(), "b");
  EXPECT_EQ(queue_.waiting(), 0U);
  EXPECT_EQ(queue_.ready(), 0U);
  queue_.done(a_);
  EXPECT_EQ(take(), "a");
}

TEST_F(WorkQueueTest, BackoffDoublesPerKeyUntilForgotten) {
  EXPECT_EQ(queue_.add_rate_limited(a_), milliseconds(100));
  EXPECT_EQ(queue_.add_rate_limited(a_), milliseconds(200));
  EXPECT_EQ(queue_.add_rate_limited(b_), milliseconds(100));
  EXPECT_EQ(queue_.add_rate_limited(a_), milliseconds(400));
  EXPECT_EQ(queue_.add_rate_limited(a_), milliseconds(800));
  EXPECT_EQ(queue_.add_rate_limited(a_), milliseconds(1000));
  EXPECT_EQ(queue_.add_rate_limited(a_), milliseconds(1000));
  EXPECT_EQ(queue_.failures(a_), 6);
  queue_.forget(a_);
  EXPECT_EQ(queue_.add_rate_limited(a_), milliseconds(100));
  EXPECT_EQ(queue_.add_rate_limited(b_, seconds(30)), seconds(30)) << "the API server's Retry-After";
}

TEST_F(WorkQueueTest, JitterOnlyAdds) {
  auto o = options();
  o.jitter = 0.5;
  WorkQueue queue(o);
  for (int i = 0; i < 100; ++i) {
    queue.forget(a_);
    auto wait = queue.add_rate_limited(a_);
    EXPECT_GE(wait, milliseconds(100));
    EXPECT_LE(wait, milliseconds(150));
  }
}

TEST_F(WorkQueueTest, StopAndShutDownWakeAWaitingWorker) {
  std::stop_source stop;
  std::jthread worker([&] { EXPECT_EQ(queue_.get(stop.get_token()), std::nullopt); });
  stop.request_stop();
  worker.join();
  std::jthread other([&] { EXPECT_EQ(queue_.get({}), std::nullopt); });
  queue_.shut_down();
  other.join();
  queue_.add(a_);
  EXPECT_EQ(queue_.get({}), std::nullopt);
}

TEST_F(WorkQueueTest, ManyWorkersNeverShareAKeyAndLoseNone) {
  WorkQueue queue;
  std::array<std::atomic<int>, 20> in_work{}, worked{};
  std::atomic<bool> shared = false;
  std::atomic<int> added = 0;
  {
    std::vector<std::jthread> workers;
    for (int w = 0; w < 4; ++w) {
      workers.emplace_back([&](std::stop_token stop) {
        while (auto key = queue.get(stop)) {
          auto i = static_cast<std::size_t>(std::stoi(key->name));
          if (++in_work[i] != 1) shared = true;
          std::this_thread::yield();
          ++worked[i];
          --in_work[i];
          queue.done(*key);
        }
      });
    }
    {
      std::vector<std::jthread> adders;
      for (int t = 0; t < 2; ++t) {
        adders.emplace_back([&] {
          for (int i = 0; i < 2000; ++i) {
            queue.add({"", std::to_string(i % 20)});
            ++added;
          }
        });
      }
    }
    while (queue.ready() > 0 || !queue.processing().empty()) std::this_thread::yield();
    queue.shut_down();
  }
  EXPECT_FALSE(shared);
  for (auto& w : worked) EXPECT_GE(w.load(), 1);
}

}  // namespace
}  // namespace pgrunbook::runtime
