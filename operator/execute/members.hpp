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
// Failed, TakenBack, where a member that this action has stopped runs again: somebody else has scaled it up.
[[nodiscard]] std::optional<StepResult> must_be_down(const Action& a, const plan::MemberView& m);
// Blocked, ServerOnVolume, where somebody has started a server on a volume that a Job is to change.
[[nodiscard]] std::optional<StepResult> nobody_started(const plan::MemberView& m);

// Back to the count it had, without waiting for a server that was not one before.
[[nodiscard]] StepResult restore_count(Action& a, const std::string& member, int replicas);

// Scales to the count it had (1 where unknown) and waits until a pod is ready. Fails where the server does
// not come up.
[[nodiscard]] StepResult start_member(Action& a, const std::string& member, int replicas);

// The same for a primary that was to be fenced: started by somebody else before the fence was off it is
// read-only, and is started once more.
[[nodiscard]] StepResult start_primary_again(Action& a, const std::string& member, int replicas);

// Every count that an action sets it sets once: Failed, TakenBack, where somebody sets it otherwise.
// Applications to 0; the counts they had are in the action's inputs and in the workloads' annotation.
[[nodiscard]] StepResult stop_applications(Action& a);
[[nodiscard]] StepResult start_applications(Action& a);

// {checkpoint written, WAL switched} on a primary: a restore point, then pg_switch_wal. Returns the finished
// segment's name, its timeline, and the system identifier: {segment, timeline, systemIdentifier}.
[[nodiscard]] Result<Json> mark_and_switch(sql::Connection& connection, const std::string& label);

// {systemIdentifier, timeline, inRecovery, address, replayed} of the server behind a connection.
[[nodiscard]] Result<Json> identify(sql::Connection& connection);

}  // namespace pgrunbook::execute
