#include "runtime/memory.hpp"

#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/hash.hpp"

namespace pgrunbook::runtime {
namespace {

// kB of files' pages that are mapped here.
long mapped_of_files() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssFile:")) return std::stol(line.substr(8));
  }
  return -1;
}

TEST(Memory, CodeComesBackAsItIsUsed) {
  const std::string before = base::sha256("text");
  const long all = mapped_of_files();
  give_code_back();
  const long used = mapped_of_files();
  EXPECT_LT(used, all);
  EXPECT_GT(used, 0);
  EXPECT_EQ(base::sha256("text"), before);
}

TEST(Memory, CodeIsGivenBackUnderThreadsThatRunIt) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        try {
          EXPECT_EQ(base::sha256("a").size(), 64);
          throw std::runtime_error("unwinding reads tables of the file");
        } catch (const std::exception&) {
          std::this_thread::yield();
        }
      }
    });
  }
  for (int i = 0; i < 100; ++i) give_code_back();
}

}  // namespace
}  // namespace pgrunbook::runtime
