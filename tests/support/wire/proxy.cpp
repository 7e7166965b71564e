#include "support/wire/proxy.hpp"

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <regex.h>
#include <sstream>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace pgrunbook::test {
namespace {

// The head with "Connection: close": one exchange per connection, so that an end is always an end.
std::string closing(const std::string& head) {
  std::string out;
  for (std::size_t at = 0; at < head.size();) {
    std::size_t end = head.find("\r\n", at);
    std::string line = head.substr(at, end - at);
    at = end + 2;
    if (line.empty()) break;
    std::string name = line.substr(0, line.find(':'));
    if (strcasecmp(name.c_str(), "connection") == 0 || strcasecmp(name.c_str(), "transfer-encoding") == 0 ||
        strcasecmp(name.c_str(), "content-length") == 0 || strcasecmp(name.c_str(), "expect") == 0) {
      continue;
    }
    out += line + "\r\n";
  }
  return out;
}

int status_of(const std::string& head) {
  auto space = head.find(' ');
  return space == std::string::npos ? 0 : std::atoi(head.c_str() + space + 1);
}

using Json = nlohmann::json;

const Json& at(const Json& object, const char* key) {
  static const Json kNull;
  return object.is_object() && object.contains(key) ? object.at(key) : kNull;
}
std::string text(const Json& value) { return value.is_string() ? value.get<std::string>() : ""; }

// Phase, step and results of an action's status; a topology keeps its own under "setup".
std::string status_words(const Json& status) {
  const Json& action = at(status, "setup").is_object() ? at(status, "setup") : status;
  const Json& operation = at(action, "operation");
  std::string out =
      fmt::format("{} {}/{}{}", text(at(action, "phase")), text(at(operation, "step")),
                  text(at(operation, "state")), at(operation, "rollingBack") == Json(true) ? " back" : "");
  if (at(operation, "results").is_object()) {
    for (const auto& [key, unused] : at(operation, "results").items()) out.append(",").append(key);
  }
  return out;
}

bool matches(const std::string& pattern, const std::string& what) {
  regex_t compiled{};
  if (::regcomp(&compiled, pattern.c_str(), REG_EXTENDED | REG_NOSUB) != 0) return false;
  bool found = ::regexec(&compiled, what.c_str(), 0, nullptr, 0) == 0;
  ::regfree(&compiled);
  return found;
}

// A write that is tried again differs in the times it states. Of an action that is kept as text only where it
// stands counts: what a step has found is found anew each time.
Json without_times(Json value) {
  if (value.is_string()) {
    const std::string& s = value.get_ref<const std::string&>();
    if (Json kept = s.starts_with('{') ? Json::parse(s, nullptr, false) : Json(); kept.is_object())
      return status_words(at(kept, "status"));
    return s.size() >= 20 && s[4] == '-' && s[10] == 'T' && s.back() == 'Z' ? Json("<time>") : value;
  }
  if (value.is_structured()) {
    for (Json& inner : value) inner = without_times(inner);
  }
  return value;
}

}  // namespace

std::string what_of(const HttpRequest& request) {
  const std::string path = request.target.substr(0, request.target.find('?'));
  std::string out = fmt::format("{} {}", request.method, path);
  Json body = Json::parse(request.body, nullptr, false);
  if (request.method == "POST") return fmt::format("{}/{}", out, text(at(at(body, "metadata"), "name")));
  if (request.method == "DELETE" || body.is_discarded()) return out;
  if (body.is_array()) {
    for (const Json& op : body) {
      const std::string where = text(at(op, "path"));
      if (text(at(op, "op")) == "test") continue;
      out += fmt::format(
          " {}={}", where,
          where == "/status" ? status_words(at(op, "value")) : without_times(at(op, "value")).dump());
    }
    return out;
  }
  if (path.find("/configmaps/") != std::string::npos) return out;
  if (at(body, "metadata").is_object()) body["metadata"].erase("resourceVersion");
  return fmt::format("{} {}", out, without_times(body).dump());
}

