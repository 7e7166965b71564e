// A primary that is killed: what its volume holds that the archive does not, and what follows from it.
#include "agent/salvage.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <thread>

#include "postgres/pitr_scene.hpp"
#include "postgres/wal_walk.hpp"
#include "support/postgres/damage.hpp"

namespace pgrunbook::agent {
namespace {

using ::testing::HasSubstr;

class Salvage : public Scene {
 protected:
  static constexpr postgres::TimelineId kFirst{1};

  [[nodiscard]] Order salvage_order(int action) const {
    return order(api::jobs::kSalvage, action, "primary");
  }
  [[nodiscard]] Order preview_order(int action, const std::string& time = "") const {
    Order o = plan_order(action, time);
    o.member = order(api::jobs::kPlan, action, "primary").member;
    o.plan.read_volume = true;
    return o;
  }
  [[nodiscard]] Order resolve_order(int action) const {
    Order o = plan_order(action, "");
    o.plan.salvage = uid(action);
    return o;
  }
  [[nodiscard]] Order recover_salvaged(int action, const base::Json& plan) const {
    Order o = recover_order(action, plan);
    o.recover.salvage = uid(action);
    return o;
  }
  // Away from the dead primary to the restored standby, on timeline 2.
  [[nodiscard]] Order cutover_plan(int action) const {
    Order o = order(api::jobs::kPlan, action, "primary");
    o.action.kind = "Failover";
    o.plan.candidate = "standby";
    o.plan.candidate_timeline = 2;
    o.plan.read_volume = true;
    return o;
  }
  [[nodiscard]] Order fence_order(int action, const base::Json& planned) const {
    Order o = order(api::jobs::kFence, action, "primary");
    o.fence.timeline = 2;
    o.fence.fork_lsn = base::text_at(planned, {"forkLSN"});
    o.fence.salvage = base::text_at(planned, {"salvage"});
    return o;
  }
  [[nodiscard]] std::string pg_wal() const { return primary_mount() + "/data/pg_wal"; }

  // Writes under load, acknowledged ids in order, until the server is killed with SIGKILL, every process of
  // it. Before that enough WAL that old files are recycled under future names.
  std::set<std::string> write_and_kill(Server& primary) {
    for (int i = 0; i < 14; ++i) {
      primary.sql("INSERT INTO credit_trade SELECT FROM generate_series(1, 200)");
      primary.switch_segment();
    }
    primary.sql("CHECKPOINT");
    std::string log = path("acknowledged");
    write_file("write.sh",
               fmt::format("while echo 'insert into credit_trade default values returning id;'; do :; done | "
                           "{} -h {} -p {} -U postgres -XqAt -v ON_ERROR_STOP=1 postgres",
                           Server::program("psql"), primary.socket(), primary.port()));
    auto writer = must(base::Child::start({{"/bin/sh", path("write.sh")}}, log));
    primary.wait_for("SELECT count(*) > 3500 FROM credit_trade", "t");
    kill_all(primary);
    (void)writer.wait(base::Deadline::after(std::chrono::seconds(30)));
    std::set<std::string> ids;
    std::istringstream lines(must(base::read_file(log)));
    for (std::string line; std::getline(lines, line);) {
      if (!line.empty() && line.find_first_not_of("0123456789") == std::string::npos) ids.insert(line);
    }
    return ids;
  }
  void write_file(const std::string& name, const std::string& content) const {
    test::write_file(path(name), content);
  }

