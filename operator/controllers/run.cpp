#include "controllers/run.hpp"

#include <cstdio>

#include <fmt/format.h>

#include "base/hash.hpp"
#include "controllers/actions.hpp"
#include "controllers/caches.hpp"
#include "controllers/figures.hpp"
#include "controllers/leftovers.hpp"
#include "controllers/topology.hpp"
#include "kube/events.hpp"
#include "runtime/controller.hpp"
#include "runtime/informer.hpp"
#include "runtime/log.hpp"
#include "runtime/manager.hpp"
#include "runtime/memory.hpp"

namespace pgrunbook::controllers {

using base::Json;
using runtime::Controller;
using runtime::Informer;
using runtime::Key;

namespace {

// "stop-primary" -> "StopPrimary": the reason of an Event, so that each step has its own.
std::string camel(std::string_view text) {
  std::string out;
  bool up = true;
  for (char c : text) {
    if (c == '-' || c == ' ') {
      up = true;
    } else {
      out += up ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
      up = false;
    }
  }
  return out;
}

}  // namespace

int run_controller(const RunOptions& options) {
  runtime::keep_memory_small();
  runtime::init_logging(options.log_level);
  runtime::Signals signals;
  auto config = options.kubeconfig.empty() ? kube::Config::in_cluster()
                                           : kube::Config::from_kubeconfig(options.kubeconfig);
  if (!config) {
    std::fprintf(stderr, "pgrunbook: %s\n", config.error().text().c_str());
    return 1;
  }
  std::string ns = options.namespace_name.empty() ? config->namespace_name : options.namespace_name;
  if (ns.empty()) {
    std::fprintf(stderr, "pgrunbook: no namespace. HINT: set PGRUNBOOK_NAMESPACE\n");
    return 1;
  }
  std::unique_ptr<kube::Api> api = kube::connect(*config);
  execute::Terminations terminations;
  execute::Logins logins;
  kube::EventRecorder recorder(*api, options.pod_name);

  execute::World world{
      *api,
      ns,
      options.agent_image,
      options.version,
      Json{{"app.kubernetes.io/name", "pgrunbook"}},
      terminations,
      [&](const sql::Target& t, base::Deadline d) {
        auto opened = sql::Connection::open(t, d);
        if (opened) logins.note(t);
        return opened;
      },
      [&](const Json& object, std::string_view type, std::string_view reason, std::string_view message) {
        recorder.emit(
            object,
            type == "Warning" ? kube::EventRecorder::Type::kWarning : kube::EventRecorder::Type::kNormal,
            camel(reason), std::string(message));
      },
      signals.stop_token(),
      &logins};
  if (!options.pod_name.empty()) {
    auto pod = api->get(kube::kinds::kPod, ns, options.pod_name, execute::World::soon());
    if (pod && base::at(*pod, {"metadata", "labels"}).is_object())
      world.own_labels = base::at(*pod, {"metadata", "labels"});
    // What a controller adds is not what a policy would select by.
    world.own_labels.erase("pod-template-hash");
  }

  std::unique_ptr<kube::Api> lease_api = kube::connect_for_lease(*config);
  runtime::Manager::Options manager_options;
  manager_options.health_port = static_cast<std::uint16_t>(options.health_port);
  if (options.leader_election) {
    kube::LeaseOptions lease;
    lease.ns = ns;
    lease.name = "pgrunbook";
    lease.holder = (options.pod_name.empty() ? "pgrunbook" : options.pod_name) + "-" + base::random_hex(4);
    manager_options.leader = lease;
    manager_options.leader_api = lease_api.get();
  }
  runtime::Manager manager(*api, manager_options);
  manager.metrics().describe("pgrunbook_build_info", runtime::Metrics::Type::kGauge,
                             "1; which version runs.");
  manager.metrics().set("pgrunbook_build_info", {{"version", options.version}}, 1);
  Figures figures(manager.metrics());

  auto watched = [](const kube::Resource& kind) {
    runtime::Watcher::Options watch;
    watch.select.keep = kept_of(kind);
    return watch;
  };
  Informer pods(*api, kube::kinds::kPod, ns, watched(kube::kinds::kPod));
  pods.on_change([&](const runtime::Change& change) { terminations.observe(change.object()); });
  Informer topologies(*api, kube::kinds::kTopology, ns, watched(kube::kinds::kTopology));
  Informer services(*api, kube::kinds::kService, ns, watched(kube::kinds::kService));
  Informer backups(*api, kube::kinds::kBackup, ns, watched(kube::kinds::kBackup)),
      restores(*api, kube::kinds::kRestore, ns, watched(kube::kinds::kRestore)),
      failovers(*api, kube::kinds::kFailover, ns, watched(kube::kinds::kFailover));
  Informer deployments(*api, kube::kinds::kDeployment, ns, watched(kube::kinds::kDeployment)),
      statefulsets(*api, kube::kinds::kStatefulSet, ns, watched(kube::kinds::kStatefulSet));
  topologies.on_change([&](const runtime::Change& change) { figures.topology(change); });
  for (Informer* actions : {&backups, &restores, &failovers})
    actions->on_change([&figures, &world, kind = actions->resource().kind](const runtime::Change& change) {
      figures.action(kind, change);
      if (change.after && concerns(change)) {
        world.approvals->observe(*change.after);
      } else {
        world.approvals->forget(change.object());
      }
    });

  Controller::Options workers;
  workers.workers = 2;
  workers.metrics = &manager.metrics();
  auto action = [&](const kube::Resource& kind) {
    return [&world, &kind](const Key& key, const std::stop_token& stop) {
      return reconcile_action(world, kind, key, stop);
    };
  };
  Controller backup("backup", action(kube::kinds::kBackup), workers);
  Controller restore("restore", action(kube::kinds::kRestore), workers);
  Controller failover("failover", action(kube::kinds::kFailover), workers);
  Controller topology(
      "topology",
      [&](const Key& key, const std::stop_token& stop) {
        return reconcile_topology(world, backups.store(), key, stop);
      },
      workers);
  // A change of the object itself, and of the pods of its Jobs: a result is seen the moment the kubelet
  // reports it.
  backup.watch(backups, runtime::mappers::self(), concerns);
  restore.watch(restores, runtime::mappers::self(), concerns);
  failover.watch(failovers, runtime::mappers::self(), concerns);
  // Its own status is no news: it holds the primary's LSN, and each write of it would bring on the next.
  topology.watch(topologies, runtime::mappers::self(), [](const runtime::Change& change) {
    auto generation = [](const runtime::Snapshot& s) {
      return s ? base::number_at(*s, {"metadata", "generation"}) : 0;
    };
    return generation(change.before) != generation(change.after);
  });
  auto of_action = [&](const Informer& objects) -> runtime::Mapper {
    return [&objects](const Json& pod) -> std::vector<Key> {
      std::string uid = base::text_at(pod, {"metadata", "labels", api::kLabelActionUid});
      if (uid.empty()) return {};
      auto object =
          objects.store().find([&](const Json& o) { return base::text_at(o, {"metadata", "uid"}) == uid; });
      return object ? std::vector<Key>{Key::of(*object)} : std::vector<Key>{};
    };
  };
  backup.watch(pods, of_action(backups));
  restore.watch(pods, of_action(restores));
  failover.watch(pods, of_action(failovers));
  topology.watch(pods, of_action(topologies));
  // Any change of a Service or workload's pods may concern a topology; there are few.
  auto every_topology = [&](const Json&) {
    std::vector<Key> keys;
    for (const auto& object : topologies.store().list()) keys.push_back(Key::of(*object));
    return keys;
  };
  topology.watch(services, every_topology);
  // Somebody else's hand on a replica count; what only their status says is no news.
  auto spec_changed = [](const runtime::Change& change) {
    auto generation = [](const runtime::Snapshot& s) {
      return s ? base::number_at(*s, {"metadata", "generation"}) : 0;
    };
    return generation(change.before) != generation(change.after);
  };
  topology.watch(deployments, every_topology, spec_changed);
  topology.watch(statefulsets, every_topology, spec_changed);
  topology.watch(
      failovers,
      [&](const Json& object) {
        return std::vector<Key>{Key{ns, base::text_at(object, {"spec", "topologyRef", "name"})}};
      },
      [](const runtime::Change& change) {
        auto phase = [](const runtime::Snapshot& s) {
          return s ? base::text_at(*s, {"status", "phase"}) : std::string();
        };
        return phase(change.before) != phase(change.after);
      });
  Controller leftovers("leftovers", [&](const Key&, const std::stop_token&) {
    return find_leftovers(world, [&](const std::string& kind, const Key& key) {
      (kind == "PostgresRestore" ? restore : kind == "Failover" ? failover : topology).enqueue(key);
    });
  });
  leftovers.enqueue({ns, "leases"});
  manager.add(backup);
  manager.add(restore);
  manager.add(failover);
  manager.add(topology);
  manager.add(leftovers);
  runtime::log_info("controller", fmt::format("pgrunbook {} works in namespace {}", options.version, ns));
  auto ended = manager.run(signals.stop_token());
  if (!ended) {
    runtime::log_error("controller", ended.error().text());
    return 1;
  }
  return 0;
}

}  // namespace pgrunbook::controllers
