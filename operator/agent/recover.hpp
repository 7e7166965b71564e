// Recover: a base backup laid down beside the data directory, WAL replayed to the planned place, verified,
// promoted, its timeline archived, and only then exchanged with the data directory.
#pragma once

#include <string>

#include "api/job.hpp"

namespace pgrunbook::agent {

// <dataDirectory>.pgrunbook-<first 8 of the action's uid>
[[nodiscard]] std::string sibling_of(const std::string& data_directory, const std::string& action_uid);

}  // namespace pgrunbook::agent
