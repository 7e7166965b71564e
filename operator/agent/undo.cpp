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

// Recover writes its journal when the new directory is whole and before it exchanges anything: without one
// no server of the member can have run on it.
Result<Answer> half_made_goes(const api::MemberRef& m, const std::string& uid) {
  std::string sibling = sibling_of(m.data_directory, uid);
  auto beside = directory_inode(sibling);
  bool there = beside || beside.error().code != base::ErrorCode::kNotFound;
  if (there) {
    if (!beside) return base::fail(beside.error());
    auto data = directory_inode(m.data_directory);
    if (!data && data.error().code != base::ErrorCode::kNotFound) return base::fail(data.error());
    if (data && *data == *beside) {
      return base::fail(base::ErrorCode::kConflict,
                        fmt::format("{} is the data directory itself: it is not removed", sibling),
                        "look at how the volume is mounted");
    }
    PGR_TRY(base::remove_tree(sibling));
  }
  return succeeded(
      "NothingToUndo",
      there ? fmt::format("the half-made directory {} is removed", sibling) : "nothing had been exchanged",
      {{"exchanged", false}});
}

// What is left to do once the journal says Undone. Each of it can be done again, and is by the next try.
Result<Answer> finish(const Order& order, const api::MemberRef& m, ExchangeJournal journal) {
  // Looked at directly before it is removed: another undo may have exchanged the directories meanwhile, and
  // whoever started the member while the Job began has a server there now.
  PGR_ASSIGN(bool there, new_lies_beside(journal));
  if (journal.served == false && there) {
    auto control = control_data_of(journal.sibling);
    auto pid_file = base::is_there(journal.sibling + "/postmaster.pid");
    if ((control && !never_started(journal, *control)) || !pid_file || *pid_file) {
      journal.served = true;
      PGR_TRY(write_journal(m.mount, journal));
    }
  }
  if (journal.served) PGR_TRY(retire(order, journal, *journal.served));
  Json result = {{"exchanged", true}};
  std::string message = journal.old_inode == 0 ? "the volume has no data directory, as before"
                                               : "the old directory is back in its place";
  if (journal.served == false && there) {
    PGR_TRY(base::remove_tree(journal.sibling));
  } else if (there) {
    result["keptDirectory"] = journal.sibling;
    message += fmt::format("; what was written since is kept in {}", journal.sibling);
  }
  return succeeded("Undone", message, result);
}

Result<Answer> undo(const Order& order, const api::MemberRef& m, Report& report) {
  std::string uid = base::text_at(order.undo, {"actionUID"}, order.action.uid);
  PGR_TRY(archive::check_word(uid, "the uid of an action"));
  auto journal = read_journal(m.mount, uid);
  if (!journal && journal.error().code == base::ErrorCode::kNotFound) return half_made_goes(m, uid);
  if (!journal) return base::fail(journal.error());
  if (journal->state == "Undone") return finish(order, m, *journal);
  PGR_ASSIGN(Placed placed, where_are_we(*journal));
  auto where = place_of_new(*journal);
  if (!where && where.error().code != base::ErrorCode::kNotFound) return base::fail(where.error());
  auto control = where ? control_data_of(*where) : base::fail(where.error());
  if (placed != Placed::kOldInPlace) {
    if (!control) return base::fail(control.error());
    PGR_TRY(must_not_run(order, *control, *where));
  }
  // The old directory in its place does not say that the new one never was there: Recover may have been
  // killed before it wrote Exchanged, and an undo after it had exchanged back. Only pg_control tells.
  bool served = !control || !never_started(*journal, *control);
  bool nothing = placed == Placed::kOldInPlace && journal->state == "Prepared" && !served;
  report.note("exchange", fmt::format("{} goes back to its place", journal->sibling));
  PGR_TRY(exchange_back(*journal));
  journal->state = "Undone";
  journal->served = served;
  PGR_TRY(write_journal(m.mount, *journal));
  PGR_ASSIGN(Answer answer, finish(order, m, *journal));
  if (!nothing || answer.result.contains("keptDirectory")) return answer;
  return succeeded("NothingToUndo", fmt::format("the half-made directory {} is removed", journal->sibling),
                   {{"exchanged", false}});
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
