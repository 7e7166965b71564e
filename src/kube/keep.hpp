// Reading only a part of large objects.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"

namespace pgrunbook::kube {

// What of an object is wanted: paths of keys, each with all that is under it. Arrays on the way are passed
// through. None at all: everything.
using Fields = std::vector<std::vector<std::string>>;
// Parses a text whose objects lie under its key `top`, in an array or alone, and never holds more of them
// than `fields`; what is beside `top` is held whole. Discarded (see nlohmann::json) where it is not JSON.
[[nodiscard]] base::Json parse_only(std::string_view text, const std::string& top, const Fields& fields);
// The same of an object that is there already.
[[nodiscard]] base::Json only(const base::Json& object, const Fields& fields);

}  // namespace pgrunbook::kube
