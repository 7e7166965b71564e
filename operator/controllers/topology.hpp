// Watches what a topology names: who is primary, whether its WAL reaches the archive, and, where the spec
// allows it, sets continuous archiving up.
#pragma once

#include <stop_token>

#include "execute/flows.hpp"
#include "runtime/controller.hpp"

namespace pgrunbook::controllers {

[[nodiscard]] runtime::Outcome reconcile_topology(execute::World& world, const runtime::Key& key,
                                                  std::stop_token stop);

}  // namespace pgrunbook::controllers
