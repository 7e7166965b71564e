#include "postgres/wal_page.hpp"

#include <gtest/gtest.h>

#include "support/postgres/wal_file.hpp"

namespace pgrunbook::postgres {
namespace {

using test::segment_bytes;
using test::SegmentSpec;

WalExpectation expected() {
  WalExpectation e;
  e.system_identifier = SegmentSpec{}.system_identifier;
  e.segment_size = SegmentSpec{}.segment_size;
  e.major = 15;
  return e;
}

base::Result<WalPageHeader> check(const SegmentSpec& spec, const std::string& name = "") {
  std::string bytes = segment_bytes(spec);
  auto parsed = parse_wal_name(name.empty() ? spec.name : name);
  return check_segment(*parsed, bytes, bytes.size(), expected());
}

TEST(WalPage, I6_ARightSegmentPasses) {
  auto header = check({});
  ASSERT_TRUE(header.has_value()) << header.error().text();
  EXPECT_EQ(header->timeline, TimelineId(1));
  EXPECT_EQ(header->address, Lsn(3U << 20U));
  EXPECT_EQ(header->system_identifier, 7000000000000000001U);
  EXPECT_EQ(header->page_size, 8192U);
}

TEST(WalPage, I6_AHalfZeroTailPasses) {
  EXPECT_TRUE(check({.zero_from = 512U << 10U}).has_value());
  EXPECT_TRUE(check({.zero_from = 40}).has_value());
}

TEST(WalPage, I6_APartialIsHeldAgainstItsSegmentsName) {
  std::string bytes = segment_bytes({});
  auto name = parse_wal_name("000000010000000000000003.partial");
  EXPECT_TRUE(check_segment(*name, bytes, bytes.size(), expected()).has_value());
}

TEST(WalPage, I6_AnotherClustersSegmentIsRefused) {
  auto header = check({.system_identifier = 42});
  ASSERT_FALSE(header.has_value());
  EXPECT_EQ(header.error().reason, "SystemIdentifierMismatch");
  EXPECT_EQ(header.error().message,
            "000000010000000000000003 is of the cluster with system identifier 42, the repository of "
            "7000000000000000001");
}

TEST(WalPage, I6_ARenamedSegmentIsRefused) {
  auto header = check({}, "000000010000000000000004");
  ASSERT_FALSE(header.has_value());
  EXPECT_EQ(header.error().reason, "WalNameMismatch");
  EXPECT_EQ(header.error().text(),
            "the file called 000000010000000000000004 is segment 000000010000000000000003. HINT: it was "
            "renamed, or "
            "recycled and not yet written");
  EXPECT_EQ(check({}, "000000020000000000000003").error().reason, "WalNameMismatch");
}

TEST(WalPage, I6_AnAllZeroSegmentIsRefused) {
  std::string bytes(1U << 20U, '\0');
  auto header = check_segment(*parse_wal_name("000000010000000000000003"), bytes, bytes.size(), expected());
  ASSERT_FALSE(header.has_value());
  EXPECT_EQ(header.error().message,
            "000000010000000000000003: it begins with zeros, not with a WAL page header");
}

TEST(WalPage, I6_AnotherMajorIsRefused) {
  auto header = check({.magic = 0xD113});
  ASSERT_FALSE(header.has_value());
  EXPECT_EQ(header.error().message, "000000010000000000000003 is of PostgreSQL 16, the repository of 15");
  EXPECT_EQ(check({.magic = 0x1234}).error().message,
            "000000010000000000000003: magic 1234 is none of a known PostgreSQL version");
}

TEST(WalPage, I6_AnotherSegmentSizeIsRefused) {
  for (std::uint64_t size : {16U << 20U, 64U << 20U}) {
    auto header = check({.name = "000000010000000000000003", .segment_size = size});
    ASSERT_FALSE(header.has_value());
    EXPECT_EQ(header.error().reason, "WalSizeMismatch");
    EXPECT_EQ(header.error().message,
              "000000010000000000000003 has " + std::to_string(size) + " bytes, expected are 1048576");
  }
}

TEST(WalPage, I6_ACutSegmentIsRefused) {
  std::string bytes = segment_bytes({});
  auto header = check_segment(*parse_wal_name("000000010000000000000003"), bytes, 65536, expected());
  ASSERT_FALSE(header.has_value());
  EXPECT_EQ(header.error().message, "000000010000000000000003 has 65536 bytes, expected are 1048576");
  auto tiny = check_segment(*parse_wal_name("000000010000000000000003"), bytes.substr(0, 39), 39, expected());
  EXPECT_EQ(tiny.error().message, "000000010000000000000003: only 39 bytes, too short for a WAL page header");
}

TEST(WalPage, AShortHeaderIsNoFirstPage) {
  std::string bytes = segment_bytes({});
  bytes[2] = 0;
  EXPECT_EQ(parse_wal_header(bytes).error().message, "its first page has no long header");
}

// PostgreSQL copies the parent's pages up to the fork into the new timeline's first segment
// (XLogInitNewTimeline).
TEST(WalPage, TheFirstSegmentOfATimelineBeginsWithItsParentsPages) {
  std::string bytes = test::segment_bytes({});  // segment 3 of timeline 1
  auto second = *parse_wal_name("000000020000000000000003");
  WalExpectation e;
  const std::uint64_t size = test::SegmentSpec().segment_size;
  e.history = TimelineHistory(TimelineId(2), {{TimelineId(1), Lsn(3 * size + 0x60)}});
  EXPECT_TRUE(check_segment(second, bytes, bytes.size(), e).has_value());
  e.history = TimelineHistory(TimelineId(2),
                              {{TimelineId(1), Lsn(3 * size)}});  // forked before: this page is the child's
  EXPECT_EQ(check_segment(second, bytes, bytes.size(), e).error().reason, "WalNameMismatch");
}

}  // namespace
}  // namespace pgrunbook::postgres
