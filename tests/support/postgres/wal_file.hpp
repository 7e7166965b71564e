// Files that look like WAL segments, made without a server.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>

#include "postgres/wal_name.hpp"

namespace pgrunbook::test {

struct SegmentSpec {
  std::string name = "000000010000000000000003";
  std::uint64_t system_identifier = 7000000000000000001;
  std::uint64_t segment_size = 1U << 20U;
  std::uint16_t magic = 0xD110;  // PostgreSQL 15
  char fill = 'x';               // content behind the header
  std::uint64_t zero_from = 0;   // zeros from here on; 0 = none
};

inline std::string segment_bytes(const SegmentSpec& spec) {
  auto name = postgres::parse_wal_name(spec.name);
  auto number = name->segment(spec.segment_size);
  std::string bytes(spec.segment_size, spec.fill);
  auto put = [&](std::size_t at, auto value) { std::memcpy(bytes.data() + at, &value, sizeof value); };
  std::memset(bytes.data(), 0, 40);
  put(0, spec.magic);
  put(2, std::uint16_t{0x0002});
  put(4, name->timeline.number());
  put(8, std::uint64_t{*number * spec.segment_size});
  put(24, spec.system_identifier);
  put(32, static_cast<std::uint32_t>(spec.segment_size));
  put(36, std::uint32_t{8192});
  if (spec.zero_from != 0) std::memset(bytes.data() + spec.zero_from, 0, bytes.size() - spec.zero_from);
  return bytes;
}

inline void write_file(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

// Writes the segment into `directory` under its name; returns the path.
inline std::string write_segment(const std::string& directory, const SegmentSpec& spec) {
  std::string path = directory + "/" + spec.name;
  write_file(path, segment_bytes(spec));
  return path;
}

}  // namespace pgrunbook::test
