#include "agent/locate.hpp"

#include <gtest/gtest.h>

#include "unit/agent/wal_records.hpp"

namespace pgrunbook::agent {
namespace {

using postgres::Lsn;
using postgres::TimelineId;
using postgres::WalRecord;
using postgres::WalRecordKind;

WalRecord point(std::uint64_t lsn, const std::string& name) {
  WalRecord r = record(WalRecordKind::kRestorePoint, lsn, 0, 0);
  r.name = name;
  return r;
}
Wanted xid(std::uint32_t n) { return {n, ""}; }
Wanted name(const std::string& text) { return {0, text}; }

Sightings seen(const Wanted& wanted, const std::vector<WalRecord>& records, std::uint32_t timeline = 1) {
  Sightings out;
  out.from = Lsn(0x1000);
  Lookout lookout(wanted, &out);
  for (const WalRecord& r : records) lookout.feed(r, TimelineId(timeline));
  return out;
}
std::string refusal(const Wanted& wanted, const std::vector<WalRecord>& path,
                    const std::vector<WalRecord>& left = {}) {
  std::vector<SeenOnBranch> branches;
  if (!left.empty()) branches.push_back({TimelineId(1), Lsn(0x2000), seen(wanted, left, 1)});
  std::uint32_t chosen = left.empty() ? 1 : 2;
  auto r = the_one_meant(wanted, seen(wanted, path, chosen), branches, TimelineId(chosen));
  return r ? "found" : r.error().reason + ": " + r.error().text();
}

const std::vector<WalRecord>& usual() {
  static const std::vector<WalRecord> records{commit(0x2000, 20, 740), commit(0x2100, 21, 745, {746, 747}),
                                              record(WalRecordKind::kAbort, 0x2200, 22, 750),
                                              record(WalRecordKind::kPrepare, 0x2300, 23, 752),
                                              commit(0x2400, 24, 760)};
  return records;
}

TEST(Locate, ACommittedTransaction) {
  auto r = the_one_meant(xid(745), seen(xid(745), usual()), {}, TimelineId(1));
  ASSERT_TRUE(r) << r.error().text();
  EXPECT_EQ(r->start, Lsn(0x2100));
}

TEST(Locate, WhatIsNoCommittedTransactionNamesTheWayOut) {
  const std::string nearest =
      "the nearest committed ones by number are 745 (committed "
      "2027-01-15T08:00:21.000000Z) and 760 (committed 2027-01-15T08:00:24.000000Z)";
  EXPECT_EQ(
      refusal(xid(746), usual()),
      "SubTransaction: transaction 746 is a part (savepoint) of transaction 745, which was committed at "
      "0/2100 (2027-01-15T08:00:21.000000Z). HINT: write targetXID: \"745\"");
  EXPECT_EQ(refusal(xid(750), usual()),
            "TransactionRolledBack: transaction 750 was rolled back at 0/2200 (2027-01-15T08:00:22.000000Z): "
            "no state holds anything of it. HINT: " +
                nearest);
  EXPECT_EQ(refusal(xid(752), usual()),
            "TransactionPrepared: transaction 752 was prepared at 0/2300 (2027-01-15T08:00:23.000000Z) and "
            "not committed in the archived WAL of timeline 1. HINT: to have it come back prepared, write "
            "targetLSN: 0/2340; " +
                nearest);
  EXPECT_EQ(refusal(xid(755), usual()),
            "UnknownTransaction: the archived WAL of timeline 1 has no commit of transaction 755 from 0/1000 "
            "on. HINT: " +
                nearest);
  EXPECT_EQ(refusal(xid(5), {commit(0x2000, 20, 4294967290U)}),
            "UnknownTransaction: the archived WAL of timeline 1 has no commit of transaction 5 from 0/1000 "
            "on. HINT: the nearest committed ones by number are 4294967290 (committed "
            "2027-01-15T08:00:20.000000Z)");
  EXPECT_EQ(refusal(xid(5), {}),
            "UnknownTransaction: the archived WAL of timeline 1 has no commit of transaction 5 from 0/1000 "
            "on. HINT: there is no commit in that WAL; name an older backup");
  EXPECT_EQ(refusal(xid(752), {record(WalRecordKind::kPrepare, 0x2300, 23, 752), commit(0x2400, 24, 752)}),
            "found");
}

TEST(Locate, TheSameNumberOnABranchThatWasLeft) {
  EXPECT_EQ(refusal(xid(745), {commit(0x2500, 50, 745)}, {commit(0x2100, 21, 745)}),
            "AmbiguousTarget: transaction 745 is at 0/2500 (timeline 2, 2027-01-15T08:00:50.000000Z) and at "
            "0/2100 (timeline 1, 2027-01-15T08:00:21.000000Z); timeline 1 was left at 0/2000. HINT: set "
            "recoveryTarget.targetTLI to the one that is meant: 1 or 2");
  EXPECT_EQ(refusal(xid(745), {commit(0x2500, 50, 744)}, {commit(0x2100, 21, 745)}),
            "TargetOnAbandonedTimeline: transaction 745 is only at 0/2100 (timeline 1, "
            "2027-01-15T08:00:21.000000Z); timeline 1 was left at 0/2000: timeline 2 does not have it. HINT: "
            "set recoveryTarget.targetTLI: 1; the nearest committed ones by number are 744 (committed "
            "2027-01-15T08:00:50.000000Z)");
}

TEST(Locate, RestorePoints) {
  std::vector<WalRecord> records{
      point(0x1800, "pgrunbook tfrs-1"), commit(0x2000, 20, 740), point(0x2100, "nightly"),
      commit(0x2200, 22, 741),           point(0x2300, "7"),      point(0x2400, "nightly")};
  EXPECT_EQ(refusal(name("7"), records), "found");
  EXPECT_EQ(refusal(name("pgrunbook tfrs-1"), records), "found");
  EXPECT_EQ(refusal(name("nightly"), records),
            "AmbiguousTarget: restore point 'nightly' is in the WAL 2 times: at 0/2140 (timeline 1, after "
            "2027-01-15T08:00:20.000000Z), at 0/2440 (timeline 1, after 2027-01-15T08:00:22.000000Z). HINT: "
            "write the one that is meant as targetLSN, like 0/2440");
  EXPECT_EQ(refusal(name("weekly"), records),
            "UnknownRestorePoint: the archived WAL of timeline 1 has no restore point 'weekly' from 0/1000 "
            "on. HINT: it has 'nightly' at 0/2140 (timeline 1, after 2027-01-15T08:00:20.000000Z), '7' at "
            "0/2340 (timeline 1, after 2027-01-15T08:00:22.000000Z), 'nightly' at 0/2440 (timeline 1, after "
            "2027-01-15T08:00:22.000000Z)");
  EXPECT_EQ(refusal(name("weekly"), {}),
            "UnknownRestorePoint: the archived WAL of timeline 1 has no restore point 'weekly' from 0/1000 "
            "on. HINT: it has no restore points; write targetTime");
  std::vector<WalRecord> many;
  for (std::uint64_t i = 0; i < 14; ++i) many.push_back(point(0x2000 + 0x100 * i, "p" + std::to_string(i)));
  std::string listed = refusal(name("weekly"), many);
  EXPECT_EQ(listed.find("'p3'"), std::string::npos);
  EXPECT_NE(listed.find("'p4' at "), std::string::npos);
  EXPECT_TRUE(listed.ends_with(" and 4 older")) << listed;
}

}  // namespace
}  // namespace pgrunbook::agent
