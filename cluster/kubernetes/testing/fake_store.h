// What a simulated cluster holds, and what its controllers make of it at once.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "cluster/kubernetes/testing/fake_api_server.h"

namespace cluster::testing {

// The parts of "/apis/discovery.k8s.io/v1/namespaces/it/endpointslices/web/status".
struct ResourcePath {
  std::string group;  // "/api/v1"
  std::string in_namespace = {};
  std::string resource;
  std::string name = {};
  std::string subresource = {};

  static ResourcePath parse(const std::string& path);
  [[nodiscard]] std::string key() const;  // the object's own path
  // Whether an object of `other` is in this collection.
  [[nodiscard]] bool holds(const ResourcePath& other) const;
};

struct StoreEvent {
  std::uint64_t version;
  std::string type;
  ResourcePath path;
  base::Json object;
};

// Whether labels and name fit the selectors, as far as we use their language.
[[nodiscard]] bool fits(const base::Json& object, const std::string& labels,
                        const std::string& fields);

// Any thread; one lock for all.
class FakeStore {
 public:
  // Merged into what is there, or new.
  base::Json apply(const ResourcePath& path, const base::Json& object);
  base::Json patch_status(const ResourcePath& path, const base::Json& patch);
  bool remove(const ResourcePath& path);
  void remove_collection(const ResourcePath& path, const std::string& labels);
  [[nodiscard]] base::Json find(const ResourcePath& path) const;
  [[nodiscard]] base::Json list(const ResourcePath& path, const std::string& labels,
                                const std::string& fields) const;

  // The events after `version`; waits for one. Nothing once the watch is to end; `gone`: because
  // that version is forgotten.
  std::optional<std::vector<StoreEvent>> events_after(std::uint64_t version, bool& gone);
  void drop_watches();
  void forget_history();
  void stop();

  void set_pod_fate(PodFate fate);
  void set_balancer(bool there);
  void set_injects_proxies(bool injects);
  void set_follows_readiness(bool follows);

 private:
  base::Json store(const ResourcePath& path, base::Json object);  // the rest: under the lock
  void erase(const ResourcePath& path);
  void after_write(const ResourcePath& path);
  void start_pod(base::Json& pod);
  void admit_service(base::Json& service);
  void follow_readiness(base::Json& pod) const;
  void write_slices(const std::string& in_namespace);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::pair<ResourcePath, base::Json>> objects_;
  std::vector<StoreEvent> events_;
  std::uint64_t version_ = 100;
  std::uint64_t forgotten_ = 0;
  std::uint64_t drops_ = 0;
  bool stopped_ = false;
  int addresses_ = 0;
  PodFate fate_ = PodFate::runs;
  bool balancer_ = true;
  bool injects_proxies_ = false;
  bool follows_readiness_ = true;
};

}  // namespace cluster::testing
