// Servers whose files are really destroyed: what they write is recognised as what was done to them.
#include "postgres/server_log.hpp"

#include <csignal>
#include <fcntl.h>
#include <functional>
#include <sys/stat.h>
#include <sys/wait.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/dead_server.hpp"
#include "support/postgres/server.hpp"

namespace pgrunbook::postgres {
namespace {

using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> reasons(const std::string& log) {
  std::vector<std::string> out;
  for (const Complaint& c : complaints(log)) out.push_back(c.reason);
  return out;
}

// Why the last start ended, and the line that says so.
Complaint last_fatal(const std::string& log) {
  Complaint found;
  for (const Complaint& c : complaints(log)) {
    if (c.fatal) found = c;
  }
  return found;
}

class BrokenServer : public testing::Test {
 protected:
  BrokenServer() : server_(dir_.path() + "/server", options()) {
    server_.start();
    server_.sql("create table plain (id int primary key, t text)");
    server_.sql("insert into plain select g, md5(g::text) from generate_series(1, 3000) g");
    server_.sql("create index plain_t on plain (t)");
    server_.sql("create table long (t text)");
    server_.sql("alter table long alter t set storage external");
    server_.sql("insert into long select repeat(md5(g::text), 500) from generate_series(1, 5) g");
    server_.sql("checkpoint");
  }
  static test::ServerOptions options() {
    test::ServerOptions o;
    o.segment_mib = 1;
    o.checksums = true;
    return o;
  }
  [[nodiscard]] std::string file_of(const std::string& relation) const {
    return server_.data() + "/" + server_.sql(fmt::format("select pg_relation_filepath('{}')", relation));
  }
  [[nodiscard]] std::string toast() const {
    return server_.sql("select reltoastrelid::regclass from pg_class where relname = 'long'");
  }
  static void overwrite(const std::string& path, off_t at, const std::string& bytes) {
    base::Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_TRUE(fd.valid()) << path;
    ASSERT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), at), static_cast<ssize_t>(bytes.size()));
  }
  static std::string rubbish(std::size_t n) {
    std::string out(n, '\0');
    unsigned x = 12345;
    for (char& c : out) {
      x = x * 1103515245U + 12345U;
      c = static_cast<char>(x >> 16U);
    }
    return out;
  }
  // Stopped, something done to it, and started in vain: the whole log of that start.
  std::string start_after(const std::function<void(const std::string& data)>& act) {
    if (server_.running()) server_.stop();
    test::write_file(server_.log_path(), "");
    act(server_.data());
    EXPECT_NE(server_.start(1), 0);
    return server_.log();
  }
  // Damaged while it does not run; then a statement that meets the damage.
  std::string ask_after(const std::function<void()>& act, const std::string& statement) {
    server_.stop();
    act();
    test::write_file(server_.log_path(), "");
    server_.start();
    auto answer = psql(server_.superuser(), {statement}, base::Deadline::after(std::chrono::seconds(60)));
    EXPECT_FALSE(answer) << "the damage was not met";
    return server_.log();
  }

  bool is_postgres_ = (test::become_postgres(), true);  // before the directory is made
  test::TemporaryDirectory dir_;
  test::Server server_;
};

TEST_F(BrokenServer, ControlFile) {
  server_.stop();
  std::string path = server_.data() + "/global/pg_control";
  std::string sound = test::must(base::read_file(path));
  struct Way {
    const char* name;
    std::function<void()> act;
    const char* said;
  };
  std::string bit = sound;
  bit[40] = static_cast<char>(bit[40] ^ 1);
  for (const Way& way : std::vector<Way>{
           {"random", [&] { test::write_file(path, rubbish(8192)); }, "PG_CONTROL_VERSION"},
           {"zeros", [&] { test::write_file(path, std::string(8192, '\0')); }, "PG_CONTROL_VERSION 0"},
           {"one bit", [&] { test::write_file(path, bit); }, "incorrect checksum in control file"},
           {"short", [&] { test::write_file(path, sound.substr(0, 100)); }, "could not read file"},
           {"gone", [&] { ::unlink(path.c_str()); }, "could not open file"}}) {
    SCOPED_TRACE(way.name);
    std::string log = start_after([&](const std::string&) { way.act(); });
    Complaint c = last_fatal(log);
    EXPECT_EQ(c.reason, "ControlFileDestroyed") << log;
    EXPECT_THAT(c.line, HasSubstr(way.said));
    auto dead = agent::describe_dead_server(server_.data());
    EXPECT_THAT(base::text_at(dead, {"controlFile"}), AnyOf(HasSubstr("destroyed: "), "missing"))
        << dead.dump();
    EXPECT_FALSE(dead.contains("log"));
  }
  test::write_file(path, sound);
  server_.start();
  EXPECT_EQ(server_.sql("select count(*) from plain"), "3000") << "it was the control file alone";
}

