#include "plan/symptoms.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace pgrunbook::plan {

using base::at;
using base::number_at;
using base::text_at;
using postgres::Complaint;
using postgres::Trouble;

namespace {

constexpr auto kLogEvery = std::chrono::seconds(60);
constexpr auto kDamageKept = std::chrono::hours(24);
constexpr auto kRoomKept = std::chrono::minutes(10);
constexpr auto kServesFor = std::chrono::seconds(30);  // without a readiness probe every start is ready
constexpr auto kSeenEvery = std::chrono::minutes(10);  // else each look at a chatty log would be a write
constexpr auto kLastLifeCounts = std::chrono::hours(1);

bool never_started(const ContainerView& c) {
  return !c.running && !c.waiting.empty() && c.waiting != "CrashLoopBackOff" &&
         c.waiting != "ContainerCreating" && c.waiting != "PodInitializing";
}

// Reasons that say no more than that something is wrong.
bool vague(const std::string& reason) {
  return reason == "CrashLoops" || reason == "LogElsewhere" || reason == "ContainerWaits";
}

std::size_t rank(const std::string& reason) {
  auto all = postgres::complaint_reasons();  // the worst first
  return static_cast<std::size_t>(std::find(all.begin(), all.end(), reason) - all.begin());
}

// What a server that serves can say of itself. The rest is of a former life.
bool can_serve_with(const Complaint& c) {
  switch (c.trouble) {
    case Trouble::kDamaged:
    case Trouble::kIndex:
    case Trouble::kRoom:
    case Trouble::kDisk:
      return true;
    case Trouble::kDestroyed:
      return c.reason == "TransactionStatusLost" || c.reason == "RelationMapDamaged";
    default:
      return false;
  }
}

Symptom symptom(const Complaint& c, bool serves) { return {c.reason, c.what, c.line, serves, {}, {}}; }

}  // namespace

ContainerView container_of(const MemberView& member) {
  ContainerView c;
  if (member.pods.empty()) return c;
  const Json& pod = member.pods.front();
  c.there = true;
  c.pod = text_at(pod, {"metadata", "name"});
  c.pod_uid = text_at(pod, {"metadata", "uid"});
  c.ready = pod_ready(pod);
  const Json& statuses = at(pod, {"status", "containerStatuses"});
  if (!statuses.is_array()) return c;
  for (const Json& s : statuses) {
    if (text_at(s, {"name"}) != member.container) continue;
    c.restarts = static_cast<int>(number_at(s, {"restartCount"}));
    c.running = at(s, {"state", "running"}).is_object();
    c.running_since = text_at(s, {"state", "running", "startedAt"});
    c.waiting = text_at(s, {"state", "waiting", "reason"});
    c.waiting_message = text_at(s, {"state", "waiting", "message"});
    const Json& now = at(s, {"state", "terminated"});
    const Json& before = now.is_object() ? now : at(s, {"lastState", "terminated"});
    c.ended = text_at(before, {"reason"});
    c.ended_at = text_at(before, {"finishedAt"});
    c.exit_code = static_cast<int>(number_at(before, {"exitCode"}));
  }
  return c;
}

LogWish log_wish(const ContainerView& c, const std::optional<LogRead>& last, base::SystemTime now) {
  LogWish wish;
  if (!c.there || never_started(c) || (!c.running && c.restarts == 0 && c.ended.empty())) return wish;
  bool other_life = !last || last->pod_uid != c.pod_uid || last->restarts != c.restarts;
  if (!other_life && now - last->at < kLogEvery) return wish;
  wish.read = true;
  if (!c.ready) {
    wish.previous = c.restarts > 0;
    return wish;
  }
  // A server that crashed and came back: what it said last is in its former life's log.
  auto ended = base::parse_time(c.ended_at, "finishedAt");
  wish.previous = other_life && c.restarts > 0 && ended && now - *ended < kLastLifeCounts;
  auto since =
      other_life ? std::chrono::seconds(300)
                 : std::chrono::duration_cast<std::chrono::seconds>(now - last->at) + std::chrono::seconds(5);
  wish.since_seconds = static_cast<int>(std::clamp<std::int64_t>(since.count(), 1, 3600));
  return wish;
}

