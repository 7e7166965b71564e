#include "runtime/metrics.hpp"

#include <gtest/gtest.h>

namespace pgrunbook::runtime {
namespace {

TEST(MetricsTest, WritesThePrometheusTextFormat) {
  Metrics m;
  m.describe("pgrunbook_a_total", Metrics::Type::kCounter, "All of a.");
  m.describe("pgrunbook_b", Metrics::Type::kGauge, "B\nnow.");
  m.describe("pgrunbook_c_seconds", Metrics::Type::kHistogram, "C.", {0.5, 1});
  m.describe("pgrunbook_unused", Metrics::Type::kGauge, "Nothing known.");
  m.add("pgrunbook_a_total", {{"kind", "x\"y\\"}});
  m.add("pgrunbook_a_total", {{"kind", "x\"y\\"}}, 2);
  m.set("pgrunbook_b", {}, 0.25);
  m.observe("pgrunbook_c_seconds", {{"k", "v"}}, 0.5);
  m.observe("pgrunbook_c_seconds", {{"k", "v"}}, 0.75);
  m.observe("pgrunbook_c_seconds", {{"k", "v"}}, 9);
  EXPECT_EQ(m.text(),
            "# HELP pgrunbook_a_total All of a.\n"
            "# TYPE pgrunbook_a_total counter\n"
            "pgrunbook_a_total{kind=\"x\\\"y\\\\\"} 3\n"
            "# HELP pgrunbook_b B\\nnow.\n"
            "# TYPE pgrunbook_b gauge\n"
            "pgrunbook_b 0.25\n"
            "# HELP pgrunbook_c_seconds C.\n"
            "# TYPE pgrunbook_c_seconds histogram\n"
            "pgrunbook_c_seconds_bucket{k=\"v\",le=\"0.5\"} 1\n"
            "pgrunbook_c_seconds_bucket{k=\"v\",le=\"1\"} 2\n"
            "pgrunbook_c_seconds_bucket{k=\"v\",le=\"+Inf\"} 3\n"
            "pgrunbook_c_seconds_sum{k=\"v\"} 10.25\n"
            "pgrunbook_c_seconds_count{k=\"v\"} 3\n");
}

TEST(MetricsTest, WhatIsNotKnownIsAbsent) {
  Metrics m;
  m.set("pgrunbook_lag", {{"topology", "a"}}, 3);
  m.unset("pgrunbook_lag", {{"topology", "a"}});
  m.unset("pgrunbook_never", {});
  EXPECT_EQ(m.text(), "");
}

TEST(MetricsTest, SeriesAreBounded) {
  Metrics m(10);
  for (int i = 0; i < 1000; ++i) m.add("pgrunbook_x_total", {{"who", std::to_string(i)}});
  std::string text = m.text();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1 + 11);
  EXPECT_EQ(m.value("pgrunbook_x_total", {{"who", "other"}}), 990);
}

TEST(MetricsTest, AGaugeBeyondTheBoundIsLeftOut) {
  Metrics m(1);
  m.set("pgrunbook_x", {{"topology", "a"}}, 1);
  m.set("pgrunbook_x", {{"topology", "b"}}, 2);
  EXPECT_EQ(m.text(), "# TYPE pgrunbook_x gauge\npgrunbook_x{topology=\"a\"} 1\n");
  m.unset("pgrunbook_x", {{"topology", "a"}});
  m.set("pgrunbook_x", {{"topology", "b"}}, 2);
  EXPECT_EQ(m.value("pgrunbook_x", {{"topology", "b"}}), 2);
}

}  // namespace
}  // namespace pgrunbook::runtime