  // No process gets a chance to write anything more: as a node that loses power, but for the page cache.
  static void kill_all(const Server& server) {
    std::istringstream pid_file(must(base::read_file(server.data() + "/postmaster.pid")));
    std::string pid;
    std::getline(pid_file, pid);
    std::istringstream children(must(base::read_file(fmt::format("/proc/{0}/task/{0}/children", pid))));
    std::vector<int> all{std::atoi(pid.c_str())};
    for (int child = 0; children >> child;) all.push_back(child);
    for (int process : all) ::kill(process, SIGKILL);
    for (int process : all) {
      while (::kill(process, 0) == 0 && state_of(process) != 'Z')
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    // In a pod this goes with the container's process namespace: a stale one must not stop the next start.
    ::unlink((server.data() + "/postmaster.pid").c_str());
  }
  static char state_of(int process) {
    auto stat = base::read_file(fmt::format("/proc/{}/stat", process));
    return stat ? stat->substr(stat->rfind(')') + 2, 1)[0] : 'Z';
  }
  // Four segments that only the volume has; returns the second one's name.
  static std::string write_unarchived(Server& primary) {
    insert(primary, 3);
    marker(primary);
    primary.sql("ALTER SYSTEM SET archive_command = 'false'");
    primary.sql("SELECT pg_reload_conf()");
    primary.wait_for("SHOW archive_command", "false");
    std::string second;
    for (int i = 0; i < 4; ++i) {
      primary.sql("INSERT INTO credit_trade SELECT FROM generate_series(1, 200)");
      std::string segment = primary.switch_segment();
      if (i == 1) second = segment;
    }
    return second;
  }
  void damage(const std::string& segment, std::size_t at = 4000) const {
    test::damage_file(pg_wal() + "/" + segment, at);
  }
  void destroy_control() const {
    test::write_file(primary_mount() + "/data/global/pg_control", std::string(8192, '\xA5'));
  }
  static std::set<std::string> ids(const Server& server) {
    std::istringstream in(server.sql("SELECT coalesce(string_agg(id::text, ' '), '') FROM credit_trade"));
    return {std::istream_iterator<std::string>(in), {}};
  }
  static void expect_all(const std::set<std::string>& wanted, const std::set<std::string>& there) {
    std::vector<std::string> lost;
    std::set_difference(wanted.begin(), wanted.end(), there.begin(), there.end(), std::back_inserter(lost));
    EXPECT_TRUE(lost.empty()) << lost.size() << " acknowledged and lost, the first is " << lost.front();
    EXPECT_GT(wanted.size(), 500U) << "that proves nothing";
  }
  // Files in pg_wal whose page address is not that of their name.
  [[nodiscard]] std::vector<std::string> recycled() const {
    std::vector<std::string> out;
    for (const std::string& name : must(base::list_directory(pg_wal()))) {
      auto parsed = postgres::parse_wal_name(name);
      if (!parsed || parsed->kind != postgres::WalKind::kSegment) continue;
      std::string bytes = must(base::read_file(pg_wal() + "/" + name));
      auto header = postgres::parse_wal_header(bytes);
      if (header && postgres::segment_name(header->timeline, header->address, bytes.size()) != name)
        out.push_back(name);
    }
    return out;
  }
  // pg_waldump as referee: the start of the last record it can read on the volume, from a segment on.
  [[nodiscard]] std::string last_by_waldump(const std::string& first) const {
    auto ran =
        must(base::run({{"/usr/bin/timeout", "20", Server::program("pg_waldump"), "-p", pg_wal(), first},
                        {{"TZ", "UTC"}, {"LC_ALL", "C"}}},
                       base::Deadline::after(std::chrono::seconds(60))));
    auto last = ran.out.rfind(", lsn: ");
    return last == std::string::npos ? "" : ran.out.substr(last + 7, ran.out.find(',', last + 7) - last - 7);
  }
};

TEST_F(Salvage, EveryAcknowledgedCommitOfAKilledPrimaryWithoutItsControlFile) {
  Server& primary = start_primary();
  backup(primary);
  auto acknowledged = write_and_kill(primary);
  ASSERT_FALSE(recycled().empty()) << "no stale file under a future name: this proves less than it should";
  destroy_control();
  auto volume = listing(primary_mount() + "/data");
  auto archive_before = listing(repository_path() + "/walbackup");

  auto plan = must_succeed(preview_order(1));
  EXPECT_GT(plan.result["salvage"]["transactions"], 0) << plan.result.dump();
  EXPECT_EQ(listing(repository_path() + "/walbackup"), archive_before) << "the plan publishes nothing";
  auto answer = must_succeed(salvage_order(1));
  EXPECT_EQ(answer.result["endLSN"], plan.result["salvage"]["endLSN"]);
  EXPECT_EQ(answer.result["transactions"], plan.result["salvage"]["transactions"]);
  EXPECT_EQ(answer.result["last"], plan.result["salvage"]["last"]);
  EXPECT_EQ(listing(primary_mount() + "/data"), volume) << "the volume is only read";

  // Again, and again after a run that was killed before it had written its record.
  EXPECT_EQ(to_json(must_succeed(salvage_order(1))), to_json(answer));
  auto r = repository();
  ASSERT_EQ(::unlink(r.layout().salvage_json(uid(1)).c_str()), 0);
  EXPECT_EQ(to_json(must_succeed(salvage_order(1))), to_json(answer));

  // Nothing recycled, nothing behind the end, and the last one never under its final name.
  auto record = must(read_salvage(r, uid(1)));
  EXPECT_EQ(record.writer, kPrimaryClaim);
  ASSERT_FALSE(record.last.empty());
  for (const auto& s : must(r.segments(kFirst))) EXPECT_LT(s.name, record.last);
  std::string salvaged = path("salvaged");
  must(archive::get_file(r.layout().salvage_file(uid(1), must(postgres::parse_wal_name(record.last))),
                         salvaged));
  std::string bytes = must(base::read_file(salvaged));
  ASSERT_EQ(bytes.size(), r.segment_size());
  EXPECT_TRUE(postgres::all_zero(std::string_view(bytes).substr(record.end.value() % r.segment_size())));

  auto resolved = must_succeed(resolve_order(1));
  EXPECT_EQ(resolved.result["reachedLSN"], plan.result["reachedLSN"]);
  Order elsewhere = recover_order(2, resolved.result);
  auto without = run(elsewhere);
  EXPECT_NE(without.outcome, api::Outcome::kSucceeded)
      << "an order that does not name the salvage gets none of it";
  auto recovered = must_succeed(recover_salvaged(1, resolved.result));
  Server restored = start_member(standby_mount());
  expect_all(acknowledged, ids(restored));
}

TEST_F(Salvage, EndsWherePgWaldumpEnds) {
  Server& primary = start_primary({"wal_keep_size='64MB'"});
  primary.switch_segment();
  primary.switch_segment();
  backup(primary);
  write_and_kill(primary);
  auto r = repository();
  // As on a server that was there before its archive: segments on the volume that the archive never had.
  auto oldest = must(r.segments(kFirst)).front();
  ASSERT_TRUE(base::exists(pg_wal() + "/" + oldest.name));
  ASSERT_EQ(::unlink(r.layout().wal_file(must(postgres::parse_wal_name(oldest.name))).c_str()), 0);
  auto wal = must(find_unarchived(r, kFirst, pg_wal()));
  ASSERT_TRUE(wal.last);
  auto history = must(r.history(kFirst));
  postgres::WalkOrder walk{history, r.record().system_identifiers.front(), r.segment_size(),
                           wal.last->number};
  auto walked =
      must(postgres::walk_wal(walk, [&](std::uint64_t n) -> base::Result<std::optional<std::string>> {
        std::string file = pg_wal() + "/" + postgres::segment_name(kFirst, n, r.segment_size());
        return base::exists(file) ? std::optional(file) : std::nullopt;
      }));
  EXPECT_EQ(walked.end, wal.end);
  ASSERT_TRUE(walked.last);
  auto theirs = must(postgres::Lsn::parse(last_by_waldump(wal.last->name)));
  EXPECT_EQ(*walked.last, theirs);
}

TEST_F(Salvage, AHalfWrittenRecordIsNotPartOfIt) {
  Server& primary = start_primary();
  backup(primary);
  write_and_kill(primary);
  auto r = repository();
  auto whole = must(find_unarchived(r, kFirst, pg_wal()));
  ASSERT_TRUE(whole.last);
  // The last record's tail is torn off, and rubbish follows: what a crash in the middle of a write leaves.
  std::string file = pg_wal() + "/" + whole.last->name;
  std::string bytes = must(base::read_file(file));
  std::size_t end = whole.end.value() % r.segment_size();
  for (std::size_t i = end - 8; i < std::min(end + 200, bytes.size()); ++i)
    bytes[i] = static_cast<char>(0xEE);
  test::write_file(file, bytes);
  auto torn = must(find_unarchived(r, kFirst, pg_wal()));
  EXPECT_LT(torn.end, whole.end);
  EXPECT_GT(torn.end.value() + 9000, whole.end.value()) << "one record, not more";
  EXPECT_FALSE(torn.behind) << "a crash in the middle of a write is no damage";
  EXPECT_THAT(torn.words, HasSubstr("checksum"));
  auto theirs = must(postgres::Lsn::parse(last_by_waldump(whole.last->name)));
  EXPECT_LT(theirs, torn.end);
  auto answer = must_succeed(salvage_order(1));
  EXPECT_EQ(answer.result["endLSN"], torn.end.text());
  auto recovered = must_succeed(recover_salvaged(1, must_succeed(resolve_order(1)).result));
  EXPECT_EQ(recovered.result["newTimeline"], 2);
}

// A record in the middle of what only this volume has: a server syncs a segment before it opens the next, so
// the ones behind were written and acknowledged.
TEST_F(Salvage, DamageIsNotTakenForTheEnd) {
  Server& primary = start_primary();
  backup(primary);
  std::string hit = write_unarchived(primary);
  std::string last = clock(primary);
  insert(primary, 1);
  kill_all(primary);
  auto r = repository();
  auto whole = must(find_unarchived(r, kFirst, pg_wal()));
  EXPECT_FALSE(whole.behind) << whole.behind->name;
  ASSERT_GE(whole.complete.size(), 4U);
  damage(hit);

  auto damaged = must(find_unarchived(r, kFirst, pg_wal()));
  EXPECT_LT(damaged.end, whole.end);
  ASSERT_TRUE(damaged.behind);
  EXPECT_GT(damaged.behind->name, hit);
  auto latest = run(preview_order(1));
  EXPECT_EQ(latest.outcome, api::Outcome::kRefused);
  EXPECT_EQ(latest.reason, "WalDamaged");
  EXPECT_THAT(
      latest.message,
      HasSubstr("the latest state lies behind damaged WAL: it cannot be read behind " + damaged.end.text()));
  EXPECT_THAT(latest.message, HasSubstr("but segment " + damaged.behind->name + " was written later"));
  EXPECT_THAT(latest.hint, HasSubstr("write targetTLI: 1 and targetLSN: "));
  // Silence behind the damage proves nothing.
  auto silent = run(preview_order(2, last));
  EXPECT_EQ(silent.outcome, api::Outcome::kRefused) << silent.message;
  std::string named = latest.hint.substr(latest.hint.rfind(' ') + 1);
  Order until = preview_order(3);
  until.plan.target.lsn = named;
  auto before = must_succeed(until);
  EXPECT_THAT(before.result["salvage"]["damaged"]["words"].get<std::string>(),
              HasSubstr(damaged.behind->name));
}

// A copy of the volume was started beside the primary, and archived the names that the primary wrote too.
TEST_F(Salvage, WhatACopyOfTheVolumeArchivedIsNotTakenForThePrimarysOwn) {
  Server& primary = start_primary();
  backup(primary);
  insert(primary, 3);
  primary.stop();
  test::must_run({"/bin/cp", "-a", primary_mount() + "/.", path("copy")});
  const std::string walbackup = repository().layout().timeline_directory(kFirst);
  auto archived = must(base::list_directory(walbackup));
  const std::set<std::string> before(archived.begin(), archived.end());
  for (int segments : {1, 3, 6}) {  // fewer than the primary will write, as many, more
    {
      Server copy = start_member(path("copy"));
      for (int i = 0; i < segments; ++i) marker(copy);
      copy.stop();
    }
    if (segments == 1) {
      primary.start();
      for (int i = 0; i < 3; ++i) {
        insert(primary, 2);
        primary.switch_segment();
      }
      insert(primary, 1);
      kill_all(primary);
    }
    auto a = run(preview_order(segments));
    EXPECT_EQ(a.outcome, api::Outcome::kRefused) << segments;
    EXPECT_EQ(a.reason, "ForeignWal") << segments << " " << a.message;
    EXPECT_THAT(a.message,
                HasSubstr("in the archive is not the one that lies on the volume, in " + pg_wal()));
    EXPECT_THAT(a.hint, HasSubstr("move what it wrote out of walbackup/, from "));
    EXPECT_EQ(run(salvage_order(segments)).reason, "ForeignWal");
  }
  // The way out, as it is said.
  for (const std::string& name : must(base::list_directory(walbackup))) {
    if (!before.contains(name)) std::filesystem::rename(walbackup + "/" + name, path(name));
  }
  must_succeed(salvage_order(7));
  must_succeed(recover_salvaged(7, must_succeed(resolve_order(7)).result));
  Server restored = start_member(standby_mount());
  EXPECT_EQ(restored.sql("SELECT count(*) FROM credit_trade"), "10");
}

// Of a segment that both have the archive's counts, where the volume's cannot be read to its end.
TEST_F(Salvage, DamageOfWhatIsInTheArchiveDoesNoHarm) {
  Server& primary = start_primary();
  backup(primary);
  primary.sql("INSERT INTO credit_trade SELECT FROM generate_series(1, 200)");
  std::string segment = primary.switch_segment();
  primary.wait_for(fmt::format("SELECT last_archived_wal >= '{}' FROM pg_stat_archiver", segment), "t");
  insert(primary, 3);
  kill_all(primary);
  // In the empty rest behind the switch, and among the records.
  for (std::size_t place : {std::size_t{900000}, std::size_t{4000}}) {
    damage(segment, place);
    auto a = must_succeed(preview_order(static_cast<int>(place)));
    EXPECT_EQ(a.result["salvage"]["transactions"], 3);
    EXPECT_FALSE(a.result["salvage"].contains("damaged"));
  }
}

// The rest of a record that began in the segment before has its checksum there.
TEST_F(Salvage, DamageAtTheHeadOfWhatIsInTheArchiveDoesNoHarm) {
  Server& primary = start_primary();
  backup(primary);
  primary.sql("CREATE TABLE wide (t text)");
  primary.sql("ALTER TABLE wide ALTER t SET STORAGE PLAIN");
  const std::size_t header = 40, rest_at = 16;
  std::string segment;
  std::uint32_t rest = 0;
  for (int i = 0; i < 20 && rest < 400; ++i) {  // until the newest that is archived begins so
    primary.sql("INSERT INTO wide SELECT repeat('x', 7000) FROM generate_series(1, 300)");
    primary.wait_for("SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'", "0");
    segment = must(repository().newest_segment(kFirst))->name;
    std::memcpy(&rest, must(base::read_file(pg_wal() + "/" + segment)).data() + rest_at, sizeof rest);
  }
  ASSERT_GE(rest, 400U);
  insert(primary, 3);
  kill_all(primary);
  damage(segment, header + 100);
  auto a = must_succeed(preview_order(1));
  EXPECT_EQ(a.result["salvage"]["transactions"], 4);  // the last one of wide too
  EXPECT_FALSE(a.result["salvage"].contains("damaged"));
  // What differs behind that record too is another server's.
  test::damage_archived(repository(), segment, path("other"), repository().segment_size() / 2);
  EXPECT_EQ(run(preview_order(2)).reason, "ForeignWal");
}

// What lies behind the damage was acknowledged, and nobody can count it.
TEST_F(Salvage, ACutoverFromADamagedPrimarySaysThatItsCountIsNotWhole) {
  Server& primary = start_primary();
  backup(primary);
  std::string hit = write_unarchived(primary);
  kill_all(primary);
  damage(hit);
  auto behind = must(find_unarchived(repository(), kFirst, pg_wal())).behind;
  ASSERT_TRUE(behind);
  std::string latest = run(preview_order(1)).hint, named = latest.substr(latest.rfind(' ') + 1);
  must_succeed(salvage_order(1));
  Order resolve = resolve_order(1);
  resolve.plan.target.lsn = named;
  must_succeed(recover_salvaged(1, must_succeed(resolve).result));

  Order plan = cutover_plan(2);
  auto planned = must_succeed(plan);
  EXPECT_THAT(base::text_at(planned.result, {"atStake", "damaged"}), HasSubstr(behind->name));
  Order fence = fence_order(2, planned.result);
  EXPECT_THAT(base::text_at(must_succeed(fence).result, {"atStake", "damaged"}), HasSubstr(behind->name));
}

TEST_F(Salvage, TheOldPrimaryStartedAgainArchivesItsLastSegmentItself) {
  Server& primary = start_primary();
  backup(primary);
  auto acknowledged = write_and_kill(primary);
  auto answer = must_succeed(salvage_order(1));
  std::string last = base::text_at(answer.result, {"last"});
  ASSERT_FALSE(last.empty());
  must_succeed(recover_salvaged(1, must_succeed(resolve_order(1)).result));

  // The undo: it goes on on its own timeline, and everything it writes reaches the archive.
  primary.start();
  insert(primary, 3);
  std::string segment = primary.switch_segment();
  Order proof = order(api::jobs::kProof, 3, "primary");
  proof.plan.wait_for = {last, segment};
  proof.plan.wait_seconds = 30;
  must_succeed(proof);
  EXPECT_EQ(primary.sql("SELECT failed_count FROM pg_stat_archiver"), "0") << primary.log();
  expect_all(acknowledged, ids(primary));

  // It has run since: the salvage is no longer what there is, and says so.
  kill_all(primary);
  Order cutover = cutover_plan(2);
  auto refused = run(cutover);
  EXPECT_EQ(refused.reason, "WrittenSince") << refused.message;
  EXPECT_THAT(refused.hint, HasSubstr("salvage: StoppedPrimary again"));
}

TEST_F(Salvage, ACutoverFromADeadPrimaryIsFencedByItsSalvage) {
  Server& primary = start_primary();
  backup(primary);
  auto acknowledged = write_and_kill(primary);
  destroy_control();
  must_succeed(salvage_order(1));
  auto recovered = must_succeed(recover_salvaged(1, must_succeed(resolve_order(1)).result));

  Order plan = cutover_plan(2);
  auto planned = must_succeed(plan);
  EXPECT_EQ(planned.result["atStake"]["transactions"], 0) << planned.result.dump();
  Order fence = fence_order(2, planned.result);
  auto fenced = must_succeed(fence);
  EXPECT_EQ(fenced.result["salvagedTo"], planned.result["salvagedTo"]);
  EXPECT_EQ(fenced.result["atStake"]["transactions"], 0);
  EXPECT_EQ(to_json(must_succeed(fence)), to_json(fenced));
  EXPECT_TRUE(base::exists(primary.data() + "/standby.signal"));
  EXPECT_EQ(repository().record().find(kFirst)->state, archive::TimelineState::kAbandoned);
  EXPECT_EQ(repository().record().live()->timeline, postgres::TimelineId(2));
  EXPECT_NE(primary.start(1), 0);

  must_succeed(order(api::jobs::kUnfence, 2, "primary"));
  EXPECT_FALSE(base::exists(primary.data() + "/standby.signal"));
  EXPECT_FALSE(base::exists(primary_mount() + "/.pgrunbook/fence.json"));
  EXPECT_EQ(repository().record().live()->timeline, kFirst);
}

TEST_F(Salvage, ACutoverFromADeadPrimaryThatWasNotSalvagedIsRefused) {
  Server& primary = start_primary();
  backup(primary);
  insert(primary, 3);
  auto plan = plan_now(1, primary);
  must_succeed(recover_order(1, plan.result));
  insert(primary, 3);
  kill_all(primary);
  Order cutover = cutover_plan(2);
  auto refused = run(cutover);
  EXPECT_EQ(refused.outcome, api::Outcome::kRefused);
  EXPECT_EQ(refused.reason, "NotSalvaged");
  EXPECT_THAT(refused.message, HasSubstr("what a cutover would lose is unknown"));
}

}  // namespace
}  // namespace pgrunbook::agent
