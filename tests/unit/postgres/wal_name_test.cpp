#include "postgres/wal_name.hpp"

#include <random>

#include <gtest/gtest.h>

namespace pgrunbook::postgres {
namespace {

TEST(WalName, ClassifiesTheFourKinds) {
  struct Case {
    const char* text;
    WalKind kind;
    std::uint32_t timeline;
    const char* segment;
  };
  for (const Case& c : {
           Case{"000000010000000000000003", WalKind::kSegment, 1, "000000010000000000000003"},
           Case{"0000000A000000FF000000FE", WalKind::kSegment, 10, "0000000A000000FF000000FE"},
           Case{"000000010000000000000003.partial", WalKind::kPartial, 1, "000000010000000000000003"},
           Case{"000000010000000000000003.00000028.backup", WalKind::kBackup, 1, "000000010000000000000003"},
           Case{"00000002.history", WalKind::kHistory, 2, ""},
       }) {
    auto name = parse_wal_name(c.text);
    ASSERT_TRUE(name.has_value()) << c.text;
    EXPECT_EQ(name->kind, c.kind) << c.text;
    EXPECT_EQ(name->timeline.number(), c.timeline);
    EXPECT_EQ(name->text, c.text);
    EXPECT_EQ(name->segment_text(), c.segment);
  }
}

TEST(WalName, I7_AnythingElseIsRefused) {
  const std::string long_name(65, 'A');
  for (const std::string& text :
       std::initializer_list<std::string>{"",
                                          ".",
                                          "..",
                                          "../x",
                                          "../000000010000000000000003",
                                          "/000000010000000000000003",
                                          "000000010000000000000003/",
                                          "000000010000000000000003\n",
                                          " 000000010000000000000003",
                                          "00000001000000000000000a",
                                          "00000001000000000000003",
                                          "0000000100000000000000033",
                                          long_name,
                                          "000000010000000000000003.gz",
                                          "000000010000000000000003.zst",
                                          "000000010000000000000003.partial.x",
                                          "000000010000000000000003.Partial",
                                          "000000010000000000000003.28.backup",
                                          "000000010000000000000003.0000002g.backup",
                                          "000000010000000000000003.00000028.backup.x",
                                          "00000002.History",
                                          "0000002.history",
                                          "00000002.history.zst",
                                          ".history",
                                          "000000000000000000000003",
                                          "00000000.history",
                                          "archive_status",
                                          "RECOVERYXLOG",
                                          "repository.json",
                                          "$(reboot)",
                                          "00000001000000000000000;",
                                          std::string("000000010000000000000003\0x", 26)}) {
    auto name = parse_wal_name(text);
    ASSERT_FALSE(name.has_value()) << text;
    EXPECT_EQ(name.error().code, base::ErrorCode::kInvalid);
    EXPECT_EQ(name.error().hint, "only segments, .partial, .backup and .history files are archived");
  }
}

TEST(WalName, NumberNameAndBackIsTheSameForEverySegmentSize) {
  std::mt19937_64 random(15);
  for (std::uint64_t size = 1U << 20U; size <= 1U << 30U; size *= 2) {
    ASSERT_TRUE(valid_segment_size(size));
    for (int i = 0; i < 200; ++i) {
      std::uint64_t number = random() % ((std::uint64_t{1} << 63U) / size);
      TimelineId timeline(static_cast<std::uint32_t>(random() % 0xFFFFFFFF) + 1);
      auto name = parse_wal_name(segment_name(timeline, number, size));
      ASSERT_TRUE(name.has_value());
      EXPECT_EQ(name->segment(size).value(), number);
      EXPECT_EQ(name->timeline, timeline);
      Lsn inside(number * size + random() % size);
      EXPECT_EQ(segment_name(timeline, inside, size), name->text);
    }
  }
}

TEST(WalName, ANameOfAnotherSegmentSizeIsNoNumber) {
  auto name = parse_wal_name("0000000100000000000000FF");
  EXPECT_EQ(name->segment(16U << 20U).value(), 255U);
  auto wrong = name->segment(64U << 20U);  // 64 MiB segments end at ...3F
  ASSERT_FALSE(wrong.has_value());
  EXPECT_EQ(wrong.error().message, "0000000100000000000000FF is no segment of 64 MiB");
}

TEST(WalName, SegmentSizesArePowersOfTwoFromOneMebibyte) {
  for (std::uint64_t bad : {0U, 1U, 8192U, 512U << 10U, 3U << 20U, (16U << 20U) + 1, 2U << 30U}) {
    EXPECT_FALSE(valid_segment_size(bad)) << bad;
  }
}

}  // namespace
}  // namespace pgrunbook::postgres
