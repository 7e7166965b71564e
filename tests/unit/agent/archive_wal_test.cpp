#include "agent/archive_wal.hpp"

#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "archive/repository.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/subprocess.hpp"
#include "support/paths.hpp"
#include "support/postgres/temporary.hpp"
#include "support/postgres/wal_file.hpp"

namespace pgrunbook::agent {
namespace {

using archive::Repository;
using postgres::TimelineId;
using test::must;
using test::SegmentSpec;

constexpr std::uint64_t kSystem = SegmentSpec{}.system_identifier;
constexpr std::uint64_t kSize = SegmentSpec{}.segment_size;
constexpr const char* kThird = "000000010000000000000003";

class ArchiveWalCommand : public ::testing::Test {
 protected:
  ArchiveWalCommand() {
    (void)must(Repository::create(path_, {"tfrs", "uid"}, kSystem, kSize, 15, TimelineId(1)));
    must(base::make_directories(wal_));
  }
  // The real program, as the server starts it.
  base::Finished push(const std::string& name, const std::string& writer = "claim-a",
                      const std::string& source = "") const {
    return must(base::run({{PGRUNBOOK_AGENT_PATH, "archive-wal", "--repository", path_, "--writer", writer,
                            source.empty() ? wal_ + "/" + name : source, name}},
                          base::Deadline::after(std::chrono::seconds(20))));
  }
  std::string stored(const std::string& name) const {
    return path_ + "/walbackup/" + name.substr(0, 8) + "/" + name + ".zst";
  }
  test::TemporaryDirectory directory_;
  std::string path_ = directory_ / "tfrs", wal_ = directory_ / "pg_wal";
};

TEST_F(ArchiveWalCommand, StoresASegmentAndSaysNothing) {
  test::write_segment(wal_, {});
  auto ran = push(kThird);
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_EQ(ran.err, "");
  EXPECT_EQ(must(archive::get_bytes(stored(kThird))), test::segment_bytes({}));
}

TEST_F(ArchiveWalCommand, I3_SameNameSameContentIsSuccessWithALine) {
  test::write_segment(wal_, {});
  push(kThird);
  auto again = push(kThird);
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_EQ(again.err,
            "pgrunbook: archive-wal 000000010000000000000003: already archived with the same content\n");
}

TEST_F(ArchiveWalCommand, I4_SameNameOtherContentIsNeverOverwritten) {
  test::write_segment(wal_, {});
  push(kThird);
  std::string before = must(base::sha256_file(stored(kThird)));
  test::write_segment(wal_, {.fill = 'y'});
  auto other = push(kThird);
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_EQ(other.err, "pgrunbook: archive-wal 000000010000000000000003: " + stored(kThird) +
                           " exists with other content (sha256 " +
                           base::sha256(test::segment_bytes({})).substr(0, 16) + " there, " +
                           base::sha256(test::segment_bytes({.fill = 'y'})).substr(0, 16) +
                           " here). HINT: two servers write one archive; nothing was overwritten\n");
  EXPECT_EQ(must(base::sha256_file(stored(kThird))), before);
}

TEST_F(ArchiveWalCommand, I5_AHistoryIsWriteOnce) {
  test::write_file(wal_ + "/00000002.history", "1\t0/300000\tfirst\n");
  EXPECT_EQ(push("00000002.history").exit_code, 0);
  EXPECT_EQ(push("00000002.history").exit_code, 0);
  test::write_file(wal_ + "/00000002.history", "1\t0/400000\tsecond\n");
  auto other = push("00000002.history");
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_THAT(other.err, ::testing::HasSubstr("00000002.history.zst exists with other content"));
  EXPECT_EQ(must(archive::get_bytes(path_ + "/walbackup/00000002.history.zst")), "1\t0/300000\tfirst\n");
  test::write_file(wal_ + "/00000003.history", "nonsense\n");
  EXPECT_EQ(push("00000003.history").err,
            "pgrunbook: archive-wal 00000003.history: 00000003.history: a line does not begin with a "
            "timeline number: "
            "'nonsense'\n");
}

TEST_F(ArchiveWalCommand, I5_ASegmentWaitsForItsTimelinesHistory) {
  const std::string name = "000000020000000000000003";
  test::write_segment(wal_, {.name = name});
  auto early = push(name);
  EXPECT_EQ(early.exit_code, 1);
  EXPECT_EQ(
      early.err,
      "pgrunbook: archive-wal 000000020000000000000003: 000000020000000000000003 waits: 00000002.history is "
      "not in the repository yet. HINT: a timeline's history is archived before its segments\n");
  EXPECT_FALSE(base::exists(stored(name)));
  test::write_file(wal_ + "/00000002.history", "1\t0/300000\tx\n");
  EXPECT_EQ(push("00000002.history").exit_code, 0);
  EXPECT_EQ(push(name).exit_code, 0);
}

TEST_F(ArchiveWalCommand, I6_WhatTheHeaderDeniesIsNotStored) {
  struct Case {
    SegmentSpec spec;
    const char* message;
  };
  for (const Case& c : {
           Case{{.system_identifier = 42},
                "000000010000000000000003 is of the cluster with system identifier 42, the repository of "
                "7000000000000000001. "
                "HINT: give another cluster another topology, and so a repository of its own"},
           Case{{.segment_size = 2U << 20U},
                "000000010000000000000003 has 2097152 bytes, expected are 1048576"},
           Case{{.magic = 0xD113},
                "000000010000000000000003 is of PostgreSQL 16, the repository of 15. HINT: after pg_upgrade "
                "begin a new "
                "repository"},
       }) {
    test::write_segment(wal_, c.spec);
    auto ran = push(kThird);
    EXPECT_EQ(ran.exit_code, 1);
    EXPECT_EQ(ran.err, std::string("pgrunbook: archive-wal 000000010000000000000003: ") + c.message + "\n");
    EXPECT_FALSE(base::exists(stored(kThird)));
  }
  test::write_file(wal_ + "/" + kThird, std::string(kSize, '\0'));
  EXPECT_EQ(push(kThird).err,
            "pgrunbook: archive-wal 000000010000000000000003: 000000010000000000000003: it begins with "
            "zeros, not with a WAL "
            "page header\n");
  std::string renamed = test::write_segment(wal_, {.name = "000000010000000000000004"});
  EXPECT_EQ(
      push(kThird, "claim-a", renamed).err,
      "pgrunbook: archive-wal 000000010000000000000003: the file called 000000010000000000000003 is segment "
      "000000010000000000000004. HINT: it was renamed, or recycled and not yet written\n");
  test::write_file(wal_ + "/" + kThird, "");
  EXPECT_EQ(push(kThird).err,
            "pgrunbook: archive-wal 000000010000000000000003: 000000010000000000000003 is empty\n");
  EXPECT_FALSE(base::exists(stored(kThird)));
}

TEST_F(ArchiveWalCommand, I6_AHalfZeroTailIsStored) {
  test::write_segment(wal_, {.zero_from = kSize / 2});
  EXPECT_EQ(push(kThird).exit_code, 0);
  EXPECT_LT(must(base::read_file(stored(kThird))).size(),
            4096U);  // an idle server's segment costs next to nothing
}

TEST_F(ArchiveWalCommand, I7_OtherNamesAreRefused) {
  for (const std::string& name : {std::string("../x"), std::string("00000001000000000000000a"),
                                  std::string(65, 'A'), std::string("archive_status"), std::string("")}) {
    auto ran = push(name, "claim-a", "/etc/hostname");
    EXPECT_EQ(ran.exit_code, 1) << name;
    EXPECT_THAT(ran.err,
                ::testing::HasSubstr(
                    "' is no name of a WAL file. HINT: only segments, .partial, .backup and .history "
                    "files are archived\n"));
  }
  EXPECT_FALSE(base::exists(path_ + "/walbackup"));
}

TEST_F(ArchiveWalCommand, I7_PartialAndBackupFilesHaveTheirPlace) {
  test::write_file(wal_ + "/000000010000000000000003.partial", test::segment_bytes({}));
  test::write_file(wal_ + "/000000010000000000000003.00000028.backup", "START WAL LOCATION: 0/300028\n");
  EXPECT_EQ(push("000000010000000000000003.partial").exit_code, 0);
  EXPECT_EQ(push("000000010000000000000003.00000028.backup").exit_code, 0);
  EXPECT_TRUE(base::exists(stored("000000010000000000000003.partial")));
  EXPECT_TRUE(base::exists(stored("000000010000000000000003.00000028.backup")));
}

TEST_F(ArchiveWalCommand, I8_AnotherClustersServerIsRefused) {
  test::write_segment(wal_, {});
  auto ran = must(base::run({{PGRUNBOOK_AGENT_PATH, "archive-wal", "--repository", path_, "--writer",
                              "claim-a", "--system-identifier", "42", wal_ + "/" + kThird, kThird}},
                            base::Deadline::after(std::chrono::seconds(20))));
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_EQ(
      ran.err,
      "pgrunbook: archive-wal 000000010000000000000003: the repository " + path_ +
          " is of the cluster with system identifier 7000000000000000001, this server's is 42. HINT: another "
          "database cluster needs another topology, and so a repository of its own\n");
  EXPECT_FALSE(base::exists(path_ + "/walbackup"));
}

TEST_F(ArchiveWalCommand, S18_ASecondWriterIsStoppedBeforeItsFirstSegment) {
  test::write_segment(wal_, {});
  EXPECT_EQ(push(kThird, "claim-a").exit_code, 0);
  test::write_segment(wal_, {.name = "000000010000000000000004"});
  auto second = push("000000010000000000000004", "claim-b");
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_EQ(second.err,
            "pgrunbook: archive-wal 000000010000000000000004: timeline 1 is written by the server on the "
            "claim with uid "
            "claim-a, not by the one on claim-b. HINT: this server is a copy of the other one: set "
            "archive_mode=off on it, or "
            "recover it through a PostgresRestore\n");
  EXPECT_FALSE(base::exists(stored("000000010000000000000004")));
  EXPECT_EQ(push("000000010000000000000004", "claim-a").exit_code, 0);
}

TEST_F(ArchiveWalCommand, I10_NoErrorIsAbove125) {
  test::write_segment(wal_, {});
  EXPECT_EQ(push(kThird, "claim-a", wal_ + "/missing").exit_code, 1);
  auto unmounted = must(base::run({{PGRUNBOOK_AGENT_PATH, "archive-wal", "--repository", directory_ / "no",
                                    "--writer", "a", wal_ + "/" + kThird, kThird}},
                                  base::Deadline::after(std::chrono::seconds(20))));
  EXPECT_EQ(unmounted.exit_code, 1);
  EXPECT_EQ(unmounted.err,
            "pgrunbook: archive-wal 000000010000000000000003: cannot open " + (directory_ / "no") +
                "/repository.json: No such file or directory. HINT: is the archive volume mounted in this "
                "container, at this path?\n");
  EXPECT_FALSE(base::exists(directory_ / "no"));  // a path that is not there is never made
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {},
           {"--repository"},
           {"--repository", "x", "a", "b"},
           {"--nonsense", "x"},
           {"a", "b", "c"},
           {"--repository", "x", "--repository", "y"},
           {"--repository", "x", "--writer", "y", "a"},
           {"--repository", "x", "--writer", "y", "--system-identifier", "z", "a", "b"}}) {
    std::vector<std::string> argv{PGRUNBOOK_AGENT_PATH, "archive-wal"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    EXPECT_EQ(must(base::run({argv}, base::Deadline::after(std::chrono::seconds(20)))).exit_code, 2);
  }
  test::write_file(path_ + "/repository.json", "{");
  EXPECT_EQ(push(kThird).exit_code, 1);
}

TEST_F(ArchiveWalCommand, I11_AVolumeThatNeverAnswersMeetsTheTimeLimit) {
  // A pipe nobody writes stands for a file on a volume whose server is gone: opening it never returns.
  must(base::make_directories(path_ + "/walbackup"));
  std::string hanging = path_ + "/walbackup/00000001.history.zst";
  ASSERT_EQ(::mkfifo(hanging.c_str(), 0600), 0);
  test::write_segment(wal_, {});
  auto begin = std::chrono::steady_clock::now();
  auto ran = must(base::run({{PGRUNBOOK_AGENT_PATH, "archive-wal", "--repository", path_, "--writer",
                              "claim-a", "--time-limit", "1", wal_ + "/" + kThird, kThird}},
                            base::Deadline::after(std::chrono::seconds(20))));
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_EQ(ran.err,
            "pgrunbook: archive-wal: the time limit passed. HINT: the archive volume does not answer\n");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(8));
  ::unlink(hanging.c_str());
  EXPECT_EQ(push(kThird).exit_code, 0);
}

TEST_F(ArchiveWalCommand, FilesAreForTheGroupAndNobodyElse) {
  test::write_segment(wal_, {});
  push(kThird);
  struct stat st{};
  ::stat(stored(kThird).c_str(), &st);
  EXPECT_EQ(st.st_mode & 07777, 0640);
  ::stat((path_ + "/walbackup/00000001").c_str(), &st);
  EXPECT_EQ(st.st_mode & 07777, 02750);
}

}  // namespace
}  // namespace pgrunbook::agent
