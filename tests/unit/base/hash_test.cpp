// SHA-256 by FIPS 180-2's own examples, base64 by RFC 4648's.
#include "base/hash.hpp"

#include <set>

#include <gtest/gtest.h>

#include "base/file.hpp"
#include "support/postgres/temporary.hpp"

namespace pgrunbook::base {
namespace {

TEST(Hashes, AreTheStandardOnes) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Hashes, OfPartsAndOfFilesAreEqual) {
  test::TemporaryDirectory directory;
  std::string bytes;
  for (int i = 0; i < 300000; ++i) bytes.push_back(static_cast<char>(i * 7));
  Sha256 parts;
  for (std::size_t i = 0; i < bytes.size(); i += 997) parts.update(std::string_view(bytes).substr(i, 997));
  Sha256 moved = std::move(parts);
  std::string expected = sha256(bytes);
  EXPECT_EQ(moved.hex(), expected);
  ASSERT_TRUE(replace_file(directory / "f", bytes).has_value());
  EXPECT_EQ(*sha256_file(directory / "f"), expected);
  auto none = sha256_file(directory / "none");
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().message, "cannot open " + (directory / "none") + ": No such file or directory");
}

TEST(Base64, IsTheStandardOneBothWays) {
  struct {
    const char* bytes;
    const char* text;
  } table[] = {{"", ""},
               {"f", "Zg=="},
               {"fo", "Zm8="},
               {"foo", "Zm9v"},
               {"foob", "Zm9vYg=="},
               {"fooba", "Zm9vYmE="},
               {"foobar", "Zm9vYmFy"}};
  for (const auto& row : table) {
    EXPECT_EQ(base64(row.bytes), row.text);
    auto back = base64_decode(row.text);
    ASSERT_TRUE(back.has_value()) << row.text;
    EXPECT_EQ(*back, row.bytes);
  }
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  EXPECT_EQ(*base64_decode(base64(all)), all);
}

TEST(Base64, RefusesOtherText) {
  for (const char* bad : {"Zg=", "Z", "Zm9v!"}) {
    auto decoded = base64_decode(bad);
    ASSERT_FALSE(decoded.has_value()) << bad;
    EXPECT_EQ(decoded.error().message, "not base64");
  }
}

TEST(RandomHex, IsLongEnoughAndNeverTheSame) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    std::string text = random_hex(8);
    EXPECT_EQ(text.size(), 16U);
    EXPECT_EQ(text.find_first_not_of("0123456789abcdef"), std::string::npos);
    EXPECT_TRUE(seen.insert(text).second);
  }
}

}  // namespace
}  // namespace pgrunbook::base
