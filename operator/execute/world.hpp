// The seams to the outside that step executors use, and what an action carries from step to step.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>

#include "api/kinds.hpp"
#include "api/status.hpp"
#include "kube/client.hpp"
#include "plan/scene.hpp"
#include "plan/symptoms.hpp"
#include "sql/connection.hpp"

namespace pgrunbook::execute {

using api::Json;
using base::Deadline;
using base::Error;
using base::Result;

// How a pod's container ended, as the kubelet reported it, kept after the pod object is gone: the first proof
// of a fence. Fed by the watch on pods, asked by stop_member. Any thread.
class Terminations {
 public:
  void observe(const Json& pod);
  // {exitCode, finishedAt, reason} or null where that pod's container was never reported terminated, or has
  // been started again since.
  [[nodiscard]] Json of(const std::string& pod_uid, const std::string& container) const;
  // Of a pod whose server lets nobody in any more, as this process has found out itself. False the first
  // time.
  bool closed_before(const std::string& pod_uid);

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Json> by_uid_;  // "<pod uid>/<container>" -> state; protected by mutex_
  std::set<std::string> closed_;        // protected by mutex_
};

// Which logs this process has read, and when: they are not read more often than log_wish says. Any thread.
class LogReads {
 public:
  [[nodiscard]] std::optional<plan::LogRead> last(const std::string& member) const;
  void read(const std::string& member, plan::LogRead what);
  // What was read has not been kept: it is due again.
  void forget();

 private:
  mutable std::mutex mutex_;
  std::map<std::string, plan::LogRead> by_member_;  // "<topology>/<member>"; protected by mutex_
};

// Approvals as the watch brought them: each of them, also one that was taken away again before anybody read
// the object, as Flux does with what kubectl has set. Any thread.
class Approvals {
 public:
  void observe(const Json& action);
  void forget(const Json& action);
  // The digest that was last approved of this object, "" for none.
  [[nodiscard]] std::string seen(const std::string& uid) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::string> by_uid_;  // uid -> digest; protected by mutex_
};

// Logins that succeeded, by address, role and password: what a plan need not try again before its first Job,
// as the topology has just done so. Never a reason to leave out a look that something is decided by. Any
// thread.
class Logins {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  explicit Logins(Clock clock = std::chrono::steady_clock::now) : clock_(std::move(clock)) {}
  void note(const sql::Target& target);
  [[nodiscard]] bool lately(const sql::Target& target) const;

 private:
  const Clock clock_;
  mutable std::mutex mutex_;
  std::map<std::string, std::chrono::steady_clock::time_point> by_login_;  // protected by mutex_
};

// Everything outside. One per process; its members are safe for concurrent use.
struct World {
  kube::Api& api;
  std::string ns;
  std::string agent_image;  // PGRUNBOOK_IMAGE
  std::string version;
  Json own_labels;  // of the operator's pod, for NetworkPolicy checks
  Terminations& terminations;
  std::function<Result<sql::Connection>(const sql::Target&, Deadline)> connect;
  std::function<void(const Json& object, std::string_view type, std::string_view reason,
                     std::string_view message)>
      event;
  std::stop_token stop;
  Logins* logins = nullptr;  // fed by connect; none: nothing is known
  std::shared_ptr<LogReads> log_reads = std::make_shared<LogReads>();
  std::shared_ptr<Approvals> approvals = std::make_shared<Approvals>();

  [[nodiscard]] static Deadline soon() { return Deadline::after(std::chrono::seconds(20)); }
};

// What one look at a step found, or one act did.
struct StepResult {
  enum class Kind { kDone, kWaiting, kFailed, kBlocked } kind = Kind::kWaiting;
  Json result = Json::object();          // kept in operation.results under the step's name
  std::string message;                   // while waiting: what for
  Json progress_detail;                  // {bytesDone, bytesTotal, ...} or null
  Error error{};                         // kFailed, kBlocked
  std::chrono::milliseconds again{500};  // when to look next

