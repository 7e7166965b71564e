// One Job to its Answer: whatever the kubelet, the quota or a person does to its pod.
#include "execute/jobs.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/execute/bench.hpp"

namespace pgrunbook::execute {
namespace {

namespace k = kube::kinds;
namespace tfrs = test::tfrs;
using base::at;
using base::text_at;
using test::Bench;
using test::FakeApi;
using ::testing::ElementsAre;
using Kind = StepResult::Kind;

constexpr const char* kName = "pgf-12345678-fence-1";
std::string ago(int seconds) { return base::format_time(base::now() - std::chrono::seconds(seconds)); }

class Jobs : public testing::Test {
 protected:
  Bench b;
  JobCall call;
  plan::SceneView scene = b.scene();

  Jobs() {
    call.step = "fence";
    call.job = api::jobs::kFence;
    call.member = &scene.members[0];
    call.data = specs::Mount::kReadWrite;
  }
  StepResult look() { return run_job(b.a, scene, call); }
  void job_is(int seconds_old, const Json& conditions = Json(), const std::string& name = kName) {
    Json job = {{"metadata", {{"name", name}, {"creationTimestamp", ago(seconds_old)}}},
                {"status", Json::object()}};
    if (!conditions.is_null()) job["status"]["conditions"] = conditions;
    b.api.put(k::kJob, job);
  }
  void pod_is(const Json& status, int seconds_old = 1, const std::string& job = kName) {
    b.api.put(
        k::kPod,
        {{"metadata",
          {{"name", job + "-x"}, {"labels", {{"job-name", job}}}, {"creationTimestamp", ago(seconds_old)}}},
         {"status", status}});
  }
  static Json work(const Json& state) {
    return {{"phase", "Running"}, {"containerStatuses", {{{"name", "work"}, {"state", state}}}}};
  }
  static Json ended(const std::string& message, int code = 0, const char* reason = "Completed") {
    return work({{"terminated", {{"exitCode", code}, {"reason", reason}, {"message", message}}}});
  }
  static std::string answer(api::Outcome outcome) {
    return api::to_json(api::Answer{outcome, "Why", "what happened", "what to do", {{"state", "shut down"}}})
        .dump();
  }
  void event(const std::string& about, const std::string& when, const std::string& type,
             const std::string& message) {
    b.api.put(k::kEvent, {{"metadata", {{"name", about + when + message.substr(0, 3)}}},
                          {"involvedObject", {{"name", about}}},
                          {"type", type},
                          {"reason", "FailedCreate"},
                          {"message", message},
                          {"lastTimestamp", when}});
  }
};

TEST_F(Jobs, IsMadeOnlyWhereItsGateLetsIt) {
  int asked = 0;
  std::optional<StepResult> held = StepResult::waiting("no room");
  call.gate = [&] {
    ++asked;
    return held;
  };
  EXPECT_EQ(look().message, "no room");
  EXPECT_TRUE(b.api.peek(k::kJob, kName).is_null());
  held.reset();
  EXPECT_EQ(look().message, std::string("starting Job ") + kName);
  EXPECT_FALSE(b.api.peek(k::kJob, kName).is_null());
  // From then on the action's own pod would count against it.
  EXPECT_EQ(asked, 2);
  EXPECT_EQ(look().message, std::string("waiting for the pod of Job ") + kName);
  EXPECT_EQ(asked, 2);
}

// Two uids can share their first eight digits.
TEST_F(Jobs, OfAnotherActionAreNotFollowed) {
  look();
  Json job = b.api.peek(k::kJob, kName);
  job["metadata"]["labels"][api::kLabelActionUid] = "12345678-another";
  b.api.put(k::kJob, job);
  b.api.forget_calls();
  StepResult r = look();
  EXPECT_EQ(r.kind, Kind::kBlocked);
  EXPECT_EQ(r.error.reason, "JobNameTaken");
  EXPECT_EQ(r.error.message, std::string("Job ") + kName + " is of another action (uid 12345678-another)");
  EXPECT_THAT(b.api.write_texts(), ::testing::IsEmpty());
}

TEST_F(Jobs, AreCreatedUnderTheirName) {
  call.fill = [](api::Order& o) { o.fence.timeline = 2; };
  StepResult r = look();
  EXPECT_EQ(r.kind, Kind::kWaiting);
  EXPECT_EQ(r.message, "starting Job pgf-12345678-fence-1");
  EXPECT_THAT(b.api.write_texts(), ElementsAre("create Job/pgf-12345678-fence-1"));
  Json job = b.api.peek(k::kJob, kName);
  EXPECT_EQ(job["metadata"]["ownerReferences"][0], (Json{{"apiVersion", "pgrunbook.io/v1alpha1"},
                                                         {"kind", "Failover"},
                                                         {"name", "switch"},
                                                         {"uid", Bench::kUid},
                                                         {"controller", true}}));
  Json env = at(job, {"spec", "template", "spec"})["containers"][0]["env"];
  auto order = api::order_from_json(Json::parse(env[0]["value"].get<std::string>()));
  ASSERT_TRUE(order.has_value()) << order.error().text();
  EXPECT_EQ(order->fence.timeline, 2);
  EXPECT_EQ(order->repository.path, "/postgresql-backup/tfrs");
  EXPECT_EQ(order->repository.topology_uid, "uid-topology");
  EXPECT_EQ(order->member->claim_uid, scene.members[0].data_claim_uid);
  EXPECT_EQ(order->action.spec_hash, api::spec_hash(b.a.object["spec"]));
  EXPECT_EQ(env.dump().find("secret\""), std::string::npos) << "no password in the order";
  EXPECT_EQ(look().message, "waiting for the pod of Job pgf-12345678-fence-1");
  EXPECT_EQ(b.api.writes().size(), 1U);
}

// Another operator, or a reply that was lost: the Job is there, and is never made twice.
TEST_F(Jobs, ThatExistAreTaken) {
  b.api.fault = [&](const FakeApi::Call& c, FakeApi::Moment moment) -> std::optional<base::Error> {
    if (c.verb == "create" && moment == FakeApi::Moment::kBefore) job_is(1);
    return std::nullopt;
  };
  EXPECT_EQ(look().kind, Kind::kWaiting);
  pod_is(ended(answer(api::Outcome::kSucceeded)));
  EXPECT_EQ(look().kind, Kind::kDone);
  Bench other;
  other.api.fault = [](const FakeApi::Call& c, FakeApi::Moment moment) {
    return c.verb == "create" && moment == FakeApi::Moment::kAfter
               ? std::optional(base::error(base::ErrorCode::kInDoubt, "the reply was lost"))
               : std::nullopt;
  };
  plan::SceneView s = other.scene();
  call.member = &s.members[0];
  StepResult r = run_job(other.a, s, call);
  EXPECT_EQ(r.kind, Kind::kWaiting);
  EXPECT_EQ(r.message, "create Job pgf-12345678-fence-1: the reply was lost");
  EXPECT_EQ(run_job(other.a, s, call).message, "waiting for the pod of Job pgf-12345678-fence-1");
  EXPECT_EQ(other.api.all(k::kJob).size(), 1U);
}

TEST_F(Jobs, ThatAreForbiddenAreBlockedWithTheRulesWords) {
  b.api.fault = [](const FakeApi::Call& c, FakeApi::Moment) {
    return c.verb == "create"
               ? std::optional(base::error(base::ErrorCode::kForbidden, "exceeded quota: count/jobs.batch"))
               : std::nullopt;
  };
  StepResult r = look();
  EXPECT_EQ(r.kind, Kind::kBlocked);
  EXPECT_EQ(r.error.message, "create Job pgf-12345678-fence-1: exceeded quota: count/jobs.batch");
}

TEST_F(Jobs, WithoutAPodAreBlockedWithTheNewestEventsWords) {
  job_is(5);
  EXPECT_EQ(look().message, "waiting for the pod of Job pgf-12345678-fence-1");
  job_is(60);
  StepResult r = look();
  EXPECT_EQ(r.kind, Kind::kBlocked);
  EXPECT_EQ(r.error.message, "Job pgf-12345678-fence-1 gets no pod: no event says why");
  event(kName, "2026-11-20T15:00:00Z", "Warning", "older");
  event(kName, "2026-11-20T15:01:00Z", "Warning", "exceeded quota: limits.memory");
  event(kName, "2026-11-20T15:02:00Z", "Normal", "all is fine");
  event("another", "2026-11-20T15:03:00Z", "Warning", "of another Job");
  r = look();
  EXPECT_EQ(r.error.reason, "NoPodForJob");
  EXPECT_EQ(r.error.text(),
            "Job pgf-12345678-fence-1 gets no pod: FailedCreate: exceeded quota: limits.memory. HINT: raise "
            "the ResourceQuota or lower "
            "spec.jobs.resources of the topology; it goes on by itself");
  pod_is(work({{"running", Json::object()}}));
  EXPECT_EQ(look().kind, Kind::kWaiting) << "it goes on by itself";
}

TEST_F(Jobs, WhosePodCannotStartAreBlocked) {
  job_is(1);
  pod_is(work({{"waiting", {{"reason", "ContainerCreating"}}}}));
  EXPECT_EQ(look().message, "starting Job pgf-12345678-fence-1");
  for (const char* reason : {"ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError"}) {
    pod_is(work({{"waiting", {{"reason", reason}}}}));
    StepResult r = look();
    EXPECT_EQ(r.kind, Kind::kBlocked);
    EXPECT_EQ(r.error.reason, "PodDoesNotStart");
    EXPECT_EQ(r.error.message,
              "the pod of Job pgf-12345678-fence-1 does not start: " + std::string(reason) + " ");
  }
  pod_is({{"phase", "Pending"}}, 60);
  event(std::string(kName) + "-x", "2026-11-20T15:00:00Z", "Warning", "0/1 nodes are available");
  EXPECT_EQ(look().error.message,
            "the pod of Job pgf-12345678-fence-1 does not start:  FailedCreate: 0/1 nodes are available");
}

TEST_F(Jobs, ThatRunShowTheirLastProgressLine) {
  job_is(30);
  pod_is(work({{"running", Json::object()}}), 30);
  StepResult r = look();
  EXPECT_EQ(r.kind, Kind::kWaiting);
  EXPECT_EQ(r.message, "Job pgf-12345678-fence-1 runs");
  EXPECT_EQ(r.again.count(), 1000);
  b.api.set_log(std::string(kName) + "-x", "work",
                api::to_json(api::Progress{"copy", "copies base.tar", 5, 9}).dump());
  r = look();
  EXPECT_EQ(r.message, "copies base.tar");
  EXPECT_EQ(r.progress_detail, (Json{{"bytesDone", 5}, {"bytesTotal", 9}}));
  b.api.set_log(std::string(kName) + "-x", "work", "not JSON");
  EXPECT_EQ(look().message, "Job pgf-12345678-fence-1 runs");
  pod_is(work({{"running", Json::object()}}), 3600);
  EXPECT_EQ(look().again.count(), 5000) << "hours of it";
}

struct Outcome {
  const char* name;
  api::Outcome outcome;
  Kind kind;
};
class Outcomes : public Jobs, public testing::WithParamInterface<Outcome> {};

TEST_P(Outcomes, OfTheAnswerDecide) {
  job_is(30);
  pod_is(ended(answer(GetParam().outcome), GetParam().outcome == api::Outcome::kSucceeded ? 0 : 1));
  StepResult r = look();
  EXPECT_EQ(r.kind, GetParam().kind);
  if (r.kind == Kind::kDone) {
    EXPECT_EQ(r.result, (Json{{"state", "shut down"}}));
    return;
  }
  EXPECT_EQ(r.error.reason, "Why");
  EXPECT_EQ(r.error.text(), "what happened. HINT: what to do");
  EXPECT_EQ(look().kind, GetParam().kind) << "looked at again";
}

INSTANTIATE_TEST_SUITE_P(Table, Outcomes,
                         testing::Values(Outcome{"Succeeded", api::Outcome::kSucceeded, Kind::kDone},
                                         Outcome{"Refused", api::Outcome::kRefused, Kind::kFailed},
                                         Outcome{"Failed", api::Outcome::kFailed, Kind::kFailed},
                                         Outcome{"Blocked", api::Outcome::kBlocked, Kind::kBlocked}),
                         [](const auto& param) { return std::string(param.param.name); });

TEST_F(Jobs, ThatFailedKeepTheirResult) {
  job_is(30);
  pod_is(ended(answer(api::Outcome::kFailed), 1, "Error"));
  EXPECT_EQ(look().result, (Json{{"state", "shut down"}}));
}

struct Lost {
  const char* name;
  const char* status;  // of the pod
  const char* reason;
  const char* words;
};
class LostAnswers : public Jobs, public testing::WithParamInterface<Lost> {};

TEST_P(LostAnswers, SayWhatBecameOfThePod) {
  job_is(30);
  pod_is(Json::parse(GetParam().status));
  StepResult r = look();
  EXPECT_EQ(r.kind, Kind::kFailed);
  EXPECT_EQ(r.error.reason, GetParam().reason);
  EXPECT_EQ(r.error.text(), GetParam().words);
}

INSTANTIATE_TEST_SUITE_P(
    Table, LostAnswers,
    testing::Values(
        Lost{
            "OutOfMemory",
            R"({"phase": "Failed", "containerStatuses": [{"name": "work", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]})",
            "JobOutOfMemory",
            "the Job's container ended with exit code 137 (OOMKilled) and left no answer. HINT: give the "
            "Jobs more memory: spec.jobs.resources of the "
            "topology"},
        Lost{
            "Killed",
            R"({"phase": "Failed", "containerStatuses": [{"name": "work", "state": {"terminated": {"exitCode": 137, "reason": "Error"}}}]})",
            "JobDied",
            "the Job's container ended with exit code 137 (Error) and left no answer. HINT: look at the log "
            "of the Job's pod"},
        Lost{
            "AnswerOfAnotherKind",
            R"({"containerStatuses": [{"name": "work", "state": {"terminated": {"exitCode": 0, "reason": "Completed", "message": "panic!"}}}]})",
            "JobDied",
            "the Job's container ended with exit code 0 (Completed) and left no answer. HINT: look at the "
            "log of the Job's pod"},
        Lost{
            "AgentNotInstalled",
            R"({"initContainerStatuses": [{"name": "agent", "state": {"terminated": {"exitCode": 1, "reason": "Error", "message": "no space"}}}]})",
            "AgentNotInstalled", "the agent could not be copied into the Job's pod: Error no space"},
        Lost{
            "DeletedBeforeItBegan",
            R"({"phase": "Failed", "initContainerStatuses": [{"name": "agent", "state": {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": "could not be located"}}}],
                "containerStatuses": [{"name": "work", "state": {"waiting": {"reason": "PodInitializing"}}}]})",
            "PodFailed", "the Job's pod failed before it answered: "},
        Lost{
            "LostWithItsPod",
            R"({"phase": "Failed", "initContainerStatuses": [{"name": "agent", "state": {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}}],
                "containerStatuses": [{"name": "work", "state": {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}}]})",
            "JobDied",
            "the Job's container ended with exit code 137 (ContainerStatusUnknown) and left no answer. HINT: "
            "look at the log of the Job's pod"},
        Lost{"Evicted",
             R"({"phase": "Failed", "reason": "Evicted", "message": "the node was low on memory"})",
             "Evicted", "the Job's pod failed before it answered: the node was low on memory"}),
    [](const auto& param) { return std::string(param.param.name); });

