#include <fmt/format.h>

#include "kube/client.hpp"

namespace pgrunbook::kube {

std::string Resource::path(std::string_view ns, std::string_view name) const {
  std::string p =
      group.empty() ? fmt::format("/api/{}", version) : fmt::format("/apis/{}/{}", group, version);
  if (!ns.empty()) p += fmt::format("/namespaces/{}", ns);
  p += "/" + plural;
  if (!name.empty()) p += fmt::format("/{}", name);
  return p;
}

namespace kinds {

const Resource kPod{"", "v1", "pods", "Pod"};
const Resource kService{"", "v1", "services", "Service"};
const Resource kSecret{"", "v1", "secrets", "Secret"};
const Resource kConfigMap{"", "v1", "configmaps", "ConfigMap"};
const Resource kPersistentVolumeClaim{"", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"};
const Resource kEvent{"", "v1", "events", "Event"};
const Resource kResourceQuota{"", "v1", "resourcequotas", "ResourceQuota"};
const Resource kLimitRange{"", "v1", "limitranges", "LimitRange"};
const Resource kDeployment{"apps", "v1", "deployments", "Deployment"};
const Resource kStatefulSet{"apps", "v1", "statefulsets", "StatefulSet"};
const Resource kJob{"batch", "v1", "jobs", "Job"};
const Resource kCronJob{"batch", "v1", "cronjobs", "CronJob"};
const Resource kLease{"coordination.k8s.io", "v1", "leases", "Lease"};
const Resource kNetworkPolicy{"networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"};
const Resource kEndpointSlice{"discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"};
const Resource kTopology{"pgrunbook.io", "v1alpha1", "postgrestopologies", "PostgresTopology"};
const Resource kBackup{"pgrunbook.io", "v1alpha1", "postgresbackups", "PostgresBackup"};
const Resource kRestore{"pgrunbook.io", "v1alpha1", "postgresrestores", "PostgresRestore"};
const Resource kFailover{"pgrunbook.io", "v1alpha1", "failovers", "Failover"};

}  // namespace kinds
}  // namespace pgrunbook::kube
