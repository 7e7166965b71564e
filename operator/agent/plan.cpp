#include "agent/plan.hpp"

#include <algorithm>
#include <sys/statvfs.h>
#include <thread>

#include <fmt/format.h>

#include "agent/agent.hpp"
#include "agent/dead_server.hpp"
#include "agent/locate.hpp"
#include "agent/own_wal.hpp"
#include "agent/preflight.hpp"
#include "agent/salvage.hpp"
#include "agent/wal_reader.hpp"

namespace pgrunbook::agent {

using archive::BackupRecord;
using base::Json;
using postgres::Lsn;
using postgres::TimelineHistory;
using postgres::TimelineId;

base::Result<TimelineId> choose_timeline(const archive::RepositoryRecord& record, int asked) {
  if (asked > 0) return TimelineId(static_cast<std::uint32_t>(asked));
  std::vector<std::string> live;
  for (const auto& t : record.timelines) {
    if (t.state == archive::TimelineState::kLive) live.push_back(std::to_string(t.timeline.number()));
  }
  if (live.size() == 1) return record.live()->timeline;
  if (live.empty() && record.timelines.size() == 1) return record.timelines.front().timeline;
  return base::fail(base::refused(
      "AmbiguousTimeline",
      live.empty()
          ? fmt::format("the repository has {} timelines and none of them is live", record.timelines.size())
          : fmt::format("the repository has more than one live timeline: {}", fmt::join(live, ", ")),
      "start the primary, so that its timeline decides, or set recoveryTarget.targetTLI"));
}

base::Result<BackupChoice> choose_backups(const std::vector<archive::BackupEntry>& backups,
                                          const TimelineHistory& history, const std::string& asked,
                                          const BackupBound& bound) {
  BackupChoice choice;
  std::vector<BackupRecord> usable;
  bool elsewhere = false, found = false;
  for (const auto& entry : backups) {
    if (!asked.empty() && entry.id != asked) continue;
    found = true;
    if (!entry.record) continue;
    const BackupRecord& b = *entry.record;
    bool on_path = history.contains(b.timeline);
    Lsn left = history.end_of(b.timeline);
    if (!on_path || (left.valid() && b.end_lsn > left)) {
      elsewhere = true;
      continue;
    }
    usable.push_back(b);
  }
  if (!asked.empty() && !found) {
    return base::fail(base::refused("UnknownBackup", fmt::format("the repository has no backup {}", asked),
                                    "leave out the backup to use the newest that can reach the target"));
  }
  if (usable.empty() && elsewhere) {
    return base::fail(
        base::refused("BackupOnOtherTimeline",
                      fmt::format("no backup{} lies on timeline {} or its ancestors before the fork",
                                  asked.empty() ? "" : " " + asked, history.timeline().number()),
                      "make a backup of the live primary"));
  }
  if (usable.empty()) {
    std::string problem;
    for (const auto& entry : backups) {
      if (!entry.record && (asked.empty() || entry.id == asked))
        problem = fmt::format(" ({}: {})", entry.id, entry.problem);
    }
    return base::fail(base::refused("NoBackup",
                                    fmt::format("the repository has no finished backup{}", problem),
                                    "make one with a PostgresBackup"));
  }
  std::sort(usable.begin(), usable.end(), [](const auto& a, const auto& b) { return a.end_lsn > b.end_lsn; });
  for (BackupRecord& b : usable) {
    bool ended = (!bound.time || b.stop_time <= *bound.time) && (!bound.lsn || b.end_lsn <= *bound.lsn);
    if (ended) choice.candidates.push_back(b);
  }
  if (choice.candidates.empty()) {
    const BackupRecord& oldest = *std::min_element(
        usable.begin(), usable.end(), [](const auto& a, const auto& b) { return a.stop_time < b.stop_time; });
    std::string earliest;
    if (bound.time) {
      earliest =
          fmt::format("the earliest possible targetTime{} is {}", asked.empty() ? "" : " with this backup",
                      base::format_time_micro(oldest.stop_time));
    } else if (!bound.record) {
      earliest = fmt::format("the earliest possible targetLSN{} is {}",
                             asked.empty() ? "" : " with this backup", oldest.end_lsn.text());
    } else {
      earliest = fmt::format(
          "the earliest possible state is the end of backup {} ({}): source.type Backup "
          "with it and recoveryTarget.targetImmediate: true",
          oldest.id, base::format_time_micro(oldest.stop_time));
    }
    return base::fail(
        base::refused("TargetBeforeBackup",
                      fmt::format("{} lies before the end of backup {}", bound.words, oldest.id), earliest));
  }
  return choice;
}

Lsn parting(const TimelineHistory& a, const TimelineHistory& b) {
  // Of a timeline both have been on, where the first of them left it; the newest such place counts.
  constexpr Lsn kNever(~std::uint64_t{0});
  Lsn found;
  auto look = [&](TimelineId t) {
    if (!a.contains(t) || !b.contains(t)) return;
    Lsn one = t == a.timeline() ? kNever : a.end_of(t), two = t == b.timeline() ? kNever : b.end_of(t);
    found = std::max(found, std::min(one, two));
  };
  look(a.timeline());
  for (const postgres::Ancestor& ancestor : a.ancestors()) look(ancestor.timeline);
  return found;
}

base::Result<> check_branch(const AbandonedBranch& branch, base::SystemTime target,
                            const TargetAnswer& answer, TimelineId chosen) {
  if (!branch.first || target < *branch.first) return {};
  bool lived_there = target <= *branch.last || answer.stop.start < branch.fork;
  if (!lived_there) return {};
  std::string after = answer.excluded
                          ? fmt::format(", or after {} on timeline {}",
                                        base::format_time_micro(answer.excluded->time), chosen.number())
                          : "";
  std::string before =
      answer.included ? base::format_time_micro(answer.included->time) : "the end of the backup";
  return base::fail(base::refused(
      "TargetOnAbandonedTimeline",
      fmt::format(
          "at {} the database lived on timeline {}, which was left at {}: timeline {} does not have its rows",
          base::format_time_micro(target), branch.timeline.number(), branch.fork.text(), chosen.number()),
      fmt::format("the nearest possible targetTime is {}{}; or set recoveryTarget.targetTLI: {}", before,
                  after, branch.timeline.number())));
}

namespace {

Result<Json> wal_point(const std::optional<postgres::WalRecord>& r) {
  if (!r) return Json();
  return Json{{"xid", r->xid}, {"time", base::format_time_micro(r->time)}, {"lsn", r->start.text()}};
}

std::uint64_t free_bytes(const std::string& path) {
  struct statvfs s{};
  return ::statvfs(path.c_str(), &s) == 0 ? static_cast<std::uint64_t>(s.f_bavail) * s.f_frsize : 0;
}

Result<> wait_for_segments(const archive::Repository& repository, const api::PlanOrder& plan,
                           Report& report) {
  auto deadline = base::Deadline::after(std::chrono::seconds(plan.wait_seconds));
  for (const std::string& text : plan.wait_for) {
    PGR_ASSIGN(auto name, postgres::parse_wal_name(text));
    PGR_ASSIGN(auto number, name.segment(repository.segment_size()));
    while (true) {
      auto there = repository.has_segment({name.timeline, number, text});
      if (there && *there) break;
      if (!there && deadline.passed()) return base::fail(there.error());
      if (deadline.passed()) {
        base::Error e = base::error(
            base::ErrorCode::kTimeout,
            fmt::format("segment {} did not arrive in the archive within {} s", text, plan.wait_seconds),
            "look at the archiver of the primary: pg_stat_archiver and its log");
        e.reason = "SegmentNotArrived";
        return base::fail(e);
      }
      report.progress("wait", fmt::format("waiting for segment {}", text));
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
  return {};
}

// Commits of one timeline behind `from` in the archive, up to where its WAL is contiguous.
struct ArchivedCommits {
  std::int64_t count = 0;
  Lsn to;
  Lsn written;  // end of the last record
  std::optional<base::SystemTime> first, last;
};

Result<ArchivedCommits> commits_behind(const archive::Repository& repository, TimelineId timeline, Lsn from,
                                       int major) {
  ArchivedCommits out;
  out.to = from;
  auto history = repository.history(timeline);
  if (!history) return base::fail(history.error());
  PGR_ASSIGN(auto walk, repository.walk(*history, from));
  if (walk.segments.empty()) return out;
  WalRange range{major, repository.segment_size(), walk.segments, from};
  PGR_ASSIGN(auto reading, read_wal(range, scratch_path("branch"), from_repository(repository),
                                    [&](const postgres::WalRecord& r) -> Result<bool> {
                                      out.to = out.written = std::max(out.to, r.end);
                                      if (r.kind != postgres::WalRecordKind::kCommit) return true;
                                      ++out.count;
                                      out.first = out.first ? std::min(*out.first, r.time) : r.time;
                                      out.last = out.last ? std::max(*out.last, r.time) : r.time;
                                      return true;
                                    }));
  if (!reading.unreadable) out.to = std::max(out.to, walk.end);
  return out;
}

// The timelines that were left, with the place where they and the path part.
struct Left {
  TimelineId timeline;
  Lsn fork;
};
std::vector<Left> left_timelines(const archive::Repository& repository, const TimelineHistory& path) {
  std::vector<Left> out;
  for (const auto& t : repository.record().timelines) {
    if (t.state != archive::TimelineState::kAbandoned || t.timeline == path.timeline()) continue;
    auto history = repository.history(t.timeline);
    Lsn fork = path.contains(t.timeline) ? path.end_of(t.timeline) : t.fork;
    if (history) fork = parting(path, *history);
    out.push_back({t.timeline, fork});
  }
  return out;
}

Result<> check_branches(const archive::Repository& repository, const TimelineHistory& path,
                        base::SystemTime target, const TargetAnswer& answer, int major) {
  for (const Left& t : left_timelines(repository, path)) {
    // a branch that was left behind the stop cannot have lived at the target
    auto commits = commits_behind(repository, t.timeline, t.fork, major);
    if (!commits && commits.error().code == base::ErrorCode::kNotFound) continue;
    if (!commits) return base::fail(commits.error());
    PGR_TRY(
        check_branch({t.timeline, t.fork, commits->first, commits->last}, target, answer, path.timeline()));
  }
  return {};
}

// An LSN is a place on one timeline: behind a fork both may have written there.
Result<> check_branches_for_lsn(const archive::Repository& repository, const TimelineHistory& path,
                                Lsn target, int major) {
  for (const Left& t : left_timelines(repository, path)) {
    if (target <= t.fork) continue;
    auto commits = commits_behind(repository, t.timeline, t.fork, major);
    if (!commits && commits.error().code == base::ErrorCode::kNotFound) continue;
    if (!commits) return base::fail(commits.error());
    if (commits->count == 0 || target > commits->written) continue;
    return base::fail(base::refused(
        "TargetOnAbandonedTimeline",
        fmt::format("LSN {} lies behind {}, where timeline {} was left: {} transactions were committed there "
                    "that timeline {} does not have",
                    target.text(), t.fork.text(), t.timeline.number(), commits->count,
                    path.timeline().number()),
        fmt::format("set recoveryTarget.targetTLI to the timeline on which the LSN was noted: {} or {}; the "
                    "nearest targetLSN that both have is {}",
                    t.timeline.number(), path.timeline().number(), t.fork.text())));
  }
  return {};
}

// Reads from the newest backup on, then from the one before it up to there, and so on: as far as a restore
// point may be named twice, or until the transaction is found.
Result<Sightings> look_along(const archive::Repository& repository, const WalSource& source,
                             const TimelineHistory& history, const std::vector<BackupRecord>& newest_first,
                             const Wanted& wanted, Report& report) {
  Sightings out;
  std::optional<Lsn> read_from;
  for (const BackupRecord& backup : newest_first) {
    PGR_ASSIGN(auto walk, source.walk(history, backup.begin_lsn));
    if (!walk.segments.empty()) {
      WalRange range{backup.major_version, repository.segment_size(), walk.segments, backup.begin_lsn,
                     read_from.value_or(walk.end)};
      Lookout lookout(wanted, &out);
      PGR_ASSIGN(auto reading,
                 read_wal(range, scratch_path("look"), source.place(),
                          [&](const postgres::WalRecord& r) -> Result<bool> {
                            report.progress(
                                "read", fmt::format("looking for {}, at {}", wanted.words(), r.start.text()));
                            lookout.feed(r, history.timeline_at(r.start));
                            return true;
                          }));
      (void)reading;  // what is damaged is judged when the way to the target is read
    }
    out.from = backup.begin_lsn;
    read_from = backup.begin_lsn;
    if (wanted.xid != 0 && !out.found.empty()) break;
  }
  auto by_place = [](const Sighting& a, const Sighting& b) { return a.record.start < b.record.start; };
  std::sort(out.found.begin(), out.found.end(), by_place);
  std::sort(out.others.begin(), out.others.end(), by_place);
  return out;
}

Result<std::vector<SeenOnBranch>> look_on_branches(const archive::Repository& repository,
                                                   const TimelineHistory& path, const Wanted& wanted,
                                                   int major) {
  std::vector<SeenOnBranch> out;
  for (const Left& t : left_timelines(repository, path)) {
    auto history = repository.history(t.timeline);
    if (!history && history.error().code == base::ErrorCode::kNotFound) continue;
    if (!history) return base::fail(history.error());
    SeenOnBranch seen{t.timeline, t.fork};
    PGR_ASSIGN(auto walk, repository.walk(*history, t.fork));
    if (!walk.segments.empty()) {
      Lookout lookout(wanted, &seen.sightings);
      WalRange range{major, repository.segment_size(), walk.segments, t.fork};
      PGR_TRY(read_wal(range, scratch_path("branch"), from_repository(repository),
                       [&](const postgres::WalRecord& r) -> Result<bool> {
                         lookout.feed(r, history->timeline_at(r.start));
                         return true;
                       }));
    }
    out.push_back(std::move(seen));
  }
  return out;
}

struct Resolved {
  BackupRecord backup;
  TargetAnswer answer;
  archive::Walk walk;
  std::optional<postgres::WalRecord> last;  // commit in contiguous WAL, as far as read
  std::string unreadable;
};

Result<Resolved> resolve(const archive::Repository& repository, const WalSource& source,
                         const TimelineHistory& history, const BackupRecord& backup, TargetQuestion question,
                         bool proven, Report& report) {
  PGR_ASSIGN(auto walk, source.walk(history, backup.begin_lsn));
  question.backup_id = backup.id;
  question.backup_start = backup.begin_lsn;
  question.backup_end = backup.end_lsn;
  question.backup_stop = backup.stop_time;
  TargetResolver resolver(question);
  WalRange range{backup.major_version, repository.segment_size(), walk.segments, backup.begin_lsn, walk.end};
  PGR_ASSIGN(auto reading, read_wal(range, scratch_path("plan"), source.place(),
                                    [&](const postgres::WalRecord& r) -> Result<bool> {
                                      report.progress(
                                          "read",
                                          fmt::format("reading WAL of the archive, at {}", r.start.text()),
                                          r.start - backup.begin_lsn, walk.end - walk.begin);
                                      return resolver.feed(r);
                                    }));
  WalEnd end;
  end.proven_current = proven;
  end.until = walk.end;
  if (walk.gap && walk.missing) end.missing_segment = walk.missing->name;
  if (walk.segments.empty() && walk.missing) end.missing_segment = walk.missing->name;
  Resolved out;
  if (reading.unreadable) {
    auto bad = repository.segment_at(history, *reading.unreadable);
    end.missing_segment = bad.name;
    end.proven_current = false;
    end.until = *reading.unreadable;
    out.unreadable = fmt::format("{} cannot be read ({})", bad.name, reading.words);
  }
  PGR_ASSIGN(out.answer, resolver.finish(end));
  out.backup = backup;
  out.last = resolver.last_commit();
  out.walk = walk;
  return out;
}

// With what lies, or lay, on a stopped primary's volume. Of the live timeline, whichever is restored.
Result<WalSource> source_of(const Order& order, const archive::Repository& repository, Json* found) {
  WalSource source(repository);
  if (!order.plan.salvage.empty()) {
    PGR_ASSIGN(SalvageRecord record, read_salvage(repository, order.plan.salvage));
    source.add(record);
  }
  if (!order.plan.read_volume) return source;
  PGR_ASSIGN(TimelineId timeline, choose_timeline(repository.record(), 0));
  std::string pg_wal = order.member->data_directory + "/pg_wal";
  PGR_ASSIGN(UnarchivedWal wal, find_unarchived(repository, timeline, pg_wal));
  source.add(wal, pg_wal);
  *found = {{"endLSN", wal.end.text()}, {"segments", wal.complete.size()}, {"words", wal.words}};
  if (wal.last) (*found)["last"] = wal.last->name;
  if (wal.behind) (*found)["damaged"] = {{"words", damage_words(wal)}, {"timeline", timeline.number()}};
  PGR_ASSIGN(Commits commits, commits_between(source, repository, timeline,
                                              wal.begin(repository.segment_size()).value_or(wal.end), wal.end,
                                              repository.record().major_version));
  (*found)["transactions"] = commits.count;
  (*found)["lastCommit"] = commit_json(commits.last);
  return source;
}

// A timeline that was asked for by its number.
Result<TimelineId> known_timeline(const archive::Repository& repository, int asked) {
  TimelineId timeline(static_cast<std::uint32_t>(asked));
  std::vector<std::string> known;
  for (const auto& t : repository.record().timelines) {
    if (t.timeline == timeline) return timeline;
    known.push_back(fmt::format(
        "{} ({}{})", t.timeline.number(), archive::to_string(t.state),
        t.parent.valid() ? fmt::format(", left timeline {} at {}", t.parent.number(), t.fork.text()) : ""));
  }
  return base::fail(
      base::refused("UnknownTimeline",
                    fmt::format("recoveryTarget.targetTLI is {}, which the archive does not have", asked),
                    fmt::format("it has {}", fmt::join(known, ", "))));
}

// The question with what is known beforehand, and before what a backup must have ended.
struct Asked {
  TargetQuestion question;
  BackupBound bound;
};

Result<Asked> question_of(const Order& order, const archive::Repository& repository, const WalSource& source,
                          const TimelineHistory& history, const std::vector<archive::BackupEntry>& backups,
                          Report& report) {
  const api::TargetOrder& target = order.plan.target;
  bool any_branch = target.timeline == 0;  // nobody said which is meant
  int major = repository.record().major_version;
  Asked out;
  TargetQuestion& q = out.question;
  q.exclusive = target.exclusive;
  q.immediate = target.immediate;
  if (!target.time.empty()) {
    PGR_ASSIGN(q.time, base::parse_time(target.time, "recoveryTarget.targetTime"));
    base::SystemTime now = base::now();
    if (*q.time > now) {
      return base::fail(base::refused("TargetInFuture",
                                      fmt::format("target {} lies in the future: it is {}",
                                                  base::format_time_micro(*q.time), base::format_time(now)),
                                      "leave out targetTime to get the latest state"));
    }
    out.bound.time = q.time;
  }
  if (!target.lsn.empty()) {
    PGR_ASSIGN(q.lsn, Lsn::parse(target.lsn));
    if (any_branch) PGR_TRY(check_branches_for_lsn(repository, history, *q.lsn, major));
    out.bound.lsn = q.lsn;
  }
  if (!target.xid.empty() || !target.name.empty()) {
    Wanted wanted;
    wanted.name = target.name;
    if (!target.xid.empty()) {
      PGR_ASSIGN(wanted.xid, api::xid_of(target.xid));
    }
    PGR_ASSIGN(BackupChoice all, choose_backups(backups, history, order.plan.backup_id, {}));
    PGR_ASSIGN(auto path, look_along(repository, source, history, all.candidates, wanted, report));
    std::vector<SeenOnBranch> branches;
    if (any_branch) {
      PGR_ASSIGN(branches, look_on_branches(repository, history, wanted, major));
    }
    PGR_ASSIGN(auto record, the_one_meant(wanted, path, branches, history.timeline()));
    q.record = out.bound.lsn = record.start;
    q.record_words = fmt::format("{} (at {})", wanted.words(), record.start.text());
    out.bound.record = true;
  }
  out.bound.words = q.words();
  return out;
}

Result<Json> plan_restore(const Order& order, const archive::Repository& repository, Report& report) {
  const api::PlanOrder& plan = order.plan;
  PGR_ASSIGN(TimelineId timeline, plan.target.timeline != 0
                                      ? known_timeline(repository, plan.target.timeline)
                                      : choose_timeline(repository.record(), plan.timeline));
  auto history = repository.history(timeline);
  if (!history) {
    if (history.error().code != base::ErrorCode::kNotFound) return base::fail(history.error());
    return base::fail(base::refused(
        "UnknownTimeline", fmt::format("the archive has no history of timeline {}", timeline.number()),
        history.error().message));
  }
  PGR_ASSIGN(auto backups, repository.backups());
  Json salvage;
  PGR_ASSIGN(WalSource source, source_of(order, repository, &salvage));
  PGR_ASSIGN(Asked asked, question_of(order, repository, source, *history, backups, report));
  PGR_ASSIGN(BackupChoice choice, choose_backups(backups, *history, plan.backup_id, asked.bound));
  // A stopped primary's WAL to its very end: silence behind it means that nothing happened.
  // Damage on the volume counts where the restore would follow that WAL.
  std::string damaged;
  if (TimelineId on(static_cast<std::uint32_t>(base::number_at(salvage, {"damaged", "timeline"})));
      on.valid()) {
    auto end = Lsn::parse(base::text_at(salvage, {"endLSN"}));
    if (on == timeline || (end && history->contains(on) && history->end_of(on) > *end))
      damaged = base::text_at(salvage, {"damaged", "words"});
  }
  bool proven = !plan.wait_for.empty() || (source.end().has_value() && damaged.empty());
  std::optional<Resolved> found;
  std::optional<base::Error> refusal;
  for (const BackupRecord& backup : choice.candidates) {
    auto resolved = resolve(repository, source, *history, backup, asked.question, proven, report);
    if (resolved) {
      found = *resolved;
      break;
    }
    if (!refusal) refusal = resolved.error();
    // only an older backup can help, and only against these two
    if (resolved.error().reason != "TargetBeforeBackup" && resolved.error().reason != "TablespaceInWal")
      break;
  }
  if (!found) return base::fail(*refusal);
  if (plan.onto_member && order.member) PGR_TRY(check_member(*order.member, found->backup));
  // The last moment that is whole, as a target that is taken.
  const bool named = found->last && found->last->end >= found->backup.end_lsn;
  const std::string whole =
      named ? fmt::format(
                  "to recover to the last transaction before it ({}), write targetTLI: {} and targetLSN: {}",
                  base::format_time_micro(found->last->time), timeline.number(), found->last->end.text())
            : std::string("take a new backup");
  if (plan.target.latest() && found->walk.gap && found->walk.missing) {
    // The latest state was asked for, and this would not be it.
    return base::fail(base::refused(
        "WalGap",
        fmt::format("the latest state lies behind a gap in the archive; the first missing segment is {}",
                    found->walk.missing->name),
        whole));
  }
  const std::string unread = !found->unreadable.empty() ? found->unreadable : damaged;
  if (plan.target.latest() && !unread.empty()) {
    // Whole by its checksum and by the names, and yet no server reads on: what lies behind it would be lost
    // unsaid.
    return base::fail(base::refused("WalDamaged",
                                    fmt::format("the latest state lies behind damaged WAL: {}", unread),
                                    "keep the archive and the members' volumes as they are; " + whole));
  }
  if (asked.question.time && plan.target.timeline == 0) {
    PGR_TRY(check_branches(repository, *history, *asked.question.time, found->answer,
                           found->backup.major_version));
  }

  const auto& a = found->answer;
  const auto& segments = found->walk.segments;
  std::uint64_t last_segment = a.stop.end.previous_segment(repository.segment_size());
  PGR_ASSIGN(Json included, wal_point(a.included));
  PGR_ASSIGN(Json excluded, wal_point(a.excluded));
  Json until = {{"lsn", found->walk.end.text()}};
  if (found->last) until["time"] = base::format_time_micro(found->last->time);
  Json out = {{"backupID", found->backup.id},
              {"backupEndLSN", found->backup.end_lsn.text()},
              {"backupStopTime", base::format_time_micro(found->backup.stop_time)},
              {"timeline", timeline.number()},
              {"targetLSN", a.stop.start.text()},
              {"reachedLSN", a.stop.end.text()},
              {"included", included},
              {"walBegin", segments.front().name},
              {"walEnd", repository.segment_at(*history, Lsn(last_segment * repository.segment_size())).name},
              {"segments", last_segment - segments.front().number + 1},
              {"databaseBytes", found->backup.database_bytes},
              {"dataDirectoryBytes", found->backup.tar_bytes},
              {"majorVersion", found->backup.major_version},
              {"archivedUntil", until}};
  if (a.excluded) out["excluded"] = excluded;
  if (!salvage.is_null()) out["salvage"] = salvage;
  if (plan.read_volume) out["oldPrimary"] = describe_dead_server(order.member->data_directory);
  if (found->walk.gap && found->walk.missing) out["gap"] = found->walk.missing->name;
  if (!found->unreadable.empty()) out["unreadable"] = found->unreadable;
  return out;
}

// A cutover away from a primary that is dead: what it wrote last is known only from its volume. It must have
// been salvaged, and nothing may have been written since.
Result<Json> plan_cutover_from_dead(const Order& order, const archive::Repository& repository,
                                    const TimelineHistory& candidate) {
  const api::MemberRef& m = *order.member;
  // The dead server's timeline is the live one until the cutover; the candidate's need not be its child.
  PGR_ASSIGN(TimelineId dead, choose_timeline(repository.record(), 0));
  PGR_ASSIGN(auto history, repository.history(dead));
  Lsn fork = parting(history, candidate);
  PGR_ASSIGN(auto salvages, salvages_of(repository, dead, m.claim_uid));
  if (salvages.empty()) {
    return base::fail(base::refused(
        "NotSalvaged",
        fmt::format("{} is not running and its WAL was not salvaged: what a cutover would lose is unknown",
                    m.name),
        "restore with salvage: StoppedPrimary to the candidate first; or start the primary again"));
  }
  std::string pg_wal = m.data_directory + "/pg_wal";
  PGR_ASSIGN(UnarchivedWal wal, find_unarchived(repository, dead, pg_wal));
  auto same = std::find_if(salvages.begin(), salvages.end(),
                           [&](const SalvageRecord& r) { return r.end == wal.end; });
  if (same == salvages.end()) {
    return base::fail(
        base::refused("WrittenSince",
                      fmt::format("{} was salvaged to {}, but its WAL ends at {}: it has run since", m.name,
                                  salvages.back().end.text(), wal.end.text()),
                      "restore with salvage: StoppedPrimary again, under another name"));
  }
  WalSource source(repository);
  source.add(wal, pg_wal);
  PGR_ASSIGN(Commits commits,
             commits_between(source, repository, dead, fork, wal.end, repository.record().major_version));
  Json stake = {{"transactions", commits.count}, {"fromLSN", fork.text()}, {"toLSN", wal.end.text()}};
  if (wal.behind) stake["damaged"] = damage_words(wal);
  if (commits.first_time) stake["since"] = base::format_time_micro(*commits.first_time);
  if (commits.last_time) stake["until"] = base::format_time_micro(*commits.last_time);
  return Json{{"forkLSN", fork.text()},
              {"parentTimeline", dead.number()},
              {"salvage", same->action_uid},
              {"salvagedTo", wal.end.text()},
              {"oldPrimary", describe_dead_server(m.data_directory)},
              {"atStake", stake}};
}

Result<Json> plan_cutover(const Order& order, const archive::Repository& repository, Report& report) {
  TimelineId candidate(static_cast<std::uint32_t>(order.plan.candidate_timeline));
  PGR_ASSIGN(auto history, repository.history(candidate));
  if (!history.parent().valid()) {
    return base::fail(
        base::refused("NotAFork",
                      fmt::format("timeline {} of {} has no parent: it was not made by a restore",
                                  candidate.number(), order.plan.candidate),
                      "restore onto that member first"));
  }
  if (order.plan.read_volume) {
    report.note("read", "counting the transactions that the dead primary has and the candidate has not");
    return plan_cutover_from_dead(order, repository, history);
  }
  // What the living primary's timeline has and the candidate's has not: they need not be parent and child.
  TimelineId living = order.plan.timeline > 0 ? TimelineId(static_cast<std::uint32_t>(order.plan.timeline))
                                              : history.parent();
  PGR_ASSIGN(auto present, repository.history(living));
  Lsn fork = parting(present, history);
  report.note("read",
              fmt::format("counting transactions on timeline {} after {}", living.number(), fork.text()));
  PGR_ASSIGN(auto commits, commits_behind(repository, living, fork, repository.record().major_version));
  Json stake = {{"transactions", commits.count}, {"fromLSN", fork.text()}, {"toLSN", commits.to.text()}};
  if (commits.first) stake["since"] = base::format_time_micro(*commits.first);
  if (commits.last) stake["until"] = base::format_time_micro(*commits.last);
  return Json{{"forkLSN", fork.text()}, {"parentTimeline", living.number()}, {"atStake", stake}};
}

// What somebody else has already done under the same kind, name and spec; null where nobody has.
Result<Json> ledger_of_another(const Order& order, const archive::Repository& repository) {
  PGR_ASSIGN(auto entry, repository.find_action(action_key(order)));
  if (!entry) return Json();
  std::string uid = base::text_at(entry->content, {"uid"});
  if (uid == order.action.uid) return Json();
  bool done = entry->outcome && base::text_at(*entry->outcome, {"outcome"}) == "Completed";
  Json ledger = entry->content;
  if (entry->outcome) ledger["outcome"] = *entry->outcome;
  return Json{{"alreadyDone", done}, {"alreadyTried", !done}, {"ledger", ledger}};
}

}  // namespace

Result<Answer> run_plan(const Order& order, Report& report) {
  PGR_ASSIGN(auto repository, open_repository(order));
  Json common = {
      {"alreadyDone", false},
      {"alreadyTried", false},
      {"freeBytes", free_bytes(order.member && !order.member->mount.empty() ? order.member->mount
                                                                            : order.repository.path)}};
  if (!repository.record().system_identifiers.empty()) {
    common["systemIdentifier"] = std::to_string(repository.record().system_identifiers.front());
  }
  PGR_ASSIGN(Json another, ledger_of_another(order, repository));
  if (another.is_object()) {
    common.update(another);
    return succeeded(another["alreadyDone"] == true ? "AlreadyDone" : "AlreadyTried",
                     fmt::format("an action of the same kind, name and spec was {} before, under uid {}",
                                 another["alreadyDone"] == true ? "completed" : "started",
                                 base::text_at(another, {"ledger", "uid"})),
                     common);
  }
  if (order.plan.method == "Ledger") {
    return succeeded("NotInLedger", "no action of this kind, name and spec has been started here", common);
  }
  PGR_TRY(wait_for_segments(repository, order.plan, report));
  // What is damaged is judged when the way to the target is read.
  if (auto own = check_mark(repository, order.plan); !own && own.error().reason != "WalDamaged")
    return base::fail(own.error());
  Json facts = Json::object();
  std::string message = "the backup is planned";
  if (!order.plan.candidate.empty() || order.plan.candidate_timeline != 0) {
    PGR_ASSIGN(facts, plan_cutover(order, repository, report));
    message = fmt::format("{} transactions on timeline {} would be left",
                          facts["atStake"]["transactions"].dump(), facts["parentTimeline"].dump());
  } else if (order.plan.method.empty()) {
    PGR_ASSIGN(facts, plan_restore(order, repository, report));
    message = fmt::format("backup {} and WAL on timeline {} up to {}", base::text_at(facts, {"backupID"}),
                          facts["timeline"].dump(), base::text_at(facts, {"targetLSN"}));
  }
  common.update(facts);
  // Only what can be done is entered: a refused plan may be repeated.
  Json entry = {{"uid", order.action.uid},
                {"kind", order.action.kind},
                {"name", order.action.name},
                {"specHash", order.action.spec_hash},
                {"plannedAt", base::format_time(base::now())}};
  PGR_ASSIGN(auto published, repository.publish_action(action_key(order), entry));
  if (base::text_at(published.content, {"uid"}) != order.action.uid) {
    common["alreadyTried"] = true;
    common["ledger"] = published.content;
    return succeeded("AlreadyTried", "an action of the same kind, name and spec was started at the same time",
                     common);
  }
  return succeeded("Planned", message, common);
}

}  // namespace pgrunbook::agent
