// The controller's program: a registry of subcommands, nothing else.
#include <cstdio>
#include <cstdlib>
#include <string>

#include <CLI/CLI.hpp>

#include "controllers/leave.hpp"
#include "controllers/run.hpp"

int main(int argc, char** argv) {
  CLI::App app{"pgrunbook: your PostgreSQL recovery runbook, as Kubernetes objects"};
  app.require_subcommand(1);
  pgrunbook::controllers::RunOptions run;
  run.version = PGRUNBOOK_VERSION;
  CLI::App* controller = app.add_subcommand("controller", "watch one namespace and carry out its objects");
  controller->add_option("--kubeconfig", run.kubeconfig,
                         "file to connect with (default: the pod's service account)");
  controller->add_option("--namespace", run.namespace_name, "the namespace")->envname("PGRUNBOOK_NAMESPACE");
  controller->add_option("--image", run.agent_image, "this program's image, for the Jobs' init container")
      ->envname("PGRUNBOOK_IMAGE")
      ->required();
  controller->add_option("--pod-name", run.pod_name, "our pod")->envname("POD_NAME");
  controller->add_option("--log-level", run.log_level, "trace, debug, info, warn or error")
      ->envname("PGRUNBOOK_LOG_LEVEL");
  controller->add_option("--health-port", run.health_port, "port of /healthz, /readyz and /metrics")
      ->envname("PGRUNBOOK_HEALTH_PORT");
  controller->add_flag("!--no-leader-election", run.leader_election, "do not take the Lease pgrunbook");
  pgrunbook::controllers::LeaveOptions leave;
  CLI::App* leaving =
      app.add_subcommand("leave", "take away what setting up archiving made; the archive stays");
  leaving->add_option("topology", leave.topology, "name of the PostgresTopology")->required();
  leaving->add_option("--kubeconfig", leave.kubeconfig,
                      "file to connect with (default: the pod's service account)");
  leaving->add_option("-n,--namespace", leave.namespace_name, "the namespace")
      ->envname("PGRUNBOOK_NAMESPACE");
  CLI::App* version = app.add_subcommand("version", "print the version");
  CLI11_PARSE(app, argc, argv);
  if (version->parsed()) {
    std::puts(PGRUNBOOK_VERSION);
    return EXIT_SUCCESS;
  }
  if (leaving->parsed()) return pgrunbook::controllers::run_leave(leave);
  return pgrunbook::controllers::run_controller(run);
}
