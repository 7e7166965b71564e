#include <fmt/format.h>

#include "execute/flows.hpp"
#include "execute/gate.hpp"
#include "execute/jobs.hpp"
#include "execute/members.hpp"
#include "execute/standing.hpp"

namespace pgrunbook::execute {

using base::at;
using base::number_at;
using base::text_at;

namespace {

std::string human_bytes(std::int64_t bytes) {
  double value = static_cast<double>(bytes);
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t i = 0;
  for (; value >= 1024 && i < 4; ++i) value /= 1024;
  return i == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units[i]);
}

// Who the primary is; what to end with where it does not say.
std::optional<StepResult> ask_who(Action& a, const plan::SceneView& scene, const plan::MemberView& primary,
                                  Json* who) {
  auto session = connect_role(a, scene, primary);
  if (!session) {
    if (session.error().code == base::ErrorCode::kUnauthorized) {
      Error e = session.error();
      e.reason = "NotSetUp";
      e.hint =
          "continuous archiving is not set up on this member: set archive.wal.setup of the topology to "
          "ConfigureAndRestart";
      return StepResult::blocked(e);
    }
    return not_connected(a, session.error());
  }
  auto said = identify(*session);
  if (!said) return StepResult::of(said.error());
  *who = std::move(*said);
  return std::nullopt;
}

StepResult plan_backup(Action& a, const api::BackupSpec& spec) {
  a.status.operation.inputs["topology"] = spec.topology;
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* primary = scene->member(scene->primary);
  if (primary == nullptr) {
    return StepResult::blocked(plan::no_primary(*scene));
  }
  if (auto gate = standing_gate(a, *scene)) return *gate;
  Json labels = specs::job_labels(scene->topology, a.meta.uid, "backup", scene->spec.jobs.labels);
  auto policies = network_policies(a.world);
  if (!policies) return StepResult::of(policies.error());
  if (auto gate = network_gate(
          a.world, *policies, "pods of our Jobs", "pgrunbook-jobs",
          Json{{"app.kubernetes.io/name", "pgrunbook"}, {"app.kubernetes.io/component", "job"}}, *primary)) {
    // Nobody is asked for a policy that a backup made long ago no longer needs.
    auto before = done_before(a, *scene, *primary);
    return before ? *before : *gate;
  }
  if (auto gate = network_gate(a.world, *policies, "the operator", "pgrunbook-operator", a.world.own_labels,
                               *primary))
    return *gate;
  auto target = role_login(a.world, *scene, *primary);
  Json who;
  // Where the topology has just logged in the server is asked once the Job has answered, not before it is
  // made.
  if (!target || a.world.logins == nullptr || !a.world.logins->lately(*target)) {
    if (auto refused = ask_who(a, *scene, *primary, &who)) return *refused;
  }
  JobCall call;
  call.step = "plan";
  call.job = api::jobs::kPlan;
  call.member = primary;
  call.attempt = a.status.operation.attempt;
  call.fill = [](api::Order& o) { o.plan.method = "Base"; };
  JobCall copy;
  copy.step = "backup";
  copy.job = api::jobs::kBackup;
  copy.member = primary;
  call.gate = [&] { return room_for(a, {wish_of(a, *scene, call), wish_of(a, *scene, copy)}); };
  StepResult r = run_job(a, *scene, call);
  if (r.kind != StepResult::Kind::kDone) return r;
  if (auto before = already(a, r.result)) return *before;
  if (who.is_null()) {
    if (auto refused = ask_who(a, *scene, *primary, &who)) return *refused;
  }
  std::string id = text_at(r.result, {"backupID"});
  if (id.empty()) {
    std::string stamp;
    for (char c : a.meta.creation_time) {
      if (c != '-' && c != ':') stamp += c;
    }
    id = stamp + "-" + a.meta.uid.substr(0, 8);
  }
  Json& in = a.status.operation.inputs;
  in["member"] = primary->name;
  in["backupID"] = id;
  in["claims"] = Json::array({primary->data_claim_uid});
  in["checkpoint"] = spec.checkpoint;
  in["maxRate"] = spec.max_rate;
  in["systemIdentifier"] = at(who, {"systemIdentifier"});
  Json facts = {{"member", primary->name},
                {"backupID", id},
                {"systemIdentifier", at(who, {"systemIdentifier"})},
                {"timeline", at(who, {"timeline"})},
                {"repository", primary->repository}};
  a.status.plan = {
      {"digest", plan_digest(a.meta.uid, {{"member", primary->name}, {"claim", primary->data_claim_uid}})},
      {"facts", facts}};
  return StepResult::done();
}

StepResult take_backup(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* m = scene->member(text_at(a.status.operation.inputs, {"member"}));
  if (m == nullptr) return no_member("the member");
  auto address = pod_address(*m);
  JobCall call;
  call.step = "backup";
  call.job = api::jobs::kBackup;
  call.member = m;
  call.host = address ? *address : "";
  call.fill = [&](api::Order& o) {
    o.backup.id = text_at(a.status.operation.inputs, {"backupID"});
    o.backup.checkpoint = text_at(a.status.operation.inputs, {"checkpoint"}, "Fast");
    o.backup.max_rate = text_at(a.status.operation.inputs, {"maxRate"});
  };
  StepResult r = run_job(a, *scene, call);
  if (r.kind != StepResult::Kind::kDone) return r;
  for (const char* key :
       {"backupID", "beginLSN", "endLSN", "beginWAL", "endWAL", "timeline", "systemIdentifier",
        "majorVersion", "databaseBytes", "storedBytes", "location", "configurationFiles"}) {
    if (!at(r.result, {key}).is_null()) a.status.extra[key] = at(r.result, {key});
  }
  a.status.extra["stopTime"] = text_at(r.result, {"stopTime"});
  a.status.extra["size"] = human_bytes(number_at(r.result, {"storedBytes"}));
  a.status.extra["verified"] = "manifest and WAL";
  auto began = base::parse_time(a.status.start_time, "startTime");
  if (began) {
    a.status.extra["duration"] =
        fmt::format("{}s", std::chrono::duration_cast<std::chrono::seconds>(base::now() - *began).count());
  }
  return r;
}

}  // namespace

Flow backup_flow(Action&, const api::BackupSpec& spec) {
  Flow flow;
  flow.plan = [spec](Action& a) { return plan_backup(a, spec); };
  flow.steps = [](Action& a) {
    std::string member = text_at(a.status.operation.inputs, {"member"});
    Step backup;
    backup.planned = {"backup", api::StepKind::kConvergent,
                      fmt::format("copy {} with pg_basebackup into the archive, wait until all its WAL is "
                                  "archived, verify by the manifest",
                                  member)};
    backup.run = take_backup;
    backup.revert = [](Action& action) -> StepResult {
      auto removed = remove_job(action, "backup", 1);
      return removed ? StepResult::done() : StepResult::of(removed.error());
    };
    return std::vector<Step>{hold_step("the volume of " + member), backup};
  };
  flow.record = record_and_release;
  flow.success = [](Action& a) {
    return fmt::format("backup {} is complete: {} stored, WAL {} to {} archived, verified by its manifest",
                       text_at(a.status.extra, {"backupID"}), text_at(a.status.extra, {"size"}),
                       text_at(a.status.extra, {"beginLSN"}), text_at(a.status.extra, {"endLSN"}));
  };
  return flow;
}

}  // namespace pgrunbook::execute
