// An action whose steps are words in a small world, driven by the engine over an API server in memory. It can
// be killed at every write of its status and around every act; what is left then is the API server and the
// world.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "controllers/actions.hpp"
#include "execute/engine.hpp"
#include "support/fake_api.hpp"

namespace pgrunbook::test {

struct Crash {};

enum class StepEnd { kDone, kFail, kBlock, kUnavailable };

struct StepScript {
  std::string name;
  bool irreversible = false, no_return = false, reverts = true;
  StepEnd end = StepEnd::kDone;  // what run() comes to once it is looked at
  int looks = 0;                 // how often it waits first, after the act
  int failures = 1 << 30;        // how many times `end` is met before it succeeds
  int stuck_reverts = 0;         // how often revert() is Blocked first
  int waiting_reverts = 0;       // how often it waits then
  bool too_late = false;         // revert() finds that going back would lose something
  std::chrono::seconds patience{0};
};

class Scripted {
 public:
  using End = StepEnd;

  explicit Scripted(std::vector<StepScript> steps = {{"hold"}, {"stop", true}, {"recover", true}, {"start"}})
      : script(std::move(steps)) {
    api.put(kube::kinds::kRestore, {{"metadata", {{"name", "before"}, {"uid", "12345678-aaaa"}}},
                                    {"spec", {{"topologyRef", {{"name", "tfrs"}}}}}});
    api.forget_calls();
    api.fault = [this](const FakeApi::Call& call, FakeApi::Moment moment) -> std::optional<base::Error> {
      if (call.is_write()) point();
      return faults ? faults(call, moment) : std::nullopt;
    };
  }

  // The world outside, which no crash changes.
  FakeApi api;
  std::set<std::string> up;       // steps that are done in the world
  std::vector<std::string> acts;  // every act in order: "stop", "undo stop", "record"
  std::map<std::string, int> counts;
  std::vector<std::string> events;  // "Warning Reason: message"
  std::vector<StepScript> script;
  FakeApi::Fault faults;
  int crash_at = -1;  // point at which the operator dies; each save has two, each act two
  int points = 0;

  // What the flow says.
  bool approval_required = false, plan_only = false, cancel = false, with_record = true, still_true = true;
  std::string approved, remains;
  base::Json git_changes;
  std::string at_stake;
  bool plan_asks = false;    // the plan itself finds that it needs approval
  std::string world = "w1";  // what the plan's digest covers
  execute::StepResult plan_result = execute::StepResult::done();
  execute::StepResult record_result = execute::StepResult::done();

  [[nodiscard]] execute::Action load() {
    base::Json object = api.peek(kube::kinds::kRestore, "before");
    execute::Action a{outside,
                      kube::kinds::kRestore,
                      object,
                      api::meta_of(object),
                      api::status_of(object),
                      "PostgresRestore",
                      {}};
    a.save = [](execute::Action& action) -> base::Result<> {
      PGR_ASSIGN(base::Json written, controllers::write_status(action.world.api, action.resource,
                                                               action.object, api::to_json(action.status)));
      action.object = std::move(written);
      action.meta = api::meta_of(action.object);
      return {};
    };
    return a;
  }

  [[nodiscard]] execute::Flow flow() {
    execute::Flow f;
    f.plan = [this](execute::Action& a) {
      if (plan_result.kind != execute::StepResult::Kind::kDone) return plan_result;
      a.status.operation.inputs["topology"] = "tfrs";
      a.status.operation.inputs["world"] = world;
      if (plan_asks) a.status.operation.inputs["approvalRequired"] = true;
      a.status.plan = {{"digest", execute::plan_digest(a.meta.uid, {{"world", world}})},
                       {"facts", {{"attempt", a.status.operation.attempt}}}};
      if (!git_changes.is_null()) a.status.plan["gitChanges"] = git_changes;
      if (!at_stake.empty()) a.status.plan["dataAtStake"] = {{"text", at_stake}};
      return execute::StepResult::done();
    };
    f.still_true = [this](execute::Action& a) { return a.input("world") == world; };
    f.steps = [this](execute::Action&) {
      std::vector<execute::Step> out;
      for (StepScript& s : script) out.push_back(step(s));
      return out;
    };
    if (with_record) {
      f.record = [this](execute::Action&) {
        if (up.count("record") == 0) act("record", [this] { up.insert("record"); });
        return record_result;
      };
    }
    f.as_before = [this](execute::Action&) { return remains; };
    f.success = [](execute::Action&) { return std::string("all is well"); };
    f.approval_required = approval_required;
    f.plan_only = plan_only;
    f.approved_plan = approved;
    f.cancel = cancel;
    return f;
  }

