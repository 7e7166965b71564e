#include "runtime/log.hpp"

#include <sstream>

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

namespace pgrunbook::runtime {
namespace {

TEST(LogTest, ValuesStayOnOneLineAndReadable) {
  EXPECT_EQ(fields_text({{"a", "plain"}, {"b", "two words"}, {"c", ""}, {"d", "x\ny"}, {"e", "q\"=\\"}}),
            " a=plain b=\"two words\" c=\"\" d=\"x\\ny\" e=\"q\\\"=\\\\\"");
}

TEST(LogTest, ScopesNest) {
  LogScope outer({{"controller", "restore"}});
  {
    LogScope inner({{"step", "fence"}});
    EXPECT_EQ(scope_text(), " controller=restore step=fence");
  }
  EXPECT_EQ(scope_text(), " controller=restore");
}

TEST(LogTest, AMessageIsOneLine) {
  auto former = spdlog::default_logger();
  std::ostringstream out;
  auto logger = std::make_shared<spdlog::logger>("t", std::make_shared<spdlog::sinks::ostream_sink_mt>(out));
  logger->set_pattern("%l %v");
  spdlog::set_default_logger(logger);
  log_warn("informer", "first\nsecond {} {nonsense", {{"k", "v"}});
  spdlog::set_default_logger(former);
  EXPECT_EQ(out.str(), "warning informer first second {} {nonsense k=v\n");
}

}  // namespace
}  // namespace pgrunbook::runtime
