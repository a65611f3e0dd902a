// The mesh of one environment: which pods have a proxy, what each is told, and what they use.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "cluster/fabric/sandbox.h"
#include "cluster/impostors.h"
#include "cluster/lab/datapath/datapath.h"
#include "cluster/lab/mesh/proxy.h"
#include "cluster/mesh.h"
#include "cluster/pki/pki.h"
#include "cluster/target.h"

namespace cluster {

// Whether a pod of these labels has a proxy.
[[nodiscard]] bool has_proxy(const std::map<std::string, std::string>& labels);

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
};

// The specification of a pod's proxy. `left_out`: a fault, of ports that STRICT holds for the first
// is taken as PERMISSIVE.
[[nodiscard]] ProxySpec proxy_spec(const EnvironmentPlan& plan, const MeshState& state,
                                   const PodHandle& pod, bool left_out);

// Calls come from one thread. The sandbox outlives it.
class Mesh {
 public:
  // Leads every pod's traffic through a proxy that does not run yet: until sync() it is refused.
  // Errors: missing (no Envoy, no iptables), not_permitted, system.
  static base::Result<std::unique_ptr<Mesh>> create(const Sandbox& sandbox,
                                                    const EnvironmentPlan& plan,
                                                    std::vector<MeshPod> pods);

  // Has every proxy know this state, and returns once each says it does. The first time it starts
  // them. Errors: as Proxy::start() and Proxy::await().
  base::Result<> sync(const MeshState& state);

  // Has every proxy close the connections it keeps for later, and returns once none between
  // proxies is open: the next request's is new. Nothing else of them changes. Errors: as
  // Proxy::await() and Proxy::await_no_connections(), which is in vain under traffic.
  base::Result<> close_kept_connections();

  // Certificates for whoever tries the doors of this mesh, made new. The wrong identity is of
  // another trust domain: without an AuthorizationPolicy any of its own is let in by every pod,
  // here as in Istio. Errors: system.
  [[nodiscard]] base::Result<ImpostorCertificates> impostor_certificates() const;

  // Of every proxy, by pod. Errors: as Proxy's.
  [[nodiscard]] base::Result<std::vector<ProxyUsage>> usage() const;
  [[nodiscard]] base::Result<std::vector<ProxyCounters>> counters() const;
  // Version, cores, what differs from Istio, and each proxy's configuration.
  [[nodiscard]] base::Json facts() const;

 private:
  Mesh(const Sandbox& sandbox, const EnvironmentPlan& plan, std::vector<MeshPod> pods,
       pki::Authority authority)
      : sandbox_(sandbox), plan_(plan), pods_(std::move(pods)), authority_(std::move(authority)) {}

  base::Result<> start(const MeshState& state);
  [[nodiscard]] ProxySpec spec_of(const MeshState& state, const PodHandle& pod) const;
  [[nodiscard]] int cpu_of(const PodHandle& pod) const;
  [[nodiscard]] base::Result<pki::KeyPair> identity_of(const PodHandle& pod) const;

  const Sandbox& sandbox_;
  const EnvironmentPlan& plan_;
  std::vector<MeshPod> pods_;
  pki::Authority authority_;
  std::string version_of_envoy_;
  std::map<std::string, Proxy> proxies_;  // by pod
  std::uint64_t connections_of_ = 0;      // ProxySpec's
};

}  // namespace cluster
