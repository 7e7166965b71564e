#include "agent/claim.hpp"

#include <algorithm>
#include <unistd.h>

#include <fmt/format.h>

#include "archive/layout.hpp"
#include "base/file.hpp"
#include "base/time.hpp"

namespace pgrunbook::agent {
namespace {

using base::ErrorCode;
using base::Json;
using base::Result;

constexpr unsigned kDirectory = 0750;

struct Holder {
  std::string pod_uid, action_uid, job, since;
};

std::string first_file(const std::string& directory) { return directory + "/claim"; }
std::string after_file(const std::string& directory, const std::string& pod_uid) {
  return directory + "/claim.after-" + pod_uid;
}

Result<Holder> read_holder(const std::string& path) {
  PGR_ASSIGN(std::string text, base::read_file(path));
  PGR_ASSIGN(Json json, base::parse_json(text, path));
  Holder h{base::text_at(json, {"podUID"}), base::text_at(json, {"actionUID"}), base::text_at(json, {"job"}),
           base::text_at(json, {"since"})};
  // The name goes into a path below.
  PGR_TRY(archive::check_word(h.pod_uid, "the uid of a pod"));
  return h;
}

// The end of the chain, or kNotFound where the volume is free.
Result<Holder> holder(const std::string& directory) {
  PGR_ASSIGN(Holder h, read_holder(first_file(directory)));
  for (int i = 0; i < 1000; ++i) {
    auto next = read_holder(after_file(directory, h.pod_uid));
    if (!next && next.error().code == ErrorCode::kNotFound) return h;
    if (!next) return next;
    h = *next;
  }
  return base::fail(ErrorCode::kCorrupt, fmt::format("the claims in {} never end", directory));
}

// One pod as text, or several as a list: each try of a Job can be killed while it holds the claim.
bool may_break(const api::Order& order, const Holder& h) {
  if (h.action_uid != order.action.uid) return false;
  const Json& broken = base::at(order.undo, {"brokenClaim"});
  if (!broken.is_array()) return broken == Json(h.pod_uid);
  return std::find(broken.begin(), broken.end(), Json(h.pod_uid)) != broken.end();
}

base::Failure claimed(const std::string& mount, const Holder& h) {
  return base::fail(
      base::refused("VolumeClaimed",
                    fmt::format("the volume at {} is claimed by pod {} for job {} of action {} since {}",
                                mount, h.pod_uid, h.job, h.action_uid, h.since),
                    "it goes on by itself when that action has ended; nothing was touched"));
}

}  // namespace

bool after_killed_job(const api::Order& order) {
  const Json& broken = base::at(order.undo, {"brokenClaim"});
  return broken.is_array() ? !broken.empty() : broken.is_string() && broken != Json("");
}

Result<std::string> own_directory(const std::string& mount) {
  std::string directory = mount + "/.pgrunbook";
  PGR_TRY(base::make_directories(directory, kDirectory));
  return directory;
}

Result<VolumeClaim> VolumeClaim::acquire(const api::Order& order, const std::string& mount) {
  PGR_TRY(archive::check_word(order.pod_uid, "the uid of a pod"));
  VolumeClaim claim;
  PGR_ASSIGN(claim.directory_, own_directory(mount));
  const std::string content = Json({{"podUID", order.pod_uid},
                                    {"actionUID", order.action.uid},
                                    {"job", order.job},
                                    {"since", base::format_time(base::now())}})
                                  .dump() +
                              "\n";
  auto made = base::create_file(first_file(claim.directory_), content);
  if (made) return claim;
  if (made.error().code != ErrorCode::kAlreadyExists) return base::fail(made.error());
  auto now = holder(claim.directory_);
  if (!now && now.error().code == ErrorCode::kNotFound) return acquire(order, mount);  // released meanwhile
  if (!now) return base::fail(now.error());
  if (now->pod_uid == order.pod_uid) return claim;
  if (!may_break(order, *now)) return claimed(mount, *now);
  made = base::create_file(after_file(claim.directory_, now->pod_uid), content);
  if (made) return claim;
  if (made.error().code != ErrorCode::kAlreadyExists) return base::fail(made.error());
  PGR_ASSIGN(Holder winner, holder(claim.directory_));
  return claimed(mount, winner);
}

Result<> VolumeClaim::release() {
  // The first file decides: once it is gone the volume is free, and what remains of the chain means nothing.
  // It is looked at before: what appears later belongs to the next holder.
  PGR_ASSIGN(auto names, base::list_directory(directory_));
  if (::unlink(first_file(directory_).c_str()) != 0 && errno != ENOENT) {
    return base::fail(base::system_error("remove", first_file(directory_)));
  }
  for (const std::string& name : names) {
    if (name.starts_with("claim.after-")) ::unlink((directory_ + "/" + name).c_str());
  }
  return base::sync_path(directory_);
}

}  // namespace pgrunbook::agent
