// The API server as the rest of the program sees it: objects as JSON, every call with a deadline, every
// failure a base::Error. Api is the seam: the real client speaks HTTP, a later "run from files" keeps objects
// on disk.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "kube/keep.hpp"

namespace pgrunbook::kube {

using base::Deadline;
using base::Json;
using base::Result;

// A kind as the API server addresses it.
struct Resource {
  std::string group;    // "" for core
  std::string version;  // "v1"
  std::string plural;   // "pods"
  std::string kind;     // "Pod"

  // "/apis/batch/v1/namespaces/ns/jobs", "/api/v1/namespaces/ns/pods/name"; an empty ns means all or
  // cluster-scoped.
  [[nodiscard]] std::string path(std::string_view ns, std::string_view name = {}) const;
  [[nodiscard]] std::string api_version() const { return group.empty() ? version : group + "/" + version; }
  bool operator==(const Resource&) const = default;
};

enum class PatchType { kMerge, kJson, kApply };

struct ListOptions {
  std::string label_selector{};
  std::string field_selector{};
  Fields keep{};  // what of each object is wanted; the rest never takes memory. None: everything
};

// Which part of a container's log. Bytes are counted from the first of the lines asked for.
struct LogOptions {
  int tail_lines = 100;
  int limit_bytes = 1 << 20;
  int since_seconds = 0;  // 0: however old
  bool previous = false;  // of the container's last life
};

struct WatchEvent {
  enum class Type { kAdded, kModified, kDeleted, kBookmark };
  Type type = Type::kAdded;
  Json object;
};

class Api {
 public:
  virtual ~Api() = default;
  // kNotFound where the object or the kind does not exist.
  [[nodiscard]] virtual Result<Json> get(const Resource& r, const std::string& ns, const std::string& name,
                                         Deadline d) = 0;
  // Every item, read in pages of 100. The returned object is {"items": [...], "resourceVersion": "..."}.
  [[nodiscard]] virtual Result<Json> list(const Resource& r, const std::string& ns, const ListOptions& o,
                                          Deadline d) = 0;
  // kAlreadyExists where the name is taken; kInDoubt where the reply was lost (read the object to learn
  // more).
  [[nodiscard]] virtual Result<Json> create(const Resource& r, const std::string& ns, const Json& object,
                                            Deadline d) = 0;
  // kConflict where metadata.resourceVersion in the body, or a JSON patch "test", no longer holds.
  // subresource: "", "status" or "scale". kApply needs `field_manager` (default "pgrunbook") and forces
  // nothing.
  [[nodiscard]] virtual Result<Json> patch(const Resource& r, const std::string& ns, const std::string& name,
                                           PatchType type, const Json& body, const std::string& subresource,
                                           Deadline d) = 0;
  // Deletes with a uid precondition ("" = none), propagation Background. A missing object is success.
  [[nodiscard]] virtual Result<> remove(const Resource& r, const std::string& ns, const std::string& name,
                                        const std::string& uid, Deadline d) = 0;
  // The last lines of a container's log.
  [[nodiscard]] virtual Result<std::string> pod_log(const std::string& ns, const std::string& pod,
                                                    const std::string& container, const LogOptions& o,
                                                    Deadline d) = 0;
  // Watches from a resourceVersion until the server ends the stream (returns the last resourceVersion seen),
  // the stream breaks (kUnavailable), the position is too old (kGone) or `stop` is asked (kCancelled).
  [[nodiscard]] virtual Result<std::string> watch(const Resource& r, const std::string& ns,
                                                  const ListOptions& o, const std::string& resource_version,
                                                  const std::function<void(WatchEvent)>& on_event,
                                                  std::stop_token stop) = 0;
};

// The kinds this program speaks of.
namespace kinds {
extern const Resource kPod, kService, kSecret, kConfigMap, kPersistentVolumeClaim, kEvent, kResourceQuota,
    kLimitRange;
extern const Resource kDeployment, kStatefulSet, kJob, kCronJob, kLease, kNetworkPolicy, kEndpointSlice;
extern const Resource kTopology, kBackup, kRestore, kFailover;  // ours
}  // namespace kinds

// Where the API server is and who we are. Tokens and CAs are read again from their files as they rotate.
struct Config {
  std::string server;        // https://host:port
  std::string ca_file{};     // PEM; the only trusted authority, read again for each connection
  std::string token_file{};  // bearer token, read again at least every 60 s and after a 401
  std::string client_certificate_file{}, client_key_file{};
  std::string namespace_name{};
  // What a kubeconfig carries in itself instead of a file; kept in memory, wins over the file.
  std::string ca_data{}, client_certificate_data{}, client_key_data{}, token{};

  // From the service account's mount and KUBERNETES_SERVICE_*; kNotFound outside a pod. An IPv6 address is
  // replaced by the DNS name kubernetes.default.svc (cpprestsdk cannot use literals).
  [[nodiscard]] static Result<Config> in_cluster();
  [[nodiscard]] static Result<Config> in_cluster_from(const std::string& mount, const std::string& host,
                                                      const std::string& port);
  // kInvalid with a HINT for what we do not speak: exec plugins, passwords, skipped verification.
  [[nodiscard]] static Result<Config> from_kubeconfig(const std::string& path);
};

// Makes no connection yet: what is wrong with the configuration is the error of the first call. Thread-safe
// to use; the first call of connect() in a process must come before other threads start (it sets environment
// variables).
[[nodiscard]] std::unique_ptr<Api> connect(const Config& config);
// The same over one connection that stays, for a Lease: a write may be sent twice, so it is only for writes
// that say which version they replace.
[[nodiscard]] std::unique_ptr<Api> connect_for_lease(const Config& config);

}  // namespace pgrunbook::kube
