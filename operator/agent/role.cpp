#include "agent/role.hpp"

#include <fmt/format.h>

#include "postgres/psql.hpp"

namespace pgrunbook::agent {

std::vector<std::string> role_statements(int major, const std::string& verifier) {
  bool modern = major >= 15 && major < 90;
  constexpr const char* kCreate =
      "DO $$BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pgrunbook') THEN CREATE "
      "ROLE pgrunbook; END IF; END$$";
  std::vector<std::string> list{
      kCreate,
      // log_statement could write the verifier into a log
      "SET log_statement = 'none'",
      "SET log_min_duration_statement = -1",
      "SET log_min_error_statement = 'panic'",
      fmt::format("ALTER ROLE pgrunbook LOGIN REPLICATION NOSUPERUSER PASSWORD {}",
                  postgres::quote_literal(verifier)),
      "GRANT pg_monitor, pg_read_all_settings, pg_signal_backend TO pgrunbook",
      "GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal(), pg_catalog.pg_create_restore_point(text) TO "
      "pgrunbook",
  };
  if (modern) {
    list.emplace_back("GRANT pg_checkpoint TO pgrunbook");
    list.emplace_back(
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_backup_start(text, boolean), "
        "pg_catalog.pg_backup_stop(boolean) TO pgrunbook");
  } else {
    list.emplace_back(
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_start_backup(text, boolean, boolean), "
        "pg_catalog.pg_stop_backup(boolean, boolean) TO pgrunbook");
  }
  return list;
}

}  // namespace pgrunbook::agent
