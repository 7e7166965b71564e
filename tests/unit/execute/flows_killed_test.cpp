// The flows themselves, over an API server in memory whose world answers as a cluster does. At every write
// the operator is killed, loses the reply, or is refused; whatever it is, the end is one of two: done, each
// irreversible act once, or everything as it was before.
#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "controllers/actions.hpp"
#include "support/fake_api.hpp"
#include "support/stride.hpp"
#include "unit/sql/fake_postgres.hpp"

namespace pgrunbook::execute {
namespace {

namespace k = kube::kinds;
namespace tfrs = test::tfrs;
using base::at;
using base::text_at;
using test::FakeApi;
using test::FakePostgres;

struct Killed {};
enum class What { kNothing, kKillBefore, kKillAfter, kLoseAfter, kRefuse, kSteer };

// The two servers, for all runs; what they say is the present world's.
struct Servers {
  std::function<FakePostgres::Reply(int, const std::string&)> say;
  FakePostgres first{[this](const std::string& sql, const auto&) { return say(0, sql); }};
  FakePostgres second{[this](const std::string& sql, const auto&) { return say(1, sql); }};
};
Servers& servers() {
  static Servers all;
  return all;
}

enum class Approves { kNo, kYes };

class Cluster {
 public:
  // With dead the primary crash-loops, and nobody answers there.
  Cluster(const kube::Resource& kind, const std::string& name, const Json& spec, bool dead = false)
      : kind_(kind), name_(name), dead_(dead) {
    tfrs::put_scene(api);
    if (kind == k::kFailover) {  // what a restore has left
      api.merge(k::kDeployment, "postgresql-standby", {{"spec", {{"replicas", 1}}}});
      start("postgresql-standby");
      timeline_[1] = 2;
    }
    start("postgresql");
    endpoints();
    servers().say = [this](int which, const std::string& sql) { return reply(which, sql); };
    api.put(kind, {{"metadata", {{"name", name}, {"uid", "12345678-aaaa"}}}, {"spec", spec}});
    api.react = [this](FakeApi&, const kube::Resource& r, const Json& object) { happens(r, object); };
    api.fault = [this](const FakeApi::Call& call, FakeApi::Moment moment) { return meets(call, moment); };
    api.forget_calls();
    live();
  }

  FakeApi api;
  What what = What::kNothing;
  int at_write = 0, writes = 0, lives = 0;
  std::map<std::string, int> acts;  // what cannot be taken back, and how often it was done
  std::string refused;              // the write that is refused
  Json manifests, mended;  // what somebody else applies after a write, and later, when a person is needed
  bool blocked = false, steered = false;
  bool served = false;  // the restored copy was started
  bool met = false;  // killed at that write; after a reply only where the server did not refuse it by itself

  // As a GitOps controller does it: everything that its manifests state, whoever set it.
  void apply(const Json& wanted) {
    auto by = [](const char* field) {
      return Json{{"managedFields",
                   {{{"manager", "kustomize-controller"},
                     {"time", "2026-11-20T15:00:00Z"},
                     {"fieldsV1", {{"f:spec", {{std::string("f:") + field, Json::object()}}}}}}}}};
    };
    outsider_ = true;
    if (at(api.peek(k::kService, "postgresql"), {"spec", "selector", "name"}) != wanted["selector"]) {
      api.merge(k::kService, "postgresql",
                {{"metadata", by("selector")}, {"spec", {{"selector", {{"name", wanted["selector"]}}}}}});
      endpoints();
    }
    for (const auto& [name, replicas] : wanted["replicas"].items()) {
      if (at(api.peek(k::kDeployment, name), {"spec", "replicas"}) == replicas) continue;
      api.merge(k::kDeployment, name, {{"metadata", by("replicas")}, {"spec", {{"replicas", replicas}}}});
      happens(k::kDeployment, api.peek(k::kDeployment, name));
    }
    outsider_ = false;
  }
  bool unclean = false;  // the primary is killed as it stops, and does not start again
  bool revived = false;  // the dead primary starts once it is scaled up
  std::function<void(const kube::Resource&, const Json&)>
      meddle;  // somebody else's hand, after a write of ours

  // What kubelet and controllers make of a workload that somebody else has changed.
  void kubelet(const char* deployment) { became(k::kDeployment, api.peek(k::kDeployment, deployment)); }
  void fence_gives_up() {
    api::Answer answer{api::Outcome::kFailed, "NotShutDown", "it did not stop", "", Json::object()};
    answer_of(std::exchange(waiting_fence_, ""), answer);
  }
  // It sees a clean stop that is not the action's: the primary's container was restarted, and comes up behind
  // the fence.
  void fence_sees_a_restart() {
    fence(std::exchange(waiting_fence_, ""));
    read_only_[0] = true;
    restarting_ = 5;
    primary_dies();
  }
  [[nodiscard]] bool primary_is_read_only() const { return read_only_[0]; }
  void primary_refuses(const FakePostgres::Refusal& refusal) { server(0).refuse(refusal); }
  void primary_dies() {
    server(0).refuse(FakePostgres::Refusal{"57P03", "the database system is starting up"});
    primary_is_not_ready();
  }
  std::atomic<int> marked = 0;  // how often the primary was marked and switched its WAL

  // One look of the operator; approves what asks for it.
  void look(Approves approves = Approves::kYes) {
    if (restarting_ > 0 && --restarting_ == 0) start("postgresql");
    (void)controllers::reconcile_action(*world_, kind_, {tfrs::kNamespace, name_}, stop_.get_token());
    if (approves == Approves::kYes && text({"phase"}) == "AwaitingApproval")
      api.merge(kind_, name_, {{"spec", {{"approvedPlan", text({"plan", "digest"})}}}});
  }
  void look_until(const std::string& phase) {
    for (int i = 0; i < 300 && text({"phase"}) != phase; ++i) look();
    EXPECT_EQ(text({"phase"}), phase) << text({"message"});
  }

