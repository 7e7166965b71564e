// Undo: the old directory comes back to its place; what the undone action made is kept if a server of the
// member ever ran on it.
#include <fmt/format.h>

#include "agent/agent.hpp"
#include "agent/claim.hpp"
#include "agent/exchange.hpp"
#include "agent/recover.hpp"
#include "agent/server.hpp"
#include "base/file.hpp"

namespace pgrunbook::agent {

using base::Json;

namespace {

// Nobody but the Job's own server has written since: exactly the checkpoint it stopped with.
bool never_started(const ExchangeJournal& journal, const postgres::ControlData& control) {
  return control.shut_down() && control.checkpoint.text() == base::text_at(journal.result, {"checkpointLSN"});
}

// A server that was killed looks as one that runs. The controller says so where the member has no pod: then
// what it left is set aside as it is, and whoever wants it starts it once. A process that outlived its pod
// would move with its directory (its paths are relative), away from the old data.
Result<> must_not_run(const Order& order, const postgres::ControlData& control,
                      const std::string& directory) {
  if (base::at(order.undo, {"podsGone"}) == Json(true)) return {};
  if (control.shut_down() || control.state == "shut down in recovery") return {};
  return base::fail(base::refused(
      "NotShutDown",
      fmt::format("the server on {} did not end cleanly: pg_control says \"{}\"", directory, control.state),
      "stop the member cleanly, then undo again"));
}

Result<> retire(const Order& order, const ExchangeJournal& journal, bool served) {
  auto number = base::number_at(journal.result, {"newTimeline"});
  if (number == 0 || order.repository.path.empty()) return {};
  PGR_ASSIGN(auto repository, open_repository(order));
  postgres::TimelineId timeline(static_cast<std::uint32_t>(number));
  if (repository.record().find(timeline) == nullptr) return {};
  return repository.set_timeline_state(
      timeline, served ? archive::TimelineState::kAbandoned : archive::TimelineState::kRetired);
}

Result<Answer> nothing_to_exchange(const api::MemberRef& m, const std::string& uid) {
  std::string sibling = sibling_of(m.data_directory, uid);
  bool there = base::exists(sibling);
  PGR_TRY(base::remove_tree(sibling));
  return succeeded(
      "NothingToUndo",
      there ? fmt::format("the half-made directory {} is removed", sibling) : "nothing had been exchanged",
      {{"exchanged", false}});
}

Result<Answer> undo(const Order& order, const api::MemberRef& m, Report& report) {
  std::string uid = base::text_at(order.undo, {"actionUID"}, order.action.uid);
  PGR_TRY(archive::check_word(uid, "the uid of an action"));
  auto journal = read_journal(m.mount, uid);
  if (!journal && journal.error().code == base::ErrorCode::kNotFound) return nothing_to_exchange(m, uid);
  if (!journal) return base::fail(journal.error());
  if (journal->state == "Undone") {
    Json result = {{"exchanged", true}};
    if (base::exists(journal->sibling)) result["keptDirectory"] = journal->sibling;
    return succeeded("Undone", "the old directory is back in its place", result);
  }
  PGR_ASSIGN(Placed placed, where_are_we(*journal));
  if (placed == Placed::kOldInPlace && journal->state == "Prepared") {
    journal->state = "Undone";
    PGR_TRY(retire(order, *journal, false));
    PGR_TRY(write_journal(m.mount, *journal));
    return nothing_to_exchange(m, uid);
  }
  std::string where = placed == Placed::kNewInPlace ? journal->data_directory : journal->sibling;
  PGR_ASSIGN(auto control, control_data_of(where));
  PGR_TRY(must_not_run(order, control, where));
  bool served = !never_started(*journal, control);
  report.note("exchange", fmt::format("{} goes back to its place", journal->sibling));
  PGR_TRY(exchange_back(*journal));
  PGR_TRY(retire(order, *journal, served));
  journal->state = "Undone";
  PGR_TRY(write_journal(m.mount, *journal));
  Json result = {{"exchanged", true}};
  if (served) {
    result["keptDirectory"] = journal->sibling;
  } else {
    PGR_TRY(base::remove_tree(journal->sibling));
  }
  std::string message = journal->old_inode == 0 ? "the volume has no data directory, as before"
                                                : "the old directory is back in its place";
  if (served) message += fmt::format("; what was written since is kept in {}", journal->sibling);
  return succeeded("Undone", message, result);
}

}  // namespace

Result<Answer> run_undo(const Order& order, Report& report) {
  if (!order.member) return base::fail(base::ErrorCode::kInvalid, "the order names no member");
  PGR_ASSIGN(VolumeClaim claim, VolumeClaim::acquire(order, order.member->mount));
  auto answer = undo(order, *order.member, report);
  PGR_TRY(claim.release());
  return answer;
}

}  // namespace pgrunbook::agent
