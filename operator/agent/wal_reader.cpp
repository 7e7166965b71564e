#include "agent/wal_reader.hpp"

#include <algorithm>
#include <cstdlib>
#include <unistd.h>

#include <fmt/format.h>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/subprocess.hpp"
#include "postgres/programs.hpp"

namespace pgrunbook::agent {
namespace {

using postgres::Lsn;

// Segments per run, plus one that the next run reads again.
constexpr std::size_t kLargestBatch = 8;
constexpr std::uint64_t kBatchBytes = 128U << 20U;
constexpr std::uint64_t kPage = 8192;                  // XLOG_BLCKSZ
constexpr auto kTimeLimit = std::chrono::minutes(30);  // of one run over at most nine segments

// Cuts a stream into lines.
class Lines {
 public:
  template <typename F>
  base::Result<> feed(std::string_view bytes, const F& on_line) {
    buffer_.append(bytes);
    std::size_t from = 0;
    for (std::size_t end = 0; (end = buffer_.find('\n', from)) != std::string::npos; from = end + 1) {
      PGR_TRY(on_line(std::string_view(buffer_).substr(from, end - from)));
    }
    buffer_.erase(0, from);
    return {};
  }

 private:
  std::string buffer_;
};

struct RemoveAtEnd {
  std::string path;
  ~RemoveAtEnd() { (void)base::remove_tree(path); }
};

}  // namespace

base::Result<WalReading> read_wal(const WalRange& range, const std::string& scratch,
                                  const PlaceSegment& place, const OnRecord& on_record) {
  WalReading reading;
  if (range.segments.empty()) return reading;
  PGR_ASSIGN(std::string program, postgres::find_program("pg_waldump", range.major));
  PGR_TRY(base::make_directories(scratch, 0700));
  RemoveAtEnd remove{scratch};
  const auto& segments = range.segments;
  std::uint64_t size = range.segment_size;
  postgres::TimelineId name = segments.back().timeline;
  Lsn last_end((segments.back().number + 1) * size);
  Lsn stop = range.end ? std::min(*range.end, last_end) : last_end;
  std::optional<Lsn> newest;  // start of the newest record handed on
  std::vector<std::string> placed;

  const std::size_t batch = std::clamp<std::size_t>(kBatchBytes / size, 1, kLargestBatch);
  for (std::size_t first = 0; first < segments.size(); first += batch) {
    std::size_t behind = std::min(first + batch + 1, segments.size());
    // What the runs before needed and this one does not.
    for (std::size_t i = 0; i < first; ++i) {
      if (!placed[i].empty()) ::unlink(placed[i].c_str());
      placed[i].clear();
    }
    while (placed.size() < behind) {
      const auto& segment = segments[placed.size()];
      std::string path = scratch + "/" + postgres::segment_name(name, segment.number, size);
      PGR_TRY(place(segment, path));
      placed.push_back(path);
    }
    reading.segments = behind;
    Lsn from = first == 0 ? range.begin : Lsn(segments[first].number * size);
    Lsn to = std::min(stop, Lsn((segments[behind - 1].number + 1) * size));
    if (from >= to) break;

    base::Command command;
    // To the end of a page: pg_waldump, told to end within one, reads the rest of it from the page before.
    Lsn whole((to.value() + kPage - 1) / kPage * kPage);
    command.argv = {program, "-p",        scratch, "-t",        std::to_string(name.number()),
                    "-s",    from.text(), "-e",    whole.text()};
    if (range.major >= 15 && range.major < 90) {  // before 15 only one manager can be named
      for (const char* manager : {"Transaction", "XLOG", "Tablespace"}) {
        command.argv.emplace_back("-r");
        command.argv.emplace_back(manager);
      }
    }
    command.environment = {{"TZ", "UTC"}, {"LC_ALL", "C"}};
    Lines lines;
    auto ran =
        base::run(command, base::Deadline::after(kTimeLimit), [&](std::string_view bytes) -> base::Result<> {
          return lines.feed(bytes, [&](std::string_view line) -> base::Result<> {
            PGR_ASSIGN(auto record, postgres::parse_waldump_line(line, size));
            if (!record || (newest && record->start <= *newest) || record->start >= stop) return {};
            newest = record->start;
            PGR_ASSIGN(bool more, on_record(*record));
            if (more) return {};
            reading.enough = true;
            return base::fail(base::ErrorCode::kCancelled, "enough");
          });
        });
    if (reading.enough) return reading;
    if (!ran) return base::fail(ran.error());
    if (ran->exit_code >= 126) {
      return base::fail(base::ErrorCode::kUnavailable,
                        fmt::format("pg_waldump cannot run: {:.300}", ran->err));
    }
    bool last = behind == segments.size();
    if (ran->exit_code != 0) {
      auto where = postgres::waldump_error_position(ran->err);
      bool nothing_there = ran->err.find("could not find a valid record after") != std::string::npos;
      if (!where && !(nothing_there && last)) where = newest ? *newest : from;
      auto broken = postgres::waldump_broken_at(ran->err);
      if (where && !(broken && *broken >= to)) {
        reading.unreadable = *where;
        reading.words = ran->err.substr(0, 300);
        while (reading.words.ends_with('\n')) reading.words.pop_back();
        return reading;
      }
    }
    if (last) break;
  }
  return reading;
}

PlaceSegment from_repository(const archive::Repository& repository) {
  return [&repository](const archive::SegmentRef& segment, const std::string& path) -> base::Result<> {
    PGR_ASSIGN(auto name, postgres::parse_wal_name(segment.name));
    return archive::get_file(repository.layout().wal_file(name), path);
  };
}

std::string scratch_path(const std::string& purpose) {
  for (const char* variable : {"PGRUNBOOK_SCRATCH", "TMPDIR"}) {
    const char* value = std::getenv(variable);
    if (value != nullptr && *value == '/')
      return fmt::format("{}/pgrunbook-{}-{}", value, purpose, base::random_hex(4));
  }
  return fmt::format("/tmp/pgrunbook-{}-{}", purpose, base::random_hex(4));
}

}  // namespace pgrunbook::agent
