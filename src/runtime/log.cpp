#include "runtime/log.hpp"

#include <algorithm>
#include <memory>

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

#include "base/json.hpp"

namespace pgrunbook::runtime {
namespace {

std::string& scope() {
  thread_local std::string text;
  return text;
}

// "%*" in the pattern: the scope's fields, so that lines written with spdlog directly carry them too.
class ScopeFlag final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg&, const std::tm&, spdlog::memory_buf_t& out) override {
    out.append(scope().data(), scope().data() + scope().size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<ScopeFlag>(); }
};

std::string value_text(const std::string& value) {
  bool plain = !value.empty() && std::all_of(value.begin(), value.end(), [](char c) {
    return c > ' ' && c != '"' && c != '=' && c != '\\' && static_cast<unsigned char>(c) < 0x7F;
  });
  return plain ? value : base::Json(value).dump(-1, ' ', false, base::Json::error_handler_t::replace);
}

}  // namespace

std::string fields_text(std::initializer_list<Field> fields) {
  std::string out;
  for (const Field& f : fields) {
    out += ' ';
    out += f.key;
    out += '=';
    out += value_text(f.value);
  }
  return out;
}

void init_logging(std::string_view level) {
  auto logger =
      std::make_shared<spdlog::logger>("pgrunbook", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
  formatter->add_flag<ScopeFlag>('*').set_pattern("%Y-%m-%dT%H:%M:%S.%fZ %l %v%*");
  logger->set_formatter(std::move(formatter));
  logger->set_level(spdlog::level::from_str(std::string(level)));
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

void log(spdlog::level::level_enum level, std::string_view logger, std::string_view message,
         std::initializer_list<Field> fields) {
  if (!spdlog::should_log(level)) return;
  std::string line(message);
  std::replace_if(line.begin(), line.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  spdlog::log(level, "{} {}{}", logger, line, fields_text(fields));
}

LogScope::LogScope(std::initializer_list<Field> fields) : former_(scope().size()) {
  scope() += fields_text(fields);
}
LogScope::~LogScope() { scope().resize(former_); }

std::string scope_text() { return scope(); }

}  // namespace pgrunbook::runtime
