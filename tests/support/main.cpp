#include <cstdlib>
#include <filesystem>
#include <pwd.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "support/paths.hpp"

namespace {
std::string agent;
}

namespace pgrunbook::test {
const char* source_dir() { return PATH_OF_SOURCE; }
const char* agent_path() { return agent.c_str(); }
}  // namespace pgrunbook::test

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  // A copy that anybody can run: the servers of the postgres layer are not root, and the tree may be.
  namespace fs = std::filesystem;
  std::string directory = (fs::temp_directory_path() / "pgrunbook-test-XXXXXX").string();
  if (::mkdtemp(directory.data()) == nullptr) return 1;
  fs::permissions(directory, fs::perms(0755));
  // The postgres layer becomes that user before the end, and then removes it.
  if (const passwd* user = ::getpwnam("postgres"); ::geteuid() == 0 && user != nullptr)
    (void)!::chown(directory.c_str(), user->pw_uid, user->pw_gid);
  agent = directory + "/pgrunbook-agent";
  std::error_code none;  // a layer that does not need it is built without it
  fs::copy_file(PATH_OF_AGENT, agent, none);
  int result = RUN_ALL_TESTS();
  fs::remove_all(directory, none);
  return result;
}
