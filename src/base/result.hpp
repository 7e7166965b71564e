// Results and errors: every call that can fail across a module border returns Result<T>. Exceptions live only
// inside the file that uses a library which throws them.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <tl/expected.hpp>

namespace pgrunbook::base {

// What a caller can do about an error. A code says whether a retry can help, never which component failed.
enum class ErrorCode {
  kInvalid,        // the input is wrong; only another input helps
  kNotFound,       // the thing named does not exist
  kAlreadyExists,  // put-if-absent found something
  kConflict,       // somebody else changed it; observe again
  kForbidden,      // a right is missing
  kUnauthorized,   // credentials are wrong or expired
  kUnavailable,    // nobody answers, or asks to come later; retry helps
  kTimeout,        // the deadline passed; nothing is known to have happened
  kInDoubt,        // a write was sent and its reply is lost; look at the world before anything else
  kGone,           // a watch or list position is too old; start again
  kCancelled,      // we were asked to stop
  kCorrupt,        // bytes are not what they must be
  kRefused,        // a rule of ours forbids it; the message says which
  kInternal,       // a bug or a broken machine
};

[[nodiscard]] std::string_view to_string(ErrorCode code);

// An error for people: what was being done, what came, and what to do about it.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string reason;   // CamelCase, stable, used as the reason of a condition; empty = the code's name
  std::string message;  // one sentence, lower-case start, no full stop at the end
  std::string hint;     // what the user can do; empty when there is nothing
  int status = 0;       // HTTP status where there was one
  std::optional<std::chrono::milliseconds> retry_after{};

  // "message. HINT: hint"
  [[nodiscard]] std::string text() const;
  [[nodiscard]] std::string reason_or_code() const;
  // The same error seen from one level up: "act: message".
  [[nodiscard]] Error in(std::string_view act) const;
};

[[nodiscard]] Error error(ErrorCode code, std::string message, std::string hint = {});
[[nodiscard]] Error refused(std::string reason, std::string message, std::string hint = {});

template <typename T = void>
using Result = tl::expected<T, Error>;
using Failure = tl::unexpected<Error>;

[[nodiscard]] inline Failure fail(Error e) { return Failure(std::move(e)); }
[[nodiscard]] inline Failure fail(ErrorCode code, std::string message, std::string hint = {}) {
  return Failure(error(code, std::move(message), std::move(hint)));
}

// The same with a reason for machines.
[[nodiscard]] inline Failure fail_as(ErrorCode code, std::string reason, std::string message,
                                     std::string hint = {}) {
  Error e = error(code, std::move(message), std::move(hint));
  e.reason = std::move(reason);
  return Failure(std::move(e));
}

}  // namespace pgrunbook::base

// Returns the error of an expression to the caller: PGR_TRY(client.get(...)); PGR_ASSIGN(auto page,
// client.list(...));
#define PGR_CONCAT_INNER(a, b) a##b
#define PGR_CONCAT(a, b) PGR_CONCAT_INNER(a, b)
#define PGR_TRY(expression)                                          \
  do {                                                               \
    if (auto pgr_result = (expression); !pgr_result)                 \
      return ::pgrunbook::base::fail(std::move(pgr_result).error()); \
  } while (false)
#define PGR_ASSIGN(declaration, expression)                                              \
  auto PGR_CONCAT(pgr_value_, __LINE__) = (expression);                                  \
  if (!PGR_CONCAT(pgr_value_, __LINE__))                                                 \
    return ::pgrunbook::base::fail(std::move(PGR_CONCAT(pgr_value_, __LINE__)).error()); \
  declaration = std::move(*PGR_CONCAT(pgr_value_, __LINE__))
