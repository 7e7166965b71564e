#include "support/wire/server.hpp"

#include <algorithm>
#include <charconv>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace pgrunbook::test {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

}  // namespace

bool HttpReader::more() {
  std::string bytes = socket_.read();
  buffer_ += bytes;
  return !bytes.empty();
}

std::string HttpReader::head() {
  std::size_t end = std::string::npos;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (!more()) return {};
  }
  std::string out = buffer_.substr(0, end + 4);
  buffer_.erase(0, end + 4);
  return out;
}

std::string HttpReader::exactly(std::size_t bytes) {
  while (buffer_.size() < bytes) {
    if (!more()) return {};
  }
  std::string out = buffer_.substr(0, bytes);
  buffer_.erase(0, bytes);
  return out;
}

std::string HttpReader::any() {
  if (buffer_.empty() && !more()) return {};
  return std::exchange(buffer_, {});
}

std::optional<HttpRequest> HttpReader::request() {
  HttpRequest r;
  r.head = head();
  if (r.head.empty()) return std::nullopt;
  std::size_t line_end = r.head.find("\r\n");
  std::string line = r.head.substr(0, line_end);
  r.method = line.substr(0, line.find(' '));
  r.target = line.substr(r.method.size() + 1, line.rfind(' ') - r.method.size() - 1);
  for (std::size_t at = line_end + 2; at < r.head.size();) {
    std::size_t end = r.head.find("\r\n", at);
    std::string header = r.head.substr(at, end - at);
    at = end + 2;
    if (std::size_t colon = header.find(':'); colon != std::string::npos) {
      std::size_t value = header.find_first_not_of(' ', colon + 1);
      r.headers[lower(header.substr(0, colon))] = value == std::string::npos ? "" : header.substr(value);
    }
  }
  if (std::string length = r.header("content-length"); !length.empty()) {
    auto size = static_cast<std::size_t>(std::stoul(length));
    r.body = exactly(size);
    if (r.body.size() != size) return std::nullopt;
  } else if (lower(r.header("transfer-encoding")) == "chunked") {
    while (true) {
      std::string number;
      while (!number.ends_with("\r\n")) {
        std::string c = exactly(1);
        if (c.empty()) return std::nullopt;
        number += c;
      }
      std::size_t size = 0;
      std::from_chars(number.data(), number.data() + number.size(), size, 16);
      std::string chunk = exactly(size + 2);
      if (chunk.empty()) return std::nullopt;
      if (size == 0) break;
      r.body += chunk.substr(0, size);
    }
  }
  return r;
}

void Connection::reply(int status, const std::string& body, const std::string& headers) {
  socket.write("HTTP/1.1 " + std::to_string(status) +
               " Text\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
               "\r\n" + headers + "\r\n" + body);
}

void Connection::begin_chunked(int status) {
  socket.write("HTTP/1.1 " + std::to_string(status) +
               " Text\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
}

bool Connection::chunk(const std::string& bytes) {
  char size[20];
  auto end = std::to_chars(size, size + sizeof size, bytes.size(), 16).ptr;
  return socket.write(std::string(size, end) + "\r\n" + bytes + "\r\n");
}

void Connection::hang() const {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  wake.wait(lock, stop, [] { return false; });
}

void Connection::wait_closed() {
  while (!reader.any().empty()) {
  }
}

ScriptedServer::ScriptedServer(const Authority& authority, Script script, Options options)
    : identity_(authority.issue("server", options.names)),
      script_(std::move(script)),
      options_(std::move(options)) {
  listening_ = listen_on(options_.address, 0, &port_);
  accepting_ = std::jthread([this](std::stop_token stop) { accept_all(stop); });
}

ScriptedServer::~ScriptedServer() {
  stopping_.request_stop();
  accepting_.request_stop();
  ::shutdown(listening_, SHUT_RDWR);
  accepting_.join();
  {
    std::lock_guard lock(mutex_);
    for (auto& weak : sockets_) {
      if (auto socket = weak.lock()) socket->shutdown();
    }
  }
  workers_.clear();
  ::close(listening_);
}

void ScriptedServer::accept_all(std::stop_token stop) {
  while (!stop.stop_requested()) {
    int fd = ::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) {
      if (stop.stop_requested()) return;
      continue;
    }
    int number = connections_++;
    workers_.emplace_back([this, fd, number] {
      auto socket = TlsSocket::accept(fd, identity_, options_.client_authority);
      if (!socket) {
        ++refused_;
        return;
      }
      {
        std::lock_guard lock(mutex_);
        sockets_.push_back(socket);
        if (stopping_.stop_requested()) socket->shutdown();
      }
      HttpReader reader(*socket);
      Connection connection{*socket, reader, number, stopping_.get_token()};
      script_(connection);
      std::lock_guard lock(mutex_);  // not while somebody shuts it down
      socket->close();
    });
  }
}

}  // namespace pgrunbook::test
