// Looks at what the last cutover made primary and at who answers where the Services lead now. What it means
// is plan/standing.
#pragma once

#include "execute/world.hpp"
#include "plan/standing.hpp"

namespace pgrunbook::execute {

// Who answers on a member; a read-write server also gives its timeline's history.
[[nodiscard]] plan::ServerFacts ask_server(World& world, const plan::SceneView& scene,
                                           const plan::MemberView& member);

struct StandingView {
  plan::Standing standing;
  std::string under_way;  // name of a Failover of this topology that has begun and is not over
  bool past_no_return = false;
};
// By the topology that the scene was read with, or as it is now. A cutover kept since then is known by its
// Failover, which is listed later.
[[nodiscard]] Result<StandingView> look_at_standing(World& world, const plan::SceneView& scene);
// By this topology, for whoever writes it back at that version.
[[nodiscard]] Result<StandingView> look_at_standing(World& world, const plan::SceneView& scene,
                                                    const Json& topology);

// Blocked with reason ServiceReverted, or waiting for a Failover that only goes forward, before an action
// touches anything; nullopt where the selected member is the primary.
[[nodiscard]] std::optional<StepResult> standing_gate(Action& a, const plan::SceneView& scene);

// Keeps what a cutover made of the world in its topology's status, whatever becomes of the Failover.
[[nodiscard]] Result<> keep_cutover(Action& a);

// Whether nobody has changed what a cutover under way stands on once its old primary is stopped: who, what,
// and what would be right. switched: whether the Services must select the new primary; kPartly asks nothing
// of them.
enum class Switched { kNo, kPartly, kYes };
[[nodiscard]] Result<> undisturbed(Action& a, const plan::SceneView& scene, Switched switched);

}  // namespace pgrunbook::execute
