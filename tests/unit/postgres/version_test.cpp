#include "postgres/version.hpp"

#include <gtest/gtest.h>

namespace pgrunbook::postgres {
namespace {

TEST(Version, ParsesMajors) {
  EXPECT_EQ(*parse_major("15.20 (Debian 15.20-1.pgdg120+1)"), 15);
  EXPECT_EQ(*parse_major("15\n"), 15);
  EXPECT_EQ(*parse_major("9.6.24"), 96);
  EXPECT_EQ(*parse_major("18beta1"), 18);
  for (const char* bad : {"", "x", "9", "9.x", "8.4", "150000"})
    EXPECT_FALSE(parse_major(bad).has_value()) << bad;
  EXPECT_EQ(major_text(96), "9.6");
  EXPECT_EQ(major_text(15), "15");
}

TEST(Version, MagicNumbersAreUnique) {
  for (int major : {96, 10, 11, 12, 13, 14, 15, 16, 17, 18}) {
    const Version* v = version_of_major(major);
    ASSERT_NE(v, nullptr) << major;
    EXPECT_EQ(version_of_wal_magic(v->wal_magic)->major, major);
  }
  EXPECT_EQ(version_of_major(8), nullptr);
  EXPECT_EQ(version_of_wal_magic(0), nullptr);
}

TEST(Version, OnlyWhatTheTestsRunOnIsCalledTested) {
  EXPECT_TRUE(version_of_major(15)->tested);
  EXPECT_FALSE(version_of_major(16)->tested);
}

}  // namespace
}  // namespace pgrunbook::postgres
