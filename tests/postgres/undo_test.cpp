// The way back from a recovery.
#include "agent/exchange.hpp"
#include "agent/recover.hpp"
#include "postgres/pitr_scene.hpp"

namespace pgrunbook::agent {
namespace {

using ::testing::HasSubstr;

class UndoJob : public Scene {
 protected:
  Answer recovered() {
    Server& primary = start_primary();
    backup(primary);
    insert(primary, 3);
    auto plan = plan_now(1, primary);
    return must_succeed(recover_order(1, plan.result));
  }
  void make_old_directory() {
    must(base::make_directories(standby_data()));
    test::write_file(standby_data() + "/old", "the old data");
  }
  [[nodiscard]] Order undo_order() const { return order(api::jobs::kUndo, 1, "standby"); }
  [[nodiscard]] std::string sibling() const { return sibling_of(standby_data(), uid(1)); }
  [[nodiscard]] ExchangeJournal journal() const { return must(read_journal(standby_mount(), uid(1))); }
  [[nodiscard]] archive::TimelineState restored_timeline() const {
    return repository().record().find(postgres::TimelineId(2))->state;
  }
  // Recover was killed between the exchange and the journal's "Exchanged".
  void forget_the_exchange() const {
    ExchangeJournal j = journal();
    j.state = "Prepared";
    must(write_journal(standby_mount(), j));
  }
  // An undo was killed, or failed, directly after it had exchanged the directories back.
  void exchange_back_only() const { must(exchange_back(journal())); }
  // So that the journal does not know of the exchange, and the directories are back.
  void exchanged_back_unsaid() {
    make_old_directory();
    recovered();
    forget_the_exchange();
    exchange_back_only();
  }
  void undo_without_archive() {
    primary_->stop();
    std::string record = must(base::read_file(repository_path() + "/repository.json"));
    test::write_file(repository_path() + "/repository.json", "{");
    EXPECT_NE(run(undo_order()).outcome, api::Outcome::kSucceeded);
    EXPECT_EQ(must(base::read_file(standby_data() + "/old")), "the old data");
    EXPECT_EQ(journal().state, "Undone");
    EXPECT_TRUE(base::exists(sibling()));
    test::write_file(repository_path() + "/repository.json", record);
  }
};

TEST_F(UndoJob, TheOldDirectoryComesBackAndWhatNeverServedGoes) {
  make_old_directory();
  recovered();
  EXPECT_FALSE(base::exists(standby_data() + "/old"));
  auto a = must_succeed(undo_order());
  EXPECT_EQ(a.result["exchanged"], true);
  EXPECT_EQ(must(base::read_file(standby_data() + "/old")), "the old data");
  EXPECT_FALSE(base::exists(sibling_of(standby_data(), uid(1))));
  EXPECT_EQ(repository().record().find(postgres::TimelineId(2))->state, archive::TimelineState::kRetired);
  EXPECT_EQ(must_succeed(undo_order()).result["exchanged"], true);
  EXPECT_EQ(must(base::read_file(standby_data() + "/old")), "the old data");
}

TEST_F(UndoJob, WhatServedWritesIsKept) {
  make_old_directory();
  recovered();
  {
    Server server = start_member(standby_mount());
    insert(server, 1);
    EXPECT_EQ(run(undo_order()).reason, "NotShutDown");
    server.stop();
  }
  auto a = must_succeed(undo_order());
  EXPECT_EQ(must(base::read_file(standby_data() + "/old")), "the old data");
  EXPECT_EQ(a.result["keptDirectory"], sibling_of(standby_data(), uid(1)));
  EXPECT_TRUE(base::exists(sibling_of(standby_data(), uid(1)) + "/PG_VERSION"));
  EXPECT_EQ(repository().record().find(postgres::TimelineId(2))->state, archive::TimelineState::kAbandoned);
}

// The member's pod was killed while it started or served.
TEST_F(UndoJob, WhatWasKilledIsKeptAsItIs) {
  make_old_directory();
  recovered();
  {
    Server server = start_member(standby_mount());
    insert(server, 1);
    server.kill_hard();
  }
  EXPECT_EQ(run(undo_order()).reason, "NotShutDown");
  api::Order order = undo_order();
  order.undo["podsGone"] = true;
  auto a = must_succeed(order);
  EXPECT_EQ(must(base::read_file(standby_data() + "/old")), "the old data");
  EXPECT_EQ(a.result["keptDirectory"], sibling_of(standby_data(), uid(1)));
  EXPECT_TRUE(base::exists(sibling_of(standby_data(), uid(1)) + "/global/pg_control"));
  EXPECT_EQ(repository().record().find(postgres::TimelineId(2))->state, archive::TimelineState::kAbandoned);
}

TEST_F(UndoJob, WhatServedIsKeptThoughTheJournalKnowsOfNoExchange) {
  make_old_directory();
  recovered();
  forget_the_exchange();
  {
    Server server = start_member(standby_mount());
    insert(server, 1);
    server.stop();
  }
  exchange_back_only();
  for (int i = 0; i < 2; ++i) {
    auto a = must_succeed(undo_order());
    EXPECT_EQ(a.result["exchanged"], true);
    EXPECT_EQ(a.result["keptDirectory"], sibling());
    EXPECT_THAT(a.message, HasSubstr("what was written since is kept in " + sibling()));
    EXPECT_TRUE(base::exists(sibling() + "/global/pg_control"));
    EXPECT_EQ(must(base::read_file(standby_data() + "/old")), "the old data");
    EXPECT_EQ(restored_timeline(), archive::TimelineState::kAbandoned);
  }
}

TEST_F(UndoJob, WhatCannotTellWhetherItServedIsKept) {
  exchanged_back_unsaid();
  std::filesystem::remove(sibling() + "/global/pg_control");
  EXPECT_EQ(must_succeed(undo_order()).result["keptDirectory"], sibling());
  EXPECT_TRUE(base::exists(sibling() + "/PG_VERSION"));
  EXPECT_EQ(restored_timeline(), archive::TimelineState::kAbandoned);
}

TEST_F(UndoJob, ACopyThatNobodyStartedGoesWhateverTheJournalKnows) {
  exchanged_back_unsaid();
  auto a = must_succeed(undo_order());
  EXPECT_EQ(a.reason, "NothingToUndo");
  EXPECT_EQ(a.result["exchanged"], false);
  EXPECT_FALSE(base::exists(sibling()));
  EXPECT_EQ(restored_timeline(), archive::TimelineState::kRetired);
}

// The archive does not answer: what is on the volume is undone all the same, and the timeline by the next
// try.
TEST_F(UndoJob, TheTimelineOfWhatNeverServedIsRetiredByTheNextTry) {
  make_old_directory();
  recovered();
  undo_without_archive();
  EXPECT_EQ(journal().served, false);
  EXPECT_FALSE(must_succeed(undo_order()).result.contains("keptDirectory"));
  EXPECT_FALSE(base::exists(sibling()));
  EXPECT_EQ(restored_timeline(), archive::TimelineState::kRetired);
}

// The member was scaled up while the Job began: its server has just opened the copy, and pg_control does not
// say so.
TEST_F(UndoJob, ACopyThatIsBeingStartedIsKept) {
  make_old_directory();
  recovered();
  undo_without_archive();
  ASSERT_EQ(journal().served, false);
  test::write_file(sibling() + "/postmaster.pid", "1\n");
  EXPECT_EQ(must_succeed(undo_order()).result["keptDirectory"], sibling());
  EXPECT_TRUE(base::exists(sibling() + "/PG_VERSION"));
  EXPECT_EQ(journal().served, true);
  EXPECT_EQ(restored_timeline(), archive::TimelineState::kAbandoned);
}

TEST_F(UndoJob, TheTimelineOfWhatServedIsAbandonedByTheNextTry) {
  make_old_directory();
  recovered();
  forget_the_exchange();
  {
    Server server = start_member(standby_mount());
    insert(server, 1);
    server.stop();
  }
  undo_without_archive();
  EXPECT_EQ(journal().served, true);
  EXPECT_EQ(must_succeed(undo_order()).result["keptDirectory"], sibling());
  EXPECT_TRUE(base::exists(sibling() + "/PG_VERSION"));
  EXPECT_EQ(restored_timeline(), archive::TimelineState::kAbandoned);
}

// Two undos at once: the second exchanged back what the first had exchanged back.
TEST_F(UndoJob, TheFormerDataAreNeitherRemovedNorCalledTheCopy) {
  make_old_directory();
  recovered();
  ExchangeJournal j = journal();
  j.state = "Undone";
  for (bool served : {false, true}) {
    j.served = served;
    must(write_journal(standby_mount(), j));
    Answer a = run(undo_order());
    EXPECT_NE(a.outcome, api::Outcome::kSucceeded);
    EXPECT_THAT(a.message, HasSubstr(sibling() + " is the directory that was " + standby_data() + " before"));
    EXPECT_THAT(a.hint, HasSubstr("the former data are safe there"));
    EXPECT_EQ(must(base::read_file(sibling() + "/old")), "the old data");
  }
}

TEST_F(UndoJob, AStrangersDirectoryBesideIsNotRemoved) {
  make_old_directory();
  recovered();
  forget_the_exchange();
  exchange_back_only();
  ASSERT_EQ(std::rename(sibling().c_str(), (standby_mount() + "/moved").c_str()), 0);
  must(base::make_directories(sibling()));
  test::write_file(sibling() + "/theirs", "x");
  for (int i = 0; i < 2; ++i) {
    Answer a = run(undo_order());
    EXPECT_NE(a.outcome, api::Outcome::kSucceeded);
    EXPECT_THAT(a.message, HasSubstr(sibling() + " is another directory"));
    EXPECT_EQ(must(base::read_file(sibling() + "/theirs")), "x");
    EXPECT_EQ(must(base::read_file(standby_data() + "/old")), "the old data");
  }
  std::filesystem::remove_all(sibling());
  EXPECT_FALSE(must_succeed(undo_order()).result.contains("keptDirectory"));
}

TEST_F(UndoJob, ALinkWhereTheHalfMadeDirectoryWouldBeIsNotRemoved) {
  make_old_directory();
  std::filesystem::create_directory_symlink(standby_data(), sibling());
  EXPECT_EQ(run(undo_order()).reason, "DataDirectoryIsLink");
  EXPECT_TRUE(base::exists(sibling()));
  EXPECT_EQ(must(base::read_file(standby_data() + "/old")), "the old data");
}

TEST_F(UndoJob, AnEmptyVolumeIsEmptyAgain) {
  recovered();
  must_succeed(undo_order());
  EXPECT_FALSE(base::exists(standby_data()));
}

TEST_F(UndoJob, NothingExchangedOnlyTheHalfMadeDirectoryGoes) {
  make_old_directory();
  must(base::make_directories(sibling_of(standby_data(), uid(1))));
  auto a = must_succeed(undo_order());
  EXPECT_EQ(a.result["exchanged"], false);
  EXPECT_FALSE(base::exists(sibling_of(standby_data(), uid(1))));
  EXPECT_TRUE(base::exists(standby_data() + "/old"));
}

}  // namespace
}  // namespace pgrunbook::agent
