// One environment on a cluster: its objects, and what the cluster made of them.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "cluster/kubernetes/agents.h"
#include "cluster/kubernetes/api_client.h"
#include "cluster/kubernetes/istio.h"
#include "cluster/kubernetes/manifests.h"
#include "cluster/kubernetes/nodes.h"
#include "cluster/kubernetes/proxy_meters.h"
#include "cluster/kubernetes/watch.h"
#include "cluster/target.h"

namespace cluster {

// Calls come from one thread.
class ClusterEnvironment {
 public:
  // Nothing is created yet. `api` must outlive it. Errors: input (a namespace's name would be none
  // that Kubernetes takes).
  static base::Result<std::unique_ptr<ClusterEnvironment>> make(ApiClient& api,
                                                                EnvironmentPlan plan,
                                                                Placement place);
  // Of its LoadBalancers, from build() on: by whom they get an address, and which.
  void annotate_load_balancers(std::map<std::string, std::string> annotations) {
    load_balancer_annotations_ = std::move(annotations);
  }
  // What puts proxies beside its pods, before build(); where the plan has a mesh.
  void use_mesh(const IstioFacts& istio);
  // Creates everything the plan says and returns when its pods run and the EndpointSlices hold
  // those that are ready. When kube-proxy, or what stands in its place, has programmed them no API
  // tells: whoever dials finds out. What was created when an error came stays, for whoever removes
  // the objects of its placement. Errors: as Target::provision().
  base::Result<> build(const std::vector<ClusterNode>& nodes, const std::string& image);

  [[nodiscard]] const EnvironmentPlan& plan() const { return plan_; }
  [[nodiscard]] const EnvironmentHandle& handle() const { return handle_; }
  // Of its default namespace.
  [[nodiscard]] const Placement& place() const { return place_; }
  // Of all its namespaces.
  [[nodiscard]] std::vector<Placement> places() const;
  // Of one, as the scenario calls it. Errors: input, where there is no such namespace.
  base::Result<const Placement*> find_place(std::string_view in_namespace) const;
  [[nodiscard]] const Placement& place_of(const PodHandle& pod) const;
  // NetworkPolicies are to be taken away from now on.
  void note_policies();
  // Errors: input, when there is no such pod.
  base::Result<const PodHandle*> find_pod(std::string_view pod) const;
  // The name of a pod's object.
  [[nodiscard]] std::string object_name(const PodHandle& pod) const;
  // The name of the node a pod is on.
  [[nodiscard]] const std::string& node_of(const PodHandle& pod) const;

  // As Target's.
  base::Result<WriteStamps> set_labels(LabelledKind kind, std::string_view name,
                                       const std::map<std::string, std::string>& labels);
  base::Result<WriteStamps> set_readiness(const std::map<std::string, Readiness>& pods);
  base::Result<WriteStamps> restart_pod(std::string_view pod, const PodRestart& how);
  base::Result<std::optional<std::string>> why_silent(std::string_view service) const;
  [[nodiscard]] base::Result<std::vector<ProxyCounters>> proxy_counters() const;
  // The pods that have a proxy.
  [[nodiscard]] std::vector<MeteredPod> metered_pods() const;
  [[nodiscard]] base::Result<> close_kept_connections() const;
  [[nodiscard]] base::Result<MeshIdentities> mesh_identities() const;
  // Asks the first proxy which Envoy it is, for the facts; unknown where nobody may.
  void ask_version_of_proxies(Agents& agents);
  // Waits until each proxy has been given another certificate, which each does by its own clock.
  base::Result<Rotated> await_renewal(Agents& agents);
  // Asks a pod's proxy to end, by a program of its own container.
  base::Result<WriteStamps> restart_proxy(std::string_view pod, Agents& agents);
  // An object of a mesh as it is written: its sources' namespaces are the environment's.
  [[nodiscard]] base::Json with_own_names(const base::Json& object) const;
  // What is known of it beside its handle.
  [[nodiscard]] base::Json facts() const;

 private:
  using Labels = std::map<std::string, std::string>;
  using Places = std::map<std::string, Placement, std::less<>>;

