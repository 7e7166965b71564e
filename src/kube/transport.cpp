#include "kube/transport.hpp"

#include <cerrno>

#include <fmt/format.h>

namespace pgrunbook::kube {

using base::Error;
using base::ErrorCode;

Fault classify(int code, std::string_view message) {
  if (message.starts_with(kCredentialsPrefix)) return Fault::kCredentials;
  if (message.starts_with(kTooLargePrefix)) return Fault::kTooLarge;
  if (code == ETIMEDOUT) return Fault::kTimeout;
  if (code == ECANCELED) return Fault::kCancelled;
  if (message.starts_with("Error resolving address") || message.starts_with("Failed to resolve address")) {
    return Fault::kResolve;
  }
  if (message.starts_with("Failed to connect")) return Fault::kConnect;
  // OpenSSL's packed errors start far above errno: library number in the bits from 23 on, reason below.
  // Reason 294 is SSL_R_UNEXPECTED_EOF_WHILE_READING: cut off, not refused.
  if (message.starts_with("Error in SSL handshake")) {
    return code >= 1 << 20 && (code & 0x7FFFFF) != 294 ? Fault::kTls : Fault::kConnect;
  }
  if (message.starts_with("Failed to write request")) return Fault::kWrite;
  return Fault::kRead;
}

Error fault_error(Fault fault, Sent sent, std::string_view detail) {
  const bool in_doubt = sent.write && sent.begun;
  auto lost = [&](ErrorCode otherwise, std::string reason, std::string_view fact, std::string hint) {
    Error e = in_doubt ? base::error(ErrorCode::kInDoubt,
                                     fmt::format("{}; it was sent, so it may have been done", fact))
                       : base::error(otherwise, std::string(fact), std::move(hint));
    e.reason = std::move(reason);
    return e;
  };
  switch (fault) {
    case Fault::kTimeout:
      return lost(ErrorCode::kTimeout, "Timeout", "the API server did not answer in time",
                  "see whether the API server is up and reachable from here");
    case Fault::kCancelled:
      return lost(ErrorCode::kCancelled, "Cancelled", "asked to stop", {});
    case Fault::kResolve: {
      Error e = base::error(ErrorCode::kUnavailable,
                            fmt::format("the API server's name was not resolved ({})", detail),
                            "see whether DNS works here and a NetworkPolicy allows it (UDP and TCP 53)");
      e.reason = "NameNotResolved";
      return e;
    }
    case Fault::kConnect: {
      Error e =
          base::error(ErrorCode::kUnavailable, fmt::format("no connection to the API server ({})", detail),
                      "see whether it is up and a NetworkPolicy allows to reach it");
      e.reason = "NoConnection";
      return e;
    }
    case Fault::kTls: {
      Error e = base::error(
          ErrorCode::kUnavailable, fmt::format("the API server's certificate is not accepted ({})", detail),
          "it must be signed by the configured authority, name the host we call, and be in date");
      e.reason = "CertificateNotAccepted";
      return e;
    }
    case Fault::kCredentials: {
      Error e = base::error(ErrorCode::kUnauthorized,
                            std::string(detail.substr(std::min(detail.size(), kCredentialsPrefix.size()))),
                            "see the files named in the kubeconfig or the service account's mount");
      e.reason = "BadCredentials";
      return e;
    }
    case Fault::kTooLarge:
      return lost(ErrorCode::kCorrupt, "TooLarge", "the reply is over the size limit", {});
    case Fault::kWrite: {
      Error e = base::error(ErrorCode::kUnavailable,
                            fmt::format("the connection broke before all was sent ({})", detail));
      e.reason = "ConnectionBroken";
      return e;
    }
    case Fault::kRead:
      return lost(ErrorCode::kUnavailable, "ConnectionBroken",
                  fmt::format("the connection broke before the reply was complete ({})", detail), {});
  }
  return base::error(ErrorCode::kInternal, std::string(detail));
}

base::Result<> check_server(std::string_view server) {
  constexpr std::string_view kScheme = "https://";
  if (!server.starts_with(kScheme) || server.size() == kScheme.size()) {
    return base::fail(ErrorCode::kInvalid, fmt::format("API server '{}' is not an https address", server),
                      "write it like https://kubernetes.default.svc:443");
  }
  if (server[kScheme.size()] == '[') {
    return base::fail(
        ErrorCode::kInvalid,
        fmt::format("API server '{}' is an IPv6 literal, which our HTTP library cannot use", server),
        "write a DNS name that is in the API server's certificate");
  }
  return {};
}

std::string in_cluster_server(std::string_view host, std::string_view port) {
  if (host.find(':') != std::string_view::npos) return fmt::format("https://kubernetes.default.svc:{}", port);
  return fmt::format("https://{}:{}", host, port);
}

}  // namespace pgrunbook::kube
