#include <algorithm>

#include <fmt/format.h>

#include "execute/flows.hpp"
#include "execute/gate.hpp"
#include "execute/jobs.hpp"
#include "execute/members.hpp"
#include "execute/standing.hpp"

namespace pgrunbook::execute {

using base::at;
using base::number_at;
using base::text_at;

namespace {

constexpr auto kServiceAgrees = std::chrono::seconds(90);
// Results of putting back.
constexpr const char* kEndedReadOnly = "ended-read-only";  // {podUID, replicas} of who is to be started anew
constexpr const char* kFenceOff = "fence-off";             // {mayBeRead, time}
constexpr const char* kDoesNotStart = "does-not-start";    // {words} of a primary that was stopped
// After as long a container that runs is in its pod's status.
constexpr auto kStatusFollows = std::chrono::seconds(10);

const plan::MemberView* from_of(Action& a, const plan::SceneView& scene) {
  return scene.member(text_at(a.status.operation.inputs, {"from"}));
}
const plan::MemberView* to_of(Action& a, const plan::SceneView& scene) {
  return scene.member(text_at(a.status.operation.inputs, {"to"}));
}

JobCall fence_call(Action& a, const plan::MemberView* from) {
  JobCall call;
  call.step = "fence";
  call.job = api::jobs::kFence;
  call.member = from;
  call.data = specs::Mount::kReadWrite;
  call.fill = [&a](api::Order& o) {
    o.fence.timeline = static_cast<int>(number_at(a.status.operation.inputs, {"candidateTimeline"}));
    o.fence.fork_lsn = text_at(a.status.operation.inputs, {"forkLSN"});
    o.fence.salvage = text_at(a.status.operation.inputs, {"salvage"});
  };
  return call;
}

// Between their stop and their start nobody else may have started the applications. One that was started once
// a Service leads to the candidate may have written there, whoever started it: going back would lose that, so
// from then on there is only forward.
Result<> quiet(Action& a, const plan::SceneView& scene) {
  for (const plan::ApplicationView& app : scene.applications) {
    if (app.replicas == 0 && app.pods.empty()) continue;
    for (const plan::ServiceView& s : scene.services) {
      if (s.selector == at(a.input("services"), {s.name, "new"})) a.status.operation.past_no_return = true;
    }
    return base::fail(base::refused(
        "ScaledBySomebodyElse",
        app.replicas == 0
            ? fmt::format("a pod of {}, which was stopped, is there again", app.workload.name)
            : fmt::format("{} {} was scaled to 0 and is at {} again: {} set it", app.workload.kind,
                          app.workload.name, app.replicas, plan::who_set(app.steering)),
        a.status.operation.past_no_return
            ? "apply the lines in status.plan.gitChanges where it takes its manifests from, and scale it to "
              "0; then "
              "it goes on by itself"
            : "let that one leave it alone while this works (Flux: suspend the Kustomization), or commit "
              "status.plan.gitChanges; then make a new Failover"));
  }
  return {};
}

StepResult plan_cutover(Action& a, const api::FailoverSpec& spec) {
  Json& in = a.status.operation.inputs;
  in["topology"] = spec.topology;
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* to = scene->member(spec.candidate);
  const plan::MemberView* from = scene->member(scene->primary);
  if (to == nullptr) {
    return StepResult::failed(base::refused(
        "NoMember",
        fmt::format("spec.candidate is {}, which topology {} does not have", spec.candidate, spec.topology),
        "name one of its members"));
  }
  if (from == nullptr) {
    return StepResult::blocked(plan::no_primary(*scene));
  }
  if (auto gate = standing_gate(a, *scene)) return *gate;
  if (from == to) {
    return unless_done_before(
        a, *scene, *to,
        base::refused("AlreadyPrimary", fmt::format("{} is the primary already", to->name),
                      "nothing is to be done"));
  }
  in["services"] = Json::object();  // a plan made again knows nothing of Services that have left the topology
  for (const plan::ServiceView& s : scene->services) {
    auto next = plan::switched_selector(s, *to, scene->members);
    if (!next) return StepResult::failed(next.error());
    if (auto gate = strangers_gate(a.world, s.name, *next, *to)) return *gate;
    in["services"][s.name] = {{"uid", s.uid}, {"old", s.selector}, {"new", *next}, {"port", s.port}};
  }
  for (const plan::MemberView* m : {from, to}) {
    if (auto gate = recreate_gate(*m)) return *gate;
  }
  if (to->pods.empty() || !plan::pod_ready(to->pods.front())) {
    return StepResult::blocked(
        base::refused("CandidateNotRunning", fmt::format("candidate {} has no ready pod", to->name),
                      "a cutover goes to a member that a PostgresRestore has restored and started"));
  }
  if (auto gate = network_gate(a.world, "the operator", "pgrunbook-operator", a.world.own_labels, *to))
    return *gate;
  if (auto gate = clients_follow_gate(a.world, *scene, *from, *to)) return *gate;
  auto there = connect_role(a, *scene, *to);
  if (!there) return not_connected(a, there.error().in("connect to the candidate"));
  auto who_to = identify(*there);
  if (!who_to) return StepResult::of(who_to.error());
  // A primary that is down cannot be asked: its volume is read instead, and must end where it was salvaged.
  bool dead = from->pods.empty() || !plan::pod_ready(from->pods.front());
  if (dead) {
    StepResult down = is_down(a, *scene, *from);
    dead = down.kind == StepResult::Kind::kDone;
    if (down.kind == StepResult::Kind::kBlocked) return down;
  }
  std::optional<sql::Connection> here;
  Result<Json> who_from = Json::object();
  if (!dead) {
    auto connected = connect_role(a, *scene, *from);
    if (!connected) return not_connected(a, connected.error().in("connect to the primary"));
    here.emplace(std::move(*connected));
    who_from = identify(*here);
    if (!who_from) return StepResult::of(who_from.error());
  }
  auto not_restored = [&] {
    return StepResult::failed(base::refused(
        "CandidateNotRestored",
        fmt::format("candidate {} (system {}, timeline {}) was not recovered from the primary's archive",
                    to->name, text_at(*who_to, {"systemIdentifier"}), number_at(*who_to, {"timeline"})),
        "restore to it first with a PostgresRestore"));
  };
  if (dead && at(*who_to, {"inRecovery"}) != Json(false)) return not_restored();
  if (!dead && (at(*who_to, {"inRecovery"}) != Json(false) ||
                text_at(*who_to, {"systemIdentifier"}) != text_at(*who_from, {"systemIdentifier"}) ||
                number_at(*who_to, {"timeline"}) <= number_at(*who_from, {"timeline"}))) {
    return StepResult::failed(base::refused(
        "CandidateNotRestored",
        fmt::format("candidate {} (system {}, timeline {}) was not recovered from the primary's archive "
                    "(system {}, timeline {})",
                    to->name, text_at(*who_to, {"systemIdentifier"}), number_at(*who_to, {"timeline"}),
                    text_at(*who_from, {"systemIdentifier"}), number_at(*who_from, {"timeline"})),
        "restore to it first with a PostgresRestore"));
  }
  JobCall call;
  call.step = "plan";
  call.job = api::jobs::kPlan;
  call.member = from;
  if (dead) call.data = specs::Mount::kReadOnly;
  call.attempt = a.status.operation.attempt;
  if (auto gate = room_gate(a, call.step, call.attempt,
                            {wish_of(a, *scene, call), wish_of(a, *scene, fence_call(a, from))}))
    return *gate;
  if (!dead && a.result("marker").is_null()) {
    auto marked = mark_and_switch(*here, "pgrunbook " + a.meta.name);
    if (!marked) return StepResult::of(marked.error());
    a.status.operation.results["marker"] = *marked;
    if (auto saved = a.save(a); !saved) return StepResult::of(saved.error());
  }
  call.fill = [&](api::Order& o) {
    o.plan.candidate = to->name;
    o.plan.candidate_timeline = static_cast<int>(number_at(*who_to, {"timeline"}));
    o.plan.timeline = static_cast<int>(number_at(*who_from, {"timeline"}));
    o.plan.read_volume = dead;
    if (!dead) wait_for_mark(&o.plan, a.result("marker"));
  };
  StepResult r = run_job(a, *scene, call);
  if (r.kind != StepResult::Kind::kDone) return r;
  if (auto before = already(a, r.result)) return *before;
  // Another cluster's timelines may have the same numbers.
  if (dead && text_at(*who_to, {"systemIdentifier"}) != text_at(r.result, {"systemIdentifier"}))
    return not_restored();
  a.status.operation.results["plan"] = r.result;
  in["from"] = from->name;
  in["to"] = to->name;
  in["fromReplicas"] = dead ? from->replicas : std::max(1, from->replicas);
  in["salvage"] = text_at(r.result, {"salvage"});  // empty: the primary runs, and is stopped cleanly
  in["claims"] = Json::array({from->data_claim_uid, to->data_claim_uid});
  in["candidateTimeline"] = at(*who_to, {"timeline"});
  in["systemIdentifier"] = at(*who_to, {"systemIdentifier"});
  in["forkLSN"] = at(r.result, {"forkLSN"});
  in["applications"] = Json::object();
  for (const plan::ApplicationView& app : scene->applications) {
    in["applications"][plan::application_key(*scene, app)] =
        app.replicas > 0 ? app.replicas : app.replicas_before;
  }
  in["world"] = world_covered(*scene);
  Json at_stake = at(r.result, {"atStake"});
  const bool exact = dead && text_at(at_stake, {"damaged"}).empty();
  if (dead) at_stake["exact"] = exact;
  at_stake["text"] = fmt::format(
      "{}{} transactions that {} has committed since the restored moment stay behind on its volume{}",
      exact ? "" : "at least ", number_at(at_stake, {"transactions"}), from->name,
      dead ? (exact ? "" : ": its WAL is damaged, " + text_at(at_stake, {"damaged"}))
           : ", and those that it still commits until it is stopped");
  Json facts = {
      {"from", from->name},
      {"to", to->name},
      {"timeline", at(*who_to, {"timeline"})},
      {"forkLSN", at(r.result, {"forkLSN"})},
      {"applications", in["applications"]},
      {"services", in["services"]},
      {"oldPrimary",
       fmt::format("{} stays at 0 with its data untouched and fenced by standby.signal: they are the undo",
                   from->name)}};
  if (dead) {
    facts["salvagedTo"] = at(r.result, {"salvagedTo"});
    if (at(r.result, {"oldPrimary"}).is_object()) facts["oldPrimary"] = at(r.result, {"oldPrimary"});
  }
  a.status.plan = {{"digest", plan_digest(a.meta.uid, {{"from", from->name},
                                                       {"to", to->name},
                                                       {"timeline", in["candidateTimeline"]},
                                                       {"services", in["services"]},
                                                       {"applications", in["applications"]},
                                                       {"world", in["world"]}})},
                   {"facts", facts},
                   {"dataAtStake", at_stake}};
  Json changes = Json::array(), steered = Json::array();
  in["approvalRequired"] = false;
  auto change = [&](const std::string& object, plan::Field field, const plan::Steering& s, const Json& was,
                    const Json& becomes) {
    if (auto c = plan::git_change(object, field, s, was, becomes)) changes.push_back(*c);
    if (s.by.by_itself()) in["approvalRequired"] = true;
    if (s.desired.known == plan::Desired::Known::kYes) steered.push_back(object);
  };
  auto workload = [](const plan::MemberView& m) {
    return fmt::format("{}/{}", m.workload.kind, m.workload.name);
  };
  for (const plan::ServiceView& s : scene->services) {
    change("Service/" + s.name, plan::Field::kSelector, s.steering, s.selector,
           at(in, {"services", s.name, "new"}));
  }
  change(workload(*from), plan::Field::kReplicas, from->steering, from->replicas, 0);
  // It was a restore that started it: what is written of it is what a cold spare has.
  change(workload(*to), plan::Field::kReplicas, to->steering, 0, 1);
  in["steered"] = steered;
  a.status.plan["gitChanges"] = changes;
  a.status.extra["from"] = from->name;
  a.status.extra["to"] = to->name;
  return StepResult::done();
}

// Its pod must be there before the stop: starting a Job takes seconds, and the applications are down
// meanwhile.
StepResult fence_waits(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* from = from_of(a, *scene);
  if (from == nullptr) return no_member("the old primary");
  auto running = job_running(a, "fence", 1);
  if (!running) return StepResult::of(running.error());
  if (*running) return StepResult::done();
  return run_job(a, *scene, fence_call(a, from));
}

StepResult fence(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* from = from_of(a, *scene);
  if (from == nullptr) return no_member("the old primary");
  auto held = [&]() -> Result<> {
    PGR_TRY(undisturbed(a, *scene, Switched::kNo));
    return quiet(a, *scene);
  };
  if (auto calm = held(); !calm) return StepResult::failed(calm.error());
  StepResult r = run_job(a, *scene, fence_call(a, from));
  if (r.kind == StepResult::Kind::kDone) {  // once more: the Job had its time
    scene = scene_of(a);
    if (!scene) return StepResult::of(scene.error());
    if (auto calm = held(); !calm) return StepResult::failed(calm.error());
  }
  r.again = std::min(r.again, std::chrono::milliseconds(300));
  if (r.kind != StepResult::Kind::kDone) return r;
  std::string proof = text_at(a.result("stop-primary"), {"proof"}, "Unproven");
  a.status.extra["fence"] = {{"proof", proof == "Terminated" ? "Terminated, ShutDown" : "ShutDown"},
                             {"state", at(r.result, {"state"})},
                             {"checkpointLSN", at(r.result, {"checkpointLSN"})},
                             {"timeline", at(r.result, {"timeline"})}};
  if (!text_at(a.status.operation.inputs, {"salvage"}).empty()) {
    a.status.extra["fence"] = {{"proof", fmt::format("Salvaged to {}, {}", text_at(r.result, {"salvagedTo"}),
                                                     proof == "Terminated" ? "Terminated" : "NoPod")},
                               {"state", at(r.result, {"state"})},
                               {"salvagedTo", at(r.result, {"salvagedTo"})},
                               {"timeline", at(r.result, {"timeline"})}};
  }
  Json loss = at(r.result, {"atStake"}).is_object() ? at(r.result, {"atStake"}) : Json::object();
  // Never a number that was not counted.
  loss["exact"] = at(loss, {"transactions"}).is_number_integer() && text_at(loss, {"damaged"}).empty();
  a.status.extra["dataLoss"] = loss;
  return r;
}

StepResult unfence(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* from = from_of(a, *scene);
  if (from == nullptr) return no_member("the old primary");
  // A fence Job that still waits is ended; a finished one is reversed on the volume.
  auto claim = claim_left_by(a, "fence", 1);
  if (!claim) return StepResult::of(claim.error());
  auto answer = job_answer(a, "fence", 1);
  if (!answer && answer.error().code != base::ErrorCode::kNotFound) return StepResult::of(answer.error());
  if (answer && !*answer) {
    auto removed = remove_job(a, "fence", 1);
    if (!removed) return StepResult::of(removed.error());
    return StepResult::waiting("ending the fence Job");
  }
  kube::ListOptions left;
  left.label_selector = "job-name=" + specs::job_name(a.kind, a.meta.uid, "fence", 1);
  auto pods = a.world.api.list(kube::kinds::kPod, a.world.ns, left, World::soon());
  if (!pods) return StepResult::of(pods.error());
  for (const Json& pod : at(*pods, {"items"})) {
    if (plan::pod_counts(pod)) return StepResult::waiting("waiting for the fence Job's pod to end");
  }
  JobCall call;
  call.step = "unfence";
  call.job = api::jobs::kUnfence;
  call.try_again = true;
  call.member = from;
  call.data = specs::Mount::kReadWrite;
  call.fill = [&](api::Order& o) {
    if (!claim->empty()) o.undo = {{"brokenClaim", *claim}};
  };
  return run_job(a, *scene, call);
}

// Every Service from one selector to the other, each by a JSON patch that tests the selector it replaces: a
// merge patch would leave the union of both.
StepResult switch_services(Action& a, const char* was, const char* becomes) {
  for (const auto& [name, service] : a.input("services").items()) {
    auto live = a.world.api.get(kube::kinds::kService, a.world.ns, name, World::soon());
    if (!live) return StepResult::of(live.error());
    const Json& now = at(*live, {"spec", "selector"});
    if (now == at(service, {becomes})) continue;
    // Written once by this step; what is the old one again is somebody else's hand, and no reason to fight.
    Json& written = a.status.operation.results["selected"];
    if (now == at(service, {was}) && text_at(written, {name}) == becomes) {
      return StepResult::failed(base::refused(
          "ServiceChanged",
          fmt::format("the selector of Service {} was set to {} and is {} again: {} set it", name,
                      at(service, {becomes}).dump(), now.dump(),
                      plan::who_set(plan::steering_of(*live, plan::Field::kSelector))),
          "let that one leave it alone while this works (Flux: suspend the Kustomization), or commit "
          "status.plan.gitChanges; then make a new Failover"));
    }
    if (now != at(service, {was})) {
      return StepResult::failed(base::refused(
          "ServiceChanged",
          fmt::format("the selector of Service {} is {}, neither the old nor the new one", name, now.dump()),
          "somebody else changes it; find out who, then start again"));
    }
    Json patch =
        Json::array({{{"op", "test"}, {"path", "/spec/selector"}, {"value", at(service, {was})}},
                     {{"op", "replace"}, {"path", "/spec/selector"}, {"value", at(service, {becomes})}}});
    auto patched = a.world.api.patch(kube::kinds::kService, a.world.ns, name, kube::PatchType::kJson, patch,
                                     "", World::soon());
    if (!patched) return StepResult::of(patched.error());
    written[name] = becomes;
    if (auto saved = a.save(a); !saved) return StepResult::of(saved.error());
  }
  for (const auto& [name, service] : a.input("services").items()) {
    auto live = a.world.api.get(kube::kinds::kService, a.world.ns, name, World::soon());
    if (!live) return StepResult::of(live.error());
    if (at(*live, {"spec", "selector"}) != at(service, {becomes}))
      return StepResult::waiting("the selector is not what was written");
  }
  return StepResult::done();
}

StepResult service_agrees(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* to = to_of(a, *scene);
  if (to == nullptr) return no_member("the candidate");
  if (auto calm = quiet(a, *scene); !calm) return StepResult::failed(calm.error());
  if (auto calm = undisturbed(a, *scene, Switched::kYes); !calm) return StepResult::failed(calm.error());
  bool late = false;
  if (const Json& log = a.status.operation.log; !log.empty()) {
    auto began = base::parse_time(text_at(log.back(), {"startTime"}), "startTime");
    late = began && base::now() - *began > kServiceAgrees;
  }
  auto not_yet = [&](const std::string& what) {
    if (!late) return StepResult::waiting(what, std::chrono::milliseconds(200));
    return StepResult::failed(base::refused(
        "ServiceDoesNotFollow", fmt::format("{}, {} s after the switch", what, kServiceAgrees.count()),
        "look at the candidate's readiness and at the NetworkPolicies of the operator"));
  };
  Json seen = Json::object();
  for (const auto& [name, service] : a.input("services").items()) {
    kube::ListOptions options;
    options.label_selector = "kubernetes.io/service-name=" + name;
    auto slices = a.world.api.list(kube::kinds::kEndpointSlice, a.world.ns, options, World::soon());
    if (!slices) return StepResult::of(slices.error());
    plan::Endpoints endpoints = plan::endpoints_of(at(*slices, {"items"}), to->pods);
    if (!endpoints.of_the_pods) {
      return not_yet(fmt::format("Service {} has the endpoints {}, not those of {}", name,
                                 fmt::join(endpoints.ready, ", "), to->name));
    }
    auto target = role_login(a.world, *scene, *to);
    if (!target) return StepResult::of(target.error());
    target->host = fmt::format("{}.{}.svc", name, a.world.ns);
    target->port = static_cast<int>(number_at(service, {"port"}, 5432));
    auto session = a.world.connect(*target, Deadline::after(std::chrono::seconds(4)));
    if (!session)
      return not_yet(fmt::format("a query through Service {} fails: {}", name, session.error().message));
    auto who = identify(*session);
    if (!who) return not_yet(fmt::format("a query through Service {} fails: {}", name, who.error().message));
    if (text_at(*who, {"systemIdentifier"}) != text_at(a.status.operation.inputs, {"systemIdentifier"}) ||
        number_at(*who, {"timeline"}) != number_at(a.status.operation.inputs, {"candidateTimeline"}) ||
        at(*who, {"inRecovery"}) != Json(false)) {
      return not_yet(fmt::format("Service {} still answers from system {} timeline {}", name,
                                 text_at(*who, {"systemIdentifier"}), number_at(*who, {"timeline"})));
    }
    seen[name] = *who;
  }
  return StepResult::done({{"through", seen}});
}

// The first application pod's own connection, seen on the new primary: the operator's query has policies of
// its own and proves nothing for the application.
StepResult first_connection(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* to = to_of(a, *scene);
  if (to == nullptr) return no_member("the candidate");
  if (auto calm = undisturbed(a, *scene, Switched::kYes); !calm) return StepResult::blocked(calm.error());
  std::vector<std::string> addresses;
  bool wanted = false;
  for (const plan::ApplicationView& app : scene->applications) {
    wanted = wanted || plan::kept_count(a.input("applications"), app) > 0;
    for (const Json& pod : app.pods) {
      for (std::string& ip : plan::pod_addresses(pod)) addresses.push_back(std::move(ip));
    }
  }
  if (!wanted) return StepResult::done({{"note", "the applications were at 0 before, so none was started"}});
  auto session = connect_role(a, *scene, *to);
  if (!session) return StepResult::of(session.error());
  auto rows = session->query(
      "select host(client_addr), usename from pg_stat_activity where backend_type = 'client backend' and "
      "client_addr is not null",
      {}, Deadline::after(std::chrono::seconds(5)));
  if (!rows) return StepResult::of(rows.error());
  for (const sql::Row& r : *rows) {
    if (std::find(addresses.begin(), addresses.end(), r[0].value_or("")) == addresses.end()) continue;
    auto stopped = base::parse_time(text_at(a.result("applications-stopped-at"), {"time"}), "time");
    if (stopped) {
      a.status.extra["writeDowntimeSeconds"] =
          std::chrono::duration_cast<std::chrono::seconds>(base::now() - *stopped).count();
    }
    return StepResult::done({{"address", r[0].value_or("")}, {"role", r[1].value_or("")}});
  }
  bool late = false;
  if (const Json& log = a.status.operation.log; !log.empty()) {
    auto began = base::parse_time(text_at(log.back(), {"startTime"}), "startTime");
    late = began && base::now() - *began > std::chrono::seconds(60);
  }
  if (late) {
    return StepResult::blocked(
        base::refused("ApplicationDoesNotConnect",
                      fmt::format("no pod of the applications has a connection to {} after 60 s", to->name),
                      "look at the applications' logs and at their NetworkPolicies; the database is served, "
                      "and it goes on by itself"));
  }
  return StepResult::waiting("waiting for the first connection of an application",
                             std::chrono::milliseconds(300));
}

// Whether the fence Job has written its fence, by its own answer.
Result<bool> has_fenced(Action& a) {
  auto answer = job_answer(a, "fence", 1);
  if (!answer && answer.error().code == base::ErrorCode::kNotFound) return false;
  if (!answer) return fail(answer.error());
  return *answer &&
         ((*answer)->outcome == api::Outcome::kSucceeded || (*answer)->reason == "StartedMeanwhile");
}

// Takes the fence off, and notes whether a server may have read it: one that was there before it was off.
StepResult lift_fence(Action& a) {
  StepResult lifted = unfence(a);
  if (lifted.kind != StepResult::Kind::kDone || !a.result(kFenceOff).is_null()) return lifted;
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* from = from_of(a, *scene);
  if (from == nullptr) return no_member("the old primary");
  auto fenced = has_fenced(a);
  if (!fenced) return StepResult::of(fenced.error());
  bool off = *fenced || at(lifted.result, {"takenOff"}) == Json(true);
  a.status.operation.results[kFenceOff] = {{"mayBeRead", off && (from->replicas != 0 || !from->pods.empty())},
                                           {"time", base::format_time_micro(base::now())}};
  if (auto saved = a.save(a); !saved) return StepResult::of(saved.error());
  return lifted;
}
bool fence_may_be_read(const Action& a) { return at(a.result(kFenceOff), {"mayBeRead"}) == Json(true); }

// Whether the container of the member that may have read the fence runs, or may run though its pod's status
// does not have it yet.
bool reader_runs(const Action& a, const plan::MemberView& m) {
  const Json& statuses = at(m.pods.front(), {"status", "containerStatuses"});
  if (statuses.is_array()) {
    for (const Json& s : statuses) {
      if (text_at(s, {"name"}) == m.container && at(s, {"state", "running"}).is_object()) return true;
    }
  }
  auto off = base::parse_time(text_at(a.result(kFenceOff), {"time"}), "time");
  return off && base::now() - *off < kStatusFollows;
}

// A server that has read the fence is read-only, and would stay so once it is off: it is ended, to be started
// anew. One that may have read it is waited for until it answers, but not where it is we whom it does not let
// in.
StepResult end_read_only(Action& a, const std::string& name) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* m = scene->member(name);
  if (m == nullptr || m->replicas == 0 || m->pods.empty()) return StepResult::done();
  const std::string uid = text_at(m->pods.front(), {"metadata", "uid"});
  // Started when the fence was off.
  const std::string ended = text_at(a.result(kEndedReadOnly), {"podUID"});
  if (!ended.empty() && ended != uid) return StepResult::done();
  if (!plan::pod_ready(m->pods.front())) {
    if (!fence_may_be_read(a) || !reader_runs(a, *m)) return StepResult::done();
    return StepResult::waiting(fmt::format("waiting until {} is ready: it may have read the fence", name));
  }
  plan::ServerFacts server = ask_server(a.world, *scene, *m);
  if (server.no_answer) {
    bool starts = server.no_answer->code == base::ErrorCode::kUnavailable ||
                  server.no_answer->code == base::ErrorCode::kTimeout;
    if (!starts || !fence_may_be_read(a)) return StepResult::done();
    return StepResult::waiting(
        fmt::format("waiting until {} says whether it takes writes ({})", name, server.no_answer->text()));
  }
  if (!server.in_recovery) return StepResult::done();
  a.status.operation.results[kEndedReadOnly] = {{"podUID", uid}, {"replicas", m->replicas}};
  if (auto saved = a.save(a); !saved) return StepResult::of(saved.error());
  return end_member(a, *m);
}

// The primary at its count again, and not behind a fence. One that was never stopped is not asked whether it
// serves: it may be dead, and that the reason to give up.
enum class Stopping { kNotBegun, kBegun };
StepResult put_back_primary(Action& a, const std::string& from, int replicas, Stopping stopping) {
  // First: a fence Job that waits would take the next stop for the one that it waits for. It may have seen
  // one that was none of ours, of a container that was restarted: then the server comes up behind the fence.
  StepResult lifted = lift_fence(a);
  if (lifted.kind != StepResult::Kind::kDone) return lifted;
  const bool stopped = !a.result("stop-primary-pods").is_null(), ended = !a.result(kEndedReadOnly).is_null(),
             may_be_read = fence_may_be_read(a);
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* m = scene->member(from);
  const bool at_zero = m != nullptr && m->replicas == 0;
  if (!stopped && !ended && (!may_be_read || at_zero)) {
    // Before anything was to stop it, it is at 0 by somebody else's hand: it stays their affair.
    return stopping == Stopping::kBegun ? restore_count(a, from, replicas) : lifted;
  }
  StepResult started = start_member(a, from, replicas);
  if (started.kind == StepResult::Kind::kFailed && started.error.reason == "MemberDoesNotStart") {
    // Nothing is gained by waiting: what can mend it waits for this action to end.
    if (may_be_read && !ended && m != nullptr && !m->pods.empty() && reader_runs(a, *m)) return started;
    a.status.operation.results[kDoesNotStart] = {{"words", started.error.message}};
    return StepResult::done();
  }
  // Looked at once it is ready, or a start of just now would be missed.
  return started.kind == StepResult::Kind::kDone ? end_read_only(a, from) : started;
}

// The same of one that was dead: nobody waits for it to start. Whoever scaled it up while it was fenced has
// it at that count again.
StepResult put_back_dead(Action& a, const std::string& from, int replicas) {
  const int count = static_cast<int>(number_at(a.result(kEndedReadOnly), {"replicas"}, replicas));
  StepResult counted = restore_count(a, from, count);
  return counted.kind == StepResult::Kind::kDone && fence_may_be_read(a) ? end_read_only(a, from) : counted;
}

StepResult switch_undisturbed(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  if (auto calm = quiet(a, *scene); !calm) return StepResult::failed(calm.error());
  if (auto calm = undisturbed(a, *scene, Switched::kPartly); !calm) return StepResult::failed(calm.error());
  return switch_services(a, "old", "new");
}

// Whoever started the applications while nobody looked (a person, GitOps): what they have written on the
// candidate would be left behind.
StepResult switch_back(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  if (auto calm = quiet(a, *scene); !calm && a.status.operation.past_no_return)
    return StepResult::blocked(calm.error());
  return switch_services(a, "new", "old");
}

// The fence Job waits for the stop, and not for ever: stopped without it, the primary would have to start
// again. Nothing while it waits.
std::optional<StepResult> fence_ended(Action& a, const plan::SceneView& scene) {
  const plan::MemberView* from = from_of(a, scene);
  if (from == nullptr || from->replicas == 0) return std::nullopt;
  // It was stopped, and has its own words.
  if (turned_back(a, from->workload, from->steering, from->replicas, 0)) return std::nullopt;
  auto running = job_running(a, "fence", 1);
  if (!running) return StepResult::of(running.error());
  if (*running) return std::nullopt;
  StepResult r = run_job(a, scene, fence_call(a, from));
  // Its time is over, or it has seen a stop that was none of ours (the container was restarted).
  bool over = r.kind == StepResult::Kind::kDone ||
              (r.kind == StepResult::Kind::kFailed && r.error.reason == "NotShutDown");
  if (!over) return r;
  return StepResult::failed(base::refused(
      "FenceEnded",
      fmt::format("the fence Job on the volume of {} has ended before {} was stopped; it waits {} s for that",
                  from->name, from->name, api::FenceOrder().wait_seconds),
      "the log in status.operation and the events say what held the stop up; mend that, then make a new "
      "Failover"));
}

// No application pod starts while the Service leads elsewhere.
StepResult start_undisturbed(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  if (auto calm = undisturbed(a, *scene, Switched::kYes); !calm) return StepResult::blocked(calm.error());
  return start_applications(a);
}

StepResult confirm(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  if (auto calm = undisturbed(a, *scene, Switched::kYes); !calm) return StepResult::blocked(calm.error());
  if (auto kept = keep_cutover(a); !kept) return StepResult::of(kept.error());
  return StepResult::done();
}

}  // namespace