bool counts_as_write(const std::string& method, const std::string& target) {
  if (method != "POST" && method != "PUT" && method != "PATCH" && method != "DELETE") return false;
  std::string path = target.substr(0, target.find('?')) + "/";
  std::string query = target.size() > path.size() - 1 ? target.substr(path.size() - 1) : "";
  if (query.find("dryRun=") != std::string::npos) return false;
  for (const char* prefix : {"/apis/coordination.k8s.io/", "/apis/events.k8s.io/",
                             "/apis/authorization.k8s.io/", "/apis/authentication.k8s.io/"}) {
    if (path.starts_with(prefix)) return false;
  }
  // /api/v1/namespaces/<ns>/events[/<name>], not an object that is called so.
  constexpr std::string_view kNamespaces = "/api/v1/namespaces/";
  if (!path.starts_with(kNamespaces)) return true;
  auto kind = path.find('/', kNamespaces.size());
  return kind == std::string::npos || path.compare(kind, 8, "/events/") != 0;
}

CountingProxy::CountingProxy(Options options)
    : options_(std::move(options)), identity_(authority_.issue("proxy", options_.names)) {
  listening_ = listen_on(options_.listen, options_.port, &port_);
  accepting_ = std::jthread([this](std::stop_token stop) { accept_all(stop); });
}

CountingProxy::~CountingProxy() {
  stopping_ = true;
  accepting_.request_stop();
  ::shutdown(listening_, SHUT_RDWR);
  accepting_.join();
  std::unique_lock lock(mutex_);
  for (auto& weak : sockets_) {
    if (auto socket = weak.lock()) socket->shutdown();
  }
  ended_.wait(lock, [this] { return serving_ == 0; });
  ::close(listening_);
}

