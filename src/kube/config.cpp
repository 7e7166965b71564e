#include <cstdlib>

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "kube/client.hpp"
#include "kube/transport.hpp"

namespace pgrunbook::kube {
namespace {

using base::ErrorCode;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string text(const YAML::Node& node, const char* key) {
  if (!node || !node.IsMap()) return {};
  const YAML::Node value = node[key];
  return value && value.IsScalar() ? value.as<std::string>() : std::string();
}

// The entry called `name` in a kubeconfig's list of named things, or an undefined node.
YAML::Node named(const YAML::Node& list, const std::string& name, const char* inner) {
  if (list && list.IsSequence()) {
    for (const YAML::Node& entry : list) {
      if (text(entry, "name") == name) return entry[inner];
    }
  }
  return YAML::Node(YAML::NodeType::Undefined);
}

// A PEM given as a file (relative to the kubeconfig) or as base64 in it; the data wins, as in kubectl.
Result<> pem(const YAML::Node& node, const std::string& directory, const std::string& key, std::string* file,
             std::string* data) {
  if (std::string encoded = text(node, (key + "-data").c_str()); !encoded.empty()) {
    auto decoded = base::base64_decode(encoded);
    if (!decoded) return base::fail(decoded.error().in(key + "-data of the kubeconfig"));
    *data = std::move(*decoded);
    return {};
  }
  *file = text(node, key.c_str());
  if (!file->empty() && file->front() != '/') *file = directory + "/" + *file;
  return {};
}

Result<Config> read(const YAML::Node& root, const std::string& path) {
  auto slash = path.find_last_of('/');
  std::string directory = slash == std::string::npos ? "." : path.substr(0, slash);
  std::string name = text(root, "current-context");
  YAML::Node context = named(root["contexts"], name, "context");
  if (!context.IsDefined()) {
    return base::fail(ErrorCode::kInvalid, fmt::format("{} has no context '{}'", path, name),
                      "set current-context (kubectl config use-context)");
  }
  YAML::Node cluster = named(root["clusters"], text(context, "cluster"), "cluster");
  YAML::Node user = named(root["users"], text(context, "user"), "user");
  if (!cluster.IsDefined() || !user.IsDefined()) {
    return base::fail(ErrorCode::kInvalid,
                      fmt::format("{}: the cluster or user of context '{}' is missing", path, name));
  }
  if (text(cluster, "insecure-skip-tls-verify") == "true") {
    return base::fail(ErrorCode::kInvalid,
                      fmt::format("{} skips the check of the API server's certificate", path),
                      "set certificate-authority instead of insecure-skip-tls-verify");
  }
  if (user["exec"] || user["auth-provider"] || user["username"]) {
    return base::fail(
        ErrorCode::kInvalid,
        fmt::format("{}: user '{}' logs in by a program or a password", path, text(context, "user")),
        "use a token, a token file or a client certificate");
  }
  Config config;
  config.server = text(cluster, "server");
  PGR_TRY(check_server(config.server));
  config.namespace_name = text(context, "namespace");
  if (config.namespace_name.empty()) config.namespace_name = "default";
  PGR_TRY(pem(cluster, directory, "certificate-authority", &config.ca_file, &config.ca_data));
  if (config.ca_file.empty() && config.ca_data.empty()) {
    return base::fail(ErrorCode::kInvalid, fmt::format("{} names no certificate authority", path),
                      "set certificate-authority; the system's authorities are not trusted");
  }
  PGR_TRY(pem(user, directory, "client-certificate", &config.client_certificate_file,
              &config.client_certificate_data));
  PGR_TRY(pem(user, directory, "client-key", &config.client_key_file, &config.client_key_data));
  config.token = text(user, "token");
  config.token_file = text(user, "tokenFile");
  if (!config.token_file.empty() && config.token_file.front() != '/') {
    config.token_file = directory + "/" + config.token_file;
  }
  return config;
}

}  // namespace

Result<Config> Config::in_cluster() {
  return in_cluster_from("/var/run/secrets/kubernetes.io/serviceaccount",
                         environment("KUBERNETES_SERVICE_HOST"), environment("KUBERNETES_SERVICE_PORT"));
}

Result<Config> Config::in_cluster_from(const std::string& mount, const std::string& host,
                                       const std::string& port) {
  if (host.empty() || port.empty() || !base::exists(mount + "/token")) {
    return base::fail(ErrorCode::kNotFound, "not inside a pod with a service account",
                      "run it in a pod, or give a kubeconfig");
  }
  Config config;
  config.server = in_cluster_server(host, port);
  config.ca_file = mount + "/ca.crt";
  config.token_file = mount + "/token";
  PGR_ASSIGN(config.namespace_name, base::read_file(mount + "/namespace"));
  return config;
}

Result<Config> Config::from_kubeconfig(const std::string& path) {
  PGR_ASSIGN(std::string content, base::read_file(path));
  try {
    return read(YAML::Load(content), path);
  } catch (const YAML::Exception& e) {
    return base::fail(ErrorCode::kInvalid, fmt::format("{} is not a kubeconfig: {}", path, e.what()));
  }
}

}  // namespace pgrunbook::kube
