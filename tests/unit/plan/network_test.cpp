// NetworkPolicies by networking.k8s.io/v1, and the policy we tell people to add.
#include "plan/network.hpp"

#include <sstream>

#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

namespace pgrunbook::plan {
namespace {

Json from_yaml(const YAML::Node& node) {
  if (node.IsMap()) {
    Json out = Json::object();
    for (const auto& pair : node) out[pair.first.as<std::string>()] = from_yaml(pair.second);
    return out;
  }
  if (node.IsSequence()) {
    Json out = Json::array();
    for (const auto& item : node) out.push_back(from_yaml(item));
    return out;
  }
  if (node.IsNull()) return {};
  if (node.Tag() != "!") {  // not quoted
    if (int number = 0; YAML::convert<int>::decode(node, number)) return number;
  }
  return node.as<std::string>();
}

Json yaml(const std::string& text) { return from_yaml(YAML::Load(text)); }

Json documents(const std::string& text) {
  Json out = Json::array();
  for (const YAML::Node& node : YAML::LoadAll(text)) out.push_back(from_yaml(node));
  return out;
}

const Json kClient = {{"name", "tfrs"}, {"tier", "web"}};
const Json kServer = {{"name", "postgresql"}};

struct Case {
  const char* name;
  const char* specs;  // YAML list of policies' specs
  bool egress, ingress;
};

class Policies : public ::testing::TestWithParam<Case> {};

TEST_P(Policies, DecideByTheUnionOfTheRules) {
  Json policies = Json::array();
  for (const Json& spec : yaml(GetParam().specs)) policies.push_back({{"spec", spec}});
  Verdict v = network_verdict(policies, "ns", kClient, kServer, 5432);
  EXPECT_EQ(v.egress, GetParam().egress);
  EXPECT_EQ(v.ingress, GetParam().ingress);
  EXPECT_EQ(v.allowed(), GetParam().egress && GetParam().ingress);
}

#define INGRESS(rule) "[{podSelector: {}, policyTypes: [Ingress], ingress: [" rule "]}]"
INSTANTIATE_TEST_SUITE_P(
    Table, Policies,
    ::testing::Values(
        Case{"NoneIsOpen", "[]", true, true},
        Case{"DefaultDeny", "[{podSelector: {}, policyTypes: [Ingress, Egress]}]", false, false},
        Case{"DefaultDenyOfIngressOnly", "[{podSelector: {}, policyTypes: [Ingress]}]", true, false},
        Case{"DefaultDenyOfEgressOnly", "[{podSelector: {}, policyTypes: [Egress]}]", false, true},
        Case{"OfOthersDoNotCount",
             "[{podSelector: {matchLabels: {name: other}}, policyTypes: [Ingress, Egress]}]", true, true},
        Case{"WithoutTypesMeanIngress", "[{podSelector: {}}]", true, false},
        Case{"WithoutTypesButWithEgressMeanBoth", "[{podSelector: {}, egress: [{}]}]", true, false},
        Case{"AnEmptyRuleAllowsAll",
             "[{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]}]", true, true},
        Case{"BothDirectionsAreNeeded",
             "[{podSelector: {}, policyTypes: [Ingress, Egress]},"
             " {podSelector: {matchLabels: {name: postgresql}}, policyTypes: [Ingress], ingress: [{from: "
             "[{podSelector: {matchLabels: {name: tfrs}}}]}]}]",
             false, true},
        Case{"OneAllowingPolicyIsEnough",
             "[{podSelector: {}, policyTypes: [Ingress, Egress]},"
             " {podSelector: {matchLabels: {name: tfrs}}, policyTypes: [Egress], egress: [{to: "
             "[{podSelector: {matchLabels: {name: postgresql}}}]}]},"
             " {podSelector: {matchLabels: {name: postgresql}}, policyTypes: [Ingress], ingress: [{from: "
             "[{podSelector: {matchLabels: {name: tfrs}}}]}]}]",
             true, true},
        Case{"PeersAreJudgedByEveryLabel",
             INGRESS("{from: [{podSelector: {matchLabels: {name: tfrs, tier: db}}}]}"), true, false},
        Case{"SeveralPeersAreAnOr",
             INGRESS("{from: [{podSelector: {matchLabels: {name: x}}}, {podSelector: {matchLabels: {tier: "
                     "web}}}]}"),
             true, true},
        Case{"PortOfTheServer", INGRESS("{ports: [{port: 5432}]}"), true, true},
        Case{"OtherPort", INGRESS("{ports: [{port: 5433, protocol: TCP}]}"), true, false},
        Case{"OtherProtocol", INGRESS("{ports: [{port: 5432, protocol: UDP}]}"), true, false},
        Case{"ProtocolAlone", INGRESS("{ports: [{protocol: TCP}]}"), true, true},
        Case{"RangeOfPorts", INGRESS("{ports: [{port: 5000, endPort: 6000}]}"), true, true},
        Case{"RangeEndingHere", INGRESS("{ports: [{port: 5000, endPort: 5432}]}"), true, true},
        Case{"RangeBelow", INGRESS("{ports: [{port: 5000, endPort: 5431}]}"), true, false},
        Case{"NamedPortIsNotKnown", INGRESS("{ports: [{port: postgresql}]}"), true, false},
        Case{"PortAndPeerMustBothHold", INGRESS("{ports: [{port: 5433}], from: [{podSelector: {}}]}"), true,
             false},
        Case{"EmptyPodSelectorIsEveryPod", INGRESS("{from: [{podSelector: {}}]}"), true, true},
        Case{"AllAddresses", INGRESS("{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}"), true, true},
        Case{"AllAddressesButSome", INGRESS("{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}"),
             true, false},
        Case{"SomeAddresses", INGRESS("{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}"), true, false},
        Case{"EveryNamespace", INGRESS("{from: [{namespaceSelector: {}}]}"), true, true},
        Case{"OurNamespaceByName",
             INGRESS("{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ns}}}]}"), true,
             true},
        Case{"OtherNamespaceByName",
             INGRESS("{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: other}}}]}"),
             true, false},
        Case{"NamespaceAndPodsMustBothHold",
             INGRESS("{from: [{namespaceSelector: {}, podSelector: {matchLabels: {name: x}}}]}"), true,
             false},
        Case{"NamespaceByALabelWeCannotRead",
             INGRESS("{from: [{namespaceSelector: {matchLabels: {team: a}}}]}"), true, false},
        Case{"NamespaceByNameInAList",
             INGRESS("{from: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, "
                     "operator: In, values: [ns, b]}]}}]}"),
             true, true},
        Case{"NamespaceByNameNotInAList",
             INGRESS("{from: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, "
                     "operator: NotIn, values: [ns]}]}}]}"),
             true, false},
        // Whether the label is there cannot be read by a namespaced operator: not counted as allowing.
        Case{"NamespaceWithoutALabelWeCannotRead",
             INGRESS("{from: [{namespaceSelector: {matchExpressions: [{key: untrusted, operator: "
                     "DoesNotExist}]}}]}"),
             true, false},
        Case{"NamespaceNotInByALabelWeCannotRead",
             INGRESS("{from: [{namespaceSelector: {matchExpressions: [{key: team, operator: NotIn, values: "
                     "[b]}]}}]}"),
             true, false},
        Case{"SelectedByExpression",
             "[{podSelector: {matchExpressions: [{key: name, operator: In, values: [postgresql, x]}]}, "
             "policyTypes: [Ingress]}]",
             true, false},
        Case{"ExceptedByExpression",
             "[{podSelector: {matchExpressions: [{key: name, operator: NotIn, values: [postgresql]}]}, "
             "policyTypes: [Ingress]}]",
             true, true}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(Policies, ThatAreNoListAreOpen) {
  EXPECT_TRUE(network_verdict(Json(), "ns", kClient, kServer, 5432).allowed());
}

TEST(Selectors, MatchByEveryTerm) {
  struct {
    const char* selector;
    const char* labels;
    bool matches;
  } table[] = {
      {"{}", "{}", true},
      {"{}", "{a: b}", true},
      {"{matchLabels: {a: b}}", "{a: b, c: d}", true},
      {"{matchLabels: {a: b}}", "{a: c}", false},
      {"{matchLabels: {a: b}}", "{}", false},
      {"{matchExpressions: [{key: a, operator: In, values: [b, c]}]}", "{a: c}", true},
      {"{matchExpressions: [{key: a, operator: In, values: [b, c]}]}", "{}", false},
      {"{matchExpressions: [{key: a, operator: NotIn, values: [b]}]}", "{a: c}", true},
      {"{matchExpressions: [{key: a, operator: NotIn, values: [b]}]}", "{a: b}", false},
      {"{matchExpressions: [{key: a, operator: NotIn, values: [b]}]}", "{}", true},
      {"{matchExpressions: [{key: a, operator: Exists}]}", "{a: b}", true},
      {"{matchExpressions: [{key: a, operator: Exists}]}", "{b: b}", false},
      {"{matchExpressions: [{key: a, operator: DoesNotExist}]}", "{b: b}", true},
      {"{matchExpressions: [{key: a, operator: DoesNotExist}]}", "{a: b}", false},
      {"{matchLabels: {a: b}, matchExpressions: [{key: c, operator: Exists}]}", "{a: b}", false},
  };
  for (const auto& row : table)
    EXPECT_EQ(selector_matches(yaml(row.selector), yaml(row.labels)), row.matches)
        << row.selector << " " << row.labels;
}

TEST(MissingPolicy, IsReadyForKubectl) {
  EXPECT_EQ(missing_policy_yaml({false, false}, "clients-to-postgresql", {{"name", "tfrs"}}, kServer, 5432),
            "apiVersion: networking.k8s.io/v1\n"
            "kind: NetworkPolicy\n"
            "metadata: {name: clients-to-postgresql-egress}\n"
            "spec:\n"
            "  podSelector: {matchLabels: {name: \"tfrs\"}}\n"
            "  policyTypes: [Egress]\n"
            "  egress: [{to: [{podSelector: {matchLabels: {name: \"postgresql\"}}}], ports: [{port: 5432, "
            "protocol: TCP}]}]\n"
            "---\n"
            "apiVersion: networking.k8s.io/v1\n"
            "kind: NetworkPolicy\n"
            "metadata: {name: clients-to-postgresql-ingress}\n"
            "spec:\n"
            "  podSelector: {matchLabels: {name: \"postgresql\"}}\n"
            "  policyTypes: [Ingress]\n"
            "  ingress: [{from: [{podSelector: {matchLabels: {name: \"tfrs\"}}}], ports: [{port: 5432, "
            "protocol: TCP}]}]\n");
  EXPECT_EQ(missing_policy_yaml({true, true}, "x", kClient, kServer, 5432), "");
}

// Whatever denies, what we print makes it allowed, and no more than that port.
TEST(MissingPolicy, AddedMakesItAllowed) {
  const char* denials[] = {
      "[{podSelector: {}, policyTypes: [Ingress, Egress]}]",
      "[{podSelector: {}, policyTypes: [Ingress]}]",
      "[{podSelector: {}, policyTypes: [Egress]}]",
      "[{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{ports: [{port: 80}]}], egress: [{}]}]",
      "[{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}]",
  };
  const Json labels[] = {{{"name", "tfrs"}},
                         {{"app.kubernetes.io/name", "pgrunbook"}, {"app.kubernetes.io/component", "job"}},
                         {{"version", "1.0"}, {"canary", "true"}, {"empty", ""}, {"number", "123"}},
                         {{"on", "off"}, {"a_b-c.d", "X_y-z.0"}}};
  for (const char* denial : denials) {
    for (const Json& client : labels) {
      for (const Json& server : labels) {
        for (int port : {5432, 1, 65535}) {
          Json policies = Json::array();
          for (const Json& spec : yaml(denial)) policies.push_back({{"spec", spec}});
          Verdict before = network_verdict(policies, "ns", client, server, port);
          ASSERT_FALSE(before.allowed());
          std::string text = missing_policy_yaml(before, "fix", client, server, port);
          Json added = documents(text);
          for (const Json& policy : added) policies.push_back(policy);
          EXPECT_TRUE(network_verdict(policies, "ns", client, server, port).allowed()) << denial << "\n"
                                                                                       << text;
          EXPECT_FALSE(network_verdict(policies, "ns", client, server, port == 80 ? 81 : port + 1).allowed())
              << text;
          EXPECT_FALSE(network_verdict(policies, "ns", {{"other", "pod"}}, server, port).allowed()) << text;
          // A policy that selects a pod also begins to deny: it must name no direction that it was not asked
          // for.
          EXPECT_EQ(added.size(), (before.egress ? 0U : 1U) + (before.ingress ? 0U : 1U));
          for (const Json& policy : added) EXPECT_EQ(policy["spec"]["policyTypes"].size(), 1U);
        }
      }
    }
  }
}

TEST(NamedPorts, AreThoseOfTheServersPod) {
  struct {
    const char* specs;
    std::vector<std::string> names;
    bool egress, ingress;
  } table[] = {
      {INGRESS("{ports: [{port: postgresql}]}"), {"postgresql"}, true, true},
      {INGRESS("{ports: [{port: postgresql}]}"), {"db", "postgresql"}, true, true},
      {INGRESS("{ports: [{port: postgresql}]}"), {"metrics"}, true, false},
      {INGRESS("{ports: [{port: postgresql}]}"), {}, true, false},
      {INGRESS("{ports: [{port: postgresql, protocol: UDP}]}"), {"postgresql"}, true, false},
      {"[{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: postgresql}]}]}]",
       {"postgresql"},
       true,
       true},
      {"[{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: metrics}]}]}]",
       {"postgresql"},
       false,
       true},
  };
  for (const auto& row : table) {
    Json policies = Json::array();
    for (const Json& spec : yaml(row.specs)) policies.push_back({{"spec", spec}});
    Verdict v = network_verdict(policies, "ns", kClient, kServer, 5432, row.names);
    EXPECT_EQ(v.egress, row.egress) << row.specs;
    EXPECT_EQ(v.ingress, row.ingress) << row.specs;
  }
}

TEST(AdmittedClients, AreNamedOnce) {
  Json policies = Json::array();
  for (const Json& spec :
       yaml("[{podSelector: {matchLabels: {name: postgresql}}, ingress: ["
            "   {from: [{podSelector: {matchLabels: {role: client}}}, {podSelector: {matchLabels: {name: "
            "tfrs}}}]},"
            "   {from: [{ipBlock: {cidr: 10.0.0.0/8}}, {podSelector: {}}]}, {ports: [{port: 5432}]}]},"
            " {podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {role: "
            "client}}}]}]},"
            " {podSelector: {}, policyTypes: [Ingress]},"
            " {podSelector: {matchLabels: {name: other}}, ingress: [{from: [{podSelector: {matchLabels: "
            "{role: stranger}}}]}]}]")) {
    policies.push_back({{"spec", spec}});
  }
  EXPECT_EQ(admitted_clients(policies, kServer),
            (std::vector<Json>{{{"role", "client"}}, {{"name", "tfrs"}}}));
  EXPECT_TRUE(admitted_clients(Json(), kServer).empty());
}

}  // namespace
}  // namespace pgrunbook::plan
