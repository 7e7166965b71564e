#include "base/result.hpp"

namespace pgrunbook::base {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
      return "Invalid";
    case ErrorCode::kNotFound:
      return "NotFound";
    case ErrorCode::kAlreadyExists:
      return "AlreadyExists";
    case ErrorCode::kConflict:
      return "Conflict";
    case ErrorCode::kForbidden:
      return "Forbidden";
    case ErrorCode::kUnauthorized:
      return "Unauthorized";
    case ErrorCode::kUnavailable:
      return "Unavailable";
    case ErrorCode::kTimeout:
      return "Timeout";
    case ErrorCode::kInDoubt:
      return "InDoubt";
    case ErrorCode::kGone:
      return "Gone";
    case ErrorCode::kCancelled:
      return "Cancelled";
    case ErrorCode::kCorrupt:
      return "Corrupt";
    case ErrorCode::kRefused:
      return "Refused";
    case ErrorCode::kInternal:
      return "Internal";
  }
  return "Internal";
}

std::string Error::text() const { return hint.empty() ? message : message + ". HINT: " + hint; }

std::string Error::reason_or_code() const { return reason.empty() ? std::string(to_string(code)) : reason; }

Error Error::in(std::string_view act) const {
  Error outer = *this;
  outer.message = std::string(act) + ": " + message;
  return outer;
}

Error error(ErrorCode code, std::string message, std::string hint) {
  Error e;
  e.code = code;
  e.message = std::move(message);
  e.hint = std::move(hint);
  return e;
}

Error refused(std::string reason, std::string message, std::string hint) {
  Error e = error(ErrorCode::kRefused, std::move(message), std::move(hint));
  e.reason = std::move(reason);
  return e;
}

}  // namespace pgrunbook::base
