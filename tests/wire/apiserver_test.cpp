// The same client against a real API server, so that what the scripts above claim cannot drift from what is.
// Runs where PGRUNBOOK_TEST_KUBECONFIG names a kubeconfig with all rights (tests/cluster apiserver
// kubeconfig).
#include <condition_variable>
#include <cstdlib>
#include <thread>

#include <gtest/gtest.h>

#include "base/hash.hpp"
#include "kube/events.hpp"
#include "kube/lease.hpp"
#include "kube/rest_client.hpp"
#include "runtime/manager.hpp"

namespace pgrunbook::kube {
namespace {

using base::ErrorCode;
using kinds::kConfigMap;

const Resource kNamespace{"", "v1", "namespaces", "Namespace"};

class ApiServer : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* path = std::getenv("PGRUNBOOK_TEST_KUBECONFIG");
    if (path == nullptr) GTEST_SKIP() << "PGRUNBOOK_TEST_KUBECONFIG is not set";
    auto config = Config::from_kubeconfig(path);
    ASSERT_TRUE(config) << config.error().text();
    config_ = *config;
    RestOptions options;
    options.page = 2;
    api_ = make_rest_client(make_cpprest_transport(config_), options);
    ns_ = "wire-" + base::random_hex(4);
    auto made = api_->create(kNamespace, "", {{"metadata", {{"name", ns_}}}}, soon());
    ASSERT_TRUE(made) << made.error().text();
  }
  void TearDown() override {
    if (api_) (void)api_->remove(kNamespace, "", ns_, "", soon());
  }
  static Deadline soon() { return Deadline::after(std::chrono::seconds(20)); }
  static Json map(const std::string& name, const std::string& value = "v") {
    return {{"apiVersion", "v1"},
            {"kind", "ConfigMap"},
            {"metadata", {{"name", name}}},
            {"data", {{"k", value}}}};
  }
  Json made(const std::string& name) {
    auto r = api_->create(kConfigMap, ns_, map(name), soon());
    EXPECT_TRUE(r) << r.error().text();
    return r ? *r : Json();
  }

  Config config_;
  std::unique_ptr<Api> api_;
  std::string ns_;
};

TEST_F(ApiServer, ObjectsComeAndGo) {
  Json a = made("a");
  auto again = api_->create(kConfigMap, ns_, map("a"), soon());
  EXPECT_EQ(again.error().code, ErrorCode::kAlreadyExists);
  EXPECT_EQ(api_->get(kConfigMap, ns_, "none", soon()).error().code, ErrorCode::kNotFound);
  EXPECT_EQ((*api_->get(kConfigMap, ns_, "a", soon()))["data"]["k"], "v");
  EXPECT_EQ(api_->remove(kConfigMap, ns_, "a", "11111111-1111-1111-1111-111111111111", soon()).error().code,
            ErrorCode::kConflict);
  EXPECT_TRUE(api_->remove(kConfigMap, ns_, "a", a["metadata"]["uid"], soon()));
  EXPECT_TRUE(api_->remove(kConfigMap, ns_, "a", "", soon()));
}

TEST_F(ApiServer, PatchesAreGuarded) {
  Json a = made("a");
  Json guarded{{"metadata", {{"resourceVersion", a["metadata"]["resourceVersion"]}}}, {"data", {{"k", "w"}}}};
  EXPECT_TRUE(api_->patch(kConfigMap, ns_, "a", PatchType::kMerge, guarded, "", soon()));
  EXPECT_EQ(api_->patch(kConfigMap, ns_, "a", PatchType::kMerge, guarded, "", soon()).error().code,
            ErrorCode::kConflict);
  auto test = [](const char* value) {
    return Json{{{"op", "test"}, {"path", "/data/k"}, {"value", value}},
                {{"op", "replace"}, {"path", "/data/k"}, {"value", "x"}}};
  };
  auto failed = api_->patch(kConfigMap, ns_, "a", PatchType::kJson, test("other"), "", soon());
  EXPECT_EQ(failed.error().code, ErrorCode::kConflict) << failed.error().text();
  EXPECT_TRUE(api_->patch(kConfigMap, ns_, "a", PatchType::kJson, test("w"), "", soon()));
  auto applied = api_->patch(kConfigMap, ns_, "b", PatchType::kApply, map("b"), "", soon());
  ASSERT_TRUE(applied) << applied.error().text();
  EXPECT_EQ((*applied)["metadata"]["managedFields"][0]["manager"], "pgrunbook");
  Json taken = map("a", "forced");
  auto conflict = api_->patch(kConfigMap, ns_, "a", PatchType::kApply, taken, "", soon());
  EXPECT_EQ(conflict.error().code, ErrorCode::kConflict) << "fields of an Update are not taken by force";
}

