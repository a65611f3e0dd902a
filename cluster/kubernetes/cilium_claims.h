// Since when Cilium says that it enforces a policy. Its agents number the policies they know by a
// revision, and each endpoint (pod) has the one it has realised: `cilium-dbg endpoint list`, whose
// status.policy.realized.policy-revision is that of api/v1/models/endpoint_policy.go in Cilium's
// source (1.17). A write is claimed to be enforced once every pod has a later revision than before
// it. Somebody else's write in between would be taken for it; labels have no revision.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/result.h"
#include "cluster/kubernetes/agents.h"
#include "cluster/kubernetes/cilium_agents.h"

namespace cluster {

// By pod ("shop/web-0"), what an agent's endpoint list says it has realised. What is no such list
// says it of nobody.
[[nodiscard]] std::map<std::string, std::int64_t> read_revisions(std::string_view endpoints);

// One thread. `agents` must outlive it.
class CiliumClaims {
 public:
  // `pods`: whose policies are written. Errors: as find_cilium_agents().
  static base::Result<CiliumClaims> make(ApiClient& api, Agents& agents, CiliumAgents where,
                                         std::set<std::string> pods);

  // Before a write. Errors: as Agents::run().
  base::Result<> begin();
  // After it: when every pod was first seen to have a later revision, at the end of the question
  // that showed it; so a packet after that is surely after the claim. Nothing where one of them
  // never had, within some seconds. Errors: as Agents::run().
  base::Result<std::optional<std::int64_t>> await();

 private:
  CiliumClaims(Agents& agents, CiliumAgents where) : agents_(&agents), where_(std::move(where)) {}
  // Of our pods.
  base::Result<std::map<std::string, std::int64_t>> ask();

  Agents* agents_;
  CiliumAgents where_;
  std::set<std::string> pods_;
  std::vector<std::string> asked_;  // the agents' pods
  std::map<std::string, std::int64_t> before_;
};

}  // namespace cluster
