#include "postgres/psql.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/file.hpp"
#include "base/subprocess.hpp"

namespace pgrunbook::postgres {
namespace {

constexpr char kColumn = '\x1f', kRow = '\x1e';

base::Error server_error(const base::Finished& finished) {
  std::string text = finished.err;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  if (text.size() > 600) text = text.substr(0, 600);
  for (char& c : text) {
    if (c == '\n') c = ' ';
  }
  auto has = [&](std::string_view words) { return text.find(words) != std::string::npos; };
  base::ErrorCode code = base::ErrorCode::kInvalid;
  if (finished.exit_code == 2) code = base::ErrorCode::kUnavailable;  // psql: the connection was bad or lost
  if (has("password authentication failed") || has("no pg_hba.conf entry"))
    code = base::ErrorCode::kUnauthorized;
  if (has("permission denied") || has("must be superuser")) code = base::ErrorCode::kForbidden;
  return base::error(code, text.empty() ? fmt::format("psql ended with {}", finished.exit_code) : text);
}

}  // namespace

base::Result<PasswordFile> PasswordFile::make(const std::string& password) {
  const char* directory = std::getenv("TMPDIR");
  std::string path =
      std::string(directory == nullptr || *directory == 0 ? "/tmp" : directory) + "/pgrb-pass-XXXXXX";
  base::Fd fd(::mkostemp(path.data(), O_CLOEXEC));  // 0600
  if (!fd.valid()) return base::fail(base::system_error("make", path));
  PasswordFile file(path);
  std::string line;
  if (!password.empty()) {
    line = "*:*:*:*:";
    for (char c : password) {
      if (c == ':' || c == '\\') line.push_back('\\');
      line.push_back(c);
    }
    line.push_back('\n');
  }
  if (::write(fd.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    return base::fail(base::system_error("write", path));
  return file;
}

PasswordFile::~PasswordFile() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

std::vector<std::pair<std::string, std::string>> connection_environment(const PsqlTarget& t,
                                                                        const PasswordFile& password) {
  std::vector<std::pair<std::string, std::string>> e{
      {"PGHOST", t.host},
      {"PGPORT", std::to_string(t.port)},
      {"PGUSER", t.user},
      {"PGDATABASE", t.database},
      {"PGPASSWORD", ""},
      {"PGCONNECT_TIMEOUT", "5"},
      {"PGPASSFILE", password.path()},
      {"PGSERVICE", ""},
      {"PGSERVICEFILE", ""},
      {"PGAPPNAME", "pgrunbook"},
      {"TZ", "UTC"},
      {"PGTZ", "UTC"},
      {"LC_ALL", "C"},
      {"HOME", "/nonexistent"},
  };
  e.insert(e.end(), t.environment.begin(), t.environment.end());
  return e;
}

base::Result<std::vector<Row>> psql(const PsqlTarget& target, const std::vector<std::string>& statements,
                                    base::Deadline deadline) {
  base::Command command;
  command.argv = {
      target.program, "-XqAt",          "-w", "-F", std::string(1, kColumn), "-R", std::string(1, kRow),
      "-v",           "ON_ERROR_STOP=1"};
  auto add = [&](const std::string& text) {
    command.argv.emplace_back("-c");
    command.argv.push_back(text);
  };
  for (std::size_t i = 0; i < statements.size(); ++i) {
    if (statements.size() > 1 && i == 0) add("\\o /dev/null");
    if (statements.size() > 1 && i + 1 == statements.size()) add("\\o");
    add(statements[i]);
  }
  PGR_ASSIGN(PasswordFile password, PasswordFile::make(target.password));
  command.environment = connection_environment(target, password);
  PGR_ASSIGN(auto finished, base::run(command, deadline));
  if (finished.exit_code != 0) return base::fail(server_error(finished));
  std::string_view out = finished.out;
  if (!out.empty() && out.back() == '\n') out.remove_suffix(1);
  std::vector<Row> rows;
  while (!out.empty()) {
    auto end = std::min(out.find(kRow), out.size());
    std::string_view line = out.substr(0, end);
    out.remove_prefix(std::min(end + 1, out.size()));
    Row row;
    while (true) {
      auto stop = line.find(kColumn);
      row.emplace_back(line.substr(0, stop));
      if (stop == std::string_view::npos) break;
      line.remove_prefix(stop + 1);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

base::Result<std::string> psql_value(const PsqlTarget& target, const std::string& statement,
                                     base::Deadline deadline) {
  PGR_ASSIGN(auto rows, psql(target, {statement}, deadline));
  if (rows.empty())
    return base::fail(base::ErrorCode::kNotFound, fmt::format("no row from: {:.120}", statement));
  return rows.front().front();
}

std::string quote_literal(std::string_view text) {
  std::string out = text.find('\\') == std::string_view::npos ? "'" : " E'";
  for (char c : text) {
    if (c == '\'' || c == '\\') out.push_back(c);
    out.push_back(c);
  }
  return out + "'";
}

}  // namespace pgrunbook::postgres
