// Builds the Jobs. A Job runs in the member's own image, with our agent copied in by an init container, as
// the uid of the member's template, under PodSecurity restricted, without an API token, and with nothing of
// the member's labels.
#pragma once

#include <string>

#include "api/kinds.hpp"
#include "plan/scene.hpp"

namespace pgrunbook::specs {

using api::Json;

enum class Mount { kNone, kReadOnly, kReadWrite };

struct JobRequest {
  std::string name;
  std::string step;
  api::Order order;
  const plan::MemberView* member = nullptr;  // image, uid, node rules, volumes
  Mount data = Mount::kNone;                 // the member's data volume
  bool member_sized = false;                 // recovery: the member's own resources; else small defaults
  Json owner;                                // ownerReference of the action, or null
  std::string topology;
  std::string transcript_config_map;  // mounted at /pgrunbook-transcript
  const api::JobOverrides* overrides = nullptr;
  std::string agent_image;  // PGRUNBOOK_IMAGE
  const api::Connection* connection = nullptr;
};

// `<pgb|pgr|pgf|pgt>-<uid8>-<step>-<attempt>`: the same action and step always give the same name, so a
// second operator gets AlreadyExists instead of a second Job.
[[nodiscard]] std::string job_name(const std::string& kind, const std::string& uid, const std::string& step,
                                   int attempt);
[[nodiscard]] std::string kind_prefix(const std::string& kind);

[[nodiscard]] Json build_job(const JobRequest& request);
// Labels of every Job's pod; NetworkPolicies of the chart select them.
[[nodiscard]] Json job_labels(const std::string& topology, const std::string& action_uid,
                              const std::string& step, const Json& extra);

// Memory limit of the Job in MiB, 0 = none.
[[nodiscard]] int memory_mib(const Json& resources);

}  // namespace pgrunbook::specs
