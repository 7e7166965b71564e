#include "kube/line_splitter.hpp"

#include <fmt/format.h>

namespace pgrunbook::kube {

base::Result<> LineSplitter::feed(std::string_view bytes,
                                  const std::function<base::Result<>(std::string_view)>& on_line) {
  while (!bytes.empty()) {
    auto end = bytes.find('\n');
    std::string_view piece = bytes.substr(0, end);
    if (rest_.size() + piece.size() > longest_) {
      return base::fail(base::ErrorCode::kCorrupt,
                        fmt::format("a line of the stream is over {} bytes", longest_));
    }
    if (end == std::string_view::npos) {
      rest_.append(piece);
      return {};
    }
    bytes.remove_prefix(end + 1);
    std::string joined;
    if (!rest_.empty()) {
      joined = std::move(rest_);
      rest_.clear();
      joined.append(piece);
      piece = joined;
    }
    if (!piece.empty() && piece.back() == '\r') piece.remove_suffix(1);
    if (!piece.empty()) PGR_TRY(on_line(piece));
  }
  return {};
}

}  // namespace pgrunbook::kube