  // Until the action has ended and its finalizer is off.
  void run() {
    int idle = 0;
    for (int i = 0; i < 2000 && idle < 50; ++i) {
      std::string before = api.peek(kind_, name_).dump();
      try {
        (void)controllers::reconcile_action(*world_, kind_, {tfrs::kNamespace, name_}, stop_.get_token());
      } catch (const Killed&) {
        live();
      }
      Json object = api.peek(kind_, name_);
      if (text({"phase"}) == "AwaitingApproval") {
        api.merge(kind_, name_, {{"spec", {{"approvedPlan", text({"plan", "digest"})}}}});
      }
      if (api::terminal(api::phase_from(text({"phase"}))) && at(object, {"metadata", "finalizers"}).empty())
        return;
      idle = object.dump() == before ? idle + 1 : 0;
      if (idle == 20 && text({"phase"}) == "Blocked" && mended.is_object() && !blocked) {
        blocked = true;
        apply(mended);
      }
      // Whoever refused gives way in the end.
      if (idle == 20 && what == What::kRefuse) what = What::kNothing;
    }
    ADD_FAILURE() << "it does not end: " << text({"phase"}) << " " << text({"message"});
  }
  [[nodiscard]] std::string text(std::initializer_list<std::string_view> path) const {
    return base::text_at(at(api.peek(kind_, name_), {"status"}), path);
  }
  // What everybody can see of the world.
  [[nodiscard]] Json outside() const {
    Json out = {{"selector", at(api.peek(k::kService, "postgresql"), {"spec", "selector", "name"})},
                {"exchanged", exchanged_},
                {"fenced", fenced_}};
    for (const char* d : {"postgresql", "postgresql-standby", "tfrs"})
      out["replicas"][d] = at(api.peek(k::kDeployment, d), {"spec", "replicas"});
    out["leases"] = api.all(k::kLease).size();
    out["finalizers"] = at(api.peek(kind_, name_), {"metadata", "finalizers"});
    if (out["finalizers"].is_null()) out["finalizers"] = Json::array();
    return out;
  }

 private:
  void primary_is_not_ready() {
    Json pod = api.peek(k::kPod, "postgresql-1");
    pod["status"]["conditions"][0]["status"] = "False";
    api.put(k::kPod, pod);
  }
  // A new process: nothing is known but what the API server has.
  void live() {
    ++lives;
    terminations_ = std::make_unique<Terminations>();
    world_.reset(new World{api,
                           tfrs::kNamespace,
                           "registry.example/pgrunbook:1",
                           "1",
                           {{"app.kubernetes.io/name", "pgrunbook"}},
                           *terminations_,
                           [this](const sql::Target& t, base::Deadline d) { return connect(t, d); },
                           [](const Json&, std::string_view, std::string_view, std::string_view) {},
                           stop_.get_token()});
  }
  static int index(const std::string& member) { return member == "postgresql" ? 0 : 1; }
  static FakePostgres& server(int which) { return which == 0 ? servers().first : servers().second; }

  Result<sql::Connection> connect(const sql::Target& target, base::Deadline d) {
    std::string host = target.host;
    if (host == std::string("postgresql.") + tfrs::kNamespace + ".svc") {
      host = at(api.peek(k::kService, "postgresql"), {"spec", "selector", "name"}) == "postgresql"
                 ? "10.0.0.1"
                 : "10.0.0.5";
    }
    int which = host == "10.0.0.1" ? 0 : 1;
    if (which == 0 && dead_ && !revived) {
      base::Error nobody = base::error(base::ErrorCode::kUnavailable, "connection refused");
      nobody.reason = "Unreachable";
      return base::fail(nobody);
    }
    sql::Target local = target;
    local.host = "127.0.0.1";
    local.port = server(which).port();
    return sql::Connection::open(local, d);
  }
  FakePostgres::Reply reply(int which, const std::string& sql) {
    auto says = [&](const char* part) { return sql.find(part) != std::string::npos; };
    if (says("join pg_roles")) return {};
    if (says("client_addr is not null")) return {{{"10.0.0.2", "tfrs"}}};
    if (says("150000")) return {{{"t"}}};
    if (says("pg_control_system"))
      return {{{"7000000000000000001", std::to_string(timeline_[which]), read_only_[which] ? "t" : "f",
                "10.0.0.1", "150010"}}};
    if (says("pg_switch_wal")) ++marked;
    if (says("pg_create_restore_point")) return {{{"0/4000130", "000000010000000000000004"}}};
    if (says(".ready")) return {{{"0"}}};
    return {{{""}}};
  }

