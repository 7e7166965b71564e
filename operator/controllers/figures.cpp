#include "controllers/figures.hpp"

#include <array>
#include <optional>

#include "api/status.hpp"
#include "base/time.hpp"

namespace pgrunbook::controllers {

using base::at;
using base::Json;
using base::number_at;
using base::text_at;
using runtime::Metrics;

namespace {

constexpr const char* kActions = "pgrunbook_actions";
constexpr const char* kEnded = "pgrunbook_actions_ended_total";
constexpr const char* kLastEnded = "pgrunbook_action_last_ended_timestamp_seconds";

std::optional<double> seconds(const std::string& time) {
  auto parsed = base::parse_time(time, "time");
  if (!parsed) return std::nullopt;
  return static_cast<double>(
      std::chrono::duration_cast<std::chrono::seconds>(parsed->time_since_epoch()).count());
}

// Absent where the condition is Unknown or not there.
std::optional<double> holds(const Json& status, std::string_view condition) {
  std::string value = api::condition_status(at(status, {"conditions"}), condition);
  if (value == "True") return 1;
  if (value == "False") return 0;
  return std::nullopt;
}

struct Gauge {
  const char *name, *help;
  std::optional<double> (*of)(const Json& topology);
};

const std::array<Gauge, 12> kGauges{{
    {"pgrunbook_topology_info", "1 for each topology.", [](const Json&) { return std::optional<double>(1); }},
    {"pgrunbook_continuous_archiving",
     "1 where the primary's WAL reaches the archive, 0 where it does not; absent while that is unknown.",
     [](const Json& t) { return holds(at(t, {"status"}), "ContinuousArchiving"); }},
    {"pgrunbook_recoverable",
     "1 where the archive allows a restore to the present, 0 where it does not; absent while that is "
     "unknown.",
     [](const Json& t) { return holds(at(t, {"status"}), "Recoverable"); }},
    {"pgrunbook_service_consistent",
     "1 where every Service selects the primary, 0 where one does not; absent while that is unknown.",
     [](const Json& t) { return holds(at(t, {"status"}), "ServiceConsistent"); }},
    {"pgrunbook_gitops_aligned",
     "1 where what Git, Helm or kubectl would apply agrees with the world, 0 where it would change it back; "
     "absent while that is unknown.",
     [](const Json& t) { return holds(at(t, {"status"}), "GitOpsAligned"); }},
    {"pgrunbook_members_healthy",
     "0 where a member's container or log tells of damage, else 1; absent while that is unknown.",
     [](const Json& t) { return holds(at(t, {"status"}), "MembersHealthy"); }},
    {"pgrunbook_topology_stalled", "1 where nothing goes on before a person has done something.",
     [](const Json& t) -> std::optional<double> {
       const Json& status = at(t, {"status"});
       if (!status.is_object()) return std::nullopt;
       return holds(status, "Stalled").value_or(0);
     }},
    {"pgrunbook_wal_ready_files", "Finished WAL segments that wait for the archive.",
     [](const Json& t) -> std::optional<double> {
       if (!at(t, {"status", "archiver", "ready"}).is_number()) return std::nullopt;
       return static_cast<double>(number_at(t, {"status", "archiver", "ready"}));
     }},
    {"pgrunbook_wal_oldest_ready_seconds", "How long the oldest of them waits; 0 where none does.",
     [](const Json& t) -> std::optional<double> {
       if (!at(t, {"status", "archiver", "ready"}).is_number()) return std::nullopt;
       return static_cast<double>(number_at(t, {"status", "archiver", "oldestReadySeconds"}));
     }},
    {"pgrunbook_last_backup_timestamp_seconds", "When the last complete backup ended.",
     [](const Json& t) { return seconds(text_at(t, {"status", "lastBackup", "time"})); }},
    {"pgrunbook_restorable_earliest_timestamp_seconds", "The earliest moment that can be restored.",
     [](const Json& t) { return seconds(text_at(t, {"status", "restorableWindow", "earliest"})); }},
    {"pgrunbook_restorable_latest_timestamp_seconds", "The latest moment that can be restored.",
     [](const Json& t) { return seconds(text_at(t, {"status", "restorableWindow", "latest"})); }},
}};

constexpr std::array<const char*, 3> kKinds{"PostgresBackup", "PostgresRestore", "Failover"};
constexpr std::array<const char*, 3> kResults{"Completed", "Failed", "Cancelled"};

}  // namespace

Figures::Figures(Metrics& metrics) : metrics_(metrics) {
  for (const Gauge& gauge : kGauges) metrics.describe(gauge.name, Metrics::Type::kGauge, gauge.help);
  metrics.describe(kActions, Metrics::Type::kGauge, "Actions by phase; absent where there is none.");
  metrics.describe(kEnded, Metrics::Type::kCounter, "Actions that ended, by result.");
  metrics.describe(kLastEnded, Metrics::Type::kGauge,
                   "When the last action that is still there ended, by result.");
}

void Figures::topology(const runtime::Change& change) {
  std::string name = text_at(change.object(), {"metadata", "name"});
  for (const Gauge& gauge : kGauges) {
    auto value = change.after ? gauge.of(*change.after) : std::nullopt;
    if (value) {
      metrics_.set(gauge.name, {{"topology", name}}, *value);
    } else {
      metrics_.unset(gauge.name, {{"topology", name}});
    }
  }
  // From 0 on: the first failure is an increase too.
  for (const char* kind : kKinds) {
    for (const char* result : kResults)
      metrics_.add(kEnded, {{"kind", kind}, {"topology", name}, {"result", result}}, 0);
  }
}

void Figures::count_locked(const std::string& kind, const Json& action, int by) {
  std::string topology = text_at(action, {"spec", "topologyRef", "name"});
  api::Phase phase = api::phase_from(text_at(action, {"status", "phase"}));
  Of of{kind, topology, std::string(api::to_string(phase))};
  Metrics::Labels labels{{"kind", kind}, {"topology", topology}, {"phase", std::get<2>(of)}};
  int& count = in_phase_[of];
  count += by;
  if (count > 0) {
    metrics_.set(kActions, labels, count);
  } else {
    in_phase_.erase(of);
    metrics_.unset(kActions, labels);
  }
  auto when = seconds(text_at(action, {"status", "completionTime"}));
  if (!api::terminal(phase) || !when) return;
  labels.back() = {"result", std::get<2>(of)};
  auto& times = ended_[of];
  auto time = static_cast<std::int64_t>(*when);
  if (by > 0) {
    times.insert(time);
  } else if (auto it = times.find(time); it != times.end()) {
    times.erase(it);
  }
  if (!times.empty()) {
    metrics_.set(kLastEnded, labels, static_cast<double>(*times.rbegin()));
  } else {
    ended_.erase(of);
    metrics_.unset(kLastEnded, labels);
  }
}

void Figures::action(const std::string& kind, const runtime::Change& change) {
  std::lock_guard lock(mutex_);
  if (change.before) count_locked(kind, *change.before, -1);
  if (change.after) count_locked(kind, *change.after, 1);
  if (!change.before || !change.after) return;
  api::Phase was = api::phase_from(text_at(*change.before, {"status", "phase"})),
             is = api::phase_from(text_at(*change.after, {"status", "phase"}));
  if (!api::terminal(was) && api::terminal(is))
    metrics_.add(kEnded, {{"kind", kind},
                          {"topology", text_at(*change.after, {"spec", "topologyRef", "name"})},
                          {"result", std::string(api::to_string(is))}});
}

}  // namespace pgrunbook::controllers
