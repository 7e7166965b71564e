#include "runtime/informer.hpp"

#include <fmt/format.h>

#include "runtime/log.hpp"
#include "runtime/memory.hpp"

namespace pgrunbook::runtime {
namespace {

constexpr auto kBetweenLines = std::chrono::seconds(30);
// A broken stream is ordinary (an API server restarts); so long it is nobody's business.
constexpr auto kSilenceLimit = std::chrono::seconds(60);
// A new stream says nothing until something happens, so trouble is over when no new one came for so long:
// longer than the longest wait between attempts.
constexpr auto kQuiet = std::chrono::seconds(90);

}  // namespace

Informer::Informer(kube::Api& api, kube::Resource resource, std::string ns, Watcher::Options options,
                   Metrics* metrics)
    : metrics_(metrics), watcher_(api, std::move(resource), std::move(ns), std::move(options)) {
  watcher_.on_trouble([this](const base::Error& e) { trouble(e); });
  watcher_.on_well([this] { well(); });
  if (metrics_ != nullptr) {
    metrics_->describe("pgrunbook_watch_failures_total", Metrics::Type::kCounter,
                       "Lists and watches that failed.");
    metrics_->add("pgrunbook_watch_failures_total", {{"resource", watcher_.resource().plural}}, 0);
  }
}

void Informer::take(Watcher::Event event) {
  switch (event.type) {
    case Watcher::Event::Type::kInit:
      store_.begin();
      break;
    case Watcher::Event::Type::kInitApply:
      store_.stage(std::move(event.object));
      break;
    case Watcher::Event::Type::kInitDone:
      tell(store_.swap());
      give_memory_back();
      break;
    case Watcher::Event::Type::kApply:
      tell(store_.apply(std::move(event.object)));
      break;
    case Watcher::Event::Type::kDelete:
      tell(store_.remove(event.object));
      break;
  }
}

void Informer::tell(const std::vector<Change>& changes) {
  for (const Change& change : changes) {
    for (const Handler& handler : handlers_) {
      try {
        handler(change);
      } catch (const std::exception& e) {
        log_error("informer", "a handler failed; this is a bug",
                  {{"resource", resource().plural},
                   {"object", Key::of(change.object()).text()},
                   {"error", e.what()}});
      }
    }
  }
}

void Informer::trouble(const base::Error& e) {
  if (metrics_ != nullptr) metrics_->add("pgrunbook_watch_failures_total", {{"resource", resource().plural}});
  auto now = std::chrono::steady_clock::now();
  {
    std::lock_guard lock(mutex_);
    if (!trouble_ || now - trouble_last_ > kQuiet) trouble_since_ = now;
    bool same = trouble_ && trouble_->message == e.message && now - logged_ < kBetweenLines;
    trouble_ = e;
    trouble_last_ = now;
    if (same) return;
    logged_ = now;
  }
  log_warn("informer", e.text(), {{"resource", resource().plural}, {"reason", e.reason_or_code()}});
}

void Informer::well() {
  std::lock_guard lock(mutex_);
  trouble_.reset();
}

base::Result<std::string> Informer::health() const {
  std::lock_guard lock(mutex_);
  if (!store_.synced()) {
    if (trouble_) return base::fail(*trouble_);
    return base::fail(base::ErrorCode::kUnavailable,
                      fmt::format("list {}: not finished yet", resource().plural));
  }
  auto now = std::chrono::steady_clock::now();
  if (trouble_ && now - trouble_since_ > kSilenceLimit && now - trouble_last_ <= kQuiet)
    return base::fail(*trouble_);
  return fmt::format("synced, {} objects", store_.size());
}

void Informer::start() {
  thread_ = std::jthread([this](const std::stop_token& stop) {
    watcher_.run([this](Watcher::Event e) { take(std::move(e)); }, stop);
  });
}

void Informer::stop() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
}

}  // namespace pgrunbook::runtime
