// What each kind does, as a Flow: plan, steps with their sentences, record. One file per kind.
#pragma once

#include "execute/engine.hpp"

namespace pgrunbook::execute {

[[nodiscard]] Flow backup_flow(Action& a, const api::BackupSpec& spec);
[[nodiscard]] Flow restore_flow(Action& a, const api::RestoreSpec& spec);
[[nodiscard]] Flow cutover_flow(Action& a, const api::FailoverSpec& spec);
// Continuous archiving on the primary (archive.wal.setup: ConfigureAndRestart): role, settings, proof
// segment.
[[nodiscard]] Flow setup_flow(Action& a, const api::TopologySpec& spec);

// What setup made is taken away again, from every member (`pgrunbook leave`).
[[nodiscard]] Flow leave_flow(Action& a);

// Shared by the flows.
// The ledger's word in a Plan Job's result: Failed with reason AlreadyDone or AlreadyTried, or nullopt.
[[nodiscard]] std::optional<StepResult> already(Action& a, const Json& plan_result);
// Asks the ledger alone: that this action was done or tried before, or to wait for the answer; nullopt where
// it knows nothing of it.
[[nodiscard]] std::optional<StepResult> done_before(Action& a, const plan::SceneView& scene,
                                                    const plan::MemberView& member);
// Failed with that refusal, unless the ledger says that this action was done before: an object created again
// after a cutover meets a world in which its own success forbids it.
[[nodiscard]] StepResult unless_done_before(Action& a, const plan::SceneView& scene,
                                            const plan::MemberView& member, const Error& refusal);
// The identity of what a plan stands on: uids of workloads, claims and Services, selectors, replicas.
[[nodiscard]] Json world_covered(const plan::SceneView& scene);
// Holds / releases the volumes as a step.
[[nodiscard]] Step hold_step(const std::string& names);
// The volumes are free again.
[[nodiscard]] StepResult release_all(Action& a);
// record_action, then release_all.
[[nodiscard]] StepResult record_and_release(Action& a);
// Opens a connection as the role pgrunbook to a member's running pod.
[[nodiscard]] Result<sql::Connection> connect_role(Action& a, const plan::SceneView& scene,
                                                   const plan::MemberView& m);

}  // namespace pgrunbook::execute
