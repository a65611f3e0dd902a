// What a scenario says of a service mesh, and what a target says of its proxies: the same words on
// every target.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/describe.h"
#include "base/json.h"
#include "base/kube/peer_authentication.h"

namespace cluster {

// A pod with this label of this value has no proxy, as in Istio.
inline constexpr std::string_view inject_label = "sidecar.istio.io/inject";
inline constexpr std::string_view no_injection = "false";

// Whether a client's TLS sessions go on where its last one with a server ended (RFC 8446, 2.2).
enum class SessionResumption { off, on };

// Proxies beside every pod.
struct MeshSpec {
  base::kube::MtlsMode mode = base::kube::MtlsMode::STRICT;
  SessionResumption session_resumption = SessionResumption::on;
  int workers = 1;                       // of each proxy
  std::vector<base::Json> objects = {};  // of Istio's, as manifests

  bool operator==(const MeshSpec&) const = default;
};
inline constexpr int most_proxy_workers = 16;

template <typename Visit, base::SelfOf<MeshSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("mode", self.mode,
        {.doc = "What the mesh-wide PeerAuthentication says: DISABLE, plaintext between proxies; "
                "PERMISSIVE, either; STRICT, mutual TLS alone.",
         .required = true});
  visit("session_resumption", self.session_resumption,
        {.doc = "Whether a proxy resumes TLS sessions, on unless said: off, every new connection "
                "between proxies is a whole handshake."});
  visit("workers", self.workers,
        {.doc = "Worker threads of each proxy, one unless said.",
         .at_least = 1,
         .at_most = most_proxy_workers});
  visit("objects", self.objects,
        {.doc = "Objects of Istio's in force from the beginning, as manifests: "
                "AuthorizationPolicy, RequestAuthentication, PeerAuthentication, VirtualService, "
                "DestinationRule. Their namespace is one as the scenario calls it."});
}

// How a proxy ends.
enum class ProxyEnd {
  terminated,  // it is asked to (SIGTERM), as when its container is restarted
  killed,      // it is gone at once (SIGKILL), as after a crash
};

// Of one environment. On a cluster whoever injects proxies decides where they run.
struct MeshPlan {
  MeshSpec spec = {};
  std::map<std::string, int> cpu_of = {};  // by group of pods: the core its proxies are pinned to
  // How long proxies' certificates last (Istio's SECRET_TTL): whole seconds. Absent: as the mesh
  // has it, which for a run is for good.
  std::optional<std::chrono::seconds> certificates_last = {};
  // How often they are renewed by a mesh that does so by a clock of its own.
  std::optional<std::chrono::milliseconds> certificates_renewed_every = {};
  bool rotates_root = false;  // another root is to be asked for while it is up

  bool operator==(const MeshPlan&) const = default;
};

// What certificates of a mesh are to say.
struct MeshIdentities {
  std::map<std::string, std::string> spiffe = {};  // by pod; of those that have a proxy
  std::string roots = {};  // PEM: the authorities that proxies trust; empty: not known
  // Where proxies are told what they do; empty: nowhere on the wire, or not known.
  std::vector<base::Endpoint> control_plane = {};
};

// What a proxy has used, read at one instant.
struct ProxyUsage {
  std::string pod;
  std::int64_t at_ns = 0;   // CLOCK_MONOTONIC of the controller
  std::int64_t cpu_ns = 0;  // of its cgroup since it was made: user and system, borrowed softirq
};

// What a proxy counted since it began: Envoy's own statistics, by their names without the prefix.
struct ProxyCounters {
  std::string pod;
  std::uint64_t client_handshakes = 0;  // cluster.*.ssl.handshake: dialled by it
  std::uint64_t client_resumed = 0;     // cluster.*.ssl.session_reused: of those
  std::uint64_t client_failed = 0;      // cluster.*.ssl.connection_error and fail_verify_*
  std::uint64_t server_handshakes = 0;  // listener.*.ssl.handshake: taken by it
  std::uint64_t server_resumed = 0;
  std::uint64_t server_failed = 0;
  std::uint64_t connections_in = 0;   // inbound listener, downstream_cx_total
  std::uint64_t connections_out = 0;  // outbound listener, downstream_cx_total
  std::uint64_t upstream = 0;         // cluster.outbound|*.upstream_cx_total
  std::uint64_t no_chain = 0;         // no_filter_chain_match of the inbound listener: refused
  // cluster.outbound|*.upstream_rq_pending_overflow: refused for want of room, where it is told.
  std::optional<std::uint64_t> overflowed = {};
  std::int64_t memory_bytes = 0;  // its proportional set size, no counter: as it is
  std::optional<std::int64_t> certificate_expires_s = {};  // Unix time, of the one it shows
};

}  // namespace cluster

template <>
struct base::EnumNames<cluster::SessionResumption> {
  static constexpr std::array names{
      std::pair{cluster::SessionResumption::off, std::string_view("off")},
      std::pair{cluster::SessionResumption::on, std::string_view("on")}};
};
