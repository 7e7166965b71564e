#include "kube/transport.hpp"

#include <cerrno>

#include <gtest/gtest.h>

namespace pgrunbook::kube {
namespace {

using base::ErrorCode;

struct ClassifyCase {
  int code;
  const char* message;
  Fault fault;
};

// Numbers and texts as libcpprest 2.10.18 reports them; 104 and 32 are ECONNRESET and EPIPE.
TEST(TransportFaults, ClassifiesWhatTheLibraryReports) {
  const ClassifyCase cases[] = {
      {ETIMEDOUT, "Failed to read HTTP status line", Fault::kTimeout},
      {ETIMEDOUT, "Failed to connect to any resolved endpoint", Fault::kTimeout},
      {ECANCELED, "Request canceled by user.", Fault::kCancelled},
      {EHOSTUNREACH, "Error resolving address", Fault::kResolve},
      {1, "Error resolving address", Fault::kResolve},
      {0, "Failed to resolve address", Fault::kResolve},
      {EHOSTUNREACH, "Failed to connect to any resolved endpoint", Fault::kConnect},
      {167772294, "Error in SSL handshake", Fault::kTls},
      {167772454, "Error in SSL handshake", Fault::kConnect},
      {1, "Error in SSL handshake", Fault::kConnect},
      {ECONNRESET, "Error in SSL handshake", Fault::kConnect},
      {EPIPE, "Failed to write request body", Fault::kWrite},
      {EHOSTUNREACH, "Failed to write request headers", Fault::kWrite},
      {ECONNRESET, "Failed to read HTTP status line", Fault::kRead},
      {2, "Retrieving message chunk header", Fault::kRead},
      {1, "Failed to read chunked response part", Fault::kRead},
      {0, "Invalid chunked response header", Fault::kRead},
      {0, "credentials: certificate authority: cannot open /x: No such file or directory",
       Fault::kCredentials},
      {0, "too large: over 10 bytes", Fault::kTooLarge},
      {12345, "anything new", Fault::kRead},
  };
  for (const auto& c : cases) EXPECT_EQ(classify(c.code, c.message), c.fault) << c.code << " " << c.message;
}

TEST(TransportFaults, OnlyAWriteThatWasBegunIsInDoubt) {
  const Sent read{}, unsent{true, false}, begun{true, true};
  struct Row {
    Fault fault;
    ErrorCode for_read, for_unsent, for_begun;
  };
  const Row rows[] = {
      {Fault::kTimeout, ErrorCode::kTimeout, ErrorCode::kTimeout, ErrorCode::kInDoubt},
      {Fault::kCancelled, ErrorCode::kCancelled, ErrorCode::kCancelled, ErrorCode::kInDoubt},
      {Fault::kResolve, ErrorCode::kUnavailable, ErrorCode::kUnavailable, ErrorCode::kUnavailable},
      {Fault::kConnect, ErrorCode::kUnavailable, ErrorCode::kUnavailable, ErrorCode::kUnavailable},
      {Fault::kTls, ErrorCode::kUnavailable, ErrorCode::kUnavailable, ErrorCode::kUnavailable},
      {Fault::kCredentials, ErrorCode::kUnauthorized, ErrorCode::kUnauthorized, ErrorCode::kUnauthorized},
      {Fault::kTooLarge, ErrorCode::kCorrupt, ErrorCode::kCorrupt, ErrorCode::kInDoubt},
      {Fault::kWrite, ErrorCode::kUnavailable, ErrorCode::kUnavailable, ErrorCode::kUnavailable},
      {Fault::kRead, ErrorCode::kUnavailable, ErrorCode::kUnavailable, ErrorCode::kInDoubt},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(fault_error(row.fault, read, "x").code, row.for_read) << static_cast<int>(row.fault);
    EXPECT_EQ(fault_error(row.fault, unsent, "x").code, row.for_unsent) << static_cast<int>(row.fault);
    EXPECT_EQ(fault_error(row.fault, begun, "x").code, row.for_begun) << static_cast<int>(row.fault);
  }
}

TEST(TransportFaults, SaysFactAndHint) {
  EXPECT_EQ(fault_error(Fault::kResolve, {}, "Error resolving address").text(),
            "the API server's name was not resolved (Error resolving address). HINT: see whether DNS works "
            "here and "
            "a NetworkPolicy allows it (UDP and TCP 53)");
  EXPECT_EQ(
      fault_error(Fault::kRead, {true, true}, "reset").text(),
      "the connection broke before the reply was complete (reset); it was sent, so it may have been done");
  EXPECT_EQ(fault_error(Fault::kCredentials, {}, "credentials: cannot open /ca").text(),
            "cannot open /ca. HINT: see the files named in the kubeconfig or the service account's mount");
}

TEST(ServerAddress, MustBeHttpsAndNoLiteralOfIPv6) {
  EXPECT_TRUE(check_server("https://10.96.0.1:443"));
  EXPECT_TRUE(check_server("https://kubernetes.default.svc"));
  EXPECT_EQ(check_server("http://10.96.0.1").error().code, ErrorCode::kInvalid);
  EXPECT_EQ(check_server("").error().code, ErrorCode::kInvalid);
  EXPECT_EQ(check_server("https://[fd00::1]:443").error().text(),
            "API server 'https://[fd00::1]:443' is an IPv6 literal, which our HTTP library cannot use. HINT: "
            "write a DNS "
            "name that is in the API server's certificate");
}

TEST(ServerAddress, InClusterIPv6BecomesTheName) {
  EXPECT_EQ(in_cluster_server("10.96.0.1", "443"), "https://10.96.0.1:443");
  EXPECT_EQ(in_cluster_server("fd00:10:96::1", "443"), "https://kubernetes.default.svc:443");
  EXPECT_TRUE(check_server(in_cluster_server("fd00:10:96::1", "443")));
}

}  // namespace
}  // namespace pgrunbook::kube
