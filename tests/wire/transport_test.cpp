// The real transport against a real TLS server that misbehaves: one test for each way the HTTP library is
// known to fail or to surprise. Timing is never asserted, only order and outcome.
#include "kube/transport.hpp"

#include <cstdlib>
#include <filesystem>
#include <netdb.h>
#include <random>
#include <sys/socket.h>

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "kube/rest_client.hpp"
#include "support/wire/server.hpp"

namespace pgrunbook::kube {
namespace {

using base::Deadline;
using base::ErrorCode;
using std::chrono::milliseconds;
using std::chrono::seconds;
using test::Authority;
using test::Connection;
using test::HttpRequest;
using test::ScriptedServer;
using test::Signal;

constexpr auto kLong = seconds(20);

const Authority& authority() {
  static const Authority one("test authority");
  return one;
}

Config config_for(const ScriptedServer& server) {
  Config config;
  config.server = server.url();
  config.ca_data = authority().pem();
  config.token = "secret";
  return config;
}

Request get(const std::string& target = "/api") { return {"GET", target}; }
Request write(const std::string& method, std::string body = "{}") {
  return {method, "/api/v1/namespaces/ns/pods", "application/json", std::move(body)};
}

base::Result<Response> send(Transport& t, const Request& r, milliseconds patience = kLong,
                            std::stop_token stop = {}) {
  return t.send(r, Deadline::after(patience), stop);
}

// Answers every request on a connection with the same text.
void answer_all(Connection& c) {
  while (auto request = c.reader.request()) c.reply(200, R"({"ok":true})");
}

class Files {
 public:
  Files() { EXPECT_TRUE(base::make_directories(directory_, 0700)); }
  ~Files() { (void)base::remove_tree(directory_); }
  std::string write(const std::string& name, const std::string& text) {
    EXPECT_TRUE(base::replace_file(directory_ + "/" + name, text, 0600));
    return directory_ + "/" + name;
  }

