#include <deque>

#include <gtest/gtest.h>

#include "kube/rest_client.hpp"

namespace pgrunbook::kube {
namespace {

using base::ErrorCode;

// Answers from a script and remembers what was asked.
class ScriptedTransport : public Transport {
 public:
  base::Result<Response> send(const Request& request, base::Deadline, std::stop_token) override {
    asked.push_back(request);
    if (answers.empty()) return base::fail(ErrorCode::kInternal, "the script is at its end");
    auto answer = answers.front();
    answers.pop_front();
    return answer;
  }
  base::Result<StreamEnd> stream(const Request& request, const OnStream& on_bytes,
                                 std::chrono::milliseconds idle, std::stop_token) override {
    asked.push_back(request);
    idle_limit = idle;
    for (const auto& piece : pieces) PGR_TRY(on_bytes(piece));
    return end;
  }
  std::vector<Request> asked;
  std::deque<base::Result<Response>> answers;
  std::vector<std::string> pieces;
  base::Result<StreamEnd> end = StreamEnd{200, "", {}};
  std::chrono::milliseconds idle_limit{};
};

class RestClientTest : public ::testing::Test {
 protected:
  void answer(int status, const Json& body) {
    transport_->answers.push_back(Response{status, body.dump(), {}});
  }
  void refuse(int status, const std::string& reason) {
    answer(status, {{"kind", "Status"}, {"reason", reason}, {"message", reason}});
  }
  static Json page(std::vector<std::string> names, const std::string& token = "") {
    Json items = Json::array();
    for (auto& n : names) items.push_back({{"metadata", {{"name", n}}}});
    return {{"metadata", {{"resourceVersion", "42"}, {"continue", token}}}, {"items", items}};
  }
  base::Result<std::string> watch() {
    return api_->watch(kinds::kPod, "ns", {}, "7", [this](WatchEvent e) { events_.push_back(std::move(e)); },
                       {});
  }
  static std::string event(const std::string& type, const std::string& version) {
    return Json{{"type", type}, {"object", {{"metadata", {{"name", "p"}, {"resourceVersion", version}}}}}}
               .dump() +
           "\n";
  }

