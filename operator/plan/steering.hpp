// Who else steers an object, read off its marks, its last applied configuration and its managedFields: what
// they want a field to be, who set it last, and the lines that must be committed so that it stays as we made
// it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"

namespace pgrunbook::plan {

using base::Json;

// The two fields that an action changes and others want to have a say in.
enum class Field { kSelector, kReplicas };
[[nodiscard]] std::string path_of(Field field);  // "spec.selector"

struct Steerer {
  // kApply: whoever ran kubectl apply (or another server-side apply): nothing runs by itself, but the next
  // apply counts.
  enum class Kind { kNobody, kApply, kArgoCD, kFlux, kHelm } kind = Kind::kNobody;
  std::string name;     // for people: "Argo CD", "kustomize-controller", "Helm release db", "kubectl apply"
  std::string manager;  // its name in managedFields where it owns fields by server-side apply, else empty
  // By a mark of GitOps or Helm: something runs that will take back what is changed. Forces approval.
  [[nodiscard]] bool by_itself() const { return kind != Kind::kNobody && kind != Kind::kApply; }
};
[[nodiscard]] Steerer steerer_of(const Json& object);
// The name of a steerer that acts by itself, else empty.
[[nodiscard]] std::string managed_by(const Json& object);

// An entry of managedFields that holds a field.
struct FieldOwner {
  std::string manager, operation, time;
};
[[nodiscard]] std::vector<FieldOwner> owners_of(const Json& object, Field field);  // newest first
inline constexpr const char* kOurManager = "pgrunbook";

// What the one who steers wants a field to be.
struct Desired {
  enum class Known {
    kNo,  // it cannot be seen: Helm keeps its manifest in a Secret; or somebody else, or we, set it since
    kUnstated,  // it leaves the field alone
    kYes
  } known = Known::kUnstated;
  Json value{};
};

// All of it for one field of one object.
struct Steering {
  Steerer by;
  Desired desired;
  FieldOwner setter;  // who set the field last; empty where nobody is found
  Json live;          // the field's value
};
[[nodiscard]] Steering steering_of(const Json& object, Field field);

// "kustomize-controller" -> "RevertedByKustomizeController"; nobody -> "RevertedByUnknown".
[[nodiscard]] std::string reverted_by(const std::string& manager);
// "kustomize-controller at 2026-11-20T15:00:00Z", "helm (Helm release db) at ...", "somebody".
[[nodiscard]] std::string who_set(const Steering& s);

// A unified diff of the lines that change, with the YAML path around them.
[[nodiscard]] std::string unified_diff(const std::string& object, Field field, const Json& was,
                                       const Json& becomes);
// One entry of status.plan.gitChanges: {object, manager, diff}; nullopt where what steers the object says
// that already, or leaves the field alone. was: what its manifest says where that cannot be seen.
[[nodiscard]] std::optional<Json> git_change(const std::string& object, Field field, const Steering& s,
                                             const Json& was, const Json& becomes);
// Whether a plan changes an object that somebody steers by himself: then none goes without approval.
[[nodiscard]] bool managed(const Json& git_changes);

// One thing that shall stay as it is now: what GitOpsAligned compares.
struct Expectation {
  std::string object;  // "Service/postgresql"
  Field field = Field::kSelector;
  Steering steering;
  Json value;                  // what it must be
  bool stated_before = false;  // its steerer owned the field before an action of ours took it over
};
struct Alignment {
  std::string status, reason, message;
};
[[nodiscard]] Alignment judge_alignment(const std::vector<Expectation>& all);

}  // namespace pgrunbook::plan
