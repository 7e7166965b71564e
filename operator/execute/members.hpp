// Stopping and starting members and applications: by their replica count, never by template or pod deletion.
#pragma once

#include "execute/world.hpp"

namespace pgrunbook::execute {

enum class Login { kApplication, kRole };

// Stops a running server cleanly: checkpoint, WAL archived, our own session opened first so that after
// SIGTERM (a smart shutdown, which waits for clients) it ends the others. Clients that are nobody's of ours
// hold it: Blocked, named. Result: {podUIDs, proof: Terminated | Unproven, exitCode, finishedAt}. Source:
// PostgreSQL docs 19.5.
// kStays: WAL that is not in the archive stays in pg_wal for whatever archives next; for a stop that shall
// mend an archiving that does not work.
enum class UnarchivedWal { kIsWaitedFor, kStays };
[[nodiscard]] StepResult stop_member(Action& a, const std::string& step, const std::string& member,
                                     Login login, UnarchivedWal wal = UnarchivedWal::kIsWaitedFor);

// Scales to 0 and waits for the pods to go, without a session: for a spare whose data are not served.
[[nodiscard]] StepResult scale_down(Action& a, const std::string& member);

// Whether a member that has no ready pod is really down. Done: it is, {"words": why}. Failed, PrimaryRuns: a
// pod is ready, or a server answers. Blocked: something answers that is not (yet) a server, or
// NetworkPolicies keep us from asking.
[[nodiscard]] StepResult is_down(Action& a, const plan::SceneView& scene, const plan::MemberView& m);

// Scales a member that is down to 0 and waits until no pod at all uses its data volume, Jobs' apart from this
// step included. Failed, PrimaryRuns, where it came up meanwhile. Result: {podUIDs, proof: Terminated |
// NoPod}.
[[nodiscard]] StepResult stop_dead_member(Action& a, const std::string& step, const std::string& member);
// Failed, ScaledBySomebodyElse, where a member that this action has stopped runs again.
[[nodiscard]] std::optional<StepResult> must_be_down(const Action& a, const plan::MemberView& m);
// Blocked, ServerOnVolume, where somebody has started a server on a volume that a Job is to change.
[[nodiscard]] std::optional<StepResult> nobody_started(const plan::MemberView& m);

// Back to the count it had, without waiting for a server that was not one before.
[[nodiscard]] StepResult restore_count(Action& a, const std::string& member, int replicas);

// Somebody scaled a workload otherwise after this step of the action had scaled it to `wanted`: who, and what
// to do (reason ScaledBySomebodyElse); nullopt where the count is ours to set. Never a fight.
[[nodiscard]] std::optional<Error> turned_back(const Action& a, const api::WorkloadRef& workload,
                                               const plan::Steering& steering, int live, int wanted);
// A member to 0 and its pods gone, whoever it is.
[[nodiscard]] StepResult end_member(Action& a, const plan::MemberView& member);

// Scales to the count it had (1 where unknown) and waits until a pod is ready. Fails where the server does
// not come up.
[[nodiscard]] StepResult start_member(Action& a, const std::string& member, int replicas);

// Applications to 0; the counts they had are in the action's inputs and in the workloads' annotation.
[[nodiscard]] StepResult stop_applications(Action& a);
[[nodiscard]] StepResult start_applications(Action& a);

// A restore point of a name that no other one has, then pg_switch_wal. Returns who the server is, with
// {mark: {name, lsn}, segment: the name of the one in which it ends, which is finished}.
[[nodiscard]] Result<Json> mark_and_switch(sql::Connection& connection, const std::string& label);
// Has the Job wait for what mark_and_switch returned; nothing of `marked` waits for nothing.
void wait_for_mark(api::PlanOrder* plan, const Json& marked);

// {systemIdentifier, timeline, inRecovery, address, replayed} of the server behind a connection.
[[nodiscard]] Result<Json> identify(sql::Connection& connection);

}  // namespace pgrunbook::execute
