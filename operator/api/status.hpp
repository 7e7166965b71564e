// The status that every action (PostgresBackup, PostgresRestore, Failover) shows, and its conditions.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "base/time.hpp"

namespace pgrunbook::api {

using base::Json;
using base::Result;

// design: Failed and Cancelled are entered only at a safe point; Blocked means a person is needed and the
// work is safe.
enum class Phase {
  kPending,
  kPlanning,
  kAwaitingApproval,
  kRunning,
  kPaused,
  kBlocked,
  kRollingBack,
  kCompleted,
  kFailed,
  kCancelled
};
[[nodiscard]] std::string_view to_string(Phase phase);
[[nodiscard]] Phase phase_from(std::string_view text);  // unknown or empty = kPending
[[nodiscard]] bool terminal(Phase phase);

enum class StepKind { kConvergent, kIrreversible };

struct PlannedStep {
  std::string name;
  StepKind kind = StepKind::kConvergent;
  std::string text;  // the sentence for people
};

// What is being done, written before it is done. `inputs` are frozen when the plan is made.
struct Operation {
  int format = 1;
  std::string step;   // name of the current step
  std::string state;  // "" | Intent | Done; of the current step
  int attempt = 1;    // of the planning Job
  bool rolling_back = false;
  bool past_no_return = false;
  Json inputs = Json::object();
  Json results = Json::object();  // step -> result
  Json log = Json::array();       // [{step, text, startTime, endTime, outcome}], what the transcript tells
  Json failure;                   // {reason, message, hint} of what made us roll back, or null
  Json unknown = Json::object();  // what another version wrote: kept as it is
};

struct ActionStatus {
  Phase phase = Phase::kPending;
  std::string step, progress, message, reason;
  std::string safe_point;
  Json progress_detail;
  Json plan;  // {digest, facts, steps, dataAtStake?, gitChanges?} or null
  Operation operation;
  std::string start_time, completion_time;
  std::int64_t observed_generation = 0;
  Json conditions = Json::array();
  Json extra = Json::object();  // fields of the kind: backupID, reached, fence, ...

  // The conditions of kstatus plus Finished, from phase, reason and message (table in docs/status.md).
  void set_conditions(std::int64_t generation, const std::string& now);
};

[[nodiscard]] ActionStatus status_of(const Json& object);
[[nodiscard]] Json to_json(const ActionStatus& status);

// Sets one condition in a list, keeping lastTransitionTime while the status stays the same.
void set_condition(Json* conditions, std::string_view type, std::string_view status, std::string_view reason,
                   std::string_view message, std::int64_t generation, const std::string& now);
void remove_condition(Json* conditions, std::string_view type);
[[nodiscard]] std::string condition_status(const Json& conditions, std::string_view type);

[[nodiscard]] Json to_json(const std::vector<PlannedStep>& steps);

}  // namespace pgrunbook::api
