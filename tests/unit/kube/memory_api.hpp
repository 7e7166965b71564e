// An API server in memory: objects by path, resourceVersions, preconditions, and errors on demand. It knows
// no kinds.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "kube/client.hpp"

namespace pgrunbook::test {

class MemoryApi : public kube::Api {
 public:
  using Json = base::Json;
  template <typename T = void>
  using Result = base::Result<T>;

  // The next calls of this name ("create", "list", ...) fail with it, once each.
  void fail_next(const std::string& call, base::ErrorCode code, std::string reason = {}) {
    std::lock_guard lock(mutex);
    base::Error e = base::error(code, fmt::format("injected {}", base::to_string(code)));
    e.reason = std::move(reason);
    failures[call].push_back(e);
  }
  // Puts an object in as if somebody else had written it.
  Json put(const kube::Resource& r, const std::string& ns, Json object) {
    std::lock_guard lock(mutex);
    object["metadata"]["namespace"] = ns;
    object["metadata"]["resourceVersion"] = std::to_string(++version);
    return objects[r.path(ns, base::text_at(object, {"metadata", "name"}))] = object;
  }
  std::optional<Json> peek(const kube::Resource& r, const std::string& ns, const std::string& name) {
    std::lock_guard lock(mutex);
    auto found = objects.find(r.path(ns, name));
    return found == objects.end() ? std::nullopt : std::optional<Json>(found->second);
  }
  int count(const std::string& call) {
    std::lock_guard lock(mutex);
    return calls[call];
  }

  Result<Json> get(const kube::Resource& r, const std::string& ns, const std::string& name,
                   base::Deadline) override {
    std::lock_guard lock(mutex);
    if (auto e = failure("get")) return base::fail(*e);
    auto found = objects.find(r.path(ns, name));
    if (found == objects.end()) return base::fail(base::ErrorCode::kNotFound, "not found");
    return found->second;
  }
  Result<Json> list(const kube::Resource& r, const std::string& ns, const kube::ListOptions& o,
                    base::Deadline) override {
    std::lock_guard lock(mutex);
    if (auto e = failure("list")) return base::fail(*e);
    Json items = Json::array();
    std::string prefix = r.path(ns) + "/";
    for (const auto& [path, object] : objects) {
      if (path.starts_with(prefix)) items.push_back(kube::only(object, o.keep));
    }
    return Json{{"items", items}, {"resourceVersion", std::to_string(version)}};
  }
  Result<Json> create(const kube::Resource& r, const std::string& ns, const Json& object,
                      base::Deadline) override {
    std::lock_guard lock(mutex);
    if (auto e = failure("create")) return base::fail(*e);
    std::string path = r.path(ns, base::text_at(object, {"metadata", "name"}));
    if (objects.count(path) != 0) return base::fail(base::ErrorCode::kAlreadyExists, "exists");
    Json stored = object;
    stored["metadata"]["resourceVersion"] = std::to_string(++version);
    return objects[path] = stored;
  }
  Result<Json> patch(const kube::Resource& r, const std::string& ns, const std::string& name, kube::PatchType,
                     const Json& body, const std::string&, base::Deadline) override {
    std::lock_guard lock(mutex);
    if (auto e = failure("patch")) return base::fail(*e);
    auto found = objects.find(r.path(ns, name));
    if (found == objects.end()) return base::fail(base::ErrorCode::kNotFound, "not found");
    std::string wanted = base::text_at(body, {"metadata", "resourceVersion"});
    if (!wanted.empty() && wanted != base::text_at(found->second, {"metadata", "resourceVersion"})) {
      return base::fail(base::ErrorCode::kConflict, "changed");
    }
    found->second.merge_patch(body);
    found->second["metadata"]["resourceVersion"] = std::to_string(++version);
    return found->second;
  }
  Result<> remove(const kube::Resource& r, const std::string& ns, const std::string& name, const std::string&,
                  base::Deadline) override {
    std::lock_guard lock(mutex);
    if (auto e = failure("remove")) return base::fail(*e);
    objects.erase(r.path(ns, name));
    return {};
  }
  Result<std::string> pod_log(const std::string&, const std::string&, const std::string&,
                              const kube::LogOptions&, base::Deadline) override {
    return std::string("log");
  }
  // Runs `on_watch` where a test set one; otherwise blocks until stopped, like a quiet stream.
  Result<std::string> watch(const kube::Resource&, const std::string&, const kube::ListOptions&,
                            const std::string& from, const std::function<void(kube::WatchEvent)>& on_event,
                            std::stop_token stop) override {
    std::function<Result<std::string>(const std::string&, const std::function<void(kube::WatchEvent)>&)> f;
    {
      std::lock_guard lock(mutex);
      ++calls["watch"];
      watched_from.push_back(from);
      if (!on_watch.empty()) {
        f = on_watch.front();
        on_watch.pop_front();
      }
    }
    if (f) return f(from, on_event);
    std::mutex quiet;
    std::condition_variable_any wake;
    std::unique_lock lock(quiet);
    wake.wait(lock, stop, [] { return false; });
    return base::fail(base::ErrorCode::kCancelled, "asked to stop");
  }

  std::mutex mutex;
  std::map<std::string, Json> objects;
  int version = 100;
  std::map<std::string, std::deque<base::Error>> failures;
  std::map<std::string, int> calls;
  std::deque<
      std::function<Result<std::string>(const std::string&, const std::function<void(kube::WatchEvent)>&)>>
      on_watch;
  std::vector<std::string> watched_from;

 private:
  std::optional<base::Error> failure(const std::string& call) {
    ++calls[call];
    auto& queue = failures[call];
    if (queue.empty()) return std::nullopt;
    base::Error e = queue.front();
    queue.pop_front();
    return e;
  }
};

inline base::Json object(const std::string& name, const std::string& version = "1",
                         const std::string& uid = "u", const std::string& ns = "ns") {
  return {{"metadata", {{"name", name}, {"namespace", ns}, {"uid", uid}, {"resourceVersion", version}}}};
}

}  // namespace pgrunbook::test
