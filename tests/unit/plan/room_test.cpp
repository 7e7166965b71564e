// What ResourceQuotas and LimitRanges would refuse, with the figures.
#include "plan/room.hpp"

#include <gtest/gtest.h>

namespace pgrunbook::plan {
namespace {

// A Job's pod of ours: 500m and 128Mi, with an init container of 200m and 64Mi.
Json job_pod() {
  return Json::parse(R"({
    "initContainers": [{"name": "agent", "resources": {"requests": {"cpu": "10m", "memory": "64Mi"},
                                                       "limits": {"cpu": "200m", "memory": "64Mi"}}}],
    "containers": [{"name": "work", "resources": {"requests": {"cpu": "50m", "memory": "128Mi"},
                                                  "limits": {"cpu": "500m", "memory": "128Mi"}}}]})");
}

std::vector<PodWish> wishes() { return {{"the pod of Job plan", job_pod(), true}}; }

Json quota(const char* spec, const char* used) {
  return Json::array({{{"metadata", {{"name", "quota"}}},
                       {"spec", Json::parse(spec)},
                       {"status", {{"used", Json::parse(used)}}}}});
}

struct QuotaCase {
  const char* name;
  const char* spec;
  const char* used;
  const char* words;  // empty: there is room
  bool may_pass = false;
};

class Quotas : public ::testing::TestWithParam<QuotaCase> {};

TEST_P(Quotas, AreJudgedAsAdmissionDoes) {
  const QuotaCase& c = GetParam();
  auto refusal = no_room(quota(c.spec, c.used), Json(), wishes());
  ASSERT_EQ(refusal.has_value(), *c.words != 0) << (refusal ? refusal->error.text() : "there is room");
  if (!refusal) return;
  EXPECT_EQ(refusal->error.text(), c.words);
  EXPECT_EQ(refusal->may_pass, c.may_pass);
}

INSTANTIATE_TEST_SUITE_P(
    Table, Quotas,
    ::testing::Values(
        QuotaCase{"RoomToTheByte", R"({"hard": {"limits.memory": "960Mi"}})", R"({"limits.memory": "832Mi"})",
                  ""},
        QuotaCase{
            "OneByteShort", R"({"hard": {"limits.memory": "960Mi"}})", R"({"limits.memory": "872415233"})",
            "ResourceQuota quota has no room for the pod of Job plan: limits.memory needed 128Mi, used "
            "872415233, hard 960Mi. HINT: raise limits.memory of the ResourceQuota to 1006632961, free as "
            "much, or lower spec.jobs.resources of the topology; it goes on by itself",
            true},
        QuotaCase{
            "NeverEnough", R"({"hard": {"limits.cpu": "100m"}})", R"({"limits.cpu": "0"})",
            "ResourceQuota quota has no room for the pod of Job plan: limits.cpu needed 500m, used 0, hard "
            "100m. HINT: raise limits.cpu of the ResourceQuota to 500m, free as much, or lower "
            "spec.jobs.resources of the topology; it goes on by itself"},
        QuotaCase{
            "RequestsByTheirShortName", R"({"hard": {"cpu": "1"}})", R"({"cpu": "960m"})",
            "ResourceQuota quota has no room for the pod of Job plan: cpu needed 50m, used 960m, hard 1. "
            "HINT: raise cpu of the ResourceQuota to 1010m, free as much, or lower spec.jobs.resources of "
            "the topology; it goes on by itself",
            true},
        QuotaCase{
            "PodsAreCounted", R"({"hard": {"pods": "4"}})", R"({"pods": "4"})",
            "ResourceQuota quota has no room for the pod of Job plan: pods needed 1, used 4, hard 4. HINT: "
            "raise pods of the ResourceQuota to 5, free as much, or lower spec.jobs.resources of the "
            "topology; it goes on by itself",
            true},
        QuotaCase{
            "JobsAreCounted", R"({"hard": {"count/jobs.batch": 60}})", R"({"count/jobs.batch": "60"})",
            "ResourceQuota quota has no room for the pod of Job plan: count/jobs.batch needed 1, used 60, "
            "hard 60. HINT: raise count/jobs.batch of the ResourceQuota to 61, free as much, or lower "
            "spec.jobs.resources of the topology; it goes on by itself",
            true},
        QuotaCase{
            "WhatWeDoNotState", R"({"hard": {"limits.ephemeral-storage": "10Gi"}})", "{}",
            "ResourceQuota quota counts limits.ephemeral-storage, which the pod of Job plan does not "
            "state. HINT: set limits.ephemeral-storage in spec.jobs.resources of the topology, or give the "
            "namespace's LimitRange a default for it"},
        QuotaCase{"OtherThingsAreNotOurs",
                  R"({"hard": {"services": "0", "requests.storage": "1Gi", "secrets": "1"}})",
                  R"({"services": "3", "requests.storage": "2Gi", "secrets": "9"})", ""},
        QuotaCase{"ScopeOfPodsWithADeadline", R"({"hard": {"pods": "0"}, "scopes": ["Terminating"]})", "{}",
                  ""},
        QuotaCase{"ScopeBestEffort", R"({"hard": {"pods": "0"}, "scopes": ["BestEffort"]})", "{}", ""},
        QuotaCase{
            "ScopePriority",
            R"({"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass"}]}})",
            "{}", ""},
        QuotaCase{
            "ScopeThatIsOurs", R"({"hard": {"pods": "0"}, "scopes": ["NotTerminating", "NotBestEffort"]})",
            "{}",
            "ResourceQuota quota has no room for the pod of Job plan: pods needed 1, used 0, hard 0. HINT: "
            "raise pods of the ResourceQuota to 1, free as much, or lower spec.jobs.resources of the "
            "topology; it goes on by itself"}),
    [](const auto& param) { return std::string(param.param.name); });

struct LimitCase {
  const char* name;
  const char* item;
  const char* what;  // empty: allowed
};

class Limits : public ::testing::TestWithParam<LimitCase> {};

TEST_P(Limits, AreJudgedAsAdmissionDoes) {
  Json ranges = Json::array({{{"metadata", {{"name", "limits"}}},
                              {"spec", {{"limits", Json::array({Json::parse(GetParam().item)})}}}}});
  auto refusal = no_room(Json(), ranges, wishes());
  ASSERT_EQ(refusal.has_value(), *GetParam().what != 0) << (refusal ? refusal->error.text() : "allowed");
  if (!refusal) return;
  EXPECT_EQ(refusal->error.reason, "LimitRangeTooTight");
  EXPECT_EQ(
      refusal->error.text(),
      std::string("LimitRange limits does not allow the pod of Job plan: ") + GetParam().what +
          ". HINT: change the LimitRange, or spec.jobs.resources of the topology; it goes on by itself");
  EXPECT_FALSE(refusal->may_pass);
}

INSTANTIATE_TEST_SUITE_P(
    Table, Limits,
    ::testing::Values(
        LimitCase{"WithinMax", R"({"type": "Container", "max": {"cpu": "500m", "memory": "128Mi"}})", ""},
        LimitCase{"OverMax", R"({"type": "Container", "max": {"memory": "100Mi"}})",
                  "container work has the limit memory 128Mi, max is 100Mi"},
        LimitCase{"UnderMin", R"({"type": "Container", "min": {"memory": "96Mi"}})",
                  "container agent requests memory 64Mi, min is 96Mi"},
        LimitCase{"Ratio", R"({"type": "Container", "maxLimitRequestRatio": {"cpu": "4"}})",
                  "container agent has the limit cpu 200m for a request of 10m, maxLimitRequestRatio is 4"},
        LimitCase{"NoLimitOfIt", R"({"type": "Container", "max": {"ephemeral-storage": "1Gi"}})",
                  "container agent states no limit of ephemeral-storage, max is 1024Mi"},
        LimitCase{
            "ItsDefaultIsTaken",
            R"({"type": "Container", "max": {"ephemeral-storage": "1Gi"}, "default": {"ephemeral-storage": "1Gi"}})",
            ""},
        LimitCase{"WholePod", R"({"type": "Pod", "max": {"cpu": "400m"}})",
                  "the pod has the limit cpu 500m, max is 400m"},
        LimitCase{"ClaimsAreNotOurs", R"({"type": "PersistentVolumeClaim", "max": {"storage": "1Mi"}})", ""}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(Room, ADefaultOfTheLimitRangeStatesWhatAQuotaCounts) {
  Json q = quota(R"({"hard": {"limits.ephemeral-storage": "10Gi"}})", "{}");
  Json ranges = Json::parse(
      R"([{"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", "default": {"ephemeral-storage": "1Gi"}}]}}])");
  EXPECT_TRUE(no_room(q, Json::array(), wishes()).has_value());
  EXPECT_FALSE(no_room(q, ranges, wishes()).has_value());
}

TEST(Room, EveryWishIsAskedAlone) {
  Json q = quota(R"({"hard": {"limits.memory": "300Mi"}})", R"({"limits.memory": "100Mi"})");
  std::vector<PodWish> all = wishes();
  all.push_back(all.front());
  EXPECT_FALSE(no_room(q, Json(), all).has_value()) << "one after the other, not at once";
  all.push_back(
      {"the pod of member postgresql-standby",
       Json::parse(R"({"containers": [{"name": "p", "resources": {"limits": {"memory": "256Mi"}}}]})")});
  auto refusal = no_room(q, Json(), all);
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->error.message,
            "ResourceQuota quota has no room for the pod of member postgresql-standby: limits.memory needed "
            "256Mi, used 100Mi, hard 300Mi");
  EXPECT_FALSE(no_room(Json(), Json(), all).has_value());
}

TEST(Room, QuantitiesAreReadAsTheApiWritesThem) {
  struct {
    Json text;
    double thousandths;
  } table[] = {{"600m", 600},          {"1", 1000},           {2, 2000},   {"0.5", 500}, {"1k", 1e6},
               {"256Mi", 268435456e3}, {"1Gi", 1073741824e3}, {"1e3", 1e6}};
  for (const auto& row : table) EXPECT_EQ(quantity(row.text).value_or(-1), row.thousandths) << row.text;
  for (const Json& bad : {Json(), Json(""), Json("much"), Json("5Xi"), Json::array()})
    EXPECT_FALSE(quantity(bad).has_value()) << bad;
}

}  // namespace
}  // namespace pgrunbook::plan
