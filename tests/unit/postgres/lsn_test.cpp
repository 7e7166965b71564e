#include "postgres/lsn.hpp"

#include <random>

#include <gtest/gtest.h>

namespace pgrunbook::postgres {
namespace {

TEST(Lsn, ParsesAsPostgreSQLPrints) {
  EXPECT_EQ(Lsn::parse("0/3000028")->value(), 0x3000028U);
  EXPECT_EQ(Lsn::parse("16/B374D848")->value(), 0x16B374D848U);
  EXPECT_EQ(Lsn::parse("ffffffff/ffffffff")->text(), "FFFFFFFF/FFFFFFFF");
  EXPECT_FALSE(Lsn::parse("0/0")->valid());
}

TEST(Lsn, RefusesEverythingElse) {
  for (const char* text : {"", "/", "0", "0/", "/0", "0/123456789", "123456789/0", "0x1/2", "0/-1", " 0/1",
                           "0/1 ", "0/G", "1/2/3"}) {
    auto lsn = Lsn::parse(text);
    ASSERT_FALSE(lsn.has_value()) << text;
    EXPECT_EQ(lsn.error().text(), std::string("'") + text + "' is no LSN. HINT: write it as 0/3000028");
  }
}

TEST(Lsn, TextAndBackIsTheSame) {
  std::mt19937_64 random(20261120);
  for (int i = 0; i < 10000; ++i) {
    Lsn lsn(random() >> (random() % 64));
    EXPECT_EQ(*Lsn::parse(lsn.text()), lsn);
  }
}

TEST(Lsn, SegmentsAtTheirBorders) {
  constexpr std::uint64_t kSize = 16U << 20U;
  EXPECT_EQ(Lsn(kSize - 1).segment(kSize), 0U);
  EXPECT_EQ(Lsn(kSize).segment(kSize), 1U);
  EXPECT_EQ(Lsn(kSize).previous_segment(kSize), 0U);
  EXPECT_EQ(Lsn(kSize + 1).previous_segment(kSize), 1U);
  EXPECT_EQ(Lsn(0).previous_segment(kSize), 0U);
  EXPECT_EQ(Lsn(30) - Lsn(40), -10);
}

}  // namespace
}  // namespace pgrunbook::postgres
