#include "runtime/health.hpp"

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>

namespace pgrunbook::runtime {
namespace {

constexpr std::size_t kMostConnections = 32;
constexpr std::size_t kLongestRequest = 8 << 10;
constexpr auto kPatience = std::chrono::seconds(5);  // for a whole exchange

struct Connection {
  base::Fd fd;
  std::string in{};
  std::string out{};
  std::chrono::steady_clock::time_point until{};
};

base::Result<base::Fd> listen_on(std::uint16_t port) {
  for (int family : {AF_INET6, AF_INET}) {
    base::Fd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.valid()) {
      if (family == AF_INET6) continue;  // a kernel without IPv6
      return base::fail(base::system_error("open", "a socket"));
    }
    int on = 1, off = 0;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    int bound = -1;
    if (family == AF_INET6) {
      ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
      sockaddr_in6 a{};
      a.sin6_family = AF_INET6;
      a.sin6_port = htons(port);
      bound = ::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a);
      if (bound != 0 && (errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT)) continue;  // IPv6 switched off
    } else {
      sockaddr_in a{};
      a.sin_family = AF_INET;
      a.sin_port = htons(port);
      bound = ::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a);
    }
    if (bound != 0 || ::listen(fd.get(), 64) != 0) {
      return base::fail(base::system_error("listen on port", std::to_string(port)));
    }
    return fd;
  }
  return base::fail(base::ErrorCode::kUnavailable, "neither IPv6 nor IPv4 can be listened on");
}

std::string response(int status, std::string_view words, std::string_view type, std::string_view body) {
  return fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}", status,
      words, type, body.size(), body);
}

std::string check_response(const Checks& checks) {
  auto [good, text] = checks.run();
  return good ? response(200, "OK", "text/plain; charset=utf-8", text)
              : response(503, "Service Unavailable", "text/plain; charset=utf-8", text);
}

}  // namespace

void Checks::add(const std::string& name, Check check) {
  std::lock_guard lock(mutex_);
  checks_[name] = std::move(check);
}

std::pair<bool, std::string> Checks::run() const {
  std::map<std::string, Check> checks;
  {
    std::lock_guard lock(mutex_);
    checks = checks_;
  }
  bool good = true;
  std::string text;
  for (const auto& [name, check] : checks) {
    auto result = check();
    good = good && result.has_value();
    text += fmt::format("[{}]{}: {}\n", result ? '+' : '-', name, result ? *result : result.error().text());
  }
  text += good ? "ok\n" : "not ok\n";
  return {good, text};
}

std::string HealthServer::reply(std::string_view request_line) const {
  auto method_end = request_line.find(' ');
  std::string_view method = request_line.substr(0, method_end);
  std::string_view target =
      method_end == std::string_view::npos ? std::string_view() : request_line.substr(method_end + 1);
  target = target.substr(0, target.find_first_of(" ?"));
  if (method != "GET") return response(405, "Method Not Allowed", "text/plain", "only GET\n");
  if (target == "/healthz") return check_response(alive_);
  if (target == "/readyz") return check_response(ready_);
  if (target == "/metrics")
    return response(200, "OK", "text/plain; version=0.0.4; charset=utf-8", metrics_.text());
  return response(404, "Not Found", "text/plain", "there are /healthz, /readyz and /metrics\n");
}

base::Result<> HealthServer::start(std::uint16_t port) {
  PGR_ASSIGN(listening_, listen_on(port));
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  ::getsockname(listening_.get(), reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                              : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0)
    return base::fail(base::system_error("open", "a pipe"));
  wake_read_ = base::Fd(ends[0]);
  wake_write_ = base::Fd(ends[1]);
  thread_ = std::jthread([this](const std::stop_token& stop) { serve(stop); });
  return {};
}

void HealthServer::stop() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  (void)!::write(wake_write_.get(), "x", 1);
  thread_.join();
  listening_.reset();
}

void HealthServer::serve(const std::stop_token& stop) {
  std::vector<Connection> connections;
  while (!stop.stop_requested()) {
    std::vector<pollfd> polled{{wake_read_.get(), POLLIN, 0}};
    bool full = connections.size() >= kMostConnections;
    polled.push_back({full ? -1 : listening_.get(), POLLIN, 0});
    for (const Connection& c : connections) {
      polled.push_back({c.fd.get(), static_cast<short>(c.out.empty() ? POLLIN : POLLOUT), 0});
    }
    if (::poll(polled.data(), polled.size(), connections.empty() ? -1 : 500) < 0 && errno != EINTR) return;
    auto now = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < connections.size(); ++i) {
      Connection& c = connections[i];
      if (now >= c.until) c.fd.reset();
      if (!c.fd.valid() || polled[i + 2].revents == 0) continue;
      if (c.out.empty()) {
        std::array<char, 4096> buffer{};
        ssize_t n = ::recv(c.fd.get(), buffer.data(), buffer.size(), 0);
        if (n <= 0) {
          if (n == 0 || (errno != EAGAIN && errno != EINTR)) c.fd.reset();
          continue;
        }
        c.in.append(buffer.data(), static_cast<std::size_t>(n));
        if (c.in.find("\r\n\r\n") != std::string::npos) {
          c.out = reply(std::string_view(c.in).substr(0, c.in.find("\r\n")));
        } else if (c.in.size() > kLongestRequest) {
          c.fd.reset();
        }
        continue;
      }
      ssize_t n = ::send(c.fd.get(), c.out.data(), c.out.size(), MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN && errno != EINTR) c.fd.reset();
      if (n > 0) c.out.erase(0, static_cast<std::size_t>(n));
      if (n > 0 && c.out.empty()) c.fd.reset();
    }
    if (polled[1].revents != 0) {
      base::Fd fd(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (fd.valid()) connections.push_back({std::move(fd), {}, {}, now + kPatience});
    }
    std::erase_if(connections, [](const Connection& c) { return !c.fd.valid(); });
  }
}

}  // namespace pgrunbook::runtime
