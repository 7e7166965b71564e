#include "controllers/caches.hpp"

#include "api/kinds.hpp"
#include "api/status.hpp"

namespace pgrunbook::controllers {

kube::Fields kept_of(const kube::Resource& kind) {
  kube::Fields fields = {
      {"metadata", "name"}, {"metadata", "namespace"}, {"metadata", "uid"}, {"metadata", "resourceVersion"}};
  auto keep = [&](std::vector<std::string> path) { fields.push_back(std::move(path)); };
  if (kind == kube::kinds::kPod) {
    keep({"metadata", "labels", api::kLabelActionUid});
    keep({"status", "containerStatuses", "name"});
    for (const char* field : {"exitCode", "finishedAt", "reason"})
      keep({"status", "containerStatuses", "state", "terminated", field});
    keep({"status", "containerStatuses", "state", "running", "startedAt"});
  } else if (kind == kube::kinds::kTopology) {
    keep({"metadata", "generation"});
    // What /metrics says (controllers/figures.cpp).
    for (const char* field : {"type", "status", "reason"}) keep({"status", "conditions", field});
    for (const char* field : {"ready", "oldestReadySeconds"}) keep({"status", "archiver", field});
    for (const char* field : {"earliest", "latest"}) keep({"status", "restorableWindow", field});
    keep({"status", "lastBackup", "time"});
  } else if (kind == kube::kinds::kDeployment || kind == kube::kinds::kStatefulSet) {
    keep({"metadata", "generation"});
  } else if (kind == kube::kinds::kBackup) {
    keep({"spec", "topologyRef", "name"});
    for (const char* field : {"phase", "stopTime", "backupID", "completionTime"}) keep({"status", field});
  } else if (kind == kube::kinds::kRestore || kind == kube::kinds::kFailover) {
    keep({"spec", "topologyRef", "name"});
    keep({"spec", "approvedPlan"});
    for (const char* field : {"phase", "completionTime"}) keep({"status", field});
  }
  return fields;
}

bool concerns(const runtime::Change& change) {
  return !change.after || !api::terminal(api::phase_from(base::text_at(*change.after, {"status", "phase"})));
}

}  // namespace pgrunbook::controllers
