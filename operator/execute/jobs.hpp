// Runs one Job to its Answer. The pod's terminated state is the result, not the Job's condition, which
// follows seconds later and says less.
#pragma once

#include "execute/world.hpp"
#include "plan/room.hpp"
#include "specs/job.hpp"

namespace pgrunbook::execute {

struct JobCall {
  std::string step;                // part of the Job's name
  std::string job;                 // api::jobs::...
  const plan::MemberView* member;  // whose image and volumes
  specs::Mount data = specs::Mount::kNone;
  bool member_sized = false;
  bool with_application_login = false;
  std::string host;  // for jobs that connect
  std::function<void(api::Order&)> fill{};
  std::string transcript_config_map{};
  int attempt = 1;
  std::function<std::optional<StepResult>()> gate{};  // asked before the Job is made, and never again
  // Where there is no way back from failing (putting back, and what follows the point of no return): a Job
  // that failed is Blocked and tried again under the next number, for ever.
  bool try_again = false;
  // A Job that died unanswered is tried again likewise, one that answered has failed: for work that goes on
  // where it was left.
  bool again_if_died = false;
};

// kDone with the Answer's result; kFailed with its reason; kWaiting with the last progress line; kBlocked
// where no pod can start (quota, scheduling, image), explained from the events.
[[nodiscard]] StepResult run_job(Action& a, const plan::SceneView& scene, const JobCall& call);

// What such a Job asks of the namespace, for room_gate().
[[nodiscard]] plan::PodWish wish_of(Action& a, const plan::SceneView& scene, const JobCall& call);

// Whether the Job exists, and its main container is running now.
[[nodiscard]] Result<bool> job_running(Action& a, const std::string& step, int attempt);
// The pod of a Job, noted before that is removed: as it is now, or was seen last. A pod that was killed
// leaves its claim on the volume, and only an order that names that pod may break it: what to set as
// Order::undo.brokenClaim; "" where there was no pod.
[[nodiscard]] Result<std::string> claim_left_by(Action& a, const std::string& step, int attempt);
// Removes a Job and its pod (Background); waits for nothing.
[[nodiscard]] Result<> remove_job(Action& a, const std::string& step, int attempt);
// The Answer of a finished Job, kNotFound where there is no such Job.
[[nodiscard]] Result<std::optional<api::Answer>> job_answer(Action& a, const std::string& step, int attempt);

}  // namespace pgrunbook::execute
