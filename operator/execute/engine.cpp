#include "execute/engine.hpp"

#include <fmt/format.h>

#include "base/hash.hpp"

namespace pgrunbook::execute {

using api::Phase;
using base::text_at;
using std::chrono::milliseconds;
using Again = std::optional<milliseconds>;

namespace {

constexpr const char* kRecordStep = "record";
constexpr const char* kApproved = "Approved";  // operation.state between the approval and the first step
constexpr const char* kOtherPlan = "OtherPlanApproved";
constexpr milliseconds kApprovalPoll{2000};
constexpr milliseconds kAtOnce{0};

std::string now_text() { return base::format_time(base::now()); }

void say(Action& a, Phase phase, std::string reason, std::string message) {
  a.status.phase = phase;
  a.status.reason = std::move(reason);
  a.status.message = std::move(message);
  a.status.set_conditions(a.meta.generation, now_text());
}

// One Event for a state, not one for each look at it.
struct State {
  Phase phase;
  std::string reason;
  explicit State(const Action& a) : phase(a.status.phase), reason(a.status.reason) {}
  [[nodiscard]] bool differs(const Action& a) const {
    return a.status.phase != phase || a.status.reason != reason;
  }
};

void tell(Action& a, std::string_view type) {
  a.world.event(a.object, type, a.status.reason, a.status.message);
}

// Saves only what differs from what was last read: a step that waits costs no writes.
Result<> save_if_changed(Action& a, const Json& before) {
  if (api::to_json(a.status) == before) return {};
  return a.save(a);
}

Json failure_json(const Error& e) {
  return {{"reason", e.reason_or_code()}, {"message", e.message}, {"hint", e.hint}};
}

std::string failure_text(const Json& failure) {
  std::string hint = text_at(failure, {"hint"});
  return text_at(failure, {"message"}) + (hint.empty() ? "" : ". HINT: " + hint);
}

void finish(Action& a, Phase phase, std::string reason, std::string message, std::string safe_point) {
  a.status.step = "";
  a.status.progress_detail = Json();
  a.status.safe_point = std::move(safe_point);
  a.status.completion_time = now_text();
  say(a, phase, std::move(reason), std::move(message));
}

void log_start(Action& a, const std::string& step, const std::string& text) {
  a.status.operation.log.push_back(
      {{"step", step}, {"text", text}, {"startTime", base::format_time_micro(base::now())}});
}

void log_end(Action& a, const std::string& outcome) {
  Json& log = a.status.operation.log;
  if (!log.empty() && !log.back().contains("endTime")) {
    log.back()["endTime"] = base::format_time_micro(base::now());
    log.back()["outcome"] = base::cut_text(outcome, 512);
  }
}

void enter(Action& a, const Step& step, std::size_t index, std::size_t count) {
  api::Operation& op = a.status.operation;
  op.step = step.planned.name;
  op.state = "Intent";
  if (step.no_return) op.past_no_return = true;
  a.status.step = step.planned.name;
  a.status.progress = fmt::format("{}/{}", index + 1, count);
  a.status.progress_detail = Json();
  say(a, Phase::kRunning, "", step.planned.text);
  log_start(a, step.planned.name, step.planned.text);
}

void begin_roll_back(Action& a, const Error& e) {
  log_end(a, "failed: " + e.message);
  a.status.operation.rolling_back = true;
  a.status.operation.failure = failure_json(e);
  say(a, Phase::kRollingBack, e.reason_or_code(), "putting everything back, because " + e.text());
  tell(a, "Warning");
}

std::size_t index_of(const std::vector<Step>& steps, const std::string& name) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].planned.name == name) return i;
  }
  return steps.size();
}

// A wait that takes longer than its step is known to is Blocked, TakesLong: a person may be needed.
StepResult within_patience(const Action& a, const Step& step, StepResult r) {
  const Json& log = a.status.operation.log;
  if (r.kind != StepResult::Kind::kWaiting || step.patience.count() == 0 || log.empty()) return r;
  auto began = base::parse_time(text_at(log.back(), {"startTime"}), "startTime");
  if (!began || base::now() - *began <= step.patience) return r;
  return StepResult::blocked(
      base::refused("TakesLong",
                    fmt::format("for more than {} s: {}", step.patience.count(),
                                r.message.empty() ? step.planned.text : r.message),
                    "kubectl get pods and kubectl get events show what holds it; it goes on by itself"));
}

