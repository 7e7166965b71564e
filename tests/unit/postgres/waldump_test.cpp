#include "postgres/waldump.hpp"

#include <gtest/gtest.h>

namespace pgrunbook::postgres {
namespace {

constexpr std::uint64_t kSegment = 16U << 20U;

WalRecord parsed(std::string_view line) {
  auto r = parse_waldump_line(line, kSegment);
  EXPECT_TRUE(r.has_value()) << (r ? "" : r.error().text());
  if (!r || !*r) {
    ADD_FAILURE() << "no record: " << line;
    return {};
  }
  return **r;
}

std::string time_of(const WalRecord& r) { return base::format_time_micro(r.time); }

TEST(Waldump, CommitWithInvalidations) {
  auto r = parsed(
      "rmgr: Transaction len (rec/tot):     66/    66, tx:        716, lsn: 0/0150ADD8, prev 0/0150AD60, "
      "desc: COMMIT 2026-11-20 17:23:23.120616 UTC; inval msgs: catcache 21; sync");
  EXPECT_EQ(r.kind, WalRecordKind::kCommit);
  EXPECT_EQ(r.xid, 716U);
  EXPECT_EQ(r.start.text(), "0/150ADD8");
  EXPECT_EQ(r.end.text(), "0/150AE20");  // the next record's lsn
  EXPECT_EQ(time_of(r), "2026-11-20T17:23:23.120616Z");
}

TEST(Waldump, TwoPhase) {
  auto prepare = parsed(
      "rmgr: Transaction len (rec/tot):    242/   242, tx:        725, lsn: 0/01527B20, prev 0/01527AE0, "
      "desc: PREPARE gid a: b: 2026-11-20 17:23:23.901134 UTC");
  EXPECT_EQ(prepare.kind, WalRecordKind::kPrepare);
  EXPECT_EQ(time_of(prepare), "2026-11-20T17:23:23.901134Z");
  auto commit = parsed(
      "rmgr: Transaction len (rec/tot):     42/    42, tx:          0, lsn: 0/01527E70, prev 0/01527E48, "
      "desc: COMMIT_PREPARED 725: 2026-11-20 17:23:23.959156 UTC");
  EXPECT_EQ(commit.kind, WalRecordKind::kCommit);
  EXPECT_EQ(commit.xid, 725U);
  auto abort = parsed(
      "rmgr: Transaction len (rec/tot):     42/    42, tx:          0, lsn: 0/01527EA0, prev 0/01527E70, "
      "desc: ABORT_PREPARED 726: 2026-11-20 17:23:23.987990 UTC");
  EXPECT_EQ(abort.kind, WalRecordKind::kAbort);
  EXPECT_EQ(abort.xid, 726U);
}

TEST(Waldump, AGidThatLooksLikeATime) {
  auto r = parsed(
      "rmgr: Transaction len (rec/tot):    242/   242, tx:        725, lsn: 0/01527B20, prev 0/01527AE0, "
      "desc: PREPARE gid x: 2020-01-01 00:00:00.000000 UTC: 2026-11-20 17:23:23.901134 UTC; subxacts: 9");
  EXPECT_EQ(time_of(r), "2026-11-20T17:23:23.901134Z");
}

TEST(Waldump, PartsOfATransaction) {
  auto r = parsed(
      "rmgr: Transaction len (rec/tot):     66/    66, tx:        716, lsn: 0/0150ADD8, prev 0/0150AD60, "
      "desc: COMMIT 2026-11-20 17:23:23.120616 UTC; rels: base/5/16384; subxacts: 717 718; inval msgs: "
      "catcache 21");
  EXPECT_EQ(r.subxacts, (std::vector<std::uint32_t>{717, 718}));
  auto abort = parsed(
      "rmgr: Transaction len (rec/tot):     66/    66, tx:        720, lsn: 0/0150ADD8, prev 0/0150AD60, "
      "desc: ABORT 2026-11-20 17:23:23.120616 UTC; subxacts: 721");
  EXPECT_EQ(abort.subxacts, std::vector<std::uint32_t>{721});
  auto prepared = parsed(
      "rmgr: Transaction len (rec/tot):     66/    66, tx:          0, lsn: 0/0150ADD8, prev 0/0150AD60, "
      "desc: COMMIT_PREPARED 725: 2026-11-20 17:23:23.959156 UTC; subxacts: 726 727");
  EXPECT_EQ(prepared.xid, 725U);
  EXPECT_EQ(prepared.subxacts, (std::vector<std::uint32_t>{726, 727}));
}

TEST(Waldump, RestorePoints) {
  auto r = parsed(
      "rmgr: XLOG        len (rec/tot):     98/    98, tx:          0, lsn: 0/0150AE20, prev 0/0150ADD8, "
      "desc: RESTORE_POINT before, the: batch");
  EXPECT_EQ(r.kind, WalRecordKind::kRestorePoint);
  EXPECT_EQ(r.name, "before, the: batch");
  EXPECT_EQ(r.end.text(), "0/150AE88");
}

TEST(Waldump, Xlog) {
  auto end = parsed(
      "rmgr: XLOG        len (rec/tot):     34/    34, tx:          0, lsn: 0/020000D8, prev 0/02000060, "
      "desc: BACKUP_END 0/2000028");
  EXPECT_EQ(end.kind, WalRecordKind::kBackupEnd);
  EXPECT_EQ(end.backup_start.text(), "0/2000028");
  EXPECT_EQ(end.end.text(), "0/2000100");
  auto change = parsed(
      "rmgr: XLOG        len (rec/tot):     54/    54, tx:          0, lsn: 0/01511AD8, prev 0/01511A60, "
      "desc: PARAMETER_CHANGE max_connections=100 max_worker_processes=8 max_wal_senders=10 "
      "max_prepared_xacts=5 max_locks_per_xact=64 wal_level=replica wal_log_hints=off "
      "track_commit_timestamp=off");
  EXPECT_EQ(change.kind, WalRecordKind::kParameterChange);
  EXPECT_EQ(change.settings["wal_level"], "replica");
  EXPECT_EQ(change.settings["max_prepared_transactions"], "5");
  EXPECT_EQ(change.settings["max_locks_per_transaction"], "64");
}

TEST(Waldump, Tablespace) {
  auto r = parsed(
      "rmgr: Tablespace  len (rec/tot):     41/    41, tx:        731, lsn: 0/015281B8, prev 0/01528108, "
      "desc: CREATE 16387 \"/tmp/h4/ts\"");
  EXPECT_EQ(r.kind, WalRecordKind::kTablespaceCreate);
  EXPECT_EQ(r.path, "/tmp/h4/ts");
}

TEST(Waldump, LinesThatAreNoRecord) {
  for (const char* line : {"", "first record is after 0/1500000, at 0/1501B20, skipping over 6944 bytes",
                           "rmgr: Heap        len (rec/tot):     59/    59, tx:        727, lsn: 0/01527D90, "
                           "prev 0/01527C58, desc: INSERT off 4"}) {
    auto r = parse_waldump_line(line, kSegment);
    ASSERT_TRUE(r.has_value());
    EXPECT_FALSE(r->has_value()) << line;
  }
}

TEST(Waldump, AnUnknownFormIsAnErrorNeverSkipped) {
  for (const char* line : {"rmgr: Transaction len (rec/tot):     34/    34, tx:        1, lsn: 0/150ADD8, "
                           "prev 0/0, desc: COMMIT yesterday",
                           "rmgr: Transaction len (rec/tot):     34/    34, tx:        1, lsn: 0/150ADD8, "
                           "prev 0/0, desc: COMMIT 2026-11-20 17:23:23.1 CET",
                           "rmgr: Transaction len (rec/tot):     34/    34, tx:        1, lsn: nowhere, prev "
                           "0/0, desc: COMMIT 2026-11-20 17:23:23.1 UTC",
                           "rmgr: Transaction len (rec/tot):     42/    42, tx:        0, lsn: 0/150ADD8, "
                           "prev 0/0, desc: COMMIT_PREPARED x: 2026-11-20 17:23:23.1 UTC",
                           "rmgr: XLOG        len (rec/tot):     34/    34, tx:        0, lsn: 0/20000D8, "
                           "prev 0/0, desc: BACKUP_END somewhere"}) {
    auto r = parse_waldump_line(line, kSegment);
    ASSERT_FALSE(r.has_value()) << line;
    EXPECT_EQ(r.error().code, base::ErrorCode::kCorrupt);
  }
}

TEST(Waldump, RecordEnd) {
  struct Case {
    std::uint64_t start;
    std::uint32_t length;
    std::uint64_t end;
  };
  const Case cases[] = {
      {0x2000028, 34, 0x2000050},           // within a page, aligned to 8
      {0x2001FE0, 32, 0x2002000},           // ends exactly with the page: no header is jumped
      {0x2001FE0, 40, 0x2002000 + 24 + 8},  // continues behind the next page's short header
      {0x2FFFFE0, 40, 0x3000000 + 40 + 8},  // behind the next segment's long header
      {0x2001FE8, 24, 0x2002000},
      {0x2001FF8, 8 + 8168 + 8, 0x2004000 + 24 + 8},  // over one whole page
      {0x2001FF8, 8 + 8168, 0x2004000},               // fills a whole page to its end
  };
  for (const Case& c : cases)
    EXPECT_EQ(record_end(Lsn(c.start), c.length, kSegment).text(), Lsn(c.end).text()) << std::hex << c.start;
}

TEST(Waldump, ErrorPosition) {
  EXPECT_EQ(waldump_error_position("pg_waldump: error: error in WAL record at 0/30000D8: invalid record "
                                   "length at 0/3000110: wanted 24, got 0\n")
                ->text(),
            "0/30000D8");
  EXPECT_FALSE(waldump_error_position(
      "pg_waldump: error: could not find file \"000000010000000000000009\": No such file or directory"));
}

}  // namespace
TEST(Waldump, BrokenAtIsTheLastPositionAnErrorNames) {
  // The shutdown checkpoint at a page's first record, with -e on it: everything before it was read.
  EXPECT_EQ(waldump_broken_at("pg_waldump: error: error in WAL record at 0/C002F10: invalid resource manager "
                              "ID 64 at 0/D000028\n")
                ->text(),
            "0/D000028");
  EXPECT_EQ(waldump_broken_at("pg_waldump: error: error in WAL record at 0/30000D8: invalid record length at "
                              "0/3000110: wanted 24, got 0\n")
                ->text(),
            "0/3000110");
  EXPECT_FALSE(waldump_broken_at("pg_waldump: error: could not find file \"000000010000000000000009\""));
}

}  // namespace pgrunbook::postgres
