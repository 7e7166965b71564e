#include "controllers/leftovers.hpp"

#include <fmt/format.h>

#include "controllers/actions.hpp"
#include "runtime/log.hpp"

namespace pgrunbook::controllers {

using base::Json;
using base::text_at;
using execute::Duty;
using execute::World;

namespace {

constexpr auto kLook = std::chrono::seconds(10);
constexpr auto kReadable = std::chrono::minutes(1);  // how long the end of leaving stays to be read

base::Result<std::vector<Duty>> duties(World& world) {
  PGR_ASSIGN(Json leases, execute::our_leases(world));
  std::vector<Duty> out;
  for (const Json& lease : leases) {
    auto duty = execute::duty_of(lease);
    if (!duty) {
      runtime::log_error("leftovers", duty.error().text());
    } else if (*duty) {
      out.push_back(**duty);
    }
  }
  return out;
}

}  // namespace

bool is_leftover(const Duty& duty, const std::string& live_uid) {
  return duty.flow == "Leave" || text_at(duty.object, {"metadata", "uid"}) != live_uid;
}

std::optional<runtime::Outcome> drive_leftover(World& world, const std::string& kind, const runtime::Key& key,
                                               const std::string& live_uid, const std::stop_token& stop) {
  auto all = duties(world);
  if (!all) return all.error();
  for (Duty& duty : *all) {
    if (duty.kind != kind || text_at(duty.object, {"metadata", "name"}) != key.name ||
        !is_leftover(duty, live_uid))
      continue;
    bool leave = duty.flow == "Leave";
    // Flows cancel what is being deleted, up to the point of no return.
    if (!leave) duty.object["metadata"]["deletionTimestamp"] = base::format_time(base::now());
    execute::Action a = execute::action_of(world, duty);
    runtime::Outcome outcome = runtime::Done{};
    if (!api::terminal(a.status.phase)) {
      auto flow = flow_of(a);
      if (!flow) return runtime::Terminal{flow.error()};
      outcome = drive(a, *flow, stop);
    }
    if (!api::terminal(a.status.phase)) {
      if (std::holds_alternative<runtime::Done>(outcome)) return runtime::After{std::chrono::seconds(1)};
      return outcome;
    }
    auto ended = base::parse_time(a.status.completion_time, "completionTime");
    if (leave && ended && base::now() - *ended < kReadable) continue;
    // Its Jobs go with it. One of that name may be another action's by now: that is left alone.
    auto gone = world.api.remove(kube::kinds::kLease, world.ns, duty.lease, duty.lease_uid, World::soon());
    if (!gone && gone.error().code != base::ErrorCode::kConflict &&
        gone.error().code != base::ErrorCode::kNotFound)
      return gone.error();
    return runtime::Done{};
  }
  return std::nullopt;
}

runtime::Outcome find_leftovers(
    World& world, const std::function<void(const std::string& kind, const runtime::Key&)>& enqueue) {
  auto all = duties(world);
  if (!all) return all.error();
  for (const Duty& duty : *all) enqueue(duty.kind, {world.ns, text_at(duty.object, {"metadata", "name"})});
  return runtime::After{kLook};
}

}  // namespace pgrunbook::controllers
