// The configuration files from before setup.
#include <unistd.h>

#include <gtest/gtest.h>

#include "agent/setup.hpp"
#include "support/postgres/temporary.hpp"

namespace pgrunbook::agent {
namespace {

using test::must;

class Kept : public ::testing::Test {
 protected:
  Kept() {
    must(base::make_directories(directory_ / "data"));
    must(base::make_directories(directory_ / ".pgrunbook/before-setup"));
    must(base::replace_file(hba(), "as it was"));
  }
  [[nodiscard]] std::string hba() const { return directory_ / "data/pg_hba.conf"; }
  test::TemporaryDirectory directory_;
  KeptFiles kept_{directory_.path(), "uid-1"};
};

TEST_F(Kept, TheFirstCopyStandsAndComesBack) {
  must(kept_.keep(directory_ / "data"));
  must(base::replace_file(hba(), "changed"));
  must(kept_.keep(directory_ / "data"));
  must(kept_.put_back(directory_ / "data"));
  EXPECT_EQ(must(base::read_file(hba())), "as it was");
  EXPECT_FALSE(base::exists(kept_.directory()));
  must(kept_.put_back(directory_ / "data"));
}

TEST_F(Kept, WhereNobodyCanTellNothingIsSaidToBeUnchanged) {
  ASSERT_EQ(::symlink("uid-1", kept_.directory().c_str()), 0);  // every look below it fails
  auto back = kept_.put_back(directory_ / "data");
  ASSERT_FALSE(back.has_value());
  EXPECT_EQ(back.error().code, base::ErrorCode::kUnavailable);
  auto keep = kept_.keep(directory_ / "data");
  ASSERT_FALSE(keep.has_value());
  EXPECT_EQ(keep.error().message.substr(0, 15), "cannot look at ");
}

}  // namespace
}  // namespace pgrunbook::agent
