#include "postgres/server_log.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include <fmt/format.h>

namespace pgrunbook::postgres {
namespace {

struct Reason {
  const char* reason;
  Trouble trouble;
  const char* what;
};

constexpr Reason kReasons[] = {
    {"ControlFileDestroyed", Trouble::kDestroyed, "its control file (global/pg_control) is destroyed"},
    {"CheckpointLost", Trouble::kDestroyed,
     "the checkpoint that its control file names is not in its WAL (pg_wal)"},
    {"BackupLabelLeft", Trouble::kDestroyed,
     "it has a backup_label whose checkpoint is not in its WAL: a backup started as if it were whole"},
    {"TransactionStatusLost", Trouble::kDestroyed,
     "files that say which transactions were committed (pg_xact, pg_multixact) are lost"},
    {"RelationMapDamaged", Trouble::kDestroyed, "a file that maps catalogues to files is damaged or lost"},
    {"WalIncomplete", Trouble::kRecovery, "its recovery misses WAL, or has that of another history"},
    {"PageDamaged", Trouble::kDamaged, "a page of a table or index is damaged"},
    {"FileLost", Trouble::kDamaged, "a file of a table or index is lost or too short"},
    {"ToastDamaged", Trouble::kDamaged, "a long value (TOAST) is damaged"},
    {"RowDamaged", Trouble::kDamaged, "a row is damaged"},
    {"DataDamaged", Trouble::kDamaged, "its data are damaged (SQLSTATE XX001)"},
    {"IndexDamaged", Trouble::kIndex, "an index is damaged, its table need not be"},
    {"DiskFull", Trouble::kRoom, "its volume is full; nothing is damaged"},
    {"SharedMemoryFull", Trouble::kRoom,
     "the container's shared memory (/dev/shm) is full; nothing is damaged"},
    {"DiskFails", Trouble::kDisk, "its disk fails, or the way to it"},
    {"OtherVersion", Trouble::kVersion,
     "its image is of another PostgreSQL than its data; nothing is damaged"},
    {"NoAccess", Trouble::kAccess, "its server may not read its own files; nothing is damaged"},
    {"LockFileLeft", Trouble::kLock, "another server runs, or ran, on the same data directory"},
    {"ReadOnlyServer", Trouble::kReadOnly, "its image writes at the start and its server is read-only"},
    {"SettingsUnfit", Trouble::kSettings, "its server does not start with its settings; nothing is damaged"},
    {"LogElsewhere", Trouble::kElsewhere,
     "its server writes its log into a file of its own, not to the container's"},
};

enum Level { kNotice, kLog, kWarning, kError, kFatal };

struct Message {
  const char* reason;
  Level least;  // a message of the same words below this is no complaint
  const char* english;
  const char* russian;
};

// Sources: src/backend of PostgreSQL 12 to 18 (access/transam, access/heap, access/nbtree, storage, utils,
// postmaster); the Russian ones: ru.po of 15. elog() is not translated. 18 appends positions ("at %X/%08X").
constexpr Message kMessages[] = {
    {"ControlFileDestroyed", kLog, "incorrect checksum in control file",
     "ошибка контрольной суммы в файле pg_control"},
    {"ControlFileDestroyed", kFatal,
     "could not open file \"%global/pg_control\": ", "не удалось открыть файл \"%global/pg_control\": "},
    {"ControlFileDestroyed", kFatal, "could not read file \"%global/pg_control\"",
     "не удалось прочитать файл \"%global/pg_control\""},
    {"CheckpointLost", kFatal, "could not locate a valid checkpoint record",
     "не удалось считать правильную запись контрольной точки"},
    {"CheckpointLost", kLog, "invalid primary checkpoint record",
     "неверная запись первичной контрольной точки"},
    {"CheckpointLost", kLog, "invalid primary checkpoint link in control file",
     "неверная ссылка на первичную контрольную точку в файле pg_control"},
    {"CheckpointLost", kFatal, "could not find redo location %referenced by checkpoint record",
     "не удалось найти положение REDO%указанн%контрольной точки"},
    {"BackupLabelLeft", kFatal, "could not locate required checkpoint record",
     "не удалось считать нужную запись контрольной точки"},
    {"TransactionStatusLost", kError, "could not access status of transaction ",
     "не удалось получить состояние транзакции "},
    {"RelationMapDamaged", kError, "relation mapping file \"%\" contains ",
     "ошибка контрольной суммы в файле сопоставления отношений "},
    {"RelationMapDamaged", kError,
     "could not open file \"%pg_filenode.map\": ", "не удалось открыть файл \"%pg_filenode.map\": "},
    {"WalIncomplete", kFatal, "WAL ends before end of online backup",
     "WAL закончился без признака окончания копирования"},
    {"WalIncomplete", kFatal, "WAL ends before consistent recovery point",
     "WAL закончился до согласованной точки восстановления"},
    {"WalIncomplete", kFatal, "requested timeline % is not a child of this server's history",
     "в истории сервера нет ответвления запрошенной линии времени"},
    {"WalIncomplete", kFatal, "requested timeline % does not contain minimum recovery point",
     "запрошенная линия времени % не содержит минимальную точку восстановления"},
    {"WalIncomplete", kFatal, "requested recovery stop point is before consistent recovery point",
     "запрошенная точка остановки восстановления предшествует согласованной точке восстановления"},
    {"WalIncomplete", kFatal, "recovery ended before configured recovery target was reached",
     "восстановление окончилось до достижения заданной цели восстановления"},
    {"WalIncomplete", kLog, "WAL file is from different database system", "файл WAL принадлежит другой СУБД"},
    {"PageDamaged", kWarning, "invalid page in block % of relation ",
     "некорректная страница в блоке % отношения "},
    {"PageDamaged", kWarning, "page verification failed, calculated checksum ",
     "ошибка проверки страницы: получена контрольная сумма "},
    {"FileLost", kError, "could not read block % in file \"%\": read only ",
     "не удалось прочитать блок % в файле \"%\" (прочитано байт"},
    {"FileLost", kError, "could not read blocks % in file \"%\": read only ", nullptr},
    {"FileLost", kError, "could not open file \"base/%\": No such file or directory",
     "не удалось открыть файл \"base/%\": Нет такого файла или каталога"},
    {"FileLost", kError, "could not open file \"base/%\" (target block ",
     "не удалось открыть файл file \"base/%\" (целевой блок "},
    {"ToastDamaged", kError, "missing chunk number % for toast value ", nullptr},
    {"ToastDamaged", kError, "unexpected chunk number ", nullptr},
    {"ToastDamaged", kError, "unexpected chunk size ", nullptr},
    {"ToastDamaged", kError, "unexpected number of chunks ", nullptr},
    {"ToastDamaged", kError, "compressed pglz data is corrupt", nullptr},
    {"ToastDamaged", kError, "compressed lz4 data is corrupt", nullptr},
    {"RowDamaged", kError, "found xmin % from before relfrozenxid ", nullptr},
    {"RowDamaged", kError, "found xmax % from before relfrozenxid ", nullptr},
    {"RowDamaged", kError, "found multixact % from before relminmxid ", nullptr},
    {"RowDamaged", kError, "found update xid % from before relfrozenxid ", nullptr},
    {"RowDamaged", kError, "uncommitted xmin % from before xid cutoff ", nullptr},
    {"RowDamaged", kError, "MultiXactId % has not been created yet -- apparent wraparound",
     "MultiXactId % ещё не был создан: видимо, произошло зацикливание"},
    {"RowDamaged", kError, "MultiXactId % does no longer exist -- apparent wraparound",
     "MultiXactId % прекратил существование: видимо, произошло зацикливание"},
    {"IndexDamaged", kError, "index \"%\" contains unexpected zero page at block ",
     "в индексе \"%\" неожиданно оказалась нулевая страница в блоке "},
    {"IndexDamaged", kError, "index \"%\" contains corrupted page at block ",
     "индекс \"%\" содержит испорченную страницу в блоке "},
    {"IndexDamaged", kError, "index \"%\" is not a btree", "индекс \"%\" не является b-деревом"},
    {"IndexDamaged", kError, "index \"%\" contains a half-dead internal page",
     "индекс \"%\" содержит полумёртвую внутреннюю страницу"},
    {"IndexDamaged", kError, "failed to re-find tuple within index ",
     "не удалось повторно найти кортеж в индексе "},
    {"IndexDamaged", kError, "failed to re-find parent key in index ", nullptr},
    {"IndexDamaged", kError, "right sibling's left-link doesn't match: ", nullptr},
    {"IndexDamaged", kError, "right sibling % of block % is not next child ", nullptr},
    {"IndexDamaged", kError, "left link changed unexpectedly in block ", nullptr},
    {"OtherVersion", kFatal, "database files are incompatible with server",
     "файлы базы данных несовместимы с сервером"},
    {"OtherVersion", kFatal, "\"%\" is not a valid data directory", "\"%\" не является каталогом данных"},
    {"NoAccess", kFatal, "data directory \"%\" has wrong ownership",
     "владелец каталога данных \"%\" определён неверно"},
    {"NoAccess", kFatal, "data directory \"%\" has invalid permissions",
     "для каталога данных \"%\" установлены неправильные права доступа"},
    {"NoAccess", kFatal, "could not %: Permission denied", "не удалось %: Отказано в доступе"},
    {"LockFileLeft", kFatal, "lock file \"%postmaster.pid\" already exists",
     "файл блокировки \"%postmaster.pid\" уже существует"},
    {"LockFileLeft", kFatal, "pre-existing shared memory block % still in use",
     "ранее выделенный блок разделяемой памяти % по-прежнему используется"},
    {"LockFileLeft", kFatal, "bogus data in lock file \"%postmaster.pid\"", nullptr},
    {"LockFileLeft", kFatal, "lock file \"%postmaster.pid\" is empty",
     "файл блокировки \"%postmaster.pid\" пуст"},
    {"ReadOnlyServer", kError, "cannot execute % in a read-only transaction",
     "в транзакции в режиме \"только чтение\" нельзя выполнить "},
    {"SettingsUnfit", kFatal, "recovery aborted because of insufficient parameter settings",
     "восстановление прервано из-за отсутствия достаточных значений параметров"},
    {"SettingsUnfit", kFatal, "hot standby is not possible because ",
     "режим горячего резерва невозможен из-за "},
    {"SettingsUnfit", kFatal, "configuration file \"%\" contains errors",
     "файл конфигурации \"%\" содержит ошибки"},
    {"SettingsUnfit", kFatal, "could not load % file \"%\"", nullptr},
    {"LogElsewhere", kLog, "redirecting log output to logging collector process",
     "передача вывода в протокол процессу сбора протоколов"},
};

// strerror() in the two languages (glibc).
constexpr const char* kFull[] = {"No space left on device", "Disk quota exceeded",
                                 "На устройстве не осталось свободного места", "Превышена дисковая квота"};
constexpr const char* kBroken[] = {"Input/output error",  "Read-only file system",
                                   "Stale file handle",   "Structure needs cleaning",
                                   "Ошибка ввода/вывода", "Файловая система доступна только для чтения"};
constexpr const char* kDenied[] = {"Permission denied", "Отказано в доступе"};

// By SQLSTATE, whatever the language (errcodes.txt).
constexpr std::pair<const char*, const char*> kStates[] = {
    {"XX001", "DataDamaged"}, {"XX002", "IndexDamaged"}, {"53100", "DiskFull"}};

struct Word {
  const char* text;
  int level;  // a Level, or -1: belongs to the message before it
};
constexpr int kDetail = -1, kQuoted = -2;
constexpr Word kWords[] = {
    {"PANIC", kFatal},
    {"FATAL", kFatal},
    {"ERROR", kError},
    {"WARNING", kWarning},
    {"LOG", kLog},
    {"NOTICE", kNotice},
    {"INFO", kNotice},
    {"DEBUG", kNotice},
    {"DETAIL", kDetail},
    {"HINT", kQuoted},
    {"CONTEXT", kDetail},
    {"STATEMENT", kQuoted},
    {"QUERY", kQuoted},
    {"LOCATION", kQuoted},
    {"BACKTRACE", kQuoted},
    {"ПАНИКА", kFatal},
    {"ВАЖНО", kFatal},
    {"ОШИБКА", kError},
    {"ПРЕДУПРЕЖДЕНИЕ", kWarning},
    {"СООБЩЕНИЕ", kLog},
    {"ЗАМЕЧАНИЕ", kNotice},
    {"ИНФОРМАЦИЯ", kNotice},
    {"ОТЛАДКА", kNotice},
    {"ПОДРОБНОСТИ", kDetail},
    {"ПОДСКАЗКА", kQuoted},
    {"КОНТЕКСТ", kDetail},
    {"ОПЕРАТОР", kQuoted},
    {"ЗАПРОС", kQuoted},
};

bool matches(std::string_view text, std::string_view pattern) {
  bool first = true;
  while (!pattern.empty()) {
    auto end = std::min(pattern.find('%'), pattern.size());
    std::string_view piece = pattern.substr(0, end);
    auto found = text.find(piece);
    if (found == std::string_view::npos || (first && found != 0)) return false;
    text.remove_prefix(found + piece.size());
    pattern.remove_prefix(std::min(end + 1, pattern.size()));
    first = false;
  }
  return true;
}

template <std::size_t n>
bool has_any(std::string_view text, const char* const (&words)[n]) {
  return std::any_of(words, words + n, [&](const char* w) { return text.find(w) != std::string_view::npos; });
}

bool has_token(std::string_view text, std::string_view token) {
  auto word = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
  };
  for (auto at = text.find(token); at != std::string_view::npos; at = text.find(token, at + 1)) {
    auto behind = at + token.size();
    if ((at == 0 || !word(text[at - 1])) && (behind == text.size() || !word(text[behind]))) return true;
  }
  return false;
}

std::string cut(std::string_view line, std::size_t limit) {
  while (!line.empty() && (line.back() == ' ' || line.back() == '\r')) line.remove_suffix(1);
  if (line.size() <= limit) return std::string(line);
  std::size_t end = limit - 3;
  while (end > 0 && (static_cast<unsigned char>(line[end]) & 0xC0U) == 0x80U) --end;
  return std::string(line.substr(0, end)) + "...";
}

// "SEVERITY:  message" behind any log_line_prefix, which may end without a separator.
struct Split {
  int level = kQuoted;
  std::string_view prefix, message;
};
std::optional<Split> split_line(std::string_view line) {
  for (auto at = line.find(":  "); at != std::string_view::npos; at = line.find(":  ", at + 1)) {
    std::string_view before = line.substr(0, at);
    // LC_MESSAGES other than ours: DEBUG1 .. DEBUG5 count as DEBUG.
    if (!before.empty() && before.back() >= '1' && before.back() <= '5') before.remove_suffix(1);
    for (const Word& w : kWords) {
      if (before.ends_with(w.text))
        return Split{w.level, before.substr(0, before.size() - std::string_view(w.text).size()),
                     line.substr(at + 3)};
    }
  }
  return std::nullopt;
}

const Reason& reason(std::string_view name) {
  return *std::find_if(std::begin(kReasons), std::end(kReasons),
                       [&](const Reason& r) { return name == r.reason; });
}

struct Entry {
  int level = kLog;
  std::string_view line, prefix, message;
  std::string details;  // DETAIL and CONTEXT
};

// The control file's version, as the server that could not use it printed it.
bool control_version_is_nonsense(std::string_view details) {
  constexpr std::string_view kSaid = "PG_CONTROL_VERSION ";
  auto at = details.find(kSaid);
  if (at == std::string_view::npos) return false;
  auto value = static_cast<std::uint32_t>(
      std::strtoll(std::string(details.substr(at + kSaid.size(), 12)).c_str(), nullptr, 10));
  auto plausible = [](std::uint32_t v) { return v >= 800 && v < 3000; };  // 8.3: 833 ... 18: 1800
  // A cluster of a machine of the other byte order is whole.
  return !plausible(value) && !plausible(__builtin_bswap32(value));
}

std::optional<std::string_view> classify(const Entry& e) {
  if (e.level == kNotice) return std::nullopt;
  // What a function raises only looks like the server's own words.
  if (e.level < kFatal && has_token(e.details, "RAISE")) return std::nullopt;
  std::string text = std::string(e.message) + "\n" + e.details;
  if (has_any(text, kFull)) {
    return e.message.find("shared memory") != std::string_view::npos ||
                   e.message.find("разделяемой памяти") != std::string_view::npos
               ? "SharedMemoryFull"
               : "DiskFull";
  }
  if (has_any(text, kBroken)) return "DiskFails";
  if (e.level == kFatal && has_any(text, kDenied)) return "NoAccess";
  for (const Message& m : kMessages) {
    if (e.level < m.least) continue;
    if (!matches(e.message, m.english) && (m.russian == nullptr || !matches(e.message, m.russian))) continue;
    if (m.reason == std::string_view("OtherVersion") && control_version_is_nonsense(e.details))
      return "ControlFileDestroyed";
    return m.reason;
  }
  if (e.level >= kWarning) {
    for (const auto& [state, name] : kStates) {
      if (has_token(e.prefix, state)) return name;
    }
  }
  return std::nullopt;
}

}  // namespace

