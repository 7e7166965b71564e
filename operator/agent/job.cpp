#include "agent/job.hpp"

#include <csignal>
#include <cstdlib>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "agent/agent.hpp"

namespace pgrunbook::agent {
namespace {

using base::ErrorCode;

struct Entry {
  const char* name;
  Result<Answer> (*run)(const Order&, Report&);
};

constexpr Entry kJobs[] = {
    {api::jobs::kSetup, run_setup},     {api::jobs::kProof, run_proof},     {api::jobs::kPlan, run_plan},
    {api::jobs::kBackup, run_backup},   {api::jobs::kRecover, run_recover}, {api::jobs::kUndo, run_undo},
    {api::jobs::kFence, run_fence},     {api::jobs::kUnfence, run_unfence}, {api::jobs::kRecord, run_record},
    {api::jobs::kSalvage, run_salvage}, {api::jobs::kLeave, run_leave},
};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Result<Order> order_from_environment() {
  std::string text = environment("PGRUNBOOK_ORDER");
  if (text.empty())
    return base::fail(ErrorCode::kInvalid, "PGRUNBOOK_ORDER is not set", "only the controller starts this");
  PGR_ASSIGN(auto json, base::parse_json(text, "PGRUNBOOK_ORDER"));
  PGR_ASSIGN(Order order, api::order_from_json(json));
  order.pod_uid = environment("PGRUNBOOK_POD_UID");
  char self[4096];
  ssize_t n = ::readlink("/proc/self/exe", self, sizeof self);
  order.agent_path = n > 0 ? std::string(self, static_cast<std::size_t>(n)) : std::string();
  return order;
}

// As a container's first process we would not hear SIGTERM otherwise. Ending at once is right: every job
// leaves its work so that a kill at any point does no harm, and children die with us.
void end_on_sigterm() {
  struct sigaction action{};
  action.sa_handler = [](int) { ::_exit(128 + SIGTERM); };
  ::sigaction(SIGTERM, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

}  // namespace

Result<archive::Repository> open_repository(const Order& order) {
  return archive::Repository::open(order.repository.path,
                                   {order.repository.topology, order.repository.topology_uid});
}

archive::ActionKey action_key(const Order& order) {
  return {order.action.kind, order.action.name, order.action.spec_hash, order.action.uid};
}

api::Answer run_job(const Order& order, Report& report) {
  for (const Entry& job : kJobs) {
    if (order.job != job.name) continue;
    auto answer = job.run(order, report);
    return answer ? *answer : answer_of(answer.error());
  }
  return answer_of(base::error(ErrorCode::kInvalid, fmt::format("this agent knows no job '{}'", order.job),
                               "controller and agent are of different versions"));
}

int job_command() {
  ::umask(027);
  end_on_sigterm();
  Report report = Report::standard();
  auto order = order_from_environment();
  api::Answer answer = order ? run_job(*order, report) : answer_of(order.error());
  report.answer(answer);
  return answer.outcome == api::Outcome::kSucceeded ? 0 : 1;
}

}  // namespace pgrunbook::agent
