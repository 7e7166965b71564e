// `pgrunbook leave TOPOLOGY`: asks the namespace's operator to take away what setup made, shows what it does,
// and removes the objects that are left. Killing it stops nothing: the request lies on a Lease.
#pragma once

#include <chrono>
#include <string>

#include "kube/client.hpp"

namespace pgrunbook::controllers {

struct LeaveOptions {
  std::string kubeconfig;  // empty = in-cluster
  std::string namespace_name;
  std::string topology;
  std::chrono::milliseconds poll{1000};
  std::chrono::seconds patience{60};  // for an operator to take the request up
};

// Exit code: 0 where nothing of setup is left, 1 otherwise (why, on stderr).
[[nodiscard]] int run_leave(const LeaveOptions& options);
// The same over a connection; `say` gets what goes to stdout.
[[nodiscard]] base::Result<> leave(kube::Api& api, const LeaveOptions& options,
                                   const std::function<void(const std::string&)>& say);

}  // namespace pgrunbook::controllers
