#include "plan/steering.hpp"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

namespace pgrunbook::plan {

using base::at;
using base::text_at;

namespace {

constexpr const char* kLastApplied = "kubectl.kubernetes.io/last-applied-configuration";
constexpr const char* kKubectlApply = "kubectl apply";

const char* name_of(Field field) { return field == Field::kSelector ? "selector" : "replicas"; }

const Json& value_of(const Json& object, Field field) { return at(object, {"spec", name_of(field)}); }

bool has_prefix(const Json& map, std::string_view prefix) {
  if (!map.is_object()) return false;
  return std::any_of(map.items().begin(), map.items().end(),
                     [&](const auto& item) { return item.key().rfind(prefix, 0) == 0; });
}

Json last_applied(const Json& object) {
  std::string text = text_at(object, {"metadata", "annotations", kLastApplied});
  if (text.empty()) return Json();
  Json parsed = Json::parse(text, nullptr, false);
  return parsed.is_object() ? parsed : Json();
}

// Whoever applies server-side: the newest but us.
std::string applier(const Json& object) {
  const Json& fields = at(object, {"metadata", "managedFields"});
  std::string name, time;
  if (!fields.is_array()) return name;
  for (const Json& f : fields) {
    if (text_at(f, {"operation"}) != "Apply" || !text_at(f, {"subresource"}).empty()) continue;
    if (text_at(f, {"manager"}) == kOurManager || text_at(f, {"time"}) < time) continue;
    name = text_at(f, {"manager"});
    time = text_at(f, {"time"});
  }
  return name;
}

// A string as YAML writes it: quoted where it would be read as something else.
std::string yaml(const Json& value) {
  if (!value.is_string()) return value.dump();
  std::string text = value.get<std::string>();
  bool plain = !text.empty() && std::isalpha(static_cast<unsigned char>(text.front())) != 0 &&
               std::all_of(text.begin(), text.end(), [](char c) {
                 return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' ||
                        c == '.' || c == '/';
               });
  for (const char* word :
       {"true", "false", "yes",  "no",   "on",    "off", "null", "y",  "n",   "True", "False", "Yes", "No",
        "On",   "Off",   "Null", "TRUE", "FALSE", "YES", "NO",   "ON", "OFF", "NULL", "Y",     "N"})
    plain = plain && text != word;
  return plain ? text : value.dump();
}

// "selector {name: b} instead of {name: a}"
std::string words(Field field, const Json& value) {
  if (!value.is_object()) return fmt::format("{}: {}", name_of(field), yaml(value));
  std::vector<std::string> pairs;
  for (const auto& [key, v] : value.items()) pairs.push_back(fmt::format("{}: {}", key, yaml(v)));
  return fmt::format("{}: {{{}}}", name_of(field), fmt::join(pairs, ", "));
}

}  // namespace

std::string path_of(Field field) { return std::string("spec.") + name_of(field); }

Steerer steerer_of(const Json& object) {
  const Json& labels = at(object, {"metadata", "labels"});
  const Json& annotations = at(object, {"metadata", "annotations"});
  std::string applies = applier(object);
  using Kind = Steerer::Kind;
  if (has_prefix(annotations, "argocd.argoproj.io/") || has_prefix(labels, "argocd.argoproj.io/"))
    return {Kind::kArgoCD, "Argo CD", applies.rfind("argocd", 0) == 0 ? applies : ""};
  if (has_prefix(labels, "kustomize.toolkit.fluxcd.io/"))
    return {Kind::kFlux, "kustomize-controller", "kustomize-controller"};
  // Flux's helm-controller works as Helm does, with a manifest that we may not read.
  if (has_prefix(labels, "helm.toolkit.fluxcd.io/")) return {Kind::kHelm, "helm-controller", ""};
  if (std::string release = text_at(annotations, {"meta.helm.sh/release-name"}); !release.empty())
    return {Kind::kHelm, "Helm release " + release, ""};
  if (text_at(labels, {"app.kubernetes.io/managed-by"}) == "Helm") return {Kind::kHelm, "Helm", ""};
  if (!text_at(annotations, {kLastApplied}).empty()) return {Kind::kApply, kKubectlApply, ""};
  if (!applies.empty())
    return {Kind::kApply, applies == "kubectl" ? std::string("kubectl apply --server-side") : applies,
            applies};
  return {};
}

std::string managed_by(const Json& object) {
  Steerer s = steerer_of(object);
  return s.by_itself() ? s.name : "";
}

std::vector<FieldOwner> owners_of(const Json& object, Field field) {
  std::vector<FieldOwner> out;
  const Json& fields = at(object, {"metadata", "managedFields"});
  if (!fields.is_array()) return out;
  std::string key = std::string("f:") + name_of(field);
  for (const Json& f : fields) {
    if (!at(f, {"fieldsV1", "f:spec"}).is_object() || !at(f, {"fieldsV1", "f:spec"}).contains(key)) continue;
    out.push_back({text_at(f, {"manager"}), text_at(f, {"operation"}), text_at(f, {"time"})});
  }
  // Of two in one second the other one: we know what we did.
  std::sort(out.begin(), out.end(), [](const FieldOwner& a, const FieldOwner& b) {
    return a.time != b.time ? a.time > b.time : a.manager != kOurManager && b.manager == kOurManager;
  });
  return out;
}

Steering steering_of(const Json& object, Field field) {
  Steering s;
  s.by = steerer_of(object);
  s.live = value_of(object, field);
  std::vector<FieldOwner> owners = owners_of(object, field);
  if (!owners.empty()) s.setter = owners.front();
  using Known = Desired::Known;
  auto owned_by = [&](const std::string& manager) {
    return std::any_of(owners.begin(), owners.end(), [&](const FieldOwner& o) {
      return o.manager == manager && (s.by.kind == Steerer::Kind::kHelm || o.operation == "Apply");
    });
  };
  switch (s.by.kind) {
    case Steerer::Kind::kNobody:
      break;
    case Steerer::Kind::kHelm:
      s.desired = {Known::kNo};
      // It set the field itself, and nobody has since: that much is seen without its manifest.
      if (owned_by("helm") || owned_by("helm-controller")) s.desired = {Known::kYes, s.live};
      break;
    default:
      if (s.by.manager.empty()) {
        Json value = value_of(last_applied(object), field);
        s.desired = value.is_null() ? Desired{} : Desired{Known::kYes, value};
      } else if (owned_by(s.by.manager)) {
        s.desired = {Known::kYes, s.live};
      } else if (!owners.empty()) {
        // Whoever else set it took it from the one who applies, if that one had it: both look the same now.
        s.desired = {Known::kNo};
      }
  }
  return s;
}

std::string reverted_by(const std::string& manager) {
  std::string out;
  bool up = true;
  for (char c : manager) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) {
      up = true;
      continue;
    }
    out += up ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    up = false;
  }
  return "RevertedBy" + (out.empty() ? "Unknown" : out.substr(0, 100));
}