 private:
  std::string directory_ = ::testing::TempDir() + "pgr-wire-" + base::random_hex(4);
};

TEST(Wire, SendsWhatIsAskedAndReadsTheReply) {
  std::mutex mutex;
  std::vector<HttpRequest> seen;
  ScriptedServer server(authority(), [&](Connection& c) {
    while (auto request = c.reader.request()) {
      {
        std::lock_guard lock(mutex);
        seen.push_back(*request);
      }
      c.reply(201, "{\"a\":1}");
    }
  });
  auto t = make_cpprest_transport(config_for(server));
  auto got = send(*t, get("/api/v1/pods?labelSelector=a%3Db%2Cc&limit=500"));
  ASSERT_TRUE(got) << got.error().text();
  EXPECT_EQ(got->status, 201);
  EXPECT_EQ(got->body, "{\"a\":1}");
  ASSERT_TRUE(send(*t, write("PATCH", "{\"x\":\"\xC3\xA4\"}")));
  ASSERT_TRUE(send(*t, write("DELETE", "{\"kind\":\"DeleteOptions\"}")));
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_EQ(seen[0].target, "/api/v1/pods?labelSelector=a%3Db%2Cc&limit=500") << "encoded once";
  EXPECT_EQ(seen[0].header("authorization"), "Bearer secret");
  EXPECT_EQ(seen[1].method, "PATCH");
  EXPECT_EQ(seen[1].body, "{\"x\":\"\xC3\xA4\"}");
  EXPECT_EQ(seen[1].header("content-type"), "application/json");
  EXPECT_EQ(seen[2].body, "{\"kind\":\"DeleteOptions\"}");
}

TEST(Wire, AQuietStreamOutlivesTheTimeoutOfOrdinaryRequests) {
  Signal unary_failed;
  ScriptedServer server(authority(), [&](Connection& c) {
    auto request = c.reader.request();
    if (!request) return;
    if (request->target == "/hang") return c.hang();
    c.begin_chunked();
    c.chunk("one\n");
    unary_failed.wait();
    c.chunk("two\n");
    c.end_chunked();
  });
  auto t = make_cpprest_transport(config_for(server), {milliseconds(100)});
  std::string got;
  std::jthread unary;
  auto end = t->stream(get("/stream"),
                       [&](std::string_view bytes) -> base::Result<> {
                         got += bytes;
                         if (got == "one\n") {
                           unary = std::jthread([&] {
                             EXPECT_EQ(send(*t, get("/hang")).error().code, ErrorCode::kTimeout);
                             unary_failed.set();
                           });
                         }
                         return {};
                       },
                       kLong, {});
  ASSERT_TRUE(end) << end.error().text();
  EXPECT_EQ(end->status, 200);
  EXPECT_EQ(got, "one\ntwo\n");
}

TEST(Wire, TheDeadlineIsOfTheWholeExchangeNotOfEachChunk) {
  std::atomic<int> posts = 0;
  ScriptedServer server(authority(), [&](Connection& c) {
    auto request = c.reader.request();
    if (!request) return;
    if (request->method == "POST") ++posts;
    c.begin_chunked();
    while (!c.stop.stop_requested() && c.chunk("drip ")) std::this_thread::sleep_for(milliseconds(20));
  });
  auto t = make_cpprest_transport(config_for(server));
  EXPECT_EQ(send(*t, get(), milliseconds(100)).error().code, ErrorCode::kTimeout);
  // A busy machine may not get as far as the body in time: then nothing happened, and that is what is said.
  ErrorCode code = ErrorCode::kTimeout;
  for (milliseconds patience(100); code == ErrorCode::kTimeout; patience *= 2) {
    code = send(*t, write("POST"), patience).error().code;
  }
  EXPECT_EQ(code, ErrorCode::kInDoubt);
  EXPECT_LE(posts, 1);
}

TEST(Wire, AReadOnAConnectionTheServerClosedIsSentAgain) {
  std::atomic<bool> reset = false;
  std::atomic<int> closed = 0;
  std::atomic<int> asked = 0;
  ScriptedServer server(authority(), [&](Connection& c) {
    // One request per connection, whatever was promised by keep-alive.
    if (c.reader.request()) c.reply(200, "{}");
    while (asked <= c.number) std::this_thread::yield();
    reset ? c.socket.reset() : c.socket.close();
    ++closed;
  });
  auto t = make_cpprest_transport(config_for(server));
  for (int i = 0; i < 8; ++i) {
    reset = i % 2 == 0;
    int before = closed;
    ASSERT_TRUE(send(*t, get())) << i;
    asked = server.connections();
    while (closed == before) std::this_thread::yield();
  }
}

TEST(Wire, AWriteNeverUsesAConnectionThatMayBeClosed) {
  std::atomic<int> posts = 0;
  Signal answered, closed;
  ScriptedServer server(authority(), [&](Connection& c) {
    auto request = c.reader.request();
    if (!request) return;
    if (request->method == "POST") ++posts;
    c.reply(200, "{}");
    if (request->method == "GET") {
      answered.wait();
      c.socket.reset();
      closed.set();
    }
  });
  auto t = make_cpprest_transport(config_for(server));
  ASSERT_TRUE(send(*t, get()));
  answered.set();
  closed.wait();
  for (int i = 1; i <= 4; ++i) {
    auto done = send(*t, write("POST"));
    ASSERT_TRUE(done) << done.error().text();
    EXPECT_EQ(posts, i);
  }
}

// The library takes a connection back a moment after it has handed out the reply, so one more may be made.
TEST(Wire, SharedWritesShareAConnectionUntilItFails) {
  std::atomic<int> dead = 0;
  ScriptedServer server(authority(), [&](Connection& c) {
    while (c.reader.request()) {
      if (c.number < dead) return c.hang();
      c.reply(200, "{}");
    }
  });
  TransportOptions options;
  options.shared_writes = true;
  auto t = make_cpprest_transport(config_for(server), options);
  int sent = 0;
  for (; sent < 100 && server.connections() == sent; ++sent) ASSERT_TRUE(send(*t, write("PATCH"))) << sent;
  EXPECT_LT(server.connections(), sent);
  dead = server.connections();
  auto lost = send(*t, write("PATCH"), milliseconds(300));
  for (int i = 0; lost && i < 100; ++i) lost = send(*t, write("PATCH"), milliseconds(300));
  ASSERT_FALSE(lost);
  EXPECT_NE(lost.error().code, ErrorCode::kUnavailable) << lost.error().text();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(send(*t, write("PATCH"))) << "not over what leads nowhere";
}

TEST(Wire, ASharedWriteOnAClosedConnectionIsInDoubtAtMost) {
  std::atomic<int> closed = 0;
  std::atomic<int> asked = 0;
  ScriptedServer server(authority(), [&](Connection& c) {
    if (c.reader.request()) c.reply(200, "{}");
    while (asked <= c.number) std::this_thread::yield();
    c.socket.reset();
    ++closed;
  });
  TransportOptions options;
  options.shared_writes = true;
  auto t = make_cpprest_transport(config_for(server), options);
  for (int i = 0; i < 6; ++i) {
    int before = closed;
    auto done = send(*t, write("PATCH"));
    if (!done) {
      EXPECT_EQ(done.error().code, ErrorCode::kInDoubt) << done.error().text();
      done = send(*t, write("PATCH"));
    }
    ASSERT_TRUE(done) << done.error().text();
    asked = server.connections();
    while (closed == before) std::this_thread::yield();
  }
}

TEST(Wire, AWriteWhoseReplyIsLostIsInDoubtAndSentOnce) {
  for (const char* method : {"POST", "PATCH", "DELETE"}) {
    for (bool reset : {true, false}) {
      std::atomic<int> requests = 0;
      ScriptedServer server(authority(), [&](Connection& c) {
        if (!c.reader.request()) return;
        ++requests;
        if (reset) c.socket.reset();
      });
      auto t = make_cpprest_transport(config_for(server));
      auto lost = send(*t, write(method));
      ASSERT_FALSE(lost);
      EXPECT_EQ(lost.error().code, ErrorCode::kInDoubt) << method << lost.error().text();
      EXPECT_EQ(requests, 1) << method;
    }
  }
}

TEST(Wire, AWriteWhoseReplyIsCutIsInDoubt) {
  ScriptedServer server(authority(), [&](Connection& c) {
    if (!c.reader.request()) return;
    c.socket.write("HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{\"half\":");
  });
  auto t = make_cpprest_transport(config_for(server));
  EXPECT_EQ(send(*t, write("POST")).error().code, ErrorCode::kInDoubt);
}

TEST(Wire, AWriteThatCouldNotBeSentWholeIsSentAgain) {
  std::atomic<int> whole = 0;
  std::atomic<int> broken = 1;
  ScriptedServer server(authority(), [&](Connection& c) {
    if (c.number < broken) {
      (void)c.reader.head();  // and not the body
      c.socket.reset();
      return;
    }
    if (c.reader.request()) ++whole;
    c.reply(200, "{}");
  });
  auto t = make_cpprest_transport(config_for(server));
  auto done = send(*t, write("POST", std::string(std::size_t{8} << 20, 'x')));
  ASSERT_TRUE(done) << done.error().text();
  EXPECT_EQ(whole, 1);
  broken = 1000;
  auto failed = send(*t, write("POST", std::string(std::size_t{8} << 20, 'x')));
  EXPECT_EQ(failed.error().code, ErrorCode::kUnavailable) << "never processed, so not in doubt";
  EXPECT_EQ(server.connections(), 4) << "tried once more, not for ever";
}

TEST(Wire, AReadWhoseReplyIsLostIsSentAgainOnce) {
  std::atomic<int> requests = 0;
  std::atomic<int> broken = 1;
  ScriptedServer server(authority(), [&](Connection& c) {
    if (!c.reader.request()) return;
    ++requests;
    if (c.number < broken) return c.socket.reset();
    c.reply(200, "{}");
  });
  auto t = make_cpprest_transport(config_for(server));
  EXPECT_TRUE(send(*t, get()));
  EXPECT_EQ(requests, 2);
  broken = 1000;
  EXPECT_EQ(send(*make_cpprest_transport(config_for(server)), get()).error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(requests, 4);
}

TEST(Wire, OnlyTheConfiguredAuthorityIsTrusted) {
  Authority system("system authority");
  (void)make_cpprest_transport({});  // which sets the variable the first time
  const char* former = std::getenv("SSL_CERT_FILE");
  const std::string before = former == nullptr ? "" : former;
  Files files;
  ::setenv("SSL_CERT_FILE", files.write("system.pem", system.pem()).c_str(), 1);
  // The trick works at all: OpenSSL's default paths now hold that authority.
  SSL_CTX* control = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_default_verify_paths(control);
  EXPECT_EQ(sk_X509_OBJECT_num(X509_STORE_get0_objects(SSL_CTX_get_cert_store(control))), 1);
  SSL_CTX_free(control);

  ScriptedServer server(system, answer_all);
  Config config = config_for(server);
  auto refused = send(*make_cpprest_transport(config), get());
  ::setenv("SSL_CERT_FILE", before.c_str(), 1);
  ASSERT_FALSE(refused) << "a server with a certificate of a system authority was accepted";
  EXPECT_EQ(refused.error().reason, "CertificateNotAccepted");
  config.ca_data = system.pem();
  EXPECT_TRUE(send(*make_cpprest_transport(config), get()));
}

TEST(Wire, TheServersNameIsChecked) {
  ScriptedServer::Options options;
  options.names = {"DNS:somebody.else", "IP:127.0.0.2"};
  ScriptedServer server(authority(), answer_all, options);
  auto refused = send(*make_cpprest_transport(config_for(server)), get());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "CertificateNotAccepted");
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(send(*make_cpprest_transport(config_for(server)), write("POST")).error().code,
            ErrorCode::kUnavailable)
      << "nothing was sent, so nothing is in doubt";
}

TEST(Wire, AnAddressInTheCertificateIsEnough) {
  ScriptedServer::Options options;
  options.names = {"IP:127.0.0.1"};
  ScriptedServer server(authority(), answer_all, options);
  EXPECT_TRUE(send(*make_cpprest_transport(config_for(server)), get()));
}

TEST(Wire, IPv6WorksByNameAndIsRefusedAsALiteral) {
  Config literal;
  literal.server = "https://[::1]:6443";
  literal.ca_data = authority().pem();
  EXPECT_EQ(send(*make_cpprest_transport(literal), get()).error().code, ErrorCode::kInvalid);

  addrinfo hints{};
  hints.ai_family = AF_INET6;
  addrinfo* found = nullptr;
  if (::getaddrinfo("localhost", nullptr, &hints, &found) != 0)
    GTEST_SKIP() << "localhost has no IPv6 address here";
  ::freeaddrinfo(found);
  ScriptedServer::Options options;
  options.address = "::1";
  ScriptedServer server(authority(), answer_all, options);
  Config named = config_for(server);
  named.server = server.url("localhost");
  auto got = send(*make_cpprest_transport(named), get());
  EXPECT_TRUE(got) << got.error().text();
}

TEST(Wire, StopWakesABlockedRead) {
  ScriptedServer server(authority(), [&](Connection& c) {
    auto request = c.reader.request();
    if (!request) return;
    if (request->target == "/stream") {
      c.begin_chunked();
      c.chunk("one\n");
    }
    c.wait_closed();
  });
  auto t = make_cpprest_transport(config_for(server));
  std::stop_source stop;
  std::jthread asker;
  auto ended = t->stream(
      get("/stream"),
      [&](std::string_view) -> base::Result<> {
        asker = std::jthread([&] { stop.request_stop(); });
        return {};
      },
      kLong, stop.get_token());
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, ErrorCode::kCancelled);
  // Before the headers, and before anything.
  std::stop_source second;
  std::jthread later([&] {
    while (server.connections() < 2) std::this_thread::yield();
    second.request_stop();
  });
  EXPECT_EQ(
      t->stream(
           get("/hang"), [](std::string_view) -> base::Result<> { return {}; }, kLong, second.get_token())
          .error()
          .code,
      ErrorCode::kCancelled);
  EXPECT_EQ(
      t->stream(
           get("/stream"), [](std::string_view) -> base::Result<> { return {}; }, kLong, second.get_token())
          .error()
          .code,
      ErrorCode::kCancelled);
  EXPECT_EQ(send(*t, get("/hang"), kLong, second.get_token()).error().code, ErrorCode::kCancelled);
}

TEST(Wire, AStreamCutWithoutItsLastChunkIsNoEnd) {
  for (bool reset : {true, false}) {
    ScriptedServer server(authority(), [&](Connection& c) {
      if (!c.reader.request()) return;
      c.begin_chunked();
      c.chunk("one\n");
      if (reset) c.socket.reset();
    });
    auto t = make_cpprest_transport(config_for(server));
    std::string got;
    auto ended = t->stream(get(),
                           [&](std::string_view bytes) -> base::Result<> {
                             got += bytes;
                             return {};
                           },
                           kLong, {});
    ASSERT_FALSE(ended);
    EXPECT_EQ(ended.error().code, ErrorCode::kUnavailable) << ended.error().text();
    if (!reset) {
      EXPECT_EQ(got, "one\n");
    }
  }
}

TEST(Wire, APeerThatVanishedIsNoticedByItsSilence) {
  ScriptedServer server(authority(), [&](Connection& c) {
    if (!c.reader.request()) return;
    c.begin_chunked();
    c.chunk("one\n");
    c.hang();
  });
  auto t = make_cpprest_transport(config_for(server));
  std::string got;
  // On a busy machine the first byte may take longer than the limit; then it is tried with a longer one.
  for (milliseconds idle(100); got.empty(); idle *= 2) {
    auto ended = t->stream(get(),
                           [&](std::string_view bytes) -> base::Result<> {
                             got += bytes;
                             return {};
                           },
                           idle, {});
    ASSERT_FALSE(ended);
    EXPECT_EQ(ended.error().code, ErrorCode::kTimeout) << ended.error().text();
  }
  EXPECT_EQ(got, "one\n");
}

TEST(Wire, ARefusedStreamGivesItsBody) {
  ScriptedServer server(authority(), [&](Connection& c) {
    while (c.reader.request()) c.reply(410, R"({"kind":"Status","reason":"Expired"})", "Retry-After: 3\r\n");
  });
  auto t = make_cpprest_transport(config_for(server));
  auto end = t->stream(get(),
                       [&](std::string_view) -> base::Result<> {
                         ADD_FAILURE() << "a refusal is no stream";
                         return {};
                       },
                       kLong, {});
  ASSERT_TRUE(end) << end.error().text();
  EXPECT_EQ(end->status, 410);
  EXPECT_EQ(end->body, R"({"kind":"Status","reason":"Expired"})");
  EXPECT_EQ(end->retry_after, seconds(3));
}

TEST(Wire, SaysWhenToComeBack) {
  ScriptedServer server(authority(), [&](Connection& c) {
    while (c.reader.request())
      c.reply(429, R"({"kind":"Status","reason":"TooManyRequests","message":"slow"})", "Retry-After: 7\r\n");
  });
  auto api = make_rest_client(make_cpprest_transport(config_for(server)));
  auto refused = api->get(kinds::kPod, "ns", "p", Deadline::after(kLong));
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(refused.error().retry_after, seconds(7));
}

TEST(Wire, ARefusedTokenIsReadAgain) {
  Files files;
  std::mutex mutex;
  std::string good = "Bearer one";
  ScriptedServer server(authority(), [&](Connection& c) {
    while (auto request = c.reader.request()) {
      std::lock_guard lock(mutex);
      c.reply(request->header("authorization") == good ? 200 : 401, "{}");
    }
  });
  Config config = config_for(server);
  config.token.clear();
  config.token_file = files.write("token", "one\n");
  auto t = make_cpprest_transport(config);
  EXPECT_EQ(send(*t, get())->status, 200);
  {
    std::lock_guard lock(mutex);
    good = "Bearer two";
  }
  EXPECT_EQ(send(*t, get())->status, 401) << "the file still holds the old one: no second try";
  files.write("token", "two\n");
  EXPECT_EQ(send(*t, get())->status, 200);
  {
    std::lock_guard lock(mutex);
    good = "Bearer three";
  }
  files.write("token", "three\n");
  EXPECT_EQ(send(*t, write("POST"))->status, 200) << "a refused write was not done";
  {
    std::lock_guard lock(mutex);
    good = "Bearer four";
  }
  files.write("token", "four\n");
  EXPECT_EQ(t->stream(get(), [](std::string_view) -> base::Result<> { return {}; }, kLong, {})->status, 200);
}

TEST(Wire, RedirectsAreNotFollowed) {
  ScriptedServer elsewhere(authority(), answer_all);
  ScriptedServer server(authority(), [&](Connection& c) {
    while (c.reader.request()) c.reply(307, "", "Location: " + elsewhere.url() + "/api\r\n");
  });
  auto t = make_cpprest_transport(config_for(server));
  EXPECT_EQ(send(*t, get())->status, 307);
  EXPECT_EQ(send(*t, write("POST"))->status, 307);
  EXPECT_EQ(elsewhere.connections(), 0) << "the token went elsewhere";
  EXPECT_EQ(make_rest_client(t)->get(kinds::kPod, "ns", "p", Deadline::after(kLong)).error().code,
            ErrorCode::kRefused);
}

TEST(Wire, ALongReplyIsCutOff) {
  ScriptedServer server(authority(), [&](Connection& c) {
    while (auto request = c.reader.request()) {
      if (request->target == "/length") {
        c.reply(200, std::string(std::size_t{1} << 20, 'x'));
      } else {
        c.begin_chunked();
        while (!c.stop.stop_requested() && c.chunk(std::string(65536, 'x'))) {
        }
        return;
      }
    }
  });
  auto t = make_cpprest_transport(config_for(server));
  for (const char* target : {"/length", "/endless"}) {
    Request request = get(target);
    request.body_limit = 200000;
    auto cut = send(*t, request);
    ASSERT_FALSE(cut);
    EXPECT_EQ(cut.error().code, ErrorCode::kCorrupt) << cut.error().text();
    EXPECT_EQ(cut.error().reason, "TooLarge");
  }
  Request post = write("POST");
  post.body_limit = 200000;
  EXPECT_EQ(send(*t, post).error().code, ErrorCode::kInDoubt) << "done, but we do not know what";
}

TEST(Wire, AWatchIsWholeHoweverItsBytesAreCut) {
  std::string text;
  for (int i = 1; i <= 5; ++i) {
    text += "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"p" + std::to_string(i) +
            "\",\"resourceVersion\":\"" + std::to_string(i) + "\"}}}\n";
  }
  ScriptedServer server(authority(), [&](Connection& c) {
    if (!c.reader.request()) return;
    c.begin_chunked();
    for (std::size_t at = 0; at < text.size(); at += 7) c.chunk(text.substr(at, 7));
    c.end_chunked();
  });
  auto api = make_rest_client(make_cpprest_transport(config_for(server)));
  std::string names;
  auto last =
      api->watch(kinds::kPod, "ns", {}, "0",
                 [&](WatchEvent e) { names += base::text_at(e.object, {"metadata", "name"}) + " "; }, {});
  ASSERT_TRUE(last) << last.error().text();
  EXPECT_EQ(names, "p1 p2 p3 p4 p5 ");
  EXPECT_EQ(*last, "5");
}

TEST(Wire, AnEventArrivesWithoutWaitingForTheNext) {
  Signal first_taken;
  ScriptedServer server(authority(), [&](Connection& c) {
    if (!c.reader.request()) return;
    c.begin_chunked();
    c.chunk("{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"1\"}}}\n");
    first_taken.wait();
    c.chunk("{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"2\"}}}\n");
    c.end_chunked();
  });
  auto api = make_rest_client(make_cpprest_transport(config_for(server)));
  auto last = api->watch(kinds::kPod, "ns", {}, "0", [&](WatchEvent) { first_taken.set(); }, {});
  ASSERT_TRUE(last) << last.error().text();
  EXPECT_EQ(*last, "2");
}

TEST(Wire, AHandlersErrorEndsTheStream) {
  Signal closed;
  ScriptedServer server(authority(), [&](Connection& c) {
    if (!c.reader.request()) return;
    c.begin_chunked();
    c.chunk("one\n");
    c.wait_closed();
    closed.set();
  });
  auto t = make_cpprest_transport(config_for(server));
  auto ended = t->stream(
      get(), [](std::string_view) -> base::Result<> { return base::fail(ErrorCode::kGone, "enough"); }, kLong,
      {});
  EXPECT_EQ(ended.error().code, ErrorCode::kGone);
  closed.wait();
}

TEST(Wire, AClientCertificateIsShown) {
  ScriptedServer::Options options;
  options.client_authority = authority().pem();
  ScriptedServer server(authority(), answer_all, options);
  Config config = config_for(server);
  EXPECT_FALSE(send(*make_cpprest_transport(config), get()));
  auto identity = authority().issue("operator", {});
  config.client_certificate_data = identity.certificate;
  config.client_key_data = identity.key;
  auto got = send(*make_cpprest_transport(config), get());
  EXPECT_TRUE(got) << got.error().text();
}

TEST(Wire, RotatedFilesAreReadAgainForEachConnection) {
  Files files;
  ScriptedServer server(authority(), [](Connection& c) {
    if (c.reader.request()) c.reply(200, "{}", "Connection: close\r\n");
  });
  Config config = config_for(server);
  config.ca_data.clear();
  config.ca_file = files.write("ca.pem", Authority("the former one").pem());
  auto t = make_cpprest_transport(config);
  EXPECT_EQ(send(*t, get()).error().reason, "CertificateNotAccepted");
  files.write("ca.pem", authority().pem());
  auto got = send(*t, get());
  EXPECT_TRUE(got) << got.error().text();
  files.write("ca.pem", "no certificate");
  auto bad = send(*t, get());
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().reason, "BadCredentials") << bad.error().text();
  EXPECT_EQ(bad.error().code, ErrorCode::kUnauthorized);
}

