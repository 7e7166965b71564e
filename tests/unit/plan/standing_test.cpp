// The day after a cutover: who is the primary where the Services say something else, and what is said of it.
#include "plan/standing.hpp"

#include <functional>

#include <gtest/gtest.h>

namespace pgrunbook::plan {
namespace {

using Kind = Standing::Kind;

const char* kSystem = "7000000000000000001";

Steering set_by(const char* manager) {
  Steering s;
  s.setter = {manager, "Update", "2026-11-21T03:00:00Z"};
  return s;
}

MemberView member(const std::string& name, const std::string& claim, int replicas) {
  MemberView m;
  m.name = m.workload.name = name;
  m.labels = {{"name", name}};
  m.data_claim_uid = claim;
  m.replicas = replicas;
  m.steering = set_by(kOurManager);
  return m;
}

// After a cutover from postgresql to postgresql-standby.
SceneView scene(const std::string& selected) {
  SceneView s;
  s.ns = s.topology = "tfrs";
  s.members = {member("postgresql", "claim-1", 0), member("postgresql-standby", "claim-2", 1)};
  ServiceView service;
  service.name = "postgresql";
  service.selector = {{"name", selected}};
  service.steering = set_by("kustomize-controller");
  s.services = {service};
  s.primary = selected_member(service.selector, s.members);
  return s;
}

Json failover(const char* name = "tfrs-to-standby", const char* time = "2026-11-20T15:00:00Z") {
  return {{"metadata", {{"name", name}, {"uid", "12345678-aaaa"}}},
          {"spec", {{"topologyRef", {{"name", "tfrs"}}}}},
          {"status",
           {{"phase", "Completed"},
            {"reason", "Completed"},
            {"completionTime", time},
            {"operation",
             {{"inputs",
               {{"from", "postgresql"},
                {"to", "postgresql-standby"},
                {"claims", {"claim-1", "claim-2"}},
                {"candidateTimeline", 2},
                {"systemIdentifier", kSystem},
                {"forkLSN", "0/5000000"},
                {"steered", {"Service/postgresql"}},
                {"services",
                 {{"postgresql",
                   {{"old", {{"name", "postgresql"}}}, {"new", {{"name", "postgresql-standby"}}}}}}}}},
              {"results", {{"plan", {{"parentTimeline", 1}}}}}}}}}};
}
Cutover recorded() { return *cutover_of(failover(), "tfrs"); }

ServerFacts server(bool in_recovery, std::int64_t timeline, const char* history = "",
                   const char* system = kSystem) {
  ServerFacts f;
  f.in_recovery = in_recovery;
  f.system = system;
  f.timeline = timeline;
  f.history = history;
  return f;
}
ServerFacts nobody() {
  ServerFacts f;
  f.no_answer = base::error(base::ErrorCode::kUnavailable, "nobody answers");
  return f;
}

TEST(CutoverOf, IsOfThisTopologysCompletedFailoversOnly) {
  Cutover c = recorded();
  EXPECT_EQ(c.from, "postgresql");
  EXPECT_EQ(c.to, "postgresql-standby");
  EXPECT_EQ(c.claim, "claim-2");
  EXPECT_EQ(c.from_claim, "claim-1");
  EXPECT_EQ(c.timeline, 2);
  EXPECT_EQ(c.parent_timeline, 1);
  EXPECT_EQ(c.services, (Json{{"postgresql", {{"name", "postgresql-standby"}}}}));
  EXPECT_EQ(to_json(*cutover_from_json(to_json(c))), to_json(c));
  EXPECT_FALSE(cutover_of(failover(), "crm"));
  Json f = failover();
  f["status"]["phase"] = "Failed";
  EXPECT_FALSE(cutover_of(f, "tfrs"));
  f = failover();
  f["status"]["reason"] = "AlreadyDone";
  EXPECT_FALSE(cutover_of(f, "tfrs")) << "it did nothing, at a time that is not the cutover's";
  EXPECT_FALSE(cutover_from_json(Json()));
  EXPECT_FALSE(cutover_from_json({{"to", "x"}}));
}

TEST(LastCutover, IsTheNewestOfStatusAndFailovers) {
  Json topology = {{"metadata", {{"name", "tfrs"}}}};
  EXPECT_FALSE(last_cutover(topology, Json()));
  EXPECT_FALSE(last_cutover(topology, Json::array()));
  Json list = {failover("first", "2026-11-20T15:00:00Z"), failover("third", "2026-11-22T15:00:00Z"),
               failover("second", "2026-11-21T15:00:00Z")};
  EXPECT_EQ(last_cutover(topology, list)->name, "third");
  Cutover accepted = recorded();
  accepted.time = "2026-11-23T00:00:00Z";
  accepted.to = "postgresql";
  topology["status"]["cutover"] = to_json(accepted);
  EXPECT_EQ(last_cutover(topology, list)->to, "postgresql");
  EXPECT_EQ(last_cutover(topology, Json())->to, "postgresql") << "its Failover is gone";
}

struct Look {
  const char* name;
  std::optional<ServerFacts> selected;
  const char* accepted;
  Kind kind;
};

class TurnedBack : public testing::TestWithParam<Look> {};

TEST_P(TurnedBack, IsJudgedFromTheServersData) {
  SceneView s = scene("postgresql");
  Standing standing = judge_standing(s, recorded(), GetParam().selected, GetParam().accepted);
  EXPECT_EQ(standing.kind, GetParam().kind);
  EXPECT_EQ(standing.why.empty(), GetParam().kind != Kind::kAccepted);
}

INSTANTIATE_TEST_SUITE_P(
    Table, TurnedBack,
    testing::Values(
        Look{"Fenced", server(true, 1), "", Kind::kReverted},
        Look{"DoesNotStart", nobody(), "", Kind::kReverted},
        Look{"TakesWritesOnTheOldTimeline", server(false, 1), "", Kind::kReverted},
        // pg_promote() on the fenced server makes the same number as the recovery did.
        Look{"PromotedToTheSameNumber", server(false, 2, "1\t0/6000000\tx\n"), "", Kind::kReverted},
        Look{"PromotedTwiceFromTheOldData", server(false, 3, "1\t0/6000000\tx\n2\t0/7000000\tx\n"), "",
             Kind::kReverted},
        Look{"PromotedBesideIt", server(false, 3, "1\t0/6000000\tx\n"), "", Kind::kReverted},
        Look{"RestoredFromThePrimary", server(false, 3, "1\t0/5000000\tx\n2\t0/8000000\tx\n"), "",
             Kind::kAccepted},
        Look{"StillInRecoveryThere", server(true, 3, "1\t0/5000000\tx\n2\t0/8000000\tx\n"), "",
             Kind::kReverted},
        Look{"OfAnotherSystem", server(false, 3, "1\t0/5000000\tx\n2\t0/8000000\tx\n", "7"), "",
             Kind::kReverted},
        Look{"HistoryIsNotGiven", server(false, 3), "", Kind::kReverted},
        Look{"APersonsWordAndItTakesWrites", server(false, 1), "postgresql.12345678", Kind::kAccepted},
        Look{"APersonsWordForAFencedOne", server(true, 1), "postgresql.12345678", Kind::kReverted},
        Look{"APersonsWordWhereNobodyAnswers", nobody(), "postgresql.12345678", Kind::kReverted},
        Look{"AWordForAnotherCutover", server(false, 1), "postgresql.87654321", Kind::kReverted},
        Look{"AWordForAnotherMember", server(false, 1), "postgresql-standby.12345678", Kind::kReverted},
        Look{"NotAskedYet", std::nullopt, "postgresql.12345678", Kind::kReverted}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(JudgeStanding, KnowsThePrimaryByItsVolume) {
  SceneView s = scene("postgresql-standby");
  EXPECT_EQ(judge_standing(s, std::nullopt, std::nullopt, "").kind, Kind::kNothingRecorded);
  EXPECT_EQ(judge_standing(s, recorded(), std::nullopt, "").kind, Kind::kAsRecorded);
  s.members[1].name = s.primary = "renamed";
  EXPECT_EQ(judge_standing(s, recorded(), std::nullopt, "").kind, Kind::kAsRecorded);
  // The same name on another volume is another server.
  s = scene("postgresql-standby");
  s.members[1].data_claim_uid = "claim-9";
  EXPECT_FALSE(as_recorded(s, recorded()));
  EXPECT_EQ(judge_standing(s, recorded(), server(false, 2, "1\t0/5000000\tx\n"), "").kind, Kind::kAccepted)
      << "a namespace brought back with its objects: the server is the recorded one";
  EXPECT_EQ(judge_standing(s, recorded(), server(false, 2, "1\t0/6000000\tx\n"), "").kind, Kind::kReverted);
  // Services that disagree select nobody.
  s = scene("postgresql");
  s.primary = "";
  EXPECT_EQ(judge_standing(s, recorded(), server(false, 3, "1\t0/5000000\tx\n2\t0/8000000\tx\n"), "").kind,
            Kind::kReverted);
}

TEST(Accept, MakesItTheRecord) {
  SceneView s = scene("postgresql");
  Standing standing =
      judge_standing(s, recorded(), server(false, 3, "1\t0/5000000\tx\n2\t0/8000000\tx\n"), "");
  Cutover c = accept(s, standing, "2026-11-24T00:00:00Z");
  EXPECT_EQ(c.to, "postgresql");
  EXPECT_EQ(c.claim, "claim-1");
  EXPECT_EQ(c.timeline, 3);
  EXPECT_EQ(c.accepted, standing.why);
  EXPECT_EQ(judge_standing(s, c, std::nullopt, "").kind, Kind::kAsRecorded);
  EXPECT_EQ(old_primary_scaled_up(scene("postgresql"), c), nullptr) << "nobody fenced the former one";
  EXPECT_EQ(judge_standing(scene("postgresql-standby"), c, server(false, 2, "1\t0/5000000\tx\n"), "").kind,
            Kind::kReverted);
}

TEST(Reverted, SaysWhoAndEveryWayOut) {
  SceneView s = scene("postgresql");
  s.members[1].replicas = 0;
  base::Error e = reverted(s, judge_standing(s, recorded(), server(true, 1), ""));
  EXPECT_EQ(e.reason, "ServiceReverted");
  EXPECT_EQ(e.message,
            "Service postgresql selects postgresql (kustomize-controller at 2026-11-21T03:00:00Z set it), "
            "but Failover "
            "tfrs-to-standby made postgresql-standby the primary at 2026-11-20T15:00:00Z; the selector is "
            "not taken for "
            "the truth, and nothing is touched");
  EXPECT_EQ(e.hint,
            "kubectl patch service postgresql -n tfrs --type=json -p "
            "'[{\"op\":\"replace\",\"path\":\"/spec/"
            "selector\",\"value\":{\"name\":\"postgresql-standby\"}}]'; kubectl "
            "scale deployment/postgresql-standby -n tfrs --replicas=1; it goes on by itself. If postgresql "
            "shall be the "
            "primary instead: restore to it with a PostgresRestore and cut over by a Failover once the "
            "selector is right; "
            "or, where its server takes writes already and what only postgresql-standby has may stay behind: "
            "kubectl "
            "annotate postgrestopology tfrs -n tfrs pgrunbook.io/accept-primary=postgresql.12345678");
}

TEST(Consistency, IsAboutSelectorsAndBothCounts) {
  struct {
    const char* name;
    std::function<void(SceneView&)> change;
    std::optional<ServerFacts> selected, old;
    const char *status, *reason;
    std::vector<const char*> says;
  } table[] = {
      {"as it was left",
       [](SceneView&) {},
       {},
       {},
       "True",
       "OneMember",
       {"every Service selects postgresql-standby"}},
      {"the selector, fenced",
       [](SceneView& s) { s = scene("postgresql"); },
       server(true, 1),
       {},
       "False",
       "RevertedByKustomizeController",
       {"Failover tfrs-to-standby made postgresql-standby the primary at 2026-11-20T15:00:00Z. Now Service "
        "postgresql "
        "selects postgresql instead of postgresql-standby; kustomize-controller at 2026-11-21T03:00:00Z set "
        "it",
        "fenced and read-only", "nothing lands on the old data",
        "HINT: kubectl patch service postgresql -n tfrs",
        "commit where it came from: Service/postgresql spec.selector {\"name\":\"postgresql-standby\"}"}},
      {"the selector, and nobody there",
       [](SceneView& s) { s = scene("postgresql"); },
       nobody(),
       {},
       "False",
       "RevertedByKustomizeController",
       {"nobody answers on postgresql"}},
      {"the selector, and writes on the old timeline",
       [](SceneView& s) { s = scene("postgresql"); },
       server(false, 1),
       {},
       "False",
       "RevertedByKustomizeController",
       {"takes writes on timeline 1, apart from postgresql-standby"}},
      {"a selector that matches nobody",
       [](SceneView& s) {
         s.services[0].selector = {{"name", "x"}};
         s.services[0].steering = set_by("");
         s.primary = "";
       },
       {},
       {},
       "False",
       "RevertedByUnknown",
       {"selects {\"name\":\"x\"} instead of postgresql-standby; somebody set it", "reach no member"}},
      {"the primary at 0",
       [](SceneView& s) {
         s.members[1].replicas = 0;
         s.members[1].steering = set_by("helm");
       },
       {},
       {},
       "False",
       "RevertedByHelm",
       {"postgresql-standby, the primary, is scaled to 0; helm at",
        "HINT: kubectl scale deployment/postgresql-standby -n tfrs --replicas=1",
        "Deployment/postgresql-standby spec.replicas 1"}},
      {"the primary at 0 by us, for a moment",
       [](SceneView& s) { s.members[1].replicas = 0; },
       {},
       {},
       "True",
       "OneMember",
       {}},
      {"the old one up, fenced",
       [](SceneView& s) {
         s.members[0].replicas = 1;
         s.members[0].steering = set_by("kubectl-client-side-apply");
       },
       {},
       server(true, 1),
       "False",
       "RevertedByKubectlClientSideApply",
       {"postgresql, the old primary, is scaled up", "read-only or does not start",
        "kubectl scale deployment/postgresql -n tfrs --replicas=0"}},
      {"the old one up and writing",
       [](SceneView& s) {
         s.members[0].replicas = 1;
         s.members[0].steering = set_by("kubectl");
       },
       {},
       server(false, 1),
       "False",
       "RevertedByKubectl",
       {"takes writes on timeline 1, apart from postgresql-standby"}},
      {"the old one up with data restored for it",
       [](SceneView& s) {
         s.members[0].replicas = 1;
         s.members[0].steering = set_by("kubectl");
       },
       {},
       server(false, 3, "1\t0/5000000\tx\n2\t0/8000000\tx\n"),
       "True",
       "OneMember",
       {}},
      {"the old one up by a restore of ours",
       [](SceneView& s) { s.members[0].replicas = 1; },
       {},
       {},
       "True",
       "OneMember",
       {}},
  };
  for (const auto& row : table) {
    SceneView s = scene("postgresql-standby");
    row.change(s);
    Consistency c = judge_consistency(s, judge_standing(s, recorded(), row.selected, ""), row.old);
    EXPECT_EQ(c.status, row.status) << row.name;
    EXPECT_EQ(c.reason, row.reason) << row.name;
    for (const char* part : row.says)
      EXPECT_NE(c.message.find(part), std::string::npos) << row.name << ": " << c.message;
  }
}

TEST(Expectations, AreTheRecordsWhereThereIsOne) {
  SceneView s = scene("postgresql");
  s.members[0].replicas = 1;
  s.members[0].steering = set_by("kubectl");
  auto values = [&](const Standing& standing) {
    Json out = Json::object();
    for (const Expectation& e : expectations(s, standing)) out[e.object] = {e.value, e.stated_before};
    return out;
  };
  EXPECT_EQ(values(judge_standing(s, recorded(), server(true, 1), "")),
            (Json{{"Service/postgresql", {{{"name", "postgresql-standby"}}, true}},
                  {"Deployment/postgresql", {0, false}},
                  {"Deployment/postgresql-standby", {1, false}}}));
  EXPECT_EQ(values(Standing{}), (Json{{"Service/postgresql", {{{"name", "postgresql"}}, false}},
                                      {"Deployment/postgresql", {1, false}},
                                      {"Deployment/postgresql-standby", {1, false}}}));
  s.members[0].steering = set_by(kOurManager);
  EXPECT_EQ(values(judge_standing(s, recorded(), server(true, 1), ""))["Deployment/postgresql"][0], 1)
      << "a restore of ours made it a member like any other";
}

}  // namespace
}  // namespace pgrunbook::plan