  std::shared_ptr<ScriptedTransport> transport_ = std::make_shared<ScriptedTransport>();
  std::unique_ptr<Api> api_ = make_rest_client(transport_);
  base::Deadline deadline_ = base::Deadline::after(std::chrono::seconds(5));
  std::vector<WatchEvent> events_;
};

TEST_F(RestClientTest, PathsOfKinds) {
  EXPECT_EQ(kinds::kPod.path("ns", "p"), "/api/v1/namespaces/ns/pods/p");
  EXPECT_EQ(kinds::kJob.path("ns"), "/apis/batch/v1/namespaces/ns/jobs");
  EXPECT_EQ(kinds::kTopology.path(""), "/apis/pgrunbook.io/v1alpha1/postgrestopologies");
  EXPECT_EQ(kinds::kRestore.api_version(), "pgrunbook.io/v1alpha1");
  EXPECT_EQ(percent_encode("app=a,b in (c)"), "app%3Da%2Cb%20in%20%28c%29");
}

TEST_F(RestClientTest, ListReadsAllPages) {
  answer(200, page({"a", "b"}, "next/1"));
  answer(200, page({"c"}));
  auto all = api_->list(kinds::kPod, "ns", {"app=x", ""}, deadline_);
  ASSERT_TRUE(all) << all.error().text();
  EXPECT_EQ((*all)["items"].size(), 3U);
  EXPECT_EQ((*all)["resourceVersion"], "42");
  EXPECT_EQ((*all)["items"][2]["kind"], "Pod");
  EXPECT_EQ((*all)["items"][2]["apiVersion"], "v1");
  EXPECT_EQ(transport_->asked[0].target, "/api/v1/namespaces/ns/pods?labelSelector=app%3Dx&limit=100");
  EXPECT_EQ(transport_->asked[1].target,
            "/api/v1/namespaces/ns/pods?labelSelector=app%3Dx&limit=100&continue=next%2F1");
}

TEST_F(RestClientTest, ListAndWatchKeepOnlyWhatIsWanted) {
  ListOptions some;
  some.keep = {{"metadata", "name"}, {"metadata", "resourceVersion"}};
  Json whole = {{"metadata", {{"name", "a"}, {"resourceVersion", "8"}, {"uid", "u"}}},
                {"status", {{"phase", "x"}}}};
  Json kept = {{"metadata", {{"name", "a"}, {"resourceVersion", "8"}}}};
  answer(200, {{"metadata", {{"resourceVersion", "42"}}}, {"items", {whole}}});
  auto all = api_->list(kinds::kPod, "ns", some, deadline_);
  ASSERT_TRUE(all) << all.error().text();
  EXPECT_EQ(*all, (Json{{"items", {kept}}, {"resourceVersion", "42"}}));
  transport_->pieces = {Json{{"type", "MODIFIED"}, {"object", whole}}.dump() + "\n"};
  auto watched = api_->watch(kinds::kPod, "ns", some, "7",
                             [this](WatchEvent e) { events_.push_back(std::move(e)); }, {});
  ASSERT_TRUE(watched) << watched.error().text();
  EXPECT_EQ(*watched, "8");
  ASSERT_EQ(events_.size(), 1U);
  EXPECT_EQ(events_[0].object, kept);
  // An error is a Status, of which everything counts.
  transport_->pieces = {
      Json{{"object", {{"kind", "Status"}, {"code", 410}, {"reason", "Expired"}, {"message", "old"}}},
           {"type", "ERROR"}}
          .dump() +
      "\n"};
  EXPECT_EQ(api_->watch(kinds::kPod, "ns", some, "7", [](WatchEvent) {}, {}).error().code, ErrorCode::kGone);
}

TEST_F(RestClientTest, ListStartsAgainWhenItsTokenGrewOld) {
  answer(200, page({"a"}, "old"));
  refuse(410, "Expired");
  answer(200, page({"a"}, "new"));
  answer(200, page({"b"}));
  auto all = api_->list(kinds::kPod, "ns", {}, deadline_);
  ASSERT_TRUE(all);
  EXPECT_EQ((*all)["items"].size(), 2U);
}

TEST_F(RestClientTest, ListGivesUpWhenTokensKeepGrowingOld) {
  for (int i = 0; i < 10; ++i) {
    answer(200, page({"a"}, "old"));
    refuse(410, "Expired");
  }
  EXPECT_EQ(api_->list(kinds::kPod, "ns", {}, deadline_).error().code, ErrorCode::kGone);
}

TEST_F(RestClientTest, WritesNameTheirManager) {
  Json body{{"metadata", {{"name", "x"}}}};
  for (int i = 0; i < 5; ++i) answer(200, body);
  ASSERT_TRUE(api_->create(kinds::kJob, "ns", body, deadline_));
  ASSERT_TRUE(api_->patch(kinds::kJob, "ns", "x", PatchType::kMerge, body, "status", deadline_));
  ASSERT_TRUE(api_->patch(kinds::kJob, "ns", "x", PatchType::kJson, Json::array(), "", deadline_));
  ASSERT_TRUE(api_->patch(kinds::kJob, "ns", "x", PatchType::kApply, body, "", deadline_));
  ASSERT_TRUE(api_->remove(kinds::kJob, "ns", "x", "uid-1", deadline_));
  const auto& asked = transport_->asked;
  EXPECT_EQ(asked[0].method + " " + asked[0].target,
            "POST /apis/batch/v1/namespaces/ns/jobs?fieldManager=pgrunbook");
  EXPECT_EQ(asked[0].content_type, "application/json");
  EXPECT_EQ(asked[1].method + " " + asked[1].target,
            "PATCH /apis/batch/v1/namespaces/ns/jobs/x/status?fieldManager=pgrunbook");
  EXPECT_EQ(asked[1].content_type, "application/merge-patch+json");
  EXPECT_EQ(asked[2].content_type, "application/json-patch+json");
  EXPECT_EQ(asked[3].target, "/apis/batch/v1/namespaces/ns/jobs/x?fieldManager=pgrunbook&force=false");
  EXPECT_EQ(asked[3].content_type, "application/apply-patch+yaml");
  EXPECT_EQ(asked[4].method + " " + asked[4].target, "DELETE /apis/batch/v1/namespaces/ns/jobs/x");
  EXPECT_EQ(Json::parse(asked[4].body)["preconditions"]["uid"], "uid-1");
  EXPECT_EQ(Json::parse(asked[4].body)["propagationPolicy"], "Background");
}

TEST_F(RestClientTest, DeletingWhatIsGoneIsSuccess) {
  refuse(404, "NotFound");
  EXPECT_TRUE(api_->remove(kinds::kJob, "ns", "x", "", deadline_));
  refuse(409, "Conflict");
  EXPECT_EQ(api_->remove(kinds::kJob, "ns", "x", "u", deadline_).error().code, ErrorCode::kConflict);
}

TEST_F(RestClientTest, EmptyNamesNeverReachTheCollection) {
  EXPECT_EQ(api_->remove(kinds::kJob, "ns", "", "", deadline_).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(api_->get(kinds::kJob, "ns", "", deadline_).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(api_->patch(kinds::kJob, "ns", "", PatchType::kMerge, {}, "", deadline_).error().code,
            ErrorCode::kInvalid);
  EXPECT_TRUE(transport_->asked.empty());
}

TEST_F(RestClientTest, AnUnreadableReplyOfAWriteIsInDoubt) {
  transport_->answers.push_back(Response{200, "{cut", {}});
  EXPECT_EQ(api_->create(kinds::kJob, "ns", Json::object(), deadline_).error().code, ErrorCode::kInDoubt);
  transport_->answers.push_back(Response{200, "{cut", {}});
  EXPECT_EQ(api_->get(kinds::kJob, "ns", "x", deadline_).error().code, ErrorCode::kUnavailable);
}

TEST_F(RestClientTest, PodLogIsText) {
  transport_->answers.push_back(Response{200, "line\n", {}});
  EXPECT_EQ(*api_->pod_log("ns", "p", "main", {.tail_lines = 1}, deadline_), "line\n");
  EXPECT_EQ(transport_->asked[0].target,
            "/api/v1/namespaces/ns/pods/p/log?container=main&tailLines=1&limitBytes=1048576");
  transport_->answers.push_back(Response{200, "", {}});
  EXPECT_EQ(*api_->pod_log("ns", "p", "main", {200, 65536, 65, true}, deadline_), "");
  EXPECT_EQ(transport_->asked[1].target,
            "/api/v1/namespaces/ns/pods/p/log?container=main&tailLines=200&limitBytes=65536&sinceSeconds=65&"
            "previous=true");
}

TEST_F(RestClientTest, WatchHandsOutEventsAndRemembersThePosition) {
  transport_->pieces = {event("ADDED", "8") + event("MODIFIED", "9").substr(0, 20),
                        event("MODIFIED", "9").substr(20), event("DELETED", "10") + event("BOOKMARK", "15")};
  auto last = watch();
  ASSERT_TRUE(last) << last.error().text();
  EXPECT_EQ(*last, "15");
  ASSERT_EQ(events_.size(), 4U);
  EXPECT_EQ(events_[0].type, WatchEvent::Type::kAdded);
  EXPECT_EQ(events_[1].type, WatchEvent::Type::kModified);
  EXPECT_EQ(events_[2].type, WatchEvent::Type::kDeleted);
  EXPECT_EQ(events_[3].type, WatchEvent::Type::kBookmark);
  const std::string& target = transport_->asked[0].target;
  EXPECT_NE(target.find("watch=1&allowWatchBookmarks=true&resourceVersion=7&timeoutSeconds=2"),
            std::string::npos)
      << target;
  EXPECT_GE(transport_->idle_limit, std::chrono::seconds(245));
  EXPECT_LE(transport_->idle_limit, std::chrono::seconds(295));
}

TEST_F(RestClientTest, WatchTooOldIsGoneInTheStreamAndBeforeIt) {
  transport_->pieces = {event("ADDED", "8"), Json{{"type", "ERROR"},
                                                  {"object",
                                                   {{"kind", "Status"},
                                                    {"code", 410},
                                                    {"reason", "Expired"},
                                                    {"message", "too old resource version"}}}}
                                                     .dump() +
                                                 "\n"};
  EXPECT_EQ(watch().error().code, ErrorCode::kGone);
  EXPECT_EQ(events_.size(), 1U);
  transport_->pieces = {};
  transport_->end = StreamEnd{410, R"({"kind":"Status","reason":"Expired","message":"old"})", {}};
  EXPECT_EQ(watch().error().code, ErrorCode::kGone);
}

TEST_F(RestClientTest, WatchOfNonsenseIsABrokenStream) {
  for (const char* line :
       {"not json\n", "{\"type\":\"NEW\",\"object\":{}}\n", "[]\n", "{\"type\":\"ADDED\"}\n"}) {
    transport_->pieces = {line};
    EXPECT_EQ(watch().error().code, ErrorCode::kUnavailable) << line;
  }
  transport_->pieces = {event("ADDED", "8").substr(0, 30)};
  EXPECT_EQ(watch().error().message, "watch pods: cut within an event");
}

TEST_F(RestClientTest, WatchThatFallsSilentIsABrokenStream) {
  transport_->end = base::fail(ErrorCode::kTimeout, "silent");
  EXPECT_EQ(watch().error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(watch().error().message, "watch pods: silent");
  transport_->end = base::fail(ErrorCode::kCancelled, "stop");
  EXPECT_EQ(watch().error().code, ErrorCode::kCancelled);
}

}  // namespace
}  // namespace pgrunbook::kube
