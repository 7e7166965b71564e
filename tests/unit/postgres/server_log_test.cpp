// The table of known messages against lines as servers of several versions and languages print them. What a
// real server prints after its files were destroyed: tests/postgres/server_log_test.cpp.
#include "postgres/server_log.hpp"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgrunbook::postgres {
namespace {

using ::testing::HasSubstr;

struct Case {
  const char* name;
  const char* log;
  const char* reason;  // of the last complaint; "" = none
  bool fatal;
};

class Log : public testing::TestWithParam<Case> {};

TEST_P(Log, Tells) {
  auto all = complaints(GetParam().log);
  if (std::string_view(GetParam().reason).empty()) {
    EXPECT_TRUE(all.empty()) << all.back().reason << ": " << all.back().line;
    return;
  }
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(all.back().reason, GetParam().reason) << all.back().line;
  EXPECT_EQ(all.back().fatal, GetParam().fatal);
  EXPECT_FALSE(all.back().what.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Lines, Log,
    testing::Values(
        // As the runbook quotes it, of 9.x, with a prefix that ends without a separator.
        Case{"Runbook",
             "018-03-09 20:35:37 UTC LOG:  invalid primary checkpoint record  \n"
             "2018-03-09 20:35:37 UTC LOG:  invalid secondary checkpoint record  \n"
             "2018-03-09 20:35:37 UTC PANIC:  could not locate a valid checkpoint record  \n"
             "2018-03-09 20:35:37 UTC postgresFATAL:  the database system is starting up  \n"
             "2018-03-09 20:35:44 UTC LOG:  startup process (PID 22) was terminated by signal 6: Aborted  \n"
             "2018-03-09 20:35:44 UTC LOG:  aborting startup due to startup process failure  \n",
             "CheckpointLost", true},
        Case{"Checkpoint18", "PANIC:  could not locate a valid checkpoint record at 0/02000060",
             "CheckpointLost", true},
        Case{"Redo18",
             "FATAL:  could not find redo location 0/02000028 referenced by checkpoint record at 0/02000060",
             "CheckpointLost", true},
        Case{"RequiredCheckpoint18", "FATAL:  could not locate required checkpoint record at 0/02000060",
             "BackupLabelLeft", true},
        Case{"NoDatabaseSystem",
             "postgres: could not find the database system\n"
             "Expected to find it in the directory \"/var/lib/postgresql/14/main\",\n"
             "but could not open file \"/var/lib/postgresql/14/main/global/pg_control\": No such file or "
             "directory\n",
             "ControlFileDestroyed", true},
        Case{"NoDatabaseSystemRussian",
             "postgres: не найдена система баз данных\n"
             "Ожидалось найти её в каталоге \"/data\",\n"
             "но открыть файл \"/data/global/pg_control\" не удалось: Нет такого файла или каталога\n",
             "ControlFileDestroyed", true},
        Case{"ControlFileOfRoot",
             "postgres: could not find the database system\n"
             "Expected to find it in the directory \"/data\",\n"
             "but could not open file \"/data/global/pg_control\": Permission denied\n",
             "NoAccess", true},
        Case{"RandomControlFile",
             "2026-11-28 15:30:43.078 UTC [1] FATAL:  database files are incompatible with server\n"
             "2026-11-28 15:30:43.078 UTC [1] DETAIL:  The database cluster was initialized with "
             "PG_CONTROL_VERSION "
             "1334485410, but the server was compiled with PG_CONTROL_VERSION 1300.\n"
             "2026-11-28 15:30:43.078 UTC [1] HINT:  It looks like you need to initdb.\n",
             "ControlFileDestroyed", true},
        Case{"NegativeControlFile",
             "FATAL:  database files are incompatible with server\n"
             "DETAIL:  The database cluster was initialized with PG_CONTROL_VERSION -1515870811 "
             "(0xa5a5a5a5), but the "
             "server was compiled with PG_CONTROL_VERSION 1300 (0x00000514).\n",
             "ControlFileDestroyed", true},
        Case{"ControlFileOf17",
             "FATAL:  database files are incompatible with server\n"
             "DETAIL:  The database cluster was initialized with PG_CONTROL_VERSION 1700, but the server was "
             "compiled "
             "with PG_CONTROL_VERSION 1300.\n",
             "OtherVersion", true},
        Case{"ControlFileOfOtherByteOrder",
             "FATAL:  database files are incompatible with server\n"
             "DETAIL:  The database cluster was initialized with PG_CONTROL_VERSION 335872000 (0x14050000), "
             "but the "
             "server was compiled with PG_CONTROL_VERSION 1300 (0x00000514).\n",
             "OtherVersion", true},
        Case{"OtherMajor",
             "FATAL:  database files are incompatible with server\n"
             "DETAIL:  The data directory was initialized by PostgreSQL version 14, which is not compatible "
             "with this "
             "version 15.14.\n",
             "OtherVersion", true},
        Case{"MultixactOfTheHandMadeRestore",
             "2022-08-20 19:20:41.009 UTC [5919] FATAL:  could not access status of transaction 1 \n"
             "2022-08-20 19:20:41.009 UTC [5919] DETAIL:  Could not open file \"pg_multixact/offsets/0000\": "
             "No such "
             "file or directory. \n",
             "TransactionStatusLost", true},
        Case{"Fsync", "PANIC:  could not fsync file \"base/5/1259\": Input/output error", "DiskFails", true},
        Case{"WriteError", "ERROR:  could not write block 5 in file \"base/5/1259\": Input/output error",
             "DiskFails", false},
        Case{"ReadOnlyDisk", "LOG:  could not open file \"postmaster.pid\": Read-only file system",
             "DiskFails", false},
        Case{"FullVolume", "PANIC:  could not write to file \"pg_wal/xlogtemp.31\": No space left on device",
             "DiskFull", true},
        Case{"FullInDetail",
             "FATAL:  could not access status of transaction 0\n"
             "DETAIL:  Could not write to file \"pg_xact/0003\" at offset 8192: No space left on device.\n",
             "DiskFull", true},
        Case{"FullSharedMemory",
             "ERROR:  could not resize shared memory segment \"/PostgreSQL.1\" to 8388608 bytes: No space "
             "left on "
             "device",
             "SharedMemoryFull", false},
        Case{"Timeline",
             "FATAL:  requested timeline 3 is not a child of this server's history\n"
             "DETAIL:  Latest checkpoint is at 0/6000060 on timeline 1, but in the history of the requested "
             "timeline, "
             "the server forked off from that timeline at 0/5000000.\n",
             "WalIncomplete", true},
        Case{"OnlineBackup", "FATAL:  WAL ends before end of online backup", "WalIncomplete", true},
        Case{"LeftLink",
             "ERROR:  right sibling's left-link doesn't match: block 3 links to 9 instead of expected 2 in "
             "index "
             "\"plain_t\"",
             "IndexDamaged", false},
        Case{"ReadBlocks18",
             "ERROR:  could not read blocks 3..3 in file \"base/5/16384\": read only 0 of 8192 bytes",
             "FileLost", false},
        Case{"ClientsOfAStartingServer",
             "FATAL:  the database system is starting up\nFATAL:  the database system is in recovery mode\n"
             "FATAL:  password authentication failed for user \"tfrs\"\n",
             "", false},
        Case{"WalEndsAsItDoes",
             "LOG:  invalid record length at 0/3000060: wanted 24, got 0\nLOG:  redo done at 0/3000028\n", "",
             false},
        Case{"MissingFileOfAQuery",
             "ERROR:  could not open file \"/tmp/x.csv\" for reading: No such file or directory", "", false},
        Case{"DeniedToAQuery", "ERROR:  could not open file \"/tmp/x.csv\" for reading: Permission denied",
             "", false},
        Case{"QuotedByAStatement",
             "LOG:  duration: 3 ms  statement: select 'PANIC:  could not locate a valid checkpoint record'\n"
             "ERROR:  relation \"nowhere\" does not exist\n"
             "STATEMENT:  select 'ERROR:  invalid page in block 1 of relation x'\n\tFATAL:  incorrect "
             "checksum in "
             "control file\n",
             "", false},
        Case{"Raised",
             "ERROR:  invalid page in block 3 of relation base/5/16439\n"
             "CONTEXT:  PL/pgSQL function inline_code_block line 1 at RAISE\n",
             "", false},
        Case{"Russian",
             "2026-11-28 15:30:45 MSK [1] СООБЩЕНИЕ:  неверная запись первичной контрольной точки\n"
             "2026-11-28 15:30:45 MSK [1] ПАНИКА:  не удалось считать правильную запись контрольной точки\n",
             "CheckpointLost", true},
        Case{"RussianPage",
             "ПРЕДУПРЕЖДЕНИЕ:  ошибка проверки страницы: получена контрольная сумма 42840, а ожидалась - "
             "27853\n"
             "ОШИБКА:  некорректная страница в блоке 3 отношения base/5/16439\n"
             "ОПЕРАТОР:  select count(*) from plain\n",
             "PageDamaged", false},
        Case{"RussianFull",
             "ПАНИКА:  не удалось записать в файл \"pg_wal/xlogtemp.31\": На устройстве не осталось "
             "свободного места",
             "DiskFull", true},
        Case{"RussianNonsense",
             "ВАЖНО:  файлы базы данных несовместимы с сервером\n"
             "ПОДРОБНОСТИ:  Кластер баз данных был инициализирован с PG_CONTROL_VERSION 7, но сервер "
             "скомпилирован с "
             "PG_CONTROL_VERSION 1300.\n",
             "ControlFileDestroyed", true},
        Case{"GermanBySqlstate", "2026-11-28 [7] XX001 FEHLER:  ungültige Seite\n", "", false},
        Case{"EnglishBySqlstate", "2026-11-28 [7] XX001 ERROR:  some words of a later version\n",
             "DataDamaged", false},
        Case{"Collector",
             "LOG:  redirecting log output to logging collector process\n"
             "HINT:  Future log output will appear in directory \"log\".\n",
             "LogElsewhere", false},
        Case{"Nothing", "", "", false}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(ServerLog, TheNumbersThatGiveADestroyedFileAwayAreQuoted) {
  auto all = complaints(
      "FATAL:  database files are incompatible with server\n"
      "DETAIL:  The database cluster was initialized with PG_CONTROL_VERSION 0, but the server was compiled "
      "with "
      "PG_CONTROL_VERSION 1300.\n");
  ASSERT_EQ(all.size(), 1U);
  EXPECT_THAT(all[0].line, HasSubstr("with PG_CONTROL_VERSION 0, but"));
}

TEST(ServerLog, LongLinesAreCutBetweenCharacters) {
  std::string line = "ERROR:  invalid page in block 1 of relation ";
  for (int i = 0; i < 300; ++i) line += "ж";
  auto all = complaints(line);
  ASSERT_EQ(all.size(), 1U);
  EXPECT_LE(all[0].line.size(), 400U);
  EXPECT_TRUE(all[0].line.ends_with("ж..."));
  EXPECT_EQ(last_words("first\nlast one  \r\n\n \n"), "last one");
  EXPECT_EQ(last_words(""), "");
}

TEST(ServerLog, EveryMessageHasAReasonAndEveryReasonATrouble) {
  auto reasons = complaint_reasons();
  std::set<std::string> unique(reasons.begin(), reasons.end());
  EXPECT_EQ(unique.size(), reasons.size());
  for (const KnownMessage& m : known_messages()) EXPECT_EQ(unique.count(m.reason), 1U) << m.english;
  for (const std::string& r : reasons) EXPECT_TRUE(trouble_of(r)) << r;
  EXPECT_FALSE(trouble_of("CrashLoops"));
}

}  // namespace
}  // namespace pgrunbook::postgres
