#include "kube/events.hpp"

#include <gtest/gtest.h>

#include "unit/kube/memory_api.hpp"

namespace pgrunbook::kube {
namespace {

class EventsTest : public ::testing::Test {
 protected:
  Json event() {
    auto all = *api_.list(kinds::kEvent, "ns", {}, base::Deadline::after(std::chrono::seconds(1)));
    return all["items"].empty() ? Json() : all["items"].back();
  }
  std::size_t size() {
    return (*api_.list(kinds::kEvent, "ns", {}, base::Deadline::after(std::chrono::seconds(1))))["items"]
        .size();
  }
  void emit(const std::string& reason, const std::string& message) {
    recorder_.emit(object_, EventRecorder::Type::kNormal, reason, message);
  }

  test::MemoryApi api_;
  std::chrono::steady_clock::time_point now_{std::chrono::hours(1)};
  EventRecorder recorder_{api_, "pod-1", [this] { return now_; }};
  Json object_{{"apiVersion", "pgrunbook.io/v1alpha1"},
               {"kind", "PostgresRestore"},
               {"metadata", {{"name", "r"}, {"namespace", "ns"}, {"uid", "u1"}}}};
};

TEST_F(EventsTest, SaysWhatHappenedToWhat) {
  recorder_.emit(object_, EventRecorder::Type::kWarning, "Blocked", "needs a person");
  Json e = event();
  EXPECT_EQ(e["involvedObject"]["kind"], "PostgresRestore");
  EXPECT_EQ(e["involvedObject"]["uid"], "u1");
  EXPECT_EQ(e["involvedObject"]["name"], "r");
  EXPECT_EQ(e["type"], "Warning");
  EXPECT_EQ(e["reason"], "Blocked");
  EXPECT_EQ(e["message"], "needs a person");
  EXPECT_EQ(e["count"], 1);
  EXPECT_EQ(e["source"]["component"], "pgrunbook");
}

TEST_F(EventsTest, RepeatsRaiseTheCountOfOneEvent) {
  for (int i = 0; i < 5; ++i) {
    emit("Waiting", fmt::format("attempt {}", i));
    now_ += std::chrono::seconds(11);
  }
  EXPECT_EQ(size(), 1U);
  EXPECT_EQ(event()["count"], 5);
  EXPECT_EQ(event()["message"], "attempt 4");
  emit("Other", "another reason is another event");
  EXPECT_EQ(size(), 2U);
  now_ += std::chrono::minutes(5);
  emit("Waiting", "after the window it is a new one");
  EXPECT_EQ(size(), 3U);
}

// kubectl describe sorts by the second; what comes in order by name stays so within it.
TEST_F(EventsTest, NamesAreInTheOrderOfTime) {
  std::string before;
  for (const char* reason : {"StopPrimary", "Fence", "Switch"}) {
    emit(reason, "x");
    std::string name;
    auto all = *api_.list(kinds::kEvent, "ns", {}, base::Deadline::after(std::chrono::seconds(1)));
    for (const Json& e : all["items"]) {
      if (e["reason"] == reason) name = e["metadata"]["name"];
    }
    EXPECT_GT(name, before);
    before = name;
  }
}

TEST_F(EventsTest, AFloodIsWrittenRarely) {
  for (int i = 0; i < 1000; ++i) emit("Waiting", "x");
  EXPECT_EQ(api_.count("create") + api_.count("patch"), 1);
  now_ += std::chrono::seconds(10);
  emit("Waiting", "x");
  EXPECT_EQ(event()["count"], 1001);
}

TEST_F(EventsTest, AnotherMessageIsSaidAtOnceAndNotForEver) {
  emit("Failed", "putting everything back");
  emit("Failed", "everything is as it was before");
  EXPECT_EQ(event()["message"], "everything is as it was before");
  EXPECT_EQ(event()["count"], 2);
  for (int i = 0; i < 1000; ++i) emit("Failed", std::to_string(i));
  EXPECT_EQ(api_.count("create") + api_.count("patch"), 11);
}

TEST_F(EventsTest, FailuresDoNotMatter) {
  api_.fail_next("create", base::ErrorCode::kForbidden);
  emit("Waiting", "x");
  EXPECT_EQ(size(), 0U);
  emit("Waiting", "x");
  EXPECT_EQ(size(), 1U);
  {
    std::lock_guard lock(api_.mutex);
    api_.objects.clear();  // the API server forgets Events after an hour
  }
  now_ += std::chrono::seconds(20);
  emit("Waiting", "x");  // finds it gone ...
  emit("Waiting", "x");  // ... and makes a new one
  EXPECT_EQ(size(), 1U);
}

TEST_F(EventsTest, LongMessagesAreCutBetweenCharacters) {
  EXPECT_EQ(shortened("short", 10), "short");
  EXPECT_EQ(shortened("0123456789a", 10), "0123456...");
  std::string umlauts;
  for (int i = 0; i < 600; ++i) umlauts += "\xC3\xA4";
  std::string cut = shortened(umlauts, 1024);
  EXPECT_LE(cut.size(), 1024U);
  EXPECT_NO_THROW((void)Json(cut).dump());
  emit("Long", std::string(5000, 'x'));
  EXPECT_EQ(event()["message"].get<std::string>().size(), 1024U);
}

}  // namespace
}  // namespace pgrunbook::kube
