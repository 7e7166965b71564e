// Log lines: time, level, logger, message, key=value. One line each, whatever is in the values; never a
// secret: values come from names, numbers and error texts, not from Secrets or tokens.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include <spdlog/spdlog.h>

namespace pgrunbook::runtime {

struct Field {
  std::string_view key;
  std::string value;
};

// " key=value ...", quoted as JSON where a value holds anything but printable characters without blank, '"'
// or '='.
[[nodiscard]] std::string fields_text(std::initializer_list<Field> fields);

// Sets the default logger: stderr, UTC, the pattern above. `level`: trace, debug, info, warn, error.
void init_logging(std::string_view level);

// Writes one line. Newlines in the message become blanks.
void log(spdlog::level::level_enum level, std::string_view logger, std::string_view message,
         std::initializer_list<Field> fields = {});
inline void log_info(std::string_view logger, std::string_view message,
                     std::initializer_list<Field> fields = {}) {
  log(spdlog::level::info, logger, message, fields);
}
inline void log_warn(std::string_view logger, std::string_view message,
                     std::initializer_list<Field> fields = {}) {
  log(spdlog::level::warn, logger, message, fields);
}
inline void log_error(std::string_view logger, std::string_view message,
                      std::initializer_list<Field> fields = {}) {
  log(spdlog::level::err, logger, message, fields);
}

// Fields added to every line this thread writes while the object lives: the reconcile's id and object. Nests.
class LogScope {
 public:
  explicit LogScope(std::initializer_list<Field> fields);
  ~LogScope();
  LogScope(const LogScope&) = delete;
  LogScope& operator=(const LogScope&) = delete;

 private:
  std::size_t former_;
};

// The current thread's scope fields (for tests).
[[nodiscard]] std::string scope_text();

}  // namespace pgrunbook::runtime
