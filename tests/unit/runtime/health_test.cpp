#include "runtime/health.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace pgrunbook::runtime {
namespace {

std::string ask(int family, std::uint16_t port, const std::string& request) {
  base::Fd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int connected = -1;
  if (family == AF_INET6) {
    sockaddr_in6 a{};
    a.sin6_family = AF_INET6;
    a.sin6_port = htons(port);
    a.sin6_addr = in6addr_loopback;
    connected = ::connect(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a);
  } else {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected = ::connect(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a);
  }
  if (connected != 0) return "no connection";
  for (char c : request) (void)!::send(fd.get(), &c, 1, MSG_NOSIGNAL);  // byte by byte: a slow client
  std::string reply;
  char buffer[4096];
  for (ssize_t n; (n = ::recv(fd.get(), buffer, sizeof buffer, 0)) > 0;)
    reply.append(buffer, static_cast<std::size_t>(n));
  return reply;
}

class HealthTest : public ::testing::Test {
 protected:
  Checks alive_, ready_;
  Metrics metrics_;
  HealthServer server_{alive_, ready_, metrics_};
};

TEST_F(HealthTest, SaysWhatIsWrong) {
  ready_.add("cache", [] { return base::Result<std::string>("synced, 3 objects"); });
  EXPECT_EQ(server_.reply("GET /readyz HTTP/1.1"),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 31\r\nConnection: "
            "close\r\n\r\n"
            "[+]cache: synced, 3 objects\nok\n");
  ready_.add("crds", []() -> base::Result<std::string> {
    return base::fail(base::ErrorCode::kNotFound, "the kinds are missing", "apply the chart pgrunbook-crds");
  });
  auto reply = server_.reply("GET /readyz?verbose HTTP/1.1");
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 503 "));
  EXPECT_NE(reply.find("[+]cache: synced, 3 objects\n[-]crds: the kinds are missing. HINT: apply the chart "
                       "pgrunbook-crds\nnot ok\n"),
            std::string::npos);
  EXPECT_TRUE(server_.reply("GET /healthz HTTP/1.1").starts_with("HTTP/1.1 200 "));
  EXPECT_TRUE(server_.reply("POST /healthz HTTP/1.1").starts_with("HTTP/1.1 405 "));
  EXPECT_TRUE(server_.reply("GET /secrets HTTP/1.1").starts_with("HTTP/1.1 404 "));
  EXPECT_TRUE(server_.reply("").starts_with("HTTP/1.1 405 "));
}

TEST_F(HealthTest, AnswersOnIPv4AndIPv6) {
  metrics_.set("pgrunbook_x", {}, 1);
  ASSERT_TRUE(server_.start(0));
  EXPECT_NE(ask(AF_INET, server_.port(), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").find("pgrunbook_x 1\n"),
            std::string::npos);
  base::Fd six(::socket(AF_INET6, SOCK_STREAM, 0));
  if (six.valid()) {
    auto reply = ask(AF_INET6, server_.port(), "GET /healthz HTTP/1.1\r\n\r\n");
    if (reply != "no connection") {
      EXPECT_TRUE(reply.starts_with("HTTP/1.1 200 ")) << reply;
    }
  }
}

TEST_F(HealthTest, ASilentClientDoesNotKeepOthersOut) {
  ASSERT_TRUE(server_.start(0));
  base::Fd silent(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(server_.port());
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::connect(silent.get(), reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  EXPECT_TRUE(ask(AF_INET, server_.port(), "GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
  EXPECT_EQ(ask(AF_INET, server_.port(), std::string(9000, 'x')), "")
      << "a request without an end is cut off";
}

TEST_F(HealthTest, ATakenPortIsAnError) {
  ASSERT_TRUE(server_.start(0));
  HealthServer other(alive_, ready_, metrics_);
  auto started = other.start(server_.port());
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, base::ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace pgrunbook::runtime
