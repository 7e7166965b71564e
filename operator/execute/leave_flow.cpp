// Leaving: what setup made is taken away from every member, with one clean restart of the primary, because
// nobody but `postgres --single` may drop the role and write the settings.
#include <fmt/format.h>

#include "execute/flows.hpp"
#include "execute/gate.hpp"
#include "execute/jobs.hpp"
#include "execute/members.hpp"
#include "execute/standing.hpp"

namespace pgrunbook::execute {

using base::at;
using base::ErrorCode;
using base::text_at;

namespace {

// An action of this topology that is not over: nothing is taken away under it.
Result<std::string> action_under_way(World& world, const std::string& topology) {
  for (const kube::Resource* kind :
       {&kube::kinds::kBackup, &kube::kinds::kRestore, &kube::kinds::kFailover}) {
    PGR_ASSIGN(Json list, world.api.list(*kind, world.ns, {}, World::soon()));
    for (const Json& object : at(list, {"items"})) {
      if (text_at(object, {"spec", "topologyRef", "name"}) == topology &&
          !api::terminal(api::phase_from(text_at(object, {"status", "phase"}))))
        return fmt::format("{} {}", kind->kind, text_at(object, {"metadata", "name"}));
    }
  }
  return std::string();
}

StepResult plan_leave(Action& a) {
  Json& in = a.status.operation.inputs;
  in["topology"] = a.meta.name;
  auto topology = a.world.api.get(kube::kinds::kTopology, a.world.ns, a.meta.name, World::soon());
  if (!topology) return StepResult::of(topology.error());
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  if (scene->spec.archive.wal.setup == "ConfigureAndRestart") {
    return StepResult::failed(base::refused(
        "SetupWanted",
        fmt::format(
            "spec.archive.wal.setup of topology {} is ConfigureAndRestart: what is taken away would be "
            "made again",
            a.meta.name),
        fmt::format("kubectl patch postgrestopology {} --type=merge -p "
                    "'{{\"spec\":{{\"archive\":{{\"wal\":{{\"setup\":\"Report\"}}}}}}}}', then leave again",
                    a.meta.name)));
  }
  auto busy = action_under_way(a.world, a.meta.name);
  if (!busy) return StepResult::of(busy.error());
  api::Phase setup = api::phase_from(text_at(*topology, {"status", "setup", "phase"}));
  if (setup != api::Phase::kPending && !api::terminal(setup)) *busy = "setting up archiving";
  if (!busy->empty()) {
    return StepResult::failed(base::refused("ActionRunning", fmt::format("{} is not over", *busy),
                                            "wait for its end, or cancel it, then leave again"));
  }
  const plan::MemberView* primary = scene->member(scene->primary);
  if (primary == nullptr) {
    return StepResult::failed(base::refused("NoPrimary", "no member is selected by the topology's Services",
                                            "correct the selector or spec.services"));
  }
  if (auto gate = standing_gate(a, *scene))
    return gate->kind == StepResult::Kind::kBlocked ? StepResult::failed(gate->error) : *gate;
  for (const plan::MemberView& m : scene->members) {
    if (&m == primary || (m.replicas == 0 && m.pods.empty())) continue;
    return StepResult::failed(base::refused(
        "MemberRunning",
        fmt::format("member {} runs and is not the primary; its volume is not touched", m.name),
        fmt::format("kubectl scale {}/{} --replicas=0, then leave again", m.workload.kind, m.workload.name)));
  }
  // Only a server that knows the role, or archives by the agent, has anything that needs a restart.
  bool restart = false;
  if (primary->replicas > 0) {
    auto role = connect_role(a, *scene, *primary);
    bool unknown =
        !role && (role.error().code == ErrorCode::kUnauthorized || role.error().reason == "NoSecretKey");
    if (!role && !unknown) return StepResult::of(role.error());
    restart = !unknown;
  }
  std::vector<std::string> running;
  for (const plan::ApplicationView& app : scene->applications) {
    if (app.replicas > 0 || !app.pods.empty()) running.push_back(app.workload.name);
  }
  if (restart && !running.empty()) {
    return StepResult::failed(
        base::refused("ApplicationsRunning",
                      fmt::format("leaving restarts {} once, and the applications {} are running",
                                  primary->name, fmt::join(running, ", ")),
                      fmt::format("kubectl scale deployment/{} --replicas=0, then leave again",
                                  fmt::join(running, " deployment/"))));
  }
  in["member"] = primary->name;
  in["replicas"] = primary->replicas;
  in["restart"] = restart;
  in["former"] = at(*topology, {"status", "setup", "operation", "results", "setup", "previousSettings"});
  in["members"] = Json::array();
  in["claims"] = Json::array();
  for (const plan::MemberView& m : scene->members) {
    in["members"].push_back(m.name);
    in["claims"].push_back(m.data_claim_uid);
  }
  a.status.plan = {{"digest", plan_digest(a.meta.uid, in["members"])},
                   {"facts", {{"primary", primary->name}, {"restart", restart}}}};
  return StepResult::done();
}

StepResult leave_job(Action& a, const std::string& name) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* m = scene->member(name);
  if (m == nullptr) return no_member(name);
  JobCall call;
  call.step = "leave-" + m->data_claim_uid.substr(0, 8);
  call.job = api::jobs::kLeave;
  call.member = m;
  call.data = specs::Mount::kReadWrite;
  call.attempt = a.status.operation.attempt;
  call.again_if_died = true;  // it left its claim on the volume, and perhaps half of its work
  call.fill = [&](api::Order& o) { o.leave = {{"running", m->replicas > 0}, {"former", a.input("former")}}; };
  return run_job(a, *scene, call);
}

}  // namespace

