// Before anything is touched: is the selected member the primary that the last cutover made?
#include "execute/standing.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "controllers/actions.hpp"
#include "execute/members.hpp"
#include "unit/execute/bench.hpp"

namespace pgrunbook::execute {
namespace {

namespace k = kube::kinds;
namespace tfrs = test::tfrs;
using base::at;
using base::text_at;
using test::Bench;
using test::FakePostgres;
using ::testing::IsEmpty;
using Kind = StepResult::Kind;

// After a cutover to the standby, with the selector turned back to the old primary, whose server answers.
class AfterACutover : public ::testing::Test {
 protected:
  void SetUp() override {
    bench.api.put(
        k::kFailover,
        {{"metadata", {{"name", "to-standby"}, {"uid", "87654321-aaaa"}}},
         {"spec", {{"topologyRef", {{"name", "tfrs"}}}}},
         {"status",
          {{"phase", "Completed"},
           {"reason", "Completed"},
           {"completionTime", "2026-11-20T15:00:00Z"},
           {"operation",
            {{"step", "record"},
             {"inputs",
              {{"from", "postgresql"},
               {"to", "postgresql-standby"},
               {"claims", {uid_of("postgresql"), uid_of("postgresql-standby")}},
               {"candidateTimeline", 2},
               {"systemIdentifier", "7000000000000000001"},
               {"forkLSN", "0/5000000"},
               {"services",
                {{"postgresql",
                  {{"old", {{"name", "postgresql"}}}, {"new", {{"name", "postgresql-standby"}}}}}}}}},
             {"results", {{"plan", {{"parentTimeline", 1}}}}}}}}}});
    const plan::SceneView scene = bench.scene();
    for (const Json& pod : scene.member("postgresql")->pods)
      bench.servers[text_at(pod, {"status", "podIP"})] = &server;
    Json roles = {{"metadata", {{"name", api::kRolesSecret}}}, {"data", {{"password", "c2VjcmV0"}}}};
    bench.api.put(k::kSecret, roles);
    bench.api.forget_calls();
  }
  std::string uid_of(const char* claim) {
    return text_at(bench.api.peek(k::kPersistentVolumeClaim, claim), {"metadata", "uid"});
  }
  std::optional<StepResult> gate() { return standing_gate(bench.a, bench.scene()); }