TEST_F(BrokenServer, ServerOfAnotherVersionIsNoDamage) {
  server_.stop();
  std::string path = server_.data() + "/PG_VERSION";
  std::string log = start_after([&](const std::string&) { test::write_file(path, "14\n"); });
  EXPECT_EQ(last_fatal(log).reason, "OtherVersion") << log;
}

TEST_F(BrokenServer, WalWithoutItsCheckpoint) {
  std::string log = start_after([](const std::string& data) {
    for (const std::string& name : test::must(base::list_directory(data + "/pg_wal"))) {
      if (name.size() == 24) ::unlink((data + "/pg_wal/" + name).c_str());
    }
  });
  Complaint c = last_fatal(log);
  EXPECT_EQ(c.reason, "CheckpointLost") << log;
  EXPECT_THAT(c.line, HasSubstr("PANIC:  could not locate a valid checkpoint record"));
  EXPECT_THAT(reasons(log), testing::Each("CheckpointLost"));
}

TEST_F(BrokenServer, BackupLabelThatWasLeft) {
  std::string log = start_after([](const std::string& data) {
    test::write_file(data + "/backup_label",
                     "START WAL LOCATION: 0/9000028 (file 000000010000000000000090)\n"
                     "CHECKPOINT LOCATION: 0/9000060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n"
                     "START TIME: 2026-11-28 12:00:00 UTC\nLABEL: x\nSTART TIMELINE: 1\n");
  });
  EXPECT_EQ(last_fatal(log).reason, "BackupLabelLeft") << log;
}

TEST_F(BrokenServer, TransactionStatus) {
  for (const char* file : {"/pg_xact/0000", "/pg_multixact/offsets/0000"}) {
    SCOPED_TRACE(file);
    server_.stop();
    std::string bytes = test::must(base::read_file(server_.data() + file));
    std::string log = start_after([&](const std::string& data) { ::unlink((data + file).c_str()); });
    EXPECT_EQ(last_fatal(log).reason, "TransactionStatusLost") << log;
    test::write_file(server_.data() + file, bytes);
    server_.start();
  }
}

TEST_F(BrokenServer, RelationMap) {
  // The server starts, and nobody gets in. The autovacuum launcher does not either: each of its deaths is a
  // crash to the postmaster, which would start over before pg_ctl has seen it ready.
  server_.configure("autovacuum=off");
  std::string map = server_.data() + "/global/pg_filenode.map";
  std::string log = ask_after([&] { overwrite(map, 20, rubbish(40)); }, "select 1");
  EXPECT_THAT(reasons(log), Contains("RelationMapDamaged")) << log;
  log = ask_after([&] { ::unlink(map.c_str()); }, "select 1");
  EXPECT_THAT(reasons(log), Contains("RelationMapDamaged")) << log;
}

TEST_F(BrokenServer, PageOfATable) {
  std::string file = file_of("plain");
  std::string log =
      ask_after([&] { overwrite(file, 3 * 8192 + 100, rubbish(3000)); }, "select sum(length(t)) from plain");
  EXPECT_THAT(reasons(log), testing::ElementsAre("PageDamaged", "PageDamaged")) << log;
  EXPECT_THAT(complaints(log).front().line, HasSubstr("page verification failed, calculated checksum"));
  EXPECT_THAT(complaints(log).back().line, HasSubstr("invalid page in block 3 of relation base/"));
  EXPECT_FALSE(complaints(log).back().fatal);
}

TEST_F(BrokenServer, FileOfATable) {
  std::string file = file_of("plain");
  std::string log = ask_after([&] { ::unlink(file.c_str()); }, "select count(*) from plain");
  EXPECT_THAT(reasons(log), Contains("FileLost")) << log;
  EXPECT_THAT(complaints(log).front().line, HasSubstr("No such file or directory"));
}

