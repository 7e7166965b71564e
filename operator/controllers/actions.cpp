#include "controllers/actions.hpp"

#include <fmt/format.h>

#include "controllers/leftovers.hpp"
#include "execute/duty.hpp"
#include "runtime/log.hpp"

namespace pgrunbook::controllers {

using base::ErrorCode;
using base::Json;
using base::Result;
using base::text_at;
using execute::Action;
using execute::World;

namespace {

// null means absent: CRD schemas refuse null for most fields.
Json without_nulls(const Json& value) {
  if (value.is_object()) {
    Json out = Json::object();
    for (const auto& [key, item] : value.items()) {
      if (!item.is_null()) out[key] = without_nulls(item);
    }
    return out;
  }
  if (value.is_array()) {
    Json out = Json::array();
    for (const Json& item : value) out.push_back(without_nulls(item));
    return out;
  }
  return value;
}

}  // namespace

Result<execute::Flow> flow_of(Action& a) {
  const Json& spec = base::at(a.object, {"spec"});
  if (a.flow == "Leave") return execute::leave_flow(a);
  if (a.kind == "PostgresTopology") {
    PGR_ASSIGN(api::TopologySpec s, api::topology_spec(spec));
    return execute::setup_flow(a, s);
  }
  if (a.kind == "PostgresBackup") {
    PGR_ASSIGN(api::BackupSpec s, api::backup_spec(spec));
    execute::Flow flow = execute::backup_flow(a, s);
    flow.cancel = a.meta.deleting;
    return flow;
  }
  if (a.kind == "PostgresRestore") {
    PGR_ASSIGN(api::RestoreSpec s, api::restore_spec(spec));
    return execute::restore_flow(a, s);
  }
  PGR_ASSIGN(api::FailoverSpec s, api::failover_spec(spec));
  return execute::cutover_flow(a, s);
}

Result<Json> write_status(kube::Api& api, const kube::Resource& resource, const Json& object,
                          const Json& status) {
  Json patch = Json::array({{{"op", "test"},
                             {"path", "/metadata/resourceVersion"},
                             {"value", text_at(object, {"metadata", "resourceVersion"})}},
                            {{"op", "add"}, {"path", "/status"}, {"value", without_nulls(status)}}});
  return api.patch(resource, text_at(object, {"metadata", "namespace"}),
                   text_at(object, {"metadata", "name"}), kube::PatchType::kJson, patch, "status",
                   World::soon());
}

Result<> save_action(Action& a, const Json& live, const StatusWriter& write) {
  auto kept = execute::keep_duty(a, base::at(live, {"operation"}));
  Json status = api::to_json(a.status);
  if (!kept) {
    // What may pass is tried again in silence; of a refusal somebody must hear, and nothing goes on
    // meanwhile.
    if (execute::StepResult::of(kept.error()).kind == execute::StepResult::Kind::kWaiting)
      return base::fail(kept.error());
    api::ActionStatus told = api::status_of({{"status", live}});
    told.phase = api::Phase::kBlocked;
    told.reason = kept.error().reason_or_code();
    told.message = fmt::format("step {} needs help: {}", told.operation.step, kept.error().text());
    told.set_conditions(a.meta.generation, base::format_time(base::now()));
    status = api::to_json(told);
    // Read and written alike: the API server keeps no nulls.
    if (status == api::to_json(api::status_of({{"status", live}}))) return base::fail(kept.error());
  }
  PGR_ASSIGN(Json written, write(a, status));
  a.object = std::move(written);
  a.meta = api::meta_of(a.object);
  if (!kept) return base::fail(kept.error());
  return {};
}

runtime::Outcome drive(Action& action, const execute::Flow& flow, const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    api::Phase before = action.status.phase;
    std::string step = action.status.step;
    auto again = execute::advance(action, flow);
    if (action.status.phase != before || action.status.step != step) {
      runtime::log_info(
          "action", action.status.message,
          {{"phase", std::string(api::to_string(action.status.phase))}, {"step", action.status.step}});
    }
    if (!again) return again.error();
    if (!*again) return runtime::Done{};
    if (**again > std::chrono::milliseconds(0)) return runtime::After{**again};
  }
  return runtime::After{std::chrono::milliseconds(100)};
}

runtime::Outcome reconcile_action(World& world, const kube::Resource& resource, const runtime::Key& key,
                                  const std::stop_token& stop) {
  auto object = world.api.get(resource, key.ns, key.name, World::soon());
  if (!object) {
    if (object.error().code != ErrorCode::kNotFound) return object.error();
    return drive_leftover(world, resource.kind, key, "", stop).value_or(runtime::Done{});
  }
  Action a{world, resource, *object, api::meta_of(*object), api::status_of(*object), resource.kind, {}};
  a.save = [](Action& action) -> Result<> {
    return save_action(action, base::at(action.object, {"status"}), [](Action& x, const Json& status) {
      return write_status(x.world.api, x.resource, x.object, status);
    });
  };
  if (api::terminal(a.status.phase)) return runtime::Done{};
  if (a.status.phase == api::Phase::kPending && a.kind != "PostgresBackup") {
    // One of the same name was deleted and may not be put back yet: it comes first. A backup leaves nothing.
    if (auto first = drive_leftover(world, resource.kind, key, a.meta.uid, stop); first)
      return std::holds_alternative<runtime::Done>(*first) ? runtime::After{std::chrono::milliseconds(0)}
                                                           : *first;
  }
  auto flow = flow_of(a);
  if (!flow) {
    // Not understood: never guessed at. It stays Blocked until the object or the operator changes.
    Json before = api::to_json(a.status);
    a.status.phase = api::Phase::kBlocked;
    a.status.reason = flow.error().reason_or_code();
    a.status.message = flow.error().text();
    a.status.set_conditions(a.meta.generation, base::format_time(base::now()));
    if (api::to_json(a.status) != before) {
      if (auto saved = a.save(a); !saved) return saved.error();
      world.event(a.object, "Warning", a.status.reason, a.status.message);
    }
    return runtime::Terminal{flow.error()};
  }
  return drive(a, *flow, stop);
}

}  // namespace pgrunbook::controllers
