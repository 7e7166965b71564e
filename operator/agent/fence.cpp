#include "agent/fence.hpp"

#include <thread>
#include <unistd.h>

#include <fmt/format.h>

#include "agent/agent.hpp"
#include "agent/claim.hpp"
#include "agent/salvage.hpp"
#include "agent/server.hpp"
#include "agent/wal_reader.hpp"
#include "base/file.hpp"

namespace pgrunbook::agent {

using base::Json;
using postgres::Lsn;
using postgres::TimelineId;

std::string fence_path(const std::string& mount) { return mount + "/.pgrunbook/fence.json"; }

Json to_json(const FenceRecord& r) {
  return {{"actionUID", r.action_uid},
          {"dataDirectory", r.data_directory},
          {"systemIdentifier", std::to_string(r.system_identifier)},
          {"timeline", r.timeline},
          {"checkpointLSN", r.checkpoint_lsn},
          {"salvagedTo", r.salvaged_to},
          {"liveTimeline", r.live_timeline},
          {"atStake", r.at_stake}};
}

base::Result<FenceRecord> fence_from_json(const Json& json) {
  FenceRecord r;
  r.action_uid = base::text_at(json, {"actionUID"});
  r.data_directory = base::text_at(json, {"dataDirectory"});
  r.system_identifier = std::strtoull(base::text_at(json, {"systemIdentifier"}).c_str(), nullptr, 10);
  r.timeline = static_cast<std::uint32_t>(base::number_at(json, {"timeline"}));
  r.checkpoint_lsn = base::text_at(json, {"checkpointLSN"});
  r.salvaged_to = base::text_at(json, {"salvagedTo"});
  r.live_timeline = static_cast<std::uint32_t>(base::number_at(json, {"liveTimeline"}));
  r.at_stake = base::at(json, {"atStake"});
  if (r.action_uid.empty() || (r.checkpoint_lsn.empty() && r.salvaged_to.empty())) {
    return base::fail(base::ErrorCode::kCorrupt, "the fence record lacks fields",
                      "look at fence.json in .pgrunbook on the volume");
  }
  return r;
}

base::Result<FenceRecord> read_fence(const std::string& mount) {
  PGR_ASSIGN(std::string text, base::read_file(fence_path(mount)));
  PGR_ASSIGN(Json json, base::parse_json(text, fence_path(mount)));
  return fence_from_json(json);
}

bool still_fenced(const FenceRecord& record, const postgres::ControlData& control, bool has_signal) {
  bool stopped = control.shut_down() || control.state == "in archive recovery" ||
                 control.state == "shut down in recovery";
  return has_signal && stopped && control.checkpoint.text() == record.checkpoint_lsn &&
         control.timeline.number() == record.timeline &&
         control.system_identifier == record.system_identifier;
}

bool still_fenced(const FenceRecord& record, Lsn wal_end, bool has_signal) {
  return has_signal && wal_end.text() == record.salvaged_to;
}

Result<> still_stopped(const api::MemberRef& m, const postgres::ControlData& stopped, base::Deadline stale) {
  while (true) {
    auto now = control_data_of(m.data_directory);
    if (now && (!now->shut_down() || now->checkpoint != stopped.checkpoint)) {
      return base::fail(base::refused(
          "StartedMeanwhile",
          fmt::format(
              "after its clean stop at {} the server on {} was started again: pg_control says \"{}\" at {}",
              stopped.checkpoint.text(), m.data_directory, now->state, now->checkpoint.text()),
          "somebody else scales it up; hold that back (Flux: suspend the Kustomization) and make a new "
          "action"));
    }
    // The last file that a server removes when it stops, and the first that it makes when it starts.
    auto pid_file = base::is_there(m.data_directory + "/postmaster.pid");
    if (now && pid_file && !*pid_file) return {};
    if (stale.passed()) {
      if (!now) return base::fail(now.error());
      return pid_file ? Result<>() : base::fail(pid_file.error());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

namespace {

constexpr auto kLook = std::chrono::milliseconds(100);
constexpr auto kStale = std::chrono::seconds(10);  // a server that starts has told pg_control long before

std::string signal_path(const api::MemberRef& m) { return m.data_directory + "/standby.signal"; }

Json stake_json(std::int64_t transactions, Lsn from, Lsn to) {
  return {{"transactions", transactions}, {"fromLSN", from.text()}, {"toLSN", to.text()}};
}

// The fence Job's pod runs before the stop: it waits on the node for the clean stop's last write.
Result<postgres::ControlData> wait_for_stop(const Order& order, const api::MemberRef& m, Report& report) {
  auto deadline = base::Deadline::after(std::chrono::seconds(order.fence.wait_seconds));
  while (true) {
    auto control = control_data_of(m.data_directory);
    // While the server writes pg_control a reader may see it half written: only a whole one counts.
    if (control && control->shut_down()) return control;
    if (!control && control.error().code == base::ErrorCode::kNotFound) return control;
    if (deadline.passed()) {
      base::Error e = base::error(
          base::ErrorCode::kTimeout,
          fmt::format("the server on {} did not stop cleanly within {} s: pg_control says \"{}\"",
                      m.data_directory, order.fence.wait_seconds,
                      control ? control->state : control.error().message),
          control ? "was it killed? start it once and stop it again; if it does not start, restore to the "
                    "candidate with salvage: StoppedPrimary, then make a new Failover"
                  : "restore to the candidate with salvage: StoppedPrimary, then make a new Failover");
      e.reason = "NotShutDown";
      return base::fail(std::move(e));
    }
    report.progress("wait", fmt::format("waiting for the clean stop: pg_control says \"{}\"",
                                        control ? control->state : "nothing readable"));
    std::this_thread::sleep_for(kLook);
  }
}

// Commits behind the fork: what the new timeline does not have. From pg_wal, and from the archive where
// pg_wal has them no more.
Result<Json> at_stake(const Order& order, const api::MemberRef& m, const archive::Repository& repository,
                      const postgres::ControlData& control) {
  if (order.fence.fork_lsn.empty()) return Json();
  PGR_ASSIGN(Lsn fork, Lsn::parse(order.fence.fork_lsn));
  if (fork >= control.checkpoint) return stake_json(0, fork, control.checkpoint);
  PGR_ASSIGN(int major, major_of(m.data_directory));
  auto history = repository.history(control.timeline);
  if (!history) return base::fail(history.error());
  WalRange range;
  range.major = major;
  range.segment_size = control.segment_size;
  range.begin = fork;
  range.end = control.checkpoint;
  for (std::uint64_t n = fork.segment(control.segment_size);
       n <= control.checkpoint.segment(control.segment_size); ++n) {
    TimelineId timeline = history->timeline_of_segment(n, control.segment_size);
    range.segments.push_back({timeline, n, postgres::segment_name(timeline, n, control.segment_size)});
  }
  PlaceSegment archived = from_repository(repository);
  PlaceSegment place = [&](const archive::SegmentRef& segment, const std::string& path) -> Result<> {
    std::string own = m.data_directory + "/pg_wal/" + segment.name;
    if (!base::exists(own)) return archived(segment, path);
    if (::symlink(own.c_str(), path.c_str()) != 0) return base::fail(base::system_error("link", path));
    return {};
  };
  std::int64_t transactions = 0;
  PGR_ASSIGN(auto reading,
             read_wal(range, scratch_path("fence"), place, [&](const postgres::WalRecord& r) -> Result<bool> {
               if (r.kind == postgres::WalRecordKind::kCommit) ++transactions;
               return true;
             }));
  if (reading.unreadable) {
    return base::fail(base::ErrorCode::kCorrupt,
                      fmt::format("WAL is unreadable at {}: {}", reading.unreadable->text(), reading.words));
  }
  return stake_json(transactions, fork, control.checkpoint);
}

Result<> mark(archive::Repository* repository, std::uint32_t live, std::uint32_t abandoned) {
  return repository->update([&](archive::RepositoryRecord* record) -> Result<> {
    auto* candidate = live == 0 ? nullptr : record->find(TimelineId(live));
    if (live != 0 && candidate == nullptr) {
      return base::fail(base::ErrorCode::kNotFound,
                        fmt::format("timeline {} is not in the repository", live));
    }
    if (auto* old = record->find(TimelineId(abandoned)); old != nullptr && live != 0 && live != abandoned) {
      old->state = archive::TimelineState::kAbandoned;
    }
    if (candidate != nullptr) candidate->state = archive::TimelineState::kLive;
    return {};
  });
}

// Takes off what fence() has just written: it turned out to be no fence.
void take_off(const api::MemberRef& m) {
  for (const std::string& path : {signal_path(m), fence_path(m.mount)}) (void)::unlink(path.c_str());
  (void)base::sync_path(m.data_directory);
  (void)base::sync_path(m.mount + "/.pgrunbook");
}

Answer fenced(const api::MemberRef& m, const FenceRecord& record, const std::string& state) {
  if (!record.salvaged_to.empty()) {
    return succeeded("Fenced",
                     fmt::format("{} is fenced: its WAL was salvaged to {} on timeline {} and nothing was "
                                 "written since; no server takes writes there any more",
                                 m.name, record.salvaged_to, record.timeline),
                     {{"state", state},
                      {"salvagedTo", record.salvaged_to},
                      {"timeline", record.timeline},
                      {"atStake", record.at_stake}});
  }
  return succeeded(
      "Fenced",
      fmt::format("{} is fenced: stopped at {} on timeline {}, and read-only for whoever starts it", m.name,
                  record.checkpoint_lsn, record.timeline),
      {{"state", state},
       {"checkpointLSN", record.checkpoint_lsn},
       {"timeline", record.timeline},
       {"atStake", record.at_stake}});
}

Result<Answer> fence(const Order& order, const api::MemberRef& m, const postgres::ControlData& control,
                     Report& report) {
  PGR_ASSIGN(auto repository, open_repository(order));
  FenceRecord record;
  record.action_uid = order.action.uid;
  record.data_directory = m.data_directory;
  record.system_identifier = control.system_identifier;
  record.timeline = control.timeline.number();
  record.checkpoint_lsn = control.checkpoint.text();
  record.live_timeline = static_cast<std::uint32_t>(order.fence.timeline);
  // The fence first: the count can take long, and can fail without making the fence worse.
  PGR_TRY(base::replace_file(fence_path(m.mount), to_json(record).dump(2) + "\n"));
  PGR_TRY(base::replace_file(signal_path(m), "", 0600));
  report.note("fence", "standby.signal and the fence record are written");
  if (auto stopped = still_stopped(m, control, base::Deadline::after(kStale)); !stopped) {
    take_off(m);
    return base::fail(stopped.error());
  }
  auto stake = at_stake(order, m, repository, control);
  if (stake) {
    record.at_stake = *stake;
  } else {
    report.note("count", fmt::format("the transactions at stake are unknown: {}", stake.error().message));
    record.at_stake = {{"unknown", stake.error().message}};
  }
  PGR_TRY(mark(&repository, record.live_timeline, record.timeline));
  PGR_TRY(base::replace_file(fence_path(m.mount), to_json(record).dump(2) + "\n"));
  return fenced(m, record, control.state);
}

// A dead primary: nobody stopped it, and pg_control may be gone. What counts is that its WAL ends where it
// was salvaged; then all it ever wrote is accounted for.
Result<Answer> fence_dead(const Order& order, const api::MemberRef& m, Report& report) {
  PGR_ASSIGN(auto repository, open_repository(order));
  PGR_ASSIGN(SalvageRecord salvage, read_salvage(repository, order.fence.salvage));
  if (salvage.writer != m.claim_uid) {
    return base::fail(base::refused(
        "SalvageOfAnother",
        fmt::format("action {} salvaged another volume than that of {}", order.fence.salvage, m.name),
        "plan the cutover again"));
  }
  std::string pg_wal = m.data_directory + "/pg_wal";
  PGR_ASSIGN(UnarchivedWal wal, find_unarchived(repository, salvage.timeline, pg_wal));
  if (wal.end != salvage.end) {
    return base::fail(
        base::refused("WrittenSince",
                      fmt::format("{} was salvaged to {}, but its WAL ends at {}: it has run since", m.name,
                                  salvage.end.text(), wal.end.text()),
                      "restore with salvage: StoppedPrimary again, under another name"));
  }
  FenceRecord record;
  if (auto there = read_fence(m.mount); there && there->action_uid == order.action.uid) record = *there;
  PGR_ASSIGN(bool has_signal, base::is_there(signal_path(m)));
  bool finished =
      still_fenced(record, wal.end, has_signal) && record.at_stake.is_object() && !record.at_stake.empty();
  if (!finished) {
    record.action_uid = order.action.uid;
    record.data_directory = m.data_directory;
    record.system_identifier = salvage.system_identifier;
    record.timeline = salvage.timeline.number();
    record.salvaged_to = wal.end.text();
    record.live_timeline = static_cast<std::uint32_t>(order.fence.timeline);
    PGR_TRY(base::replace_file(fence_path(m.mount), to_json(record).dump(2) + "\n"));
    PGR_TRY(base::replace_file(signal_path(m), "", 0600));
    report.note("fence", "standby.signal and the fence record are written");
    PGR_ASSIGN(Lsn fork, Lsn::parse(order.fence.fork_lsn));
    WalSource source(repository);
    source.add(wal, pg_wal);
    auto commits = commits_between(source, repository, salvage.timeline, fork, wal.end,
                                   repository.record().major_version);
    record.at_stake =
        commits ? stake_json(commits->count, fork, wal.end) : Json{{"unknown", commits.error().message}};
    if (wal.behind) record.at_stake["damaged"] = damage_words(wal);
  }
  PGR_TRY(mark(&repository, record.live_timeline, record.timeline));
  if (!finished) PGR_TRY(base::replace_file(fence_path(m.mount), to_json(record).dump(2) + "\n"));
  return fenced(m, record, "salvaged");
}

Result<Answer> fence_or_find(const Order& order, const api::MemberRef& m, Report& report) {
  auto there = read_fence(m.mount);
  if (there) {
    bool same = there->action_uid == order.action.uid;
    // A dead one is looked at again below; its pg_control says nothing.
    auto control = order.fence.salvage.empty() ? control_data_of(m.data_directory)
                                               : Result<postgres::ControlData>(postgres::ControlData{});
    if (!control) return base::fail(control.error());
    PGR_ASSIGN(bool has_signal, base::is_there(signal_path(m)));
    if (same && order.fence.salvage.empty() && still_fenced(*there, *control, has_signal) &&
        there->at_stake.is_object() && !there->at_stake.empty()) {
      PGR_ASSIGN(auto repository, open_repository(order));
      PGR_TRY(mark(&repository, there->live_timeline, there->timeline));
      return fenced(m, *there, control->state);
    }
    if (!same && has_signal) {
      return base::fail(
          base::refused("FencedByAnother",
                        fmt::format("the volume of {} is fenced by action {}", m.name, there->action_uid),
                        "undo that action, or choose another candidate"));
    }
  } else if (there.error().code != base::ErrorCode::kNotFound) {
    return base::fail(there.error());
  }
  if (!order.fence.salvage.empty()) {
    PGR_ASSIGN(VolumeClaim claim, VolumeClaim::acquire(order, m.mount));
    auto answer = fence_dead(order, m, report);
    PGR_TRY(claim.release());
    return answer;
  }
  PGR_ASSIGN(auto control, wait_for_stop(order, m, report));
  PGR_ASSIGN(VolumeClaim claim, VolumeClaim::acquire(order, m.mount));
  auto answer = fence(order, m, control, report);
  PGR_TRY(claim.release());
  return answer;
}

Result<Answer> unfence(const Order& order, const api::MemberRef& m) {
  auto record = read_fence(m.mount);
  if (!record && record.error().code == base::ErrorCode::kNotFound)
    return succeeded("NotFenced", fmt::format("{} carries no fence", m.name));
  if (!record) return base::fail(record.error());
  // Of an earlier life (a restore has since exchanged the directory that carries its signal), or of a cutover
  // that came first: only that one takes it off again. This action never put one there, it is refused before.
  if (record->action_uid != order.action.uid) {
    return succeeded("NotFenced", fmt::format("{} carries no fence of this action; there is one of action {}",
                                              m.name, record->action_uid));
  }
  PGR_ASSIGN(auto repository, open_repository(order));
  PGR_TRY(repository.update([&](archive::RepositoryRecord* r) -> Result<> {
    auto* live = r->find(TimelineId(record->live_timeline));
    auto* old = r->find(TimelineId(record->timeline));
    if (live != nullptr && old != nullptr && live != old) live->state = archive::TimelineState::kPrepared;
    if (old != nullptr) old->state = archive::TimelineState::kLive;
    return {};
  }));
  if (::unlink(signal_path(m).c_str()) != 0 && errno != ENOENT)
    return base::fail(base::system_error("remove", signal_path(m)));
  PGR_TRY(base::sync_path(m.data_directory));
  if (::unlink(fence_path(m.mount).c_str()) != 0 && errno != ENOENT)
    return base::fail(base::system_error("remove", fence_path(m.mount)));
  PGR_TRY(base::sync_path(m.mount + "/.pgrunbook"));
  return succeeded("Unfenced", fmt::format("{} may take writes again", m.name), {{"takenOff", true}});
}

}  // namespace

Result<Answer> run_fence(const Order& order, Report& report) {
  if (!order.member) return base::fail(base::ErrorCode::kInvalid, "the order names no member");
  return fence_or_find(order, *order.member, report);
}

Result<Answer> run_unfence(const Order& order, Report& report) {
  if (!order.member) return base::fail(base::ErrorCode::kInvalid, "the order names no member");
  report.note("unfence", "the fence is taken off");
  PGR_ASSIGN(VolumeClaim claim, VolumeClaim::acquire(order, order.member->mount));
  auto answer = unfence(order, *order.member);
  PGR_TRY(claim.release());
  return answer;
}

}  // namespace pgrunbook::agent
