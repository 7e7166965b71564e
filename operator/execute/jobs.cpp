#include "execute/jobs.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace pgrunbook::execute {

using base::at;
using base::ErrorCode;
using base::fail;
using base::number_at;
using base::text_at;

namespace {

constexpr auto kPodStart = std::chrono::seconds(20);
constexpr auto kLongJob = std::chrono::seconds(60);
constexpr auto kTryAgain = std::chrono::seconds(15);

const Json* container_status(const Json& pod, std::string_view list, std::string_view name) {
  const Json& all = at(pod, {"status", list});
  if (!all.is_array()) return nullptr;
  for (const Json& s : all) {
    if (text_at(s, {"name"}) == name) return &s;
  }
  return nullptr;
}

Result<Json> pod_of(Action& a, const std::string& job) {
  kube::ListOptions options;
  options.label_selector = "job-name=" + job;
  PGR_ASSIGN(Json pods, a.world.api.list(kube::kinds::kPod, a.world.ns, options, World::soon()));
  const Json& items = at(pods, {"items"});
  if (!items.is_array() || items.empty()) return Json();
  return items[0];
}

// Why a Job has no pod, or its pod does not start: the newest Warning about it.
std::string explain(Action& a, const std::string& name) {
  kube::ListOptions options;
  options.field_selector = "involvedObject.name=" + name;
  auto events = a.world.api.list(kube::kinds::kEvent, a.world.ns, options, World::soon());
  std::string newest, text;
  if (!events) return "";
  for (const Json& e : at(*events, {"items"})) {
    std::string when = text_at(e, {"lastTimestamp"});
    if (text_at(e, {"type"}) == "Warning" && when >= newest) {
      newest = when;
      text = text_at(e, {"reason"}) + ": " + text_at(e, {"message"});
    }
  }
  return text;
}

bool older_than(const Json& object, std::chrono::seconds age) {
  auto made = base::parse_time(text_at(object, {"metadata", "creationTimestamp"}), "creationTimestamp");
  return made && base::now() - *made > age;
}

Error error_of(const api::Answer& answer) {
  Error e = base::refused(answer.reason, answer.message, answer.hint);
  return e;
}

struct Ended : api::Answer {
  bool died = false;  // while it worked: nobody knows how far it came, and its claim is on the volume
};

// The Answer in the pod, or the reason why there is none. nullopt: not ended yet.
std::optional<Ended> ended(const Json& pod) {
  Ended lost;
  lost.outcome = api::Outcome::kFailed;
  if (const Json* init = container_status(pod, "initContainerStatuses", "agent")) {
    const Json& t = at(*init, {"state", "terminated"});
    // The kubelet gives that reason where it lost the container with the whole pod: then it may as well have
    // done its work, and the other one too.
    if (t.is_object() && number_at(t, {"exitCode"}) != 0 &&
        text_at(t, {"reason"}) != "ContainerStatusUnknown") {
      lost.reason = "AgentNotInstalled";
      lost.message = fmt::format("the agent could not be copied into the Job's pod: {} {}",
                                 text_at(t, {"reason"}), text_at(t, {"message"}));
      return lost;
    }
  }
  const Json* work = container_status(pod, "containerStatuses", "work");
  const Json& t = work == nullptr ? Json() : at(*work, {"state", "terminated"});
  if (!t.is_object()) {
    if (text_at(pod, {"status", "phase"}) == "Failed") {
      lost.died = true;
      lost.reason = text_at(pod, {"status", "reason"}, "PodFailed");
      lost.message =
          fmt::format("the Job's pod failed before it answered: {}", text_at(pod, {"status", "message"}));
      return lost;
    }
    return std::nullopt;
  }
  auto json = base::parse_json(text_at(t, {"message"}), "the Job's termination message");
  auto answer = json ? api::answer_from_json(*json) : Result<api::Answer>(fail(json.error()));
  if (answer) return Ended{*answer};
  lost.died = true;
  std::string reason = text_at(t, {"reason"}, "Error");
  const bool too_large = reason == "OOMKilled";
  lost.reason = too_large ? "JobOutOfMemory" : "JobDied";
  lost.message = fmt::format("the Job's container ended with exit code {} ({}) and left no answer",
                             number_at(t, {"exitCode"}, -1), reason);
  lost.hint = too_large ? "give the Jobs more memory: spec.jobs.resources of the topology"
                        : "look at the log of the Job's pod";
  return lost;
}

specs::JobRequest request_of(Action& a, const plan::SceneView& scene, const JobCall& call,
                             const std::string& name) {
  specs::JobRequest q;
  q.name = name;
  q.step = call.step;
  q.member = call.member;
  q.data = call.data;
  q.member_sized = call.member_sized;
  q.owner = a.owner_reference();
  q.topology = scene.topology;
  q.overrides = &scene.spec.jobs;
  q.agent_image = a.world.agent_image;
  q.transcript_config_map = call.transcript_config_map;
  if (call.with_application_login) q.connection = &scene.spec.connection;
  q.order.job = call.job;
  q.order.action = a.ref();
  q.order.repository = {call.member->repository, scene.topology, scene.topology_uid};
  api::MemberRef ref;
  ref.name = call.member->name;
  ref.mount = call.member->mount;
  ref.data_directory = call.member->data_directory;
  ref.claim_uid = call.member->data_claim_uid;
  ref.archive_mount_repository = call.member->repository;
  ref.host = call.host;
  ref.port = call.member->port;
  q.order.member = ref;
  if (call.fill) call.fill(q.order);
  return q;
}

std::string tries_of(const std::string& step) { return step + "-tries"; }

// A pod that is killed leaves its claim on the volume. It is noted while it is there: whoever comes later may
// find only the note, and without it could not break that claim.
void note_pod(Action& a, const std::string& step, const Json& pod) {
  if (std::string uid = text_at(pod, {"metadata", "uid"}); !uid.empty())
    a.status.operation.results[step + "-pod"] = {{"uid", uid}};
}
void note_try(Action& a, const std::string& step, const Json& pod) {
  std::string uid = text_at(pod, {"metadata", "uid"});
  if (uid.empty()) return;
  Json& pods = a.status.operation.results[tries_of(step)]["pods"];
  if (!pods.is_array()) pods = Json::array();
  if (std::find(pods.begin(), pods.end(), Json(uid)) == pods.end()) pods.push_back(uid);
}

// The next try may break the claims of those before it, which have all ended: only then is it made.
void name_former_tries(Action& a, const std::string& step, api::Order* order) {
  const Json& pods = at(a.result(tries_of(step)), {"pods"});
  if (!pods.is_array() || pods.empty()) return;
  Json all = pods;
  if (std::string first = text_at(order->undo, {"brokenClaim"}); !first.empty()) all.push_back(first);
  if (!order->undo.is_object()) order->undo = Json::object();
  order->undo["brokenClaim"] = all;
}

}  // namespace

