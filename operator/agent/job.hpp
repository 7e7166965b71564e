// `pgrunbook-agent job`: reads PGRUNBOOK_ORDER, does it, answers.
#pragma once

#include "agent/report.hpp"
#include "api/job.hpp"

namespace pgrunbook::agent {

// What main() returns: 0 only for outcome Succeeded, 1 otherwise; an order that cannot be read is refused.
int job_command();
// One order, without the environment; for tests.
[[nodiscard]] api::Answer run_job(const api::Order& order, Report& report);

}  // namespace pgrunbook::agent
