// Prints the status of an action in every phase, as operator/api writes it: one line of JSON each. For tests
// of what other programs make of them.
#include <cstdio>

#include "api/status.hpp"

int main() {
  using namespace pgrunbook::api;
  for (int i = 0; i <= static_cast<int>(Phase::kCancelled); ++i) {
    ActionStatus status;
    status.phase = static_cast<Phase>(i);
    status.message = "why";
    status.set_conditions(1, "2026-11-20T15:00:00Z");
    Json written = to_json(status);
    // As the API server gets it: null means absent.
    for (auto it = written.begin(); it != written.end();) {
      it = it->is_null() ? written.erase(it) : std::next(it);
    }
    std::printf("%s\n", written.dump().c_str());
  }
}
