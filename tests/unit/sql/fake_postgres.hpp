// A server that speaks just enough of PostgreSQL's protocol 3.0 for libpq's extended queries: what it
// answers, refuses or keeps silent about is the test's. It never runs SQL.
#pragma once

#include <arpa/inet.h>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <functional>
#include <mutex>
#include <netinet/in.h>
#include <optional>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "sql/connection.hpp"

namespace pgrunbook::test {

class FakePostgres {
 public:
  struct Refusal {
    std::string sqlstate, message;
  };
  struct Reply {
    sql::Rows rows{};
    std::optional<Refusal> error{};
    bool hang = false;   // no answer until the server ends
    bool close = false;  // the connection breaks
  };
  using Handler = std::function<Reply(const std::string& sql, const std::vector<std::string>& parameters)>;

  explicit FakePostgres(Handler handler = {}) : handler_(std::move(handler)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    ::listen(listener_, 16);
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~FakePostgres() {
    stop_ = true;
    acceptor_.join();
    for (std::thread& t : sessions_) t.join();
    ::close(listener_);
  }
  FakePostgres(const FakePostgres&) = delete;
  FakePostgres& operator=(const FakePostgres&) = delete;

  [[nodiscard]] int port() const { return port_; }
  // New connections are answered with this; nullopt lets them in again.
  void refuse(std::optional<Refusal> how) {
    std::lock_guard lock(mutex_);
    refusal_ = std::move(how);
  }
  void be_silent(bool silent) { silent_ = silent; }
  [[nodiscard]] std::vector<std::string> statements() const {
    std::lock_guard lock(mutex_);
    return statements_;
  }
  [[nodiscard]] std::string password() const {
    std::lock_guard lock(mutex_);
    return password_;
  }
  [[nodiscard]] sql::Target target() const {
    return {"127.0.0.1", port_, "tfrs", "the-password", "tfrs", "disable"};
  }

 private:
  class Out {
   public:
    explicit Out(char type) : bytes_(1, type) { bytes_.resize(5); }
    Out& number(std::int32_t n) {
      for (int shift = 24; shift >= 0; shift -= 8) bytes_.push_back(static_cast<char>(n >> shift));
      return *this;
    }
    Out& small(int n) {
      bytes_.push_back(static_cast<char>(n >> 8));
      bytes_.push_back(static_cast<char>(n));
      return *this;
    }
    Out& text(const std::string& s) {
      bytes_ += s;
      bytes_.push_back('\0');
      return *this;
    }
    Out& raw(const std::string& s) {
      bytes_ += s;
      return *this;
    }
    [[nodiscard]] std::string bytes() {
      auto size = static_cast<std::uint32_t>(bytes_.size() - 1);
      for (std::size_t i = 0; i < 4; ++i) bytes_[1 + i] = static_cast<char>(size >> (24 - 8 * i));
      return bytes_;
    }

   private:
    std::string bytes_;
  };

  void accept_all() {
    // It outlives the test that started it: what is sent to the process is for others.
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
    while (!stop_) {
      pollfd p{listener_, POLLIN, 0};
      if (::poll(&p, 1, 20) <= 0) continue;
      int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0) sessions_.emplace_back([this, fd] { session(fd); });
    }
  }
  bool read(int fd, std::size_t size, std::string* out) {
    out->clear();
    while (out->size() < size) {
      if (stop_) return false;
      pollfd p{fd, POLLIN, 0};
      if (::poll(&p, 1, 20) <= 0) continue;
      char buffer[4096];
      ssize_t n = ::recv(fd, buffer, std::min(sizeof buffer, size - out->size()), 0);
      if (n <= 0) return false;
      out->append(buffer, static_cast<std::size_t>(n));
    }
    return true;
  }
  static std::uint32_t number(const std::string& s, std::size_t at) {
    std::uint32_t n = 0;
    for (std::size_t i = 0; i < 4; ++i) n = n << 8U | static_cast<unsigned char>(s.at(at + i));
    return n;
  }
  static void send(int fd, const std::string& bytes) {
    (void)!::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  static std::string error(const Refusal& r) {
    return Out('E')
        .raw("SERROR")
        .raw(std::string(1, '\0'))
        .raw("C" + r.sqlstate)
        .raw(std::string(1, '\0'))
        .raw("M" + r.message)
        .raw(std::string(2, '\0'))
        .bytes();
  }

  void session(int fd) {
    struct Closer {
      int fd;
      ~Closer() { ::close(fd); }
    } closer{fd};
    std::string head, body;
    while (true) {
      if (!read(fd, 4, &head) || !read(fd, number(head, 0) - 4, &body)) return;
      if (number(body, 0) == 196608) break;
      send(fd, "N");  // neither TLS nor GSSAPI
    }
    while (silent_ && !stop_) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    {
      std::unique_lock lock(mutex_);
      if (refusal_) {
        Refusal r = *refusal_;
        lock.unlock();
        send(fd, error(r));
        return;
      }
    }
    send(fd, Out('R').number(3).bytes());
    if (!read(fd, 5, &head) || !read(fd, number(head, 1) - 4, &body)) return;
    {
      std::lock_guard lock(mutex_);
      password_ = body.c_str();
    }
    send(fd, Out('R').number(0).bytes() + Out('S').text("client_encoding").text("UTF8").bytes() +
                 Out('K').number(1).number(2).bytes() + Out('Z').raw("I").bytes());
    std::string statement;
    std::vector<std::string> parameters;
    while (read(fd, 5, &head) && read(fd, number(head, 1) - 4, &body)) {
      if (head[0] == 'X') return;
      if (head[0] == 'P') statement = body.c_str() + body.find('\0') + 1;
      if (head[0] == 'B') parameters = bound(body);
      if (head[0] == 'Q') statement = body.c_str(), parameters.clear();
      if ((head[0] == 'S' || head[0] == 'Q') && !answer(fd, statement, parameters)) return;
    }
  }
  static std::vector<std::string> bound(const std::string& body) {
    std::size_t at = body.find('\0') + 1;
    at = body.find('\0', at) + 1;
    auto small = [&] {
      int n = static_cast<unsigned char>(body[at]) << 8 | static_cast<unsigned char>(body[at + 1]);
      at += 2;
      return n;
    };
    at += 2 * static_cast<std::size_t>(small());
    std::vector<std::string> out;
    for (int left = small(); left > 0; --left) {
      std::uint32_t size = number(body, at);
      at += 4;
      out.push_back(body.substr(at, size));
      at += size;
    }
    return out;
  }
  bool answer(int fd, const std::string& statement, const std::vector<std::string>& parameters) {
    {
      std::lock_guard lock(mutex_);
      std::string text = statement;
      for (const std::string& p : parameters) text += " [" + p + "]";
      statements_.push_back(text);
    }
    Reply reply = handler_ ? handler_(statement, parameters) : Reply{};
    while (reply.hang && !stop_) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (reply.hang || reply.close) return false;
    if (reply.error) {
      send(fd, error(*reply.error) + Out('Z').raw("I").bytes());
      return true;
    }
    std::string bytes = Out('1').bytes() + Out('2').bytes();
    std::size_t columns = reply.rows.empty() ? 1 : reply.rows[0].size();
    Out description('T');
    description.small(static_cast<int>(columns));
    for (std::size_t i = 0; i < columns; ++i)
      description.text("c").number(0).small(0).number(25).small(-1).number(-1).small(0);
    bytes += description.bytes();
    for (const sql::Row& row : reply.rows) {
      Out data('D');
      data.small(static_cast<int>(row.size()));
      for (const auto& value : row) {
        if (value) {
          data.number(static_cast<std::int32_t>(value->size())).raw(*value);
        } else {
          data.number(-1);
        }
      }
      bytes += data.bytes();
    }
    send(fd, bytes + Out('C').text("SELECT " + std::to_string(reply.rows.size())).bytes() +
                 Out('Z').raw("I").bytes());
    return true;
  }

  Handler handler_;
  int listener_ = -1, port_ = 0;
  std::atomic<bool> stop_{false}, silent_{false};
  mutable std::mutex mutex_;
  std::optional<Refusal> refusal_;
  std::vector<std::string> statements_;
  std::string password_;
  std::thread acceptor_;
  std::vector<std::thread> sessions_;
};

}  // namespace pgrunbook::test
