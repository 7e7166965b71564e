#include "kube/line_splitter.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace pgrunbook::kube {
namespace {

struct Lines {
  std::vector<std::string> got;
  base::Result<> operator()(std::string_view line) {
    got.emplace_back(line);
    return {};
  }
};

TEST(LineSplitter, FindsTheSameLinesHoweverTheBytesAreCut) {
  const std::string text = "{\"a\":1}\n\n{\"b\":\"x\"}\r\nlast\n";
  const std::vector<std::string> expected{"{\"a\":1}", "{\"b\":\"x\"}", "last"};
  for (std::size_t size = 1; size <= text.size(); ++size) {
    LineSplitter splitter;
    Lines lines;
    for (std::size_t at = 0; at < text.size(); at += size) {
      ASSERT_TRUE(splitter.feed(std::string_view(text).substr(at, size), std::ref(lines)));
    }
    EXPECT_EQ(lines.got, expected) << "pieces of " << size;
    EXPECT_EQ(splitter.pending(), 0U);
  }
}

TEST(LineSplitter, KeepsACutLineBack) {
  LineSplitter splitter;
  Lines lines;
  ASSERT_TRUE(splitter.feed("whole\ncut", std::ref(lines)));
  EXPECT_EQ(lines.got, std::vector<std::string>{"whole"});
  EXPECT_EQ(splitter.pending(), 3U);
}

TEST(LineSplitter, RefusesALineOverTheLimit) {
  LineSplitter splitter(8);
  Lines lines;
  EXPECT_TRUE(splitter.feed("12345678\n", std::ref(lines)));
  EXPECT_TRUE(splitter.feed("12345", std::ref(lines)));
  auto fed = splitter.feed("6789", std::ref(lines));
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().code, base::ErrorCode::kCorrupt);
  EXPECT_EQ(fed.error().message, "a line of the stream is over 8 bytes");
}

TEST(LineSplitter, StopsAtTheFirstError) {
  LineSplitter splitter;
  int seen = 0;
  auto fed = splitter.feed("a\nb\nc\n", [&](std::string_view line) -> base::Result<> {
    ++seen;
    if (line == "b") return base::fail(base::ErrorCode::kGone, "enough");
    return {};
  });
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().code, base::ErrorCode::kGone);
  EXPECT_EQ(seen, 2);
}

}  // namespace
}  // namespace pgrunbook::kube
