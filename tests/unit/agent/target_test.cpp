#include "agent/target.hpp"

#include <random>

#include <gtest/gtest.h>

#include "unit/agent/wal_records.hpp"

namespace pgrunbook::agent {
namespace {

using postgres::Lsn;
using postgres::WalRecord;
using postgres::WalRecordKind;

WalRecord abort_(std::uint64_t lsn, int seconds) { return record(WalRecordKind::kAbort, lsn, seconds); }
WalRecord backup_end() {
  WalRecord r = record(WalRecordKind::kBackupEnd, 0x1F00);
  r.backup_start = Lsn(0x1000);
  return r;
}
TargetQuestion question(std::optional<int> seconds) {
  TargetQuestion q;
  if (seconds) q.time = at(*seconds);
  q.backup_id = "b1";
  q.backup_start = Lsn(0x1000);
  q.backup_end = Lsn(0x1F40);
  q.backup_stop = at(10);
  return q;
}

TEST(Target, StopsBeforeTheFirstCommitThatIsLaterInWalOrder) {
  auto a = resolve_target(
      question(30),
      {commit(0x1100, 5), backup_end(), commit(0x2000, 20, 1), commit(0x3000, 31, 2), commit(0x4000, 25, 3)},
      {});
  ASSERT_TRUE(a) << a.error().text();
  EXPECT_EQ(a->stop.start, Lsn(0x2000));
  EXPECT_EQ(a->stop.end, Lsn(0x2040));
  EXPECT_EQ(a->included->xid, 1U);
  EXPECT_EQ(a->excluded->xid,
            2U);  // xid 3 committed earlier by the clock, but behind it in WAL: not included
}

TEST(Target, AnAbortStopsToo) {
  auto a = resolve_target(question(30),
                          {backup_end(), commit(0x2000, 20), abort_(0x3000, 31), commit(0x4000, 29)}, {});
  ASSERT_TRUE(a);
  EXPECT_EQ(a->stop.start, Lsn(0x2000));
  EXPECT_EQ(a->excluded->kind, WalRecordKind::kAbort);
}

TEST(Target, ExactlyAtTheTimeIsIncluded) {
  auto a = resolve_target(question(30),
                          {backup_end(), commit(0x2000, 30), commit(0x3000, 30), commit(0x4000, 31)}, {});
  ASSERT_TRUE(a);
  EXPECT_EQ(a->stop.start, Lsn(0x3000));
}

TEST(Target, APreparedTransactionBehindTheLastCommitComesBack) {
  auto a = resolve_target(
      question(30),
      {backup_end(), commit(0x2000, 20), record(WalRecordKind::kPrepare, 0x2800, 25), commit(0x4000, 31)},
      {});
  ASSERT_TRUE(a);
  EXPECT_EQ(a->stop.start, Lsn(0x2800));
  EXPECT_EQ(a->included->start, Lsn(0x2000));
}

TEST(Target, NothingCommittedSinceTheBackupMeansItsConsistentPoint) {
  auto a = resolve_target(question(15), {commit(0x1100, 5), backup_end(), commit(0x2000, 20)}, {});
  ASSERT_TRUE(a);
  EXPECT_EQ(a->stop.start, Lsn(0x1F00));
  EXPECT_EQ(a->stop.end, Lsn(0x1F40));
}

TEST(Target, BeforeTheBackupIsRefusedEvenIfItsClockSaysOtherwise) {
  auto a = resolve_target(question(4), {commit(0x1100, 5), backup_end(), commit(0x2000, 20)}, {});
  ASSERT_FALSE(a);
  EXPECT_EQ(a.error().reason, "TargetBeforeBackup");
  EXPECT_EQ(a.error().text(),
            "target 2027-01-15T08:00:04.000000Z lies before the end of backup b1: PostgreSQL would silently "
            "give a later state. HINT: the earliest "
            "possible targetTime with this backup is 2027-01-15T08:00:10.000000Z; or name an older backup");
}

TEST(Target, BehindTheLastCommitNeedsProof) {
  std::vector<WalRecord> records{backup_end(), commit(0x2000, 20)};
  auto refused = resolve_target(question(30), records, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "TargetAfterArchive");
  EXPECT_EQ(refused.error().text(),
            "target 2027-01-15T08:00:30.000000Z lies after the last transaction in the archive. HINT: the "
            "latest possible target is targetLSN: 0/2040, the end of the last transaction there "
            "(2027-01-15T08:00:20.000000Z); or leave out targetTime to get the latest state");
  WalEnd proven;
  proven.proven_current = true;
  auto a = resolve_target(question(30), records, proven);
  ASSERT_TRUE(a);
  EXPECT_EQ(a->stop.start, Lsn(0x2000));
  EXPECT_FALSE(a->excluded);
}

TEST(Target, BehindAGapIsRefusedAndNamesTheSegment) {
  WalEnd gap;
  gap.missing_segment = "000000010000000000000005";
  gap.proven_current = true;
  auto a = resolve_target(question(30), {backup_end(), commit(0x2000, 20)}, gap);
  ASSERT_FALSE(a);
  EXPECT_EQ(a.error().reason, "WalGap");
  EXPECT_NE(a.error().message.find("000000010000000000000005"), std::string::npos);
  EXPECT_TRUE(resolve_target(question({}), {backup_end(), commit(0x2000, 20)},
                             gap));  // latest = latest in contiguous WAL
  EXPECT_TRUE(resolve_target(question(19), {backup_end(), commit(0x2000, 20)}, gap));  // before the gap
}

TEST(Target, ABackupWithoutItsWalIsRefused) {
  WalEnd gap;
  gap.missing_segment = "000000010000000000000002";
  auto a = resolve_target(question({}), {commit(0x1100, 5)}, gap);
  ASSERT_FALSE(a);
  EXPECT_EQ(a.error().reason, "WalGap");
}

TEST(Target, MinimalWalEndsTheWindow) {
  WalRecord change = record(WalRecordKind::kParameterChange, 0x2800);
  change.settings["wal_level"] = "minimal";
  auto a = resolve_target(question({}), {backup_end(), commit(0x2000, 20), change, commit(0x3000, 40)}, {});
  ASSERT_FALSE(a);
  EXPECT_EQ(a.error().reason, "WalLevelMinimal");
  EXPECT_NE(a.error().hint.find("08:00:20"), std::string::npos);
  auto before = resolve_target(question(19), {backup_end(), commit(0x2000, 20), change}, {});
  EXPECT_TRUE(before);  // the stop comes before it
}

TEST(Target, ATablespaceMadeBeforeTheTargetIsRefused) {
  WalRecord ts = record(WalRecordKind::kTablespaceCreate, 0x2800);
  ts.path = "/data/ts";
  auto a = resolve_target(question({}), {backup_end(), commit(0x2000, 20), ts, commit(0x3000, 40)}, {});
  ASSERT_FALSE(a);
  EXPECT_EQ(a.error().reason, "TablespaceInWal");
}

TargetQuestion at_lsn(std::uint64_t lsn, std::optional<bool> exclusive = {}) {
  TargetQuestion q = question({});
  q.lsn = Lsn(lsn);
  q.exclusive = exclusive;
  return q;
}
TargetQuestion at_record(std::uint64_t lsn, bool exclusive = false) {
  TargetQuestion q = question({});
  q.record = Lsn(lsn);
  if (exclusive) q.exclusive = true;
  q.record_words = "transaction 2 (at 0/3000)";
  return q;
}

struct LsnCase {
  const char* what;
  std::uint64_t lsn;
  std::optional<bool> exclusive;
  std::uint32_t last;  // xid of the last transaction included; 0 = refused as ambiguous
};

// Commits of 1, 2 and 3 at 0x2000, 0x3000 and 0x4000, each 0x40 long.
TEST(TargetLsn, TableOfPlaces) {
  std::vector<WalRecord> records{backup_end(), commit(0x2000, 20, 1), commit(0x3000, 30, 2),
                                 abort_(0x3800, 35), commit(0x4000, 40, 3)};
  WalEnd end;
  end.until = Lsn(0x10000);
  for (const LsnCase& c : {
           LsnCase{"between two commits", 0x2800, {}, 1},
           LsnCase{"between two, exclusive", 0x2800, true, 1},
           LsnCase{"between two, inclusive", 0x2800, false, 1},
           LsnCase{"where a commit ends: noted right after it", 0x3040, {}, 2},
           LsnCase{"where a commit ends, exclusive: it lies before", 0x3040, true, 2},
           LsnCase{"where a commit begins: noted before it, or read from pg_waldump", 0x3000, {}, 0},
           LsnCase{"where a commit begins, exclusive", 0x3000, true, 1},
           LsnCase{"where a commit begins, inclusive", 0x3000, false, 2},
           LsnCase{"in the middle of a commit", 0x3010, {}, 0},
           LsnCase{"in the middle of a commit, exclusive", 0x3010, true, 1},
           LsnCase{"in the middle of a commit, inclusive", 0x3010, false, 2},
           LsnCase{"in an abort there is nothing to ask", 0x3810, {}, 2},
           LsnCase{"behind the last record, in WAL that is there", 0x8000, {}, 3},
           LsnCase{"at the very end of the archive", 0x10000, {}, 3},
       }) {
    auto a = resolve_target(at_lsn(c.lsn, c.exclusive), records, end);
    if (c.last == 0) {
      ASSERT_FALSE(a) << c.what;
      EXPECT_EQ(a.error().reason, "AmbiguousTarget") << c.what;
      continue;
    }
    ASSERT_TRUE(a) << c.what << ": " << a.error().text();
    EXPECT_EQ(a->included->xid, c.last) << c.what;
    EXPECT_EQ(a->stop.start, a->included->start) << c.what;
    EXPECT_EQ(a->excluded.has_value(), c.last < 3) << c.what;
    if (a->excluded) {
      EXPECT_EQ(a->excluded->xid, c.last + 1) << c.what;
    }
  }
}

TEST(TargetLsn, RefusalsNameTheNearest) {
  std::vector<WalRecord> records{backup_end(), commit(0x2000, 20, 1), commit(0x3000, 30, 2)};
  WalEnd end;
  end.until = Lsn(0x10000);
  EXPECT_EQ(
      resolve_target(at_lsn(0x3000), records, end).error().text(),
      "target LSN 0/3000 lies where the commit of transaction 2 (2027-01-15T08:00:30.000000Z) is "
      "written: it may mean the moment before it or after it. HINT: add exclusive: true to leave that "
      "transaction out, as for an LSN noted with pg_current_wal_lsn() before it; or exclusive: false to "
      "include it");
  auto early = resolve_target(at_lsn(0x1F3F), records, end);
  EXPECT_EQ(early.error().reason, "TargetBeforeBackup");
  EXPECT_EQ(early.error().text(),
            "target LSN 0/1F3F lies before the end of backup b1: PostgreSQL would silently give a later "
            "state. HINT: the earliest possible targetLSN with this backup is 0/1F40; or name an older "
            "backup");
  auto first = resolve_target(at_lsn(0x1F40), records, end);  // the one just named
  ASSERT_TRUE(first) << first.error().text();
  EXPECT_EQ(first->stop.start, Lsn(0x1F00));
  auto late = resolve_target(at_lsn(0x10001), records, end);
  EXPECT_EQ(late.error().reason, "TargetAfterArchive");
  EXPECT_EQ(late.error().text(),
            "target LSN 0/10001 lies behind 0/10000, the end of the WAL in the archive. HINT: the latest "
            "possible targetLSN is 0/10000; or leave out recoveryTarget to get the latest state");
  end.until = Lsn(0x5000);
  end.missing_segment = "000000010000000000000005";
  auto gap = resolve_target(at_lsn(0x6000), records, end);
  EXPECT_EQ(gap.error().reason, "WalGap");
  EXPECT_EQ(gap.error().text(),
            "target LSN 0/6000 lies behind a gap in the archive; the first missing segment is "
            "000000010000000000000005. HINT: the latest possible targetLSN is 0/5000");
  EXPECT_TRUE(resolve_target(at_lsn(0x5000), records, end));
  end.until = Lsn(0x3000);  // damaged behind the last commit: what was read counts
  EXPECT_TRUE(resolve_target(at_lsn(0x3040), records, end));
  EXPECT_FALSE(resolve_target(at_lsn(0x3041), records, end));
}

TEST(TargetLsn, AMinimalWalLevelBehindItIsNoneOfItsBusiness) {
  WalRecord change = record(WalRecordKind::kParameterChange, 0x2800);
  change.settings["wal_level"] = "minimal";
  std::vector<WalRecord> records{backup_end(), commit(0x2000, 20), change, commit(0x3000, 40)};
  WalEnd end;
  end.until = Lsn(0x10000);
  auto before = resolve_target(at_lsn(0x2100), records, end);
  ASSERT_TRUE(before) << before.error().text();
  EXPECT_EQ(before->stop.start, Lsn(0x2000));
  auto behind = resolve_target(at_lsn(0x2900), records, end);
  EXPECT_EQ(behind.error().reason, "WalLevelMinimal");
  EXPECT_EQ(behind.error().hint, "the latest possible targetLSN is 0/2800; or use a backup made after that");
  EXPECT_TRUE(resolve_target(at_lsn(0x2800), records, end)) << "the one just named";
}

TEST(TargetRecord, ATransactionAndTheOneBefore) {
  std::vector<WalRecord> records{backup_end(), commit(0x2000, 20, 1), commit(0x3000, 19, 2),
                                 commit(0x4000, 40, 3)};
  auto with = resolve_target(at_record(0x3000), records, {});
  ASSERT_TRUE(with) << with.error().text();
  EXPECT_EQ(with->stop.start, Lsn(0x3000));
  EXPECT_EQ(with->included->xid, 2U);
  EXPECT_EQ(with->excluded->xid, 3U);
  auto without = resolve_target(at_record(0x3000, true), records, {});
  ASSERT_TRUE(without) << without.error().text();
  EXPECT_EQ(without->stop.start, Lsn(0x2000));
  EXPECT_EQ(without->excluded->xid, 2U);
  auto first = resolve_target(at_record(0x2000, true), records, {});
  ASSERT_TRUE(first) << first.error().text();
  EXPECT_EQ(first->stop.start, Lsn(0x1F00)) << "nothing before it: the backup's own point";
  EXPECT_FALSE(first->included);
  auto early = resolve_target(at_record(0x1100), {commit(0x1100, 5, 2), backup_end()}, {});
  EXPECT_EQ(early.error().reason, "TargetBeforeBackup");
  WalEnd gap;
  gap.missing_segment = "000000010000000000000005";
  auto behind = resolve_target(at_record(0x6000), records, gap);
  EXPECT_EQ(behind.error().reason, "WalGap");
  EXPECT_EQ(behind.error().text(),
            "transaction 2 (at 0/3000) lies behind a gap in the archive; the first missing segment is "
            "000000010000000000000005. HINT: the latest possible target is targetLSN: 0/4040, the end of the "
            "last transaction there (2027-01-15T08:00:40.000000Z)");
}

TEST(TargetRecord, ARestorePointItself) {
  std::vector<WalRecord> records{backup_end(), commit(0x2000, 20, 1),
                                 record(WalRecordKind::kRestorePoint, 0x2800), commit(0x3000, 30, 2)};
  auto a = resolve_target(at_record(0x2800), records, {});
  ASSERT_TRUE(a) << a.error().text();
  EXPECT_EQ(a->stop.start, Lsn(0x2800));
  EXPECT_EQ(a->included->xid, 1U);
  EXPECT_EQ(a->excluded->xid, 2U);
}

TEST(TargetImmediate, IsTheBackupsConsistentPoint) {
  TargetQuestion q = question({});
  q.immediate = true;
  auto a = resolve_target(q, {commit(0x1100, 5, 1), backup_end(), commit(0x2000, 20, 2)}, {});
  ASSERT_TRUE(a) << a.error().text();
  EXPECT_EQ(a->stop.start, Lsn(0x1F00));
  EXPECT_EQ(a->included->xid, 1U);
  EXPECT_EQ(a->excluded->xid, 2U);
  EXPECT_EQ(resolve_target(q, {commit(0x1100, 5, 1)}, {}).error().reason, "WalGap");
}

TEST(Target, ExclusiveLeavesOutWhatWasCommittedAtExactlyThatTime) {
  TargetQuestion q = question(30);
  q.exclusive = true;
  auto a = resolve_target(q, {backup_end(), commit(0x2000, 20, 1), commit(0x3000, 30, 2)}, {});
  ASSERT_TRUE(a) << a.error().text();
  EXPECT_EQ(a->included->xid, 1U);
  EXPECT_EQ(a->excluded->xid, 2U);
}

// PostgreSQL's loop in its own words (xlogrecovery.c, recoveryStopsBefore), against 20,000 random histories
// whose clocks jump.
TEST(Target, FollowsPostgresRuleForClocksThatJump) {
  std::mt19937 random(4711);
  for (int run = 0; run < 20000; ++run) {
    std::vector<WalRecord> records{backup_end()};
    int clock = 20;
    std::size_t count = random() % 12;
    for (std::size_t i = 0; i < count; ++i) {
      clock += static_cast<int>(random() % 9) - 3;
      std::uint64_t lsn = 0x2000 + 0x100 * i;
      int jitter = static_cast<int>(random() % 5) - 2;
      records.push_back(random() % 4 == 0 ? abort_(lsn, clock + jitter)
                                          : commit(lsn, clock + jitter, static_cast<std::uint32_t>(i + 1)));
    }
    int target = 18 + static_cast<int>(random() % 25);
    WalEnd proven;
    proven.proven_current = true;
    auto a = resolve_target(question(target), records, proven);
    ASSERT_TRUE(a) << a.error().text();

    std::vector<std::uint32_t> expected;  // xids PostgreSQL replays
    std::optional<Lsn> stopped_before;
    for (const WalRecord& r : records) {
      if (r.kind != WalRecordKind::kCommit && r.kind != WalRecordKind::kAbort) continue;
      if (r.time > at(target)) {
        stopped_before = r.start;
        break;
      }
      if (r.kind == WalRecordKind::kCommit) expected.push_back(r.xid);
    }
    std::vector<std::uint32_t>
        ours;  // recovery_target_lsn, inclusive: every record that starts at or before it
    for (const WalRecord& r : records) {
      if (r.kind == WalRecordKind::kCommit && r.start <= a->stop.start) ours.push_back(r.xid);
    }
    ASSERT_EQ(ours, expected) << "run " << run;
    ASSERT_EQ(a->excluded.has_value(), stopped_before.has_value());
    if (stopped_before) {
      ASSERT_LT(a->stop.start, *stopped_before);
    }
  }
}

}  // namespace
}  // namespace pgrunbook::agent
