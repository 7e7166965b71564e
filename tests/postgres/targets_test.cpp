// Every kind of target on real archives: which transactions come back is held against the WAL itself, read by
// pg_waldump and judged in a few lines of text.
#include <algorithm>
#include <functional>
#include <sstream>

#include "postgres/pitr_scene.hpp"

namespace pgrunbook::agent {
namespace {

using ::testing::HasSubstr;

struct Committed {
  std::string xid, lsn;  // lsn: where the commit record begins
};

class Targets : public Scene {
 protected:
  // Commits and restore points of a timeline's segments in WAL order, of timeline 1 from the backup's begin
  // on.
  struct Wal {
    std::vector<Committed> commits;
    std::map<std::string, std::size_t> points;  // name -> number of commits before it
    std::set<std::string> before;               // rows that the backup has
  };
  Wal wal_of_timeline(std::uint32_t timeline) {
    auto r = repository();
    std::string scratch = path("truth" + base::random_hex(3));
    must(base::make_directories(scratch, 0700));
    std::vector<std::string> names;
    for (const auto& s : must(r.segments(postgres::TimelineId(timeline)))) {
      if (timeline == 1 && s.name < must(r.backup("b1")).begin_wal) continue;
      must(archive::get_file(r.layout().wal_file(must(postgres::parse_wal_name(s.name))),
                             scratch + "/" + s.name));
      names.push_back(s.name);
    }
    auto ran = must(base::run({{Server::program("pg_waldump"), "-p", scratch, names.front(), names.back()},
                               {{"TZ", "UTC"}, {"LC_ALL", "C"}}},
                              base::Deadline::after(std::chrono::seconds(120))));
    auto word_behind = [](const std::string& line, const std::string& key) {
      auto at = line.find_first_not_of(' ', line.find(key) + key.size());
      return line.substr(at, line.find_first_of(", ", at) - at);
    };
    Wal wal;
    std::istringstream lines(ran.out);
    for (std::string line; std::getline(lines, line);) {
      if (line.find("desc: COMMIT ") != std::string::npos)
        wal.commits.push_back({word_behind(line, "tx:"), word_behind(line, "lsn:")});
      auto point = line.find("desc: RESTORE_POINT ");
      if (point != std::string::npos) wal.points[line.substr(point + 20)] = wal.commits.size();
    }
    return wal;
  }
  // Of the primary's rows those that the first `count` commits made.
  static std::string rows_of_first(const Server& primary, const Wal& wal, std::size_t count) {
    std::set<std::string> there = wal.before;
    for (std::size_t i = 0; i < count; ++i) there.insert(wal.commits[i].xid);
    std::istringstream all(rows(primary));
    std::string out;
    for (std::string xid; all >> xid;) {
      if (there.count(xid) != 0) out += (out.empty() ? "" : " ") + xid;
    }
    return out;
  }
  static std::string rows(const Server& server) {
    return server.sql("SELECT coalesce(string_agg(xid::text, ' ' ORDER BY xid), '') FROM credit_trade");
  }
  [[nodiscard]] Order asking(int action, const std::function<void(api::TargetOrder*)>& fill,
                             const std::vector<std::string>& wait_for = {}) const {
    Order o = plan_order(action, "", wait_for);
    fill(&o.plan.target);
    return o;
  }
  // Recovers onto the standby's volume as planned and returns the rows that are there.
  std::string recovered_rows(int action, const Answer& plan) {
    Answer recovered = must_succeed(recover_order(action, plan.result));
    EXPECT_EQ(recovered.result["replayedLSN"], plan.result["reachedLSN"]);
    Server restored = start_member(standby_mount());
    std::string found = rows(restored);
    restored.stop();
    return found;
  }
};

TEST_F(Targets, EveryKindIsRowExactInWalOrder) {
  Server& primary = start_primary();
  insert(primary, 3);
  std::string in_backup = rows(primary);
  backup(primary);
  test::write_file(path("write.sql"), "INSERT INTO credit_trade DEFAULT VALUES;\n");
  auto write = [&](const std::string& log) {
    auto writers = must(base::Child::start(
        {{Server::program("pgbench"), "-n", "-c", "8", "-t", "25", "-h", primary.socket(), "-p",
          std::to_string(primary.port()), "-U", "postgres", "-f", path("write.sql"), "postgres"}},
        path(log)));
    return writers;
  };
  auto first = write("pgbench-1.log");
  primary.wait_for("SELECT count(*) > 40 FROM credit_trade", "t");
  primary.sql("SELECT pg_create_restore_point('before the batch')");
  EXPECT_EQ(must(first.wait(base::Deadline::after(std::chrono::seconds(120)))), 0);
  std::string noted = primary.sql("SELECT pg_current_wal_lsn()");
  std::string before_accident = rows(primary);
  insert(primary, 2);  // the accident
  auto second = write("pgbench-2.log");
  EXPECT_EQ(must(second.wait(base::Deadline::after(std::chrono::seconds(120)))), 0);
  std::string segment = marker(primary);
  must_succeed(plan_order(1, "", {segment}));
  Wal wal = wal_of_timeline(1);
  std::istringstream three(in_backup);
  wal.before = {std::istream_iterator<std::string>(three), {}};
  ASSERT_GT(wal.commits.size(), 400U);

  // xid order is not commit order: one that committed after a higher number, where there is one.
  std::size_t chosen = wal.commits.size() / 2;
  for (std::size_t i = 100; i + 100 < wal.commits.size(); ++i) {
    if (std::stoul(wal.commits[i].xid) < std::stoul(wal.commits[i - 1].xid)) {
      chosen = i;
      break;
    }
  }
  const Committed& one = wal.commits[chosen];

  auto by_xid = must_succeed(asking(2, [&](auto* t) { t->xid = one.xid; }));
  EXPECT_EQ(by_xid.result["included"]["xid"], std::stoul(one.xid));
  EXPECT_EQ(by_xid.result["excluded"]["xid"], std::stoul(wal.commits[chosen + 1].xid));
  EXPECT_EQ(recovered_rows(2, by_xid), rows_of_first(primary, wal, chosen + 1));

  auto with_epoch =
      must_succeed(asking(3, [&](auto* t) { t->xid = std::to_string(std::stoul(one.xid) + (7ULL << 32U)); }));
  EXPECT_EQ(with_epoch.result["targetLSN"], by_xid.result["targetLSN"]);

  auto before_xid = must_succeed(asking(4, [&](auto* t) {
    t->xid = one.xid;
    t->exclusive = true;
  }));
  EXPECT_EQ(before_xid.result["excluded"]["xid"], std::stoul(one.xid));
  EXPECT_EQ(recovered_rows(4, before_xid), rows_of_first(primary, wal, chosen));

  // At the very place of a commit one must say which is meant; both are PostgreSQL's own answers.
  auto unclear = run(asking(5, [&](auto* t) { t->lsn = one.lsn; }));
  EXPECT_EQ(unclear.outcome, api::Outcome::kRefused);
  EXPECT_EQ(unclear.reason, "AmbiguousTarget");
  EXPECT_THAT(unclear.message, HasSubstr("lies where the commit of transaction " + one.xid + " ("));
  auto before_lsn = must_succeed(asking(6, [&](auto* t) {
    t->lsn = one.lsn;
    t->exclusive = true;
  }));
  EXPECT_EQ(before_lsn.result["targetLSN"], before_xid.result["targetLSN"]);
  EXPECT_EQ(recovered_rows(6, before_lsn), rows_of_first(primary, wal, chosen));
  auto with_lsn = must_succeed(asking(7, [&](auto* t) {
    t->lsn = one.lsn;
    t->exclusive = false;
  }));
  EXPECT_EQ(with_lsn.result["targetLSN"], by_xid.result["targetLSN"]);
  EXPECT_EQ(recovered_rows(7, with_lsn), rows_of_first(primary, wal, chosen + 1));

  auto by_noted = must_succeed(asking(8, [&](auto* t) { t->lsn = noted; }));
  EXPECT_EQ(recovered_rows(8, by_noted), before_accident);

  auto by_name = must_succeed(asking(9, [&](auto* t) { t->name = "before the batch"; }));
  EXPECT_EQ(recovered_rows(9, by_name), rows_of_first(primary, wal, wal.points.at("before the batch")));

  auto immediate = must_succeed(asking(10, [](auto* t) { t->immediate = true; }));
  EXPECT_EQ(immediate.result["reachedLSN"], immediate.result["backupEndLSN"]);
  EXPECT_EQ(recovered_rows(10, immediate), in_backup);
}

TEST_F(Targets, WhatCannotBeReachedNamesTheNearest) {
  Server& primary = start_primary();
  primary.sql("SELECT pg_create_restore_point('early')");
  std::string too_early = primary.sql("SELECT pg_current_wal_lsn()");
  backup(primary);
  std::string end = must(repository().backup("b1")).end_lsn.text();
  insert(primary, 2);
  std::string rolled_back = primary.sql("BEGIN; SELECT txid_current(); ROLLBACK");
  primary.sql(
      "BEGIN; INSERT INTO credit_trade DEFAULT VALUES; SAVEPOINT a; INSERT INTO credit_trade DEFAULT "
      "VALUES; COMMIT");
  std::string part = primary.sql("SELECT xmin FROM credit_trade ORDER BY id DESC LIMIT 1");
  std::string whole = primary.sql("SELECT xid FROM credit_trade ORDER BY id DESC LIMIT 1");
  ASSERT_NE(part, whole);
  primary.sql("SELECT pg_create_restore_point('nightly')");
  insert(primary, 1);
  backup(primary, "b2");
  insert(primary, 1);
  primary.sql("SELECT pg_create_restore_point('nightly')");
  primary.sql("SELECT pg_create_restore_point('once')");
  insert(primary, 1);
  std::string segment = marker(primary);
  must_succeed(plan_order(1, "", {segment}));
  std::string archived = must(repository().walk(must(repository().history(postgres::TimelineId(1))),
                                                must(repository().backup("b1")).begin_lsn))
                             .end.text();

  auto refused = [&](const std::function<void(api::TargetOrder*)>& fill, const std::string& reason) {
    Answer a = run(asking(2, fill));
    EXPECT_EQ(a.outcome, api::Outcome::kRefused) << reason;
    EXPECT_EQ(a.reason, reason) << a.message;
    return a;
  };
  auto early = refused([&](auto* t) { t->lsn = too_early; }, "TargetBeforeBackup");
  EXPECT_EQ(early.message, fmt::format("target LSN {} lies before the end of backup b1", too_early));
  EXPECT_EQ(early.hint, "the earliest possible targetLSN is " + end);
  must_succeed(asking(3, [&](auto* t) { t->lsn = end; }));
  auto late = refused([](auto* t) { t->lsn = "F/0"; }, "TargetAfterArchive");
  EXPECT_EQ(late.hint, fmt::format("the latest possible targetLSN is {}; or leave out recoveryTarget to get "
                                   "the latest state",
                                   archived));
  must_succeed(asking(4, [&](auto* t) { t->lsn = archived; }));
  EXPECT_THAT(refused([&](auto* t) { t->xid = rolled_back; }, "TransactionRolledBack").message,
              HasSubstr("transaction " + rolled_back + " was rolled back at "));
  EXPECT_EQ(refused([&](auto* t) { t->xid = part; }, "SubTransaction").hint,
            fmt::format("write targetXID: \"{}\"", whole));
  auto unknown = refused([](auto* t) { t->xid = "4000"; }, "UnknownTransaction");
  EXPECT_THAT(unknown.hint, HasSubstr("the nearest committed ones by number are "));
  auto twice = refused([](auto* t) { t->name = "nightly"; }, "AmbiguousTarget");
  EXPECT_THAT(twice.message, HasSubstr("restore point 'nightly' is in the WAL 2 times: at "));
  auto no_name = refused([](auto* t) { t->name = "weekly"; }, "UnknownRestorePoint");
  EXPECT_THAT(no_name.hint, HasSubstr("'once' at "));
  EXPECT_THAT(no_name.hint, ::testing::Not(HasSubstr("early"))) << "before the backup nothing can be reached";
  // With the backup behind the first one said, only one of that name is left.
  Order from_b2 = asking(5, [](auto* t) { t->name = "nightly"; });
  from_b2.plan.backup_id = "b2";
  EXPECT_EQ(must_succeed(from_b2).result["backupID"], "b2");
  // The transaction before the newest backup is reached from the older one.
  EXPECT_EQ(must_succeed(asking(6, [&](auto* t) { t->xid = whole; })).result["backupID"], "b1");
  auto strange = refused([](auto* t) { t->timeline = 9; }, "UnknownTimeline");
  EXPECT_EQ(strange.message, "recoveryTarget.targetTLI is 9, which the archive does not have");
  EXPECT_EQ(strange.hint, "it has 1 (live)");
}

TEST_F(Targets, ATimelineThatWasLeftIsRestoredOnPurposeOnly) {
  Server& primary = start_primary();
  backup(primary);
  insert(primary, 3);
  auto plan = plan_now(1, primary);
  std::string before_fork = rows(primary);
  must_succeed(recover_order(1, plan.result));
  insert(primary, 4);
  std::string left_xid = primary.sql("SELECT max(xid) FROM credit_trade");
  std::string left_lsn = primary.sql("SELECT pg_current_wal_lsn()");
  primary.sql("SELECT pg_create_restore_point('on the old one')");
  std::string old_rows = rows(primary);
  insert(primary, 1);
  std::string old_end = rows(primary);
  std::string segment = marker(primary);
  must_succeed(plan_order(2, "", {segment}));
  primary.stop();
  // The cutover: the restored member is the primary from now on.
  auto r = repository();
  must(r.set_timeline_state(postgres::TimelineId(1), archive::TimelineState::kAbandoned));
  must(r.set_timeline_state(postgres::TimelineId(2), archive::TimelineState::kLive));
  {
    Server restored = start_member(standby_mount());
    ASSERT_EQ(rows(restored), before_fork);
    insert(restored, 9);
    std::string there = restored.switch_segment();
    Order proof = order(api::jobs::kProof, 3, "standby");
    proof.plan.wait_for = {there};
    must_succeed(proof);
    restored.stop();
  }
  auto both = run(asking(4, [&](auto* t) { t->xid = left_xid; }));
  EXPECT_EQ(both.reason, "AmbiguousTarget") << both.message;
  EXPECT_THAT(both.hint, HasSubstr("set recoveryTarget.targetTLI to the one that is meant: 1 or 2"));
  auto lsn = run(asking(5, [&](auto* t) { t->lsn = left_lsn; }));
  EXPECT_EQ(lsn.reason, "TargetOnAbandonedTimeline") << lsn.message;
  EXPECT_THAT(lsn.hint,
              HasSubstr("set recoveryTarget.targetTLI to the timeline on which the LSN was noted: 1 "
                        "or 2; the nearest targetLSN that both have is "));
  auto name = run(asking(6, [](auto* t) { t->name = "on the old one"; }));
  EXPECT_EQ(name.reason, "TargetOnAbandonedTimeline") << name.message;
  EXPECT_THAT(name.hint, HasSubstr("set recoveryTarget.targetTLI: 1"));

  auto on_two = must_succeed(asking(7, [&](auto* t) {
    t->xid = left_xid;
    t->timeline = 2;
  }));
  EXPECT_EQ(on_two.result["timeline"], 2);
  auto on_purpose = must_succeed(asking(8, [&](auto* t) {
    t->lsn = left_lsn;
    t->timeline = 1;
  }));
  EXPECT_EQ(on_purpose.result["timeline"], 1);
  EXPECT_EQ(recovered_rows(8, on_purpose), old_rows);
  auto its_end = must_succeed(asking(9, [](auto* t) { t->timeline = 1; }));
  EXPECT_EQ(recovered_rows(9, its_end), old_end);

  // A cutover to what was made from the old timeline leaves everything the living one has behind the fork.
  Order cutover = order(api::jobs::kPlan, 10, "standby");
  cutover.plan.candidate = "standby";
  cutover.plan.candidate_timeline = 4;
  cutover.plan.timeline = 2;
  auto stake = must_succeed(cutover);
  postgres::Lsn fork = must(r.history(postgres::TimelineId(2))).fork();
  auto behind = wal_of_timeline(2).commits;
  auto count = std::count_if(behind.begin(), behind.end(),
                             [&](const Committed& c) { return must(postgres::Lsn::parse(c.lsn)) >= fork; });
  EXPECT_GE(count, 9);
  EXPECT_EQ(stake.result["atStake"]["transactions"], count);
  EXPECT_EQ(stake.result["parentTimeline"], 2);
  EXPECT_EQ(stake.result["forkLSN"], fork.text());
}

}  // namespace
}  // namespace pgrunbook::agent
