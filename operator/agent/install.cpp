#include "agent/install.hpp"

#include <fmt/format.h>

#include "agent/arguments.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"

namespace pgrunbook::agent {

using base::ErrorCode;
using base::Result;

Result<std::string> install_program(const std::string& program, const std::string& path) {
  PGR_ASSIGN(std::string content, base::read_file(program));
  std::string hash = base::sha256(content);
  auto made = base::create_file(path, content, 0555);
  if (made) return hash;
  if (made.error().code != ErrorCode::kAlreadyExists) return base::fail(made.error());
  PGR_ASSIGN(std::string there, base::sha256_file(path));
  if (there == hash) return hash;
  return base::fail(ErrorCode::kConflict,
                    fmt::format("{} is another program (sha256 {:.16}, ours {:.16})", path, there, hash),
                    "it was changed, or is of another build with the same version; nothing was overwritten");
}

int install_command(const std::vector<std::string>& arguments) {
  if (arguments.size() != 1) {
    say("install", base::error(ErrorCode::kInvalid, "one argument is expected: the file to make"));
    return 2;
  }
  auto installed = install_program("/proc/self/exe", arguments.front());
  if (installed) return 0;
  say("install", installed.error());
  return 1;
}

}  // namespace pgrunbook::agent
