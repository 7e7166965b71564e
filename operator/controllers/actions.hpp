// Glue between the runtime and the flows: reads the object, runs the engine, writes the status. No decision
// lives here.
#pragma once

#include <stop_token>

#include "execute/flows.hpp"
#include "runtime/controller.hpp"

namespace pgrunbook::controllers {

// One reconcile of a PostgresBackup, PostgresRestore or Failover.
[[nodiscard]] runtime::Outcome reconcile_action(execute::World& world, const kube::Resource& resource,
                                                const runtime::Key& key, const std::stop_token& stop);

// Replaces .status by a JSON patch that tests metadata.resourceVersion; the object as written comes back.
[[nodiscard]] base::Result<base::Json> write_status(kube::Api& api, const kube::Resource& resource,
                                                    const base::Json& object, const base::Json& status);

// Keeps what must be put back (execute/duty.hpp), then writes the status. `live` is the status as the object
// has it. Where the duty is refused for good, the live status becomes Blocked with the refusal's words.
using StatusWriter = std::function<base::Result<base::Json>(execute::Action&, const base::Json& status)>;
[[nodiscard]] base::Result<> save_action(execute::Action& a, const base::Json& live,
                                         const StatusWriter& write);

// What the action's kind does.
[[nodiscard]] base::Result<execute::Flow> flow_of(execute::Action& action);

// Calls the engine until it waits, ends or is told to stop.
[[nodiscard]] runtime::Outcome drive(execute::Action& action, const execute::Flow& flow,
                                     const std::stop_token& stop);

}  // namespace pgrunbook::controllers
