// Takes an action from Pending to a terminal phase: plan, approval, steps, roll-back, record. One call makes
// as much progress as it can without waiting and says when to look again. Everything it knows between calls
// is in the status, so killing the operator anywhere and calling advance() again is the resume.
//
// Order of every step: the status names it (intent), it acts, the world confirms. A reply that was lost is
// settled by looking: every Step::run begins with a look.
#pragma once

#include <chrono>
#include <optional>

#include "execute/world.hpp"

namespace pgrunbook::execute {

struct Flow {
  // Reads the world, resolves, refuses. Done: sets status.plan and status.operation.inputs. Touches nothing.
  std::function<StepResult(Action&)> plan;
  // True while what the plan's digest covers is still so; asked when an approval arrives.
  std::function<bool(Action&)> still_true{};
  // The steps, from the frozen inputs alone.
  std::function<std::vector<Step>(Action&)> steps;
  // Transcript and outcome into the archive; run before every terminal phase that had a plan.
  std::function<StepResult(Action&)> record{};
  // The last look before the record and before Completed is said: anything but done holds both back.
  std::function<StepResult(Action&)> confirm{};
  // Said once all is put back, where not everything can be; empty: everything is as it was before.
  std::function<std::string(Action&)> as_before{};
  // Sentence of success.
  std::function<std::string(Action&)> success{};
  bool approval_required = false;
  bool plan_only = false;
  std::string approved_plan{};
  bool cancel = false;  // spec.cancel, or the object is being deleted
};

// nullopt: terminal, nothing more to do. Errors are of the kind that a retry mends.
[[nodiscard]] Result<std::optional<std::chrono::milliseconds>> advance(Action& action, const Flow& flow);

// 16 hex digits over what an approval stands for.
[[nodiscard]] std::string plan_digest(const std::string& uid, const Json& covered);

}  // namespace pgrunbook::execute
