// Plans on a real archive: what is refused, and in which words.
#include <sys/stat.h>
#include <thread>

#include "postgres/pitr_scene.hpp"
#include "support/postgres/damage.hpp"

namespace pgrunbook::agent {
namespace {

using ::testing::HasSubstr;

using PlanJob = Scene;

TEST_F(PlanJob, RefusalsNameTheNearestPossibleTarget) {
  Server& primary = start_primary();
  auto none = run(plan_order(1, ""));
  EXPECT_EQ(none.outcome, api::Outcome::kRefused);
  EXPECT_EQ(none.reason, "NoBackup");
  std::string too_early = clock(primary);
  backup(primary);
  std::string stop = base::format_time_micro(must(repository().backup("b1")).stop_time);
  insert(primary, 2);
  marker(primary);
  std::string last = primary.sql(
      "SELECT to_char(timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM "
      "pg_last_committed_xact()");
  primary.wait_for(
      "SELECT last_archived_wal >= (SELECT pg_walfile_name(pg_current_wal_lsn() - 1024*1024)) FROM "
      "pg_stat_archiver",
      "t");
  std::string late = clock(primary);

  auto early = run(plan_order(2, too_early));
  EXPECT_EQ(early.outcome, api::Outcome::kRefused);
  EXPECT_EQ(early.reason, "TargetBeforeBackup");
  EXPECT_EQ(early.message, fmt::format("target {} lies before the end of backup b1", too_early));
  EXPECT_EQ(early.hint, fmt::format("the earliest possible targetTime is {}", stop));

  auto after = run(plan_order(3, late));
  EXPECT_EQ(after.outcome, api::Outcome::kRefused);
  EXPECT_EQ(after.reason, "TargetAfterArchive");
  EXPECT_EQ(after.message, fmt::format("target {} lies after the last transaction in the archive", late));
  EXPECT_THAT(after.hint,
              ::testing::MatchesRegex(fmt::format(
                  "the latest possible target is targetLSN: [0-9A-F/]+, the end of the last transaction "
                  "there .{}.; or leave out targetTime to get the latest state",
                  last)));
  // What it names is taken.
  auto named = plan_order(9, "");
  named.plan.target.lsn = after.hint.substr(std::string("the latest possible target is targetLSN: ").size());
  named.plan.target.lsn.resize(named.plan.target.lsn.find(','));
  EXPECT_EQ(must_succeed(named).result["included"]["time"], last);

  auto future = run(plan_order(4, "2999-01-01T00:00:00Z"));
  EXPECT_EQ(future.reason, "TargetInFuture");

  Order unknown = plan_order(5, "");
  unknown.plan.backup_id = "b9";
  EXPECT_EQ(run(unknown).reason, "UnknownBackup");
  Order strange = plan_order(6, "");
  strange.plan.timeline = 7;
  EXPECT_EQ(run(strange).reason, "UnknownTimeline");
  Order zone = plan_order(7, "2026-11-20T15:00:00");
  EXPECT_THAT(run(zone).message, HasSubstr("names no time zone"));

  // A quiet server that switched afterwards proves that nothing happened: the same time is good now.
  std::string segment = primary.switch_segment();
  auto quiet = must_succeed(plan_order(8, late, {segment}));
  EXPECT_FALSE(quiet.result.contains("excluded"));
  EXPECT_EQ(quiet.result["included"]["time"], last);
}

TEST_F(PlanJob, TheLatestStateIsNotTheOneBeforeDamagedWal) {
  Server& primary = start_primary();
  backup(primary);
  insert(primary, 2);
  marker(primary);
  primary.sql("INSERT INTO credit_trade SELECT FROM generate_series(1, 200)");
  api::Mark mark{"pgrunbook it 0a1b2c", primary.sql("SELECT pg_create_restore_point('pgrunbook it 0a1b2c')")};
  std::string hit = primary.switch_segment();
  insert(primary, 2);
  std::string last = marker(primary);
  must_succeed(plan_order(1, "", {hit, last}));
  test::damage_archived(repository(), hit, path(hit));
  // A mark that cannot be read is no other server's.
  Order proof = order(api::jobs::kProof, 4, "standby");
  proof.plan.mark = mark;
  proof.plan.wait_for = {hit};
  auto unproven = run(proof);
  EXPECT_EQ(unproven.reason, "WalDamaged");
  EXPECT_THAT(unproven.message,
              HasSubstr(fmt::format("segment {} in the archive cannot be read behind ", hit)));
  auto asked = plan_order(2, "", {hit});
  asked.plan.mark = mark;
  auto latest = run(asked);
  EXPECT_EQ(latest.outcome, api::Outcome::kRefused);
  EXPECT_EQ(latest.reason, "WalDamaged");
  EXPECT_THAT(latest.message,
              HasSubstr(fmt::format("the latest state lies behind damaged WAL: {} cannot be read", hit)));
  EXPECT_THAT(latest.hint, HasSubstr("write targetTLI: 1 and targetLSN: "));
  auto before = plan_order(3, "", {hit});
  before.plan.mark = mark;
  before.plan.target.lsn = latest.hint.substr(latest.hint.rfind(' ') + 1);
  must_succeed(before);
}

TEST_F(PlanJob, AGapIsNamed) {
  Server& primary = start_primary();
  backup(primary);
  insert(primary, 2);
  std::string before = clock(primary);
  insert(primary, 1);
  std::string first = primary.switch_segment();
  insert(primary, 2);
  std::string lost = primary.switch_segment();
  insert(primary, 2);
  std::string inside = clock(primary);
  std::string last = marker(primary);
  must_succeed(plan_order(1, "", {first, lost, last}));
  auto r = repository();
  std::string file = r.layout().wal_file(must(postgres::parse_wal_name(lost)));
  ASSERT_EQ(::unlink(file.c_str()), 0);
  auto gap = run(plan_order(2, inside, {last}));
  EXPECT_EQ(gap.outcome, api::Outcome::kRefused);
  EXPECT_EQ(gap.reason, "WalGap");
  EXPECT_EQ(gap.message,
            fmt::format("target {} lies behind a gap in the archive; the first missing segment is {}", inside,
                        lost));
  EXPECT_THAT(gap.hint, HasSubstr("the latest possible target is targetLSN: "));
  must_succeed(plan_order(3, before, {last}));
  auto latest = run(plan_order(4, "", {last}));
  EXPECT_EQ(latest.outcome, api::Outcome::kRefused);
  EXPECT_EQ(latest.reason, "WalGap");
  EXPECT_EQ(latest.message,
            fmt::format("the latest state lies behind a gap in the archive; the first missing segment is {}",
                        lost));
  EXPECT_THAT(
      latest.hint,
      ::testing::MatchesRegex(
          "to recover to the last transaction before it .*, write targetTLI: 1 and targetLSN: [0-9A-F/]+"));
}

TEST_F(PlanJob, TheLedgerLetsAnActionHappenOnce) {
  Server& primary = start_primary();
  backup(primary);
  Order first = plan_order(1, "");
  Order asking = first;
  asking.plan.method = "Ledger";
  asking.action.uid = uid(3);
  EXPECT_EQ(must_succeed(asking).reason, "NotInLedger");
  EXPECT_EQ(must_succeed(first).result["alreadyTried"], false) << "asking enters nothing";
  EXPECT_EQ(must_succeed(first).result["alreadyTried"], false);  // the same object again plans again
  Order second = first;
  second.action.uid = uid(2);
  auto tried = must_succeed(second);
  EXPECT_EQ(tried.result["alreadyTried"], true);
  EXPECT_EQ(tried.result["alreadyDone"], false);
  EXPECT_EQ(tried.result["ledger"]["uid"], uid(1));
  EXPECT_EQ(must_succeed(asking).reason, "AlreadyTried");
  must(repository().finish_action(action_key(first), {{"outcome", "Completed"}, {"uid", uid(1)}}));
  auto done = must_succeed(second);
  EXPECT_EQ(done.result["alreadyDone"], true);
  EXPECT_EQ(done.reason, "AlreadyDone");
}

TEST_F(PlanJob, ASegmentThatNeverArrivesIsNamed) {
  start_primary();
  Order o = plan_order(1, "", {"0000000100000000000000FF"});
  o.plan.wait_seconds = 0;
  auto a = run(o);
  EXPECT_EQ(a.outcome, api::Outcome::kFailed);
  EXPECT_EQ(a.reason, "SegmentNotArrived");
  EXPECT_THAT(a.message, HasSubstr("0000000100000000000000FF"));
}

// A copy of the primary's volume, started beside it: the same names, and it is the faster one.
TEST_F(PlanJob, WhatACopyOfThePrimaryArchivedIsNotTakenForThePrimarysOwn) {
  Server& primary = start_primary();
  backup(primary);
  insert(primary, 2);
  auto mark = [](const Server& server, const std::string& name) {
    api::PlanOrder o;
    o.mark = {name, server.sql(fmt::format("SELECT pg_create_restore_point('{}')", name))};
    o.wait_for = {server.sql("SELECT pg_walfile_name(pg_switch_wal())")};
    return o;
  };
  Order own = plan_order(1, "");
  api::PlanOrder first = mark(primary, "pgrunbook one 0a1b2c");
  own.plan.mark = first.mark;
  own.plan.wait_for = first.wait_for;
  EXPECT_EQ(must_succeed(own).reason, "Planned");
  primary.stop();
  test::must_run({"/bin/cp", "-a", primary_mount() + "/.", path("copy")});
  const std::string walbackup = repository().layout().timeline_directory(postgres::TimelineId(1));
  auto archived = must(base::list_directory(walbackup));
  const std::set<std::string> before(archived.begin(), archived.end());
  {
    Server copy = start_member(path("copy"));
    for (int i = 0; i < 3; ++i) marker(copy);
    copy.stop();
  }
  primary.start();
  insert(primary, 5);  // acknowledged, and in no archive
  api::PlanOrder second = mark(primary, "pgrunbook two 0a1b2d");
  for (const char* job : {api::jobs::kPlan, api::jobs::kProof}) {
    Order o = order(job, 2, "standby");
    o.plan.mark = second.mark;
    o.plan.wait_for = second.wait_for;
    auto a = run(o);
    EXPECT_EQ(a.outcome, api::Outcome::kRefused) << job;
    EXPECT_EQ(a.reason, "ForeignWal") << a.message;
    EXPECT_EQ(a.message, fmt::format("segment {} in the archive is not what this server wrote: the restore "
                                     "point 'pgrunbook two 0a1b2d', set just now up to {}, is not in it",
                                     second.wait_for.back(), second.mark.lsn));
    EXPECT_THAT(a.hint,
                HasSubstr("stop the copy, wait until pg_stat_archiver has a last_failed_time later than its "
                          "last_archived_time, and move what the copy wrote out of walbackup/, from that "
                          "last_failed_wal on"));
  }

  // The way out, as it is said.
  for (const std::string& name : must(base::list_directory(walbackup))) {
    if (!before.contains(name)) std::filesystem::rename(walbackup + "/" + name, path(name));
  }
  primary.switch_segment();  // wakes the archiver
  Order again = order(api::jobs::kPlan, 3, "standby");
  again.plan.mark = second.mark;
  again.plan.wait_for = second.wait_for;
  EXPECT_EQ(must_succeed(again).reason, "Planned");
}

TEST_F(PlanJob, AMarkThatLiesAcrossTwoSegmentsIsFound) {
  Server& primary = start_primary();
  constexpr std::uint64_t kSize = 1U << 20U;
  auto lsn = [&](const std::string& sql) { return must(postgres::Lsn::parse(primary.sql(sql))).value(); };
  Order o = order(api::jobs::kProof, 1, "standby");
  bool across = false;
  for (int i = 0; i < 20 && !across; ++i) {
    // Up to less than the 98 bytes of a restore point before the end of the segment.
    for (;;) {
      std::uint64_t left = kSize - lsn("SELECT pg_current_wal_insert_lsn()") % kSize;
      if (left < 90) break;
      primary.sql(fmt::format("SELECT pg_logical_emit_message(false, 'x', repeat('x', {}))",
                              left > 500 ? std::min<std::uint64_t>(left - 400, 60000) : 1));
    }
    o.plan.mark.name = fmt::format("pgrunbook {}", i);
    auto from = lsn("SELECT pg_current_wal_insert_lsn()");
    o.plan.mark.lsn = primary.sql(fmt::format("SELECT pg_create_restore_point('{}')", o.plan.mark.name));
    across = (must(postgres::Lsn::parse(o.plan.mark.lsn)).value() - 1) / kSize == from / kSize + 1;
  }
  ASSERT_TRUE(across);
  o.plan.wait_for = {primary.sql("SELECT pg_walfile_name(pg_switch_wal())")};
  EXPECT_EQ(must_succeed(o).reason, "SegmentsArchived");
}

TEST_F(PlanJob, MinimalWalEndsTheWindow) {
  Server& primary = start_primary();
  backup(primary);
  insert(primary, 2);
  primary.stop();
  std::string auto_conf = must(base::read_file(primary.data() + "/postgresql.auto.conf"));
  test::write_file(primary.data() + "/postgresql.auto.conf",
                   "archive_mode = off\nwal_level = minimal\nmax_wal_senders = 0\n");
  primary.start();
  insert(primary, 1);
  primary.stop();
  test::write_file(primary.data() + "/postgresql.auto.conf", auto_conf);
  primary.start();
  insert(primary, 1);
  auto a = run(plan_order(1, "", {marker(primary)}));
  EXPECT_EQ(a.outcome, api::Outcome::kRefused);
  EXPECT_EQ(a.reason, "WalLevelMinimal") << a.message;
  EXPECT_THAT(a.message,
              ::testing::MatchesRegex(
                  "at [0-9A-F]+/[0-9A-F]+ the server was started with wal_level = minimal: WAL from "
                  "there on cannot be replayed"));
  EXPECT_THAT(a.hint, ::testing::MatchesRegex("the latest possible target is targetLSN: [0-9A-F/]+, the end "
                                              "of the last transaction there .[-0-9T:.]+Z.; or use a backup "
                                              "made after that"));
}

TEST_F(PlanJob, AFileThatMayNotBeReadIsNamedAndNothingIsTouched) {
  Server& primary = start_primary();
  backup(primary);
  std::string first = marker(primary);
  insert(primary, 2);
  std::string last = marker(primary);
  primary.wait_for(fmt::format("SELECT last_archived_wal >= '{}' FROM pg_stat_archiver", last), "t");
  auto r = repository();
  std::string file = r.layout().wal_file(must(postgres::parse_wal_name(first)));
  auto before = listing(standby_mount());
  ASSERT_EQ(::chmod(file.c_str(), 0), 0);
  auto a = run(plan_order(1, "", {last}));
  ASSERT_EQ(::chmod(file.c_str(), 0640), 0);
  EXPECT_EQ(a.reason, "NotPermitted") << a.message;
  EXPECT_EQ(a.message, fmt::format("cannot open {}: Permission denied", file));
  EXPECT_EQ(a.hint, fmt::format("its owner and mode must let the members' uid in: chown or chmod {}", file));
  EXPECT_EQ(listing(standby_mount()), before);
  must_succeed(plan_order(1, "", {last}));
}

}  // namespace
}  // namespace pgrunbook::agent
