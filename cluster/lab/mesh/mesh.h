// The mesh of one environment: which pods have a proxy, what each is told, and what they use.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/json.h"
#include "base/result.h"
#include "cluster/fabric/sandbox.h"
#include "cluster/impostors.h"
#include "cluster/lab/datapath/datapath.h"
#include "cluster/lab/mesh/proxy.h"
#include "cluster/lab/mesh/put_in_force.h"
#include "cluster/mesh.h"
#include "cluster/pki/pki.h"
#include "cluster/rotation.h"
#include "cluster/target.h"

namespace cluster {

// Whether a pod of these labels has a proxy.
[[nodiscard]] bool has_proxy(const std::map<std::string, std::string>& labels);

// Whether a Service sends traffic to a group of pods.
[[nodiscard]] bool is_served(const TopologySpec& topology, const std::string& group);

// A pod as the mesh meets it.
struct MeshPod {
  PodHandle handle;
  Place place;  // its network namespace, and a cgroup for its proxy
};

// What each proxy is told. `ports`: those of the pods' Services; `policies`: the oldest first.
struct MeshState {
  std::vector<PodHandle> pods;
  ServiceTable table;
  std::vector<base::kube::PeerAuthentication> policies;
  std::vector<base::kube::AuthorizationPolicy> authorization_policies = {};
  std::vector<base::kube::RequestAuthentication> request_authentications = {};
  ProxyRouting routing = {};
};

// The specification of a pod's proxy. `left_out`: a fault, of ports that STRICT holds for the first
// is taken as PERMISSIVE.
[[nodiscard]] ProxySpec proxy_spec(const EnvironmentPlan& plan, const MeshState& state,
                                   const PodHandle& pod, bool left_out);

// Calls come from one thread. The sandbox outlives it, and so does `interrupt`, which ends waits
// for proxies (absent: nobody does).
class Mesh {
 public:
  // Leads every pod's traffic through a proxy that does not run yet: until sync() it is refused.
  // Errors: missing (no Envoy, no iptables), not_permitted, system.
  static base::Result<std::unique_ptr<Mesh>> create(const Sandbox& sandbox,
                                                    const EnvironmentPlan& plan,
                                                    std::vector<MeshPod> pods,
                                                    const base::Interrupt* interrupt);

  // Has every proxy know this state, and returns once each says it does. Those that do not run it
  // starts. Errors: as Proxy::start() and Proxy::await().
  base::Result<> sync(const MeshState& state);

  [[nodiscard]] bool has_proxy_of(std::string_view pod) const { return find(pod) != nullptr; }
  // Ends a pod's proxy, and returns when it was gone; sync() starts another. Errors: input (no such
  // pod, or none with a proxy), and as Proxy::end().
  base::Result<base::MonotonicTime> end_proxy(std::string_view pod, ProxyEnd how);
  // A pod as before its first container: no proxy, and nothing leads its traffic to one. Nothing of
  // a pod that never has any. Errors: as Proxy::end() and StagedRules.
  base::Result<> strip(std::string_view pod);
  // What leads its traffic, once that is put in force. Errors: input (as end_proxy()), and as
  // StagedRules::stage().
  base::Result<StagedRules> interception_of(std::string_view pod);

  // Has every proxy close the connections it keeps for later, and returns once none between
  // proxies is open: the next request's is new. Nothing else of them changes. Errors: as
  // Proxy::await() and Proxy::await_no_connections(), which is in vain under traffic.
  base::Result<> close_kept_connections();

  // As Target::rotate_certificates(): their files are another's once it returns. Errors: input
  // (leaf_of_new_root and drop_old_root without a new root), and as Proxy::renew(); of the fault
  // that restarts proxies also as Proxy::start() and Proxy::await().
  base::Result<Rotated> rotate(RotationStep step);

  // Certificates for whoever tries the doors of this mesh, made new. The wrong identity is of
  // another trust domain: without an AuthorizationPolicy any of its own is let in by every pod,
  // here as in Istio. Errors: system.
  [[nodiscard]] base::Result<ImpostorCertificates> impostor_certificates() const;

  // Of every proxy, by pod. Errors: as Proxy's.
  [[nodiscard]] base::Result<std::vector<ProxyUsage>> usage() const;
  [[nodiscard]] base::Result<std::vector<ProxyCounters>> counters() const;
  // Whom each proxy is, and what they trust by the files they read. Errors: system.
  [[nodiscard]] base::Result<MeshIdentities> identities() const;
  // Version, cores, what differs from Istio, and each proxy's configuration.
  [[nodiscard]] base::Json facts() const;

 private:
  Mesh(const Sandbox& sandbox, const EnvironmentPlan& plan, std::vector<MeshPod> pods,
       const base::Interrupt* interrupt)
      : sandbox_(sandbox), plan_(plan), pods_(std::move(pods)), interrupt_(interrupt) {}

  base::Result<> start(const MeshState& state, const MeshPod& pod);
  void hear_late(const MeshState& state);
  [[nodiscard]] std::string rules() const;
  [[nodiscard]] const MeshPod* find(std::string_view pod) const;
  [[nodiscard]] base::Result<const MeshPod*> must_find(std::string_view pod) const;
  base::Result<> start(const MeshPod& pod, const ProxySpec& spec);
  // Of mesh_rotation.cc.
  [[nodiscard]] base::Result<> make_authority();
  [[nodiscard]] const pki::Authority& issuer() const { return *authorities_[issuing_]; }
  base::Result<GivenCertificate> renew(const MeshPod& pod, bool new_leaf);
  [[nodiscard]] ProxySpec spec_of(const MeshState& state, const PodHandle& pod) const;
  [[nodiscard]] int cpu_of(const PodHandle& pod) const;
  [[nodiscard]] base::Result<pki::KeyPair> identity_of(const PodHandle& pod) const;

  const Sandbox& sandbox_;
  const EnvironmentPlan& plan_;
  std::vector<MeshPod> pods_;
  const base::Interrupt* interrupt_;
  std::vector<std::unique_ptr<pki::Authority>> authorities_;  // the newest last
  std::size_t issuing_ = 0;                                   // of them
  std::string roots_;                                         // that proxies trust, PEM
  std::map<std::string, pki::KeyPair> identities_;            // by pod: what its proxy was given
  bool rotated_ = false;                                      // once, or more often
  std::string version_of_envoy_;
  std::map<std::string, Proxy, std::less<>> proxies_;     // by pod
  std::uint64_t connections_of_ = 0;                      // ProxySpec's
  std::vector<base::kube::PeerAuthentication> policies_;  // that proxies were told last
};

}  // namespace cluster
