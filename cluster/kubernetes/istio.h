// Istio on a cluster: whether it is there and which one it is, and what a run tells it of its own
// namespaces. What is not seen is said to be unknown, with the reason.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "cluster/impostors.h"
#include "cluster/kubernetes/api_client.h"
#include "cluster/kubernetes/watch.h"
#include "cluster/mesh.h"
#include "cluster/topology.h"

namespace cluster {

struct IstioFacts {
  std::string version = {};        // its control plane's: "1.28.0"; empty: unknown
  std::string source = {};         // where that is from, or why nothing is known
  std::string in_namespace = {};   // its control plane's
  std::string control_plane = {};  // the name of its Deployment and of its Service: "istiod"
  std::string revision = {};       // which injector pods ask for; empty: the default
  bool sidecars = false;           // something injects them
  bool ambient = false;            // its node proxies run (ztunnel)
  // What its control plane is told to leave out: a proxy that is stock Envoy has no such filters.
  std::vector<std::string> without = {};

  bool operator==(const IstioFacts&) const = default;
};

// By its objects: lists of Deployments labelled app=istiod, of DaemonSets labelled app=ztunnel and
// of injecting webhooks labelled app=sidecar-injector. Nothing where none is a control plane.
[[nodiscard]] std::optional<IstioFacts> istio_of(const base::Json& deployments,
                                                 const base::Json& daemon_sets,
                                                 const base::Json& webhooks);

// Reads them, and asks the control plane itself which it is, where that is allowed: its image may
// be called anything. A cluster whose API has Istio's kinds, and nobody who implements them, has
// none. Nothing is an error: `source` says what stood in the way.
[[nodiscard]] IstioFacts find_istio(ApiClient& api);

// Why an environment with sidecars cannot be had; nothing where it can.
[[nodiscard]] std::optional<std::string> why_no_sidecars(const std::optional<IstioFacts>& istio);

// What of a scenario's words about a mesh a cluster's is not told; nothing where it is told all.
[[nodiscard]] std::optional<std::string> why_not_told(const MeshPlan& mesh);

[[nodiscard]] base::Json istio_json(const IstioFacts& istio);

// One object of a namespace, and the list it goes into below /apis.
struct MeshObject {
  std::string api_version;
  std::string resource;  // "peerauthentications"
  base::Json object;
};

// What is written into a namespace before its pods are made: who may be talked to how
// (PeerAuthentication), how its Services are dialled (DestinationRule: in plaintext where proxies
// only pass on; kept connections end soon after their last request), and, where sessions are not to
// be resumed, that servers give no tickets (EnvoyFilter).
[[nodiscard]] std::vector<MeshObject> mesh_objects(const MeshSpec& spec,
                                                   const std::string& in_namespace);

// The fault port_left_out_of_strict: of pods that Services lead to, the first port takes plaintext,
// too.
[[nodiscard]] std::vector<MeshObject> port_left_out(const EnvironmentPlan& plan,
                                                    const std::string& in_namespace);

// Has the injector put a proxy beside a pod, or beside the pods of a template, with so many workers
// and with the statistics that proxy_stats.h reads.
void ask_for_proxy(base::Json& pod, const IstioFacts& istio, const MeshSpec& spec);

// Whether a cluster is one of ours (`stackbench up`), whose mesh's authority is ours as well.
[[nodiscard]] bool is_own_cluster(const Objects& nodes);

// By the authority that such a mesh keeps in a Secret. Errors: as ApiClient::get(); input (it holds
// none), system.
[[nodiscard]] base::Result<ImpostorCertificates> istio_impostors(ApiClient& api,
                                                                 const IstioFacts& istio,
                                                                 const std::string& in_namespace);

}  // namespace cluster
