// The target `kubernetes`: environments on any cluster that a kubeconfig reaches, each in a
// namespace of its own (and one more for every other namespace its scenario has), with the agents
// as pods. Whatever is created carries the run's id as a
// label, and what a crashed run leaves is found by it (cluster/kubernetes/clean.h).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/interrupt.h"
#include "cluster/kubernetes/agents.h"
#include "cluster/kubernetes/announcers.h"
#include "cluster/kubernetes/api_client.h"
#include "cluster/kubernetes/cilium_claims.h"
#include "cluster/kubernetes/cluster_facts.h"
#include "cluster/kubernetes/environment.h"
#include "cluster/kubernetes/kubectl_proxy.h"
#include "cluster/kubernetes/observers.h"
#include "cluster/kubernetes/proxy_meters.h"
#include "cluster/kubernetes/rights.h"
#include "cluster/target.h"

namespace cluster {

struct KubernetesOptions {
  std::string kubectl = {};       // a path; empty: kubectl in PATH
  std::string kubeconfig = {};    // empty: as kubectl finds it
  std::string context = {};       // empty: the current one
  std::string in_namespace = {};  // empty: one of its own for each environment
  base::Duration request_timeout = std::chrono::seconds(30);  // of one request, with its tries
  std::string agent_image = {};                               // empty: stackbench-agent:VERSION
  const base::Interrupt* interrupt = nullptr;                 // must outlive the target
};

// Somebody waits at a terminal, and a cluster that is up answers at once.
inline constexpr base::Duration first_answer_patience = std::chrono::seconds(5);

// The id of a run: eight letters that no other has.
[[nodiscard]] std::string new_run();
// The image of agents' pods.
[[nodiscard]] std::string image_of(const KubernetesOptions& options);
// How requests go to the socket of a kubectl proxy.
[[nodiscard]] ApiOptions api_options_of(const KubernetesOptions& options,
                                        const std::string& socket);

class KubernetesTarget : public Target {
 public:
  // Returns once the cluster has answered and said what it is. Errors: as KubectlProxy::start();
  // system or not_permitted (it cannot be reached, or does not let us in); interrupted.
  static base::Result<std::unique_ptr<KubernetesTarget>> create(KubernetesOptions options);

  KubernetesTarget(const KubernetesTarget&) = delete;
  KubernetesTarget& operator=(const KubernetesTarget&) = delete;
  // As teardown(); an error then has nobody to go to.
  ~KubernetesTarget() override;

  [[nodiscard]] std::string_view name() const override { return "kubernetes"; }
  base::Result<std::optional<std::string>> unavailable(const EnvironmentPlan& plan) override;
  // Places a topology's nodes 1 to N on the first N nodes by name that take pods. There is no
  // client outside the cluster. Errors: as Target's; missing (too few nodes, no image), timed_out.
  base::Result<EnvironmentHandle> provision(const EnvironmentPlan& plan) override;
  // Not interrupted: it has its own deadlines.
  base::Result<> teardown() override;
  // Any kind the cluster knows. Stamped when stored; what follows from it no API tells. A slice of
  // one of the environment's own Services is missing: its controller would overwrite it. In a
  // namespace that others share, a NetworkPolicy selects pods of the environment alone.
  base::Result<WriteStamps> apply(std::string_view environment, const base::Json& object) override;
  // `kind`: "Service", or with its group "NetworkPolicy.networking.k8s.io/v1". `name` alone: of the
  // namespace it was applied to; or with it, as the scenario calls it: "other/deny-all". Errors:
  // input (applied to several, and none is said).
  base::Result<WriteStamps> remove(std::string_view environment, std::string_view kind,
                                   std::string_view name) override;
  base::Result<WriteStamps> set_readiness(std::string_view environment, base::AddressFamily family,
                                          const std::map<std::string, Readiness>& pods) override;
  base::Result<WriteStamps> set_labels(std::string_view environment, LabelledKind kind,
                                       std::string_view name,
                                       const std::map<std::string, std::string>& labels) override;
  base::Result<WriteStamps> restart_pod(std::string_view environment, std::string_view pod,
                                        const PodRestart& how) override;
  // Cilium tells, by Hubble, to those who may run a program in the pods of its agents; nobody else
  // does.
  base::Result<std::vector<DeniedPacket>> denied_lately(std::string_view environment,
                                                        std::int64_t since_ns) override;
  base::Result<OtherPolicies> other_policies(std::string_view environment) override;
  // Of proxies that Istio injected, by the pages their Envoys show; their memory, where somebody
  // asked for what they use.
  base::Result<std::vector<ProxyCounters>> proxy_counters(std::string_view environment) override;
  // Of Envoy and istio-agent together. None where no program of ours may see a node's processes:
  // facts() says why.
  base::Result<std::vector<ProxyUsage>> proxy_usage(std::string_view environment) override;
  // Waits until they are over: connections that nobody uses are told to end after a second.
  base::Result<> close_kept_connections(std::string_view environment) override;
  // Proxies renew their certificates by their own clocks, which a run's pods ask to be fast: of a
  // leaf it waits for the next of each, as Envoy says by a program of Istio's. Errors: also
  // missing, of a step that is about roots.
  base::Result<Rotated> rotate_certificates(std::string_view environment,
                                            RotationStep step) override;
  // By a program of Istio's in the proxy's container; the kubelet starts it anew. Errors: also
  // missing, of one that is to be killed.
  base::Result<WriteStamps> restart_proxy(std::string_view environment, std::string_view pod,
                                          ProxyEnd how) override;
  // By the pods' service accounts, and the roots that Istio gives their namespace; of either
  // nothing where this user may not read it.
  base::Result<MeshIdentities> mesh_identities(std::string_view environment) override;
  // Of a cluster of this machine's own alone, whose mesh's authority is ours to sign by.
  base::Result<std::optional<ImpostorCertificates>> impostor_certificates(
      std::string_view environment) override;
  base::Result<std::optional<std::string>> why_silent(std::string_view environment,
                                                      std::string_view service) override;
  base::Result<AgentStreams> agent(std::string_view environment, std::string_view pod) override;
  base::Result<Observer> observe(std::string_view environment, std::string_view pod) override;
  [[nodiscard]] base::Json facts() const override;

