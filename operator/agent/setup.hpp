// Setup: role, pg_hba.conf, archive settings and agent on a stopped primary's volume; or the way back.
#pragma once

#include <string>

#include "base/result.hpp"

namespace pgrunbook::agent {

// Copies of the configuration files as they were, in <mount>/.pgrunbook/before-setup/<action uid>/; the first
// copy stands.
class KeptFiles {
 public:
  KeptFiles(const std::string& mount, const std::string& action_uid)
      : directory_(mount + "/.pgrunbook/before-setup/" + action_uid) {}
  // pg_hba.conf, postgresql.conf and postgresql.auto.conf; one that is not there is remembered as absent.
  [[nodiscard]] base::Result<> keep(const std::string& data_directory) const;
  // Exactly the kept bytes and modes, by rename, and they are kept no longer; nothing where nothing was kept.
  [[nodiscard]] base::Result<> put_back(const std::string& data_directory) const;
  [[nodiscard]] const std::string& directory() const { return directory_; }

 private:
  std::string directory_;
};

}  // namespace pgrunbook::agent
