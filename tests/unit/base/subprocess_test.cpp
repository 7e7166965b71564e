// Children: their codes, their output however large, and their end at the deadline.
#include "base/subprocess.hpp"

#include <chrono>
#include <csignal>

#include <gtest/gtest.h>

#include "support/postgres/temporary.hpp"

namespace pgrunbook::base {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

Deadline soon() { return Deadline::after(seconds(20)); }
Command shell(const std::string& script) { return {{"sh", "-c", script}}; }
milliseconds since(steady_clock::time_point t) {
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - t);
}

TEST(Programs, TellTheirExitCode) {
  struct {
    const char* script;
    int code;
  } table[] = {{"exit 0", 0},
               {"exit 3", 3},
               {"exit 127", 127},
               {"kill -TERM $$", 128 + SIGTERM},
               {"kill -KILL $$", 128 + SIGKILL},
               {"kill -SEGV $$", 128 + SIGSEGV}};
  for (const auto& row : table) {
    auto finished = run(shell(row.script), soon());
    ASSERT_TRUE(finished.has_value()) << finished.error().text();
    EXPECT_EQ(finished->exit_code, row.code) << row.script;
  }
}

TEST(Programs, ThatDoNotExistSaySoAs127) {
  auto finished = run({{"/no/such/program"}}, soon());
  ASSERT_TRUE(finished.has_value());
  EXPECT_EQ(finished->exit_code, 127);
  EXPECT_EQ(finished->err, "/no/such/program: No such file or directory");
}

TEST(Programs, GetTheirInputWhole) {
  std::string large;
  for (int i = 0; i < 200000; ++i) large += std::to_string(i) + "\n";
  Command c{{"cat"}};
  c.input = large;
  auto finished = run(c, soon());
  ASSERT_TRUE(finished.has_value());
  EXPECT_EQ(finished->out, large);
  Command unread{{"true"}};
  unread.input = large;  // a child that reads nothing does not kill us by SIGPIPE
  EXPECT_EQ(run(unread, soon())->exit_code, 0);
  EXPECT_EQ(run({{"cat"}}, soon())->out, "") << "without input stdin is closed";
}

TEST(Programs, GetOurEnvironmentWithChanges) {
  ::setenv("PGR_TEST_KEPT", "kept", 1);
  ::setenv("PGR_TEST_GONE", "gone", 1);
  Command c = shell("echo $PGR_TEST_KEPT-${PGR_TEST_GONE-unset}-$PGR_TEST_NEW");
  c.environment = {{"PGR_TEST_GONE", ""}, {"PGR_TEST_NEW", "a b"}};
  EXPECT_EQ(run(c, soon())->out, "kept-unset-a b\n");
}

TEST(Programs, KeepOnlyTheEndOfALargeStderr) {
  auto finished = run(
      shell(
          "i=0; while [ $i -lt 60000 ]; do echo \"line $i of stderr\"; i=$((i+1)); done >&2; echo last >&2"),
      soon());
  ASSERT_TRUE(finished.has_value());
  EXPECT_LE(finished->err.size(), 128U << 10U);
  EXPECT_GE(finished->err.size(), 60U << 10U);
  EXPECT_TRUE(finished->err.ends_with("line 59999 of stderr\nlast\n"));
}

TEST(Programs, StreamTheirOutput) {
  std::size_t bytes = 0;
  auto finished = run(shell("head -c 3000000 /dev/zero"), soon(), [&](std::string_view part) -> Result<> {
    bytes += part.size();
    return {};
  });
  ASSERT_TRUE(finished.has_value());
  EXPECT_EQ(bytes, 3000000U);
  EXPECT_EQ(finished->out, "");
}

TEST(Programs, EndWhenTheReceiverFails) {
  auto start = steady_clock::now();
  auto finished = run(shell("exec cat /dev/zero"), soon(), [](std::string_view) -> Result<> {
    return fail(ErrorCode::kUnavailable, "the volume is full");
  });
  ASSERT_FALSE(finished.has_value());
  EXPECT_EQ(finished.error().message, "the volume is full");
  EXPECT_LT(since(start), seconds(4));
}

