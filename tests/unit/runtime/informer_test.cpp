#include "runtime/informer.hpp"

#include <gtest/gtest.h>

#include "unit/kube/memory_api.hpp"

namespace pgrunbook::runtime {
namespace {

using base::ErrorCode;
using kube::kinds::kPod;
using test::MemoryApi;
using test::object;

class InformerTest : public ::testing::Test {
 protected:
  void wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return seen_.size() >= count; });
  }
  void listen() {
    informer_.on_change([this](const Change& c) {
      std::lock_guard lock(mutex_);
      const char* what = !c.before ? "added " : !c.after ? "deleted " : "changed ";
      seen_.push_back(what + base::text_at(c.object(), {"metadata", "name"}));
      wake_.notify_all();
    });
  }

  MemoryApi api_;
  Metrics metrics_;
  Watcher::Options options_ = [] {
    Watcher::Options o;
    o.backoff_base = o.backoff_most = o.forbidden_wait = std::chrono::milliseconds(1);
    return o;
  }();
  Informer informer_{api_, kPod, "ns", options_, &metrics_};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::string> seen_;
};

TEST_F(InformerTest, ADeletionMissedWhileDisconnectedIsToldWithTheLastKnownObject) {
  listen();
  api_.put(kPod, "ns", object("kept"));
  api_.put(kPod, "ns", object("lost"));
  api_.on_watch.push_back([this](const std::string&, const std::function<void(kube::WatchEvent)>&) {
    std::lock_guard lock(api_.mutex);
    api_.objects.erase(kPod.path("ns", "lost"));
    return base::Result<std::string>(base::fail(ErrorCode::kGone, "410"));
  });
  informer_.start();
  wait_for(3);
  informer_.stop();
  EXPECT_EQ(seen_, (std::vector<std::string>{"added kept", "added lost", "deleted lost"}));
  EXPECT_NE(informer_.store().get({"ns", "kept"}), nullptr);
  EXPECT_EQ(informer_.store().get({"ns", "lost"}), nullptr);
}

TEST_F(InformerTest, SaysWhyItIsNotSynced) {
  EXPECT_EQ(informer_.health().error().message, "list pods: not finished yet");
  for (int i = 0; i < 3; ++i) api_.fail_next("list", ErrorCode::kForbidden);
  listen();
  api_.put(kPod, "ns", object("a"));
  informer_.start();
  wait_for(1);
  informer_.stop();
  ASSERT_TRUE(informer_.health());
  EXPECT_EQ(*informer_.health(), "synced, 1 objects");
  EXPECT_EQ(metrics_.value("pgrunbook_watch_failures_total", {{"resource", "pods"}}), 3);
}

TEST_F(InformerTest, AHandlersExceptionHarmsNobodyElse) {
  informer_.on_change([](const Change&) { throw std::runtime_error("bug"); });
  listen();
  informer_.take({Watcher::Event::Type::kInit});
  informer_.take({Watcher::Event::Type::kInitApply, object("a")});
  informer_.take({Watcher::Event::Type::kInitDone});
  EXPECT_EQ(seen_, std::vector<std::string>{"added a"});
}

}  // namespace
}  // namespace pgrunbook::runtime
