#include "controllers/topology.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "controllers/actions.hpp"
#include "controllers/leftovers.hpp"
#include "execute/archiving.hpp"
#include "execute/duty.hpp"
#include "execute/standing.hpp"
#include "execute/symptoms.hpp"
#include "plan/symptoms.hpp"
#include "plan/topology_events.hpp"
#include "plan/topology_status.hpp"

namespace pgrunbook::controllers {

using base::at;
using base::ErrorCode;
using base::Json;
using base::text_at;
using execute::Action;
using execute::World;

namespace {

// From one look to the next, where no change of an object brings one sooner: the servers tell nobody.
constexpr auto kCalm = std::chrono::seconds(30);
constexpr auto kTrouble = std::chrono::seconds(10);

// A topology's setup is an action of its own, kept under status.setup.
Action setup_of(World& world, const Json& object) {
  const kube::Resource& kind = kube::kinds::kTopology;
  Action a{world,
           kind,
           object,
           api::meta_of(object),
           api::status_of(Json{{"status", at(object, {"status", "setup"})}}),
           kind.kind,
           {}};
  a.save = [](Action& action) -> base::Result<> {
    return save_action(action, at(action.object, {"status", "setup"}), [](Action& x, const Json& setup) {
      Json whole = at(x.object, {"status"}).is_object() ? at(x.object, {"status"}) : Json::object();
      whole["setup"] = setup;
      return write_status(x.world.api, x.resource, x.object, whole);
    });
  };
  return a;
}

// Whether the world is still as the last cutover left it, and whether those who steer agree: conditions
// and one event, and nothing is changed back. Nothing is judged while a Failover moves things.
plan::Consistency look_at_the_day_after(World& world, const Json& object, plan::SceneView& scene,
                                        execute::StandingView& view, plan::StatusEditor& say) {
  plan::Standing& standing = view.standing;
  plan::Consistency out{"True", "OneMember", fmt::format("every Service selects {}", scene.primary)};
  if (!view.under_way.empty()) {
    if (api::condition_status(at(object, {"status", "conditions"}), "ServiceConsistent").empty() &&
        !scene.primary.empty())
      say.set("ServiceConsistent", out.status, out.reason, out.message);
    return out;
  }
  if (standing.kind == plan::Standing::Kind::kAccepted) {
    standing.recorded = plan::accept(scene, standing, base::format_time(base::now()));
    world.event(object, "Normal", "PrimaryAccepted",
                fmt::format("{} is taken for the primary: {}", scene.primary, standing.why));
  }
  if (standing.recorded) {
    say.status()["cutover"] = plan::to_json(*standing.recorded);
    std::optional<plan::ServerFacts> old_primary;
    if (const plan::MemberView* old = plan::old_primary_scaled_up(scene, *standing.recorded); old != nullptr)
      old_primary = execute::ask_server(world, scene, *old);
    out = plan::judge_consistency(scene, standing, old_primary);
  }
  if (!scene.primary.empty() || out.status == "False") {
    say.set("ServiceConsistent", out.status, out.reason, out.message);
  }
  plan::Alignment aligned = plan::judge_alignment(plan::expectations(scene, standing));
  say.set("GitOpsAligned", aligned.status, aligned.reason, aligned.message);
  // The selector's word counts for nothing now: what is looked at is the primary.
  if (standing.kind == plan::Standing::Kind::kReverted) {
    if (const plan::MemberView* to = plan::recorded_primary(scene, *standing.recorded); to != nullptr)
      scene.primary = to->name;
  }
  return out;
}

// Condition, members and the way out. Who has made which restore is asked only where something is wrong.
void say_health(World& world, const plan::SceneView& scene, const std::vector<plan::MemberHealth>& health,
                plan::StatusEditor& say) {
  plan::MendFacts facts;
  facts.has_backup = say.status().contains("restorableWindow");
  bool ill = std::any_of(health.begin(), health.end(), [](const auto& m) { return m.symptom.has_value(); });
  if (ill) {
    if (auto list = world.api.list(kube::kinds::kRestore, world.ns, {}, World::soon()); list)
      facts.restores = at(*list, {"items"});
    if (auto list = world.api.list(kube::kinds::kFailover, world.ns, {}, World::soon()); list)
      facts.failovers = at(*list, {"items"});
  }
  plan::say_health(say, health, plan::judge_health(scene, health, facts));
}

}  // namespace

runtime::Outcome reconcile_topology(World& world, const runtime::Store& backups, const runtime::Key& key,
                                    const std::stop_token& stop) {
  const kube::Resource& kind = kube::kinds::kTopology;
  auto object = world.api.get(kind, key.ns, key.name, World::soon());
  if (!object) {
    if (object.error().code != ErrorCode::kNotFound) return object.error();
    return drive_leftover(world, kind.kind, key, "", stop).value_or(runtime::Done{});
  }
  if (auto first = drive_leftover(world, kind.kind, key, text_at(*object, {"metadata", "uid"}), stop); first)
    return *first;
  Action a = setup_of(world, *object);
  Json status = at(*object, {"status"});
  plan::StatusEditor say(&status, a.meta.generation, base::format_time(base::now()));
  auto write = [&]() -> base::Result<> {
    status["observedGeneration"] = a.meta.generation;
    if (!plan::is_news(at(a.object, {"status"}), status)) return {};
    Json before = at(a.object, {"status"});
    PGR_ASSIGN(Json written, write_status(world.api, a.resource, a.object, status));
    a.object = std::move(written);
    for (const plan::TopologyEvent& e : plan::topology_events(before, status))
      world.event(a.object, e.type, e.reason, e.message);
    return {};
  };
  auto stalled = [&](const base::Error& e) -> runtime::Outcome {
    say.stalled(e);
    if (auto w = write(); !w) return w.error();
    return runtime::After{kTrouble};
  };

  auto spec = api::topology_spec(at(*object, {"spec"}));
  if (!spec) return stalled(spec.error());
  auto scene = execute::scene_of_topology(world, *object);
  if (!scene)
    return scene.error().code == ErrorCode::kRefused || scene.error().code == ErrorCode::kInvalid
               ? stalled(scene.error())
               : runtime::Outcome(scene.error());
  auto view = execute::look_at_standing(world, *scene, *object);
  if (!view) return view.error();
  const bool reverted = view->standing.kind == plan::Standing::Kind::kReverted;
  plan::Consistency consistent = look_at_the_day_after(world, *object, *scene, *view, say);
  const plan::MemberView* primary = scene->member(scene->primary);
  if (primary == nullptr) {
    base::Error why = plan::no_primary(*scene);
    say.set("ServiceConsistent", "False", why.reason, why.text());
    return stalled(why);
  }
  status["primary"] = primary->name;

  auto health = execute::look_at_members(world, *scene, at(*object, {"status", "members"}), base::now());
  auto write_health = [&]() -> base::Result<> {
    say_health(world, *scene, health, say);
    auto written = write();
    if (!written) world.log_reads->forget();
    return written;
  };

  plan::TopologyFacts facts;
  facts.scene = &*scene;
  facts.now = base::format_time(base::now());
  facts.archiving = plan::judge_archiving(*primary, execute::look_at_archiver(world, *scene, *primary));
  facts.setup.allowed = spec->archive.wal.setup == "ConfigureAndRestart";
  bool under_way = a.status.phase != api::Phase::kPending && !api::terminal(a.status.phase);
  // A setup that failed was put back; it is tried again when the spec changes, never in a loop of restarts.
  facts.setup.failed_before = facts.setup.allowed && a.status.phase == api::Phase::kFailed &&
                              a.status.observed_generation == a.meta.generation;
  if (facts.archiving.needs_setup && facts.setup.allowed && !under_way && !reverted &&
      !facts.setup.failed_before) {
    int attempt = api::terminal(a.status.phase) ? a.status.operation.attempt + 1 : 1;
    a.status = api::status_of(Json::object());
    a.status.operation.attempt = attempt;
    under_way = true;
  }
  runtime::Outcome outcome = runtime::After{kCalm};
  if (under_way) {
    outcome = drive(a, execute::setup_flow(a, *spec), stop);
    if (std::holds_alternative<base::Error>(outcome)) return outcome;
    if (std::holds_alternative<runtime::Done>(outcome))
      outcome = runtime::After{std::chrono::milliseconds(200)};
    // The status was written under us: go on from what is there now.
    status["setup"] = at(a.object, {"status", "setup"});
    if (!api::terminal(a.status.phase)) {
      say.setting_up(a.status);
      if (auto w = write_health(); !w) return w.error();
      return outcome;
    }
    facts.archiving = plan::judge_archiving(*primary, execute::look_at_archiver(world, *scene, *primary));
  }
  facts.setup.reason = a.status.reason;
  facts.setup.message = a.status.message;
  for (const runtime::Snapshot& b : backups.list()) facts.backups.push_back(*b);
  plan::say_topology(say, facts);
  if (consistent.status == "False") say.stalled(base::refused(consistent.reason, consistent.message));
  if (auto w = write_health(); !w) return w.error();
  const bool well =
      consistent.status == "True" && facts.archiving.status == "True" &&
      std::none_of(health.begin(), health.end(), [](const plan::MemberHealth& m) { return m.symptom; });
  if (!under_way && !well) return runtime::After{kTrouble};
  return outcome;
}

}  // namespace pgrunbook::controllers
