#include <random>
#include <utility>

#include <fmt/format.h>

#include "kube/line_splitter.hpp"
#include "kube/rest_client.hpp"
#include "kube/status_error.hpp"

namespace pgrunbook::kube {

std::string percent_encode(std::string_view text) {
  std::string out;
  for (char c : text) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                 c == '_' || c == '.' || c == '~';
    if (plain) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

namespace {

using base::Error;
using base::ErrorCode;

constexpr int kRelists = 3;  // how often a list may start again because its continue token grew too old

class Query {
 public:
  Query& add(std::string_view key, std::string_view value) {
    if (value.empty()) return *this;
    text_ += fmt::format("{}{}={}", text_.empty() ? '?' : '&', key, percent_encode(value));
    return *this;
  }
  Query& select(const ListOptions& o) {
    return add("labelSelector", o.label_selector).add("fieldSelector", o.field_selector);
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

bool good(int status) { return status >= 200 && status < 300; }

class RestClient final : public Api {
 public:
  RestClient(std::shared_ptr<Transport> transport, RestOptions options)
      : transport_(std::move(transport)), options_(options) {}

  Result<Json> get(const Resource& r, const std::string& ns, const std::string& name, Deadline d) override {
    if (name.empty())
      return base::fail(ErrorCode::kInvalid, fmt::format("get {}: the name is empty", r.plural));
    return read(r.path(ns, percent_encode(name)), fmt::format("get {}/{}", r.plural, name), d);
  }

  Result<Json> list(const Resource& r, const std::string& ns, const ListOptions& o, Deadline d) override {
    const std::string what = fmt::format("list {}", r.plural);
    for (int attempt = 0;; ++attempt) {
      Json items = Json::array();
      std::string token;
      while (true) {
        Query query;
        query.select(o).add("limit", std::to_string(options_.page)).add("continue", token);
        auto page = read(r.path(ns) + query.text(), what, d, "items", o.keep);
        if (!page) {
          // The token is older than the API server's history: the pages so far are useless.
          if (page.error().code == ErrorCode::kGone && !token.empty() && attempt < kRelists) break;
          return page;
        }
        if (!page->is_object() || !base::at(*page, {"metadata"}).is_object()) {
          return base::fail(ErrorCode::kUnavailable, fmt::format("{}: the reply is no list", what));
        }
        if (auto found = page->find("items"); found != page->end() && found->is_array()) {
          for (Json& item : *found) {
            // Items of a list do not say what they are; whoever handles one alone wants to know.
            if (o.keep.empty()) {
              item["apiVersion"] = r.api_version();
              item["kind"] = r.kind;
            }
            items.push_back(std::move(item));
          }
        }
        token = base::text_at(*page, {"metadata", "continue"});
        if (token.empty()) {
          return Json{{"items", std::move(items)},
                      {"resourceVersion", base::text_at(*page, {"metadata", "resourceVersion"})}};
        }
      }
    }
  }

  Result<Json> create(const Resource& r, const std::string& ns, const Json& object, Deadline d) override {
    std::string name =
        base::text_at(object, {"metadata", "name"}, base::text_at(object, {"metadata", "generateName"}));
    return write("POST", r.path(ns) + manager().text(), "application/json", object,
                 fmt::format("create {}/{}", r.plural, name), d, &status_error_of_write);
  }

  Result<Json> patch(const Resource& r, const std::string& ns, const std::string& name, PatchType type,
                     const Json& body, const std::string& subresource, Deadline d) override {
    if (name.empty())
      return base::fail(ErrorCode::kInvalid, fmt::format("patch {}: the name is empty", r.plural));
    std::string target = r.path(ns, percent_encode(name));
    if (!subresource.empty()) target += "/" + subresource;
    Query query = manager();
    std::string_view content = "application/merge-patch+json";
    if (type == PatchType::kJson) content = "application/json-patch+json";
    if (type == PatchType::kApply) {
      content = "application/apply-patch+yaml";  // JSON is YAML
      query.add("force", "false");
    }
    return write("PATCH", target + query.text(), content, body, fmt::format("patch {}/{}", r.plural, name), d,
                 type == PatchType::kJson ? &json_patch_error : &status_error_of_write);
  }

  Result<> remove(const Resource& r, const std::string& ns, const std::string& name, const std::string& uid,
                  Deadline d) override {
    if (name.empty())
      return base::fail(ErrorCode::kInvalid, fmt::format("delete {}: the name is empty", r.plural));
    Json options{{"kind", "DeleteOptions"}, {"apiVersion", "v1"}, {"propagationPolicy", "Background"}};
    if (!uid.empty()) options["preconditions"] = {{"uid", uid}};
    auto done = write("DELETE", r.path(ns, percent_encode(name)), "application/json", options,
                      fmt::format("delete {}/{}", r.plural, name), d, &status_error_of_write);
    if (!done && done.error().code != ErrorCode::kNotFound) return base::fail(done.error());
    return {};
  }

  Result<std::string> pod_log(const std::string& ns, const std::string& pod, const std::string& container,
                              const LogOptions& o, Deadline d) override {
    Query query;
    query.add("container", container).add("tailLines", std::to_string(o.tail_lines));
    query.add("limitBytes", std::to_string(o.limit_bytes));
    if (o.since_seconds > 0) query.add("sinceSeconds", std::to_string(o.since_seconds));
    if (o.previous) query.add("previous", "true");
    Request request;
    request.target = kinds::kPod.path(ns, percent_encode(pod)) + "/log" + query.text();
    request.accept = "*/*";
    request.body_limit = 2 * static_cast<std::size_t>(o.limit_bytes);
    const std::string what = fmt::format("read log of pods/{}", pod);
    auto response = transport_->send(request, d, {});
    if (!response) return base::fail(response.error().in(what));
    if (!good(response->status)) return base::fail(status_error(*response, what, false));
    return std::move(response->body);
  }

  Result<std::string> watch(const Resource& r, const std::string& ns, const ListOptions& o,
                            const std::string& resource_version,
                            const std::function<void(WatchEvent)>& on_event, std::stop_token stop) override {
    const std::string what = fmt::format("watch {}", r.plural);
    int seconds = watch_seconds();
    Query query;
    query.add("watch", "1").add("allowWatchBookmarks", "true").add("resourceVersion", resource_version);
    query.add("timeoutSeconds", std::to_string(seconds)).select(o);
    Request request;
    request.target = r.path(ns) + query.text();

    std::string seen = resource_version;
    LineSplitter lines(options_.longest_line);
    auto on_line = [&](std::string_view line) { return deliver(line, o.keep, on_event, &seen); };
    auto on_bytes = [&](std::string_view bytes) -> Result<> {
      auto fed = lines.feed(bytes, on_line);
      // Bytes that are no events are a broken stream: a new one starts where this one was last whole.
      if (!fed && fed.error().code == ErrorCode::kCorrupt) {
        Error e = fed.error();
        e.code = ErrorCode::kUnavailable;
        return base::fail(e);
      }
      return fed;
    };
    auto ended =
        transport_->stream(request, on_bytes, std::chrono::seconds(seconds) + options_.idle_margin, stop);
    if (!ended) {
      Error e = ended.error().in(what);
      if (e.code == ErrorCode::kTimeout)
        e.code = ErrorCode::kUnavailable;  // a silent peer is a broken stream
      return base::fail(std::move(e));
    }
    const StreamEnd& end = *ended;
    if (end.status != 200)
      return base::fail(status_error({end.status, end.body, end.retry_after}, what, false));
    if (lines.pending() > 0)
      return base::fail(ErrorCode::kUnavailable, fmt::format("{}: cut within an event", what));
    return seen;
  }

 private:
  using ToError = Error (*)(const Response&, std::string_view);

  static Error status_error_of_write(const Response& response, std::string_view what) {
    return status_error(response, what, true);
  }

  static Query manager() {
    Query query;
    query.add("fieldManager", kFieldManager);
    return query;
  }

  Result<Json> read(const std::string& target, const std::string& what, Deadline d,
                    const std::string& top = {}, const Fields& keep = {}) {
    Request request;
    request.target = target;
    auto response = transport_->send(request, d, {});
    if (!response) return base::fail(response.error().in(what));
    if (!good(response->status)) return base::fail(status_error(*response, what, false));
    Json value = parse_only(response->body, top, keep);
    if (value.is_discarded())
      return base::fail(ErrorCode::kUnavailable, fmt::format("{}: the reply is not JSON", what));
    return value;
  }

  Result<Json> write(std::string method, std::string target, std::string_view content, const Json& body,
                     const std::string& what, Deadline d, ToError to_error) {
    Request request;
    request.method = std::move(method);
    request.target = std::move(target);
    request.content_type = content;
    request.body = body.dump(-1, ' ', false, Json::error_handler_t::replace);
    auto response = transport_->send(request, d, {});
    if (!response) return base::fail(response.error().in(what));
    if (!good(response->status)) return base::fail(to_error(*response, what));
    Json value = Json::parse(response->body, nullptr, false);
    if (value.is_discarded()) {
      return base::fail(ErrorCode::kInDoubt,
                        fmt::format("{}: done by its status, but the reply is not JSON", what));
    }
    return value;
  }

  static Result<> deliver(std::string_view line, const Fields& keep,
                          const std::function<void(WatchEvent)>& on_event, std::string* seen) {
    Json event = parse_only(line, "object", keep);
    std::string type = base::text_at(event, {"type"});
    // Then the object is a Status, with other fields.
    if (type == "ERROR") event = Json::parse(line, nullptr, false);
    const Json& object = base::at(event, {"object"});
    if (!object.is_object()) return base::fail(ErrorCode::kCorrupt, "a line of the stream is no event");
    if (type == "ERROR") {
      Response status{static_cast<int>(base::number_at(object, {"code"}, 500)),
                      object.dump(-1, ' ', false, Json::error_handler_t::replace),
                      {}};
      return base::fail(status_error(status, "the stream ended", false));
    }
    WatchEvent out;
    if (type == "ADDED") {
      out.type = WatchEvent::Type::kAdded;
    } else if (type == "MODIFIED") {
      out.type = WatchEvent::Type::kModified;
    } else if (type == "DELETED") {
      out.type = WatchEvent::Type::kDeleted;
    } else if (type == "BOOKMARK") {
      out.type = WatchEvent::Type::kBookmark;
    } else {
      return base::fail(ErrorCode::kCorrupt,
                        fmt::format("the stream holds an event of the unknown type '{}'", type));
    }
    std::string version = base::text_at(object, {"metadata", "resourceVersion"});
    if (!version.empty()) *seen = version;
    out.object = std::move(event["object"]);
    on_event(std::move(out));
    return {};
  }

  int watch_seconds() const {
    thread_local std::minstd_rand random{std::random_device{}()};
    return std::uniform_int_distribution<int>(options_.watch_seconds_least,
                                              options_.watch_seconds_most)(random);
  }

  const std::shared_ptr<Transport> transport_;
  const RestOptions options_;
};

}  // namespace

std::unique_ptr<Api> make_rest_client(std::shared_ptr<Transport> transport, RestOptions options) {
  return std::make_unique<RestClient>(std::move(transport), options);
}

std::unique_ptr<Api> connect(const Config& config) {
  return make_rest_client(make_cpprest_transport(config));
}

std::unique_ptr<Api> connect_for_lease(const Config& config) {
  TransportOptions options;
  options.shared_writes = true;
  return make_rest_client(make_cpprest_transport(config, options));
}

}  // namespace pgrunbook::kube
