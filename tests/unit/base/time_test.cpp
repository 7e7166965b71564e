// Times: RFC 3339 in, UTC out; a time without a zone is never guessed at.
#include "base/time.hpp"

#include <gtest/gtest.h>

namespace pgrunbook::base {
namespace {

struct Written {
  const char* text;
  const char* utc;
};

class GoodTimes : public testing::TestWithParam<Written> {};

TEST_P(GoodTimes, AreReadInTheirZone) {
  auto t = parse_time(GetParam().text, "targetTime");
  ASSERT_TRUE(t.has_value()) << t.error().text();
  EXPECT_EQ(format_time_micro(*t), GetParam().utc);
}

INSTANTIATE_TEST_SUITE_P(
    Times, GoodTimes,
    testing::Values(Written{"2026-11-20T15:00:00Z", "2026-11-20T15:00:00.000000Z"},
                    Written{"2026-11-20t15:00:00z", "2026-11-20T15:00:00.000000Z"},
                    Written{"2026-11-20T15:00:00+02:00", "2026-11-20T13:00:00.000000Z"},
                    Written{"2026-11-20T15:00:00-08:00", "2026-11-20T23:00:00.000000Z"},
                    Written{"2026-11-20T15:00:00+05:45", "2026-11-20T09:15:00.000000Z"},
                    Written{"2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00.000000Z"},
                    Written{"2026-12-31T23:30:00-01:00", "2027-01-01T00:30:00.000000Z"},
                    Written{"2026-11-20T15:00:00-00:00", "2026-11-20T15:00:00.000000Z"},
                    Written{"2024-02-29T12:00:00Z", "2024-02-29T12:00:00.000000Z"},
                    Written{"2000-02-29T12:00:00Z", "2000-02-29T12:00:00.000000Z"},
                    Written{"1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500000Z"},
                    Written{"2026-11-20T15:00:00.1Z", "2026-11-20T15:00:00.100000Z"},
                    Written{"2026-11-20T15:00:00.000001Z", "2026-11-20T15:00:00.000001Z"},
                    // Finer than PostgreSQL keeps: cut, never rounded up past the moment asked for.
                    Written{"2026-11-20T15:00:00.9999999Z", "2026-11-20T15:00:00.999999Z"},
                    Written{"2026-11-20T15:00:00.123456789+00:00", "2026-11-20T15:00:00.123456Z"}));

struct Refused {
  const char* text;
  const char* words;
};

class BadTimes : public testing::TestWithParam<Refused> {};

TEST_P(BadTimes, AreRefusedWithWhatToWrite) {
  auto t = parse_time(GetParam().text, "targetTime");
  ASSERT_FALSE(t.has_value()) << format_time(*t);
  EXPECT_EQ(t.error().code, ErrorCode::kInvalid);
  EXPECT_EQ(t.error().text(), GetParam().words);
}

#define NOT_RFC(text)                 \
  Refused{text, "targetTime is " text \
                ", which is not a time by RFC 3339. HINT: write it like 2026-11-20T15:00:00Z"}
INSTANTIATE_TEST_SUITE_P(
    Times, BadTimes,
    testing::Values(
        Refused{
            "2026-11-20T15:00:00",
            "targetTime 2026-11-20T15:00:00 names no time zone. HINT: write 2026-11-20T15:00:00Z for UTC"},
        Refused{"2026-11-20T15:00:00.25",
                "targetTime 2026-11-20T15:00:00.25 names no time zone. HINT: write 2026-11-20T15:00:00.25Z "
                "for UTC"},
        Refused{"2026-11-20T15:00:00+0200",
                "targetTime is 2026-11-20T15:00:00+0200, whose zone is not by RFC 3339. HINT: end it with Z "
                "or an offset like +02:00"},
        Refused{"2026-11-20T15:00:00+24:00",
                "targetTime is 2026-11-20T15:00:00+24:00, whose zone is not by RFC 3339. HINT: end it with Z "
                "or an offset like +02:00"},
        Refused{"2026-11-20T15:00:00 PST",
                "targetTime is 2026-11-20T15:00:00 PST, whose zone is not by RFC 3339. HINT: end it with Z "
                "or an offset like +02:00"},
        Refused{"2026-11-20T15:00:00Zulu",
                "targetTime is 2026-11-20T15:00:00Zulu, with text behind the zone. HINT: write it like "
                "2026-11-20T15:00:00Z"},
        NOT_RFC(""), NOT_RFC("now"), NOT_RFC("2026-11-20"), NOT_RFC("2026-11-20 15:00:00Z"),
        NOT_RFC("2026-11-20T15:00Z"), NOT_RFC("2026-11-20T24:00:00Z"), NOT_RFC("2026-11-20T15:60:00Z"),
        NOT_RFC("2026-11-20T23:59:60Z"), NOT_RFC("2026-13-20T15:00:00Z"), NOT_RFC("2026-00-20T15:00:00Z"),
        NOT_RFC("2026-11-31T15:00:00Z"), NOT_RFC("2026-11-00T15:00:00Z"), NOT_RFC("2023-02-29T12:00:00Z"),
        NOT_RFC("1900-02-29T12:00:00Z"), NOT_RFC("2026-11-20T15:00:00.Z"), NOT_RFC("+026-11-20T15:00:00Z"),
        NOT_RFC("20.11.2026 15:00")));

TEST(Times, SurviveTheirOwnText) {
  SystemTime t = now();
  EXPECT_EQ(*parse_time(format_time_micro(t), "t"), t);
  EXPECT_EQ(*parse_time(format_time(t), "t"), std::chrono::floor<std::chrono::seconds>(t));
}

TEST(PostgresTimes, AreReadInUtcOnly) {
  auto t = parse_postgres_time("2026-11-20 15:04:05.000001 UTC");
  ASSERT_TRUE(t.has_value());
  EXPECT_EQ(format_time_micro(*t), "2026-11-20T15:04:05.000001Z");
  EXPECT_EQ(*parse_postgres_time("2026-11-20 15:04:05.000001+00"), *t);
  EXPECT_EQ(format_time(*parse_postgres_time("2026-11-20 15:04:05 UTC")), "2026-11-20T15:04:05Z");
  for (const char* bad : {"2026-11-20 15:04:05.000001", "2026-11-20 15:04:05 CET", "2026-11-20 15:04:05+02",
                          "2026-11-20T15:04:05 UTC", ""}) {
    auto refused = parse_postgres_time(bad);
    ASSERT_FALSE(refused.has_value()) << bad;
    EXPECT_EQ(refused.error().code, ErrorCode::kCorrupt);
    EXPECT_EQ(refused.error().message,
              "'" + std::string(bad) + "' is not a time in UTC as PostgreSQL prints it");
  }
}

TEST(Deadlines, PassAndLeaveNothing) {
  Deadline past = Deadline::after(std::chrono::milliseconds(-5));
  EXPECT_TRUE(past.passed());
  EXPECT_EQ(past.left().count(), 0);
  Deadline far = Deadline::after(std::chrono::hours(1));
  EXPECT_FALSE(far.passed());
  EXPECT_GT(far.left(), std::chrono::minutes(59));
}

}  // namespace
}  // namespace pgrunbook::base
