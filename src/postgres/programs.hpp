// Where an image keeps PostgreSQL's own programs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace pgrunbook::postgres {

// The absolute path of one of PostgreSQL's programs: in `pg_config --bindir`, then in PATH (but not Debian's
// wrapper script, which wants Perl and a cluster registered with it), then where distributions put them,
// newest major first. `major` (15; 0 = any) excludes directories that name another one. PGRUNBOOK_PG_BINDIR,
// where set, is the only place. kNotFound, reason ProgramMissing, naming the places.
[[nodiscard]] base::Result<std::string> find_program(std::string_view name, int major = 0);

}  // namespace pgrunbook::postgres
