// Numbers for Prometheus (text format 0.0.4). Labels are bounded: names of objects, uids and messages never
// are one.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pgrunbook::runtime {

// Thread-safe; every call is a short lock. What was never set is absent in the output, and unset() makes it
// absent again: an unknown value is neither 0 nor the last one. A family keeps at most `most` series; what
// further ones count goes to the label values "other", and what they set is left out: of two gauges in one
// series the later would hide the earlier.
class Metrics {
 public:
  using Labels = std::vector<std::pair<std::string, std::string>>;
  enum class Type { kCounter, kGauge, kHistogram };

  explicit Metrics(std::size_t most = 200) : most_(most) {}

  // Before the first use of a family. `buckets`: upper bounds, ascending, for histograms.
  void describe(const std::string& name, Type type, const std::string& help,
                std::vector<double> buckets = {});
  void add(const std::string& name, const Labels& labels = {}, double by = 1);  // counter (by >= 0) or gauge
  void set(const std::string& name, const Labels& labels, double value);        // gauge
  void unset(const std::string& name, const Labels& labels);                    // gauge
  void observe(const std::string& name, const Labels& labels, double value);    // histogram

  [[nodiscard]] std::string text() const;
  // The value of a counter or gauge, or a histogram's count; 0 where absent (for tests).
  [[nodiscard]] double value(const std::string& name, const Labels& labels = {}) const;

 private:
  struct Series {
    double value = 0;                      // counter, gauge; histogram: the sum
    std::uint64_t count = 0;               // histogram
    std::vector<std::uint64_t> buckets{};  // histogram, not cumulative
  };
  struct Family {
    Type type = Type::kGauge;
    std::string help;
    std::vector<double> bounds;
    std::map<Labels, Series> series;
  };
  Series* series_locked(const std::string& name, const Labels& labels, bool or_other = true);

  const std::size_t most_;
  mutable std::mutex mutex_;
  std::map<std::string, Family> families_;  // guarded by mutex_
};

}  // namespace pgrunbook::runtime
