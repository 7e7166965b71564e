// What a topology's objects say, and each refusal word for word.
#include "plan/scene.hpp"

#include <functional>

#include <gtest/gtest.h>

#include "plan/network.hpp"
#include "support/fake_api.hpp"

namespace pgrunbook::plan {
namespace {

namespace tfrs = test::tfrs;

const std::map<std::string, std::string> kClaims = {{"postgresql", "claim-1"},
                                                    {"postgresql-standby", "claim-2"},
                                                    {"postgresql-backup-cns", "claim-3"},
                                                    {"data-postgresql-0", "claim-4"}};

api::Member member(const std::string& name = "postgresql") {
  api::Member m;
  m.name = name;
  m.workload.name = name;
  return m;
}

api::Archive archive() {
  api::Archive a;
  a.claim_name = "postgresql-backup-cns";
  return a;
}

Json& container(Json& workload) { return workload["spec"]["template"]["spec"]["containers"][0]; }

TEST(MemberView, OfTheRunbooksDeployment) {
  auto v = member_view(member(), archive(), "tfrs", tfrs::deployment("postgresql", 1), kClaims);
  ASSERT_TRUE(v.has_value()) << v.error().text();
  EXPECT_EQ(v->name, "postgresql");
  EXPECT_EQ(v->workload_uid, "uid-deployment-postgresql");
  EXPECT_EQ(v->manager, "");
  EXPECT_EQ(v->replicas, 1);
  EXPECT_EQ(v->replicas_before, 1);
  EXPECT_EQ(v->labels, (Json{{"name", "postgresql"}}));
  EXPECT_EQ(v->container, "postgresql");
  EXPECT_EQ(v->image, "registry.example/sclorg/postgresql-15:1");
  EXPECT_EQ(v->data_directory, "/var/lib/pgsql/data/userdata");
  EXPECT_EQ(v->mount, "/var/lib/pgsql/data");
  EXPECT_EQ(v->data_claim, "postgresql");
  EXPECT_EQ(v->data_claim_uid, "claim-1");
  EXPECT_EQ(v->archive_claim, "postgresql-backup-cns");
  EXPECT_EQ(v->archive_mount, "/postgresql-backup");
  EXPECT_EQ(v->repository, "/postgresql-backup/tfrs");
  EXPECT_TRUE(v->recreate);
  EXPECT_EQ(v->port, 5432);
}

struct Variant {
  const char* name;
  std::function<void(Json& workload, api::Member& m, api::Archive& a)> change;
  std::function<void(const MemberView& v)> see;
};

class Variants : public ::testing::TestWithParam<Variant> {};

TEST_P(Variants, AreUnderstood) {
  Json workload = tfrs::deployment("postgresql", 1);
  api::Member m = member();
  api::Archive a = archive();
  GetParam().change(workload, m, a);
  auto v = member_view(m, a, "tfrs", workload, kClaims);
  ASSERT_TRUE(v.has_value()) << v.error().text();
  GetParam().see(*v);
}

INSTANTIATE_TEST_SUITE_P(
    Table, Variants,
    ::testing::Values(
        Variant{"DataDirectoryOfTheSpecWins",
                [](Json&, api::Member& m, api::Archive&) { m.data_directory = "/var/lib/pgsql/data/other/"; },
                [](const MemberView& v) { EXPECT_EQ(v.data_directory, "/var/lib/pgsql/data/other"); }},
        Variant{"PgdataAtTheMountsRoot",
                [](Json& w, api::Member&, api::Archive&) {
                  container(w)["env"][0]["value"] = "/var/lib/pgsql/data";
                },
                [](const MemberView& v) { EXPECT_EQ(v.mount, "/var/lib/pgsql/data"); }},
        Variant{"DeepestClaimHoldsTheData",
                [](Json& w, api::Member&, api::Archive&) {
                  container(w)["volumeMounts"].push_back({{"name", "home"}, {"mountPath", "/var/lib/pgsql"}});
                  w["spec"]["template"]["spec"]["volumes"].push_back(
                      {{"name", "home"}, {"persistentVolumeClaim", {{"claimName", "home"}}}});
                },
                [](const MemberView& v) { EXPECT_EQ(v.data_claim, "postgresql"); }},
        Variant{"ANameThatOnlyBeginsAlikeIsNoParent",
                [](Json& w, api::Member&, api::Archive&) {
                  container(w)["volumeMounts"].push_back(
                      {{"name", "other"}, {"mountPath", "/var/lib/pgsql/data/user"}});
                  w["spec"]["template"]["spec"]["volumes"].push_back(
                      {{"name", "other"}, {"persistentVolumeClaim", {{"claimName", "other"}}}});
                },
                [](const MemberView& v) { EXPECT_EQ(v.mount, "/var/lib/pgsql/data"); }},
        Variant{"PathInTheArchive", [](Json&, api::Member&, api::Archive& a) { a.path = "db/one"; },
                [](const MemberView& v) { EXPECT_EQ(v.repository, "/postgresql-backup/db/one/tfrs"); }},
        Variant{"SlashesBehindMountsAreNothing",
                [](Json& w, api::Member&, api::Archive&) {
                  container(w)["volumeMounts"][0]["mountPath"] = "/var/lib/pgsql/data/";
                  container(w)["volumeMounts"][1]["mountPath"] = "/postgresql-backup/";
                },
                [](const MemberView& v) {
                  EXPECT_EQ(v.mount, "/var/lib/pgsql/data");
                  EXPECT_EQ(v.repository, "/postgresql-backup/tfrs");
                }},
        Variant{"NamedContainerAmongSeveral",
                [](Json& w, api::Member& m, api::Archive&) {
                  w["spec"]["template"]["spec"]["containers"].push_back({{"name", "exporter"}});
                  m.container = "postgresql";
                },
                [](const MemberView& v) { EXPECT_EQ(v.container, "postgresql"); }},
        Variant{
            "RollingUpdateIsSeen",
            [](Json& w, api::Member&, api::Archive&) { w["spec"]["strategy"] = {{"type", "RollingUpdate"}}; },
            [](const MemberView& v) { EXPECT_FALSE(v.recreate); }},
        Variant{"DefaultStrategyIsRollingUpdate",
                [](Json& w, api::Member&, api::Archive&) { w["spec"].erase("strategy"); },
                [](const MemberView& v) { EXPECT_FALSE(v.recreate); }},
        Variant{"StatefulSetReplacesOneByOne",
                [](Json& w, api::Member& m, api::Archive&) {
                  w["spec"].erase("strategy");
                  m.workload.kind = "StatefulSet";
                },
                [](const MemberView& v) { EXPECT_TRUE(v.recreate); }},
        Variant{"StatefulSetsOwnClaim",
                [](Json& w, api::Member& m, api::Archive&) {
                  m.workload.kind = "StatefulSet";
                  m.workload.name = "postgresql";
                  w["spec"]["volumeClaimTemplates"] = {{{"metadata", {{"name", "data"}}}}};
                  w["spec"]["template"]["spec"]["volumes"].erase(0);
                },
                [](const MemberView& v) {
                  EXPECT_EQ(v.data_claim, "data-postgresql-0");
                  EXPECT_EQ(v.data_claim_uid, "claim-4");
                }},
        Variant{"ReplicasBeforeFromTheAnnotation",
                [](Json& w, api::Member&, api::Archive&) {
                  w["spec"]["replicas"] = 0;
                  w["metadata"]["annotations"] = {{api::kAnnotationReplicasBefore, "1"}};
                },
                [](const MemberView& v) {
                  EXPECT_EQ(v.replicas, 0);
                  EXPECT_EQ(v.replicas_before, 1);
                }},
        Variant{"ReplicasAbsentAreOne",
                [](Json& w, api::Member&, api::Archive&) { w["spec"].erase("replicas"); },
                [](const MemberView& v) { EXPECT_EQ(v.replicas, 1); }},
        Variant{
            "OtherPort",
            [](Json& w, api::Member&, api::Archive&) { container(w)["ports"] = {{{"containerPort", 5433}}}; },
            [](const MemberView& v) { EXPECT_EQ(v.port, 5433); }},
        Variant{"PortByItsName",
                [](Json& w, api::Member&, api::Archive&) {
                  container(w)["ports"] = {{{"name", "metrics"}, {"containerPort", 9187}},
                                           {{"name", "postgresql"}, {"containerPort", 5434}}};
                },
                [](const MemberView& v) { EXPECT_EQ(v.port, 5434); }},
        Variant{"ManagedByHelm",
                [](Json& w, api::Member&, api::Archive&) {
                  w["metadata"]["annotations"] = {{"meta.helm.sh/release-name", "db"}};
                },
                [](const MemberView& v) { EXPECT_EQ(v.manager, "Helm release db"); }}),
    [](const auto& param) { return std::string(param.param.name); });

struct Refusal {
  const char* reason;
  const char* name;
  std::function<void(Json& workload, api::Member& m, api::Archive& a)> change;
  const char* words;
};

class RefusedMembers : public ::testing::TestWithParam<Refusal> {};

TEST_P(RefusedMembers, NameTheFieldAndWhatToWrite) {
  Json workload = tfrs::deployment("postgresql", 1);
  api::Member m = member();
  api::Archive a = archive();
  GetParam().change(workload, m, a);
  auto v = member_view(m, a, "tfrs", workload, kClaims);
  ASSERT_FALSE(v.has_value());
  EXPECT_EQ(v.error().reason, GetParam().reason);
  EXPECT_EQ(v.error().text(), GetParam().words);
}

INSTANTIATE_TEST_SUITE_P(
    Table, RefusedMembers,
    ::testing::Values(
        Refusal{"SeveralReplicas", "SeveralReplicas",
                [](Json& w, api::Member&, api::Archive&) { w["spec"]["replicas"] = 3; },
                "member postgresql: Deployment postgresql has 3 replicas; a member is one PostgreSQL "
                "instance. HINT: scale it to 1, or name each "
                "instance as a member of its own"},
        Refusal{"UnknownContainer", "SeveralContainers",
                [](Json& w, api::Member&, api::Archive&) {
                  w["spec"]["template"]["spec"]["containers"].push_back({{"name", "exporter"}});
                },
                "member postgresql: Deployment postgresql has several containers. HINT: set "
                "spec.members[name=postgresql].container to the one that "
                "runs PostgreSQL"},
        Refusal{"UnknownContainer", "NoSuchContainer",
                [](Json&, api::Member& m, api::Archive&) { m.container = "db"; },
                "member postgresql: Deployment postgresql has no container db. HINT: set "
                "spec.members[name=postgresql].container to the one that runs "
                "PostgreSQL"},
        Refusal{"UnknownDataDirectory", "NoPgdata",
                [](Json& w, api::Member&, api::Archive&) { container(w).erase("env"); },
                "member postgresql: the container sets no PGDATA. HINT: set "
                "spec.members[name=postgresql].dataDirectory"},
        Refusal{"UnknownDataDirectory", "PgdataFromElsewhere",
                [](Json& w, api::Member&, api::Archive&) {
                  container(w)["env"][0] = {
                      {"name", "PGDATA"},
                      {"valueFrom", {{"configMapKeyRef", {{"name", "c"}, {"key", "k"}}}}}};
                },
                "member postgresql: the container sets no PGDATA. HINT: set "
                "spec.members[name=postgresql].dataDirectory"},
        Refusal{
            "NoDataVolume", "NoClaim",
            [](Json& w, api::Member&, api::Archive&) {
              w["spec"]["template"]["spec"]["volumes"][0] = {{"name", "data"}, {"emptyDir", Json::object()}};
            },
            "member postgresql: the data directory /var/lib/pgsql/data/userdata lies on volume data, which "
            "is no PersistentVolumeClaim but emptyDir. HINT: a member's data must "
            "lie on a claim of its own; check dataDirectory and the volumes of the workload"},
        Refusal{
            "NoDataVolume", "AnotherVolumeOverTheClaim",
            [](Json& w, api::Member&, api::Archive&) {
              container(w)["volumeMounts"].push_back(
                  {{"name", "fast"}, {"mountPath", "/var/lib/pgsql/data/userdata"}});
              w["spec"]["template"]["spec"]["volumes"].push_back(
                  {{"name", "fast"}, {"ephemeral", Json::object()}});
            },
            "member postgresql: the data directory /var/lib/pgsql/data/userdata lies on volume fast, which "
            "is no PersistentVolumeClaim but ephemeral. HINT: a member's data must lie on a claim of its "
            "own; "
            "check dataDirectory and the volumes of the workload"},
        Refusal{
            "ArchiveOnDataVolume", "ArchiveOnDataVolume",
            [](Json&, api::Member&, api::Archive& a) { a.claim_name = "postgresql"; },
            "member postgresql: the claim postgresql holds its data directory /var/lib/pgsql/data/userdata "
            "and is spec.archive.volume.claimName too. HINT: the archive needs a claim of its own, which "
            "every member mounts: what loses the data must not lose the archive"},
        Refusal{
            "ReadOnlyMount", "DataReadOnly",
            [](Json& w, api::Member&, api::Archive&) { container(w)["volumeMounts"][0]["readOnly"] = true; },
            "member postgresql: volume data is mounted readOnly at /var/lib/pgsql/data. HINT: PostgreSQL "
            "writes there: remove readOnly from Deployment postgresql"},
        Refusal{
            "ReadOnlyMount", "ArchiveReadOnly",
            [](Json& w, api::Member&, api::Archive&) { container(w)["volumeMounts"][1]["readOnly"] = true; },
            "member postgresql: volume backup is mounted readOnly at /postgresql-backup. HINT: PostgreSQL "
            "writes there: remove readOnly from Deployment postgresql"},
        Refusal{
            "UnknownDataDirectory", "RelativePgdata",
            [](Json& w, api::Member&, api::Archive&) { container(w)["env"][0]["value"] = "userdata"; },
            "member postgresql: PGDATA of container postgresql is userdata, which is not absolute. HINT: set "
            "spec.members[name=postgresql].dataDirectory to the absolute path"},
        Refusal{"NoDataVolume", "DataDirectoryElsewhere",
                [](Json&, api::Member& m, api::Archive&) { m.data_directory = "/data"; },
                "member postgresql: no PersistentVolumeClaim is mounted above the data directory /data. "
                "HINT: a member's data must lie on a claim of its "
                "own; check dataDirectory and the volumes of the workload"},
        Refusal{"ArchiveNotMounted", "ArchiveNotMounted",
                [](Json& w, api::Member&, api::Archive&) { container(w)["volumeMounts"].erase(1); },
                "member postgresql: the archive's claim postgresql-backup-cns is not mounted in container "
                "postgresql. HINT: mount the claim "
                "postgresql-backup-cns into Deployment postgresql"},
        Refusal{
            "SubPath", "SubPathOfData",
            [](Json& w, api::Member&, api::Archive&) { container(w)["volumeMounts"][0]["subPath"] = "pg"; },
            "member postgresql: a volume is mounted by subPath, which this version does not support. HINT: "
            "mount the volume's root"},
        Refusal{
            "SubPath", "SubPathByExpression",
            [](Json& w, api::Member&, api::Archive&) {
              container(w)["volumeMounts"][0]["subPathExpr"] = "$(POD_NAME)";
            },
            "member postgresql: a volume is mounted by subPath, which this version does not support. HINT: "
            "mount the volume's root"},
        Refusal{
            "SubPath", "SubPathOfTheArchive",
            [](Json& w, api::Member&, api::Archive&) { container(w)["volumeMounts"][1]["subPath"] = "pg"; },
            "member postgresql: a volume is mounted by subPath, which this version does not support. HINT: "
            "mount the volume's root"},
        Refusal{"NoClaim", "ClaimMissing",
                [](Json& w, api::Member&, api::Archive&) {
                  w["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = "gone";
                },
                "member postgresql: PersistentVolumeClaim gone does not exist. HINT: create the claim or "
                "correct its name"},
        Refusal{"NoClaim", "ArchivesClaimMissing",
                [](Json& w, api::Member&, api::Archive& a) {
                  w["spec"]["template"]["spec"]["volumes"][1]["persistentVolumeClaim"]["claimName"] = "gone";
                  a.claim_name = "gone";
                },
                "member postgresql: PersistentVolumeClaim gone does not exist. HINT: create the claim or "
                "correct its name"}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(MemberView, KnowsTheNamesOfItsPort) {
  Json w = tfrs::deployment("postgresql", 1);
  w["spec"]["template"]["spec"]["containers"].push_back(
      {{"name", "exporter"},
       {"ports",
        {{{"name", "db"}, {"containerPort", 5432}}, {{"name", "metrics"}, {"containerPort", 9187}}}}});
  api::Member m = member();
  m.container = "postgresql";
  auto v = member_view(m, archive(), "tfrs", w, kClaims);
  ASSERT_TRUE(v.has_value()) << v.error().text();
  EXPECT_EQ(v->port_names, (std::vector<std::string>{"postgresql", "db"}));
}

std::vector<MemberView> members(const Json& a, const Json& b) {
  std::vector<MemberView> out(2);
  out[0].name = "a";
  out[0].labels = a;
  out[0].workload.name = "a";
  out[1].name = "b";
  out[1].labels = b;
  out[1].workload.name = "b";
  return out;
}

TEST(SelectedMember, IsTheOnlyOneOrNone) {
  struct {
    Json selector, a, b;
    const char* selected;
  } table[] = {
      {{{"name", "a"}}, {{"name", "a"}}, {{"name", "b"}}, "a"},
      {{{"name", "b"}}, {{"name", "a"}}, {{"name", "b"}}, "b"},
      {{{"name", "c"}}, {{"name", "a"}}, {{"name", "b"}}, ""},
      {{{"app", "db"}}, {{"app", "db"}}, {{"app", "db"}}, ""},
      {{{"app", "db"}, {"name", "a"}}, {{"app", "db"}, {"name", "a"}}, {{"app", "db"}, {"name", "b"}}, "a"},
      {Json::object(), {{"name", "a"}}, {{"name", "b"}}, ""},
      {Json(), {{"name", "a"}}, {{"name", "b"}}, ""},
  };
  for (const auto& row : table)
    EXPECT_EQ(selected_member(row.selector, members(row.a, row.b)), row.selected) << row.selector;
}

ServiceView service(const Json& selector) {
  ServiceView s;
  s.name = "postgresql";
  s.selector = selector;
  return s;
}

TEST(SwitchedSelector, KeepsTheKeysAndTakesTheCandidatesValues) {
  struct {
    Json selector, a, b, next;
  } table[] = {
      {{{"name", "a"}}, {{"name", "a"}}, {{"name", "b"}}, {{"name", "b"}}},
      {{{"name", "a"}, {"app", "db"}},
       {{"name", "a"}, {"app", "db"}},
       {{"name", "b"}, {"app", "db"}},
       {{"name", "b"}, {"app", "db"}}},
      {{{"name", "a"}}, {{"name", "a"}}, {{"name", "b"}, {"tier", "db"}}, {{"name", "b"}}},
  };
  for (const auto& row : table) {
    auto all = members(row.a, row.b);
    auto next = switched_selector(service(row.selector), all[1], all);
    ASSERT_TRUE(next.has_value()) << next.error().text();
    EXPECT_EQ(*next, row.next);
    EXPECT_EQ(selected_member(*next, all), "b");
    // And back again.
    EXPECT_EQ(*switched_selector(service(*next), all[0], all), row.selector);
  }
}

TEST(SwitchedSelector, RefusesWhatCannotTellThemApart) {
  struct {
    Json selector, a, b;
    const char* reason;
    const char* words;
  } table[] = {
      {{{"name", "a"}, {"pod", "x"}},
       {{"name", "a"}, {"pod", "x"}},
       {{"name", "b"}},
       "SelectorKeyMissing",
       "Service postgresql selects by pod, a label the pods of b do not have. HINT: add the label pod to the "
       "pod template of Deployment b"},
      {{{"app", "db"}},
       {{"app", "db"}, {"name", "a"}},
       {{"app", "db"}, {"name", "b"}},
       "SelectorAmbiguous",
       "Service postgresql cannot tell b from another member: selector {\"app\":\"db\"} matches more than "
       "one. HINT: add a label to the selector that "
       "differs between the members"},
      // The primary's pods carry a superset: the new selector would still match them too.
      {{{"name", "a"}},
       {{"name", "b"}, {"extra", "x"}},
       {{"name", "b"}},
       "SelectorAmbiguous",
       "Service postgresql cannot tell b from another member: selector {\"name\":\"b\"} matches more than "
       "one. HINT: add a label to the selector that "
       "differs between the members"},
      {Json(),
       {{"name", "a"}},
       {{"name", "b"}},
       "NoSelector",
       "Service postgresql has no selector. HINT: a Service without a selector cannot be switched; give it "
       "one that matches the primary's pods"},
      {Json::object(),
       {{"name", "a"}},
       {{"name", "b"}},
       "NoSelector",
       "Service postgresql has no selector. HINT: a Service without a selector cannot be switched; give it "
       "one that matches the primary's pods"},
  };
  for (const auto& row : table) {
    auto all = members(row.a, row.b);
    auto next = switched_selector(service(row.selector), all[1], all);
    ASSERT_FALSE(next.has_value()) << *next;
    EXPECT_EQ(next.error().reason, row.reason);
    EXPECT_EQ(next.error().text(), row.words);
  }
}

TEST(CheckMembers, TwoAreNeverOneAndClaimsLast) {
  auto two = [](const char* a, const char* b, const Json& labels_a, const Json& labels_b) {
    auto out = members(labels_a, labels_b);
    out[0].data_claim = a;
    out[1].data_claim = b;
    out[0].archive_claim = out[1].archive_claim = "archive";
    return out;
  };
  auto claim = [](const char* name, const Json& metadata, const Json& spec) {
    Json c = {{"metadata", metadata}, {"spec", spec}};
    c["metadata"]["name"] = name;
    return Json::array({c});
  };
  const Json a = {{"name", "a"}}, b = {{"name", "b"}}, none = Json::object();
  struct {
    std::vector<MemberView> members;
    Json claims;
    const char* reason;
    const char* words;
  } table[] = {
      {two("x", "x", a, b), Json::array(), "SharedVolume",
       "members a and b keep their data on the same claim x. HINT: every member needs a volume of its own"},
      {two("x", "y", a, {{"name", "a"}, {"role", "standby"}}), Json::array(), "MembersLookAlike",
       "the pods of members a and b cannot be told apart: both carry all of {\"name\":\"a\"}. HINT: give the "
       "pod "
       "templates a label that differs between the members"},
      {two("x", "y", a, b), claim("y", {{"deletionTimestamp", "2026-11-20T15:00:00Z"}}, none), "ClaimDeleted",
       "member b: PersistentVolumeClaim y is being deleted; it goes with the last pod that uses it. HINT: "
       "keep "
       "its volume (set the PersistentVolume's reclaim policy to Retain) and copy what it holds before that "
       "pod "
       "ends"},
      {two("x", "y", a, b), claim("archive", none, {{"volumeMode", "Block"}}), "BlockVolume",
       "member a: PersistentVolumeClaim archive has volumeMode Block. HINT: a data directory and an archive "
       "need "
       "volumeMode Filesystem"},
  };
  for (const auto& row : table) {
    auto r = check_members(row.members, row.claims);
    ASSERT_FALSE(r.has_value());
    EXPECT_EQ(r.error().reason, row.reason);
    EXPECT_EQ(r.error().text(), row.words);
  }
  EXPECT_TRUE(
      check_members(two("x", "y", a, b), claim("other", {{"deletionTimestamp", "x"}}, none)).has_value());
}

TEST(NoPrimary, SaysWhichServiceAndWhy) {
  SceneView scene;
  scene.members = members({{"app", "db"}, {"name", "a"}}, {{"app", "db"}, {"name", "b"}});
  auto with = [&](const std::vector<Json>& selectors) {
    scene.services.clear();
    for (const Json& selector : selectors) {
      scene.services.push_back(service(selector));
      if (scene.services.size() > 1) scene.services.back().name = "other";
    }
    return no_primary(scene);
  };
  struct {
    std::vector<Json> selectors;
    const char* reason;
    const char* words;
  } table[] = {
      {{{{"app", "db"}}},
       "SelectorAmbiguous",
       "the selector {\"app\":\"db\"} of Service postgresql matches more than one member: a, b. HINT: add a "
       "label "
       "to the selector that differs between the members"},
      {{{{"app", "web"}}},
       "NoPrimary",
       "the selector {\"app\":\"web\"} of Service postgresql matches no member. HINT: correct the selector, "
       "or "
       "spec.services and spec.members of the topology"},
      {{Json()},
       "NoSelector",
       "Service postgresql has no selector. HINT: a Service without a selector cannot be switched; give it "
       "one "
       "that matches the primary's pods"},
      {{{{"name", "a"}}, {{"name", "b"}}},
       "ServicesDisagree",
       "the Services do not agree on one member: postgresql selects a, other selects b. HINT: let every "
       "Service "
       "under spec.services select the primary; one for something else does not belong there"},
  };
  for (const auto& row : table) {
    base::Error e = with(row.selectors);
    EXPECT_EQ(e.reason, row.reason);
    EXPECT_EQ(e.text(), row.words);
  }
}

Json owned(Json pod, const char* kind, const char* name, const char* hash = "") {
  pod["metadata"]["ownerReferences"] = Json::array({{{"kind", kind}, {"name", name}}});
  if (*hash != 0) pod["metadata"]["labels"]["pod-template-hash"] = hash;
  return pod;
}

TEST(PodOf, LooksAtLabelsAndAtWhoMadeThePod) {
  api::WorkloadRef deployment, set;
  deployment.name = set.name = "db";
  set.kind = "StatefulSet";
  const Json labels = {{"name", "db"}}, pod = tfrs::pod("p", labels, "10.0.0.1");
  struct {
    Json pod;
    const api::WorkloadRef& workload;
    bool is;
  } table[] = {
      {pod, deployment, true},
      {tfrs::pod("p", {{"name", "db"}, {"more", "x"}}, ""), deployment, true},
      {tfrs::pod("p", {{"name", "web"}}, ""), deployment, false},
      {owned(pod, "ReplicaSet", "db-7f9", "7f9"), deployment, true},
      {owned(pod, "ReplicaSet", "db-copy-7f9", "7f9"), deployment, false},
      {owned(pod, "ReplicaSet", "db-7f9"), deployment, true},
      {owned(pod, "ReplicaSet", "web-7f9"), deployment, false},
      {owned(pod, "StatefulSet", "db"), deployment, false},
      {owned(pod, "StatefulSet", "db"), set, true},
      {owned(pod, "Job", "db"), set, false},
  };
  for (const auto& row : table)
    EXPECT_EQ(pod_of(row.pod, row.workload, labels), row.is) << row.pod["metadata"];
  EXPECT_FALSE(pod_of(pod, deployment, Json::object())) << "no labels select nothing";
}

TEST(LeadsOnlyTo, ASelectorThatMatchesAStrangerIsRefused) {
  auto all = members({{"name", "a"}}, {{"name", "b"}, {"tier", "db"}});
  const Json selector = {{"name", "b"}};
  auto workload = [](const char* kind, const char* name, const Json& labels) {
    return Json{{"kind", kind},
                {"metadata", {{"name", name}}},
                {"spec", {{"template", {{"metadata", {{"labels", labels}}}}}}}};
  };
  const Json own =
      owned(tfrs::pod("b-7f9-x", {{"name", "b"}, {"tier", "db"}}, ""), "ReplicaSet", "b-7f9", "7f9");
  Json finished = tfrs::pod("done", {{"name", "b"}}, "");
  finished["status"]["phase"] = "Succeeded";
  struct {
    Json pods, workloads;
    const char* who;  // empty: nobody else
  } table[] = {
      {Json::array({own, finished}),
       Json::array(
           {workload("Deployment", "b", {{"name", "b"}}), workload("Deployment", "a", {{"name", "a"}})}),
       ""},
      {Json::array({own}), Json::array({workload("StatefulSet", "b", {{"name", "b"}})}), "StatefulSet b"},
      {Json::array({own}), Json::array({workload("Deployment", "copy", {{"name", "b"}, {"x", "y"}})}),
       "Deployment copy"},
      {Json::array({own, tfrs::pod("debug", {{"name", "b"}}, "")}), Json::array(), "pod debug"},
      {Json::array({owned(tfrs::pod("set-0", {{"name", "b"}, {"tier", "db"}}, ""), "StatefulSet", "set")}),
       Json::array(), "pod set-0"},
  };
  for (const auto& row : table) {
    auto r = leads_only_to("postgresql", selector, all[1], row.pods, row.workloads);
    ASSERT_EQ(r.has_value(), *row.who == 0) << row.who << (r ? "" : r.error().text());
    if (r) continue;
    EXPECT_EQ(r.error().reason, "SelectorMatchesOthers");
    EXPECT_EQ(
        r.error().text(),
        "once switched to b, Service postgresql would select by {\"name\":\"b\"}, which " +
            std::string(row.who) + " matches too. HINT: change the labels of " + row.who +
            ", or add a label to the Service's selector and to the members' pod templates that only the "
            "members carry");
  }
}

TEST(Pods, CountUntilTheyEnd) {
  Json pod = tfrs::pod("p", {{"name", "a"}}, "10.0.0.1");
  EXPECT_TRUE(pod_counts(pod));
  EXPECT_TRUE(pod_ready(pod));
  EXPECT_TRUE(pod_counts(tfrs::terminating(pod))) << "its server still has the volume";
  EXPECT_FALSE(pod_ready(tfrs::terminating(pod)));
  pod["status"]["conditions"][0]["status"] = "False";
  EXPECT_FALSE(pod_ready(pod));
  for (const char* phase : {"Succeeded", "Failed"}) {
    pod["status"]["phase"] = phase;
    EXPECT_FALSE(pod_counts(pod));
  }
  EXPECT_TRUE(pod_counts(Json::object()));
  EXPECT_FALSE(pod_ready(Json::object()));
}

TEST(Applications, OfOneNameAndTwoKindsAreTwo) {
  SceneView scene;
  ApplicationView web, same, other;
  web.workload.kind = "Deployment";
  same.workload.kind = "StatefulSet";
  web.workload.name = same.workload.name = "web";
  other.workload.kind = "Deployment";
  other.workload.name = "report";
  scene.applications = {web, same, other};
  EXPECT_EQ(application_key(scene, web), "Deployment/web");
  EXPECT_EQ(application_key(scene, same), "StatefulSet/web");
  EXPECT_EQ(application_key(scene, other), "report");
  EXPECT_EQ(kept_count({{"Deployment/web", 3}, {"StatefulSet/web", 1}}, web), 3);
  EXPECT_EQ(kept_count({{"web", 3}}, web), 3) << "kept while it was the only one";
  EXPECT_EQ(kept_count({{"web", 3}}, other), 0);
}

Json slice(const char* family, const Json& endpoints) {
  return {{"addressType", family}, {"endpoints", endpoints}};
}
Json endpoint(const char* address, bool ready = true) {
  return {{"addresses", {address}}, {"conditions", {{"ready", ready}}}};
}

TEST(Endpoints, AreThePodsInEachFamilyThatTheServiceHas) {
  Json both = tfrs::pod("b", {{"name", "b"}}, "10.0.0.5");
  both["status"]["podIPs"] = {{{"ip", "10.0.0.5"}}, {{"ip", "fd00::5"}}};
  Json unready = tfrs::pod("c", {{"name", "b"}}, "10.0.0.6");
  unready["status"]["conditions"][0]["status"] = "False";
  const Json four = slice("IPv4", Json::array({endpoint("10.0.0.5")})),
             six = slice("IPv6", Json::array({endpoint("fd00::5")}));
  const Json emptied = slice("IPv4", Json::array());
  struct {
    const char* what;
    Json slices;
    std::vector<Json> pods;
    bool of_the_pods;
  } table[] = {
      {"one family", Json::array({four}), {both}, true},
      {"two families, in any order", Json::array({six, four}), {both}, true},
      {"a slice that was emptied beside", Json::array({emptied, four}), {both}, true},
      {"slices without a type and nothing", Json::array({Json{{"endpoints", nullptr}}}), {both}, false},
      {"a family that does not follow yet", Json::array({four, slice("IPv6", Json::array())}), {both}, false},
      {"a family that still leads elsewhere",
       Json::array({four, slice("IPv6", Json::array({endpoint("fd00::1")}))}),
       {both},
       false},
      {"one more",
       Json::array({slice("IPv4", Json::array({endpoint("10.0.0.1"), endpoint("10.0.0.5")}))}),
       {both},
       false},
      {"one more that is not ready",
       Json::array({slice("IPv4", Json::array({endpoint("10.0.0.1", false), endpoint("10.0.0.5")}))}),
       {both},
       true},
      {"a pod that is not ready", Json::array({four}), {both, unready}, true},
      {"no pod that is ready", Json::array({emptied}), {unready}, false},
      {"none", Json::array(), {both}, false},
  };
  for (const auto& row : table)
    EXPECT_EQ(endpoints_of(row.slices, row.pods).of_the_pods, row.of_the_pods) << row.what;
  EXPECT_EQ(endpoints_of(Json::array({six, four}), {both}).ready,
            (std::vector<std::string>{"10.0.0.5", "fd00::5"}));
  EXPECT_EQ(pod_addresses(unready), std::vector<std::string>{"10.0.0.6"}) << "where podIPs is not told";
}

}  // namespace
}  // namespace pgrunbook::plan
