#include "api/job.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace pgrunbook::api {
namespace {

int small(std::int64_t value) { return static_cast<int>(value); }

Json strings(const std::vector<std::string>& list) { return Json(list); }

Result<> read_int(base::Reader* r, std::string_view key, int* out) {
  std::int64_t value = *out;
  r->maybe(key, &value);
  *out = small(value);
  return {};
}

Json queries_json(const std::vector<Query>& queries) {
  Json list = Json::array();
  for (const Query& q : queries) list.push_back({{"sql", q.sql}, {"expect", q.expect}});
  return list;
}

}  // namespace

Json to_json(const TargetOrder& t) {
  Json j = Json::object();
  for (const auto& [key, value] : {std::pair{"targetTime", &t.time},
                                   {"targetLSN", &t.lsn},
                                   {"targetXID", &t.xid},
                                   {"targetName", &t.name}}) {
    if (!value->empty()) j[key] = *value;
  }
  if (t.immediate) j["targetImmediate"] = true;
  if (t.exclusive) j["exclusive"] = *t.exclusive;
  if (t.timeline != 0) j["targetTLI"] = t.timeline;
  return j;
}

Result<TargetOrder> target_from_json(const Json& json) {
  TargetOrder t;
  base::Reader r(json, "target");
  r.maybe("targetTime", &t.time);
  r.maybe("targetLSN", &t.lsn);
  r.maybe("targetXID", &t.xid);
  r.maybe("targetName", &t.name);
  r.maybe("targetImmediate", &t.immediate);
  if (bool exclusive = false; r.maybe("exclusive", &exclusive)) t.exclusive = exclusive;
  PGR_TRY(read_int(&r, "targetTLI", &t.timeline));
  PGR_TRY(r.done());
  return t;
}

bool TargetOrder::latest() const {
  return time.empty() && lsn.empty() && xid.empty() && name.empty() && !immediate;
}

std::string TargetOrder::asked() const {
  std::string out = exclusive.value_or(false) ? "before " : "";
  if (!time.empty()) out += time;
  if (!lsn.empty()) out += "LSN " + lsn;
  if (!xid.empty()) out += "xid " + xid;
  if (!name.empty()) out += "name " + name;
  if (immediate) out += "immediate";
  if (latest()) out += "latest";
  if (timeline != 0) out += fmt::format(", timeline {}", timeline);
  return out;
}

Result<std::uint32_t> xid_of(const std::string& text) {
  std::uint64_t number = 0;
  auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  auto xid = static_cast<std::uint32_t>(number);
  if (text.empty() || failed != std::errc() || end != text.data() + text.size() || xid < 3) {
    return base::fail(base::ErrorCode::kInvalid,
                      fmt::format("targetXID {} is not the number of a transaction", text),
                      "write it as pg_current_xact_id() or pg_waldump shows it, like 745");
  }
  return xid;
}

