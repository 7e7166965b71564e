#include "api/status.hpp"

#include <array>

namespace pgrunbook::api {
namespace {
constexpr std::array<std::string_view, 10> kPhases{"Pending", "Planning", "AwaitingApproval", "Running",
                                                   "Paused",  "Blocked",  "RollingBack",      "Completed",
                                                   "Failed",  "Cancelled"};
}

std::string_view to_string(Phase phase) { return kPhases.at(static_cast<std::size_t>(phase)); }

Phase phase_from(std::string_view text) {
  for (std::size_t i = 0; i < kPhases.size(); ++i) {
    if (kPhases.at(i) == text) return static_cast<Phase>(i);
  }
  return Phase::kPending;
}

bool terminal(Phase phase) {
  return phase == Phase::kCompleted || phase == Phase::kFailed || phase == Phase::kCancelled;
}

void set_condition(Json* conditions, std::string_view type, std::string_view status, std::string_view reason,
                   std::string_view message, std::int64_t generation, const std::string& now) {
  if (!conditions->is_array()) *conditions = Json::array();
  Json made = {{"type", type},
               {"status", status},
               {"reason", reason.empty() ? "Unknown" : reason},
               {"message", base::cut_text(message, 4096)},
               {"observedGeneration", generation},
               {"lastTransitionTime", now}};
  for (Json& c : *conditions) {
    if (base::text_at(c, {"type"}) != type) continue;
    if (base::text_at(c, {"status"}) == status) made["lastTransitionTime"] = c["lastTransitionTime"];
    c = made;
    return;
  }
  conditions->push_back(made);
}

void remove_condition(Json* conditions, std::string_view type) {
  if (!conditions->is_array()) return;
  for (auto it = conditions->begin(); it != conditions->end();) {
    it = base::text_at(*it, {"type"}) == type ? conditions->erase(it) : it + 1;
  }
}

std::string condition_status(const Json& conditions, std::string_view type) {
  if (conditions.is_array()) {
    for (const Json& c : conditions) {
      if (base::text_at(c, {"type"}) == type) return base::text_at(c, {"status"});
    }
  }
  return "";
}

void ActionStatus::set_conditions(std::int64_t generation, const std::string& now) {
  std::string why = reason.empty() ? std::string(to_string(phase)) : reason;
  bool done = terminal(phase);
  bool good = phase == Phase::kCompleted;
  bool stalled = phase == Phase::kBlocked || (done && !good);
  set_condition(&conditions, "Ready", good ? "True" : "False", why, message, generation, now);
  if (done || phase == Phase::kBlocked) {
    remove_condition(&conditions, "Reconciling");
  } else {
    set_condition(&conditions, "Reconciling", "True", why, message, generation, now);
  }
  if (stalled) {
    set_condition(&conditions, "Stalled", "True", why, message, generation, now);
  } else {
    remove_condition(&conditions, "Stalled");
  }
  set_condition(&conditions, "Finished", done ? "True" : "False", why, message, generation, now);
  observed_generation = generation;
}

Json to_json(const std::vector<PlannedStep>& steps) {
  Json list = Json::array();
  for (const PlannedStep& s : steps) {
    list.push_back({{"name", s.name},
                    {"kind", s.kind == StepKind::kIrreversible ? "Irreversible" : "Convergent"},
                    {"text", s.text}});
  }
  return list;
}

ActionStatus status_of(const Json& object) {
  const Json& j = base::at(object, {"status"});
  ActionStatus s;
  if (!j.is_object()) return s;
  s.extra = j;
  for (const char* own :
       {"phase", "step", "progress", "message", "reason", "safePoint", "progressDetail", "plan", "operation",
        "startTime", "completionTime", "observedGeneration", "conditions"}) {
    s.extra.erase(own);
  }
  s.phase = phase_from(base::text_at(j, {"phase"}));
  s.step = base::text_at(j, {"step"});
  s.progress = base::text_at(j, {"progress"});
  s.message = base::text_at(j, {"message"});
  s.reason = base::text_at(j, {"reason"});
  s.safe_point = base::text_at(j, {"safePoint"});
  s.progress_detail = base::at(j, {"progressDetail"});
  s.plan = base::at(j, {"plan"});
  s.start_time = base::text_at(j, {"startTime"});
  s.completion_time = base::text_at(j, {"completionTime"});
  s.observed_generation = base::number_at(j, {"observedGeneration"});
  if (const Json& c = base::at(j, {"conditions"}); c.is_array()) s.conditions = c;
  const Json& o = base::at(j, {"operation"});
  if (o.is_object()) {
    s.operation.unknown = o;
    for (const char* own : {"format", "step", "state", "attempt", "rollingBack", "pastNoReturn", "inputs",
                            "results", "log", "failure"}) {
      s.operation.unknown.erase(own);
    }
    // 0 where it is there and no number: a format we do not know either.
    s.operation.format = static_cast<int>(base::number_at(o, {"format"}, o.contains("format") ? 0 : 1));
    if (s.operation.format != 1) s.operation.unknown = o;  // every word of it may mean something else
    s.operation.step = base::text_at(o, {"step"});
    s.operation.state = base::text_at(o, {"state"});
    s.operation.attempt = static_cast<int>(base::number_at(o, {"attempt"}, 1));
    s.operation.rolling_back = base::at(o, {"rollingBack"}) == Json(true);
    s.operation.past_no_return = base::at(o, {"pastNoReturn"}) == Json(true);
    if (const Json& x = base::at(o, {"inputs"}); x.is_object()) s.operation.inputs = x;
    if (const Json& x = base::at(o, {"results"}); x.is_object()) s.operation.results = x;
    if (const Json& x = base::at(o, {"log"}); x.is_array()) s.operation.log = x;
    s.operation.failure = base::at(o, {"failure"});
  }
  return s;
}

Json to_json(const ActionStatus& s) {
  Json j = s.extra;
  // Every field is always written: a merge patch keeps what it does not name.
  j["phase"] = to_string(s.phase);
  j["step"] = s.step;
  j["progress"] = s.progress;
  j["message"] = s.message;
  j["reason"] = s.reason;
  j["safePoint"] = s.safe_point.empty() ? Json() : Json(s.safe_point);
  j["progressDetail"] = s.progress_detail;
  j["plan"] = s.plan;
  j["startTime"] = s.start_time.empty() ? Json() : Json(s.start_time);
  j["completionTime"] = s.completion_time.empty() ? Json() : Json(s.completion_time);
  j["observedGeneration"] = s.observed_generation;
  j["conditions"] = s.conditions;
  j["operation"] = {{"format", s.operation.format},
                    {"step", s.operation.step},
                    {"state", s.operation.state},
                    {"attempt", s.operation.attempt},
                    {"rollingBack", s.operation.rolling_back},
                    {"pastNoReturn", s.operation.past_no_return},
                    {"inputs", s.operation.inputs},
                    {"results", s.operation.results},
                    {"log", s.operation.log},
                    {"failure", s.operation.failure}};
  for (const auto& [key, value] : s.operation.unknown.items()) j["operation"][key] = value;
  return j;
}

}  // namespace pgrunbook::api