  // Who announces load balancers' addresses by BGP here; nothing where nobody does that we know.
  // Errors: not_permitted (naming every right of rights_to_announce() that is missing), and as
  // find_announcers().
  base::Result<std::optional<Announcer>> announcer();
  // Tells it, by objects of the run's; teardown() takes them away, after the Services that hold
  // what is in them. The LoadBalancers of environments that are provisioned from now on get the
  // annotations. Errors: as write_announcer_object().
  base::Result<> announce(const Announcer& announcer, const std::vector<base::Json>& objects,
                          const std::map<std::string, std::string>& annotations);
  // All objects of a kind of its. Errors: as announcer_objects().
  base::Result<std::vector<base::Json>> objects_of(const Announcer& announcer,
                                                   std::string_view kind);
  // Every node of the cluster, whether an environment uses it or not, by name.
  [[nodiscard]] const Objects& nodes() const { return nodes_; }

  // The run's id, which is in every label.
  [[nodiscard]] const std::string& run() const { return run_; }
  [[nodiscard]] const ClusterFacts& cluster() const { return cluster_; }

 private:
  KubernetesTarget(KubernetesOptions options, KubectlProxy proxy);

  base::Result<> get_to_know();
  void make_observers(Placement place);
  // Errors: input, where another environment loads another number of Services into this cluster.
  [[nodiscard]] base::Result<> check_fillers(const EnvironmentPlan& plan) const;
  [[nodiscard]] std::vector<Right> more_rights(const EnvironmentPlan& plan) const;
  [[nodiscard]] EnvironmentHandle handle_of(const ClusterEnvironment& environment) const;
  base::Result<ClusterEnvironment*> find(std::string_view environment);
  // Cilium's agents on the nodes of an environment.
  [[nodiscard]] CiliumAgents cilium_at(const ClusterEnvironment& environment) const;
  // Before a write: who will say since when it is enforced; null where nobody does, or may be asked
  // (which the facts then say). Errors: interrupted.
  base::Result<CiliumClaims*> claims_before(const ClusterEnvironment& environment,
                                            std::string_view kind);
  // What a write's answer says, and what is then claimed of it. Errors: interrupted.
  base::Result<WriteStamps> stamps_of(const ApiAnswer& answer, CiliumClaims* claims);
  // Where objects of this kind are.
  base::Result<std::string> path_of(const Placement& place, const std::string& api_version,
                                    const std::string& kind);
  // With what the proxy says, where that is why.
  template <typename T>
  base::Result<T> explained(base::Result<T> result);

  KubernetesOptions options_;
  KubectlProxy proxy_;
  std::string run_;
  std::string owner_;
  ApiClient api_;
  Agents agents_;
  std::unique_ptr<Observers> observers_;
  std::unique_ptr<ProxyMeters> meters_;
  ClusterFacts cluster_;
  Objects nodes_;  // as they were when we came
  std::map<std::string, std::unique_ptr<ClusterEnvironment>, std::less<>> environments_;
  std::map<std::string, base::Json> networks_;  // of an environment's first pod
  std::map<std::string, std::string> paths_;    // of kinds: "v1 Service" -> "/api/v1 services"
  // The scenario's namespaces that hold such an object, by environment, kind and name.
  std::map<std::tuple<std::string, std::string, std::string>, std::set<std::string>> applied_to_;
  std::map<std::string, CiliumClaims, std::less<>> claims_;  // by environment
  std::string unclaimed_;          // why nobody says since when policies are enforced
  std::optional<Announcer> told_;  // has objects of ours
  std::map<std::string, std::string> load_balancer_annotations_;
};

template <typename T>
base::Result<T> KubernetesTarget::explained(base::Result<T> result) {
  if (result) return result;
  return std::unexpected(proxy_.explain(std::move(result).error()));
}

}  // namespace cluster
