// Glue between the runtime and the flows: reads the object, runs the engine, writes the status. No decision
// lives here.
#pragma once

#include <stop_token>

#include "execute/flows.hpp"
#include "runtime/controller.hpp"

namespace pgrunbook::controllers {

// One reconcile of a PostgresBackup, PostgresRestore or Failover.
[[nodiscard]] runtime::Outcome reconcile_action(execute::World& world, const kube::Resource& resource,
                                                const runtime::Key& key, std::stop_token stop);

// Replaces .status by a JSON patch that tests metadata.resourceVersion; the object as written comes back.
[[nodiscard]] base::Result<base::Json> write_status(kube::Api& api, const kube::Resource& resource,
                                                    const base::Json& object, const base::Json& status);

// What the action's kind does.
[[nodiscard]] base::Result<execute::Flow> flow_of(execute::Action& action);

// Calls the engine until it waits, ends or is told to stop.
[[nodiscard]] runtime::Outcome drive(execute::Action& action, const execute::Flow& flow,
                                     std::stop_token stop);

}  // namespace pgrunbook::controllers