Flow leave_flow(Action& action) {
  (void)action;
  Flow flow;
  flow.plan = plan_leave;
  flow.steps = [](Action& a) {
    const Json& in = a.status.operation.inputs;
    std::string primary = text_at(in, {"member"});
    int replicas = static_cast<int>(base::number_at(in, {"replicas"}, 1));
    bool restart = at(in, {"restart"}) == Json(true);
    std::vector<Step> steps;
    steps.push_back(hold_step("the members' volumes"));
    Step stop;
    stop.planned = {"stop-primary", api::StepKind::kConvergent,
                    fmt::format("stop {} cleanly, scale it to 0", primary)};
    stop.run = [primary](Action& x) { return stop_member(x, "stop-primary", primary, Login::kRole); };
    stop.revert = [primary, replicas](Action& x) { return start_member(x, primary, replicas); };
    stop.patience = kPatience;
    if (restart) steps.push_back(stop);
    if (in.contains("members")) {
      for (const Json& member : in["members"]) {
        std::string name = member.get<std::string>();
        Step job;
        job.planned = {
            "leave-" + name, api::StepKind::kConvergent,
            fmt::format("in a Job on the volume of {}: drop the role pgrunbook, put the archive settings "
                        "and pg_hba.conf back, remove the agent",
                        name)};
        job.run = [name](Action& x) { return leave_job(x, name); };
        steps.push_back(job);
      }
    }
    Step start;
    start.planned = {"start-primary", api::StepKind::kConvergent,
                     fmt::format("scale {} back and wait until it is ready", primary)};
    start.run = [primary, replicas](Action& x) { return start_member(x, primary, replicas); };
    start.patience = kPatience;
    if (restart) steps.push_back(start);
    return steps;
  };
  flow.record = release_all;
  flow.as_before = [](Action& a) {
    std::vector<std::string> left, not_yet;
    for (const Json& member : a.input("members")) {
      std::string name = member.get<std::string>();
      (a.result("leave-" + name).is_null() ? not_yet : left).push_back(name);
    }
    if (left.empty()) return std::string();
    if (not_yet.empty())
      return fmt::format("Nothing of setup is left on {}. HINT: leave again, it ends what remains",
                         fmt::join(left, ", "));
    return fmt::format(
        "Nothing of setup is left on {}; {} is as it was. HINT: leave again, it goes on from here",
        fmt::join(left, ", "), fmt::join(not_yet, ", "));
  };
  flow.success = [](Action& a) {
    return fmt::format(
        "topology {} is left: {} goes on with the archive settings it had before; the archive and the undo "
        "directories stay",
        a.meta.name, text_at(a.status.operation.inputs, {"member"}));
  };
  return flow;
}

}  // namespace pgrunbook::execute
