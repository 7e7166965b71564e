#include "base/subprocess.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <fmt/format.h>

namespace pgrunbook::base {
namespace {

constexpr std::size_t kKeptStderr = 64 << 10;
constexpr auto kGrace = std::chrono::seconds(5);

int exit_code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

// Between fork and exec only async-signal-safe calls are allowed: everything is laid out beforehand.
struct Layout {
  std::vector<std::string> environment_strings;
  std::vector<char*> argv;
  std::vector<char*> environment;

  explicit Layout(const Command& command) {
    for (char** e = environ; *e != nullptr; ++e) {
      std::string_view pair = *e;
      std::string_view key = pair.substr(0, pair.find('='));
      bool replaced = std::any_of(command.environment.begin(), command.environment.end(),
                                  [&](const auto& kv) { return kv.first == key; });
      if (!replaced) environment_strings.emplace_back(pair);
    }
    for (const auto& [key, value] : command.environment) {
      if (!value.empty()) environment_strings.push_back(fmt::format("{}={}", key, value));
    }
    for (auto& s : environment_strings) environment.push_back(s.data());
    environment.push_back(nullptr);
    for (const auto& a : command.argv) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
  }
};

[[noreturn]] void become(Layout& layout, int in, int out, int err) {
  // Without its streams it would read and write ours.
  if (in < 0 || out < 0 || err < 0 || ::dup2(in, 0) < 0 || ::dup2(out, 1) < 0 || ::dup2(err, 2) < 0)
    ::_exit(127);
  ::signal(SIGPIPE, SIG_DFL);
  ::execvpe(layout.argv[0], layout.argv.data(), layout.environment.data());
  const char* text = std::strerror(errno);
  (void)!::write(2, layout.argv[0], std::strlen(layout.argv[0]));
  (void)!::write(2, ": ", 2);
  (void)!::write(2, text, std::strlen(text));
  ::_exit(127);
}

Result<std::pair<Fd, Fd>> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(system_error("make", "a pipe"));
  return std::pair<Fd, Fd>(Fd(ends[0]), Fd(ends[1]));
}

}  // namespace

Result<Finished> run(const Command& command, Deadline deadline, const OnBytes& on_stdout) {
  PGR_ASSIGN(auto in, make_pipe());
  PGR_ASSIGN(auto out, make_pipe());
  PGR_ASSIGN(auto err, make_pipe());
  Layout layout(command);
  int pid = ::fork();
  if (pid < 0) return fail(system_error("fork for", command.argv[0]));
  if (pid == 0) become(layout, in.first.get(), out.second.get(), err.second.get());
  in.first.reset();
  out.second.reset();
  err.second.reset();
  ::fcntl(in.second.get(), F_SETFL, O_NONBLOCK);

  Finished finished;
  std::optional<Error> failure;
  std::string_view input = command.input;
  if (input.empty()) in.second.reset();
  std::optional<Deadline> kill_at;
  std::vector<char> buffer(1 << 18);
  auto end_child = [&](Error e) {
    if (failure) return;
    failure = std::move(e);
    ::kill(pid, SIGTERM);
    kill_at = Deadline::after(kGrace);
  };
  auto old_pipe = std::signal(SIGPIPE, SIG_IGN);
  while (out.first.valid() || err.first.valid()) {
    pollfd fds[3] = {
        {out.first.get(), POLLIN, 0}, {err.first.get(), POLLIN, 0}, {in.second.get(), POLLOUT, 0}};
    int wait =
        static_cast<int>(std::min<std::int64_t>(200, (kill_at ? *kill_at : deadline).left().count() + 1));
    if (::poll(fds, 3, wait) < 0 && errno != EINTR) break;
    if (!failure && deadline.passed()) {
      end_child(error(ErrorCode::kTimeout, fmt::format("{} did not end in time", command.argv[0])));
    }
    if (kill_at && kill_at->passed()) ::kill(pid, SIGKILL);
    if ((fds[0].revents & (POLLIN | POLLHUP)) != 0) {
      ssize_t n = ::read(out.first.get(), buffer.data(), buffer.size());
      if (n == 0) out.first.reset();
      if (n > 0 && !failure) {
        std::string_view bytes(buffer.data(), static_cast<std::size_t>(n));
        if (on_stdout) {
          if (auto r = on_stdout(bytes); !r) end_child(r.error());
        } else {
          finished.out.append(bytes);
        }
      }
    }
    if ((fds[1].revents & (POLLIN | POLLHUP)) != 0) {
      ssize_t n = ::read(err.first.get(), buffer.data(), buffer.size());
      if (n == 0) err.first.reset();
      if (n > 0) finished.err.append(buffer.data(), static_cast<std::size_t>(n));
      if (finished.err.size() > 2 * kKeptStderr) finished.err.erase(0, finished.err.size() - kKeptStderr);
    }
    if (in.second.valid() && (fds[2].revents & (POLLOUT | POLLERR | POLLHUP)) != 0) {
      ssize_t n = ::write(in.second.get(), input.data(), input.size());
      if (n > 0) input.remove_prefix(static_cast<std::size_t>(n));
      if (input.empty() || (n < 0 && errno != EAGAIN && errno != EINTR)) in.second.reset();
    }
  }
  int status = 0;
  while (true) {
    int r = ::waitpid(pid, &status, WNOHANG);
    if (r == pid) break;
    if (r < 0 && errno != EINTR) break;
    if (!failure && deadline.passed()) {
      end_child(error(ErrorCode::kTimeout, fmt::format("{} did not end in time", command.argv[0])));
    }
    if (kill_at && kill_at->passed()) ::kill(pid, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  std::signal(SIGPIPE, old_pipe);
  if (failure) {
    if (!finished.err.empty()) failure->message += fmt::format(" ({})", finished.err.substr(0, 400));
    return fail(*failure);
  }
  finished.exit_code = exit_code_of(status);
  return finished;
}

Child& Child::operator=(Child&& other) noexcept {
  if (this != &other) {
    std::swap(pid_, other.pid_);
    std::swap(exit_code_, other.exit_code_);
    std::swap(ended_, other.ended_);
  }
  return *this;
}

Child::~Child() {
  if (pid_ > 0 && running()) {
    signal(SIGKILL);
    (void)wait(Deadline::after(kGrace));
  }
}

Result<Child> Child::start(const Command& command, const std::string& log_path) {
  Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  Fd log(::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log.valid()) return fail(system_error("open", log_path));
  Layout layout(command);
  Child child;
  child.pid_ = ::fork();
  if (child.pid_ < 0) return fail(system_error("fork for", command.argv[0]));
  if (child.pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGINT);  // a server whose agent died must not go on alone
    become(layout, null.get(), log.get(), log.get());
  }
  return child;
}

bool Child::running() {
  if (pid_ <= 0 || ended_) return false;
  int status = 0;
  int r = ::waitpid(pid_, &status, WNOHANG);
  if (r == pid_) {
    ended_ = true;
    exit_code_ = exit_code_of(status);
  }
  return !ended_;
}

void Child::signal(int number) const {
  if (pid_ > 0 && !ended_) ::kill(pid_, number);
}

Result<int> Child::wait(Deadline deadline) {
  while (running()) {
    if (deadline.passed())
      return fail(ErrorCode::kTimeout, fmt::format("process {} did not end in time", pid_));
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return exit_code_;
}

}  // namespace pgrunbook::base
