// What a topology's objects say, read off their JSON. Pure: observe (in execute) fetches, this understands.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "api/kinds.hpp"
#include "plan/steering.hpp"

namespace pgrunbook::plan {

using api::Json;
using api::Result;

// One member as its workload's template describes it.
struct MemberView {
  std::string name;
  api::WorkloadRef workload;
  std::string workload_uid;
  std::string manager;      // who else manages the workload (managed_by)
  Steering steering;        // of its replicas
  int replicas = 0;         // wanted
  int replicas_before = 1;  // from the annotation, else 1
  Json pod_template;        // .spec.template
  Json labels;              // of the pods
  std::string container;
  std::string image;
  std::string data_directory;
  std::string mount;  // where the data volume is mounted
  std::string data_claim, data_claim_uid;
  std::string archive_claim;
  std::string archive_mount;  // where the archive's claim is mounted
  std::string repository;     // <archive_mount>/<path>/<topology>
  bool recreate = true;       // strategy Recreate, or a StatefulSet
  int port = 5432;
  std::vector<std::string> port_names;  // under which NetworkPolicies and Services may name that port
  std::vector<Json> pods;               // live, those of this workload, not finished
};

struct ServiceView {
  std::string name, uid, manager;
  Steering steering;  // of its selector
  Json selector;
  int port = 5432;  // the service's own port
};

struct ApplicationView {
  api::WorkloadRef workload;
  std::string uid, manager;
  Steering steering;  // of its replicas
  int replicas = 0;
  int replicas_before = 0;  // from the annotation, 0 = none
  Json labels;
  std::vector<Json> pods;
};

struct SceneView {
  std::string ns, topology, topology_uid;
  api::TopologySpec spec;
  Json topology_spec;    // the same, as it was read
  Json topology_object;  // the whole of it, where this scene was read with it; null where an action kept its
                         // own
  std::vector<MemberView> members;
  std::vector<ServiceView> services;
  std::vector<ApplicationView> applications;
  std::string
      primary;  // name of the member that every Service selects; empty where they disagree or select none

  [[nodiscard]] const MemberView* member(std::string_view name) const;
};

// Reads a member off its workload. Errors name the field of the topology and what to write there.
[[nodiscard]] Result<MemberView> member_view(const api::Member& member, const api::Archive& archive,
                                             const std::string& topology, const Json& workload,
                                             const std::map<std::string, std::string>& claim_uids);

// Refused where the claims or the members' labels make two members one, or a claim will not last.
[[nodiscard]] Result<> check_members(const std::vector<MemberView>& members, const Json& claims);

// Whether a live pod is this workload's: by its labels and by who made it. A pod that nobody made counts by
// its labels alone.
[[nodiscard]] bool pod_of(const Json& pod, const api::WorkloadRef& workload, const Json& template_labels);

// Under which an application's count is kept: its name, and its kind too where another kind has the same one.
[[nodiscard]] std::string application_key(const SceneView& scene, const ApplicationView& app);
// The count kept for it, whether or not another kind had that name then; 0 where none is.
[[nodiscard]] int kept_count(const Json& counts, const ApplicationView& app);

// All addresses of a pod: one per family where the cluster has two.
[[nodiscard]] std::vector<std::string> pod_addresses(const Json& pod);

// The ready endpoints of a Service's EndpointSlices (one slice or more for each address family that it has),
// in order; and whether they are exactly the addresses, in those families, of the pods here that are ready.
struct Endpoints {
  std::vector<std::string> ready;
  bool of_the_pods = false;
};
[[nodiscard]] Endpoints endpoints_of(const Json& slices, const std::vector<Json>& pods);

// Why the Services name no primary, for the person who has to mend it. Only where scene.primary is empty.
[[nodiscard]] base::Error no_primary(const SceneView& scene);

// The member whose pod labels a selector matches; empty where none or several do.
[[nodiscard]] std::string selected_member(const Json& selector, const std::vector<MemberView>& members);

// The Service's selector once `to` is primary: the old keys with the new member's values. Refused where the
// new member lacks a key, where nothing would change, or where the result would also match another member.
[[nodiscard]] Result<Json> switched_selector(const ServiceView& service, const MemberView& to,
                                             const std::vector<MemberView>& members);

// Refused where a selector would lead the Service to pods that are not of `to`: those that run, and those
// that another workload (a list of Deployments and StatefulSets) would make.
[[nodiscard]] Result<> leads_only_to(const std::string& service, const Json& selector, const MemberView& to,
                                     const Json& pods, const Json& workloads);

// The count that a workload of ours had before we scaled it, off its annotation; `otherwise` where there is
// none.
[[nodiscard]] int replicas_before(const Json& workload, int otherwise);

// Pods of a workload that still count: not Succeeded or Failed.
[[nodiscard]] bool pod_counts(const Json& pod);
[[nodiscard]] bool pod_ready(const Json& pod);

}  // namespace pgrunbook::plan
