// The whole way: setup, backup, writes, plan, recovery beside, and a server on the result.
#include <algorithm>
#include <sstream>
#include <thread>

#include "postgres/pitr_scene.hpp"

namespace pgrunbook::agent {
namespace {

using ::testing::HasSubstr;

using Pitr = Scene;

std::string in_wal_words(std::string rfc3339) {  // 2026-11-20T17:00:00.000001Z -> 2026-11-20 17:00:00.000001
  rfc3339[10] = ' ';
  rfc3339.pop_back();
  return rfc3339;
}

std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

std::vector<std::string> rows(const Server& server) {
  return words(server.sql("SELECT coalesce(string_agg(xid::text, ' ' ORDER BY xid), '') FROM credit_trade"));
}

// Of the source's rows those whose transaction is in the set.
std::vector<std::string> expected_rows(const Server& source, const std::set<std::string>& committed) {
  std::vector<std::string> out;
  for (const std::string& xid : rows(source)) {
    if (committed.count(xid) != 0) out.push_back(xid);
  }
  return out;
}

TEST_F(Pitr, ByTimeOntoAnEmptyVolumeThenTheNewTimelineArchivesWithoutAGap) {
  Server& primary = start_primary();
  insert(primary, 5);
  backup(primary);
  insert(primary, 5);
  std::string time = clock(primary);
  primary.sql("DELETE FROM credit_trade");
  auto plan = must_succeed(plan_order(1, time, {marker(primary)}));
  EXPECT_EQ(plan.result["timeline"], 1);
  EXPECT_TRUE(plan.result.contains("excluded"));
  auto before = listing(repository_path());

  Order o = recover_order(1, plan.result);
  o.recover.queries = {{"SELECT count(*) FROM credit_trade", "10"}};
  o.recover.counts = {"credit_trade", "no_such_table"};
  auto answer = must_succeed(o);
  EXPECT_EQ(answer.result["newTimeline"], 2);
  EXPECT_EQ(answer.result["replayedLSN"], plan.result["reachedLSN"]);
  EXPECT_EQ(answer.result["counts"]["credit_trade"], 10);
  EXPECT_TRUE(answer.result["counts"]["no_such_table"].is_null());
  EXPECT_EQ(answer.result["queries"][0]["got"], "10");
  EXPECT_FALSE(base::exists(standby_mount() + "/.pgrunbook/claim"));
  EXPECT_EQ(must(base::list_directory(standby_mount())), (std::vector<std::string>{".pgrunbook", "data"}));

  auto after = listing(repository_path());
  for (const auto& [name, hash] : before) {
    if (name == "repository.json") continue;
    EXPECT_EQ(after[name], hash) << name;
  }
  for (const auto& [name, hash] : after) {
    if (before.count(name) != 0 || name == ".lock") continue;
    EXPECT_THAT(name, HasSubstr("00000002")) << "only the new timeline's own files are new";
  }

  Server restored = start_member(standby_mount());
  EXPECT_EQ(rows(restored).size(), 10U);
  EXPECT_EQ(restored.sql("SELECT count(*) FROM credit_trade WHERE pg_xact_commit_timestamp(xmin) IS NULL"),
            "0");
  EXPECT_EQ(restored.sql("SELECT pg_is_in_recovery()"), "f");
  insert(restored, 3);
  std::string segment = restored.switch_segment();
  Order proof = order(api::jobs::kProof, 1, "standby");
  proof.plan.wait_for = {segment};
  must_succeed(proof);
  auto r = repository();
  auto history = must(r.history(postgres::TimelineId(2)));
  auto walk = must(r.walk(history, must(r.backup("b1")).begin_lsn));
  EXPECT_FALSE(walk.gap);
  EXPECT_GE(walk.segments.back().name, segment);
  EXPECT_EQ(must(r.writer_of(postgres::TimelineId(2))), kStandbyClaim);
  EXPECT_EQ(r.record().find(postgres::TimelineId(2))->state, archive::TimelineState::kPrepared);
}

TEST_F(Pitr, RowExactInWalOrderWithTwentyWriters) {
  Server& primary = start_primary();
  backup(primary);
  test::write_file(path("write.sql"), "INSERT INTO credit_trade DEFAULT VALUES;\n");
  auto writers =
      must(base::Child::start({{Server::program("pgbench"), "-n", "-c", "20", "-j", "2", "-t", "60", "-R",
                                "400", "-h", primary.socket(), "-p", std::to_string(primary.port()), "-U",
                                "postgres", "-f", path("write.sql"), "postgres"}},
                              path("pgbench.log")));
  primary.wait_for("SELECT count(*) > 400 FROM credit_trade", "t");
  std::string time = clock(primary);
  EXPECT_EQ(must(writers.wait(base::Deadline::after(std::chrono::seconds(120)))), 0);
  ASSERT_EQ(primary.sql("SELECT count(*) FROM credit_trade"), "1200");
  std::string segment = marker(primary);
  auto plan = must_succeed(plan_order(1, time, {segment}));
  must_succeed(recover_order(1, plan.result));
  auto latest = must_succeed(plan_order(2, "", {segment}));

  std::string first = must(repository().backup("b1")).begin_wal;
  auto truth = expected_rows(primary, committed_by_wal(first, in_wal_words(time)));
  auto all = rows(primary);
  EXPECT_LT(truth.size(), all.size());
  EXPECT_GT(truth.size(), 400U);
  {
    Server restored = start_member(standby_mount());
    EXPECT_EQ(rows(restored), truth);
    restored.stop();
  }
  // The second one, from the same parent: the latest state, on the next timeline.
  auto second = must_succeed(recover_order(2, latest.result));
  EXPECT_EQ(second.result["newTimeline"], 3);
  Server again = start_member(standby_mount());
  EXPECT_EQ(rows(again), all);
  EXPECT_TRUE(base::exists(base::text_at(second.result, {"undoDirectory"})));
}

}  // namespace
}  // namespace pgrunbook::agent