// Going back would lose something, so there is only forward from here, at this very step.
void turn_forward(Action& a, const Step& step, const Error& e) {
  api::Operation& op = a.status.operation;
  log_end(a, "not put back: " + e.message);
  op.rolling_back = false;
  op.failure = Json();
  op.state = "Intent";
  say(a, Phase::kBlocked, e.reason_or_code(),
      fmt::format("step {} is not put back, there is only forward now: {}", op.step, e.text()));
  tell(a, "Warning");
  log_start(a, op.step, step.planned.text);
}

// One step of the way back. True once everything is put back.
Result<bool> roll_back(Action& a, const std::vector<Step>& steps, milliseconds* again) {
  api::Operation& op = a.status.operation;
  while (op.step != kRecordStep) {
    std::size_t i = index_of(steps, op.step);
    if (i < steps.size() && steps[i].revert) {
      if (op.state != "Reverting") {
        op.state = "Reverting";
        log_start(a, "undo " + op.step, "put back: " + steps[i].planned.text);
        PGR_TRY(a.save(a));
      }
      StepResult r = within_patience(a, steps[i], steps[i].revert(a));
      if (r.kind == StepResult::Kind::kBlocked && op.past_no_return) {
        turn_forward(a, steps[i], r.error);
        *again = kAtOnce;
        return false;
      }
      if (r.kind != StepResult::Kind::kDone) {
        bool stuck = r.kind != StepResult::Kind::kWaiting;
        const State was(a);
        say(a, stuck ? Phase::kBlocked : Phase::kRollingBack,
            stuck ? r.error.reason_or_code() : text_at(op.failure, {"reason"}),
            stuck ? fmt::format("putting back step {} needs help: {}", op.step, r.error.text())
                  : fmt::format("putting everything back, because {} (now: {})", failure_text(op.failure),
                                r.message));
        if (stuck && was.differs(a)) tell(a, "Warning");
        *again = r.again;
        return false;
      }
      log_end(a, "put back");
    }
    op.step = i == 0 || i >= steps.size() ? kRecordStep : steps[i - 1].planned.name;
    op.state = "";
    a.status.step = op.step;
    PGR_TRY(a.save(a));
  }
  return true;
}

void ask_approval(Action& a) {
  std::string stake = text_at(a.status.plan, {"dataAtStake", "text"});
  say(a, Phase::kAwaitingApproval, "AwaitingApproval",
      fmt::format(
          "the plan is ready and waits for approval{}. HINT: read status.plan, then: kubectl patch {} "
          "{} -n {} --type=merge -p "
          "'{{\"spec\":{{\"approvedPlan\":\"{}\"}}}}'",
          stake.empty() ? "" : ": " + stake, a.resource.plural, a.meta.name, a.meta.namespace_name,
          text_at(a.status.plan, {"digest"})));
}

// Whether nothing may be done yet because nobody has approved the plan. By what is written of the approval,
// not by the phase alone: whoever does not understand the object marks it Blocked, and that is no approval.
bool unapproved(const Action& a, const Flow& flow) {
  const api::Operation& op = a.status.operation;
  if (!op.step.empty() || op.state == kApproved) return false;
  return a.status.phase == Phase::kAwaitingApproval || flow.approval_required ||
         a.input("approvalRequired") == Json(true) || plan::managed(base::at(a.status.plan, {"gitChanges"}));
}

Result<Again> plan(Action& a, const Flow& flow, const Json& before) {
  if (flow.cancel) {
    finish(a, Phase::kCancelled, "Cancelled", "cancelled before anything was touched", "nothing was touched");
    PGR_TRY(a.save(a));
    tell(a, "Normal");
    return Again{};
  }
  const State was(a);
  StepResult r = flow.plan(a);
  switch (r.kind) {
    case StepResult::Kind::kWaiting:
      say(a, Phase::kPlanning, "", r.message);
      PGR_TRY(save_if_changed(a, before));
      return Again{r.again};
    case StepResult::Kind::kBlocked:
      say(a, Phase::kBlocked, r.error.reason_or_code(), r.error.text());
      if (was.differs(a)) tell(a, "Warning");
      PGR_TRY(save_if_changed(a, before));
      return Again{r.again};
    case StepResult::Kind::kFailed: {
      // A result can say that this very action was done before: then the second object ends as the first one
      // did.
      bool done_before = r.error.reason == "AlreadyDone";
      finish(a, done_before ? Phase::kCompleted : Phase::kFailed, r.error.reason_or_code(), r.error.text(),
             "nothing was touched");
      a.world.event(a.object, done_before ? "Normal" : "Warning", r.error.reason_or_code(), r.error.text());
      PGR_TRY(a.save(a));
      return Again{};
    }
    case StepResult::Kind::kDone:
      break;
  }
  a.status.plan["steps"] = [&] {
    std::vector<api::PlannedStep> planned;
    for (const Step& s : flow.steps(a)) planned.push_back(s.planned);
    return api::to_json(planned);
  }();
  if (flow.plan_only) {
    finish(a, Phase::kCompleted, "Planned",
           "planned only, as spec.mode Plan asks; status.plan says what Execute would do",
           "nothing was touched");
    PGR_TRY(a.save(a));
    tell(a, "Normal");
    return Again{};
  }
  if (unapproved(a, flow)) {
    ask_approval(a);
    tell(a, "Normal");
  } else {
    say(a, Phase::kRunning, "", "the plan is made");
  }
  PGR_TRY(a.save(a));
  return Again{kAtOnce};
}

