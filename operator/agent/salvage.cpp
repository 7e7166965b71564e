#include "agent/salvage.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <map>
#include <set>
#include <unistd.h>

#include <fmt/format.h>

#include "agent/agent.hpp"
#include "agent/plan.hpp"
#include "base/file.hpp"
#include "postgres/wal_walk.hpp"

namespace pgrunbook::agent {

using archive::SegmentRef;
using base::Json;
using postgres::Lsn;
using postgres::TimelineId;

Json to_json(const SalvageRecord& r) {
  return {{"actionUID", r.action_uid},
          {"member", r.member},
          {"writer", r.writer},
          {"timeline", r.timeline.number()},
          {"systemIdentifier", std::to_string(r.system_identifier)},
          {"endLSN", r.end.text()},
          {"segments", r.segments},
          {"last", r.last},
          {"transactions", r.transactions},
          {"lastCommit", r.last_commit}};
}

base::Result<SalvageRecord> salvage_from_json(const Json& json) {
  SalvageRecord r;
  r.action_uid = base::text_at(json, {"actionUID"});
  r.member = base::text_at(json, {"member"});
  r.writer = base::text_at(json, {"writer"});
  r.timeline = TimelineId(static_cast<std::uint32_t>(base::number_at(json, {"timeline"})));
  r.system_identifier = std::strtoull(base::text_at(json, {"systemIdentifier"}).c_str(), nullptr, 10);
  auto end = Lsn::parse(base::text_at(json, {"endLSN"}));
  if (const Json& list = base::at(json, {"segments"}); list.is_array()) {
    for (const Json& s : list) r.segments.push_back(s.is_string() ? s.get<std::string>() : "");
  }
  r.last = base::text_at(json, {"last"});
  r.transactions = base::number_at(json, {"transactions"});
  r.last_commit = base::at(json, {"lastCommit"});
  if (r.action_uid.empty() || r.writer.empty() || !r.timeline.valid() || r.system_identifier == 0 || !end) {
    return base::fail(base::ErrorCode::kCorrupt, "a salvage record lacks fields",
                      "look at salvage/<action uid>/salvage.json in the archive");
  }
  r.end = *end;
  if (!r.last.empty()) PGR_TRY(postgres::parse_wal_name(r.last));
  return r;
}

base::Result<SalvageRecord> read_salvage(const archive::Repository& repository,
                                         const std::string& action_uid) {
  PGR_TRY(archive::check_word(action_uid, "the uid of an action"));
  std::string path = repository.layout().salvage_json(action_uid);
  PGR_ASSIGN(std::string text, base::read_file(path));
  PGR_ASSIGN(Json json, base::parse_json(text, path));
  return salvage_from_json(json);
}

base::Result<std::vector<SalvageRecord>> salvages_of(const archive::Repository& repository,
                                                     TimelineId timeline, const std::string& writer) {
  std::vector<SalvageRecord> out;
  auto names = base::list_directory(repository.layout().root() + "/salvage");
  if (!names && names.error().code == base::ErrorCode::kNotFound) return out;
  if (!names) return base::fail(names.error());
  for (const std::string& name : *names) {
    if (!archive::check_word(name, "the uid of an action")) continue;
    auto record = read_salvage(repository, name);
    if (!record && record.error().code == base::ErrorCode::kNotFound) continue;  // begun and not finished
    if (!record) return base::fail(record.error());
    if (record->timeline == timeline && record->writer == writer) out.push_back(std::move(*record));
  }
  return out;
}

std::optional<Lsn> UnarchivedWal::begin(std::uint64_t segment_size) const {
  if (!complete.empty()) return Lsn(complete.front().number * segment_size);
  if (last) return Lsn(last->number * segment_size);
  return std::nullopt;
}

// ---- looking

namespace {

// Segments of the archive, uncompressed one at a time.
class Scratch {
 public:
  Scratch() : path_(scratch_path("salvage")) {}
  ~Scratch() { (void)base::remove_tree(path_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] Result<std::string> get(const archive::Repository& repository, const SegmentRef& segment) {
    PGR_TRY(base::make_directories(path_, 0700));
    if (!held_.empty()) ::unlink(held_.c_str());
    held_ = path_ + "/" + segment.name;
    PGR_TRY(from_repository(repository)(segment, held_));
    return held_;
  }

 private:
  std::string path_, held_;
};

// A server that was promoted on its own writes on a timeline of which the repository knows nothing.
Result<> check_no_later_timeline(const archive::Repository& repository, TimelineId timeline,
                                 const std::string& pg_wal, const std::vector<std::string>& names) {
  for (const std::string& text : names) {
    auto name = postgres::parse_wal_name(text);
    if (!name || name->kind != postgres::WalKind::kSegment || name->timeline <= timeline) continue;
    std::string path = fmt::format("{}/{}", pg_wal, text);
    base::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    char bytes[postgres::kLongHeaderBytes];
    if (!fd.valid() || ::read(fd.get(), bytes, sizeof bytes) != static_cast<ssize_t>(sizeof bytes)) continue;
    auto header = postgres::parse_wal_header(std::string_view(bytes, sizeof bytes));
    if (!header || header->timeline <= timeline) continue;
    if (postgres::segment_name(header->timeline, header->address, repository.segment_size()) != text)
      continue;
    return base::fail(base::refused(
        "OtherTimeline",
        fmt::format("{} holds WAL of timeline {}, but the one that is live in the archive is {}", pg_wal,
                    header->timeline.number(), timeline.number()),
        "was this server promoted by hand? then its WAL is another history; restore without salvage, or from "
        "the member that is on the live timeline"));
  }
  return {};
}

}  // namespace

namespace {

// By its first page: neither recycled nor made in advance.
bool was_written(const std::string& pg_wal, const std::string& name,
                 const postgres::WalExpectation& expected) {
  auto parsed = postgres::parse_wal_name(name);
  base::Fd file(::open(fmt::format("{}/{}", pg_wal, name).c_str(), O_RDONLY | O_CLOEXEC));
  if (!parsed || !file.valid()) return false;
  std::array<char, postgres::kLongHeaderBytes> bytes{};
  if (::read(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) return false;
  return postgres::check_segment(*parsed, {bytes.data(), bytes.size()}, *expected.segment_size, expected)
      .has_value();
}

}  // namespace

namespace {

// Where the bytes of a segment in the archive and on the volume part, from a place on; neither is set where
// they are alike.
struct Parting {
  std::optional<std::uint64_t> at{};
  bool untold = false;  // the volume's cannot be read to its end
};
Result<Parting> difference(const std::string& archived, const std::string& on_volume,
                           std::uint64_t first = 0) {
  base::Fd ours(::open(archived.c_str(), O_RDONLY | O_CLOEXEC));
  base::Fd theirs(::open(on_volume.c_str(), O_RDONLY | O_CLOEXEC));
  if (!ours.valid()) return base::fail(base::system_error("open", archived));
  Parting out;
  out.untold = !theirs.valid();
  std::vector<char> left(1U << 18U), right(left.size());
  auto take = [](const base::Fd& fd, std::vector<char>* into) -> std::optional<std::size_t> {
    std::size_t have = 0;
    while (have < into->size()) {
      ssize_t n = ::read(fd.get(), into->data() + have, into->size() - have);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return std::nullopt;
      if (n == 0) break;
      have += static_cast<std::size_t>(n);
    }
    return have;
  };
  for (std::uint64_t at = 0; !out.untold; at += left.size()) {
    auto a = take(ours, &left);
    if (!a) return base::fail(base::system_error("read", archived));
    auto b = take(theirs, &right);
    out.untold = !b;
    if (!b || (*a == 0 && *b == 0)) break;
    const std::uint64_t both = std::min(*a, *b), skip = first > at ? std::min(first - at, both) : 0;
    auto end = left.begin() + static_cast<std::ptrdiff_t>(both);
    auto from = static_cast<std::ptrdiff_t>(skip);
    auto parted = std::mismatch(left.begin() + from, end, right.begin() + from).first;
    if (!out.at && (parted != end || *a != *b))
      out.at = at + static_cast<std::uint64_t>(parted - left.begin());
  }
  return out;
}

// Names say nothing of whose a segment is: a copy of this volume archives under the same ones. The newest
// that both have, and that can be told, is compared. Where the volume's own records go on behind the
// difference, they are not in the archive; where they end there, the volume is damaged, or older than the
// archive.
Result<> check_own_archive(const archive::Repository& repository, postgres::WalkOrder order,
                           const std::string& pg_wal, const std::set<std::uint64_t>& here,
                           const std::set<std::uint64_t>& archived, Scratch* scratch) {
  const std::uint64_t size = order.segment_size;
  const TimelineId timeline = order.history.timeline();
  auto name = [&](std::uint64_t n) { return postgres::segment_name(timeline, n, size); };
  // From the newest on down, to name the first one that differs.
  std::optional<std::uint64_t> first;
  for (auto n = here.rbegin(); n != here.rend(); ++n) {
    if (!archived.contains(*n) ||
        !was_written(pg_wal, name(*n), {order.system_identifier, size, std::nullopt, order.history}))
      continue;
    PGR_ASSIGN(std::string stored, scratch->get(repository, {timeline, *n, name(*n)}));
    PGR_ASSIGN(Parting parted, difference(stored, pg_wal + "/" + name(*n)));
    if (parted.untold) continue;
    if (!parted.at) break;
    order.first = *n;
    PGR_ASSIGN(auto own,
               postgres::walk_wal(order, [&](std::uint64_t m) -> Result<std::optional<std::string>> {
                 if (m != *n) return std::optional<std::string>();
                 return std::optional<std::string>(pg_wal + "/" + name(m));
               }));
    // The rest of a record that began in the segment before has its checksum there: what parts only within it
    // is damage, for what another server wrote goes on to differ.
    if (own.first && *own.first > Lsn(*n * size + *parted.at)) {
      PGR_ASSIGN(parted, difference(stored, pg_wal + "/" + name(*n), own.first->value() - *n * size));
      if (parted.untold || !parted.at) continue;
    }
    if (own.record_end > Lsn(*n * size + *parted.at)) first = *n;
  }
  if (!first) return {};
  return base::fail(base::refused(
      "ForeignWal",
      fmt::format("segment {} in the archive is not the one that lies on the volume, in {}", name(*first),
                  pg_wal),
      fmt::format(
          "is there a copy of this volume that archives under its name? then stop the copy and move what "
          "it wrote out of walbackup/, from {} on. Or was this volume set back, to a snapshot? then the "
          "archive is the newer one: move nothing, restore without salvage, and lead the Services to the "
          "restored member by hand; what this server has committed since stays on its volume",
          name(*first))));
}

}  // namespace

std::string damage_words(const UnarchivedWal& wal) {
  return fmt::format("it cannot be read behind {} ({}), but segment {} was written later", wal.end.text(),
                     wal.words, wal.behind ? wal.behind->name : "");
}

base::Result<UnarchivedWal> find_unarchived(const archive::Repository& repository, TimelineId timeline,
                                            const std::string& pg_wal) {
  auto listed = base::list_directory(pg_wal);
  if (!listed) {
    return base::fail(
        base::refused("NoWal", fmt::format("{} cannot be read: {}", pg_wal, listed.error().message),
                      "salvage reads pg_wal inside the data directory, on the member's own volume"));
  }
  if (repository.record().system_identifiers.empty())
    return base::fail(base::ErrorCode::kCorrupt, "repository.json names no system identifier");
  PGR_TRY(check_no_later_timeline(repository, timeline, pg_wal, *listed));
  const std::uint64_t size = repository.segment_size();
  std::set<std::uint64_t> here, archived;
  for (const std::string& text : *listed) {
    auto name = postgres::parse_wal_name(text);
    if (!name || name->kind != postgres::WalKind::kSegment || name->timeline != timeline) continue;
    if (auto number = name->segment(size)) here.insert(*number);
  }
  PGR_ASSIGN(auto in_archive, repository.segments(timeline));
  for (const SegmentRef& s : in_archive) archived.insert(s.number);
  if (here.empty()) {
    return base::fail(
        base::refused("NoWal",
                      fmt::format("{} holds no WAL of timeline {}, which is live in the archive", pg_wal,
                                  timeline.number()),
                      "is this the member that was the primary last?"));
  }
  auto history = repository.history(timeline);
  if (!history) return base::fail(history.error());

  // What is older than the archive (from before it was set up) is not missing in it.
  const std::uint64_t oldest = archived.empty() ? 0 : *archived.begin();
  std::uint64_t first = *here.rbegin() + 1;
  for (std::uint64_t n : here) {
    if (n < oldest || archived.contains(n)) continue;
    first = n;
    break;
  }
  if (!archived.empty() && !archived.contains(first - 1)) {
    return base::fail(base::refused(
        "WalGap",
        fmt::format("segments before {} are neither in the archive nor on the volume any more",
                    postgres::segment_name(timeline, first, size)),
        "what lies behind the gap cannot be replayed; restore without salvage to a target before it"));
  }
  auto at_number = [&](std::uint64_t n) {
    return SegmentRef{timeline, n, postgres::segment_name(timeline, n, size)};
  };
  Scratch scratch;
  postgres::WalkOrder order{*history, repository.record().system_identifiers.front(), size, first};
  PGR_TRY(check_own_archive(repository, order, pg_wal, here, archived, &scratch));
  // From the one before, so that the first record is known to follow the archive's last.
  if (archived.contains(first - 1)) order.first = first - 1;
  auto walked = postgres::walk_wal(order, [&](std::uint64_t n) -> Result<std::optional<std::string>> {
    if (archived.contains(n)) {
      PGR_ASSIGN(std::string path, scratch.get(repository, at_number(n)));
      return std::optional<std::string>(path);
    }
    if (!here.contains(n)) return std::optional<std::string>();
    return std::optional<std::string>(pg_wal + "/" + at_number(n).name);
  });
  if (!walked) return base::fail(walked.error());
  UnarchivedWal out;
  out.timeline = timeline;
  out.system_identifier = order.system_identifier;
  out.end = walked->end;
  out.words = walked->words;
  for (std::uint64_t n : archived) {
    if (n > walked->looked) {
      out.behind = at_number(n);
      break;
    }
  }
  for (auto n = here.upper_bound(walked->looked); n != here.end() && !out.behind; ++n) {
    if (was_written(pg_wal, at_number(*n).name, {order.system_identifier, size, std::nullopt, *history}))
      out.behind = at_number(*n);
  }
  std::uint64_t behind = out.end.segment(size);
  for (std::uint64_t n = first; n < behind; ++n) {
    if (!archived.contains(n)) out.complete.push_back(at_number(n));
  }
  if (out.end.value() % size != 0 && behind >= first && !archived.contains(behind))
    out.last = at_number(behind);
  return out;
}

// ---- the archive and what is salvaged

namespace {

// The bytes of a segment up to `end`, zeros behind them: what a torn record or a recycled page left there is
// not part of it, and a server takes only whole segments.
Result<> padded_copy(const std::string& source, const std::string& destination, std::uint64_t length,
                     std::uint64_t size) {
  base::Fd in(::open(source.c_str(), O_RDONLY | O_CLOEXEC));
  if (!in.valid()) return base::fail(base::system_error("open", source));
  base::Fd out(::open(destination.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!out.valid()) return base::fail(base::system_error("create", destination));
  std::vector<char> buffer(std::size_t{1} << 18U);
  for (std::uint64_t left = length; left > 0;) {
    ssize_t n = ::read(in.get(), buffer.data(), std::min<std::uint64_t>(left, buffer.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::fail(base::system_error("read", source));
    if (n == 0) return base::fail(base::ErrorCode::kCorrupt, fmt::format("{} became shorter", source));
    for (ssize_t done = 0; done < n;) {
      ssize_t w = ::write(out.get(), buffer.data() + done, static_cast<std::size_t>(n - done));
      if (w < 0 && errno == EINTR) continue;
      if (w < 0) return base::fail(base::system_error("write", destination));
      done += w;
    }
    left -= static_cast<std::uint64_t>(n);
  }
  if (::ftruncate(out.get(), static_cast<off_t>(size)) != 0)
    return base::fail(base::system_error("write", destination));
  return {};
}

}  // namespace

void WalSource::add(UnarchivedWal wal, const std::string& pg_wal) {
  for (const SegmentRef& s : wal.complete) extras_.push_back({s, pg_wal + "/" + s.name, false, true});
  if (wal.last) extras_.push_back({*wal.last, pg_wal + "/" + wal.last->name, false, false});
  end_ = wal.end;
}

void WalSource::add(const SalvageRecord& record) {
  end_ = record.end;
  if (record.last.empty()) return;
  auto name = postgres::parse_wal_name(record.last);
  auto number = name ? name->segment(repository_->segment_size()) : base::Result<std::uint64_t>(0);
  if (!name || !number) return;
  extras_.push_back({{record.timeline, *number, record.last},
                     repository_->layout().salvage_file(record.action_uid, *name),
                     true,
                     false});
}

const WalSource::Extra* WalSource::extra(const std::string& name) const {
  auto found =
      std::find_if(extras_.begin(), extras_.end(), [&](const Extra& e) { return e.segment.name == name; });
  return found == extras_.end() ? nullptr : &*found;
}

base::Result<archive::Walk> WalSource::walk(const postgres::TimelineHistory& history, Lsn begin) const {
  const std::uint64_t size = repository_->segment_size();
  PGR_ASSIGN(archive::Walk walk, repository_->walk(history, begin));
  while (walk.missing) {
    const Extra* e = extra(walk.missing->name);
    if (e == nullptr) break;
    walk.segments.push_back(e->segment);
    Lsn next((e->segment.number + 1) * size);
    PGR_ASSIGN(archive::Walk more, repository_->walk(history, next));
    walk.missing = more.missing;
    walk.gap = more.gap;
    if (!e->complete) {
      walk.end = *end_;
      // Behind the end nothing was written; what the archive has there is of a later life of that server.
      walk.gap = walk.gap || !more.segments.empty();
      break;
    }
    walk.segments.insert(walk.segments.end(), more.segments.begin(), more.segments.end());
    walk.end = more.end;
  }
  return walk;
}

PlaceSegment WalSource::place() const {
  return [this](const SegmentRef& segment, const std::string& path) -> base::Result<> {
    const Extra* e = extra(segment.name);
    if (e == nullptr) return from_repository(*repository_)(segment, path);
    PGR_ASSIGN(bool stored, repository_->has_segment(segment));
    if (stored) return from_repository(*repository_)(segment, path);
    if (e->stored) return archive::get_file(e->path, path);
    const std::uint64_t size = repository_->segment_size();
    return padded_copy(e->path, path, e->complete ? size : end_->value() % size, size);
  };
}

base::Result<Commits> commits_between(const WalSource& source, const archive::Repository& repository,
                                      TimelineId timeline, Lsn from, Lsn to, int major) {
  Commits out;
  if (from >= to) return out;
  auto history = repository.history(timeline);
  if (!history) return base::fail(history.error());
  PGR_ASSIGN(auto walk, source.walk(*history, from));
  if (walk.end < to) {
    return base::fail(base::ErrorCode::kCorrupt,
                      fmt::format("WAL is there up to {} only, not up to {}", walk.end.text(), to.text()));
  }
  WalRange range{major, repository.segment_size(), walk.segments, from, to};
  PGR_ASSIGN(auto reading,
             read_wal(range, scratch_path("count"), source.place(),
                      [&](const postgres::WalRecord& r) -> Result<bool> {
                        if (r.kind != postgres::WalRecordKind::kCommit) return true;
                        ++out.count;
                        out.last = r;
                        out.first_time = out.first_time ? std::min(*out.first_time, r.time) : r.time;
                        out.last_time = out.last_time ? std::max(*out.last_time, r.time) : r.time;
                        return true;
                      }));
  if (reading.unreadable) {
    return base::fail(base::ErrorCode::kCorrupt,
                      fmt::format("WAL is unreadable at {}: {}", reading.unreadable->text(), reading.words));
  }
  return out;
}

Json commit_json(const std::optional<postgres::WalRecord>& r) {
  if (!r) return Json();
  return {{"xid", r->xid}, {"time", base::format_time_micro(r->time)}, {"lsn", r->start.text()}};
}

// ---- the Job

namespace {

Answer salvaged(const SalvageRecord& r) {
  return succeeded(
      "Salvaged",
      fmt::format("the WAL of {} is salvaged to {} on timeline {}: {} segments went to the archive{}",
                  r.member, r.end.text(), r.timeline.number(), r.segments.size(),
                  r.last.empty() ? "" : ", the incomplete last one beside it"),
      {{"salvage", r.action_uid},
       {"endLSN", r.end.text()},
       {"timeline", r.timeline.number()},
       {"systemIdentifier", std::to_string(r.system_identifier)},
       {"segments", r.segments.size()},
       {"last", r.last},
       {"transactions", r.transactions},
       {"lastCommit", r.last_commit}});
}

Result<> put_text(const std::string& path, const Json& content, const std::string& what) {
  auto made = base::create_file(path, content.dump(2) + "\n");
  if (made || made.error().code != base::ErrorCode::kAlreadyExists) return made;
  PGR_ASSIGN(std::string text, base::read_file(path));
  PGR_ASSIGN(Json there, base::parse_json(text, path));
  if (there == content) return {};
  return base::fail(base::refused(
      "WrittenSince",
      fmt::format("{} was found differently before: it ended at {}, now at {}", what,
                  base::text_at(there, {"endLSN"}), base::text_at(content, {"endLSN"})),
      "the former primary has run in between; make a new PostgresRestore with salvage: StoppedPrimary"));
}

// What the first run found. A run that was killed may have put some of it into the archive: without this its
// successor would find less, and answer something else.
struct Found {
  Json json;
  std::vector<std::string> segments;
};
Result<Found> found_first(const archive::Repository& repository, const Order& order,
                          const UnarchivedWal& wal) {
  std::vector<std::string> names;
  names.reserve(wal.complete.size());
  for (const SegmentRef& s : wal.complete) names.push_back(s.name);
  Found f{{{"endLSN", wal.end.text()}, {"segments", names}}, names};
  std::string path = repository.layout().salvage_directory(order.action.uid) + "/found.json";
  auto made = base::create_file(path, f.json.dump(2) + "\n");
  if (made) return f;
  if (made.error().code != base::ErrorCode::kAlreadyExists) return base::fail(made.error());
  PGR_ASSIGN(std::string text, base::read_file(path));
  PGR_ASSIGN(f.json, base::parse_json(text, path));
  f.segments.clear();
  if (const Json& list = base::at(f.json, {"segments"}); list.is_array()) {
    for (const Json& s : list) f.segments.push_back(s.is_string() ? s.get<std::string>() : "");
  }
  if (base::text_at(f.json, {"endLSN"}) == wal.end.text()) return f;
  return base::fail(
      base::refused("WrittenSince",
                    fmt::format("WAL on the volume ended at {} when this action began, now at {}",
                                base::text_at(f.json, {"endLSN"}), wal.end.text()),
                    "the former primary has run in between; make a new PostgresRestore with salvage: "
                    "StoppedPrimary"));
}

Result<Answer> salvage(const Order& order, const api::MemberRef& m, Report& report) {
  PGR_ASSIGN(auto repository, open_repository(order));
  auto before = read_salvage(repository, order.action.uid);
  if (before) return salvaged(*before);
  if (before.error().code != base::ErrorCode::kNotFound) return base::fail(before.error());
  PGR_ASSIGN(TimelineId timeline, choose_timeline(repository.record(), 0));
  const std::string pg_wal = m.data_directory + "/pg_wal";
  report.note("walk", fmt::format("walking the WAL of timeline {} in {}", timeline.number(), pg_wal));
  PGR_ASSIGN(UnarchivedWal wal, find_unarchived(repository, timeline, pg_wal));
  report.note("walk", fmt::format("it ends at {}: {}", wal.end.text(), wal.words));
  PGR_TRY(repository.claim_writer(timeline, m.claim_uid));
  std::string directory = repository.layout().salvage_directory(order.action.uid);
  PGR_TRY(base::make_directories(directory));
  PGR_ASSIGN(Found found, found_first(repository, order, wal));

  // Counted from the volume, all of it, also what a killed run has put into the archive already.
  WalSource source(repository);
  source.add(wal, pg_wal);
  std::int64_t done = 0;
  for (const SegmentRef& s : wal.complete) {
    report.progress("archive", fmt::format("{} goes into the archive", s.name), done++,
                    static_cast<std::int64_t>(wal.complete.size()));
    PGR_ASSIGN(auto name, postgres::parse_wal_name(s.name));
    PGR_TRY(repository.put_wal(pg_wal + "/" + s.name, name));
  }
  if (wal.last) {
    report.note("archive", fmt::format("the incomplete {} is kept beside, as far as {}", wal.last->name,
                                       wal.end.text()));
    Scratch scratch;
    PGR_TRY(base::make_directories(scratch.path(), 0700));
    std::string padded = scratch.path() + "/" + wal.last->name;
    PGR_TRY(source.place()(*wal.last, padded));
    PGR_ASSIGN(auto name, postgres::parse_wal_name(wal.last->name));
    PGR_TRY(archive::put_file_if_absent(padded, repository.layout().salvage_file(order.action.uid, name)));
  }
  SalvageRecord record;
  record.action_uid = order.action.uid;
  record.member = m.name;
  record.writer = m.claim_uid;
  record.timeline = timeline;
  record.system_identifier = wal.system_identifier;
  record.end = wal.end;
  record.segments = found.segments;
  if (wal.last) record.last = wal.last->name;
  std::optional<Lsn> from;
  if (!found.segments.empty() || wal.last) {
    PGR_ASSIGN(auto name,
               postgres::parse_wal_name(found.segments.empty() ? wal.last->name : found.segments.front()));
    PGR_ASSIGN(auto number, name.segment(repository.segment_size()));
    from = Lsn(number * repository.segment_size());
  }
  report.note("count", "counting the transactions in what was salvaged");
  if (from) {
    PGR_ASSIGN(Commits commits, commits_between(source, repository, timeline, *from, wal.end,
                                                repository.record().major_version));
    record.transactions = commits.count;
    record.last_commit = commit_json(commits.last);
  }
  // A server that still writes would have moved the end meanwhile.
  PGR_ASSIGN(UnarchivedWal again, find_unarchived(repository, timeline, pg_wal));
  if (again.end != wal.end) {
    return base::fail(base::refused(
        "StillWritten",
        fmt::format("WAL on the volume of {} ended at {} and a moment later at {}: a server writes there",
                    m.name, wal.end.text(), again.end.text()),
        "find and stop what runs on that volume; then make a new PostgresRestore"));
  }
  PGR_TRY(put_text(repository.layout().salvage_json(order.action.uid), to_json(record), "the salvaged WAL"));
  return salvaged(record);
}

}  // namespace

Result<Answer> run_salvage(const Order& order, Report& report) {
  if (!order.member) return base::fail(base::ErrorCode::kInvalid, "the order names no member");
  return salvage(order, *order.member, report);
}

}  // namespace pgrunbook::agent