TEST_F(ApiServer, RefusalsSayWhy) {
  auto bad = api_->create(kConfigMap, ns_, map("Not A Name"), soon());
  EXPECT_EQ(bad.error().code, ErrorCode::kInvalid);
  EXPECT_NE(bad.error().message.find("metadata.name"), std::string::npos) << bad.error().message;
  Config nobody = config_;
  nobody.client_certificate_data.clear();
  nobody.client_key_data.clear();
  nobody.client_certificate_file.clear();
  nobody.client_key_file.clear();
  nobody.token = "wrong";
  EXPECT_EQ(connect(nobody)->get(kConfigMap, ns_, "a", soon()).error().code, ErrorCode::kUnauthorized);
  nobody.token = "";
  auto forbidden = connect(nobody)->get(kConfigMap, ns_, "a", soon());
  EXPECT_EQ(forbidden.error().code, ErrorCode::kForbidden) << forbidden.error().text();
}

TEST_F(ApiServer, ListsInPagesAndWatchesFromThere) {
  for (const char* name : {"a", "b", "c", "d", "e"}) made(name);
  auto all = api_->list(kConfigMap, ns_, {}, soon());
  ASSERT_TRUE(all) << all.error().text();
  EXPECT_EQ((*all)["items"].size(), 5U);
  std::string from = (*all)["resourceVersion"];
  made("f");
  ASSERT_TRUE(api_->remove(kConfigMap, ns_, "a", "", soon()));
  std::vector<std::string> seen;
  std::stop_source stop;
  auto ended = api_->watch(
      kConfigMap, ns_, {}, from,
      [&](WatchEvent e) {
        seen.push_back((e.type == WatchEvent::Type::kDeleted ? "-" : "+") +
                       base::text_at(e.object, {"metadata", "name"}));
        if (seen.size() == 2) stop.request_stop();
      },
      stop.get_token());
  EXPECT_EQ(ended.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(seen, (std::vector<std::string>{"+f", "-a"}));
  auto old = api_->list(kConfigMap, ns_, {"no=such", ""}, soon());
  EXPECT_TRUE((*old)["items"].empty());
}

TEST_F(ApiServer, ALeaseChangesHands) {
  LeaseOptions options;
  options.ns = ns_;
  options.name = "leader";
  options.holder = "a";
  Lease a(*api_, options);
  options.holder = "b";
  Lease b(*api_, options);
  ASSERT_TRUE(a.acquire(soon()));
  EXPECT_EQ(b.acquire(soon()).error().reason, "LeaseHeld");
  ASSERT_TRUE(a.renew(soon()));
  ASSERT_TRUE(a.release(soon()));
  ASSERT_TRUE(b.acquire(soon()));
  EXPECT_EQ(a.renew(soon()).error().reason, "LeaseHeld");
}

TEST_F(ApiServer, EventsAreAccepted) {
  std::vector<std::string> dropped;
  auto now = std::chrono::steady_clock::now();
  EventRecorder recorder(
      *api_, "pod", [&] { return now; }, [&](const base::Error& e) { dropped.push_back(e.text()); });
  Json a = made("a");
  recorder.emit(a, EventRecorder::Type::kWarning, "Blocked", std::string(3000, 'x'));
  now += std::chrono::seconds(30);
  recorder.emit(a, EventRecorder::Type::kWarning, "Blocked", "again");
  EXPECT_TRUE(dropped.empty()) << dropped[0];
  auto events = api_->list(kinds::kEvent, ns_, {"", "reason=Blocked"}, soon());
  ASSERT_EQ((*events)["items"].size(), 1U);
  EXPECT_EQ((*events)["items"][0]["count"], 2);
  EXPECT_EQ((*events)["items"][0]["message"], "again");
}

TEST_F(ApiServer, AControllerFollowsTheWorld) {
  using namespace pgrunbook::runtime;  // NOLINT
  made("before");
  Manager::Options options;
  options.health_port = 0;
  options.leader = LeaseOptions{};
  options.leader->ns = ns_;
  options.leader->name = "pgrunbook";
  options.leader->holder = "us";
  Manager manager(*api_, options);
  Informer maps(*api_, kConfigMap, ns_, {}, &manager.metrics());
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, std::string> world;
  Controller controller("maps",
                        [&](const Key& key) -> Outcome {
                          auto object = maps.store().get(key);
                          std::lock_guard lock(mutex);
                          world[key.name] = object ? base::text_at(*object, {"data", "k"}) : "gone";
                          changed.notify_all();
                          return Done{};
                        },
                        {1, {}, &manager.metrics()});
  controller.watch(maps, mappers::self());
  manager.add(controller);
  std::stop_source stop;
  std::jthread running([&] { EXPECT_TRUE(manager.run(stop.get_token())); });
  auto wait_for = [&](const std::string& name, const std::string& value) {
    std::unique_lock lock(mutex);
    EXPECT_TRUE(changed.wait_for(lock, std::chrono::seconds(20), [&] { return world[name] == value; }))
        << name << " " << value;
  };
  wait_for("before", "v");
  made("later");
  wait_for("later", "v");
  ASSERT_TRUE(api_->patch(kConfigMap, ns_, "later", PatchType::kMerge, {{"data", {{"k", "w"}}}}, "", soon()));
  wait_for("later", "w");
  ASSERT_TRUE(api_->remove(kConfigMap, ns_, "later", "", soon()));
  wait_for("later", "gone");
  EXPECT_TRUE(manager.ready().run().first) << manager.ready().run().second;
  stop.request_stop();
}

}  // namespace
}  // namespace pgrunbook::kube
