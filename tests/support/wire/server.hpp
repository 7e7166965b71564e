// A real TLS HTTP/1.1 server on loopback that does what a test's script says, including what no server
// should.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "support/wire/tls.hpp"

namespace pgrunbook::test {

struct HttpRequest {
  std::string method, target, body;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string head;                            // as it came, with the empty line
  [[nodiscard]] std::string header(const std::string& name) const {
    auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
};

// Reads HTTP messages off a socket. One thread.
class HttpReader {
 public:
  explicit HttpReader(TlsSocket& socket) : socket_(socket) {}
  // A whole request with its body; nothing where the peer ended first.
  std::optional<HttpRequest> request();
  // Everything up to and including the empty line, "" at the end.
  std::string head();
  std::string exactly(std::size_t bytes);
  // Whatever comes next, "" at the end.
  std::string any();

 private:
  bool more();
  TlsSocket& socket_;
  std::string buffer_;
};

// What a script sees of one connection.
struct Connection {
  TlsSocket& socket;
  HttpReader& reader;
  int number;  // 0, 1, ... in order of acceptance
  std::stop_token stop;

  // A whole reply with Content-Length; headers as "Name: value\r\n" lines.
  void reply(int status, const std::string& body, const std::string& headers = {});
  // The start of a chunked reply, and chunks of it.
  void begin_chunked(int status = 200);
  bool chunk(const std::string& bytes);
  void end_chunked() { socket.write("0\r\n\r\n"); }
  // Blocks, reading nothing, until the test ends: a peer that vanished.
  void hang() const;
  // Blocks until the peer has closed.
  void wait_closed();
};

class ScriptedServer {
 public:
  // Runs for each connection on a thread of its own; the connection is closed properly after it.
  using Script = std::function<void(Connection&)>;
  struct Options {
    std::string address = "127.0.0.1";
    std::vector<std::string> names{"DNS:localhost", "IP:127.0.0.1", "IP:::1"};
    std::string client_authority{};
  };
  ScriptedServer(const Authority& authority, Script script)
      : ScriptedServer(authority, std::move(script), Options()) {}
  ScriptedServer(const Authority& authority, Script script, Options options);
  ~ScriptedServer();
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] std::string url(const std::string& host = "127.0.0.1") const {
    return "https://" + host + ":" + std::to_string(port_);
  }
  [[nodiscard]] int connections() const { return connections_; }
  // Connections whose TLS handshake failed.
  [[nodiscard]] int refused() const { return refused_; }

 private:
  void accept_all(std::stop_token stop);

  const Identity identity_;
  const Script script_;
  const Options options_;
  int listening_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<int> connections_ = 0, refused_ = 0;
  std::stop_source stopping_;
  std::mutex mutex_;
  std::vector<std::weak_ptr<TlsSocket>> sockets_;  // guarded by mutex_
  std::vector<std::jthread> workers_;              // the accepting thread's
  std::jthread accepting_;
};

// A condition that a script sets and a test waits for, or the other way round.
class Signal {
 public:
  void set() {
    set_ = true;
    set_.notify_all();
  }
  void wait() { set_.wait(false); }
  [[nodiscard]] bool is_set() const { return set_; }

 private:
  std::atomic<bool> set_ = false;
};

}  // namespace pgrunbook::test
