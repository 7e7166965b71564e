#include "kube/lease.hpp"

#include <algorithm>
#include <condition_variable>

#include <fmt/format.h>

namespace pgrunbook::kube {
namespace {

using base::ErrorCode;

constexpr std::chrono::milliseconds kShortest(1000);  // an attempt to renew, where half the time is less

bool sleep(const std::stop_token& stop, std::chrono::milliseconds d) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  wake.wait_for(lock, stop, d, [] { return false; });
  return !stop.stop_requested();
}

}  // namespace

Lease::Lease(Api& api, LeaseOptions options, Clock clock)
    : api_(api), options_(std::move(options)), clock_(std::move(clock)) {}

std::chrono::steady_clock::time_point Lease::valid_until() const {
  std::lock_guard lock(mutex_);
  return valid_until_;
}

std::string Lease::holder() const {
  std::lock_guard lock(mutex_);
  return holder_;
}

void Lease::observe(const Json& lease) {
  std::lock_guard lock(mutex_);
  holder_ = base::text_at(lease, {"spec", "holderIdentity"});
  std::string version = base::text_at(lease, {"metadata", "resourceVersion"});
  if (version != seen_version_) {
    seen_version_ = std::move(version);
    seen_at_ = clock_();
  }
  if (holder_ != options_.holder) valid_until_ = {};
}

// Writes us in as the holder: over `former` under its resourceVersion, or as a new object.
base::Result<> Lease::write(const Json* former, Deadline d) {
  auto begun = clock_();
  std::string now = base::format_time_micro(base::now());
  Json spec{{"holderIdentity", options_.holder},
            {"leaseDurationSeconds", options_.duration.count()},
            {"renewTime", now}};
  Result<Json> written = base::fail(ErrorCode::kInternal, "");
  if (former == nullptr) {
    spec["acquireTime"] = now;
    spec["leaseTransitions"] = 0;
    Json object{
        {"apiVersion", kinds::kLease.api_version()},
        {"kind", kinds::kLease.kind},
        {"metadata", {{"name", options_.name}, {"namespace", options_.ns}, {"labels", options_.labels}}},
        {"spec", spec}};
    written = api_.create(kinds::kLease, options_.ns, object, d);
  } else {
    if (base::text_at(*former, {"spec", "holderIdentity"}) != options_.holder) {
      spec["acquireTime"] = now;
      spec["leaseTransitions"] = base::number_at(*former, {"spec", "leaseTransitions"}) + 1;
    }
    Json body{{"metadata", {{"resourceVersion", base::text_at(*former, {"metadata", "resourceVersion"})}}},
              {"spec", spec}};
    written = api_.patch(kinds::kLease, options_.ns, options_.name, PatchType::kMerge, body, "", d);
  }
  if (!written) {
    base::Error e = written.error();
    if (e.code == ErrorCode::kAlreadyExists) e.code = ErrorCode::kConflict;
    return base::fail(std::move(e));
  }
  observe(*written);
  std::lock_guard lock(mutex_);
  valid_until_ = begun + options_.duration;
  return {};
}

base::Result<> Lease::take(const MayTake& may_take, Deadline d) {
  auto lease = api_.get(kinds::kLease, options_.ns, options_.name, d);
  if (!lease) {
    if (lease.error().code != ErrorCode::kNotFound) return base::fail(lease.error());
    return write(nullptr, d);
  }
  observe(*lease);
  std::string held_by = base::text_at(*lease, {"spec", "holderIdentity"});
  if (!held_by.empty() && held_by != options_.holder && !may_take(*lease, held_by)) {
    return base::fail(
        base::refused("LeaseHeld", fmt::format("Lease {} is held by {}", options_.name, held_by)));
  }
  return write(&*lease, d);
}

base::Result<> Lease::acquire(Deadline d) {
  return take(
      [this](const Json& lease, const std::string&) {
        auto duration = std::chrono::seconds(
            base::number_at(lease, {"spec", "leaseDurationSeconds"}, options_.duration.count()));
        std::lock_guard lock(mutex_);
        return clock_() - seen_at_ > duration;
      },
      d);
}