TEST_F(Jobs, WhosePodWasTakenAwayAreFailures) {
  job_is(30, Json::array({{{"type", "FailureTarget"}, {"status", "True"}},
                          {{"type", "Failed"}, {"status", "True"}, {"message", "BackoffLimitExceeded"}}}));
  StepResult r = look();
  EXPECT_EQ(r.kind, Kind::kFailed);
  EXPECT_EQ(r.error.text(),
            "Job pgf-12345678-fence-1 failed and its pod is gone: BackoffLimitExceeded. HINT: somebody "
            "removed the pod; look at the "
            "namespace's events");
  job_is(30, Json::array({{{"type", "Complete"}, {"status", "True"}}}));
  r = look();
  EXPECT_EQ(r.kind, Kind::kFailed);
  EXPECT_EQ(r.error.reason, "AnswerLost");
  EXPECT_EQ(r.error.text(),
            "Job pgf-12345678-fence-1 is complete, but its pod is gone and with it the answer. HINT: "
            "somebody removed the pod; look at "
            "the namespace's events");
}

// Where there is no way back from failing, a failed Job has successors, however it failed.
TEST_F(Jobs, ThatMustNotFailAreTriedAgainUnderTheNextNumber) {
  call.try_again = true;
  const std::string second = "pgf-12345678-fence-2", third = "pgf-12345678-fence-3";
  auto tried = [&] { return base::number_at(b.a.result("fence-tries"), {"count"}); };
  job_is(5);
  pod_is(ended(answer(api::Outcome::kFailed), 1));
  EXPECT_EQ(look().kind, Kind::kBlocked);
  EXPECT_EQ(tried(), 0) << "not at once";
  for (const char* how : {"failed", "blocked", "gone", "complete"}) {
    Bench fresh;
    plan::SceneView s = fresh.scene();
    call.member = &s.members[0];
    Json job = {{"metadata", {{"name", kName}, {"creationTimestamp", ago(20)}}}, {"status", Json::object()}};
    if (how == std::string("gone"))
      job["status"]["conditions"] = Json::array({{{"type", "Failed"}, {"status", "True"}}});
    if (how == std::string("complete"))
      job["status"]["conditions"] = Json::array({{{"type", "Complete"}, {"status", "True"}}});
    fresh.api.put(k::kJob, job);
    if (job["status"].empty()) {
      api::Outcome o = how == std::string("failed") ? api::Outcome::kFailed : api::Outcome::kBlocked;
      fresh.api.put(k::kPod, {{"metadata", {{"name", "p"}, {"labels", {{"job-name", kName}}}}},
                              {"status", ended(answer(o), 1)}});
    }
    EXPECT_EQ(run_job(fresh.a, s, call).kind, Kind::kBlocked) << how;
    EXPECT_EQ(fresh.saves, 1) << how << ": the number is written before its Job is made";
    EXPECT_EQ(run_job(fresh.a, s, call).message, "starting Job " + second) << how;
    // The second one's pause is longer.
    fresh.api.merge(k::kJob, second, {{"metadata", {{"creationTimestamp", ago(20)}}}});
    fresh.api.put(k::kPod, {{"metadata", {{"name", "q"}, {"labels", {{"job-name", second}}}}},
                            {"status", ended(answer(api::Outcome::kRefused), 1)}});
    EXPECT_EQ(run_job(fresh.a, s, call).kind, Kind::kBlocked);
    EXPECT_EQ(fresh.saves, 1);
    fresh.api.merge(k::kJob, second, {{"metadata", {{"creationTimestamp", ago(40)}}}});
    EXPECT_EQ(run_job(fresh.a, s, call).kind, Kind::kBlocked);
    EXPECT_EQ(run_job(fresh.a, s, call).message, "starting Job " + third);
    fresh.api.put(k::kPod, {{"metadata", {{"name", "r"}, {"labels", {{"job-name", third}}}}},
                            {"status", ended(answer(api::Outcome::kSucceeded))}});
    EXPECT_EQ(run_job(fresh.a, s, call).kind, Kind::kDone);
  }
}

