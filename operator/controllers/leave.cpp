#include "controllers/leave.hpp"

#include <cstdio>
#include <thread>

#include <fmt/format.h>

#include "api/status.hpp"
#include "execute/duty.hpp"

namespace pgrunbook::controllers {

using base::at;
using base::ErrorCode;
using base::Json;
using base::Result;
using base::text_at;

namespace {

base::Deadline soon() { return base::Deadline::after(std::chrono::seconds(20)); }

std::string lease_of(const std::string& topology) { return "pgrunbook-leave-" + topology; }

// The request: a Lease with a duty that has not begun.
Result<Json> ask(kube::Api& api, const std::string& ns, const Json& topology) {
  std::string name = text_at(topology, {"metadata", "name"});
  Json duty = {{"kind", "PostgresTopology"},
               {"flow", "Leave"},
               {"metadata",
                {{"name", name},
                 {"namespace", ns},
                 {"uid", text_at(topology, {"metadata", "uid"})},
                 {"generation", 1}}},
               {"spec", at(topology, {"spec"})},
               {"status", Json::object()}};
  Json lease = {{"apiVersion", "coordination.k8s.io/v1"},
                {"kind", "Lease"},
                {"metadata",
                 {{"name", lease_of(name)},
                  {"labels", {{"app.kubernetes.io/name", "pgrunbook"}}},
                  {"annotations", {{api::kAnnotationDuty, duty.dump()}}}}},
                {"spec", {{"holderIdentity", text_at(topology, {"metadata", "uid"})}}}};
  return api.create(kube::kinds::kLease, ns, lease, soon());
}

// Objects that the actions of the topology left; whoever leaves may delete them, the operator may not.
Result<> remove_objects(kube::Api& api, const LeaveOptions& o,
                        const std::function<void(const std::string&)>& say) {
  kube::ListOptions of_topology;
  of_topology.label_selector =
      fmt::format("app.kubernetes.io/name=pgrunbook,{}={}", api::kLabelTopology, o.topology);
  for (const kube::Resource* kind : {&kube::kinds::kJob, &kube::kinds::kConfigMap}) {
    PGR_ASSIGN(Json list, api.list(*kind, o.namespace_name, of_topology, soon()));
    for (const Json& object : at(list, {"items"})) {
      std::string name = text_at(object, {"metadata", "name"});
      PGR_TRY(api.remove(*kind, o.namespace_name, name, "", soon()));
      say(fmt::format("removed {} {}", kind->kind, name));
    }
  }
  return {};
}

// The count kept for a person who scales a stopped member up by hand; a fenced one keeps it no longer either.
Result<> remove_annotations(kube::Api& api, const LeaveOptions& o, const Json& topology) {
  for (const char* list : {"members", "applications"}) {
    const Json& entries = at(topology, {"spec", list});
    if (!entries.is_array()) continue;
    for (const Json& entry : entries) {
      const kube::Resource& kind = text_at(entry, {"workloadRef", "kind"}) == "StatefulSet"
                                       ? kube::kinds::kStatefulSet
                                       : kube::kinds::kDeployment;
      std::string name = text_at(entry, {"workloadRef", "name"});
      auto workload = api.get(kind, o.namespace_name, name, soon());
      if (!workload && workload.error().code == ErrorCode::kNotFound) continue;
      if (!workload) return base::fail(workload.error());
      if (text_at(*workload, {"metadata", "annotations", api::kAnnotationReplicasBefore}).empty()) continue;
      Json patch = {{"metadata", {{"annotations", {{api::kAnnotationReplicasBefore, nullptr}}}}}};
      PGR_TRY(api.patch(kind, o.namespace_name, name, kube::PatchType::kMerge, patch, "", soon()));
    }
  }
  return {};
}

}  // namespace

Result<> leave(kube::Api& api, const LeaveOptions& o, const std::function<void(const std::string&)>& say) {
  const std::string& ns = o.namespace_name;
  auto topology = api.get(kube::kinds::kTopology, ns, o.topology, soon());
  if (!topology && topology.error().code == ErrorCode::kNotFound) {
    return base::fail(base::refused(
        "NoTopology", fmt::format("PostgresTopology {} does not exist in namespace {}", o.topology, ns),
        "create it again; it says where the members and the archive are"));
  }
  if (!topology) return base::fail(topology.error());
  std::string lease = lease_of(o.topology), told;
  auto asked = ask(api, ns, *topology);
  if (!asked && asked.error().code != ErrorCode::kAlreadyExists) return base::fail(asked.error());
  auto patience = base::Deadline::after(o.patience);
  while (true) {
    auto now = api.get(kube::kinds::kLease, ns, lease, soon());
    if (!now) return base::fail(now.error().in("look at the request, Lease " + lease));
    PGR_ASSIGN(auto duty, execute::duty_of(*now));
    if (!duty) return base::fail(ErrorCode::kInvalid, fmt::format("Lease {} is no request", lease));
    api::ActionStatus status = api::status_of(duty->object);
    if (api::terminal(status.phase)) {
      PGR_TRY(api.remove(kube::kinds::kLease, ns, lease, "", soon()));
      bool of_an_earlier_request = !asked && told.empty();
      if (of_an_earlier_request) return leave(api, o, say);
      if (status.phase != api::Phase::kCompleted) {
        base::Error e = base::refused(status.reason, status.message);
        return base::fail(e);
      }
      PGR_TRY(remove_annotations(api, o, *topology));
      PGR_TRY(remove_objects(api, o, say));
      say(status.message);
      say(fmt::format("To forget the topology: kubectl delete postgrestopology {} -n {}", o.topology, ns));
      return {};
    }
    if (!status.message.empty() && status.message != told) {
      told = status.message;
      say(fmt::format("{} {}: {}", api::to_string(status.phase), status.progress, told));
    }
    if (told.empty() && patience.passed()) {
      if (auto r = api.remove(kube::kinds::kLease, ns, lease, "", soon()); !r) return base::fail(r.error());
      return base::fail(
          base::refused("NoOperator", fmt::format("no operator in namespace {} takes the request up", ns),
                        "leaving is the operator's work: install the chart pgrunbook, leave, uninstall"));
    }
    std::this_thread::sleep_for(o.poll);
  }
}

int run_leave(const LeaveOptions& options) {
  LeaveOptions o = options;
  auto config =
      o.kubeconfig.empty() ? kube::Config::in_cluster() : kube::Config::from_kubeconfig(o.kubeconfig);
  if (!config) {
    std::fprintf(stderr, "pgrunbook: %s\n", config.error().text().c_str());
    return 1;
  }
  if (o.namespace_name.empty()) o.namespace_name = config->namespace_name;
  if (o.namespace_name.empty()) {
    std::fprintf(stderr, "pgrunbook: no namespace. HINT: give --namespace\n");
    return 1;
  }
  std::unique_ptr<kube::Api> api = kube::connect(*config);
  auto left = leave(*api, o, [](const std::string& line) {
    std::puts(line.c_str());
    std::fflush(stdout);
  });
  if (left) return 0;
  std::fprintf(stderr, "pgrunbook: %s\n", left.error().text().c_str());
  return 1;
}

}  // namespace pgrunbook::controllers
