#include <fmt/format.h>

#include "execute/flows.hpp"
#include "execute/gate.hpp"
#include "execute/jobs.hpp"
#include "execute/members.hpp"
#include "execute/standing.hpp"
#include "postgres/lsn.hpp"

namespace pgrunbook::execute {

using base::at;
using base::number_at;
using base::text_at;

namespace {

const plan::MemberView* target_of(Action& a, const plan::SceneView& scene) {
  return scene.member(text_at(a.status.operation.inputs, {"target"}));
}

// A backup named by its object: its id from that object's status.
Result<std::string> backup_id(Action& a, const api::RestoreSpec& spec) {
  if (spec.source != "Backup") return std::string();
  auto object = a.world.api.get(kube::kinds::kBackup, a.world.ns, spec.backup_name, World::soon());
  if (!object) {
    if (object.error().code != base::ErrorCode::kNotFound) return base::fail(object.error());
    return base::fail(base::refused("UnknownBackup",
                                    fmt::format("PostgresBackup {} does not exist", spec.backup_name),
                                    "correct spec.source.backupRef, or use source.type Latest"));
  }
  std::string of = text_at(*object, {"spec", "topologyRef", "name"});
  if (of != spec.topology) {
    return base::fail(base::refused(
        "BackupOfOtherTopology",
        fmt::format("PostgresBackup {} is of topology {}, the restore is of {}", spec.backup_name, of,
                    spec.topology),
        "name a backup of the same topology in spec.source.backupRef, or correct spec.topologyRef"));
  }
  std::string id = text_at(*object, {"status", "backupID"});
  if (text_at(*object, {"status", "phase"}) != "Completed" || id.empty()) {
    return base::fail(base::refused("BackupNotCompleted",
                                    fmt::format("PostgresBackup {} is not Completed", spec.backup_name),
                                    "choose a completed backup: kubectl get postgresbackups"));
  }
  return id;
}

// A primary that does not serve, in words: with what its log told, where the topology has seen it.
Json old_primary(Action& a, const plan::SceneView& scene, const plan::MemberView& primary) {
  Json out = {{"name", primary.name}};
  auto topology = a.world.api.get(kube::kinds::kTopology, a.world.ns, scene.topology, World::soon());
  std::optional<plan::Symptom> seen;
  if (topology && at(*topology, {"status", "members"}).is_array()) {
    for (const Json& m : at(*topology, {"status", "members"})) {
      if (text_at(m, {"name"}) == primary.name) seen = plan::symptom_from_json(at(m, {"symptom"}));
    }
  }
  out["text"] = fmt::format("{} is down{}", primary.name, seen && !seen->serves ? ": " + seen->what : "");
  if (seen && !seen->line.empty()) out["line"] = seen->line;
  return out;
}

StepResult plan_restore(Action& a, const api::RestoreSpec& spec) {
  Json& in = a.status.operation.inputs;
  in["topology"] = spec.topology;
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* target = scene->member(spec.to_member);
  if (target == nullptr) {
    return StepResult::failed(
        base::refused("NoMember",
                      fmt::format("spec.to.member.name is {}, which topology {} does not have",
                                  spec.to_member, spec.topology),
                      "name one of its members"));
  }
  const plan::MemberView* primary = scene->member(scene->primary);
  if (primary == nullptr) {
    return StepResult::blocked(plan::no_primary(*scene));
  }
  if (auto gate = standing_gate(a, *scene)) return *gate;
  if (primary == target) {
    return unless_done_before(
        a, *scene, *primary,
        base::refused(
            "TargetIsPrimary",
            fmt::format("member {} is the primary; a restore goes to a member that is not", target->name),
            "restore beside it: name a standby in spec.to.member"));
  }
  if (auto gate = recreate_gate(*target)) return *gate;
  if (target->data_directory == target->mount) {
    return StepResult::failed(base::refused(
        "DataDirectoryIsMountRoot",
        fmt::format("the data directory {} of member {} is the root of its volume: nothing can be exchanged "
                    "beside it",
                    target->data_directory, target->name),
        "set PGDATA to a directory below the volume's root, or restore onto another member"));
  }
  if (!spec.target.time.empty()) {
    auto when = base::parse_time(spec.target.time, "spec.recoveryTarget.targetTime");
    if (!when) return StepResult::failed(when.error());
    if (*when > base::now()) {
      return StepResult::failed(
          base::refused("TargetInFuture", fmt::format("targetTime {} lies in the future", spec.target.time),
                        "leave recoveryTarget out to recover to the latest archived transaction"));
    }
  }
  auto id = backup_id(a, spec);
  if (!id) return StepResult::of(id.error());
  // The recovery's Job cannot start without them, and its target is stopped by then.
  // Where the operator may not read the Secret, the Job's pod still may.
  if (auto role = application_role(a.world, *scene);
      !role && role.error().code != base::ErrorCode::kForbidden)
    return StepResult::of(role.error());

  const bool salvage = spec.salvage == "StoppedPrimary";
  JobCall call;
  call.step = "plan";
  call.job = api::jobs::kPlan;
  call.member = salvage ? primary : target;
  call.data = specs::Mount::kReadOnly;  // room, noexec and version are looked at before anything is stopped
  call.attempt = a.status.operation.attempt;
  {
    JobCall recovery;
    recovery.step = "recover";
    recovery.job = api::jobs::kRecover;
    recovery.member = target;
    recovery.data = specs::Mount::kReadWrite;
    recovery.member_sized = true;
    recovery.with_application_login = true;
    std::vector<plan::PodWish> wishes{wish_of(a, *scene, call), wish_of(a, *scene, recovery)};
    if (target->replicas == 0) wishes.push_back(wish_of(*target));
    if (auto gate = room_gate(a, call.step, call.attempt, wishes)) return *gate;
  }

  if (salvage) {
    StepResult down = is_down(a, *scene, *primary);
    if (down.kind == StepResult::Kind::kFailed) return unless_done_before(a, *scene, *primary, down.error);
    if (down.kind != StepResult::Kind::kDone) return down;
  }
  bool alive = !primary->pods.empty() && plan::pod_ready(primary->pods.front());
  if (!salvage && alive && a.result("marker").is_null()) {
    if (auto gate = network_gate(a.world, "the operator", "pgrunbook-operator", a.world.own_labels, *primary))
      return *gate;
    auto session = connect_role(a, *scene, *primary);
    if (!session) return not_connected(a, session.error());
    auto marked = identify(*session);
    // A timeline that the primary has left grows no more: nothing of it can still be on its way.
    bool grows =
        marked && (spec.target.timeline == 0 || spec.target.timeline == number_at(*marked, {"timeline"}));
    if (grows) marked = mark_and_switch(*session, "pgrunbook " + a.meta.name);
    if (!marked) return StepResult::of(marked.error());
    a.status.operation.results["marker"] = *marked;
    if (auto saved = a.save(a); !saved) return StepResult::of(saved.error());
  }
  const Json& marker = a.result("marker");
  call.fill = [&](api::Order& o) {
    o.plan.onto_member = !salvage;  // with salvage it is the other volume that is mounted; see "resolve"
    o.plan.read_volume = salvage;
    o.plan.backup_id = *id;
    o.plan.target = spec.target;
    o.plan.timeline = static_cast<int>(number_at(marker, {"timeline"}));
    // A backup has all the WAL up to its own consistent point.
    if (!spec.target.immediate) wait_for_mark(&o.plan, marker);
    o.plan.counts = spec.counts;
  };
  StepResult r = run_job(a, *scene, call);
  const bool left_out = !salvage && !alive;  // the WAL that lies only on the primary's volume
  if (left_out && r.kind == StepResult::Kind::kFailed) {
    r.error.hint +=
        fmt::format("{}{}; with salvage: StoppedPrimary the WAL on its volume counts too",
                    r.error.hint.empty() ? "" : ". ", text_at(old_primary(a, *scene, *primary), {"text"}));
  }
  if (r.kind != StepResult::Kind::kDone) return r;
  if (auto before = already(a, r.result)) return *before;

  const Json& p = r.result;
  a.status.operation.results["plan"] = p;
  in["target"] = target->name;
  in["targetReplicas"] = target->replicas;
  in["approvalRequired"] = false;
  in["claims"] = Json::array({target->data_claim_uid});
  if (salvage) {
    in["claims"].push_back(primary->data_claim_uid);
    in["primary"] = primary->name;
    in["primaryReplicas"] = primary->replicas;
    in["recoveryTarget"] = api::to_json(spec.target);
    // It is the primary that is stopped, down or not.
    if (primary->replicas > 0) in["approvalRequired"] = true;
  }
  in["backupID"] = at(p, {"backupID"});
  in["targetLSN"] = at(p, {"targetLSN"});
  in["reachedLSN"] = at(p, {"reachedLSN"});
  in["timeline"] = at(p, {"timeline"});
  in["database"] = scene->spec.connection.database;
  in["counts"] = spec.counts;
  in["queries"] = Json::array();
  for (const api::Query& q : spec.queries) in["queries"].push_back({{"sql", q.sql}, {"expect", q.expect}});
  in["world"] = world_covered(*scene);
  in["cutover"] = spec.cutover;
  Json facts = {{"to", target->name},
                {"target", spec.target.asked()},
                {"backupID", at(p, {"backupID"})},
                {"timeline", at(p, {"timeline"})},
                {"targetLSN", at(p, {"targetLSN"})},
                {"lastTransactionIncluded", at(p, {"included"})},
                {"firstTransactionExcluded", at(p, {"excluded"})},
                {"walBegin", at(p, {"walBegin"})},
                {"walEnd", at(p, {"walEnd"})},
                {"archivedUntil", at(p, {"archivedUntil"})},
                {"databaseBytes", at(p, {"databaseBytes"})},
                {"undo", fmt::format("the present data of {} stay beside, in {}.pgrunbook-{}", target->name,
                                     target->data_directory, a.meta.uid.substr(0, 8))}};
  if (left_out) {
    facts["oldPrimary"] = old_primary(a, *scene, *primary);
    facts["oldPrimary"]["notIncluded"] =
        "WAL that it has not archived is no part of this restore; salvage: StoppedPrimary reads it off its "
        "volume";
  }
  if (salvage) {
    const Json& s = at(p, {"salvage"});
    facts["salvage"] = s;
    if (at(p, {"oldPrimary"}).is_object()) {
      facts["oldPrimary"] = at(p, {"oldPrimary"});
      facts["oldPrimary"]["name"] = primary->name;
    }
    a.status.plan["dataAtStake"] = {
        {"text", fmt::format("{} transactions up to {} lie only on the volume of {}, which is down; they are "
                             "salvaged first, and its data stay untouched",
                             number_at(s, {"transactions"}), text_at(s, {"endLSN"}), primary->name)},
        {"transactions", at(s, {"transactions"})},
        {"toLSN", at(s, {"endLSN"})}};
  }
  Json covered = {{"backupID", in["backupID"]}, {"targetLSN", in["targetLSN"]},
                  {"timeline", in["timeline"]}, {"target", target->name},
                  {"world", in["world"]},       {"spec", api::spec_hash(at(a.object, {"spec"}))}};
  a.status.plan["digest"] = plan_digest(a.meta.uid, covered);
  a.status.plan["facts"] = facts;
  Json changes = Json::array();
  auto change = [&](const plan::MemberView& m, int becomes) {
    if (m.replicas == becomes) return;
    if (auto c = plan::git_change(fmt::format("{}/{}", m.workload.kind, m.workload.name),
                                  plan::Field::kReplicas, m.steering, m.replicas, becomes))
      changes.push_back(*c);
    // Also where it leaves the replicas alone today.
    if (!m.manager.empty()) in["approvalRequired"] = true;
  };
  change(*target, 1);
  if (salvage) change(*primary, 0);
  if (!changes.empty()) a.status.plan["gitChanges"] = changes;
  a.status.extra["backupID"] = at(p, {"backupID"});
  a.status.extra["target"] = {{"asked", spec.target.asked()},
                              {"lsn", at(p, {"targetLSN"})},
                              {"included", at(p, {"included"})},
                              {"excluded", at(p, {"excluded"})}};
  return StepResult::done();
}

const plan::MemberView* primary_of(Action& a, const plan::SceneView& scene) {
  return scene.member(text_at(a.status.operation.inputs, {"primary"}));
}

StepResult salvage_wal(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* primary = primary_of(a, *scene);
  if (primary == nullptr) return no_member("the primary");
  JobCall call;
  call.step = "salvage";
  call.job = api::jobs::kSalvage;
  call.member = primary;
  call.data = specs::Mount::kReadOnly;
  StepResult r = run_job(a, *scene, call);
  if (r.kind == StepResult::Kind::kDone) a.status.extra["salvage"] = r.result;
  return r;
}

// The target once more, over the archive with what was salvaged: the primary may have lived on for a moment
// after the plan, and "latest" means its last commit.
StepResult resolve_again(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* target = target_of(a, *scene);
  if (target == nullptr) return no_member("the target");
  const Json& in = a.status.operation.inputs;
  auto asked = api::target_from_json(at(in, {"recoveryTarget"}));
  if (!asked) return StepResult::failed(asked.error());
  JobCall call;
  call.step = "resolve";
  call.job = api::jobs::kPlan;
  call.member = target;
  call.data = specs::Mount::kReadOnly;
  call.fill = [&](api::Order& o) {
    o.plan.backup_id = text_at(in, {"backupID"});
    o.plan.target = *asked;
    o.plan.onto_member = true;
    o.plan.timeline = static_cast<int>(number_at(in, {"timeline"}));
    o.plan.salvage = text_at(a.result("salvage"), {"salvage"});
  };
  StepResult r = run_job(a, *scene, call);
  if (r.kind != StepResult::Kind::kDone) return r;
  auto planned = postgres::Lsn::parse(text_at(in, {"reachedLSN"}));
  auto resolved = postgres::Lsn::parse(text_at(r.result, {"reachedLSN"}));
  if (!planned || !resolved || *resolved < *planned) {
    return StepResult::failed(
        base::refused("ResolvedEarlier",
                      fmt::format("the plan reached {}, but archive and salvaged WAL together reach only {}",
                                  text_at(in, {"reachedLSN"}), text_at(r.result, {"reachedLSN"})),
                      "somebody took WAL away meanwhile; make a new PostgresRestore and compare the plans"));
  }
  a.status.extra["target"]["lsn"] = at(r.result, {"targetLSN"});
  a.status.extra["target"]["included"] = at(r.result, {"included"});
  a.status.extra["target"]["excluded"] = at(r.result, {"excluded"});
  return r;
}

StepResult recover(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* target = target_of(a, *scene);
  if (target == nullptr) return no_member("the target");
  if (auto back = must_be_down(a, *target)) return *back;
  const Json& in = a.status.operation.inputs;
  JobCall call;
  call.step = "recover";
  call.job = api::jobs::kRecover;
  call.member = target;
  call.data = specs::Mount::kReadWrite;
  call.member_sized = true;
  call.with_application_login = true;
  call.fill = [&](api::Order& o) {
    o.recover.backup_id = text_at(in, {"backupID"});
    o.recover.timeline = static_cast<int>(number_at(in, {"timeline"}, 1));
    const Json& resolved = a.result("resolve").is_object() ? a.result("resolve") : in;
    o.recover.target_lsn = text_at(resolved, {"targetLSN"});
    o.recover.reached_lsn = text_at(resolved, {"reachedLSN"});
    o.recover.salvage = text_at(a.result("salvage"), {"salvage"});
    o.recover.database = text_at(in, {"database"});
    for (const Json& q : at(in, {"queries"}))
      o.recover.queries.push_back({text_at(q, {"sql"}), text_at(q, {"expect"})});
    for (const Json& t : at(in, {"counts"})) o.recover.counts.push_back(t.get<std::string>());
    for (const Json& c : at(target->pod_template, {"spec", "containers"})) {
      if (text_at(c, {"name"}) == target->container)
        o.recover.memory_mib = specs::memory_mib(at(c, {"resources"}));
    }
  };
  StepResult r = run_job(a, *scene, call);
  if (r.kind == StepResult::Kind::kFailed && at(r.result, {"queries"}).is_array()) {
    a.status.extra["verification"] = {{"queries", at(r.result, {"queries"})}};
  }
  if (r.kind != StepResult::Kind::kDone) return r;
  Json queries = at(r.result, {"queries"});
  a.status.extra["verification"] = {
      {"queries", queries}, {"counts", at(r.result, {"counts"})}, {"databases", at(r.result, {"databases"})}};
  a.status.extra["verified"] = queries.is_array() && !queries.empty()
                                   ? fmt::format("{} queries as expected", queries.size())
                                   : "structure only";
  a.status.extra["reached"] = {{"lsn", at(r.result, {"replayedLSN"})},
                               {"timeline", at(r.result, {"newTimeline"})},
                               {"systemIdentifier", at(r.result, {"systemIdentifier"})}};
  a.status.extra["undo"] = {{"directory", at(r.result, {"undoDirectory"})},
                            {"bytes", at(r.result, {"undoBytes"})},
                            {"claim", target->data_claim}};
  return r;
}

// Somebody leads a Service to the restored copy before the restore is over: whoever writes there would find
// the old data once it is put back.
std::optional<StepResult> serves_already(const plan::SceneView& scene, const plan::MemberView& target) {
  for (const plan::ServiceView& s : scene.services) {
    if (plan::selected_member(s.selector, scene.members) != target.name) continue;
    return StepResult::blocked(base::refused(
        "TargetIsPrimary",
        fmt::format("Service {} leads to {} now ({} set it); it is neither stopped nor put back", s.name,
                    target.name, plan::who_set(s.steering)),
        fmt::format("what was written on {} since is only there: save it, then lead the Service to the "
                    "primary again; then it goes on by itself",
                    target.name)));
  }
  return std::nullopt;
}

StepResult start_undone(Action& a, const std::string& name) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* target = target_of(a, *scene);
  if (target == nullptr) return no_member("the target");
  if (auto serves = serves_already(*scene, *target)) return *serves;
  return start_member(a, name, 0);
}

StepResult undo_recover(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* target = target_of(a, *scene);
  if (target == nullptr) return no_member("the target");
  if (auto serves = serves_already(*scene, *target)) return *serves;
  // A recovery that still runs is ended first: its pod gets SIGTERM, ends at once, and is waited for.
  auto claim = claim_left_by(a, "recover", 1);
  if (!claim) return StepResult::of(claim.error());
  auto answer = job_answer(a, "recover", 1);
  if (!answer && answer.error().code == base::ErrorCode::kNotFound) {
    // Never started, or removed by us: the Undo Job looks at the volume, which is the truth.
  } else if (!answer) {
    return StepResult::of(answer.error());
  } else if (!*answer) {
    auto removed = remove_job(a, "recover", 1);
    if (!removed) return StepResult::of(removed.error());
    return StepResult::waiting("ending the recovery Job");
  }
  kube::ListOptions left;
  left.label_selector = "job-name=" + specs::job_name(a.kind, a.meta.uid, "recover", 1);
  auto pods = a.world.api.list(kube::kinds::kPod, a.world.ns, left, World::soon());
  if (!pods) return StepResult::of(pods.error());
  for (const Json& pod : at(*pods, {"items"})) {
    if (plan::pod_counts(pod)) return StepResult::waiting("waiting for the recovery Job's pod to end");
  }
  if (auto used = nobody_started(*target)) return *used;
  JobCall call;
  call.step = "undo";
  call.job = api::jobs::kUndo;
  call.try_again = true;
  call.member = target;
  call.data = specs::Mount::kReadWrite;
  call.fill = [&](api::Order& o) {
    o.undo = a.result("recover").is_null() ? Json::object() : a.result("recover");
    if (!claim->empty()) o.undo["brokenClaim"] = *claim;
    o.undo["podsGone"] = true;  // or nobody_started had said otherwise
  };
  StepResult undone = run_job(a, *scene, call);
  if (undone.kind == StepResult::Kind::kDone) a.status.operation.results["undo"] = undone.result;
  return undone;
}

StepResult prove(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* target = target_of(a, *scene);
  if (target == nullptr) return no_member("the target");
  if (target->replicas == 0) {  // nobody would answer for ever
    return StepResult::failed(base::refused(
        "ScaledBySomebodyElse",
        fmt::format("{} was started and is scaled to 0 again: {} set it", target->name,
                    plan::who_set(target->steering)),
        "let that one leave it alone while this works, or commit status.plan.gitChanges; then make a new "
        "PostgresRestore"));
  }
  if (auto gate = network_gate(a.world, "the operator", "pgrunbook-operator", a.world.own_labels, *target))
    return *gate;
  if (a.result("proof-marker").is_null()) {
    auto session = connect_role(a, *scene, *target);
    if (!session) return StepResult::of(session.error());
    auto who = identify(*session);
    if (!who) return StepResult::of(who.error());
    const Json& recovered = a.result("recover");
    if (text_at(*who, {"systemIdentifier"}) != text_at(recovered, {"systemIdentifier"}) ||
        number_at(*who, {"timeline"}) != number_at(recovered, {"newTimeline"}) ||
        at(*who, {"inRecovery"}) != Json(false)) {
      return StepResult::failed(base::refused(
          "OtherServer",
          fmt::format("{} serves system {} on timeline {}, not what was recovered (system {}, timeline {})",
                      target->name, text_at(*who, {"systemIdentifier"}), number_at(*who, {"timeline"}),
                      text_at(recovered, {"systemIdentifier"}), number_at(recovered, {"newTimeline"})),
          "look at the pod's log"));
    }
    auto marked = mark_and_switch(*session, "pgrunbook proof " + a.meta.name);
    if (!marked) return StepResult::of(marked.error());
    a.status.operation.results["proof-marker"] = *marked;
    if (auto saved = a.save(a); !saved) return StepResult::of(saved.error());
  }
  JobCall call;
  call.step = "proof";
  call.job = api::jobs::kProof;
  call.member = target;
  call.fill = [&](api::Order& o) { wait_for_mark(&o.plan, a.result("proof-marker")); };
  return run_job(a, *scene, call);
}

// The record takes its time: whoever scaled the target down meanwhile has it serve nothing.
StepResult still_runs(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* target = target_of(a, *scene);
  if (target == nullptr || target->replicas != 0) return StepResult::done();
  return StepResult::blocked(
      base::refused("ScaledBySomebodyElse",
                    fmt::format("{} was started and is scaled to 0 again: {} set it", target->name,
                                plan::who_set(target->steering)),
                    "commit status.plan.gitChanges, or scale it to 1; then it goes on by itself"));
}

}  // namespace

