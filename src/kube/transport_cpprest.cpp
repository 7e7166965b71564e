// The only file that includes cpprestsdk. House rules, each from a measured or reported fault of the library:
//  - no .then(): its continuations share the pool with the sockets, and a blocking one can wedge it;
//  - a pool of 4 threads, asked for before anything else of the library (its default is 40);
//  - GETs share a pooled client; each write has a client, so a connection, of its own: on a pooled connection
//    that the server has closed the library sends a request again by itself, a POST too, or fails half-way.
//    TransportOptions::shared_writes is for those that may be sent twice;
//  - each stream has a client of its own: the timeout (a silence limit, re-armed by chunks) is per client;
//  - the total deadline is ours: we poll the task and cancel its token; a task that cannot be cancelled (the
//    resolver hangs) is abandoned to a list, as a pplx task whose exception nobody reads ends the process;
//  - the system's authorities are thrown out of each connection's trust store;
//  - the reply's size is limited in the progress handler, as the library buffers without end.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <utility>  // Boost 1.74 forgets it
#include <vector>

// Its macro U() breaks fmt.
#define _TURN_OFF_PLATFORM_STRING  // NOLINT(bugprone-reserved-identifier): the library chose the name
#include <pplx/threadpool.h>

#include <cpprest/http_client.h>
#include <fmt/format.h>
#include <openssl/ssl.h>

#include "base/file.hpp"
#include "kube/token.hpp"
#include "kube/transport.hpp"

namespace pgrunbook::kube {
namespace {

using web::http::http_exception;
using web::http::http_request;
using web::http::http_response;
using web::http::client::http_client;
using web::http::client::http_client_config;

constexpr auto kAbandonAfter = std::chrono::seconds(1);  // from cancelling a task to giving it up
constexpr std::size_t kUnread = std::size_t{32}
                                << 20;  // bytes of a stream that came and were not yet handed out
constexpr std::size_t kRefusal = std::size_t{1} << 20;  // body of a stream that was refused
constexpr std::size_t kThreads = 4;

void start_library() {
  static std::once_flag once;
  std::call_once(once, [] {
    // The library loads OpenSSL's default authorities for every connection, before we throw them out: 140
    // files' worth, 20 ms of CPU each time; or those that these variables name already. Who needs them in
    // this process names them explicitly (libcurl and libpq do).
    ::setenv("SSL_CERT_FILE", "/dev/null", 1);
    ::setenv("SSL_CERT_DIR", "/nonexistent", 1);
    try {
      crossplat::threadpool::initialize_with_threads(kThreads);
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
      // Somebody else started it first; it works with any number.
    }
  });
}

// What the progress handler and the caller share about one exchange.
struct Progress {
  std::atomic<bool> begun = false;
  std::atomic<std::uint64_t> handed_out = 0;
};

struct Broken {
  Fault fault;
  std::string detail;
  bool by_deadline = false;
};

std::string pem(const std::string& file, const std::string& data, std::string_view what) {
  if (!data.empty()) return data;
  auto text = base::read_file(file);
  if (!text) throw http_exception(fmt::format("{}{}: {}", kCredentialsPrefix, what, text.error().message));
  return std::move(*text);
}

// Runs for every new connection, so rotated files are picked up by themselves.
void set_up_tls(const Config& config, boost::asio::ssl::context& context) {
  try {
    if (X509_STORE* empty = ::X509_STORE_new()) ::SSL_CTX_set_cert_store(context.native_handle(), empty);
    ::SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_2_VERSION);
    context.add_certificate_authority(
        boost::asio::buffer(pem(config.ca_file, config.ca_data, "certificate authority")));
    if (!config.client_certificate_file.empty() || !config.client_certificate_data.empty()) {
      context.use_certificate_chain(boost::asio::buffer(
          pem(config.client_certificate_file, config.client_certificate_data, "client certificate")));
      context.use_private_key(
          boost::asio::buffer(pem(config.client_key_file, config.client_key_data, "client key")),
          boost::asio::ssl::context::pem);
    }
  } catch (const boost::system::system_error& e) {
    throw http_exception(fmt::format("{}{}", kCredentialsPrefix, e.what()));
  }
}

std::optional<std::chrono::milliseconds> retry_after(const http_response& response) {
  auto found = response.headers().find("Retry-After");
  if (found == response.headers().end()) return std::nullopt;
  const std::string& text = found->second;
  int seconds = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (ec != std::errc() || end != text.data() + text.size() || seconds < 0) return std::nullopt;
  return std::chrono::seconds(seconds);
}

class CpprestTransport final : public Transport {
 public:
  CpprestTransport(Config config, TransportOptions options)
      : config_(std::move(config)),
        options_(options),
        token_(config_.token_file, config_.token),
        server_(check_server(config_.server)) {
    start_library();
  }

  ~CpprestTransport() override {
    std::lock_guard lock(mutex_);
    reap_locked();
    // What still hangs in the resolver must never be destroyed unread; the process is about to end anyway.
    for (Abandoned& a : abandoned_) std::make_unique<Abandoned>(std::move(a)).release();  // NOLINT
  }