TEST(Programs, EndAtTheDeadline) {
  auto start = steady_clock::now();
  auto finished = run(shell("echo working >&2; exec sleep 60"), Deadline::after(milliseconds(300)));
  ASSERT_FALSE(finished.has_value());
  EXPECT_EQ(finished.error().code, ErrorCode::kTimeout);
  EXPECT_EQ(finished.error().message, "sh did not end in time (working\n)");
  EXPECT_LT(since(start), seconds(4));
}

TEST(Programs, ThatIgnoreSigtermAreKilled) {
  auto start = steady_clock::now();
  auto finished = run(shell("trap '' TERM; while :; do sleep 0.1; done"), Deadline::after(seconds(2)));
  ASSERT_FALSE(finished.has_value());
  EXPECT_EQ(finished.error().code, ErrorCode::kTimeout);
  EXPECT_GE(since(start), seconds(5));
  EXPECT_LT(since(start), seconds(12));
}

TEST(Programs, ThatCloseTheirOutputStillHaveADeadline) {
  auto start = steady_clock::now();
  auto finished = run(shell("exec >&- 2>&-; exec sleep 60"), Deadline::after(milliseconds(300)));
  ASSERT_FALSE(finished.has_value());
  EXPECT_EQ(finished.error().code, ErrorCode::kTimeout);
  EXPECT_LT(since(start), seconds(4));
}

TEST(Children, StayAndAreSignalled) {
  test::TemporaryDirectory directory;
  auto child =
      Child::start(shell("echo started; echo trouble >&2; trap 'exit 7' TERM; while :; do sleep 0.05; done"),
                   directory / "log");
  ASSERT_TRUE(child.has_value()) << child.error().text();
  EXPECT_TRUE(child->running());
  auto not_yet = child->wait(Deadline::after(milliseconds(200)));
  ASSERT_FALSE(not_yet.has_value());
  EXPECT_EQ(not_yet.error().code, ErrorCode::kTimeout);
  EXPECT_EQ(not_yet.error().message, "process " + std::to_string(child->pid()) + " did not end in time");
  child->signal(SIGTERM);
  EXPECT_EQ(*child->wait(soon()), 7);
  EXPECT_FALSE(child->running());
  EXPECT_EQ(*child->wait(soon()), 7) << "asked again";
  EXPECT_EQ(*read_file(directory / "log"), "started\ntrouble\n");
}

TEST(Children, DieWithTheirOwner) {
  test::TemporaryDirectory directory;
  int pid = -1;
  {
    auto child = Child::start(shell("trap '' TERM INT; while :; do sleep 0.05; done"), directory / "log");
    ASSERT_TRUE(child.has_value());
    Child moved = std::move(*child);
    pid = moved.pid();
    EXPECT_TRUE(moved.running());
    EXPECT_FALSE(child->running());
  }
  EXPECT_EQ(::kill(pid, 0), -1);
}

TEST(Children, ThatHaveEndedKeepTheirCodeWhenMoved) {
  test::TemporaryDirectory directory;
  auto child = Child::start(shell("exit 7"), directory / "log");
  ASSERT_TRUE(child.has_value());
  EXPECT_EQ(*child->wait(soon()), 7);
  Child moved = std::move(*child);
  EXPECT_FALSE(moved.running());
  EXPECT_EQ(*moved.wait(soon()), 7);
}

TEST(Children, AppendToTheirLog) {
  test::TemporaryDirectory directory;
  for (const char* word : {"one", "two"}) {
    auto child = Child::start({{"echo", word}}, directory / "log");
    ASSERT_TRUE(child.has_value());
    EXPECT_EQ(*child->wait(soon()), 0);
  }
  EXPECT_EQ(*read_file(directory / "log"), "one\ntwo\n");
  EXPECT_EQ(Child::start({{"true"}}, directory / "no/log").error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace pgrunbook::base
