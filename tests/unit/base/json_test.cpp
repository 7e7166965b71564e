// JSON: walking never throws, reading strictly names the field and what to do.
#include "base/json.hpp"

#include <functional>

#include <gtest/gtest.h>

namespace pgrunbook::base {
namespace {

TEST(Walking, NeverThrowsWhateverTheShape) {
  Json object = {{"status", {{"phase", "Running"}, {"n", 7}, {"list", {1, 2}}}}, {"text", "x"}};
  EXPECT_EQ(at(object, {"status", "phase"}), "Running");
  EXPECT_EQ(at(object, {}), object);
  for (const Json& other : {Json(), Json(3), Json("x"), Json::array({1}), Json::object()}) {
    EXPECT_TRUE(at(other, {"status", "phase"}).is_null()) << other;
    EXPECT_EQ(text_at(other, {"status", "phase"}, "none"), "none");
    EXPECT_EQ(number_at(other, {"status", "n"}, -1), -1);
  }
  EXPECT_TRUE(at(object, {"text", "deeper"}).is_null());
  EXPECT_EQ(text_at(object, {"status", "n"}, "not text"), "not text");
  EXPECT_EQ(number_at(object, {"status", "n"}), 7);
  EXPECT_EQ(number_at(Json{{"n", 7.5}}, {"n"}, -1), -1);
}

TEST(Parsing, SaysWhatWasRead) {
  EXPECT_EQ(*parse_json("{\"a\": 1}", "the order"), (Json{{"a", 1}}));
  auto bad = parse_json("{\"a\": ", "the order");
  ASSERT_FALSE(bad.has_value());
  EXPECT_EQ(bad.error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(bad.error().message, "the order is not JSON: {\"a\": ");
  auto large = parse_json(std::string(100000, 'x'), "the order");
  ASSERT_FALSE(large.has_value());
  EXPECT_LT(large.error().message.size(), 200U);
}

TEST(CutText, CutsBetweenCharacters) {
  struct {
    const char* text;
    std::size_t limit;
    const char* cut;
  } table[] = {{"abc", 3, "abc"}, {"abc", 10, "abc"},
               {"abc", 2, "ab"},  {"abc", 0, ""},
               {"aä", 3, "aä"},   {"aä", 2, "a"},
               {"ää", 3, "ä"},    {"日本", 5, "日"},
               {"日本", 2, ""},   {"a\xF0\x9F\x98\x80", 4, "a"}};
  for (const auto& row : table)
    EXPECT_EQ(cut_text(row.text, row.limit), row.cut) << row.text << " " << row.limit;
}

TEST(CutText, IsStillJson) {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "aä日😀";
  for (std::size_t limit = 0; limit <= text.size(); ++limit) {
    std::string cut = cut_text(text, limit);
    EXPECT_LE(cut.size(), limit);
    EXPECT_NO_THROW((void)Json(cut).dump()) << limit;
  }
}

struct Field {
  const char* name;
  Json object;
  std::function<void(Reader&)> read;
  std::string words;  // empty = fine
  std::string reason = "Invalid";
};

class Fields : public testing::TestWithParam<Field> {};

TEST_P(Fields, AreReadStrictly) {
  Reader r(GetParam().object, "spec");
  GetParam().read(r);
  auto done = r.done();
  ASSERT_EQ(done.has_value(), GetParam().words.empty()) << (done ? "" : done.error().text());
  if (done) return;
  EXPECT_EQ(done.error().text(), GetParam().words);
  EXPECT_EQ(done.error().reason_or_code(), GetParam().reason);
}

std::string text;
std::int64_t number;
bool flag;
std::vector<std::string> list;

INSTANTIATE_TEST_SUITE_P(
    Reading, Fields,
    testing::Values(
        Field{"All",
              {{"s", "x"}, {"n", 3}, {"b", true}, {"l", {"p", "q"}}, {"w", "Full"}, {"c", {{"k", 1}}}},
              [](Reader& r) {
                r.need("s", &text);
                EXPECT_TRUE(r.maybe("n", &number));
                EXPECT_TRUE(r.maybe("b", &flag));
                EXPECT_TRUE(r.maybe("l", &list));
                std::string word;
                EXPECT_TRUE(r.word("w", {"Full", "Auto"}, &word));
                EXPECT_EQ(word, "Full");
                EXPECT_NE(r.child("c"), nullptr);
                EXPECT_EQ(text, "x");
                EXPECT_EQ(number, 3);
                EXPECT_TRUE(flag);
                EXPECT_EQ(list, (std::vector<std::string>{"p", "q"}));
              },
              ""},
        Field{"AbsentKeepsTheDefault", Json::object(),
              [](Reader& r) {
                std::string kept = "Full";
                EXPECT_FALSE(r.word("w", {"Full"}, &kept));
                EXPECT_EQ(kept, "Full");
                number = 9;
                EXPECT_FALSE(r.maybe("n", &number));
                EXPECT_EQ(number, 9);
              },
              ""},
        Field{"NullIsAbsent", {{"s", nullptr}}, [](Reader& r) { EXPECT_FALSE(r.maybe("s", &text)); }, ""},
        Field{"Missing", Json::object(), [](Reader& r) { r.need("s", &text); },
              "spec.s is missing. HINT: set spec.s"},
        Field{"MissingObject", Json::object(), [](Reader& r) { (void)r.required("c"); },
              "spec.c is missing. HINT: set spec.c"},
        Field{"NotText",
              {{"s", 12345}},
              [](Reader& r) { r.need("s", &text); },
              "spec.s is 12345, not a string. HINT: put it in quotes"},
        Field{"NotWhole",
              {{"n", 1.5}},
              [](Reader& r) { (void)r.maybe("n", &number); },
              "spec.n is 1.5, not a whole number"},
        Field{"NotTrueOrFalse",
              {{"b", "yes"}},
              [](Reader& r) { (void)r.maybe("b", &flag); },
              "spec.b is \"yes\", not true or false"},
        Field{"NotAList",
              {{"l", "a"}},
              [](Reader& r) { (void)r.maybe("l", &list); },
              "spec.l is string, not a list"},
        Field{"ListOfOthers",
              {{"l", {"a", 1}}},
              [](Reader& r) { (void)r.maybe("l", &list); },
              "spec.l holds 1, not a string"},
        Field{"OtherWord",
              {{"w", "full"}},
              [](Reader& r) { (void)r.word("w", {"Full", "Auto"}, &text); },
              "spec.w is full, which is none of Full, Auto"},
        Field{"Unknown",
              {{"dryrun", true}},
              [](Reader&) {},
              "spec.dryrun is a field this version does not know. HINT: remove it, or upgrade the operator "
              "to the version of the CRDs",
              "UnknownField"},
        Field{"Ignored", {{"dryrun", true}}, [](Reader& r) { r.ignore("dryrun"); }, ""},
        Field{"FirstErrorWins",
              {{"n", "x"}, {"b", 1}},
              [](Reader& r) {
                (void)r.maybe("n", &number);
                (void)r.maybe("b", &flag);
              },
              "spec.n is \"x\", not a whole number"},
        Field{"NoObjectAtAll", Json(), [](Reader& r) { r.need("s", &text); },
              "spec is missing. HINT: set spec"},
        Field{"ListForObject", Json::array(), [](Reader& r) { r.need("s", &text); },
              "spec is array, not an object"}),
    [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace pgrunbook::base
