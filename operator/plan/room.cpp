#include "plan/room.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include <fmt/format.h>

namespace pgrunbook::plan {

using base::at;
using base::text_at;

namespace {

constexpr std::pair<std::string_view, double> kUnits[] = {{"n", 1e-9},
                                                          {"u", 1e-6},
                                                          {"m", 1e-3},
                                                          {"", 1},
                                                          {"k", 1e3},
                                                          {"M", 1e6},
                                                          {"G", 1e9},
                                                          {"T", 1e12},
                                                          {"P", 1e15},
                                                          {"E", 1e18},
                                                          {"Ki", 1024.0},
                                                          {"Mi", 1048576.0},
                                                          {"Gi", 1073741824.0},
                                                          {"Ti", 1099511627776.0},
                                                          {"Pi", 1125899906842624.0},
                                                          {"Ei", 1152921504606846976.0}};

// As people write them: memory in Mi, the rest in m or whole.
std::string written(const std::string& resource, double thousandths) {
  bool bytes = resource.find("memory") != std::string::npos || resource.find("storage") != std::string::npos;
  double value = thousandths / 1000;
  if (bytes) {
    double mib = value / 1048576.0;
    return mib == std::floor(mib) ? fmt::format("{:.0f}Mi", mib) : fmt::format("{:.0f}", value);
  }
  return value == std::floor(value) ? fmt::format("{:.0f}", value) : fmt::format("{:.0f}m", thousandths);
}

struct Amounts {
  std::map<std::string, double> requests, limits;
};

Amounts amounts_of(const Json& container) {
  Amounts out;
  auto read = [](const Json& list, std::map<std::string, double>* into) {
    if (!list.is_object()) return;
    for (const auto& [name, value] : list.items()) {
      if (auto q = quantity(value)) (*into)[name] = *q;
    }
  };
  read(at(container, {"resources", "limits"}), &out.limits);
  read(at(container, {"resources", "requests"}), &out.requests);
  for (const auto& [name, value] : out.limits) out.requests.emplace(name, value);
  return out;
}

// What a LimitRange fills in; a limit that is only a default becomes no request where a default request is.
void fill_in(const Json& item, Amounts* a) {
  auto each = [&](const char* key, std::map<std::string, double>* into) {
    if (const Json& list = at(item, {key}); list.is_object()) {
      for (const auto& [name, value] : list.items()) {
        if (auto q = quantity(value)) into->emplace(name, *q);
      }
    }
  };
  each("defaultRequest", &a->requests);
  each("default", &a->limits);
  for (const auto& [name, value] : a->limits) a->requests.emplace(name, value);
}

struct Container {
  std::string name;
  bool init = false;
  Amounts amounts;
};

std::vector<Container> containers_of(const Json& spec, const std::vector<const Json*>& container_limits) {
  std::vector<Container> out;
  for (const char* list : {"initContainers", "containers"}) {
    const Json& all = at(spec, {list});
    if (!all.is_array()) continue;
    for (const Json& c : all) {
      Container made{text_at(c, {"name"}), std::string_view(list) == "initContainers", amounts_of(c)};
      for (const Json* item : container_limits) fill_in(*item, &made.amounts);
      out.push_back(std::move(made));
    }
  }
  return out;
}

// The pod's own: the containers' sum, or the largest init container where that is more. nullopt: a container
// does not state it.
std::optional<double> needed(const std::vector<Container>& all, const std::string& resource, bool limits) {
  double sum = 0, init = 0;
  for (const Container& c : all) {
    const auto& map = limits ? c.amounts.limits : c.amounts.requests;
    auto found = map.find(resource);
    if (found == map.end()) return std::nullopt;
    if (c.init) {
      init = std::max(init, found->second);
    } else {
      sum += found->second;
    }
  }
  return std::max(sum, init);
}

// Quotas that count a pod of ours: it has no deadline (NotTerminating) and states resources (NotBestEffort).
bool counts_it(const Json& quota) {
  if (at(quota, {"spec", "scopeSelector"}).is_object()) return false;
  const Json& scopes = at(quota, {"spec", "scopes"});
  if (!scopes.is_array()) return true;
  return std::all_of(scopes.begin(), scopes.end(),
                     [](const Json& s) { return s == "NotTerminating" || s == "NotBestEffort"; });
}

struct Asked {
  std::string resource;  // as in the pod
  bool limits = false;
};

std::optional<Asked> compute_resource(const std::string& hard) {
  if (hard == "cpu" || hard == "memory" || hard == "ephemeral-storage") return Asked{hard, false};
  if (hard.rfind("requests.", 0) == 0 && hard != "requests.storage") return Asked{hard.substr(9), false};
  if (hard.rfind("limits.", 0) == 0) return Asked{hard.substr(7), true};
  return std::nullopt;
}

std::optional<RoomRefusal> by_quotas(const Json& quotas, const PodWish& wish,
                                     const std::vector<Container>& containers) {
  for (const Json& quota : quotas) {
    if (!counts_it(quota)) continue;
    const Json& hard = at(quota, {"spec", "hard"});
    if (!hard.is_object()) continue;
    std::string name = text_at(quota, {"metadata", "name"});
    for (const auto& [key, value] : hard.items()) {
      double most = quantity(value).value_or(0);
      double used = quantity(at(quota, {"status", "used", key})).value_or(0);
      double want = 0;
      if (auto asked = compute_resource(key)) {
        auto need = needed(containers, asked->resource, asked->limits);
        if (!need) {
          return RoomRefusal{base::refused(
              "QuotaNeedsResource",
              fmt::format("ResourceQuota {} counts {}, which {} does not state", name, key, wish.who),
              fmt::format(
                  "set {} in spec.jobs.resources of the topology, or give the namespace's LimitRange a "
                  "default for it",
                  key))};
        }
        want = *need;
      } else if (key == "pods" || key == "count/pods" || (wish.by_job && key == "count/jobs.batch")) {
        want = 1000;
      } else {
        continue;
      }
      if (want <= 0 || used + want <= most) continue;
      return RoomRefusal{
          base::refused(
              "QuotaTooSmall",
              fmt::format("ResourceQuota {} has no room for {}: {} needed {}, used {}, hard {}", name,
                          wish.who, key, written(key, want), written(key, used), written(key, most)),
              fmt::format(
                  "raise {} of the ResourceQuota to {}, free as much, or lower spec.jobs.resources of "
                  "the topology; it goes on by itself",
                  key, written(key, used + want))),
          want <= most};
    }
  }
  return std::nullopt;
}

std::optional<RoomRefusal> by_limits(const Json& ranges, const PodWish& wish,
                                     const std::vector<Container>& containers) {
  auto refuse = [&](const std::string& range, const std::string& what, const std::string& hint) {
    return RoomRefusal{
        base::refused("LimitRangeTooTight",
                      fmt::format("LimitRange {} does not allow {}: {}", range, wish.who, what), hint)};
  };
  const char* way = "change the LimitRange, or spec.jobs.resources of the topology; it goes on by itself";
  auto judge = [&](const std::string& range, const Json& item, const std::string& who,
                   const std::map<std::string, double>& requests,
                   const std::map<std::string, double>& limits) -> std::optional<RoomRefusal> {
    if (const Json& max = at(item, {"max"}); max.is_object()) {
      for (const auto& [key, value] : max.items()) {
        double most = quantity(value).value_or(0);
        auto found = limits.find(key);
        if (found == limits.end())
          return refuse(
              range, fmt::format("{} states no limit of {}, max is {}", who, key, written(key, most)), way);
        if (found->second > most)
          return refuse(range,
                        fmt::format("{} has the limit {} {}, max is {}", who, key,
                                    written(key, found->second), written(key, most)),
                        way);
      }
    }
    if (const Json& min = at(item, {"min"}); min.is_object()) {
      for (const auto& [key, value] : min.items()) {
        double least = quantity(value).value_or(0);
        auto found = requests.find(key);
        double has = found == requests.end() ? 0 : found->second;
        if (has < least)
          return refuse(
              range,
              fmt::format("{} requests {} {}, min is {}", who, key, written(key, has), written(key, least)),
              way);
      }
    }
    if (const Json& ratio = at(item, {"maxLimitRequestRatio"}); ratio.is_object()) {
      for (const auto& [key, value] : ratio.items()) {
        double most = quantity(value).value_or(0) / 1000;
        auto request = requests.find(key), limit = limits.find(key);
        if (request == requests.end() || limit == limits.end() || request->second <= 0) continue;
        if (limit->second / request->second > most)
          return refuse(
              range,
              fmt::format("{} has the limit {} {} for a request of {}, maxLimitRequestRatio is {:g}", who,
                          key, written(key, limit->second), written(key, request->second), most),
              way);
      }
    }
    return std::nullopt;
  };
  for (const Json& range : ranges) {
    std::string name = text_at(range, {"metadata", "name"});
    const Json& items = at(range, {"spec", "limits"});
    if (!items.is_array()) continue;
    for (const Json& item : items) {
      std::string type = text_at(item, {"type"});
      if (type == "Container") {
        for (const Container& c : containers) {
          if (auto r = judge(name, item, "container " + c.name, c.amounts.requests, c.amounts.limits))
            return r;
        }
      } else if (type == "Pod") {
        std::map<std::string, double> requests, limits;
        for (const char* resource : {"cpu", "memory", "ephemeral-storage"}) {
          if (auto need = needed(containers, resource, false)) requests[resource] = *need;
          if (auto need = needed(containers, resource, true)) limits[resource] = *need;
        }
        if (auto r = judge(name, item, "the pod", requests, limits)) return r;
      }
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<double> quantity(const Json& value) {
  std::string text = value.is_string() ? value.get<std::string>() : value.is_number() ? value.dump() : "";
  double number = 0;
  auto [rest, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || ec != std::errc{}) return std::nullopt;
  std::string_view unit(rest, static_cast<std::size_t>(text.data() + text.size() - rest));
  for (const auto& [name, factor] : kUnits) {
    if (name == unit) return std::round(number * factor * 1e6) / 1e3;
  }
  return std::nullopt;
}

std::optional<RoomRefusal> no_room(const Json& quotas, const Json& limit_ranges,
                                   const std::vector<PodWish>& wishes) {
  std::vector<const Json*> defaults;
  if (limit_ranges.is_array()) {
    for (const Json& range : limit_ranges) {
      const Json& items = at(range, {"spec", "limits"});
      if (!items.is_array()) continue;
      for (const Json& item : items) {
        if (text_at(item, {"type"}) == "Container") defaults.push_back(&item);
      }
    }
  }
  for (const PodWish& wish : wishes) {
    std::vector<Container> containers = containers_of(wish.spec, defaults);
    if (limit_ranges.is_array()) {
      if (auto r = by_limits(limit_ranges, wish, containers)) return r;
    }
    if (quotas.is_array()) {
      if (auto r = by_quotas(quotas, wish, containers)) return r;
    }
  }
  return std::nullopt;
}

}  // namespace pgrunbook::plan