base::Result<> Lease::acquire_when(const std::function<bool(const std::string&)>& finished, Deadline d) {
  return take([&](const Json&, const std::string& held_by) { return finished(held_by); }, d);
}

base::Result<> Lease::renew(Deadline d) {
  Json known;
  {
    std::lock_guard lock(mutex_);
    if (holder_ == options_.holder && !seen_version_.empty())
      known = {{"metadata", {{"resourceVersion", seen_version_}}}, {"spec", {{"holderIdentity", holder_}}}};
  }
  // What we wrote last is what we know without asking; whoever changed it since makes this a conflict.
  if (known.is_object()) {
    auto written = write(&known, d);
    if (written ||
        (written.error().code != ErrorCode::kConflict && written.error().code != ErrorCode::kNotFound))
      return written;
  }
  return take([](const Json&, const std::string&) { return false; }, d);
}

base::Result<> Lease::release(Deadline d) {
  auto lease = api_.get(kinds::kLease, options_.ns, options_.name, d);
  if (!lease) {
    if (lease.error().code == ErrorCode::kNotFound) return {};
    return base::fail(lease.error());
  }
  observe(*lease);
  if (base::text_at(*lease, {"spec", "holderIdentity"}) != options_.holder) return {};
  {
    std::lock_guard lock(mutex_);
    valid_until_ = {};
  }
  Json body{{"metadata", {{"resourceVersion", base::text_at(*lease, {"metadata", "resourceVersion"})}}},
            {"spec", {{"holderIdentity", ""}, {"renewTime", base::format_time_micro(base::now())}}}};
  auto written = api_.patch(kinds::kLease, options_.ns, options_.name, PatchType::kMerge, body, "", d);
  if (!written) return base::fail(written.error());
  observe(*written);
  return {};
}

Leadership::Leadership(Api& api, LeaseOptions options, Timing timing,
                       std::function<void(const base::Error&)> on_trouble)
    : lease_(api, options),
      options_(std::move(options)),
      timing_(timing),
      on_trouble_(std::move(on_trouble)) {}

base::Result<> Leadership::acquire(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    auto taken = lease_.acquire(Deadline::after(std::max(timing_.retry, std::chrono::milliseconds(5000))));
    if (taken) {
      renewing_ = std::jthread([this](const std::stop_token& s) { renew_until(s); });
      return {};
    }
    on_trouble_(taken.error());
    if (!sleep(stop, timing_.retry)) break;
  }
  return base::fail(ErrorCode::kCancelled, "asked to stop before we led");
}

void Leadership::renew_until(const std::stop_token& stop) {
  using std::chrono::milliseconds, std::chrono::steady_clock;
  // What has just been renewed has time; what could not be is tried sooner, or at once where that took long.
  milliseconds pause = timing_.retry * 2;
  while (sleep(stop, pause)) {
    // Renewing may take until the margin begins, no longer: then others must be told to stop. An attempt
    // leaves half of that to the next one, which has another connection.
    const auto begun = steady_clock::now();
    auto left = std::chrono::duration_cast<milliseconds>(lease_.valid_until() - timing_.margin - begun);
    bool gone = left <= milliseconds(0);
    if (!gone) {
      auto renewed = lease_.renew(Deadline::after(std::max(left / 2, std::min(left, kShortest))));
      pause = renewed ? timing_.retry * 2
                      : std::max(milliseconds(0), timing_.retry - std::chrono::duration_cast<milliseconds>(
                                                                      steady_clock::now() - begun));
      if (!renewed) {
        on_trouble_(renewed.error());
        gone = renewed.error().reason == "LeaseHeld" || !lease_.valid(timing_.margin);
      }
    }
    if (gone) {
      lost_.request_stop();
      return;
    }
  }
}

void Leadership::release(Deadline d) {
  if (!renewing_.joinable()) return;
  renewing_.request_stop();
  renewing_.join();
  if (lost_.stop_requested()) return;
  if (auto released = lease_.release(d); !released) on_trouble_(released.error());
}

}  // namespace pgrunbook::kube