const std::vector<KnownMessage>& known_messages() {
  static const std::vector<KnownMessage> all = [] {
    std::vector<KnownMessage> out;
    for (const Message& m : kMessages) out.push_back({m.reason, m.english, m.russian});
    return out;
  }();
  return all;
}

std::vector<std::string> complaint_reasons() {
  std::vector<std::string> out;
  for (const Reason& r : kReasons) out.emplace_back(r.reason);
  return out;
}

std::optional<Trouble> trouble_of(std::string_view name) {
  for (const Reason& r : kReasons) {
    if (name == r.reason) return r.trouble;
  }
  return std::nullopt;
}

std::vector<Complaint> complaints(std::string_view log) {
  std::vector<Entry> entries;
  // "postgres: could not find the database system" comes before there is a log: three lines, no severity.
  std::string_view homeless;
  while (!log.empty()) {
    auto end = std::min(log.find('\n'), log.size());
    std::string_view line = log.substr(0, end);
    log.remove_prefix(std::min(end + 1, log.size()));
    if (line.empty()) continue;
    if (line.front() == '\t') {  // a message or a statement goes on
      homeless = {};
      continue;
    }
    if (auto s = split_line(line)) {
      homeless = {};
      if (s->level >= 0) {
        entries.push_back({s->level, line, s->prefix, s->message, {}});
      } else if (s->level == kDetail && !entries.empty()) {
        entries.back().details += std::string(s->message) + "\n";
      }
      continue;
    }
    if (line.ends_with(": could not find the database system") ||
        line.ends_with(": не найдена система баз данных")) {
      homeless = line;
    } else if (!homeless.empty() && line.find("global/pg_control") != std::string_view::npos) {
      for (const char* opening : {"could not open file ", "открыть файл "}) {
        auto at = line.find(opening);
        if (at == std::string_view::npos) continue;
        // In the words of the message that a later moment of the start would have used.
        Entry e{kFatal, line, {}, line.substr(at), {}};
        if (opening[0] != 'c') {
          e.message = "не удалось открыть файл \"global/pg_control\": ";
          e.details = std::string(line);
        }
        entries.push_back(e);
        break;
      }
    }
  }
  std::vector<Complaint> out;
  for (const Entry& e : entries) {
    auto name = classify(e);
    if (!name) continue;
    const Reason& r = reason(*name);
    std::string line = cut(e.line, 400);
    // Only the numbers tell a destroyed file from one of another version.
    if (auto at = e.details.find("PG_CONTROL_VERSION"); at != std::string::npos)
      line = cut(fmt::format("{} ({})", line, e.details.substr(0, e.details.find('\n'))), 400);
    out.push_back({r.reason, r.trouble, r.what, line, e.level == kFatal});
  }
  return out;
}

std::string last_words(std::string_view log, std::size_t limit) {
  while (!log.empty()) {
    auto begin = log.rfind('\n');
    std::string_view line = begin == std::string_view::npos ? log : log.substr(begin + 1);
    log = log.substr(0, begin == std::string_view::npos ? 0 : begin);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) return cut(line, limit);
  }
  return {};
}

}  // namespace pgrunbook::postgres
