#include "agent/dead_server.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "agent/server.hpp"
#include "base/file.hpp"
#include "postgres/server_log.hpp"

namespace pgrunbook::agent {

using base::Json;

namespace {

constexpr off_t kTail = 64 << 10;

std::string control_file(const std::string& data_directory) {
  std::string path = data_directory + "/global/pg_control";
  if (!base::exists(path)) return "missing";
  auto control = control_data_of(data_directory);
  if (control) return control->state;
  return (control.error().code == base::ErrorCode::kCorrupt ? "destroyed: " : "unreadable: ") +
         control.error().message;
}

std::string tail_of(const std::string& path) {
  base::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat s{};
  if (!fd.valid() || ::fstat(fd.get(), &s) != 0) return {};
  std::string text(static_cast<std::size_t>(std::min(s.st_size, kTail)), '\0');
  ssize_t n = ::pread(fd.get(), text.data(), text.size(), s.st_size - static_cast<off_t>(text.size()));
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  // Cut in the middle of a line, its rest would be taken for one.
  if (s.st_size > kTail) text.erase(0, std::min(text.find('\n'), text.size()));
  return text;
}

// log_directory may lie anywhere; these are its defaults, since 10 and before.
std::string newest_log(const std::string& data_directory) {
  std::string newest;
  timespec when{};
  for (const char* folder : {"/log", "/pg_log"}) {
    auto names = base::list_directory(data_directory + folder);
    if (!names) continue;
    for (const std::string& name : *names) {
      if (!name.ends_with(".log")) continue;
      std::string path = fmt::format("{}{}/{}", data_directory, folder, name);
      struct stat s{};
      if (::stat(path.c_str(), &s) != 0 || !S_ISREG(s.st_mode)) continue;
      bool newer = newest.empty() || s.st_mtim.tv_sec > when.tv_sec ||
                   (s.st_mtim.tv_sec == when.tv_sec && s.st_mtim.tv_nsec > when.tv_nsec);
      if (!newer) continue;
      newest = path;
      when = s.st_mtim;
    }
  }
  return newest;
}

}  // namespace

Json describe_dead_server(const std::string& data_directory) {
  Json out = {{"controlFile", control_file(data_directory)}};
  std::string log = newest_log(data_directory);
  if (log.empty()) return out;
  auto all = postgres::complaints(tail_of(log));
  auto last = std::find_if(all.rbegin(), all.rend(), [](const auto& c) { return c.fatal; });
  if (last == all.rend()) return out;
  out["log"] = {{"file", log.substr(data_directory.size() + 1)},
                {"reason", last->reason},
                {"what", last->what},
                {"line", last->line}};
  return out;
}

}  // namespace pgrunbook::agent
