// Watches what a topology names: who is primary, whether its WAL reaches the archive, and, where the spec
// allows it, sets continuous archiving up. What is shown of the backups comes from the cache of them.
#pragma once

#include <stop_token>

#include "execute/flows.hpp"
#include "runtime/controller.hpp"
#include "runtime/store.hpp"

namespace pgrunbook::controllers {

// `backups`: the cache of the namespace's PostgresBackups, filled.
[[nodiscard]] runtime::Outcome reconcile_topology(execute::World& world, const runtime::Store& backups,
                                                  const runtime::Key& key, const std::stop_token& stop);

}  // namespace pgrunbook::controllers
