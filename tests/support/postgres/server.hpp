// Real PostgreSQL servers for tests: their own directory, socket and port, as the user postgres.
#pragma once

#include <arpa/inet.h>
#include <chrono>
#include <cstdlib>
#include <grp.h>
#include <map>
#include <netinet/in.h>
#include <pwd.h>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>

#include "base/file.hpp"
#include "base/subprocess.hpp"
#include "postgres/control_data.hpp"
#include "postgres/programs.hpp"
#include "postgres/psql.hpp"
#include "support/postgres/temporary.hpp"
#include "support/postgres/wal_file.hpp"

namespace pgrunbook::test {

// PostgreSQL refuses to run as root: the whole test process becomes the user postgres, once and for ever. So
// nothing that a test writes afterwards may lie in a directory that only root writes (--gtest_output: give it
// one).
inline void become_postgres() {
  if (::geteuid() != 0) return;
  const passwd* user = ::getpwnam("postgres");
  if (user == nullptr) throw std::runtime_error("this machine has no user postgres; install postgresql-15");
  if (::initgroups("postgres", user->pw_gid) != 0 || ::setgid(user->pw_gid) != 0 ||
      ::setuid(user->pw_uid) != 0) {
    throw std::runtime_error("cannot become the user postgres");
  }
  ::setenv("HOME", "/tmp", 1);
  if (::chdir("/") != 0) throw std::runtime_error("chdir");
}

inline int free_port() {
  int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    throw std::runtime_error("no free port");
  }
  ::close(fd);
  return ::ntohs(address.sin_port);
}

inline base::Finished must_run(const std::vector<std::string>& argv,
                               std::chrono::seconds limit = std::chrono::seconds(120)) {
  auto ran = must(base::run({argv, {{"LC_ALL", "C"}, {"TZ", "UTC"}}}, base::Deadline::after(limit)));
  if (ran.exit_code != 0)
    throw std::runtime_error(fmt::format("{} ended with {}: {}{}", argv[0], ran.exit_code, ran.out, ran.err));
  return ran;
}

inline constexpr const char* kRolePassword = "secret of the role";

// What a Job's volume of secrets holds.
inline void set_secrets(const std::string& directory, const std::map<std::string, std::string>& files) {
  must(base::make_directories(directory));
  for (const auto& [name, content] : files) write_file(directory + "/" + name, content);
  ::setenv("PGRUNBOOK_SECRETS", directory.c_str(), 1);
}

struct ServerOptions {
  int segment_mib = 16;
  bool checksums = false;
  std::vector<std::string> settings{};  // lines for postgresql.conf
};

// One server. Superuser postgres over the socket (trust); everybody over TCP with SCRAM.
class Server {
 public:
  // Makes the cluster in `directory`/data; not started.
  explicit Server(std::string directory, const ServerOptions& options = {})
      : directory_(std::move(directory)) {
    become_postgres();
    must(base::make_directories(directory_, 0755));
    port_ = free_port();
    std::vector<std::string> argv{program("initdb"),
                                  "-D",
                                  data(),
                                  "-U",
                                  "postgres",
                                  "-A",
                                  "trust",
                                  "--no-sync",
                                  "-E",
                                  "UTF8",
                                  "--locale=C.UTF-8",
                                  fmt::format("--wal-segsize={}", options.segment_mib)};
    if (options.checksums) argv.emplace_back("--data-checksums");
    must_run(argv);
    write_file(data() + "/pg_hba.conf",
               "local all all trust\n"
               "host replication pgrunbook 127.0.0.1/32 scram-sha-256\n"
               "host all all 127.0.0.1/32 scram-sha-256\n");
    configure(fmt::format(
        "listen_addresses='127.0.0.1'\nport={}\nunix_socket_directories='{}'\n"
        "fsync=off\nshared_buffers=16MB\nmax_connections=30\nmin_wal_size={}MB\nmax_wal_size={}MB\n"
        "password_encryption='scram-sha-256'\nlog_timezone='UTC'\ntimezone='UTC'\nlog_checkpoints=off\n"
        "wal_level=replica\ntrack_commit_timestamp=on",
        port_, directory_, options.segment_mib * 2, options.segment_mib * 8));
    for (const std::string& line : options.settings) configure(line);
  }
  // Uses a directory that exists, e.g. a restored one.
  static Server existing(const std::string& directory) { return Server(directory, Existing{}); }
  ~Server() {
    if (running()) stop("immediate");
  }
  Server(Server&& other) noexcept
      : directory_(std::move(other.directory_)),
        port_(other.port_),
        started_(std::exchange(other.started_, false)) {}
  Server& operator=(Server&&) = delete;
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  [[nodiscard]] static std::string program(const std::string& name) {
    return must(postgres::find_program(name));
  }
  [[nodiscard]] std::string data() const { return directory_ + "/data"; }
  [[nodiscard]] const std::string& socket() const { return directory_; }
  [[nodiscard]] std::string log_path() const { return directory_ + "/log"; }
  [[nodiscard]] std::string log() const {
    auto text = base::read_file(log_path());
    return text ? *text : std::string();
  }
  [[nodiscard]] int port() const { return port_; }

