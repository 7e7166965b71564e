#include "agent/exchange.hpp"

#include <cstdlib>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/file.hpp"

namespace pgrunbook::agent {
namespace {

class Exchange : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/pgrb-exchange-XXXXXX";
    root_ = ::mkdtemp(name);
    make("data", "old");
    make("data.pgrunbook-1", "new");
    journal_.action_uid = "uid-1";
    journal_.data_directory = root_ + "/data";
    journal_.sibling = root_ + "/data.pgrunbook-1";
    journal_.old_inode = *directory_inode(journal_.data_directory);
    journal_.new_inode = *directory_inode(journal_.sibling);
  }
  void TearDown() override { (void)base::remove_tree(root_); }
  void make(const std::string& name, const std::string& content) {
    ASSERT_EQ(::mkdir((root_ + "/" + name).c_str(), 0700), 0);
    ASSERT_TRUE(base::create_file(root_ + "/" + name + "/who", content));
  }
  [[nodiscard]] std::string who(const std::string& path) const {
    return base::read_file(path + "/who").value_or("nobody");
  }

  std::string root_;
  ExchangeJournal journal_;
};

TEST_F(Exchange, ThereAndBackAndTwice) {
  ASSERT_TRUE(exchange_forward(journal_));
  ASSERT_TRUE(exchange_forward(journal_));
  EXPECT_EQ(who(journal_.data_directory), "new");
  EXPECT_EQ(who(journal_.sibling), "old");
  EXPECT_EQ(*where_are_we(journal_), Placed::kNewInPlace);
  ASSERT_TRUE(exchange_back(journal_));
  ASSERT_TRUE(exchange_back(journal_));
  EXPECT_EQ(who(journal_.data_directory), "old");
  EXPECT_EQ(who(journal_.sibling), "new");
}

TEST_F(Exchange, OntoAnEmptyVolume) {
  ASSERT_TRUE(base::remove_tree(journal_.data_directory));
  journal_.old_inode = 0;
  EXPECT_EQ(*where_are_we(journal_), Placed::kOldInPlace);
  ASSERT_TRUE(exchange_forward(journal_));
  EXPECT_EQ(who(journal_.data_directory), "new");
  EXPECT_FALSE(base::exists(journal_.sibling));
  ASSERT_TRUE(exchange_back(journal_));
  EXPECT_FALSE(base::exists(journal_.data_directory));
  EXPECT_EQ(who(journal_.sibling), "new");
}

// A file system without RENAME_EXCHANGE, and a crash after each of the renames: going on and going back both
// end whole.
TEST_F(Exchange, EveryCrashBetweenTwoRenames) {
  std::string aside = journal_.sibling + ".aside";
  for (int renames = 0; renames <= 2; ++renames) {
    for (bool forward : {true, false}) {
      if (renames > 0) {
        ASSERT_EQ(::rename(journal_.data_directory.c_str(), aside.c_str()), 0);
      }
      if (renames > 1) {
        ASSERT_EQ(::rename(journal_.sibling.c_str(), journal_.data_directory.c_str()), 0);
      }
      if (renames == 1) {
        EXPECT_EQ(*where_are_we(journal_), Placed::kBetween);
      }
      ASSERT_TRUE(forward ? exchange_forward(journal_) : exchange_back(journal_));
      EXPECT_EQ(who(journal_.data_directory), forward ? "new" : "old");
      EXPECT_EQ(who(journal_.sibling), forward ? "old" : "new");
      EXPECT_FALSE(base::exists(aside));
      ASSERT_TRUE(exchange_back(journal_));
    }
  }
}

TEST_F(Exchange, AStrangersDirectoryIsNeverTouched) {
  ASSERT_TRUE(exchange_forward(journal_));
  ASSERT_EQ(::rename(journal_.data_directory.c_str(), (root_ + "/elsewhere").c_str()), 0);
  make("data", "stranger");
  EXPECT_FALSE(where_are_we(journal_));
  auto back = exchange_back(journal_);
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().code, base::ErrorCode::kConflict);
  EXPECT_EQ(who(journal_.data_directory), "stranger");
}

TEST_F(Exchange, TheNewDirectoryIsFoundWhereverItLies) {
  EXPECT_EQ(*place_of_new(journal_), journal_.sibling);
  EXPECT_TRUE(new_lies_beside(journal_).value_or(false));
  ASSERT_TRUE(exchange_forward(journal_));
  EXPECT_EQ(*place_of_new(journal_), journal_.data_directory);
  auto former = new_lies_beside(journal_);
  ASSERT_FALSE(former);
  EXPECT_EQ(former.error().code, base::ErrorCode::kConflict);
  // The way back, cut off after the second of three renames.
  ASSERT_EQ(::rename(journal_.data_directory.c_str(), (journal_.sibling + ".aside").c_str()), 0);
  ASSERT_EQ(::rename(journal_.sibling.c_str(), journal_.data_directory.c_str()), 0);
  EXPECT_EQ(*place_of_new(journal_), journal_.sibling + ".aside");
  EXPECT_FALSE(new_lies_beside(journal_).value_or(true));
  ASSERT_TRUE(exchange_back(journal_));
  EXPECT_EQ(*place_of_new(journal_), journal_.sibling);
  ASSERT_EQ(::rename(journal_.sibling.c_str(), (root_ + "/elsewhere").c_str()), 0);
  EXPECT_EQ(place_of_new(journal_).error().code, base::ErrorCode::kNotFound);
  make("data.pgrunbook-1", "stranger");
  EXPECT_EQ(new_lies_beside(journal_).error().code, base::ErrorCode::kConflict);
}

TEST_F(Exchange, ALinkIsRefused) {
  ASSERT_EQ(::symlink("data", (root_ + "/link").c_str()), 0);
  auto inode = directory_inode(root_ + "/link");
  ASSERT_FALSE(inode);
  EXPECT_EQ(inode.error().reason, "DataDirectoryIsLink");
}

TEST_F(Exchange, TheJournalComesBackAsItWas) {
  journal_.result = {{"newTimeline", 2}};
  ASSERT_TRUE(base::make_directories(root_ + "/.pgrunbook"));
  ASSERT_TRUE(write_journal(root_, journal_));
  auto read = read_journal(root_, "uid-1");
  ASSERT_TRUE(read);
  EXPECT_EQ(to_json(*read), to_json(journal_));
  EXPECT_FALSE(read->served.has_value());
  for (bool served : {false, true}) {
    journal_.served = served;
    ASSERT_TRUE(write_journal(root_, journal_));
    EXPECT_EQ(read_journal(root_, "uid-1")->served, served);
  }
  EXPECT_EQ(read_journal(root_, "uid-2").error().code, base::ErrorCode::kNotFound);
}

}  // namespace
}  // namespace pgrunbook::agent
