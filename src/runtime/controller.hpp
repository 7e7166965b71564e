// Workers that bring one kind's objects to what they should be. The contract is controller-runtime's:
// level-based, one key at a time, and three ways to end that are not each other: waiting, failing, and
// failing for good.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <stop_token>
#include <string>
#include <thread>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "runtime/informer.hpp"
#include "runtime/metrics.hpp"
#include "runtime/work_queue.hpp"

namespace pgrunbook::runtime {

struct Done {};  // as it should be; comes back when something changes
struct After {
  std::chrono::milliseconds wait{};
};  // waiting for something no watch will tell about
struct Terminal {
  base::Error error;
};  // only another input helps: logged, counted, not tried again
// A base::Error is tried again with a growing wait, not before its retry_after.
using Outcome = std::variant<Done, After, base::Error, Terminal>;

// The keys of this controller that an object concerns. Pure.
using Mapper = std::function<std::vector<Key>(const Json& object)>;

namespace mappers {
// The object itself.
[[nodiscard]] Mapper self();
// The owners of that kind in metadata.ownerReferences.
[[nodiscard]] Mapper owner(const kube::Resource& kind);
// The value of a label as the name, in the object's namespace.
[[nodiscard]] Mapper label(const std::string& name);
}  // namespace mappers

class Controller {
 public:
  // Must stand being called at any time for any key, also one that no longer exists, and must return soon:
  // every blocking call in it has a deadline. `stop`: we are to end, or no longer lead; begin nothing new
  // then.
  using Reconcile = std::function<Outcome(const Key&, const std::stop_token& stop)>;

  struct Options {
    int workers = 1;
    WorkQueue::Options queue{};
    Metrics* metrics = nullptr;
  };

  // The function may also take the key alone.
  template <typename F>
  Controller(std::string name, F reconcile, Options options)
      : Controller(Tag{}, std::move(name), adapt(std::move(reconcile)), std::move(options)) {}
  template <typename F>
  Controller(std::string name, F reconcile) : Controller(std::move(name), std::move(reconcile), Options()) {}
  ~Controller();
  Controller(const Controller&) = delete;
  Controller& operator=(const Controller&) = delete;

  // Every change of the informer's kind enqueues what the mapper says, for the state before and after. The
  // mapper may be narrowed by `relevant` (given both states; default: all). Before the informer starts; it
  // must outlive this.
  void watch(Informer& informer, Mapper mapper, std::function<bool(const Change&)> relevant = {});
  void enqueue(const Key& key);
  // Enqueues everything the informers know, as if it were new: insurance against a change we missed by a
  // fault of ours.
  void resync();

  void start();
  // Hands out no more work and asks running reconciles to end; does not wait.
  void request_stop();
  // True once all workers have ended; false at the deadline.
  [[nodiscard]] bool wait(base::Deadline deadline);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::vector<Informer*> informers() const;
  [[nodiscard]] std::set<Key> running() const { return queue_.processing(); }
  [[nodiscard]] WorkQueue& queue() { return queue_; }

  // One key, as a worker would: for tests.
  void work_on(const Key& key, const std::stop_token& stop);

 private:
  struct Tag {};
  Controller(Tag, std::string name, Reconcile reconcile, Options options);
  template <typename F>
  static Reconcile adapt(F f) {
    if constexpr (std::is_invocable_r_v<Outcome, F, const Key&, std::stop_token>) {
      return f;
    } else {
      return [f = std::move(f)](const Key& key, const std::stop_token&) -> Outcome { return f(key); };
    }
  }
  void work(const std::stop_token& stop);
  void count(const char* result);
  void measure();

  struct Watch {
    Informer* informer;
    Mapper mapper;
    std::function<bool(const Change&)> relevant;
  };
  const std::string name_;
  const Reconcile reconcile_;
  const int workers_;
  Metrics* const metrics_;
  WorkQueue queue_;
  std::vector<Watch> watches_;
  std::atomic<int> alive_ = 0;
  std::vector<std::jthread> threads_;  // last: they use everything above
};

}  // namespace pgrunbook::runtime
