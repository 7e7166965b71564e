// SQL through the image's own psql, for the agent, which links no libpq.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/time.hpp"

namespace pgrunbook::postgres {

struct PsqlTarget {
  std::string program;  // find_program("psql")
  std::string host;     // name, address, or the directory of a socket
  int port = 5432;
  std::string user;  // always explicit: the uid may have no passwd line
  std::string database = "postgres";
  std::string password;                                            // empty = none is sent
  std::vector<std::pair<std::string, std::string>> environment{};  // e.g. {"PGOPTIONS", "-c ..."}
};

using Row = std::vector<std::string>;

// One psql run with -X and ON_ERROR_STOP, in UTC and LC_ALL=C; each statement is one transaction. Returns the
// rows of the last statement. Errors: kUnavailable where no connection came about, kUnauthorized for a wrong
// password, kForbidden for a missing right, kInvalid for what the server refused; the message holds the
// server's words.
[[nodiscard]] base::Result<std::vector<Row>> psql(const PsqlTarget& target,
                                                  const std::vector<std::string>& statements,
                                                  base::Deadline deadline);
// The first column of the first row; kNotFound where there is none.
[[nodiscard]] base::Result<std::string> psql_value(const PsqlTarget& target, const std::string& statement,
                                                   base::Deadline deadline);
// The password for such a program, in a file that only we can read and that goes with this object: arguments
// and environments can be read from outside.
class PasswordFile {
 public:
  // An empty password makes a file without a line.
  [[nodiscard]] static base::Result<PasswordFile> make(const std::string& password);
  PasswordFile(PasswordFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  PasswordFile& operator=(PasswordFile&&) = delete;
  PasswordFile(const PasswordFile&) = delete;
  PasswordFile& operator=(const PasswordFile&) = delete;
  ~PasswordFile();
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  explicit PasswordFile(std::string path) : path_(std::move(path)) {}
  std::string path_;
};
// Environment for any of PostgreSQL's programs that connect: PGHOST, PGPORT, PGUSER, PGDATABASE, PGPASSFILE,
// PGCONNECT_TIMEOUT, TZ=UTC, LC_ALL=C, nothing from ~/.pgpass or a service file.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> connection_environment(
    const PsqlTarget& target, const PasswordFile& password);
// 'it''s', for a literal in a statement.
[[nodiscard]] std::string quote_literal(std::string_view text);

}  // namespace pgrunbook::postgres
