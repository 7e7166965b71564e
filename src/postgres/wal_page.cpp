#include "postgres/wal_page.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "postgres/version.hpp"

namespace pgrunbook::postgres {
namespace {

constexpr std::uint16_t kLongHeaderFlag = 0x0002;

}  // namespace

bool all_zero(std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == 0; });
}

base::Result<WalPageHeader> parse_wal_header(std::string_view bytes) {
  if (bytes.size() < kLongHeaderBytes) {
    return base::fail_as(base::ErrorCode::kCorrupt, "WalHeaderInvalid",
                         fmt::format("only {} bytes, too short for a WAL page header", bytes.size()));
  }
  if (all_zero(bytes.substr(0, kLongHeaderBytes))) {
    return base::fail_as(base::ErrorCode::kCorrupt, "WalHeaderInvalid",
                         "it begins with zeros, not with a WAL page header");
  }
  WalPageHeader h;
  h.magic = wal_field<std::uint16_t>(bytes, 0);
  h.info = wal_field<std::uint16_t>(bytes, 2);
  h.timeline = TimelineId(wal_field<std::uint32_t>(bytes, 4));
  h.address = Lsn(wal_field<std::uint64_t>(bytes, 8));
  h.remaining = wal_field<std::uint32_t>(bytes, 16);
  h.system_identifier = wal_field<std::uint64_t>(bytes, 24);
  h.segment_size = wal_field<std::uint32_t>(bytes, 32);
  h.page_size = wal_field<std::uint32_t>(bytes, 36);
  if (version_of_wal_magic(h.magic) == nullptr) {
    return base::fail_as(base::ErrorCode::kCorrupt, "WalHeaderInvalid",
                         fmt::format("magic {:04X} is none of a known PostgreSQL version", h.magic));
  }
  if ((h.info & kLongHeaderFlag) == 0 || !valid_segment_size(h.segment_size)) {
    return base::fail_as(base::ErrorCode::kCorrupt, "WalHeaderInvalid", "its first page has no long header");
  }
  return h;
}

base::Result<WalPageHeader> check_segment(const WalName& name, std::string_view first_bytes,
                                          std::uint64_t file_size, const WalExpectation& expected) {
  auto header = parse_wal_header(first_bytes);
  if (!header) return base::fail(header.error().in(name.text));
  if (expected.system_identifier && header->system_identifier != *expected.system_identifier) {
    return base::fail(
        base::refused("SystemIdentifierMismatch",
                      fmt::format("{} is of the cluster with system identifier {}, the repository of {}",
                                  name.text, header->system_identifier, *expected.system_identifier),
                      "give another cluster another topology, and so a repository of its own"));
  }
  if (header->segment_size != file_size || (expected.segment_size && *expected.segment_size != file_size)) {
    return base::fail_as(base::ErrorCode::kCorrupt, "WalSizeMismatch",
                         fmt::format("{} has {} bytes, expected are {}", name.text, file_size,
                                     expected.segment_size ? *expected.segment_size : header->segment_size));
  }
  if (expected.major && version_of_wal_magic(header->magic)->major != *expected.major) {
    return base::fail(base::refused(
        "MajorVersionMismatch",
        fmt::format("{} is of PostgreSQL {}, the repository of {}", name.text,
                    major_text(version_of_wal_magic(header->magic)->major), major_text(*expected.major)),
        "after pg_upgrade begin a new repository"));
  }
  TimelineId written_on = expected.history ? expected.history->timeline_at(header->address) : name.timeline;
  std::string is = segment_name(header->timeline == written_on ? name.timeline : header->timeline,
                                header->address, header->segment_size);
  if (is != name.segment_text() || header->address.value() % header->segment_size != 0) {
    return base::fail_as(base::ErrorCode::kCorrupt, "WalNameMismatch",
                         fmt::format("the file called {} is segment {}", name.text, is),
                         "it was renamed, or recycled and not yet written");
  }
  return *header;
}

}  // namespace pgrunbook::postgres