plan::PodWish wish_of(Action& a, const plan::SceneView& scene, const JobCall& call) {
  Json job = specs::build_job(request_of(a, scene, call, "wish"));
  return {fmt::format("the pod of Job {}", call.step), at(job, {"spec", "template", "spec"}), true};
}

StepResult run_job(Action& a, const plan::SceneView& scene, const JobCall& call) {
  const std::string tries_key = tries_of(call.step);
  const bool tries_again = call.try_again || call.again_if_died;
  int tries = tries_again ? static_cast<int>(number_at(a.result(tries_key), {"count"})) : 0;
  std::string name = specs::job_name(a.kind, a.meta.uid, call.step, call.attempt + tries);
  auto job = a.world.api.get(kube::kinds::kJob, a.world.ns, name, World::soon());
  if (!job && job.error().code != ErrorCode::kNotFound)
    return StepResult::of(job.error().in("read Job " + name));
  if (!job) {
    if (auto held = call.gate ? call.gate() : std::nullopt) return *held;
    specs::JobRequest q = request_of(a, scene, call, name);
    if (tries_again) name_former_tries(a, call.step, &q.order);
    auto created = a.world.api.create(kube::kinds::kJob, a.world.ns, specs::build_job(q), World::soon());
    if (!created && created.error().code != ErrorCode::kAlreadyExists) {
      // Forbidden by quota or PodSecurity comes here as 403 with the rule's own words.
      return StepResult::of(created.error().in("create Job " + name));
    }
    return StepResult::waiting("starting Job " + name, std::chrono::milliseconds(400));
  }
  // Names have eight digits of a uid: another action's Job is neither read nor followed.
  if (std::string of = text_at(*job, {"metadata", "labels", api::kLabelActionUid});
      !of.empty() && of != a.meta.uid) {
    return StepResult::blocked(
        base::refused("JobNameTaken", fmt::format("Job {} is of another action (uid {})", name, of),
                      "delete that action once it has ended, or cancel this one and make a new one"));
  }
  // Every request to leave has the topology's uid: the Jobs of the one before go with its Lease.
  const Json& owners = at(*job, {"metadata", "ownerReferences"});
  if (a.flow == "Leave" && owners.is_array() && !owners.empty() &&
      text_at(owners.front(), {"uid"}) != text_at(a.owner_reference(), {"uid"}))
    return StepResult::waiting("waiting until Job " + name + " of an earlier request has gone");
  // Blocked with what this Job came to; the next look starts its successor once the pause is over. Pauses
  // grow, because each try leaves a Job behind and namespaces count them.
  auto next_try = [&](const Error& e) {
    if (older_than(*job, kTryAgain * (1 << std::min(tries, 5)))) {
      a.status.operation.results[tries_key]["count"] = tries + 1;
      if (auto saved = a.save(a); !saved) return StepResult::of(saved.error());
    }
    return StepResult::blocked(e);
  };
  auto pod = pod_of(a, name);
  if (!pod) return StepResult::of(pod.error());
  if (pod->is_null()) {
    if (const Json& conditions = at(*job, {"status", "conditions"}); conditions.is_array()) {
      for (const Json& c : conditions) {
        std::string type = text_at(c, {"type"});
        if ((type != "Failed" && type != "Complete") || text_at(c, {"status"}) != "True") continue;
        Error e =
            type == "Failed"
                ? base::refused(
                      "JobDied",
                      fmt::format("Job {} failed and its pod is gone: {}", name, text_at(c, {"message"})),
                      "somebody removed the pod; look at the namespace's events")
                : base::refused(
                      "AnswerLost",
                      fmt::format("Job {} is complete, but its pod is gone and with it the answer", name),
                      "somebody removed the pod; look at the namespace's events");
        return tries_again ? next_try(e) : StepResult::failed(e);
      }
    }
    if (!older_than(*job, kPodStart)) return StepResult::waiting("waiting for the pod of Job " + name);
    std::string why = explain(a, name);
    Error e = base::refused(
        "NoPodForJob", fmt::format("Job {} gets no pod: {}", name, why.empty() ? "no event says why" : why),
        "raise the ResourceQuota or lower spec.jobs.resources of the topology; it goes on by itself");
    return StepResult::blocked(e);
  }
  if (call.data == specs::Mount::kReadWrite) {
    if (tries_again) {
      note_try(a, call.step, *pod);
    } else {
      note_pod(a, call.step, *pod);
    }
  }
  if (auto answer = ended(*pod)) {
    switch (answer->outcome) {
      case api::Outcome::kSucceeded:
        return StepResult::done(answer->result);
      case api::Outcome::kBlocked:
        return call.try_again ? next_try(error_of(*answer)) : StepResult::blocked(error_of(*answer));
      default: {
        if (call.try_again || (call.again_if_died && answer->died)) return next_try(error_of(*answer));
        StepResult r = StepResult::failed(error_of(*answer));
        r.result = answer->result;
        return r;
      }
    }
  }
  // Deleting the action takes its Jobs along at once: who may have claimed the volume is noted while it can
  // be.
  if (call.data == specs::Mount::kReadWrite && tries == 0) {
    if (auto noted = claim_left_by(a, call.step, call.attempt + tries); !noted)
      return StepResult::of(noted.error());
  }
  const Json* work = container_status(*pod, "containerStatuses", "work");
  if (work == nullptr || !at(*work, {"state", "running"}).is_object()) {
    const Json& waiting = work == nullptr ? Json() : at(*work, {"state", "waiting"});
    std::string reason = text_at(waiting, {"reason"});
    bool cannot = reason == "ErrImagePull" || reason == "ImagePullBackOff" || reason == "ErrImageNeverPull" ||
                  reason == "InvalidImageName" || reason == "CreateContainerConfigError" ||
                  reason == "CreateContainerError" || reason == "RunContainerError";
    if (cannot || older_than(*pod, kPodStart)) {
      std::string why = explain(a, text_at(*pod, {"metadata", "name"}));
      return StepResult::blocked(base::refused(
          "PodDoesNotStart", fmt::format("the pod of Job {} does not start: {} {}", name, reason, why),
          why.find("run as root") != std::string::npos || why.find("non-root") != std::string::npos
              ? "Jobs never run as root: set securityContext.runAsUser in the member's pod template to the "
                "uid "
                "that owns the data directory"
              : "it goes on by itself once the pod can start"));
    }
    return StepResult::waiting("starting Job " + name, std::chrono::milliseconds(400));
  }
  auto log = a.world.api.pod_log(a.world.ns, text_at(*pod, {"metadata", "name"}), "work", {.tail_lines = 1},
                                 World::soon());
  // Only for the progress: its end is heard of at once, as its pod is watched.
  StepResult r = StepResult::waiting("Job " + name + " runs", older_than(*pod, kLongJob)
                                                                  ? std::chrono::milliseconds(5000)
                                                                  : std::chrono::milliseconds(1000));
  if (log) {
    auto json = base::parse_json(*log, "progress");
    auto progress = json ? api::progress_from_json(*json) : Result<api::Progress>(fail(json.error()));
    if (progress) {
      r.message = progress->message;
      if (progress->bytes_total > 0)
        r.progress_detail = {{"bytesDone", progress->bytes_done}, {"bytesTotal", progress->bytes_total}};
    }
  }
  return r;
}

