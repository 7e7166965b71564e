#include "support/fake_api.hpp"

#include <condition_variable>

#include <fmt/format.h>

#include "base/hash.hpp"

namespace pgrunbook::test {

using base::at;
using base::ErrorCode;
using base::fail;
using base::text_at;

namespace {

std::string prefix(const kube::Resource& r) { return r.plural + "." + r.group + "/"; }
std::string key(const kube::Resource& r, const std::string& name) { return prefix(r) + name; }

bool matches(const Json& object, const kube::ListOptions& o) {
  auto holds = [](const std::string& selector, const std::function<Json(const std::string&)>& value) {
    std::size_t start = 0;
    while (start < selector.size()) {
      std::size_t end = std::min(selector.find(',', start), selector.size());
      std::string term = selector.substr(start, end - start);
      std::size_t equals = term.find('=');
      if (equals == std::string::npos || value(term.substr(0, equals)) != Json(term.substr(equals + 1)))
        return false;
      start = end + 1;
    }
    return true;
  };
  return holds(o.label_selector,
               [&](const std::string& k) { return at(object, {"metadata", "labels", k}); }) &&
         holds(o.field_selector, [&](const std::string& k) {
           const Json* here = &object;
           std::size_t start = 0;
           while (start < k.size()) {
             std::size_t end = std::min(k.find('.', start), k.size());
             here = &at(*here, {k.substr(start, end - start)});
             start = end + 1;
           }
           return *here;
         });
}

bool has_status(const kube::Resource& r) {
  return r.group == "pgrunbook.io" || r.group == "apps" || r.group == "batch" || r.plural == "pods";
}

}  // namespace

std::string FakeApi::Call::text() const {
  return fmt::format("{} {}{}{}{}", verb, kind, name.empty() ? "" : "/", name,
                     subresource.empty() ? "" : "/" + subresource);
}

std::optional<base::Error> FakeApi::ask(const Call& call, Moment moment) {
  if (moment == Moment::kBefore) calls_.push_back(call);
  return fault ? fault(call, moment) : std::nullopt;
}

Json& FakeApi::store(const kube::Resource& r, Json object) {
  std::string name = text_at(object, {"metadata", "name"});
  Json& meta = object["metadata"];
  meta["namespace"] = tfrs::kNamespace;
  meta["resourceVersion"] = std::to_string(++version_);
  if (!meta.contains("uid")) meta["uid"] = fmt::format("{:08x}-{}-{}", ++uids_, r.plural, name);
  if (!meta.contains("creationTimestamp")) meta["creationTimestamp"] = base::format_time(base::now());
  auto old = objects_.find(key(r, name));
  std::int64_t generation =
      old == objects_.end() ? 0 : base::number_at(old->second, {"metadata", "generation"});
  bool changed = old == objects_.end() || at(old->second, {"spec"}) != at(object, {"spec"});
  meta["generation"] = generation + (changed ? 1 : 0);
  return objects_[key(r, name)] = std::move(object);
}

void FakeApi::tell(const kube::Resource& r, const Json& object) {
  if (react) react(*this, r, Json(object));
}

Json FakeApi::put(const kube::Resource& r, Json object) {
  std::lock_guard lock(mutex_);
  return store(r, std::move(object));
}

void FakeApi::erase(const kube::Resource& r, const std::string& name) {
  std::lock_guard lock(mutex_);
  objects_.erase(key(r, name));
}

void FakeApi::merge(const kube::Resource& r, const std::string& name, const Json& patch) {
  std::lock_guard lock(mutex_);
  Json object = objects_.at(key(r, name));
  object.merge_patch(patch);
  store(r, std::move(object));
}

Json FakeApi::peek(const kube::Resource& r, const std::string& name) const {
  std::lock_guard lock(mutex_);
  auto found = objects_.find(key(r, name));
  return found == objects_.end() ? Json() : found->second;
}

std::vector<Json> FakeApi::all(const kube::Resource& r) const {
  std::lock_guard lock(mutex_);
  std::vector<Json> out;
  for (const auto& [k, object] : objects_) {
    if (k.rfind(prefix(r), 0) == 0) out.push_back(object);
  }
  return out;
}

void FakeApi::set_log(const std::string& pod, const std::string& container, const std::string& text) {
  std::lock_guard lock(mutex_);
  logs_[pod + "/" + container] = text;
}

std::vector<FakeApi::Call> FakeApi::writes() const {
  std::lock_guard lock(mutex_);
  std::vector<Call> out;
  for (const Call& c : calls_) {
    if (c.is_write()) out.push_back(c);
  }
  return out;
}

std::vector<std::string> FakeApi::write_texts() const {
  std::vector<std::string> out;
  for (const Call& c : writes()) out.push_back(c.text());
  return out;
}

void FakeApi::forget_calls() {
  std::lock_guard lock(mutex_);
  calls_.clear();
}

base::Result<Json> FakeApi::get(const kube::Resource& r, const std::string&, const std::string& name,
                                base::Deadline) {
  std::lock_guard lock(mutex_);
  if (auto e = ask({"get", r.kind, name, "", Json()}, Moment::kBefore)) return fail(*e);
  auto found = objects_.find(key(r, name));
  if (found == objects_.end())
    return fail(ErrorCode::kNotFound, fmt::format("get {}/{}: not found", r.plural, name));
  return found->second;
}

base::Result<Json> FakeApi::list(const kube::Resource& r, const std::string&, const kube::ListOptions& o,
                                 base::Deadline) {
  std::lock_guard lock(mutex_);
  if (auto e = ask({"list", r.kind, "", "", Json()}, Moment::kBefore)) return fail(*e);
  Json items = Json::array();
  for (const Json& object : all(r)) {
    if (matches(object, o)) items.push_back(kube::only(object, o.keep));
  }
  return Json{{"items", items}, {"resourceVersion", std::to_string(version_)}};
}

base::Result<Json> FakeApi::create(const kube::Resource& r, const std::string&, const Json& object,
                                   base::Deadline) {
  std::lock_guard lock(mutex_);
  std::string name = text_at(object, {"metadata", "name"});
  Call call{"create", r.kind, name, "", object};
  if (auto e = ask(call, Moment::kBefore)) return fail(*e);
  if (objects_.count(key(r, name)) != 0)
    return fail(ErrorCode::kAlreadyExists, fmt::format("create {}/{}: already exists", r.plural, name));
  Json made = store(r, object);
  tell(r, made);
  if (auto e = ask(call, Moment::kAfter)) return fail(*e);
  return made;
}

base::Result<Json> FakeApi::patch(const kube::Resource& r, const std::string&, const std::string& name,
                                  kube::PatchType type, const Json& body, const std::string& subresource,
                                  base::Deadline) {
  std::lock_guard lock(mutex_);
  Call call{"patch", r.kind, name, subresource, body};
  if (auto e = ask(call, Moment::kBefore)) return fail(*e);
  auto found = objects_.find(key(r, name));
  if (found == objects_.end())
    return fail(ErrorCode::kNotFound, fmt::format("patch {}/{}: not found", r.plural, name));
  const Json old = found->second;
  Json next = old;
  if (type == kube::PatchType::kJson) {
    try {
      next = old.patch(body);
    } catch (const Json::exception&) {
      return fail(ErrorCode::kConflict,
                  fmt::format("patch {}/{}: a test of the patch does not hold", r.plural, name));
    }
  } else {
    std::string wanted = text_at(body, {"metadata", "resourceVersion"});
    if (!wanted.empty() && wanted != text_at(old, {"metadata", "resourceVersion"})) {
      return fail(ErrorCode::kConflict,
                  fmt::format("patch {}/{}: the object has been modified", r.plural, name));
    }
    next.merge_patch(body);
  }
  if (subresource == "status") {
    Json status = at(next, {"status"});
    next = old;
    next["status"] = status;
  } else if (has_status(r)) {
    next.erase("status");
    if (old.contains("status")) next["status"] = old["status"];
  }
  for (const char* fixed : {"uid", "name", "namespace", "resourceVersion"})
    next["metadata"][fixed] = old["metadata"][fixed];
  if (next != old) {  // a patch that changes nothing makes no new version
    next = store(r, next);
    tell(r, next);
    next = objects_.at(key(r, name));
  }
  if (auto e = ask(call, Moment::kAfter)) return fail(*e);
  return next;  // as it was then, whoever writes since
}

base::Result<> FakeApi::remove(const kube::Resource& r, const std::string&, const std::string& name,
                               const std::string& uid, base::Deadline) {
  std::lock_guard lock(mutex_);
  Call call{"remove", r.kind, name, "", Json()};
  if (auto e = ask(call, Moment::kBefore)) return fail(*e);
  auto found = objects_.find(key(r, name));
  if (found == objects_.end()) return {};
  if (!uid.empty() && text_at(found->second, {"metadata", "uid"}) != uid) {
    return fail(ErrorCode::kConflict,
                fmt::format("delete {}/{}: another object has that name", r.plural, name));
  }
  Json last = found->second;
  objects_.erase(found);
  last["metadata"]["deletionTimestamp"] = base::format_time(base::now());
  tell(r, last);
  if (auto e = ask(call, Moment::kAfter)) return fail(*e);
  return {};
}

base::Result<std::string> FakeApi::pod_log(const std::string&, const std::string& pod,
                                           const std::string& container, const kube::LogOptions& o,
                                           base::Deadline) {
  std::lock_guard lock(mutex_);
  Json asked = {{"tailLines", o.tail_lines}, {"sinceSeconds", o.since_seconds}, {"previous", o.previous}};
  if (auto e = ask({"log", "Pod", pod, "", asked}, Moment::kBefore)) return fail(*e);
  auto found = logs_.find(pod + "/" + container + (o.previous ? "/previous" : ""));
  if (found == logs_.end()) return fail(ErrorCode::kNotFound, "no log");
  return found->second;
}

base::Result<std::string> FakeApi::watch(const kube::Resource&, const std::string&, const kube::ListOptions&,
                                         const std::string&, const std::function<void(kube::WatchEvent)>&,
                                         std::stop_token stop) {
  std::mutex quiet;
  std::condition_variable_any wake;
  std::unique_lock lock(quiet);
  wake.wait(lock, stop, [] { return false; });
  return fail(ErrorCode::kCancelled, "asked to stop");
}

namespace tfrs {

Json deployment(const std::string& name, int replicas) {
  Json container = {
      {"name", "postgresql"},
      {"image", "registry.example/sclorg/postgresql-15:1"},
      {"imagePullPolicy", "IfNotPresent"},
      {"securityContext", {{"allowPrivilegeEscalation", false}, {"capabilities", {{"drop", {"ALL"}}}}}},
      {"resources",
       {{"requests", {{"cpu", "200m"}, {"memory", "256Mi"}}},
        {"limits", {{"cpu", "600m"}, {"memory", "256Mi"}}}}},
      {"ports", {{{"name", "postgresql"}, {"containerPort", 5432}}}},
      {"env",
       {{{"name", "PGDATA"}, {"value", "/var/lib/pgsql/data/userdata"}},
        {{"name", "POSTGRESQL_PASSWORD"},
         {"valueFrom", {{"secretKeyRef", {{"name", "postgresql"}, {"key", "database-password"}}}}}}}},
      {"volumeMounts",
       {{{"name", "data"}, {"mountPath", "/var/lib/pgsql/data"}},
        {{"name", "backup"}, {"mountPath", "/postgresql-backup"}},
        {{"name", "settings"}, {"mountPath", "/opt/app-root/src/postgresql-cfg"}}}}};
  Json spec = {{"automountServiceAccountToken", false},
               {"securityContext",
                {{"runAsNonRoot", true},
                 {"runAsUser", 1000230000},
                 {"fsGroup", 1000230000},
                 {"seccompProfile", {{"type", "RuntimeDefault"}}}}},
               {"containers", Json::array({container})},
               {"volumes",
                {{{"name", "data"}, {"persistentVolumeClaim", {{"claimName", name}}}},
                 {{"name", "backup"}, {"persistentVolumeClaim", {{"claimName", "postgresql-backup-cns"}}}},
                 {{"name", "settings"}, {"configMap", {{"name", name}}}}}}};
  return {{"apiVersion", "apps/v1"},
          {"kind", "Deployment"},
          {"metadata", {{"name", name}, {"uid", "uid-deployment-" + name}, {"labels", {{"name", name}}}}},
          {"spec",
           {{"replicas", replicas},
            {"strategy", {{"type", "Recreate"}}},
            {"selector", {{"matchLabels", {{"name", name}}}}},
            {"template", {{"metadata", {{"labels", {{"name", name}}}}}, {"spec", spec}}}}}};
}

Json application(int replicas) {
  return {{"apiVersion", "apps/v1"},
          {"kind", "Deployment"},
          {"metadata", {{"name", "tfrs"}, {"uid", "uid-deployment-tfrs"}}},
          {"spec",
           {{"replicas", replicas},
            {"selector", {{"matchLabels", {{"name", "tfrs"}}}}},
            {"template",
             {{"metadata", {{"labels", {{"name", "tfrs"}}}}},
              {"spec", {{"containers", {{{"name", "client"}}}}}}}}}}};
}

Json topology() {
  auto ref = [](const char* name) {
    return Json{{"apiVersion", "apps/v1"}, {"kind", "Deployment"}, {"name", name}};
  };
  return {
      {"apiVersion", "pgrunbook.io/v1alpha1"},
      {"kind", "PostgresTopology"},
      {"metadata", {{"name", "tfrs"}, {"uid", "uid-topology"}}},
      {"spec",
       {{"members",
         {{{"name", "postgresql"}, {"workloadRef", ref("postgresql")}},
          {{"name", "postgresql-standby"},
           {"workloadRef", ref("postgresql-standby")},
           {"whenStandby", "ColdSpare"}}}},
        {"services", {{{"name", "postgresql"}, {"selects", "Primary"}}}},
        {"applications", {{{"workloadRef", ref("tfrs")}}}},
        {"connection",
         {{"secretRef",
           {{"name", "postgresql"}, {"usernameKey", "database-user"}, {"passwordKey", "database-password"}}},
          {"database", "tfrs"},
          {"sslMode", "disable"}}},
        {"archive", {{"volume", {{"claimName", "postgresql-backup-cns"}}}}}}}};
}

Json service(const std::string& selected) {
  return {
      {"apiVersion", "v1"},
      {"kind", "Service"},
      {"metadata", {{"name", "postgresql"}, {"uid", "uid-service"}}},
      {"spec", {{"selector", {{"name", selected}}}, {"ports", {{{"name", "postgresql"}, {"port", 5432}}}}}}};
}

Json claim(const std::string& name) {
  return {{"apiVersion", "v1"},
          {"kind", "PersistentVolumeClaim"},
          {"metadata", {{"name", name}, {"uid", base::sha256(name).substr(0, 8) + "-claim-" + name}}}};
}

Json pod(const std::string& name, const Json& labels, const std::string& ip) {
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata",
           {{"name", name},
            {"uid", "uid-" + name},
            {"labels", labels},
            {"ownerReferences",
             {{{"kind", "ReplicaSet"}, {"name", base::text_at(labels, {"name"}) + "-7d4b9c"}}}}}},
          {"spec", {{"nodeName", "node1"}}},
          {"status",
           {{"phase", "Running"},
            {"podIP", ip},
            {"conditions", {{{"type", "Ready"}, {"status", "True"}}}},
            {"containerStatuses",
             {{{"name", "postgresql"},
               {"ready", true},
               {"restartCount", 0},
               {"state", {{"running", Json::object()}}}}}}}}};
}