Json to_json(const Symptom& s) {
  Json json = {
      {"reason", s.reason}, {"what", s.what}, {"serves", s.serves}, {"since", s.since}, {"seen", s.seen}};
  if (!s.line.empty()) json["line"] = s.line;
  return json;
}

std::optional<Symptom> symptom_from_json(const Json& json) {
  Symptom s;
  s.reason = text_at(json, {"reason"});
  s.what = text_at(json, {"what"});
  s.line = text_at(json, {"line"});
  s.serves = at(json, {"serves"}) == Json(true);
  s.since = text_at(json, {"since"});
  s.seen = text_at(json, {"seen"});
  if (s.reason.empty() || !base::parse_time(s.since, "since") || !base::parse_time(s.seen, "seen"))
    return std::nullopt;
  return s;
}

std::optional<Symptom> diagnose(const ContainerView& c, std::string_view log) {
  if (!c.there) return std::nullopt;
  if (never_started(c)) {
    return Symptom{"ContainerWaits",
                   fmt::format("its container does not start: {}", c.waiting),
                   postgres::last_words(c.waiting_message),
                   false,
                   {},
                   {}};
  }
  std::vector<Complaint> all = postgres::complaints(log);
  auto worst = [&](auto&& counts) {
    const Complaint* found = nullptr;
    for (const Complaint& one : all) {
      if (counts(one) && (found == nullptr || rank(one.reason) <= rank(found->reason))) found = &one;
    }
    return found;
  };
  if (c.ready) {
    const Complaint* one = worst(can_serve_with);
    return one == nullptr ? std::nullopt : std::optional(symptom(*one, true));
  }
  // Why its last start ended.
  auto last = std::find_if(all.rbegin(), all.rend(), [](const Complaint& one) { return one.fatal; });
  if (last != all.rend()) return symptom(*last, false);
  const Complaint* one = worst(
      [](const Complaint& x) { return x.trouble != Trouble::kElsewhere && x.trouble != Trouble::kReadOnly; });
  if (one != nullptr) return symptom(*one, false);
  if (c.ended == "OOMKilled") {
    return Symptom{"OutOfMemory",
                   "its container was killed for want of memory; nothing is damaged",
                   postgres::last_words(log),
                   false,
                   {},
                   {}};
  }
  if (c.restarts == 0 && c.waiting != "CrashLoopBackOff") return std::nullopt;
  one = worst([](const Complaint& x) { return x.trouble == Trouble::kReadOnly; });
  if (one != nullptr) return symptom(*one, false);
  if (c.running && c.waiting.empty()) return std::nullopt;  // it may come up yet
  one = worst([](const Complaint& x) { return x.trouble == Trouble::kElsewhere; });
  if (one != nullptr) return symptom(*one, false);
  return Symptom{"CrashLoops",
                 fmt::format("its container ended {} times, last with exit code {}, and its log says nothing "
                             "that is known here",
                             std::max(c.restarts, 1), c.exit_code),
                 postgres::last_words(log),
                 false,
                 {},
                 {}};
}

