#include "agent/locate.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace pgrunbook::agent {
namespace {

using base::refused;
using postgres::TimelineId;
using postgres::WalRecord;
using postgres::WalRecordKind;

constexpr std::size_t kListed = 10;

// How far ahead of `from` an xid is; they run in a circle.
std::int32_t distance(std::uint32_t xid, std::uint32_t from) { return static_cast<std::int32_t>(xid - from); }

bool contains(const std::vector<std::uint32_t>& list, std::uint32_t xid) {
  return std::find(list.begin(), list.end(), xid) != list.end();
}

// "at 0/3000148 (timeline 1, 2026-11-20T15:00:00.000000Z)": a restore point has no time of its own here.
std::string where(const Sighting& s) {
  bool point = s.record.kind == WalRecordKind::kRestorePoint;
  std::string time = point ? (s.after ? ", after " + base::format_time_micro(*s.after) : "")
                           : ", " + base::format_time_micro(s.record.time);
  return fmt::format("at {} (timeline {}{})", point ? s.record.end.text() : s.record.start.text(),
                     s.timeline.number(), time);
}

std::string commit_words(const WalRecord& r) {
  return fmt::format("{} (committed {})", r.xid, base::format_time_micro(r.time));
}

std::string nearest_xids(const Sightings& path) {
  if (!path.below && !path.above) return "there is no commit in that WAL; name an older backup";
  return fmt::format("the nearest committed ones by number are {}{}{}",
                     path.below ? commit_words(*path.below) : "", path.below && path.above ? " and " : "",
                     path.above ? commit_words(*path.above) : "");
}

base::Error unknown_xid(const Wanted& wanted, const Sightings& path, TimelineId chosen) {
  if (path.aborted) {
    return refused("TransactionRolledBack",
                   fmt::format("{} was rolled back at {} ({}): no state holds anything of it", wanted.words(),
                               path.aborted->start.text(), base::format_time_micro(path.aborted->time)),
                   nearest_xids(path));
  }
  if (path.parent) {
    bool committed = path.parent->kind == WalRecordKind::kCommit;
    return refused("SubTransaction",
                   fmt::format("{} is a part (savepoint) of transaction {}, which was {} at {} ({})",
                               wanted.words(), path.parent->xid, committed ? "committed" : "rolled back",
                               path.parent->start.text(), base::format_time_micro(path.parent->time)),
                   committed ? fmt::format("write targetXID: \"{}\"", path.parent->xid) : nearest_xids(path));
  }
  if (path.prepared) {
    return refused(
        "TransactionPrepared",
        fmt::format("{} was prepared at {} ({}) and not committed in the archived WAL of timeline {}",
                    wanted.words(), path.prepared->start.text(), base::format_time_micro(path.prepared->time),
                    chosen.number()),
        fmt::format("to have it come back prepared, write targetLSN: {}; {}", path.prepared->end.text(),
                    nearest_xids(path)));
  }
  return refused("UnknownTransaction",
                 fmt::format("the archived WAL of timeline {} has no commit of {} from {} on",
                             chosen.number(), wanted.words(), path.from.text()),
                 nearest_xids(path));
}

base::Error unknown_name(const Wanted& wanted, const Sightings& path, TimelineId chosen) {
  std::vector<std::string> known;
  known.reserve(path.others.size());
  for (const Sighting& s : path.others) known.push_back(fmt::format("'{}' {}", s.record.name, where(s)));
  std::string left_out;
  if (known.size() > kListed) {
    left_out = fmt::format(" and {} older", known.size() - kListed);
    known.erase(known.begin(), known.end() - kListed);
  }
  return refused("UnknownRestorePoint",
                 fmt::format("the archived WAL of timeline {} has no {} from {} on", chosen.number(),
                             wanted.words(), path.from.text()),
                 known.empty() ? "it has no restore points; write targetTime"
                               : fmt::format("it has {}{}", fmt::join(known, ", "), left_out));
}

}  // namespace

std::string Wanted::words() const {
  return xid != 0 ? fmt::format("transaction {}", xid) : fmt::format("restore point '{}'", name);
}

