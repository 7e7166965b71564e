#include "base/hash.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <sys/random.h>
#include <vector>

#include <openssl/evp.h>
#include <openssl/sha.h>

namespace pgrunbook::base {
namespace {
std::string to_hex(const unsigned char* data, std::size_t size) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(size * 2);
  for (std::size_t i = 0; i < size; ++i) {
    out.push_back(kDigits[data[i] >> 4U]);
    out.push_back(kDigits[data[i] & 15U]);
  }
  return out;
}
}  // namespace

// The low-level functions, although deprecated: they need no provider loading, which would cost the archive
// command several milliseconds per segment.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
struct Sha256::State {
  SHA256_CTX context;
};
Sha256::Sha256() : state_(std::make_unique<State>()) { SHA256_Init(&state_->context); }
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
void Sha256::update(std::string_view bytes) { SHA256_Update(&state_->context, bytes.data(), bytes.size()); }
std::string Sha256::hex() {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256_Final(digest.data(), &state_->context);
  return to_hex(digest.data(), digest.size());
}
#pragma GCC diagnostic pop

std::string sha256(std::string_view bytes) {
  Sha256 h;
  h.update(bytes);
  return h.hex();
}

Result<std::string> sha256_file(const std::string& path) {
  std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rbe"), &std::fclose);
  if (!file) return fail(ErrorCode::kUnavailable, "cannot open " + path + ": " + std::strerror(errno));
  Sha256 h;
  std::vector<char> buffer(1 << 18);
  // Less than was asked for: the end of the file, or an error.
  for (std::size_t n = buffer.size(); n == buffer.size();) {
    n = std::fread(buffer.data(), 1, buffer.size(), file.get());
    h.update({buffer.data(), n});
  }
  if (std::ferror(file.get()) != 0) return fail(ErrorCode::kUnavailable, "cannot read " + path);
  return h.hex();
}

std::string base64(std::string_view bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  int n =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(n));
  return out;
}

Result<std::string> base64_decode(std::string_view text) {
  std::string out(text.size(), '\0');
  int n = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                          reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (n < 0) return fail(ErrorCode::kCorrupt, "not base64");
  std::size_t size = static_cast<std::size_t>(n);
  for (std::size_t i = text.size(); i > 0 && text[i - 1] == '='; --i) --size;
  out.resize(size);
  return out;
}

std::string random_hex(std::size_t bytes) {
  std::vector<unsigned char> data(bytes);
  std::size_t have = 0;
  while (have < bytes) {
    ssize_t n = getrandom(data.data() + have, bytes - have, 0);
    if (n > 0) have += static_cast<std::size_t>(n);
  }
  return to_hex(data.data(), data.size());
}

}  // namespace pgrunbook::base
