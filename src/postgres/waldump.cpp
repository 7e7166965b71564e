#include "postgres/waldump.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "postgres/wal_page.hpp"

namespace pgrunbook::postgres {
namespace {

// The text behind `key` up to one of `stops`, blanks in front skipped; empty where there is no such key.
std::string_view behind(std::string_view line, std::string_view key, std::string_view stops) {
  auto at = line.find(key);
  if (at == std::string_view::npos) return {};
  line.remove_prefix(at + key.size());
  while (!line.empty() && line.front() == ' ') line.remove_prefix(1);
  return line.substr(0, line.find_first_of(stops));
}

bool number(std::string_view text, std::uint32_t* out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

base::Failure unknown(std::string_view line) {
  return base::fail(base::ErrorCode::kCorrupt,
                    fmt::format("pg_waldump printed a record of a form not known here: {:.200}", line),
                    "report this with the version of PostgreSQL");
}

// "2026-11-20 17:23:23.120616 UTC" at the beginning of the text.
base::Result<base::SystemTime> time_in(std::string_view text, std::string_view line) {
  auto end = text.find(" UTC");
  if (end == std::string_view::npos) return unknown(line);
  auto time = base::parse_postgres_time(text.substr(0, end + 4));
  if (!time) return unknown(line);
  return time;
}

// "...; subxacts: 746 747; ..."
base::Result<> read_subxacts(std::string_view rest, std::string_view line, WalRecord* r) {
  std::string_view list = behind(rest, "; subxacts:", ";,");
  while (!list.empty()) {
    auto end = std::min(list.find(' '), list.size());
    std::uint32_t xid = 0;
    if (end > 0 && !number(list.substr(0, end), &xid)) return unknown(line);
    if (end > 0) r->subxacts.push_back(xid);
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return {};
}

base::Result<> read_transaction(std::string_view word, std::string_view rest, std::string_view line,
                                WalRecord* r) {
  if (word == "COMMIT" || word == "COMMIT_PREPARED") r->kind = WalRecordKind::kCommit;
  if (word == "ABORT" || word == "ABORT_PREPARED") r->kind = WalRecordKind::kAbort;
  if (word == "PREPARE") r->kind = WalRecordKind::kPrepare;
  if (r->kind == WalRecordKind::kOther) return {};  // ASSIGNMENT, INVALIDATION
  std::string_view when = rest;
  if (word == "PREPARE") {
    // "gid <anything>: <time>"; a gid may hold ": " itself, so the time is found from its end
    auto utc = rest.rfind(" UTC");
    auto colon = utc == std::string_view::npos ? utc : rest.rfind(": ", utc);
    when = colon == std::string_view::npos ? rest : rest.substr(colon + 2);
  } else if (word.ends_with("_PREPARED")) {
    auto colon = rest.find(": ");
    if (colon == std::string_view::npos || !number(rest.substr(0, colon), &r->xid)) return unknown(line);
    when = rest.substr(colon + 2);
  }
  PGR_ASSIGN(r->time, time_in(when, line));
  // A gid may hold any text; what resolves the prepared transaction names its parts again.
  return word == "PREPARE" ? base::Result<>() : read_subxacts(rest, line, r);
}

base::Result<> read_xlog(std::string_view word, std::string_view rest, std::string_view line, WalRecord* r) {
  if (word == "BACKUP_END") {
    r->kind = WalRecordKind::kBackupEnd;
    auto lsn = Lsn::parse(rest);
    if (!lsn) return unknown(line);
    r->backup_start = *lsn;
  }
  if (word == "RESTORE_POINT") {
    r->kind = WalRecordKind::kRestorePoint;
    r->name = std::string(rest);
  }
  if (word == "PARAMETER_CHANGE") {
    r->kind = WalRecordKind::kParameterChange;
    while (!rest.empty()) {
      auto end = std::min(rest.find(' '), rest.size());
      std::string_view pair = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      auto equals = pair.find('=');
      if (equals == std::string_view::npos) continue;
      std::string key(pair.substr(0, equals));
      if (key == "max_prepared_xacts") key = "max_prepared_transactions";
      if (key == "max_locks_per_xact") key = "max_locks_per_transaction";
      r->settings[key] = std::string(pair.substr(equals + 1));
    }
  }
  return {};
}

}  // namespace

Lsn record_end(Lsn start, std::uint32_t total_length, std::uint64_t segment_size, std::uint32_t page_size) {
  std::uint64_t at = start.value();
  std::uint64_t room = page_size - at % page_size;
  std::uint64_t left = total_length;
  if (wal_aligned(left) <= room) return Lsn(at + wal_aligned(left));
  left -= room;
  at += room;
  while (true) {
    std::uint64_t header = at % segment_size == 0 ? kLongHeaderBytes : kShortHeaderBytes;
    if (left <= page_size - header) return Lsn(at + header + wal_aligned(left));
    left -= page_size - header;
    at += page_size;
  }
}

base::Result<std::optional<WalRecord>> parse_waldump_line(std::string_view line, std::uint64_t segment_size) {
  if (!line.starts_with("rmgr: ")) return std::nullopt;
  std::string_view manager = behind(line, "rmgr:", " ");
  if (manager != "Transaction" && manager != "XLOG" && manager != "Tablespace") return std::nullopt;
  auto desc = line.find(", desc: ");
  if (desc == std::string_view::npos) return unknown(line);
  std::string_view head = line.substr(0, desc), text = line.substr(desc + 8);
  WalRecord r;
  auto start = Lsn::parse(behind(head, "lsn:", ","));
  std::uint32_t total = 0;
  if (!start || !number(behind(behind(head, "(rec/tot):", ","), "/", " ,"), &total) ||
      !number(behind(head, "tx:", ","), &r.xid)) {
    return unknown(line);
  }
  r.start = *start;
  r.end = record_end(r.start, total, segment_size);
  auto blank = std::min(text.find(' '), text.size());
  std::string_view word = text.substr(0, blank), rest = text.substr(std::min(blank + 1, text.size()));
  if (manager == "Transaction") PGR_TRY(read_transaction(word, rest, line, &r));
  if (manager == "XLOG") PGR_TRY(read_xlog(word, rest, line, &r));
  if (manager == "Tablespace" && word == "CREATE") {
    r.kind = WalRecordKind::kTablespaceCreate;
    r.path = std::string(behind(rest, "\"", "\""));
  }
  return r;
}

std::optional<Lsn> waldump_error_position(std::string_view text) {
  std::string_view where = behind(text, "error in WAL record at ", ": \n");
  auto lsn = Lsn::parse(where);
  if (!lsn) return std::nullopt;
  return *lsn;
}

std::optional<Lsn> waldump_broken_at(std::string_view text) {
  auto last = text.rfind(" at ");
  if (last == std::string_view::npos) return std::nullopt;
  std::string_view where = text.substr(last + 4);
  where = where.substr(0, where.find_first_of(": ,\n"));
  auto lsn = Lsn::parse(where);
  if (!lsn) return std::nullopt;
  return *lsn;
}

}  // namespace pgrunbook::postgres