  base::Result<Response> send(const Request& request, base::Deadline deadline,
                              std::stop_token stop) override {
    if (!server_) return base::fail(server_.error());
    PGR_ASSIGN(std::string token, token_.get());
    auto response = send_with(request, token, deadline, stop);
    if (response && response->status == 401 && token_.changed(token)) {
      PGR_ASSIGN(token, token_.get());
      response = send_with(request, token, deadline, stop);
    }
    return response;
  }

  base::Result<StreamEnd> stream(const Request& request, const OnStream& on_bytes,
                                 std::chrono::milliseconds idle, std::stop_token stop) override {
    if (!server_) return base::fail(server_.error());
    PGR_ASSIGN(std::string token, token_.get());
    auto end = stream_with(request, token, on_bytes, idle, stop);
    if (end && end->status == 401 && token_.changed(token)) {
      PGR_ASSIGN(token, token_.get());
      end = stream_with(request, token, on_bytes, idle, stop);
    }
    return end;
  }

 private:
  using Client = std::shared_ptr<http_client>;
  struct Abandoned {
    pplx::task<http_response> task;
    Client client;
  };

  Client make_client(std::chrono::milliseconds idle) const {
    http_client_config settings;
    settings.set_timeout(idle);
    settings.set_max_redirects(0);
    settings.set_validate_certificates(true);
    settings.set_ssl_context_callback(
        [config = config_](boost::asio::ssl::context& c) { set_up_tls(config, c); });
    return std::make_shared<http_client>(web::uri(config_.server), settings);
  }

  // The client whose connections are shared. `stale`: the one that just failed, to be replaced.
  Client pooled(const Client& stale = nullptr) {
    std::lock_guard lock(mutex_);
    reap_locked();
    if (!pooled_ || (stale && pooled_ == stale)) pooled_ = make_client(options_.unary_idle);
    return pooled_;
  }

  static http_request make_request(const Request& r, const std::string& token,
                                   const std::shared_ptr<Progress>& progress, std::size_t limit,
                                   bool streaming) {
    http_request request(r.method);
    request.set_request_uri(web::uri(r.target));
    if (!r.body.empty()) {
      request.set_body(std::vector<unsigned char>(r.body.begin(), r.body.end()));
      request.headers().set_content_type(r.content_type);
    }
    request.headers().add("Accept", r.accept);
    request.headers().add("User-Agent", "pgrunbook");
    if (!token.empty()) request.headers().add("Authorization", "Bearer " + token);
    // The first upload call comes after the headers and before the first byte of the body. An exception
    // thrown here ends the exchange with it.
    request.set_progress_handler([progress, limit, streaming](
                                     web::http::message_direction::direction direction,
                                     utility::size64_t bytes) {
      if (direction == web::http::message_direction::upload) {
        progress->begun = true;
        return;
      }
      std::uint64_t held = streaming ? bytes - std::min<std::uint64_t>(bytes, progress->handed_out) : bytes;
      if (held > limit) throw http_exception(fmt::format("{}over {} bytes", kTooLargePrefix, limit));
    });
    return request;
  }

  // Waits for a task by polling, at the deadline or on `stop` cancels it, and returns what it holds. Never
  // throws.
  tl::expected<http_response, Broken> await(pplx::task<http_response> task, const Client& client,
                                            const pplx::cancellation_token_source& source,
                                            base::Deadline deadline, const std::stop_token& stop) {
    // Most replies come within milliseconds: a pause grows with what was waited, so it adds an eighth at
    // most.
    const auto begun = std::chrono::steady_clock::now();
    bool late = false, stopped = false;
    base::Deadline give_up = deadline;
    while (!task.is_done()) {
      if (!late && !stopped) {
        stopped = stop.stop_requested();
        late = !stopped && deadline.passed();
        if (late || stopped) {
          source.cancel();
          give_up = base::Deadline::after(kAbandonAfter);
        }
      } else if (give_up.passed()) {
        std::lock_guard lock(mutex_);
        abandoned_.push_back({std::move(task), client});
        return tl::unexpected(Broken{late ? Fault::kTimeout : Fault::kCancelled, "abandoned", late});
      }
      auto waited =
          std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begun);
      std::this_thread::sleep_for(
          std::clamp(waited / 4, std::chrono::microseconds(50), std::chrono::microseconds(2000)));
    }
    try {
      return task.get();
    } catch (...) {
      return tl::unexpected(caught(late));
    }
  }

  // Inside a handler: the current exception in our words.
  static Broken caught(bool late) {
    Broken broken{Fault::kRead, {}, late};
    try {
      throw;
    } catch (const http_exception& e) {
      broken.fault = classify(e.error_code().value(), e.what());
      broken.detail = e.what();
    } catch (const pplx::task_canceled&) {
      broken.fault = Fault::kCancelled;
    } catch (const std::exception& e) {
      broken.detail = e.what();
    } catch (...) {
      broken.detail = "unknown exception";
    }
    if (late && broken.fault == Fault::kCancelled) broken.fault = Fault::kTimeout;
    return broken;
  }

