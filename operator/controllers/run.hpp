// `pgrunbook controller`: connects, watches, reconciles until SIGTERM.
#pragma once

#include <string>

namespace pgrunbook::controllers {

struct RunOptions {
  std::string kubeconfig;      // empty = in-cluster
  std::string namespace_name;  // the one namespace it works in
  std::string agent_image;     // its own image, for the Jobs' init container
  std::string pod_name;
  std::string log_level = "info";
  int health_port = 8080;
  bool leader_election = true;
  std::string version;
};

// Exit code: 0 after a stop that was asked for, 1 otherwise (the reason is on stderr).
[[nodiscard]] int run_controller(const RunOptions& options);

}  // namespace pgrunbook::controllers
