// Timelines: the numbered branches of a cluster's history, and the .history files that say where each left
// its parent.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "postgres/lsn.hpp"

namespace pgrunbook::postgres {

class TimelineId {
 public:
  constexpr TimelineId() = default;
  constexpr explicit TimelineId(std::uint32_t number) : number_(number) {}
  // 1 to 8 upper-case hexadecimal digits, as in a WAL file's name ("0000000A"), zero refused.
  [[nodiscard]] static base::Result<TimelineId> parse_hex(std::string_view text);
  [[nodiscard]] constexpr std::uint32_t number() const { return number_; }
  [[nodiscard]] constexpr bool valid() const { return number_ != 0; }
  // "0000000A"
  [[nodiscard]] std::string hex() const;
  constexpr auto operator<=>(const TimelineId&) const = default;

 private:
  std::uint32_t number_ = 0;
};

// One ancestor: `timeline` was followed up to `end`, where the next one in the list branched off. Ends never
// fall; an ancestor that ends where the one before it does has given nothing but its number.
struct Ancestor {
  TimelineId timeline;
  Lsn end;
};

// A timeline with its ancestors, oldest first: the content of <timeline>.history. Timeline 1 has none and no
// file.
class TimelineHistory {
 public:
  explicit TimelineHistory(TimelineId timeline, std::vector<Ancestor> ancestors = {})
      : timeline_(timeline), ancestors_(std::move(ancestors)) {}
  // PostgreSQL's rules (readTimeLineHistory): lines "<tli> <lsn> <reason>", # comments, blank lines; numbers
  // rise and stay below the timeline's own. kCorrupt otherwise, and for a file that names no parent at all.
  [[nodiscard]] static base::Result<TimelineHistory> parse(TimelineId timeline, std::string_view content);

  [[nodiscard]] TimelineId timeline() const { return timeline_; }
  [[nodiscard]] const std::vector<Ancestor>& ancestors() const { return ancestors_; }
  // The direct parent and where it was left; an invalid id and 0/0 for timeline 1.
  [[nodiscard]] TimelineId parent() const {
    return ancestors_.empty() ? TimelineId() : ancestors_.back().timeline;
  }
  [[nodiscard]] Lsn fork() const { return ancestors_.empty() ? Lsn() : ancestors_.back().end; }
  // Whether the timeline is this one or one of its ancestors.
  [[nodiscard]] bool contains(TimelineId timeline) const;
  // Where this history left an ancestor; 0/0 for the timeline itself and for strangers.
  [[nodiscard]] Lsn end_of(TimelineId timeline) const;
  // The timeline on which the byte at `lsn` was written.
  [[nodiscard]] TimelineId timeline_at(Lsn lsn) const;
  // The timeline whose FILE is read for a segment: from the segment that contains a fork on, the child's
  // counts (PostgreSQL's XLogFileReadAnyTLI), for it begins with a copy of the parent's bytes.
  [[nodiscard]] TimelineId timeline_of_segment(std::uint64_t segment, std::uint64_t segment_size) const;

 private:
  TimelineId timeline_;
  std::vector<Ancestor> ancestors_;
};

}  // namespace pgrunbook::postgres
