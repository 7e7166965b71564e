#include "execute/members.hpp"

#include <algorithm>
#include <set>
#include <thread>

#include <fmt/format.h>

#include "base/hash.hpp"
#include "execute/gate.hpp"
#include "execute/standing.hpp"

namespace pgrunbook::execute {

using base::at;
using base::ErrorCode;
using base::fail;
using base::number_at;
using base::text_at;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

Deadline quick() { return Deadline::after(seconds(5)); }

const kube::Resource& resource_of(const api::WorkloadRef& w) {
  return w.kind == "StatefulSet" ? kube::kinds::kStatefulSet : kube::kinds::kDeployment;
}

Result<> scale(World& world, const api::WorkloadRef& w, int replicas, const Json& annotation) {
  Json patch = {{"metadata", {{"annotations", {{api::kAnnotationReplicasBefore, annotation}}}}},
                {"spec", {{"replicas", replicas}}}};
  auto patched =
      world.api.patch(resource_of(w), world.ns, w.name, kube::PatchType::kMerge, patch, "", World::soon());
  if (!patched) return fail(patched.error().in(fmt::format("scale {} {} to {}", w.kind, w.name, replicas)));
  return {};
}

// Under which a step notes that it has scaled a workload; putting back notes it anew.
std::string scaled_key(const Action& a, const api::WorkloadRef& w) {
  const api::Operation& op = a.status.operation;
  return fmt::format("{}{}/{}/{}", op.step, op.rolling_back ? "-back" : "", w.kind, w.name);
}

// Scales, and notes it: who sees another count there afterwards knows that it was not us.
Result<> scale_noted(Action& a, const api::WorkloadRef& w, int replicas, const Json& annotation) {
  PGR_TRY(scale(a.world, w, replicas, annotation));
  a.status.operation.results["scaled"][scaled_key(a, w)] = replicas;
  return a.save(a);
}

// Sessions of others, as "role from address". With the application's own login the rows of other roles are
// masked, so only what both logins can see is used: a database and a role.
struct Session {
  std::string pid, role, address;
  bool superuser = false, own_role = false;
};
Result<std::vector<Session>> sessions(sql::Connection& c) {
  PGR_ASSIGN(
      sql::Rows rows,
      c.query("select a.pid, a.usename, host(a.client_addr), r.rolsuper, a.usename = current_user from "
              "pg_stat_activity a "
              "join pg_roles r on r.oid = a.usesysid where a.pid <> pg_backend_pid() and a.datid is not null "
              "and coalesce(a.backend_type, 'client backend') = 'client backend'",
              {}, quick()));
  std::vector<Session> out;
  for (const sql::Row& r : rows) {
    out.push_back(
        {r[0].value_or(""), r[1].value_or("?"), r[2].value_or("the pod itself"), r[3] == "t", r[4] == "t"});
  }
  return out;
}

std::string listed(const std::vector<Session>& all) {
  std::set<std::string> names;
  for (const Session& s : all) names.insert(fmt::format("role {} from {}", s.role, s.address));
  return fmt::format("{}", fmt::join(names, ", "));
}

Result<sql::Target> login_of(World& world, const plan::SceneView& scene, const plan::MemberView& m,
                             Login login, Wanted wanted) {
  return login == Login::kRole ? role_login(world, scene, m, wanted)
                               : application_login(world, scene, m, wanted);
}

// If this process stood still, its own session would hold the shutdown until the kubelet's SIGKILL after 30
// s. From version 14 on the server ends it before.
void end_if_idle(sql::Connection& session) {
  (void)session.query("set idle_session_timeout = '20s'", {}, quick());
}

void end_others(sql::Connection& session) {
  auto left = sessions(session);
  if (!left) return;
  for (const Session& s : *left)
    (void)session.query("select pg_terminate_backend($1::int)", {s.pid}, quick());
}

// The kubelet sends SIGTERM: new connections are refused from then on, so whom we end now cannot come back.
// Not where somebody else scales it up meanwhile: the next look finds that.
void see_it_off(Action& a, const api::WorkloadRef& w, const sql::Target& target, sql::Connection& session) {
  Deadline limit = Deadline::after(seconds(60));
  for (int look = 1; !limit.passed() && !a.world.stop.stop_requested(); ++look) {
    if (look % 20 == 0) (void)session.query("select 1", {}, quick());  // not idle
    auto probe = a.world.connect(target, quick());
    if (!probe) {
      if (probe.error().reason == "ShuttingDown") end_others(session);
      if (probe.error().reason == "ShuttingDown" || probe.error().reason == "Unreachable") return;
    }
    if (look % 10 == 0) {
      auto live = a.world.api.get(resource_of(w), a.world.ns, w.name, World::soon());
      if (live && number_at(*live, {"spec", "replicas"}, 1) != 0) return;
    }
    std::this_thread::sleep_for(milliseconds(100));
  }
}

}  // namespace

