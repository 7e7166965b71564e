// kube::Api in memory, for tests of what is built on it: the API server's rules that our code leans on
// (resourceVersion, uid preconditions, JSON patch tests, subresources, selectors), a journal of every write,
// faults before and after a write, and a hook that lets a test play kubelet and controllers. Beside it the
// objects of the runbook's scene.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "kube/client.hpp"

namespace pgrunbook::test {

using base::Json;

class FakeApi final : public kube::Api {
 public:
  struct Call {
    std::string verb;  // get, list, create, patch, remove, log
    std::string kind, name, subresource;
    Json body;
    [[nodiscard]] bool is_write() const { return verb == "create" || verb == "patch" || verb == "remove"; }
    [[nodiscard]] std::string text() const;  // "patch Service/postgresql"
  };
  // kBefore: nothing has happened yet. kAfter: it has, and what is returned is a lost reply.
  enum class Moment { kBefore, kAfter };
  using Fault = std::function<std::optional<base::Error>(const Call&, Moment)>;

  // Asked at every call; may throw, which is a crash of the caller.
  Fault fault;
  // Told of every object that was written, after the write; may change others: the rest of the cluster.
  std::function<void(FakeApi&, const kube::Resource&, const Json&)> react;

  // The world's own hand: no journal, no faults, no preconditions.
  Json put(const kube::Resource& r, Json object);
  void erase(const kube::Resource& r, const std::string& name);
  // Merges into an object that is there.
  void merge(const kube::Resource& r, const std::string& name, const Json& patch);
  [[nodiscard]] Json peek(const kube::Resource& r, const std::string& name) const;  // null where absent
  [[nodiscard]] std::vector<Json> all(const kube::Resource& r) const;
  void set_log(const std::string& pod, const std::string& container, const std::string& text);

  [[nodiscard]] std::vector<Call> writes() const;
  [[nodiscard]] std::vector<std::string> write_texts() const;
  void forget_calls();

  [[nodiscard]] base::Result<Json> get(const kube::Resource& r, const std::string& ns,
                                       const std::string& name, base::Deadline d) override;
  [[nodiscard]] base::Result<Json> list(const kube::Resource& r, const std::string& ns,
                                        const kube::ListOptions& o, base::Deadline d) override;
  [[nodiscard]] base::Result<Json> create(const kube::Resource& r, const std::string& ns, const Json& object,
                                          base::Deadline d) override;
  [[nodiscard]] base::Result<Json> patch(const kube::Resource& r, const std::string& ns,
                                         const std::string& name, kube::PatchType type, const Json& body,
                                         const std::string& subresource, base::Deadline d) override;
  [[nodiscard]] base::Result<> remove(const kube::Resource& r, const std::string& ns, const std::string& name,
                                      const std::string& uid, base::Deadline d) override;
  [[nodiscard]] base::Result<std::string> pod_log(const std::string& ns, const std::string& pod,
                                                  const std::string& container, const kube::LogOptions& o,
                                                  base::Deadline d) override;
  // A quiet stream: blocks until stopped.
  [[nodiscard]] base::Result<std::string> watch(const kube::Resource& r, const std::string& ns,
                                                const kube::ListOptions& o,
                                                const std::string& resource_version,
                                                const std::function<void(kube::WatchEvent)>& on_event,
                                                std::stop_token stop) override;

 private:
  std::optional<base::Error> ask(const Call& call, Moment moment);
  Json& store(const kube::Resource& r, Json object);
  void tell(const kube::Resource& r, const Json& object);

  mutable std::recursive_mutex mutex_;
  std::map<std::string, Json> objects_;  // by "<plural>.<group>/<name>"
  std::map<std::string, std::string> logs_;
  std::vector<Call> calls_;
  int version_ = 100, uids_ = 0;
};

// The scene of the runbook: members postgresql and postgresql-standby, application tfrs, one archive volume.
namespace tfrs {
inline constexpr const char* kNamespace = "tfrs";
[[nodiscard]] Json deployment(const std::string& name, int replicas);
[[nodiscard]] Json application(int replicas);
[[nodiscard]] Json topology();
[[nodiscard]] Json service(const std::string& selected);
[[nodiscard]] Json claim(const std::string& name);
// A ready pod of a workload; its uid is "uid-<name>".
[[nodiscard]] Json pod(const std::string& name, const Json& labels, const std::string& ip);
[[nodiscard]] Json terminating(Json pod);
[[nodiscard]] Json terminated(Json pod, int exit_code);
// All of it, with the primary's and the application's pods running.
void put_scene(FakeApi& api);
}  // namespace tfrs

}  // namespace pgrunbook::test