Flow cutover_flow(Action& action, const api::FailoverSpec& spec) {
  Flow flow;
  flow.cancel = spec.cancel || action.meta.deleting;
  flow.approved_plan = spec.approved_plan;
  flow.approval_required =
      spec.approval.value_or("Required") == "Required" || !plan::managed_by(action.object).empty();
  flow.plan = [spec](Action& a) { return plan_cutover(a, spec); };
  flow.still_true = [](Action& a) {
    auto scene = scene_of(a);
    return scene && world_covered(*scene) == a.input("world");
  };
  flow.steps = [](Action& a) {
    const Json& in = a.status.operation.inputs;
    std::string from = text_at(in, {"from"}), to = text_at(in, {"to"});
    int replicas = static_cast<int>(number_at(in, {"fromReplicas"}, 1));
    std::vector<std::string> names;
    if (in.contains("services")) {
      for (const auto& [name, unused] : in["services"].items()) names.push_back(name);
    }
    std::string services = fmt::format("{}", fmt::join(names, ", "));
    std::vector<Step> steps;
    steps.push_back(hold_step(fmt::format("the volumes of {} and {}", from, to)));
    const bool dead = !text_at(in, {"salvage"}).empty();
    Step prepare;
    prepare.planned = {
        "fence-ready", api::StepKind::kConvergent,
        fmt::format("start the fence Job on the volume of {}; it waits for the clean stop", from)};
    prepare.run = fence_waits;
    prepare.patience = kPatience;
    prepare.revert = [from, replicas](Action& x) {
      return put_back_primary(x, from, replicas, Stopping::kNotBegun);
    };
    if (!dead) steps.push_back(prepare);  // it waits for a clean stop, which will not come
    Step apps;
    apps.planned = {"stop-applications", api::StepKind::kConvergent,
                    "scale the applications to 0 and wait until their pods are gone"};
    apps.run = [](Action& x) {
      if (x.result("applications-stopped-at").is_null())
        x.status.operation.results["applications-stopped-at"] = {
            {"time", base::format_time_micro(base::now())}};
      return stop_applications(x);
    };
    apps.revert = start_applications;
    apps.patience = kPatience;
    steps.push_back(apps);
    Step stop;
    stop.planned = {
        "stop-primary", api::StepKind::kConvergent,
        fmt::format("stop {} cleanly: checkpoint, archive its WAL, end sessions, scale to 0", from)};
    stop.run = [from](Action& x) {
      auto scene = scene_of(x);
      if (!scene) return StepResult::of(scene.error());
      if (auto calm = quiet(x, *scene); !calm) return StepResult::failed(calm.error());
      if (auto ended = fence_ended(x, *scene)) return *ended;
      return stop_member(x, "stop-primary", from, Login::kRole);
    };
    stop.revert = [from, replicas](Action& x) {
      return put_back_primary(x, from, replicas, Stopping::kBegun);
    };
    if (dead) {
      stop.planned.text =
          fmt::format("see that {}, which is down, is at 0 and that no pod uses its volume", from);
      stop.run = [from](Action& x) { return stop_dead_member(x, "stop-primary", from); };
      stop.revert = [from, replicas](Action& x) { return put_back_dead(x, from, replicas); };
    }
    stop.patience = kPatience;
    steps.push_back(stop);
    Step fenced;
    fenced.planned = {"fence", api::StepKind::kIrreversible,
                      fmt::format("prove by pg_control that {} is shut down, and make its volume read-only "
                                  "for whoever starts it (standby.signal)",
                                  from)};
    if (dead) {
      fenced.planned.text = fmt::format(
          "prove on the volume of {} that nothing was written since it was salvaged, and make it "
          "read-only for whoever starts it (standby.signal)",
          from);
    }
    fenced.run = fence;
    fenced.revert = lift_fence;
    steps.push_back(fenced);
    Step turn;
    turn.planned = {"switch", api::StepKind::kIrreversible,
                    fmt::format("switch the selector of {} from {} to {}", services, from, to)};
    turn.run = switch_undisturbed;
    turn.revert = switch_back;
    steps.push_back(turn);
    Step agrees;
    agrees.planned = {
        "service-agrees", api::StepKind::kConvergent,
        fmt::format("see that the endpoints and a query through {} answer from {}", services, to)};
    agrees.run = service_agrees;
    steps.push_back(agrees);
    Step back;
    back.planned = {"start-applications", api::StepKind::kIrreversible,
                    "scale the applications back to their own counts; from here there is only forward"};
    back.run = start_undisturbed;
    back.no_return = true;
    steps.push_back(back);
    Step first;
    first.planned = {"first-connection", api::StepKind::kConvergent,
                     fmt::format("see the first application pod's own connection on {}", to)};
    first.run = first_connection;
    steps.push_back(first);
    return steps;
  };
  flow.record = record_and_release;
  flow.confirm = confirm;
  flow.as_before = [](Action& a) -> std::string {
    std::string words = text_at(a.result(kDoesNotStart), {"words"});
    if (words.empty()) return "";
    return fmt::format(
        "Everything is as it was before, but the primary, which was stopped, does not start: {}. HINT: if "
        "its log shows no way, restore to the candidate with salvage: StoppedPrimary, then make a new "
        "Failover",
        words);
  };
  flow.success = [](Action& a) {
    const Json& left = at(a.status.extra, {"dataLoss", "transactions"});
    return fmt::format(
        "{} is the primary; {} is stopped and fenced with its data as the undo; {} transactions written to "
        "it after the fork stay there",
        text_at(a.status.extra, {"to"}), text_at(a.status.extra, {"from"}),
        left.is_number_integer() ? left.dump() : "an unknown number of");
  };
  return flow;
}

}  // namespace pgrunbook::execute
