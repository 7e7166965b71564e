// The Api over a Transport: paths, queries, pages, patches, watches.
#pragma once

#include <memory>

#include "kube/client.hpp"
#include "kube/transport.hpp"

namespace pgrunbook::kube {

// Numbers a test makes smaller.
struct RestOptions {
  int page = 100;
  // timeoutSeconds of a watch is chosen at random between these, so that a restart's watches do not end
  // together.
  int watch_seconds_least = 240, watch_seconds_most = 290;
  // Silence beyond timeoutSeconds after which the peer counts as gone (as kube-rs does).
  std::chrono::milliseconds idle_margin = std::chrono::seconds(5);
  std::size_t longest_line = std::size_t{16} << 20;
};

// Thread-safe where the transport is; holds no other state.
[[nodiscard]] std::unique_ptr<Api> make_rest_client(std::shared_ptr<Transport> transport,
                                                    RestOptions options = {});

// Percent-encodes for a query value or a path segment (RFC 3986 unreserved characters stay).
[[nodiscard]] std::string percent_encode(std::string_view text);

inline constexpr std::string_view kFieldManager = "pgrunbook";

}  // namespace pgrunbook::kube