  // One call of the engine by an operator that has just come up.
  base::Result<std::optional<std::chrono::milliseconds>> once() {
    execute::Action a = load();
    return execute::advance(a, flow());
  }

  // A killed operator's successors, until the action is over or has waited `patience` times without a change.
  int drive(int patience = 20) {
    int crashes = 0;
    for (int i = 0, idle = 0; i < 400 && idle < patience; ++i) {
      std::string before = status().dump();
      try {
        auto again = once();
        if (again && !*again) return crashes;
      } catch (const Crash&) {
        ++crashes;
      }
      idle = status().dump() == before ? idle + 1 : 0;
    }
    return crashes;
  }

  // As if the step under way had begun so long ago.
  void began(std::chrono::seconds ago) {
    base::Json log = base::at(status(), {"operation", "log"});
    log.back()["startTime"] = base::format_time_micro(base::now() - ago);
    api.merge(kube::kinds::kRestore, "before", {{"status", {{"operation", {{"log", log}}}}}});
  }

  [[nodiscard]] base::Json status() const {
    return base::at(api.peek(kube::kinds::kRestore, "before"), {"status"});
  }
  [[nodiscard]] std::string text(std::initializer_list<std::string_view> path) const {
    return base::text_at(status(), path);
  }
  [[nodiscard]] std::string phase() const { return text({"phase"}); }
  [[nodiscard]] std::string message() const { return text({"message"}); }
  [[nodiscard]] std::string digest() const { return text({"plan", "digest"}); }
  [[nodiscard]] std::vector<std::string> log() const {
    std::vector<std::string> out;
    const base::Json now = status();
    for (const base::Json& line : base::at(now, {"operation", "log"}))
      out.push_back(base::text_at(line, {"step"}) + ": " + base::text_at(line, {"outcome"}));
    return out;
  }

 private:
  void point() {
    if (points++ == crash_at) throw Crash{};
  }
  void act(const std::string& name, const std::function<void()>& how) {
    point();
    how();
    acts.push_back(name);
    ++counts[name];
    point();
  }

  execute::Step step(StepScript& s) {
    execute::Step out;
    out.planned = {s.name, s.irreversible ? api::StepKind::kIrreversible : api::StepKind::kConvergent,
                   "do " + s.name};
    out.no_return = s.no_return;
    out.patience = s.patience;
    out.run = [this, &s](execute::Action&) {
      if (up.count(s.name) == 0) act(s.name, [&] { up.insert(s.name); });
      if (looks_[s.name] < s.looks) {
        ++looks_[s.name];
        return execute::StepResult::waiting("look " + std::to_string(looks_[s.name]));
      }
      if (s.end != End::kDone && failed_[s.name] < s.failures) {
        ++failed_[s.name];
        base::Error e = base::refused("Broken", s.name + " is broken", "mend it");
        if (s.end == End::kUnavailable)
          return execute::StepResult::of(base::error(base::ErrorCode::kInDoubt, "the reply was lost"));
        return s.end == End::kBlock ? execute::StepResult::blocked(e) : execute::StepResult::failed(e);
      }
      return execute::StepResult::done({{"of", s.name}});
    };
    if (s.reverts) {
      out.revert = [this, &s](execute::Action& a) {
        if (s.too_late) {
          a.status.operation.past_no_return = true;
          return execute::StepResult::blocked(base::refused("Written", "somebody has written", "stop it"));
        }
        if (stuck_[s.name] < s.stuck_reverts) {
          ++stuck_[s.name];
          return execute::StepResult::blocked(
              base::refused("Stuck", "no pod for the Job", "raise the quota"));
        }
        if (awaited_[s.name] < s.waiting_reverts) {
          ++awaited_[s.name];
          return execute::StepResult::waiting("the pod is not ready");
        }
        if (up.count(s.name) != 0) act("undo " + s.name, [&] { up.erase(s.name); });
        return execute::StepResult::done();
      };
    }
    return out;
  }

  execute::Terminations terminations_;
  std::map<std::string, int> looks_, failed_, stuck_, awaited_;

 public:
  execute::World outside{
      api,
      tfrs::kNamespace,
      "registry.example/pgrunbook:1",
      "1",
      {{"app.kubernetes.io/name", "pgrunbook"}},
      terminations_,
      [](const sql::Target&, base::Deadline) -> base::Result<sql::Connection> {
        return base::fail(base::ErrorCode::kUnavailable, "no server");
      },
      [this](const base::Json&, std::string_view type, std::string_view reason, std::string_view message) {
        events.push_back(std::string(type) + " " + std::string(reason) + ": " + std::string(message));
      },
      std::stop_token{}};
};

}  // namespace pgrunbook::test
