#include "execute/archiving.hpp"

#include "execute/members.hpp"

namespace pgrunbook::execute {

plan::ArchiverFacts look_at_archiver(World& world, const plan::SceneView& scene, const plan::MemberView& m) {
  plan::ArchiverFacts out;
  if (m.pods.empty() || !plan::pod_ready(m.pods.front())) {
    out.ready_pod = false;
    return out;
  }
  auto login = role_login(world, scene, m);
  auto session = login ? world.connect(*login, Deadline::after(std::chrono::seconds(5)))
                       : Result<sql::Connection>(base::fail(login.error()));
  if (!session) {
    out.no_login = session.error();
    return out;
  }
  if (auto who = identify(*session)) out.identity = *who;
  auto rows = session->query(
      "select current_setting('archive_mode'), current_setting('archive_command'), a.archived_count, "
      "a.last_archived_wal, "
      "to_char(a.last_archived_time at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), a.failed_count, "
      "(select count(*) from pg_ls_archive_statusdir() where name like '%.ready'), "
      "(select coalesce(extract(epoch from now() - min(modification))::bigint, 0) from "
      "pg_ls_archive_statusdir() where name like '%.ready'), "
      "pg_current_wal_lsn() from pg_stat_archiver a",
      {}, Deadline::after(std::chrono::seconds(5)));
  if (!rows) {
    out.no_answer = rows.error();
  } else if (rows->empty()) {
    out.no_answer = base::refused("Unknown", "pg_stat_archiver is empty");
  } else {
    const sql::Row& r = rows->front();
    out.archive_mode = r[0].value_or("?");
    out.archive_command = r[1].value_or("");
    out.last_wal = r[3].value_or("");
    out.last_time = r[4].value_or("");
    out.waiting = sql::integer(r[6]);
    out.oldest_seconds = sql::integer(r[7]);
    out.lsn = r[8].value_or("");
  }
  return out;
}

}  // namespace pgrunbook::execute