std::optional<Error> turned_back(const Action& a, const api::WorkloadRef& w, const plan::Steering& steering,
                                 int live, int wanted) {
  if (live == wanted || number_at(a.status.operation.results, {"scaled", scaled_key(a, w)}, -1) != wanted ||
      steering.setter.manager == plan::kOurManager)
    return std::nullopt;
  return base::refused(
      "ScaledBySomebodyElse",
      fmt::format("{} {} was scaled to {} and is at {} again: {} set it", w.kind, w.name, wanted, live,
                  plan::who_set(steering)),
      fmt::format(
          "let that one leave it alone while this works (Flux: suspend the Kustomization; Argo CD: no "
          "automated "
          "sync; nobody runs helm or kubectl apply), or commit status.plan.gitChanges; then make a new {}",
          a.kind));
}

StepResult end_member(Action& a, const plan::MemberView& m) {
  if (m.replicas != 0) {
    if (auto r = scale(a.world, m.workload, 0, std::to_string(m.replicas)); !r)
      return StepResult::of(r.error());
    return StepResult::waiting("scaled to 0", milliseconds(200));
  }
  if (!m.pods.empty())
    return StepResult::waiting(fmt::format("waiting for the pod of {} to end", m.name), milliseconds(300));
  return StepResult::done();
}

Result<Json> identify(sql::Connection& c) {
  PGR_ASSIGN(sql::Rows rows,
             c.query("select (select system_identifier from pg_control_system()), (select timeline_id from "
                     "pg_control_checkpoint()), "
                     "pg_is_in_recovery(), host(inet_server_addr()), current_setting('server_version_num')",
                     {}, quick()));
  if (rows.empty()) return fail(ErrorCode::kInternal, "the server did not say who it is");
  const sql::Row& r = rows[0];
  return Json{{"systemIdentifier", r[0].value_or("")},
              {"timeline", sql::integer(r[1])},
              {"inRecovery", r[2] == "t"},
              {"address", r[3].value_or("")},
              {"versionNumber", sql::integer(r[4])}};
}

Result<Json> mark_and_switch(sql::Connection& c, const std::string& label) {
  PGR_ASSIGN(Json who, identify(c));
  // A record first: on an idle server pg_switch_wal does nothing, and the wait for the segment would be for
  // ever.
  // PostgreSQL cuts names at 63 bytes.
  const std::string name = fmt::format("{} {}", label.substr(0, 50), base::random_hex(6));
  // By its last byte: of the place behind it, at the end of a segment, 17 names the next one, which nobody
  // may ever fill. In 13 there is no such subtraction, and no need of it.
  const char* last_byte = number_at(who, {"versionNumber"}) < 140000 ? "m" : "m - 1";
  PGR_ASSIGN(sql::Rows mark, c.query(fmt::format("select m, pg_walfile_name({}) from "
                                                 "pg_create_restore_point($1) m",
                                                 last_byte),
                                     {name}, quick()));
  PGR_TRY(c.query("select pg_switch_wal()", {}, quick()));
  if (mark.empty()) return fail(ErrorCode::kInternal, "the server set no restore point");
  who["mark"] = {{"name", name}, {"lsn", mark[0].at(0).value_or("")}};
  who["segment"] = mark[0].at(1).value_or("");
  return who;
}

