#include "support/wire/proxy.hpp"

#include <fstream>

#include <gtest/gtest.h>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "kube/rest_client.hpp"

namespace pgrunbook::test {
namespace {

using base::Deadline;
using base::ErrorCode;
using base::Json;
using kube::kinds::kEvent;
using kube::kinds::kJob;
using kube::kinds::kLease;

TEST(ProxyCounts, WritesThatChangeTheWorld) {
  EXPECT_TRUE(counts_as_write("POST", "/apis/batch/v1/namespaces/ns/jobs?fieldManager=pgrunbook"));
  EXPECT_TRUE(counts_as_write("PATCH", "/api/v1/namespaces/ns/services/events"));
  EXPECT_TRUE(counts_as_write("DELETE", "/apis/batch/v1/namespaces/ns/jobs/x"));
  EXPECT_TRUE(counts_as_write("PUT", "/api/v1/namespaces/ns/pods/x"));
  EXPECT_FALSE(counts_as_write("GET", "/apis/batch/v1/namespaces/ns/jobs"));
  EXPECT_FALSE(counts_as_write("PATCH", "/apis/coordination.k8s.io/v1/namespaces/ns/leases/pgrunbook"));
  EXPECT_FALSE(counts_as_write("POST", "/api/v1/namespaces/ns/events?fieldManager=pgrunbook"));
  EXPECT_FALSE(counts_as_write("PATCH", "/api/v1/namespaces/ns/events/x"));
  EXPECT_FALSE(counts_as_write("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"));
  EXPECT_FALSE(counts_as_write("POST", "/api/v1/namespaces/ns/pods?dryRun=All"));
}

class ProxyTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(base::make_directories(directory_, 0700)); }
  void TearDown() override { (void)base::remove_tree(directory_); }

  // Through a new proxy with a client as the operator would have it.
  void start(int kill_at, CountingProxy::When when) {
    CountingProxy::Options options;
    options.kill_at = kill_at;
    options.when = when;
    start(options);
  }
  void start(CountingProxy::Options options) {
    options.upstream_host = "127.0.0.1";
    options.upstream_port = std::to_string(upstream_.port());
    options.upstream_authority = authority_.pem();
    options.log_file = log_;
    options.kill = [this] { ++kills_; };
    proxy_ = std::make_unique<CountingProxy>(options);
    kube::Config config;
    config.server = "https://127.0.0.1:" + std::to_string(proxy_->port());
    config.ca_data = proxy_->authority();
    config.token = "operator";
    api_ = kube::connect(config);
  }
  base::Result<Json> create(const std::string& name, const kube::Resource& kind = kJob) {
    return api_->create(kind, "ns", {{"metadata", {{"name", name}}}},
                        Deadline::after(std::chrono::seconds(20)));
  }
  std::vector<Json> log() const {
    std::vector<Json> lines;
    std::ifstream file(log_);
    for (std::string line; std::getline(file, line);) lines.push_back(Json::parse(line));
    return lines;
  }

  std::string directory_ = ::testing::TempDir() + "pgr-proxy-" + base::random_hex(4);
  std::string log_ = directory_ + "/writes.jsonl";
  Authority authority_{"the cluster's"};
  std::mutex mutex_;
  std::vector<std::string> done_;  // writes that reached the API server
  std::atomic<int> kills_ = 0;
  Signal one_taken_;
  ScriptedServer upstream_{
      authority_, [this](Connection& c) {
        while (auto request = c.reader.request()) {
          EXPECT_EQ(request->header("authorization"), "Bearer operator");
          if (request->target.find("watch=1") != std::string::npos) {
            c.begin_chunked();
            c.chunk("{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"1\"}}}\n");
            one_taken_.wait();
            c.chunk("{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"2\"}}}\n");
            c.end_chunked();
            return;
          }
          if (request->method != "GET") {
            std::lock_guard lock(mutex_);
            done_.push_back(base::text_at(Json::parse(request->body), {"metadata", "name"}));
          }
          c.reply(request->method == "POST" ? 201 : 200, request->method == "GET" ? "{}" : request->body);
        }
      }};
  std::unique_ptr<CountingProxy> proxy_;
  std::unique_ptr<kube::Api> api_;
};

TEST_F(ProxyTest, HandsEverythingOnAndCountsWrites) {
  start(0, CountingProxy::When::kBefore);
  EXPECT_TRUE(api_->get(kJob, "ns", "x", Deadline::after(std::chrono::seconds(20))));
  auto made = create("a");
  ASSERT_TRUE(made) << made.error().text();
  EXPECT_EQ((*made)["metadata"]["name"], "a");
  EXPECT_TRUE(create("lease", kLease));
  EXPECT_TRUE(create("event", kEvent));
  EXPECT_TRUE(create("b"));
  EXPECT_EQ(proxy_->writes(), 2);
  EXPECT_EQ(done_, (std::vector<std::string>{"a", "lease", "event", "b"}));
  auto lines = log();
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0]["n"], 1);
  EXPECT_EQ(lines[0]["method"], "POST");
  EXPECT_EQ(lines[0]["target"], "/apis/batch/v1/namespaces/ns/jobs?fieldManager=pgrunbook");
  EXPECT_EQ(lines[1]["status"], 201);
  EXPECT_TRUE(lines[1]["killed"].is_null());
}

