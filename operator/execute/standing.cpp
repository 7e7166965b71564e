#include "execute/standing.hpp"

#include <fmt/format.h>

#include "execute/members.hpp"
#include "postgres/timeline.hpp"

namespace pgrunbook::execute {

using base::at;
using base::ErrorCode;
using base::fail;
using base::number_at;
using base::text_at;

plan::ServerFacts ask_server(World& world, const plan::SceneView& scene, const plan::MemberView& m) {
  plan::ServerFacts out;
  auto soon = [] { return Deadline::after(std::chrono::seconds(5)); };
  auto login = role_login(world, scene, m);
  if (!login) {
    out.no_answer = login.error();
    return out;
  }
  auto session = world.connect(*login, soon());
  if (!session) {
    out.no_answer = session.error();
    return out;
  }
  auto who = identify(*session);
  if (!who) {
    out.no_answer = who.error();
    return out;
  }
  out.in_recovery = at(*who, {"inRecovery"}) != Json(false);
  out.system = text_at(*who, {"systemIdentifier"});
  out.timeline = number_at(*who, {"timeline"});
  if (out.in_recovery || out.timeline < 2) return out;
  sql::Target replication = *login;
  replication.replication = true;
  auto stream = world.connect(replication, soon());
  if (!stream) return out;
  auto rows = stream->command(fmt::format("TIMELINE_HISTORY {}", out.timeline), soon());
  if (rows && rows->size() == 1 && rows->front().size() == 2) out.history = rows->front()[1].value_or("");
  return out;
}

Result<StandingView> look_at_standing(World& world, const plan::SceneView& scene) {
  if (!scene.topology_object.is_null()) return look_at_standing(world, scene, scene.topology_object);
  auto topology = world.api.get(kube::kinds::kTopology, world.ns, scene.topology, World::soon());
  if (!topology && topology.error().code != ErrorCode::kNotFound) return fail(topology.error());
  return look_at_standing(world, scene,
                          topology ? *topology : Json{{"metadata", {{"name", scene.topology}}}});
}

Result<StandingView> look_at_standing(World& world, const plan::SceneView& scene, const Json& object) {
  PGR_ASSIGN(Json failovers, world.api.list(kube::kinds::kFailover, world.ns, {}, World::soon()));
  const Json& items = at(failovers, {"items"});
  StandingView out;
  for (const Json& f : items) {
    if (text_at(f, {"spec", "topologyRef", "name"}) != scene.topology ||
        text_at(f, {"status", "operation", "step"}).empty() ||
        api::terminal(api::phase_from(text_at(f, {"status", "phase"}))))
      continue;
    out.under_way = text_at(f, {"metadata", "name"});
    out.past_no_return = out.past_no_return || at(f, {"status", "operation", "pastNoReturn"}) == Json(true);
  }
  auto recorded = plan::last_cutover(object, items);
  std::optional<plan::ServerFacts> server;
  if (const plan::MemberView* selected = scene.member(scene.primary);
      recorded && selected != nullptr && !plan::as_recorded(scene, *recorded))
    server = ask_server(world, scene, *selected);
  out.standing = plan::judge_standing(
      scene, recorded, server, text_at(object, {"metadata", "annotations", api::kAnnotationAcceptPrimary}));
  return out;
}

std::optional<StepResult> standing_gate(Action& a, const plan::SceneView& scene) {
  auto view = look_at_standing(a.world, scene);
  if (!view) return StepResult::of(view.error());
  if (view->past_no_return) {
    return StepResult::waiting(
        fmt::format("Failover {} is under way and only goes forward; it comes first", view->under_way),
        std::chrono::seconds(2));
  }
  if (view->standing.kind == plan::Standing::Kind::kReverted)
    return StepResult::blocked(plan::reverted(scene, view->standing));
  return std::nullopt;
}

Result<> keep_cutover(Action& a) {
  Json done = a.object;
  done["status"] = api::to_json(a.status);
  done["status"]["phase"] = "Completed";
  done["status"]["completionTime"] = base::format_time(base::now());
  std::string topology = text_at(a.status.operation.inputs, {"topology"});
  auto cutover = plan::cutover_of(done, topology);
  if (!cutover) return {};
  auto live = a.world.api.get(kube::kinds::kTopology, a.world.ns, topology, World::soon());
  if (!live) return live.error().code == ErrorCode::kNotFound ? Result<>{} : fail(live.error());
  if (text_at(*live, {"status", "cutover", "uid"}) == cutover->uid) return {};
  Json value = plan::to_json(*cutover);
  bool first = !at(*live, {"status"}).is_object();
  Json patch = Json::array({{{"op", "test"},
                             {"path", "/metadata/resourceVersion"},
                             {"value", text_at(*live, {"metadata", "resourceVersion"})}},
                            {{"op", "add"},
                             {"path", first ? "/status" : "/status/cutover"},
                             {"value", first ? Json{{"cutover", value}} : value}}});
  auto kept = a.world.api.patch(kube::kinds::kTopology, a.world.ns, topology, kube::PatchType::kJson, patch,
                                "status", World::soon());
  if (!kept) return fail(kept.error().in("keep the cutover in the topology's status"));
  return {};
}

Result<> undisturbed(Action& a, const plan::SceneView& scene, Switched switched) {
  const Json& in = a.status.operation.inputs;
  const plan::MemberView* from = scene.member(text_at(in, {"from"}));
  for (const plan::ServiceView& s : scene.services) {
    if (switched == Switched::kPartly) break;
    const Json& wanted = at(in, {"services", s.name, switched == Switched::kYes ? "new" : "old"});
    if (wanted.is_null() || s.selector == wanted) continue;
    return fail(base::refused(
        "ServiceChanged",
        fmt::format("the selector of Service {} is {} and not {}: {} set it", s.name, s.selector.dump(),
                    wanted.dump(), plan::who_set(s.steering)),
        fmt::format(
            "let that one leave it alone or commit status.plan.gitChanges; right is: kubectl patch service "
            "{} "
            "-n {} --type=json -p '[{{\"op\":\"replace\",\"path\":\"/spec/selector\",\"value\":{}}}]'",
            s.name, scene.ns, wanted.dump())));
  }
  if (from != nullptr && (from->replicas > 0 || !from->pods.empty())) {
    std::string workload = fmt::format("{}/{}", from->workload.kind, from->workload.name);
    return fail(base::refused(
        "OldPrimaryStarted",
        from->replicas > 0
            ? fmt::format("{}, which was stopped and fenced, was scaled up to {}: {} set it", from->name,
                          from->replicas, plan::who_set(from->steering))
            : fmt::format("a pod of {}, which was stopped and fenced, is still there", from->name),
        fmt::format(
            "let that one leave it alone or commit status.plan.gitChanges; right is: kubectl scale {} -n {} "
            "--replicas=0",
            workload, scene.ns)));
  }
  return {};
}

}  // namespace pgrunbook::execute