  void start(const std::string& member) {
    server(index(member)).refuse(std::nullopt);
    Json pod = tfrs::pod(member + "-1", {{"name", member}}, index(member) == 0 ? "10.0.0.1" : "10.0.0.5");
    if (index(member) == 0 && ((dead_ && !revived) || stopped_uncleanly_)) {
      pod["status"]["conditions"][0]["status"] = "False";
      pod["status"]["containerStatuses"] = {{{"name", "postgresql"}, {"restartCount", 3}}};
    }
    api.put(k::kPod, pod);
  }
  void endpoints() {
    std::string selected = text_at(api.peek(k::kService, "postgresql"), {"spec", "selector", "name"});
    api.put(
        k::kEndpointSlice,
        {{"metadata", {{"name", "postgresql-x"}, {"labels", {{"kubernetes.io/service-name", "postgresql"}}}}},
         {"endpoints", {{{"addresses", {index(selected) == 0 ? "10.0.0.1" : "10.0.0.5"}}}}}});
  }
  void finish(const std::string& job, const Json& result) {
    answer_of(job, api::Answer{api::Outcome::kSucceeded, "Done", "done", "", result});
  }
  void answer_of(const std::string& job, const api::Answer& answer) {
    Json pod = api.peek(k::kPod, job + "-x");
    pod["status"] = {
        {"phase", "Succeeded"},
        {"containerStatuses",
         {{{"name", "work"},
           {"state",
            {{"terminated",
              {{"exitCode", 0}, {"reason", "Completed"}, {"message", api::to_json(answer).dump()}}}}}}}}};
    api.put(k::kPod, pod);
  }
  void fence(const std::string& job) {
    fenced_ = true;
    ++acts["fence"];
    if (dead_) {
      return finish(job, {{"state", "in production"},
                          {"salvagedTo", "0/4"},
                          {"timeline", 1},
                          {"atStake", {{"transactions", 0}}}});
    }
    finish(job, {{"state", "shut down"},
                 {"checkpointLSN", "0/5"},
                 {"timeline", 1},
                 {"atStake", {{"transactions", 3}}}});
  }
  // Kubelet, controllers and our own Jobs.
  void happens(const kube::Resource& r, const Json& object) {
    became(r, object);
    if (meddle) meddle(r, object);
  }
  void became(const kube::Resource& r, const Json& object) {
    std::string name = text_at(object, {"metadata", "name"});
    if (r == k::kService) {
      ++acts["switch to " + text_at(object, {"spec", "selector", "name"})];
      endpoints();
    }
    if (r == k::kJob && at(object, {"metadata", "deletionTimestamp"}).is_string())
      api.erase(k::kPod, name + "-x");
    if (r == k::kJob && !at(object, {"metadata", "deletionTimestamp"}).is_string()) job(name, object);
    if (r != k::kDeployment) return;
    auto replicas = base::number_at(object, {"spec", "replicas"});
    Json pod = api.peek(k::kPod, name + "-1");
    if (name == "tfrs" && replicas > 0) api.put(k::kPod, tfrs::pod("tfrs-1", {{"name", "tfrs"}}, "10.0.0.2"));
    if (name != "tfrs" && replicas > 0 && pod.is_null()) {
      if (jobs_on(name) && !outsider_) ADD_FAILURE() << name << " is started while a Job works on its volume";
      start(name);
      served = served || (exchanged_ && name == "postgresql-standby");
      read_only_[index(name)] = fenced_ && name == "postgresql";
    }
    if (replicas > 0 || pod.is_null()) return;
    if (name != "tfrs")
      server(index(name)).refuse(FakePostgres::Refusal{"57P03", "the database system is shutting down"});
    terminations_->observe(tfrs::terminated(pod, 0));
    api.erase(k::kPod, name + "-1");
    if (name != "postgresql" || waiting_fence_.empty()) return;
    stopped_uncleanly_ = unclean;
    unclean ? fence_gives_up() : fence(std::exchange(waiting_fence_, ""));
  }
  [[nodiscard]] bool jobs_on(const std::string&) const { return !waiting_fence_.empty(); }
  void job(const std::string& name, const Json& object) {
    const Json& spec = at(object, {"spec", "template", "spec"});
    auto order = api::order_from_json(Json::parse(text_at(spec["containers"][0]["env"][0], {"value"})));
    ASSERT_TRUE(order.has_value()) << order.error().text();
    ++acts["Job " + name];
    api.put(k::kPod,
            {{"metadata", {{"name", name + "-x"}, {"labels", {{"job-name", name}}}}},
             {"status",
              {{"phase", "Running"},
               {"containerStatuses", {{{"name", "work"}, {"state", {{"running", Json::object()}}}}}}}}});
    if (order->job == api::jobs::kSalvage || (dead_ && order->job == api::jobs::kFence)) {
      EXPECT_TRUE(api.peek(k::kPod, "postgresql-1").is_null())
          << order->job << " beside the dead primary's pod";
      EXPECT_EQ(at(api.peek(k::kDeployment, "postgresql"), {"spec", "replicas"}), 0) << order->job;
    }
    if (order->job == api::jobs::kSalvage) {
      ++acts["salvage"];
      return finish(name, {{"salvage", "12345678"}, {"endLSN", "0/4"}, {"last", "000000010000000000000004"}});
    }
    if (order->job == api::jobs::kFence) {
      if (api.peek(k::kPod, "postgresql-1").is_null()) {
        fence(name);
      } else {
        waiting_fence_ = name;
      }
      return;
    }
    if (order->job == api::jobs::kPlan || order->job == api::jobs::kProof) {
      // What was set on a running server is looked for in the archive.
      EXPECT_EQ(order->plan.mark.lsn, order->plan.wait_for.empty() ? "" : "0/4000130") << name;
      EXPECT_EQ(order->plan.mark.name.empty(), order->plan.wait_for.empty()) << name;
    }
    if (order->job == api::jobs::kRecover) {
      EXPECT_TRUE(api.peek(k::kPod, "postgresql-standby-1").is_null())
          << "a recovery beside a running server";
      EXPECT_EQ(order->recover.salvage, dead_ ? "12345678" : "");
      ++acts["exchange"];
      exchanged_ = true;
      timeline_[1] = 2;
      return finish(name, {{"newTimeline", 2},
                           {"systemIdentifier", "7000000000000000001"},
                           {"replayedLSN", "0/4"},
                           {"queries", Json::array()},
                           {"undoDirectory", "beside"}});
    }
    if (order->job == api::jobs::kUndo) {
      // Said only while it is so: a server that was killed is told from one that runs by it.
      EXPECT_EQ(order->undo["podsGone"], true);
      EXPECT_TRUE(api.peek(k::kPod, "postgresql-standby-1").is_null()) << "put back beside a running server";
      if (served) return exchanged_ = false, finish(name, {{"keptDirectory", "/data/beside"}});
      exchanged_ = false;
    }
    if (order->job == api::jobs::kUnfence) fenced_ = false;
    Json result = {{"backupID", "20261120T150000Z-12345678"},
                   {"targetLSN", "0/4"},
                   {"reachedLSN", "0/4"},
                   {"timeline", 1},
                   {"forkLSN", "0/3"},
                   {"storedBytes", 5},
                   {"atStake", {{"transactions", 3}}}};
    if (dead_ && kind_ == k::kRestore) result["salvage"] = {{"transactions", 3}, {"endLSN", "0/4"}};
    if (dead_ && kind_ == k::kFailover) {
      result["salvage"] = "12345678";
      result["systemIdentifier"] = "7000000000000000001";
    }
    finish(name, result);
  }