TEST_F(ProxyTest, KillsBeforeTheWriteIsDone) {
  start(2, CountingProxy::When::kBefore);
  EXPECT_TRUE(create("a"));
  auto second = create("b");
  EXPECT_EQ(second.error().code, ErrorCode::kInDoubt);
  EXPECT_EQ(kills_, 1);
  EXPECT_EQ(done_, std::vector<std::string>{"a"});
  EXPECT_EQ(log().back()["killed"], "before");
  EXPECT_TRUE(create("c")) << "the operator that comes back is not killed again";
  EXPECT_EQ(kills_, 1);
}

TEST_F(ProxyTest, KillsAfterTheWriteIsDoneAndBeforeItsReply) {
  start(2, CountingProxy::When::kAfter);
  EXPECT_TRUE(create("a"));
  auto second = create("b");
  EXPECT_EQ(second.error().code, ErrorCode::kInDoubt);
  EXPECT_EQ(kills_, 1);
  EXPECT_EQ(done_, (std::vector<std::string>{"a", "b"})) << "done, exactly once";
  EXPECT_EQ(log().back()["killed"], "after");
  EXPECT_EQ(log().back()["status"], 201);
}

TEST_F(ProxyTest, AChainKillsAtEachWriteThatDiffersBeforeAndAfter) {
  CountingProxy::Options options;
  options.chain = true;
  start(options);
  EXPECT_EQ(create("a").error().code, ErrorCode::kInDoubt);
  EXPECT_EQ(create("a").error().code, ErrorCode::kInDoubt);
  EXPECT_TRUE(create("a"));
  EXPECT_FALSE(create("b"));
  EXPECT_TRUE(create("lease", kLease));
  EXPECT_FALSE(create("b"));
  EXPECT_TRUE(create("b"));
  EXPECT_EQ(kills_, 4);
  EXPECT_EQ(proxy_->kills(), 4);
  EXPECT_EQ(proxy_->writes(), 2);
  EXPECT_EQ(done_, (std::vector<std::string>{"a", "a", "lease", "b", "b"}))
      << "once of two was a kill before";
  EXPECT_EQ(log()[0]["killed"], "before");
  EXPECT_EQ(log()[1]["killed"], "after");
  EXPECT_TRUE(log()[2]["killed"].is_null());
}

TEST_F(ProxyTest, NumbersOfWritesThatDifferDoNotCountRepetitions) {
  CountingProxy::Options options;
  options.distinct = true;
  options.kill_at = 2;
  options.skip = "/pods";
  start(options);
  EXPECT_TRUE(create("a"));
  EXPECT_TRUE(create("a"));
  EXPECT_TRUE(create("p", kube::kinds::kPod));
  EXPECT_FALSE(create("b"));
  EXPECT_TRUE(create("b")) << "only at its first time";
  EXPECT_EQ(proxy_->writes(), 2);
  EXPECT_EQ(kills_, 1);
}

TEST_F(ProxyTest, AChainMayBeOfSomeWritesOnly) {
  CountingProxy::Options options;
  options.chain = true;
  options.only = "^POST .*/b$";
  start(options);
  EXPECT_TRUE(create("a"));
  EXPECT_FALSE(create("b"));
  EXPECT_FALSE(create("b"));
  EXPECT_TRUE(create("c"));
  EXPECT_EQ(kills_, 2);
  EXPECT_EQ(proxy_->writes(), 1);
}

TEST_F(ProxyTest, AnswersChosenWritesWithAFailureAsLongAsToldTo) {
  CountingProxy::Options options;
  options.fail_file = directory_ + "/fail";
  start(options);
  ASSERT_TRUE(base::replace_file(options.fail_file, "422 ^POST .*/jobs/b$\n403 jobs/c\n422 /leases/"));
  EXPECT_TRUE(create("a"));
  EXPECT_EQ(create("b").error().code, ErrorCode::kInvalid);
  EXPECT_EQ(create("c").error().code, ErrorCode::kForbidden);
  EXPECT_EQ(create("lease", kLease).error().code, ErrorCode::kInvalid);
  ASSERT_TRUE(base::replace_file(options.fail_file, ""));
  EXPECT_TRUE(create("b"));
  EXPECT_EQ(done_, (std::vector<std::string>{"a", "b"}));
}

