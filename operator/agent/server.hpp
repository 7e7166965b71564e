// A server that a Job starts for itself: on a private socket, with settings nothing in the data directory can
// change.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "agent/settings.hpp"
#include "base/result.hpp"
#include "base/subprocess.hpp"
#include "base/time.hpp"
#include "postgres/control_data.hpp"
#include "postgres/psql.hpp"

namespace pgrunbook::agent {

// Major version of a data directory, from PG_VERSION. kNotFound where there is none.
[[nodiscard]] base::Result<int> major_of(const std::string& data_directory);
// Whether a server started there would be a standby, or recover: standby.signal or recovery.signal.
[[nodiscard]] base::Result<bool> has_signal_file(const std::string& data_directory);
// pg_controldata of the directory's own major version.
[[nodiscard]] base::Result<postgres::ControlData> control_data_of(const std::string& data_directory);

// A directory of our own, 0700, with a name short enough for a socket in it (sun_path has 108 bytes); removed
// at the end.
class PrivateDirectory {
 public:
  [[nodiscard]] static base::Result<PrivateDirectory> make();
  PrivateDirectory(PrivateDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  PrivateDirectory& operator=(PrivateDirectory&& other) noexcept;
  PrivateDirectory(const PrivateDirectory&) = delete;
  PrivateDirectory& operator=(const PrivateDirectory&) = delete;
  ~PrivateDirectory();
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  explicit PrivateDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// The application's role, as the Job's secrets say.
struct ApplicationRole {
  std::string user, password;
};
[[nodiscard]] ApplicationRole application_role();

class PrivateServer {
 public:
  // Starts `postgres` as a child. Connections of `authenticated` need their password, everybody else on the
  // socket is trusted: the directory is ours alone. Returns at once; the server may still be recovering, or
  // end.
  [[nodiscard]] static base::Result<PrivateServer> start(const std::string& data_directory,
                                                         ServerSettings settings,
                                                         const std::string& authenticated);
  [[nodiscard]] postgres::PsqlTarget as(const std::string& user, const std::string& database,
                                        const std::string& password = {}) const;
  [[nodiscard]] bool running() { return child_.running(); }
  // Fast shutdown (SIGINT); kTimeout after the deadline, the server goes on then.
  [[nodiscard]] base::Result<> stop(base::Deadline deadline);
  // All it has said so far.
  [[nodiscard]] std::string log() const;

 private:
  PrivateServer(PrivateDirectory directory, base::Child child, std::string psql)
      : directory_(std::move(directory)), child_(std::move(child)), psql_(std::move(psql)) {}
  PrivateDirectory directory_;  // outlives the child
  base::Child child_;
  std::string psql_;
};

// Runs statements with `postgres --single` on a stopped data directory, in database postgres, and returns
// what it printed. Every statement must be one line. It exits 0 after failing statements, so its output is
// searched for ERROR, FATAL and PANIC: kUnavailable (SingleUserFailed) with the server's words. A uid without
// passwd line gets one through libnss_wrapper.so of the image; where there is none the error says so (reason
// NoPasswdEntry).
[[nodiscard]] base::Result<std::string> run_single(const std::string& data_directory,
                                                   const ServerSettings& settings,
                                                   const std::vector<std::string>& statements);

// Whether /etc/passwd has a line for this process's uid.
[[nodiscard]] bool has_passwd_line();

}  // namespace pgrunbook::agent