std::string who_set(const Steering& s) {
  if (s.setter.manager.empty()) return "somebody";
  std::string name = s.setter.manager;
  if (s.by.by_itself() && s.by.name != name) name += fmt::format(" ({})", s.by.name);
  return s.setter.time.empty() ? name : fmt::format("{} at {}", name, s.setter.time);
}

std::string unified_diff(const std::string& object, Field field, const Json& was, const Json& becomes) {
  std::vector<std::string> lines{" spec:"};
  std::size_t before = 1, after = 1;
  auto change = [&](const std::string& indent, const std::string& key, const Json& from, const Json& to) {
    if (from == to) {
      lines.push_back(fmt::format(" {}{}: {}", indent, key, yaml(to)));
      ++before, ++after;
      return;
    }
    if (!from.is_null()) lines.push_back(fmt::format("-{}{}: {}", indent, key, yaml(from))), ++before;
    if (!to.is_null()) lines.push_back(fmt::format("+{}{}: {}", indent, key, yaml(to))), ++after;
  };
  if (field == Field::kReplicas) {
    change("  ", "replicas", was, becomes);
  } else {
    lines.emplace_back("   selector:");
    ++before, ++after;
    Json keys = was.is_object() ? was : Json::object();
    if (becomes.is_object()) keys.update(becomes);
    for (const auto& [key, unused] : keys.items()) change("    ", key, at(was, {key}), at(becomes, {key}));
  }
  return fmt::format("--- a/{0}\n+++ b/{0}\n@@ -1,{1} +1,{2} @@ {3}\n{4}", object, before, after,
                     path_of(field), fmt::join(lines, "\n"));
}