// Somebody deletes the pod that holds the volume's claim, and it is gone before anybody asks for it.
TEST_F(Jobs, WhosePodIsGoneAreRemembered) {
  EXPECT_EQ(*claim_left_by(b.a, "fence", 1), "");
  job_is(5);
  b.api.put(k::kPod, {{"metadata", {{"name", "p"}, {"uid", "uid-p"}, {"labels", {{"job-name", kName}}}}},
                      {"status", work({{"running", Json::object()}})}});
  EXPECT_EQ(look().kind, Kind::kWaiting);
  b.api.erase(k::kPod, "p");
  EXPECT_EQ(*claim_left_by(b.a, "fence", 1), "uid-p");
  EXPECT_EQ(b.a.result("fence-pod"), (Json{{"uid", "uid-p"}}));
}

// What goes on where it was left is tried again if nobody answered; an answer is an answer.
TEST_F(Jobs, ThatGoOnWhereTheyWereLeftFailByTheirAnswerOnly) {
  call.again_if_died = true;
  job_is(20);
  pod_is(ended(answer(api::Outcome::kFailed), 1));
  EXPECT_EQ(look().kind, Kind::kFailed);
  pod_is(ended("", 137, "Error"));
  StepResult died = look();
  EXPECT_EQ(died.kind, Kind::kBlocked);
  EXPECT_EQ(died.error.reason, "JobDied");
  EXPECT_EQ(look().message, "starting Job pgf-12345678-fence-2");
}

