// What is kept of the objects that are watched. A cache says which key to look at, and shows figures; whoever
// acts reads the object itself.
#pragma once

#include "kube/client.hpp"
#include "runtime/store.hpp"

namespace pgrunbook::controllers {

// Names, versions, and what the mappers and the topology's status ask of that kind.
[[nodiscard]] kube::Fields kept_of(const kube::Resource& kind);

// Whether a change of an action calls for a look. One that has ended is never touched again; that it is gone
// does matter, as it may have left something to put back.
[[nodiscard]] bool concerns(const runtime::Change& change);

}  // namespace pgrunbook::controllers
