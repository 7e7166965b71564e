// The figures of /metrics follow the objects, and their series are as many as topologies, kinds and phases.
#include "controllers/figures.hpp"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgrunbook::controllers {
namespace {

using base::Json;
using runtime::Change;
using runtime::Metrics;
using runtime::Snapshot;
using ::testing::HasSubstr;
using ::testing::Not;

Snapshot snapshot(const Json& object) { return std::make_shared<const Json>(object); }

Json topology(const Json& status) { return {{"metadata", {{"name", "tfrs"}}}, {"status", status}}; }

Json action(const std::string& name, const std::string& phase, const std::string& completed = "") {
  Json status = {{"phase", phase}, {"message", "of " + name}};
  if (!completed.empty()) status["completionTime"] = completed;
  return {{"metadata", {{"name", name}, {"uid", "uid-of-" + name}}},
          {"spec", {{"topologyRef", {{"name", "tfrs"}}}}},
          {"status", status}};
}

class FiguresTest : public testing::Test {
 protected:
  Metrics metrics;
  Figures figures{metrics};
  [[nodiscard]] double of_topology(const std::string& name) const {
    return metrics.value(name, {{"topology", "tfrs"}});
  }
  [[nodiscard]] double in_phase(const std::string& kind, const std::string& phase) const {
    return metrics.value("pgrunbook_actions", {{"kind", kind}, {"topology", "tfrs"}, {"phase", phase}});
  }
  [[nodiscard]] double ended(const std::string& name, const std::string& result) const {
    return metrics.value(name, {{"kind", "PostgresBackup"}, {"topology", "tfrs"}, {"result", result}});
  }
};

Json condition(const std::string& type, const std::string& status) {
  return {{"type", type}, {"status", status}};
}

TEST_F(FiguresTest, OfATopology) {
  Json status = {
      {"archiver", {{"ready", 3}, {"oldestReadySeconds", 240}}},
      {"lastBackup", {{"name", "tfrs-1"}, {"time", "1970-01-01T00:01:40Z"}}},
      {"restorableWindow", {{"earliest", "1970-01-01T00:01:30Z"}, {"latest", "1970-01-01T00:03:20Z"}}},
      {"conditions", {condition("ContinuousArchiving", "True"), condition("Recoverable", "True")}}};
  Snapshot good = snapshot(topology(status));
  figures.topology({nullptr, good});
  EXPECT_EQ(of_topology("pgrunbook_topology_info"), 1);
  EXPECT_EQ(of_topology("pgrunbook_continuous_archiving"), 1);
  EXPECT_EQ(of_topology("pgrunbook_recoverable"), 1);
  EXPECT_EQ(of_topology("pgrunbook_wal_ready_files"), 3);
  EXPECT_EQ(of_topology("pgrunbook_wal_oldest_ready_seconds"), 240);
  EXPECT_EQ(of_topology("pgrunbook_last_backup_timestamp_seconds"), 100);
  EXPECT_EQ(of_topology("pgrunbook_restorable_earliest_timestamp_seconds"), 90);
  EXPECT_EQ(of_topology("pgrunbook_restorable_latest_timestamp_seconds"), 200);
  EXPECT_THAT(metrics.text(), HasSubstr("pgrunbook_topology_stalled{topology=\"tfrs\"} 0\n"));

  status["conditions"] = {condition("ContinuousArchiving", "False"), condition("Recoverable", "False"),
                          condition("ServiceConsistent", "False"), condition("Stalled", "True")};
  Snapshot bad = snapshot(topology(status));
  figures.topology({good, bad});
  EXPECT_THAT(metrics.text(), HasSubstr("pgrunbook_continuous_archiving{topology=\"tfrs\"} 0\n"));
  EXPECT_THAT(metrics.text(), HasSubstr("pgrunbook_recoverable{topology=\"tfrs\"} 0\n"));
  EXPECT_THAT(metrics.text(), HasSubstr("pgrunbook_service_consistent{topology=\"tfrs\"} 0\n"));
  EXPECT_EQ(of_topology("pgrunbook_topology_stalled"), 1);
}

TEST_F(FiguresTest, WhatIsUnknownOrGoneIsAbsent) {
  Snapshot nothing = snapshot(topology(nullptr));
  figures.topology({nullptr, nothing});
  EXPECT_THAT(metrics.text(), HasSubstr("pgrunbook_topology_info{topology=\"tfrs\"} 1\n"));
  for (const char* name : {"pgrunbook_continuous_archiving", "pgrunbook_wal_", "pgrunbook_last_backup",
                           "pgrunbook_restorable", "pgrunbook_topology_stalled"})
    EXPECT_THAT(metrics.text(), Not(HasSubstr(name)));

  Snapshot unknown = snapshot(topology({{"conditions", {condition("ContinuousArchiving", "Unknown")}},
                                        {"archiver", {{"ready", 0}}},
                                        {"lastBackup", {{"time", "some day"}}}}));
  figures.topology({nothing, unknown});
  EXPECT_THAT(metrics.text(), Not(HasSubstr("pgrunbook_continuous_archiving")));
  EXPECT_THAT(metrics.text(), Not(HasSubstr("pgrunbook_last_backup")));
  EXPECT_THAT(metrics.text(), HasSubstr("pgrunbook_wal_oldest_ready_seconds{topology=\"tfrs\"} 0\n"));

  figures.topology({unknown, nullptr});
  EXPECT_THAT(metrics.text(), Not(HasSubstr("pgrunbook_topology_info{")));
  EXPECT_THAT(metrics.text(), Not(HasSubstr("pgrunbook_wal_")));
}

TEST_F(FiguresTest, AnActionIsInOnePhaseAtATime) {
  Snapshot pending = snapshot(action("a", "")), blocked = snapshot(action("a", "Blocked")),
           other = snapshot(action("b", "Blocked"));
  figures.action("PostgresRestore", {nullptr, pending});
  EXPECT_EQ(in_phase("PostgresRestore", "Pending"), 1);
  figures.action("PostgresRestore", {pending, blocked});
  figures.action("PostgresRestore", {nullptr, other});
  EXPECT_EQ(in_phase("PostgresRestore", "Blocked"), 2);
  EXPECT_THAT(metrics.text(), Not(HasSubstr("Pending")));
  figures.action("PostgresRestore", {blocked, nullptr});
  figures.action("PostgresRestore", {other, nullptr});
  EXPECT_THAT(metrics.text(), Not(HasSubstr("pgrunbook_actions{")));
}

// An operator that starts sees every old failure as new; it must not be counted again.
TEST_F(FiguresTest, OnlyAnEndThatWasSeenIsCounted) {
  Snapshot running = snapshot(action("a", "Running")),
           failed = snapshot(action("a", "Failed", "1970-01-01T00:01:40Z")),
           old = snapshot(action("b", "Failed", "1970-01-01T00:00:50Z"));
  figures.topology({nullptr, snapshot(topology(nullptr))});
  EXPECT_THAT(metrics.text(), HasSubstr("pgrunbook_actions_ended_total{kind=\"PostgresBackup\",topology="
                                        "\"tfrs\",result=\"Failed\"} 0\n"));
  figures.action("PostgresBackup", {nullptr, old});
  EXPECT_EQ(ended("pgrunbook_actions_ended_total", "Failed"), 0);
  EXPECT_EQ(ended("pgrunbook_action_last_ended_timestamp_seconds", "Failed"), 50);
  figures.action("PostgresBackup", {nullptr, running});
  figures.action("PostgresBackup", {running, failed});
  figures.action("PostgresBackup", {failed, failed});
  EXPECT_EQ(ended("pgrunbook_actions_ended_total", "Failed"), 1);
  EXPECT_EQ(ended("pgrunbook_action_last_ended_timestamp_seconds", "Failed"), 100);
  figures.action("PostgresBackup", {failed, nullptr});
  EXPECT_EQ(ended("pgrunbook_action_last_ended_timestamp_seconds", "Failed"), 50);
  figures.action("PostgresBackup", {old, nullptr});
  EXPECT_THAT(metrics.text(), Not(HasSubstr("pgrunbook_action_last_ended")));
}

TEST_F(FiguresTest, SeriesDoNotGrowWithActions) {
  figures.topology({nullptr, snapshot(topology(nullptr))});
  for (int i = 0; i < 1000; ++i) {
    std::string name = "action-" + std::to_string(i);
    const char* kind = i % 3 == 0 ? "PostgresBackup" : i % 3 == 1 ? "PostgresRestore" : "Failover";
    Snapshot before = snapshot(action(name, "Running"));
    figures.action(kind, {nullptr, before});
    for (const char* phase : {"Blocked", "RollingBack", i % 2 == 0 ? "Completed" : "Failed"}) {
      Snapshot after = snapshot(action(name, phase, "2026-11-20T15:00:00Z"));
      figures.action(kind, {before, after});
      before = after;
    }
  }
  std::string text = metrics.text();
  EXPECT_THAT(text, Not(HasSubstr("action-")));
  EXPECT_THAT(text, Not(HasSubstr("uid")));
  // One topology: 3 kinds in 2 phases and with 2 last ends, 9 counters, what is known of the topology itself.
  auto series = std::count(text.begin(), text.end(), '\n') - std::count(text.begin(), text.end(), '#');
  EXPECT_EQ(series, 6 + 6 + 9 + 1);
  EXPECT_EQ(in_phase("PostgresBackup", "Completed"), 167);
}

}  // namespace
}  // namespace pgrunbook::controllers
