#include "agent/restore_guide.hpp"

#include <fmt/format.h>

#include "base/time.hpp"
#include "postgres/version.hpp"

namespace pgrunbook::agent {
namespace {

// [[x]] are the places to fill: braces belong to the shell.
constexpr const char* kGuide = R"md(# Restore the backup [[id]] by hand

Two rules before anything else, because a restored copy can damage what it came from:

    archive_mode = off                       # else the copy writes into this repository
    recovery_target_timeline = '[[timeline]]'            # a number; never 'latest', which follows abandoned branches

The file `restore.conf` below sets both. Needed: `tar`, `zstd` and PostgreSQL [[major]], nothing else.

| | |
|---|---|
| database | [[topology]], system identifier [[sysid]], PostgreSQL [[version]] |
| taken | [[start]] to [[stop]]; no target before [[stop]] can be reached |
| WAL needed | [[begin_wal]] to [[end_wal]] ([[begin_lsn]] to [[end_lsn]]), then as far as you want to go |
| timeline | [[timeline]] |

## 1. Where things are

`REPOSITORY` is the folder that holds `repository.json`. `DATA` is a new directory, not the one of a living server.
Work as the user that will run the server.

```sh
: "${REPOSITORY:=/path/to/the/repository}" "${DATA:=/path/to/a/new/data/directory}"
BACKUP="$REPOSITORY/basebackup/[[id]]"
SOCKET=$(mktemp -d)
umask 077
export LC_ALL=C
```

## 2. Lay the files down and check them

```sh
echo "[[stored_sha256]]  $BACKUP/base.tar.zst" | sha256sum -c -
mkdir -m 700 "$DATA"
zstd -dqc "$BACKUP/base.tar.zst" | tar -x -C "$DATA"
```
[[verify]]
## 3. Settings for the recovery

WAL that was salvaged from a dead primary: its last, incomplete segment is in `$REPOSITORY/salvage/<uid>`, described by
`salvage.json`; set `SALVAGE=<uid>` to use it. Never copy it into `walbackup/`.

What the old server kept for itself is put aside: its `postgresql.auto.conf` would outrank the settings below.

```sh
mkdir "$DATA.aside"
for f in postgresql.auto.conf standby.signal postmaster.pid postmaster.opts; do
  [ ! -e "$DATA/$f" ] || mv "$DATA/$f" "$DATA.aside/"
done
: > "$DATA/recovery.signal"
cat > "$DATA/fetch-wal.sh" <<END
# fetch-wal.sh NAME DESTINATION: 1 = not in the repository, 200 = anything else, which stops the recovery
case "\$1" in
  *.history) f="$REPOSITORY/walbackup/\$1.zst" ;;
  *) f="$REPOSITORY/walbackup/\$(echo "\$1" | cut -c1-8)/\$1.zst" ;;
esac
[ -f "$REPOSITORY/repository.json" ] || exit 200
[ -f "\$f" ] || f="$REPOSITORY/salvage/${SALVAGE:-none}/\$1.zst"
[ -f "\$f" ] || exit 1
zstd -dqf "\$f" -o "\$2.part" && mv "\$2.part" "\$2" || exit 200
END
cat > "$DATA/restore.conf" <<END
archive_mode = off
recovery_target_timeline = '[[timeline]]'
restore_command = 'sh fetch-wal.sh %f %p'
# One of these ends the recovery earlier; without any it goes to the end of the archived WAL.
#recovery_target_time = '2026-11-20 15:04:05+00'
#recovery_target_lsn = '[[end_lsn]]'
recovery_target_action = pause
hba_file = '$DATA/restore-hba.conf'
listen_addresses = ''
unix_socket_directories = '$SOCKET'
hot_standby = on
END
pg_controldata -D "$DATA" | sed -nE "
  s/max_prepared_xacts/max_prepared_transactions/; s/max_locks_per_xact/max_locks_per_transaction/
  s/^(wal_level|wal_log_hints|max_[a-z_]+|track_commit_timestamp) setting: +(.*)/\1 = '\2'/p" >> "$DATA/restore.conf"
echo 'local all all trust' > "$DATA/restore-hba.conf"
```
[[configuration]]
## 4. Recover

Without a target PostgreSQL leaves recovery at the end of the archived WAL and takes a new timeline, which stays here: with
`archive_mode = off` nothing of it reaches the repository. With a target it waits, read-only, until you look and decide.

```sh
pg_ctl -s -w -t 86400 -D "$DATA" -l "$DATA/restore.log" -o "-c config_file=$DATA/restore.conf" start
psql -X -h "$SOCKET" -U "[[superuser]]" -d postgres -c "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn()"
```

Look at your tables the same way. If it is not what you wanted: `pg_ctl -D "$DATA" -m fast stop`, remove `$DATA`, begin again
with another target. If it is, and it waits: `SELECT pg_wal_replay_resume()`.

## 5. Make it the database again

Stop it (`pg_ctl -D "$DATA" -m fast stop`), put the files of `$DATA.aside` back except `standby.signal` and the `postmaster`
ones, remove from `postgresql.auto.conf` every line that begins with `recovery_`, `restore_command`, `primary_` or `archive_`,
remove `fetch-wal.sh`, `restore.conf` and `restore-hba.conf`, and start it the usual way. Give it its own archive before you
turn `archive_mode` on again.
)md";

constexpr const char* kVerify = R"md(
`pg_verifybackup` compares every file with the manifest (WAL is checked by the recovery itself):

```sh
pg_verifybackup -q -n "$DATA"
```

)md";