  std::string recovery = "t", timeline = "1", history;
  FakePostgres server{[this](const std::string& sql, const auto&) -> FakePostgres::Reply {
    if (sql.find("TIMELINE_HISTORY") != std::string::npos) return {{{timeline + ".history", history}}};
    return {{{"7000000000000000001", timeline, recovery, "10.0.0.1", "150010"}}};
  }};
  Bench bench;
};

TEST_F(AfterACutover, TheSelectorsWordIsNotTaken) {
  auto held = gate();
  ASSERT_TRUE(held);
  EXPECT_EQ(held->kind, Kind::kBlocked);
  EXPECT_EQ(held->error.reason, "ServiceReverted");
  EXPECT_THAT(bench.api.write_texts(), IsEmpty());
  bench.servers.clear();
  held = gate();
  ASSERT_TRUE(held) << "nobody answers there";
  EXPECT_EQ(held->error.reason, "ServiceReverted");
}

TEST_F(AfterACutover, WhatTakesWritesOnTheOldTimelineIsNoPrimary) {
  recovery = "f";
  EXPECT_TRUE(gate());
  timeline = "3";
  history = "1\t0/6000000\tpromoted by hand\n";
  EXPECT_TRUE(gate());
}

TEST_F(AfterACutover, ARestoreOfThePrimaryIsAccepted) {
  recovery = "f";
  timeline = "3";
  history = "1\t0/5000000\tno recovery target specified\n2\t0/8000000\tbefore 2026\n";
  auto held = gate();
  EXPECT_FALSE(held) << held->error.text();
}

TEST_F(AfterACutover, APersonsWordIsForThisCutover) {
  recovery = "f";
  auto say = [&](const char* word) {
    bench.api.merge(k::kTopology, "tfrs",
                    {{"metadata", {{"annotations", {{api::kAnnotationAcceptPrimary, word}}}}}});
  };
  say("postgresql.12345678");
  EXPECT_TRUE(gate());
  say("postgresql.87654321");
  EXPECT_FALSE(gate());
  recovery = "t";
  EXPECT_TRUE(gate()) << "a fenced server is no primary whatever is said";
}

TEST_F(AfterACutover, WhoseSelectorIsRightGoesOn) {
  bench.api.put(k::kService, tfrs::service("postgresql-standby"));
  EXPECT_FALSE(gate());
  EXPECT_THAT(bench.logins, IsEmpty()) << "its volume says who it is";
}

TEST_F(AfterACutover, TheTruePrimaryIsNeverStoppedAsAStandby) {
  bench.api.merge(k::kDeployment, "postgresql-standby", {{"spec", {{"replicas", 1}}}});
  bench.api.put(k::kPod, tfrs::pod("standby-1", {{"name", "postgresql-standby"}}, "10.0.0.5"));
  bench.api.forget_calls();
  StepResult r = scale_down(bench.a, "postgresql-standby");
  EXPECT_EQ(r.kind, Kind::kFailed);
  EXPECT_EQ(r.error.reason, "ServiceReverted");
  EXPECT_THAT(bench.api.write_texts(), IsEmpty());
}

TEST_F(AfterACutover, OneThatOnlyGoesForwardComesFirst) {
  Json f = bench.api.peek(k::kFailover, "to-standby");
  f["status"]["phase"] = "Blocked";
  f["status"]["operation"]["pastNoReturn"] = true;
  bench.api.put(k::kFailover, f);
  auto held = gate();
  ASSERT_TRUE(held);
  EXPECT_EQ(held->kind, Kind::kWaiting);
  EXPECT_EQ(held->message, "Failover to-standby is under way and only goes forward; it comes first");
}

// No kind of action begins.
TEST_F(AfterACutover, EveryActionIsBlockedBeforeItTouchesAnything) {
  struct {
    const kube::Resource* kind;
    const char* spec;
  } table[] = {
      {&k::kBackup, R"({"topologyRef": {"name": "tfrs"}, "method": "Base"})"},
      {&k::kRestore,
       R"({"topologyRef": {"name": "tfrs"}, "source": {"type": "Latest"}, "to": {"type": "Member", "member": {"name": "postgresql-standby"}}})"},
      {&k::kRestore,
       R"({"topologyRef": {"name": "tfrs"}, "source": {"type": "Latest"}, "salvage": "StoppedPrimary", "to": {"type": "Member", "member": {"name": "postgresql-standby"}}})"},
      {&k::kFailover,
       R"({"topologyRef": {"name": "tfrs"}, "type": "Cutover", "candidate": "postgresql-standby"})"},
  };
  int n = 0;
  for (const auto& row : table) {
    std::string name = "act-" + std::to_string(++n);
    bench.api.put(*row.kind, {{"metadata", {{"name", name}, {"uid", "0000000" + std::to_string(n)}}},
                              {"spec", Json::parse(row.spec)}});
    bench.api.forget_calls();
    for (int i = 0; i < 3; ++i)
      (void)controllers::reconcile_action(bench.world, *row.kind, {tfrs::kNamespace, name},
                                          bench.stop.get_token());
    Json status = at(bench.api.peek(*row.kind, name), {"status"});
    EXPECT_EQ(text_at(status, {"phase"}), "Blocked") << row.spec << text_at(status, {"message"});
    EXPECT_EQ(text_at(status, {"reason"}), "ServiceReverted") << row.spec;
    for (const auto& call : bench.api.writes()) EXPECT_EQ(call.subresource, "status") << call.text();
  }
}

}  // namespace
}  // namespace pgrunbook::execute
