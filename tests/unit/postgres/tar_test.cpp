#include "postgres/tar.hpp"

#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace pgrunbook::postgres {
namespace {

using base::Result;

std::string header(const std::string& name, std::uint64_t size, char type, const std::string& link = "") {
  std::string h(512, '\0');
  auto put = [&](std::size_t at, const std::string& text) { h.replace(at, text.size(), text); };
  put(0, name);
  put(100, "0000600");
  put(124, fmt::format("{:011o}", size));
  h[156] = type;
  put(157, link);
  put(257, std::string("ustar\0"
                       "00",
                       8));
  unsigned sum = 0;
  put(148, "        ");
  for (char c : h) sum += static_cast<unsigned char>(c);
  put(148, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
  return h;
}

std::string file(const std::string& name, const std::string& content) {
  std::string padding((512 - content.size() % 512) % 512, '\0');
  return header(name, content.size(), '0') + content + padding;
}

const std::string kEnd(1024, '\0');

struct Collect : TarSink {
  std::string raw, told;
  std::string content;
  Result<> on_raw(std::string_view bytes) override {
    raw += bytes;
    return {};
  }
  Result<> on_entry(const TarEntry& e) override {
    told += fmt::format("{}:{}@{};", e.path, e.size, e.offset);
    if (!e.link.empty()) told += "->" + e.link + ";";
    return {};
  }
  Result<> on_content(std::string_view bytes) override {
    content += bytes;
    return {};
  }
  Result<> on_file_end() override {
    told += "[" + content + "]";
    content.clear();
    return {};
  }
};

Result<> parse(const std::string& tar, Collect* sink, std::size_t piece) {
  TarParser parser(sink);
  for (std::size_t at = 0; at < tar.size(); at += piece)
    PGR_TRY(parser.feed(std::string_view(tar).substr(at, piece)));
  return parser.finish();
}

TEST(Tar, TellsTheSameWhateverThePiecesAre) {
  std::string tar = file("backup_label", "label") + header("base", 0, '5') + file("base/1/empty", "") +
                    header("pg_tblspc/16384", 0, '2', "/mnt/space") +
                    file("base/1/full", std::string(512, 'x')) + kEnd;
  for (std::size_t piece : {1U, 7U, 511U, 512U, 513U, 4096U}) {
    Collect sink;
    auto result = parse(tar, &sink, piece);
    ASSERT_TRUE(result.has_value()) << result.error().text();
    EXPECT_EQ(sink.raw, tar);
    EXPECT_EQ(
        sink.told,
        "backup_label:5@512;[label]base:0@1536;base/1/empty:0@2048;[]pg_tblspc/16384:0@2560;->/mnt/space;"
        "base/1/full:512@3072;[" +
            std::string(512, 'x') + "]");
  }
}

TEST(Tar, PathsThatLeaveTheArchiveAreRefused) {
  for (const char* path : {"/etc/passwd", "../x", "base/../../x", "base//x", "a\nb"}) {
    Collect sink;
    auto result = parse(file(path, "x") + kEnd, &sink, 512);
    ASSERT_FALSE(result.has_value()) << path;
    EXPECT_EQ(result.error().message, fmt::format("the tar holds the path '{}'", path));
  }
}

TEST(Tar, EveryTruncationIsNoticed) {
  std::string tar = file("a", "content") + file("b", std::string(700, 'y')) + kEnd;
  for (std::size_t length = 0; length < tar.size(); length += 64) {
    Collect sink;
    EXPECT_FALSE(parse(tar.substr(0, length), &sink, 512).has_value()) << length;
  }
}

TEST(Tar, AFlippedBitInAHeaderIsNoticed) {
  std::string tar = file("a", "content") + kEnd;
  for (std::size_t at = 0; at < 257; ++at) {
    if (at == 154 || at == 155) continue;  // what stands behind the digits of the checksum
    std::string bad = tar;
    bad[at] = static_cast<char>(bad[at] ^ 4);
    Collect sink;
    EXPECT_FALSE(parse(bad, &sink, 512).has_value()) << at;
  }
}

TEST(Tar, UnknownEntriesAndBytesBehindTheEndAreRefused) {
  Collect sink;
  EXPECT_EQ(parse(header("x", 0, 'x') + kEnd, &sink, 512).error().message, "the tar holds x of type 'x'");
  EXPECT_EQ(parse(kEnd + file("a", "b"), &sink, 512).error().message,
            "the tar goes on at byte 1024 behind its end");
}

}  // namespace
}  // namespace pgrunbook::postgres
