#include "kube/keep.hpp"

#include <gtest/gtest.h>

namespace pgrunbook::kube {
namespace {

using base::Json;

Json pod() {
  return {{"apiVersion", "v1"},
          {"metadata",
           {{"name", "p"},
            {"labels", {{"a/b", "1"}, {"other", "2"}}},
            {"managedFields", {{{"fieldsV1", {{"f:metadata", {{"f:name", Json::object()}}}}}}}}}},
          {"spec", {{"containers", {{{"name", "c"}, {"args", {"x", {{"name", "deep"}}}}}}}}},
          {"status",
           {{"phase", "Running"},
            {"containerStatuses",
             {{{"name", "c"}, {"state", {{"terminated", {{"exitCode", 0}, {"message", "long"}}}}}},
              {{"name", "d"}, {"state", {{"running", Json::object()}}}}}}}}};
}

const Fields kSome = {{"metadata", "name"},
                      {"metadata", "labels", "a/b"},
                      {"status", "containerStatuses", "name"},
                      {"status", "containerStatuses", "state", "terminated", "exitCode"}};

Json kept() {
  return {{"metadata", {{"name", "p"}, {"labels", {{"a/b", "1"}}}}},
          {"status",
           {{"containerStatuses",
             {{{"name", "c"}, {"state", {{"terminated", {{"exitCode", 0}}}}}},
              {{"name", "d"}, {"state", Json::object()}}}}}}};
}

TEST(KeepTest, OfAnObjectOnlyWhatIsWanted) {
  EXPECT_EQ(only(pod(), kSome), kept());
  EXPECT_EQ(only(pod(), {}), pod()) << "no fields: everything";
  EXPECT_EQ(only(pod(), {{"metadata", "labels"}}),
            (Json{{"metadata", {{"labels", pod()["metadata"]["labels"]}}}}))
      << "a field comes with all that is under it";
  EXPECT_EQ(only(pod(), {{"nothing"}}), Json::object());
  EXPECT_EQ(only({{"metadata", "text"}}, kSome), (Json{{"metadata", "text"}})) << "whatever the shape";
}

TEST(KeepTest, ReadingAListHoldsNoMore) {
  Json list = {{"metadata", {{"resourceVersion", "7"}, {"continue", "c"}}}, {"items", {pod(), pod()}}};
  Json read = parse_only(list.dump(), "items", kSome);
  EXPECT_EQ(read["items"], Json::array({kept(), kept()}));
  EXPECT_EQ(read["metadata"], list["metadata"]) << "what is beside the items stays whole";
  EXPECT_EQ(parse_only(list.dump(), "items", {}), list);
}

TEST(KeepTest, ReadingAnEventToo) {
  Json event = {{"object", pod()}, {"type", "ADDED"}};
  EXPECT_EQ(parse_only(event.dump(), "object", kSome), (Json{{"object", kept()}, {"type", "ADDED"}}));
}

TEST(KeepTest, WhatFollowsADroppedObjectIsNotMistaken) {
  // Keys of a dropped object, at any depth, say nothing about the keys behind it.
  std::string text =
      R"({"items":[{"a":{"x":{"y":1},"metadata":{"name":"no"}},"metadata":{"b":[[{"c":1}]],"name":"yes"}}]})";
  EXPECT_EQ(parse_only(text, "items", kSome), (Json{{"items", {{{"metadata", {{"name", "yes"}}}}}}}));
}

TEST(KeepTest, NoJsonIsDiscarded) {
  EXPECT_TRUE(parse_only("{cut", "items", kSome).is_discarded());
  EXPECT_TRUE(parse_only("", "items", kSome).is_discarded());
  EXPECT_EQ(parse_only("[]", "items", kSome), Json::array());
}

}  // namespace
}  // namespace pgrunbook::kube