  std::optional<base::Error> meets(const FakeApi::Call& call, FakeApi::Moment moment) {
    if (!call.is_write()) return std::nullopt;
    bool before = moment == FakeApi::Moment::kBefore;
    if (before) ++writes;
    if (what == What::kSteer) {
      if (before || writes != at_write || api::terminal(api::phase_from(text({"phase"}))))
        return std::nullopt;
      steered = true;
      apply(manifests);
      return std::nullopt;
    }
    if (what == What::kRefuse) {
      if (before && writes == at_write) refused = call.text() + call.body.dump();
      // A status is written anew each time; all else is the same each time it is tried.
      bool same = !refused.empty() && (writes == at_write || call.text() + call.body.dump() == refused);
      if (before && same) return base::error(base::ErrorCode::kInvalid, "refused by the test");
      return std::nullopt;
    }
    if (writes != at_write) return std::nullopt;
    if ((before && what == What::kKillBefore) || (!before && what == What::kKillAfter)) {
      met = true;
      throw Killed{};
    }
    if (!before && what == What::kLoseAfter)
      return base::error(base::ErrorCode::kInDoubt, "the reply was lost");
    return std::nullopt;
  }

  const kube::Resource& kind_;
  const std::string name_;
  const bool dead_;
  std::stop_source stop_;
  std::unique_ptr<Terminations> terminations_;
  std::unique_ptr<World> world_;
  std::atomic<int> timeline_[2] = {1, 1};
  std::atomic<bool> read_only_[2] = {false, false};
  bool exchanged_ = false, fenced_ = false, outsider_ = false;
  std::string waiting_fence_;
  bool stopped_uncleanly_ = false;
  int restarting_ = 0;  // looks until the primary's container answers again
};

struct Case {
  const char* name;
  const kube::Resource* kind;
  const char* spec;
  std::vector<std::string> once;  // what is done exactly once where it is Completed
  bool dead = false;              // the primary
};
const Case kCases[] = {
    {"Backup",
     &k::kBackup,
     R"({"topologyRef": {"name": "tfrs"}, "method": "Base"})",
     {"Job pgb-12345678-plan-1", "Job pgb-12345678-backup-1", "Job pgb-12345678-record-1"}},
    {"Restore",
     &k::kRestore,
     R"({"topologyRef": {"name": "tfrs"}, "source": {"type": "Latest"}, "to": {"type": "Member", "member": {"name": "postgresql-standby"}}})",
     {"exchange", "Job pgr-12345678-plan-1", "Job pgr-12345678-recover-1", "Job pgr-12345678-proof-1",
      "Job pgr-12345678-record-1"}},
    {"Cutover",
     &k::kFailover,
     R"({"topologyRef": {"name": "tfrs"}, "type": "Cutover", "candidate": "postgresql-standby"})",
     {"fence", "switch to postgresql-standby", "Job pgf-12345678-plan-1", "Job pgf-12345678-fence-1",
      "Job pgf-12345678-record-1"}},
    {"Salvage",
     &k::kRestore,
     R"({"topologyRef": {"name": "tfrs"}, "source": {"type": "Latest"}, "to": {"type": "Member", "member": {"name": "postgresql-standby"}}, "salvage": "StoppedPrimary"})",
     {"salvage", "exchange", "Job pgr-12345678-plan-1", "Job pgr-12345678-salvage-1",
      "Job pgr-12345678-resolve-1", "Job pgr-12345678-recover-1", "Job pgr-12345678-proof-1",
      "Job pgr-12345678-record-1"},
     true},
    {"CutoverFromTheDead",
     &k::kFailover,
     R"({"topologyRef": {"name": "tfrs"}, "type": "Cutover", "candidate": "postgresql-standby"})",
     {"fence", "switch to postgresql-standby", "Job pgf-12345678-plan-1", "Job pgf-12345678-fence-1",
      "Job pgf-12345678-record-1"},
     true},
};

// A run in which nothing happens to it; of each case once.
struct Unharmed {
  Json before, after;
  int writes = 0;
};
const Unharmed& unharmed_of(const Case& c) {
  static std::map<std::string, Unharmed> known;
  auto [it, first] = known.try_emplace(c.name);
  if (first) {
    Cluster world(*c.kind, "it", Json::parse(c.spec), c.dead);
    it->second.before = world.outside();
    world.run();
    EXPECT_EQ(world.text({"phase"}), "Completed") << world.text({"message"});
    it->second.after = world.outside();
    it->second.writes = world.writes;
  }
  return it->second;
}

class Flows : public ::testing::TestWithParam<std::tuple<Case, What>> {};

TEST_P(Flows, EndInOneOfTwoStates) {
  const auto& [c, what] = GetParam();
  Json spec = Json::parse(c.spec);
  const auto& [before, after, writes] = unharmed_of(c);
  int put_back = 0, done = 0;
  // Each case takes other writes, and two at least.
  const int stride = std::min(test::stride(25), std::max(1, writes / 2));
  const int first = 1 + static_cast<int>(what) * 7 % stride;
  for (int n = first; n <= writes; n += stride) {
    Cluster world(*c.kind, "it", spec, c.dead);
    world.what = what;
    world.at_write = n;
    world.run();
    std::string phase = world.text({"phase"});
    std::string where =
        "write " + std::to_string(n) + " " + world.refused + ": " + phase + " " + world.text({"message"});
    if (phase == "Completed") {
      ++done;
      Json end = world.outside();
      // A Lease that may not be removed hides nobody's success: the next action takes it from one that is
      // over.
      if (world.refused.rfind("remove Lease/", 0) == 0) end["leases"] = after["leases"];
      EXPECT_EQ(end, after) << where;
      for (const std::string& act : c.once) {
        if (act.find("-record-") == std::string::npos || what != What::kRefuse) {
          EXPECT_EQ(world.acts[act], 1) << act << ", " << where;
        }
      }
    } else {
      ++put_back;
      EXPECT_EQ(phase, "Failed") << where;
      EXPECT_EQ(what, What::kRefuse) << where;
      EXPECT_EQ(world.outside(), before) << where;
    }
    if (what == What::kKillBefore) {
      EXPECT_EQ(world.met, world.writes >= n) << where;
    }
    if (what == What::kKillBefore || what == What::kKillAfter) {
      EXPECT_EQ(world.lives, world.met ? 2 : 1) << where;
    }
    for (const auto& [act, times] : world.acts) {
      if (act.rfind("Job ", 0) == 0) {
        EXPECT_EQ(times, 1) << act << ", " << where;
      }
    }
    if (HasFailure()) break;
  }
  RecordProperty("writes", writes);
  if (test::every_case() && what == What::kRefuse) {
    EXPECT_GT(put_back, 0);
  }
  EXPECT_GT(done, 0);
}

// Somebody applies the manifests of before after a write, whichever: the action goes back, or it stands at a
// person until what it made is put right, and is called Completed only then.
class Steered : public ::testing::TestWithParam<Case> {};

TEST_P(Steered, IsNeverCalledCompletedOnWhatWasTakenBack) {
  const Case& c = GetParam();
  Json spec = Json::parse(c.spec);
  const auto& [before, after, writes] = unharmed_of(c);
  int put_back = 0, mended = 0, untouched = 0, kept = 0;
  for (int n = 1; n <= writes; n += test::stride(6)) {
    Cluster world(*c.kind, "it", spec, c.dead);
    world.what = What::kSteer;
    world.at_write = n;
    world.manifests = before;
    world.mended = after;
    world.run();
    std::string phase = world.text({"phase"});
    std::string where = "write " + std::to_string(n) + ": " + phase + " " + world.text({"message"});
    if (phase == "Completed") {
      ++(world.blocked ? mended : untouched);
      EXPECT_EQ(world.outside(), after) << where;
    } else {
      ++put_back;
      EXPECT_EQ(phase, "Failed") << where;
      EXPECT_THAT(where, ::testing::HasSubstr("kustomize-controller")) << where;
      // A copy that was started is never removed, and said to be there.
      EXPECT_EQ(where.find("stays on the volume of postgresql-standby in /data/beside") != std::string::npos,
                world.served)
          << where;
      kept += world.served ? 1 : 0;
      EXPECT_EQ(world.outside(), before) << where;
    }
    for (const auto& [act, times] : world.acts) {
      if (act.rfind("Job ", 0) == 0) {
        EXPECT_EQ(times, 1) << act << ", " << where;
      }
    }
    if (HasFailure()) break;
  }
  EXPECT_GT(put_back, 0);
  if (c.kind == &k::kRestore) {
    EXPECT_GT(kept, 0);
  }
  EXPECT_GT(mended, 0);
  EXPECT_GT(untouched, 0);
}

INSTANTIATE_TEST_SUITE_P(Table, Steered, ::testing::Values(kCases[1], kCases[2]),
                         [](const auto& one) { return std::string(one.param.name); });

// ---- somebody else steers meanwhile

Json held_by(const char* manager, const char* field) {
  return Json::array({{{"manager", manager},
                       {"operation", "Update"},
                       {"time", "2026-11-20T15:00:00Z"},
                       {"fieldsV1", {{"f:spec", {{field, Json::object()}}}}}}});
}
void select(Cluster& world, const char* member, const char* manager) {
  world.api.merge(k::kService, "postgresql",
                  {{"metadata", {{"managedFields", held_by(manager, "f:selector")}}},
                   {"spec", {{"selector", {{"name", member}}}}}});
}
void scale(Cluster& world, const char* name, int replicas, const char* manager) {
  world.api.merge(k::kDeployment, name,
                  {{"metadata", {{"managedFields", held_by(manager, "f:replicas")}}},
                   {"spec", {{"replicas", replicas}}}});
  world.kubelet(name);
}
bool leads_to(const kube::Resource& r, const Json& object, const char* member) {
  return r == k::kService && text_at(object, {"spec", "selector", "name"}) == member;
}
bool counts(const kube::Resource& r, const Json& object, const char* name, int replicas) {
  return r == k::kDeployment && text_at(object, {"metadata", "name"}) == name &&
         base::number_at(object, {"spec", "replicas"}) == replicas;
}

TEST(SteeredCutover, ThatIsTurnedBackBeforeNoReturnIsPutBackAndSaysByWhom) {
  struct {
    const char* name;
    std::function<bool(const kube::Resource&, const Json&)> when;
    std::function<void(Cluster&)> how;
    const char *reason, *says;
  } table[] = {
      {"the selector", [](auto& r, auto& o) { return leads_to(r, o, "postgresql-standby"); },
       [](Cluster& w) { select(w, "postgresql", "kustomize-controller"); }, "ServiceChanged",
       "kustomize-controller at 2026-11-20T15:00:00Z set it"},
      {"the old primary", [](auto& r, auto& o) { return leads_to(r, o, "postgresql-standby"); },
       [](Cluster& w) { scale(w, "postgresql", 1, "helm"); }, "OldPrimaryStarted",
       "was scaled up to 1: helm at 2026-11-20T15:00:00Z set it"},
      {"the old primary at its stop", [](auto& r, auto& o) { return counts(r, o, "postgresql", 0); },
       [](Cluster& w) { scale(w, "postgresql", 1, "kubectl-client-side-apply"); }, "ScaledBySomebodyElse",
       "Deployment postgresql was scaled to 0 and is at 1 again: kubectl-client-side-apply at"},
      {"an application", [](auto& r, auto& o) { return counts(r, o, "tfrs", 0); },
       [](Cluster& w) { scale(w, "tfrs", 2, "kustomize-controller"); }, "ScaledBySomebodyElse",
       "Deployment tfrs was scaled to 0 and is at 2 again: kustomize-controller at"},
  };
  for (const auto& row : table) {
    Cluster world(k::kFailover, "it", Json::parse(kCases[2].spec));
    const Json before = world.outside();
    bool once = true;
    world.meddle = [&](const kube::Resource& r, const Json& object) {
      if (!once || !row.when(r, object)) return;
      once = false;
      row.how(world);
    };
    world.look_until("Failed");
    EXPECT_FALSE(once) << row.name;
    EXPECT_EQ(world.text({"reason"}), row.reason) << row.name << ": " << world.text({"message"});
    for (const char* part : {row.says, "HINT: ", "Everything is as it was before"})
      EXPECT_NE(world.text({"message"}).find(part), std::string::npos)
          << row.name << ": " << world.text({"message"});
    EXPECT_EQ(world.outside(), before) << row.name;
    EXPECT_TRUE(at(world.api.peek(k::kTopology, "tfrs"), {"status", "cutover"}).is_null()) << row.name;
  }
}

TEST(SteeredCutover, IsNeverCompletedWhileItIsTurnedBack) {
  // When the applications come up, and when all that is left is the record.
  struct {
    const char* name;
    std::function<bool(const kube::Resource&, const Json&)> when;
    std::function<void(Cluster&)> how, right;
    const char* reason;
  } table[] = {
      {"the selector", [](auto& r, auto& o) { return counts(r, o, "tfrs", 2); },
       [](Cluster& w) { select(w, "postgresql", "kustomize-controller"); },
       [](Cluster& w) { select(w, "postgresql-standby", "kustomize-controller"); }, "ServiceChanged"},
      {"the old primary", [](auto& r, auto& o) { return counts(r, o, "tfrs", 2); },
       [](Cluster& w) { scale(w, "postgresql", 1, "kustomize-controller"); },
       [](Cluster& w) {
         scale(w, "postgresql", 0, "kustomize-controller");
         w.api.erase(k::kPod, "postgresql-1");
       },
       "OldPrimaryStarted"},
      {"the selector, at the very end",
       [](auto& r, auto& o) {
         return r == k::kJob && text_at(o, {"metadata", "name"}).find("-record-") != std::string::npos;
       },
       [](Cluster& w) { select(w, "postgresql", "kustomize-controller"); },
       [](Cluster& w) { select(w, "postgresql-standby", "kustomize-controller"); }, "ServiceChanged"},
  };
  for (const auto& row : table) {
    Cluster world(k::kFailover, "it", Json::parse(kCases[2].spec));
    bool armed = false, once = true;
    world.meddle = [&](const kube::Resource& r, const Json& object) {
      armed = armed || leads_to(r, object, "postgresql-standby");
      if (!armed || !once || !row.when(r, object)) return;
      once = false;
      row.how(world);
    };
    world.look_until("Blocked");
    EXPECT_FALSE(once) << row.name;
    EXPECT_EQ(world.text({"reason"}), row.reason) << row.name << ": " << world.text({"message"});
    EXPECT_NE(world.text({"message"}).find("kustomize-controller at"), std::string::npos) << row.name;
    EXPECT_NE(world.text({"message"}).find("HINT: "), std::string::npos) << row.name;
    world.api.forget_calls();
    for (int i = 0; i < 5; ++i) world.look();
    EXPECT_EQ(world.text({"phase"}), "Blocked") << row.name;
    for (const FakeApi::Call& call : world.api.writes())
      EXPECT_TRUE(call.kind != "Service" && call.kind != "Deployment")
          << row.name << ": a fight, " << call.text();
    row.right(world);
    world.look_until("Completed");
    EXPECT_EQ(text_at(world.api.peek(k::kTopology, "tfrs"), {"status", "cutover", "to"}),
              "postgresql-standby")
        << row.name;
  }
}

TEST(SteeredRestore, ThatCannotStartItsTargetIsPutBackAndSaysByWhom) {
  Cluster world(k::kRestore, "it", Json::parse(kCases[1].spec));
  const Json before = world.outside();
  world.meddle = [&](const kube::Resource& r, const Json& object) {
    if (!counts(r, object, "postgresql-standby", 1)) return;
    scale(world, "postgresql-standby", 0, "kustomize-controller");
    world.api.erase(k::kPod, "postgresql-standby-1");
  };
  world.look_until("Failed");
  EXPECT_EQ(world.text({"reason"}), "ScaledBySomebodyElse") << world.text({"message"});
  EXPECT_NE(world.text({"message"}).find("kustomize-controller at"), std::string::npos)
      << world.text({"message"});
  EXPECT_EQ(world.outside(), before);
}

// The applications were started while no operator looked, through the Service that leads to the candidate:
// what they have written there stays, whatever was asked for meanwhile.
TEST(SteeredCutover, IsNotPutBackOnceAnApplicationMayHaveWrittenOnTheCandidate) {
  struct {
    const char* name;
    std::function<void(Cluster&)> asked;
  } table[] = {
      {"cancelled", [](Cluster& w) { w.api.merge(k::kFailover, "it", {{"spec", {{"cancel", true}}}}); }},
      {"deleted",
       [](Cluster& w) {
         w.api.merge(k::kFailover, "it", {{"metadata", {{"deletionTimestamp", "2026-11-20T15:00:00Z"}}}});
       }},
  };
  for (const auto& row : table) {
    Cluster world(k::kFailover, "it", Json::parse(kCases[2].spec));
    bool once = true;
    world.meddle = [&](const kube::Resource& r, const Json& object) {
      if (!once || !leads_to(r, object, "postgresql-standby")) return;
      once = false;
      scale(world, "tfrs", 2, "argocd-controller");
      row.asked(world);
      throw Killed{};  // and the operator is away meanwhile
    };
    for (int i = 0; i < 300 && world.text({"phase"}) != "Blocked"; ++i) {
      try {
        world.look();
      } catch (const Killed&) {
      }
    }
    EXPECT_FALSE(once) << row.name;
    EXPECT_EQ(world.text({"reason"}), "ScaledBySomebodyElse") << row.name << ": " << world.text({"message"});
    EXPECT_NE(world.text({"message"}).find("argocd-controller at"), std::string::npos) << row.name;
    for (int i = 0; i < 5; ++i) world.look();
    EXPECT_EQ(world.text({"phase"}), "Blocked") << row.name;
    EXPECT_EQ(world.outside()["selector"], "postgresql-standby") << row.name;
    EXPECT_EQ(world.outside()["replicas"]["postgresql"], 0) << row.name;
    scale(world, "tfrs", 0, "argocd-controller");
    world.api.erase(k::kPod, "tfrs-1");
    world.look_until("Completed");
    EXPECT_EQ(world.outside()["selector"], "postgresql-standby") << row.name;
  }
}

// The fence Job's time is over while something held the stop up: the primary, which still runs, goes on
// running.
TEST(SteeredCutover, StopsNoPrimaryThatNobodyWaitsToFence) {
  Cluster world(k::kFailover, "it", Json::parse(kCases[2].spec));
  const Json before = world.outside();
  bool once = true, stopped = false;
  world.meddle = [&](const kube::Resource& r, const Json& object) {
    stopped = stopped || counts(r, object, "postgresql", 0);
    if (!once || !counts(r, object, "tfrs", 0)) return;
    once = false;
    world.fence_gives_up();
  };
  world.look_until("Failed");
  EXPECT_FALSE(once);
  EXPECT_FALSE(stopped);
  EXPECT_EQ(world.text({"reason"}), "FenceEnded") << world.text({"message"});
  EXPECT_NE(world.text({"message"}).find("it waits 600 s for that"), std::string::npos)
      << world.text({"message"});
  EXPECT_EQ(world.outside(), before);
}

// Given up while the applications are at 0 and the primary still runs: what happens to it then, and how it
// ends.
struct GivenUp {
  std::function<void(Cluster&)> happens;
  bool cancelled;
};
void expect_put_back(const GivenUp& row) {
  Cluster world(k::kFailover, "it", Json::parse(kCases[2].spec));
  const Json before = world.outside();
  bool once = true;
  world.meddle = [&](const kube::Resource& r, const Json& object) {
    if (!once || !counts(r, object, "tfrs", 0)) return;
    once = false;
    row.happens(world);
    if (row.cancelled) world.api.merge(k::kFailover, "it", {{"spec", {{"cancel", true}}}});
  };
  world.look_until(row.cancelled ? "Cancelled" : "Failed");
  EXPECT_FALSE(once);
  EXPECT_EQ(world.text({"reason"}), row.cancelled ? "Cancelled" : "FenceEnded") << world.text({"message"});
  EXPECT_FALSE(world.primary_is_read_only());
  EXPECT_EQ(world.outside(), before);
}

// A stop that is none of ours, and the fence Job takes it for the one that it waits for.
TEST(SteeredCutover, ThatFencedARestartedPrimaryHasItWriteAgain) {
  for (bool cancelled : {false, true})
    expect_put_back({[](Cluster& world) { world.fence_sees_a_restart(); }, cancelled});
}

// Where nothing was fenced, putting back asks nothing of the primary: it may be dead, and that the reason to
// give up; or not let the operator in, and the applications are at 0.
TEST(SteeredCutover, ThatFencedNothingIsPutBackWhateverThePrimarySays) {
  auto locked_out = [](Cluster& world) {
    world.primary_refuses({"28P01", "password authentication failed for user \"pgrunbook\""});
  };
  expect_put_back({[](Cluster& world) { world.primary_dies(); }, true});
  expect_put_back({locked_out, true});
  expect_put_back({[&](Cluster& world) { locked_out(world), world.fence_gives_up(); }, false});
  // It dies while the applications end: nobody has stopped it, and nobody waits for it to start.
  expect_put_back({[](Cluster& world) { world.primary_dies(), world.fence_gives_up(); }, false});
}

// What can mend it, a restore with salvage, waits for the cutover to end.
TEST(SteeredCutover, ThatStoppedAPrimaryWhichDoesNotStartAgainEndsAndSaysSo) {
  Cluster world(k::kFailover, "it", Json::parse(kCases[2].spec));
  const Json before = world.outside();
  world.unclean = true;
  world.look_until("Failed");
  EXPECT_EQ(world.text({"reason"}), "NotShutDown");
  EXPECT_THAT(
      world.text({"message"}),
      ::testing::HasSubstr("Everything is as it was before, but the primary, which was stopped, does not "
                           "start: postgresql was restarted 3 times and is not ready"));
  EXPECT_THAT(world.text({"message"}), ::testing::HasSubstr("restore to the candidate with salvage"));
  EXPECT_EQ(world.outside(), before);
}

// Somebody scales up the dead primary while it is fenced, and its server starts behind the fence.
TEST(SteeredCutover, FromADeadPrimaryThatWasStartedBehindTheFenceHasItWriteAgain) {
  Cluster world(k::kFailover, "it", Json::parse(kCases[4].spec), true);
  const Json before = world.outside();
  bool once = true;
  world.meddle = [&](const kube::Resource& r, const Json& object) {
    if (!once || r != k::kJob || text_at(object, {"metadata", "name"}).find("-fence-") == std::string::npos)
      return;
    once = false;
    world.revived = true;
    world.apply({{"selector", "postgresql"}, {"replicas", {{"postgresql", 1}}}});
    EXPECT_TRUE(world.primary_is_read_only());
  };
  world.look_until("Failed");
  EXPECT_FALSE(once);
  EXPECT_EQ(world.text({"reason"}), "OldPrimaryStarted") << world.text({"message"});
  EXPECT_FALSE(world.primary_is_read_only());
  EXPECT_EQ(world.outside(), before);
}

// A person leads the Service to the restored copy before the restore is over: it may have been written to.
TEST(SteeredRestore, IsNotPutBackUnderAServiceThatLeadsToIt) {
  Cluster world(k::kRestore, "it", Json::parse(kCases[1].spec));
  const Json before = world.outside();
  bool once = true;
  world.meddle = [&](const kube::Resource& r, const Json& object) {
    if (!once || r != k::kJob || text_at(object, {"metadata", "name"}).find("-proof-") == std::string::npos)
      return;
    once = false;
    select(world, "postgresql-standby", "kubectl-patch");
    world.api.merge(k::kRestore, "it", {{"spec", {{"cancel", true}}}});
    throw Killed{};
  };
  for (int i = 0; i < 300 && world.text({"phase"}) != "Blocked"; ++i) {
    try {
      world.look();
    } catch (const Killed&) {
    }
  }
  EXPECT_FALSE(once);
  EXPECT_EQ(world.text({"reason"}), "TargetIsPrimary") << world.text({"message"});
  EXPECT_NE(world.text({"message"}).find("kubectl-patch at"), std::string::npos) << world.text({"message"});
  for (int i = 0; i < 5; ++i) world.look();
  EXPECT_EQ(world.outside()["replicas"]["postgresql-standby"], 1);
  EXPECT_EQ(world.outside()["exchanged"], true);
  select(world, "postgresql", "kubectl-patch");
  world.look_until("Cancelled");
  EXPECT_EQ(world.outside(), before);
}

// It waited for another action's volume, and that one has made the target the primary: the plan is of another
// world.
TEST(SteeredRestore, ThatWaitedForAnotherActionLooksAgain) {
  Cluster world(k::kRestore, "it", Json::parse(kCases[1].spec));
  std::string claim =
      text_at(world.api.peek(k::kPersistentVolumeClaim, "postgresql-standby"), {"metadata", "uid"});
  auto other = [&](const char* phase) {
    world.api.put(k::kFailover, {{"metadata", {{"name", "other"}, {"uid", "other-uid"}}},
                                 {"spec", {{"topologyRef", {{"name", "elsewhere"}}}}},
                                 {"status", {{"phase", phase}}}});
  };
  other("Running");
  world.api.put(k::kLease, {{"metadata", {{"name", "pgrunbook-" + claim.substr(0, 8)}}},
                            {"spec", {{"holderIdentity", "other-uid"}}}});
  for (int i = 0; i < 50; ++i) world.look();
  EXPECT_EQ(world.text({"operation", "step"}), "hold") << world.text({"message"});
  scale(world, "postgresql-standby", 1, "pgrunbook");
  select(world, "postgresql-standby", "pgrunbook");
  other("Completed");
  world.look_until("Failed");
  EXPECT_EQ(world.text({"reason"}), "WorldChanged") << world.text({"message"});
  EXPECT_EQ(world.outside()["replicas"]["postgresql-standby"], 1);
  EXPECT_EQ(world.outside()["exchanged"], false);
}

// Started, and led to, just before this action would have stopped it: it was at 0 in the plan, and is not put
// there.
TEST(SteeredRestore, NeverPutsATargetToZeroThatServes) {
  Cluster world(k::kRestore, "it", Json::parse(kCases[1].spec));
  bool once = true;
  world.meddle = [&](const kube::Resource& r, const Json& object) {
    if (!once || r != k::kRestore || text_at(object, {"status", "operation", "step"}) != "stop-target")
      return;
    once = false;
    scale(world, "postgresql-standby", 1, "kubectl");
    select(world, "postgresql-standby", "kubectl");
  };
  world.look_until("Failed");
  EXPECT_FALSE(once);
  EXPECT_EQ(world.text({"reason"}), "TargetIsPrimary") << world.text({"message"});
  EXPECT_EQ(world.outside()["replicas"]["postgresql-standby"], 1);
}

// Approved only after the world had changed: what was committed since the first plan is marked and waited for
// too.
TEST(SteeredRestore, ThatIsPlannedAgainMarksThePrimaryAgain) {
  Json spec = Json::parse(kCases[1].spec);
  spec["approval"] = "Required";
  Cluster world(k::kRestore, "it", spec);
  for (int i = 0; i < 100 && world.text({"phase"}) != "AwaitingApproval"; ++i) world.look(Approves::kNo);
  EXPECT_EQ(world.marked, 1);
  Json containers =
      at(world.api.peek(k::kDeployment, "postgresql"), {"spec", "template", "spec", "containers"});
  containers[0]["image"] = "registry.example/sclorg/postgresql-15:2";
  world.api.merge(k::kDeployment, "postgresql",
                  {{"spec", {{"template", {{"spec", {{"containers", containers}}}}}}}});
  world.api.merge(k::kRestore, "it", {{"spec", {{"approvedPlan", world.text({"plan", "digest"})}}}});
  for (int i = 0; i < 100 && world.text({"reason"}) != "OtherPlanApproved"; ++i) world.look(Approves::kNo);
  EXPECT_EQ(world.text({"reason"}), "OtherPlanApproved") << world.text({"message"});
  EXPECT_EQ(world.marked, 2);
}

std::string name_of(const ::testing::TestParamInfo<std::tuple<Case, What>>& info) {
  const char* how[] = {"", "KilledBefore", "KilledAfter", "ReplyLost", "Refused"};
  return std::string(std::get<0>(info.param).name) + how[static_cast<int>(std::get<1>(info.param))];
}

INSTANTIATE_TEST_SUITE_P(Table, Flows,
                         ::testing::Combine(::testing::ValuesIn(kCases),
                                            ::testing::Values(What::kKillBefore, What::kKillAfter,
                                                              What::kLoseAfter, What::kRefuse)),
                         name_of);

}  // namespace
}  // namespace pgrunbook::execute
