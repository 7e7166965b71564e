// What a Job is told and answers survives the way as text.
#include "api/job.hpp"

#include <gtest/gtest.h>

namespace pgrunbook::api {
namespace {

Order order(const char* job) {
  Order o;
  o.job = job;
  o.action = {"PostgresRestore", "before", "uid-1", "0123456789abcdef"};
  o.repository = {"/backup/tfrs", "tfrs", "uid-2"};
  o.member = MemberRef{"postgresql", "/var/lib/pgsql/data",     "/var/lib/pgsql/data/userdata",
                       "uid-3",      "/postgresql-backup/tfrs", "10.0.0.7",
                       5433};
  return o;
}

class EveryJob : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryJob, OrderSurvives) {
  Order o = order(GetParam());
  o.setup = {true, true, 30};
  o.backup = {"20261120T150405Z-1a2b3c4d", "Spread", "20M", "zstd", 3, "Manifest"};
  o.plan.method = "Base";
  o.plan.backup_id = "b";
  o.plan.target.time = "2026-11-20T15:00:00Z";
  o.plan.target.lsn = "0/3000148";  // all of them at once, as no person may ask
  o.plan.target.xid = "745";
  o.plan.target.name = "a 'name'";
  o.plan.target.immediate = true;
  o.plan.target.exclusive = false;
  o.plan.target.timeline = 1;
  o.plan.timeline = 2;
  o.plan.candidate = "c";
  o.plan.candidate_timeline = 3;
  o.plan.wait_for = {"000000010000000000000002"};
  o.plan.mark = {"pgrunbook it 0a1b2c", "0/2000098"};
  o.plan.wait_seconds = 5;
  o.plan.counts = {"credit_trade"};
  o.plan.read_volume = true;
  o.plan.salvage = "uid-4";
  o.recover = {"b",    2,   "0/3000148", "0/3000170", {{"select 'ä'", "ä"}}, {"credit_trade"},
               "tfrs", 300, "uid-4"};
  o.fence = {60, 2, "0/3000170", "uid-4"};
  o.record = {"Failed", "X", "/pgrunbook-transcript/transcript.md", {{"a", 1}}};
  o.undo = {{"brokenClaim", "uid-9"}};
  Json written = to_json(o);
  auto text = base::parse_json(written.dump(), "the order");
  ASSERT_TRUE(text.has_value());
  auto read = order_from_json(*text);
  ASSERT_TRUE(read.has_value()) << read.error().text();
  EXPECT_EQ(to_json(*read), written);
  EXPECT_EQ(read->member->port, 5433);
  EXPECT_EQ(read->undo, o.undo);
  if (o.job == std::string(jobs::kPlan)) {
    EXPECT_EQ(read->plan.target.asked(), o.plan.target.asked());
    EXPECT_EQ(read->plan.target.exclusive, false);
  }
}

INSTANTIATE_TEST_SUITE_P(Jobs, EveryJob,
                         ::testing::Values(jobs::kSetup, jobs::kProof, jobs::kPlan, jobs::kBackup,
                                           jobs::kRecover, jobs::kUndo, jobs::kFence, jobs::kUnfence,
                                           jobs::kRecord, jobs::kSalvage),
                         [](const auto& param) { return std::string(param.param); });

TEST(Orders, CarryOnlyTheirOwnPart) {
  Json j = to_json(order(jobs::kFence));
  EXPECT_TRUE(j.contains("fence"));
  for (const char* other : {"setup", "backup", "plan", "recover", "record", "undo"})
    EXPECT_FALSE(j.contains(other)) << other;
}

TEST(Orders, OfAnotherFormatAreRefused) {
  Json j = to_json(order(jobs::kFence));
  j["format"] = 2;
  auto read = order_from_json(j);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().text(), "order has format 2, this agent knows 1");
}

TEST(Orders, WithAnUnknownFieldAreRefused) {
  Json j = to_json(order(jobs::kRecover));
  j["recover"]["exclusive"] = true;
  auto read = order_from_json(j);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().reason_or_code(), "UnknownField");
  EXPECT_EQ(read.error().message, "order.recover.exclusive is a field this version does not know");
}

TEST(Answers, Survive) {
  for (Outcome outcome : {Outcome::kSucceeded, Outcome::kRefused, Outcome::kFailed, Outcome::kBlocked}) {
    Answer a{outcome, "Reason", "message", "hint", {{"newTimeline", 2}}};
    auto read = answer_from_json(to_json(a));
    ASSERT_TRUE(read.has_value()) << read.error().text();
    EXPECT_EQ(read->outcome, outcome);
    EXPECT_EQ(to_json(*read), to_json(a));
  }
  EXPECT_EQ(to_json(Answer{Outcome::kBlocked, "", "", "", Json::object()})["outcome"], "Blocked");
}

TEST(Answers, OfAnUnknownOutcomeAreNoAnswer) {
  auto read = answer_from_json({{"outcome", "Perhaps"}});
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().message, "a Job answered with outcome 'Perhaps'");
  EXPECT_FALSE(answer_from_json(Json::object()).has_value());
}

TEST(ProgressLines, Survive) {
  auto read = progress_from_json(to_json(Progress{"copy", "copies", 7, 9}));
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->step, "copy");
  EXPECT_EQ(read->bytes_done, 7);
  EXPECT_EQ(read->bytes_total, 9);
  EXPECT_FALSE(progress_from_json({{"message", "x"}}).has_value());
}

}  // namespace
}  // namespace pgrunbook::api
