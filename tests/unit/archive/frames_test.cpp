#include "archive/frames.hpp"

#include <cstdlib>
#include <random>

#include <gtest/gtest.h>

#include "base/hash.hpp"
#include "support/postgres/temporary.hpp"
#include "support/stride.hpp"

namespace pgrunbook::archive {
namespace {

using test::must;

std::string read_all(const std::string& path) {
  std::string out;
  auto collect = [&](std::string_view bytes) -> base::Result<> {
    out.append(bytes);
    return {};
  };
  must(read_frames(path, collect));
  return out;
}

TEST(Frames, AnyPiecesAndCutsGiveTheSameBytes) {
  std::mt19937 random(4);
  for (int round = 0; round < 20; round += test::kStride) {
    test::TemporaryDirectory directory;
    std::string path = directory / "x.zst", expected;
    FrameWriter writer = must(FrameWriter::create(path, 1));
    for (int i = 0; i < 60; ++i) {
      std::string piece(random() % 300000, static_cast<char>('a' + random() % 4));
      expected += piece;
      must(writer.append(piece));
      if (random() % 4 == 0) must(writer.cut());
    }
    must(writer.finish());
    EXPECT_EQ(read_all(path), expected);
    EXPECT_EQ(writer.raw_bytes(), expected.size());
    EXPECT_EQ(writer.stored_sha256(), must(base::sha256_file(path)));
    std::string from_frames;
    std::uint64_t offset = 0;
    for (const Frame& f : writer.frames()) {
      EXPECT_EQ(f.offset, offset);
      EXPECT_EQ(f.raw_offset, from_frames.size());
      EXPECT_LE(f.raw_size, FrameWriter::kLargestFrame);
      from_frames += must(read_frame(path, f));
      offset += f.size;
    }
    EXPECT_EQ(from_frames, expected);
    EXPECT_EQ(writer.stored_bytes(), offset);
  }
}

TEST(Frames, ManyFramesAreOnePlainFileForTheStandardTool) {
  test::TemporaryDirectory directory;
  FrameWriter writer = must(FrameWriter::create(directory / "x.zst", 1));
  std::string expected;
  for (int i = 0; i < 10000; ++i) {
    std::string piece = std::to_string(i);
    expected += piece;
    must(writer.append(piece));
    if (i % 2 == 0) must(writer.cut());
  }
  must(writer.finish());
  EXPECT_EQ(writer.frames().size(), 5001U);
  ASSERT_EQ(std::system(("zstd -dq " + (directory / "x.zst") + " -o " + (directory / "x")).c_str()), 0);
  EXPECT_EQ(must(base::read_file(directory / "x")), expected);
  EXPECT_EQ(read_all(directory / "x.zst"), expected);
}

TEST(Frames, AMissingLastFrameIsOnlyNoticedByTheReaderOfTheContent) {
  // Frames are independent: the tar inside must say where it ends. This pins down why read_base_tar asks for
  // its end.
  test::TemporaryDirectory directory;
  FrameWriter writer = must(FrameWriter::create(directory / "x.zst", 1));
  must(writer.append("one"));
  must(writer.cut());
  must(writer.append("two"));
  must(writer.finish());
  ASSERT_EQ(::truncate((directory / "x.zst").c_str(), static_cast<off_t>(writer.frames()[1].offset)), 0);
  EXPECT_EQ(read_all(directory / "x.zst"), "one");
}

TEST(Frames, AnExistingFileIsNotOverwritten) {
  test::TemporaryDirectory directory;
  must(base::create_file(directory / "x.zst", "there"));
  EXPECT_EQ(FrameWriter::create(directory / "x.zst", 1).error().code, base::ErrorCode::kAlreadyExists);
}

}  // namespace
}  // namespace pgrunbook::archive
