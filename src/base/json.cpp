#include "base/json.hpp"

#include <fmt/format.h>

namespace pgrunbook::base {
namespace {
const Json kNull;
}

Result<Json> parse_json(std::string_view text, std::string_view what) {
  Json value = Json::parse(text, nullptr, false);
  if (value.is_discarded()) {
    return fail(ErrorCode::kCorrupt, fmt::format("{} is not JSON: {:.120}", what, text));
  }
  return value;
}

const Json& at(const Json& object, std::initializer_list<std::string_view> path) {
  const Json* here = &object;
  for (std::string_view key : path) {
    if (!here->is_object()) return kNull;
    auto found = here->find(std::string(key));
    if (found == here->end()) return kNull;
    here = &*found;
  }
  return *here;
}

std::string text_at(const Json& object, std::initializer_list<std::string_view> path,
                    std::string_view otherwise) {
  const Json& value = at(object, path);
  return value.is_string() ? value.get<std::string>() : std::string(otherwise);
}

std::int64_t number_at(const Json& object, std::initializer_list<std::string_view> path,
                       std::int64_t otherwise) {
  const Json& value = at(object, path);
  return value.is_number_integer() ? value.get<std::int64_t>() : otherwise;
}

std::string cut_text(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return std::string(text);
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0U) == 0x80U) --limit;
  return std::string(text.substr(0, limit));
}

Reader::Reader(const Json& object, std::string path) : object_(object), path_(std::move(path)) {
  if (object_.is_null()) {
    fail_with(error(ErrorCode::kInvalid, fmt::format("{} is missing", path_), fmt::format("set {}", path_)));
  } else if (!object_.is_object()) {
    fail_with(error(ErrorCode::kInvalid, fmt::format("{} is {}, not an object", path_, object_.type_name())));
  }
}

std::string Reader::path(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

void Reader::fail_with(Error e) {
  if (!error_) error_ = std::move(e);
}

const Json* Reader::child(std::string_view key) {
  seen_.insert(std::string(key));
  if (!object_.is_object()) return nullptr;
  auto found = object_.find(std::string(key));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const Json& Reader::required(std::string_view key) {
  const Json* value = child(key);
  if (value == nullptr) {
    fail_with(error(ErrorCode::kInvalid, fmt::format("{} is missing", path(key)),
                    fmt::format("set {}", path(key))));
    return kNull;
  }
  return *value;
}

void Reader::need(std::string_view key, std::string* out) {
  if (!maybe(key, out)) {
    fail_with(error(ErrorCode::kInvalid, fmt::format("{} is missing", path(key)),
                    fmt::format("set {}", path(key))));
  }
}

bool Reader::maybe(std::string_view key, std::string* out) {
  const Json* value = child(key);
  if (value == nullptr) return false;
  if (!value->is_string()) {
    fail_with(error(ErrorCode::kInvalid, fmt::format("{} is {}, not a string", path(key), value->dump()),
                    "put it in quotes"));
    return true;
  }
  *out = value->get<std::string>();
  return true;
}

bool Reader::maybe(std::string_view key, std::int64_t* out) {
  const Json* value = child(key);
  if (value == nullptr) return false;
  if (!value->is_number_integer()) {
    fail_with(
        error(ErrorCode::kInvalid, fmt::format("{} is {}, not a whole number", path(key), value->dump())));
    return true;
  }
  *out = value->get<std::int64_t>();
  return true;
}

bool Reader::maybe(std::string_view key, bool* out) {
  const Json* value = child(key);
  if (value == nullptr) return false;
  if (!value->is_boolean()) {
    fail_with(
        error(ErrorCode::kInvalid, fmt::format("{} is {}, not true or false", path(key), value->dump())));
    return true;
  }
  *out = value->get<bool>();
  return true;
}

bool Reader::maybe(std::string_view key, std::vector<std::string>* out) {
  const Json* value = child(key);
  if (value == nullptr) return false;
  out->clear();
  if (!value->is_array()) {
    fail_with(error(ErrorCode::kInvalid, fmt::format("{} is {}, not a list", path(key), value->type_name())));
    return true;
  }
  for (const Json& item : *value) {
    if (!item.is_string()) {
      fail_with(error(ErrorCode::kInvalid, fmt::format("{} holds {}, not a string", path(key), item.dump())));
      return true;
    }
    out->push_back(item.get<std::string>());
  }
  return true;
}

bool Reader::word(std::string_view key, std::initializer_list<std::string_view> words, std::string* out) {
  std::string value;
  if (!maybe(key, &value)) return false;
  for (std::string_view w : words) {
    if (w == value) {
      *out = value;
      return true;
    }
  }
  fail_with(error(ErrorCode::kInvalid,
                  fmt::format("{} is {}, which is none of {}", path(key), value, fmt::join(words, ", "))));
  return true;
}

Result<> Reader::done() {
  if (error_) return fail(*error_);
  for (const auto& [key, value] : object_.items()) {
    if (seen_.count(key) == 0) {
      Error e = error(ErrorCode::kInvalid, fmt::format("{} is a field this version does not know", path(key)),
                      "remove it, or upgrade the operator to the version of the CRDs");
      e.reason = "UnknownField";
      return fail(e);
    }
  }
  return {};
}

}  // namespace pgrunbook::base