void wait_for_mark(api::PlanOrder* plan, const Json& marked) {
  std::string segment = text_at(marked, {"segment"});
  if (segment.empty()) return;
  plan->wait_for = {segment};
  plan->mark = {text_at(marked, {"mark", "name"}), text_at(marked, {"mark", "lsn"})};
}

StepResult stop_member(Action& a, const std::string& step, const std::string& name, Login login,
                       UnarchivedWal wal) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* m = scene->member(name);
  if (m == nullptr) return no_member("member " + name);
  const std::string pods_key = step + "-pods";
  if (m->replicas == 0) {
    if (!m->pods.empty()) {
      // Scaled down by an operator that died: as long as SIGTERM has not come, its session can be replaced.
      // Once it has, nobody gets in, and only whom that operator did not end any more holds the stop.
      if (!a.world.terminations.closed_before(text_at(m->pods.front(), {"metadata", "uid"}))) {
        auto target = login_of(a.world, *scene, *m, login, Wanted::kEnding);
        if (target) {
          if (auto session = a.world.connect(*target, quick())) {
            end_if_idle(*session);
            see_it_off(a, m->workload, *target, *session);
          }
        }
      }
      return StepResult::waiting(fmt::format("waiting for the pod of {} to end", name), milliseconds(200));
    }
    Json proof = {{"proof", "Unproven"}, {"podUIDs", a.result(pods_key)}};
    bool all = a.result(pods_key).is_array() && !a.result(pods_key).empty();
    if (all) {
      for (const Json& uid : a.result(pods_key)) {
        Json ended = a.world.terminations.of(uid.get<std::string>(), m->container);
        if (ended.is_null()) {
          all = false;
        } else {
          proof["exitCode"] = ended["exitCode"];
          proof["finishedAt"] = ended["finishedAt"];
        }
      }
    }
    if (all) proof["proof"] = "Terminated";
    return StepResult::done(proof);
  }
  if (auto other = turned_back(a, m->workload, m->steering, m->replicas, 0))
    return StepResult::failed(*other);
  if (m->pods.empty()) {  // wanted but not running: nothing to stop cleanly
    if (auto r = scale_noted(a, m->workload, 0, std::to_string(m->replicas)); !r)
      return StepResult::of(r.error());
    return StepResult::waiting("scaled to 0", milliseconds(200));
  }
  auto target = login_of(a.world, *scene, *m, login, Wanted::kReady);
  if (!target) return StepResult::of(target.error());
  auto session = a.world.connect(*target, quick());
  if (!session) return StepResult::of(session.error());
  end_if_idle(*session);

  auto others = sessions(*session);
  if (!others) return StepResult::of(others.error());
  std::vector<Session> holding;
  for (const Session& s : *others) {
    bool ours = s.role == "pgrunbook" || (login == Login::kApplication && s.own_role);
    if (!ours) holding.push_back(s);
  }
  // A client that has just been ended may still be listed for a moment.
  bool patient = true;
  if (const Json& log = a.status.operation.log; !log.empty()) {
    auto began = base::parse_time(text_at(log.back(), {"startTime"}), "startTime");
    patient = began && base::now() - *began < seconds(5);
  }
  if (!holding.empty() && patient)
    return StepResult::waiting("waiting for clients to leave: " + listed(holding));
  if (!holding.empty()) {
    bool super = std::any_of(holding.begin(), holding.end(), [](const Session& s) { return s.superuser; });
    return StepResult::blocked(base::refused(
        super ? "SuperuserSessions" : "ClientsHoldTheStop",
        fmt::format(
            "sessions that nobody of the topology's applications owns would be cut off by stopping {}: {}",
            name, listed(holding)),
        super
            ? "end them; a superuser's session cannot be ended by the role pgrunbook"
            : "end them, or add their workload to spec.applications of the topology; it goes on by itself"));
  }
  if (login == Login::kRole) {
    auto version = session->value("select current_setting('server_version_num')::int >= 150000", quick());
    if (version && *version == "t")
      (void)session->query("CHECKPOINT", {}, Deadline::after(std::chrono::minutes(5)));
  }
  if (login == Login::kRole && wal == UnarchivedWal::kIsWaitedFor) {
    if (auto marked = mark_and_switch(*session, "pgrunbook stop " + a.meta.name); !marked)
      return StepResult::of(marked.error());
    Deadline drained = Deadline::after(seconds(30));
    while (true) {
      auto ready =
          session->value("select count(*) from pg_ls_archive_statusdir() where name like '%.ready'", quick());
      if (!ready) return StepResult::of(ready.error());
      if (*ready == "0") break;
      if (drained.passed() || a.world.stop.stop_requested()) {
        return StepResult::blocked(base::refused(
            "ArchiverBehind",
            fmt::format("{} segments of {} wait for the archive; stopping now could not be clean", *ready,
                        name),
            "look at the server's log for the archive command's messages"));
      }
      std::this_thread::sleep_for(milliseconds(100));
    }
  }
  Json uids = Json::array();
  for (const Json& p : m->pods) uids.push_back(text_at(p, {"metadata", "uid"}));
  a.status.operation.results[pods_key] = uids;
  if (auto saved = a.save(a); !saved) return StepResult::of(saved.error());
  // Before as well as after: if we die with the scale-down, whoever came in during the checkpoint would hold
  // the shutdown, and our successor gets no session any more.
  end_others(*session);
  if (auto scaled = scale_noted(a, m->workload, 0, std::to_string(m->replicas)); !scaled)
    return StepResult::of(scaled.error());
  (void)a.world.terminations.closed_before(text_at(m->pods.front(), {"metadata", "uid"}));
  see_it_off(a, m->workload, *target, *session);
  return StepResult::waiting(fmt::format("waiting for the pod of {} to end", name), milliseconds(200));
}

