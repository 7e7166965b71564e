#include "kube/keep.hpp"

namespace pgrunbook::kube {

using base::Json;

namespace {

// Whether what lies at a path is wanted, or something under it.
bool wanted(const std::vector<std::string>& path, std::size_t begin, const Fields& fields) {
  for (const auto& field : fields) {
    std::size_t matched = 0;
    bool same = true;
    for (std::size_t i = begin; i < path.size() && same && matched < field.size(); ++i) {
      if (path[i].empty()) continue;  // an array
      same = path[i] == field[matched++];
    }
    if (same) return true;
  }
  return false;
}

Json pruned(const Json& value, std::vector<std::string>* path, const Fields& fields) {
  if (value.is_array()) {
    Json out = Json::array();
    for (const Json& item : value) out.push_back(pruned(item, path, fields));
    return out;
  }
  if (!value.is_object()) return value;
  Json out = Json::object();
  for (const auto& [key, item] : value.items()) {
    path->push_back(key);
    if (wanted(*path, 0, fields)) out[key] = pruned(item, path, fields);
    path->pop_back();
  }
  return out;
}

}  // namespace

Json parse_only(std::string_view text, const std::string& top, const Fields& fields) {
  if (fields.empty()) return Json::parse(text, nullptr, false);
  std::vector<std::string> path;  // the keys that lead here; empty where an array is
  auto keep = [&](int depth, Json::parse_event_t event, const Json& parsed) {
    if (event != Json::parse_event_t::key) return true;
    path.resize(static_cast<std::size_t>(depth) - 1);
    path.push_back(parsed.get<std::string>());
    return path.front() != top || wanted(path, 1, fields);
  };
  return Json::parse(text, keep, false);
}

Json only(const Json& object, const Fields& fields) {
  if (fields.empty()) return object;
  std::vector<std::string> path;
  return pruned(object, &path, fields);
}

}  // namespace pgrunbook::kube
