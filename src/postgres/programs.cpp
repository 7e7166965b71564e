#include "postgres/programs.hpp"

#include <cstdlib>
#include <unistd.h>

#include <climits>
#include <fmt/format.h>

#include "base/subprocess.hpp"
#include "postgres/version.hpp"

namespace pgrunbook::postgres {
namespace {

constexpr int kMajors[] = {18, 17, 16, 15, 14, 13, 12, 11, 10, 96};

bool usable(const std::string& path) {
  char real[PATH_MAX];
  if (::access(path.c_str(), X_OK) != 0 || ::realpath(path.c_str(), real) == nullptr) return false;
  return !std::string_view(real).ends_with("pg_wrapper");
}

std::vector<std::string> directories_in_path() {
  std::vector<std::string> list;
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "/usr/local/bin:/usr/bin:/bin" : path;
  while (!rest.empty()) {
    auto end = std::min(rest.find(':'), rest.size());
    if (end > 0 && rest.front() == '/') list.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return list;
}

// Empty where there is no pg_config, as in most images that only run a server.
std::string bindir_of_pg_config() {
  for (const std::string& directory : directories_in_path()) {
    std::string program = directory + "/pg_config";
    if (::access(program.c_str(), X_OK) != 0) continue;
    auto ran = base::run({{program, "--bindir"}, {{"LC_ALL", "C"}}},
                         base::Deadline::after(std::chrono::seconds(10)));
    if (!ran || ran->exit_code != 0) return {};
    while (!ran->out.empty() && ran->out.back() == '\n') ran->out.pop_back();
    return ran->out;
  }
  return {};
}

bool names_another_major(const std::string& directory, int major) {
  if (major == 0) return false;
  for (int other : kMajors) {
    if (other == major) continue;
    std::string text = major_text(other);
    for (const char* form : {"/postgresql/{}/bin", "/pgsql-{}/bin", "/postgresql{}/bin"}) {
      if (directory.ends_with(fmt::format(fmt::runtime(form), text))) return true;
    }
  }
  return false;
}

std::vector<std::string> places(int major) {
  if (const char* only = std::getenv("PGRUNBOOK_PG_BINDIR"); only != nullptr && *only != 0) return {only};
  std::vector<std::string> list;
  auto add = [&](std::string directory) {
    if (!directory.empty() && !names_another_major(directory, major)) list.push_back(std::move(directory));
  };
  add(bindir_of_pg_config());
  for (std::string& directory : directories_in_path()) add(std::move(directory));
  for (int known : kMajors) {
    std::string text = major_text(known);
    add(fmt::format("/usr/lib/postgresql/{}/bin", text));  // Debian
    add(fmt::format("/usr/pgsql-{}/bin", text));           // PGDG on RHEL
    add(fmt::format("/usr/libexec/postgresql{}", text));   // Alpine
    add(fmt::format("/opt/rh/rh-postgresql{}/root/usr/bin", text));
  }
  add("/opt/bitnami/postgresql/bin");
  add("/usr/local/pgsql/bin");
  return list;
}

}  // namespace

base::Result<std::string> find_program(std::string_view name, int major) {
  std::string looked;
  for (const std::string& directory : places(major)) {
    std::string path = fmt::format("{}/{}", directory, name);
    if (usable(path)) return path;
    if (looked.size() < 300) looked += (looked.empty() ? "" : ", ") + directory;
  }
  base::Error e = base::error(base::ErrorCode::kNotFound,
                              fmt::format("{}{} is not in this image (looked in {})", name,
                                          major == 0 ? "" : " of PostgreSQL " + major_text(major), looked),
                              "the member's image must contain PostgreSQL's own client programs");
  e.reason = "ProgramMissing";
  return base::fail(std::move(e));
}

}  // namespace pgrunbook::postgres