std::optional<Symptom> carry(const std::optional<Symptom>& before, const std::optional<Symptom>& found,
                             const ContainerView& c, bool primary, base::SystemTime now) {
  auto age = [&] {
    auto seen = base::parse_time(before->seen, "seen");
    return seen ? now - *seen : base::SystemTime::duration::max();
  };
  if (found) {
    if (before && !c.ready && !before->serves && vague(found->reason) && !vague(before->reason))
      return before;
    Symptom s = *found;
    bool same = before && before->reason == s.reason && before->serves == s.serves;
    // Its words change with every restart; a status that changes with them would be written as often.
    if (same && age() < kSeenEvery) return before;
    s.since = same ? before->since : base::format_time(now);
    s.seen = base::format_time(now);
    return s;
  }
  if (!before) return std::nullopt;
  if (!c.there) return primary ? before : std::nullopt;
  if (!c.ready) return before;
  if (!before->serves) {
    auto began = base::parse_time(c.running_since, "startedAt");
    return began && now - *began < kServesFor ? before : std::nullopt;
  }
  bool room = postgres::trouble_of(before->reason) == Trouble::kRoom;
  return age() < (room ? base::SystemTime::duration(kRoomKept) : base::SystemTime::duration(kDamageKept))
             ? before
             : std::nullopt;
}

