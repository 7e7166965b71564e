// Duties whose action has gone (deleted while it ran), and leaving: what a Lease keeps is driven like an
// object. By the same controller and under the same key as the object itself, so that nobody still works on
// it.
#pragma once

#include <stop_token>

#include "execute/duty.hpp"
#include "runtime/controller.hpp"

namespace pgrunbook::controllers {

// Whether a duty is to be driven from its Lease while `live_uid` ("" = none) is what lives under its name.
[[nodiscard]] bool is_leftover(const execute::Duty& duty, const std::string& live_uid);

// Drives the leftover duty of that kind and name, if there is one: cancelled, so that everything is put back,
// or taken forward where only forward is left. nullopt: there is none.
[[nodiscard]] std::optional<runtime::Outcome> drive_leftover(execute::World& world, const std::string& kind,
                                                             const runtime::Key& key,
                                                             const std::string& live_uid,
                                                             const std::stop_token& stop);

// Hands every duty's key to `enqueue`: at the start, when no event tells of objects that have gone.
[[nodiscard]] runtime::Outcome find_leftovers(
    execute::World& world, const std::function<void(const std::string& kind, const runtime::Key&)>& enqueue);

}  // namespace pgrunbook::controllers
