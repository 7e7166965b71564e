// The way back from a recovery.
#include "agent/recover.hpp"
#include "postgres/pitr_scene.hpp"

namespace pgrunbook::agent {
namespace {

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
