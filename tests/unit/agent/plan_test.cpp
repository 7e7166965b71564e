#include "agent/plan.hpp"

#include <gtest/gtest.h>

#include "unit/agent/wal_records.hpp"

namespace pgrunbook::agent {
namespace {

using archive::BackupEntry;
using archive::BackupRecord;
using archive::RepositoryRecord;
using archive::TimelineRecord;
using archive::TimelineState;
using postgres::Lsn;
using postgres::TimelineHistory;
using postgres::TimelineId;

BackupEntry backup(const std::string& id, std::uint32_t timeline, std::uint64_t end, int stop) {
  BackupRecord b;
  b.id = id;
  b.timeline = TimelineId(timeline);
  b.end_lsn = Lsn(end);
  b.stop_time = at(stop);
  return {id, b, {}};
}

BackupBound until(int seconds) {
  BackupBound b;
  b.time = at(seconds);
  b.words = "target " + base::format_time_micro(at(seconds));
  return b;
}

TEST(PlanTimeline, TheLiveOneOrTheOneAskedFor) {
  RepositoryRecord r;
  TimelineRecord one, two;
  one.timeline = TimelineId(1);
  two.timeline = TimelineId(2);
  two.state = TimelineState::kPrepared;
  r.timelines = {one, two};
  EXPECT_EQ(*choose_timeline(r, 0), TimelineId(1));
  EXPECT_EQ(*choose_timeline(r, 2), TimelineId(2));
  r.timelines[1].state = TimelineState::kLive;
  auto both = choose_timeline(r, 0);
  ASSERT_FALSE(both);
  EXPECT_EQ(both.error().reason, "AmbiguousTimeline");
  EXPECT_EQ(both.error().text(),
            "the repository has more than one live timeline: 1, 2. HINT: start the primary, so that its "
            "timeline decides, or set recoveryTarget.targetTLI");
  r.timelines[0].state = r.timelines[1].state = TimelineState::kAbandoned;
  EXPECT_EQ(choose_timeline(r, 0).error().reason, "AmbiguousTimeline");
}

TEST(PlanBackup, TheNewestThatEndedBeforeTheTarget) {
  TimelineHistory history(TimelineId(1));
  std::vector<BackupEntry> all{backup("a", 1, 0x100, 10), backup("b", 1, 0x200, 20),
                               backup("c", 1, 0x300, 30)};
  auto choice = choose_backups(all, history, "", until(25));
  ASSERT_TRUE(choice);
  ASSERT_EQ(choice->candidates.size(), 2U);
  EXPECT_EQ(choice->candidates[0].id, "b");
  EXPECT_EQ(choice->candidates[1].id, "a");
  EXPECT_EQ(choose_backups(all, history, "", {})->candidates[0].id, "c");
  EXPECT_EQ(choose_backups(all, history, "", until(20))->candidates[0].id, "b");  // by its end, not its begin
}

TEST(PlanBackup, Refusals) {
  TimelineHistory history(TimelineId(1));
  std::vector<BackupEntry> all{backup("a", 1, 0x100, 10)};
  EXPECT_EQ(choose_backups({}, history, "", {}).error().reason, "NoBackup");
  EXPECT_EQ(choose_backups(all, history, "x", {}).error().reason, "UnknownBackup");
  auto early = choose_backups(all, history, "", until(5));
  ASSERT_FALSE(early);
  EXPECT_EQ(early.error().reason, "TargetBeforeBackup");
  EXPECT_EQ(early.error().text(),
            "target 2027-01-15T08:00:05.000000Z lies before the end of backup a. HINT: the earliest possible "
            "targetTime is 2027-01-15T08:00:10.000000Z");
  BackupEntry broken{"b", {}, "backup.json is missing"};
  auto unfinished = choose_backups({broken}, history, "", {});
  EXPECT_EQ(unfinished.error().reason, "NoBackup");
  EXPECT_NE(unfinished.error().message.find("backup.json is missing"), std::string::npos);
}

TEST(PlanBackup, AnAncestorsBackupCountsOnlyBeforeTheFork) {
  TimelineHistory history(TimelineId(2), {{TimelineId(1), Lsn(0x250)}});
  std::vector<BackupEntry> all{backup("a", 1, 0x200, 10), backup("b", 1, 0x300, 20),
                               backup("c", 2, 0x400, 30), backup("d", 3, 0x500, 40)};
  auto choice = choose_backups(all, history, "", {});
  ASSERT_TRUE(choice);
  ASSERT_EQ(choice->candidates.size(), 2U);
  EXPECT_EQ(choice->candidates[0].id, "c");
  EXPECT_EQ(choice->candidates[1].id, "a");
  EXPECT_EQ(choose_backups(all, history, "b", {}).error().reason, "BackupOnOtherTimeline");
}

TEST(PlanBackup, ByTheEndOfTheBackupForAPlaceInTheWal) {
  TimelineHistory history(TimelineId(1));
  std::vector<BackupEntry> all{backup("a", 1, 0x100, 10), backup("b", 1, 0x200, 20)};
  BackupBound bound;
  bound.words = "target LSN 0/200";
  bound.lsn = Lsn(0x200);
  EXPECT_EQ(choose_backups(all, history, "", bound)->candidates[0].id, "b");
  bound.lsn = Lsn(0x1FF);
  EXPECT_EQ(choose_backups(all, history, "", bound)->candidates[0].id, "a");
  bound.words = "target LSN 0/FF";
  bound.lsn = Lsn(0xFF);
  EXPECT_EQ(
      choose_backups(all, history, "", bound).error().text(),
      "target LSN 0/FF lies before the end of backup a. HINT: the earliest possible targetLSN is 0/100");
  bound.record = true;
  bound.words = "transaction 7 (at 0/FF)";
  EXPECT_EQ(choose_backups(all, history, "", bound).error().text(),
            "transaction 7 (at 0/FF) lies before the end of backup a. HINT: the earliest possible state is "
            "the end of backup a (2027-01-15T08:00:10.000000Z): source.type Backup with it and "
            "recoveryTarget.targetImmediate: true");
}

TEST(PlanTimeline, WhereTwoHistoriesPart) {
  TimelineHistory one(TimelineId(1));
  TimelineHistory two(TimelineId(2), {{TimelineId(1), Lsn(0x200)}});
  TimelineHistory three(TimelineId(3), {{TimelineId(1), Lsn(0x300)}});
  TimelineHistory four(TimelineId(4), {{TimelineId(1), Lsn(0x200)}, {TimelineId(2), Lsn(0x280)}});
  EXPECT_EQ(parting(one, two), Lsn(0x200));
  EXPECT_EQ(parting(two, one), Lsn(0x200));
  EXPECT_EQ(parting(two, three), Lsn(0x200)) << "what the second one shares with the first";
  EXPECT_EQ(parting(two, four), Lsn(0x280));
  EXPECT_EQ(parting(four, three), Lsn(0x200));
  EXPECT_EQ(parting(TimelineHistory(TimelineId(7)), one), Lsn());
}

TEST(PlanBranch, ATimeLivedThroughOnALeftTimelineIsRefused) {
  TargetAnswer answer;
  postgres::WalRecord included, excluded;
  included.start = Lsn(0x100);
  included.end = Lsn(0x140);
  included.time = at(10);
  excluded.start = Lsn(0x300);
  excluded.time = at(60);
  answer.stop = included;
  answer.included = included;
  answer.excluded = excluded;
  AbandonedBranch branch{TimelineId(1), Lsn(0x200), at(20), at(40)};
  EXPECT_TRUE(check_branch(branch, at(19), answer, TimelineId(2)));
  for (int seconds :
       {20, 30, 40,
        50}) {  // 50: between the end of one and the begin of the other, still the rows of timeline 1
    auto refused = check_branch(branch, at(seconds), answer, TimelineId(2));
    ASSERT_FALSE(refused) << seconds;
    EXPECT_EQ(refused.error().reason, "TargetOnAbandonedTimeline");
  }
  EXPECT_EQ(check_branch(branch, at(30), answer, TimelineId(2)).error().text(),
            "at 2027-01-15T08:00:30.000000Z the database lived on timeline 1, which was left at 0/200: "
            "timeline 2 does not have its rows. HINT: the "
            "nearest possible targetTime is 2027-01-15T08:00:10.000000Z, or after "
            "2027-01-15T08:01:00.000000Z on timeline 2; or set "
            "recoveryTarget.targetTLI: 1");
  answer.stop.start = Lsn(0x280);  // the live timeline had commits by then
  EXPECT_TRUE(check_branch(branch, at(50), answer, TimelineId(2)));
  EXPECT_TRUE(check_branch({TimelineId(1), Lsn(0x200)}, at(30), answer,
                           TimelineId(2)));  // nothing was committed there
}

}  // namespace
}  // namespace pgrunbook::agent
