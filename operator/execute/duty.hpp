// What an action has to put back, kept where no deletion of the action takes it away: in an annotation of the
// Lease that holds its volume. So no object of ours needs a finalizer, which hangs for ever once its remover
// has gone (a namespace's Roles and ServiceAccounts may be deleted first), and an object deleted while it
// runs, even while no operator lives, is put back all the same.
#pragma once

#include "execute/world.hpp"

namespace pgrunbook::execute {

// Writes what the status says of the operation onto the Lease, before the status itself is written; `before`
// is the operation as the status has it. Nothing is written where nothing changed, before the volumes are
// held, and for backups, which leave nothing to put back. A Lease that is no longer ours is left alone.
[[nodiscard]] Result<> keep_duty(Action& a, const Json& before);

// A duty as it stands on a Lease.
struct Duty {
  std::string lease, lease_uid, resource_version;
  std::string kind, flow;  // flow: "" = the kind's own, or Leave
  Json object;             // metadata, spec and status of the action
};
// The duty on one Lease; nullopt where there is none. A duty that cannot be read is kInvalid.
[[nodiscard]] Result<std::optional<Duty>> duty_of(const Json& lease);
// The action as kept. Saving it writes the duty; a Lease that has gone is no error: then all is done.
[[nodiscard]] Action action_of(World& world, const Duty& duty);

// Leases of ours with an annotation or without.
[[nodiscard]] Result<Json> our_leases(World& world);
[[nodiscard]] const kube::Resource& resource_of_kind(const std::string& kind);
[[nodiscard]] std::string lease_name(const std::string& claim_uid);
// The annotation's text for an action.
[[nodiscard]] Json duty_json(const Action& a);

}  // namespace pgrunbook::execute
