#include "agent/verification.hpp"

#include <fmt/format.h>

namespace pgrunbook::agent {
namespace {

constexpr auto kStatementLimit = std::chrono::seconds(60);
constexpr auto kProcessLimit = std::chrono::seconds(75);

postgres::PsqlTarget read_only(postgres::PsqlTarget target) {
  target.environment.emplace_back(
      "PGOPTIONS",
      fmt::format("-c default_transaction_read_only=on -c statement_timeout={}s", kStatementLimit.count()));
  return target;
}

// A text from a user never begins with a backslash: psql would take it for a command of its own, a shell's
// among them.
std::string only_sql(const std::string& sql) { return " " + sql; }

base::Result<std::string> first_column(const postgres::PsqlTarget& target, const std::string& sql) {
  auto value = postgres::psql_value(target, only_sql(sql), base::Deadline::after(kProcessLimit));
  if (!value && value.error().code == base::ErrorCode::kNotFound) return std::string();  // no row
  return value;
}

}  // namespace

std::string quote_table(const std::string& name) {
  std::string out = "\"";
  for (char c : name) {
    if (c == '.') {
      out += "\".\"";
      continue;
    }
    if (c == '"') out.push_back('"');
    out.push_back(c);
  }
  return out + "\"";
}

base::Result<Verified> verify(const PrivateServer& server, const std::string& superuser,
                              const ApplicationRole& role, const api::RecoverOrder& order) {
  Verified out;
  PGR_ASSIGN(auto rows, postgres::psql(server.as(superuser, "postgres"),
                                       {"SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1"},
                                       base::Deadline::after(kProcessLimit)));
  for (const auto& row : rows) {
    auto reached = postgres::psql_value(server.as(superuser, row.front()), "SELECT 1",
                                        base::Deadline::after(kProcessLimit));
    if (!reached)
      return base::fail_as(base::ErrorCode::kConflict, "DatabaseUnreachable",
                           fmt::format("database {}: {}", row.front(), reached.error().message));
    out.databases.push_back(row.front());
  }
  if (order.queries.empty() && order.counts.empty()) return out;
  if (role.user.empty()) {
    return base::fail_as(base::ErrorCode::kConflict, "ApplicationRoleMissing",
                         "there are verification queries, but no role to run them as",
                         "set connection.secretRef");
  }
  auto target =
      read_only(server.as(role.user, order.database.empty() ? "postgres" : order.database, role.password));
  auto login = postgres::psql_value(target, "SELECT 1", base::Deadline::after(kProcessLimit));
  if (!login) {
    return base::fail_as(
        base::ErrorCode::kConflict, "ApplicationRoleRefused",
        fmt::format("the role {} cannot log in to the restored server: {}", role.user, login.error().message),
        "roles have the passwords of the target's time; put that one into connection.secretRef, or restore "
        "without verification");
  }
  for (const api::Query& q : order.queries) {
    auto got = first_column(target, q.sql);
    if (!got)
      return base::fail_as(base::ErrorCode::kConflict, "VerificationFailed",
                           fmt::format("{} failed: {}", q.sql, got.error().message));
    out.queries.push_back({{"sql", q.sql}, {"expect", q.expect}, {"got", *got}});
    if (*got != q.expect) {
      return base::fail_as(base::ErrorCode::kConflict, "VerificationMismatch",
                           fmt::format("{} gave {}, expected was {}", q.sql, *got, q.expect),
                           "choose another target, or correct the expectation");
    }
  }
  for (const std::string& table : order.counts) {
    auto got = first_column(target, fmt::format("SELECT count(*) FROM {}", quote_table(table)));
    if (got && !got->empty()) {
      out.counts[table] = std::stoll(*got);
    } else {
      out.counts[table] = nullptr;
    }
  }
  return out;
}

}  // namespace pgrunbook::agent
