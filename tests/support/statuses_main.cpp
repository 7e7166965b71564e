// Prints statuses as the operator writes them, for tests of what other programs make of them: one line of
// JSON each, {"kind", "case", "status"}. Of an action in every phase, of a topology in what can be said of
// one.
#include <cstdio>
#include <functional>

#include "api/status.hpp"
#include "plan/topology_status.hpp"

namespace {

using namespace pgrunbook;
using api::Phase;
using base::Json;

constexpr const char* kNow = "2026-11-20T15:00:00Z";

void print(const char* kind, std::string_view name, const Json& status) {
  // As the API server gets it: null means absent.
  Json written = status;
  for (auto it = written.begin(); it != written.end();)
    it = it->is_null() ? written.erase(it) : std::next(it);
  std::printf("%s\n", Json{{"kind", kind}, {"case", name}, {"status", written}}.dump().c_str());
}

void print_topology(const char* name, const std::function<void(plan::StatusEditor&)>& say,
                    Json status = Json::object()) {
  plan::StatusEditor editor(&status, 1, kNow);
  say(editor);
  status["observedGeneration"] = 1;
  print("Topology", name, status);
}

void print_looked_at(const char* name, const plan::ArchiverFacts& found, const plan::SetupState& setup = {},
                     const Json& before = Json::object()) {
  plan::SceneView scene;
  scene.topology = "tfrs";
  scene.primary = "postgresql";
  scene.members.emplace_back();
  scene.members.front().name = scene.primary;
  scene.members.front().repository = "/archive/tfrs";
  plan::TopologyFacts facts;
  facts.scene = &scene;
  facts.archiving = plan::judge_archiving(scene.members.front(), found);
  facts.setup = setup;
  facts.now = kNow;
  print_topology(name, [&](plan::StatusEditor& out) { plan::say_topology(out, facts); }, before);
}

}  // namespace

int main() {
  for (int i = 0; i <= static_cast<int>(Phase::kCancelled); ++i) {
    api::ActionStatus status;
    status.phase = static_cast<Phase>(i);
    status.message = "why";
    status.set_conditions(1, kNow);
    print("Action", api::to_string(status.phase), api::to_json(status));
  }

  auto stalled = [](plan::StatusEditor& out) { out.stalled(base::refused("NoPrimary", "none", "mend it")); };
  print_topology("NoPrimary", stalled);
  api::ActionStatus setup;
  setup.phase = Phase::kRunning;
  print_topology("SettingUp", [&](plan::StatusEditor& out) { out.setting_up(setup); });
  setup.phase = Phase::kBlocked;
  setup.reason = "QuotaTooSmall";
  print_topology("SetupBlocked", [&](plan::StatusEditor& out) { out.setting_up(setup); });

  plan::ArchiverFacts facts;
  facts.archive_mode = "on";
  facts.archive_command = "pgrunbook-agent archive-wal --repository /archive/tfrs --path %p";
  print_looked_at("Archiving", facts);
  Json before = Json::object();
  plan::StatusEditor editor(&before, 1, kNow);
  stalled(editor);
  facts.waiting = 9;
  facts.oldest_seconds = 3600;
  print_looked_at("ArchivingBehind", facts);
  plan::ArchiverFacts down;
  down.ready_pod = false;
  print_looked_at("PrimaryNotReady", down);
  print_looked_at("PrimaryNotReadyAfterNoPrimary", down, {}, before);
  facts.archive_mode = "off";
  print_looked_at("NotSetUp", facts);
  print_looked_at("SetupFailed", facts, {true, true, "ArchiveTakesNothing", "it was put back"});
}
