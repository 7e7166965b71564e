#include "runtime/manager.hpp"

#include <csignal>
#include <thread>
#include <unistd.h>

#include <gtest/gtest.h>

#include "unit/kube/memory_api.hpp"

namespace pgrunbook::runtime {
namespace {

using base::ErrorCode;
using kube::kinds::kLease;
using kube::kinds::kRestore;
using test::MemoryApi;
using test::object;

Manager::Options options(bool election) {
  Manager::Options o;
  o.health_port = 0;
  if (election) {
    o.leader = kube::LeaseOptions{};
    o.leader->ns = "ns";
    o.leader->name = "pgrunbook";
    o.leader->holder = "us";
    o.timing = {std::chrono::milliseconds(10), std::chrono::milliseconds(5000)};
  }
  return o;
}

// A run on its own thread, its result, and a controller that remembers what it was given.
struct Started {
  explicit Started(MemoryApi& api, Manager::Options o)
      : manager(api, std::move(o)), restores(api, kRestore, "ns") {
    controller.watch(restores, mappers::self());
    manager.add(controller);
  }
  void start() {
    thread = std::jthread([this] { result = manager.run(stop.get_token()); });
  }
  void wait_for(const std::string& name) {
    std::unique_lock lock(mutex);
    wake.wait(lock, [&] { return seen.count(name) != 0; });
  }

  std::mutex mutex;
  std::condition_variable wake;
  std::set<std::string> seen;
  Manager manager;
  Informer restores;
  Controller controller{"restore", [this](const Key& key) -> Outcome {
                          std::lock_guard lock(mutex);
                          seen.insert(key.name);
                          wake.notify_all();
                          return Done{};
                        }};
  std::stop_source stop;
  base::Result<> result;
  std::jthread thread;
};

TEST(ManagerTest, ReconcilesWhatIsThereAndReleasesTheLease) {
  MemoryApi api;
  api.put(kRestore, "ns", object("r"));
  Started run(api, options(true));
  run.start();
  run.wait_for("r");
  EXPECT_TRUE(run.manager.ready().run().first) << run.manager.ready().run().second;
  EXPECT_GT(run.manager.leader_until(), std::chrono::steady_clock::now());
  EXPECT_NE(run.manager.health_port(), 0);
  run.stop.request_stop();
  run.thread.join();
  EXPECT_TRUE(run.result);
  EXPECT_EQ(base::text_at(*api.peek(kLease, "ns", "pgrunbook"), {"spec", "holderIdentity"}), "");
}

TEST(ManagerTest, AStandbyFillsItsCachesButDoesNothing) {
  MemoryApi api;
  api.put(kRestore, "ns", object("r"));
  api.put(kLease, "ns",
          {{"metadata", {{"name", "pgrunbook"}}},
           {"spec", {{"holderIdentity", "them"}, {"leaseDurationSeconds", 3600}}}});
  Started run(api, options(true));
  run.start();
  while (!run.restores.store().synced()) std::this_thread::yield();
  EXPECT_TRUE(run.seen.empty());
  // They let go; we take over.
  api.put(kLease, "ns", {{"metadata", {{"name", "pgrunbook"}}}, {"spec", {{"holderIdentity", ""}}}});
  run.wait_for("r");
  run.stop.request_stop();
  run.thread.join();
  EXPECT_TRUE(run.result);
}

TEST(ManagerTest, LostLeadershipEndsTheRun) {
  MemoryApi api;
  api.put(kRestore, "ns", object("r"));
  Started run(api, options(true));
  run.start();
  run.wait_for("r");
  api.put(kLease, "ns", {{"metadata", {{"name", "pgrunbook"}}}, {"spec", {{"holderIdentity", "them"}}}});
  run.thread.join();
  ASSERT_FALSE(run.result);
  EXPECT_EQ(run.result.error().message, "leadership was lost");
  EXPECT_EQ(base::text_at(*api.peek(kLease, "ns", "pgrunbook"), {"spec", "holderIdentity"}), "them");
}

TEST(ManagerTest, CachesThatDoNotFillEndTheRunWithTheReason) {
  MemoryApi api;
  for (int i = 0; i < 50; ++i) api.fail_next("list", ErrorCode::kForbidden);
  auto o = options(false);
  o.sync_patience = std::chrono::milliseconds(30);
  Started run(api, o);
  run.start();
  run.thread.join();
  ASSERT_FALSE(run.result);
  EXPECT_EQ(run.result.error().message, "the caches did not fill: injected Forbidden");
}

TEST(ManagerTest, AReconcileThatDoesNotEndIsNotWaitedForForEver) {
  MemoryApi api;
  api.put(kRestore, "ns", object("r"));
  std::atomic<bool> begun = false, may_end = false, stuck = false;
  Informer restores(api, kRestore, "ns");
  Controller controller("restore", [&](const Key&) -> Outcome {
    begun = true;
    begun.notify_all();
    may_end.wait(false);
    return Done{};
  });
  controller.watch(restores, mappers::self());
  auto o = options(true);
  o.stop_patience = std::chrono::milliseconds(10);
  o.on_stuck = [&] { stuck = true; };
  Manager manager(api, o);
  manager.add(controller);
  std::stop_source stop;
  std::jthread asker([&] {
    begun.wait(false);
    stop.request_stop();
  });
  EXPECT_TRUE(manager.run(stop.get_token()));
  EXPECT_TRUE(stuck);
  EXPECT_EQ(base::text_at(*api.peek(kLease, "ns", "pgrunbook"), {"spec", "holderIdentity"}), "us")
      << "work still runs: the Lease must expire, not be handed over";
  may_end = true;
  may_end.notify_all();
}

TEST(SignalsTest, TheFirstOneIsARequestToStop) {
  sigset_t before;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  {
    Signals signals;
    std::atomic<bool> heard = false;
    std::stop_callback on_stop(signals.stop_token(), [&] {
      heard = true;
      heard.notify_all();
    });
    EXPECT_FALSE(signals.stop_token().stop_requested());
    ::kill(::getpid(), SIGTERM);
    heard.wait(false);
    EXPECT_TRUE(signals.stop_token().stop_requested());
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace
}  // namespace pgrunbook::runtime