Json to_json(const Order& o) {
  Json j = {
      {"format", o.format},
      {"job", o.job},
      {"action",
       {{"kind", o.action.kind},
        {"name", o.action.name},
        {"uid", o.action.uid},
        {"specHash", o.action.spec_hash}}},
      {"repository",
       {{"path", o.repository.path},
        {"topology", o.repository.topology},
        {"topologyUID", o.repository.topology_uid}}},
  };
  if (o.member) {
    const MemberRef& m = *o.member;
    j["member"] = {{"name", m.name},
                   {"mount", m.mount},
                   {"dataDirectory", m.data_directory},
                   {"claimUID", m.claim_uid},
                   {"host", m.host},
                   {"port", m.port},
                   {"repository", m.archive_mount_repository}};
  }
  if (o.job == jobs::kSetup) {
    j["setup"] = {{"putBack", o.setup.put_back},
                  {"replaceExisting", o.setup.replace_existing},
                  {"attempt", o.setup.attempt},
                  {"archiveTimeout", o.setup.archive_timeout}};
  }
  if (o.job == jobs::kBackup) {
    j["backup"] = {{"id", o.backup.id},
                   {"checkpoint", o.backup.checkpoint},
                   {"maxRate", o.backup.max_rate},
                   {"compression", o.backup.compression},
                   {"level", o.backup.level},
                   {"verify", o.backup.verify}};
  }
  if (o.job == jobs::kPlan || o.job == jobs::kProof) {
    j["plan"] = {{"method", o.plan.method},
                 {"backupID", o.plan.backup_id},
                 {"target", to_json(o.plan.target)},
                 {"timeline", o.plan.timeline},
                 {"candidate", o.plan.candidate},
                 {"candidateTimeline", o.plan.candidate_timeline},
                 {"waitFor", strings(o.plan.wait_for)},
                 {"mark", {{"name", o.plan.mark.name}, {"lsn", o.plan.mark.lsn}}},
                 {"waitSeconds", o.plan.wait_seconds},
                 {"counts", strings(o.plan.counts)},
                 {"ontoMember", o.plan.onto_member},
                 {"readVolume", o.plan.read_volume},
                 {"salvage", o.plan.salvage}};
  }
  if (o.job == jobs::kRecover) {
    j["recover"] = {{"backupID", o.recover.backup_id},
                    {"timeline", o.recover.timeline},
                    {"targetLSN", o.recover.target_lsn},
                    {"reachedLSN", o.recover.reached_lsn},
                    {"queries", queries_json(o.recover.queries)},
                    {"counts", strings(o.recover.counts)},
                    {"database", o.recover.database},
                    {"memoryMiB", o.recover.memory_mib},
                    {"salvage", o.recover.salvage}};
  }
  if (o.job == jobs::kFence) {
    j["fence"] = {{"waitSeconds", o.fence.wait_seconds},
                  {"timeline", o.fence.timeline},
                  {"forkLSN", o.fence.fork_lsn},
                  {"salvage", o.fence.salvage}};
  }
  if (o.job == jobs::kRecord) {
    j["record"] = {{"outcome", o.record.outcome},
                   {"reason", o.record.reason},
                   {"transcriptFile", o.record.transcript_file},
                   {"summary", o.record.summary}};
  }
  if (!o.undo.is_null()) j["undo"] = o.undo;
  if (!o.leave.is_null()) j["leave"] = o.leave;
  return j;
}

Result<Order> order_from_json(const Json& json) {
  Order o;
  base::Reader r(json, "order");
  PGR_TRY(read_int(&r, "format", &o.format));
  if (o.format != kOrderFormat) {
    return base::fail(base::ErrorCode::kInvalid,
                      fmt::format("order has format {}, this agent knows {}", o.format, kOrderFormat));
  }
  r.need("job", &o.job);
  {
    base::Reader a(r.required("action"), "order.action");
    a.need("kind", &o.action.kind);
    a.need("name", &o.action.name);
    a.need("uid", &o.action.uid);
    a.maybe("specHash", &o.action.spec_hash);
    PGR_TRY(a.done());
  }
  {
    base::Reader a(r.required("repository"), "order.repository");
    a.need("path", &o.repository.path);
    a.need("topology", &o.repository.topology);
    a.need("topologyUID", &o.repository.topology_uid);
    PGR_TRY(a.done());
  }
  if (const Json* member = r.child("member")) {
    MemberRef m;
    base::Reader a(*member, "order.member");
    a.need("name", &m.name);
    a.maybe("mount", &m.mount);
    a.maybe("dataDirectory", &m.data_directory);
    a.maybe("claimUID", &m.claim_uid);
    a.maybe("repository", &m.archive_mount_repository);
    a.maybe("host", &m.host);
    PGR_TRY(read_int(&a, "port", &m.port));
    PGR_TRY(a.done());
    o.member = m;
  }
  if (const Json* part = r.child("setup")) {
    base::Reader a(*part, "order.setup");
    a.maybe("putBack", &o.setup.put_back);
    a.maybe("replaceExisting", &o.setup.replace_existing);
    PGR_TRY(read_int(&a, "attempt", &o.setup.attempt));
    PGR_TRY(read_int(&a, "archiveTimeout", &o.setup.archive_timeout));
    PGR_TRY(a.done());
  }
  if (const Json* part = r.child("backup")) {
    base::Reader a(*part, "order.backup");
    a.need("id", &o.backup.id);
    a.maybe("checkpoint", &o.backup.checkpoint);
    a.maybe("maxRate", &o.backup.max_rate);
    a.maybe("compression", &o.backup.compression);
    PGR_TRY(read_int(&a, "level", &o.backup.level));
    a.maybe("verify", &o.backup.verify);
    PGR_TRY(a.done());
  }
  if (const Json* part = r.child("plan")) {
    base::Reader a(*part, "order.plan");
    a.maybe("method", &o.plan.method);
    a.maybe("backupID", &o.plan.backup_id);
    if (const Json* target = a.child("target")) {
      PGR_ASSIGN(o.plan.target, target_from_json(*target));
    }
    PGR_TRY(read_int(&a, "timeline", &o.plan.timeline));
    a.maybe("candidate", &o.plan.candidate);
    PGR_TRY(read_int(&a, "candidateTimeline", &o.plan.candidate_timeline));
    a.maybe("waitFor", &o.plan.wait_for);
    if (const Json* mark = a.child("mark")) {
      base::Reader m(*mark, "order.plan.mark");
      m.maybe("name", &o.plan.mark.name);
      m.maybe("lsn", &o.plan.mark.lsn);
      PGR_TRY(m.done());
    }
    PGR_TRY(read_int(&a, "waitSeconds", &o.plan.wait_seconds));
    a.maybe("counts", &o.plan.counts);
    a.maybe("readVolume", &o.plan.read_volume);
    a.maybe("salvage", &o.plan.salvage);
    a.maybe("ontoMember", &o.plan.onto_member);
    PGR_TRY(a.done());
  }
  if (const Json* part = r.child("recover")) {
    base::Reader a(*part, "order.recover");
    a.need("backupID", &o.recover.backup_id);
    PGR_TRY(read_int(&a, "timeline", &o.recover.timeline));
    a.need("targetLSN", &o.recover.target_lsn);
    a.maybe("reachedLSN", &o.recover.reached_lsn);
    a.maybe("counts", &o.recover.counts);
    a.maybe("database", &o.recover.database);
    PGR_TRY(read_int(&a, "memoryMiB", &o.recover.memory_mib));
    a.maybe("salvage", &o.recover.salvage);
    if (const Json* list = a.child("queries"); list != nullptr && list->is_array()) {
      for (const Json& item : *list) {
        Query q;
        base::Reader b(item, "order.recover.queries[]");
        b.need("sql", &q.sql);
        b.need("expect", &q.expect);
        PGR_TRY(b.done());
        o.recover.queries.push_back(q);
      }
    }
    PGR_TRY(a.done());
  }
  if (const Json* part = r.child("fence")) {
    base::Reader a(*part, "order.fence");
    PGR_TRY(read_int(&a, "waitSeconds", &o.fence.wait_seconds));
    PGR_TRY(read_int(&a, "timeline", &o.fence.timeline));
    a.maybe("forkLSN", &o.fence.fork_lsn);
    a.maybe("salvage", &o.fence.salvage);
    PGR_TRY(a.done());
  }
  if (const Json* part = r.child("record")) {
    base::Reader a(*part, "order.record");
    a.need("outcome", &o.record.outcome);
    a.maybe("reason", &o.record.reason);
    a.maybe("transcriptFile", &o.record.transcript_file);
    if (const Json* summary = a.child("summary")) o.record.summary = *summary;
    PGR_TRY(a.done());
  }
  if (const Json* undo = r.child("undo")) o.undo = *undo;
  if (const Json* leave = r.child("leave")) o.leave = *leave;
  PGR_TRY(r.done());
  return o;
}

