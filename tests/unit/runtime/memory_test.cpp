#include "runtime/memory.hpp"

#include <cmath>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

namespace pgrunbook::runtime {
namespace {

long kib(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field + ":")) return std::stol(line.substr(field.size() + 1));
  }
  return -1;
}

TEST(MemoryTest, CodeThatIsLetGoComesBackAsItWas) {
  long before = kib("RssFile");
  let_go_of_code();
  long after = kib("RssFile");
  EXPECT_LT(after, before);
  // Constants, relocated tables and code of this program and of libraries, all of them used again.
  EXPECT_EQ(std::to_string(4096), "4096");
  EXPECT_DOUBLE_EQ(std::cos(0.0), 1.0);
  EXPECT_THROW((void)std::stol("no number"), std::invalid_argument);
  give_memory_back();
  let_go_of_code();
}

}  // namespace
}  // namespace pgrunbook::runtime
