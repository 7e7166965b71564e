// The SCRAM-SHA-256 verifier of a role, computed here so that no password ever stands in a statement or a
// log.
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"

namespace pgrunbook::agent {

inline constexpr int kScramIterations = 4096;  // PostgreSQL's own number

// "SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>", all in base64: the form of
// pg_authid.rolpassword (PostgreSQL "53.8. pg_authid"; RFC 5802 section 3, RFC 7677). `salt` is raw bytes, 16
// of them in PostgreSQL. A password outside printable ASCII is kInvalid: SASLprep (RFC 4013) leaves only that
// unchanged.
[[nodiscard]] base::Result<std::string> scram_verifier(std::string_view password, std::string_view salt,
                                                       int iterations = kScramIterations);
// With a random salt.
[[nodiscard]] base::Result<std::string> new_scram_verifier(std::string_view password);

}  // namespace pgrunbook::agent