  // Appends lines to postgresql.conf.
  void configure(const std::string& lines) const {
    auto text = must(base::read_file(data() + "/postgresql.conf"));
    write_file(data() + "/postgresql.conf", text + "\n" + lines + "\n");
  }
  // archive_mode on with the built agent, the way setup writes it.
  void archive_to(const std::string& repository, const std::string& writer, const std::string& agent,
                  const std::string& more = "") const {
    configure(fmt::format(
        "archive_mode=on\narchive_command='[ -x {0} ] || exit 1; exec {0} archive-wal --repository {1} "
        "--writer {2}{3} %p %f'",
        agent, repository, writer, more.empty() ? "" : " " + more));
  }
  // pg_ctl's exit code; throws where `expected` is 0 and it did not start.
  int start(int expected = 0) {
    auto ran =
        must(base::run({{program("pg_ctl"), "-D", data(), "-l", log_path(), "-w", "-t", "60", "-s", "start"},
                        {{"LC_ALL", "C"}, {"TZ", "UTC"}, {"PGPORT", ""}, {"PGHOST", ""}}},
                       base::Deadline::after(std::chrono::seconds(90))));
    started_ = ran.exit_code == 0;
    if (expected == 0 && ran.exit_code != 0) throw std::runtime_error("the server did not start:\n" + log());
    return ran.exit_code;
  }
  // Starts a server that is to end by itself, e.g. a recovery that must stop; waits for its end.
  void start_and_wait_for_its_end(std::chrono::seconds limit = std::chrono::seconds(60)) {
    (void)start(1);
    auto deadline = base::Deadline::after(limit);
    while (running()) {
      if (deadline.passed()) throw std::runtime_error("the server goes on:\n" + log());
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
  void stop(const std::string& mode = "fast") {
    (void)base::run({{program("pg_ctl"), "-D", data(), "-w", "-t", "60", "-s", "-m", mode, "stop"}},
                    base::Deadline::after(std::chrono::seconds(90)));
    started_ = false;
  }
  [[nodiscard]] bool running() const { return base::exists(data() + "/postmaster.pid"); }
  // As kill -9 of the whole server: no shutdown checkpoint, nothing archived.
  void kill_hard() { stop("immediate"); }

  [[nodiscard]] postgres::PsqlTarget superuser(const std::string& database = "postgres") const {
    postgres::PsqlTarget t;
    t.program = program("psql");
    t.host = socket();
    t.port = port_;
    t.user = "postgres";
    t.database = database;
    return t;
  }
  [[nodiscard]] postgres::PsqlTarget role() const {
    postgres::PsqlTarget t = superuser();
    t.host = "127.0.0.1";
    t.user = "pgrunbook";
    t.password = kRolePassword;
    return t;
  }
  std::string sql(const std::string& statement, const std::string& database = "postgres") const {
    auto rows = must(
        postgres::psql(superuser(database), {statement}, base::Deadline::after(std::chrono::seconds(120))));
    return rows.empty() ? std::string() : rows.front().front();
  }
  // The role of the operator with the rights setup gives it.
  void make_role() const {
    sql(fmt::format("CREATE ROLE pgrunbook LOGIN REPLICATION PASSWORD '{}'", kRolePassword));
    sql("GRANT pg_monitor, pg_read_all_settings, pg_signal_backend, pg_checkpoint TO pgrunbook");
    sql("GRANT EXECUTE ON FUNCTION pg_switch_wal(), pg_create_restore_point(text) TO pgrunbook");
  }
  // Waits until a query's value is `expected`; throws after `limit`.
  void wait_for(const std::string& statement, const std::string& expected,
                std::chrono::seconds limit = std::chrono::seconds(60)) const {
    auto deadline = base::Deadline::after(limit);
    std::string last;
    while (!deadline.passed()) {
      auto value = postgres::psql_value(superuser(), statement, deadline);
      last = value ? *value : value.error().text();
      if (value && *value == expected) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    throw std::runtime_error(fmt::format("{} is {}, not {}\n{}", statement, last, expected, log()));
  }
  [[nodiscard]] postgres::ControlData control() const {
    return must(postgres::parse_control_data(must_run({program("pg_controldata"), "-D", data()}).out));
  }
  // Ends the current segment and returns its name; something was written in it before.
  std::string switch_segment() const {
    sql("SELECT pg_create_restore_point('test')");
    std::string name = sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
    sql("SELECT pg_switch_wal()");
    return name;
  }

 private:
  struct Existing {};
  Server(std::string directory, Existing) : directory_(std::move(directory)), port_(free_port()) {
    become_postgres();
  }
  std::string directory_;
  int port_ = 0;
  bool started_ = false;
};

}  // namespace pgrunbook::test
