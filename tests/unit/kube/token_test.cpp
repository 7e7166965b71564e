#include "kube/token.hpp"

#include <filesystem>

#include <gtest/gtest.h>

#include "base/file.hpp"
#include "base/hash.hpp"

namespace pgrunbook::kube {
namespace {

class Token : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(base::make_directories(directory_, 0700)); }
  void TearDown() override { (void)base::remove_tree(directory_); }
  void write(const std::string& text) { ASSERT_TRUE(base::replace_file(file_, text, 0600)); }
  TokenSource source() {
    return TokenSource(file_, "", [this] { return now_; });
  }

  std::string directory_ = ::testing::TempDir() + "pgr-token-" + base::random_hex(4);
  std::string file_ = directory_ + "/token";
  std::chrono::steady_clock::time_point now_{std::chrono::hours(1)};
};

TEST_F(Token, IsReadAgainAfterAMinute) {
  write("one\n");
  auto tokens = source();
  EXPECT_EQ(*tokens.get(), "one");
  write("two");
  now_ += std::chrono::seconds(59);
  EXPECT_EQ(*tokens.get(), "one");
  now_ += std::chrono::seconds(1);
  EXPECT_EQ(*tokens.get(), "two");
}

TEST_F(Token, IsReadAtOnceAfterARefusal) {
  write("one");
  auto tokens = source();
  EXPECT_EQ(*tokens.get(), "one");
  EXPECT_FALSE(tokens.changed("one"));
  write("two");
  EXPECT_TRUE(tokens.changed("one"));
  EXPECT_EQ(*tokens.get(), "two");
}

TEST_F(Token, StaysInUseWhileItsFileIsAway) {
  write("one");
  auto tokens = source();
  EXPECT_EQ(*tokens.get(), "one");
  ASSERT_TRUE(base::remove_tree(file_));
  now_ += std::chrono::minutes(2);
  EXPECT_EQ(*tokens.get(), "one");
  EXPECT_FALSE(tokens.changed("one"));
}

TEST_F(Token, MissingFromTheStartIsAnErrorWithoutItsContent) {
  auto tokens = source();
  EXPECT_EQ(tokens.get().error().code, base::ErrorCode::kNotFound);
  write("two words");
  auto bad = tokens.get();
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, base::ErrorCode::kUnauthorized);
  EXPECT_EQ(bad.error().text().find("words"), std::string::npos);
}

TEST_F(Token, FixedOneNeverChanges) {
  TokenSource tokens("", "fixed");
  EXPECT_EQ(*tokens.get(), "fixed");
  EXPECT_FALSE(tokens.changed("fixed"));
}

}  // namespace
}  // namespace pgrunbook::kube
