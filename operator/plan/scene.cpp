#include "plan/scene.hpp"

#include <algorithm>
#include <charconv>
#include <set>

#include <fmt/format.h>

#include "plan/network.hpp"

namespace pgrunbook::plan {

using base::at;
using base::fail;
using base::number_at;
using base::text_at;

namespace {

bool inside(const std::string& path, const std::string& directory) {
  return path == directory ||
         (path.size() > directory.size() && path.compare(0, directory.size(), directory) == 0 &&
          (directory.back() == '/' || path[directory.size()] == '/'));
}

std::string without_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

// What a volume is, for a message: "emptyDir", "configMap", ...
std::string kind_of_volume(const Json& volume) {
  if (volume.is_object()) {
    for (const auto& [key, value] : volume.items()) {
      if (key != "name") return key;
    }
  }
  return "unknown volume";
}

bool labels_hold(const Json& all, const Json& some) {
  return some.is_object() && !some.empty() && selector_matches(Json{{"matchLabels", some}}, all);
}

std::string member_field(const MemberView& m) { return fmt::format("member {}", m.name); }

}  // namespace

const MemberView* SceneView::member(std::string_view name) const {
  auto found =
      std::find_if(members.begin(), members.end(), [&](const MemberView& m) { return m.name == name; });
  return found == members.end() ? nullptr : &*found;
}

std::string application_key(const SceneView& scene, const ApplicationView& app) {
  auto same =
      std::count_if(scene.applications.begin(), scene.applications.end(),
                    [&](const ApplicationView& other) { return other.workload.name == app.workload.name; });
  return same > 1 ? fmt::format("{}/{}", app.workload.kind, app.workload.name) : app.workload.name;
}

int kept_count(const Json& counts, const ApplicationView& app) {
  auto bare = number_at(counts, {app.workload.name});
  return static_cast<int>(number_at(counts, {app.workload.kind + "/" + app.workload.name}, bare));
}

std::vector<std::string> pod_addresses(const Json& pod) {
  std::vector<std::string> out;
  if (const Json& all = at(pod, {"status", "podIPs"}); all.is_array()) {
    for (const Json& one : all) out.push_back(text_at(one, {"ip"}));
  }
  if (std::string first = text_at(pod, {"status", "podIP"}); out.empty() && !first.empty())
    out.push_back(first);
  return out;
}

Endpoints endpoints_of(const Json& slices, const std::vector<Json>& pods) {
  Endpoints out;
  std::set<std::string> wanted, families;
  for (const Json& slice : slices) {
    families.insert(text_at(slice, {"addressType"}, "IPv4"));
    const Json& endpoints = at(slice, {"endpoints"});
    if (!endpoints.is_array()) continue;
    for (const Json& e : endpoints) {
      if (at(e, {"conditions", "ready"}) == Json(false)) continue;
      for (const Json& address : at(e, {"addresses"})) out.ready.push_back(address.get<std::string>());
    }
  }
  std::sort(out.ready.begin(), out.ready.end());
  for (const Json& pod : pods) {
    if (!pod_ready(pod)) continue;
    for (std::string& address : pod_addresses(pod)) {
      bool six = address.find(':') != std::string::npos;
      if (families.count(six ? "IPv6" : "IPv4") != 0) wanted.insert(std::move(address));
    }
  }
  out.of_the_pods =
      !wanted.empty() && std::equal(out.ready.begin(), out.ready.end(), wanted.begin(), wanted.end());
  return out;
}

int replicas_before(const Json& workload, int otherwise) {
  std::string text = text_at(workload, {"metadata", "annotations", api::kAnnotationReplicasBefore});
  int value = otherwise;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
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
  v.steering = steering_of(workload, Field::kReplicas);
  v.manager = managed_by(workload);
  v.replicas = static_cast<int>(number_at(workload, {"spec", "replicas"}, 1));
  v.replicas_before = replicas_before(workload, 1);
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
  if (v.data_directory.front() != '/') {
    return fail(base::refused(
        "UnknownDataDirectory",
        fmt::format("{}: PGDATA of container {} is {}, which is not absolute", field, v.container,
                    v.data_directory),
        fmt::format("set spec.members[name={}].dataDirectory to the absolute path", member.name)));
  }
  v.data_directory = without_slash(v.data_directory);

  std::map<std::string, std::string> claim_of;  // volume -> claim
  std::map<std::string, std::string> kind_of;   // volume -> what it is, where it is no claim
  if (const Json& volumes = at(v.pod_template, {"spec", "volumes"}); volumes.is_array()) {
    for (const Json& volume : volumes) {
      std::string claim = text_at(volume, {"persistentVolumeClaim", "claimName"});
      if (claim.empty()) {
        kind_of[text_at(volume, {"name"})] = kind_of_volume(volume);
      } else {
        claim_of[text_at(volume, {"name"})] = claim;
      }
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
  // The deepest mount above the data directory holds the data, whatever kind of volume it is.
  const Json* data = nullptr;
  const Json* archived = nullptr;
  if (const Json& mounts = at(*container, {"volumeMounts"}); mounts.is_array()) {
    for (const Json& mount : mounts) {
      std::string path = without_slash(text_at(mount, {"mountPath"}));
      if (path.empty()) continue;
      if (inside(v.data_directory, path) && path.size() > v.mount.size()) {
        v.mount = path;
        data = &mount;
      }
      auto claim = claim_of.find(text_at(mount, {"name"}));
      if (claim != claim_of.end() && claim->second == archive.claim_name) {
        v.archive_mount = path;
        archived = &mount;
      }
    }
  }
  if (data != nullptr) {
    auto claim = claim_of.find(text_at(*data, {"name"}));
    if (claim != claim_of.end()) v.data_claim = claim->second;
  }
  if (v.data_claim.empty()) {
    auto other = data == nullptr ? kind_of.end() : kind_of.find(text_at(*data, {"name"}));
    std::string what =
        other == kind_of.end()
            ? fmt::format("no PersistentVolumeClaim is mounted above the data directory {}", v.data_directory)
            : fmt::format("the data directory {} lies on volume {}, which is no PersistentVolumeClaim but {}",
                          v.data_directory, other->first, other->second);
    return fail(
        base::refused("NoDataVolume", fmt::format("{}: {}", field, what),
                      "a member's data must lie on a claim of its own; check dataDirectory and the volumes "
                      "of the workload"));
  }
  if (v.data_claim == archive.claim_name) {
    return fail(base::refused(
        "ArchiveOnDataVolume",
        fmt::format("{}: the claim {} holds its data directory {} and is spec.archive.volume.claimName too",
                    field, v.data_claim, v.data_directory),
        "the archive needs a claim of its own, which every member mounts: what loses the data must not lose "
        "the archive"));
  }
  if (v.archive_mount.empty()) {
    return fail(base::refused("ArchiveNotMounted",
                              fmt::format("{}: the archive's claim {} is not mounted in container {}", field,
                                          archive.claim_name, v.container),
                              fmt::format("mount the claim {} into {} {}", archive.claim_name,
                                          member.workload.kind, member.workload.name)));
  }
  for (const Json* mount : {data, archived}) {
    if (at(*mount, {"subPath"}).is_string() || at(*mount, {"subPathExpr"}).is_string()) {
      return fail(base::refused(
          "SubPath",
          fmt::format("{}: a volume is mounted by subPath, which this version does not support", field),
          "mount the volume's root"));
    }
    if (at(*mount, {"readOnly"}) == Json(true)) {
      return fail(
          base::refused("ReadOnlyMount",
                        fmt::format("{}: volume {} is mounted readOnly at {}", field,
                                    text_at(*mount, {"name"}), without_slash(text_at(*mount, {"mountPath"}))),
                        fmt::format("PostgreSQL writes there: remove readOnly from {} {}",
                                    member.workload.kind, member.workload.name)));
    }
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
  // A policy's named port counts for every container of the pod that gives this port that name.
  for (const Json& c : containers) {
    const Json& ports = at(c, {"ports"});
    if (!ports.is_array()) continue;
    for (const Json& p : ports) {
      std::string name = text_at(p, {"name"});
      if (!name.empty() && number_at(p, {"containerPort"}) == v.port &&
          text_at(p, {"protocol"}, "TCP") == "TCP")
        v.port_names.push_back(name);
    }
  }
  return v;
}

Result<> check_members(const std::vector<MemberView>& members, const Json& claims) {
  for (std::size_t i = 0; i < members.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const MemberView &a = members[j], &b = members[i];
      if (a.data_claim == b.data_claim) {
        return fail(base::refused("SharedVolume",
                                  fmt::format("members {} and {} keep their data on the same claim {}",
                                              a.name, b.name, b.data_claim),
                                  "every member needs a volume of its own"));
      }
      if (labels_hold(a.labels, b.labels) || labels_hold(b.labels, a.labels)) {
        const Json& shared = labels_hold(a.labels, b.labels) ? b.labels : a.labels;
        return fail(base::refused(
            "MembersLookAlike",
            fmt::format("the pods of members {} and {} cannot be told apart: both carry all of {}", a.name,
                        b.name, shared.dump()),
            "give the pod templates a label that differs between the members"));
      }
    }
  }
  for (const MemberView& m : members) {
    for (const Json& claim : claims) {
      std::string name = text_at(claim, {"metadata", "name"});
      if (name != m.data_claim && name != m.archive_claim) continue;
      if (at(claim, {"metadata", "deletionTimestamp"}).is_string()) {
        return fail(base::refused(
            "ClaimDeleted",
            fmt::format(
                "{}: PersistentVolumeClaim {} is being deleted; it goes with the last pod that uses it",
                member_field(m), name),
            "keep its volume (set the PersistentVolume's reclaim policy to Retain) and copy what it holds "
            "before that pod ends"));
      }
      if (text_at(claim, {"spec", "volumeMode"}) == "Block") {
        return fail(base::refused(
            "BlockVolume",
            fmt::format("{}: PersistentVolumeClaim {} has volumeMode Block", member_field(m), name),
            "a data directory and an archive need volumeMode Filesystem"));
      }
    }
  }
  return {};
}

bool pod_of(const Json& pod, const api::WorkloadRef& workload, const Json& template_labels) {
  if (!labels_hold(at(pod, {"metadata", "labels"}), template_labels)) return false;
  const Json& owners = at(pod, {"metadata", "ownerReferences"});
  if (!owners.is_array() || owners.empty()) return true;
  return std::any_of(owners.begin(), owners.end(), [&](const Json& owner) {
    std::string kind = text_at(owner, {"kind"}), name = text_at(owner, {"name"});
    if (workload.kind == "StatefulSet") return kind == "StatefulSet" && name == workload.name;
    // Between a Deployment and its pods stands a ReplicaSet named after both.
    std::string hash = text_at(pod, {"metadata", "labels", "pod-template-hash"});
    return kind == "ReplicaSet" &&
           (hash.empty() ? name.rfind(workload.name + "-", 0) == 0 : name == workload.name + "-" + hash);
  });
}

base::Error no_primary(const SceneView& scene) {
  std::string said;
  for (const ServiceView& s : scene.services) {
    if (!s.selector.is_object() || s.selector.empty()) {
      return base::refused(
          "NoSelector", fmt::format("Service {} has no selector", s.name),
          "a Service without a selector cannot be switched; give it one that matches the primary's pods");
    }
    std::vector<std::string> matched;
    for (const MemberView& m : scene.members) {
      if (labels_hold(m.labels, s.selector)) matched.push_back(m.name);
    }
    if (matched.size() > 1) {
      return base::refused("SelectorAmbiguous",
                           fmt::format("the selector {} of Service {} matches more than one member: {}",
                                       s.selector.dump(), s.name, fmt::join(matched, ", ")),
                           "add a label to the selector that differs between the members");
    }
    if (matched.empty()) {
      return base::refused(
          "NoPrimary",
          fmt::format("the selector {} of Service {} matches no member", s.selector.dump(), s.name),
          "correct the selector, or spec.services and spec.members of the topology");
    }
    said += fmt::format("{}{} selects {}", said.empty() ? "" : ", ", s.name, matched.front());
  }
  return base::refused(
      "ServicesDisagree", fmt::format("the Services do not agree on one member: {}", said),
      "let every Service under spec.services select the primary; one for something else does "
      "not belong there");
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

Result<> leads_only_to(const std::string& service, const Json& selector, const MemberView& to,
                       const Json& pods, const Json& workloads) {
  auto stranger = [&](const std::string& what) {
    return fail(base::refused(
        "SelectorMatchesOthers",
        fmt::format("once switched to {}, Service {} would select by {}, which {} matches too", to.name,
                    service, selector.dump(), what),
        fmt::format(
            "change the labels of {}, or add a label to the Service's selector and to the members' pod "
            "templates that only the members carry",
            what)));
  };
  for (const Json& w : workloads) {
    std::string kind = text_at(w, {"kind"}), name = text_at(w, {"metadata", "name"});
    if (kind == to.workload.kind && name == to.workload.name) continue;
    if (labels_hold(at(w, {"spec", "template", "metadata", "labels"}), selector))
      return stranger(fmt::format("{} {}", kind, name));
  }
  for (const Json& pod : pods) {
    if (!pod_counts(pod) || !labels_hold(at(pod, {"metadata", "labels"}), selector)) continue;
    const Json& owners = at(pod, {"metadata", "ownerReferences"});
    bool made = owners.is_array() && !owners.empty();
    if (!made || !pod_of(pod, to.workload, to.labels))
      return stranger("pod " + text_at(pod, {"metadata", "name"}));
  }
  return {};
}

}  // namespace pgrunbook::plan
