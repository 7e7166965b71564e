// A primary with its archive, an empty or strange standby volume beside it, and the Jobs run as a pod would
// run them.
#pragma once

#include <fcntl.h>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/agent.hpp"
#include "agent/job.hpp"
#include "archive/repository.hpp"
#include "base/hash.hpp"
#include "support/paths.hpp"
#include "support/postgres/server.hpp"

namespace pgrunbook::agent {

using test::must;
using test::Server;

inline constexpr const char* kTopologyUID = "9f0c1f6e-0000-4000-8000-000000000001";
inline constexpr const char* kPrimaryClaim = "5b1d6a3c-0000-4000-8000-00000000000a";
inline constexpr const char* kStandbyClaim = "5b1d6a3c-0000-4000-8000-00000000000b";
inline constexpr const char* kAppPassword = "secret of the application";

class Scene : public ::testing::Test {
 protected:
  Scene() {
    test::become_postgres();
    directory_ = std::make_unique<test::TemporaryDirectory>();
    test::set_secrets(path("secrets"), {{api::secrets::kRolePassword, test::kRolePassword},
                                        {api::secrets::kAppUser, "app"},
                                        {api::secrets::kAppPassword, kAppPassword}});
    report_ = std::make_unique<Report>(::open("/dev/null", O_WRONLY | O_CLOEXEC), path("termination"));
    test::must(base::make_directories(standby_mount(), 0755));
  }

  [[nodiscard]] std::string path(const std::string& name) const { return directory_->path() + "/" + name; }
  [[nodiscard]] std::string repository_path() const { return path("archive/tfrs"); }
  [[nodiscard]] std::string primary_mount() const { return path("primary"); }
  [[nodiscard]] std::string standby_mount() const { return path("standby"); }
  [[nodiscard]] std::string standby_data() const { return standby_mount() + "/data"; }
  [[nodiscard]] archive::Repository repository() const {
    return must(archive::Repository::open(repository_path()));
  }

  static std::string uid(int n) { return fmt::format("{:08x}-0000-4000-8000-000000000001", n); }
  [[nodiscard]] Order order(const std::string& job, int action, const std::string& member) const {
    Order o;
    o.job = job;
    o.action = {"PostgresRestore", fmt::format("restore-{}", action), uid(action), "0123456789abcdef"};
    o.repository = {repository_path(), "tfrs", kTopologyUID};
    o.pod_uid = fmt::format("pod-{}-{}", job, action);
    o.agent_path = PGRUNBOOK_AGENT_PATH;
    api::MemberRef m;
    m.name = member;
    m.mount = member == "primary" ? primary_mount() : standby_mount();
    m.data_directory = m.mount + "/data";
    m.claim_uid = member == "primary" ? kPrimaryClaim : kStandbyClaim;
    m.archive_mount_repository = repository_path();
    o.member = m;
    return o;
  }
  Answer run(const Order& o) { return run_job(o, *report_); }
  Answer must_succeed(const Order& o) {
    Answer a = run(o);
    if (a.outcome != api::Outcome::kSucceeded) throw std::runtime_error(api::to_json(a).dump(2));
    return a;
  }

