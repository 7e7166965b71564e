#include "agent/secrets.hpp"

#include <cstdlib>

#include "api/job.hpp"
#include "base/file.hpp"

namespace pgrunbook::agent {

std::string secret(const std::string& name) {
  const char* elsewhere = std::getenv("PGRUNBOOK_SECRETS");
  std::string directory = elsewhere == nullptr ? api::secrets::kDirectory : elsewhere;
  auto text = base::read_file(directory + "/" + name);
  return text ? *text : std::string();
}

}  // namespace pgrunbook::agent
