// Command lines of the commands a server calls: "--key value" pairs, then a fixed number of words.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace pgrunbook::agent {

class Arguments {
 public:
  // kInvalid for a key that is not among `known`, given twice, or without a value.
  [[nodiscard]] static base::Result<Arguments> parse(const std::vector<std::string>& arguments,
                                                     const std::vector<std::string_view>& known);
  [[nodiscard]] base::Result<std::string> need(std::string_view key) const;
  [[nodiscard]] std::optional<std::string> value(std::string_view key) const;
  // The words behind the keys; kInvalid where there are not exactly `count`, naming `what` they are.
  [[nodiscard]] base::Result<std::vector<std::string>> rest(std::size_t count, std::string_view what) const;

 private:
  std::map<std::string, std::string, std::less<>> values_;
  std::vector<std::string> rest_;
};

[[nodiscard]] base::Result<std::uint64_t> number_argument(std::string_view key, std::string_view text);
// "pgrunbook: <what>: <fact>. HINT: <hint>" as one line on stderr, which is the server's log.
void say(std::string_view what, const base::Error& error);

}  // namespace pgrunbook::agent