  [[nodiscard]] static StepResult done(Json result = Json::object());
  [[nodiscard]] static StepResult waiting(std::string message,
                                          std::chrono::milliseconds again = std::chrono::milliseconds(500));
  // The step cannot succeed: what was done is put back.
  [[nodiscard]] static StepResult failed(Error error);
  // A person is needed; looked at again by itself.
  [[nodiscard]] static StepResult blocked(Error error);
  // kFailed for what no retry mends, kWaiting for what may pass (kUnavailable, kTimeout, kConflict,
  // kInDoubt...).
  [[nodiscard]] static StepResult of(const Error& error);
};

// One action under way. Owned by the reconcile that runs it; never shared between threads.
struct Action {
  World& world;
  const kube::Resource& resource;
  Json object;  // as last read
  api::ObjectMeta meta;
  api::ActionStatus status;
  std::string kind;
  // Writes status; kConflict means somebody was faster: observe again. Topologies keep it under status.setup.
  std::function<Result<>(Action&)> save;
  std::string flow{};  // other than the kind's own: Leave
  // Owner of its Jobs where that is not its object, which has gone: what a vanished object owns is collected.
  Json owner{};

  [[nodiscard]] api::ActionRef ref() const;
  [[nodiscard]] Json owner_reference() const;
  [[nodiscard]] const Json& input(std::string_view key) const {
    return base::at(status.operation.inputs, {key});
  }
  [[nodiscard]] const Json& result(std::string_view step) const {
    return base::at(status.operation.results, {step});
  }
};

// A step of a flow: its sentence, how to take it, how to put it back. Both functions look at the world first,
// so that calling them again after a crash is the resume.
// How long pods, servers and the scheduler may take before the wait for them is said to need help.
constexpr std::chrono::seconds kPatience{300};

// A revert that finds that going back would lose something sets operation.past_no_return and is Blocked: then
// the action goes forward again from this step.
struct Step {
  api::PlannedStep planned;
  std::function<StepResult(Action&)> run;
  std::function<StepResult(Action&)> revert{};  // empty: nothing to put back
  bool no_return = false;                       // from the moment this step is begun there is only forward
  std::chrono::seconds patience{
      0};  // a longer wait, of it or of its revert, is said to need help; 0: none is
};

// What a step says that finds a member gone which the plan named: "the candidate", "member postgresql".
[[nodiscard]] StepResult no_member(const std::string& who);

// The live objects of a topology, understood.
[[nodiscard]] Result<plan::SceneView> observe_scene(World& world, const std::string& topology_name);
// As a topology that was just read has it.
[[nodiscard]] Result<plan::SceneView> scene_of_topology(World& world, const Json& topology);
// The same for the topology of an action (inputs.topology): with its spec as it is until the plan is carried
// out, with the spec frozen in inputs.topologyObject from then on, so that neither an edit nor the deletion
// of the topology reaches an action under way.
[[nodiscard]] Result<plan::SceneView> scene_of(Action& a);

// Which pod of a member a login is for: one that serves, or one that is ending and may still answer.
enum class Wanted { kReady, kEnding };

// Credentials. Errors name the Secret, the key and the field that names them.
// The application's role and password, without an address.
[[nodiscard]] Result<sql::Target> application_role(World& world, const plan::SceneView& scene);
[[nodiscard]] Result<sql::Target> application_login(World& world, const plan::SceneView& scene,
                                                    const plan::MemberView& member,
                                                    Wanted wanted = Wanted::kReady);
[[nodiscard]] Result<sql::Target> role_login(World& world, const plan::SceneView& scene,
                                             const plan::MemberView& member, Wanted wanted = Wanted::kReady);
// Makes a password in the Secret pgrunbook-roles where it is empty.
[[nodiscard]] Result<> ensure_role_password(World& world);

// The address of the member's pod; kUnavailable where there is none as wanted.
[[nodiscard]] Result<std::string> pod_address(const plan::MemberView& member, Wanted wanted = Wanted::kReady);

}  // namespace pgrunbook::execute
