#include "postgres/version.hpp"

#include <array>
#include <charconv>

#include <fmt/format.h>

namespace pgrunbook::postgres {
namespace {

// src/include/access/xlog_internal.h and catalog/pg_control.h of each release. Only majors the tests run on
// are `tested`; the others have their place here so that a later one changes this table and nothing else.
constexpr std::array<Version, 10> kVersions{{
    {96, 0xD093, 960, false, false, false, false, false},
    {10, 0xD097, 1002, false, false, false, false, false},
    {11, 0xD098, 1100, false, false, false, false, false},
    {12, 0xD101, 1201, false, false, true, false, false},
    {13, 0xD106, 1300, true, true, true, false, false},
    {14, 0xD10D, 1300, true, true, true, false, false},
    {15, 0xD110, 1300, true, true, true, true, true},
    {16, 0xD113, 1300, true, true, true, true, false},
    {17, 0xD116, 1700, true, true, true, true, false},
    {18, 0xD118, 1800, true, true, true, true, false},
}};

}  // namespace

const Version* version_of_major(int major) {
  for (const Version& v : kVersions) {
    if (v.major == major) return &v;
  }
  return nullptr;
}

const Version* version_of_wal_magic(std::uint16_t magic) {
  for (const Version& v : kVersions) {
    if (v.wal_magic == magic) return &v;
  }
  return nullptr;
}

base::Result<int> parse_major(std::string_view text) {
  int first = 0;
  auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), first);
  if (code == std::errc{} && first >= 10 && first < 90) return first;
  if (code == std::errc{} && first == 9) {
    std::string_view rest = text.substr(static_cast<std::size_t>(stop - text.data()));
    if (rest.size() > 1 && rest[0] == '.' && rest[1] >= '0' && rest[1] <= '6') return 90 + (rest[1] - '0');
  }
  return base::fail(base::ErrorCode::kInvalid, fmt::format("'{:.40}' is no version of PostgreSQL", text));
}

std::string major_text(int major) {
  return major >= 90 ? fmt::format("9.{}", major - 90) : fmt::format("{}", major);
}

}  // namespace pgrunbook::postgres
