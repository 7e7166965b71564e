#include "plan/standing.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "postgres/timeline.hpp"

namespace pgrunbook::plan {

using base::at;
using base::number_at;
using base::text_at;

namespace {

std::string object_of(const MemberView& m) { return fmt::format("{}/{}", m.workload.kind, m.workload.name); }

std::string lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

std::string scale_command(const SceneView& scene, const MemberView& m, int replicas) {
  return fmt::format("kubectl scale {}/{} -n {} --replicas={}", lower(m.workload.kind), m.workload.name,
                     scene.ns, replicas);
}

// What the Service must select so that it leads to that member: as recorded, else its own keys with the
// member's values.
Json wanted_selector(const SceneView& scene, const ServiceView& s, const Cutover& c, const MemberView* to) {
  if (const Json& recorded = at(c.services, {s.name}); recorded.is_object()) return recorded;
  if (to == nullptr) return Json();
  auto next = switched_selector(s, *to, scene.members);
  return next ? *next : Json();
}

std::string select_command(const SceneView& scene, const std::string& service, const Json& selector) {
  return fmt::format(
      "kubectl patch service {} -n {} --type=json -p "
      "'[{{\"op\":\"replace\",\"path\":\"/spec/selector\",\"value\":{}}}]'",
      service, scene.ns, selector.dump());
}

std::string made_by(const Cutover& c) {
  if (!c.accepted.empty()) return fmt::format("{} is the primary since {} ({})", c.to, c.time, c.accepted);
  return fmt::format("Failover {} made {} the primary at {}", c.name, c.to, c.time);
}

// What it means for the data that clients are led there.
std::string meaning(const std::string& member, const std::string& primary,
                    const std::optional<ServerFacts>& server) {
  if (server && !server->no_answer && server->in_recovery)
    return fmt::format(
        "{} is fenced and read-only: what clients write fails, and nothing lands on the old data", member);
  if (server && !server->no_answer)
    return fmt::format(
        "{} takes writes on timeline {}, apart from {}: what is written there is not in {}'s data", member,
        server->timeline, primary, primary);
  return fmt::format(
      "nobody answers on {}, which is fenced: clients get no connection, and nothing lands on the old data",
      member);
}

struct Problem {
  std::string what, meaning, command, line;
  std::string manager;
};

std::vector<Problem> problems_of(const SceneView& scene, const Standing& standing,
                                 const std::optional<ServerFacts>& old_primary) {
  std::vector<Problem> out;
  const Cutover& c = *standing.recorded;
  const MemberView* to = recorded_primary(scene, c);
  std::string primary = to == nullptr ? c.to : to->name;
  for (const ServiceView& s : scene.services) {
    std::string selected = selected_member(s.selector, scene.members);
    if (to != nullptr && selected == to->name) continue;
    Json wanted = wanted_selector(scene, s, c, to);
    Problem p;
    p.what = fmt::format("Service {} selects {} instead of {}; {} set it", s.name,
                         selected.empty() ? s.selector.dump() : selected, primary, who_set(s.steering));
    p.meaning = selected.empty() ? "clients of that Service reach no member"
                                 : meaning(selected, primary, standing.server);
    if (wanted.is_object()) {
      p.command = select_command(scene, s.name, wanted);
      p.line = fmt::format("Service/{} spec.selector {}", s.name, wanted.dump());
    }
    p.manager = s.steering.setter.manager;
    out.push_back(p);
  }
  if (to != nullptr && to->replicas == 0 && to->steering.setter.manager != kOurManager) {
    out.push_back({fmt::format("{}, the primary, is scaled to 0; {} set it", to->name, who_set(to->steering)),
                   "its data are untouched, and nobody is served", scale_command(scene, *to, 1),
                   fmt::format("{} spec.replicas 1", object_of(*to)), to->steering.setter.manager});
  }
  if (const MemberView* old = old_primary_scaled_up(scene, c);
      old != nullptr && !(old_primary && descends_from(*old_primary, c))) {
    bool answers = old_primary && !old_primary->no_answer;
    out.push_back(
        {fmt::format("{}, the old primary, is scaled up; {} set it", old->name, who_set(old->steering)),
         answers && !old_primary->in_recovery
             ? fmt::format("it takes writes on timeline {}, apart from {}", old_primary->timeline, primary)
             : fmt::format("it is fenced: its server is read-only or does not start"),
         scale_command(scene, *old, 0), fmt::format("{} spec.replicas 0", object_of(*old)),
         old->steering.setter.manager});
  }
  return out;
}

}  // namespace

Json to_json(const Cutover& c) {
  Json j = {{"name", c.name},
            {"uid", c.uid},
            {"from", c.from},
            {"to", c.to},
            {"time", c.time},
            {"claim", c.claim},
            {"fromClaim", c.from_claim},
            {"systemIdentifier", c.system},
            {"timeline", c.timeline},
            {"parentTimeline", c.parent_timeline},
            {"forkLSN", c.fork},
            {"services", c.services},
            {"steered", c.steered}};
  if (!c.accepted.empty()) j["accepted"] = c.accepted;
  return j;
}

std::optional<Cutover> cutover_from_json(const Json& j) {
  if (!j.is_object() || text_at(j, {"to"}).empty() || text_at(j, {"time"}).empty()) return std::nullopt;
  Cutover c;
  c.name = text_at(j, {"name"});
  c.uid = text_at(j, {"uid"});
  c.from = text_at(j, {"from"});
  c.to = text_at(j, {"to"});
  c.time = text_at(j, {"time"});
  c.claim = text_at(j, {"claim"});
  c.from_claim = text_at(j, {"fromClaim"});
  c.system = text_at(j, {"systemIdentifier"});
  c.timeline = number_at(j, {"timeline"});
  c.parent_timeline = number_at(j, {"parentTimeline"});
  c.fork = text_at(j, {"forkLSN"});
  if (const Json& s = at(j, {"services"}); s.is_object()) c.services = s;
  if (const Json& s = at(j, {"steered"}); s.is_array()) c.steered = s;
  c.accepted = text_at(j, {"accepted"});
  return c;
}

std::optional<Cutover> cutover_of(const Json& failover, const std::string& topology) {
  if (text_at(failover, {"spec", "topologyRef", "name"}) != topology ||
      text_at(failover, {"status", "phase"}) != "Completed" ||
      text_at(failover, {"status", "reason"}) == "AlreadyDone")
    return std::nullopt;
  const Json& in = at(failover, {"status", "operation", "inputs"});
  Json j = {
      {"name", text_at(failover, {"metadata", "name"})},
      {"uid", text_at(failover, {"metadata", "uid"})},
      {"from", text_at(in, {"from"})},
      {"to", text_at(in, {"to"})},
      {"time", text_at(failover, {"status", "completionTime"})},
      {"systemIdentifier", text_at(in, {"systemIdentifier"})},
      {"timeline", number_at(in, {"candidateTimeline"})},
      {"parentTimeline", number_at(failover, {"status", "operation", "results", "plan", "parentTimeline"})},
      {"forkLSN", text_at(in, {"forkLSN"})},
      {"services", Json::object()},
      {"steered", at(in, {"steered"})}};
  if (const Json& claims = at(in, {"claims"}); claims.is_array() && claims.size() == 2) {
    j["fromClaim"] = claims[0];
    j["claim"] = claims[1];
  }
  if (const Json& services = at(in, {"services"}); services.is_object()) {
    for (const auto& [name, s] : services.items()) j["services"][name] = at(s, {"new"});
  }
  return cutover_from_json(j);
}

std::optional<Cutover> last_cutover(const Json& topology, const Json& failovers) {
  auto last = cutover_from_json(at(topology, {"status", "cutover"}));
  if (!failovers.is_array()) return last;
  for (const Json& f : failovers) {
    auto c = cutover_of(f, text_at(topology, {"metadata", "name"}));
    // Times are of one form; what a person has made of it in the same second came after.
    if (c && (!last || c->time > last->time)) last = c;
  }
  return last;
}

namespace {
std::optional<postgres::TimelineHistory> history_of(const ServerFacts& server, const Cutover& c) {
  if (server.no_answer || server.in_recovery || server.timeline <= 0 || server.system != c.system)
    return std::nullopt;
  auto history = postgres::TimelineHistory::parse(
      postgres::TimelineId(static_cast<std::uint32_t>(server.timeline)), server.history);
  if (!history) return std::nullopt;
  // It must have left the old primary's timeline where the recorded one did, or before: a server that went on
  // from the old data may have made the same numbers.
  auto fork = postgres::Lsn::parse(c.fork);
  postgres::TimelineId parent(static_cast<std::uint32_t>(c.parent_timeline));
  if (!fork) return std::nullopt;
  if (parent.valid() && history->contains(parent) && history->end_of(parent) > *fork) return std::nullopt;
  return *history;
}
}  // namespace

bool descends_from(const ServerFacts& server, const Cutover& c) {
  auto history = history_of(server, c);
  return history && server.timeline > c.timeline &&
         history->contains(postgres::TimelineId(static_cast<std::uint32_t>(c.timeline)));
}

bool is_recorded(const ServerFacts& server, const Cutover& c) {
  return server.timeline == c.timeline && history_of(server, c).has_value();
}

std::string acceptance_of(const std::string& member, const Cutover& c) {
  return fmt::format("{}.{}", member, c.uid.substr(0, 8));
}

const MemberView* recorded_primary(const SceneView& scene, const Cutover& c) {
  auto by_claim = std::find_if(scene.members.begin(), scene.members.end(), [&](const MemberView& m) {
    return !c.claim.empty() && m.data_claim_uid == c.claim;
  });
  if (by_claim != scene.members.end()) return &*by_claim;
  return c.claim.empty() ? scene.member(c.to) : nullptr;
}

bool as_recorded(const SceneView& scene, const Cutover& c) {
  const MemberView* to = recorded_primary(scene, c);
  return to != nullptr && to->name == scene.primary;
}

Standing judge_standing(const SceneView& scene, const std::optional<Cutover>& recorded,
                        const std::optional<ServerFacts>& selected, const std::string& accepted) {
  Standing s;
  s.recorded = recorded;
  s.server = selected;
  if (!recorded) return s;
  s.kind = Standing::Kind::kReverted;
  const Cutover& c = *recorded;
  if (as_recorded(scene, c)) {
    s.kind = Standing::Kind::kAsRecorded;
  } else if (!scene.primary.empty() && selected) {
    bool writes = !selected->no_answer && !selected->in_recovery;
    if (descends_from(*selected, c)) {
      s.why = fmt::format("its server takes writes on timeline {}, which came from timeline {} of {}",
                          selected->timeline, c.timeline, c.to);
    } else if (recorded_primary(scene, c) == nullptr && is_recorded(*selected, c)) {
      s.why = fmt::format("its server is the one that {} was: system {}, timeline {}", c.to, c.system,
                          c.timeline);
    } else if (writes && accepted == acceptance_of(scene.primary, c)) {
      s.why = fmt::format("its server takes writes on timeline {}, and the annotation {} says so",
                          selected->timeline, api::kAnnotationAcceptPrimary);
    }
    if (!s.why.empty()) s.kind = Standing::Kind::kAccepted;
  }
  return s;
}

Cutover accept(const SceneView& scene, const Standing& standing, const std::string& now) {
  Cutover c = *standing.recorded;
  const MemberView* before = recorded_primary(scene, c);
  const MemberView* selected = scene.member(scene.primary);
  // Nobody fenced the former one: nothing is expected of it.
  c.from = before == nullptr ? c.to : before->name;
  c.from_claim = "none";
  c.to = scene.primary;
  c.claim = selected->data_claim_uid;
  c.time = now;
  c.timeline = standing.server->timeline;
  c.parent_timeline = 0;
  c.services = Json::object();
  for (const ServiceView& s : scene.services) c.services[s.name] = s.selector;
  c.accepted = standing.why;
  return c;
}

base::Error reverted(const SceneView& scene, const Standing& standing) {
  const Cutover& c = *standing.recorded;
  const MemberView* to = recorded_primary(scene, c);
  std::string selects, commands;
  for (const ServiceView& s : scene.services) {
    std::string selected = selected_member(s.selector, scene.members);
    if (to != nullptr && selected == to->name) continue;
    selects += fmt::format("{}Service {} selects {} ({} set it)", selects.empty() ? "" : ", ", s.name,
                           selected.empty() ? s.selector.dump() : selected, who_set(s.steering));
    Json wanted = wanted_selector(scene, s, c, to);
    if (wanted.is_object())
      commands += fmt::format("{}{}", commands.empty() ? "" : "; ", select_command(scene, s.name, wanted));
  }
  if (to != nullptr && to->replicas == 0) commands += "; " + scale_command(scene, *to, 1);
  std::string hint = commands.empty() ? "put the recorded primary back into spec.members" : commands;
  if (!scene.primary.empty()) {
    hint += fmt::format(
        "; it goes on by itself. If {0} shall be the primary instead: restore to it with a PostgresRestore "
        "and cut over "
        "by a Failover once the selector is right; or, where its server takes writes already and what only "
        "{1} has may "
        "stay behind: kubectl annotate postgrestopology {2} -n {3} {4}={5}",
        scene.primary, c.to, scene.topology, scene.ns, api::kAnnotationAcceptPrimary,
        acceptance_of(scene.primary, c));
  }
  return base::refused(
      "ServiceReverted",
      fmt::format("{}, but {}; the selector is not taken for the truth, and nothing is touched", selects,
                  made_by(c)),
      hint);
}

const MemberView* old_primary_scaled_up(const SceneView& scene, const Cutover& c) {
  for (const MemberView& m : scene.members) {
    bool old = c.from_claim.empty() ? m.name == c.from : m.data_claim_uid == c.from_claim;
    if (old && m.replicas > 0 && m.steering.setter.manager != kOurManager) return &m;
  }
  return nullptr;
}

Consistency judge_consistency(const SceneView& scene, const Standing& standing,
                              const std::optional<ServerFacts>& old_primary) {
  using Kind = Standing::Kind;
  Consistency ok{"True", "OneMember", fmt::format("every Service selects {}", scene.primary)};
  if (standing.kind == Kind::kNothingRecorded || standing.kind == Kind::kAccepted) return ok;
  auto problems = problems_of(scene, standing, old_primary);
  if (problems.empty()) return ok;
  Consistency out;
  out.status = "False";
  out.reason = reverted_by(problems.front().manager);
  std::string commands, lines;
  out.message = made_by(*standing.recorded);
  for (const Problem& p : problems) {
    out.message += fmt::format(". Now {}: {}", p.what, p.meaning);
    if (!p.command.empty()) commands += (commands.empty() ? "" : "; ") + p.command;
    if (!p.line.empty()) lines += (lines.empty() ? "" : "; ") + p.line;
  }
  out.message += fmt::format(
      ". Nothing is changed back. HINT: {}; and commit where it came from: {}. If it is meant: "
      "docs/gitops.md, \"A way "
      "back by hand\"",
      commands, lines);
  return out;
}

std::vector<Expectation> expectations(const SceneView& scene, const Standing& standing) {
  std::vector<Expectation> out;
  bool recorded = standing.kind == Standing::Kind::kAsRecorded || standing.kind == Standing::Kind::kReverted;
  auto before = [&](const std::string& object) {
    if (!standing.recorded) return false;
    const Json& steered = standing.recorded->steered;
    return std::find(steered.begin(), steered.end(), Json(object)) != steered.end();
  };
  const MemberView* to = recorded ? recorded_primary(scene, *standing.recorded) : nullptr;
  for (const ServiceView& s : scene.services) {
    Json value = s.selector;
    if (recorded) {
      if (Json wanted = wanted_selector(scene, s, *standing.recorded, to); wanted.is_object()) value = wanted;
    }
    std::string object = "Service/" + s.name;
    out.push_back({object, Field::kSelector, s.steering, value, before(object)});
  }
  for (const MemberView& m : scene.members) {
    bool old = recorded &&
               (standing.recorded->from_claim.empty() ? m.name == standing.recorded->from
                                                      : m.data_claim_uid == standing.recorded->from_claim);
    // A restore onto the old primary by us makes it a member like any other.
    bool restored = old && m.replicas > 0 && m.steering.setter.manager == kOurManager;
    int value = &m == to ? 1 : old && !restored ? 0 : m.replicas;
    out.push_back({object_of(m), Field::kReplicas, m.steering, value, before(object_of(m))});
  }
  return out;
}

}  // namespace pgrunbook::plan