namespace {
constexpr const char* kOutcomes[] = {"Succeeded", "Refused", "Failed", "Blocked"};
}

Json to_json(const Answer& a) {
  return {{"outcome", kOutcomes[static_cast<int>(a.outcome)]},
          {"reason", a.reason},
          {"message", a.message},
          {"hint", a.hint},
          {"result", a.result}};
}

Result<Answer> answer_from_json(const Json& json) {
  Answer a;
  base::Reader r(json, "answer");
  std::string outcome;
  r.need("outcome", &outcome);
  r.maybe("reason", &a.reason);
  r.maybe("message", &a.message);
  r.maybe("hint", &a.hint);
  if (const Json* result = r.child("result")) a.result = *result;
  PGR_TRY(r.done());
  const auto* found = std::find(std::begin(kOutcomes), std::end(kOutcomes), outcome);
  if (found == std::end(kOutcomes)) {
    return base::fail(base::ErrorCode::kCorrupt, fmt::format("a Job answered with outcome '{}'", outcome));
  }
  a.outcome = static_cast<Outcome>(found - std::begin(kOutcomes));
  return a;
}

Json to_json(const Progress& p) {
  return {
      {"step", p.step}, {"message", p.message}, {"bytesDone", p.bytes_done}, {"bytesTotal", p.bytes_total}};
}

Result<Progress> progress_from_json(const Json& json) {
  Progress p;
  p.step = base::text_at(json, {"step"});
  p.message = base::text_at(json, {"message"});
  p.bytes_done = base::number_at(json, {"bytesDone"});
  p.bytes_total = base::number_at(json, {"bytesTotal"});
  if (p.step.empty()) return base::fail(base::ErrorCode::kCorrupt, "a progress line has no step");
  return p;
}

}  // namespace pgrunbook::api
