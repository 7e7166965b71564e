// Errors as people read them.
#include "base/result.hpp"

#include <gtest/gtest.h>

namespace pgrunbook::base {
namespace {

TEST(Errors, SayWhatAndWhatToDo) {
  EXPECT_EQ(error(ErrorCode::kInvalid, "m").text(), "m");
  EXPECT_EQ(error(ErrorCode::kInvalid, "m", "h").text(), "m. HINT: h");
  EXPECT_EQ(error(ErrorCode::kUnavailable, "m").reason_or_code(), "Unavailable");
  Error e = refused("SharedVolume", "m", "h");
  EXPECT_EQ(e.code, ErrorCode::kRefused);
  EXPECT_EQ(e.reason_or_code(), "SharedVolume");
  Error outer = e.in("scale Deployment x to 0");
  EXPECT_EQ(outer.text(), "scale Deployment x to 0: m. HINT: h");
  EXPECT_EQ(outer.reason_or_code(), "SharedVolume");
}

TEST(Errors, OfEveryCodeHaveAName) {
  const char* names[] = {"Invalid",      "NotFound",    "AlreadyExists", "Conflict", "Forbidden",
                         "Unauthorized", "Unavailable", "Timeout",       "InDoubt",  "Gone",
                         "Cancelled",    "Corrupt",     "Refused",       "Internal"};
  for (int i = 0; i <= static_cast<int>(ErrorCode::kInternal); ++i)
    EXPECT_EQ(to_string(static_cast<ErrorCode>(i)), names[i]);
}

Result<int> half(int x) {
  if (x % 2 != 0) return fail(ErrorCode::kInvalid, "odd");
  return x / 2;
}
Result<int> quarter(int x) {
  PGR_ASSIGN(int h, half(x));
  PGR_TRY(half(h));
  return *half(h);
}

TEST(Results, GoUpOnFailure) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).error().message, "odd");
  EXPECT_EQ(quarter(3).error().message, "odd");
}

}  // namespace
}  // namespace pgrunbook::base
