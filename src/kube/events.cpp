#include "kube/events.hpp"

#include <algorithm>
#include <atomic>

#include <fmt/format.h>

namespace pgrunbook::kube {
namespace {

constexpr auto kWindow = std::chrono::minutes(5);
constexpr auto kBetweenWrites = std::chrono::seconds(10);
constexpr auto kPatience = std::chrono::seconds(3);
constexpr int kNews = 10;               // in one window
constexpr std::size_t kLongest = 1024;  // the API server refuses more
constexpr const char* kComponent = "pgrunbook";

// Never the same twice in this process.
std::uint64_t nanoseconds() {
  static std::atomic<std::uint64_t> last = 0;
  auto now = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                            std::chrono::system_clock::now().time_since_epoch())
                                            .count());
  std::uint64_t before = last.load();
  while (!last.compare_exchange_weak(before, std::max(before + 1, now))) {
  }
  return std::max(before + 1, now);
}

}  // namespace

std::string shortened(const std::string& text, std::size_t limit) {
  if (text.size() <= limit) return text;
  std::size_t end = limit - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

EventRecorder::EventRecorder(Api& api, std::string instance, Clock clock,
                             std::function<void(const base::Error&)> on_dropped)
    : api_(api),
      instance_(std::move(instance)),
      clock_(std::move(clock)),
      on_dropped_(std::move(on_dropped)) {}

void EventRecorder::emit(const Json& object, Type type, const std::string& reason,
                         const std::string& message) {
  std::string ns = base::text_at(object, {"metadata", "namespace"}),
              name = base::text_at(object, {"metadata", "name"});
  std::string kind = base::text_at(object, {"kind"}), uid = base::text_at(object, {"metadata", "uid"});
  std::string key = fmt::format("{}/{}/{}/{}/{}", kind, ns, name, uid, reason);
  auto now = clock_();
  Known known;
  bool first = false;
  {
    std::lock_guard lock(mutex_);
    std::erase_if(known_, [&](const auto& entry) { return now - entry.second.first >= kWindow; });
    Known& entry = known_[key];
    first = entry.count == 0;
    // By time, as client-go does it: events of one second are then listed in their order.
    if (first) entry = Known{fmt::format("{}.{:016x}", name.substr(0, 200), nanoseconds()), 0, 0, 0, now, {}};
    ++entry.count;
    const std::size_t said = std::hash<std::string>()(message);
    bool news = !first && said != entry.said && entry.news < kNews;
    if (!first && !news && now - entry.written < kBetweenWrites) return;
    entry.news += news ? 1 : 0;
    entry.said = said;
    entry.written = now;
    known = entry;
  }
  std::string text = shortened(message, kLongest);
  std::string time = base::format_time(base::now());
  Result<Json> written = base::fail(base::ErrorCode::kInternal, "");
  if (first) {
    Json event{{"apiVersion", "v1"},
               {"kind", "Event"},
               {"metadata", {{"name", known.name}, {"namespace", ns}}},
               {"involvedObject",
                {{"apiVersion", base::text_at(object, {"apiVersion"})},
                 {"kind", kind},
                 {"namespace", ns},
                 {"name", name}}},
               {"type", type == Type::kWarning ? "Warning" : "Normal"},
               {"reason", reason},
               {"message", text},
               {"source", {{"component", kComponent}, {"host", instance_}}},
               {"reportingComponent", kComponent},
               {"reportingInstance", instance_},
               {"firstTimestamp", time},
               {"lastTimestamp", time},
               {"count", 1}};
    if (!uid.empty()) event["involvedObject"]["uid"] = uid;
    written = api_.create(kinds::kEvent, ns, event, Deadline::after(kPatience));
  } else {
    Json body{{"count", known.count}, {"lastTimestamp", time}, {"message", text}};
    written =
        api_.patch(kinds::kEvent, ns, known.name, PatchType::kMerge, body, "", Deadline::after(kPatience));
  }
  if (written) return;
  on_dropped_(written.error());
  if (written.error().code == base::ErrorCode::kNotFound || first) {
    std::lock_guard lock(mutex_);
    known_.erase(key);  // the next one is created anew
  }
}

}  // namespace pgrunbook::kube
