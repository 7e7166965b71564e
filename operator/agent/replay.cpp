#include "agent/replay.hpp"

#include <thread>

#include <fmt/format.h>

namespace pgrunbook::agent {
namespace {

constexpr auto kLook = std::chrono::milliseconds(200);
constexpr auto kLookLimit = std::chrono::seconds(30);
constexpr auto kStopLimit = std::chrono::minutes(10);
constexpr int kRestarts = 8;  // one per setting would do

base::Result<ReplayState> look(const PrivateServer& server, const ReplayOrder& order) {
  bool has_state = order.settings.major >= 14 && order.settings.major < 90;
  std::string paused = has_state ? "pg_get_wal_replay_pause_state() = 'paused'" : "pg_is_wal_replay_paused()";
  std::string sql = fmt::format(
      "SELECT r, CASE WHEN r THEN {} ELSE false END, coalesce(pg_last_wal_replay_lsn()::text, '0/0') FROM "
      "pg_is_in_recovery() AS r",
      paused);
  PGR_ASSIGN(auto rows, postgres::psql(server.as(order.superuser, "postgres"), {sql},
                                       base::Deadline::after(kLookLimit)));
  if (rows.size() != 1 || rows[0].size() != 3)
    return base::fail(base::ErrorCode::kUnavailable, "no answer about the replay");
  ReplayState state;
  state.in_recovery = rows[0][0] == "t";
  state.paused = rows[0][1] == "t";
  PGR_ASSIGN(state.lsn, postgres::Lsn::parse(rows[0][2]));
  return state;
}

base::Failure ended(const std::string& log) {
  std::string words = last_fatal(log);
  return base::fail_as(
      base::ErrorCode::kUnavailable, "RecoveryEnded",
      fmt::format("the server stopped during recovery: {}", words.empty() ? "it gave no reason" : words));
}

}  // namespace

ReplayVerdict judge(const ReplayState& state, postgres::Lsn reached) {
  if (!state.in_recovery) return ReplayVerdict::kPromoted;
  if (!state.paused) return ReplayVerdict::kGoOn;
  if (!reached.valid() || state.lsn == reached) return ReplayVerdict::kReached;
  return state.lsn < reached ? ReplayVerdict::kShort : ReplayVerdict::kTooFar;
}

base::Result<Replayed> replay(const ReplayOrder& asked, Report& report) {
  ReplayOrder order = asked;
  for (int restarts = 0;; ++restarts) {
    PGR_ASSIGN(PrivateServer server,
               PrivateServer::start(order.data_directory, order.settings, order.authenticated));
    bool again = false;
    bool login_refused = false;
    while (!again) {
      bool running = server.running();
      auto state = running ? look(server, order) : base::Result<ReplayState>(ReplayState{});
      ReplayVerdict verdict = running && state ? judge(*state, order.reached) : ReplayVerdict::kGoOn;
      if (verdict == ReplayVerdict::kReached) return Replayed{std::move(server), state->lsn};
      if (verdict == ReplayVerdict::kTooFar) {
        return base::fail_as(
            base::ErrorCode::kUnavailable, "ReplayedTooFar",
            fmt::format("recovery is paused at {}, planned was {}", state->lsn.text(), order.reached.text()));
      }
      if (verdict == ReplayVerdict::kPromoted) {
        return base::fail_as(
            base::ErrorCode::kUnavailable, "PromotedItself",
            fmt::format("the server left recovery by itself before {}", order.reached.text()));
      }
      if (!running || verdict == ReplayVerdict::kShort) {
        std::string log = server.log();
        auto raised = insufficient_settings(log);
        for (const auto& [name, value] : raised) again = again || order.settings.carried[name] != value;
        if (!again || restarts >= kRestarts) {
          if (!running) return ended(log);
          return base::fail_as(base::ErrorCode::kUnavailable, "ReplayedShort",
                               fmt::format("recovery is paused at {}, planned was {}", state->lsn.text(),
                                           order.reached.text()));
        }
        for (const auto& [name, value] : raised) order.settings.carried[name] = value;
        report.note("replay", "WAL asks for larger settings: the server is started again with them");
        if (running) PGR_TRY(server.stop(base::Deadline::after(kStopLimit)));
        break;
      }
      if (state) {
        report.progress("replay",
                        fmt::format("replayed to {} of {}", state->lsn.text(), order.reached.text()));
      } else if (state.error().code == base::ErrorCode::kUnavailable &&
                 state.error().message.find("does not exist") != std::string::npos) {
        if (login_refused)
          return base::fail_as(base::ErrorCode::kUnavailable, "SuperuserUnknown",
                               fmt::format("the restored server: {}", state.error().message));
        login_refused = true;
      }
      std::this_thread::sleep_for(kLook);
    }
  }
}

}  // namespace pgrunbook::agent
