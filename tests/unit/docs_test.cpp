// docs/refusals.md names every reason that the code can give, and none that it cannot.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

#include "support/paths.hpp"

namespace pgrunbook {
namespace {

std::string content(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string sources() {
  std::string all;
  for (const char* folder : {"src", "operator"}) {
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(std::string(PGRUNBOOK_SOURCE_DIR) + "/" + folder)) {
      if (entry.path().extension() == ".cpp") all += content(entry.path()) + "\n";
    }
  }
  return all;
}

void collect(const std::string& text, const char* pattern, std::set<std::string>* out) {
  std::regex re(pattern);
  for (std::sregex_iterator it(text.begin(), text.end(), re), end; it != end; ++it) {
    for (std::size_t i = 1; i < it->size(); ++i) {
      if ((*it)[i].matched) out->insert((*it)[i]);
    }
  }
}

constexpr const char* kReason = R"re("([A-Z][A-Za-z]+)")re";

TEST(Docs, RefusalsNameEveryReason) {
  std::string code = sources();
  std::set<std::string> given, documented;
  // refused("Reason", ...) and refused(x ? "Reason" : "Other", ...); e.reason = "Reason"; or one of two.
  // fail_as(code, "Reason", ...).
  for (const char* call : {"refused(", "fail_as(base::ErrorCode::", "fail_as(ErrorCode::"}) {
    for (auto at = code.find(call); at != std::string::npos; at = code.find(call, at + 1)) {
      if (call[0] == 'f') at = code.find(',', at) + 1;
      std::string argument = code.substr(at, code.find(',', at) - at);
      if (argument.size() < 120) collect(argument, kReason, &given);
    }
  }
  for (auto at = code.find("reason = "); at != std::string::npos; at = code.find("reason = ", at + 1)) {
    std::string value = code.substr(at, std::min(code.find(';', at), code.find(',', at)) - at);
    if (value.size() < 300) collect(value, kReason, &given);
  }
  ASSERT_GT(given.size(), 100U) << "the patterns find nothing";
  std::istringstream lines(content(std::string(PGRUNBOOK_SOURCE_DIR) + "/docs/refusals.md"));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("| `"))
      collect(line.substr(0, line.find('|', 1)), R"re(`([A-Z][A-Za-z]+)`)re", &documented);
  }
  for (const std::string& reason : given)
    EXPECT_EQ(documented.count(reason), 1U) << reason << " is given by the code and not in docs/refusals.md";
  for (const std::string& reason : documented) {
    bool known = given.count(reason) == 1 || code.find('"' + reason + '"') != std::string::npos;
    // Kubernetes' own word.
    EXPECT_TRUE(known || reason == "Forbidden")
        << reason << " is in docs/refusals.md and nowhere in the code";
  }
}

}  // namespace
}  // namespace pgrunbook
