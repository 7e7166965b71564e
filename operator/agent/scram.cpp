#include "agent/scram.hpp"

#include <algorithm>
#include <array>
#include <sys/random.h>

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include "base/file.hpp"
#include "base/hash.hpp"

namespace pgrunbook::agent {
namespace {

using Key = std::array<unsigned char, SHA256_DIGEST_LENGTH>;

std::string_view bytes_of(const Key& key) { return {reinterpret_cast<const char*>(key.data()), key.size()}; }

Key hmac(const Key& key, std::string_view text) {
  Key out{};
  unsigned size = 0;
  ::HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
         reinterpret_cast<const unsigned char*>(text.data()), text.size(), out.data(), &size);
  return out;
}

}  // namespace

base::Result<std::string> scram_verifier(std::string_view password, std::string_view salt, int iterations) {
  bool plain = std::all_of(password.begin(), password.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (password.empty() || !plain) {
    return base::fail(base::ErrorCode::kInvalid,
                      "the password of the role pgrunbook is empty or not printable ASCII",
                      "put letters and digits into the Secret pgrunbook-roles");
  }
  Key salted{};
  if (PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()),
                        reinterpret_cast<const unsigned char*>(salt.data()), static_cast<int>(salt.size()),
                        iterations, EVP_sha256(), static_cast<int>(salted.size()), salted.data()) != 1) {
    return base::fail(base::ErrorCode::kInternal, "cannot derive the key of a SCRAM verifier");
  }
  Key client = hmac(salted, "Client Key");
  Key server = hmac(salted, "Server Key");
  Key stored{};
  ::SHA256(client.data(), client.size(), stored.data());
  return fmt::format("SCRAM-SHA-256${}:{}${}:{}", iterations, base::base64(salt),
                     base::base64(bytes_of(stored)), base::base64(bytes_of(server)));
}

base::Result<std::string> new_scram_verifier(std::string_view password) {
  std::array<char, 16> salt{};
  if (::getrandom(salt.data(), salt.size(), 0) != static_cast<ssize_t>(salt.size())) {
    return base::fail(base::system_error("read", "random bytes"));
  }
  return scram_verifier(password, {salt.data(), salt.size()});
}

}  // namespace pgrunbook::agent
