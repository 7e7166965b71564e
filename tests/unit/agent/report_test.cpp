#include "agent/report.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/file.hpp"
#include "support/postgres/temporary.hpp"
#include "support/stride.hpp"

namespace pgrunbook::agent {
namespace {

using base::Json;
using test::must;

api::Answer big_answer() {
  api::Answer a = succeeded("Done", "it is done", {{"small", 1}});
  Json list = Json::array();
  for (int i = 0; i < 1000; ++i) list.push_back("database " + std::to_string(i));
  a.result["databases"] = list;
  a.result["text"] = std::string(3000, 't');
  return a;
}

TEST(Report, AnAnswerFitsATerminationMessageAndStaysReadable) {
  std::string text = answer_text(big_answer());
  EXPECT_LE(text.size(), kLargestAnswer);
  auto back = api::answer_from_json(must(base::parse_json(text, "answer")));
  ASSERT_TRUE(back.has_value()) << back.error().text();
  EXPECT_EQ(back->outcome, api::Outcome::kSucceeded);
  EXPECT_EQ(back->message, "it is done");
  EXPECT_EQ(back->result["small"], 1);
  EXPECT_GT(back->result["databases"].size(), 10U);
  EXPECT_EQ(back->result["shortened"], Json({"databases", "text"}));
}

TEST(Report, AnyLimitIsKeptOrTheResultGoes) {
  for (std::size_t limit = 200; limit < 4000; limit += 101 * test::kStride) {
    api::Answer a = big_answer();
    a.hint = std::string(900, 'h');
    std::string text = answer_text(a, limit);
    if (limit > 800) {
      EXPECT_LE(text.size(), limit);
    }
    EXPECT_TRUE(api::answer_from_json(must(base::parse_json(text, "answer"))).has_value());
  }
}

TEST(Report, OtherProgramsBytesDoNotBreakTheJson) {
  api::Answer a = answer_of(base::error(base::ErrorCode::kUnavailable,
                                        std::string("FEHLER: \xe4\xf6 ") + std::string(2000, '\xc3')));
  EXPECT_TRUE(base::parse_json(answer_text(a), "answer").has_value());
}

TEST(Report, WhatARuleForbidsIsRefusedTheRestFailed) {
  EXPECT_EQ(answer_of(base::refused("VolumeClaimed", "x")).outcome, api::Outcome::kRefused);
  EXPECT_EQ(answer_of(base::refused("VolumeClaimed", "x")).reason, "VolumeClaimed");
  EXPECT_EQ(answer_of(base::error(base::ErrorCode::kInvalid, "x")).outcome, api::Outcome::kRefused);
  EXPECT_EQ(answer_of(base::error(base::ErrorCode::kCorrupt, "x")).outcome, api::Outcome::kFailed);
  EXPECT_EQ(answer_of(base::error(base::ErrorCode::kCorrupt, "x")).reason, "Corrupt");
}

TEST(Report, ProgressIsAtMostOneLinePerSecondAndStep) {
  test::TemporaryDirectory directory;
  std::string path = directory / "out";
  int fd = ::open(path.c_str(), O_WRONLY | O_CREAT, 0600);
  Report report(fd, directory / "termination");
  for (int i = 0; i < 1000; ++i) report.progress("copy", "copying", i, 1000);
  report.progress("verify", "reading back");
  report.note("verify", "a note is never dropped");
  report.answer(succeeded("Done", "it is done"));
  ::close(fd);
  EXPECT_EQ(must(base::read_file(path)),
            R"({"bytesDone":0,"bytesTotal":1000,"message":"copying","step":"copy"})"
            "\n"
            R"({"bytesDone":0,"bytesTotal":0,"message":"reading back","step":"verify"})"
            "\n"
            R"({"bytesDone":0,"bytesTotal":0,"message":"a note is never dropped","step":"verify"})"
            "\n"
            R"({"hint":"","message":"it is done","outcome":"Succeeded","reason":"Done","result":{}})"
            "\n");
  EXPECT_EQ(must(base::read_file(directory / "termination")),
            R"({"hint":"","message":"it is done","outcome":"Succeeded","reason":"Done","result":{}})");
}

}  // namespace
}  // namespace pgrunbook::agent
