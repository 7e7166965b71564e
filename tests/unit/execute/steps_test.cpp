// docs/faults.md says of every step of every action what fails it on a cluster, or why it cannot fail on its
// own. A step that is not in the table, or a case that tests/sweep/steps.sh does not have, fails here.
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "execute/flows.hpp"
#include "support/paths.hpp"
#include "unit/execute/bench.hpp"

namespace pgrunbook::execute {
namespace {

using Steps = std::set<std::string>;  // "restore: recover"

std::string content(const std::string& file) {
  std::ifstream in(std::string(PGRUNBOOK_SOURCE_DIR) + "/" + file);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

void add(Action& a, const std::string& action, const Flow& flow, const Json& inputs, Steps* out) {
  a.status.operation.inputs.update(inputs);
  out->insert(action + ": plan");
  for (const Step& s : flow.steps(a)) {
    std::string name = s.planned.name;
    // One per member.
    out->insert(action + ": " + (name.rfind("leave-", 0) == 0 ? "leave-MEMBER" : name));
  }
  if (flow.record) out->insert(action + ": record");
}

Steps steps_of_the_flows() {
  Steps out;
  test::Bench b;
  const Json member = {{"member", "postgresql"}};
  add(b.a, "setup", setup_flow(b.a, {}), member, &out);
  add(b.a, "backup", backup_flow(b.a, {}), member, &out);
  add(b.a, "restore", restore_flow(b.a, {}), {{"target", "postgresql-standby"}}, &out);
  add(b.a, "restore", restore_flow(b.a, {}), {{"primary", "postgresql"}}, &out);
  const Json ends = {{"from", "postgresql"}, {"to", "postgresql-standby"}, {"services", Json::object()}};
  add(b.a, "cutover", cutover_flow(b.a, {}), ends, &out);
  add(b.a, "cutover", cutover_flow(b.a, {}), {{"salvage", "uid"}}, &out);
  add(b.a, "leave", leave_flow(b.a), {{"members", {"postgresql"}}, {"restart", true}}, &out);
  return out;
}

// The permission to restart the primary can be withdrawn as long as it is not done.
TEST(SetupFlow, IsCancelledOnceItIsNotWantedAnyMore) {
  test::Bench b;
  api::TopologySpec spec;
  spec.archive.wal.setup = "ConfigureAndRestart";
  EXPECT_FALSE(setup_flow(b.a, spec).cancel);
  spec.archive.wal.setup = "Report";
  EXPECT_TRUE(setup_flow(b.a, spec).cancel);
}

struct Row {
  std::string refused, dies;
};
std::map<std::string, Row> table() {
  std::map<std::string, Row> out;
  std::istringstream lines(content("docs/faults.md"));
  const std::regex row(R"re(\| (\w+) \| `([A-Za-z-]+)` \| (.*) \| (.*) \|)re");
  for (std::string line; std::getline(lines, line);) {
    std::smatch m;
    if (std::regex_match(line, m, row)) out[m[1].str() + ": " + m[2].str()] = {m[3], m[4]};
  }
  return out;
}

// The cases that are run: the words of the lists groups[...]="...".
std::set<std::string> cases() {
  std::set<std::string> out;
  const std::string script = content("tests/sweep/steps.sh");
  const std::regex list(R"re(groups\[\w+\]="([^"]*)")re"), word(R"re(\w+)re");
  for (std::sregex_iterator it(script.begin(), script.end(), list), end; it != end; ++it) {
    const std::string words = (*it)[1];
    for (std::sregex_iterator w(words.begin(), words.end(), word); w != end; ++w) {
      out.insert(w->str());
      EXPECT_NE(script.find("\n" + w->str() + "()"), std::string::npos) << w->str() << " is no function";
    }
  }
  return out;
}

TEST(EveryStep, IsInTheTableOfFaults) {
  const Steps flows = steps_of_the_flows();
  EXPECT_GE(flows.size(), 35U);
  std::set<std::string> documented;
  for (const auto& [step, row] : table()) {
    documented.insert(step);
    EXPECT_NE(row.refused, "") << step;
    EXPECT_NE(row.dies, "") << step;
  }
  EXPECT_EQ(documented, flows);
}

TEST(EveryStep, HasACaseThatIsRunOrAReason) {
  const std::set<std::string> run = cases();
  EXPECT_GE(run.size(), 40U);
  std::set<std::string> named;
  const std::regex quoted("`([a-z_]+)`");
  auto look = [&](const std::string& step, const std::string& cell) {
    bool any = false;
    for (std::sregex_iterator it(cell.begin(), cell.end(), quoted), end; it != end; ++it) {
      any = true;
      named.insert((*it)[1]);
      EXPECT_EQ(run.count((*it)[1]), 1U)
          << (*it)[1] << " of " << step << " is not run by tests/sweep/steps.sh";
    }
    EXPECT_TRUE(any || cell.find(' ') != std::string::npos) << step << ": neither a case nor a reason";
  };
  for (const auto& [step, row] : table()) {
    look(step, row.refused);
    look(step, row.dies);
  }
  for (const std::string& one : run)
    EXPECT_EQ(named.count(one), 1U) << one << " is run and in no row of docs/faults.md";
}

}  // namespace
}  // namespace pgrunbook::execute