TEST(Wire, NobodyThereAndNoSuchName) {
  Config config;
  config.ca_data = authority().pem();
  {
    ScriptedServer gone(authority(), answer_all);
    config.server = gone.url();
  }
  auto refused = send(*make_cpprest_transport(config), write("POST"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(refused.error().reason, "NoConnection");

  // A resolver may answer no, or hang: the library cannot be cancelled there, so the call must end without
  // it.
  config.server = "https://no-such-host.invalid:6443";
  auto t = make_cpprest_transport(config);
  auto unknown = send(*t, write("POST"), milliseconds(200));
  ASSERT_FALSE(unknown);
  EXPECT_TRUE(unknown.error().reason == "NameNotResolved" || unknown.error().code == ErrorCode::kTimeout)
      << unknown.error().text();
  EXPECT_NE(unknown.error().code, ErrorCode::kInDoubt);
}

TEST(Wire, AStormOfDeadlinesLeavesItUsable) {
  ScriptedServer server(authority(), [](Connection& c) {
    std::minstd_rand random(static_cast<unsigned>(c.number));
    while (c.reader.request()) {
      std::this_thread::sleep_for(milliseconds(random() % 12));
      c.reply(200, "{}");
    }
  });
  auto t = make_cpprest_transport(config_for(server));
  std::atomic<int> good = 0, late = 0, other = 0;
  {
    std::vector<std::jthread> callers;
    for (unsigned n = 0; n < 4; ++n) {
      callers.emplace_back([&, n] {
        std::minstd_rand random(n + 1);
        for (int i = 0; i < 8; ++i) {
          auto r = send(*t, get(), milliseconds(1 + random() % 12));
          ++(r ? good : r.error().code == ErrorCode::kTimeout ? late : other);
        }
      });
    }
  }
  EXPECT_EQ(other, 0);
  EXPECT_EQ(good + late, 32);
  EXPECT_TRUE(send(*t, get()));
}

TEST(Wire, TheLibraryHasFewThreads) {
  {
    ScriptedServer server(authority(), answer_all);
    auto t = make_cpprest_transport(config_for(server));
    ASSERT_TRUE(send(*t, get()));
  }
  int threads = 0;
  for ([[maybe_unused]] const auto& task : std::filesystem::directory_iterator("/proc/self/task")) ++threads;
  EXPECT_LE(threads, 10) << "the library's default pool alone is 40";
}

}  // namespace
}  // namespace pgrunbook::kube