Flow restore_flow(Action& action, const api::RestoreSpec& spec) {
  Flow flow;
  flow.plan_only = spec.mode == "Plan";
  flow.cancel = spec.cancel || action.meta.deleting;
  flow.approved_plan = spec.approved_plan;
  flow.approval_required =
      spec.approval.value_or("None") == "Required" || !plan::managed_by(action.object).empty();
  flow.plan = [spec](Action& a) { return plan_restore(a, spec); };
  flow.still_true = [](Action& a) {
    auto scene = scene_of(a);
    return scene && world_covered(*scene) == a.input("world");
  };
  flow.steps = [](Action& a) {
    const Json& in = a.status.operation.inputs;
    std::string target = text_at(in, {"target"});
    int before = static_cast<int>(number_at(in, {"targetReplicas"}));
    std::vector<Step> steps;
    std::string primary = text_at(in, {"primary"});
    if (primary.empty()) {
      steps.push_back(hold_step("the volume of " + target));
    } else {
      int primary_before = static_cast<int>(number_at(in, {"primaryReplicas"}));
      steps.push_back(hold_step(fmt::format("the volumes of {} and {}", target, primary)));
      Step down;
      down.planned = {
          "stop-primary", api::StepKind::kConvergent,
          fmt::format("scale {}, which is down, to 0 and wait until no pod uses its volume", primary)};
      down.run = [primary](Action& x) { return stop_dead_member(x, "stop-primary", primary); };
      down.revert = [primary, primary_before](Action& x) {
        return restore_count(x, primary, primary_before);
      };
      down.patience = kPatience;
      steps.push_back(down);
      Step salvage;
      salvage.planned = {
          "salvage", api::StepKind::kConvergent,
          fmt::format("in a Job that only reads the volume of {}: its WAL to the last valid record; "
                      "complete segments go to the archive, the last one beside",
                      primary)};
      salvage.run = salvage_wal;
      steps.push_back(salvage);
      Step resolve;
      resolve.planned = {"resolve", api::StepKind::kConvergent,
                         "find the target in archive and salvaged WAL together; never earlier than planned"};
      resolve.run = resolve_again;
      steps.push_back(resolve);
    }
    Step stop;
    stop.planned = {"stop-target", api::StepKind::kConvergent,
                    fmt::format("scale {} to 0 and wait until its pod is gone", target)};
    stop.run = [target](Action& x) { return scale_down(x, target); };
    // Of a target that was at 0 the way back ends with what this action has started: whoever else starts it
    // may serve from it.
    stop.revert = [target, before](Action& x) {
      return before == 0 ? StepResult::done() : start_member(x, target, before);
    };
    stop.patience = kPatience;
    steps.push_back(stop);
    Step rec;
    rec.planned = {"recover", api::StepKind::kIrreversible,  // the LSN as planned; with salvage at least that
                   fmt::format("in a Job on the volume of {}: restore backup {} beside the present data, "
                               "replay WAL up to {} on timeline {}, verify, promote, "
                               "archive the new timeline, exchange the directories",
                               target, text_at(in, {"backupID"}), text_at(in, {"targetLSN"}),
                               number_at(in, {"timeline"}))};
    rec.run = recover;
    rec.revert = undo_recover;
    steps.push_back(rec);
    Step start;
    start.planned = {"start-target", api::StepKind::kConvergent,
                     fmt::format("scale {} to 1 and wait until it is ready", target)};
    start.run = [target](Action& x) { return start_member(x, target, 1); };
    start.revert = [target](Action& x) { return start_undone(x, target); };
    start.patience = kPatience;
    steps.push_back(start);
    Step proof;
    proof.planned = {"prove", api::StepKind::kConvergent,
                     fmt::format("see that {} serves the recovered system on its new timeline, and that a "
                                 "new WAL segment reaches the archive",
                                 target)};
    proof.run = prove;
    proof.patience = kPatience;
    steps.push_back(proof);
    return steps;
  };
  flow.record = record_and_release;
  flow.confirm = still_runs;
  flow.as_before = [](Action& a) -> std::string {
    std::string kept = text_at(a.result("undo"), {"keptDirectory"});
    if (kept.empty()) return "";
    // It was started, so somebody may have written to it: not ours to remove.
    return fmt::format(
        "Everything is as it was before; the restored copy had been started, so it stays on the volume of {} "
        "in "
        "{}. HINT: remove that directory when nobody needs it",
        text_at(a.status.operation.inputs, {"target"}), kept);
  };
  flow.success = [](Action& a) {
    std::string target = text_at(a.status.operation.inputs, {"target"});
    std::string text = fmt::format(
        "{} holds the database as of {} (timeline {}) and runs beside the primary; its former data are in {}",
        target, text_at(a.status.extra, {"reached", "lsn"}),
        number_at(a.status.extra, {"reached", "timeline"}), text_at(a.status.extra, {"undo", "directory"}));
    if (std::string primary = text_at(a.status.operation.inputs, {"primary"}); !primary.empty()) {
      text = fmt::format(
          "{} holds the database as of {} (timeline {}) and runs; {} was salvaged to {} and stays at 0 with "
          "its "
          "data untouched; {}'s former data are in {}",
          target, text_at(a.status.extra, {"reached", "lsn"}),
          number_at(a.status.extra, {"reached", "timeline"}), primary,
          text_at(a.status.extra, {"salvage", "endLSN"}), target,
          text_at(a.status.extra, {"undo", "directory"}));
    }
    if (text_at(a.status.operation.inputs, {"cutover"}) == "Manual") {
      text += fmt::format(". HINT: to switch to it, create a Failover with type: Cutover and candidate: {}",
                          target);
    }
    return text;
  };
  return flow;
}

}  // namespace pgrunbook::execute