Result<bool> job_running(Action& a, const std::string& step, int attempt) {
  PGR_ASSIGN(Json pod, pod_of(a, specs::job_name(a.kind, a.meta.uid, step, attempt)));
  if (pod.is_null()) return false;
  const Json* work = container_status(pod, "containerStatuses", "work");
  bool running = work != nullptr && at(*work, {"state", "running"}).is_object();
  if (running) note_pod(a, step, pod);
  return running;
}

Result<std::string> claim_left_by(Action& a, const std::string& step, int attempt) {
  const std::string key = step + "-pod";
  if (std::string known = text_at(a.result(key), {"uid"}); !known.empty()) return known;
  PGR_ASSIGN(Json pod, pod_of(a, specs::job_name(a.kind, a.meta.uid, step, attempt)));
  std::string uid = text_at(pod, {"metadata", "uid"});
  if (uid.empty()) return uid;
  a.status.operation.results[key] = {{"uid", uid}};
  PGR_TRY(a.save(a));
  return uid;
}

Result<> remove_job(Action& a, const std::string& step, int attempt) {
  return a.world.api.remove(kube::kinds::kJob, a.world.ns, specs::job_name(a.kind, a.meta.uid, step, attempt),
                            "", World::soon());
}

Result<std::optional<api::Answer>> job_answer(Action& a, const std::string& step, int attempt) {
  std::string name = specs::job_name(a.kind, a.meta.uid, step, attempt);
  auto job = a.world.api.get(kube::kinds::kJob, a.world.ns, name, World::soon());
  if (!job) return fail(job.error());
  PGR_ASSIGN(Json pod, pod_of(a, name));
  if (pod.is_null()) return std::optional<api::Answer>{};
  auto end = ended(pod);
  return end ? std::optional<api::Answer>(*end) : std::nullopt;
}

}  // namespace pgrunbook::execute