void Lookout::look_for_xid(const WalRecord& r, TimelineId timeline) {
  if (r.kind == WalRecordKind::kPrepare && r.xid == wanted_.xid) out_->prepared = r;
  if (r.kind != WalRecordKind::kCommit && r.kind != WalRecordKind::kAbort) return;
  if (contains(r.subxacts, wanted_.xid)) out_->parent = r;
  if (r.kind == WalRecordKind::kAbort) {
    if (r.xid == wanted_.xid) out_->aborted = r;
    return;
  }
  if (r.xid == wanted_.xid) {
    out_->found.push_back({r, timeline, last_commit_});
  } else if (r.xid != 0) {
    auto& side = distance(r.xid, wanted_.xid) < 0 ? out_->below : out_->above;
    bool nearer = !side || std::abs(static_cast<std::int64_t>(distance(r.xid, wanted_.xid))) <
                               std::abs(static_cast<std::int64_t>(distance(side->xid, wanted_.xid)));
    if (nearer) side = r;
  }
}

void Lookout::feed(const WalRecord& r, TimelineId timeline) {
  if (wanted_.xid != 0) look_for_xid(r, timeline);
  if (r.kind == WalRecordKind::kRestorePoint && wanted_.xid == 0) {
    Sighting s{r, timeline, last_commit_};
    if (r.name == wanted_.name) {
      out_->found.push_back(s);
    } else if (!r.name.starts_with("pgrunbook ")) {
      out_->others.push_back(s);
    }
  }
  if (r.kind == WalRecordKind::kCommit) last_commit_ = r.time;
}

base::Result<WalRecord> the_one_meant(const Wanted& wanted, const Sightings& path,
                                      const std::vector<SeenOnBranch>& branches, TimelineId chosen) {
  std::vector<Sighting> elsewhere;
  std::string left;
  for (const SeenOnBranch& b : branches) {
    if (b.sightings.found.empty()) continue;
    elsewhere.insert(elsewhere.end(), b.sightings.found.begin(), b.sightings.found.end());
    left += fmt::format("{}timeline {} was left at {}", left.empty() ? "" : ", ", b.timeline.number(),
                        b.fork.text());
  }
  std::vector<Sighting> all = path.found;
  all.insert(all.end(), elsewhere.begin(), elsewhere.end());
  if (path.found.size() == 1 && elsewhere.empty()) return path.found.front().record;
  if (all.empty()) {
    return base::fail(wanted.xid != 0 ? unknown_xid(wanted, path, chosen)
                                      : unknown_name(wanted, path, chosen));
  }
  std::vector<std::string> places;
  places.reserve(all.size());
  for (const Sighting& s : all) places.push_back(where(s));
  if (path.found.empty()) {
    return base::fail(
        refused("TargetOnAbandonedTimeline",
                fmt::format("{} is only {}; {}: timeline {} does not have it", wanted.words(),
                            fmt::join(places, " and "), left, chosen.number()),
                fmt::format("set recoveryTarget.targetTLI: {}; {}", elsewhere.back().timeline.number(),
                            wanted.xid != 0 ? nearest_xids(path) : unknown_name(wanted, path, chosen).hint)));
  }
  if (elsewhere.empty()) {
    return base::fail(refused(
        "AmbiguousTarget",
        fmt::format("{} is in the WAL {} times: {}", wanted.words(), all.size(), fmt::join(places, ", ")),
        fmt::format(
            "write the one that is meant as targetLSN, like {}{}",
            wanted.xid != 0 ? path.found.back().record.start.text() : path.found.back().record.end.text(),
            wanted.xid != 0 ? " with exclusive: false" : "")));
  }
  return base::fail(refused("AmbiguousTarget",
                            fmt::format("{} is {}; {}", wanted.words(), fmt::join(places, " and "), left),
                            fmt::format("set recoveryTarget.targetTLI to the one that is meant: {} or {}",
                                        elsewhere.back().timeline.number(), chosen.number())));
}

}  // namespace pgrunbook::agent
