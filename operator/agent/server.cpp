#include "agent/server.hpp"

#include <array>
#include <csignal>
#include <cstdlib>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "agent/secrets.hpp"
#include "api/job.hpp"
#include "base/file.hpp"
#include "postgres/programs.hpp"
#include "postgres/version.hpp"

namespace pgrunbook::agent {
namespace {

constexpr auto kControlDataLimit = std::chrono::seconds(30);
constexpr auto kSingleLimit = std::chrono::minutes(10);
constexpr std::array kWrappers{
    "/usr/lib64/libnss_wrapper.so",
    "/usr/lib/x86_64-linux-gnu/libnss_wrapper.so",
    "/usr/lib/aarch64-linux-gnu/libnss_wrapper.so",
    "/usr/lib/libnss_wrapper.so",
    "/lib64/libnss_wrapper.so",
};

// Removes what an entrypoint may have left for libpq and the server in the environment.
std::vector<std::pair<std::string, std::string>> clean_environment() {
  return {{"TZ", "UTC"},  {"LC_ALL", "C"},   {"PGDATA", ""},     {"PGHOST", ""},    {"PGPORT", ""},
          {"PGUSER", ""}, {"PGOPTIONS", ""}, {"PGDATABASE", ""}, {"PGPASSWORD", ""}};
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

// A role's name in pg_hba.conf: quoted, so that "all" or "replication" would be just names.
base::Result<std::string> hba_name(const std::string& role) {
  if (role.find_first_of("\"\n\r") != std::string::npos) {
    return base::fail(base::ErrorCode::kInvalid,
                      fmt::format("the role name {} cannot stand in pg_hba.conf", role));
  }
  return "\"" + role + "\"";
}

// ERROR, FATAL and PANIC lines; where the configuration is what is wrong, the LOG lines that say how.
std::string failing_lines(std::string_view output) {
  std::string found;
  bool configuration = output.find("contains errors") != std::string_view::npos;
  while (!output.empty()) {
    auto end = std::min(output.find('\n'), output.size());
    std::string_view line = output.substr(0, end);
    output.remove_prefix(std::min(end + 1, output.size()));
    for (std::string_view word : {"ERROR:  ", "FATAL:  ", "PANIC:  ", "LOG:  "}) {
      auto at = line.find(word);
      if (at == std::string_view::npos || (word.starts_with("LOG") && !configuration)) continue;
      found += (found.empty() ? "" : "; ") + std::string(line.substr(at));
    }
  }
  return found;
}

}  // namespace

base::Result<int> major_of(const std::string& data_directory) {
  PGR_ASSIGN(std::string text, base::read_file(data_directory + "/PG_VERSION"));
  return postgres::parse_major(text);
}

base::Result<bool> has_signal_file(const std::string& data_directory) {
  PGR_ASSIGN(bool standby, base::is_there(data_directory + "/standby.signal"));
  if (standby) return true;
  return base::is_there(data_directory + "/recovery.signal");
}

base::Result<postgres::ControlData> control_data_of(const std::string& data_directory) {
  PGR_ASSIGN(int major, major_of(data_directory));
  PGR_ASSIGN(std::string program, postgres::find_program("pg_controldata", major));
  PGR_ASSIGN(auto ran, base::run({{program, data_directory}, clean_environment()},
                                 base::Deadline::after(kControlDataLimit)));
  auto parsed =
      ran.exit_code == 0
          ? postgres::parse_control_data(ran.out)
          : base::fail(base::ErrorCode::kCorrupt,
                       fmt::format("pg_controldata cannot read {}: {:.300}", data_directory, ran.err));
  if (!parsed && parsed.error().code == base::ErrorCode::kCorrupt) {
    base::Error e = parsed.error();
    e.reason = "ControlFileDestroyed";
    e.message = fmt::format("global/pg_control of {} is not usable: {}", data_directory, e.message);
    e.hint =
        "a restore to another member with salvage: StoppedPrimary needs no control file; pg_resetwal would "
        "lose what its WAL holds";
    return base::fail(std::move(e));
  }
  return parsed;
}

base::Result<PrivateDirectory> PrivateDirectory::make() {
  std::string name = environment("TMPDIR");
  if (name.empty() || name.size() > 60) name = "/tmp";
  name += "/pgrb-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) return base::fail(base::system_error("make", name));
  return PrivateDirectory(name);
}

PrivateDirectory& PrivateDirectory::operator=(PrivateDirectory&& other) noexcept {
  std::swap(path_, other.path_);
  return *this;
}

PrivateDirectory::~PrivateDirectory() {
  if (!path_.empty()) (void)base::remove_tree(path_);
}

ApplicationRole application_role() {
  return {secret(api::secrets::kAppUser), secret(api::secrets::kAppPassword)};
}

base::Result<PrivateServer> PrivateServer::start(const std::string& data_directory, ServerSettings settings,
                                                 const std::string& authenticated) {
  PGR_ASSIGN(std::string program, postgres::find_program("postgres", settings.major));
  PGR_ASSIGN(std::string psql, postgres::find_program("psql", settings.major));
  PGR_ASSIGN(PrivateDirectory directory, PrivateDirectory::make());
  settings.socket_directory = directory.path();
  std::string hba;
  if (!authenticated.empty()) {
    PGR_ASSIGN(std::string role, hba_name(authenticated));
    hba = fmt::format("local all {} md5\n",
                      role);  // "md5" asks for SCRAM where the stored password is a SCRAM verifier
  }
  hba += "local all all trust\n";
  auto list = server_settings(settings);
  PGR_TRY(base::replace_file(directory.path() + "/pg_hba.conf", hba, 0600));
  PGR_TRY(base::replace_file(directory.path() + "/pg_ident.conf", "", 0600));
  PGR_TRY(base::replace_file(directory.path() + "/postgresql.conf", as_file(list), 0600));
  base::Command command;
  command.argv = {program, "-D", data_directory};
  for (const char* file :
       {"config_file=postgresql.conf", "hba_file=pg_hba.conf", "ident_file=pg_ident.conf"}) {
    std::string_view text = file;
    auto equals = text.find('=');
    command.argv.emplace_back("-c");
    command.argv.push_back(
        fmt::format("{}={}/{}", text.substr(0, equals), directory.path(), text.substr(equals + 1)));
  }
  for (std::string& argument : as_arguments(list)) command.argv.push_back(std::move(argument));
  command.environment = clean_environment();
  PGR_ASSIGN(base::Child child, base::Child::start(command, directory.path() + "/log"));
  return PrivateServer(std::move(directory), std::move(child), psql);
}

postgres::PsqlTarget PrivateServer::as(const std::string& user, const std::string& database,
                                       const std::string& password) const {
  postgres::PsqlTarget target;
  target.program = psql_;
  target.host = directory_.path();
  target.user = user;
  target.database = database;
  target.password = password;
  return target;
}

base::Result<> PrivateServer::stop(base::Deadline deadline) {
  child_.signal(SIGINT);
  PGR_ASSIGN(int code, child_.wait(deadline));
  if (code != 0) {
    return base::fail(base::ErrorCode::kInternal,
                      fmt::format("the server in the Job ended with {}: {:.300}", code, last_fatal(log())));
  }
  return {};
}

std::string PrivateServer::log() const {
  auto text = base::read_file(directory_.path() + "/log");
  return text ? *text : std::string();
}

bool has_passwd_line() {
  auto text = base::read_file("/etc/passwd");
  if (!text) return false;
  std::string uid = fmt::format(":{}:", ::geteuid());
  std::string_view rest = *text;
  while (!rest.empty()) {
    auto end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    auto first = line.find(':');  // name:password:uid:...
    auto second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second != std::string_view::npos && line.substr(second).starts_with(uid)) return true;
  }
  return false;
}

base::Result<std::string> run_single(const std::string& data_directory, const ServerSettings& settings,
                                     const std::vector<std::string>& statements) {
  PGR_ASSIGN(std::string program, postgres::find_program("postgres", settings.major));
  PGR_ASSIGN(PrivateDirectory directory, PrivateDirectory::make());
  ServerSettings own = settings;
  own.socket_directory = directory.path();
  auto list = server_settings(own);
  PGR_TRY(base::replace_file(directory.path() + "/postgresql.conf", as_file(list), 0600));
  base::Command command;
  command.argv = {program,        "--single", "-D",
                  data_directory, "-c",       "config_file=" + directory.path() + "/postgresql.conf"};
  for (std::string& argument : as_arguments(list)) command.argv.push_back(std::move(argument));
  command.argv.emplace_back("postgres");
  command.environment = clean_environment();
  if (!has_passwd_line()) {
    const char* wrapper = nullptr;
    for (const char* path : kWrappers) {
      if (wrapper == nullptr && base::exists(path)) wrapper = path;
    }
    if (wrapper == nullptr) {
      base::Error e = base::error(
          base::ErrorCode::kUnavailable,
          fmt::format("uid {} has no line in /etc/passwd and the image has no libnss_wrapper.so",
                      ::geteuid()),
          "postgres --single needs one: add nss_wrapper to the image, or set connection.adminSecretRef");
      e.reason = "NoPasswdEntry";
      return base::fail(e);
    }
    PGR_TRY(base::replace_file(
        directory.path() + "/passwd",
        fmt::format("postgres:x:{}:{}::{}:/bin/sh\n", ::geteuid(), ::getegid(), directory.path()), 0600));
    command.environment.emplace_back("LD_PRELOAD", wrapper);
    command.environment.emplace_back("NSS_WRAPPER_PASSWD", directory.path() + "/passwd");
    command.environment.emplace_back("NSS_WRAPPER_GROUP", "/etc/group");
  }
  for (const std::string& s : statements) {
    if (s.find('\n') != std::string::npos) {
      return base::fail(base::ErrorCode::kInternal,
                        "a statement for postgres --single has more than one line");
    }
    command.input += s + "\n";
  }
  PGR_ASSIGN(auto ran, base::run(command, base::Deadline::after(kSingleLimit)));
  std::string failed = failing_lines(ran.out + "\n" + ran.err);
  if (ran.exit_code != 0 || !failed.empty()) {
    base::Error e = base::error(base::ErrorCode::kUnavailable,
                                fmt::format("postgres --single ended with {}: {:.600}", ran.exit_code,
                                            failed.empty() ? ran.err : failed));
    e.reason = "SingleUserFailed";
    return base::fail(e);
  }
  return ran.out;
}

}  // namespace pgrunbook::agent