// Leaving again: what an earlier request's Job said is not this one's answer.
TEST_F(Jobs, OfAnEarlierRequestToLeaveAreWaitedOut) {
  b.a.flow = "Leave";
  b.a.owner = {{"kind", "Lease"}, {"uid", "now"}};
  job_is(5);
  b.api.merge(k::kJob, kName, {{"metadata", {{"ownerReferences", Json::array({{{"uid", "earlier"}}})}}}});
  pod_is(ended(answer(api::Outcome::kSucceeded)));
  EXPECT_EQ(look().message, std::string("waiting until Job ") + kName + " of an earlier request has gone");
  b.api.merge(k::kJob, kName, {{"metadata", {{"ownerReferences", Json::array({{{"uid", "now"}}})}}}});
  EXPECT_EQ(look().kind, Kind::kDone);
}

// Every try can be killed while it holds the volume's claim; the next one is told of all of them, by whoever
// makes it.
TEST_F(Jobs, ThatAreTriedAgainMayBreakTheClaimsOfThoseBefore) {
  call.try_again = true;
  call.fill = [](api::Order& o) { o.undo = {{"brokenClaim", "uid-recover"}}; };
  auto broken = [&](const std::string& name) {
    Json job = b.api.peek(k::kJob, name);
    const Json& env = at(job, {"spec", "template", "spec", "containers"})[0]["env"];
    return at(api::order_from_json(Json::parse(env[0]["value"].get<std::string>()))->undo, {"brokenClaim"});
  };
  auto killed = [&](const std::string& name) {
    b.api.merge(k::kJob, name, {{"metadata", {{"creationTimestamp", ago(1000)}}}});
    Json state = {{"terminated", {{"exitCode", 137}, {"reason", "Error"}}}};
    b.api.put(k::kPod,
              {{"metadata", {{"name", name}, {"uid", "uid-" + name}, {"labels", {{"job-name", name}}}}},
               {"status", work(state)}});
    EXPECT_EQ(look().kind, Kind::kBlocked);
    b.api.erase(k::kPod, name);
    EXPECT_EQ(look().message, "starting Job pgf-12345678-fence-" + std::to_string(name.back() - '0' + 1));
  };
  EXPECT_EQ(look().message, std::string("starting Job ") + kName);
  EXPECT_EQ(broken(kName), "uid-recover");
  killed(kName);
  EXPECT_EQ(broken("pgf-12345678-fence-2"), (Json::array({"uid-pgf-12345678-fence-1", "uid-recover"})));
  killed("pgf-12345678-fence-2");
  EXPECT_EQ(broken("pgf-12345678-fence-3"),
            (Json::array({"uid-pgf-12345678-fence-1", "uid-pgf-12345678-fence-2", "uid-recover"})));
}

