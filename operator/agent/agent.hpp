// The work of the Jobs. Each function does one job to its end and can be run twice; an error that comes back
// from it becomes the answer by answer_of().
#pragma once

#include "agent/report.hpp"
#include "api/job.hpp"
#include "archive/repository.hpp"
#include "base/result.hpp"

namespace pgrunbook::agent {

using api::Answer;
using api::Order;
using base::Result;

[[nodiscard]] Result<Answer> run_setup(const Order& order, Report& report);
[[nodiscard]] Result<Answer> run_proof(const Order& order, Report& report);
[[nodiscard]] Result<Answer> run_plan(const Order& order, Report& report);
[[nodiscard]] Result<Answer> run_backup(const Order& order, Report& report);
[[nodiscard]] Result<Answer> run_recover(const Order& order, Report& report);
[[nodiscard]] Result<Answer> run_salvage(const Order& order, Report& report);
[[nodiscard]] Result<Answer> run_undo(const Order& order, Report& report);
[[nodiscard]] Result<Answer> run_fence(const Order& order, Report& report);
[[nodiscard]] Result<Answer> run_unfence(const Order& order, Report& report);
[[nodiscard]] Result<Answer> run_record(const Order& order, Report& report);
[[nodiscard]] Result<Answer> run_leave(const Order& order, Report& report);

// The order's repository, its owner checked.
[[nodiscard]] Result<archive::Repository> open_repository(const Order& order);
// How the ledger calls the order's action.
[[nodiscard]] archive::ActionKey action_key(const Order& order);

}  // namespace pgrunbook::agent
