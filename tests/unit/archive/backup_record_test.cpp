#include "archive/backup_record.hpp"

#include <gtest/gtest.h>

namespace pgrunbook::archive {
namespace {

BackupRecord sample() {
  BackupRecord b;
  b.id = "20261120T150405Z-1a2b3c4d";
  b.topology = "tfrs";
  b.member = "postgresql";
  b.action_uid = "8d3f";
  b.server_version = "15.20";
  b.major_version = 15;
  b.control_version = 1300;
  b.catalog_version = 202209061;
  b.system_identifier = 18446744073709551615U;  // no digit may get lost
  b.segment_size = 16U << 20U;
  b.timeline = postgres::TimelineId(2);
  b.begin_lsn = postgres::Lsn(0x3000028);
  b.end_lsn = postgres::Lsn(0x3000138);
  b.begin_wal = b.end_wal = "000000020000000000000003";
  b.start_time = *base::parse_time("2026-11-20T15:04:05.000001Z", "t");
  b.stop_time = *base::parse_time("2026-11-20T15:04:09.999999Z", "t");
  b.database_bytes = 123456789012;
  b.data_checksums = true;
  b.databases = {{{"name", "tfrs"}, {"encoding", "UTF8"}, {"collationVersion", "2.36"}}};
  b.configuration_files = {{"/etc/x.conf", "1-x.conf", ""}, {"/etc/y.conf", "", "permission denied"}};
  return b;
}

TEST(BackupRecord, I20_CarriesEverythingThroughJson) {
  base::Json json = to_json(sample());
  auto b = backup_record_from_json(base::Json::parse(json.dump(2)));
  ASSERT_TRUE(b.has_value()) << b.error().text();
  EXPECT_EQ(to_json(*b), json);
  EXPECT_EQ(b->system_identifier, 18446744073709551615U);
  EXPECT_EQ(base::format_time_micro(b->stop_time), "2026-11-20T15:04:09.999999Z");
  for (const char* key :
       {"systemIdentifier", "timeline", "beginLSN", "endLSN", "startTime", "stopTime", "parentID",
        "serverVersion", "catalogVersion", "segmentSize", "dataChecksums", "serverEncoding", "databases",
        "tablespaces", "manifestSHA256", "storedSHA256", "recordSHA256"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
}

TEST(BackupRecord, I20_EveryChangedByteIsNoticed) {
  const std::string text = to_json(sample()).dump();
  for (std::size_t at = 0; at < text.size(); ++at) {
    std::string bad = text;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    auto json = base::parse_json(bad, "backup.json");
    EXPECT_FALSE(json && backup_record_from_json(*json))
        << at << ": " << bad.substr(at > 20 ? at - 20 : 0, 40);
  }
}

TEST(BackupRecord, AnEditedFileSaysSo) {
  base::Json json = to_json(sample());
  json["endLSN"] = "0/4000000";
  auto b = backup_record_from_json(json);
  ASSERT_FALSE(b.has_value());
  EXPECT_EQ(b.error().text(),
            "backup.json is not what its recordSHA256 says. HINT: it was edited or damaged; this backup is "
            "not used");
}

TEST(BackupRecord, ALaterFormatIsNotGuessed) {
  base::Json json = to_json(sample());
  json["format"] = 2;
  EXPECT_EQ(backup_record_from_json(json).error().message, "backup.json has format 2, this version knows 1");
}

}  // namespace
}  // namespace pgrunbook::archive
