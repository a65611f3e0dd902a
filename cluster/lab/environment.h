// One environment of a lab: its namespaces, cgroups, objects and datapath.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/process.h"
#include "base/result.h"
#include "cluster/fabric/cgroup.h"
#include "cluster/fabric/sandbox.h"
#include "cluster/lab/datapath/datapath.h"
#include "cluster/lab/layout.h"
#include "cluster/lab/object_store.h"
#include "cluster/target.h"

namespace cluster {

// Calls come from one thread. The sandbox and the cgroup tree outlive it.
class Environment {
 public:
  // Makes everything the plan says and returns when its Services are programmed. On an error
  // nothing of it is left but empty cgroups, which go with the tree. Errors: as
  // Target::provision().
  static base::Result<std::unique_ptr<Environment>> create(const Sandbox& sandbox,
                                                           const CgroupTree& cgroups,
                                                           const EnvironmentPlan& plan);

  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  // Ends its agents and takes back its hooks; the namespaces end with the sandbox.
  ~Environment();

  [[nodiscard]] const EnvironmentPlan& plan() const { return plan_; }
  [[nodiscard]] const EnvironmentHandle& handle() const { return handle_; }
  // The namespace of a pod, a node ("node1"), "router" or "external"; -1 when there is none.
  [[nodiscard]] int netns(std::string_view place) const;
  // The cgroup2 directory of a pod; empty when there is none.
  [[nodiscard]] std::string cgroup(std::string_view pod) const;

  // Errors: input, when there is no such pod.
  base::Result<const PodHandle*> find_pod(std::string_view pod) const;

  // As Target's. The stamps are taken around the store's writes; the datapath follows it, before
  // this returns, and when it has is stamped, too.
  base::Result<WriteStamps> apply(const base::Json& object);
  base::Result<WriteStamps> remove(std::string_view kind, std::string_view name);
  base::Result<WriteStamps> set_readiness(base::AddressFamily family,
                                          const std::map<std::string, Readiness>& pods);
  base::Result<AgentStreams> agent(std::string_view pod, const std::string& executable);
  base::Result<Observer> observe(std::string_view pod, const std::string& executable);
  // What the datapath says of itself now: counts and costs grow with its use.
  [[nodiscard]] base::Json facts() const { return datapath_->facts(); }

 private:
  Environment(const Sandbox& sandbox, const EnvironmentPlan& plan)
      : sandbox_(sandbox), plan_(plan) {}

  base::Result<> build(const CgroupTree& cgroups);
  base::Result<> make_namespaces();
  base::Result<std::vector<DatapathNode>> make_nodes(const CgroupTree& cgroups);
  base::Result<> apply_plan();
  base::Result<> sync();
  base::Result<> forget_udp_flows();
  base::Result<AgentStreams> start_agent(const Place& place, const std::string& executable);
  std::string how_it_ended(pid_t pid);

  const Sandbox& sandbox_;
  EnvironmentPlan plan_;
  Layout layout_;
  EnvironmentHandle handle_;
  std::map<std::string, Netns, std::less<>> namespaces_;     // by name without the environment's
  std::map<std::string, std::string, std::less<>> cgroups_;  // pod -> directory
  std::string observer_cgroup_;
  ObjectStore store_;
  std::map<std::string, Readiness, std::less<>> readiness_;  // of pods that are not as at first
  std::vector<DatapathNode> nodes_;
  ServiceTable table_;  // that the datapath was told last
  std::unique_ptr<Datapath> datapath_;
  std::vector<base::Process> agents_;  // those that ended included: each is asked how
};

}  // namespace cluster