StepResult scale_down(Action& a, const std::string& name) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* m = scene->member(name);
  if (m == nullptr) return no_member("member " + name);
  if (scene->primary == name) {
    return StepResult::failed(base::refused(
        "TargetIsPrimary", fmt::format("member {} has become the primary; it is not stopped", name),
        "restore to another member"));
  }
  // The selector alone does not say so: somebody may have turned it back from this very member.
  if (m->replicas != 0 || !m->pods.empty()) {
    auto view = look_at_standing(a.world, *scene);
    if (!view) return StepResult::of(view.error());
    if (view->standing.kind == plan::Standing::Kind::kReverted)
      return StepResult::failed(plan::reverted(*scene, view->standing));
  }
  if (auto other = turned_back(a, m->workload, m->steering, m->replicas, 0))
    return StepResult::failed(*other);
  if (m->replicas != 0) {
    if (auto r = scale_noted(a, m->workload, 0, std::to_string(m->replicas)); !r)
      return StepResult::of(r.error());
    return StepResult::waiting("scaled to 0", milliseconds(200));
  }
  if (!m->pods.empty())
    return StepResult::waiting(fmt::format("waiting for the pod of {} to end", name), milliseconds(300));
  return StepResult::done();
}

StepResult is_down(Action& a, const plan::SceneView& scene, const plan::MemberView& m) {
  auto runs = [&](const std::string& how) {
    return StepResult::failed(base::refused(
        "PrimaryRuns", fmt::format("{} is not down: {}", m.name, how),
        "a running primary needs no salvage, its WAL is switched and archived first: leave salvage out"));
  };
  if (m.pods.empty()) return StepResult::done({{"words", "it has no pod"}});
  bool asked = false;
  for (const Json& pod : m.pods) {
    if (plan::pod_ready(pod)) return runs("it has a ready pod");
    std::string address = text_at(pod, {"status", "podIP"});
    if (address.empty()) continue;
    if (!asked) {  // else silence would only be the network's
      if (auto gate = network_gate(a.world, "the operator", "pgrunbook-operator", a.world.own_labels, m))
        return *gate;
      asked = true;
    }
    // Who asks does not matter: a refused password is an answer too. Without one libpq itself would give up.
    sql::Target target;
    target.host = address;
    target.port = m.port;
    target.user = "pgrunbook";
    target.password = "only to see who answers";
    target.ssl_mode = scene.spec.connection.ssl_mode;
    auto session = a.world.connect(target, quick());
    if (session || session.error().code == ErrorCode::kUnauthorized ||
        session.error().code == ErrorCode::kForbidden)
      return runs("it answers, though its pod is not ready");
    if (session.error().reason == "StartingUp" || session.error().reason == "ShuttingDown") {
      return StepResult::blocked(base::refused(
          "PrimaryNotDown", fmt::format("{} is neither up nor down: {}", m.name, session.error().message),
          "wait until it serves or ends, or scale its workload to 0; it goes on by itself"));
    }
  }
  return StepResult::done({{"words", "its pod is not ready and nothing answers"}});
}

