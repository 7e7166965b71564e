#include "postgres/lsn.hpp"

#include <charconv>
#include <optional>

#include <fmt/format.h>

namespace pgrunbook::postgres {
namespace {

std::optional<std::uint64_t> half(std::string_view text) {
  if (text.empty() || text.size() > 8) return std::nullopt;
  std::uint64_t value = 0;
  auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (code != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

base::Result<Lsn> Lsn::parse(std::string_view text) {
  auto slash = text.find('/');
  if (slash != std::string_view::npos) {
    auto high = half(text.substr(0, slash));
    auto low = half(text.substr(slash + 1));
    if (high && low) return Lsn((*high << 32U) | *low);
  }
  return base::fail(base::ErrorCode::kInvalid, fmt::format("'{:.40}' is no LSN", text),
                    "write it as 0/3000028");
}

std::string Lsn::text() const { return fmt::format("{:X}/{:X}", value_ >> 32U, value_ & 0xFFFFFFFFU); }

}  // namespace pgrunbook::postgres
