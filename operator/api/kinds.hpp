// The kinds of group pgrunbook.io/v1alpha1 as structs. crds/ holds the same fields as OpenAPI schemas; a test
// compares the two. Decoding is strict: a field of the spec that this version does not know is an error with
// reason UnknownField, because a newer CRD may have let it through and it may be a word that asks for care.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/job.hpp"
#include "base/json.hpp"
#include "base/time.hpp"

namespace pgrunbook::api {

inline constexpr const char* kGroup = "pgrunbook.io";
inline constexpr const char* kApiVersion = "pgrunbook.io/v1alpha1";
// Labels and annotations.
inline constexpr const char* kLabelTopology = "pgrunbook.io/topology";
inline constexpr const char* kLabelActionUid = "pgrunbook.io/action-uid";
inline constexpr const char* kLabelStep = "pgrunbook.io/step";
inline constexpr const char* kAnnotationReplicasBefore = "pgrunbook.io/replicas-before";
// On a topology: "<member>.<first 8 of the Failover's uid>", a person's word that this member is the primary
// although that Failover made another one so.
inline constexpr const char* kAnnotationAcceptPrimary = "pgrunbook.io/accept-primary";
// On a volume's Lease: the action that holds it, with all that putting back needs.
inline constexpr const char* kAnnotationDuty = "pgrunbook.io/duty";
// The Secret that keeps the password of the role pgrunbook (key "password"); the chart creates it empty.
inline constexpr const char* kRolesSecret = "pgrunbook-roles";

struct ObjectMeta {
  std::string name, namespace_name, uid;
  std::int64_t generation = 0;
  bool deleting = false;
  std::string creation_time;
};
[[nodiscard]] ObjectMeta meta_of(const Json& object);

struct WorkloadRef {
  std::string api_version = "apps/v1";
  std::string kind = "Deployment";  // Deployment | StatefulSet (one replica); applications also CronJob
  std::string name;
  bool operator==(const WorkloadRef&) const = default;
};

struct Member {
  std::string name;
  WorkloadRef workload;
  std::string container;       // empty = the only container
  std::string data_directory;  // empty = the container's PGDATA
  std::string when_standby = "ColdSpare";
};

struct SelectedService {
  std::string name;
  std::string selects = "Primary";
};

struct Connection {
  std::string secret_name;
  std::string username_key = "username";
  std::string password_key = "password";
  std::string database = "postgres";
  std::string ssl_mode = "prefer";  // disable | allow | prefer | require
};

struct Wal {
  std::string method = "Command";
  std::string setup = "Report";  // Report | ConfigureAndRestart
  bool replace_existing = false;
};

struct Archive {
  std::string claim_name;
  std::string path = ".";
  Wal wal;
};

struct JobOverrides {
  Json resources, node_selector, tolerations, labels;  // null = the member's own, or small defaults
};

struct TopologySpec {
  std::vector<Member> members;
  std::vector<SelectedService> services;
  std::vector<WorkloadRef> applications;
  Connection connection;
  Archive archive;
  JobOverrides jobs;

  [[nodiscard]] const Member* member(std::string_view name) const;
};

struct BackupSpec {
  std::string topology;
  std::string method = "Base";
  std::string type = "Full";
  std::string checkpoint = "Fast";
  std::string max_rate;
  std::string verify = "Manifest";
};

struct RestoreSpec {
  std::string topology;
  std::string source = "Latest";  // Latest | Backup
  std::string backup_name;        // of a PostgresBackup
  TargetOrder target;             // recoveryTarget; nothing set = latest
  std::string to_member;
  std::string salvage = "None";  // None | StoppedPrimary
  std::vector<Query> queries;
  std::vector<std::string> counts;
  std::string cutover = "None";         // None | Manual
  std::string mode = "Execute";         // Plan | Execute
  std::optional<std::string> approval;  // Required | None
  std::string approved_plan;
  bool cancel = false;
};

struct FailoverSpec {
  std::string topology;
  std::string type = "Cutover";
  std::string candidate;
  std::optional<std::string> approval;
  std::string approved_plan;
  bool cancel = false;
};

[[nodiscard]] Result<TopologySpec> topology_spec(const Json& spec);
[[nodiscard]] Result<BackupSpec> backup_spec(const Json& spec);
[[nodiscard]] Result<RestoreSpec> restore_spec(const Json& spec);
[[nodiscard]] Result<FailoverSpec> failover_spec(const Json& spec);

// First 16 hex digits of the SHA-256 of the spec without the fields that may change (approvedPlan, cancel):
// with the system identifier, kind and name it is the key under which an action happens once.
[[nodiscard]] std::string spec_hash(const Json& spec);

}  // namespace pgrunbook::api
