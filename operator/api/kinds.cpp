#include "api/kinds.hpp"

#include <charconv>

#include <fmt/format.h>

#include "base/hash.hpp"

namespace pgrunbook::api {

using base::ErrorCode;
using base::fail;
using base::Reader;

ObjectMeta meta_of(const Json& object) {
  ObjectMeta m;
  m.name = base::text_at(object, {"metadata", "name"});
  m.namespace_name = base::text_at(object, {"metadata", "namespace"});
  m.uid = base::text_at(object, {"metadata", "uid"});
  m.generation = base::number_at(object, {"metadata", "generation"});
  m.deleting = base::at(object, {"metadata", "deletionTimestamp"}).is_string();
  m.creation_time = base::text_at(object, {"metadata", "creationTimestamp"});
  return m;
}

namespace {

Result<WorkloadRef> workload(const Json& json, const std::string& path) {
  WorkloadRef w;
  Reader r(json, path);
  r.maybe("apiVersion", &w.api_version);
  r.word("kind", {"Deployment", "StatefulSet"}, &w.kind);
  r.need("name", &w.name);
  PGR_TRY(r.done());
  return w;
}

Result<std::string> topology_ref(Reader* r) {
  std::string name;
  Reader ref(r->required("topologyRef"), "spec.topologyRef");
  ref.need("name", &name);
  PGR_TRY(ref.done());
  return name;
}

// YAML makes numbers of what nobody thought to quote.
void text_or_number(Reader* r, std::string_view key, std::string* out) {
  const Json* value = r->child(key);
  if (value != nullptr && value->is_number_integer()) {
    *out = value->dump();
  } else {
    r->maybe(key, out);
  }
}

bool looks_like_lsn(std::string_view text) {
  auto slash = text.find('/');
  if (slash == std::string_view::npos) return false;
  for (std::string_view half : {text.substr(0, slash), text.substr(slash + 1)}) {
    if (half.empty() || half.size() > 8 ||
        half.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos)
      return false;
  }
  return true;
}

Result<TargetOrder> recovery_target(const Json& json) {
  const std::string path = "spec.recoveryTarget";
  TargetOrder t;
  Reader r(json, path);
  std::string timeline;
  r.maybe("targetTime", &t.time);
  r.maybe("targetLSN", &t.lsn);
  text_or_number(&r, "targetXID", &t.xid);
  r.maybe("targetName", &t.name);
  r.maybe("targetImmediate", &t.immediate);
  if (bool exclusive = false; r.maybe("exclusive", &exclusive)) t.exclusive = exclusive;
  text_or_number(&r, "targetTLI", &timeline);
  PGR_TRY(r.done());
  int kinds = (t.time.empty() ? 0 : 1) + (t.lsn.empty() ? 0 : 1) + (t.xid.empty() ? 0 : 1) +
              (t.name.empty() ? 0 : 1) + (t.immediate ? 1 : 0);
  if (kinds > 1) {
    return fail(ErrorCode::kInvalid, fmt::format("{} names {} targets", path, kinds), "keep one of them");
  }
  if (kinds == 0 && timeline.empty()) {
    return fail(ErrorCode::kInvalid, fmt::format("{} names no target", path),
                "name one, or remove recoveryTarget to recover to the latest moment");
  }
  if (t.exclusive && t.time.empty() && t.lsn.empty() && t.xid.empty()) {
    return fail(ErrorCode::kInvalid,
                fmt::format("{}.exclusive needs targetTime, targetLSN or targetXID", path),
                "remove exclusive");
  }
  if (!t.time.empty()) PGR_TRY(base::parse_time(t.time, path + ".targetTime"));
  if (!t.lsn.empty() && !looks_like_lsn(t.lsn)) {
    return fail(ErrorCode::kInvalid, fmt::format("{}.targetLSN {} is not a place in the WAL", path, t.lsn),
                "write it as pg_current_wal_lsn() shows it, like 0/3000148");
  }
  if (!t.xid.empty()) PGR_TRY(xid_of(t.xid));
  if (!timeline.empty()) {
    auto [end, failed] = std::from_chars(timeline.data(), timeline.data() + timeline.size(), t.timeline);
    if (failed != std::errc() || end != timeline.data() + timeline.size() || t.timeline < 1) {
      return fail(ErrorCode::kInvalid,
                  fmt::format("{}.targetTLI {} is not the number of a timeline", path, timeline),
                  "write its number, like 1; to follow the live one leave it out");
    }
  }
  return t;
}

}  // namespace

const Member* TopologySpec::member(std::string_view name) const {
  for (const Member& m : members) {
    if (m.name == name) return &m;
  }
  return nullptr;
}

Result<TopologySpec> topology_spec(const Json& spec) {
  TopologySpec t;
  Reader r(spec, "spec");
  if (const Json& members = r.required("members"); members.is_array()) {
    std::size_t i = 0;
    for (const Json& item : members) {
      std::string path = fmt::format("spec.members[{}]", i++);
      Member m;
      Reader mr(item, path);
      mr.need("name", &m.name);
      const Json& ref = mr.required("workloadRef");
      mr.maybe("container", &m.container);
      mr.maybe("dataDirectory", &m.data_directory);
      mr.word("whenStandby", {"ColdSpare"}, &m.when_standby);
      PGR_TRY(mr.done());
      PGR_ASSIGN(m.workload, workload(ref, path + ".workloadRef"));
      if (t.member(m.name) != nullptr) {
        return fail(ErrorCode::kInvalid, fmt::format("{} repeats the name {}", path, m.name),
                    "give each member its own name");
      }
      t.members.push_back(std::move(m));
    }
  }
  if (const Json& services = r.required("services"); services.is_array()) {
    for (const Json& item : services) {
      SelectedService s;
      Reader sr(item, "spec.services[]");
      sr.need("name", &s.name);
      sr.word("selects", {"Primary"}, &s.selects);
      PGR_TRY(sr.done());
      t.services.push_back(std::move(s));
    }
  }
  if (const Json* applications = r.child("applications");
      applications != nullptr && applications->is_array()) {
    for (const Json& item : *applications) {
      Reader ar(item, "spec.applications[]");
      const Json& ref = ar.required("workloadRef");
      PGR_TRY(ar.done());
      PGR_ASSIGN(WorkloadRef w, workload(ref, "spec.applications[].workloadRef"));
      t.applications.push_back(std::move(w));
    }
  }
  {
    Reader c(r.required("connection"), "spec.connection");
    Reader s(c.required("secretRef"), "spec.connection.secretRef");
    s.need("name", &t.connection.secret_name);
    s.maybe("usernameKey", &t.connection.username_key);
    s.maybe("passwordKey", &t.connection.password_key);
    PGR_TRY(s.done());
    c.maybe("database", &t.connection.database);
    c.word("sslMode", {"disable", "allow", "prefer", "require"}, &t.connection.ssl_mode);
    PGR_TRY(c.done());
  }
  {
    Reader a(r.required("archive"), "spec.archive");
    Reader v(a.required("volume"), "spec.archive.volume");
    v.need("claimName", &t.archive.claim_name);
    v.maybe("path", &t.archive.path);
    PGR_TRY(v.done());
    if (const Json* wal = a.child("wal")) {
      Reader w(*wal, "spec.archive.wal");
      w.word("method", {"Command"}, &t.archive.wal.method);
      w.word("setup", {"Report", "ConfigureAndRestart"}, &t.archive.wal.setup);
      w.maybe("replaceExisting", &t.archive.wal.replace_existing);
      PGR_TRY(w.done());
    }
    PGR_TRY(a.done());
  }
  if (const Json* jobs = r.child("jobs")) {
    Reader j(*jobs, "spec.jobs");
    auto take = [&](std::string_view key, Json* out) {
      if (const Json* value = j.child(key)) *out = *value;
    };
    take("resources", &t.jobs.resources);
    take("nodeSelector", &t.jobs.node_selector);
    take("tolerations", &t.jobs.tolerations);
    take("labels", &t.jobs.labels);
    PGR_TRY(j.done());
  }
  PGR_TRY(r.done());
  return t;
}

Result<BackupSpec> backup_spec(const Json& spec) {
  BackupSpec b;
  Reader r(spec, "spec");
  PGR_ASSIGN(b.topology, topology_ref(&r));
  r.word("method", {"Base"}, &b.method);
  if (const Json* base_json = r.child("base")) {
    Reader br(*base_json, "spec.base");
    br.word("type", {"Full"}, &b.type);
    br.word("checkpoint", {"Fast", "Spread"}, &b.checkpoint);
    br.maybe("maxRate", &b.max_rate);
    PGR_TRY(br.done());
  }
  r.word("verify", {"Manifest"}, &b.verify);
  PGR_TRY(r.done());
  return b;
}

Result<RestoreSpec> restore_spec(const Json& spec) {
  RestoreSpec s;
  Reader r(spec, "spec");
  PGR_ASSIGN(s.topology, topology_ref(&r));
  {
    Reader source(r.required("source"), "spec.source");
    source.word("type", {"Latest", "Backup"}, &s.source);
    if (const Json* ref = source.child("backupRef")) {
      Reader br(*ref, "spec.source.backupRef");
      br.need("name", &s.backup_name);
      PGR_TRY(br.done());
    }
    PGR_TRY(source.done());
    if ((s.source == "Backup") == s.backup_name.empty()) {
      return fail(ErrorCode::kInvalid, "spec.source.type Backup and spec.source.backupRef belong together",
                  "set both, or type: Latest alone");
    }
  }
  if (const Json* target = r.child("recoveryTarget")) {
    PGR_ASSIGN(s.target, recovery_target(*target));
  }
  {
    Reader to(r.required("to"), "spec.to");
    std::string type = "Member";
    to.word("type", {"Member"}, &type);
    Reader m(to.required("member"), "spec.to.member");
    m.need("name", &s.to_member);
    PGR_TRY(m.done());
    PGR_TRY(to.done());
  }
  r.word("salvage", {"None", "StoppedPrimary"}, &s.salvage);
  if (const Json* verification = r.child("verification")) {
    Reader v(*verification, "spec.verification");
    v.maybe("counts", &s.counts);
    if (const Json* queries = v.child("queries"); queries != nullptr && queries->is_array()) {
      for (const Json& item : *queries) {
        Query q;
        Reader qr(item, "spec.verification.queries[]");
        qr.need("sql", &q.sql);
        qr.need("expect", &q.expect);
        PGR_TRY(qr.done());
        s.queries.push_back(std::move(q));
      }
    }
    PGR_TRY(v.done());
  }
  r.word("cutover", {"None", "Manual"}, &s.cutover);
  r.word("mode", {"Plan", "Execute"}, &s.mode);
  std::string approval;
  if (r.word("approval", {"Required", "None"}, &approval)) s.approval = approval;
  r.maybe("approvedPlan", &s.approved_plan);
  r.maybe("cancel", &s.cancel);
  PGR_TRY(r.done());
  return s;
}

Result<FailoverSpec> failover_spec(const Json& spec) {
  FailoverSpec f;
  Reader r(spec, "spec");
  PGR_ASSIGN(f.topology, topology_ref(&r));
  r.word("type", {"Cutover"}, &f.type);
  r.need("candidate", &f.candidate);
  std::string approval;
  if (r.word("approval", {"Required", "None"}, &approval)) f.approval = approval;
  r.maybe("approvedPlan", &f.approved_plan);
  r.maybe("cancel", &f.cancel);
  PGR_TRY(r.done());
  return f;
}

std::string spec_hash(const Json& spec) {
  Json fixed = spec;
  if (fixed.is_object()) {
    fixed.erase("approvedPlan");
    fixed.erase("cancel");
  }
  return base::sha256(fixed.dump()).substr(0, 16);
}

}  // namespace pgrunbook::api
