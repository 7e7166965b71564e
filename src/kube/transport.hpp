// One HTTP exchange with the API server. Two methods, so that the library behind them (cpprestsdk, archived
// upstream) can be replaced in one file, and so that a test can put a script in its place.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/time.hpp"
#include "kube/client.hpp"

namespace pgrunbook::kube {

struct Request {
  std::string method = "GET";
  std::string target;          // path and query, percent-encoded: "/api/v1/pods?limit=500"
  std::string content_type{};  // of the body
  std::string body{};          // every write must have one: see Transport::send
  std::string accept = "application/json";
  std::size_t body_limit = std::size_t{64}
                           << 20;  // bytes of the reply; a longer one is kCorrupt, reason TooLarge
};

struct Response {
  int status = 0;
  std::string body;
  std::optional<std::chrono::milliseconds> retry_after{};  // from the header Retry-After, seconds form only
};

// How a stream ended by the server's own will. Status 200: all bytes were handed out and the end was clean.
// Any other status: nothing was handed out, `body` is the reply (at most 1 MiB).
struct StreamEnd {
  int status = 0;
  std::string body;
  std::optional<std::chrono::milliseconds> retry_after{};
};

// Receives a stream's bytes on the calling thread; an error ends the stream and is returned by stream().
using OnStream = std::function<base::Result<>(std::string_view)>;

// Both methods block, may be called from any thread, and return an error only where no complete reply
// arrived:
//   kUnavailable  not sent, or nothing of it can have been processed, or a read's reply was lost
//   kInDoubt      a write (not GET) was sent, at least in part, and its reply is lost
//   kTimeout      the deadline passed; for a write: before its body was begun, so nothing happened
//   kCancelled    `stop` was asked; for a write with the same guarantee
//   kCorrupt      reply over the limit (of a write: kInDoubt)
// Redirects are not followed (a 3xx is a reply like any other): a redirect would carry the bearer token
// elsewhere.
class Transport {
 public:
  virtual ~Transport() = default;
  // A GET that fails on a connection the server had closed is sent once more on a new connection; so is a
  // write whose bytes could not be sent completely. A write that was sent is never sent twice (but see
  // shared_writes). A 401 reads
  // the token file again and, where it has changed, tries once more.
  [[nodiscard]] virtual base::Result<Response> send(const Request& request, base::Deadline deadline,
                                                    std::stop_token stop) = 0;
  // A GET whose reply is handed out as it arrives. `idle` is the longest silence: a peer that vanished never
  // says so.
  [[nodiscard]] virtual base::Result<StreamEnd> stream(const Request& request, const OnStream& on_bytes,
                                                       std::chrono::milliseconds idle,
                                                       std::stop_token stop) = 0;
};

struct TransportOptions {
  // Longest silence of send(), besides its deadline.
  std::chrono::milliseconds unary_idle = std::chrono::seconds(60);
  // Writes share connections as GETs do, and may then be sent twice. Only where each of them says which
  // version it replaces, so that the second is refused: the handshake is most of what renewing a Lease costs.
  bool shared_writes = false;
};
[[nodiscard]] std::shared_ptr<Transport> make_cpprest_transport(const Config& config,
                                                                TransportOptions options = {});

// What an exception of the HTTP library means. It carries a number of mixed categories, relabelled as errno,
// and one of a handful of fixed texts; only 110 and 125 can be trusted as numbers.
enum class Fault {
  kTimeout,      // the library's own silence limit
  kCancelled,    // our token was cancelled
  kResolve,      // the name was not resolved
  kConnect,      // no connection, or cut during the TLS handshake
  kTls,          // the handshake failed on its content: certificate not trusted, wrong name, wrong version
  kCredentials,  // our own CA, certificate or key could not be loaded (raised by us)
  kTooLarge,     // reply over the limit (raised by us)
  kWrite,        // the request could not be sent completely
  kRead,         // anything while reading the reply
};
[[nodiscard]] Fault classify(int code, std::string_view message);

// What is known about a request when its exchange broke.
struct Sent {
  bool write = false;  // not GET
  bool begun = false;  // some of the body may be on the wire (a write without a body: always)
};
// The rule in one table: what a broken exchange means for the caller. `detail` is the library's text.
[[nodiscard]] base::Error fault_error(Fault fault, Sent sent, std::string_view detail);

// Prefixes of the exceptions we throw through the library.
inline constexpr std::string_view kCredentialsPrefix = "credentials: ";
inline constexpr std::string_view kTooLargePrefix = "too large: ";

// Checks a server address: https, a host, no IPv6 literal (cpprestsdk hands the brackets to the resolver).
[[nodiscard]] base::Result<> check_server(std::string_view server);
// "https://10.0.0.1:443"; an IPv6 address becomes the name kubernetes.default.svc, which the API server's
// certificate carries in every cluster.
[[nodiscard]] std::string in_cluster_server(std::string_view host, std::string_view port);

}  // namespace pgrunbook::kube
