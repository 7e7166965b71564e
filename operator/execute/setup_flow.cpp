#include <fmt/format.h>

#include "execute/flows.hpp"
#include "execute/gate.hpp"
#include "execute/jobs.hpp"
#include "execute/members.hpp"
#include "execute/standing.hpp"

namespace pgrunbook::execute {

using base::at;
using base::text_at;

namespace {

const plan::MemberView* member_of(Action& a, const plan::SceneView& scene) {
  return scene.member(text_at(a.status.operation.inputs, {"member"}));
}

StepResult plan_setup(Action& a, const api::TopologySpec& spec) {
  Json& in = a.status.operation.inputs;
  in["topology"] = a.meta.name;
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* m = scene->member(scene->primary);
  if (m == nullptr) {
    return StepResult::blocked(plan::no_primary(*scene));
  }
  if (auto gate = standing_gate(a, *scene)) return *gate;
  if (auto gate = recreate_gate(*m)) return StepResult::blocked(gate->error);
  std::vector<std::string> running;
  for (const plan::ApplicationView& app : scene->applications) {
    if (app.replicas > 0 || !app.pods.empty()) running.push_back(app.workload.name);
  }
  if (!running.empty()) {
    return StepResult::blocked(base::refused(
        "ApplicationsRunning",
        fmt::format("setting up archiving restarts {}, and the applications {} are running", m->name,
                    fmt::join(running, ", ")),
        fmt::format("scale them to 0 for a minute: kubectl scale {} --replicas=0; it goes on by itself",
                    fmt::format("deployment/{}", fmt::join(running, " deployment/")))));
  }
  if (auto gate = network_gate(a.world, "the operator", "pgrunbook-operator", a.world.own_labels, *m))
    return *gate;
  auto login = application_login(a.world, *scene, *m);
  // Nothing is touched yet: what a person mends in a Secret is seen at the next look.
  if (!login && login.error().code == base::ErrorCode::kRefused) return StepResult::blocked(login.error());
  if (!login) return StepResult::of(login.error());
  auto session = a.world.connect(*login, Deadline::after(std::chrono::seconds(8)));
  if (!session) return not_connected(a, session.error());
  // ALTER SYSTEM would change nothing: the server's command line and environment outrank it.
  auto fixed = session->query(
      "select name, setting, source from pg_settings where name in ('archive_mode', 'archive_command') and "
      "source in ('command line', 'environment variable', 'override')",
      {}, Deadline::after(std::chrono::seconds(5)));
  if (!fixed) return StepResult::of(fixed.error());
  if (!fixed->empty()) {
    const sql::Row& r = fixed->front();
    return StepResult::blocked(
        base::refused("SettingsOverridden",
                      fmt::format("{} is started with {} = {} ({}), which outranks what setup would write",
                                  m->name, r[0].value_or(""), r[1].value_or(""), r[2].value_or("")),
                      "remove it from the container's command, args or environment; the setting belongs into "
                      "a configuration "
                      "file"));
  }
  auto command =
      session->value("select current_setting('archive_command')", Deadline::after(std::chrono::seconds(5)));
  std::string former = command ? *command : "";
  // Ours only where it archives to this topology's repository: another topology's archive must not end
  // silently.
  bool ours =
      former.find("pgrunbook-agent archive-wal --repository " + m->repository + " ") != std::string::npos;
  if (!former.empty() && former != "(disabled)" && !ours && !spec.archive.wal.replace_existing) {
    return StepResult::blocked(base::refused(
        "ForeignArchiveCommand", fmt::format("{} archives by another command: {}", m->name, former),
        "it is kept; to replace it set spec.archive.wal.replaceExisting: true"));
  }
  JobCall job;
  job.step = "setup";
  job.job = api::jobs::kSetup;
  job.member = m;
  job.data = specs::Mount::kReadWrite;
  job.with_application_login = true;
  if (auto gate = room_gate(a, job.step, a.status.operation.attempt, {wish_of(a, *scene, job)})) return *gate;
  if (auto made = ensure_role_password(a.world); !made) return StepResult::of(made.error());
  in["member"] = m->name;
  in["replicas"] = std::max(1, m->replicas);
  in["claims"] = Json::array({m->data_claim_uid});
  in["replaceExisting"] = spec.archive.wal.replace_existing;
  in["former"] = former;
  a.status.plan = {
      {"digest", plan_digest(a.meta.uid, {{"member", m->name}})},
      {"facts", {{"member", m->name}, {"formerArchiveCommand", former}, {"repository", m->repository}}}};
  return StepResult::done();
}

StepResult setup_job(Action& a, bool put_back) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* m = member_of(a, *scene);
  if (m == nullptr) return no_member("the member");
  if (put_back) {
    if (auto used = nobody_started(*m)) return *used;
  } else if (auto back = must_be_down(a, *m)) {
    return *back;
  }
  auto claim =
      put_back ? claim_left_by(a, "setup", a.status.operation.attempt) : Result<std::string>(std::string());
  if (!claim) return StepResult::of(claim.error());
  JobCall call;
  call.step = put_back ? "put-back" : "setup";
  // Its tries are counted by the Job's number, so an attempt has a name of its own.
  if (int n = a.status.operation.attempt; put_back && n > 1) call.step = fmt::format("put-back-{}", n);
  call.job = api::jobs::kSetup;
  call.try_again = put_back;
  call.member = m;
  call.data = specs::Mount::kReadWrite;
  call.with_application_login = true;
  call.attempt = put_back ? 1 : a.status.operation.attempt;
  call.fill = [&](api::Order& o) {
    o.setup.attempt = a.status.operation.attempt;
    o.setup.put_back = put_back;
    if (!claim->empty()) o.undo = {{"brokenClaim", *claim}};
    o.setup.replace_existing = at(a.status.operation.inputs, {"replaceExisting"}) == Json(true);
  };
  return run_job(a, *scene, call);
}

StepResult proof(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* m = member_of(a, *scene);
  if (m == nullptr) return no_member("the member");
  if (a.result("marker").is_null()) {
    auto session = connect_role(a, *scene, *m);
    if (!session) return StepResult::of(session.error());
    auto mode =
        session->value("select current_setting('archive_mode') || ' ' || current_setting('archive_command')",
                       Deadline::after(std::chrono::seconds(5)));
    if (!mode) return StepResult::of(mode.error());
    if (mode->rfind("on ", 0) != 0 || mode->find("pgrunbook-agent archive-wal") == std::string::npos) {
      return StepResult::failed(base::refused(
          "SettingsOverridden",
          fmt::format("after setup {} runs with archive_mode and archive_command: {}", m->name, *mode),
          "a setting on the server's command line outranks ALTER SYSTEM; remove it from the container's "
          "arguments"));
    }
    auto marked = mark_and_switch(*session, "pgrunbook setup proof");
    if (!marked) return StepResult::of(marked.error());
    a.status.operation.results["marker"] = *marked;
    if (auto saved = a.save(a); !saved) return StepResult::of(saved.error());
  }
  JobCall call;
  call.step = "proof";
  call.job = api::jobs::kProof;
  call.member = m;
  call.attempt = a.status.operation.attempt;
  call.fill = [&](api::Order& o) { wait_for_mark(&o.plan, a.result("marker")); };
  return run_job(a, *scene, call);
}

}  // namespace

