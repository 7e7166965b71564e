// A position in the write-ahead log: a count of bytes from the beginning of the cluster, written "0/3000028".
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace pgrunbook::postgres {

class Lsn {
 public:
  constexpr Lsn() = default;
  constexpr explicit Lsn(std::uint64_t bytes) : value_(bytes) {}
  // "X/Y", both hexadecimal of 1 to 8 digits, as PostgreSQL's pg_lsn type. kInvalid for anything else.
  [[nodiscard]] static base::Result<Lsn> parse(std::string_view text);

  [[nodiscard]] constexpr std::uint64_t value() const { return value_; }
  // 0/0 is PostgreSQL's InvalidXLogRecPtr: "none".
  [[nodiscard]] constexpr bool valid() const { return value_ != 0; }
  [[nodiscard]] std::string text() const;
  // The number, counted from 0, of the segment that contains the byte at this position.
  [[nodiscard]] constexpr std::uint64_t segment(std::uint64_t segment_size) const {
    return value_ / segment_size;
  }
  // The number of the segment that contains the byte before: where a range that ENDS here has its last byte.
  [[nodiscard]] constexpr std::uint64_t previous_segment(std::uint64_t segment_size) const {
    return value_ == 0 ? 0 : (value_ - 1) / segment_size;
  }
  [[nodiscard]] constexpr Lsn operator+(std::uint64_t bytes) const { return Lsn(value_ + bytes); }
  [[nodiscard]] constexpr Lsn operator-(std::uint64_t bytes) const { return Lsn(value_ - bytes); }
  [[nodiscard]] constexpr std::int64_t operator-(Lsn other) const {
    return static_cast<std::int64_t>(value_) - static_cast<std::int64_t>(other.value_);
  }
  constexpr auto operator<=>(const Lsn&) const = default;

 private:
  std::uint64_t value_ = 0;
};

}  // namespace pgrunbook::postgres
