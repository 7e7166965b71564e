#include "runtime/store.hpp"

#include <gtest/gtest.h>

#include "unit/kube/memory_api.hpp"

namespace pgrunbook::runtime {
namespace {

using test::object;

std::vector<Change> relist(Store& store, std::vector<Json> objects) {
  store.begin();
  for (auto& o : objects) store.stage(std::move(o));
  return store.swap();
}

TEST(StoreTest, IsNotSyncedBeforeTheFirstListIsComplete) {
  Store store;
  store.begin();
  store.stage(object("a"));
  EXPECT_FALSE(store.synced());
  EXPECT_EQ(store.get({"ns", "a"}), nullptr);
  EXPECT_EQ(store.swap().size(), 1U);
  EXPECT_TRUE(store.synced());
  EXPECT_NE(store.get({"ns", "a"}), nullptr);
  EXPECT_EQ(store.get({"other", "a"}), nullptr);
}

TEST(StoreTest, ARelistFindsWhatWasMissed) {
  Store store;
  relist(store, {object("kept"), object("changed"), object("deleted"), object("replaced", "1", "old")});
  auto kept = store.get({"ns", "kept"});
  auto changes =
      relist(store, {object("kept"), object("changed", "2"), object("new"), object("replaced", "3", "new")});
  int added = 0, changed = 0, deleted = 0;
  for (const auto& c : changes) {
    std::string name = base::text_at(c.object(), {"metadata", "name"});
    EXPECT_NE(name, "kept");
    if (c.before && c.after) {
      ++changed;
      EXPECT_EQ(name, "changed");
    } else if (c.after) {
      ++added;
      EXPECT_TRUE(name == "new" || name == "replaced");
    } else {
      ++deleted;
      EXPECT_TRUE(name == "deleted" ||
                  (name == "replaced" && base::text_at(*c.before, {"metadata", "uid"}) == "old"));
    }
  }
  EXPECT_EQ(added, 2);
  EXPECT_EQ(changed, 1);
  EXPECT_EQ(deleted, 2);
  EXPECT_EQ(store.get({"ns", "deleted"}), nullptr);
  EXPECT_EQ(store.get({"ns", "kept"}), kept) << "an unchanged object keeps its snapshot";
  EXPECT_EQ(store.size(), 4U);
}

TEST(StoreTest, ReadersNeverSeeHalfARelist) {
  Store store;
  relist(store, {object("a"), object("b")});
  store.begin();
  store.stage(object("c"));
  EXPECT_EQ(store.size(), 2U);
  (void)store.swap();
  EXPECT_EQ(store.size(), 1U);
}

TEST(StoreTest, EventsGiveBeforeAndAfter) {
  Store store;
  relist(store, {object("a", "1")});
  auto changed = store.apply(object("a", "2"));
  ASSERT_EQ(changed.size(), 1U);
  EXPECT_EQ(base::text_at(*changed[0].before, {"metadata", "resourceVersion"}), "1");
  EXPECT_EQ(base::text_at(*changed[0].after, {"metadata", "resourceVersion"}), "2");
  EXPECT_TRUE(store.apply(object("a", "2")).empty()) << "a repeated event is no change";
  auto removed = store.remove(object("a", "3"));
  ASSERT_EQ(removed.size(), 1U);
  EXPECT_EQ(base::text_at(*removed[0].before, {"metadata", "resourceVersion"}), "3") << "the last state";
  EXPECT_EQ(removed[0].after, nullptr);
  EXPECT_TRUE(store.remove(object("a", "3")).empty());
}

TEST(StoreTest, FindsTheFirst) {
  Store store;
  relist(store, {object("a", "1", "u1"), object("b", "1", "u2")});
  auto uid = [](const char* wanted) {
    return [wanted](const Json& o) { return base::text_at(o, {"metadata", "uid"}) == wanted; };
  };
  ASSERT_NE(store.find(uid("u2")), nullptr);
  EXPECT_EQ(store.find(uid("u2"))->at("metadata").at("name"), "b");
  EXPECT_EQ(store.find(uid("u3")), nullptr);
}

TEST(StoreTest, ListsSortedAndByPredicate) {
  Store store;
  relist(store, {object("c"), object("a"), object("b", "7")});
  auto all = store.list();
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(base::text_at(*all[0], {"metadata", "name"}), "a");
  EXPECT_EQ(store.list([](const Json& o) { return base::text_at(o, {"metadata", "resourceVersion"}) == "7"; })
                .size(),
            1U);
}

}  // namespace
}  // namespace pgrunbook::runtime
