#include "controllers/caches.hpp"

#include <gtest/gtest.h>

#include "api/kinds.hpp"
#include "execute/world.hpp"
#include "runtime/controller.hpp"
#include "support/fake_api.hpp"

namespace pgrunbook::controllers {
namespace {

using base::Json;
using runtime::Change;

Json kept(const kube::Resource& kind, const Json& object) { return kube::only(object, kept_of(kind)); }

runtime::Snapshot action(const std::string& phase) {
  Json object = {{"metadata", {{"name", "a"}}}, {"status", {{"phase", phase}}}};
  return std::make_shared<const Json>(kept(kube::kinds::kRestore, object));
}

TEST(CachesTest, WhatIsKeptOfAPodIsItsNameItsActionAndHowItEnded) {
  Json pod = test::tfrs::terminated(
      test::tfrs::pod("p", {{api::kLabelActionUid, "uid-1"}, {"job-name", "j"}}, "10.0.0.1"), 3);
  pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = std::string(4096, 'x');
  pod["metadata"]["namespace"] = "ns";
  pod["metadata"]["managedFields"] = Json::array({{{"manager", "kubelet"}}});
  Json k = kept(kube::kinds::kPod, pod);
  EXPECT_EQ(
      k,
      (Json{{"metadata",
             {{"name", "p"},
              {"namespace", "ns"},
              {"uid", "uid-p"},
              {"labels", {{api::kLabelActionUid, "uid-1"}}}}},
            {"status",
             {{"containerStatuses",
               {{{"name", "postgresql"},
                 {"state",
                  {{"terminated",
                    {{"exitCode", 3}, {"finishedAt", "2026-11-20T15:00:01Z"}, {"reason", "Error"}}}}}}}}}}}));
  // The proof of a fence is all there.
  execute::Terminations whole, of_kept;
  whole.observe(pod);
  of_kept.observe(k);
  ASSERT_FALSE(whole.of("uid-p", "postgresql").is_null());
  EXPECT_EQ(of_kept.of("uid-p", "postgresql"), whole.of("uid-p", "postgresql"));
  // And that it runs again, which ends it.
  pod["status"]["containerStatuses"][0]["state"] = {{"running", {{"startedAt", "2026-11-20T15:00:09Z"}}}};
  of_kept.observe(kept(kube::kinds::kPod, pod));
  EXPECT_TRUE(of_kept.of("uid-p", "postgresql").is_null());
}

TEST(CachesTest, EveryKindKeepsWhatAStoreComparesBy) {
  for (const kube::Resource* kind :
       {&kube::kinds::kPod, &kube::kinds::kService, &kube::kinds::kTopology, &kube::kinds::kBackup,
        &kube::kinds::kRestore, &kube::kinds::kFailover}) {
    Json meta = {{"name", "n"}, {"namespace", "ns"}, {"uid", "u"}, {"resourceVersion", "1"}};
    EXPECT_EQ(kept(*kind, {{"metadata", meta}, {"spec", {{"large", 1}}}})["metadata"], meta) << kind->kind;
    EXPECT_TRUE(base::at(kept(*kind, {{"spec", {{"large", 1}}}}), {"spec", "large"}).is_null()) << kind->kind;
  }
}

// So that none is missed that is taken away before the object is read.
TEST(CachesTest, OfARestoreOrCutoverTheApproval) {
  for (const kube::Resource* kind : {&kube::kinds::kRestore, &kube::kinds::kFailover})
    EXPECT_EQ(kept(*kind, {{"spec", {{"approvedPlan", "x"}, {"approval", "Required"}}}}),
              (Json{{"spec", {{"approvedPlan", "x"}}}}));
}

TEST(CachesTest, OfABackupWhatTheTopologyShows) {
  Json backup = {{"spec", {{"topologyRef", {{"name", "tfrs"}}}, {"method", "Base"}}},
                 {"status",
                  {{"phase", "Completed"},
                   {"stopTime", "t"},
                   {"backupID", "id"},
                   {"completionTime", "c"},
                   {"plan", {{"steps", {1, 2}}}},
                   {"operation", {{"log", {1}}}}}}};
  EXPECT_EQ(
      kept(kube::kinds::kBackup, backup),
      (Json{{"spec", {{"topologyRef", {{"name", "tfrs"}}}}},
            {"status",
             {{"phase", "Completed"}, {"stopTime", "t"}, {"backupID", "id"}, {"completionTime", "c"}}}}));
}

TEST(CachesTest, AnActionThatHasEndedIsLookedAtAgainOnlyWhenItGoes) {
  struct {
    const char* what;
    Change change;
    bool look;
  } const table[] = {
      {"found at the start", {nullptr, action("Running")}, true},
      {"found ended at the start", {nullptr, action("Completed")}, false},
      {"new", {nullptr, action("")}, true},
      {"goes on", {action("Running"), action("Running")}, true},
      {"has just ended", {action("Running"), action("Completed")}, false},
      {"ended otherwise", {action("Running"), action("Cancelled")}, false},
      {"a label is changed later", {action("Failed"), action("Failed")}, false},
      {"needs help", {action("Running"), action("Blocked")}, true},
      {"goes while it runs", {action("Running"), nullptr}, true},
      {"goes", {action("Completed"), nullptr}, true},
      {"made anew under its name", {nullptr, action("Pending")}, true},
  };
  for (const auto& t : table) EXPECT_EQ(concerns(t.change), t.look) << t.what;
}

}  // namespace
}  // namespace pgrunbook::controllers
