// Whether NetworkPolicies let one pod reach another, and if not, the policy to add. Pure.
//
// Semantics by networking.k8s.io/v1: a pod that no policy selects for a direction is open in that direction;
// otherwise the union of the selecting policies' rules decides. Both directions must allow: egress of the
// client, ingress of the server. Peers by ipBlock count only when they hold every address; a peer's
// namespaceSelector counts when it is empty or names our namespace by kubernetes.io/metadata.name, because a
// namespaced operator cannot read other labels.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"

namespace pgrunbook::plan {

using base::Json;

struct Verdict {
  bool egress = true;
  bool ingress = true;
  [[nodiscard]] bool allowed() const { return egress && ingress; }
};

// port_names: under which the server's pod lists `port`; a policy's named port is looked up there, for both
// directions, as networking.k8s.io does.
[[nodiscard]] Verdict network_verdict(const Json& policies, const std::string& ns, const Json& client_labels,
                                      const Json& server_labels, int port,
                                      const std::vector<std::string>& port_names = {});

// The YAML of the policies that are missing, ready for kubectl apply. `name` is used for metadata.name.
[[nodiscard]] std::string missing_policy_yaml(const Verdict& verdict, const std::string& name,
                                              const Json& client_labels, const Json& server_labels, int port);

// Labels of the clients that ingress policies of a server name by matchLabels, each once.
[[nodiscard]] std::vector<Json> admitted_clients(const Json& policies, const Json& server_labels);

// Whether a LabelSelector (matchLabels, matchExpressions) matches; an empty selector matches everything.
[[nodiscard]] bool selector_matches(const Json& selector, const Json& labels);

}  // namespace pgrunbook::plan