Flow setup_flow(Action& action, const api::TopologySpec& spec) {
  Flow flow;
  flow.cancel = action.meta.deleting || spec.archive.wal.setup != "ConfigureAndRestart";
  flow.plan = [spec](Action& a) { return plan_setup(a, spec); };
  flow.steps = [](Action& a) {
    const Json& in = a.status.operation.inputs;
    std::string name = text_at(in, {"member"});
    int replicas = static_cast<int>(base::number_at(in, {"replicas"}, 1));
    std::vector<Step> steps;
    steps.push_back(hold_step("the volume of " + name));
    Step stop;
    stop.planned = {
        "stop-primary", api::StepKind::kConvergent,
        fmt::format("stop {} cleanly with a session of the application's role, scale it to 0", name)};
    stop.run = [name](Action& x) { return stop_member(x, "stop-primary", name, Login::kApplication); };
    stop.revert = [name, replicas](Action& x) { return start_member(x, name, replicas); };
    stop.patience = kPatience;
    steps.push_back(stop);
    Step job;
    job.planned = {"setup", api::StepKind::kConvergent,
                   fmt::format("in a Job on the volume of {}: make the role pgrunbook, set archive_mode, "
                               "archive_command and pg_hba, install the agent",
                               name)};
    job.run = [](Action& x) { return setup_job(x, false); };
    job.revert = [](Action& x) { return setup_job(x, true); };
    steps.push_back(job);
    Step start;
    start.planned = {"start-primary", api::StepKind::kConvergent,
                     fmt::format("scale {} back and wait until it is ready", name)};
    start.run = [name, replicas](Action& x) { return start_member(x, name, replicas); };
    // It may be that the archive takes nothing: that is no reason to leave it so.
    start.revert = [name](Action& x) {
      return stop_member(x, "undo-stop", name, Login::kRole, UnarchivedWal::kStays);
    };
    start.patience = kPatience;
    steps.push_back(start);
    Step prove;
    prove.planned = {
        "prove", api::StepKind::kConvergent,
        "read the settings back as the role pgrunbook, switch WAL, and see the segment in the archive"};
    prove.run = proof;
    steps.push_back(prove);
    return steps;
  };
  flow.record = release_all;
  flow.as_before = [](Action& a) -> std::string {
    if (a.result("setup-pod").is_null()) return "";  // its Job never ran
    return "Everything is as it was before, but for the role pgrunbook and the agent on the volume: they may "
           "be there, unused";
  };
  flow.success = [](Action& a) {
    return fmt::format("{} archives to {}", text_at(a.status.operation.inputs, {"member"}),
                       text_at(a.status.plan, {"facts", "repository"}));
  };
  return flow;
}

}  // namespace pgrunbook::execute