void CountingProxy::accept_all(std::stop_token stop) {
  while (!stop.stop_requested()) {
    int fd = ::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    // Wakes handshakes and reads that nobody will ever answer.
    timeval patience{600, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    {
      std::lock_guard lock(mutex_);
      ++serving_;
    }
    std::thread([this, fd] {
      if (auto client = TlsSocket::accept(fd, identity_)) {
        {
          std::lock_guard lock(mutex_);
          std::erase_if(sockets_, [](const auto& weak) { return weak.expired(); });
          sockets_.push_back(client);
          if (stopping_) client->shutdown();
        }
        serve(client);
      }
      std::lock_guard lock(mutex_);
      --serving_;
      ended_.notify_all();
    }).detach();
  }
}

void CountingProxy::serve(const std::shared_ptr<TlsSocket>& client) {
  HttpReader reader(*client);
  auto request = reader.request();
  if (!request) return;
  bool write = counts_as_write(request->method, request->target);
  // A Lease counts for nothing, but may be refused.
  const std::string what = request->method == "GET" ? "" : what_of(*request);
  const int failure = what.empty() ? 0 : failure_of(what);
  const Turn turn = write && (failure == 0 || failure == kLoseReply) ? turn_of(*request, what) : Turn();
  if (turn.kill == When::kBefore) {
    log(turn.number, *request, what, 0, "before");
    kill_now();
    client->reset();
    return;
  }
  const bool lose = failure == kLoseReply && first_loss_of(what);
  if (failure != 0 && failure != kLoseReply) {
    log(0, *request, what, failure, nullptr);
    std::string body = Json{
        {"kind", "Status"},
        {"apiVersion", "v1"},
        {"status", "Failure"},
        {"reason", failure == 403 ? "Forbidden" : "Invalid"},
        {"message", "refused by the test"},
        {"code", failure}}.dump();
    client->write(
        fmt::format("HTTP/1.1 {} Refused\r\nContent-Type: application/json\r\nContent-Length: {}\r\n"
                    "Connection: close\r\n\r\n{}",
                    failure, body.size(), body));
    client->close();
    return;
  }
  auto upstream = TlsSocket::connect(options_.upstream_host, options_.upstream_port,
                                     options_.upstream_authority, options_.upstream_identity);
  if (!upstream) {
    if (write) log(turn.number, *request, what, 502, nullptr);
    client->write("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    client->close();
    return;
  }
  {
    std::lock_guard lock(mutex_);
    sockets_.push_back(upstream);
    if (stopping_) upstream->shutdown();
  }
  std::string head = closing(request->head);
  if (!request->body.empty() || write) head += fmt::format("Content-Length: {}\r\n", request->body.size());
  upstream->write(head + "Connection: close\r\n\r\n" + request->body);
  HttpReader reply(*upstream);
  std::string reply_head = reply.head();
  if (turn.kill == When::kAfter) {
    // The API server sends its status line only when the write is done.
    log(turn.number, *request, what, status_of(reply_head), "after");
    kill_now();
    client->reset();
    return;
  }
  if (write) log(turn.number, *request, what, status_of(reply_head), nullptr, lose);
  if (reply_head.empty() || lose) {
    client->reset();
    return;
  }
  bool good = client->write(reply_head);
  // A watch may be silent for minutes while the operator has long gone; then nothing is lost by waiting for
  // the next byte.
  for (std::string bytes; good && !(bytes = reply.any()).empty();) good = client->write(bytes);
  std::lock_guard lock(mutex_);
  upstream->close();
  client->close();
}

// The status a request is to be answered with instead of being forwarded; 0: none.
int CountingProxy::failure_of(const std::string& what) const {
  if (options_.fail_file.empty()) return 0;
  std::ifstream file(options_.fail_file);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    int status = 0;
    std::string pattern;
    if (words >> status && std::getline(words >> std::ws, pattern) && matches(pattern, what)) {
      return status;
    }
  }
  return 0;
}

bool CountingProxy::first_loss_of(const std::string& what) {
  std::lock_guard lock(mutex_);
  return lost_.insert(what).second;
}

CountingProxy::Turn CountingProxy::turn_of(const HttpRequest& request, const std::string& what) {
  Turn turn;
  if (!options_.skip.empty() && request.target.find(options_.skip) != std::string::npos) return turn;
  if (!options_.only.empty() && !matches(options_.only, what)) return turn;
  std::lock_guard lock(mutex_);
  int times = ++seen_[what];
  if (!options_.distinct && !options_.chain) {
    turn.number = ++writes_;
  } else if (times == 1) {
    turn.number = ++writes_;
  }
  if (options_.chain) {
    if (times <= 2) turn.kill = times == 1 ? When::kBefore : When::kAfter;
  } else if (turn.number != 0 && turn.number == options_.kill_at) {
    turn.kill = options_.when;
  }
  return turn;
}

void CountingProxy::kill_now() {
  ++kills_;
  if (options_.kill) {
    options_.kill();
    return;
  }
  std::ifstream file(options_.pid_file);
  int pid = 0;
  if (!(file >> pid) || pid <= 1) {
    std::fprintf(stderr, "proxy: %s holds no pid\n", options_.pid_file.c_str());
    return;
  }
  if (::kill(pid, SIGKILL) != 0) std::perror("proxy: kill");
}

void CountingProxy::log(int number, const HttpRequest& request, const std::string& what, int status,
                        const char* killed, bool lost) {
  if (options_.log_file.empty()) return;
  auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::system_clock::now().time_since_epoch());
  nlohmann::json line{{"n", number},
                      {"ms", now.count()},
                      {"method", request.method},
                      {"target", request.target},
                      {"what", what}};
  line["status"] = status == 0 ? nlohmann::json() : nlohmann::json(status);
  line["killed"] = killed == nullptr ? nlohmann::json() : nlohmann::json(killed);
  if (lost) line["lost"] = true;
  std::lock_guard lock(log_mutex_);
  std::string text = line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  int fd = ::open(options_.log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0 || ::write(fd, text.data(), text.size()) < 0) std::perror("proxy: log");
  if (fd >= 0) ::close(fd);
}

}  // namespace pgrunbook::test
