#include "agent/setup.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "agent/agent.hpp"
#include "agent/claim.hpp"
#include "agent/member_agent.hpp"
#include "agent/role.hpp"
#include "agent/scram.hpp"
#include "agent/secrets.hpp"
#include "agent/server.hpp"
#include "agent/settings.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"

namespace pgrunbook::agent {

using base::Json;

namespace {

constexpr const char* kFiles[] = {"pg_hba.conf", "postgresql.conf", "postgresql.auto.conf"};

Result<unsigned> mode_of(const std::string& path) {
  struct stat s{};
  if (::stat(path.c_str(), &s) != 0) return base::fail(base::system_error("look at", path));
  return static_cast<unsigned>(s.st_mode & 07777U);
}

Result<> must_be_stopped(const postgres::ControlData& control, const std::string& data_directory) {
  PGR_ASSIGN(bool signal, has_signal_file(data_directory));
  if (signal) {
    return base::fail(base::refused(
        "NotPrimary", fmt::format("{} holds a signal file of a standby or a fence", data_directory),
        "set up archiving on the primary"));
  }
  if (control.shut_down()) return {};
  return base::fail(base::refused("NotShutDown",
                                  fmt::format("the server on {} did not end cleanly: pg_control says \"{}\"",
                                              data_directory, control.state),
                                  "start the member once and stop it again"));
}

struct Former {
  std::string command, library, file;
  std::vector<std::string> unreachable;
};

Former former_archiving(const std::string& data_directory) {
  Configuration c = read_configuration(data_directory, base::read_file, base::list_directory);
  Former f;
  f.unreachable = c.unreachable;
  if (auto found = c.settings.find("archive_command"); found != c.settings.end()) {
    f.command = found->second.value;
    f.file = found->second.file;
  }
  if (auto found = c.settings.find("archive_library"); found != c.settings.end()) {
    f.library = found->second.value;
    if (!f.library.empty()) f.file = found->second.file;
  }
  return f;
}

Result<> check_foreign(const Former& former, bool replace_existing) {
  bool foreign =
      !former.library.empty() || (!former.command.empty() && !is_our_archive_command(former.command));
  if (!foreign || replace_existing) return {};
  std::string what = former.library.empty() ? fmt::format("archive_command is already '{}'", former.command)
                                            : fmt::format("archive_library is already '{}'", former.library);
  return base::fail(base::refused("ForeignArchiveCommand", fmt::format("{} (in {})", what, former.file),
                                  "set archive.wal.replaceExisting: true, if what it does may end"));
}

std::vector<std::string> setup_statements(int major, const std::string& verifier, const Installed& agent,
                                          const Order& order) {
  auto list = role_statements(major, verifier);
  list.insert(list.begin(),
              "SELECT count(*) AS role_was_there FROM pg_catalog.pg_roles WHERE rolname = 'pgrunbook'");
  if (major >= 15 && major < 90) list.emplace_back("ALTER SYSTEM SET archive_library = ''");
  list.emplace_back("ALTER SYSTEM SET archive_mode = 'on'");
  std::string quoted = agent.archive_command;
  for (auto at = quoted.find('\''); at != std::string::npos; at = quoted.find('\'', at + 2))
    quoted.insert(at, 1, '\'');
  list.push_back(fmt::format("ALTER SYSTEM SET archive_command = '{}'", quoted));
  list.push_back(fmt::format("ALTER SYSTEM SET archive_timeout = '{}s'", order.setup.archive_timeout));
  return list;
}

// What a server will find at its next start, read back rather than believed.
Result<Json> settings_now(const std::string& data_directory, const Installed& agent) {
  Configuration c = read_configuration(data_directory, base::read_file, base::list_directory);
  Json out = Json::object();
  for (const char* name : {"archive_mode", "archive_timeout"}) out[name] = c.settings[name].value;
  if (c.settings["archive_command"].value != agent.archive_command ||
      c.settings["archive_mode"].value != "on") {
    return base::fail(base::ErrorCode::kInternal, fmt::format("after ALTER SYSTEM archive_command is '{}'",
                                                              c.settings["archive_command"].value));
  }
  return out;
}

KeptFiles kept_for(const Order& order, const api::MemberRef& member) {
  return {member.mount, order.setup.attempt == 1
                            ? order.action.uid
                            : fmt::format("{}-{}", order.action.uid, order.setup.attempt)};
}

Result<Answer> put_back(const Order& order, const api::MemberRef& member) {
  KeptFiles kept = kept_for(order, member);
  PGR_ASSIGN(auto control, control_data_of(member.data_directory));
  if (!after_killed_job(order)) PGR_TRY(must_be_stopped(control, member.data_directory));
  PGR_TRY(kept.put_back(member.data_directory));
  return succeeded("SetupPutBack",
                   fmt::format("the configuration files of {} are as they were before setup", member.name));
}

Result<Answer> set_up(const Order& order, const api::MemberRef& member, Report& report) {
  const std::string& data = member.data_directory;
  PGR_ASSIGN(int major, major_of(data));
  PGR_ASSIGN(auto control, control_data_of(data));
  PGR_TRY(must_be_stopped(control, data));
  Former former = former_archiving(data);
  auto auto_conf = base::read_file(data + "/postgresql.auto.conf");
  Json previous = auto_conf ? setup_settings_in(*auto_conf) : Json::object();
  PGR_TRY(check_foreign(former, order.setup.replace_existing));
  PGR_ASSIGN(std::string verifier, new_scram_verifier(secret(api::secrets::kRolePassword)));
  PGR_ASSIGN(auto repository,
             archive::Repository::create(
                 order.repository.path, {order.repository.topology, order.repository.topology_uid},
                 control.system_identifier, control.segment_size, major, control.timeline));
  PGR_TRY(repository.claim_writer(control.timeline, member.claim_uid));
  report.note("install", "the agent goes onto the member's volume");
  PGR_ASSIGN(Installed agent, install_on_member(order));

  // From here on something is changed; what fails is put back.
  KeptFiles kept = kept_for(order, member);
  PGR_TRY(kept.keep(data));
  auto change = [&]() -> Result<Json> {
    report.note("role", "the role pgrunbook and the archive settings are made by postgres --single");
    ServerSettings settings;
    settings.major = major;
    settings.carried = control.settings;
    if (settings.carried.count("wal_level") != 0 && settings.carried["wal_level"] == "minimal")
      settings.carried["wal_level"] = "replica";
    PGR_ASSIGN(std::string output,
               run_single(data, settings, setup_statements(major, verifier, agent, order)));
    PGR_ASSIGN(std::string hba, base::read_file(data + "/pg_hba.conf"));
    PGR_ASSIGN(unsigned mode, mode_of(data + "/pg_hba.conf"));
    PGR_TRY(base::replace_file(data + "/pg_hba.conf", with_hba_lines(hba), mode));
    PGR_ASSIGN(auto after, control_data_of(data));
    PGR_TRY(must_be_stopped(after, data));
    PGR_ASSIGN(Json now, settings_now(data, agent));
    return Json{{"settings", now},
                {"role", output.find("role_was_there = \"1\"") == std::string::npos ? "Created" : "Updated"}};
  };
  auto changed = change();
  if (!changed) {
    auto back = kept.put_back(data);
    if (back) return base::fail(changed.error());
    Answer blocked = answer_of(changed.error());
    blocked.outcome = api::Outcome::kBlocked;
    blocked.hint =
        fmt::format("put back the files kept in {} by hand ({})", kept.directory(), back.error().message);
    return blocked;
  }
  Json result = *changed;
  result["systemIdentifier"] = std::to_string(control.system_identifier);
  result["timeline"] = control.timeline.number();
  result["majorVersion"] = major;
  result["agentPath"] = agent.path;
  result["agentSha256"] = agent.sha256;
  result["archiveCommand"] = agent.archive_command;
  result["previousArchiveCommand"] = former.library.empty() ? former.command : former.library;
  // A second setup finds the first one's: that was never the user's.
  if (!is_our_archive_command(base::text_at(previous, {"archive_command"})))
    result["previousSettings"] = previous;
  if (agent.on_shared_volume) result["agentOnSharedVolume"] = true;
  if (!former.unreachable.empty()) result["unreachableConfiguration"] = former.unreachable;
  return succeeded(
      "SetUp", fmt::format("role pgrunbook, pg_hba.conf and archive settings of {} are made", member.name),
      result);
}

}  // namespace

Result<> KeptFiles::keep(const std::string& data_directory) const {
  std::string list = directory_ + "/kept.json";
  PGR_ASSIGN(bool kept, base::is_there(list));
  if (kept) return {};
  PGR_TRY(base::make_directories(directory_, 0750));
  Json files = Json::object();
  for (const char* name : kFiles) {
    std::string from = data_directory + "/" + name;
    auto content = base::read_file(from);
    if (!content && content.error().code == base::ErrorCode::kNotFound) {
      files[name] = nullptr;
      continue;
    }
    if (!content) return base::fail(content.error());
    PGR_ASSIGN(unsigned mode, mode_of(from));
    PGR_TRY(base::replace_file(directory_ + "/" + name, *content, 0640));
    files[name] = {{"mode", mode}, {"sha256", base::sha256(*content)}};
  }
  return base::create_file(list, Json({{"files", files}}).dump(2) + "\n");
}

Result<> KeptFiles::put_back(const std::string& data_directory) const {
  // It is written before the first change: without it there was none.
  PGR_ASSIGN(bool kept, base::is_there(directory_ + "/kept.json"));
  if (!kept) return {};
  PGR_ASSIGN(std::string text, base::read_file(directory_ + "/kept.json"));
  PGR_ASSIGN(Json list, base::parse_json(text, "kept.json"));
  for (const char* name : kFiles) {
    const Json& file = base::at(list, {"files", name});
    std::string to = data_directory + "/" + name;
    if (file.is_null()) {
      if (::unlink(to.c_str()) != 0 && errno != ENOENT) return base::fail(base::system_error("remove", to));
      continue;
    }
    PGR_ASSIGN(std::string content, base::read_file(directory_ + "/" + name));
    if (base::sha256(content) != base::text_at(file, {"sha256"})) {
      return base::fail(base::ErrorCode::kCorrupt,
                        fmt::format("{}/{} is not what was kept", directory_, name));
    }
    PGR_TRY(base::replace_file(to, content, static_cast<unsigned>(base::number_at(file, {"mode"}))));
  }
  PGR_TRY(base::sync_path(data_directory));
  // What is kept is of this attempt: another one must not put back what the files were before this one.
  if (::unlink((directory_ + "/kept.json").c_str()) != 0 && errno != ENOENT)
    return base::fail(base::system_error("remove", directory_ + "/kept.json"));
  return base::remove_tree(directory_);
}

Result<Answer> run_setup(const Order& order, Report& report) {
  if (!order.member) return base::fail(base::ErrorCode::kInvalid, "the order names no member");
  PGR_ASSIGN(VolumeClaim claim, VolumeClaim::acquire(order, order.member->mount));
  auto answer = order.setup.put_back ? put_back(order, *order.member) : set_up(order, *order.member, report);
  // A blocked volume stays claimed: a person looks first.
  if (!answer || answer->outcome != api::Outcome::kBlocked) PGR_TRY(claim.release());
  return answer;
}

}  // namespace pgrunbook::agent