std::string configuration_part(const archive::BackupRecord& b) {
  if (b.configuration_files.empty()) return "";
  std::string out = "\nThe server read configuration files from outside its data directory:\n\n";
  for (const auto& f : b.configuration_files) {
    if (f.kept_as.empty()) {
      out += fmt::format("- `{}` could not be kept: {}\n", f.path, f.why_not);
    } else {
      out += fmt::format("- {}`{}` {} kept as `configuration/{}` beside this page\n",
                         f.why_not.empty() ? "" : "the settings of ", f.path,
                         f.why_not.empty() ? "is" : "are", f.kept_as);
    }
  }
  return out + "\nThe recovery does not need them; the server in its old place does.\n";
}

void fill(std::string* text, std::string_view name, std::string_view value) {
  std::string place = fmt::format("[[{}]]", name);
  for (auto at = text->find(place); at != std::string::npos; at = text->find(place, at + value.size())) {
    text->replace(at, place.size(), value);
  }
}

}  // namespace

std::string restore_guide(const archive::BackupRecord& b) {
  std::string text = kGuide;
  const postgres::Version* version = postgres::version_of_major(b.major_version);
  fill(&text, "verify", version != nullptr && version->manifest ? kVerify : "\n");
  fill(&text, "configuration", configuration_part(b));
  fill(&text, "id", b.id);
  fill(&text, "timeline", std::to_string(b.timeline.number()));
  fill(&text, "major", postgres::major_text(b.major_version));
  fill(&text, "topology", b.topology);
  fill(&text, "sysid", std::to_string(b.system_identifier));
  fill(&text, "version", b.server_version);
  fill(&text, "start", base::format_time(b.start_time));
  fill(&text, "stop", base::format_time(b.stop_time));
  fill(&text, "begin_wal", b.begin_wal);
  fill(&text, "end_wal", b.end_wal);
  fill(&text, "begin_lsn", b.begin_lsn.text());
  fill(&text, "end_lsn", b.end_lsn.text());
  fill(&text, "stored_sha256", b.stored_sha256);
  fill(&text, "superuser", b.superuser.empty() ? "postgres" : b.superuser);
  return text;
}

}  // namespace pgrunbook::agent