  tl::expected<Response, Broken> exchange(const Request& r, const std::string& token, const Client& client,
                                          const std::shared_ptr<Progress>& progress, base::Deadline deadline,
                                          const std::stop_token& stop) {
    try {
      pplx::cancellation_token_source source;
      auto request = make_request(r, token, progress, r.body_limit, false);
      auto head = await(client->request(request, source.get_token()), client, source, deadline, stop);
      if (!head) return tl::unexpected(head.error());
      auto whole = await(head->content_ready(), client, source, deadline, stop);
      if (!whole) return tl::unexpected(whole.error());
      std::vector<unsigned char> body = whole->extract_vector().get();
      return Response{whole->status_code(), std::string(body.begin(), body.end()), retry_after(*whole)};
    } catch (...) {
      return tl::unexpected(caught(false));
    }
  }

  base::Result<Response> send_with(const Request& r, const std::string& token, base::Deadline deadline,
                                   const std::stop_token& stop) {
    const bool write = r.method != "GET";
    const bool own = write && !options_.shared_writes;
    Client client = own ? make_client(options_.unary_idle) : pooled();
    for (bool again = false;; again = true) {
      auto progress = std::make_shared<Progress>();
      progress->begun = write && r.body.empty();
      auto done = exchange(r, token, client, progress, deadline, stop);
      if (done) return std::move(*done);
      const Broken& broken = done.error();
      // kWrite: not all of it left, so nothing of it was processed.
      bool safe = broken.fault == Fault::kWrite || (!write && broken.fault == Fault::kRead);
      if (safe && !again && !deadline.passed() && !stop.stop_requested()) {
        client = own ? make_client(options_.unary_idle) : pooled(client);
        continue;
      }
      // Whoever comes next begins anew: nothing tells a connection that is slow from one whose peer is gone.
      if (!own) (void)pooled(client);
      return base::fail(fault_error(broken.fault, {write, progress->begun}, broken.detail));
    }
  }

  base::Result<StreamEnd> stream_with(const Request& r, const std::string& token, const OnStream& on_bytes,
                                      std::chrono::milliseconds idle, const std::stop_token& stop) {
    auto broken_error = [&](const Broken& b) {
      return base::fail(fault_error(stop.stop_requested() ? Fault::kCancelled : b.fault, {}, b.detail));
    };
    Client client;
    pplx::cancellation_token_source source;
    std::stop_callback cancel(stop, [source] { source.cancel(); });
    // However we leave: nobody reads what still comes, so the exchange must end.
    struct Ender {
      const pplx::cancellation_token_source& source;
      ~Ender() { source.cancel(); }
    } ender{source};
    auto progress = std::make_shared<Progress>();
    try {
      client = make_client(idle);
      auto request = make_request(r, token, progress, kUnread, true);
      auto head = await(client->request(request, source.get_token()), client, source,
                        base::Deadline::after(idle), stop);
      if (!head) return broken_error(head.error());
      auto bytes = head->body().streambuf();
      const bool refused = head->status_code() != 200;
      std::string held;  // of a refusal
      std::vector<unsigned char> buffer(std::size_t{16} << 10);
      while (true) {
        // One byte waits for the network; what came with it is taken without waiting (getn of more would wait
        // for all).
        auto first = bytes.bumpc().get();
        if (bytes.is_eof() || first == decltype(bytes)::traits::eof()) break;
        buffer[0] = static_cast<unsigned char>(first);
        std::size_t count =
            1 + bytes.getn(buffer.data() + 1, std::min(bytes.in_avail(), buffer.size() - 1)).get();
        progress->handed_out += count;
        std::string_view piece(reinterpret_cast<const char*>(buffer.data()), count);
        if (refused) {
          held.append(piece.substr(0, kRefusal - std::min(kRefusal, held.size())));
          continue;
        }
        if (auto taken = on_bytes(piece); !taken) return base::fail(taken.error());
        if (stop.stop_requested()) return base::fail(fault_error(Fault::kCancelled, {}, {}));
      }
      return StreamEnd{head->status_code(), std::move(held), retry_after(*head)};
    } catch (...) {
      return broken_error(caught(false));
    }
  }

  void reap_locked() {
    std::erase_if(abandoned_, [](Abandoned& a) {
      if (!a.task.is_done()) return false;
      try {
        a.task.get();
      } catch (...) {
        return true;
      }
      return true;
    });
  }

  const Config config_;
  const TransportOptions options_;
  TokenSource token_;
  const base::Result<> server_;
  std::mutex mutex_;
  Client pooled_;                     // guarded by mutex_
  std::vector<Abandoned> abandoned_;  // guarded by mutex_
};

}  // namespace

std::shared_ptr<Transport> make_cpprest_transport(const Config& config, TransportOptions options) {
  return std::make_shared<CpprestTransport>(config, options);
}

}  // namespace pgrunbook::kube