Json terminating(Json pod) {
  pod["metadata"]["deletionTimestamp"] = "2026-11-20T15:00:00Z";
  return pod;
}

Json terminated(Json pod, int exit_code) {
  pod["status"]["containerStatuses"][0]["state"] = {{"terminated",
                                                     {{"exitCode", exit_code},
                                                      {"finishedAt", "2026-11-20T15:00:01Z"},
                                                      {"reason", exit_code == 0 ? "Completed" : "Error"}}}};
  return pod;
}

void put_scene(FakeApi& api) {
  namespace k = kube::kinds;
  api.put(k::kTopology, topology());
  api.put(k::kDeployment, deployment("postgresql", 1));
  api.put(k::kDeployment, deployment("postgresql-standby", 0));
  api.put(k::kDeployment, application(2));
  api.put(k::kService, service("postgresql"));
  for (const char* name : {"postgresql", "postgresql-standby", "postgresql-backup-cns"})
    api.put(k::kPersistentVolumeClaim, claim(name));
  api.put(k::kSecret, {{"metadata", {{"name", "postgresql"}}},
                       {"data",
                        {{"database-user", base::base64("tfrs")},
                         {"database-password", base::base64("application-secret")}}}});
  api.put(k::kSecret, {{"metadata", {{"name", "pgrunbook-roles"}}},
                       {"data", {{"password", base::base64("role-secret")}}}});
  api.put(k::kPod, pod("postgresql-1", {{"name", "postgresql"}}, "10.0.0.1"));
  api.put(k::kPod, pod("tfrs-1", {{"name", "tfrs"}}, "10.0.0.2"));
}

}  // namespace tfrs
}  // namespace pgrunbook::test
