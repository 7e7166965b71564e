// Preflights that hold an action, and the exclusion of actions from each other's volumes.
#pragma once

#include "execute/world.hpp"
#include "plan/room.hpp"

namespace pgrunbook::execute {

// Blocked, with the YAML to add, where NetworkPolicies do not let `client` reach `server`; nullopt where they
// do. who: words for the message ("pods of our Jobs"). policy_name: metadata.name for the YAML.
[[nodiscard]] std::optional<StepResult> network_gate(World& world, const std::string& who,
                                                     const std::string& policy_name,
                                                     const Json& client_labels,
                                                     const plan::MemberView& server);
// The same with policies that were read already, for several clients at once.
[[nodiscard]] Result<Json> network_policies(World& world);
[[nodiscard]] std::optional<StepResult> network_gate(const World& world, const Json& policies,
                                                     const std::string& who, const std::string& policy_name,
                                                     const Json& client_labels,
                                                     const plan::MemberView& server);

// Blocked where a client that NetworkPolicies let reach `from` could not reach `to` after the Service's
// switch.
[[nodiscard]] std::optional<StepResult> clients_follow_gate(World& world, const plan::SceneView& scene,
                                                            const plan::MemberView& from,
                                                            const plan::MemberView& to);

// Where the namespace's ResourceQuotas and LimitRanges leave no room for what the action will start: Blocked
// with the figures, before anything is scaled; waiting first where it is only in use just now. Judged only
// until the Job of `step` is made: from then on the action's own pods would count against it.
[[nodiscard]] std::optional<StepResult> room_gate(Action& a, const std::string& step, int attempt,
                                                  const std::vector<plan::PodWish>& wishes);
// The same, judged always: for JobCall::gate.
[[nodiscard]] std::optional<StepResult> room_for(Action& a, const std::vector<plan::PodWish>& wishes);
[[nodiscard]] plan::PodWish wish_of(const plan::MemberView& member);

// Failed where a Service's new selector would lead to pods that are not the candidate's.
[[nodiscard]] std::optional<StepResult> strangers_gate(World& world, const std::string& service,
                                                       const Json& selector, const plan::MemberView& to);

// Failed where two pods could open one data directory.
[[nodiscard]] std::optional<StepResult> recreate_gate(const plan::MemberView& member);

// A failed connection during planning: waited for at first, Blocked once it has lasted.
[[nodiscard]] StepResult not_connected(const Action& a, const Error& e);

// Holds the volumes of the named claims' uids for this action by Leases pgrunbook-<first 8 of the uid>. Kept
// until release_volumes; a holder that is finished or gone is replaced.
[[nodiscard]] StepResult hold_volumes(Action& a, std::vector<std::string> claim_uids);
[[nodiscard]] StepResult release_volumes(Action& a, const std::vector<std::string>& claim_uids);

// Transcript as ConfigMap <pgb|pgr|pgf>-<name>-transcript, then the Record Job that puts it into the archive
// and writes the outcome into the ledger.
[[nodiscard]] StepResult record_action(Action& a);

}  // namespace pgrunbook::execute