namespace {

// "20261128-1612": a restore's name says which incident it is for, so that applying it twice is one restore.
std::string stamp(const std::string& time) {
  std::string digits;
  for (char c : time) {
    if (c >= '0' && c <= '9') digits += c;
  }
  digits.resize(std::min<std::size_t>(digits.size(), 12));
  return digits.size() == 12 ? digits.substr(0, 8) + "-" + digits.substr(8) : digits;
}

bool ended_in_vain(const Json& action) {
  std::string phase = text_at(action, {"status", "phase"});
  return phase == "Failed" || phase == "Cancelled";
}

// Of those that ended in vain none is tried again under its name.
std::string free_name(const std::string& base_name, const Json& actions) {
  for (int i = 1; i < 100; ++i) {
    std::string name = i == 1 ? base_name : fmt::format("{}-{}", base_name, i);
    bool taken = std::any_of(actions.begin(), actions.end(), [&](const Json& r) {
      return text_at(r, {"metadata", "name"}) == name && ended_in_vain(r);
    });
    if (!taken) return name;
  }
  return base_name;
}

std::string action_name(const SceneView& scene, const char* what, const Symptom& s, const Json& actions) {
  return free_name(fmt::format("{}-{}-{}", scene.topology.substr(0, 36), what, stamp(s.since)), actions);
}

std::string restore_yaml(const SceneView& scene, const std::string& name, const std::string& to,
                         bool salvage) {
  return fmt::format(
      "apiVersion: {}\nkind: PostgresRestore\nmetadata: {{name: {}, namespace: {}}}\nspec:\n"
      "  topologyRef: {{name: {}}}\n  source: {{type: Latest}}\n"
      "  to: {{type: Member, member: {{name: {}}}}}\n{}  cutover: Manual\n",
      api::kApiVersion, name, scene.ns, scene.topology, to, salvage ? "  salvage: StoppedPrimary\n" : "");
}

std::string failover_yaml(const SceneView& scene, const std::string& name, const std::string& to) {
  return fmt::format(
      "apiVersion: {}\nkind: Failover\nmetadata: {{name: {}, namespace: {}}}\nspec:\n"
      "  topologyRef: {{name: {}}}\n  type: Cutover\n  candidate: {}\n",
      api::kApiVersion, name, scene.ns, scene.topology, to);
}

// The member to restore onto: one that does not run, else the first that is not the primary.
const MemberView* other_member(const SceneView& scene, const MemberView& member) {
  const MemberView* found = nullptr;
  for (const MemberView& m : scene.members) {
    if (m.name == member.name || m.name == scene.primary) continue;
    if (found == nullptr || (m.replicas == 0 && found->replicas != 0)) found = &m;
  }
  return found;
}

// A restore of this topology, with or without salvage, that somebody has made since the symptom was there.
const Json* restore_since(const SceneView& scene, const Symptom& s, bool salvage, const Json& restores) {
  const Json* found = nullptr;
  for (const Json& r : restores) {
    if (text_at(r, {"spec", "topologyRef", "name"}) != scene.topology || ended_in_vain(r)) continue;
    if (text_at(r, {"spec", "mode"}) == "Plan" ||
        (text_at(r, {"spec", "salvage"}) == "StoppedPrimary") != salvage)
      continue;
    if (text_at(r, {"metadata", "creationTimestamp"}) < s.since) continue;
    const std::string to = text_at(r, {"spec", "to", "member", "name"});
    if (to == scene.primary || scene.member(to) == nullptr) continue;
    if (found == nullptr || text_at(r, {"status", "phase"}) == "Completed") found = &r;
  }
  return found;
}

constexpr const char* kKeep = "keep its volume as it is: no pg_resetwal, nothing deleted in pg_wal";

WayOut by_restore(const SceneView& scene, const MemberView& member, const Symptom& s,
                  const MendFacts& facts) {
  const bool primary = member.name == scene.primary;
  const bool salvage = primary && !s.serves;
  const MemberView* to = primary ? other_member(scene, member) : &member;
  if (!facts.has_backup) {
    return {fmt::format("no backup is complete, so the archive cannot restore it; {}, and copy it before "
                        "anybody tries to mend it",
                        kKeep),
            ""};
  }
  if (to == nullptr) {
    return {
        fmt::format("topology {} has no other member to restore onto: add one with a volume of its own to "
                    "spec.members; until then {}",
                    scene.topology, kKeep),
        ""};
  }
  if (primary) {
    if (const Json* r = restore_since(scene, s, salvage, facts.restores)) {
      std::string name = text_at(*r, {"metadata", "name"}),
                  onto = text_at(*r, {"spec", "to", "member", "name"});
      if (text_at(*r, {"status", "phase"}) == "Completed") {
        return {
            fmt::format("PostgresRestore {} has restored it on {}: move the clients there with the Failover "
                        "below, and approve its plan",
                        name, onto),
            failover_yaml(scene, action_name(scene, "cutover", s, facts.failovers), onto)};
      }
      return {fmt::format("PostgresRestore {} is to restore it on {}: see its status, it may wait for an "
                          "approval",
                          name, onto),
              ""};
    }
  }
  std::string name = action_name(scene, salvage ? "salvage" : "restore", s, facts.restores);
  WayOut out;
  out.yaml = restore_yaml(scene, name, to->name, salvage);
  if (salvage) {
    out.hint = fmt::format(
        "{}; restore onto {} with salvage: StoppedPrimary, which reads the last WAL off that volume, then "
        "move "
        "the clients with a Failover (type: Cutover, candidate: {}). To begin, apply the PostgresRestore "
        "below "
        "and approve its plan",
        kKeep, to->name, to->name);
  } else if (primary) {
    out.hint = fmt::format(
        "make a copy of the whole database on {} from backup and WAL, look whether it is sound there (if "
        "not, "
        "name an older backup in source), then move the clients with a Failover (type: Cutover, candidate: "
        "{}). "
        "To begin, apply the PostgresRestore below",
        to->name, to->name);
  } else {
    out.hint = fmt::format(
        "restore onto {} again: apply the PostgresRestore below; what it holds now is kept "
        "beside as the undo",
        member.name);
    std::string cutover = "  cutover: Manual\n";
    if (auto where = out.yaml.find(cutover); where != std::string::npos)
      out.yaml.erase(where, cutover.size());
  }
  return out;
}

std::string index_in(const std::string& line) {
  for (const char* opening : {"index \"", "индекс \"", "индексе \""}) {
    auto where = line.find(opening);
    if (where == std::string::npos) continue;
    where += std::string_view(opening).size();
    auto end = line.find('"', where);
    if (end != std::string::npos) return line.substr(where, end - where);
  }
  return "...";
}

std::string scale(const MemberView& m, int replicas) {
  return fmt::format("kubectl scale {} {} --replicas={}", m.workload.kind == "StatefulSet" ? "sts" : "deploy",
                     m.workload.name, replicas);
}

}  // namespace