TEST_F(Jobs, AreFoundRunningAnsweredAndRemoved) {
  EXPECT_FALSE(*job_running(b.a, "fence", 1));
  EXPECT_EQ(job_answer(b.a, "fence", 1).error().code, base::ErrorCode::kNotFound);
  EXPECT_TRUE(remove_job(b.a, "fence", 1).has_value());
  job_is(1);
  EXPECT_FALSE(job_answer(b.a, "fence", 1)->has_value());
  pod_is(work({{"running", Json::object()}}));
  EXPECT_TRUE(*job_running(b.a, "fence", 1));
  EXPECT_FALSE(job_answer(b.a, "fence", 1)->has_value());
  pod_is(ended(answer(api::Outcome::kBlocked), 1));
  EXPECT_FALSE(*job_running(b.a, "fence", 1));
  EXPECT_EQ((*job_answer(b.a, "fence", 1))->outcome, api::Outcome::kBlocked);
  EXPECT_TRUE(remove_job(b.a, "fence", 1).has_value());
  EXPECT_TRUE(b.api.all(k::kJob).empty());
}

TEST_F(Jobs, LeaveTheClaimOfTheirPodByName) {
  EXPECT_EQ(*claim_left_by(b.a, "fence", 1), "");
  EXPECT_EQ(b.saves, 0);
  pod_is(work({{"running", Json::object()}}));
  std::string uid = *claim_left_by(b.a, "fence", 1);
  EXPECT_FALSE(uid.empty());
  b.api.erase(k::kPod, std::string(kName) + "-x");
  EXPECT_EQ(*claim_left_by(b.a, "fence", 1), uid) << "known after the pod is gone";
  EXPECT_EQ(b.saves, 1);
}

}  // namespace
}  // namespace pgrunbook::execute
