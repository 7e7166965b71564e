// Starting other programs: PostgreSQL's own tools in a Job. No shell, ever.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/result.hpp"
#include "base/time.hpp"

namespace pgrunbook::base {

struct Command {
  std::vector<std::string> argv;                                   // argv[0] is looked up in PATH
  std::vector<std::pair<std::string, std::string>> environment{};  // added to ours; an empty value unsets
  std::string input{};                                             // written to its stdin, then closed
};

struct Finished {
  int exit_code = -1;  // 128 + signal where it was killed by one
  std::string out;     // stdout, unless it was streamed
  std::string err;     // the last 64 KiB of stderr
};

// Receives stdout as it comes; an error ends the child (SIGTERM, SIGKILL after 5 s) and is returned by run().
using OnBytes = std::function<Result<>(std::string_view)>;

// Runs to the end. At the deadline the child gets SIGTERM, 5 s later SIGKILL, and the error is kTimeout.
// A non-zero exit code is not an error of run(): the caller knows what the program's codes mean.
[[nodiscard]] Result<Finished> run(const Command& command, Deadline deadline, const OnBytes& on_stdout = {});

// A child that stays: the server inside a recovery Job. Not copyable; the destructor kills what still runs.
class Child {
 public:
  Child() = default;
  Child(Child&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)), exit_code_(other.exit_code_), ended_(other.ended_) {}
  Child& operator=(Child&& other) noexcept;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();
  // stdout and stderr of the child go to `log_path` (appended).
  [[nodiscard]] static Result<Child> start(const Command& command, const std::string& log_path);
  [[nodiscard]] bool running();
  void signal(int number) const;
  // Exit code once it has ended; kTimeout at the deadline, and the child goes on.
  [[nodiscard]] Result<int> wait(Deadline deadline);
  [[nodiscard]] int pid() const { return pid_; }

 private:
  int pid_ = -1;
  int exit_code_ = -1;
  bool ended_ = false;
};

}  // namespace pgrunbook::base