TEST_F(BrokenServer, FileThatIsTooShort) {
  std::string file = file_of("plain");
  std::string log = ask_after([&] { ASSERT_EQ(::truncate(file.c_str(), 8192), 0); },
                              "set enable_seqscan = off; set enable_bitmapscan = off; "
                              "select t from plain where id = 2999");
  EXPECT_THAT(reasons(log), Contains("FileLost")) << log;
  EXPECT_THAT(complaints(log).front().line, HasSubstr("read only 0 of 8192 bytes"));
}

TEST_F(BrokenServer, LongValue) {
  std::string file = file_of(toast());
  // An empty page is no damage of its own: its chunks are missing.
  std::string log = ask_after([&] { overwrite(file, 8192, std::string(8192, '\0')); },
                              "select sum(length(replace(t, 'a', 'b'))) from long");
  EXPECT_THAT(reasons(log), Contains("ToastDamaged")) << log;
}

TEST_F(BrokenServer, Index) {
  std::string file = file_of("plain_t");
  std::string log = ask_after([&] { overwrite(file, 2 * 8192, std::string(8192 * 8, '\0')); },
                              "set enable_seqscan = off; select count(*) from plain where t > ''");
  EXPECT_THAT(reasons(log), Contains("IndexDamaged")) << log;
  EXPECT_THAT(complaints(log).back().line, HasSubstr("index \"plain_t\" contains unexpected zero page"));
}

TEST_F(BrokenServer, WhatIsNoDamage) {
  std::string log = start_after([](const std::string& data) { ASSERT_EQ(::chmod(data.c_str(), 0777), 0); });
  EXPECT_EQ(last_fatal(log).reason, "NoAccess") << log;
  ASSERT_EQ(::chmod(server_.data().c_str(), 0700), 0);

  pid_t other = ::fork();  // alive, and no relative of the server
  if (other == 0) {
    ::pause();
    ::_exit(0);
  }
  log = start_after([&](const std::string& data) {
    test::write_file(data + "/postmaster.pid", fmt::format("{}\n{}\n", other, data));
  });
  EXPECT_EQ(last_fatal(log).reason, "LockFileLeft") << log;
  ::unlink((server_.data() + "/postmaster.pid").c_str());
  ::kill(other, SIGKILL);
  ::waitpid(other, nullptr, 0);

  log = start_after([](const std::string& data) {
    test::write_file(data + "/postgresql.auto.conf", "max_connections = 'many'\n");
  });
  EXPECT_EQ(last_fatal(log).reason, "SettingsUnfit") << log;
}

TEST_F(BrokenServer, FencedServerWhoseImageWritesAtTheStart) {
  server_.stop();
  test::write_file(server_.data() + "/standby.signal", "");
  test::write_file(server_.log_path(), "");
  server_.start();
  auto answer = psql(server_.superuser(), {"ALTER USER postgres PASSWORD 'x'"},
                     base::Deadline::after(std::chrono::seconds(60)));
  ASSERT_FALSE(answer);
  EXPECT_THAT(reasons(server_.log()), testing::ElementsAre("ReadOnlyServer")) << server_.log();
}

TEST_F(BrokenServer, RecoveryWithoutItsWal) {
  server_.stop();
  std::string log = start_after([](const std::string& data) {
    test::write_file(data + "/recovery.signal", "");
    test::write_file(data + "/postgresql.auto.conf",
                     "restore_command = 'false'\nrecovery_target_time = '2000-01-01 00:00:00+00'\n");
  });
  EXPECT_EQ(last_fatal(log).reason, "WalIncomplete") << log;
}

TEST_F(BrokenServer, WordsOfOthersAreNotTheServers) {
  test::write_file(server_.log_path(), "");
  // The log file was replaced under the server: it is started anew to write into this one.
  server_.stop();
  server_.start();
  for (const char* statement :
       {"do $$ begin raise exception 'invalid page in block 3 of relation base/5/16439'; end $$",
        "do $$ begin raise warning 'page verification failed, calculated checksum 1 but expected 2'; end $$",
        "select 'PANIC:  could not locate a valid checkpoint record' from nowhere",
        "select 'x\nPANIC:  could not locate a valid checkpoint record' from nowhere",
        "select 'x\n\tFATAL:  incorrect checksum in control file' from nowhere"}) {
    (void)psql(server_.superuser(), {statement}, base::Deadline::after(std::chrono::seconds(60)));
  }
  std::string log = server_.log();
  EXPECT_THAT(log, HasSubstr("invalid page in block 3 of relation")) << "nothing was logged";
  EXPECT_THAT(log, HasSubstr("could not locate a valid checkpoint record"));
  EXPECT_THAT(reasons(log), testing::IsEmpty()) << log;
}