  ClusterEnvironment(ApiClient& api, EnvironmentPlan plan, Places places);

  // Of its mesh (environment_mesh.cc), where it has one.
  [[nodiscard]] bool has_proxy(const PodHandle& pod) const;
  void add_client_outside_mesh();
  base::Result<> create_mesh_objects();
  base::Result<> create_service_accounts();
  // Empty where nobody tells the mesh's trust domain.
  [[nodiscard]] std::string identity_of(const PodHandle& pod) const;
  // Whether the API server gave a pod back with the proxy it asked for. Errors: missing.
  [[nodiscard]] base::Result<> check_proxy(const PodHandle& pod, const base::Json& object) const;
  [[nodiscard]] base::Result<std::string> proxy_metrics(const PodHandle& pod) const;
  // What a program of Istio's prints that asks a pod's Envoy. Errors: as Agents::run().
  base::Result<std::string> ask_envoy(const PodHandle& pod, Agents& agents, const char* method,
                                      const char* what) const;
  [[nodiscard]] base::Json mesh_facts() const;

  base::Result<> create_namespaces();
  base::Result<> create_services();
  base::Result<> create_pod(ApiClient& api, const PodHandle& pod) const;
  base::Result<> create_pods();
  // `look` sees the pods as they come; its error ends the wait.
  base::Result<> await_pods(const std::function<base::Result<>(const Objects&)>& look = {});
  // Pods that were deleted and are to be there again.
  base::Result<> remake_pods(const std::map<std::string, Readiness>& pods);
  base::Result<> await_gone(const std::vector<PodHandle*>& pods);
  base::Result<> write_readiness();
  // What readiness asks for, of one pod.
  base::Result<ApiAnswer> write(const PodHandle& pod, Readiness readiness);
  // Notes which pods Jobs have made.
  void take_made_by_jobs(const Objects& pods);
  [[nodiscard]] std::string pod_path(const PodHandle& pod) const;
  [[nodiscard]] std::string pod_key(const PodHandle& pod) const;  // in Objects
  // Where a Service is: in its pods' namespace.
  [[nodiscard]] const Placement& place_of_service(std::string_view service) const;
  [[nodiscard]] PodNeeds pod_needs() const;
  [[nodiscard]] base::Json manifest_of(const PodHandle& pod, const PodNeeds& needs) const;
  base::Result<> await_slices();
  base::Result<> create_fillers();
  base::Result<> create_filler_policies();
  base::Result<> read_services();
  base::Result<> await_load_balancers(Watch& services) const;
  base::Result<ServiceHandle> service_handle(const std::string& name,
                                             const base::Json& object) const;
  // In what the slices do not hold exactly the pods that are ready; empty where they do.
  [[nodiscard]] std::string what_slices_lack(const Objects& slices) const;
  [[nodiscard]] bool is_ready(const PodHandle& pod) const;
  // The name of the pod with this address; the address where there is none.
  [[nodiscard]] std::string pod_at(const std::string& address) const;

  ApiClient* api_;
  EnvironmentPlan plan_;
  Places places_;     // by the scenario's names of its namespaces
  Placement place_;   // of the default one
  Placement all_of_;  // for collections that hold what is in any of them
  std::optional<IstioFacts> istio_;
  std::string envoy_version_;
  EnvironmentHandle handle_;
  std::vector<ClusterNode> nodes_;
  std::string image_;
  std::map<std::string, std::string> load_balancer_annotations_;
  std::map<std::string, bool, std::less<>> ready_;  // pods that are not as at first
  std::set<std::string, std::less<>> deleted_;
  std::map<std::string, std::string, std::less<>> made_by_jobs_;  // pods' objects, by pod
  std::map<std::string, std::string, std::less<>> uids_;          // of pods' objects, by pod
  std::map<std::string, Labels, std::less<>> pod_labels_;         // the scenario's, by pod
  std::map<std::string, Labels, std::less<>> namespace_labels_;   // the same, by namespace
  std::int64_t policies_written_ns_ = 0;  // how long it took to write those it is filled with
  Watch slices_;
};

}  // namespace cluster
