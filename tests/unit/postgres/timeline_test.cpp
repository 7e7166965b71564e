#include "postgres/timeline.hpp"

#include <gtest/gtest.h>

namespace pgrunbook::postgres {
namespace {

constexpr std::uint64_t kSize = 16U << 20U;

TimelineHistory third() {
  return *TimelineHistory::parse(
      TimelineId(3), "1\t0/5000098\tno recovery target specified\n\n2\t0/9000000\tbefore LSN 0/9000000\n");
}

TEST(TimelineId, IsTheNamesFirstEightDigits) {
  EXPECT_EQ(TimelineId::parse_hex("0000000A")->number(), 10U);
  EXPECT_EQ(TimelineId(26).hex(), "0000001A");
  for (const char* text : {"", "0", "00000000", "0000000a", "000000001", "G", "-1"}) {
    EXPECT_FALSE(TimelineId::parse_hex(text).has_value()) << text;
  }
}

TEST(TimelineHistory, ReadsParentsAndForks) {
  TimelineHistory h = third();
  EXPECT_EQ(h.timeline(), TimelineId(3));
  EXPECT_EQ(h.parent(), TimelineId(2));
  EXPECT_EQ(h.fork(), *Lsn::parse("0/9000000"));
  EXPECT_EQ(h.ancestors().size(), 2U);
  EXPECT_TRUE(h.contains(TimelineId(1)));
  EXPECT_TRUE(h.contains(TimelineId(3)));
  EXPECT_FALSE(h.contains(TimelineId(4)));
  EXPECT_EQ(h.end_of(TimelineId(1)), *Lsn::parse("0/5000098"));
  EXPECT_FALSE(h.end_of(TimelineId(3)).valid());
}

TEST(TimelineHistory, CommentsAndBlankLinesAreSkipped) {
  auto h = TimelineHistory::parse(TimelineId(2), "# made by hand\n\n  \n1 0/3000000 reason with words\n");
  ASSERT_TRUE(h.has_value()) << h.error().text();
  EXPECT_EQ(h->fork(), *Lsn::parse("0/3000000"));
}

TEST(TimelineHistory, SaysWhereABytesTimelineIs) {
  TimelineHistory h = third();
  EXPECT_EQ(h.timeline_at(*Lsn::parse("0/5000097")), TimelineId(1));
  EXPECT_EQ(h.timeline_at(*Lsn::parse("0/5000098")), TimelineId(2));
  EXPECT_EQ(h.timeline_at(*Lsn::parse("0/8FFFFFF")), TimelineId(2));
  EXPECT_EQ(h.timeline_at(*Lsn::parse("0/9000000")), TimelineId(3));
}

TEST(TimelineHistory, FromAForksSegmentOnTheChildsFileCounts) {
  TimelineHistory h = third();
  EXPECT_EQ(h.timeline_of_segment(4, kSize), TimelineId(1));
  EXPECT_EQ(h.timeline_of_segment(5, kSize), TimelineId(2));  // the fork lies inside segment 5
  EXPECT_EQ(h.timeline_of_segment(8, kSize), TimelineId(2));
  EXPECT_EQ(h.timeline_of_segment(9, kSize), TimelineId(3));  // the fork is segment 9's first byte
}

TEST(TimelineHistory, RefusesWhatPostgreSQLRefuses) {
  struct Case {
    const char* content;
    const char* message;
  };
  for (const Case& c : {
           Case{"", "00000003.history: no parent is named: ''"},
           Case{"# only\n", "00000003.history: no parent is named: '# only\n'"},
           Case{"x 0/1\n", "00000003.history: a line does not begin with a timeline number: 'x 0/1'"},
           Case{"1\n", "00000003.history: a line has no LSN: '1'"},
           Case{"1 zero\n", "00000003.history: a line has no LSN: '1 zero'"},
           Case{"2 0/1\n1 0/2\n", "00000003.history: timelines do not rise: '1 0/2'"},
           Case{"3 0/1\n", "00000003.history: a parent is not older than its child: '3 0/1'"},
           Case{"0 0/1\n", "00000003.history: a line does not begin with a timeline number: '0 0/1'"},
       }) {
    auto h = TimelineHistory::parse(TimelineId(3), c.content);
    ASSERT_FALSE(h.has_value()) << c.content;
    EXPECT_EQ(h.error().message, c.message);
    EXPECT_EQ(h.error().code, base::ErrorCode::kCorrupt);
  }
}

// Recovered on timeline 2 to a place before it began: what PostgreSQL writes then, and how it reads it.
TEST(TimelineHistory, ThatLeftItsParentBeforeTheParentBeganFollowsTheGrandparent) {
  auto h = TimelineHistory::parse(TimelineId(3), "1\t0/9000000\twhy\n2\t0/5000098\twhy\n");
  ASSERT_TRUE(h.has_value()) << h.error().text();
  const Lsn left = *Lsn::parse("0/5000098");
  EXPECT_EQ(h->fork(), left);
  EXPECT_EQ(h->end_of(TimelineId(1)), left);
  EXPECT_EQ(h->timeline_at(*Lsn::parse("0/5000097")), TimelineId(1));
  EXPECT_EQ(h->timeline_at(left), TimelineId(3));
  EXPECT_EQ(h->timeline_at(*Lsn::parse("0/7000000")), TimelineId(3));
  EXPECT_EQ(h->timeline_of_segment(left.segment(kSize) - 1, kSize), TimelineId(1));
  EXPECT_EQ(h->timeline_of_segment(left.segment(kSize), kSize), TimelineId(3));
  EXPECT_TRUE(h->contains(TimelineId(2)));
}

TEST(TimelineHistory, TheFirstTimelineNeedsNone) {
  TimelineHistory h{TimelineId(1)};
  EXPECT_FALSE(h.parent().valid());
  EXPECT_EQ(h.timeline_of_segment(100, kSize), TimelineId(1));
}

}  // namespace
}  // namespace pgrunbook::postgres
