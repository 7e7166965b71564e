#include "specs/job.hpp"

#include <charconv>

#include <fmt/format.h>

namespace pgrunbook::specs {

using base::at;
using base::text_at;

namespace {

const Json kSmall = {{"requests", {{"cpu", "50m"}, {"memory", "128Mi"}}},
                     {"limits", {{"cpu", "500m"}, {"memory", "128Mi"}}}};

const Json* member_container(const plan::MemberView& m) {
  for (const Json& c : at(m.pod_template, {"spec", "containers"})) {
    if (text_at(c, {"name"}) == m.container) return &c;
  }
  return nullptr;
}

// Files, not variables: an environment can be read in /proc and is inherited.
Json secrets_volume(const api::Connection* connection) {
  // The role's password may not be made yet.
  Json sources = Json::array(
      {{{"secret",
         {{"name", api::kRolesSecret},
          {"optional", true},
          {"items", Json::array({{{"key", "password"}, {"path", api::secrets::kRolePassword}}})}}}}});
  if (connection != nullptr) {
    sources.push_back(
        {{"secret",
          {{"name", connection->secret_name},
           {"items",
            Json::array({{{"key", connection->username_key}, {"path", api::secrets::kAppUser}},
                         {{"key", connection->password_key}, {"path", api::secrets::kAppPassword}}})}}}});
  }
  return {{"name", "pgrunbook-secrets"}, {"projected", {{"sources", sources}}}};
}

// What every container of ours needs under PodSecurity "restricted".
Json restricted() {
  return {{"allowPrivilegeEscalation", false},
          {"capabilities", {{"drop", {"ALL"}}}},
          {"readOnlyRootFilesystem", true},
          {"runAsNonRoot", true},
          {"seccompProfile", {{"type", "RuntimeDefault"}}}};
}

}  // namespace

std::string kind_prefix(const std::string& kind) {
  if (kind == "PostgresBackup") return "pgb";
  if (kind == "PostgresRestore") return "pgr";
  if (kind == "Failover") return "pgf";
  return "pgt";
}

std::string job_name(const std::string& kind, const std::string& uid, const std::string& step, int attempt) {
  return fmt::format("{}-{}-{}-{}", kind_prefix(kind), uid.substr(0, 8), step, attempt);
}

Json job_labels(const std::string& topology, const std::string& action_uid, const std::string& step,
                const Json& extra) {
  Json labels = extra.is_object() ? extra : Json::object();
  labels["app.kubernetes.io/name"] = "pgrunbook";
  labels["app.kubernetes.io/component"] = "job";
  labels[api::kLabelTopology] = topology;
  if (!action_uid.empty()) labels[api::kLabelActionUid] = action_uid;
  if (!step.empty()) labels[api::kLabelStep] = step;
  return labels;
}

int memory_mib(const Json& resources) {
  const Json& limit = at(resources, {"limits", "memory"});
  std::string text = limit.is_number() ? limit.dump() : text_at(resources, {"limits", "memory"});
  double value = 0;
  auto [rest, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc{}) return 0;
  std::string unit = text.substr(static_cast<std::size_t>(rest - text.data()));
  constexpr std::pair<std::string_view, double> kUnits[] = {
      {"", 1},           {"k", 1e3},           {"M", 1e6},
      {"G", 1e9},        {"T", 1e12},          {"Ki", 1024.0},
      {"Mi", 1048576.0}, {"Gi", 1073741824.0}, {"Ti", 1099511627776.0}};
  for (const auto& [name, bytes] : kUnits) {
    if (name == unit) return static_cast<int>(value * bytes / 1048576.0);
  }
  return 0;
}

Json build_job(const JobRequest& q) {
  const plan::MemberView& m = *q.member;
  const Json& pod = at(m.pod_template, {"spec"});
  const Json* theirs = member_container(m);

  Json resources = kSmall;
  if (q.member_sized && theirs != nullptr && at(*theirs, {"resources"}).is_object() &&
      !at(*theirs, {"resources"}).empty()) {
    resources = at(*theirs, {"resources"});
  }
  if (q.overrides != nullptr && q.overrides->resources.is_object()) resources = q.overrides->resources;

  Json volumes = Json::array({{{"name", "pgrunbook-agent"}, {"emptyDir", Json::object()}},
                              {{"name", "pgrunbook-tmp"}, {"emptyDir", Json::object()}}});
  Json mounts = Json::array({{{"name", "pgrunbook-agent"}, {"mountPath", "/pgrunbook"}, {"readOnly", true}},
                             {{"name", "pgrunbook-tmp"}, {"mountPath", "/tmp"}}});
  volumes.push_back(secrets_volume(q.connection));
  mounts.push_back(
      {{"name", "pgrunbook-secrets"}, {"mountPath", api::secrets::kDirectory}, {"readOnly", true}});
  auto claim = [&](const std::string& name, const std::string& claim_name, const std::string& path,
                   bool read_only) {
    volumes.push_back({{"name", name}, {"persistentVolumeClaim", {{"claimName", claim_name}}}});
    mounts.push_back({{"name", name}, {"mountPath", path}, {"readOnly", read_only}});
  };
  claim("pgrunbook-archive", m.archive_claim, m.archive_mount, false);
  if (q.data != Mount::kNone) claim("pgrunbook-data", m.data_claim, m.mount, q.data == Mount::kReadOnly);
  if (!q.transcript_config_map.empty()) {
    volumes.push_back({{"name", "pgrunbook-transcript"}, {"configMap", {{"name", q.transcript_config_map}}}});
    mounts.push_back(
        {{"name", "pgrunbook-transcript"}, {"mountPath", "/pgrunbook-transcript"}, {"readOnly", true}});
  }

  Json env = Json::array(
      {{{"name", "PGRUNBOOK_ORDER"}, {"value", api::to_json(q.order).dump()}},
       {{"name", "PGRUNBOOK_POD_UID"}, {"valueFrom", {{"fieldRef", {{"fieldPath", "metadata.uid"}}}}}},
       {{"name", "TZ"}, {"value", "UTC"}},
       {{"name", "HOME"}, {"value", "/tmp"}}});
  // Images that find their server only through PATH or a library path set in the template (sclorg's older
  // ones).
  if (theirs != nullptr && at(*theirs, {"env"}).is_array()) {
    for (const Json& e : at(*theirs, {"env"})) {
      std::string name = text_at(e, {"name"});
      if ((name == "PATH" || name == "LD_LIBRARY_PATH") && e.contains("value")) env.push_back(e);
    }
  }

  Json security = at(pod, {"securityContext"}).is_object() ? at(pod, {"securityContext"}) : Json::object();
  security["runAsNonRoot"] = true;
  if (!security.contains("seccompProfile")) security["seccompProfile"] = {{"type", "RuntimeDefault"}};
  if (theirs != nullptr && at(*theirs, {"securityContext", "runAsUser"}).is_number()) {
    security["runAsUser"] = at(*theirs, {"securityContext", "runAsUser"});
  }
  if (security.contains("fsGroup")) security["fsGroupChangePolicy"] = "OnRootMismatch";

  Json agent = {{"name", "agent"},
                {"image", q.agent_image},
                {"imagePullPolicy", "IfNotPresent"},
                {"command", {"/usr/local/bin/pgrunbook-agent", "install", "/pgrunbook/pgrunbook-agent"}},
                {"securityContext", restricted()},
                {"resources", kSmall},
                {"volumeMounts", Json::array({{{"name", "pgrunbook-agent"}, {"mountPath", "/pgrunbook"}}})}};
  agent["resources"] = {{"requests", {{"cpu", "10m"}, {"memory", "64Mi"}}},
                        {"limits", {{"cpu", "200m"}, {"memory", "64Mi"}}}};
  Json work = {{"name", "work"},
               {"image", m.image},
               {"imagePullPolicy",
                theirs == nullptr ? "IfNotPresent" : text_at(*theirs, {"imagePullPolicy"}, "IfNotPresent")},
               {"command", {"/pgrunbook/pgrunbook-agent", "job"}},
               {"env", env},
               {"securityContext", restricted()},
               {"resources", resources},
               {"volumeMounts", mounts}};
  Json spec = {{"restartPolicy", "Never"},
               {"automountServiceAccountToken", false},
               {"enableServiceLinks", false},
               {"securityContext", security},
               {"terminationGracePeriodSeconds", 30},
               {"initContainers", Json::array({agent})},
               {"containers", Json::array({work})},
               {"volumes", volumes}};
  for (const char* key : {"nodeSelector", "affinity", "tolerations", "priorityClassName", "runtimeClassName",
                          "imagePullSecrets", "serviceAccountName", "hostAliases", "dnsConfig"}) {
    if (const Json& value = at(pod, {key}); !value.is_null()) spec[key] = value;
  }
  if (q.overrides != nullptr) {
    if (q.overrides->node_selector.is_object()) spec["nodeSelector"] = q.overrides->node_selector;
    if (q.overrides->tolerations.is_array()) spec["tolerations"] = q.overrides->tolerations;
  }
  // A running member's ReadWriteOnce volume can only be shared on its own node. By the node's name: its label
  // kubernetes.io/hostname may be another word (OpenShift on AWS), and the Job's pod would never be
  // scheduled.
  std::string node;
  for (const Json& p : m.pods) node = text_at(p, {"spec", "nodeName"}, node);
  if (q.data != Mount::kNone && !node.empty()) {
    Json& terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
                      ["nodeSelectorTerms"];
    if (!terms.is_array() || terms.empty()) terms = Json::array({Json::object()});
    for (Json& term : terms)
      term["matchFields"].push_back({{"key", "metadata.name"}, {"operator", "In"}, {"values", {node}}});
  }
  Json labels = job_labels(q.topology, q.order.action.uid, q.step,
                           q.overrides != nullptr ? q.overrides->labels : Json());
  Json job = {{"apiVersion", "batch/v1"},
              {"kind", "Job"},
              {"metadata", {{"name", q.name}, {"labels", labels}}},
              {"spec",
               {{"backoffLimit", 0},
                {"completions", 1},
                {"parallelism", 1},
                {"podReplacementPolicy", "Failed"},
                {"template",
                 {{"metadata",
                   {{"labels", labels},
                    {"annotations",
                     {{"sidecar.istio.io/inject", "false"},
                      {"cluster-autoscaler.kubernetes.io/safe-to-evict", "false"}}}}},
                  {"spec", spec}}}}}};
  if (q.owner.is_object()) job["metadata"]["ownerReferences"] = Json::array({q.owner});
  return job;
}

}  // namespace pgrunbook::specs
