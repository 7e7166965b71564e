#include "execute/symptoms.hpp"

namespace pgrunbook::execute {

using base::at;
using base::text_at;

namespace {

// Of one that does not serve: its last start. Of one that serves: what a minute brings.
constexpr kube::LogOptions kStart{.tail_lines = 100, .limit_bytes = 256 << 10};
constexpr kube::LogOptions kMinute{.tail_lines = 200, .limit_bytes = 64 << 10};

std::optional<plan::Symptom> known(const Json& members, const std::string& name) {
  if (!members.is_array()) return std::nullopt;
  for (const Json& m : members) {
    if (text_at(m, {"name"}) == name) return plan::symptom_from_json(at(m, {"symptom"}));
  }
  return std::nullopt;
}

}  // namespace

std::optional<plan::LogRead> LogReads::last(const std::string& member) const {
  std::lock_guard lock(mutex_);
  auto found = by_member_.find(member);
  return found == by_member_.end() ? std::nullopt : std::optional(found->second);
}

void LogReads::read(const std::string& member, plan::LogRead what) {
  std::lock_guard lock(mutex_);
  by_member_[member] = std::move(what);
}

void LogReads::forget() {
  std::lock_guard lock(mutex_);
  by_member_.clear();
}

std::vector<plan::MemberHealth> look_at_members(World& world, const plan::SceneView& scene,
                                                const Json& before, base::SystemTime now) {
  std::vector<plan::MemberHealth> out;
  for (const plan::MemberView& m : scene.members) {
    plan::MemberHealth health;
    health.member = m.name;
    plan::ContainerView container = plan::container_of(m);
    const std::string key = scene.topology + "/" + m.name;
    plan::LogWish wish = plan::log_wish(container, world.log_reads->last(key), now);
    std::string log;
    if (auto last = world.log_reads->last(key); last && container.there) health.unreadable = last->failed;
    if (wish.read) {
      health.unreadable.clear();
      // The former life's first: what was said last counts.
      for (bool previous : {true, false}) {
        if (previous && !wish.previous) continue;
        kube::LogOptions options = container.ready && !previous ? kMinute : kStart;
        options.since_seconds = previous ? 0 : wish.since_seconds;
        options.previous = previous;
        auto text = world.api.pod_log(world.ns, container.pod, m.container, options, World::soon());
        if (text) {
          log += *text + "\n";
        } else if (!previous && text.error().code == base::ErrorCode::kForbidden) {
          health.unreadable = text.error().message;
        }  // a log that is not there (any more) says nothing
      }
      world.log_reads->read(key, {container.pod_uid, container.restarts, now, health.unreadable});
    }
    auto found = wish.read || !container.running ? plan::diagnose(container, log) : std::nullopt;
    health.symptom = plan::carry(known(before, m.name), found, container, m.name == scene.primary, now);
    out.push_back(std::move(health));
  }
  return out;
}

}  // namespace pgrunbook::execute
