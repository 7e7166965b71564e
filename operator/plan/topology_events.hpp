// Which turns of a topology are told as Events: that archiving stopped or is back, that a
// cutover was turned back or is put right, that a person is needed, what a member's log says of it.
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
