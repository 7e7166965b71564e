// What a restored server is asked before it may go live.
#pragma once

#include <string>
#include <vector>

#include "agent/server.hpp"
#include "api/job.hpp"
#include "base/json.hpp"
#include "base/result.hpp"

namespace pgrunbook::agent {

struct Verified {
  base::Json queries = base::Json::array();  // [{sql, expect, got}]
  base::Json counts =
      base::Json::object();  // {table: rows}, null where it could not be counted; information only
  base::Json databases = base::Json::array();
};

// Runs on a paused server, read-only: a connection to every database; the queries over a connection
// authenticated as the application's role, 60 s each, `expect` against the first column of the first row; the
// counts. kRefused-like failures, reasons: VerificationMismatch (names sql, expected, got),
// VerificationFailed (the server refused a query), ApplicationRoleRefused, DatabaseUnreachable.
[[nodiscard]] base::Result<Verified> verify(const PrivateServer& server, const std::string& superuser,
                                            const ApplicationRole& role, const api::RecoverOrder& order);

// "schema.table" or "table" as an SQL identifier, quoted.
[[nodiscard]] std::string quote_table(const std::string& name);

}  // namespace pgrunbook::agent
