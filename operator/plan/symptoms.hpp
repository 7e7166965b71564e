// What is wrong with a member, by its container's state and its log, and what mends it. Pure:
// execute/symptoms fetches. A symptom is shown, and acted upon by nobody but people.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "plan/scene.hpp"
#include "plan/topology_status.hpp"
#include "postgres/server_log.hpp"

namespace pgrunbook::plan {

// A member's PostgreSQL container as the kubelet reports it.
struct ContainerView {
  std::string pod, pod_uid;
  bool there = false, ready = false, running = false;
  int restarts = 0;
  std::string waiting, waiting_message;  // CrashLoopBackOff, ImagePullBackOff, ...
  std::string running_since;             // when its present life began
  std::string ended, ended_at;           // of its last life: Error, OOMKilled; when
  int exit_code = 0;
};
[[nodiscard]] ContainerView container_of(const MemberView& member);

// Which log to read. Bounded: once per life of the container and then once a minute, of a member that serves
// only what came since.
struct LogWish {
  bool read = false;
  bool previous = false;  // that of the container's last life too
  int since_seconds = 0;  // 0: whatever is there
};
struct LogRead {  // the last one, of this process
  std::string pod_uid;
  int restarts = -1;
  base::SystemTime at{};
  std::string failed{};  // why it could not be read
};
[[nodiscard]] LogWish log_wish(const ContainerView& container, const std::optional<LogRead>& last,
                               base::SystemTime now);

struct Symptom {
  std::string reason;  // a reason of postgres::complaints, or OutOfMemory, ContainerWaits, CrashLoops
  std::string what;
  std::string line;     // of the log; empty: there is none
  bool serves = false;  // the member served when this was seen
  std::string since, seen;
};
[[nodiscard]] Json to_json(const Symptom& symptom);
[[nodiscard]] std::optional<Symptom> symptom_from_json(const Json& json);  // nothing where there is none

// The worst that state and log tell; nothing where the member is well or simply starts.
[[nodiscard]] std::optional<Symptom> diagnose(const ContainerView& container, std::string_view log);

// What is shown now: a new symptom, or the former one as long as it holds. A server that has served for half
// a minute is not destroyed; damage in a server that serves is remembered for a day after it was last seen;
// of a member without a pod only the primary's is kept.
[[nodiscard]] std::optional<Symptom> carry(const std::optional<Symptom>& before,
                                           const std::optional<Symptom>& found,
                                           const ContainerView& container, bool primary,
                                           base::SystemTime now);

// What is known of a topology besides its scene.
struct MendFacts {
  bool has_backup = false;        // a completed one
  Json restores = Json::array();  // the namespace's PostgresRestores
  Json failovers = Json::array();
};
struct WayOut {
  std::string hint;
  std::string yaml;  // to be applied as it stands; empty where an object is not what mends it
};
[[nodiscard]] WayOut way_out(const SceneView& scene, const MemberView& member, const Symptom& symptom,
                             const MendFacts& facts);

struct MemberHealth {
  std::string member;
  std::optional<Symptom> symptom;
  std::string unreadable;  // why its log could not be read
};
// The condition MembersHealthy and what goes with it.
struct HealthReport {
  std::string status = "True", reason = "NothingSeen", message, short_message, yaml;
  bool primary_down = false;  // it is the primary that does not serve
};
[[nodiscard]] HealthReport judge_health(const SceneView& scene, const std::vector<MemberHealth>& members,
                                        const MendFacts& facts);
// Into the status, after say_topology or setting_up.
void say_health(StatusEditor& out, const std::vector<MemberHealth>& members, const HealthReport& report);

}  // namespace pgrunbook::plan
