// Looks at the members' containers and, where it is due, at their logs. What it means is plan/symptoms.
#pragma once

#include "execute/world.hpp"
#include "plan/symptoms.hpp"

namespace pgrunbook::execute {

// `before`: status.members of the topology, where the symptoms known so far stand.
[[nodiscard]] std::vector<plan::MemberHealth> look_at_members(World& world, const plan::SceneView& scene,
                                                              const Json& before, base::SystemTime now);

}  // namespace pgrunbook::execute
