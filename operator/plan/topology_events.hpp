// Which turns of a topology are told as Events: that archiving stopped or is back, that a person is needed.
#pragma once

#include <string>
#include <vector>

#include "base/json.hpp"

namespace pgrunbook::plan {

struct TopologyEvent {
  std::string type, reason, message;  // type: Normal | Warning
  bool operator==(const TopologyEvent&) const = default;
};

// From one status to the next. What setting up says of itself is not told twice.
[[nodiscard]] std::vector<TopologyEvent> topology_events(const base::Json& before, const base::Json& after);

}  // namespace pgrunbook::plan