Result<Again> await_approval(Action& a, const Flow& flow, const Json& before) {
  if (flow.cancel) {
    finish(a, Phase::kCancelled, "Cancelled", "cancelled while it waited for approval",
           "nothing was touched");
    PGR_TRY(a.save(a));
    tell(a, "Normal");
    return Again{};
  }
  std::string digest = text_at(a.status.plan, {"digest"});
  const std::string approved = flow.approved_plan.empty() && a.world.approvals->seen(a.meta.uid) == digest
                                   ? digest
                                   : flow.approved_plan;
  if (approved.empty()) {
    if (a.status.phase != Phase::kAwaitingApproval || a.status.reason == kOtherPlan) ask_approval(a);
    PGR_TRY(save_if_changed(a, before));
    return Again{kApprovalPoll};
  }
  if (approved != digest) {
    const State was(a);
    say(a, Phase::kAwaitingApproval, kOtherPlan,
        fmt::format("spec.approvedPlan is {}, but the plan's digest is {}. HINT: read status.plan again and "
                    "approve that digest",
                    approved, digest));
    if (was.differs(a)) tell(a, "Warning");
    PGR_TRY(save_if_changed(a, before));
    return Again{kApprovalPoll};
  }
  if (flow.still_true && !flow.still_true(a)) {
    a.status.operation.attempt++;
    a.status.plan = Json();
    // What the primary was marked with belongs to the plan: it may be another primary now, on another
    // timeline, and what was committed since is not yet in the archive.
    a.status.operation.results.erase("marker");
    say(a, Phase::kPlanning, "WorldChanged",
        "what the plan stood on has changed since; planning again, and the approval is void");
    PGR_TRY(a.save(a));
    tell(a, "Warning");
    return Again{kAtOnce};
  }
  a.status.operation.state = kApproved;
  a.status.operation.inputs["approvedPlan"] = digest;  // Flux takes away again what kubectl set
  say(a, Phase::kRunning, "", "the plan is approved");
  a.world.event(a.object, "Normal", "Approved", fmt::format("plan {} is approved", digest));
  PGR_TRY(a.save(a));
  return Again{kAtOnce};
}

// The last look: when to look again where the world is not what Completed would say; nullopt where it is.
Result<Again> unconfirmed(Action& a, const Flow& flow, const Json& before) {
  if (!flow.confirm) return Again{};
  StepResult r = flow.confirm(a);
  if (r.kind == StepResult::Kind::kDone) return Again{};
  bool waits = r.kind == StepResult::Kind::kWaiting;
  const State was(a);
  say(a, waits ? Phase::kRunning : Phase::kBlocked, waits ? "" : r.error.reason_or_code(),
      waits ? r.message : fmt::format("all steps are done, and it is not complete: {}", r.error.text()));
  if (!waits && was.differs(a)) tell(a, "Warning");
  PGR_TRY(save_if_changed(a, before));
  return Again{std::max(r.again, milliseconds(waits ? 500 : 2000))};
}

}  // namespace

std::string plan_digest(const std::string& uid, const Json& covered) {
  return base::sha256(Json{{"uid", uid}, {"covers", covered}}.dump()).substr(0, 16);
}

