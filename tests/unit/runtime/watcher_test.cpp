#include "runtime/watcher.hpp"

#include <thread>

#include <gtest/gtest.h>

#include "unit/kube/memory_api.hpp"

namespace pgrunbook::runtime {
namespace {

using base::ErrorCode;
using kube::WatchEvent;
using std::chrono::milliseconds;
using test::object;

class WatcherTest : public ::testing::Test {
 protected:
  static Watcher::Options options() {
    Watcher::Options o;
    o.backoff_base = milliseconds(100);
    o.backoff_most = milliseconds(1000);
    o.shortest_watch = std::chrono::hours(1);
    return o;
  }
  milliseconds step() {
    return watcher_.step(
        [this](Watcher::Event e) {
          using T = Watcher::Event::Type;
          std::string name = base::text_at(e.object, {"metadata", "name"});
          switch (e.type) {
            case T::kInit:
              log_.push_back("init");
              break;
            case T::kInitApply:
              log_.push_back("init-apply " + name);
              break;
            case T::kInitDone:
              log_.push_back("init-done");
              break;
            case T::kApply:
              log_.push_back("apply " + name);
              break;
            case T::kDelete:
              log_.push_back("delete " + name);
              break;
          }
        },
        stop_.get_token());
  }
  // The next watch hands these out and ends so.
  void script(std::vector<std::pair<WatchEvent::Type, Json>> events, base::Result<std::string> end) {
    api_.on_watch.push_back(
        [events, end](const std::string&, const std::function<void(WatchEvent)>& on_event) {
          for (const auto& [type, o] : events) on_event({type, o});
          return end;
        });
  }
  void listed() {
    api_.put(kube::kinds::kPod, "ns", object("a"));
    ASSERT_EQ(step(), milliseconds(0));
    log_.clear();
  }

  test::MemoryApi api_;
  Watcher watcher_{api_, kube::kinds::kPod, "ns", options()};
  std::stop_source stop_;
  std::vector<std::string> log_;
};

TEST_F(WatcherTest, ListsThenWatchesFromThere) {
  api_.put(kube::kinds::kPod, "ns", object("a"));
  api_.put(kube::kinds::kPod, "ns", object("b"));
  EXPECT_EQ(watcher_.state(), Watcher::State::kEmpty);
  EXPECT_EQ(step(), milliseconds(0));
  EXPECT_EQ(log_, (std::vector<std::string>{"init", "init-apply a", "init-apply b", "init-done"}));
  EXPECT_EQ(watcher_.state(), Watcher::State::kListed);
  EXPECT_EQ(watcher_.resource_version(), "102");
  log_.clear();
  script({{WatchEvent::Type::kAdded, object("c", "103")}, {WatchEvent::Type::kDeleted, object("a", "104")}},
         std::string("104"));
  EXPECT_EQ(step(), milliseconds(0)) << "a clean end goes on at once";
  EXPECT_EQ(log_, (std::vector<std::string>{"apply c", "delete a"}));
  EXPECT_EQ(api_.watched_from, std::vector<std::string>{"102"});
  EXPECT_EQ(watcher_.resource_version(), "104");
}

TEST_F(WatcherTest, ABrokenStreamGoesOnWhereItWas) {
  listed();
  script({{WatchEvent::Type::kModified, object("a", "200")}}, base::fail(ErrorCode::kUnavailable, "cut"));
  EXPECT_GT(step(), milliseconds(0));
  EXPECT_EQ(watcher_.state(), Watcher::State::kListed);
  script({{WatchEvent::Type::kBookmark, object("", "250")}}, base::fail(ErrorCode::kUnavailable, "cut"));
  step();
  script({}, base::fail(ErrorCode::kUnavailable, "cut"));
  step();
  EXPECT_EQ(api_.watched_from, (std::vector<std::string>{"101", "200", "250"})) << "bookmarks count";
  EXPECT_EQ(log_, std::vector<std::string>{"apply a"}) << "no relist";
}

TEST_F(WatcherTest, TooOldMeansListAgain) {
  listed();
  script({{WatchEvent::Type::kModified, object("a", "200")}}, base::fail(ErrorCode::kGone, "410"));
  EXPECT_EQ(step(), milliseconds(0));
  EXPECT_EQ(watcher_.state(), Watcher::State::kEmpty);
  EXPECT_EQ(step(), milliseconds(0));
  EXPECT_EQ(log_, (std::vector<std::string>{"apply a", "init", "init-apply a", "init-done"}));
}

TEST_F(WatcherTest, FailuresWaitLongerAndLifeResetsThat) {
  for (int i = 0; i < 8; ++i) api_.fail_next("list", ErrorCode::kUnavailable);
  milliseconds first = step(), last{};
  for (int i = 1; i < 8; ++i) last = step();
  EXPECT_LE(first, milliseconds(100));
  EXPECT_GE(last, milliseconds(500));
  EXPECT_LE(last, milliseconds(1000));
  EXPECT_TRUE(log_.empty());
  listed();
  script({{WatchEvent::Type::kBookmark, object("", "300")}}, base::fail(ErrorCode::kUnavailable, "cut"));
  EXPECT_LE(step(), milliseconds(100));
}

TEST_F(WatcherTest, AMissingRightWaitsLongAndIsTold) {
  std::vector<std::string> told;
  watcher_.on_trouble([&](const base::Error& e) { told.push_back(e.message); });
  api_.fail_next("list", ErrorCode::kForbidden);
  EXPECT_EQ(step(), std::chrono::seconds(60));
  EXPECT_EQ(told, std::vector<std::string>{"injected Forbidden"});
}

TEST_F(WatcherTest, AWatchThatEndsAtOnceIsNoLoop) {
  listed();
  script({}, std::string("101"));
  EXPECT_GT(step(), milliseconds(0));
}

TEST_F(WatcherTest, StopEndsAQuietWatch) {
  api_.put(kube::kinds::kPod, "ns", object("a"));
  std::jthread asker([this] {
    while (api_.count("watch") == 0) std::this_thread::yield();
    stop_.request_stop();
  });
  watcher_.run([](Watcher::Event) {}, stop_.get_token());
  SUCCEED();
}

}  // namespace
}  // namespace pgrunbook::runtime
