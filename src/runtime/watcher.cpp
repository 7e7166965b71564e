#include "runtime/watcher.hpp"

#include <fmt/format.h>

namespace pgrunbook::runtime {

using base::Error;
using base::ErrorCode;

Watcher::Watcher(kube::Api& api, kube::Resource resource, std::string ns, Options options)
    : api_(api),
      resource_(std::move(resource)),
      ns_(std::move(ns)),
      options_(std::move(options)),
      backoff_(options_.backoff_base, options_.backoff_most) {}

std::chrono::milliseconds Watcher::failed(const Error& e) {
  on_trouble_(e);
  auto wait = backoff_.next();
  // A missing right or kind does not come back in seconds; asking often would only fill logs on both sides.
  if (e.code == ErrorCode::kForbidden || e.code == ErrorCode::kUnauthorized ||
      e.code == ErrorCode::kNotFound) {
    wait = std::max(wait, options_.forbidden_wait);
  }
  if (e.retry_after) wait = std::max(wait, *e.retry_after);
  return wait;
}

std::chrono::milliseconds Watcher::list(const std::function<void(Event)>& on_event) {
  auto listed = api_.list(resource_, ns_, options_.select, base::Deadline::after(options_.list_patience));
  if (!listed) return failed(listed.error());
  std::string version = base::text_at(*listed, {"resourceVersion"});
  if (version.empty()) {
    return failed(
        base::error(ErrorCode::kUnavailable, fmt::format("list {}: no resourceVersion", resource_.plural)));
  }
  on_event({Event::Type::kInit});
  for (Json& item : (*listed)["items"]) on_event({Event::Type::kInitApply, std::move(item)});
  on_event({Event::Type::kInitDone});
  version_ = std::move(version);
  state_ = State::kListed;
  backoff_.reset();
  on_well_();
  return {};
}

std::chrono::milliseconds Watcher::watch(const std::function<void(Event)>& on_event,
                                         const std::stop_token& stop) {
  state_ = State::kWatching;
  auto opened = std::chrono::steady_clock::now();
  bool alive = false;
  auto take = [&](kube::WatchEvent e) {
    if (!alive) {
      alive = true;
      backoff_.reset();
      on_well_();
    }
    std::string version = base::text_at(e.object, {"metadata", "resourceVersion"});
    switch (e.type) {
      case kube::WatchEvent::Type::kAdded:
      case kube::WatchEvent::Type::kModified:
        on_event({Event::Type::kApply, std::move(e.object)});
        break;
      case kube::WatchEvent::Type::kDeleted:
        on_event({Event::Type::kDelete, std::move(e.object)});
        break;
      case kube::WatchEvent::Type::kBookmark:
        break;
    }
    // Only after the event was taken: a thrown handler must not lose it.
    if (!version.empty()) version_ = std::move(version);
  };
  auto ended = api_.watch(resource_, ns_, options_.select, version_, take, stop);
  state_ = State::kListed;
  if (ended) {
    if (!ended->empty()) version_ = *ended;
    if (alive || std::chrono::steady_clock::now() - opened >= options_.shortest_watch) {
      backoff_.reset();
      on_well_();
      return {};
    }
    return failed(base::error(ErrorCode::kUnavailable,
                              fmt::format("watch {}: ended at once", resource_.plural),
                              "see what stands between here and the API server"));
  }
  if (stop.stop_requested() || ended.error().code == ErrorCode::kCancelled) return {};
  if (ended.error().code == ErrorCode::kGone) {
    state_ = State::kEmpty;
    on_trouble_(ended.error());
    return alive ? std::chrono::milliseconds(0) : backoff_.next();
  }
  return failed(ended.error());
}

std::chrono::milliseconds Watcher::step(const std::function<void(Event)>& on_event,
                                        const std::stop_token& stop) {
  return state_ == State::kEmpty ? list(on_event) : watch(on_event, stop);
}

void Watcher::run(const std::function<void(Event)>& on_event, const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    auto wait = step(on_event, stop);
    if (wait.count() > 0 && !sleep_for(stop, wait)) return;
  }
}

}  // namespace pgrunbook::runtime