std::optional<Json> git_change(const std::string& object, Field field, const Steering& s, const Json& was,
                               const Json& becomes) {
  if (s.by.kind != Steerer::Kind::kNobody && s.desired.known == Desired::Known::kUnstated)
    return std::nullopt;
  // What Helm set last is what it says: there is no manifest to look at.
  const Json& says = s.desired.known == Desired::Known::kYes ? s.desired.value : was;
  if (says == becomes) return std::nullopt;
  Json change = {{"object", object}, {"diff", unified_diff(object, field, says, becomes)}};
  if (!s.by.name.empty()) change["manager"] = s.by.name;
  return change;
}

bool managed(const Json& git_changes) {
  return git_changes.is_array() && std::any_of(git_changes.begin(), git_changes.end(), [](const Json& c) {
           std::string manager = text_at(c, {"manager"});
           return !manager.empty() && manager.rfind(kKubectlApply, 0) != 0;
         });
}

Alignment judge_alignment(const std::vector<Expectation>& all) {
  std::vector<std::string> open, unknown, who, unseen;
  std::string release;
  bool helm = false, steered = false;
  auto add = [](std::vector<std::string>* list, const std::string& text) {
    if (std::find(list->begin(), list->end(), text) == list->end()) list->push_back(text);
  };
  for (const Expectation& e : all) {
    const Steering& s = e.steering;
    if (s.by.kind == Steerer::Kind::kNobody) continue;
    steered = true;
    bool is_helm = s.by.kind == Steerer::Kind::kHelm;
    bool yes = s.desired.known == Desired::Known::kYes;
    if (s.desired.known == Desired::Known::kUnstated || (yes && s.desired.value == e.value)) continue;
    std::string line = fmt::format("{} {}", e.object, words(e.field, e.value));
    if (!yes && s.by.kind == Steerer::Kind::kFlux) add(&unseen, e.object);
    // What Helm says now may be other than what it set last.
    if (is_helm || (!yes && !e.stated_before)) {
      helm = helm || is_helm;
      if (is_helm) release = s.by.name.rfind("Helm release ", 0) == 0 ? s.by.name.substr(13) : "<release>";
      unknown.push_back(line);
    } else {
      open.push_back(line);
      add(&who, s.by.name);
    }
  }
  if (!steered) return {"True", "NobodySteers", "nobody else steers the Services and members"};
  // It compares without the owners, and applies an object only where something of it differs.
  const std::string once = unseen.empty()
                               ? ""
                               : fmt::format(
                                     ". Then it has to be applied once for this to see it, and Flux leaves "
                                     "alone what is right: kubectl label {} "
                                     "kustomize.toolkit.fluxcd.io/name- makes it apply them",
                                     fmt::join(unseen, " "));
  if (!open.empty()) {
    return {"False", "NotCommitted",
            fmt::format("what {} applies is not what is so now, and will change it back. HINT: commit: {}{}",
                        fmt::join(who, ", "), fmt::join(open, "; "), once)};
  }
  if (helm) {
    return {
        "Unknown", "HelmIsNotAsked",
        fmt::format(
            "Helm keeps what it would apply in a Secret that is not read. HINT: helm get manifest {} must "
            "say: {}",
            release, fmt::join(unknown, "; "))};
  }
  if (!unknown.empty()) {
    return {
        "Unknown", "TakenOver",
        fmt::format(
            "these were last set by somebody else than what applies the manifests, so whether those state "
            "them cannot be seen. HINT: where they do, they must say: {}{}",
            fmt::join(unknown, "; "), once)};
  }
  return {"True", "Aligned", "what others apply agrees with what is so"};
}

}  // namespace pgrunbook::plan
