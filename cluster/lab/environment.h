// One environment of a lab: its namespaces, cgroups, objects and datapath.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/process.h"
#include "base/result.h"
#include "cluster/fabric/cgroup.h"
#include "cluster/fabric/sandbox.h"
#include "cluster/lab/datapath/datapath.h"
#include "cluster/lab/layout.h"
#include "cluster/lab/mesh/mesh.h"
#include "cluster/lab/object_store.h"
#include "cluster/lab/policy/policy.h"
#include "cluster/target.h"

namespace cluster {

// Takes what an environment's Services come to be: whatever follows them beside the datapath, as a
// BGP speaker does. Called twice a write: before the datapath is told, when what goes can be given
// up without a loss, and once it is programmed, when what comes can be relied on.
using ServiceFollower = std::function<base::Result<>(const ServiceTable& table, bool programmed)>;

// Calls come from one thread. The sandbox and the cgroup tree outlive it, and so does `interrupt`,
// which ends waits for proxies (absent: nobody does).
class Environment {
 public:
  // Makes everything the plan says and returns when its Services are programmed. On an error
  // nothing of it is left but empty cgroups, which go with the tree. Errors: as
  // Target::provision().
  static base::Result<std::unique_ptr<Environment>> create(const Sandbox& sandbox,
                                                           const CgroupTree& cgroups,
                                                           const EnvironmentPlan& plan,
                                                           const base::Interrupt* interrupt);

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
  // A change of policies, or of labels while there are some, is loaded before it is sent, so that
  // it takes force as it is acknowledged, for all nodes at one instant: programmed_ns.
  base::Result<WriteStamps> set_labels(LabelledKind kind, std::string_view name,
                                       const Labels& labels);
  base::Result<WriteStamps> restart_pod(std::string_view pod, const PodRestart& how);
  base::Result<WriteStamps> restart_proxy(std::string_view pod, ProxyEnd how);
  // What policies denied; empty where none was ever written.
  [[nodiscard]] RecentDenials recent_denials() const;
  // Calls `follower` with the Services as they are, programmed, and from then on around every
  // write; its error is the write's. What it takes before the datapath is told counts into
  // WriteStamps::programmed_ns, what it takes afterwards does not. An empty one ends it.
  base::Result<> follow_services(ServiceFollower follower);
  // What the proxies have used and counted; none without a mesh. Errors: as Mesh's.
  [[nodiscard]] base::Result<std::vector<ProxyUsage>> proxy_usage() const;
  [[nodiscard]] base::Result<std::vector<ProxyCounters>> proxy_counters() const;
  // As Target's: nothing without a mesh. Errors: as Mesh's.
  base::Result<> close_kept_connections();
  [[nodiscard]] base::Result<MeshIdentities> mesh_identities() const;
  [[nodiscard]] base::Result<std::optional<ImpostorCertificates>> impostor_certificates() const;
  // Errors: missing, without a mesh.
  base::Result<Rotated> rotate_certificates(RotationStep step);
  base::Result<AgentStreams> agent(std::string_view pod, const std::string& executable);
  base::Result<Observer> observe(std::string_view pod, const std::string& executable);
  // What the datapath says of itself now: counts and costs grow with its use. Under
  // "network_policy" what enforces policies does (policy.h), and "compile_ns", how long what is
  // loaded took to be made of the objects; where it is there: from the beginning
  // where the plan has policies, else from the first one on, so that others pay nothing. Under
  // "mesh" what the proxies are and are told.
  [[nodiscard]] base::Json facts() const;

 private:
  Environment(const Sandbox& sandbox, const EnvironmentPlan& plan, const base::Interrupt* interrupt)
      : sandbox_(sandbox), plan_(plan), interrupt_(interrupt) {}

  base::Result<> build(const CgroupTree& cgroups);
  base::Result<> make_namespaces();
  base::Result<std::vector<DatapathNode>> make_nodes(const CgroupTree& cgroups);
  base::Result<> apply_plan();
  base::Result<> sync();
  base::Result<> tell_follower() const;
  base::Result<> forget_udp_flows();
  // Of environment_policy.cc.
  base::Result<> know_labels();
  base::Result<> load_filler_policies();
  void show_labels();
  [[nodiscard]] PolicyObjects policy_objects(const ObjectStore& store,
                                             const std::vector<PodHandle>& pods) const;
  base::Result<> prepare_policies(const ObjectStore& store, const std::vector<PodHandle>& pods,
                                  const std::set<std::uint32_t>& open_pods = {});
  std::int64_t put_policies_in_force(std::int64_t acked_ns);
  base::Result<WriteStamps> write_policies(ObjectStore next, std::uint64_t version);
  base::Result<> move_pod(const PodHandle& before, const PodHandle& after);
  // Of environment_mesh.cc.
  base::Result<> make_mesh(const CgroupTree& cgroups);
  base::Result<> sync_mesh();
  base::Result<> start_containers(std::string_view pod, const PodRestart& how, WriteStamps& stamps);
  base::Result<AgentStreams> start_agent(const Place& place, const std::string& executable);
  std::string how_it_ended(pid_t pid);

  const Sandbox& sandbox_;
  EnvironmentPlan plan_;
  const base::Interrupt* interrupt_;
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
  std::unique_ptr<PolicyEnforcement> policies_;
  std::unique_ptr<Mesh> mesh_;
  std::int64_t policies_compiled_ns_ = 0;  // how long that took, the last time
  std::map<std::string, Labels> first_namespaces_;
  std::map<int, int> numbers_given_;  // by node: the highest number of a pod's address
  ServiceFollower follower_;
  std::vector<base::Process> agents_;  // those that ended included: each is asked how
};

}  // namespace cluster