Result<Again> advance(Action& a, const Flow& flow) {
  const Json before = api::to_json(a.status);
  api::Operation& op = a.status.operation;
  if (op.format != 1) {
    say(a, Phase::kBlocked, "NewerOperation",
        fmt::format("a newer operator began this (operation format {}); this one knows format 1. HINT: "
                    "upgrade the operator",
                    op.format));
    PGR_TRY(save_if_changed(a, before));
    return Again{std::chrono::minutes(1)};
  }
  if (a.status.phase == Phase::kPending) {
    // Kept with what the first look comes to: a write of its own would only be waited for.
    a.status.start_time = now_text();
    say(a, Phase::kPlanning, "", "looking at the topology");
  }
  if (a.status.plan.is_null()) return plan(a, flow, before);
  if (unapproved(a, flow)) return await_approval(a, flow, before);

  std::vector<Step> steps = flow.steps(a);
  if (flow.cancel && !op.past_no_return && !op.rolling_back && op.step != kRecordStep) {
    begin_roll_back(a, base::refused("Cancelled", "it was cancelled"));
    if (op.step.empty()) op.step = kRecordStep;
    PGR_TRY(a.save(a));
  }
  milliseconds again{500};
  if (op.rolling_back) {
    PGR_ASSIGN(bool all_back, roll_back(a, steps, &again));
    if (!all_back) {
      PGR_TRY(save_if_changed(a, before));
      return Again{again};
    }
  } else {
    if (op.step.empty()) {
      enter(a, steps.front(), 0, steps.size());
      PGR_TRY(a.save(a));
      a.world.event(a.object, "Normal", a.status.step, a.status.message);
    }
    std::size_t i = op.step == kRecordStep ? steps.size() : index_of(steps, op.step);
    while (i < steps.size()) {
      const Json saved = api::to_json(a.status);
      StepResult r = within_patience(a, steps[i], steps[i].run(a));
      if (r.kind == StepResult::Kind::kWaiting) {
        say(a, Phase::kRunning, "",
            r.message.empty() ? steps[i].planned.text
                              : fmt::format("{} ({})", steps[i].planned.text, r.message));
        a.status.progress_detail = r.progress_detail;
        PGR_TRY(save_if_changed(a, saved));
        return Again{r.again};
      }
      if (r.kind == StepResult::Kind::kBlocked ||
          (r.kind == StepResult::Kind::kFailed && op.past_no_return)) {
        // Past the point of no return a failure never turns back: the step is tried again for ever.
        const State was(a);
        say(a, Phase::kBlocked, r.error.reason_or_code(),
            fmt::format("step {} needs help: {}", op.step, r.error.text()));
        if (was.differs(a)) tell(a, "Warning");
        PGR_TRY(save_if_changed(a, saved));
        return Again{std::max(r.again, milliseconds(2000))};
      }
      if (r.kind == StepResult::Kind::kFailed) {
        begin_roll_back(a, r.error);
        PGR_TRY(a.save(a));
        return Again{kAtOnce};
      }
      op.results[op.step] = r.result;
      log_end(a, "ok");
      if (i + 1 == steps.size()) {
        op.step = kRecordStep;
        op.state = "Intent";
        a.status.step = kRecordStep;
        a.status.progress = fmt::format("{}/{}", steps.size(), steps.size());
        say(a, Phase::kRunning, "", "writing the transcript");
      } else {
        enter(a, steps[i + 1], i + 1, steps.size());
      }
      PGR_TRY(a.save(a));
      a.world.event(a.object, "Normal", a.status.step, a.status.message);
      ++i;
    }
  }

  // Before the record too: what the archive is told must be so.
  if (!op.rolling_back) {
    PGR_ASSIGN(Again not_yet, unconfirmed(a, flow, before));
    if (not_yet) return not_yet;
  }
  std::string note;
  if (flow.record) {
    StepResult r = flow.record(a);
    if (r.kind == StepResult::Kind::kWaiting) {
      PGR_TRY(save_if_changed(a, before));
      return Again{r.again};
    }
    // The work itself is done (or put back) and proven; a transcript that cannot be written must not hide
    // that.
    if (r.kind != StepResult::Kind::kDone)
      note = fmt::format(" (the transcript is not in the archive: {})", r.error.text());
  }
  if (op.rolling_back) {
    bool cancelled = text_at(op.failure, {"reason"}) == "Cancelled";
    std::string remains = flow.as_before ? flow.as_before(a) : "";
    finish(a, cancelled ? Phase::kCancelled : Phase::kFailed, text_at(op.failure, {"reason"}),
           (!remains.empty() ? failure_text(op.failure) + ". " + remains
            : cancelled      ? "cancelled; everything is as it was before"
                             : failure_text(op.failure) + ". Everything is as it was before") +
               note,
           !remains.empty() ? remains : "everything is as it was before the action");
  } else {
    PGR_ASSIGN(Again not_yet, unconfirmed(a, flow, before));
    if (not_yet) return not_yet;
    finish(a, Phase::kCompleted, "Completed", (flow.success ? flow.success(a) : "done") + note,
           "the action is complete");
  }
  PGR_TRY(a.save(a));
  tell(a, a.status.phase == Phase::kFailed ? "Warning" : "Normal");
  return Again{};
}

}  // namespace pgrunbook::execute
