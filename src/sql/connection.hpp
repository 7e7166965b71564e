// The controller's own connections to PostgreSQL: libpq, non-blocking, every call with a deadline.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/time.hpp"

namespace pgrunbook::sql {

using base::Deadline;
using base::Result;

struct Target {
  std::string host;
  int port = 5432;
  std::string user, password;
  std::string database = "postgres";
  std::string ssl_mode = "prefer";
  bool replication = false;  // a session that speaks the replication protocol: only command() is for it
};

// A value is absent where the column is NULL.
using Row = std::vector<std::optional<std::string>>;
using Rows = std::vector<Row>;
// The number in a column of an integer type; 0 where it is NULL.
[[nodiscard]] std::int64_t integer(const std::optional<std::string>& value);

// One connection; one thread at a time. Closing is the destructor's work.
//
// Errors: kUnauthorized for SQLSTATE 28xxx (wrong password, pg_hba), kForbidden for 42501, kUnavailable where
// the server is absent, starting or shutting down (57P0x; Error::reason is then "ShuttingDown" or
// "StartingUp"), kTimeout at the deadline, kInvalid for any other SQL error. Messages never hold the
// password.
class Connection {
 public:
  [[nodiscard]] static Result<Connection> open(const Target& target, Deadline deadline);
  ~Connection();
  Connection(Connection&&) noexcept;
  Connection& operator=(Connection&&) noexcept;

  // One statement with text parameters ($1...).
  [[nodiscard]] Result<Rows> query(const std::string& sql, const std::vector<std::string>& parameters,
                                   Deadline deadline);
  // One command without parameters, as the replication protocol wants it.
  [[nodiscard]] Result<Rows> command(const std::string& text, Deadline deadline);
  // First column of the first row; kNotFound where there is no row or it is NULL.
  [[nodiscard]] Result<std::string> value(const std::string& sql, Deadline deadline);

 private:
  struct Handle;
  [[nodiscard]] Result<Rows> answer(Deadline deadline);
  explicit Connection(std::unique_ptr<Handle> handle);
  std::unique_ptr<Handle> handle_;
};

}  // namespace pgrunbook::sql
