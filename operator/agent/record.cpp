// The Record Job: the transcript and the outcome of an action, kept in the repository beside what it is
// about.
#include <fmt/format.h>

#include "agent/agent.hpp"
#include "base/file.hpp"
#include "base/time.hpp"

namespace pgrunbook::agent {

using base::ErrorCode;
using base::Json;

Result<Answer> run_record(const Order& order, Report& report) {
  PGR_TRY(archive::check_word(order.action.uid, "the uid of an action"));
  PGR_ASSIGN(auto repository, open_repository(order));
  std::string path = repository.layout().transcript(order.action.uid);
  if (!order.record.transcript_file.empty()) {
    report.progress("record", "keeping the transcript");
    PGR_ASSIGN(std::string transcript, base::read_file(order.record.transcript_file));
    PGR_TRY(base::make_directories(path.substr(0, path.find_last_of('/')), archive::kDirectoryMode));
    // A transcript grows while its action goes on; the whole file is replaced at once.
    PGR_TRY(base::replace_file(path, transcript, archive::kFileMode));
  }
  if (!order.record.outcome.empty()) {
    Json outcome = {{"actionUID", order.action.uid},
                    {"outcome", order.record.outcome},
                    {"reason", order.record.reason},
                    {"summary", order.record.summary},
                    {"time", base::format_time(base::now())}};
    PGR_ASSIGN(Json stands, repository.finish_action(action_key(order), outcome));
    if (base::text_at(stands, {"actionUID"}) != order.action.uid ||
        base::text_at(stands, {"outcome"}) != order.record.outcome) {
      base::Error e = base::error(ErrorCode::kConflict, fmt::format("the ledger already says {} of action {}",
                                                                    base::text_at(stands, {"outcome"}),
                                                                    base::text_at(stands, {"actionUID"})));
      e.reason = "OutcomeAlreadyRecorded";
      return base::fail(std::move(e));
    }
  }
  return succeeded("Recorded", fmt::format("the transcript is {}", path), {{"path", path}});
}

}  // namespace pgrunbook::agent
