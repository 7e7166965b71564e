#include "agent/backup.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <ctime>
#include <mutex>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include <fmt/format.h>

#include "agent/backup_server.hpp"
#include "agent/own_wal.hpp"
#include "agent/restore_guide.hpp"
#include "agent/secrets.hpp"
#include "archive/base_tar.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/subprocess.hpp"
#include "postgres/programs.hpp"
#include "postgres/version.hpp"

namespace pgrunbook::agent {
namespace {

using archive::BackupRecord;
using archive::Repository;
using base::Deadline;
using base::ErrorCode;
using base::Json;
using postgres::Lsn;
using postgres::PsqlTarget;
using std::chrono::seconds;

constexpr seconds kStatement{60};
constexpr int kAbandonedAfter =
    24 * 3600;  // seconds without a change until an unfinished backup counts as left behind

// Watches a program that may wait for ever on the server's side (pg_basebackup does, while nothing is
// archived) and ends its session on the server.
class SilenceWatch {
 public:
  SilenceWatch(PsqlTarget server, std::string application, const BackupLimits& limits)
      : server_(std::move(server)),
        application_(std::move(application)),
        limits_(limits),
        last_(std::chrono::steady_clock::now()),
        thread_([this] { watch(); }) {}
  ~SilenceWatch() {
    {
      std::lock_guard hold(mutex_);
      ended_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  SilenceWatch(const SilenceWatch&) = delete;
  SilenceWatch& operator=(const SilenceWatch&) = delete;
  void heard() {
    std::lock_guard hold(mutex_);
    last_ = std::chrono::steady_clock::now();
    if (!std::exchange(begun_, true)) wake_.notify_all();  // another limit holds from now on
  }
  [[nodiscard]] bool fired() const { return fired_; }

 private:
  void watch() {
    std::unique_lock hold(mutex_);
    while (!ended_) {
      auto at = last_ + (begun_ ? limits_.silence : limits_.first_byte);
      if (std::chrono::steady_clock::now() >= at) {
        fired_ = true;
        hold.unlock();
        cancel_backup(server_, application_);
        hold.lock();
        last_ = std::chrono::steady_clock::now();  // again after as long, should the session still be there
        continue;
      }
      wake_.wait_until(hold, at);
    }
  }
  PsqlTarget server_;
  std::string application_;
  BackupLimits limits_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool begun_ = false, ended_ = false;
  std::atomic<bool> fired_ = false;
  std::chrono::steady_clock::time_point last_;
  std::thread thread_;
};

Result<> check_order(const Order& order) {
  if (!order.member) return base::fail(ErrorCode::kInvalid, "order.member is missing");
  PGR_TRY(archive::check_word(order.backup.id, "the id of a backup"));
  if (order.backup.compression != "zstd" || order.backup.level < 1 || order.backup.level > 19) {
    return base::fail(
        ErrorCode::kInvalid,
        fmt::format("compression {} of level {} is not known", order.backup.compression, order.backup.level),
        "use zstd, level 1 to 19");
  }
  auto one_of = [](const std::string& word, const char* a, const char* b) { return word == a || word == b; };
  if (!one_of(order.backup.checkpoint, "Fast", "Spread") ||
      !one_of(order.backup.verify, "Manifest", "None")) {
    return base::fail(ErrorCode::kInvalid, fmt::format("checkpoint '{}' or verify '{}' is not known",
                                                       order.backup.checkpoint, order.backup.verify));
  }
  return {};
}

Result<> check_server(const ServerFacts& facts, const Repository& repository) {
  if (facts.in_recovery) {
    return base::fail(base::refused("NotPrimary", "the server is in recovery: it is no primary",
                                    "back up the member that takes writes"));
  }
  if (!facts.tablespaces.empty()) {
    return base::fail(base::refused(
        "TablespacesUnsupported",
        fmt::format("the server has {} tablespace{} outside its data directory: {}", facts.tablespaces.size(),
                    facts.tablespaces.size() == 1 ? "" : "s", facts.tablespaces.front()),
        "move its tables (ALTER TABLE ... SET TABLESPACE pg_default) and drop it; backups with extra "
        "tablespaces are not "
        "supported yet"));
  }
  const auto& ids = repository.record().system_identifiers;
  if (std::find(ids.begin(), ids.end(), facts.system_identifier) == ids.end()) {
    return base::fail(base::refused(
        "SystemIdentifierMismatch",
        fmt::format("the server's system identifier is {}, the repository is of {}", facts.system_identifier,
                    ids.empty() ? std::string("none") : std::to_string(ids.front())),
        "another database cluster needs another topology, and so a repository of its own"));
  }
  if (facts.archive_mode != "on" && facts.archive_mode != "always") {
    return base::fail(
        base::refused("ArchivingOff", fmt::format("the server has archive_mode={}", facts.archive_mode),
                      "a base backup is worth nothing without its WAL: let the topology's setup turn it on"));
  }
  if (facts.segment_size != repository.segment_size()) {
    return base::fail(base::refused(
        "SegmentSizeMismatch", fmt::format("the server's WAL segments have {} bytes, the repository's {}",
                                           facts.segment_size, repository.segment_size())));
  }
  const postgres::Version* version = postgres::version_of_major(facts.major);
  if (version == nullptr || !version->manifest) {
    return base::fail(base::refused(
        "VersionUnsupported",
        version == nullptr ? fmt::format("PostgreSQL {} is not known to this operator", facts.version)
                           : fmt::format("PostgreSQL {} writes no backup manifest", facts.version),
        "13 to 18 are supported so far"));
  }
  return {};
}

// A kill leaves a directory without backup.json. Nobody counts it as a backup; after a day without a change
// nobody writes it any more either. A record that cannot be read may be that of a finished backup: only the
// volume's word that there is none lets a directory go.
void remove_left_behind(const Repository& repository, Report& report) {
  auto entries = repository.backups();
  if (!entries) return;
  for (const archive::BackupEntry& entry : *entries) {
    if (entry.record) continue;
    std::string directory = repository.layout().backup_directory(entry.id);
    auto quiet = quiet_for(directory);
    if (!quiet || *quiet < kAbandonedAfter) continue;
    auto finished = base::read_file(repository.layout().backup_json(entry.id));
    if (finished || finished.error().code != ErrorCode::kNotFound) continue;
    if (base::remove_tree(directory))
      report.note("prepare", fmt::format("removed the unfinished backup {}", entry.id));
  }
}

// The directory of one backup while it is made. What was not published goes when the object goes.
class Workplace {
 public:
  static Result<Workplace> make(const Repository& repository, const std::string& id) {
    Workplace w;
    PGR_TRY(base::make_directories(repository.layout().backups_directory(), archive::kDirectoryMode));
    std::string path = repository.layout().backup_directory(id);
    if (::mkdir(path.c_str(), archive::kDirectoryMode) != 0) {
      if (errno != EEXIST) return base::fail(base::system_error("create directory", path));
      // Of a Job that was killed; or of one that works right now, which must not be disturbed.
      constexpr std::int64_t kSurelyDead = 600;
      PGR_ASSIGN(std::int64_t quiet, quiet_for(path));
      if (quiet < kSurelyDead) {
        return base::fail(base::refused(
            "BackupInProgress", fmt::format("{} exists and changed in the last {} s", path, kSurelyDead),
            "another Job makes this backup, or was killed just now: try again later"));
      }
      PGR_TRY(base::remove_tree(path));
      if (::mkdir(path.c_str(), archive::kDirectoryMode) != 0) {
        return base::fail(base::system_error("create directory", path));
      }
    }
    w.path_ = path;
    ::chmod(path.c_str(), archive::kDirectoryMode);
    PGR_TRY(base::sync_path(repository.layout().backups_directory()));
    return w;
  }
  Workplace(Workplace&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  Workplace& operator=(Workplace&&) = delete;
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;
  ~Workplace() {
    if (!path_.empty()) (void)base::remove_tree(path_);
  }
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }
  [[nodiscard]] Result<> put(const std::string& name, std::string_view content) const {
    return base::create_file(file(name), content, archive::kFileMode);
  }
  void keep() { path_.clear(); }

 private:
  Workplace() = default;
  std::string path_;
};

class BackupRun {
 public:
  BackupRun(const Order& order, Report& report, const BackupLimits& limits, Repository repository)
      : order_(order), report_(report), limits_(limits), repository_(std::move(repository)) {}

  Result<Answer> run() {
    PGR_TRY(connect());
    remove_left_behind(repository_, report_);
    PGR_ASSIGN(Workplace place, Workplace::make(repository_, order_.backup.id));
    auto made = make(place);
    if (!made) {
      base::Error e = made.error();
      // What the server refused now is no wrong order any more.
      if (e.code == ErrorCode::kInvalid) e.code = ErrorCode::kUnavailable;
      return base::fail(std::move(e));
    }
    place.keep();
    return done(record_);
  }

  static Answer done(const BackupRecord& b) {
    Json files = Json::array();
    for (const auto& f : b.configuration_files) files.push_back(f.path);
    return succeeded("BackupCompleted",
                     fmt::format("backup {} holds {} files in {} stored bytes and reaches from {} to {}",
                                 b.id, b.files, b.stored_bytes, b.begin_lsn.text(), b.end_lsn.text()),
                     {{"backupID", b.id},
                      {"beginLSN", b.begin_lsn.text()},
                      {"endLSN", b.end_lsn.text()},
                      {"beginWAL", b.begin_wal},
                      {"endWAL", b.end_wal},
                      {"timeline", b.timeline.number()},
                      {"systemIdentifier", std::to_string(b.system_identifier)},
                      {"majorVersion", b.major_version},
                      {"databaseBytes", b.database_bytes},
                      {"storedBytes", b.stored_bytes},
                      {"location", "basebackup/" + b.id},
                      {"verified", b.verified},
                      {"configurationFiles", files},
                      {"startTime", base::format_time_micro(b.start_time)},
                      {"stopTime", base::format_time_micro(b.stop_time)}});
  }

 private:
  Result<> connect() {
    const api::MemberRef& member = *order_.member;
    PGR_ASSIGN(server_.program, postgres::find_program("psql"));
    server_.host = member.host;
    server_.port = member.port;
    server_.user = "pgrunbook";
    server_.password = secret(api::secrets::kRolePassword);
    report_.progress("connect", fmt::format("connecting to {}:{}", member.host, member.port));
    PGR_TRY(wait_for_server(server_, Deadline::after(limits_.connect)));
    PGR_ASSIGN(facts_, ask_facts(server_, Deadline::after(kStatement)));
    PGR_TRY(check_server(facts_, repository_));
    PGR_ASSIGN(program_, postgres::find_program("pg_basebackup", facts_.major));
    return {};
  }

  // Everything between the empty directory and the published backup.json.
  Result<> make(const Workplace& place) {
    PGR_TRY(copy(place));
    PGR_ASSIGN(auto manifest, check_copy());
    PGR_ASSIGN(record_.stop_time,
               mark_and_switch(server_, "pgrunbook " + order_.backup.id, Deadline::after(kStatement)));
    PGR_TRY(describe(manifest));
    PGR_TRY(keep_configuration(place));
    PGR_TRY(place.put("base.index.jsonl", index_));
    PGR_TRY(place.put("backup_manifest", contents_.manifest));
    if (order_.backup.verify == "Manifest") PGR_TRY(read_back(place, manifest));
    PGR_ASSIGN(auto segments, wait_for_wal());
    PGR_TRY(check_backup_end(repository_, record_, segments, reads_whole()));
    PGR_TRY(place.put("RESTORE.md", restore_guide(record_)));
    report_.note("publish", fmt::format("publishing {}", order_.backup.id));
    return place.put("backup.json", archive::to_json(record_).dump(2) + "\n");
  }

  Result<> copy(const Workplace& place) {
    std::string application = "pgrunbook-" + order_.backup.id.substr(0, 50);
    base::Command command;
    command.argv = {program_,
                    "-D",
                    "-",
                    "-Ft",
                    "-X",
                    "none",
                    "-c",
                    order_.backup.checkpoint == "Spread" ? "spread" : "fast",
                    "--manifest-checksums=SHA256",
                    "-w",
                    "-l",
                    "pgrunbook " + order_.backup.id};
    if (!order_.backup.max_rate.empty()) command.argv.push_back("--max-rate=" + order_.backup.max_rate);
    PGR_ASSIGN(auto password, postgres::PasswordFile::make(server_.password));
    command.environment = postgres::connection_environment(server_, password);
    command.environment.emplace_back("PGAPPNAME", application);
    std::erase_if(command.environment,
                  [&](const auto& kv) { return kv.first == "PGAPPNAME" && kv.second != application; });

    PGR_ASSIGN(auto writer, archive::BaseTarWriter::create(place.file("base.tar.zst"), order_.backup.level));
    report_.note("copy", fmt::format("copying {} bytes in databases", facts_.database_bytes));
    SilenceWatch watch(server_, application, limits_);
    auto take = [&](std::string_view bytes) -> Result<> {
      watch.heard();
      PGR_TRY(writer->feed(bytes));
      report_.progress("copy", "copying the data directory",
                       static_cast<std::int64_t>(writer->contents().bytes),
                       static_cast<std::int64_t>(facts_.database_bytes));
      return {};
    };
    auto ran = base::run(command, Deadline::after(limits_.whole), take);
    contents_ = writer->contents();
    if (watch.fired()) return base::fail(stalled());
    if (!ran) return base::fail(ran.error().in("pg_basebackup"));
    if (ran->exit_code != 0) {
      std::string words = ran->err.substr(0, 600);
      std::replace(words.begin(), words.end(), '\n', ' ');
      base::Error e = base::error(ErrorCode::kUnavailable,
                                  fmt::format("pg_basebackup ended with {}: {}", ran->exit_code, words),
                                  "see the server's log");
      e.reason = "BaseBackupFailed";
      return base::fail(std::move(e));
    }
    PGR_TRY(writer->finish());
    index_ = writer->index();
    record_.stored_bytes = writer->stored_bytes();
    record_.stored_sha256 = writer->stored_sha256();
    return base::sync_path(place.file(""));
  }

  // The server sends its manifest last: what came before must be what it says.
  Result<postgres::BackupManifest> check_copy() {
    if (contents_.manifest.empty()) {
      return base::fail(ErrorCode::kCorrupt, "pg_basebackup sent no backup_manifest");
    }
    PGR_ASSIGN(auto manifest, postgres::parse_backup_manifest(contents_.manifest));
    PGR_TRY(postgres::compare_with_manifest(manifest, contents_.files));
    return manifest;
  }

  Result<> describe(const postgres::BackupManifest& manifest) {
    BackupRecord& b = record_;
    b.id = order_.backup.id;
    b.topology = order_.repository.topology;
    b.member = order_.member->name;
    b.action_uid = order_.action.uid;
    b.server_version = facts_.version;
    b.major_version = facts_.major;
    b.control_version = facts_.control_version;
    b.catalog_version = facts_.catalog_version;
    b.system_identifier = facts_.system_identifier;
    b.segment_size = facts_.segment_size;
    b.timeline = manifest.timeline();
    b.begin_lsn = manifest.begin();
    b.end_lsn = manifest.end();
    PGR_ASSIGN(auto history, repository_.history(b.timeline));
    b.begin_wal = repository_.segment_at(history, b.begin_lsn).name;
    b.end_wal = repository_.segment_at(history, b.end_lsn - 1).name;
    b.start_time = facts_.now;
    b.database_bytes = facts_.database_bytes;
    b.tar_bytes = contents_.bytes;
    b.files = contents_.files.size();
    b.manifest_sha256 = base::sha256(contents_.manifest);
    b.index_sha256 = base::sha256(index_);
    b.level = order_.backup.level;
    b.data_checksums = facts_.data_checksums;
    b.server_encoding = facts_.encoding;
    b.collate = facts_.collate;
    b.ctype = facts_.ctype;
    b.superuser = facts_.superuser;
    b.preload_libraries = facts_.preload_libraries;
    b.wal_resource_managers = facts_.wal_resource_managers;
    b.databases = facts_.databases;
    return {};
  }

  Result<> keep_configuration(const Workplace& place) {
    PGR_ASSIGN(auto files, ask_outside_files(server_, facts_.data_directory, Deadline::after(kStatement)));
    for (const OutsideFile& f : files) {
      record_.configuration_files.push_back(f.file);
      if (f.file.kept_as.empty()) {
        report_.note("configuration", fmt::format("{} could not be kept: {}", f.file.path, f.file.why_not));
        continue;
      }
      PGR_TRY(base::make_directories(place.file("configuration"), archive::kDirectoryMode));
      PGR_TRY(place.put("configuration/" + f.file.kept_as, f.content));
    }
    return {};
  }

  Result<> read_back(const Workplace& place, const postgres::BackupManifest& manifest) {
    auto total = static_cast<std::int64_t>(contents_.bytes);
    PGR_ASSIGN(auto stored, archive::read_base_tar(place.file("base.tar.zst"), [&](std::uint64_t bytes) {
                 report_.progress("verify", "reading the stored backup back",
                                  static_cast<std::int64_t>(bytes), total);
               }));
    if (stored.manifest != contents_.manifest) {
      return base::fail(ErrorCode::kCorrupt, "the stored backup holds another manifest than was sent");
    }
    PGR_TRY(postgres::compare_with_manifest(manifest, stored.files));
    record_.verified = "Manifest";
    return {};
  }

  // Every segment from begin to end is there and is what its name says.
  Result<std::vector<archive::SegmentRef>> wait_for_wal() {
    PGR_ASSIGN(auto history, repository_.history(record_.timeline));
    auto deadline = Deadline::after(limits_.archive);
    std::size_t most = 0;
    while (true) {
      PGR_ASSIGN(auto walk, repository_.walk(history, record_.begin_lsn, record_.end_lsn));
      if (!walk.missing) {
        for (const archive::SegmentRef& s : walk.segments) {
          PGR_ASSIGN(auto name, postgres::parse_wal_name(s.name));
          PGR_TRY(repository_.check_stored(name));
        }
        return walk.segments;
      }
      if (walk.segments.size() > most) deadline = Deadline::after(limits_.archive);
      most = std::max(most, walk.segments.size());
      if (deadline.passed()) return base::fail(not_archived(walk.missing->name, limits_.archive));
      report_.progress("archive", fmt::format("waiting for {}", walk.missing->name));
      std::this_thread::sleep_for(std::chrono::milliseconds(250));
    }
  }

  // With verify: Manifest the WAL of the backup is read too, as a recovery would.
  ReadWhole reads_whole() {
    if (order_.backup.verify != "Manifest") return {};
    return [this](Lsn at) {
      report_.progress("verify", fmt::format("reading the WAL of the backup, at {}", at.text()),
                       static_cast<std::int64_t>(at - record_.begin_lsn),
                       static_cast<std::int64_t>(record_.end_lsn - record_.begin_lsn));
    };
  }

  base::Error not_archived(const std::string& segment, seconds waited) const {
    std::string words = archiver_words(server_, Deadline::after(seconds(20)));
    base::Error e =
        base::error(ErrorCode::kTimeout,
                    fmt::format("backup {} needs {}, which did not reach the repository within {} s{}{}",
                                order_.backup.id, segment, waited.count(), words.empty() ? "" : "; ", words),
                    "the server's log says why its archive_command fails");
    e.reason = "WALNotArchived";
    return e;
  }

  // The server went silent. Behind the last file it waits for its archiver: then a segment is missing.
  base::Error stalled() const {
    base::Error e = base::error(ErrorCode::kTimeout,
                                fmt::format("the server sent nothing for {} s, {} bytes had come",
                                            limits_.silence.count(), contents_.bytes),
                                "is the server, or the network to it, overloaded?");
    e.reason = "ServerSilent";
    constexpr std::string_view kWords = "START WAL LOCATION: ";
    auto at = contents_.backup_label.find(kWords);
    if (at == std::string::npos) return e;
    std::string_view rest = std::string_view(contents_.backup_label).substr(at + kWords.size());
    auto begin = Lsn::parse(rest.substr(0, rest.find(' ')));
    auto live = repository_.record().live();
    if (!begin || live == nullptr) return e;
    auto history = repository_.history(live->timeline);
    if (!history) return e;
    auto walk = repository_.walk(*history, *begin);
    return walk && walk->missing ? not_archived(walk->missing->name, limits_.silence) : e;
  }

  const Order& order_;
  Report& report_;
  BackupLimits limits_;
  Repository repository_;
  PsqlTarget server_;
  std::string program_;
  ServerFacts facts_;
  archive::TarContents contents_;
  std::string index_;
  BackupRecord record_;
};

}  // namespace

Result<std::int64_t> quiet_for(const std::string& directory) {
  struct stat st{};
  if (::stat(directory.c_str(), &st) != 0) {
    if (errno == ENOENT) return 0;
    return base::fail(base::system_error("look at", directory));
  }
  std::time_t newest = st.st_mtime;
  auto names = base::list_directory(directory);
  if (!names && names.error().code == ErrorCode::kNotFound) return 0;
  if (!names) return base::fail(names.error());
  for (const std::string& name : *names) {
    std::string path = fmt::format("{}/{}", directory, name);
    if (::lstat(path.c_str(), &st) != 0) {
      if (errno == ENOENT) return 0;
      return base::fail(base::system_error("look at", path));
    }
    newest = std::max(newest, st.st_mtime);
  }
  return std::time(nullptr) - newest;
}

Result<Answer> run_backup_within(const Order& order, Report& report, const BackupLimits& limits) {
  PGR_TRY(check_order(order));
  PGR_ASSIGN(Repository repository, open_repository(order));
  auto there = repository.backup(order.backup.id);
  if (there && there->action_uid == order.action.uid) return BackupRun::done(*there);
  if (there) {
    return base::fail(base::refused(
        "BackupExists", fmt::format("backup {} was made by action {}", there->id, there->action_uid)));
  }
  if (there.error().code != ErrorCode::kNotFound) return base::fail(there.error());
  return BackupRun(order, report, limits, std::move(repository)).run();
}

Result<Answer> run_backup(const Order& order, Report& report) { return run_backup_within(order, report, {}); }

}  // namespace pgrunbook::agent
