// SHA-256 of bytes and files, as lower-case hex.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace pgrunbook::base {

// Incremental; one thread at a time.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(std::string_view bytes);
  // Lower-case hex of all bytes so far; the object must not be used afterwards.
  [[nodiscard]] std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

[[nodiscard]] std::string sha256(std::string_view bytes);
[[nodiscard]] Result<std::string> sha256_file(const std::string& path);
// base64 with padding, as in a Secret's data and a SCRAM verifier.
[[nodiscard]] std::string base64(std::string_view bytes);
[[nodiscard]] Result<std::string> base64_decode(std::string_view text);
// `bytes` random bytes from the system as lower-case hex.
[[nodiscard]] std::string random_hex(std::size_t bytes);

}  // namespace pgrunbook::base