StepResult stop_dead_member(Action& a, const std::string& step, const std::string& name) {
  auto scene = observe_scene(a.world, text_at(a.status.operation.inputs, {"topology"}));
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* m = scene->member(name);
  if (m == nullptr) return no_member("member " + name);
  const std::string pods_key = step + "-pods";
  if (auto other = turned_back(a, m->workload, m->steering, m->replicas, 0))
    return StepResult::failed(*other);
  if (m->replicas != 0) {
    StepResult down = is_down(a, *scene, *m);
    if (down.kind != StepResult::Kind::kDone) return down;
    Json uids = Json::array();
    for (const Json& p : m->pods) uids.push_back(text_at(p, {"metadata", "uid"}));
    a.status.operation.results[pods_key] = uids;
    if (auto saved = a.save(a); !saved) return StepResult::of(saved.error());
    if (auto r = scale_noted(a, m->workload, 0, std::to_string(m->replicas)); !r)
      return StepResult::of(r.error());
    return StepResult::waiting("scaled to 0", milliseconds(200));
  }
  if (!m->pods.empty())
    return StepResult::waiting(fmt::format("waiting for the pod of {} to end", name), milliseconds(300));
  // Whoever else has mounted it, by whatever labels: postmaster.pid tells nothing across pods.
  auto pods = a.world.api.list(kube::kinds::kPod, a.world.ns, {}, World::soon());
  if (!pods) return StepResult::of(pods.error());
  for (const Json& pod : at(*pods, {"items"})) {
    if (!plan::pod_counts(pod)) continue;
    const Json& volumes = at(pod, {"spec", "volumes"});
    if (!volumes.is_array()) continue;
    for (const Json& v : volumes) {
      if (text_at(v, {"persistentVolumeClaim", "claimName"}) != m->data_claim) continue;
      return StepResult::waiting(fmt::format("waiting for pod {}, which uses the volume of {}, to end",
                                             text_at(pod, {"metadata", "name"}), name));
    }
  }
  const Json& uids = a.result(pods_key);
  bool all = uids.is_array() && !uids.empty();
  if (all) {
    for (const Json& uid : uids)
      all = all && !a.world.terminations.of(uid.get<std::string>(), m->container).is_null();
  }
  return StepResult::done({{"proof", all ? "Terminated" : "NoPod"}, {"podUIDs", uids}});
}

std::optional<StepResult> must_be_down(const Action& a, const plan::MemberView& m) {
  if (m.replicas == 0 && m.pods.empty()) return std::nullopt;
  return StepResult::failed(base::refused(
      "ScaledBySomebodyElse",
      m.replicas == 0 ? fmt::format("a pod of {}, which was stopped, was started meanwhile", m.name)
                      : fmt::format("{} {} was scaled to 0 and is at {} again: {} set it", m.workload.kind,
                                    m.workload.name, m.replicas, plan::who_set(m.steering)),
      fmt::format("let that one leave it alone while this works (Flux: suspend the Kustomization); then make "
                  "a new {}",
                  a.kind)));
}

std::optional<StepResult> nobody_started(const plan::MemberView& m) {
  if (m.pods.empty()) return std::nullopt;
  return StepResult::blocked(base::refused(
      "ServerOnVolume",
      fmt::format("a pod of {} runs ({} scaled it up), and nothing is changed on a volume in use", m.name,
                  plan::who_set(m.steering)),
      fmt::format(
          "scale {} {} to 0 and hold back what scales it up (Flux: suspend the Kustomization); then it "
          "goes on by itself",
          m.workload.kind, m.workload.name)));
}