WayOut way_out(const SceneView& scene, const MemberView& member, const Symptom& s, const MendFacts& facts) {
  const bool primary = member.name == scene.primary;
  if (s.reason == "OutOfMemory") {
    return {fmt::format("raise resources.limits.memory of container {} of {} {}, or lower shared_buffers, "
                        "work_mem and max_connections; a restore mends nothing",
                        member.container, member.workload.kind, member.workload.name),
            ""};
  }
  if (s.reason == "ContainerWaits") {
    return {"kubectl describe pod shows why; its data are not touched, a restore mends nothing", ""};
  }
  auto trouble = postgres::trouble_of(s.reason);
  if (!trouble) {
    return {fmt::format("read the whole log: kubectl logs {}/{} -c {} --previous",
                        member.workload.kind == "StatefulSet" ? "sts" : "deploy", member.workload.name,
                        member.container),
            ""};
  }
  switch (*trouble) {
    case Trouble::kDestroyed:
    case Trouble::kDamaged:
    case Trouble::kRecovery:
      return by_restore(scene, member, s, facts);
    case Trouble::kIndex:
      return {fmt::format("REINDEX INDEX CONCURRENTLY {}; then look at its table with amcheck: "
                          "bt_index_check('{}', true). A restore is for damaged tables",
                          index_in(s.line), index_in(s.line)),
              ""};
    case Trouble::kRoom:
      if (s.reason == "SharedMemoryFull") {
        return {
            "mount an emptyDir with medium: Memory at /dev/shm, or lower max_parallel_workers_per_gather; a "
            "restore mends nothing",
            ""};
      }
      return {
          fmt::format("make PersistentVolumeClaim {} larger, or free space on it; delete nothing in pg_wal: "
                      "if it is WAL that fills it, see the condition ContinuousArchiving. A restore mends "
                      "nothing and needs more room still",
                      member.data_claim),
          ""};
    case Trouble::kDisk:
      return {
          fmt::format(
              "look at the node and at the storage of PersistentVolumeClaim {} before anything is started on "
              "it again; what was not written is not known to the server. If the volume reads again and "
              "the server does not come up, {}",
              member.data_claim,
              primary
                  ? "restore to another member with salvage: StoppedPrimary; if it does not, without salvage"
                  : "restore onto this member again"),
          ""};
    case Trouble::kVersion:
      return {fmt::format(
                  "put the image back that these data were made with ({} {} now has {}); to go to another "
                  "major version dump and load, or pg_upgrade. A restore mends nothing",
                  member.workload.kind, member.workload.name, member.image),
              ""};
    case Trouble::kAccess:
      return {
          fmt::format("the data directory {} must belong to the uid that the container runs as, with mode "
                      "0700 or 0750: see securityContext (runAsUser, fsGroup) of {} {}. A restore mends "
                      "nothing",
                      member.data_directory, member.workload.kind, member.workload.name),
          ""};
    case Trouble::kLock:
      return {fmt::format("see that no other pod mounts PersistentVolumeClaim {}: two servers on one data "
                          "directory destroy it. Then {}, wait until its pod is gone, and {}; never remove "
                          "postmaster.pid while a pod uses the claim",
                          member.data_claim, scale(member, 0), scale(member, 1)),
              ""};
    case Trouble::kReadOnly: {
      WayOut out;
      if (primary) {
        out.hint =
            "the Services select a member that was fenced after a cutover, or is a standby: let them select "
            "the member that takes writes";
        return out;
      }
      out.hint =
          fmt::format("after a cutover its data are fenced, so that nobody writes to what was left: {}",
                      scale(member, 0));
      if (facts.has_backup) {
        WayOut restore = by_restore(scene, member, s, facts);
        out.hint += "; to make it a copy of the present database, apply the PostgresRestore below";
        out.yaml = restore.yaml;
      }
      return out;
    }
    case Trouble::kSettings:
      return {"correct the setting that the line names; a restore mends nothing", ""};
    case Trouble::kElsewhere: {
      WayOut out;
      out.hint =
          fmt::format("its log lies in log/ or pg_log/ below {}; set logging_collector = off to see it here",
                      member.data_directory);
      const MemberView* to = primary ? other_member(scene, member) : nullptr;
      if (to != nullptr && facts.has_backup) {
        out.hint +=
            "; the PostgresRestore below changes nothing (mode: Plan) and reads control file and log off "
            "the volume: see its status.plan.facts.oldPrimary";
        out.yaml = restore_yaml(scene, action_name(scene, "look", s, facts.restores), to->name, true) +
                   "  mode: Plan\n";
      }
      return out;
    }
  }
  return {};
}

