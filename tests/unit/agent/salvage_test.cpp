// What is kept of a salvage, and the fence that rests on it.
#include "agent/salvage.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/fence.hpp"
#include "agent/member_agent.hpp"

namespace pgrunbook::agent {
namespace {

using base::Json;
using postgres::Lsn;
using ::testing::HasSubstr;

SalvageRecord salvaged() {
  SalvageRecord r;
  r.action_uid = "uid-1";
  r.member = "postgresql";
  r.writer = "claim-1";
  r.timeline = postgres::TimelineId(3);
  r.system_identifier = 7000000000000000001;
  r.end = Lsn(0x5000128);
  r.segments = {"000000030000000000000003", "000000030000000000000004"};
  r.last = "000000030000000000000005";
  r.transactions = 12;
  r.last_commit = {{"xid", 7}, {"time", "t"}, {"lsn", "0/5000100"}};
  return r;
}

TEST(SalvageRecordTest, SurvivesTheWayAsText) {
  Json written = to_json(salvaged());
  auto read = salvage_from_json(written);
  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(to_json(*read), written);
  EXPECT_EQ(read->end, Lsn(0x5000128));
}

TEST(SalvageRecordTest, IsRefusedWhereAFieldIsMissingOrWouldBecomeAPath) {
  for (const char* field : {"actionUID", "writer", "timeline", "systemIdentifier", "endLSN"}) {
    Json json = to_json(salvaged());
    json.erase(field);
    auto read = salvage_from_json(json);
    ASSERT_FALSE(read) << field;
    EXPECT_EQ(read.error().code, base::ErrorCode::kCorrupt) << field;
  }
  Json json = to_json(salvaged());
  json["last"] = "../../walbackup/00000001";
  EXPECT_FALSE(salvage_from_json(json));
}

TEST(UnarchivedWalTest, BeginsWithTheFirstSegmentThatTheArchiveLacks) {
  constexpr std::uint64_t kMiB = 1U << 20U;
  UnarchivedWal wal;
  EXPECT_EQ(wal.begin(kMiB), std::nullopt);
  wal.last = archive::SegmentRef{postgres::TimelineId(1), 7, "000000010000000000000007"};
  EXPECT_EQ(wal.begin(kMiB), Lsn(7 * kMiB));
  wal.complete = {{postgres::TimelineId(1), 5, "000000010000000000000005"},
                  {postgres::TimelineId(1), 6, "000000010000000000000006"}};
  EXPECT_EQ(wal.begin(kMiB), Lsn(5 * kMiB));
}

TEST(SalvagedFence, HoldsWhileNothingWasWrittenSince) {
  FenceRecord f;
  f.action_uid = "uid-2";
  f.timeline = 3;
  f.salvaged_to = "0/5000128";
  EXPECT_TRUE(still_fenced(f, Lsn(0x5000128), true));
  EXPECT_FALSE(still_fenced(f, Lsn(0x5000128), false));
  EXPECT_FALSE(still_fenced(f, Lsn(0x5000130), true));
  auto read = fence_from_json(to_json(f));
  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(read->salvaged_to, "0/5000128");
  EXPECT_EQ(read->checkpoint_lsn, "");
  f.salvaged_to = "";
  EXPECT_FALSE(fence_from_json(to_json(f))) << "neither stopped cleanly nor salvaged";
}

TEST(RestoreCommand, NamesTheSalvageOnlyWhereThereIsOne) {
  EXPECT_THAT(restore_command_text("/a", "/r", "uid-1"), HasSubstr(" --salvage "));
  EXPECT_THAT(restore_command_text("/a", "/r", "uid-1"), HasSubstr("uid-1"));
  EXPECT_THAT(restore_command_text("/a", "/r"), ::testing::Not(HasSubstr("salvage")));
}

}  // namespace
}  // namespace pgrunbook::agent
