// Whether a namespace has room for a pod: ResourceQuotas and LimitRanges, as admission will judge it, so that
// it is said before anything is scaled. Pure.
//
// By the API's rules: a quota that names a resource refuses pods that do not state it; a pod needs the larger
// of its containers' sum and its largest init container; LimitRange defaults fill in what is missing. Quotas
// for a PriorityClass are left to admission.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"

namespace pgrunbook::plan {

using base::Json;

struct PodWish {
  std::string who;      // "the pod of Job plan", "the pod of member postgresql-standby"
  Json spec;            // of the pod
  bool by_job = false;  // a Job stands for it, and counts too
};

struct RoomRefusal {
  base::Error error;
  bool may_pass = false;  // enough in all, but in use now
};

// The first of the wishes that would be refused were it made alone, each after the other has ended.
[[nodiscard]] std::optional<RoomRefusal> no_room(const Json& quotas, const Json& limit_ranges,
                                                 const std::vector<PodWish>& wishes);

// A Kubernetes quantity in thousandths: "600m" 600, "1" 1000, "256Mi" 268435456000. nullopt: none.
[[nodiscard]] std::optional<double> quantity(const Json& value);

}  // namespace pgrunbook::plan
