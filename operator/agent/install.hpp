// `pgrunbook-agent install FILE`: copies this program, for an init container whose image has no shell and no
// cp.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"

namespace pgrunbook::agent {

// Copies `program` to `path` (mode 0555): whole, synced, never over other content (kConflict). The same
// content again is fine. Returns its SHA-256.
[[nodiscard]] base::Result<std::string> install_program(const std::string& program, const std::string& path);
int install_command(const std::vector<std::string>& arguments);

}  // namespace pgrunbook::agent
