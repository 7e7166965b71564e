// A proxy between the operator and the API server that counts the operator's writes and kills it at a chosen
// one: before the write reaches the API server, or after it was done and before the operator hears of it.
// With each N from 1 to the last write of a scenario this tries every place where a process can die; as a
// chain it kills at each of them once, in one run. It can also answer chosen writes with a failure.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "support/wire/server.hpp"

namespace pgrunbook::test {

// Whether a request changes the world: POST, PUT, PATCH, DELETE, but no Lease, Event, dry run, or review of
// rights (authorization and authentication APIs store nothing).
[[nodiscard]] bool counts_as_write(const std::string& method, const std::string& target);

// What a write is, the same for each time it is tried: method, path and name, and what it sets. Of a status
// only phase, step and which results it holds: its words change with every look.
[[nodiscard]] std::string what_of(const HttpRequest& request);

// One request per connection in both directions: whatever ends on one side is ended on the other, so a watch
// is handed on byte by byte and a lost reply is really lost. HTTP/1.1 only; no exec, attach or port-forward.
class CountingProxy {
 public:
  enum class When { kNever, kBefore, kAfter };
  struct Options {
    std::string listen = "127.0.0.1";
    std::uint16_t port = 0;
    std::vector<std::string> names{"DNS:localhost", "IP:127.0.0.1"};  // of the proxy's own certificate
    std::string upstream_host, upstream_port = "443";
    std::string upstream_authority;  // PEM
    Identity upstream_identity{};    // client certificate for the API server; bearer tokens pass through
    int kill_at = 0;                 // the write counted 1, 2, ...; 0: never
    When when = When::kBefore;
    // Numbers go to writes that differ (what_of), at their first time; a write tried again has none.
    bool distinct = false;
    // Every write that differs is killed twice: at its first time before it is forwarded, at its second
    // before its reply. kill_at and when mean nothing then.
    bool chain = false;
    std::string skip{};  // writes whose target contains this are handed on, not numbered and not killed
    std::string only{};  // if set, a regular expression: so are writes whose what_of does not match it
    // "STATUS REGEX" lines: requests but GET whose what_of matches are answered so. With kLoseReply they are
    // forwarded, and the first reply of each that differs is lost.
    std::string fail_file{};
    std::string pid_file{};  // read at the moment of the kill
    std::string log_file{};  // one JSON line per write, appended; empty: none
    // In place of SIGKILL to the pid in pid_file (for tests).
    std::function<void()> kill{};
  };
  static constexpr int kLoseReply = 999;
  explicit CountingProxy(Options options);
  ~CountingProxy();
  CountingProxy(const CountingProxy&) = delete;
  CountingProxy& operator=(const CountingProxy&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  // The authority its own certificate is signed by; the operator must trust it instead of the API server's.
  [[nodiscard]] const std::string& authority() const { return authority_.pem(); }
  [[nodiscard]] int writes() const { return writes_; }
  [[nodiscard]] bool killed() const { return kills_ > 0; }
  [[nodiscard]] int kills() const { return kills_; }

 private:
  struct Turn {
    int number = 0;
    When kill = When::kNever;
  };
  int failure_of(const std::string& what) const;
  bool first_loss_of(const std::string& what);
  Turn turn_of(const HttpRequest& request, const std::string& what);
  void accept_all(std::stop_token stop);
  void serve(const std::shared_ptr<TlsSocket>& client);
  void kill_now();
  void log(int number, const HttpRequest& request, const std::string& what, int status, const char* killed,
           bool lost = false);

  const Options options_;
  const Authority authority_{"pgrunbook-proxy"};
  const Identity identity_;
  int listening_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<int> writes_ = 0, kills_ = 0;
  std::atomic<bool> stopping_ = false;
  std::mutex mutex_;
  std::map<std::string, int> seen_;                // by what_of: how often; guarded by mutex_
  std::set<std::string> lost_;                     // what_of whose reply was lost; guarded by mutex_
  std::vector<std::weak_ptr<TlsSocket>> sockets_;  // guarded by mutex_
  std::condition_variable ended_;
  int serving_ = 0;  // guarded by mutex_
  std::mutex log_mutex_;
  std::jthread accepting_;
};

}  // namespace pgrunbook::test
