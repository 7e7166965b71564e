#include "plan/transcript.hpp"

#include <fmt/format.h>

namespace pgrunbook::plan {

using api::Json;
using base::at;
using base::text_at;

namespace {

// Table cells: no line breaks, no bars, bounded.
std::string cell(const Json& value) {
  std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  std::string out;
  for (char c : base::cut_text(text, 600))
    out += c == '\n' || c == '\r' ? std::string(" ") : c == '|' ? std::string("\\|") : std::string(1, c);
  return out;
}

void table(std::string* out, const Json& object) {
  *out += "| what | value |\n|---|---|\n";
  for (const auto& [key, value] : object.items()) {
    if (!value.is_null() && value != Json("")) *out += fmt::format("| {} | {} |\n", key, cell(value));
  }
  *out += "\n";
}

}  // namespace

std::string transcript(const std::string& kind, const Json& object, const api::ActionStatus& status,
                       const std::string& outcome) {
  std::string out = fmt::format("# {} {}: {}\n\n", kind, text_at(object, {"metadata", "name"}), outcome);
  Json head = {{"namespace", text_at(object, {"metadata", "namespace"})},
               {"uid", text_at(object, {"metadata", "uid"})},
               {"topology", text_at(status.operation.inputs, {"topology"})},
               {"started", status.start_time},
               {"plan", text_at(status.plan, {"digest"})}};
  std::string approved = text_at(status.operation.inputs, {"approvedPlan"});
  if (!approved.empty()) head["approved plan"] = approved;
  if (status.operation.failure.is_object())
    head["why it was put back"] = text_at(status.operation.failure, {"message"});
  table(&out, head);
  out += "All times are UTC.\n\n";
  if (const Json& facts = at(status.plan, {"facts"}); facts.is_object() && !facts.empty()) {
    out += "## What was planned\n\n";
    table(&out, facts);
  }
  if (const Json& stake = at(status.plan, {"dataAtStake"}); stake.is_object()) {
    out += "## Data at stake\n\n";
    table(&out, stake);
  }
  out += "## Steps\n\n| step | began | ended | what | result |\n|---|---|---|---|---|\n";
  for (const Json& line : status.operation.log) {
    out += fmt::format("| {} | {} | {} | {} | {} |\n", cell(at(line, {"step"})), text_at(line, {"startTime"}),
                       text_at(line, {"endTime"}), cell(at(line, {"text"})),
                       cell(at(line, {"outcome"}).is_null() ? Json("") : at(line, {"outcome"})));
  }
  out += "\n## What each step found\n\n";
  for (const auto& [step, result] : status.operation.results.items()) {
    if (!result.is_object() || result.empty()) continue;
    out += fmt::format("### {}\n\n", step);
    table(&out, result);
  }
  return base::cut_text(out, std::size_t{512} << 10);
}

}  // namespace pgrunbook::plan
