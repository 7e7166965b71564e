// The HTTP server for the kubelet and Prometheus: /healthz, /readyz, /metrics. Plain sockets, one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "base/file.hpp"
#include "base/result.hpp"
#include "runtime/metrics.hpp"

namespace pgrunbook::runtime {

// Named checks, each with one line of text. A check is called on the server's thread and must not block.
class Checks {
 public:
  // Good: the text says how; an error says what is wrong.
  using Check = std::function<base::Result<std::string>()>;
  void add(const std::string& name, Check check);
  // All checks as "[+]name: text" or "[-]name: error" lines, and whether all are good.
  [[nodiscard]] std::pair<bool, std::string> run() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Check> checks_;  // guarded by mutex_
};

class HealthServer {
 public:
  // All three outlive the server.
  HealthServer(const Checks& alive, const Checks& ready, const Metrics& metrics)
      : alive_(alive), ready_(ready), metrics_(metrics) {}
  ~HealthServer() { stop(); }
  HealthServer(const HealthServer&) = delete;
  HealthServer& operator=(const HealthServer&) = delete;

  // Listens on all addresses, IPv6 and IPv4 alike; port 0 takes a free one. kUnavailable where the port is
  // taken.
  [[nodiscard]] base::Result<> start(std::uint16_t port);
  void stop();
  [[nodiscard]] std::uint16_t port() const { return port_; }

  // The whole reply to a request's first line (for tests).
  [[nodiscard]] std::string reply(std::string_view request_line) const;

 private:
  void serve(const std::stop_token& stop);

  const Checks& alive_;
  const Checks& ready_;
  const Metrics& metrics_;
  base::Fd listening_, wake_read_, wake_write_;
  std::uint16_t port_ = 0;
  std::jthread thread_;
};

}  // namespace pgrunbook::runtime
