#include "runtime/metrics.hpp"

#include <cmath>

#include <fmt/format.h>

namespace pgrunbook::runtime {
namespace {

std::string escaped(std::string_view text, bool quotes) {
  std::string out;
  for (char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && quotes) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
  return out;
}

std::string number(double v) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", v);
}

std::string label_text(const Metrics::Labels& labels, std::string_view more_key = {},
                       std::string_view more = {}) {
  std::string out;
  for (const auto& [key, value] : labels)
    out += fmt::format("{}{}=\"{}\"", out.empty() ? "" : ",", key, escaped(value, true));
  if (!more_key.empty()) out += fmt::format("{}{}=\"{}\"", out.empty() ? "" : ",", more_key, more);
  return out.empty() ? out : "{" + out + "}";
}

}  // namespace

void Metrics::describe(const std::string& name, Type type, const std::string& help,
                       std::vector<double> buckets) {
  std::lock_guard lock(mutex_);
  Family& family = families_[name];
  family.type = type;
  family.help = help;
  family.bounds = std::move(buckets);
}

Metrics::Series* Metrics::series_locked(const std::string& name, const Labels& labels, bool or_other) {
  Family& family = families_[name];
  auto found = family.series.find(labels);
  if (found != family.series.end()) return &found->second;
  if (family.series.size() < most_) return &family.series[labels];
  if (!or_other) return nullptr;
  Labels other = labels;
  for (auto& label : other) label.second = "other";
  return &family.series[other];
}

void Metrics::add(const std::string& name, const Labels& labels, double by) {
  std::lock_guard lock(mutex_);
  series_locked(name, labels)->value += by;
}

void Metrics::set(const std::string& name, const Labels& labels, double value) {
  std::lock_guard lock(mutex_);
  if (Series* series = series_locked(name, labels, false)) series->value = value;
}

void Metrics::unset(const std::string& name, const Labels& labels) {
  std::lock_guard lock(mutex_);
  auto family = families_.find(name);
  if (family != families_.end()) family->second.series.erase(labels);
}

void Metrics::observe(const std::string& name, const Labels& labels, double value) {
  std::lock_guard lock(mutex_);
  Series* series = series_locked(name, labels);
  const auto& bounds = families_[name].bounds;
  series->buckets.resize(bounds.size());
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    if (value <= bounds[i]) {
      ++series->buckets[i];
      break;
    }
  }
  series->value += value;
  ++series->count;
}

std::string Metrics::text() const {
  std::lock_guard lock(mutex_);
  std::string out;
  for (const auto& [name, family] : families_) {
    if (family.series.empty()) continue;
    const char* type = family.type == Type::kCounter ? "counter"
                       : family.type == Type::kGauge ? "gauge"
                                                     : "histogram";
    if (!family.help.empty()) out += fmt::format("# HELP {} {}\n", name, escaped(family.help, false));
    out += fmt::format("# TYPE {} {}\n", name, type);
    for (const auto& [labels, series] : family.series) {
      if (family.type != Type::kHistogram) {
        out += fmt::format("{}{} {}\n", name, label_text(labels), number(series.value));
        continue;
      }
      std::uint64_t sum = 0;
      for (std::size_t i = 0; i < family.bounds.size(); ++i) {
        sum += i < series.buckets.size() ? series.buckets[i] : 0;
        out += fmt::format("{}_bucket{} {}\n", name, label_text(labels, "le", number(family.bounds[i])), sum);
      }
      out += fmt::format("{}_bucket{} {}\n", name, label_text(labels, "le", "+Inf"), series.count);
      out += fmt::format("{}_sum{} {}\n", name, label_text(labels), number(series.value));
      out += fmt::format("{}_count{} {}\n", name, label_text(labels), series.count);
    }
  }
  return out;
}

double Metrics::value(const std::string& name, const Labels& labels) const {
  std::lock_guard lock(mutex_);
  auto family = families_.find(name);
  if (family == families_.end()) return 0;
  auto found = family->second.series.find(labels);
  if (found == family->second.series.end()) return 0;
  return family->second.type == Type::kHistogram ? static_cast<double>(found->second.count)
                                                 : found->second.value;
}

}  // namespace pgrunbook::runtime
