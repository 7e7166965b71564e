// The runbook filled in: what was planned, each step with its time and result, and the end, as Markdown.
// Pure.
#pragma once

#include <string>

#include "api/kinds.hpp"
#include "api/status.hpp"

namespace pgrunbook::plan {

[[nodiscard]] std::string transcript(const std::string& kind, const api::Json& object,
                                     const api::ActionStatus& status, const std::string& outcome);

}  // namespace pgrunbook::plan
