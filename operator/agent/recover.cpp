#include "agent/recover.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "agent/agent.hpp"
#include "agent/claim.hpp"
#include "agent/exchange.hpp"
#include "agent/lay_down.hpp"
#include "agent/member_agent.hpp"
#include "agent/preflight.hpp"
#include "agent/replay.hpp"
#include "agent/role.hpp"
#include "agent/scram.hpp"
#include "agent/secrets.hpp"
#include "agent/server.hpp"
#include "agent/settings.hpp"
#include "agent/verification.hpp"
#include "base/file.hpp"

namespace pgrunbook::agent {

using base::Json;
using postgres::Lsn;
using postgres::TimelineId;

std::string sibling_of(const std::string& data_directory, const std::string& action_uid) {
  return fmt::format("{}.pgrunbook-{}", data_directory, action_uid.substr(0, 8));
}

namespace {

constexpr auto kStatement = std::chrono::minutes(5);
constexpr auto kCheckpoint = std::chrono::hours(2);  // everything replayed is written out

// Left in a backup by a former life: would make the new server archive into, clean, or follow its source.
constexpr const char* kLeftovers[] = {"postgresql.auto.conf", "recovery.conf",   "recovery.done",
                                      "standby.signal",       "recovery.signal", "postmaster.pid",
                                      "postmaster.opts",      "current_logfiles"};
constexpr const char* kEmptied[] = {"pg_wal/archive_status", "pg_replslot", "pg_dynshmem",
                                    "pg_stat_tmp",           "pg_notify",   "pg_serial",
                                    "pg_snapshots"};

struct Work {
  const Order& order;
  const api::MemberRef& member;
  Report& report;
  archive::Repository repository;
  archive::BackupRecord backup;
  std::string sibling, own;  // own = <mount>/.pgrunbook
  std::string superuser;
  std::string agent;             // the running one
  std::string former_auto_conf;  // of the backup
};

struct Promoted {
  Lsn replayed, fork;
  TimelineId timeline;
  Verified verified;
  std::uint64_t database_bytes = 0;
  Json disabled = Json::array();  // subscriptions
  bool synchronous = false;       // synchronous_standby_names was set
  std::string new_checkpoint;
};

std::uint64_t tree_bytes(const std::string& path) {
  std::uint64_t sum = 0;
  std::error_code ec;
  for (std::filesystem::recursive_directory_iterator
           it(path, std::filesystem::directory_options::skip_permission_denied, ec),
       end;
       !ec && it != end; it.increment(ec)) {
    std::error_code one;
    if (it->is_regular_file(one) && !it->is_symlink(one)) sum += it->file_size(one);
  }
  return sum;
}

// Takes what belongs to a former life out of the new directory and keeps it beside the journal.
Result<> clean(Work* w) {
  std::string kept = fmt::format("{}/recovered-{}", w->own, w->order.action.uid);
  PGR_TRY(base::remove_tree(kept));
  PGR_TRY(base::make_directories(kept, 0750));
  for (const char* name : kLeftovers) {
    std::string path = w->sibling + "/" + name;
    auto content = base::read_file(path);
    if (!content && content.error().code == base::ErrorCode::kNotFound) continue;
    if (!content) return base::fail(content.error());
    if (std::string_view(name) == "postgresql.auto.conf") w->former_auto_conf = *content;
    PGR_TRY(base::replace_file(kept + "/" + name, *content, 0640));
    if (::unlink(path.c_str()) != 0) return base::fail(base::system_error("remove", path));
  }
  for (const char* name : kEmptied) {
    std::string path = w->sibling + "/" + name;
    PGR_TRY(base::remove_tree(path));
    if (std::string_view(name) == "pg_wal/archive_status") {
      std::string wal = w->sibling + "/pg_wal";
      PGR_TRY(base::remove_tree(wal));
      if (::mkdir(wal.c_str(), 0700) != 0) return base::fail(base::system_error("create directory", wal));
    }
    if (::mkdir(path.c_str(), 0700) != 0) return base::fail(base::system_error("create directory", path));
  }
  auto map = base::read_file(w->sibling + "/tablespace_map");
  if (map && !map->empty()) {
    return base::fail(base::refused("TablespaceInBackup", "the backup holds tablespaces",
                                    "restore by hand with RESTORE.md"));
  }
  return base::replace_file(w->sibling + "/recovery.signal", "", 0600);
}

Result<std::vector<postgres::Row>> sql(const PrivateServer& server, const Work& w,
                                       const std::string& database,
                                       const std::vector<std::string>& statements,
                                       std::chrono::milliseconds limit = kStatement) {
  return postgres::psql(server.as(w.superuser, database), statements, base::Deadline::after(limit));
}

std::string quote_identifier(const std::string& name) {
  std::string out = "\"";
  for (char c : name) {
    if (c == '"') out.push_back('"');
    out.push_back(c);
  }
  return out + "\"";
}

// A restored subscription would move the publisher's slot: off, and named.
Result<Json> disable_subscriptions(const PrivateServer& server, const Work& w) {
  Json out = Json::array();
  PGR_ASSIGN(auto rows, sql(server, w, "postgres",
                            {"SELECT d.datname, s.subname FROM pg_subscription s JOIN pg_database d ON d.oid "
                             "= s.subdbid WHERE s.subenabled ORDER BY 1, 2"}));
  for (const auto& row : rows) {
    PGR_TRY(sql(server, w, row[0], {fmt::format("ALTER SUBSCRIPTION {} DISABLE", quote_identifier(row[1]))}));
    out.push_back(row[0] + "." + row[1]);
  }
  return out;
}

Result<Promoted> run_server(Work* w) {
  PGR_ASSIGN(auto control, control_data_of(w->sibling));
  ReplayOrder order;
  order.data_directory = w->sibling;
  order.superuser = w->superuser;
  order.authenticated = application_role().user;
  order.settings.major = w->backup.major_version;
  order.settings.carried = control.settings;
  order.settings.shared_buffers_mib = shared_buffers_for(w->order.recover.memory_mib);
  order.settings.restore_command =
      restore_command_text(w->agent, w->order.repository.path, w->order.recover.salvage);
  order.settings.timeline = w->order.recover.timeline;
  PGR_ASSIGN(order.settings.target, Lsn::parse(w->order.recover.target_lsn));
  if (!w->order.recover.reached_lsn.empty()) {
    PGR_ASSIGN(order.reached, Lsn::parse(w->order.recover.reached_lsn));
  }
  w->report.note("replay", fmt::format("replaying WAL on timeline {} to {}", order.settings.timeline,
                                       w->order.recover.target_lsn));
  PGR_ASSIGN(Replayed replayed, replay(order, w->report));
  PrivateServer& server = replayed.server;
  Promoted out;
  out.replayed = replayed.lsn;

  w->report.note("verify", fmt::format("replayed to {}; the verification runs", replayed.lsn.text()));
  PGR_ASSIGN(out.verified, verify(server, w->superuser, application_role(), w->order.recover));

  w->report.note("promote", "the recovered server is promoted");
  PGR_ASSIGN(auto promoted,
             sql(server, *w, "postgres", {"SELECT pg_promote(true, 600)"}, std::chrono::minutes(11)));
  if (promoted.empty() || promoted[0][0] != "t") {
    return base::fail_as(base::ErrorCode::kUnavailable, "PromotionFailed",
                         fmt::format("the recovered server was not promoted: {}", last_fatal(server.log())));
  }
  PGR_ASSIGN(std::string verifier, new_scram_verifier(secret(api::secrets::kRolePassword)));
  PGR_TRY(sql(server, *w, "postgres", role_statements(w->backup.major_version, verifier)));
  PGR_ASSIGN(out.disabled, disable_subscriptions(server, *w));
  PGR_ASSIGN(auto bytes, sql(server, *w, "postgres", {"SELECT sum(pg_database_size(oid)) FROM pg_database"}));
  out.database_bytes = bytes.empty() ? 0 : std::strtoull(bytes[0][0].c_str(), nullptr, 10);
  w->report.note("checkpoint", "everything is written out");
  PGR_TRY(sql(server, *w, "postgres", {"CHECKPOINT"}, kCheckpoint));
  PGR_TRY(server.stop(base::Deadline::after(kCheckpoint)));
  PGR_ASSIGN(auto after, control_data_of(w->sibling));
  if (!after.shut_down())
    return base::fail_as(base::ErrorCode::kUnavailable, "NotShutDown",
                         fmt::format("the recovered server left pg_control \"{}\"", after.state));
  out.timeline = after.timeline;
  out.new_checkpoint = after.checkpoint.text();
  PGR_ASSIGN(std::string text,
             base::read_file(w->sibling + "/pg_wal/" + postgres::history_name(out.timeline)));
  PGR_ASSIGN(auto history, postgres::TimelineHistory::parse(out.timeline, text));
  out.fork = history.fork();
  return out;
}

// The new timeline becomes ours by its history, put where nobody else's is; then come its segments.
Result<std::vector<std::string>> claim_timeline(Work* w, const Promoted& p) {
  std::vector<std::string> pushed;
  std::string status = w->sibling + "/pg_wal/archive_status";
  auto push = [&](const std::string& file) -> Result<> {
    PGR_ASSIGN(auto name, postgres::parse_wal_name(file));
    PGR_ASSIGN(auto put, w->repository.put_wal(w->sibling + "/pg_wal/" + file, name));
    (void)put;
    if (base::exists(status + "/" + file + ".ready")) {
      if (::rename((status + "/" + file + ".ready").c_str(), (status + "/" + file + ".done").c_str()) != 0) {
        return base::fail(base::system_error("rename in", status));
      }
    }
    pushed.push_back(file);
    return {};
  };
  PGR_TRY(push(postgres::history_name(p.timeline)));
  PGR_TRY(w->repository.claim_writer(p.timeline, w->member.claim_uid));
  archive::TimelineRecord record;
  record.timeline = p.timeline;
  record.parent = TimelineId(static_cast<std::uint32_t>(w->order.recover.timeline));
  record.fork = p.fork;
  record.maker = w->order.action.uid;
  record.state = archive::TimelineState::kPrepared;
  PGR_TRY(w->repository.add_timeline(record));
  PGR_ASSIGN(auto names, base::list_directory(status));
  for (const std::string& name : names) {
    if (!name.ends_with(".ready")) continue;
    std::string file = name.substr(0, name.size() - 6);
    w->report.progress("archive", fmt::format("{} goes into the archive", file));
    PGR_TRY(push(file));
  }
  return pushed;
}

bool timeline_is_taken(const base::Error& e) {
  return e.code == base::ErrorCode::kConflict || e.reason == "TimelineOfAnotherWriter" ||
         e.reason == "TimelineTaken";
}

// The files the member itself will start with.
Result<> configure(Work* w, const Installed& agent, Promoted* p, std::vector<std::string>* removed) {
  ReadFile read = [&](const std::string& path) -> Result<std::string> {
    if (path == w->sibling + "/postgresql.auto.conf") return w->former_auto_conf;
    return base::read_file(path);
  };
  Configuration former = read_configuration(w->sibling, read, base::list_directory);
  std::vector<Setting> ours{{"archive_mode", "on"}, {"archive_command", agent.archive_command}};
  if (former.settings.count("archive_timeout") == 0 || former.settings["archive_timeout"].value == "0")
    ours.emplace_back("archive_timeout", "60");
  if (!former.settings["archive_library"].value.empty()) ours.emplace_back("archive_library", "");
  if (!former.settings["synchronous_standby_names"].value.empty()) {
    p->synchronous = true;
    ours.emplace_back("synchronous_standby_names", "");
  }
  PGR_TRY(base::replace_file(w->sibling + "/postgresql.auto.conf",
                             clean_auto_conf(w->former_auto_conf, ours, removed), 0600));
  auto hba = base::read_file(w->sibling + "/pg_hba.conf");
  if (hba) PGR_TRY(base::replace_file(w->sibling + "/pg_hba.conf", with_hba_lines(*hba), 0600));
  for (const char* name : {"postmaster.pid", "postmaster.opts", "recovery.signal", "standby.signal"}) {
    if (::unlink((w->sibling + "/" + name).c_str()) != 0 && errno != ENOENT)
      return base::fail(base::system_error("remove", name));
  }
  if (::chmod(w->sibling.c_str(), 0700) != 0)
    return base::fail(base::system_error("set the mode of", w->sibling));
  base::Fd fd(::open(w->sibling.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::syncfs(fd.get()) != 0)
    return base::fail(base::system_error("sync the file system of", w->sibling));
  return {};
}

Result<Promoted> lay_down_and_recover(Work* w) {
  PGR_TRY(base::remove_tree(w->sibling));
  w->report.note("copy", fmt::format("backup {} is laid down in {}", w->backup.id, w->sibling));
  auto progress = [&](std::uint64_t done, std::uint64_t total) {
    w->report.progress("copy", "laying down the backup", static_cast<std::int64_t>(done),
                       static_cast<std::int64_t>(total));
  };
  PGR_ASSIGN(LaidDown laid, lay_down(w->repository, w->backup, w->sibling, progress));
  w->report.note("copy", fmt::format("{} files are laid down and are what the manifest says", laid.files));
  PGR_TRY(clean(w));
  return run_server(w);
}

Result<Json> make_new_directory(Work* w) {
  std::vector<std::string> pushed;
  std::optional<Promoted> promoted;
  for (int attempt = 0; !promoted; ++attempt) {
    PGR_ASSIGN(Promoted p, lay_down_and_recover(w));
    auto claimed = claim_timeline(w, p);
    if (claimed) {
      pushed = *claimed;
      promoted = std::move(p);
      break;
    }
    if (attempt > 0 || !timeline_is_taken(claimed.error())) return base::fail(claimed.error());
    w->report.note("archive", fmt::format("timeline {} was taken meanwhile ({}): once again",
                                          p.timeline.number(), claimed.error().message));
  }
  PGR_ASSIGN(Installed agent, install_on_member(w->order));
  std::vector<std::string> removed;
  PGR_TRY(configure(w, agent, &*promoted, &removed));
  const Promoted& p = *promoted;
  Json result = {{"newTimeline", p.timeline.number()},
                 {"forkLSN", p.fork.text()},
                 {"systemIdentifier", std::to_string(w->backup.system_identifier)},
                 {"replayedLSN", p.replayed.text()},
                 {"checkpointLSN", p.new_checkpoint},
                 {"databaseBytes", p.database_bytes},
                 {"queries", p.verified.queries},
                 {"counts", p.verified.counts},
                 {"pushed", pushed},
                 {"databases", p.verified.databases},
                 {"archiveCommand", agent.archive_command}};
  if (!p.disabled.empty()) result["disabledSubscriptions"] = p.disabled;
  if (p.synchronous) result["synchronousStandbyNamesEmptied"] = true;
  if (!removed.empty()) result["removedSettings"] = removed;
  if (agent.on_shared_volume) result["agentOnSharedVolume"] = true;
  return result;
}

Answer exchanged(const Work& w, const ExchangeJournal& journal) {
  return succeeded("Recovered",
                   fmt::format("{} holds the restored data on timeline {}; {}", w.member.data_directory,
                               base::at(journal.result, {"newTimeline"}).dump(),
                               journal.old_inode == 0 ? "there was no directory before"
                                                      : "the old directory is " + journal.sibling),
                   journal.result);
}

// Finished before by this action: the same answer again.
Result<std::optional<Answer>> answered_before(const Work& w) {
  auto journal = read_journal(w.member.mount, w.order.action.uid);
  if (!journal && journal.error().code == base::ErrorCode::kNotFound) return std::nullopt;
  if (!journal) return base::fail(journal.error());
  if (journal->state == "Undone") {
    return base::fail(
        base::refused("AlreadyUndone", "this action was undone before", "make a new PostgresRestore"));
  }
  PGR_ASSIGN(Placed placed, where_are_we(*journal));
  if (placed == Placed::kOldInPlace) {
    auto made = place_of_new(*journal);
    if (!made && made.error().code == base::ErrorCode::kNotFound)
      return std::nullopt;  // half done: from the beginning
    if (!made) return base::fail(made.error());
  }
  PGR_TRY(exchange_forward(*journal));
  journal->state = "Exchanged";
  PGR_TRY(write_journal(w.member.mount, *journal));
  return exchanged(w, *journal);
}

Result<Answer> recover(Work* w) {
  PGR_ASSIGN(auto before, answered_before(*w));
  if (before) return *before;
  const std::string& data = w->member.data_directory;
  auto old_inode = directory_inode(data);
  if (!old_inode && old_inode.error().code != base::ErrorCode::kNotFound)
    return base::fail(old_inode.error());
  if (old_inode) {
    auto control = control_data_of(data);
    if (control && control->state == "in production") {
      w->report.note("look", "the old directory was not shut down cleanly; it stays as it is");
    }
  }
  PGR_TRY(base::remove_tree(w->sibling));
  // Once more: a runtime that mounts the Plan Job's volume read-only may hide that it is noexec.
  PGR_TRY(check_member(w->member, w->backup));

  auto made = make_new_directory(w);
  if (!made) {
    (void)base::remove_tree(w->sibling);
    Answer answer = answer_of(made.error());
    answer.outcome = api::Outcome::kFailed;
    answer.message = fmt::format("{}; the data directory was not touched", answer.message);
    return answer;
  }
  ExchangeJournal journal;
  journal.action_uid = w->order.action.uid;
  journal.data_directory = data;
  journal.sibling = w->sibling;
  journal.old_inode = old_inode ? *old_inode : 0;
  PGR_ASSIGN(journal.new_inode, directory_inode(w->sibling));
  journal.result = *made;
  if (old_inode) {
    journal.result["undoDirectory"] = w->sibling;
    journal.result["undoBytes"] = tree_bytes(data);
  }
  PGR_TRY(write_journal(w->member.mount, journal));
  w->report.note("exchange", fmt::format("{} and {} change places", data, w->sibling));
  PGR_TRY(exchange_forward(journal));
  journal.state = "Exchanged";
  PGR_TRY(write_journal(w->member.mount, journal));
  return exchanged(*w, journal);
}

}  // namespace

Result<Answer> run_recover(const Order& order, Report& report) {
  if (!order.member) return base::fail(base::ErrorCode::kInvalid, "the order names no member");
  const api::MemberRef& m = *order.member;
  if (m.data_directory == m.mount) {
    return base::fail(base::refused(
        "DataDirectoryIsMountRoot",
        fmt::format("{} is the root of its volume: nothing can be exchanged beside it", m.data_directory),
        "set PGDATA to a directory below the volume's root, or restore onto another member"));
  }
  PGR_ASSIGN(auto repository, open_repository(order));
  PGR_ASSIGN(auto backup, repository.backup(order.recover.backup_id));
  if (backup.major_version < 12 || backup.major_version > 90) {
    return base::fail(
        base::refused("UnsupportedVersion",
                      fmt::format("restores of PostgreSQL {} are not supported yet", backup.server_version),
                      "restore by hand with the backup's RESTORE.md"));
  }
  PGR_ASSIGN(std::string agent, running_agent(order));
  PGR_ASSIGN(VolumeClaim claim, VolumeClaim::acquire(order, m.mount));
  Work work{order,
            m,
            report,
            std::move(repository),
            backup,
            sibling_of(m.data_directory, order.action.uid),
            claim.directory(),
            backup.superuser.empty() ? "postgres" : backup.superuser,
            agent,
            {}};
  auto answer = recover(&work);
  PGR_TRY(claim.release());
  return answer;
}

}  // namespace pgrunbook::agent
