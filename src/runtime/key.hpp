// The name of an object within its kind: all a reconcile is told. It never learns what changed, so it cannot
// depend on having seen every change.
#pragma once

#include <compare>
#include <functional>
#include <string>

#include "base/json.hpp"

namespace pgrunbook::runtime {

struct Key {
  std::string ns;
  std::string name;

  auto operator<=>(const Key&) const = default;
  [[nodiscard]] std::string text() const { return ns.empty() ? name : ns + "/" + name; }
  [[nodiscard]] static Key of(const base::Json& object) {
    return {base::text_at(object, {"metadata", "namespace"}), base::text_at(object, {"metadata", "name"})};
  }
};

}  // namespace pgrunbook::runtime

template <>
struct std::hash<pgrunbook::runtime::Key> {
  std::size_t operator()(const pgrunbook::runtime::Key& k) const noexcept {
    return std::hash<std::string>()(k.ns) * 31 + std::hash<std::string>()(k.name);
  }
};
