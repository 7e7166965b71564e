#include "postgres/timeline.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace pgrunbook::postgres {
namespace {

std::string_view next_line(std::string_view* rest) {
  auto end = rest->find('\n');
  std::string_view line = rest->substr(0, end);
  *rest = end == std::string_view::npos ? std::string_view{} : rest->substr(end + 1);
  return line;
}

std::string_view next_word(std::string_view* line) {
  constexpr std::string_view kBlank = " \t\r";
  auto begin = line->find_first_not_of(kBlank);
  if (begin == std::string_view::npos) {
    *line = {};
    return {};
  }
  auto end = std::min(line->find_first_of(kBlank, begin), line->size());
  std::string_view word = line->substr(begin, end - begin);
  *line = line->substr(end);
  return word;
}

}  // namespace

base::Result<TimelineId> TimelineId::parse_hex(std::string_view text) {
  std::uint32_t value = 0;
  auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  bool whole = code == std::errc{} && stop == text.data() + text.size() && text.size() <= 8;
  bool upper = text.find_first_of("abcdef") == std::string_view::npos;
  if (!whole || !upper || value == 0) {
    return base::fail(base::ErrorCode::kInvalid, fmt::format("'{:.40}' is no timeline", text));
  }
  return TimelineId(value);
}

std::string TimelineId::hex() const { return fmt::format("{:08X}", number_); }

base::Result<TimelineHistory> TimelineHistory::parse(TimelineId timeline, std::string_view content) {
  auto corrupt = [&](std::string_view line, std::string_view why) {
    return base::fail(base::ErrorCode::kCorrupt,
                      fmt::format("{}.history: {}: '{:.80}'", timeline.hex(), why, line));
  };
  std::vector<Ancestor> ancestors;
  std::string_view rest = content;
  while (!rest.empty()) {
    std::string_view line = next_line(&rest);
    std::string_view words = line;
    std::string_view number = next_word(&words);
    if (number.empty() || number.front() == '#') continue;
    std::uint32_t id = 0;
    auto [stop, code] = std::from_chars(number.data(), number.data() + number.size(), id);
    if (code != std::errc{} || stop != number.data() + number.size() || id == 0) {
      return corrupt(line, "a line does not begin with a timeline number");
    }
    auto end = Lsn::parse(next_word(&words));
    if (!end) return corrupt(line, "a line has no LSN");
    if (!ancestors.empty() && id <= ancestors.back().timeline.number())
      return corrupt(line, "timelines do not rise");
    if (id >= timeline.number()) return corrupt(line, "a parent is not older than its child");
    ancestors.push_back({TimelineId(id), *end});
  }
  if (ancestors.empty()) return corrupt(content, "no parent is named");
  // A recovery can end before the place where its timeline left the parent: then the new timeline begins
  // there, and the file says "1 0/9000000", "2 0/5000098". Nothing behind the later line's place is of this
  // history, whatever an earlier line says (tliOfPointInHistory looks from the newest on).
  for (std::size_t i = ancestors.size() - 1; i > 0; --i)
    ancestors[i - 1].end = std::min(ancestors[i - 1].end, ancestors[i].end);
  return TimelineHistory(timeline, std::move(ancestors));
}

bool TimelineHistory::contains(TimelineId timeline) const {
  if (timeline == timeline_) return true;
  for (const Ancestor& a : ancestors_) {
    if (a.timeline == timeline) return true;
  }
  return false;
}

Lsn TimelineHistory::end_of(TimelineId timeline) const {
  for (const Ancestor& a : ancestors_) {
    if (a.timeline == timeline) return a.end;
  }
  return {};
}

TimelineId TimelineHistory::timeline_at(Lsn lsn) const {
  for (const Ancestor& a : ancestors_) {
    if (lsn < a.end) return a.timeline;
  }
  return timeline_;
}

TimelineId TimelineHistory::timeline_of_segment(std::uint64_t segment, std::uint64_t segment_size) const {
  for (const Ancestor& a : ancestors_) {
    if (segment < a.end.segment(segment_size)) return a.timeline;
  }
  return timeline_;
}

}  // namespace pgrunbook::postgres