TEST_F(ProxyTest, LosesTheFirstReplyOfEachWriteThatDiffers) {
  CountingProxy::Options options;
  options.fail_file = directory_ + "/fail";
  start(options);
  ASSERT_TRUE(base::replace_file(options.fail_file, "999 jobs/"));
  EXPECT_EQ(create("a").error().code, ErrorCode::kInDoubt);
  EXPECT_TRUE(create("a"));
  EXPECT_EQ(create("b").error().code, ErrorCode::kInDoubt);
  EXPECT_TRUE(create("lease", kLease));
  EXPECT_EQ(done_, (std::vector<std::string>{"a", "a", "b", "lease"})) << "each reached the API server";
  EXPECT_EQ(log()[0]["lost"], true);
  EXPECT_TRUE(log()[0]["killed"].is_null());
  EXPECT_FALSE(log()[1].contains("lost"));
  EXPECT_EQ(kills_, 0);
}

TEST(ProxyKnows, WhatAWriteIsHoweverOftenItIsTried) {
  auto what = [](const char* method, const std::string& target, const std::string& body) {
    HttpRequest r;
    r.method = method;
    r.target = target;
    r.body = body;
    return what_of(r);
  };
  EXPECT_EQ(what("POST", "/apis/batch/v1/namespaces/n/jobs?fieldManager=x", R"({"metadata":{"name":"j"}})"),
            "POST /apis/batch/v1/namespaces/n/jobs/j");
  EXPECT_EQ(what("PATCH", "/apis/apps/v1/namespaces/n/deployments/d",
                 R"({"metadata":{"resourceVersion":"7"},"spec":{"replicas":0}})"),
            R"(PATCH /apis/apps/v1/namespaces/n/deployments/d {"metadata":{},"spec":{"replicas":0}})");
  EXPECT_EQ(what("DELETE", "/apis/batch/v1/namespaces/n/jobs/j", R"({"x":1})"),
            "DELETE /apis/batch/v1/namespaces/n/jobs/j");
  EXPECT_EQ(
      what(
          "PATCH", "/apis/pgrunbook.io/v1alpha1/namespaces/n/failovers/f/status",
          R"([{"op":"test","path":"/metadata/resourceVersion","value":"8"},{"op":"add","path":"/status","value":
               {"phase":"Running","message":"3 s","operation":{"step":"fence","state":"Intent","results":{"hold":{},"stop":{}}}}}])"),
      "PATCH /apis/pgrunbook.io/v1alpha1/namespaces/n/failovers/f/status /status=Running "
      "fence/Intent,hold,stop");
  EXPECT_EQ(what("PATCH", "/x/services/s",
                 R"([{"op":"test","path":"/spec/selector","value":{"a":"1"}},
                     {"op":"replace","path":"/spec/selector","value":{"a":"2"}}])"),
            R"(PATCH /x/services/s /spec/selector={"a":"2"})");
  EXPECT_EQ(
      what("PATCH", "/x/postgrestopologies/t/status",
           R"([{"op":"add","path":"/status/cutover","value":{"time":"2026-11-20T15:00:00Z","to":"b"}}])"),
      R"(PATCH /x/postgrestopologies/t/status /status/cutover={"time":"<time>","to":"b"})");
  // An action kept as text, as a Lease keeps what must be put back.
  EXPECT_EQ(
      what(
          "PATCH", "/x/leases/l",
          R"([{"op":"add","path":"/metadata/annotations","value":{"duty":"{\"status\":{\"phase\":\"Running\",\"message\":\"3 s\",\"operation\":{\"step\":\"prove\",\"state\":\"Intent\",\"results\":{\"hold\":{}}}}}"}}])"),
      R"(PATCH /x/leases/l /metadata/annotations={"duty":"Running prove/Intent,hold"})");
}

TEST_F(ProxyTest, AWatchPassesAsItComes) {
  start(0, CountingProxy::When::kBefore);
  auto last = api_->watch(kJob, "ns", {}, "0", [&](kube::WatchEvent) { one_taken_.set(); }, {});
  ASSERT_TRUE(last) << last.error().text();
  EXPECT_EQ(*last, "2");
}

TEST_F(ProxyTest, AMissingApiServerIsABadGateway) {
  start(0, CountingProxy::When::kBefore);
  CountingProxy::Options options;
  options.upstream_host = "127.0.0.1";
  options.upstream_port = std::to_string(upstream_.port());
  options.upstream_authority = Authority("another").pem();
  CountingProxy distrusting(options);
  kube::Config config;
  config.server = "https://127.0.0.1:" + std::to_string(distrusting.port());
  config.ca_data = distrusting.authority();
  auto refused = kube::connect(config)->get(kJob, "ns", "x", Deadline::after(std::chrono::seconds(20)));
  EXPECT_EQ(refused.error().status, 502);
}

}  // namespace
}  // namespace pgrunbook::test
