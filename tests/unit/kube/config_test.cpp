#include <gtest/gtest.h>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "kube/client.hpp"

namespace pgrunbook::kube {
namespace {

class KubeConfig : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(base::make_directories(directory_, 0700)); }
  void TearDown() override { (void)base::remove_tree(directory_); }
  Result<Config> load(const std::string& text) {
    EXPECT_TRUE(base::replace_file(directory_ + "/config", text, 0600));
    return Config::from_kubeconfig(directory_ + "/config");
  }
  static std::string with(const std::string& cluster, const std::string& user) {
    return "apiVersion: v1\nkind: Config\ncurrent-context: here\n"
           "contexts:\n- name: other\n  context: {cluster: none, user: none}\n"
           "- name: here\n  context: {cluster: c, user: u, namespace: team}\n"
           "clusters:\n- name: c\n  cluster: " +
           cluster + "\nusers:\n- name: u\n  user: " + user + "\n";
  }
  std::string directory_ = ::testing::TempDir() + "pgr-config-" + base::random_hex(4);
};

TEST_F(KubeConfig, ReadsFilesRelativeToItself) {
  auto config = load(with("{server: 'https://api:6443', certificate-authority: ca.pem}",
                          "{client-certificate: /abs/c.pem, client-key: k.pem, tokenFile: token}"));
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->server, "https://api:6443");
  EXPECT_EQ(config->ca_file, directory_ + "/ca.pem");
  EXPECT_EQ(config->client_certificate_file, "/abs/c.pem");
  EXPECT_EQ(config->client_key_file, directory_ + "/k.pem");
  EXPECT_EQ(config->token_file, directory_ + "/token");
  EXPECT_EQ(config->namespace_name, "team");
}

TEST_F(KubeConfig, KeepsDataInMemory) {
  auto config =
      load(with("{server: 'https://api:6443', certificate-authority-data: " + base::base64("CA") + "}",
                "{client-certificate-data: " + base::base64("CERT") +
                    ", client-key-data: " + base::base64("KEY") + ", token: secret}"));
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->ca_data, "CA");
  EXPECT_EQ(config->client_certificate_data, "CERT");
  EXPECT_EQ(config->client_key_data, "KEY");
  EXPECT_EQ(config->token, "secret");
  EXPECT_TRUE(config->ca_file.empty());
}

TEST_F(KubeConfig, RefusesWhatWeDoNotSpeakWithAHint) {
  struct Case {
    const char *cluster, *user, *hint;
  };
  const Case cases[] = {
      {"{server: 'https://api', insecure-skip-tls-verify: true}", "{token: t}",
       "set certificate-authority instead of insecure-skip-tls-verify"},
      {"{server: 'https://api'}", "{token: t}",
       "set certificate-authority; the system's authorities are not trusted"},
      {"{server: 'http://api', certificate-authority: ca}", "{token: t}",
       "write it like https://kubernetes.default.svc:443"},
      {"{server: 'https://[::1]:6443', certificate-authority: ca}", "{token: t}",
       "write a DNS name that is in the API server's certificate"},
      {"{server: 'https://api', certificate-authority: ca}", "{exec: {command: login}}",
       "use a token, a token file or a client certificate"},
  };
  for (const auto& c : cases) {
    auto config = load(with(c.cluster, c.user));
    ASSERT_FALSE(config) << c.cluster;
    EXPECT_EQ(config.error().code, base::ErrorCode::kInvalid);
    EXPECT_EQ(config.error().hint, c.hint);
  }
}

TEST_F(KubeConfig, SaysWhatIsMissing) {
  EXPECT_EQ(load("current-context: nowhere\n").error().message,
            directory_ + "/config has no context 'nowhere'");
  EXPECT_EQ(load("]: {").error().code, base::ErrorCode::kInvalid);
  EXPECT_EQ(Config::from_kubeconfig(directory_ + "/none").error().code, base::ErrorCode::kNotFound);
}

TEST_F(KubeConfig, InClusterReadsTheMount) {
  EXPECT_EQ(Config::in_cluster_from(directory_, "10.96.0.1", "443").error().code, base::ErrorCode::kNotFound);
  ASSERT_TRUE(base::replace_file(directory_ + "/token", "t"));
  ASSERT_TRUE(base::replace_file(directory_ + "/namespace", "team"));
  EXPECT_EQ(Config::in_cluster_from(directory_, "", "").error().text(),
            "not inside a pod with a service account. HINT: run it in a pod, or give a kubeconfig");
  auto config = Config::in_cluster_from(directory_, "fd00::1", "443");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->server, "https://kubernetes.default.svc:443");
  EXPECT_EQ(config->ca_file, directory_ + "/ca.crt");
  EXPECT_EQ(config->token_file, directory_ + "/token");
  EXPECT_EQ(config->namespace_name, "team");
}

}  // namespace
}  // namespace pgrunbook::kube
