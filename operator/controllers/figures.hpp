// What /metrics says of the objects, worked out from their status alone: it is right again the moment an
// operator starts. Labels are topology, kind, phase and result: never an object's name, uid or words.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <tuple>

#include "runtime/metrics.hpp"
#include "runtime/store.hpp"

namespace pgrunbook::controllers {

// Thread-safe. Fed with every change that the informers see.
class Figures {
 public:
  explicit Figures(runtime::Metrics& metrics);
  void topology(const runtime::Change& change);
  void action(const std::string& kind, const runtime::Change& change);

 private:
  using Of = std::tuple<std::string, std::string, std::string>;  // kind, topology, phase
  void count_locked(const std::string& kind, const base::Json& action, int by);

  runtime::Metrics& metrics_;
  std::mutex mutex_;
  std::map<Of, int> in_phase_;                       // guarded by mutex_
  std::map<Of, std::multiset<std::int64_t>> ended_;  // guarded by mutex_; when, in seconds
};

}  // namespace pgrunbook::controllers
