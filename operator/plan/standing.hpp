// The day after a cutover: what was made primary, whether the Services still lead there, and what it means
// where they do not. Judged from the volumes' and servers' identity, never from the selector's word alone.
#pragma once

#include <optional>
#include <string>

#include "plan/scene.hpp"

namespace pgrunbook::plan {

// What the last completed cutover made of the world (status.cutover of the topology), or what a person made
// of it since and was accepted.
struct Cutover {
  std::string name, uid;  // of the Failover
  std::string from, to, time;
  std::string claim;       // uid of the volume of `to`: who it is, whatever its name
  std::string from_claim;  // of the old primary
  std::string system;
  std::int64_t timeline = 0;         // of `to` at that time
  std::int64_t parent_timeline = 0;  // of the old primary, left at fork
  std::string fork;
  Json services = Json::object();  // name -> selector
  Json steered = Json::array();    // objects whose field its steerer held before it was changed
  std::string accepted;            // why, where it was no Failover that made it so
};
[[nodiscard]] Json to_json(const Cutover& c);
[[nodiscard]] std::optional<Cutover> cutover_from_json(const Json& j);
// A Completed Failover of that topology; nullopt for any other, and for one that found its work done before.
[[nodiscard]] std::optional<Cutover> cutover_of(const Json& failover, const std::string& topology);
// The newest of what the topology's status keeps and what its Failovers say.
[[nodiscard]] std::optional<Cutover> last_cutover(const Json& topology, const Json& failovers);

// Who answered at a member's address.
struct ServerFacts {
  std::optional<base::Error> no_answer;  // nobody did
  bool in_recovery = false;
  std::string system;
  std::int64_t timeline = 0;
  std::string history;  // content of <timeline>.history; empty where it was not given
};
// Whether that server takes writes on a history that runs through the recorded primary's: it has been
// restored, or promoted, from it. Numbers alone prove nothing: two servers may make the same one.
[[nodiscard]] bool descends_from(const ServerFacts& server, const Cutover& c);
// The recorded server itself, under whatever volume: same timeline, left where it was left.
[[nodiscard]] bool is_recorded(const ServerFacts& server, const Cutover& c);

// annotation pgrunbook.io/accept-primary of the topology: a person's word for one cutover and no later one.
[[nodiscard]] std::string acceptance_of(const std::string& member, const Cutover& c);

struct Standing {
  std::optional<Cutover> recorded;
  enum class Kind {
    kNothingRecorded,  // no cutover yet: the selector's word is taken
    kAsRecorded,
    kAccepted,  // another member, and by its data or a person's word it is the primary now
    kReverted
  } kind = Kind::kNothingRecorded;
  std::string why;                    // kAccepted
  std::optional<ServerFacts> server;  // of the selected member, where it was asked
};
// Whether the selected member is the recorded one; if not, its server has to be asked.
[[nodiscard]] bool as_recorded(const SceneView& scene, const Cutover& c);
[[nodiscard]] Standing judge_standing(const SceneView& scene, const std::optional<Cutover>& recorded,
                                      const std::optional<ServerFacts>& selected,
                                      const std::string& accepted);
// What is recorded from now on where another member was accepted.
[[nodiscard]] Cutover accept(const SceneView& scene, const Standing& standing, const std::string& now);
// The recorded primary among the members: by its volume, else by its name.
[[nodiscard]] const MemberView* recorded_primary(const SceneView& scene, const Cutover& c);

// Why no action begins where the Services were turned back (reason ServiceReverted).
[[nodiscard]] base::Error reverted(const SceneView& scene, const Standing& standing);

struct Consistency {
  std::string status = "True", reason, message;
};
// Selectors, the new primary's and the old one's replicas against the record. old_primary: who answers on the
// old primary, where somebody has scaled it up.
[[nodiscard]] Consistency judge_consistency(const SceneView& scene, const Standing& standing,
                                            const std::optional<ServerFacts>& old_primary);
// Whether the old primary runs and it was not us who scaled it up.
[[nodiscard]] const MemberView* old_primary_scaled_up(const SceneView& scene, const Cutover& c);

// What must stay as it is: for GitOpsAligned.
[[nodiscard]] std::vector<Expectation> expectations(const SceneView& scene, const Standing& standing);

}  // namespace pgrunbook::plan
