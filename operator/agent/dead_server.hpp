// What a data directory on which no server runs tells of its last one: for people who decide, never for our
// own decisions.
#pragma once

#include <string>

#include "base/json.hpp"

namespace pgrunbook::agent {

// {controlFile, log?: {file, reason, what, line}}. controlFile is pg_control's state ("in production" where
// the server was killed), or "destroyed: why", or "missing". The directory is only read. `log` is there where
// the server kept its log below the data directory and it ends in a message that is known.
[[nodiscard]] base::Json describe_dead_server(const std::string& data_directory);

}  // namespace pgrunbook::agent