HealthReport judge_health(const SceneView& scene, const std::vector<MemberHealth>& members,
                          const MendFacts& facts) {
  HealthReport out;
  out.message = "no member's container or log tells of damage";
  std::vector<const MemberHealth*> ill;
  for (const MemberHealth& m : members) {
    if (!m.symptom) continue;
    if (m.member == scene.primary) {
      ill.insert(ill.begin(), &m);
    } else {
      ill.push_back(&m);
    }
  }
  if (ill.empty()) {
    for (const MemberHealth& m : members) {
      if (m.unreadable.empty()) continue;
      out.status = "Unknown";
      out.reason = "LogUnreadable";
      out.message =
          fmt::format("the log of {} cannot be read: {}. HINT: the operator's Role needs get on pods/log",
                      m.member, m.unreadable);
      out.short_message = out.message;
    }
    return out;
  }
  out.status = "False";
  out.reason = ill.front()->symptom->reason;
  out.primary_down = ill.front()->member == scene.primary && !ill.front()->symptom->serves;
  out.message.clear();
  for (const MemberHealth* m : ill) {
    const MemberView* member = scene.member(m->member);
    if (member == nullptr) continue;
    const Symptom& s = *m->symptom;
    std::string said = fmt::format("{}: {}{}", m->member, s.what, s.line.empty() ? "" : ": " + s.line);
    WayOut way = way_out(scene, *member, s, facts);
    std::string text = said + ". HINT: " + way.hint;
    if (!way.yaml.empty() && out.yaml.empty()) {
      out.yaml = way.yaml;
      text += fmt::format(" (kubectl get pgt {} -o jsonpath='{{.status.wayOut}}' | kubectl apply -f -):\n{}",
                          scene.topology, way.yaml);
    }
    if (out.short_message.empty())
      out.short_message = fmt::format("{}. HINT: see the condition MembersHealthy", said);
    out.message += (out.message.empty() ? "" : "\n") + text;
  }
  return out;
}

void say_health(StatusEditor& out, const std::vector<MemberHealth>& members, const HealthReport& report) {
  Json& status = out.status();
  if (!status["members"].is_array()) status["members"] = Json::array();
  for (const MemberHealth& m : members) {
    Json* entry = nullptr;
    for (Json& there : status["members"]) {
      if (text_at(there, {"name"}) == m.member) entry = &there;
    }
    if (entry == nullptr) {
      if (!m.symptom) continue;
      status["members"].push_back({{"name", m.member}});
      entry = &status["members"].back();
    }
    if (m.symptom) {
      (*entry)["symptom"] = to_json(*m.symptom);
    } else {
      entry->erase("symptom");
    }
  }
  out.set("MembersHealthy", report.status, report.reason, report.message);
  if (report.yaml.empty()) {
    status.erase("wayOut");
  } else {
    status["wayOut"] = report.yaml;
  }
  if (report.status != "False") return;
  status["message"] = report.short_message;
  if (report.primary_down) {
    out.set("Ready", "False", report.reason, report.short_message);
    out.set("Stalled", "True", report.reason, report.short_message);
    out.remove("Reconciling");
  }
}

}  // namespace pgrunbook::plan
