// The runbook's scene in memory with an action on it, for tests of what steps do: the tests play kubelet,
// controllers and PostgreSQL.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "execute/world.hpp"
#include "support/fake_api.hpp"
#include "unit/sql/fake_postgres.hpp"

namespace pgrunbook::test {

// The members' pod labels.
inline const base::Json kPrimary = {{"name", "postgresql"}}, kStandby = {{"name", "postgresql-standby"}};

class Bench {
 public:
  static constexpr const char* kUid = "12345678-aaaa-bbbb";

  FakeApi api;
  execute::Terminations terminations;
  std::stop_source stop;
  std::map<std::string, FakePostgres*> servers;  // by address
  std::vector<sql::Target> logins;               // every connection asked for
  int saves = 0;
  std::optional<base::Error> save_fails;
  execute::World world{
      api,
      tfrs::kNamespace,
      "registry.example/pgrunbook:1",
      "1",
      {{"app.kubernetes.io/name", "pgrunbook"}, {"app.kubernetes.io/component", "controller"}},
      terminations,
      [this](const sql::Target& target, base::Deadline d) -> base::Result<sql::Connection> {
        logins.push_back(target);
        auto server = servers.find(target.host);
        if (server == servers.end()) {
          base::Error e = base::error(base::ErrorCode::kUnavailable, "nobody answers");
          e.reason = "Unreachable";
          return base::fail(e);
        }
        sql::Target local = target;
        local.host = "127.0.0.1";
        local.port = server->second->port();
        return sql::Connection::open(local, d);
      },
      [](const base::Json&, std::string_view, std::string_view, std::string_view) {},
      stop.get_token()};
  execute::Action a;

  Bench() : a(make()) {
    a.save = [this](execute::Action&) -> base::Result<> {
      ++saves;
      if (save_fails) return base::fail(*save_fails);
      return {};
    };
    a.status.operation.inputs = {{"topology", "tfrs"}};
    api.forget_calls();
  }

  [[nodiscard]] plan::SceneView scene() {
    auto seen = execute::observe_scene(world, "tfrs");
    if (!seen) throw std::runtime_error(seen.error().text());
    return *seen;
  }
  [[nodiscard]] int replicas(const std::string& deployment) {
    return static_cast<int>(
        base::number_at(api.peek(kube::kinds::kDeployment, deployment), {"spec", "replicas"}, -1));
  }
  [[nodiscard]] base::Json annotation(const std::string& deployment) {
    base::Json object = api.peek(kube::kinds::kDeployment, deployment);
    return base::at(object, {"metadata", "annotations", api::kAnnotationReplicasBefore});
  }

 private:
  execute::Action make() {
    tfrs::put_scene(api);
    base::Json object = api.put(kube::kinds::kFailover, {{"metadata", {{"name", "switch"}, {"uid", kUid}}},
                                                         {"spec", {{"topologyRef", {{"name", "tfrs"}}}}}});
    return {world, kube::kinds::kFailover, object, api::meta_of(object), api::status_of(object), "Failover",
            {}};
  }
};

}  // namespace pgrunbook::test