StepResult restore_count(Action& a, const std::string& name, int replicas) {
  auto scene = observe_scene(a.world, text_at(a.status.operation.inputs, {"topology"}));
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* m = scene->member(name);
  if (m == nullptr) return no_member("member " + name);
  // It was only ever lowered: what is up now somebody has started, and it may serve. Nothing puts it to 0.
  if (replicas == 0 || m->replicas == replicas) return StepResult::done();
  if (m->replicas == 0 && !m->pods.empty()) {
    return StepResult::waiting(fmt::format("waiting for the former pod of {} to end", name),
                               milliseconds(200));
  }
  if (auto r = scale(a.world, m->workload, replicas, Json()); !r) return StepResult::of(r.error());
  return StepResult::waiting(fmt::format("scaled {} to {}", name, replicas), milliseconds(300));
}

StepResult start_member(Action& a, const std::string& name, int replicas) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const plan::MemberView* m = scene->member(name);
  if (m == nullptr) return no_member("member " + name);
  if (auto other = turned_back(a, m->workload, m->steering, m->replicas, replicas))
    return StepResult::failed(*other);
  if (m->replicas != replicas) {
    // A replica set does not count a terminating pod: scaled up now, two servers would open one data
    // directory.
    if (m->replicas == 0 && !m->pods.empty()) {
      return StepResult::waiting(fmt::format("waiting for the former pod of {} to end", name),
                                 milliseconds(200));
    }
    if (auto r = scale_noted(a, m->workload, replicas, Json()); !r) return StepResult::of(r.error());
    return StepResult::waiting(fmt::format("scaled {} to {}", name, replicas), milliseconds(500));
  }
  if (replicas == 0) {
    return m->pods.empty() ? StepResult::done()
                           : StepResult::waiting(fmt::format("waiting for the pod of {} to end", name));
  }
  for (const Json& pod : m->pods) {
    if (plan::pod_ready(pod))
      return StepResult::done(
          {{"podUID", text_at(pod, {"metadata", "uid"})}, {"address", text_at(pod, {"status", "podIP"})}});
    const Json& statuses = at(pod, {"status", "containerStatuses"});
    if (!statuses.is_array()) continue;
    for (const Json& s : statuses) {
      if (text_at(s, {"name"}) != m->container || number_at(s, {"restartCount"}) < 3) continue;
      auto log = a.world.api.pod_log(a.world.ns, text_at(pod, {"metadata", "name"}), m->container,
                                     {.tail_lines = 3}, World::soon());
      return StepResult::failed(
          base::refused("MemberDoesNotStart",
                        fmt::format("{} was restarted {} times and is not ready; its log ends: {}", name,
                                    number_at(s, {"restartCount"}), log ? *log : "(no log)"),
                        "look at the pod's log"));
    }
  }
  return StepResult::waiting(fmt::format("waiting until {} is ready", name), milliseconds(500));
}

StepResult stop_applications(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  std::size_t pods = 0;
  for (const plan::ApplicationView& app : scene->applications) {
    if (auto other = turned_back(a, app.workload, app.steering, app.replicas, 0))
      return StepResult::failed(*other);
    if (app.replicas != 0) {
      if (auto r = scale_noted(a, app.workload, 0, std::to_string(app.replicas)); !r)
        return StepResult::of(r.error());
    }
    pods += app.replicas != 0 ? 1 : app.pods.size();
  }
  if (pods != 0) return StepResult::waiting("waiting for the applications' pods to end", milliseconds(200));
  return StepResult::done();
}

StepResult start_applications(Action& a) {
  auto scene = scene_of(a);
  if (!scene) return StepResult::of(scene.error());
  const Json& counts = a.input("applications");
  for (const plan::ApplicationView& app : scene->applications) {
    int wanted = plan::kept_count(counts, app);
    if (app.replicas != wanted) {
      if (auto r = scale(a.world, app.workload, wanted, Json()); !r) return StepResult::of(r.error());
    }
  }
  return StepResult::done({{"replicas", counts}});
}

}  // namespace pgrunbook::execute
