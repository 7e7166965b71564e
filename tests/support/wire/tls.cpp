#include "support/wire/tls.hpp"

#include <arpa/inet.h>
#include <array>
#include <csignal>
#include <cstring>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdexcept>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace pgrunbook::test {
namespace {

template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T* p) const {
    Free(p);
  }
};
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Bio = std::unique_ptr<BIO, Freed<BIO_free_all>>;

void require(bool good, const char* what) {
  if (!good) throw std::runtime_error(std::string("TLS for tests: ") + what);
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

Certificate read_certificate(const std::string& pem) {
  Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return Certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

Key read_key(const std::string& pem) {
  Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return Key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
}

void extend(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  require(extension != nullptr, value.c_str());
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

Identity make(const std::string& common_name, const std::vector<std::string>& names, const Identity* issuer) {
  Key key(EVP_EC_gen("P-256"));
  Certificate certificate(X509_new());
  require(key && certificate, "new certificate");
  X509_set_version(certificate.get(), 2);
  std::uint32_t serial = 0;
  RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate.get()), serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 86400);
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1, 0);
  Certificate issuer_certificate = issuer ? read_certificate(issuer->certificate) : nullptr;
  Key issuer_key = issuer ? read_key(issuer->key) : nullptr;
  X509* signer = issuer ? issuer_certificate.get() : certificate.get();
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(signer));
  extend(certificate.get(), signer, NID_basic_constraints, issuer ? "critical,CA:FALSE" : "critical,CA:TRUE");
  if (!issuer) extend(certificate.get(), signer, NID_key_usage, "critical,keyCertSign,cRLSign");
  std::string all;
  for (const auto& name : names) all += (all.empty() ? "" : ",") + name;
  if (!all.empty()) extend(certificate.get(), signer, NID_subject_alt_name, all);
  require(X509_sign(certificate.get(), issuer ? issuer_key.get() : key.get(), EVP_sha256()) != 0, "sign");
  Bio certificate_text(BIO_new(BIO_s_mem())), key_text(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(certificate_text.get(), certificate.get());
  PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  return {text_of(certificate_text.get()), text_of(key_text.get())};
}

void use(SSL_CTX* context, const Identity& identity) {
  if (identity.certificate.empty()) return;
  auto certificate = read_certificate(identity.certificate);
  auto key = read_key(identity.key);
  require(certificate && key, "the certificate or key is no PEM");
  require(SSL_CTX_use_certificate(context, certificate.get()) == 1 &&
              SSL_CTX_use_PrivateKey(context, key.get()) == 1,
          "certificate and key do not belong together");
}

void trust(SSL_CTX* context, const std::string& authority) {
  Bio bio(BIO_new_mem_buf(authority.data(), static_cast<int>(authority.size())));
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  while (Certificate certificate{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) {
    X509_STORE_add_cert(store, certificate.get());
  }
  ERR_clear_error();
}

SSL* ssl_of(void* p) { return static_cast<SSL*>(p); }

// A peer that has gone is an error of the write here, not the end of the test.
const bool kNoPipeSignal = [] {
  ::signal(SIGPIPE, SIG_IGN);
  return true;
}();

std::string last_error() {
  std::array<char, 256> text{};
  ERR_error_string_n(ERR_get_error(), text.data(), text.size());
  ERR_clear_error();
  return text.data();
}

}  // namespace

Authority::Authority(const std::string& name) : self_(make(name, {}, nullptr)) {}

Identity Authority::issue(const std::string& common_name, const std::vector<std::string>& names) const {
  return make(common_name, names, &self_);
}

std::shared_ptr<TlsSocket> TlsSocket::accept(int fd, const Identity& identity,
                                             const std::string& client_authority) {
  int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  auto socket = std::make_shared<TlsSocket>();
  socket->fd_ = fd;
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  socket->context_ = context;
  use(context, identity);
  if (!client_authority.empty()) {
    trust(context, client_authority);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  SSL* ssl = SSL_new(context);
  socket->ssl_ = ssl;
  SSL_set_fd(ssl, fd);
  if (SSL_accept(ssl) != 1) return nullptr;
  return socket;
}

std::shared_ptr<TlsSocket> TlsSocket::connect(const std::string& host, const std::string& port,
                                              const std::string& authority, const Identity& identity) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), port.c_str(), &hints, &found) != 0) return nullptr;
  int fd = -1;
  for (addrinfo* a = found; a != nullptr; a = a->ai_next) {
    fd = ::socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && ::connect(fd, a->ai_addr, a->ai_addrlen) == 0) break;
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
  ::freeaddrinfo(found);
  if (fd < 0) return nullptr;
  int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  auto socket = std::make_shared<TlsSocket>();
  socket->fd_ = fd;
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  socket->context_ = context;
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  trust(context, authority);
  use(context, identity);
  SSL* ssl = SSL_new(context);
  socket->ssl_ = ssl;
  std::array<unsigned char, sizeof(in6_addr)> address{};
  bool is_address = ::inet_pton(AF_INET, host.c_str(), address.data()) == 1 ||
                    ::inet_pton(AF_INET6, host.c_str(), address.data()) == 1;
  if (is_address) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str());
  } else {
    SSL_set1_host(ssl, host.c_str());
    SSL_set_tlsext_host_name(ssl, host.c_str());
  }
  SSL_set_fd(ssl, fd);
  if (SSL_connect(ssl) != 1) return nullptr;
  return socket;
}

TlsSocket::~TlsSocket() {
  if (ssl_ != nullptr) SSL_free(ssl_of(ssl_));
  if (context_ != nullptr) SSL_CTX_free(static_cast<SSL_CTX*>(context_));
  close_fd();
}

void TlsSocket::close_fd() {
  std::lock_guard lock(closing_);
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

std::string TlsSocket::read() {
  if (fd_ < 0) return {};
  std::string buffer(std::size_t{64} << 10, '\0');
  int n = SSL_read(ssl_of(ssl_), buffer.data(), static_cast<int>(buffer.size()));
  if (n <= 0) error_ = last_error();
  buffer.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return buffer;
}

bool TlsSocket::write(std::string_view bytes) {
  if (fd_ < 0) return false;
  if (bytes.empty()) return true;
  return SSL_write(ssl_of(ssl_), bytes.data(), static_cast<int>(bytes.size())) ==
         static_cast<int>(bytes.size());
}

void TlsSocket::reset() {
  linger hard{1, 0};
  if (fd_ >= 0) ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  close_fd();
}

void TlsSocket::close() {
  if (fd_ >= 0) SSL_shutdown(ssl_of(ssl_));
  close_fd();
}

void TlsSocket::shutdown() {
  std::lock_guard lock(closing_);
  if (fd_ >= 0) ::shutdown(fd_, SHUT_RDWR);
}

int listen_on(const std::string& address, std::uint16_t port, std::uint16_t* bound) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST;
  addrinfo* found = nullptr;
  require(::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found) == 0,
          "address to listen on");
  int fd = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  bool good = fd >= 0 && ::bind(fd, found->ai_addr, found->ai_addrlen) == 0 && ::listen(fd, 64) == 0;
  ::freeaddrinfo(found);
  require(good, "listen");
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&own), &size);
  *bound = ntohs(own.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&own)->sin6_port
                                           : reinterpret_cast<sockaddr_in*>(&own)->sin_port);
  return fd;
}

}  // namespace pgrunbook::test
