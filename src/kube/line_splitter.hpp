// Bytes to lines. A watch is one JSON document per line, cut into network pieces anywhere.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace pgrunbook::kube {

// Not thread-safe. A line is handed out without its newline (and without a carriage return before it); empty
// lines are skipped. What follows the last newline is never handed out: it is a cut line.
class LineSplitter {
 public:
  explicit LineSplitter(std::size_t longest = std::size_t{16} << 20) : longest_(longest) {}
  // kCorrupt where a line is longer than allowed; the first error of on_line ends the call and is returned.
  [[nodiscard]] base::Result<> feed(std::string_view bytes,
                                    const std::function<base::Result<>(std::string_view)>& on_line);
  // Bytes of an unfinished line.
  [[nodiscard]] std::size_t pending() const { return rest_.size(); }

 private:
  std::size_t longest_;
  std::string rest_;
};

}  // namespace pgrunbook::kube
