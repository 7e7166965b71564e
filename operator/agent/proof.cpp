// The Proof Job: waits until the named segments are in the repository, each with the right header, and the
// restore point that was set in them.
#include <algorithm>
#include <thread>

#include <fmt/format.h>

#include "agent/agent.hpp"
#include "agent/own_wal.hpp"

namespace pgrunbook::agent {
namespace {

using archive::Repository;
using base::Deadline;
using base::ErrorCode;
using base::Json;

Result<std::vector<postgres::WalName>> segments_of(const Order& order) {
  std::vector<postgres::WalName> names;
  for (const std::string& text : order.plan.wait_for) {
    PGR_ASSIGN(auto name, postgres::parse_wal_name(text));
    if (name.kind != postgres::WalKind::kSegment) {
      return base::fail(ErrorCode::kInvalid, fmt::format("{} is no WAL segment", text));
    }
    names.push_back(std::move(name));
  }
  if (names.empty()) return base::fail(ErrorCode::kInvalid, "order.plan.waitFor names no segment");
  return names;
}

Result<Answer> proven(const Repository& repository, const Order& order) {
  Json result = {{"segments", order.plan.wait_for}};
  // The newest segment of the highest timeline the named ones are on.
  postgres::TimelineId timeline;
  for (const std::string& text : order.plan.wait_for) {
    PGR_ASSIGN(auto name, postgres::parse_wal_name(text));
    timeline = std::max(timeline, name.timeline);
  }
  PGR_ASSIGN(auto newest, repository.newest_segment(timeline));
  if (newest) {
    result["newestSegment"] = newest->name;
    result["newestTimeline"] = timeline.number();
  }
  return succeeded("SegmentsArchived",
                   fmt::format("{} {} in the repository", order.plan.wait_for.back(),
                               order.plan.wait_for.size() == 1 ? "is" : "and all before it are"),
                   std::move(result));
}

}  // namespace

Result<Answer> run_proof(const Order& order, Report& report) {
  PGR_ASSIGN(auto names, segments_of(order));
  PGR_ASSIGN(Repository repository, open_repository(order));
  auto deadline = Deadline::after(std::chrono::seconds(order.plan.wait_seconds));
  for (const postgres::WalName& name : names) {
    while (true) {
      auto stored = repository.check_stored(name);
      if (stored) break;
      if (stored.error().code != ErrorCode::kNotFound) return base::fail(stored.error());
      if (deadline.passed()) {
        base::Error e = base::error(
            ErrorCode::kTimeout,
            fmt::format("{} did not reach the repository within {} s", name.text, order.plan.wait_seconds),
            "the server's log says why its archive_command fails");
        e.reason = "WALNotArchived";
        return base::fail(std::move(e));
      }
      report.progress("wait", fmt::format("waiting for {}", name.text));
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    report.note("wait", fmt::format("{} is there", name.text));
  }
  PGR_TRY(check_mark(repository, order.plan));
  return proven(repository, order);
}

}  // namespace pgrunbook::agent
