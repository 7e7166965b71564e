// TLS over plain sockets for tests: certificates made on the spot, and a socket that can misbehave on
// purpose.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgrunbook::test {

struct Identity {
  std::string certificate;  // PEM
  std::string key;          // PEM
};

// A certificate authority of its own, valid for a day.
class Authority {
 public:
  explicit Authority(const std::string& name);
  [[nodiscard]] const std::string& pem() const { return self_.certificate; }
  // A certificate for these names: "DNS:localhost", "IP:127.0.0.1"; none: for a client. The common name must
  // differ from the authority's, or the certificate looks self-signed.
  [[nodiscard]] Identity issue(const std::string& common_name, const std::vector<std::string>& names) const;

 private:
  Identity self_;
};

// One connection, as server or client. Blocking; one thread reads and writes, shutdown() may come from
// another.
class TlsSocket {
 public:
  TlsSocket() = default;
  // Takes the descriptor over and does the handshake as the server; invalid where that fails.
  // `client_authority`: the PEM a client certificate must be signed by; empty: none is asked for.
  static std::shared_ptr<TlsSocket> accept(int fd, const Identity& identity,
                                           const std::string& client_authority = {});
  // As the client; checks the server's certificate against `authority` alone, and its name or address.
  static std::shared_ptr<TlsSocket> connect(const std::string& host, const std::string& port,
                                            const std::string& authority, const Identity& identity = {});
  ~TlsSocket();
  TlsSocket(const TlsSocket&) = delete;
  TlsSocket& operator=(const TlsSocket&) = delete;

  // Bytes, "" at the end or on any failure.
  std::string read();
  bool write(std::string_view bytes);
  // Closes as a dying process does: TCP reset, no TLS goodbye.
  void reset();
  // Closes properly: TLS close_notify, FIN.
  void close();
  // Wakes whoever blocks in read or write.
  void shutdown();
  [[nodiscard]] std::string error() const { return error_; }

 private:
  void close_fd();
  void* context_ = nullptr;  // SSL_CTX
  void* ssl_ = nullptr;      // SSL
  // shutdown() comes from another thread than the rest: it must not meet a descriptor that is just being
  // closed.
  std::mutex closing_;
  int fd_ = -1;  // written with closing_ held
  std::string error_;
};

// Listens on a loopback address; port 0 takes a free one. Returns the descriptor.
int listen_on(const std::string& address, std::uint16_t port, std::uint16_t* bound);

}  // namespace pgrunbook::test
