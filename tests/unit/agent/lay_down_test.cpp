// A stored base backup becomes a data directory, or is called damaged by name. The tar itself is tried in
// tests/unit/postgres/tar_test.cpp.
#include "agent/lay_down.hpp"

#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "archive/frames.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/subprocess.hpp"
#include "support/postgres/temporary.hpp"

namespace pgrunbook::agent {
namespace {

using test::must;
using ::testing::HasSubstr;

const std::string kLarge(70'001, 'x');

class LayDown : public ::testing::Test {
 protected:
  test::TemporaryDirectory directory_;
  archive::Repository repository_ =
      must(archive::Repository::create(directory_ / "archive/tfrs", {"tfrs", "uid"}, 7000000000000000001,
                                       1U << 20U, 15, postgres::TimelineId(1)));

  // Stores what lies in "in" as backup b-1; the manifest is made for `told` (path -> content).
  void store(const std::vector<std::pair<std::string, std::string>>& told,
             const std::vector<std::string>& tar_arguments) {
    base::Command c;
    c.argv = {"tar", "--format=ustar", "-C", in(), "-cf", "-"};
    c.argv.insert(c.argv.end(), tar_arguments.begin(), tar_arguments.end());
    std::string tar = must(base::run(c, base::Deadline::after(std::chrono::seconds(20)))).out;
    backup_.id = "20261120T150405Z-00000001";
    std::string to = repository_.layout().backup_directory(backup_.id);
    must(base::make_directories(to));
    auto writer = must(archive::FrameWriter::create(to + "/base.tar.zst", 1));
    must(writer.append(tar));
    must(writer.finish());
    backup_.stored_sha256 = writer.stored_sha256();
    backup_.tar_bytes = tar.size();
    if (told.empty()) return;
    std::string body = "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [";
    for (const auto& [path, content] : told) {
      if (!body.ends_with('[')) body += ",";
      body += "\n" + base::Json{{"Path", path},
                                {"Size", content.size()},
                                {"Checksum-Algorithm", "SHA256"},
                                {"Checksum", base::sha256(content)}}
                         .dump();
    }
    body +=
        "],\n\"WAL-Ranges\": [{\"Timeline\": 1, \"Start-LSN\": \"0/3000028\", \"End-LSN\": "
        "\"0/3000138\"}],\n";
    body += "\"Manifest-Checksum\": \"" + base::sha256(body) + "\"}\n";
    must(base::create_file(to + "/backup_manifest", body));
    backup_.manifest_sha256 = base::sha256(body);
  }
  std::string in() const {
    must(base::make_directories(directory_ / "in/base/1"));
    return directory_ / "in";
  }
  std::string out() const { return directory_ / "out"; }
  base::Result<LaidDown> lay() {
    return lay_down(repository_, backup_, out(), [](std::uint64_t, std::uint64_t) {});
  }
  void expect_damaged(const std::string& words) {
    auto r = lay();
    ASSERT_FALSE(r.has_value());
    EXPECT_EQ(r.error().reason, "BackupDamaged");
    EXPECT_EQ(r.error().hint, "use another backup");
    EXPECT_THAT(r.error().message, HasSubstr(words));
  }
  void usual_files() const {
    must(base::create_file(in() + "/base/1/1259", kLarge));
    must(base::create_file(in() + "/PG_VERSION", "15\n"));
    must(base::create_file(in() + "/empty", ""));
  }

  archive::BackupRecord backup_;
};

TEST_F(LayDown, EveryFileIsThereAndHeldAgainstTheManifest) {
  usual_files();
  store({{"PG_VERSION", "15\n"}, {"base/1/1259", kLarge}, {"empty", ""}}, {"PG_VERSION", "base", "empty"});
  LaidDown laid = must(lay());
  EXPECT_EQ(laid.files, 3U);
  EXPECT_EQ(laid.bytes, kLarge.size() + 3);
  EXPECT_EQ(must(base::read_file(out() + "/base/1/1259")), kLarge);
  EXPECT_EQ(must(base::read_file(out() + "/empty")), "");
}

TEST_F(LayDown, WithoutAManifestTheStoredFilesHashDecides) {
  usual_files();
  store({}, {"PG_VERSION"});
  EXPECT_EQ(must(lay()).files, 1U);
  must(base::remove_tree(out()));
  backup_.stored_sha256 = std::string(64, '0');
  expect_damaged("base.tar.zst of backup 20261120T150405Z-00000001 has changed");
}

TEST_F(LayDown, AFileThatIsMissingChangedOrToldByNobodyIsNamed) {
  usual_files();
  store({{"PG_VERSION", "15\n"}, {"empty", ""}, {"global/pg_control", "x"}}, {"PG_VERSION", "empty"});
  expect_damaged("backup 20261120T150405Z-00000001: global/pg_control is missing");
}

TEST_F(LayDown, ChangedContentIsNamed) {
  usual_files();
  store({{"PG_VERSION", "16\n"}}, {"PG_VERSION"});
  expect_damaged("PG_VERSION has other content than the manifest says");
}

TEST_F(LayDown, AStrangersFileIsNamed) {
  usual_files();
  store({{"PG_VERSION", "15\n"}}, {"PG_VERSION", "empty"});
  expect_damaged("empty is not in the manifest");
}

TEST_F(LayDown, AManifestThatChangedIsNotBelieved) {
  usual_files();
  store({{"PG_VERSION", "15\n"}}, {"PG_VERSION"});
  backup_.manifest_sha256 = std::string(64, '0');
  expect_damaged("backup_manifest of backup 20261120T150405Z-00000001 has changed");
}

TEST_F(LayDown, NoPathLeadsOutside) {
  usual_files();
  store({{"PG_VERSION", "15\n"}}, {"-P", "--transform", "s,PG,../../PG,", "PG_VERSION"});
  expect_damaged("the tar holds the path '../../PG_VERSION'");
}

TEST_F(LayDown, ATablespaceIsRefusedByNameAndAWalLinkBecomesADirectory) {
  must(base::make_directories(in() + "/pg_tblspc"));
  ASSERT_EQ(::symlink("/elsewhere", (in() + "/pg_tblspc/16387").c_str()), 0);
  ASSERT_EQ(::symlink("/elsewhere", (in() + "/pg_wal").c_str()), 0);
  store({{"PG_VERSION", "15\n"}}, {"pg_wal", "pg_tblspc"});
  auto r = lay();
  ASSERT_FALSE(r.has_value());
  EXPECT_EQ(r.error().reason, "TablespaceInBackup");
  EXPECT_EQ(r.error().message, "the backup holds the tablespace pg_tblspc/16387");
  EXPECT_TRUE(base::list_directory(out() + "/pg_wal").has_value());
}

}  // namespace
}  // namespace pgrunbook::agent
