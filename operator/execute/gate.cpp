#include "execute/gate.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "execute/duty.hpp"
#include "execute/jobs.hpp"
#include "plan/network.hpp"
#include "plan/transcript.hpp"

namespace pgrunbook::execute {

using base::at;
using base::ErrorCode;
using base::fail;
using base::text_at;

namespace {

// What may pass by itself is waited for this long before a person is called.
constexpr auto kPatience = std::chrono::seconds(20);

constexpr auto kRecordPatience = std::chrono::minutes(2);

bool young(const Action& a) {
  auto began = base::parse_time(a.status.start_time, "startTime");
  return began && base::now() - *began < kPatience;
}

struct Missing {
  std::string who, denied, yaml;
};

Missing missing(const std::string& who, const std::string& policy_name, const plan::Verdict& v,
                const Json& client, const plan::MemberView& server) {
  return {who,
          !v.egress && !v.ingress ? "egress and ingress"
          : v.egress              ? "ingress"
                                  : "egress",
          plan::missing_policy_yaml(v, policy_name, client, server.labels, server.port)};
}

StepResult blocked(const std::vector<Missing>& all, const plan::MemberView& server) {
  std::string who, yaml;
  for (const Missing& m : all) {
    who += fmt::format("{}{} ({} is denied)", who.empty() ? "" : ", nor ", m.who, m.denied);
    yaml += (yaml.empty() ? "" : "---\n") + m.yaml;
  }
  return StepResult::blocked(base::refused(
      "NetworkPolicyMissing",
      fmt::format("no NetworkPolicy lets {} reach member {} on port {}", who, server.name, server.port),
      "add this with kubectl apply, and it goes on by itself:\n" + yaml));
}

// "role: client" -> "role-client": part of a policy's name.
std::string name_of(const Json& labels) {
  std::string name;
  for (const auto& [key, value] : labels.items()) {
    for (char c : (name.empty() ? "" : "-") + key + "-" + value.get<std::string>()) {
      bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
      name += plain ? c : c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : '-';
    }
  }
  return name.substr(0, 100);
}

bool contains(const Json& labels, const Json& some) {
  return std::all_of(some.items().begin(), some.items().end(),
                     [&](const auto& item) { return at(labels, {item.key()}) == item.value(); });
}

// Whether the action that a Lease names is over: none of our kinds has an unfinished object with that uid,
// and no Lease keeps what it must put back.
Result<bool> holder_is_over(World& world, const std::string& uid) {
  for (const kube::Resource* kind :
       {&kube::kinds::kBackup, &kube::kinds::kRestore, &kube::kinds::kFailover}) {
    PGR_ASSIGN(Json list, world.api.list(*kind, world.ns, {}, World::soon()));
    for (const Json& object : at(list, {"items"})) {
      if (text_at(object, {"metadata", "uid"}) == uid)
        return api::terminal(api::phase_from(text_at(object, {"status", "phase"})));
    }
  }
  PGR_ASSIGN(Json list, world.api.list(kube::kinds::kTopology, world.ns, {}, World::soon()));
  for (const Json& object : at(list, {"items"})) {
    // A topology's uid also holds for leaving, which is known by its duty alone.
    if (text_at(object, {"metadata", "uid"}) != uid) continue;
    api::Phase setup = api::phase_from(text_at(object, {"status", "setup", "phase"}));
    if (!api::terminal(setup) && setup != api::Phase::kPending) return false;
  }
  // Its object has gone, but what it did may still have to be put back.
  PGR_ASSIGN(Json leases, our_leases(world));
  return std::none_of(leases.begin(), leases.end(), [&](const Json& lease) {
    return text_at(lease, {"spec", "holderIdentity"}) == uid &&
           !text_at(lease, {"metadata", "annotations", api::kAnnotationDuty}).empty();
  });
}

}  // namespace

Result<Json> network_policies(World& world) {
  auto list = world.api.list(kube::kinds::kNetworkPolicy, world.ns, {}, World::soon());
  if (!list) return fail(list.error().in("read NetworkPolicies"));
  return at(*list, {"items"});
}

std::optional<StepResult> network_gate(World& world, const std::string& who, const std::string& policy_name,
                                       const Json& client_labels, const plan::MemberView& server) {
  auto all = network_policies(world);
  if (!all) return StepResult::of(all.error());
  return network_gate(world, *all, who, policy_name, client_labels, server);
}

std::optional<StepResult> network_gate(const World& world, const Json& policies, const std::string& who,
                                       const std::string& policy_name, const Json& client_labels,
                                       const plan::MemberView& server) {
  plan::Verdict v =
      plan::network_verdict(policies, world.ns, client_labels, server.labels, server.port, server.port_names);
  if (v.allowed()) return std::nullopt;
  return blocked({missing(who, policy_name, v, client_labels, server)}, server);
}

std::optional<StepResult> clients_follow_gate(World& world, const plan::SceneView& scene,
                                              const plan::MemberView& from, const plan::MemberView& to) {
  auto all = network_policies(world);
  if (!all) return StepResult::of(all.error());
  // By the labels that policies name, then the applications that none of those covers.
  std::vector<std::pair<std::string, Json>> clients;
  for (const Json& labels : plan::admitted_clients(*all, from.labels))
    clients.emplace_back("clients labelled " + labels.dump(), labels);
  for (const plan::ApplicationView& app : scene.applications)
    clients.emplace_back("application " + app.workload.name, app.labels);
  std::vector<Missing> cut_off;
  std::vector<Json> named;
  for (const auto& [who, labels] : clients) {
    bool before =
        plan::network_verdict(*all, world.ns, labels, from.labels, from.port, from.port_names).allowed();
    plan::Verdict after = plan::network_verdict(*all, world.ns, labels, to.labels, to.port, to.port_names);
    if (!before || after.allowed()) continue;
    if (std::any_of(named.begin(), named.end(), [&](const Json& some) { return contains(labels, some); }))
      continue;
    named.push_back(labels);
    cut_off.push_back(missing(who, name_of(labels) + "-to-" + to.name, after, labels, to));
  }
  if (cut_off.empty()) return std::nullopt;
  return blocked(cut_off, to);
}

plan::PodWish wish_of(const plan::MemberView& member) {
  return {fmt::format("the pod of member {}", member.name), at(member.pod_template, {"spec"}), false};
}

std::optional<StepResult> room_gate(Action& a, const std::string& step, int attempt,
                                    const std::vector<plan::PodWish>& wishes) {
  auto job = a.world.api.get(kube::kinds::kJob, a.world.ns,
                             specs::job_name(a.kind, a.meta.uid, step, attempt), World::soon());
  if (job) return std::nullopt;
  if (job.error().code != ErrorCode::kNotFound) return StepResult::of(job.error());
  return room_for(a, wishes);
}

std::optional<StepResult> room_for(Action& a, const std::vector<plan::PodWish>& wishes) {
  auto quotas = a.world.api.list(kube::kinds::kResourceQuota, a.world.ns, {}, World::soon());
  if (!quotas) return StepResult::of(quotas.error().in("read ResourceQuotas"));
  auto ranges = a.world.api.list(kube::kinds::kLimitRange, a.world.ns, {}, World::soon());
  if (!ranges) return StepResult::of(ranges.error().in("read LimitRanges"));
  auto refusal = plan::no_room(at(*quotas, {"items"}), at(*ranges, {"items"}), wishes);
  if (!refusal) return std::nullopt;
  if (refusal->may_pass && young(a))
    return StepResult::waiting(refusal->error.text(), std::chrono::seconds(1));
  return StepResult::blocked(refusal->error);
}

std::optional<StepResult> strangers_gate(World& world, const std::string& service, const Json& selector,
                                         const plan::MemberView& to) {
  auto pods = world.api.list(kube::kinds::kPod, world.ns, {}, World::soon());
  if (!pods) return StepResult::of(pods.error());
  Json workloads = Json::array();
  for (const kube::Resource* kind : {&kube::kinds::kDeployment, &kube::kinds::kStatefulSet}) {
    auto list = world.api.list(*kind, world.ns, {}, World::soon());
    if (!list) return StepResult::of(list.error());
    for (Json item : at(*list, {"items"})) {
      item["kind"] = kind->kind;  // items of a list do not say it
      workloads.push_back(std::move(item));
    }
  }
  auto only = plan::leads_only_to(service, selector, to, at(*pods, {"items"}), workloads);
  if (!only) return StepResult::failed(only.error());
  return std::nullopt;
}

std::optional<StepResult> recreate_gate(const plan::MemberView& member) {
  if (member.recreate) return std::nullopt;
  return StepResult::failed(
      base::refused("RollingUpdate",
                    fmt::format("{} {} has strategy RollingUpdate: two pods could open one data directory",
                                member.workload.kind, member.workload.name),
                    "set spec.strategy.type: Recreate on the workload"));
}

StepResult not_connected(const Action& a, const Error& e) {
  if (e.reason == "Unreachable" && !young(a)) return StepResult::blocked(e);
  return StepResult::of(e);
}

StepResult hold_volumes(Action& a, std::vector<std::string> claim_uids) {
  // In one order whoever takes them: two actions that each hold what the other waits for would wait for ever.
  std::sort(claim_uids.begin(), claim_uids.end());
  for (const std::string& uid : claim_uids) {
    std::string name = lease_name(uid);
    auto lease = a.world.api.get(kube::kinds::kLease, a.world.ns, name, World::soon());
    if (!lease && lease.error().code != ErrorCode::kNotFound) return StepResult::of(lease.error());
    Json spec = {{"holderIdentity", a.meta.uid}};
    if (!lease) {
      Json made = {{"apiVersion", "coordination.k8s.io/v1"},
                   {"kind", "Lease"},
                   {"metadata", {{"name", name}, {"labels", {{"app.kubernetes.io/name", "pgrunbook"}}}}},
                   {"spec", spec}};
      auto created = a.world.api.create(kube::kinds::kLease, a.world.ns, made, World::soon());
      if (!created)
        return created.error().code == ErrorCode::kAlreadyExists ? StepResult::waiting("taking Lease " + name)
                                                                 : StepResult::of(created.error());
      continue;
    }
    std::string holder = text_at(*lease, {"spec", "holderIdentity"});
    if (holder == a.meta.uid) continue;
    auto over = holder.empty() ? Result<bool>(true) : holder_is_over(a.world, holder);
    if (!over) return StepResult::of(over.error());
    if (!*over) {
      return StepResult::waiting(
          fmt::format("another action (uid {}) works on the same volume; it comes first (Lease {})", holder,
                      name),
          std::chrono::seconds(2));
    }
    Json patch = {{"metadata", {{"resourceVersion", text_at(*lease, {"metadata", "resourceVersion"})}}},
                  {"spec", spec}};
    auto taken = a.world.api.patch(kube::kinds::kLease, a.world.ns, name, kube::PatchType::kMerge, patch, "",
                                   World::soon());
    if (!taken) return StepResult::of(taken.error());
  }
  return StepResult::done();
}

StepResult release_volumes(Action& a, const std::vector<std::string>& claim_uids) {
  for (const std::string& uid : claim_uids) {
    std::string name = lease_name(uid);
    auto lease = a.world.api.get(kube::kinds::kLease, a.world.ns, name, World::soon());
    if (!lease && lease.error().code != ErrorCode::kNotFound) return StepResult::of(lease.error());
    if (!lease || text_at(*lease, {"spec", "holderIdentity"}) != a.meta.uid) continue;
    auto removed = a.world.api.remove(kube::kinds::kLease, a.world.ns, name,
                                      text_at(*lease, {"metadata", "uid"}), World::soon());
    if (!removed && removed.error().code != ErrorCode::kNotFound) return StepResult::of(removed.error());
  }
  return StepResult::done();
}

StepResult record_action(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  std::string name = fmt::format("{}-{}-transcript", specs::kind_prefix(a.kind), a.meta.name);
  bool rolled_back = a.status.operation.rolling_back;
  std::string reason = text_at(a.status.operation.failure, {"reason"});
  std::string outcome = !rolled_back ? "Completed" : reason == "Cancelled" ? "Cancelled" : "Failed";
  if (a.result("transcript").is_null()) {
    Json data = {{"transcript.md", plan::transcript(a.kind, a.object, a.status, outcome)}};
    Json map = {
        {"apiVersion", "v1"},
        {"kind", "ConfigMap"},
        {"metadata",
         {{"name", name},
          {"labels", {{"app.kubernetes.io/name", "pgrunbook"}, {api::kLabelTopology, scene->topology}}}}},
        {"data", data}};
    auto created = a.world.api.create(kube::kinds::kConfigMap, a.world.ns, map, World::soon());
    if (!created && created.error().code == ErrorCode::kAlreadyExists) {
      created = a.world.api.patch(kube::kinds::kConfigMap, a.world.ns, name, kube::PatchType::kMerge,
                                  Json{{"data", data}}, "", World::soon());
    }
    if (!created) return StepResult::of(created.error().in("write ConfigMap " + name));
    a.status.operation.results["transcript"] = {{"configMap", name},
                                                {"time", base::format_time(base::now())}};
    a.status.extra["transcript"] = name;
    if (auto saved = a.save(a); !saved) return StepResult::of(saved.error());
  }
  const plan::MemberView* member = scene->member(scene->primary);
  if (member == nullptr) member = &scene->members.front();
  JobCall call;
  call.step = "record";
  call.job = api::jobs::kRecord;
  call.member = member;
  call.transcript_config_map = name;
  call.fill = [&](api::Order& o) {
    o.record.outcome = outcome;
    o.record.reason = reason;
    o.record.transcript_file = "/pgrunbook-transcript/transcript.md";
    o.record.summary = a.status.extra;
  };
  StepResult r = run_job(a, *scene, call);
  // Its Job goes on by itself once its pod can start: not archived is said only where that takes long.
  auto began = base::parse_time(text_at(a.result("transcript"), {"time"}), "time");
  if (r.kind == StepResult::Kind::kBlocked && began && base::now() - *began < kRecordPatience)
    return StepResult::waiting(r.error.text(), std::chrono::seconds(1));
  return r;
}

}  // namespace pgrunbook::execute
