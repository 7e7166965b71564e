#include "sql/connection.hpp"

#include <charconv>
#include <poll.h>

#include <fmt/format.h>
#include <libpq-fe.h>

namespace pgrunbook::sql {

using base::Error;
using base::ErrorCode;
using base::fail;

std::int64_t integer(const std::optional<std::string>& value) {
  std::int64_t number = 0;
  if (value) std::from_chars(value->data(), value->data() + value->size(), number);
  return number;
}

struct Connection::Handle {
  PGconn* pg = nullptr;
  std::string where;  // "user@host:port/database", for messages
  ~Handle() { PQfinish(pg); }
};

namespace {

std::string one_line(const char* text) {
  std::string out = text == nullptr ? "" : text;
  while (!out.empty() && (out.back() == '\n' || out.back() == ' ')) out.pop_back();
  for (char& c : out) {
    if (c == '\n') c = ' ';
  }
  return out;
}

Error classified(const std::string& sqlstate, const std::string& text, const std::string& where) {
  Error e = base::error(ErrorCode::kInvalid, fmt::format("{}: {}", where, text));
  auto says = [&](std::string_view part) { return text.find(part) != std::string::npos; };
  if (sqlstate.rfind("28", 0) == 0 || says("password authentication failed") ||
      says("no pg_hba.conf entry") || (says("role \"") && says("does not exist"))) {
    e.code = ErrorCode::kUnauthorized;
    bool hba = says("no pg_hba.conf entry");
    e.reason = hba ? "NoPgHbaEntry" : "AuthenticationFailed";
    e.hint =
        hba ? "add a line for this role to that server's pg_hba.conf and reload it, like: host all " +
                  where.substr(0, where.find('@')) + " all scram-sha-256"
            : "the Secret and the server disagree about this role: correct the Secret, or set the role's "
              "password there";
  } else if (sqlstate == "42501") {
    e.code = ErrorCode::kForbidden;
    e.reason = "InsufficientPrivilege";
    e.hint = "grant it to the role; what the operator's roles need is in docs/security.md";
  } else if (says("shutting down") || sqlstate == "57P01" || sqlstate == "57P02") {
    e.code = ErrorCode::kUnavailable;
    e.reason = "ShuttingDown";
  } else if (sqlstate == "57P03" || says("starting up") || says("not yet accepting connections")) {
    e.code = ErrorCode::kUnavailable;
    e.reason = "StartingUp";
  } else if (sqlstate.empty()) {
    e.code = ErrorCode::kUnavailable;
    e.reason = "Unreachable";
    e.hint = "is the server up and listening on that port? It goes on by itself once it is";
  }
  return e;
}

// Waits until the socket is ready; false at the deadline.
bool wait_for(PGconn* pg, bool to_write, Deadline deadline) {
  pollfd fd{PQsocket(pg), static_cast<short>(to_write ? POLLOUT | POLLIN : POLLIN), 0};
  while (!deadline.passed()) {
    int n = ::poll(&fd, 1, static_cast<int>(deadline.left().count() + 1));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return false;
  }
  return false;
}

}  // namespace

Connection::Connection(std::unique_ptr<Handle> handle) : handle_(std::move(handle)) {}
Connection::~Connection() = default;
Connection::Connection(Connection&&) noexcept = default;
Connection& Connection::operator=(Connection&&) noexcept = default;

Result<Connection> Connection::open(const Target& t, Deadline deadline) {
  std::string port = std::to_string(t.port);
  const char* keys[] = {"host",
                        "port",
                        "user",
                        "password",
                        "dbname",
                        "sslmode",
                        "application_name",
                        "client_encoding",
                        "options",
                        "gssencmode",
                        t.replication ? "replication" : nullptr,
                        nullptr};
  const char* values[] = {
      t.host.c_str(),
      port.c_str(),
      t.user.c_str(),
      t.password.c_str(),
      t.database.c_str(),
      t.ssl_mode.c_str(),
      "pgrunbook",
      "UTF8",
      "-c TimeZone=UTC -c DateStyle=ISO",
      "disable",  // or Kerberos is started in this process to find that there is no ticket
      "true",
      nullptr};
  auto handle = std::make_unique<Handle>();
  handle->where = fmt::format("{}@{}:{}/{}", t.user, t.host, t.port, t.database);
  handle->pg = PQconnectStartParams(keys, values, 0);
  if (handle->pg == nullptr) return fail(ErrorCode::kInternal, "out of memory for a connection");
  PostgresPollingStatusType state = PGRES_POLLING_WRITING;
  while (PQstatus(handle->pg) != CONNECTION_BAD && state != PGRES_POLLING_OK &&
         state != PGRES_POLLING_FAILED) {
    if (!wait_for(handle->pg, state == PGRES_POLLING_WRITING, deadline)) {
      Error e = base::error(
          ErrorCode::kTimeout, fmt::format("{}: no answer in time", handle->where),
          "check that NetworkPolicies let pods labelled app.kubernetes.io/name=pgrunbook reach the "
          "member on its port, and that the pod is ready");
      e.reason = "Unreachable";
      return fail(e);
    }
    state = PQconnectPoll(handle->pg);
  }
  if (PQstatus(handle->pg) != CONNECTION_OK) {
    return fail(classified("", one_line(PQerrorMessage(handle->pg)), handle->where));
  }
  PQsetnonblocking(handle->pg, 1);
  PQsetNoticeProcessor(handle->pg, [](void*, const char*) {}, nullptr);
  return Connection(std::move(handle));
}

Result<Rows> Connection::query(const std::string& sql, const std::vector<std::string>& parameters,
                               Deadline deadline) {
  PGconn* pg = handle_->pg;
  std::vector<const char*> values;
  values.reserve(parameters.size());
  for (const std::string& p : parameters) values.push_back(p.c_str());
  if (PQsendQueryParams(pg, sql.c_str(), static_cast<int>(values.size()), nullptr, values.data(), nullptr,
                        nullptr, 0) == 0) {
    return fail(classified("", one_line(PQerrorMessage(pg)), handle_->where));
  }
  return answer(deadline);
}

Result<Rows> Connection::command(const std::string& text, Deadline deadline) {
  if (PQsendQuery(handle_->pg, text.c_str()) == 0)
    return fail(classified("", one_line(PQerrorMessage(handle_->pg)), handle_->where));
  return answer(deadline);
}

Result<Rows> Connection::answer(Deadline deadline) {
  PGconn* pg = handle_->pg;
  while (PQflush(pg) == 1) {
    if (!wait_for(pg, true, deadline))
      return fail(ErrorCode::kTimeout, handle_->where + ": a statement could not be sent in time");
  }
  Rows rows;
  std::optional<Error> failure;
  while (true) {
    while (PQisBusy(pg) == 1) {
      if (!wait_for(pg, false, deadline))
        return fail(ErrorCode::kTimeout, handle_->where + ": a statement did not end in time");
      if (PQconsumeInput(pg) == 0) return fail(classified("", one_line(PQerrorMessage(pg)), handle_->where));
    }
    std::unique_ptr<PGresult, decltype(&PQclear)> result(PQgetResult(pg), &PQclear);
    if (!result) break;
    ExecStatusType status = PQresultStatus(result.get());
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
      const char* state = PQresultErrorField(result.get(), PG_DIAG_SQLSTATE);
      failure = classified(state == nullptr ? "" : state, one_line(PQresultErrorMessage(result.get())),
                           handle_->where);
      continue;
    }
    for (int r = 0; r < PQntuples(result.get()); ++r) {
      Row row;
      for (int c = 0; c < PQnfields(result.get()); ++c) {
        if (PQgetisnull(result.get(), r, c) == 1) {
          row.emplace_back();
        } else {
          row.emplace_back(PQgetvalue(result.get(), r, c));
        }
      }
      rows.push_back(std::move(row));
    }
  }
  if (failure) return fail(*failure);
  return rows;
}

Result<std::string> Connection::value(const std::string& sql, Deadline deadline) {
  PGR_ASSIGN(Rows rows, query(sql, {}, deadline));
  if (rows.empty() || rows[0].empty() || !rows[0][0])
    return fail(ErrorCode::kNotFound, handle_->where + ": no row");
  return *rows[0][0];
}

}  // namespace pgrunbook::sql
