#include "plan/network.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace pgrunbook::plan {
namespace {

bool has_value(const Json& list, const Json& value) {
  return std::any_of(list.begin(), list.end(), [&](const Json& x) { return x == value; });
}

bool port_matches(const Json& rule, int port, const std::vector<std::string>& names) {
  const Json& ports = base::at(rule, {"ports"});
  if (!ports.is_array() || ports.empty()) return true;
  return std::any_of(ports.begin(), ports.end(), [&](const Json& p) {
    if (base::text_at(p, {"protocol"}, "TCP") != "TCP") return false;
    const Json& number = base::at(p, {"port"});
    if (number.is_null()) return true;
    if (number.is_string())
      return std::find(names.begin(), names.end(), number.get<std::string>()) != names.end();
    if (!number.is_number_integer()) return false;
    std::int64_t first = number.get<std::int64_t>();
    std::int64_t last = base::number_at(p, {"endPort"}, first);
    return port >= first && port <= last;
  });
}

// Whether a namespaceSelector surely matches our namespace, of whose labels only the name is known.
bool space_matches(const Json& selector, const std::string& ns) {
  constexpr const char* kName = "kubernetes.io/metadata.name";
  if (const Json& labels = base::at(selector, {"matchLabels"}); labels.is_object()) {
    for (const auto& [key, value] : labels.items()) {
      if (key != kName) return false;
    }
  }
  if (const Json& expressions = base::at(selector, {"matchExpressions"}); expressions.is_array()) {
    for (const Json& e : expressions) {
      if (base::text_at(e, {"key"}) != kName) return false;
    }
  }
  return selector_matches(selector, Json{{kName, ns}});
}

bool peer_matches(const Json& rule, std::string_view key, const std::string& ns, const Json& labels) {
  const Json& peers = base::at(rule, {key});
  if (!peers.is_array() || peers.empty()) return true;
  return std::any_of(peers.begin(), peers.end(), [&](const Json& p) {
    const Json& block = base::at(p, {"ipBlock"});
    if (block.is_object())
      return base::text_at(block, {"cidr"}) == "0.0.0.0/0" && base::at(block, {"except"}).is_null();
    const Json& spaces = base::at(p, {"namespaceSelector"});
    if (spaces.is_object() && !space_matches(spaces, ns)) return false;
    const Json& pods = base::at(p, {"podSelector"});
    return !pods.is_object() || selector_matches(pods, labels);
  });
}

bool direction_allows(const Json& policies, std::string_view type, std::string_view rules_key,
                      std::string_view peer_key, const std::string& ns, const Json& own, const Json& other,
                      int port, const std::vector<std::string>& names) {
  bool selected = false;
  for (const Json& policy : policies) {
    const Json& spec = base::at(policy, {"spec"});
    const Json& types = base::at(spec, {"policyTypes"});
    bool applies = types.is_array() ? has_value(types, Json(type))
                                    : (type == "Ingress" || base::at(spec, {rules_key}).is_array());
    if (!applies || !selector_matches(base::at(spec, {"podSelector"}), own)) continue;
    selected = true;
    const Json& rules = base::at(spec, {rules_key});
    if (!rules.is_array()) continue;
    for (const Json& rule : rules) {
      if (port_matches(rule, port, names) && peer_matches(rule, peer_key, ns, other)) return true;
    }
  }
  return !selected;
}

std::string match_labels(const Json& labels) {
  std::string out;
  for (const auto& [key, value] : labels.items()) {
    out += fmt::format("{}{}: {}", out.empty() ? "" : ", ", key, value.dump());
  }
  return out;
}

}  // namespace

bool selector_matches(const Json& selector, const Json& labels) {
  if (const Json& wanted = base::at(selector, {"matchLabels"}); wanted.is_object()) {
    for (const auto& [key, value] : wanted.items()) {
      if (base::at(labels, {key}) != value) return false;
    }
  }
  if (const Json& expressions = base::at(selector, {"matchExpressions"}); expressions.is_array()) {
    for (const Json& e : expressions) {
      const Json& value = base::at(labels, {base::text_at(e, {"key"})});
      std::string op = base::text_at(e, {"operator"});
      const Json& values = base::at(e, {"values"});
      bool in = !value.is_null() && values.is_array() && has_value(values, value);
      if ((op == "In" && !in) || (op == "NotIn" && in) || (op == "Exists" && value.is_null()) ||
          (op == "DoesNotExist" && !value.is_null())) {
        return false;
      }
    }
  }
  return true;
}

Verdict network_verdict(const Json& policies, const std::string& ns, const Json& client_labels,
                        const Json& server_labels, int port, const std::vector<std::string>& port_names) {
  Verdict v;
  if (!policies.is_array()) return v;
  v.egress = direction_allows(policies, "Egress", "egress", "to", ns, client_labels, server_labels, port,
                              port_names);
  v.ingress = direction_allows(policies, "Ingress", "ingress", "from", ns, server_labels, client_labels, port,
                               port_names);
  return v;
}

std::string missing_policy_yaml(const Verdict& verdict, const std::string& name, const Json& client_labels,
                                const Json& server_labels, int port) {
  std::string yaml;
  auto policy = [&](std::string_view suffix, const Json& own, std::string_view type, std::string_view rules,
                    std::string_view peer, const Json& other) {
    if (!yaml.empty()) yaml += "---\n";
    yaml += fmt::format(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {}-{}}}\nspec:\n"
        "  podSelector: {{matchLabels: {{{}}}}}\n  policyTypes: [{}]\n"
        "  {}: [{{{}: [{{podSelector: {{matchLabels: {{{}}}}}}}], ports: [{{port: {}, protocol: TCP}}]}}]\n",
        name, suffix, match_labels(own), type, rules, peer, match_labels(other), port);
  };
  if (!verdict.egress) policy("egress", client_labels, "Egress", "egress", "to", server_labels);
  if (!verdict.ingress) policy("ingress", server_labels, "Ingress", "ingress", "from", client_labels);
  return yaml;
}

std::vector<Json> admitted_clients(const Json& policies, const Json& server_labels) {
  std::vector<Json> out;
  if (!policies.is_array()) return out;
  for (const Json& policy : policies) {
    const Json& rules = base::at(policy, {"spec", "ingress"});
    if (!rules.is_array() || !selector_matches(base::at(policy, {"spec", "podSelector"}), server_labels))
      continue;
    for (const Json& rule : rules) {
      const Json& peers = base::at(rule, {"from"});
      if (!peers.is_array()) continue;
      for (const Json& peer : peers) {
        const Json& labels = base::at(peer, {"podSelector", "matchLabels"});
        if (labels.is_object() && !labels.empty() && std::find(out.begin(), out.end(), labels) == out.end())
          out.push_back(labels);
      }
    }
  }
  return out;
}

}  // namespace pgrunbook::plan
