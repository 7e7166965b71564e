// JSON, and reading it strictly: every field that nobody asked for is an error, never ignored.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.hpp"

#ifndef NDEBUG
// Compiled once, and optimised even where nothing else is (json_instance.cpp): most of what a test does is to
// copy JSON. A release is smaller without it.
extern template class nlohmann::basic_json<>;
#endif

namespace pgrunbook::base {

using Json = nlohmann::json;

// Parses text; the error says what was being read.
[[nodiscard]] Result<Json> parse_json(std::string_view text, std::string_view what);

// The value at a path of keys ("status", "phase"), or null. Never throws, whatever the shape.
[[nodiscard]] const Json& at(const Json& object, std::initializer_list<std::string_view> path);
[[nodiscard]] std::string text_at(const Json& object, std::initializer_list<std::string_view> path,
                                  std::string_view otherwise = {});
[[nodiscard]] std::int64_t number_at(const Json& object, std::initializer_list<std::string_view> path,
                                     std::int64_t otherwise = 0);

// The first `limit` bytes of UTF-8 at most, cut between characters.
[[nodiscard]] std::string cut_text(std::string_view text, std::size_t limit);

// Reads one object field by field, collects the first error, and at the end names fields nobody read.
// Use: Reader r(json, "spec"); r.need("name", &name); r.maybe("count", &count); PGR_TRY(r.done());
class Reader {
 public:
  Reader(const Json& object, std::string path);
  void need(std::string_view key, std::string* out);
  bool maybe(std::string_view key, std::string* out);
  bool maybe(std::string_view key, std::int64_t* out);
  bool maybe(std::string_view key, bool* out);
  bool maybe(std::string_view key, std::vector<std::string>* out);
  // A value that is one of the words; absent leaves *out alone.
  bool word(std::string_view key, std::initializer_list<std::string_view> words, std::string* out);
  // The sub-object or array under key, or nullptr. It counts as read.
  const Json* child(std::string_view key);
  const Json& required(std::string_view key);
  [[nodiscard]] std::string path(std::string_view key) const;
  void fail_with(Error e);
  void ignore(std::string_view key) { seen_.insert(std::string(key)); }
  [[nodiscard]] Result<> done();

 private:
  const Json& object_;
  std::string path_;
  std::set<std::string> seen_;
  std::optional<Error> error_;
};

}  // namespace pgrunbook::base
