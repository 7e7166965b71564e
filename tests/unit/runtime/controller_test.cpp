#include "runtime/controller.hpp"

#include <gtest/gtest.h>

#include "runtime/log.hpp"
#include "unit/kube/memory_api.hpp"

namespace pgrunbook::runtime {
namespace {

using base::ErrorCode;
using std::chrono::milliseconds;
using test::MemoryApi;
using test::object;

Watcher::Event event(Watcher::Event::Type type, Json o = {}) { return {type, std::move(o)}; }

TEST(MapperTest, SelfOwnerAndLabel) {
  Json job = object("j");
  job["metadata"]["labels"] = {{"pgrunbook.io/topology", "main"}};
  job["metadata"]["ownerReferences"] = {
      {{"apiVersion", "pgrunbook.io/v1beta1"}, {"kind", "PostgresRestore"}, {"name", "r"}},
      {{"apiVersion", "other.io/v1"}, {"kind", "PostgresRestore"}, {"name", "not-ours"}}};
  EXPECT_EQ(mappers::self()(job), (std::vector<Key>{{"ns", "j"}}));
  EXPECT_EQ(mappers::owner(kube::kinds::kRestore)(job), (std::vector<Key>{{"ns", "r"}}));
  EXPECT_EQ(mappers::label("pgrunbook.io/topology")(job), (std::vector<Key>{{"ns", "main"}}));
  EXPECT_TRUE(mappers::owner(kube::kinds::kRestore)(object("x")).empty());
}

TEST(ControllerTest, OutcomesDecideWhatComesNext) {
  Metrics metrics;
  Controller::Options options;
  options.metrics = &metrics;
  options.queue.jitter = 0;
  Outcome next = Done{};
  Controller c("restore", [&](const Key&) { return next; }, options);
  const Key key{"ns", "x"};
  auto result = [&](const char* r) {
    return metrics.value("pgrunbook_reconcile_total", {{"controller", "restore"}, {"result", r}});
  };

  c.work_on(key, {});
  EXPECT_EQ(c.queue().waiting(), 0U);
  next = base::error(ErrorCode::kUnavailable, "later");
  c.work_on(key, {});
  c.work_on(key, {});
  EXPECT_EQ(c.queue().failures(key), 2);
  EXPECT_EQ(c.queue().waiting(), 1U);
  next = After{std::chrono::seconds(30)};
  c.work_on(key, {});
  EXPECT_EQ(c.queue().failures(key), 0) << "waiting is no failure";
  next = Terminal{base::error(ErrorCode::kInvalid, "never")};
  c.work_on({"ns", "y"}, {});
  EXPECT_EQ(c.queue().waiting(), 1U) << "terminal is not tried again";
  EXPECT_EQ(result("done"), 1);
  EXPECT_EQ(result("error"), 2);
  EXPECT_EQ(result("after"), 1);
  EXPECT_EQ(result("terminal"), 1);
  EXPECT_EQ(metrics.value("pgrunbook_reconcile_duration_seconds", {{"controller", "restore"}}), 5);
}

TEST(ControllerTest, TheQueueIsMeasuredWhileNoWorkerEnds) {
  Metrics metrics;
  Controller::Options options;
  options.metrics = &metrics;
  Controller c("restore", [](const Key&) -> Outcome { return Done{}; }, options);
  c.enqueue({"ns", "x"});
  c.enqueue({"ns", "y"});
  c.enqueue({"ns", "y"});
  EXPECT_EQ(metrics.value("pgrunbook_queue_ready", {{"controller", "restore"}}), 2);
}

TEST(ControllerTest, AnExceptionIsCountedAndTriedAgain) {
  Metrics metrics;
  Controller::Options options;
  options.metrics = &metrics;
  Controller c(
      "restore",
      [](const Key& key) -> Outcome {
        if (key.name == "odd") throw 7;
        throw std::runtime_error("bug");
      },
      options);
  c.work_on({"ns", "x"}, {});
  c.work_on({"ns", "odd"}, {});
  EXPECT_EQ(metrics.value("pgrunbook_reconcile_total", {{"controller", "restore"}, {"result", "exception"}}),
            2);
  EXPECT_EQ(c.queue().waiting(), 2U);
}

TEST(ControllerTest, EachReconcileHasItsIdInTheLog) {
  std::vector<std::string> scopes;
  Controller c("restore", [&](const Key&) -> Outcome {
    scopes.push_back(scope_text());
    return Done{};
  });
  c.work_on({"ns", "x"}, {});
  c.work_on({"ns", "x"}, {});
  ASSERT_EQ(scopes.size(), 2U);
  EXPECT_TRUE(scopes[0].starts_with(" controller=restore object=ns/x reconcile=")) << scopes[0];
  EXPECT_NE(scopes[0], scopes[1]);
  EXPECT_EQ(scope_text(), "");
}

TEST(ControllerTest, WatchesFeedItThroughMappers) {
  MemoryApi api;
  Informer restores(api, kube::kinds::kRestore, "ns"), jobs(api, kube::kinds::kJob, "ns");
  Controller c("restore", [](const Key&) -> Outcome { return Done{}; });
  c.watch(restores, mappers::self(), [](const Change& change) {
    return !change.before || base::number_at(*change.before, {"metadata", "generation"}) !=
                                 base::number_at(change.object(), {"metadata", "generation"});
  });
  c.watch(jobs, mappers::owner(kube::kinds::kRestore));
  auto take = [&]() -> std::string {
    if (c.queue().ready() == 0) return "";
    auto key = c.queue().get({});
    c.queue().done(*key);
    return key->name;
  };
  using T = Watcher::Event::Type;
  restores.take(event(T::kInit));
  restores.take(event(T::kInitApply, object("r", "1")));
  restores.take(event(T::kInitDone));
  EXPECT_EQ(take(), "r");
  restores.take(event(T::kApply, object("r", "2")));
  EXPECT_EQ(take(), "") << "not relevant";

  Json job = object("j", "5");
  job["metadata"]["ownerReferences"] = {
      {{"apiVersion", "pgrunbook.io/v1alpha1"}, {"kind", "PostgresRestore"}, {"name", "r"}}};
  Json moved = job;
  moved["metadata"]["resourceVersion"] = "6";
  moved["metadata"]["ownerReferences"][0]["name"] = "q";
  jobs.take(event(T::kInit));
  jobs.take(event(T::kInitApply, job));
  jobs.take(event(T::kInitDone));
  EXPECT_EQ(take(), "r");
  jobs.take(event(T::kApply, moved));
  EXPECT_EQ(take(), "r") << "the former owner too";
  EXPECT_EQ(take(), "q");
  jobs.take(event(T::kDelete, moved));
  EXPECT_EQ(take(), "q") << "a deletion is a change of the last known object";
  c.resync();
  EXPECT_EQ(take(), "r");
}

TEST(ControllerTest, StopsAfterTheRunningReconcile) {
  std::atomic<bool> begun = false, may_end = false, ended = false;
  Controller c("restore", [&](const Key&, std::stop_token stop) -> Outcome {
    begun = true;
    begun.notify_all();
    may_end.wait(false);
    EXPECT_TRUE(stop.stop_requested());
    ended = true;
    return Done{};
  });
  c.start();
  c.enqueue({"ns", "x"});
  begun.wait(false);
  c.enqueue({"ns", "y"});
  c.request_stop();
  EXPECT_FALSE(c.wait(base::Deadline::after(milliseconds(1))));
  EXPECT_EQ(c.running(), (std::set<Key>{{"ns", "x"}}));
  may_end = true;
  may_end.notify_all();
  EXPECT_TRUE(c.wait(base::Deadline::after(std::chrono::seconds(10))));
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace pgrunbook::runtime
