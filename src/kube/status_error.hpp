// The API server's refusals (metav1.Status) as base::Error.
#pragma once

#include <string_view>

#include "kube/client.hpp"
#include "kube/transport.hpp"

namespace pgrunbook::kube {

// `what` is the act in our words ("patch jobs/x"), `write` whether it may have changed anything: a 500, 502
// or 504 on a write leaves that unknown (an etcd timeout is one), so it is kInDoubt.
[[nodiscard]] base::Error status_error(const Response& response, std::string_view what, bool write);
// As status_error, for a JSON patch: its failed "test" is kConflict. The API server reports it as 422 with
// one fixed sentence (apimachinery errors.NewGenericServerResponse), the same for a path that is not there.
[[nodiscard]] base::Error json_patch_error(const Response& response, std::string_view what);

}  // namespace pgrunbook::kube
