// Passwords as a Job gets them: files of a volume that holds nothing else. Never the environment, which
// anybody who may look at the node's processes can read and which every child inherits.
#pragma once

#include <string>

namespace pgrunbook::agent {

// The bytes of the file of that name (api::secrets) in PGRUNBOOK_SECRETS, by default where Jobs have it; ""
// where there is none.
[[nodiscard]] std::string secret(const std::string& name);

}  // namespace pgrunbook::agent
