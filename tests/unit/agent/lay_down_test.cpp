#include "agent/lay_down.hpp"

#include <cstdlib>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/subprocess.hpp"

namespace pgrunbook::agent {
namespace {

class UnpackTar : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/pgrb-tar-XXXXXX";
    root_ = ::mkdtemp(name);
  }
  void TearDown() override { (void)base::remove_tree(root_); }
  std::string tar(const std::vector<std::string>& arguments) {
    base::Command c;
    c.argv = {"tar", "--format=ustar", "-C", root_, "-cf", "-"};
    c.argv.insert(c.argv.end(), arguments.begin(), arguments.end());
    auto ran = base::run(c, base::Deadline::after(std::chrono::seconds(20)));
    EXPECT_TRUE(ran);
    return ran ? ran->out : std::string();
  }
  std::string root_;
};

TEST_F(UnpackTar, UnpacksInPiecesOfAnySize) {
  std::string large(70'001, 'x');
  ASSERT_TRUE(base::make_directories(root_ + "/in/base/1"));
  ASSERT_TRUE(base::create_file(root_ + "/in/base/1/1259", large));
  ASSERT_TRUE(base::create_file(root_ + "/in/PG_VERSION", "15\n"));
  ASSERT_TRUE(base::create_file(root_ + "/in/empty", ""));
  std::string bytes = tar({"-C", root_ + "/in", "PG_VERSION", "base", "empty"});
  for (std::size_t piece : {1UL, 7UL, 512UL, 1000UL, 1UL << 20U}) {
    std::string out = root_ + "/out" + std::to_string(piece);
    ASSERT_TRUE(base::make_directories(out));
    TarUnpacker unpacker(out);
    for (std::size_t at = 0; at < bytes.size(); at += piece)
      ASSERT_TRUE(unpacker.feed(std::string_view(bytes).substr(at, piece)));
    ASSERT_TRUE(unpacker.finish());
    EXPECT_EQ(*base::read_file(out + "/base/1/1259"), large);
    EXPECT_EQ(*base::read_file(out + "/empty"), "");
    EXPECT_EQ(unpacker.files().at("PG_VERSION").sha256, base::sha256("15\n"));
    EXPECT_EQ(unpacker.files().at("base/1/1259").size, large.size());
    EXPECT_EQ(unpacker.bytes(), large.size() + 3);
  }
}

TEST_F(UnpackTar, ACutOneIsDamaged) {
  ASSERT_TRUE(base::create_file(root_ + "/f", std::string(5000, 'x')));
  std::string bytes = tar({"f"});
  for (std::size_t size : {100UL, 512UL, 2000UL}) {
    std::string out = root_ + "/cut" + std::to_string(size);
    ASSERT_TRUE(base::make_directories(out));
    TarUnpacker unpacker(out);
    ASSERT_TRUE(unpacker.feed(bytes.substr(0, size)));
    auto finished = unpacker.finish();
    ASSERT_FALSE(finished);
    EXPECT_EQ(finished.error().reason, "BackupDamaged");
  }
}

TEST_F(UnpackTar, AChangedHeaderIsDamaged) {
  ASSERT_TRUE(base::create_file(root_ + "/f", "x"));
  std::string bytes = tar({"f"});
  bytes[0] = 'g';
  ASSERT_TRUE(base::make_directories(root_ + "/out"));
  TarUnpacker unpacker(root_ + "/out");
  auto fed = unpacker.feed(bytes);
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().reason, "BackupDamaged");
}

TEST_F(UnpackTar, NoPathLeadsOutside) {
  ASSERT_TRUE(base::create_file(root_ + "/f", "x"));
  for (const char* transform : {"s,f,../../f,", "s,f,/tmp/f,", "s,f,a/../../f,"}) {
    std::string bytes = tar({"-P", "--transform", transform, "f"});
    ASSERT_TRUE(base::make_directories(root_ + "/out"));
    TarUnpacker unpacker(root_ + "/out");
    auto fed = unpacker.feed(bytes);
    ASSERT_FALSE(fed) << transform;
    EXPECT_EQ(fed.error().reason, "BackupDamaged");
  }
}

TEST_F(UnpackTar, ATablespaceIsRefusedByName) {
  ASSERT_TRUE(base::make_directories(root_ + "/pg_tblspc"));
  ASSERT_EQ(::symlink("/elsewhere", (root_ + "/pg_tblspc/16387").c_str()), 0);
  std::string bytes = tar({"pg_tblspc"});
  ASSERT_TRUE(base::make_directories(root_ + "/out"));
  TarUnpacker unpacker(root_ + "/out");
  auto fed = unpacker.feed(bytes);
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().reason, "TablespaceInBackup");
}

TEST(LayDownManifest, FilesAndHashes) {
  auto files = parse_manifest(R"({"PostgreSQL-Backup-Manifest-Version": 1, "Files": [
    {"Path": "PG_VERSION", "Size": 3, "Checksum-Algorithm": "SHA256", "Checksum": "ab"},
    {"Encoded-Path": "612f62", "Size": 5, "Checksum-Algorithm": "CRC32C", "Checksum": "cd"}], "WAL-Ranges": []})");
  ASSERT_TRUE(files);
  EXPECT_EQ(files->at("PG_VERSION").sha256, "ab");
  EXPECT_EQ(files->at("a/b").size, 5U);
  EXPECT_EQ(files->at("a/b").sha256, "");
  EXPECT_FALSE(parse_manifest("{}"));
}

}  // namespace
}  // namespace pgrunbook::agent
