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
  std::string trust_domain = {};   // of its identities; empty: unknown
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

// The trust domain that a mesh's configuration says (MeshConfig, as its ConfigMap has it).
[[nodiscard]] std::string trust_domain_of(const base::Json& config_map);
// Whether it names somebody whom proxies tell their metrics, as it does unless that is turned off.
[[nodiscard]] bool tells_metrics(const base::Json& config_map);

[[nodiscard]] base::Json istio_json(const IstioFacts& istio);

// One object of a namespace, and the list it goes into below /apis.
struct MeshObject {
  std::string api_version;
  std::string resource;  // "peerauthentications"
  base::Json object;
};

// The list that a scenario's object of this kind goes into. Errors: missing (another kind).
[[nodiscard]] base::Result<std::string_view> istio_resource_of(std::string_view kind);

// What is written into a namespace before its pods are made, the mode first: who may be talked to
// how (PeerAuthentication), how its Services are dialled (DestinationRule: in plaintext where
// proxies only pass on; kept connections end soon after their last request), and, where sessions
// are not to be resumed, that servers give no tickets (EnvoyFilter). Of a plan with a mesh.
[[nodiscard]] std::vector<MeshObject> mesh_objects(const EnvironmentPlan& plan,
                                                   const std::string& in_namespace);

// The fault port_left_out_of_strict, where it is planted: of pods that Services lead to, the first
// port takes plaintext, too.
[[nodiscard]] std::vector<MeshObject> port_left_out(const EnvironmentPlan& plan,
                                                    const std::string& in_namespace);

// Where a control plane's Service and the pods behind it tell proxies what they do, of lists of the
// Service of that name and of its EndpointSlices.
[[nodiscard]] std::vector<base::Endpoint> control_plane_of(const base::Json& services,
                                                           const base::Json& slices);

// Whether the scenario's own objects say the mode of a whole namespace, by the name it gives it.
[[nodiscard]] bool has_mode_of_its_own(const MeshPlan& mesh, std::string_view in_namespace);

// The container that injectors put beside a pod's own.
inline constexpr std::string_view proxy_container = "istio-proxy";

// What a pod's status says of its proxy: how often it was started anew, and whether it serves.
struct ProxyStatus {
  int restarts = 0;
  bool ready = false;
  bool sidecar = false;  // of Kubernetes, which starts it anew whatever the pod's policy is

  bool operator==(const ProxyStatus&) const = default;
};
[[nodiscard]] std::optional<ProxyStatus> proxy_status(const base::Json& pod);

// Has the injector put a proxy beside a pod, or beside the pods of a template: with so many
// workers, with the statistics that proxy_stats.h reads, and with certificates that last as long as
// is said, and are renewed as often.
void ask_for_proxy(base::Json& pod, const IstioFacts& istio, const MeshPlan& mesh);

// "abc/1.36.2/Clean/RELEASE/BoringSSL", of what Envoy's administration says (/server_info) by way
// of istio-agent, whose log comes before it; empty where it is nothing such.
[[nodiscard]] std::string envoy_version_of(std::string_view server_info);

// The certificate that a proxy shows, of what Envoy's administration says (/certs).
struct ShownCertificate {
  std::string serial;            // hexadecimal, as OpenSSL writes it
  std::int64_t not_after_s = 0;  // Unix time

  bool operator==(const ShownCertificate&) const = default;
};
// Errors: input (it is no such list, or none is in it).
[[nodiscard]] base::Result<ShownCertificate> shown_certificate(std::string_view certs);

// Whether a cluster is one of ours (`stackbench up`), whose mesh's authority is ours as well.
[[nodiscard]] bool is_own_cluster(const Objects& nodes);

// By the authority that such a mesh keeps in a Secret. Errors: as ApiClient::get(); input (it holds
// none), system.
[[nodiscard]] base::Result<ImpostorCertificates> istio_impostors(ApiClient& api,
                                                                 const IstioFacts& istio,
                                                                 const std::string& in_namespace);

}  // namespace cluster
