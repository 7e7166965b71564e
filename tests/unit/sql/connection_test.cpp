// The controller's connections: what each refusal of a server means for the caller, deadlines that hold, and
// passwords that appear in no message.
#include "sql/connection.hpp"

#include <gtest/gtest.h>

#include "unit/sql/fake_postgres.hpp"

namespace pgrunbook::sql {
namespace {

using base::ErrorCode;
using std::chrono::milliseconds;
using std::chrono::seconds;
using test::FakePostgres;
using Reply = FakePostgres::Reply;

Deadline soon() { return Deadline::after(seconds(10)); }

TEST(SqlInteger, IsTheNumberOfAColumnAndZeroForNull) {
  EXPECT_EQ(integer("0"), 0);
  EXPECT_EQ(integer("-42"), -42);
  EXPECT_EQ(integer("9223372036854775807"), 9'223'372'036'854'775'807);  // a bigint's greatest
  EXPECT_EQ(integer(std::nullopt), 0);
}

TEST(Connections, AnswerInRowsWithAbsentNulls) {
  FakePostgres server([](const std::string&, const std::vector<std::string>&) {
    return Reply{{{"1", std::nullopt, ""}, {"zwei", "a\nb", "ä"}}};
  });
  auto c = Connection::open(server.target(), soon());
  ASSERT_TRUE(c.has_value()) << c.error().text();
  auto rows = c->query("select $1, $2", {"x", "it's"}, soon());
  ASSERT_TRUE(rows.has_value()) << rows.error().text();
  EXPECT_EQ(*rows, (Rows{{"1", std::nullopt, ""}, {"zwei", "a\nb", "ä"}}));
  EXPECT_EQ(server.statements(), std::vector<std::string>{"select $1, $2 [x] [it's]"});
  EXPECT_EQ(server.password(), "the-password");
}

TEST(Connections, ValueIsTheFirstColumnOfTheFirstRow) {
  Rows rows;
  FakePostgres server([&](const std::string&, const std::vector<std::string>&) { return Reply{rows}; });
  auto c = Connection::open(server.target(), soon());
  ASSERT_TRUE(c.has_value());
  rows = {{"7", "8"}, {"9", "10"}};
  EXPECT_EQ(*c->value("select", soon()), "7");
  for (Rows empty : {Rows{}, Rows{{std::nullopt}}}) {
    rows = empty;
    auto none = c->value("select", soon());
    ASSERT_FALSE(none.has_value());
    EXPECT_EQ(none.error().code, ErrorCode::kNotFound);
    EXPECT_EQ(none.error().message, "tfrs@127.0.0.1:" + std::to_string(server.port()) + "/tfrs: no row");
  }
}

struct Refused {
  const char* name;
  const char* sqlstate;
  const char* message;
  ErrorCode code;
  const char* reason;
};

class RefusedConnections : public ::testing::TestWithParam<Refused> {};

TEST_P(RefusedConnections, WhileConnectingSayWhatTheCallerCanDo) {
  FakePostgres server;
  server.refuse(FakePostgres::Refusal{GetParam().sqlstate, GetParam().message});
  auto c = Connection::open(server.target(), soon());
  ASSERT_FALSE(c.has_value());
  EXPECT_EQ(c.error().code, GetParam().code) << c.error().text();
  EXPECT_EQ(c.error().reason_or_code(), GetParam().reason);
  EXPECT_NE(c.error().message.find(GetParam().message), std::string::npos) << c.error().text();
  EXPECT_EQ(c.error().message.rfind("tfrs@127.0.0.1:", 0), 0U);
  EXPECT_EQ(c.error().text().find("the-password"), std::string::npos);
  EXPECT_EQ(c.error().text().find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    Table, RefusedConnections,
    ::testing::Values(Refused{"WrongPassword", "28P01", "password authentication failed for user \"tfrs\"",
                              ErrorCode::kUnauthorized, "AuthenticationFailed"},
                      Refused{"NoRole", "28000", "role \"tfrs\" does not exist", ErrorCode::kUnauthorized,
                              "AuthenticationFailed"},
                      Refused{"NoPgHba", "28000",
                              "no pg_hba.conf entry for host \"10.0.0.9\", user \"tfrs\", database \"tfrs\"",
                              ErrorCode::kUnauthorized, "NoPgHbaEntry"},
                      Refused{"Starting", "57P03", "the database system is starting up",
                              ErrorCode::kUnavailable, "StartingUp"},
                      Refused{"NotYet", "57P03", "the database system is not yet accepting connections",
                              ErrorCode::kUnavailable, "StartingUp"},
                      Refused{"ShuttingDown", "57P03", "the database system is shutting down",
                              ErrorCode::kUnavailable, "ShuttingDown"},
                      Refused{"TooMany", "53300", "sorry, too many clients already", ErrorCode::kUnavailable,
                              "Unreachable"}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(Statements, ThatFailSayWhatTheCallerCanDo) {
  struct {
    const char* sqlstate;
    const char* message;
    ErrorCode code;
    const char* reason;
  } table[] = {
      {"42501", "permission denied for function pg_switch_wal", ErrorCode::kForbidden,
       "InsufficientPrivilege"},
      {"42P01", "relation \"x\" does not exist", ErrorCode::kInvalid, "Invalid"},
      {"57P01", "terminating connection due to administrator command", ErrorCode::kUnavailable,
       "ShuttingDown"},
      {"25006", "cannot execute CREATE TABLE in a read-only transaction", ErrorCode::kInvalid, "Invalid"}};
  FakePostgres::Refusal next;
  FakePostgres server([&](const std::string& sql, const std::vector<std::string>&) {
    if (sql == "ok") return Reply{{{"1"}}};
    Reply r;
    r.error = next;
    return r;
  });
  auto c = Connection::open(server.target(), soon());
  ASSERT_TRUE(c.has_value());
  for (const auto& row : table) {
    next = {row.sqlstate, row.message};
    auto failed = c->query("bad", {}, soon());
    ASSERT_FALSE(failed.has_value());
    EXPECT_EQ(failed.error().code, row.code) << row.sqlstate;
    EXPECT_EQ(failed.error().reason_or_code(), row.reason);
    EXPECT_EQ(failed.error().message,
              "tfrs@127.0.0.1:" + std::to_string(server.port()) + "/tfrs: ERROR:  " + row.message);
    EXPECT_EQ(*c->value("ok", soon()), "1") << "the connection goes on";
  }
}

TEST(ConnectionDeadlines, HoldWhileConnecting) {
  FakePostgres server;
  server.be_silent(true);
  auto start = std::chrono::steady_clock::now();
  auto c = Connection::open(server.target(), Deadline::after(milliseconds(200)));
  ASSERT_FALSE(c.has_value());
  EXPECT_EQ(c.error().code, ErrorCode::kTimeout);
  EXPECT_EQ(c.error().reason, "Unreachable");
  EXPECT_EQ(c.error().text(), "tfrs@127.0.0.1:" + std::to_string(server.port()) +
                                  "/tfrs: no answer in time. HINT: check that NetworkPolicies let pods "
                                  "labelled app.kubernetes.io/name=pgrunbook reach "
                                  "the member on its port, and that the pod is ready");
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(5));
}

TEST(ConnectionDeadlines, HoldForAStatement) {
  FakePostgres server([](const std::string&, const std::vector<std::string>&) {
    Reply r;
    r.hang = true;
    return r;
  });
  auto c = Connection::open(server.target(), soon());
  ASSERT_TRUE(c.has_value());
  auto late = c->query("select pg_sleep(3600)", {}, Deadline::after(milliseconds(200)));
  ASSERT_FALSE(late.has_value());
  EXPECT_EQ(late.error().code, ErrorCode::kTimeout);
  EXPECT_EQ(late.error().message,
            "tfrs@127.0.0.1:" + std::to_string(server.port()) + "/tfrs: a statement did not end in time");
}

TEST(Connections, ThatBreakAreUnavailable) {
  FakePostgres server([](const std::string&, const std::vector<std::string>&) {
    Reply r;
    r.close = true;
    return r;
  });
  auto c = Connection::open(server.target(), soon());
  ASSERT_TRUE(c.has_value());
  auto broken = c->query("select 1", {}, soon());
  ASSERT_FALSE(broken.has_value());
  EXPECT_EQ(broken.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(broken.error().reason, "Unreachable");
}

TEST(Connections, ToNobodyAreUnavailable) {
  Target t;
  {
    FakePostgres gone;
    t = gone.target();
  }
  auto c = Connection::open(t, soon());
  ASSERT_FALSE(c.has_value());
  EXPECT_EQ(c.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(c.error().reason, "Unreachable");
}

// A server in front of ours that asks for the password in clear gets it only where TLS is not asked for.
TEST(Connections, ThatMustBeEncryptedAreRefusedByAServerWithoutTls) {
  FakePostgres server;
  Target t = server.target();
  t.ssl_mode = "require";
  auto c = Connection::open(t, soon());
  ASSERT_FALSE(c.has_value());
  EXPECT_EQ(server.password(), "");
}

}  // namespace
}  // namespace pgrunbook::sql
