#include "execute/duty.hpp"

#include <fmt/format.h>

namespace pgrunbook::execute {

using base::at;
using base::ErrorCode;
using base::text_at;

const kube::Resource& resource_of_kind(const std::string& kind) {
  if (kind == "PostgresBackup") return kube::kinds::kBackup;
  if (kind == "PostgresRestore") return kube::kinds::kRestore;
  if (kind == "Failover") return kube::kinds::kFailover;
  return kube::kinds::kTopology;
}

std::string lease_name(const std::string& claim_uid) { return "pgrunbook-" + claim_uid.substr(0, 8); }

Json duty_json(const Action& a) {
  Json status = api::to_json(a.status);
  status.erase("conditions");
  return {{"kind", a.kind},
          {"flow", a.flow},
          {"metadata",
           {{"name", a.meta.name},
            {"namespace", a.meta.namespace_name},
            {"uid", a.meta.uid},
            {"generation", a.meta.generation}}},
          {"spec", at(a.object, {"spec"})},
          {"status", status}};
}

Result<> keep_duty(Action& a, const Json& before) {
  if (a.kind == "PostgresBackup" || a.result("hold").is_null()) return {};
  const Json& claims = a.input("claims");
  if (!claims.is_array() || claims.empty() || at(api::to_json(a.status), {"operation"}) == before) return {};
  Json patch = Json::array({{{"op", "test"}, {"path", "/spec/holderIdentity"}, {"value", a.meta.uid}},
                            {{"op", "add"},
                             {"path", "/metadata/annotations"},
                             {"value", {{api::kAnnotationDuty, duty_json(a).dump()}}}}});
  auto kept = a.world.api.patch(kube::kinds::kLease, a.world.ns, lease_name(claims[0].get<std::string>()),
                                kube::PatchType::kJson, patch, "", World::soon());
  // Given back, or taken over because we were over: nothing is left to put back.
  if (!kept && kept.error().code != ErrorCode::kNotFound && kept.error().code != ErrorCode::kConflict)
    return base::fail(kept.error().in("keep what must be put back"));
  return {};
}

Result<std::optional<Duty>> duty_of(const Json& lease) {
  std::string text = text_at(lease, {"metadata", "annotations", api::kAnnotationDuty});
  if (text.empty()) return std::optional<Duty>{};
  Duty d;
  d.lease = text_at(lease, {"metadata", "name"});
  d.lease_uid = text_at(lease, {"metadata", "uid"});
  d.resource_version = text_at(lease, {"metadata", "resourceVersion"});
  PGR_ASSIGN(Json kept, base::parse_json(text, "annotation of Lease " + d.lease));
  d.kind = text_at(kept, {"kind"});
  d.flow = text_at(kept, {"flow"});
  d.object = {{"apiVersion", api::kApiVersion},
              {"kind", d.kind},
              {"metadata", at(kept, {"metadata"})},
              {"spec", at(kept, {"spec"})},
              {"status", at(kept, {"status"})}};
  if (d.kind.empty() || text_at(d.object, {"metadata", "uid"}).empty())
    return base::fail(ErrorCode::kInvalid, fmt::format("Lease {} keeps a duty of no action", d.lease));
  return std::optional<Duty>(std::move(d));
}

Action action_of(World& world, const Duty& duty) {
  Action a{world,
           resource_of_kind(duty.kind),
           duty.object,
           api::meta_of(duty.object),
           api::status_of(duty.object),
           duty.kind,
           {}};
  a.flow = duty.flow;
  a.owner = {{"apiVersion", kube::kinds::kLease.api_version()},
             {"kind", kube::kinds::kLease.kind},
             {"name", duty.lease},
             {"uid", duty.lease_uid},
             {"controller", true}};
  a.save = [lease = duty.lease, version = duty.resource_version](Action& x) mutable -> Result<> {
    Json patch = {
        {"metadata",
         {{"resourceVersion", version}, {"annotations", {{api::kAnnotationDuty, duty_json(x).dump()}}}}}};
    auto kept = x.world.api.patch(kube::kinds::kLease, x.world.ns, lease, kube::PatchType::kMerge, patch, "",
                                  World::soon());
    if (!kept && kept.error().code == ErrorCode::kNotFound) return {};
    if (!kept) return base::fail(kept.error());
    version = text_at(*kept, {"metadata", "resourceVersion"});
    return {};
  };
  return a;
}

Result<Json> our_leases(World& world) {
  kube::ListOptions ours;
  ours.label_selector = "app.kubernetes.io/name=pgrunbook";
  PGR_ASSIGN(Json list, world.api.list(kube::kinds::kLease, world.ns, ours, World::soon()));
  const Json& items = at(list, {"items"});
  return items.is_array() ? items : Json::array();
}

}  // namespace pgrunbook::execute
