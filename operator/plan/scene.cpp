#include "plan/scene.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "plan/network.hpp"

namespace pgrunbook::plan {

using base::at;
using base::ErrorCode;
using base::fail;
using base::number_at;
using base::text_at;

namespace {

int annotation_number(const Json& object, int otherwise) {
  std::string text = text_at(object, {"metadata", "annotations", api::kAnnotationReplicasBefore});
  int value = otherwise;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

bool inside(const std::string& path, const std::string& directory) {
  return path == directory ||
         (path.size() > directory.size() && path.compare(0, directory.size(), directory) == 0 &&
          (directory.back() == '/' || path[directory.size()] == '/'));
}

}  // namespace

const MemberView* SceneView::member(std::string_view name) const {
  auto found =
      std::find_if(members.begin(), members.end(), [&](const MemberView& m) { return m.name == name; });
  return found == members.end() ? nullptr : &*found;
}

bool pod_counts(const Json& pod) {
  std::string phase = text_at(pod, {"status", "phase"});
  return phase != "Succeeded" && phase != "Failed";
}

bool pod_ready(const Json& pod) {
  if (at(pod, {"metadata", "deletionTimestamp"}).is_string()) return false;
  const Json& conditions = at(pod, {"status", "conditions"});
  return conditions.is_array() && std::any_of(conditions.begin(), conditions.end(), [](const Json& c) {
           return text_at(c, {"type"}) == "Ready" && text_at(c, {"status"}) == "True";
         });
}

Result<MemberView> member_view(const api::Member& member, const api::Archive& archive,
                               const std::string& topology, const Json& workload,
                               const std::map<std::string, std::string>& claim_uids) {
  MemberView v;
  std::string field = fmt::format("member {}", member.name);
  v.name = member.name;
  v.workload = member.workload;
  v.workload_uid = text_at(workload, {"metadata", "uid"});
  v.manager = managed_by(workload);
  v.replicas = static_cast<int>(number_at(workload, {"spec", "replicas"}, 1));
  v.replicas_before = annotation_number(workload, 1);
  v.pod_template = at(workload, {"spec", "template"});
  v.labels = at(v.pod_template, {"metadata", "labels"});
  v.recreate =
      member.workload.kind != "Deployment" || text_at(workload, {"spec", "strategy", "type"}) == "Recreate";
  if (v.replicas > 1) {
    return fail(base::refused("SeveralReplicas",
                              fmt::format("{}: {} {} has {} replicas; a member is one PostgreSQL instance",
                                          field, member.workload.kind, member.workload.name, v.replicas),
                              "scale it to 1, or name each instance as a member of its own"));
  }
  const Json& containers = at(v.pod_template, {"spec", "containers"});
  const Json* container = nullptr;
  if (containers.is_array()) {
    for (const Json& c : containers) {
      if (member.container.empty() ? containers.size() == 1 : text_at(c, {"name"}) == member.container)
        container = &c;
    }
  }
  if (container == nullptr) {
    return fail(base::refused(
        "UnknownContainer",
        member.container.empty() ? fmt::format("{}: {} {} has several containers", field,
                                               member.workload.kind, member.workload.name)
                                 : fmt::format("{}: {} {} has no container {}", field, member.workload.kind,
                                               member.workload.name, member.container),
        fmt::format("set spec.members[name={}].container to the one that runs PostgreSQL", member.name)));
  }
  v.container = text_at(*container, {"name"});
  v.image = text_at(*container, {"image"});
  v.data_directory = member.data_directory;
  if (v.data_directory.empty()) {
    if (const Json& env = at(*container, {"env"}); env.is_array()) {
      for (const Json& e : env) {
        if (text_at(e, {"name"}) == "PGDATA") v.data_directory = text_at(e, {"value"});
      }
    }
  }
  if (v.data_directory.empty()) {
    return fail(base::refused("UnknownDataDirectory", fmt::format("{}: the container sets no PGDATA", field),
                              fmt::format("set spec.members[name={}].dataDirectory", member.name)));
  }
  while (v.data_directory.size() > 1 && v.data_directory.back() == '/') v.data_directory.pop_back();

  std::map<std::string, std::string> claim_of;  // volume -> claim
  if (const Json& volumes = at(v.pod_template, {"spec", "volumes"}); volumes.is_array()) {
    for (const Json& volume : volumes) {
      std::string claim = text_at(volume, {"persistentVolumeClaim", "claimName"});
      if (!claim.empty()) claim_of[text_at(volume, {"name"})] = claim;
    }
  }
  // A StatefulSet's own claims are named <template>-<set>-<ordinal>.
  if (const Json& made = at(workload, {"spec", "volumeClaimTemplates"}); made.is_array()) {
    for (const Json& claim : made) {
      std::string name = text_at(claim, {"metadata", "name"});
      claim_of[name] = fmt::format("{}-{}-{}", name, member.workload.name,
                                   number_at(workload, {"spec", "ordinals", "start"}));
    }
  }
  bool has_subpath = false;
  if (const Json& mounts = at(*container, {"volumeMounts"}); mounts.is_array()) {
    for (const Json& mount : mounts) {
      std::string path = text_at(mount, {"mountPath"});
      while (path.size() > 1 && path.back() == '/') path.pop_back();
      auto claim = claim_of.find(text_at(mount, {"name"}));
      if (path.empty() || claim == claim_of.end()) continue;
      if (claim->second == archive.claim_name) {
        v.archive_mount = path;
        if (at(mount, {"subPath"}).is_string()) has_subpath = true;
      } else if (inside(v.data_directory, path) && path.size() > v.mount.size()) {
        v.mount = path;
        v.data_claim = claim->second;
        if (at(mount, {"subPath"}).is_string()) has_subpath = true;
      }
    }
  }
  if (v.data_claim.empty()) {
    return fail(
        base::refused("NoDataVolume",
                      fmt::format("{}: no PersistentVolumeClaim is mounted above the data directory {}",
                                  field, v.data_directory),
                      "a member's data must lie on a claim of its own; check dataDirectory and the volumes "
                      "of the workload"));
  }
  if (v.archive_mount.empty()) {
    return fail(base::refused("ArchiveNotMounted",
                              fmt::format("{}: the archive's claim {} is not mounted in container {}", field,
                                          archive.claim_name, v.container),
                              fmt::format("mount the claim {} into {} {}", archive.claim_name,
                                          member.workload.kind, member.workload.name)));
  }
  if (has_subpath) {
    return fail(base::refused(
        "SubPath",
        fmt::format("{}: a volume is mounted by subPath, which this version does not support", field),
        "mount the volume's root"));
  }
  auto uid = claim_uids.find(v.data_claim);
  if (uid == claim_uids.end() || claim_uids.find(archive.claim_name) == claim_uids.end()) {
    const std::string& missing = uid == claim_uids.end() ? v.data_claim : archive.claim_name;
    return fail(base::refused("NoClaim",
                              fmt::format("{}: PersistentVolumeClaim {} does not exist", field, missing),
                              "create the claim or correct its name"));
  }
  v.data_claim_uid = uid->second;
  v.archive_claim = archive.claim_name;
  std::string path = archive.path == "." || archive.path.empty() ? "" : "/" + archive.path;
  v.repository = v.archive_mount + path + "/" + topology;
  if (const Json& ports = at(*container, {"ports"}); ports.is_array()) {
    for (const Json& p : ports) {
      std::string name = text_at(p, {"name"});
      if (ports.size() == 1 || name.find("postgres") != std::string::npos) {
        v.port = static_cast<int>(number_at(p, {"containerPort"}, 5432));
      }
    }
  }
  return v;
}

std::string selected_member(const Json& selector, const std::vector<MemberView>& members) {
  std::string found;
  if (!selector.is_object() || selector.empty()) return "";
  for (const MemberView& m : members) {
    if (!selector_matches(Json{{"matchLabels", selector}}, m.labels)) continue;
    if (!found.empty()) return "";
    found = m.name;
  }
  return found;
}

Result<Json> switched_selector(const ServiceView& service, const MemberView& to,
                               const std::vector<MemberView>& members) {
  Json next = service.selector;
  if (!next.is_object() || next.empty()) {
    return fail(base::refused(
        "NoSelector", fmt::format("Service {} has no selector", service.name),
        "a Service without a selector cannot be switched; give it one that matches the primary's pods"));
  }
  for (auto& [key, value] : next.items()) {
    const Json& theirs = at(to.labels, {key});
    if (!theirs.is_string()) {
      return fail(base::refused("SelectorKeyMissing",
                                fmt::format("Service {} selects by {}, a label the pods of {} do not have",
                                            service.name, key, to.name),
                                fmt::format("add the label {} to the pod template of {} {}", key,
                                            to.workload.kind, to.workload.name)));
    }
    value = theirs;
  }
  std::string now = selected_member(next, members);
  if (now != to.name) {
    return fail(base::refused(
        "SelectorAmbiguous",
        fmt::format("Service {} cannot tell {} from another member: selector {} matches more than one",
                    service.name, to.name, next.dump()),
        "add a label to the selector that differs between the members"));
  }
  return next;
}

Json git_change(const std::string& object, const std::string& manager, const std::string& was,
                const std::string& becomes) {
  Json change = {{"object", object}, {"diff", fmt::format("-{}\n+{}", was, becomes)}};
  if (!manager.empty()) change["manager"] = manager;
  return change;
}

bool managed(const Json& git_changes) {
  return git_changes.is_array() && std::any_of(git_changes.begin(), git_changes.end(), [](const Json& c) {
           return !text_at(c, {"manager"}).empty();
         });
}

std::string managed_by(const Json& object) {
  const Json& labels = at(object, {"metadata", "labels"});
  const Json& annotations = at(object, {"metadata", "annotations"});
  auto has = [](const Json& map, std::string_view prefix) {
    if (!map.is_object()) return false;
    for (const auto& [key, value] : map.items()) {
      if (key.rfind(prefix, 0) == 0) return true;
    }
    return false;
  };
  if (has(annotations, "argocd.argoproj.io/") || has(labels, "argocd.argoproj.io/")) return "Argo CD";
  if (has(labels, "kustomize.toolkit.fluxcd.io/") || has(labels, "helm.toolkit.fluxcd.io/")) return "Flux";
  if (has(annotations, "meta.helm.sh/release-name"))
    return "Helm release " + text_at(annotations, {"meta.helm.sh/release-name"});
  if (text_at(labels, {"app.kubernetes.io/managed-by"}) == "Helm") return "Helm";
  return "";
}

}  // namespace pgrunbook::plan
