#include "runtime/manager.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <fmt/format.h>

#include "runtime/backoff.hpp"
#include "runtime/log.hpp"
#include "runtime/memory.hpp"

namespace pgrunbook::runtime {

using base::ErrorCode;

Manager::Manager(kube::Api& api, Options options) : options_(std::move(options)) {
  metrics_.describe("pgrunbook_leader", Metrics::Type::kGauge, "1 while this process leads.");
  if (options_.leader) {
    leadership_ =
        std::make_unique<kube::Leadership>(options_.leader_api != nullptr ? *options_.leader_api : api,
                                           *options_.leader, options_.timing, [](const base::Error& e) {
                                             if (e.reason != "LeaseHeld")
                                               log_warn("leader", e.text(), {{"reason", e.reason_or_code()}});
                                           });
  }
  alive_.add("process", [] { return base::Result<std::string>("runs"); });
  // A standby is ready: it would take over. Only starting and stopping is not.
  ready_.add("manager", [this]() -> base::Result<std::string> {
    switch (phase_.load()) {
      case Phase::kStarting:
        return base::fail(ErrorCode::kUnavailable, "starting");
      case Phase::kWaiting:
        return std::string("another process leads");
      case Phase::kSyncing:
        return base::fail(ErrorCode::kUnavailable, "filling the caches");
      case Phase::kRunning:
        return std::string("running");
      case Phase::kStopping:
        return base::fail(ErrorCode::kUnavailable, "stopping");
    }
    return base::fail(ErrorCode::kInternal, "unknown phase");
  });
}

void Manager::add(Informer& informer) {
  if (std::find(informers_.begin(), informers_.end(), &informer) != informers_.end()) return;
  informers_.push_back(&informer);
  ready_.add(fmt::format("cache-{}", informer.resource().plural), [&informer] { return informer.health(); });
}

void Manager::add(Controller& controller) {
  controllers_.push_back(&controller);
  for (Informer* informer : controller.informers()) add(*informer);
}

std::chrono::steady_clock::time_point Manager::leader_until() const {
  return leadership_ ? leadership_->valid_until() : std::chrono::steady_clock::time_point::max();
}

base::Result<> Manager::run(const std::stop_token& stop) {
  if (options_.health) PGR_TRY(server_.start(options_.health_port));
  for (Informer* informer : informers_) informer->start();
  auto result = lead(stop);
  phase_ = Phase::kStopping;
  metrics_.set("pgrunbook_leader", {}, 0);
  bool ended = stop_controllers();
  if (!ended) options_.on_stuck();
  if (ended && leadership_) leadership_->release(base::Deadline::after(std::chrono::seconds(5)));
  for (Informer* informer : informers_) informer->request_stop();
  for (Informer* informer : informers_) informer->stop();
  server_.stop();
  log_info("manager", "stopped");
  return result;
}

base::Result<> Manager::lead(const std::stop_token& stop) {
  std::stop_token lost;
  if (leadership_) {
    phase_ = Phase::kWaiting;
    log_info("manager", "waiting to lead",
             {{"lease", options_.leader->name}, {"holder", options_.leader->holder}});
    if (!leadership_->acquire(stop)) return {};  // asked to stop
    lost = leadership_->lost();
    log_info("manager", "leading");
  }
  metrics_.set("pgrunbook_leader", {}, 1);
  auto lost_error = [] {
    return base::fail(ErrorCode::kUnavailable, "leadership was lost",
                      "another process leads or the API server was away; this one ends and starts again");
  };
  phase_ = Phase::kSyncing;
  auto patience = base::Deadline::after(options_.sync_patience);
  for (Informer* informer : informers_) {
    while (!informer->store().synced()) {
      if (!sleep_for(stop, std::chrono::milliseconds(10))) return {};
      if (lost.stop_requested()) return lost_error();
      if (patience.passed()) return base::fail(informer->health().error().in("the caches did not fill"));
    }
  }
  phase_ = Phase::kRunning;
  for (Controller* controller : controllers_) controller->start();
  log_info("manager", "running", {{"controllers", std::to_string(controllers_.size())}});
  // One wait for the two ways to end; tidying and resync in between.
  std::stop_source either;
  std::stop_callback on_stop(stop, [&] { either.request_stop(); });
  std::stop_callback on_lost(lost, [&] { either.request_stop(); });
  auto due = base::Deadline::after(options_.resync);
  do {
    give_memory_back();
    give_code_back();
    if (!due.passed()) continue;
    for (Controller* controller : controllers_) controller->resync();
    due = base::Deadline::after(options_.resync);
  } while (sleep_for(either.get_token(), std::min(options_.tidy, options_.resync)));
  if (lost.stop_requested()) {
    log_error("manager", "leadership lost");
    return lost_error();
  }
  log_info("manager", "asked to stop");
  return {};
}

bool Manager::stop_controllers() {
  for (Controller* controller : controllers_) controller->request_stop();
  auto patience = base::Deadline::after(options_.stop_patience);
  bool ended = true;
  for (Controller* controller : controllers_) {
    if (controller->wait(patience)) continue;
    ended = false;
    for (const Key& key : controller->running()) {
      log_error("manager", "a reconcile did not end",
                {{"controller", controller->name()}, {"object", key.text()}});
    }
  }
  return ended;
}

Signals::Signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);  // a peer that closed is an error of the write, not our end
  fd_ = base::Fd(::signalfd(-1, &set, SFD_CLOEXEC));
  wake_ = base::Fd(::eventfd(0, EFD_CLOEXEC));
  thread_ = std::jthread([this] {
    for (bool asked = false;;) {
      pollfd polled[2] = {{fd_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
      if (::poll(polled, 2, -1) < 0) continue;
      if (polled[1].revents != 0) return;
      signalfd_siginfo info{};
      if (::read(fd_.get(), &info, sizeof info) != sizeof info) continue;
      if (asked) std::_Exit(128 + static_cast<int>(info.ssi_signo));
      asked = true;
      log_info("manager", "signal", {{"number", std::to_string(info.ssi_signo)}});
      source_.request_stop();
    }
  });
}

Signals::~Signals() {
  std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

}  // namespace pgrunbook::runtime
