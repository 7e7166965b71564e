#include "base/time.hpp"

#include <array>
#include <cctype>
#include <charconv>
#include <ctime>

#include <fmt/format.h>

namespace pgrunbook::base {
namespace {

std::tm broken_down(SystemTime t) {
  auto seconds = std::chrono::floor<std::chrono::seconds>(t);
  std::time_t c = static_cast<std::time_t>(seconds.time_since_epoch().count());
  std::tm tm{};
  gmtime_r(&c, &tm);
  return tm;
}

// Reads exactly `digits` digits at *pos.
bool digits(std::string_view s, std::size_t* pos, std::size_t count, int* out) {
  if (*pos + count > s.size()) return false;
  int value = 0;
  for (std::size_t i = 0; i < count; ++i) {
    char ch = s[*pos + i];
    if (ch < '0' || ch > '9') return false;
    value = value * 10 + (ch - '0');
  }
  *pos += count;
  *out = value;
  return true;
}
bool literal(std::string_view s, std::size_t* pos, std::string_view any) {
  if (*pos >= s.size() || any.find(s[*pos]) == std::string_view::npos) return false;
  ++*pos;
  return true;
}

// Date, one of `separators`, time, optional fraction. Leaves *pos at the zone.
bool date_time(std::string_view s, std::string_view separators, std::size_t* pos, SystemTime* out) {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  std::int64_t micros = 0;
  if (!(digits(s, pos, 4, &year) && literal(s, pos, "-") && digits(s, pos, 2, &month) &&
        literal(s, pos, "-") && digits(s, pos, 2, &day) && literal(s, pos, separators) &&
        digits(s, pos, 2, &hour) && literal(s, pos, ":") && digits(s, pos, 2, &minute) &&
        literal(s, pos, ":") && digits(s, pos, 2, &second))) {
    return false;
  }
  if (*pos < s.size() && s[*pos] == '.') {
    ++*pos;
    std::size_t start = *pos;
    std::int64_t unit = 100000;
    while (*pos < s.size() && std::isdigit(static_cast<unsigned char>(s[*pos])) != 0) {
      micros += unit * (s[*pos] - '0');
      unit /= 10;
      ++*pos;
    }
    if (*pos == start) return false;
  }
  static constexpr std::array<int, 12> kDays{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  if (month < 1 || month > 12 || day < 1) return false;
  int last = kDays.at(static_cast<std::size_t>(month - 1)) + (month == 2 && leap ? 1 : 0);
  if (day > last || hour > 23 || minute > 59 || second > 59) return false;
  std::tm tm{};
  tm.tm_year = year - 1900;
  tm.tm_mon = month - 1;
  tm.tm_mday = day;
  tm.tm_hour = hour;
  tm.tm_min = minute;
  tm.tm_sec = second;
  *out = SystemTime(std::chrono::seconds(timegm(&tm)) + std::chrono::microseconds(micros));
  return true;
}

}  // namespace

std::string format_time(SystemTime t) {
  std::tm tm = broken_down(t);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                     tm.tm_hour, tm.tm_min, tm.tm_sec);
}

std::string format_time_micro(SystemTime t) {
  std::string text = format_time(t);
  auto micros = (t - std::chrono::floor<std::chrono::seconds>(t)).count();
  text.insert(text.size() - 1, fmt::format(".{:06}", micros));
  return text;
}

Result<SystemTime> parse_time(std::string_view text, std::string_view field) {
  std::size_t pos = 0;
  SystemTime t;
  if (!date_time(text, "Tt", &pos, &t)) {
    return fail(ErrorCode::kInvalid, fmt::format("{} is {}, which is not a time by RFC 3339", field, text),
                "write it like 2026-11-20T15:00:00Z");
  }
  if (pos == text.size()) {
    return fail(ErrorCode::kInvalid, fmt::format("{} {} names no time zone", field, text),
                fmt::format("write {}Z for UTC", text));
  }
  if (text[pos] == 'Z' || text[pos] == 'z') {
    ++pos;
  } else {
    int sign = text[pos] == '+' ? 1 : -1;
    int hours = 0, minutes = 0;
    if (!(literal(text, &pos, "+-") && digits(text, &pos, 2, &hours) && literal(text, &pos, ":") &&
          digits(text, &pos, 2, &minutes) && hours < 24 && minutes < 60)) {
      return fail(ErrorCode::kInvalid, fmt::format("{} is {}, whose zone is not by RFC 3339", field, text),
                  "end it with Z or an offset like +02:00");
    }
    t -= sign * (std::chrono::hours(hours) + std::chrono::minutes(minutes));
  }
  if (pos != text.size()) {
    return fail(ErrorCode::kInvalid, fmt::format("{} is {}, with text behind the zone", field, text),
                "write it like 2026-11-20T15:00:00Z");
  }
  return t;
}

Result<SystemTime> parse_postgres_time(std::string_view text) {
  std::size_t pos = 0;
  SystemTime t;
  if (!date_time(text, " ", &pos, &t) || (text.substr(pos) != " UTC" && text.substr(pos) != "+00")) {
    return fail(ErrorCode::kCorrupt, fmt::format("'{}' is not a time in UTC as PostgreSQL prints it", text));
  }
  return t;
}

SystemTime now() {
  return std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
}

}  // namespace pgrunbook::base
