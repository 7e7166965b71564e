#include "archive/repository.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <thread>

#include <fmt/format.h>

#include "base/file.hpp"

namespace pgrunbook::archive {
namespace {

using base::ErrorCode;
using base::Json;
using base::Reader;
using base::Result;
using postgres::Lsn;
using postgres::TimelineId;

constexpr std::array<std::string_view, 4> kStates{"live", "prepared", "abandoned", "retired"};
constexpr auto kLockPatience = std::chrono::seconds(30);

Json to_json(const RepositoryRecord& r) {
  Json identifiers = Json::array();
  for (std::uint64_t id : r.system_identifiers) identifiers.push_back(std::to_string(id));
  Json timelines = Json::array();
  for (const TimelineRecord& t : r.timelines) {
    timelines.push_back({{"timeline", t.timeline.number()},
                         {"parent", t.parent.number()},
                         {"forkLSN", t.fork.text()},
                         {"maker", t.maker},
                         {"state", kStates[static_cast<std::size_t>(t.state)]}});
  }
  return {{"format", r.format},
          {"topology", r.topology},
          {"topologyUID", r.topology_uid},
          {"systemIdentifiers", identifiers},
          {"segmentSize", r.segment_size},
          {"majorVersion", r.major_version},
          {"timelines", timelines}};
}

Result<TimelineRecord> timeline_from_json(const Json& json) {
  TimelineRecord t;
  Reader r(json, "repository.json: timelines[]");
  std::int64_t number = 0, parent = 0;
  std::string fork = "0/0", state = "live";
  r.maybe("timeline", &number);
  r.maybe("parent", &parent);
  r.maybe("forkLSN", &fork);
  r.maybe("maker", &t.maker);
  r.word("state", {"live", "prepared", "abandoned", "retired"}, &state);
  PGR_TRY(r.done());
  t.timeline = TimelineId(static_cast<std::uint32_t>(number));
  t.parent = TimelineId(static_cast<std::uint32_t>(parent));
  PGR_ASSIGN(t.fork, Lsn::parse(fork));
  t.state = static_cast<TimelineState>(std::find(kStates.begin(), kStates.end(), state) - kStates.begin());
  return t;
}

Result<RepositoryRecord> record_from_json(const Json& json) {
  RepositoryRecord record;
  Reader r(json, "repository.json");
  std::int64_t format = 0, segment_size = 0, major = 0;
  std::vector<std::string> identifiers;
  r.maybe("format", &format);
  if (json.is_object() && format != 1) {
    return base::fail(ErrorCode::kInvalid,
                      fmt::format("repository.json has format {}, this version knows 1", format));
  }
  r.need("topology", &record.topology);
  r.need("topologyUID", &record.topology_uid);
  r.maybe("systemIdentifiers", &identifiers);
  r.maybe("segmentSize", &segment_size);
  r.maybe("majorVersion", &major);
  const Json* timelines = r.child("timelines");
  PGR_TRY(r.done());
  record.segment_size = static_cast<std::uint64_t>(segment_size);
  record.major_version = static_cast<int>(major);
  if (!postgres::valid_segment_size(record.segment_size)) {
    return base::fail(ErrorCode::kCorrupt,
                      fmt::format("repository.json names a segment size of {} bytes", segment_size));
  }
  for (const std::string& text : identifiers) {
    std::uint64_t id = 0;
    auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (code != std::errc{} || stop != text.data() + text.size()) {
      return base::fail(ErrorCode::kCorrupt,
                        fmt::format("repository.json names the system identifier '{}'", text));
    }
    record.system_identifiers.push_back(id);
  }
  if (timelines != nullptr && timelines->is_array()) {
    for (const Json& item : *timelines) {
      PGR_ASSIGN(TimelineRecord t, timeline_from_json(item));
      record.timelines.push_back(std::move(t));
    }
  }
  return record;
}

std::string text_of(const RepositoryRecord& record) { return to_json(record).dump(2) + "\n"; }

Result<RepositoryRecord> read_record(const std::string& path) {
  PGR_ASSIGN(std::string text, base::read_file(path));
  PGR_ASSIGN(Json json, base::parse_json(text, path));
  return record_from_json(json);
}

Result<> check_owner(const RepositoryRecord& record, const std::string& path, const Owner& owner,
                     std::optional<std::uint64_t> system_identifier) {
  if (record.topology_uid != owner.topology_uid) {
    return base::fail(base::refused(
        "RepositoryOfAnother",
        fmt::format("the repository {} belongs to the topology {} with uid {}, not to {} with uid {}", path,
                    record.topology, record.topology_uid, owner.topology, owner.topology_uid),
        "give this topology another archive path, or another name"));
  }
  const auto& ids = record.system_identifiers;
  if (system_identifier && std::find(ids.begin(), ids.end(), *system_identifier) == ids.end()) {
    return base::fail(base::refused(
        "SystemIdentifierMismatch",
        fmt::format("the repository {} is of the cluster with system identifier {}, this server's is {}",
                    path, ids.empty() ? std::string("none") : std::to_string(ids.front()),
                    *system_identifier),
        "another database cluster needs another topology, and so a repository of its own"));
  }
  return {};
}

// A directory with content that is no repository belongs to somebody else.
Result<> check_empty(const std::string& path) {
  auto names = base::list_directory(path);
  if (!names) return names.error().code == ErrorCode::kNotFound ? Result<>() : base::fail(names.error());
  std::erase_if(*names,
                [](const std::string& n) { return n == ".lock" || n.starts_with(".repository.json."); });
  if (names->empty()) return {};
  return base::fail(
      base::refused("RepositoryNotEmpty",
                    fmt::format("{} is not empty ({}{}) and has no repository.json", path, names->front(),
                                names->size() > 1 ? ", ..." : ""),
                    "name an archive path where nothing lies yet; what is there is not touched"));
}

// Held by a record lock on an open file: it dies with its holder, also over NFS.
Result<base::Fd> lock(const std::string& root) {
  std::string path = root + "/.lock";
  base::Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kFileMode));
  if (!fd.valid()) return base::fail(base::system_error("open", path));
  auto deadline = base::Deadline::after(kLockPatience);
  while (true) {
    struct flock range{};
    range.l_type = F_WRLCK;
    range.l_whence = SEEK_SET;
    if (::fcntl(fd.get(), F_OFD_SETLK, &range) == 0) return fd;
    if (errno != EAGAIN && errno != EACCES && errno != EINTR)
      return base::fail(base::system_error("lock", path));
    if (deadline.passed()) {
      return base::fail(ErrorCode::kTimeout, fmt::format("{} stays locked", path),
                        "another Job works on this repository");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace

std::string_view to_string(TimelineState state) { return kStates[static_cast<std::size_t>(state)]; }

const TimelineRecord* RepositoryRecord::find(TimelineId timeline) const {
  for (const TimelineRecord& t : timelines) {
    if (t.timeline == timeline) return &t;
  }
  return nullptr;
}

TimelineRecord* RepositoryRecord::find(TimelineId timeline) {
  return const_cast<TimelineRecord*>(std::as_const(*this).find(timeline));
}

const TimelineRecord* RepositoryRecord::live() const {
  for (const TimelineRecord& t : timelines) {
    if (t.state == TimelineState::kLive) return &t;
  }
  return nullptr;
}

Result<> Repository::reload() {
  PGR_ASSIGN(record_, read_record(layout_.repository_json()));
  for (TimelineRecord& t : record_.timelines) {
    PGR_ASSIGN(t.writer, writer_of(t.timeline));
  }
  return {};
}

Result<Repository> Repository::open(const std::string& path) {
  Repository repository(path);
  PGR_TRY(repository.reload());
  return repository;
}

Result<Repository> Repository::open_quickly(const std::string& path) {
  Repository repository(path);
  PGR_ASSIGN(repository.record_, read_record(repository.layout_.repository_json()));
  return repository;
}

Result<Repository> Repository::open(const std::string& path, const Owner& owner,
                                    std::optional<std::uint64_t> system_identifier) {
  auto repository = open(path);
  if (!repository) {
    if (repository.error().code != ErrorCode::kNotFound) return repository;
    auto empty = check_empty(path);
    // Somebody may have made it between the two looks.
    repository = open(path);
    if (!repository) {
      PGR_TRY(empty);
      return repository;
    }
  }
  PGR_TRY(check_owner(repository->record_, path, owner, system_identifier));
  return repository;
}

Result<Repository> Repository::create(const std::string& path, const Owner& owner,
                                      std::uint64_t system_identifier, std::uint64_t segment_size,
                                      int major_version, TimelineId timeline) {
  auto there = open(path, owner, system_identifier);
  if (there || there.error().code != ErrorCode::kNotFound) return there;
  RepositoryRecord record;
  record.topology = owner.topology;
  record.topology_uid = owner.topology_uid;
  record.system_identifiers = {system_identifier};
  record.segment_size = segment_size;
  record.major_version = major_version;
  TimelineRecord first;
  first.timeline = timeline;
  record.timelines = {first};
  PGR_TRY(base::make_directories(path, kDirectoryMode));
  auto made = base::create_file(Layout(path).repository_json(), text_of(record), kFileMode);
  if (!made && made.error().code != ErrorCode::kAlreadyExists) return base::fail(made.error());
  return open(path, owner, system_identifier);
}

postgres::WalExpectation Repository::expectation() const {
  postgres::WalExpectation e;
  e.segment_size = record_.segment_size;
  if (record_.system_identifiers.size() == 1) e.system_identifier = record_.system_identifiers.front();
  if (record_.major_version != 0) e.major = record_.major_version;
  return e;
}

Result<> Repository::update(const std::function<Result<>(RepositoryRecord*)>& change) {
  PGR_ASSIGN(base::Fd held, lock(layout_.root()));
  PGR_ASSIGN(RepositoryRecord record, read_record(layout_.repository_json()));
  std::string before = text_of(record);
  PGR_TRY(change(&record));
  std::string after = text_of(record);
  if (after != before) PGR_TRY(base::replace_file(layout_.repository_json(), after, kFileMode));
  return reload();
}

Result<> Repository::add_timeline(const TimelineRecord& timeline) {
  return update([&](RepositoryRecord* record) -> Result<> {
    const TimelineRecord* there = record->find(timeline.timeline);
    if (there == nullptr) {
      record->timelines.push_back(timeline);
      std::sort(record->timelines.begin(), record->timelines.end(),
                [](const auto& a, const auto& b) { return a.timeline < b.timeline; });
      return {};
    }
    if (there->maker == timeline.maker && there->parent == timeline.parent && there->fork == timeline.fork)
      return {};
    base::Error e =
        base::error(ErrorCode::kConflict,
                    fmt::format("timeline {} was already made by action {}, from timeline {} at {}",
                                timeline.timeline.number(), there->maker.empty() ? "none" : there->maker,
                                there->parent.number(), there->fork.text()),
                    "recover again: PostgreSQL then takes the next number");
    e.reason = "TimelineTaken";
    return base::fail(std::move(e));
  });
}

Result<> Repository::set_timeline_state(TimelineId timeline, TimelineState state) {
  return update([&](RepositoryRecord* record) -> Result<> {
    TimelineRecord* there = record->find(timeline);
    if (there == nullptr) {
      return base::fail(ErrorCode::kNotFound,
                        fmt::format("timeline {} is not in repository.json", timeline.number()));
    }
    there->state = state;
    return {};
  });
}

Result<> Repository::claim_writer(TimelineId timeline, const std::string& claim_uid) const {
  PGR_TRY(check_word(claim_uid, "the uid of a claim"));
  PGR_ASSIGN(std::string writer, writer_of(timeline));
  if (writer.empty()) {
    PGR_TRY(base::make_directories(layout_.timeline_directory(timeline), kDirectoryMode));
    Json content = {{"claimUID", claim_uid}, {"since", base::format_time(base::now())}};
    auto made = base::create_file(layout_.writer_json(timeline), content.dump() + "\n", kFileMode);
    if (!made && made.error().code != ErrorCode::kAlreadyExists) return base::fail(made.error());
    PGR_ASSIGN(writer, writer_of(timeline));
  }
  if (writer == claim_uid) return {};
  return base::fail(base::refused(
      "TimelineOfAnotherWriter",
      fmt::format("timeline {} is written by the server on the claim with uid {}, not by the one on {}",
                  timeline.number(), writer, claim_uid),
      "this server is a copy of the other one: set archive_mode=off on it, or recover it through a "
      "PostgresRestore"));
}

Result<std::string> Repository::writer_of(TimelineId timeline) const {
  auto text = base::read_file(layout_.writer_json(timeline));
  if (!text) {
    if (text.error().code == ErrorCode::kNotFound) return std::string();
    return base::fail(text.error());
  }
  PGR_ASSIGN(Json json, base::parse_json(*text, layout_.writer_json(timeline)));
  std::string uid = base::text_at(json, {"claimUID"});
  if (uid.empty()) {
    return base::fail(ErrorCode::kCorrupt, fmt::format("{} names no claim", layout_.writer_json(timeline)));
  }
  return uid;
}

}  // namespace pgrunbook::archive
