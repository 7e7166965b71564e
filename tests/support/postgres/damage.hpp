// WAL with content that no server wrote.
#pragma once

#include <string>
#include <unistd.h>

#include "archive/repository.hpp"
#include "support/postgres/temporary.hpp"
#include "support/postgres/wal_file.hpp"

namespace pgrunbook::test {

// Changes 200 bytes of a file.
inline void damage_file(const std::string& path, std::size_t at = 4000) {
  std::string bytes = must(base::read_file(path));
  for (std::size_t i = at; i < at + 200; ++i) bytes[i] = static_cast<char>(bytes[i] ^ 0x55);
  write_file(path, bytes);
}

// As if the segment had been damaged before it was archived: whole by its name, its first page and the
// archive's own checksum. `scratch` is a path that may be written.
inline void damage_archived(const archive::Repository& repository, const std::string& segment,
                            const std::string& scratch, std::size_t at = 4000) {
  const std::string stored = repository.layout().wal_file(must(postgres::parse_wal_name(segment)));
  must(archive::get_file(stored, scratch));
  damage_file(scratch, at);
  if (::unlink(stored.c_str()) != 0) throw std::runtime_error("cannot remove " + stored);
  must(archive::put_file_if_absent(scratch, stored));
}

}  // namespace pgrunbook::test
