#include "controllers/topology.hpp"

#include <fmt/format.h>

#include "controllers/actions.hpp"
#include "controllers/leftovers.hpp"
#include "execute/archiving.hpp"
#include "execute/duty.hpp"
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

constexpr auto kCalm = std::chrono::seconds(15);

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
    PGR_TRY(execute::keep_duty(action, at(action.object, {"status", "setup", "operation"})));
    Json status = at(action.object, {"status"}).is_object() ? at(action.object, {"status"}) : Json::object();
    status["setup"] = api::to_json(action.status);
    PGR_ASSIGN(Json written, write_status(action.world.api, action.resource, action.object, status));
    action.object = std::move(written);
    action.meta = api::meta_of(action.object);
    return {};
  };
  return a;
}

}  // namespace

runtime::Outcome reconcile_topology(World& world, const runtime::Key& key, std::stop_token stop) {
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
    PGR_ASSIGN(Json written, write_status(world.api, kind, a.object, status));
    a.object = std::move(written);
    for (const plan::TopologyEvent& e : plan::topology_events(before, status))
      world.event(a.object, e.type, e.reason, e.message);
    return {};
  };
  auto stalled = [&](const base::Error& e) -> runtime::Outcome {
    say.stalled(e);
    if (auto w = write(); !w) return w.error();
    return runtime::After{kCalm};
  };

  auto spec = api::topology_spec(at(*object, {"spec"}));
  if (!spec) return stalled(spec.error());
  auto scene = execute::observe_scene(world, key.name);
  if (!scene)
    return scene.error().code == ErrorCode::kRefused || scene.error().code == ErrorCode::kInvalid
               ? stalled(scene.error())
               : runtime::Outcome(scene.error());
  const plan::MemberView* primary = scene->member(scene->primary);
  if (primary == nullptr) {
    base::Error why = plan::no_primary(*scene);
    say.set("ServiceConsistent", "False", why.reason, why.text());
    return stalled(why);
  }
  status["primary"] = primary->name;
  say.set("ServiceConsistent", "True", "OneMember", fmt::format("every Service selects {}", primary->name));

  plan::TopologyFacts facts;
  facts.scene = &*scene;
  facts.now = base::format_time(base::now());
  facts.archiving = plan::judge_archiving(*primary, execute::look_at_archiver(world, *scene, *primary));
  facts.setup.allowed = spec->archive.wal.setup == "ConfigureAndRestart";
  bool under_way = a.status.phase != api::Phase::kPending && !api::terminal(a.status.phase);
  // A setup that failed was put back; it is tried again when the spec changes, never in a loop of restarts.
  facts.setup.failed_before = api::terminal(a.status.phase) && a.status.phase != api::Phase::kCompleted &&
                              a.status.observed_generation == a.meta.generation;
  if (facts.archiving.needs_setup && facts.setup.allowed && !under_way && !facts.setup.failed_before) {
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
      if (auto w = write(); !w) return w.error();
      return outcome;
    }
    facts.archiving = plan::judge_archiving(*primary, execute::look_at_archiver(world, *scene, *primary));
  }
  facts.setup.reason = a.status.reason;
  facts.setup.message = a.status.message;
  if (auto list = world.api.list(kube::kinds::kBackup, world.ns, {}, World::soon()); list)
    facts.backups = at(*list, {"items"});
  plan::say_topology(say, facts);
  if (auto w = write(); !w) return w.error();
  return outcome;
}

}  // namespace pgrunbook::controllers
