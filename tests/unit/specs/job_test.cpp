// Every Job we build, whatever it is for: what a namespace with PodSecurity restricted, quotas, Services and
// prying eyes needs of it.
#include "specs/job.hpp"

#include <set>

#include <gtest/gtest.h>

#include "plan/network.hpp"
#include "support/fake_api.hpp"

namespace pgrunbook::specs {
namespace {

namespace tfrs = test::tfrs;
using base::at;
using base::text_at;

plan::MemberView view(const Json& workload, std::vector<Json> pods = {}) {
  api::Member m;
  m.name = "postgresql";
  m.workload.name = "postgresql";
  api::Archive archive;
  archive.claim_name = "postgresql-backup-cns";
  auto v = plan::member_view(m, archive, "tfrs", workload,
                             {{"postgresql", "claim-1"}, {"postgresql-backup-cns", "claim-3"}});
  if (!v) throw std::runtime_error(v.error().text());
  v->pods = std::move(pods);
  return *v;
}

plan::MemberView stopped() { return view(tfrs::deployment("postgresql", 0)); }
plan::MemberView running() {
  return view(tfrs::deployment("postgresql", 1),
              {tfrs::pod("postgresql-1", {{"name", "postgresql"}}, "10.0.0.1")});
}

JobRequest request(const plan::MemberView& m, const char* job, Mount data) {
  JobRequest q;
  q.step = "recover";
  q.name = job_name("PostgresRestore", "12345678-aaaa", q.step, 1);
  q.order.job = job;
  q.order.action = {"PostgresRestore", "before", "12345678-aaaa", "0123456789abcdef"};
  q.order.repository = {m.repository, "tfrs", "uid-topology"};
  q.member = &m;
  q.data = data;
  q.owner = {{"kind", "PostgresRestore"}, {"name", "before"}, {"uid", "12345678-aaaa"}};
  q.topology = "tfrs";
  q.agent_image = "registry.example/pgrunbook:1";
  return q;
}

const Json& pod_of(const Json& job) { return at(job, {"spec", "template", "spec"}); }
const Json& work_of(const Json& job) { return pod_of(job)["containers"][0]; }
Json mount_at(const Json& job, const std::string& path) {
  for (const Json& m : work_of(job)["volumeMounts"]) {
    if (m["mountPath"] == path) return m;
  }
  return {};
}
Json volume(const Json& job, const std::string& name) {
  for (const Json& v : pod_of(job)["volumes"]) {
    if (v["name"] == name) return v;
  }
  return {};
}
Json env(const Json& job, const std::string& name) {
  for (const Json& e : work_of(job)["env"]) {
    if (e["name"] == name) return e;
  }
  return {};
}

struct Kind {
  const char* job;
  Mount data;
};

class BuiltJobs : public ::testing::TestWithParam<Kind> {
 protected:
  api::Connection connection;
  api::JobOverrides overrides;
  plan::MemberView member = running();

