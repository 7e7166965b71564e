#include "execute/flows.hpp"

#include <fmt/format.h>

#include "execute/gate.hpp"
#include "execute/jobs.hpp"

namespace pgrunbook::execute {

using base::at;
using base::text_at;

std::optional<StepResult> already(Action& a, const Json& plan_result) {
  bool done = at(plan_result, {"alreadyDone"}) == Json(true);
  if (!done && at(plan_result, {"alreadyTried"}) != Json(true)) return std::nullopt;
  std::string when =
      text_at(plan_result, {"ledger", "outcome", "time"}, text_at(plan_result, {"ledger", "plannedAt"}));
  Error e = base::refused(
      done ? "AlreadyDone" : "AlreadyTried",
      fmt::format("{} {} with this spec has {} in this repository before{}; nothing was started", a.kind,
                  a.meta.name, done ? "been done" : "been tried", when.empty() ? "" : " (" + when + ")"),
      "an action happens once; to do it again, give the object another name");
  StepResult r = StepResult::failed(e);
  // What the first one did, on the second one's status as well.
  if (const Json& summary = at(plan_result, {"ledger", "outcome", "summary"}); done && summary.is_object())
    a.status.extra.update(summary);
  return r;
}

std::optional<StepResult> done_before(Action& a, const plan::SceneView& scene,
                                      const plan::MemberView& member) {
  JobCall call;
  call.step = "ledger";
  call.job = api::jobs::kPlan;
  call.member = &member;
  call.fill = [](api::Order& o) { o.plan.method = "Ledger"; };
  StepResult r = run_job(a, scene, call);
  if (r.kind == StepResult::Kind::kFailed) return std::nullopt;
  if (r.kind != StepResult::Kind::kDone) return r;
  return already(a, r.result);
}

StepResult unless_done_before(Action& a, const plan::SceneView& scene, const plan::MemberView& member,
                              const Error& refusal) {
  if (auto before = done_before(a, scene, member)) return *before;
  return StepResult::failed(refusal);
}

Json world_covered(const plan::SceneView& scene) {
  Json out = {{"topologyUID", scene.topology_uid}, {"primary", scene.primary}};
  for (const plan::MemberView& m : scene.members) {
    out["members"][m.name] = {{"workloadUID", m.workload_uid},
                              {"claimUID", m.data_claim_uid},
                              {"replicas", m.replicas},
                              {"image", m.image}};
  }
  for (const plan::ServiceView& s : scene.services)
    out["services"][s.name] = {{"uid", s.uid}, {"selector", s.selector}};
  for (const plan::ApplicationView& app : scene.applications)
    out["applications"][plan::application_key(scene, app)] = {{"uid", app.uid}};
  return out;
}

Step hold_step(const std::string& names) {
  Step s;
  s.planned = {"hold", api::StepKind::kConvergent, fmt::format("hold {} against other actions", names)};
  s.run = [](Action& a) {
    std::vector<std::string> uids;
    for (const Json& uid : a.input("claims")) uids.push_back(uid.get<std::string>());
    StepResult held = hold_volumes(a, uids);
    if (held.kind != StepResult::Kind::kDone || !a.input("world").is_object()) return held;
    // Whoever held them may have made another world than that of the plan.
    auto scene = scene_of(a);
    if (!scene) return StepResult::of(scene.error());
    if (world_covered(*scene) == a.input("world")) return held;
    return StepResult::failed(base::refused("WorldChanged",
                                            "what the plan stood on has changed before its first step",
                                            fmt::format("look at the topology, then make a new {}", a.kind)));
  };
  return s;
}

StepResult release_all(Action& a) {
  std::vector<std::string> uids;
  for (const Json& uid : a.input("claims")) uids.push_back(uid.get<std::string>());
  StepResult released = release_volumes(a, uids);
  // One that may not be removed hides nothing: the next action takes it from one that is over.
  return released.kind == StepResult::Kind::kWaiting ? released : StepResult::done();
}

StepResult record_and_release(Action& a) {
  StepResult r = record_action(a);
  if (r.kind == StepResult::Kind::kWaiting) return r;
  StepResult released = release_all(a);
  return released.kind == StepResult::Kind::kWaiting ? released : r;
}

Result<sql::Connection> connect_role(Action& a, const plan::SceneView& scene, const plan::MemberView& m) {
  PGR_ASSIGN(sql::Target target, role_login(a.world, scene, m));
  return a.world.connect(target, Deadline::after(std::chrono::seconds(8)));
}

}  // namespace pgrunbook::execute
