#include "kube/status_error.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace pgrunbook::kube {
namespace {

using base::Error;
using base::ErrorCode;

ErrorCode code_of(int status, const std::string& reason, bool write) {
  switch (status) {
    case 400:
    case 405:
    case 406:
    case 413:
    case 415:
    case 422:
      return ErrorCode::kInvalid;
    case 401:
      return ErrorCode::kUnauthorized;
    case 403:
      return ErrorCode::kForbidden;
    case 404:
      return ErrorCode::kNotFound;
    case 409:
      return reason == "AlreadyExists" ? ErrorCode::kAlreadyExists : ErrorCode::kConflict;
    case 410:
      return ErrorCode::kGone;
    case 408:
    case 429:
    case 503:
      return ErrorCode::kUnavailable;
    default:
      break;
  }
  if (status >= 500) return write ? ErrorCode::kInDoubt : ErrorCode::kUnavailable;
  if (status >= 300 && status < 400) return ErrorCode::kRefused;
  return ErrorCode::kInternal;
}

std::string hint_of(int status, const std::string& message) {
  if (status == 401)
    return "the token or client certificate is not accepted; see the service account and its mount";
  if (status == 403 && message.find("exceeded quota") != std::string::npos) {
    return "raise the namespace's ResourceQuota, or free some of it";
  }
  if (status == 403 && message.find("being terminated") != std::string::npos)
    return "the namespace is being deleted";
  if (status == 403) return "give the service account this right (Role pgrunbook of the chart)";
  if (status == 404 && message.find("could not find the requested resource") != std::string::npos) {
    return "the API server does not know this kind; for kinds of pgrunbook.io apply the chart pgrunbook-crds";
  }
  if (status >= 300 && status < 400) return "write the API server's own address; redirects are not followed";
  return {};
}

}  // namespace

Error status_error(const Response& response, std::string_view what, bool write) {
  Json status = Json::parse(response.body, nullptr, false);
  Error e;
  e.status = response.status;
  e.retry_after = response.retry_after;
  std::string message;
  if (status.is_object() && base::text_at(status, {"kind"}) == "Status") {
    e.reason = base::text_at(status, {"reason"});
    message = base::text_at(status, {"message"});
    if (!e.retry_after) {
      if (auto seconds = base::number_at(status, {"details", "retryAfterSeconds"}); seconds > 0) {
        e.retry_after = std::chrono::seconds(seconds);
      }
    }
    for (const Json& cause : base::at(status, {"details", "causes"})) {
      std::string text = base::text_at(cause, {"message"});
      if (base::text_at(cause, {"reason"}) == "NamespaceTerminating") e.reason = "NamespaceTerminating";
      if (text.empty() || message.find(text) != std::string::npos) continue;
      std::string field = base::text_at(cause, {"field"});
      message += field.empty() ? fmt::format("; {}", text) : fmt::format("; {}: {}", field, text);
    }
  } else {
    // Not the API server's own words: a proxy or load balancer. One line of it is enough.
    message = response.body.substr(0, std::min<std::size_t>(response.body.size(), 200));
    std::replace_if(message.begin(), message.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  }
  if (message.empty()) message = fmt::format("HTTP status {}", response.status);
  e.code = code_of(response.status, e.reason, write);
  e.hint = hint_of(response.status, message);
  e.message = fmt::format("{}: {}", what, message);
  return e;
}

Error json_patch_error(const Response& response, std::string_view what) {
  Error e = status_error(response, what, true);
  if (response.status == 422 &&
      e.message.find("the server rejected our request due to an error in our request") != std::string::npos) {
    e.code = ErrorCode::kConflict;
    e.reason = "PatchTestFailed";
    e.message = fmt::format("{}: the object is no longer as it was when we looked (patch test)", what);
  }
  return e;
}

}  // namespace pgrunbook::kube
