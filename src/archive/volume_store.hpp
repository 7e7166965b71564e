// Objects of the archive on a mounted volume: zstd files that appear whole or not at all and are never
// overwritten.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace pgrunbook::archive {

enum class Put {
  kStored,        // it was not there
  kAlreadyThere,  // the same content was (compared uncompressed, so at any compression level)
};

struct PutOptions {
  int level = 1;
  // Called with each piece of the source as it is read, e.g. to check a header; its error ends the put,
  // nothing is kept.
  std::function<base::Result<>(std::string_view)> inspect{};
  // Called by tests between the steps: "written", "synced", "linked".
  std::function<void(std::string_view)> after_step{};
};

// Compresses `source` into `target` (whose name ends in .zst): written under a unique name in the same
// directory, synced, linked to its name (of two writers exactly one wins), directory synced. Success means
// durable. Other content under that name is kConflict, reason OtherContent; nothing is touched. Missing
// parents of `target` are made.
[[nodiscard]] base::Result<Put> put_file_if_absent(const std::string& source, const std::string& target,
                                                   const PutOptions& options = {});
[[nodiscard]] base::Result<Put> put_bytes_if_absent(std::string_view content, const std::string& target,
                                                    const PutOptions& options = {});

// Uncompresses `source` to `destination`: under another name beside it, its length and its frame checksum
// verified, synced, then renamed. kNotFound where there is no such object, kCorrupt where its bytes are not
// what they must be. `inspect` as above, with the uncompressed bytes.
[[nodiscard]] base::Result<> get_file(const std::string& source, const std::string& destination,
                                      const std::function<base::Result<>(std::string_view)>& inspect = {});
// Whole content, for small objects; refuses more than `limit` bytes as kCorrupt.
[[nodiscard]] base::Result<std::string> get_bytes(const std::string& source,
                                                  std::uint64_t limit = 16U << 20U);
// The first `count` uncompressed bytes (fewer where it is shorter): a WAL segment's header without the rest.
[[nodiscard]] base::Result<std::string> get_first_bytes(const std::string& source, std::size_t count);
// Uncompressed length from the frame header, where it says so; kCorrupt otherwise.
[[nodiscard]] base::Result<std::uint64_t> stored_length(const std::string& source);

// Removes what killed writers left behind: "." names ending in ".part" older than `seconds` in one directory.
void remove_leftovers(const std::string& directory, int seconds);

}  // namespace pgrunbook::archive
