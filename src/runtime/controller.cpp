#include "runtime/controller.hpp"

#include <exception>

#include <fmt/format.h>

#include "base/hash.hpp"
#include "runtime/log.hpp"

namespace pgrunbook::runtime {
namespace {

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

constexpr const char* kTotal = "pgrunbook_reconcile_total";
constexpr const char* kSeconds = "pgrunbook_reconcile_duration_seconds";
constexpr const char* kReady = "pgrunbook_queue_ready";

}  // namespace

namespace mappers {

Mapper self() {
  return [](const Json& object) { return std::vector<Key>{Key::of(object)}; };
}

Mapper owner(const kube::Resource& kind) {
  return [kind](const Json& object) {
    std::vector<Key> keys;
    for (const Json& reference : base::at(object, {"metadata", "ownerReferences"})) {
      std::string api = base::text_at(reference, {"apiVersion"});
      // Another version of the group is the same kind.
      if (base::text_at(reference, {"kind"}) == kind.kind &&
          api.substr(0, api.find('/')) == kind.api_version().substr(0, kind.api_version().find('/'))) {
        keys.push_back(
            {base::text_at(object, {"metadata", "namespace"}), base::text_at(reference, {"name"})});
      }
    }
    return keys;
  };
}

Mapper label(const std::string& name) {
  return [name](const Json& object) {
    std::vector<Key> keys;
    if (std::string value = base::text_at(object, {"metadata", "labels", name}); !value.empty()) {
      keys.push_back({base::text_at(object, {"metadata", "namespace"}), value});
    }
    return keys;
  };
}

}  // namespace mappers

Controller::Controller(Tag, std::string name, Reconcile reconcile, Options options)
    : name_(std::move(name)),
      reconcile_(std::move(reconcile)),
      workers_(options.workers),
      metrics_(options.metrics),
      queue_(std::move(options.queue)) {
  if (metrics_ == nullptr) return;
  metrics_->describe(kTotal, Metrics::Type::kCounter, "Reconciles by result.");
  metrics_->describe(kSeconds, Metrics::Type::kHistogram, "Duration of a reconcile.",
                     {0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60});
  metrics_->describe(kReady, Metrics::Type::kGauge, "Keys waiting for a worker.");
  for (const char* result : {"done", "after", "error", "terminal", "exception"}) {
    metrics_->add(kTotal, {{"controller", name_}, {"result", result}}, 0);
  }
}

Controller::~Controller() { request_stop(); }

void Controller::watch(Informer& informer, Mapper mapper, std::function<bool(const Change&)> relevant) {
  watches_.push_back({&informer, mapper, relevant});
  informer.on_change(
      [this, mapper = std::move(mapper), relevant = std::move(relevant)](const Change& change) {
        if (relevant && !relevant(change)) return;
        // Both states: an object that moved from one owner to another concerns both.
        if (change.before) {
          for (const Key& key : mapper(*change.before)) enqueue(key);
        }
        if (change.after) {
          for (const Key& key : mapper(*change.after)) enqueue(key);
        }
      });
}

// Also on the way in: where every worker hangs, the queue is what shows it.
void Controller::enqueue(const Key& key) {
  queue_.add(key);
  measure();
}

void Controller::measure() {
  if (metrics_ != nullptr)
    metrics_->set(kReady, {{"controller", name_}}, static_cast<double>(queue_.ready()));
}

void Controller::resync() {
  for (const Watch& watch : watches_) {
    for (const Snapshot& object : watch.informer->store().list()) {
      if (watch.relevant && !watch.relevant({nullptr, object})) continue;
      for (const Key& key : watch.mapper(*object)) enqueue(key);
    }
  }
}

std::vector<Informer*> Controller::informers() const {
  std::vector<Informer*> all;
  all.reserve(watches_.size());
  for (const Watch& watch : watches_) all.push_back(watch.informer);
  return all;
}

void Controller::start() {
  alive_ = workers_;
  for (int i = 0; i < workers_; ++i) {
    threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
  }
}

void Controller::request_stop() {
  queue_.shut_down();
  for (auto& thread : threads_) thread.request_stop();
}

bool Controller::wait(base::Deadline deadline) {
  for (int left = alive_.load(); left > 0; left = alive_.load()) {
    if (deadline.passed()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

void Controller::work(const std::stop_token& stop) {
  while (auto key = queue_.get(stop)) {
    measure();
    work_on(*key, stop);
    queue_.done(*key);
  }
  --alive_;
}

void Controller::count(const char* result) {
  if (metrics_ != nullptr) metrics_->add(kTotal, {{"controller", name_}, {"result", result}});
}

void Controller::work_on(const Key& key, const std::stop_token& stop) {
  LogScope scope({{"controller", name_}, {"object", key.text()}, {"reconcile", base::random_hex(4)}});
  auto begun = std::chrono::steady_clock::now();
  bool thrown = false;
  // Nothing a reconcile throws may end the process: the next key has done nothing wrong.
  Outcome outcome = [&]() -> Outcome {
    try {
      return reconcile_(key, stop);
    } catch (const std::exception& e) {
      thrown = true;
      return base::error(base::ErrorCode::kInternal, fmt::format("exception: {}", e.what()),
                         "this is a bug; report it");
    } catch (...) {
      thrown = true;
      return base::error(base::ErrorCode::kInternal, "unknown exception", "this is a bug; report it");
    }
  }();
  std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  if (metrics_ != nullptr) metrics_->observe(kSeconds, {{"controller", name_}}, took.count());
  std::visit(Overloaded{
                 [&](const Done&) {
                   queue_.forget(key);
                   count("done");
                 },
                 [&](const After& after) {
                   queue_.forget(key);
                   queue_.add_after(key, after.wait);
                   count("after");
                 },
                 [&](const base::Error& e) {
                   count(thrown ? "exception" : "error");
                   if (stop.stop_requested() && e.code == base::ErrorCode::kCancelled) return;
                   auto wait =
                       queue_.add_rate_limited(key, e.retry_after.value_or(std::chrono::milliseconds(0)));
                   // Somebody else was faster: ordinary, and the next look settles it.
                   auto level = e.code == base::ErrorCode::kConflict ? spdlog::level::info
                                : thrown                             ? spdlog::level::err
                                                                     : spdlog::level::warn;
                   log(level, "controller", e.text(),
                       {{"reason", e.reason_or_code()},
                        {"failures", std::to_string(queue_.failures(key))},
                        {"again_in_ms", std::to_string(wait.count())}});
                 },
                 [&](const Terminal& t) {
                   queue_.forget(key);
                   count("terminal");
                   log_error("controller", t.error.text(), {{"reason", t.error.reason_or_code()}});
                 },
             },
             outcome);
}

}  // namespace pgrunbook::runtime
