// The transcript: every step there, every cell one cell, never too large for a ConfigMap.
#include "plan/transcript.hpp"

#include <gtest/gtest.h>

#include "support/stride.hpp"

namespace pgrunbook::plan {
namespace {

using api::Json;

Json object() {
  return {{"metadata", {{"name", "before-the-mistake"}, {"namespace", "tfrs"}, {"uid", "uid-1"}}},
          {"spec", Json::object()}};
}

api::ActionStatus status() {
  api::ActionStatus s;
  s.start_time = "2026-11-20T15:00:00Z";
  s.plan = {
      {"digest", "0123456789abcdef"},
      {"facts", {{"to", "postgresql-standby"}, {"absent", nullptr}, {"empty", ""}, {"databaseBytes", 1234}}},
      {"dataAtStake", {{"transactions", 3}}}};
  s.operation.inputs = {{"topology", "tfrs"}, {"approvedPlan", "0123456789abcdef"}};
  s.operation.log = {{{"step", "hold"},
                      {"text", "hold the volume"},
                      {"startTime", "t1"},
                      {"endTime", "t2"},
                      {"outcome", "ok"}},
                     {{"step", "recover"}, {"text", "restore | replay\nverify"}, {"startTime", "t3"}}};
  s.operation.results = {{"hold", Json::object()},
                         {"recover", {{"newTimeline", 2}, {"undoDirectory", "/x"}}}};
  return s;
}

TEST(Transcript, IsTheRunbookFilledIn) {
  EXPECT_EQ(transcript("PostgresRestore", object(), status(), "Completed"),
            "# PostgresRestore before-the-mistake: Completed\n"
            "\n"
            "| what | value |\n"
            "|---|---|\n"
            "| approved plan | 0123456789abcdef |\n"
            "| namespace | tfrs |\n"
            "| plan | 0123456789abcdef |\n"
            "| started | 2026-11-20T15:00:00Z |\n"
            "| topology | tfrs |\n"
            "| uid | uid-1 |\n"
            "\n"
            "All times are UTC.\n"
            "\n"
            "## What was planned\n"
            "\n"
            "| what | value |\n"
            "|---|---|\n"
            "| databaseBytes | 1234 |\n"
            "| to | postgresql-standby |\n"
            "\n"
            "## Data at stake\n"
            "\n"
            "| what | value |\n"
            "|---|---|\n"
            "| transactions | 3 |\n"
            "\n"
            "## Steps\n"
            "\n"
            "| step | began | ended | what | result |\n"
            "|---|---|---|---|---|\n"
            "| hold | t1 | t2 | hold the volume | ok |\n"
            "| recover | t3 |  | restore \\| replay verify |  |\n"
            "\n"
            "## What each step found\n"
            "\n"
            "### recover\n"
            "\n"
            "| what | value |\n"
            "|---|---|\n"
            "| newTimeline | 2 |\n"
            "| undoDirectory | /x |\n"
            "\n");
}

TEST(Transcript, SaysWhyItWasPutBack) {
  api::ActionStatus s = status();
  s.operation.failure = {{"reason", "Cancelled"}, {"message", "it was cancelled"}};
  std::string text = transcript("Failover", object(), s, "Cancelled");
  EXPECT_NE(text.find("| why it was put back | it was cancelled |\n"), std::string::npos);
}

TEST(Transcript, OfAnActionWithoutAPlanIsStillOne) {
  std::string text = transcript("PostgresBackup", object(), api::ActionStatus{}, "Failed");
  EXPECT_EQ(text.find("## What was planned"), std::string::npos);
  EXPECT_NE(text.find("## Steps\n"), std::string::npos);
}

// No value, however it looks, makes or breaks a row.
TEST(Transcript, KeepsEveryRowOneRow) {
  for (const std::string evil : {"a\nb", "a|b", "|\n|", "a\r\nb", "\r", "| x |\n| y |"}) {
    api::ActionStatus s = status();
    s.operation.log[0]["outcome"] = evil;
    s.operation.log[0]["text"] = evil;
    s.operation.results["recover"]["undoDirectory"] = evil;
    s.plan["facts"]["to"] = evil;
    std::string text = transcript("PostgresRestore", object(), s, "Completed");
    std::size_t steps = text.find("## Steps");
    std::size_t start = text.find("| hold", steps), end = text.find('\n', start);
    std::string row = text.substr(start, end - start);
    std::size_t bars = 0;
    for (std::size_t i = 0; i < row.size(); ++i)
      bars += row[i] == '|' && (i == 0 || row[i - 1] != '\\') ? 1U : 0U;
    EXPECT_EQ(bars, 6U) << row;
    EXPECT_EQ(text.find('\r'), std::string::npos);
  }
}

TEST(Transcript, FitsIntoAConfigMapAndStaysUtf8) {
  for (std::size_t shift = 0; shift < 4; shift += test::kStride) {
    api::ActionStatus s = status();
    std::string large;
    for (int i = 0; i < 400; ++i) large += "日本語";
    s.start_time += std::string(shift, 'x');
    for (int i = 0; i < 500; ++i)
      s.operation.log.push_back(
          {{"step", "s" + std::to_string(i)}, {"text", large}, {"startTime", "t"}, {"outcome", large}});
    std::string text = transcript("PostgresRestore", object(), s, "Completed");
    EXPECT_LE(text.size(), 512U * 1024U);
    EXPECT_GT(text.size(), 511U * 1024U);
    EXPECT_NO_THROW((void)Json(text).dump());
  }
}

}  // namespace
}  // namespace pgrunbook::plan