TEST_F(BrokenServer, AnyLanguageBySqlstate) {
  server_.configure("log_line_prefix = '%m [%p] %e '");
  std::string file = file_of("plain");
  std::string log =
      ask_after([&] { overwrite(file, 3 * 8192 + 100, rubbish(3000)); }, "select sum(length(t)) from plain");
  // The words of a language that is not in the table.
  for (const char* words : {"invalid page in block", "page verification failed, calculated checksum"}) {
    for (auto at = log.find(words); at != std::string::npos; at = log.find(words, at))
      log.replace(at, std::string_view(words).size(), "trang không hợp lệ");
  }
  EXPECT_THAT(reasons(log), Contains("DataDamaged")) << log;
}

TEST_F(BrokenServer, RussianServer) {
  server_.configure("lc_messages = 'ru_RU.UTF-8'");
  if (auto set = psql(server_.superuser(), {"set lc_messages = 'ru_RU.UTF-8'"},
                      base::Deadline::after(std::chrono::seconds(30)));
      !set)
    GTEST_SKIP() << "this machine has no locale ru_RU.UTF-8";
  std::string log = start_after([](const std::string& data) {
    for (const std::string& name : test::must(base::list_directory(data + "/pg_wal"))) {
      if (name.size() == 24) ::unlink((data + "/pg_wal/" + name).c_str());
    }
  });
  EXPECT_EQ(last_fatal(log).reason, "CheckpointLost") << log;
}

TEST_F(BrokenServer, LogThatLiesInTheDataDirectory) {
  server_.configure("logging_collector = on\nlog_directory = 'log'");
  std::string log = start_after([](const std::string& data) {
    for (const std::string& name : test::must(base::list_directory(data + "/pg_wal"))) {
      if (name.size() == 24) ::unlink((data + "/pg_wal/" + name).c_str());
    }
  });
  EXPECT_THAT(reasons(log), testing::ElementsAre("LogElsewhere")) << log;
  auto dead = agent::describe_dead_server(server_.data());
  EXPECT_EQ(base::text_at(dead, {"log", "reason"}), "CheckpointLost") << dead.dump();
  EXPECT_EQ(base::text_at(dead, {"controlFile"}), "shut down");
  EXPECT_THAT(base::text_at(dead, {"log", "file"}), testing::StartsWith("log/"));
}

// What PostgreSQL's own catalogue says, so that the Russian words here are the ones it prints.
TEST(KnownMessages, RussianIsAsInPostgresqlsCatalogue) {
  const char* catalogue = "/usr/share/locale/ru/LC_MESSAGES/postgres-15.mo";
  if (!base::exists(catalogue)) GTEST_SKIP() << catalogue << " is not there";
  std::string bytes = test::must(base::read_file(catalogue));
  int seen = 0;
  for (const KnownMessage& m : known_messages()) {
    if (m.russian == nullptr) continue;
    std::string_view pattern = m.russian;
    // Where the pattern was filled in beyond what the catalogue has, by a path or an error's text.
    for (const char* ours : {"global/pg_control", "postmaster.pid", "pg_filenode.map", "base/",
                             "Нет такого файла или каталога", "Отказано в доступе"}) {
      if (pattern.find(ours) != std::string_view::npos &&
          pattern.find("в файле pg_control") == std::string_view::npos)
        pattern = pattern.substr(0, std::min(pattern.find(ours), pattern.find('%')));
    }
    for (auto end = pattern.find('%'); !pattern.empty(); end = pattern.find('%')) {
      std::string piece(pattern.substr(0, end));
      EXPECT_NE(bytes.find(piece), std::string::npos) << m.english << ": " << piece;
      ++seen;
      pattern.remove_prefix(end == std::string_view::npos ? pattern.size() : end + 1);
    }
  }
  EXPECT_GT(seen, 40);
}

}  // namespace
}  // namespace pgrunbook::postgres
