#include "plan/topology_events.hpp"

namespace pgrunbook::plan {

using base::at;
using base::Json;
using base::text_at;

namespace {

Json condition(const Json& status, std::string_view type) {
  if (const Json& all = at(status, {"conditions"}); all.is_array()) {
    for (const Json& c : all) {
      if (text_at(c, {"type"}) == type) return c;
    }
  }
  return Json();
}

const Json& symptom_of(const Json& status, const std::string& member) {
  static const Json none;
  if (const Json& all = at(status, {"members"}); all.is_array()) {
    for (const Json& m : all) {
      if (text_at(m, {"name"}) == member) return at(m, {"symptom"});
    }
  }
  return none;
}

// What ails a member, once for each reason and member.
void tell_symptoms(const Json& before, const Json& after, std::vector<TopologyEvent>* events) {
  const Json& members = at(after, {"members"});
  if (!members.is_array()) return;
  for (const Json& m : members) {
    const Json& is = at(m, {"symptom"});
    std::string name = text_at(m, {"name"}), reason = text_at(is, {"reason"}), line = text_at(is, {"line"});
    if (reason.empty() || reason == text_at(symptom_of(before, name), {"reason"})) continue;
    events->push_back(
        {"Warning", reason, name + ": " + text_at(is, {"what"}) + (line.empty() ? "" : ": " + line)});
  }
}

}  // namespace

std::vector<TopologyEvent> topology_events(const Json& before, const Json& after) {
  std::vector<TopologyEvent> events;
  auto tell = [&](const char* type, const Json& c) {
    TopologyEvent e{type, text_at(c, {"reason"}), text_at(c, {"message"})};
    if (e.reason == "SettingUp" || e.reason == text_at(after, {"setup", "reason"})) return;
    for (const TopologyEvent& told : events) {
      if (told.reason == e.reason) return;
    }
    events.push_back(std::move(e));
  };
  Json was = condition(before, "ContinuousArchiving"), is = condition(after, "ContinuousArchiving");
  std::string archived = text_at(was, {"status"}), archives = text_at(is, {"status"});
  // From Unknown to True is no news: after a cutover or a restart it is what everybody expects. Nor after
  // setting up, which has said that it is complete.
  if (archives == "False" && (archived != "False" || text_at(was, {"reason"}) != text_at(is, {"reason"})))
    tell("Warning", is);
  if (archives == "True" && archived == "False" && text_at(was, {"reason"}) != "SettingUp")
    tell("Normal", is);

  was = condition(before, "ServiceConsistent");
  is = condition(after, "ServiceConsistent");
  if (text_at(is, {"status"}) == "False" && text_at(was, {"reason"}) != text_at(is, {"reason"}))
    tell("Warning", is);
  if (text_at(is, {"status"}) == "True" && text_at(was, {"reason"}).starts_with("RevertedBy"))
    tell("Normal", is);

  was = condition(before, "Stalled");
  is = condition(after, "Stalled");
  if (text_at(is, {"status"}) == "True" && text_at(was, {"reason"}) != text_at(is, {"reason"}))
    tell("Warning", is);
  tell_symptoms(before, after, &events);
  return events;
}

}  // namespace pgrunbook::plan
