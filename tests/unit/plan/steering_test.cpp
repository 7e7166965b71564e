// Who steers an object, what they want of it, who set it last, and the lines to commit.
#include "plan/steering.hpp"

#include <gtest/gtest.h>

namespace pgrunbook::plan {
namespace {

using Steers = Steerer::Kind;
using Known = Desired::Known;

Json owner(const char* manager, const char* operation, const char* time, const char* field) {
  return {{"manager", manager},
          {"operation", operation},
          {"time", time},
          {"fieldsV1", {{"f:spec", {{field, Json::object()}}}}}};
}

struct Object {
  Json json = {{"metadata", Json::object()}, {"spec", {{"selector", {{"name", "b"}}}, {"replicas", 1}}}};
  Object& marks(const char* text) {
    json["metadata"].update(Json::parse(text));
    return *this;
  }
  Object& fields(std::initializer_list<Json> owners) {
    json["metadata"]["managedFields"] = owners;
    return *this;
  }
  Object& applied(const char* text) {
    json["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = text;
    return *this;
  }
};

const char* kFluxMarks =
    R"({"labels": {"kustomize.toolkit.fluxcd.io/name": "db", "kustomize.toolkit.fluxcd.io/namespace": "flux"}})";
const char* kHelmMarks =
    R"({"annotations": {"meta.helm.sh/release-name": "db"}, "labels": {"app.kubernetes.io/managed-by": "Helm"}})";
const char* kArgoMarks =
    R"({"annotations": {"argocd.argoproj.io/tracking-id": "db:/Service:tfrs/postgresql"}})";

TEST(ManagedBy, ReadsTheMarksOfOthers) {
  struct {
    const char* metadata;
    const char* manager;
  } table[] = {
      {R"({})", ""},
      {R"({"labels": {"app.kubernetes.io/instance": "x"}})", ""},
      {R"({"annotations": {"argocd.argoproj.io/tracking-id": "x"}})", "Argo CD"},
      {R"({"labels": {"argocd.argoproj.io/instance": "x"}})", "Argo CD"},
      {R"({"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}})", "kustomize-controller"},
      {R"({"labels": {"helm.toolkit.fluxcd.io/name": "x", "app.kubernetes.io/managed-by": "Helm"}})",
       "helm-controller"},
      {R"({"annotations": {"meta.helm.sh/release-name": "db"}, "labels": {"app.kubernetes.io/managed-by": "Helm"}})",
       "Helm release db"},
      {R"({"labels": {"app.kubernetes.io/managed-by": "Helm"}})", "Helm"},
      {R"({"annotations": {"argocd.argoproj.io/tracking-id": "x", "meta.helm.sh/release-name": "db"}})",
       "Argo CD"},
      {R"({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}})", ""},
      {R"({"labels": null, "annotations": null})", ""},
  };
  for (const auto& row : table)
    EXPECT_EQ(managed_by({{"metadata", Json::parse(row.metadata)}}), row.manager) << row.metadata;
  EXPECT_EQ(managed_by(Json()), "");
}

TEST(SteererOf, KnowsWhoOnlyApplies) {
  Steerer s = steerer_of(Object().applied("{}").json);
  EXPECT_EQ(s.name, "kubectl apply");
  EXPECT_FALSE(s.by_itself()) << "nothing runs by itself";
  s = steerer_of(Object().fields({owner("kubectl", "Apply", "1", "f:type")}).json);
  EXPECT_EQ(s.name, "kubectl apply --server-side");
  EXPECT_EQ(s.manager, "kubectl");
  s = steerer_of(Object().fields({owner("terraform", "Apply", "1", "f:type")}).json);
  EXPECT_EQ(s.name, "terraform");
  EXPECT_EQ(steerer_of(Object().fields({owner("pgrunbook", "Apply", "1", "f:type")}).json).kind,
            Steers::kNobody);
  EXPECT_EQ(steerer_of(Object().fields({owner("kubectl-create", "Update", "1", "f:type")}).json).kind,
            Steers::kNobody);
}

TEST(OwnersOf, AreThoseOfTheFieldNewestFirst) {
  Json o = Object()
               .fields({owner("helm", "Update", "2026-11-20T10:00:00Z", "f:replicas"),
                        owner("kubectl", "Update", "2026-11-20T12:00:00Z", "f:replicas"),
                        owner("kube-controller-manager", "Update", "2026-11-20T13:00:00Z", "f:template")})
               .json;
  auto owners = owners_of(o, Field::kReplicas);
  ASSERT_EQ(owners.size(), 2U);
  EXPECT_EQ(owners[0].manager, "kubectl");
  EXPECT_TRUE(owners_of(o, Field::kSelector).empty());
  EXPECT_TRUE(owners_of(Json(), Field::kSelector).empty());
  // Of two in one second the other one is named: we know what we did.
  o = Object()
          .fields({owner("pgrunbook", "Update", "2026-11-20T10:00:00Z", "f:selector"),
                   owner("helm", "Update", "2026-11-20T10:00:00Z", "f:selector")})
          .json;
  EXPECT_EQ(steering_of(o, Field::kSelector).setter.manager, "helm");
}

TEST(Desired, IsReadWhereItCanBeSeen) {
  const Json flux = owner("kustomize-controller", "Apply", "1", "f:selector");
  const Json ours = owner("pgrunbook", "Update", "2", "f:selector");
  const Json someone = owner("kubectl-edit", "Update", "2", "f:selector");
  const Json helm = owner("helm", "Update", "1", "f:selector");
  struct {
    const char* name;
    Json object;
    Known known;
    Json value;
  } table[] = {
      {"nobody", Object().json, Known::kUnstated, Json()},
      {"kubectl's last apply",
       Object().applied(R"({"spec": {"selector": {"name": "a"}}})").json,
       Known::kYes,
       {{"name", "a"}}},
      {"kubectl says nothing of it", Object().applied(R"({"spec": {}})").json, Known::kUnstated, Json()},
      {"an annotation nobody can read", Object().applied("{").json, Known::kUnstated, Json()},
      {"Argo CD by kubectl's annotation",
       Object().marks(kArgoMarks).applied(R"({"spec": {"selector": {"name": "a"}}})").json,
       Known::kYes,
       {{"name", "a"}}},
      {"Flux owns it: what is live is what it wants",
       Object().marks(kFluxMarks).fields({flux}).json,
       Known::kYes,
       {{"name", "b"}}},
      {"we took it from Flux", Object().marks(kFluxMarks).fields({ours}).json, Known::kNo, Json()},
      {"somebody took it from Flux, or Flux never stated it",
       Object().marks(kFluxMarks).fields({someone}).json, Known::kNo, Json()},
      {"nobody ever set it", Object().marks(kFluxMarks).json, Known::kUnstated, Json()},
      {"an old annotation under Flux counts for nothing",
       Object().marks(kFluxMarks).applied(R"({"spec": {"selector": {"name": "a"}}})").fields({flux}).json,
       Known::kYes,
       {{"name", "b"}}},
      {"Helm", Object().marks(kHelmMarks).fields({ours}).json, Known::kNo, Json()},
      {"Helm set it itself", Object().marks(kHelmMarks).fields({helm}).json, Known::kYes, {{"name", "b"}}},
  };
  for (const auto& row : table) {
    Steering s = steering_of(row.object, Field::kSelector);
    EXPECT_EQ(s.desired.known, row.known) << row.name;
    EXPECT_EQ(s.desired.value, row.value) << row.name;
  }
}

TEST(RevertedBy, IsAReasonThatKubernetesTakes) {
  struct {
    const char *manager, *reason;
  } table[] = {{"kustomize-controller", "RevertedByKustomizeController"},
               {"helm", "RevertedByHelm"},
               {"kubectl-client-side-apply", "RevertedByKubectlClientSideApply"},
               {"kubectl", "RevertedByKubectl"},
               {"argocd-application-controller", "RevertedByArgocdApplicationController"},
               {"node-fetch/1.0 (x; y)", "RevertedByNodeFetch10XY"},
               {"", "RevertedByUnknown"},
               {"--", "RevertedByUnknown"}};
  for (const auto& row : table) EXPECT_EQ(reverted_by(row.manager), row.reason);
  EXPECT_LT(reverted_by(std::string(2000, 'x')).size(), 128U);
}

TEST(WhoSet, NamesTheManagerAndWhatIsBehindIt) {
  Json o =
      Object().marks(kHelmMarks).fields({owner("helm", "Update", "2026-11-20T10:00:00Z", "f:replicas")}).json;
  EXPECT_EQ(who_set(steering_of(o, Field::kReplicas)), "helm (Helm release db) at 2026-11-20T10:00:00Z");
  o = Object().marks(kFluxMarks).fields({owner("kustomize-controller", "Apply", "", "f:replicas")}).json;
  EXPECT_EQ(who_set(steering_of(o, Field::kReplicas)), "kustomize-controller");
  EXPECT_EQ(who_set(steering_of(Object().json, Field::kReplicas)), "somebody");
}

TEST(UnifiedDiff, HasThePathAndExactlyTheLines) {
  EXPECT_EQ(unified_diff("Deployment/postgresql", Field::kReplicas, 1, 0),
            "--- a/Deployment/postgresql\n"
            "+++ b/Deployment/postgresql\n"
            "@@ -1,2 +1,2 @@ spec.replicas\n"
            " spec:\n"
            "-  replicas: 1\n"
            "+  replicas: 0");
  EXPECT_EQ(
      unified_diff("Service/postgresql", Field::kSelector, {{"app", "db"}, {"name", "a"}, {"slot", "1"}},
                   {{"app", "db"}, {"name", "b"}, {"slot", "2"}}),
      "--- a/Service/postgresql\n"
      "+++ b/Service/postgresql\n"
      "@@ -1,5 +1,5 @@ spec.selector\n"
      " spec:\n"
      "   selector:\n"
      "     app: db\n"
      "-    name: a\n"
      "+    name: b\n"
      "-    slot: \"1\"\n"
      "+    slot: \"2\"");
  // A key that one side lacks is one line, and the figures of the hunk say so.
  EXPECT_NE(unified_diff("Service/x", Field::kSelector, {{"name", "a"}}, {{"name", "a"}, {"on", "true"}})
                .find("@@ -1,3 +1,4 @@ spec.selector\n spec:\n   selector:\n     name: a\n+    on: \"true\""),
            std::string::npos);
}

TEST(GitChange, IsWhatItsSteererDoesNotSayYet) {
  auto change = [](const Json& object, const Json& was, const Json& becomes) {
    return git_change("Deployment/x", Field::kReplicas, steering_of(object, Field::kReplicas), was, becomes);
  };
  auto lines = [](const std::optional<Json>& c) {
    if (!c) return std::string("none");
    std::string diff = (*c)["diff"];
    return base::text_at(*c, {"manager"}) + diff.substr(diff.find(" spec:") + 6);
  };
  EXPECT_EQ(lines(change(Object().json, 0, 1)), "\n-  replicas: 0\n+  replicas: 1")
      << "whoever keeps a manifest";
  EXPECT_EQ(lines(change(Object().applied(R"({"spec": {"replicas": 3}})").json, 0, 1)),
            "kubectl apply\n-  replicas: 3\n+  replicas: 1")
      << "as it stands there, not as it is live";
  EXPECT_EQ(lines(change(Object().applied(R"({"spec": {"replicas": 1}})").json, 0, 1)), "none")
      << "committed";
  EXPECT_EQ(lines(change(Object().applied(R"({"spec": {}})").json, 0, 1)), "none") << "not stated";
  EXPECT_EQ(lines(change(Object().marks(kHelmMarks).json, 0, 1)),
            "Helm release db\n-  replicas: 0\n+  replicas: 1");
  EXPECT_EQ(
      lines(change(
          Object().marks(kFluxMarks).fields({owner("kustomize-controller", "Apply", "1", "f:replicas")}).json,
          0, 1)),
      "none")
      << "Flux owns the 1 that is live";
  EXPECT_EQ(
      lines(change(Object().marks(kFluxMarks).fields({owner("pgrunbook", "Update", "1", "f:replicas")}).json,
                   0, 1)),
      "kustomize-controller\n-  replicas: 0\n+  replicas: 1");
}

TEST(Managed, ForcesApprovalWhereSomethingActsByItself) {
  auto by = [](const char* manager) {
    return Json::array({{{"object", "Service/x"}, {"manager", manager}}});
  };
  EXPECT_TRUE(managed(by("Argo CD")));
  EXPECT_TRUE(managed(by("kustomize-controller")));
  EXPECT_TRUE(managed(by("Helm release db")));
  EXPECT_FALSE(managed(by("kubectl apply"))) << "a person types that";
  EXPECT_FALSE(managed(by("kubectl apply --server-side")));
  EXPECT_FALSE(managed(Json::array({{{"object", "Service/x"}}})));
  EXPECT_FALSE(managed(Json::array()));
  EXPECT_FALSE(managed(Json()));
}

TEST(Alignment, SaysWhetherWhatOthersApplyIsWhatIsSo) {
  auto expect = [](const Json& object, const char* value, bool before = false) {
    return Expectation{"Service/postgresql",
                       Field::kSelector,
                       steering_of(object, Field::kSelector),
                       {{"name", value}},
                       before};
  };
  Json flux =
      Object().marks(kFluxMarks).fields({owner("kustomize-controller", "Apply", "1", "f:selector")}).json;
  Json taken = Object().marks(kFluxMarks).fields({owner("pgrunbook", "Update", "1", "f:selector")}).json;
  Json helm = Object().marks(kHelmMarks).fields({owner("pgrunbook", "Update", "1", "f:selector")}).json;
  Json helm_set = Object().marks(kHelmMarks).fields({owner("helm", "Update", "1", "f:selector")}).json;
  Json kubectl = Object().applied(R"({"spec": {"selector": {"name": "a"}}})").json;
  struct {
    const char* name;
    std::vector<Expectation> all;
    const char *status, *reason, *says;
  } table[] = {
      {"nobody", {expect(Object().json, "b")}, "True", "NobodySteers", "nobody else steers"},
      {"nothing", {}, "True", "NobodySteers", ""},
      {"kubectl agrees", {expect(kubectl, "a")}, "True", "Aligned", "agrees"},
      {"kubectl does not",
       {expect(kubectl, "b")},
       "False",
       "NotCommitted",
       "what kubectl apply applies is not what is so now, and will change it back. HINT: commit: "
       "Service/postgresql "
       "selector: {name: b}"},
      {"Flux owns what is right", {expect(flux, "b")}, "True", "Aligned", ""},
      {"Flux has turned it back", {expect(flux, "a")}, "False", "NotCommitted", "kustomize-controller"},
      {"Flux owned it before, and may have committed it since",
       {expect(taken, "b", true)},
       "False",
       "NotCommitted",
       "HINT: commit: Service/postgresql selector: {name: b}. Then it has to be applied once for this to see "
       "it, "
       "and Flux leaves alone what is right: kubectl label Service/postgresql "
       "kustomize.toolkit.fluxcd.io/name- makes it apply them"},
      {"whether Flux states it is not known",
       {expect(taken, "b")},
       "Unknown",
       "TakenOver",
       "HINT: where they do, they must say: Service/postgresql selector: {name: b}. Then it has to be "
       "applied"},
      {"Helm is not asked",
       {expect(helm, "b")},
       "Unknown",
       "HelmIsNotAsked",
       "HINT: helm get manifest db must say: Service/postgresql selector: {name: b}"},
      {"Helm set it right itself", {expect(helm_set, "b")}, "True", "Aligned", ""},
      {"Helm set another one", {expect(helm_set, "a")}, "Unknown", "HelmIsNotAsked", ""},
      {"what is open counts more than what is not known",
       {expect(helm, "b"), expect(kubectl, "b")},
       "False",
       "NotCommitted",
       ""},
  };
  for (const auto& row : table) {
    Alignment a = judge_alignment(row.all);
    EXPECT_EQ(a.status, row.status) << row.name;
    EXPECT_EQ(a.reason, row.reason) << row.name;
    EXPECT_NE(a.message.find(row.says), std::string::npos) << row.name << ": " << a.message;
  }
}

}  // namespace
}  // namespace pgrunbook::plan
