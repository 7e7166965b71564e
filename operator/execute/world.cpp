#include "execute/world.hpp"

#include <fmt/format.h>

#include "base/hash.hpp"

namespace pgrunbook::execute {

using base::at;
using base::ErrorCode;
using base::fail;
using base::number_at;
using base::text_at;

void Terminations::observe(const Json& pod) {
  std::string uid = text_at(pod, {"metadata", "uid"});
  const Json& statuses = at(pod, {"status", "containerStatuses"});
  if (!statuses.is_array()) return;
  for (const Json& s : statuses) {
    const Json& ended = at(s, {"state", "terminated"});
    const std::string key = uid + "/" + text_at(s, {"name"});
    std::lock_guard lock(mutex_);
    if (at(s, {"state", "running"}).is_object())
      by_uid_.erase(key);  // started again: its former end proves nothing
    if (!ended.is_object()) continue;
    if (by_uid_.size() > 4096) by_uid_.erase(by_uid_.begin());
    by_uid_[key] = {{"exitCode", number_at(ended, {"exitCode"}, -1)},
                    {"finishedAt", text_at(ended, {"finishedAt"})},
                    {"reason", text_at(ended, {"reason"})}};
  }
}

Json Terminations::of(const std::string& pod_uid, const std::string& container) const {
  std::lock_guard lock(mutex_);
  auto found = by_uid_.find(pod_uid + "/" + container);
  return found == by_uid_.end() ? Json() : found->second;
}

bool Terminations::closed_before(const std::string& pod_uid) {
  std::lock_guard lock(mutex_);
  if (closed_.size() > 4096) closed_.clear();
  return !closed_.insert(pod_uid).second;
}

namespace {

// Twice the pause between two looks of a topology.
constexpr auto kLately = std::chrono::seconds(30);

std::string login_key(const sql::Target& t) {
  return fmt::format("{}@{}:{}/{} {}", t.user, t.host, t.port, t.database, base::sha256(t.password));
}

}  // namespace

void Approvals::observe(const Json& action) {
  std::string digest = text_at(action, {"spec", "approvedPlan"});
  if (digest.empty()) return;
  std::lock_guard lock(mutex_);
  by_uid_[text_at(action, {"metadata", "uid"})] = std::move(digest);
}

void Approvals::forget(const Json& action) {
  std::lock_guard lock(mutex_);
  by_uid_.erase(text_at(action, {"metadata", "uid"}));
}

std::string Approvals::seen(const std::string& uid) const {
  std::lock_guard lock(mutex_);
  auto found = by_uid_.find(uid);
  return found == by_uid_.end() ? "" : found->second;
}

void Logins::note(const sql::Target& target) {
  std::lock_guard lock(mutex_);
  auto now = clock_();
  std::erase_if(by_login_, [&](const auto& entry) { return now - entry.second > kLately; });
  by_login_[login_key(target)] = now;
}

bool Logins::lately(const sql::Target& target) const {
  std::lock_guard lock(mutex_);
  auto found = by_login_.find(login_key(target));
  return found != by_login_.end() && clock_() - found->second <= kLately;
}

StepResult StepResult::done(Json result) {
  StepResult r;
  r.kind = Kind::kDone;
  r.result = std::move(result);
  return r;
}
StepResult StepResult::waiting(std::string message, std::chrono::milliseconds again) {
  StepResult r;
  r.message = std::move(message);
  r.again = again;
  return r;
}
StepResult StepResult::failed(Error error) {
  StepResult r;
  r.kind = Kind::kFailed;
  r.error = std::move(error);
  return r;
}
StepResult StepResult::blocked(Error error) {
  StepResult r;
  r.kind = Kind::kBlocked;
  r.error = std::move(error);
  r.again = std::chrono::seconds(3);
  return r;
}
StepResult StepResult::of(const Error& e) {
  switch (e.code) {
    case ErrorCode::kUnavailable:
    case ErrorCode::kTimeout:
    case ErrorCode::kConflict:
    case ErrorCode::kInDoubt:
    case ErrorCode::kGone:
    case ErrorCode::kCancelled:
      return waiting(e.text(), std::chrono::seconds(1));
    case ErrorCode::kForbidden:
    case ErrorCode::kUnauthorized:
      return blocked(e);
    default:
      return failed(e);
  }
}

api::ActionRef Action::ref() const {
  return {kind, meta.name, meta.uid, api::spec_hash(at(object, {"spec"}))};
}

Json Action::owner_reference() const {
  if (owner.is_object()) return owner;
  return {{"apiVersion", api::kApiVersion},
          {"kind", kind},
          {"name", meta.name},
          {"uid", meta.uid},
          {"controller", true}};
}

namespace {

const kube::Resource& workload_kind(const api::WorkloadRef& w) {
  return w.kind == "StatefulSet" ? kube::kinds::kStatefulSet : kube::kinds::kDeployment;
}

Result<Json> get_workload(World& world, const api::WorkloadRef& w, const std::string& field) {
  auto found = world.api.get(workload_kind(w), world.ns, w.name, World::soon());
  if (!found && found.error().code == ErrorCode::kNotFound) {
    Error e = base::refused(
        "NoWorkload",
        fmt::format("{}: {} {} does not exist in namespace {}", field, w.kind, w.name, world.ns),
        "correct workloadRef, or create the workload");
    return fail(e);
  }
  return found;
}

std::vector<Json> pods_of(const Json& all, const api::WorkloadRef& workload, const Json& labels) {
  std::vector<Json> out;
  for (const Json& pod : at(all, {"items"})) {
    if (plan::pod_counts(pod) && plan::pod_of(pod, workload, labels)) out.push_back(pod);
  }
  return out;
}

Result<plan::SceneView> observe(World& world, const std::string& topology_name, const std::string& uid,
                                const Json& spec);

}  // namespace

Result<plan::SceneView> observe_scene(World& world, const std::string& topology_name) {
  auto topology = world.api.get(kube::kinds::kTopology, world.ns, topology_name, World::soon());
  if (!topology) {
    if (topology.error().code != ErrorCode::kNotFound) return fail(topology.error());
    return fail(base::refused(
        "NoTopology",
        fmt::format("PostgresTopology {} does not exist in namespace {}", topology_name, world.ns),
        "create it, or correct spec.topologyRef.name"));
  }
  PGR_ASSIGN(plan::SceneView scene, scene_of_topology(world, *topology));
  scene.topology_object = std::move(*topology);
  return scene;
}

Result<plan::SceneView> scene_of_topology(World& world, const Json& topology) {
  return observe(world, text_at(topology, {"metadata", "name"}), text_at(topology, {"metadata", "uid"}),
                 at(topology, {"spec"}));
}

StepResult no_member(const std::string& who) {
  return StepResult::failed(
      base::refused("NoMember", who + " is no longer in the topology", "put it back into spec.members"));
}

Result<plan::SceneView> scene_of(Action& a) {
  Json& in = a.status.operation.inputs;
  const api::Operation& op = a.status.operation;
  std::string name = text_at(in, {"topology"});
  bool carried_out = !a.status.plan.is_null() && (!op.step.empty() || op.state == "Approved");
  if (const Json& frozen = at(in, {"topologyObject"}); carried_out && frozen.is_object())
    return observe(a.world, name, text_at(frozen, {"uid"}), at(frozen, {"spec"}));
  PGR_ASSIGN(plan::SceneView scene, observe_scene(a.world, name));
  if (a.status.plan.is_null())
    in["topologyObject"] = {{"uid", scene.topology_uid}, {"spec", scene.topology_spec}};
  return scene;
}

namespace {

Result<plan::SceneView> observe(World& world, const std::string& topology_name, const std::string& uid,
                                const Json& spec) {
  plan::SceneView scene;
  scene.ns = world.ns;
  scene.topology = topology_name;
  scene.topology_uid = uid;
  scene.topology_spec = spec;
  PGR_ASSIGN(scene.spec, api::topology_spec(spec));
  PGR_ASSIGN(Json claims, world.api.list(kube::kinds::kPersistentVolumeClaim, world.ns, {}, World::soon()));
  std::map<std::string, std::string> claim_uids;
  for (const Json& c : at(claims, {"items"}))
    claim_uids[text_at(c, {"metadata", "name"})] = text_at(c, {"metadata", "uid"});
  PGR_ASSIGN(Json pods, world.api.list(kube::kinds::kPod, world.ns, {}, World::soon()));
  for (const api::Member& m : scene.spec.members) {
    PGR_ASSIGN(Json workload, get_workload(world, m.workload, fmt::format("member {}", m.name)));
    PGR_ASSIGN(plan::MemberView view,
               plan::member_view(m, scene.spec.archive, topology_name, workload, claim_uids));
    view.pods = pods_of(pods, m.workload, view.labels);
    scene.members.push_back(std::move(view));
  }
  PGR_TRY(plan::check_members(scene.members, at(claims, {"items"})));
  for (const api::SelectedService& s : scene.spec.services) {
    auto service = world.api.get(kube::kinds::kService, world.ns, s.name, World::soon());
    if (!service) {
      if (service.error().code != ErrorCode::kNotFound) return fail(service.error());
      return fail(base::refused("NoService",
                                fmt::format("Service {} does not exist in namespace {}", s.name, world.ns),
                                "correct spec.services"));
    }
    plan::ServiceView view;
    view.name = s.name;
    view.uid = text_at(*service, {"metadata", "uid"});
    view.manager = plan::managed_by(*service);
    view.steering = plan::steering_of(*service, plan::Field::kSelector);
    view.selector = at(*service, {"spec", "selector"});
    if (const Json& ports = at(*service, {"spec", "ports"}); ports.is_array() && !ports.empty()) {
      view.port = static_cast<int>(number_at(ports[0], {"port"}, 5432));
    }
    std::string selected = plan::selected_member(view.selector, scene.members);
    scene.primary = scene.services.empty() || scene.primary == selected ? selected : "";
    scene.services.push_back(std::move(view));
  }
  for (const api::WorkloadRef& w : scene.spec.applications) {
    PGR_ASSIGN(Json workload, get_workload(world, w, "application"));
    plan::ApplicationView view;
    view.workload = w;
    view.uid = text_at(workload, {"metadata", "uid"});
    view.manager = plan::managed_by(workload);
    view.steering = plan::steering_of(workload, plan::Field::kReplicas);
    view.replicas = static_cast<int>(number_at(workload, {"spec", "replicas"}, 1));
    view.replicas_before = plan::replicas_before(workload, 0);
    view.labels = at(workload, {"spec", "template", "metadata", "labels"});
    view.pods = pods_of(pods, w, view.labels);
    scene.applications.push_back(std::move(view));
  }
  return scene;
}

Result<std::string> secret_value(World& world, const std::string& secret, const std::string& key,
                                 const std::string& field) {
  bool ours = secret == api::kRolesSecret;
  auto object = world.api.get(kube::kinds::kSecret, world.ns, secret, World::soon());
  if (!object) {
    Error e = object.error();
    if (e.code == ErrorCode::kNotFound)
      e = base::refused("NoSecret", fmt::format("Secret {} does not exist in namespace {}", secret, world.ns),
                        ours ? "it comes with the chart and manifests/install.yaml; apply them again"
                             : "create it, or correct spec.connection.secretRef.name of the topology");
    if (e.code == ErrorCode::kForbidden)
      e.hint = fmt::format("add {} to the chart's value secretNames", secret);
    return fail(e);
  }
  std::string data = text_at(*object, {"data", key});
  if (data.empty()) {
    return fail(base::refused(
        "NoSecretKey", fmt::format("Secret {} has no key {}, or it is empty", secret, key),
        ours ? "it is filled when archiving is set up: set archive.wal.setup of the topology to "
               "ConfigureAndRestart"
             : fmt::format("correct spec.connection.secretRef.{} of the topology, or fill the key", field)));
  }
  return base::base64_decode(data);
}
}  // namespace

Result<std::string> pod_address(const plan::MemberView& member, Wanted wanted) {
  for (const Json& pod : member.pods) {
    std::string address = text_at(pod, {"status", "podIP"});
    if (!address.empty() && (wanted == Wanted::kEnding || plan::pod_ready(pod))) return address;
  }
  return fail(ErrorCode::kUnavailable, fmt::format("member {} has no ready pod", member.name));
}

Result<sql::Target> application_role(World& world, const plan::SceneView& scene) {
  const api::Connection& c = scene.spec.connection;
  sql::Target t;
  PGR_ASSIGN(t.user, secret_value(world, c.secret_name, c.username_key, "usernameKey"));
  PGR_ASSIGN(t.password, secret_value(world, c.secret_name, c.password_key, "passwordKey"));
  t.database = c.database;
  t.ssl_mode = c.ssl_mode;
  return t;
}

Result<sql::Target> application_login(World& world, const plan::SceneView& scene,
                                      const plan::MemberView& member, Wanted wanted) {
  PGR_ASSIGN(sql::Target t, application_role(world, scene));
  PGR_ASSIGN(t.host, pod_address(member, wanted));
  t.port = member.port;
  return t;
}

Result<sql::Target> role_login(World& world, const plan::SceneView& scene, const plan::MemberView& member,
                               Wanted wanted) {
  sql::Target t;
  t.user = "pgrunbook";
  PGR_ASSIGN(t.password, secret_value(world, api::kRolesSecret, "password", ""));
  PGR_ASSIGN(t.host, pod_address(member, wanted));
  t.port = member.port;
  t.ssl_mode = scene.spec.connection.ssl_mode;
  return t;
}

Result<> ensure_role_password(World& world) {
  PGR_ASSIGN(Json secret, world.api.get(kube::kinds::kSecret, world.ns, api::kRolesSecret, World::soon()));
  if (!text_at(secret, {"data", "password"}).empty()) return {};
  // The test on resourceVersion makes two operators agree on one password.
  Json patch = {{"metadata", {{"resourceVersion", text_at(secret, {"metadata", "resourceVersion"})}}},
                {"data", {{"password", base::base64(base::random_hex(24))}}}};
  auto patched = world.api.patch(kube::kinds::kSecret, world.ns, api::kRolesSecret, kube::PatchType::kMerge,
                                 patch, "", World::soon());
  if (!patched && patched.error().code != ErrorCode::kConflict) return fail(patched.error());
  return {};
}

}  // namespace pgrunbook::execute
