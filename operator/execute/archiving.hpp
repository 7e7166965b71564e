// Asks a primary how its archiving stands. What it means is plan/topology_status.
#pragma once

#include "execute/world.hpp"
#include "plan/topology_status.hpp"

namespace pgrunbook::execute {

[[nodiscard]] plan::ArchiverFacts look_at_archiver(World& world, const plan::SceneView& scene,
                                                   const plan::MemberView& primary);

}  // namespace pgrunbook::execute
