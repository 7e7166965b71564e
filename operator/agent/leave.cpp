// Leaving: what setup made on a member's volume is taken away again. The archive, undo directories and a
// fence stay: they are the user's data and safety.
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "agent/agent.hpp"
#include "agent/claim.hpp"
#include "agent/member_agent.hpp"
#include "agent/server.hpp"
#include "agent/settings.hpp"
#include "agent/setup.hpp"
#include "base/file.hpp"

namespace pgrunbook::agent {

using base::Json;

namespace {

constexpr const char* kDropRole =
    "DO $$BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pgrunbook') THEN DROP OWNED BY "
    "pgrunbook; DROP ROLE pgrunbook; END IF; END$$";

Result<std::string> replace(const std::string& path, const std::string& was, const std::string& becomes) {
  if (was == becomes) return std::string("Unchanged");
  struct stat s{};
  if (::stat(path.c_str(), &s) != 0) return base::fail(base::system_error("look at", path));
  PGR_TRY(base::replace_file(path, becomes, static_cast<unsigned>(s.st_mode & 07777U)));
  return std::string("PutBack");
}

// Our lines out of the two files; the settings as they were before setup.
Result<Json> clean_configuration(const std::string& data, const Json& former) {
  Json out = Json::object();
  auto conf = base::read_file(data + "/postgresql.auto.conf");
  if (!conf && conf.error().code != base::ErrorCode::kNotFound) return base::fail(conf.error());
  if (conf) {
    PGR_ASSIGN(out["settings"], replace(data + "/postgresql.auto.conf", *conf, without_setup(*conf, former)));
  }
  auto hba = base::read_file(data + "/pg_hba.conf");
  if (hba) {
    PGR_ASSIGN(out["pgHba"], replace(data + "/pg_hba.conf", *hba, without_hba_lines(*hba)));
  }
  return out;
}

Result<Json> drop_role(const std::string& data, const postgres::ControlData& control) {
  PGR_ASSIGN(int major, major_of(data));
  ServerSettings settings;
  settings.major = major;
  settings.carried = control.settings;
  if (settings.carried.count("wal_level") != 0 && settings.carried["wal_level"] == "minimal")
    settings.carried["wal_level"] = "replica";
  PGR_TRY(run_single(data, settings, {kDropRole}));
  PGR_ASSIGN(auto after, control_data_of(data));
  if (!after.shut_down()) {
    return base::fail(base::refused(
        "NotShutDown", fmt::format("after dropping the role pg_control says \"{}\"", after.state),
        "start the member once and stop it again"));
  }
  return Json("Dropped");
}

Result<Json> leave(const Order& order, const api::MemberRef& member, Report& report) {
  const std::string& data = member.data_directory;
  Json result = {{"role", "NotThere"}};
  bool running = base::at(order.leave, {"running"}) == true;
  PGR_ASSIGN(bool has_data, base::is_there(data + "/PG_VERSION"));
  if (has_data && !running) {
    PGR_ASSIGN(auto control, control_data_of(data));
    if (!control.shut_down() && !after_killed_job(order)) {
      return base::fail(base::refused(
          "NotShutDown",
          fmt::format("the server on {} did not end cleanly: pg_control says \"{}\"", data, control.state),
          "start the member once and stop it again"));
    }
    KeptFiles kept(member.mount, "leave-" + order.action.uid);
    PGR_TRY(kept.keep(data));
    auto change = [&]() -> Result<Json> {
      Json changed = Json::object();
      PGR_ASSIGN(bool signal, has_signal_file(data));
      if (signal) {
        // A fenced server is read-only; its data are an undo, not a database that anybody logs in to.
        changed["role"] = "LeftBehindTheFence";
      } else {
        report.note("role", "the role pgrunbook is dropped by postgres --single");
        PGR_ASSIGN(changed["role"], drop_role(data, control));
      }
      PGR_ASSIGN(Json files, clean_configuration(data, base::at(order.leave, {"former"})));
      changed.update(files);
      return changed;
    };
    auto changed = change();
    if (!changed) {
      PGR_TRY(kept.put_back(data));
      return base::fail(changed.error());
    }
    result.update(*changed);
  } else if (running) {
    auto conf = base::read_file(data + "/postgresql.auto.conf");
    if (!conf && conf.error().code != base::ErrorCode::kNotFound) return base::fail(conf.error());
    if (conf && is_our_archive_command(*conf)) {
      return base::fail(base::refused("StillArchiving",
                                      fmt::format("{} still names the agent", data + "/postgresql.auto.conf"),
                                      "stop the member first"));
    }
  }
  report.note("agent", "the agent goes from the volume");
  for (const char* name : {"bin", "before-setup"})
    PGR_TRY(base::remove_tree(member.mount + "/.pgrunbook/" + name));
  if (member.data_directory == member.mount)
    PGR_TRY(base::remove_tree(order.repository.path + "/.pgrunbook"));
  return result;
}

}  // namespace

Result<Answer> run_leave(const Order& order, Report& report) {
  if (!order.member) return base::fail(base::ErrorCode::kInvalid, "the order names no member");
  PGR_ASSIGN(VolumeClaim claim, VolumeClaim::acquire(order, order.member->mount));
  auto left = leave(order, *order.member, report);
  PGR_TRY(claim.release());
  if (!left) return base::fail(left.error());
  return succeeded("Left", fmt::format("nothing of setup is left on the volume of {}", order.member->name),
                   *left);
}

}  // namespace pgrunbook::agent