  [[nodiscard]] Json build() {
    connection.secret_name = "postgresql";
    JobRequest q = request(member, GetParam().job, GetParam().data);
    q.connection = &connection;
    q.overrides = &overrides;
    q.member_sized = true;
    q.transcript_config_map = "pgr-before-transcript";
    return build_job(q);
  }
};

TEST_P(BuiltJobs, IsAllowedByPodSecurityRestricted) {
  Json job = build();
  const Json& pod = pod_of(job);
  for (const char* list : {"initContainers", "containers"}) {
    for (const Json& c : pod[list]) {
      const Json& s = c["securityContext"];
      EXPECT_EQ(s["allowPrivilegeEscalation"], false);
      EXPECT_EQ(s["capabilities"], (Json{{"drop", {"ALL"}}}));
      EXPECT_EQ(s["runAsNonRoot"], true);
      EXPECT_EQ(s["readOnlyRootFilesystem"], true);
      EXPECT_EQ(s["seccompProfile"]["type"], "RuntimeDefault");
      EXPECT_FALSE(s.contains("privileged"));
      EXPECT_FALSE(s.contains("runAsUser")) << "the pod's uid, not another one per container";
      EXPECT_FALSE(c.contains("ports"));
    }
  }
  EXPECT_EQ(pod["securityContext"]["runAsNonRoot"], true);
  EXPECT_EQ(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
  for (const char* host : {"hostNetwork", "hostPID", "hostIPC"}) EXPECT_FALSE(pod.contains(host));
  const std::set<std::string> allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "projected",
                                         "secret"};
  for (const Json& v : pod["volumes"]) {
    ASSERT_EQ(v.size(), 2U) << v;
    for (const auto& [key, value] : v.items()) EXPECT_TRUE(key == "name" || allowed.count(key) == 1) << v;
    for (const Json& source : at(v, {"projected", "sources"})) EXPECT_TRUE(source.contains("secret")) << v;
  }
}

TEST_P(BuiltJobs, HasNoWordWithTheApiServer) {
  const Json job = build();
  EXPECT_EQ(pod_of(job)["automountServiceAccountToken"], false);
  EXPECT_EQ(pod_of(job)["enableServiceLinks"], false);
  EXPECT_EQ(job.dump().find("serviceAccountToken"), std::string::npos);
}

TEST_P(BuiltJobs, IsNeverSelectedAsAMember) {
  const Json job = build();
  for (const Json& labels :
       {at(job, {"metadata", "labels"}), at(job, {"spec", "template", "metadata", "labels"})}) {
    EXPECT_FALSE(plan::selector_matches({{"matchLabels", member.labels}}, labels));
    EXPECT_FALSE(
        plan::selector_matches({{"matchLabels", tfrs::service("postgresql")["spec"]["selector"]}}, labels));
    for (const auto& [key, value] : member.labels.items()) EXPECT_FALSE(labels.contains(key)) << key;
    EXPECT_EQ(labels, (Json{{"app.kubernetes.io/name", "pgrunbook"},
                            {"app.kubernetes.io/component", "job"},
                            {"pgrunbook.io/topology", "tfrs"},
                            {"pgrunbook.io/action-uid", "12345678-aaaa"},
                            {"pgrunbook.io/step", "recover"}}));
  }
}

TEST_P(BuiltJobs, RunsOnceAndIsNeverEndedByAClock) {
  const Json job = build();
  EXPECT_EQ(job["spec"]["backoffLimit"], 0);
  EXPECT_EQ(job["spec"]["podReplacementPolicy"], "Failed");
  EXPECT_EQ(job["spec"]["completions"], 1);
  EXPECT_EQ(job["spec"]["parallelism"], 1);
  EXPECT_FALSE(job["spec"].contains("activeDeadlineSeconds"));
  EXPECT_FALSE(job["spec"].contains("ttlSecondsAfterFinished"));
  EXPECT_FALSE(pod_of(job).contains("activeDeadlineSeconds"));
  EXPECT_EQ(pod_of(job)["restartPolicy"], "Never");
  EXPECT_EQ(job["metadata"]["name"], "pgr-12345678-recover-1");
  EXPECT_EQ(job["metadata"]["ownerReferences"][0]["uid"], "12345678-aaaa");
  EXPECT_EQ(build(), job) << "the same request gives the same Job";
}

TEST_P(BuiltJobs, MountsWholeVolumesWhereTheMemberHasThem) {
  const Json job = build();
  for (const Json& m : work_of(job)["volumeMounts"]) {
    EXPECT_FALSE(m.contains("subPath") || m.contains("subPathExpr")) << m;
    EXPECT_FALSE(volume(job, m["name"]).is_null()) << m;
  }
  Json archive = mount_at(job, "/postgresql-backup");
  EXPECT_EQ(archive["readOnly"], false);
  EXPECT_EQ(volume(job, archive["name"])["persistentVolumeClaim"]["claimName"], "postgresql-backup-cns");
  Json data = mount_at(job, "/var/lib/pgsql/data");
  if (GetParam().data == Mount::kNone) {
    EXPECT_TRUE(data.is_null());
    EXPECT_EQ(job.dump().find("\"claimName\":\"postgresql\""), std::string::npos);
  } else {
    EXPECT_EQ(data["readOnly"], GetParam().data == Mount::kReadOnly);
    EXPECT_EQ(volume(job, data["name"])["persistentVolumeClaim"]["claimName"], "postgresql");
  }
  EXPECT_EQ(volume(job, mount_at(job, "/pgrunbook-transcript")["name"])["configMap"]["name"],
            "pgr-before-transcript");
  EXPECT_EQ(mount_at(job, "/pgrunbook")["readOnly"], true);
}

TEST_P(BuiltJobs, HoldsSecretsOnlyByReference) {
  const Json job = build();
  // The Secret of the role may still be empty; the application's must be there.
  EXPECT_EQ(volume(job, mount_at(job, "/pgrunbook-secrets")["name"])["projected"]["sources"], Json::parse(R"([
    {"secret": {"name": "pgrunbook-roles", "optional": true, "items": [{"key": "password", "path": "role-password"}]}},
    {"secret": {"name": "postgresql", "items": [{"key": "username", "path": "app-user"},
                                                {"key": "password", "path": "app-password"}]}}])"));
  EXPECT_EQ(job.dump().find("secretKeyRef"), std::string::npos) << "an environment can be read in /proc";
  EXPECT_TRUE(env(job, "POSTGRESQL_PASSWORD").is_null()) << "the member's own environment is not copied";
  auto order = base::parse_json(text_at(env(job, "PGRUNBOOK_ORDER"), {"value"}), "order");
  ASSERT_TRUE(order.has_value());
  EXPECT_TRUE(api::order_from_json(*order).has_value());
  EXPECT_EQ(order->dump().find("assword"), std::string::npos);
}

TEST_P(BuiltJobs, HasRequestsAndLimitsInEveryContainer) {
  const Json job = build();
  for (const char* list : {"initContainers", "containers"}) {
    for (const Json& c : pod_of(job)[list]) {
      for (const char* part : {"requests", "limits"}) {
        for (const char* what : {"cpu", "memory"})
          EXPECT_TRUE(at(c, {"resources", part, what}).is_string()) << c["name"] << part << what;
      }
    }
  }
}

TEST_P(BuiltJobs, IsLeftAloneByMeshesAndAutoscalers) {
  const Json job = build();
  EXPECT_EQ(at(job, {"spec", "template", "metadata", "annotations"}),
            (Json{{"sidecar.istio.io/inject", "false"},
                  {"cluster-autoscaler.kubernetes.io/safe-to-evict", "false"}}));
}

TEST_P(BuiltJobs, RunsAsTheMember) {
  const Json job = build();
  EXPECT_EQ(work_of(job)["image"], "registry.example/sclorg/postgresql-15:1");
  EXPECT_EQ(work_of(job)["command"], (Json{"/pgrunbook/pgrunbook-agent", "job"}));
  EXPECT_EQ(pod_of(job)["initContainers"][0]["image"], "registry.example/pgrunbook:1");
  EXPECT_EQ(pod_of(job)["securityContext"]["runAsUser"], 1000230000);
  EXPECT_EQ(pod_of(job)["securityContext"]["fsGroup"], 1000230000);
  // Or every start would walk the whole volume and open PGDATA to the group.
  EXPECT_EQ(pod_of(job)["securityContext"]["fsGroupChangePolicy"], "OnRootMismatch");
}

INSTANTIATE_TEST_SUITE_P(
    Jobs, BuiltJobs,
    ::testing::Values(Kind{api::jobs::kSetup, Mount::kReadWrite}, Kind{api::jobs::kProof, Mount::kNone},
                      Kind{api::jobs::kPlan, Mount::kNone}, Kind{api::jobs::kBackup, Mount::kReadOnly},
                      Kind{api::jobs::kRecover, Mount::kReadWrite}, Kind{api::jobs::kUndo, Mount::kReadWrite},
                      Kind{api::jobs::kFence, Mount::kReadWrite},
                      Kind{api::jobs::kUnfence, Mount::kReadWrite}, Kind{api::jobs::kRecord, Mount::kNone}),
    [](const auto& param) { return std::string(param.param.job); });

// Terms are an OR: the node must be asked for in each of them.
TEST(Nodes, FollowTheRunningPodThatHoldsTheVolume) {
  auto terms = [](const Json& job) {
    return at(job, {"spec", "template", "spec", "affinity", "nodeAffinity",
                    "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"});
  };
  const Json here = {{{"key", "metadata.name"}, {"operator", "In"}, {"values", {"node1"}}}};
  plan::MemberView m = running();
  EXPECT_EQ(terms(build_job(request(m, api::jobs::kFence, Mount::kReadWrite))),
            (Json::array({{{"matchFields", here}}})));
  EXPECT_TRUE(terms(build_job(request(m, api::jobs::kPlan, Mount::kNone))).is_null())
      << "its volume is not mounted";
  plan::MemberView none = stopped();
  EXPECT_TRUE(terms(build_job(request(none, api::jobs::kFence, Mount::kReadWrite))).is_null());

  Json workload = tfrs::deployment("postgresql", 1);
  Json disk = {{{"key", "disk"}, {"operator", "In"}, {"values", {"ssd"}}}},
       zone = {{{"key", "zone"}, {"operator", "In"}, {"values", {"a"}}}};
  workload["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
          ["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"] =
              Json::array({{{"matchExpressions", disk}}, {{"matchExpressions", zone}}});
  plan::MemberView pinned = view(workload, {tfrs::pod("postgresql-1", {{"name", "postgresql"}}, "10.0.0.1")});
  EXPECT_EQ(terms(build_job(request(pinned, api::jobs::kFence, Mount::kReadWrite))),
            (Json::array({{{"matchExpressions", disk}, {"matchFields", here}},
                          {{"matchExpressions", zone}, {"matchFields", here}}})));
}

TEST(Nodes, RulesOfTheMemberAreKeptAndOverridden) {
  Json workload = tfrs::deployment("postgresql", 0);
  Json& pod = workload["spec"]["template"]["spec"];
  const Json tolerations = {{{"key", "db"}, {"operator", "Exists"}}};
  pod["nodeSelector"] = {{"disk", "ssd"}};
  pod["tolerations"] = tolerations;
  pod["priorityClassName"] = "high";
  pod["imagePullSecrets"] = {{{"name", "pull"}}};
  pod["serviceAccountName"] = "postgresql";
  pod["hostNetwork"] = true;
  plan::MemberView m = view(workload);
  JobRequest q = request(m, api::jobs::kRecover, Mount::kReadWrite);
  Json job = build_job(q);
  EXPECT_EQ(pod_of(job)["nodeSelector"], (Json{{"disk", "ssd"}}));
  EXPECT_EQ(pod_of(job)["tolerations"], tolerations);
  EXPECT_EQ(pod_of(job)["priorityClassName"], "high");
  EXPECT_EQ(pod_of(job)["imagePullSecrets"][0]["name"], "pull");
  EXPECT_EQ(pod_of(job)["serviceAccountName"], "postgresql");
  EXPECT_FALSE(pod_of(job).contains("hostNetwork"));
  api::JobOverrides overrides;
  overrides.node_selector = {{"disk", "hdd"}};
  overrides.tolerations = Json::array();
  overrides.labels = {{"billing", "tfrs"}, {"app.kubernetes.io/name", "mine"}};
  q.overrides = &overrides;
  job = build_job(q);
  EXPECT_EQ(pod_of(job)["nodeSelector"], (Json{{"disk", "hdd"}}));
  EXPECT_EQ(pod_of(job)["tolerations"], Json::array());
  EXPECT_EQ(job["metadata"]["labels"]["billing"], "tfrs");
  EXPECT_EQ(job["metadata"]["labels"]["app.kubernetes.io/name"], "pgrunbook")
      << "the chart's NetworkPolicies select by it";
}

TEST(Resources, AreTheMembersForARecoverySmallOtherwiseAndTheSpecsFirst) {
  plan::MemberView m = stopped();
  JobRequest q = request(m, api::jobs::kRecover, Mount::kReadWrite);
  EXPECT_EQ(at(work_of(build_job(q)), {"resources", "limits", "memory"}), "128Mi");
  q.member_sized = true;
  EXPECT_EQ(at(work_of(build_job(q)), {"resources", "limits", "memory"}), "256Mi");
  api::JobOverrides overrides;
  overrides.resources = {{"requests", {{"memory", "1Gi"}}}, {"limits", {{"memory", "2Gi"}}}};
  q.overrides = &overrides;
  EXPECT_EQ(work_of(build_job(q))["resources"], overrides.resources);
  Json workload = tfrs::deployment("postgresql", 0);
  workload["spec"]["template"]["spec"]["containers"][0].erase("resources");
  plan::MemberView bare = view(workload);
  JobRequest r = request(bare, api::jobs::kRecover, Mount::kReadWrite);
  r.member_sized = true;
  EXPECT_EQ(at(work_of(build_job(r)), {"resources", "limits", "memory"}), "128Mi")
      << "a member without limits gives none to copy";
}

TEST(Users, OfTheContainerWinOverThePods) {
  Json workload = tfrs::deployment("postgresql", 0);
  workload["spec"]["template"]["spec"]["containers"][0]["securityContext"]["runAsUser"] = 26;
  plan::MemberView m = view(workload);
  EXPECT_EQ(
      pod_of(build_job(request(m, api::jobs::kRecover, Mount::kReadWrite)))["securityContext"]["runAsUser"],
      26);
  workload["spec"]["template"]["spec"].erase("securityContext");
  workload["spec"]["template"]["spec"]["containers"][0].erase("securityContext");
  plan::MemberView bare = view(workload);  // OpenShift gives the uid
  const Json job = build_job(request(bare, api::jobs::kRecover, Mount::kReadWrite));
  EXPECT_EQ(pod_of(job)["securityContext"],
            (Json{{"runAsNonRoot", true}, {"seccompProfile", {{"type", "RuntimeDefault"}}}}));
}

TEST(Environment, TakesOnlyThePathsOfTheImage) {
  Json workload = tfrs::deployment("postgresql", 0);
  Json& e = workload["spec"]["template"]["spec"]["containers"][0]["env"];
  e.push_back({{"name", "PATH"}, {"value", "/opt/pg/bin"}});
  e.push_back({{"name", "LD_LIBRARY_PATH"}, {"value", "/opt/pg/lib"}});
  plan::MemberView m = view(workload);
  const Json job = build_job(request(m, api::jobs::kRecover, Mount::kReadWrite));
  EXPECT_EQ(env(job, "PATH")["value"], "/opt/pg/bin");
  EXPECT_EQ(env(job, "LD_LIBRARY_PATH")["value"], "/opt/pg/lib");
  EXPECT_TRUE(env(job, "PGDATA").is_null());
  EXPECT_EQ(env(job, "TZ")["value"], "UTC");
  EXPECT_EQ(volume(job, "pgrunbook-secrets")["projected"]["sources"].size(), 1U)
      << "only Jobs that connect as the application get its login";
}

TEST(Names, AreDeterministicAndShort) {
  struct {
    const char* kind;
    const char* name;
  } table[] = {{"PostgresBackup", "pgb-12345678-plan-2"},
               {"PostgresRestore", "pgr-12345678-plan-2"},
               {"Failover", "pgf-12345678-plan-2"},
               {"PostgresTopology", "pgt-12345678-plan-2"}};
  for (const auto& row : table)
    EXPECT_EQ(job_name(row.kind, "12345678-1234-1234-1234-123456789012", "plan", 2), row.name);
}

TEST(MemoryMib, ReadsQuantities) {
  struct {
    Json memory;
    int mib;
  } table[] = {{"256Mi", 256},     {"2Gi", 2048},
               {"1.5Gi", 1536},    {"1048576Ki", 1024},
               {"1G", 953},        {"500M", 476},
               {"1048576k", 1000}, {"268435456", 256},
               {"1e9", 953},       {"128974848000m", 0},
               {"1Ti", 1048576},   {"1T", 953674},
               {"lots", 0},        {"", 0},
               {"10Xi", 0},        {268435456, 256},
               {nullptr, 0}};
  for (const auto& row : table)
    EXPECT_EQ(memory_mib({{"limits", {{"memory", row.memory}}}}), row.mib) << row.memory;
  EXPECT_EQ(memory_mib(Json()), 0);
  EXPECT_EQ(memory_mib({{"requests", {{"memory", "1Gi"}}}}), 0) << "a request is no limit";
}

}  // namespace
}  // namespace pgrunbook::specs
