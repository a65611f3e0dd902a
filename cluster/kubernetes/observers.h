// Privileged agents beside pods: each a pod in its node's own network namespace, with exactly the
// capabilities that probes and captures take. Made only when one is asked for.
#pragma once

#include <set>
#include <string>

#include <sys/types.h>

#include "base/result.h"
#include "cluster/kubernetes/agents.h"
#include "cluster/kubernetes/api_client.h"
#include "cluster/kubernetes/manifests.h"
#include "cluster/target.h"

namespace cluster {

// The pod to look at.
struct Observed {
  std::string in_namespace;
  std::string pod;
  std::string node;  // it is on
};

class Observers {
 public:
  // `place`: for what is made, not an environment's. `api` and `agents` must outlive it.
  Observers(ApiClient& api, Agents& agents, Placement place, std::string image)
      : api_(&api), agents_(&agents), place_(std::move(place)), image_(std::move(image)) {}

  // An agent on the pod's node, and the pod's host-side interface there. Errors: as
  // Target::observe(); missing (the pod's interface has no other end on its node).
  base::Result<Observer> observe(const Observed& pod);

  // A program on a node that answers what proxies there use (proxy_meters.h). Errors: as observe().
  base::Result<AgentStreams> meter(const std::string& node, uid_t user);

  [[nodiscard]] const Placement& place() const { return place_; }
  // Whether anything was made.
  [[nodiscard]] bool any() const { return begun_; }

 private:
  base::Result<> start(const std::string& name, const std::string& node,
                       const base::Json& manifest);
  base::Result<std::string> host_interface(const Observed& pod, const std::string& observer);

  ApiClient* api_;
  Agents* agents_;
  Placement place_;
  std::string image_;
  std::set<std::string> running_;
  bool begun_ = false;
};

}  // namespace cluster