  // A cluster of 1 MiB segments, stopped.
  Server& make_primary(const std::vector<std::string>& settings = {}) {
    test::ServerOptions options;
    options.segment_mib = 1;
    options.settings = settings;
    primary_ = std::make_unique<Server>(primary_mount(), options);
    return *primary_;
  }
  [[nodiscard]] Order setup_order(int action = 0x5e) const {
    Order o = order(api::jobs::kSetup, action, "primary");
    o.action.kind = "PostgresTopology";
    return o;
  }
  // Set up, started, with the application's role and table.
  Server& start_primary(const std::vector<std::string>& settings = {}) {
    make_primary(settings);
    must_succeed(setup_order());
    primary_->start();
    primary_->sql(fmt::format("CREATE ROLE app LOGIN PASSWORD '{}'", kAppPassword));
    primary_->sql(
        "CREATE TABLE credit_trade (id bigserial PRIMARY KEY, xid bigint DEFAULT txid_current(), at "
        "timestamptz DEFAULT clock_timestamp())");
    primary_->sql("GRANT ALL ON credit_trade, credit_trade_id_seq TO app");
    return *primary_;
  }
  std::string backup(Server& server, const std::string& id = "b1", const std::string& member = "primary") {
    Order o = order(api::jobs::kBackup, 0xba, member);
    o.action.kind = "PostgresBackup";
    o.member->host = "127.0.0.1";
    o.member->port = server.port();
    o.backup.id = id;
    must_succeed(o);
    return id;
  }
  static void insert(const Server& server, int rows) {
    for (int i = 0; i < rows; ++i) server.sql("INSERT INTO credit_trade DEFAULT VALUES");
  }
  static std::string clock(const Server& server) {
    return server.sql(
        "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')");
  }
  // What the controller does before a plan: a marker, a switch. Returns the segment to wait for.
  static std::string marker(const Server& server) {
    server.sql("SELECT pg_logical_emit_message(true, 'pgrunbook', 'marker')");
    return server.switch_segment();
  }
  [[nodiscard]] Order plan_order(int action, const std::string& time,
                                 const std::vector<std::string>& wait_for = {}) const {
    Order o = order(api::jobs::kPlan, action, "standby");
    o.plan.target.time = time;
    o.plan.wait_for = wait_for;
    return o;
  }
  // To now: everything up to here, nothing of the marker.
  Answer plan_now(int action, const Server& server) {
    std::string time = clock(server);
    return must_succeed(plan_order(action, time, {marker(server)}));
  }
  [[nodiscard]] Order recover_order(int action, const base::Json& plan,
                                    const std::string& member = "standby") const {
    Order o = order(api::jobs::kRecover, action, member);
    o.recover.backup_id = base::text_at(plan, {"backupID"});
    o.recover.timeline = static_cast<int>(base::number_at(plan, {"timeline"}));
    o.recover.target_lsn = base::text_at(plan, {"targetLSN"});
    o.recover.reached_lsn = base::text_at(plan, {"reachedLSN"});
    o.recover.database = "postgres";
    return o;
  }
  // The restored member's server, on its own port and socket.
  [[nodiscard]] Server start_member(const std::string& mount) const {
    Server server = Server::existing(mount);
    server.configure(fmt::format("port={}\nunix_socket_directories='{}'", server.port(), mount));
    server.start();
    return server;
  }

  // Every file below a directory with its hash; names relative.
  static std::map<std::string, std::string> listing(const std::string& directory) {
    std::map<std::string, std::string> out;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
      std::string name = entry.path().string().substr(directory.size() + 1);
      if (entry.is_regular_file()) out[name] = must(base::sha256_file(entry.path().string()));
    }
    return out;
  }

  // The truth by other means: pg_waldump over all archived segments of a timeline, and PostgreSQL's rule in a
  // few lines of text. Transactions that commit before the first commit or abort whose time exceeds `time`
  // (as pg_waldump prints it, empty = all).
  std::set<std::string> committed_by_wal(const std::string& first_segment, const std::string& time) {
    auto r = repository();
    std::string scratch = path("truth" + base::random_hex(3));
    must(base::make_directories(scratch, 0700));
    std::vector<std::string> names;
    for (const auto& s : must(r.segments(postgres::TimelineId(1)))) {
      if (s.name < first_segment) continue;
      must(archive::get_file(r.layout().wal_file(must(postgres::parse_wal_name(s.name))),
                             scratch + "/" + s.name));
      names.push_back(s.name);
    }
    auto ran = must(base::run({{Server::program("pg_waldump"), "-p", scratch, names.front(), names.back()},
                               {{"TZ", "UTC"}, {"LC_ALL", "C"}}},
                              base::Deadline::after(std::chrono::seconds(120))));
    std::set<std::string> xids;
    std::istringstream lines(ran.out);
    for (std::string line; std::getline(lines, line);) {
      auto commit = line.find("desc: COMMIT "), abort = line.find("desc: ABORT ");
      if (commit == std::string::npos && abort == std::string::npos) continue;
      std::string when = line.substr((commit != std::string::npos ? commit + 13 : abort + 12), 26);
      if (!time.empty() && when > time) break;
      auto tx = line.find("tx:") + 3;
      std::string xid = line.substr(tx, line.find(',', tx) - tx);
      if (commit != std::string::npos) xids.insert(xid.substr(xid.find_first_not_of(' ')));
    }
    return xids;
  }

  std::unique_ptr<test::TemporaryDirectory> directory_;
  std::unique_ptr<Server> primary_;
  std::unique_ptr<Report> report_;
};

}  // namespace pgrunbook::agent
