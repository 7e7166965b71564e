#include "postgres/control_data.hpp"

#include <gtest/gtest.h>

namespace pgrunbook::postgres {
namespace {

constexpr const char* kOutput = R"(pg_control version number:            1300
Catalog version number:               202209061
Database system identifier:           7431234567890123456
Database cluster state:               shut down
pg_control last modified:             Fri Nov 20 15:04:05 2026
Latest checkpoint location:           0/3000028
Latest checkpoint's REDO location:    0/3000028
Latest checkpoint's REDO WAL file:    000000020000000000000003
Latest checkpoint's TimeLineID:       2
Latest checkpoint's PrevTimeLineID:   2
Latest checkpoint's full_page_writes: on
Minimum recovery ending location:     0/0
Min recovery ending loc's timeline:   0
Backup start location:                0/0
End-of-backup record required:        no
wal_level setting:                    replica
wal_log_hints setting:                off
max_connections setting:              100
max_worker_processes setting:         8
max_wal_senders setting:              10
max_prepared_xacts setting:           3
max_locks_per_xact setting:           64
track_commit_timestamp setting:       on
Bytes per WAL segment:                16777216
Data page checksum version:           1
Mock authentication nonce:            00
)";

TEST(ControlData, ReadsEveryFieldWeUse) {
  auto c = parse_control_data(kOutput);
  ASSERT_TRUE(c.has_value()) << c.error().text();
  EXPECT_EQ(c->system_identifier, 7431234567890123456U);
  EXPECT_EQ(c->state, "shut down");
  EXPECT_TRUE(c->shut_down());
  EXPECT_EQ(c->control_version, 1300);
  EXPECT_EQ(c->catalog_version, 202209061);
  EXPECT_EQ(c->checkpoint, *Lsn::parse("0/3000028"));
  EXPECT_EQ(c->timeline, TimelineId(2));
  EXPECT_EQ(c->segment_size, 16U << 20U);
  EXPECT_FALSE(c->min_recovery_end.valid());
  EXPECT_EQ(c->checksum_version, 1);
  EXPECT_EQ(c->settings.size(), 8U);
  EXPECT_EQ(c->settings.at("max_prepared_transactions"), "3");
  EXPECT_EQ(c->settings.at("max_locks_per_transaction"), "64");
  EXPECT_EQ(c->settings.at("track_commit_timestamp"), "on");
}

TEST(ControlData, ShutDownInRecoveryIsNotShutDown) {
  std::string text = kOutput;
  text.replace(text.find("shut down"), 9, "shut down in recovery");
  EXPECT_FALSE(parse_control_data(text)->shut_down());
}

TEST(ControlData, AMissingFieldIsAnErrorThatNamesIt) {
  for (const char* key :
       {"Database system identifier", "Database cluster state", "Latest checkpoint location",
        "Latest checkpoint's TimeLineID", "Bytes per WAL segment", "Data page checksum version"}) {
    std::string text = kOutput;
    text.replace(text.find(key), 1, "#");
    auto c = parse_control_data(text);
    ASSERT_FALSE(c.has_value()) << key;
    EXPECT_EQ(c.error().message, std::string("pg_controldata printed no '") + key + "'");
  }
}

TEST(ControlData, AWrongChecksumVoidsEverything) {
  std::string text =
      "WARNING: Calculated CRC checksum does not match value stored in file.\n" + std::string(kOutput);
  EXPECT_EQ(parse_control_data(text).error().message, "pg_control's own checksum is wrong");
}

TEST(ControlData, AnotherLanguageIsAnError) {
  EXPECT_FALSE(parse_control_data("Datenbanksystemidentifikation: 1\n").has_value());
}

}  // namespace
}  // namespace pgrunbook::postgres
