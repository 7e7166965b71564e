// The role pgrunbook in PostgreSQL: what it is and may.
#pragma once

#include <string>
#include <vector>

namespace pgrunbook::agent {

// Statements, each one line, for a superuser in database postgres: makes the role where it is missing, gives
// it LOGIN, REPLICATION, the password verifier and the rights the operator needs, and nothing more. `major`
// decides what exists: pg_checkpoint from 15 on, the backup functions' names before and after 15.
[[nodiscard]] std::vector<std::string> role_statements(int major, const std::string& verifier);

}  // namespace pgrunbook::agent
