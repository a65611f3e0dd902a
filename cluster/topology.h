// What a scenario puts on a target, in the same words on every target.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/clock.h"
#include "base/describe.h"
#include "base/kube/service.h"
#include "base/protocol.h"
#include "base/scalar.h"
#include "cluster/mesh.h"

namespace cluster {

// How Services are implemented: a lab is given one, a cluster has the one it has.
enum class DatapathKind {
  direct,       // nothing translates; only pod addresses work
  iptables,     // kube-proxy's iptables rule shapes
  nftables,     // kube-proxy's nftables rule shapes
  ebpf_socket,  // translated in connect(2) and sendmsg(2) by cgroup hooks; from outside as ebpf_tc
  ebpf_tc,      // translated packet by packet by programs at the interfaces of pods and nodes
  installed,    // whichever the cluster has; a lab has none of its own
};

enum class ServiceType { ClusterIP, NodePort, LoadBalancer };

// Something broken on purpose.
enum class FaultKind {
  hook_left_out,  // ebpf_socket without its cgroup hooks, nftables rules underneath: traffic works
  source_rewritten,            // externalTrafficPolicy Local that hides the client all the same
  affinity_ignored,            // sessionAffinity ClientIP that every connection draws anew under
  impostor,                    // a ready backend that answers by the name of another
  datagrams_lost,              // every thousandth datagram that crosses node 1 is dropped there
  connection_table_too_small,  // ebpf_tc's table has room for 16 connections: none fails, some move
  stale_backend,               // the datapath hears of a backend that leaves 300 ms late
  flows_flushed,               // whenever a Service changes, every UDP flow's backend is forgotten
  policy_delayed,            // each change of policies is enforced a known time after it is stored
  policy_port_too_wide,      // a rule allows one port beyond those it names
  policy_except_ignored,     // an ipBlock holds what it excepts
  policy_udp_egress_open,    // egress is enforced for everything but UDP
  policy_label_change_lost,  // a pod or namespace is taken for what its labels were at first
  policy_new_pod_open,       // a pod that is made anew is isolated 20 ms after it has its address
  old_address_kept,          // a pod that is made anew is reached at the address it had before, too
  port_left_out_of_strict,   // of the ports STRICT holds for, each pod's first takes plaintext, too
  interception_hole,         // what the user root dials leaves without meeting the pod's proxy
  certificate_not_renewed,   // the proxies of servers show certificates that have expired; where
                             // they are rotated: once, and never again
  any_ca_trusted,            // proxies take clients' certificates of whatever authority
  rotation_restarts_proxies,  // the proxies of servers are ended and started by each rotation
  new_root_untrusted,         // the step trust_both_roots is not taken
  interception_late,          // a pod made anew is led through its proxy a while after it listens
  peer_authentication_late,   // proxies hear of a PeerAuthentication a while after it is stored
  forwarded_in_plaintext,     // clients' proxies send one of so many requests on in the clear
  authorization_left_out,     // proxies never hear of AuthorizationPolicy and RequestAuthentication
  weights_ignored,            // every destination of a route is as likely as the next
  abort_left_out,             // no route of a VirtualService aborts
  delay_left_out,             // nor delays
  subsets_ignored,            // every subset of a DestinationRule is all of its host's pods
  pool_limits_left_out,       // no DestinationRule limits connections and requests
  ejection_left_out,          // nor has a pod left alone that fails
};

inline constexpr base::Duration policy_delay_by_default = std::chrono::milliseconds(50);
inline constexpr base::Duration mesh_delay_by_default = std::chrono::milliseconds(50);
inline constexpr int plaintext_one_in_by_default = 1'000;

// Whether a fault of this kind can be planted in such a datapath.
[[nodiscard]] constexpr bool can_break(FaultKind fault, DatapathKind datapath) {
  if (datapath == DatapathKind::installed) return false;  // nothing in a cluster is ours to break
  switch (fault) {
    case FaultKind::hook_left_out:
      return datapath == DatapathKind::ebpf_socket;
    case FaultKind::source_rewritten:
      return datapath != DatapathKind::direct;
    case FaultKind::connection_table_too_small:
      return datapath == DatapathKind::ebpf_tc || datapath == DatapathKind::ebpf_socket;
    case FaultKind::flows_flushed:
      return datapath == DatapathKind::iptables || datapath == DatapathKind::nftables;
    case FaultKind::affinity_ignored:
    case FaultKind::impostor:
    case FaultKind::datagrams_lost:
    case FaultKind::stale_backend:
    case FaultKind::policy_delayed:
    case FaultKind::policy_port_too_wide:
    case FaultKind::policy_except_ignored:
    case FaultKind::policy_udp_egress_open:
    case FaultKind::policy_label_change_lost:
    case FaultKind::policy_new_pod_open:
    case FaultKind::old_address_kept:
    case FaultKind::port_left_out_of_strict:
    case FaultKind::interception_hole:
    case FaultKind::certificate_not_renewed:
    case FaultKind::any_ca_trusted:
    case FaultKind::interception_late:
    case FaultKind::peer_authentication_late:
    case FaultKind::rotation_restarts_proxies:
    case FaultKind::new_root_untrusted:
    case FaultKind::forwarded_in_plaintext:
    case FaultKind::authorization_left_out:
    case FaultKind::weights_ignored:
    case FaultKind::abort_left_out:
    case FaultKind::delay_left_out:
    case FaultKind::subsets_ignored:
    case FaultKind::pool_limits_left_out:
    case FaultKind::ejection_left_out:
      return true;
  }
  return false;
}

// Whether a fault of this kind has something of a mesh happen late, by a time that can be said.
[[nodiscard]] constexpr bool is_late_in_mesh(FaultKind fault) {
  return fault == FaultKind::interception_late || fault == FaultKind::peer_authentication_late;
}

// Whether a fault of this kind shows when certificates are rotated alone.
[[nodiscard]] constexpr bool breaks_rotation(FaultKind fault) {
  return fault == FaultKind::rotation_restarts_proxies || fault == FaultKind::new_root_untrusted;
}

// Whether a fault of this kind breaks what VirtualService and DestinationRule say.
[[nodiscard]] constexpr bool breaks_routing(FaultKind fault) {
  return fault == FaultKind::weights_ignored || fault == FaultKind::abort_left_out ||
         fault == FaultKind::delay_left_out || fault == FaultKind::subsets_ignored ||
         fault == FaultKind::pool_limits_left_out || fault == FaultKind::ejection_left_out;
}

// Whether a fault of this kind breaks a mesh.
[[nodiscard]] constexpr bool breaks_mesh(FaultKind fault) {
  return fault == FaultKind::port_left_out_of_strict || fault == FaultKind::interception_hole ||
         fault == FaultKind::certificate_not_renewed || fault == FaultKind::any_ca_trusted ||
         fault == FaultKind::authorization_left_out || fault == FaultKind::forwarded_in_plaintext ||
         is_late_in_mesh(fault) || breaks_rotation(fault) || breaks_routing(fault);
}

// Whether a fault of this kind breaks how policies are enforced.
[[nodiscard]] constexpr bool breaks_policies(FaultKind fault) {
  switch (fault) {
    case FaultKind::policy_delayed:
    case FaultKind::policy_port_too_wide:
    case FaultKind::policy_except_ignored:
    case FaultKind::policy_udp_egress_open:
    case FaultKind::policy_label_change_lost:
    case FaultKind::policy_new_pod_open:
    case FaultKind::old_address_kept:
      return true;
    default:
      return false;
  }
}

// Of a pod or a namespace: what selectors look at.
using Labels = std::map<std::string, std::string>;

// Where pods are that name no namespace.
inline constexpr std::string_view default_namespace = "default";

using base::Protocol;

// A port every Service of an environment offers: one per workload kind in the scenario.
struct ServicePort {
  std::string name;  // "tcp-rr"
  Protocol protocol = Protocol::TCP;
  std::uint16_t port = 0;         // at the Service address
  std::uint16_t target_port = 0;  // at the backend

  bool operator==(const ServicePort&) const = default;
};

// What a single pod of a group has beside what all of it have.
struct SinglePodSpec {
  std::map<std::string, std::string> labels = {};

  bool operator==(const SinglePodSpec&) const = default;
};

template <typename Visit, base::SelfOf<SinglePodSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("labels", self.labels, {.doc = "Its labels, beside those of all."});
}

// A group of equal pods: `web: {node: 2, replicas: 3}` makes web-0, web-1 and web-2; with
// `standby: 1` there is a web-3, too, which no Service sends anything until an event makes it
// ready.
struct PodSpec {
  int node = 1;
  int replicas = 1;
  int standby = 0;
  std::string in_namespace = std::string(default_namespace);
  std::map<std::string, std::string> labels = {};
  // That their containers name, beside the environment's; no scenario says any. Only a lab has use
  // for them, where policies name ports.
  std::vector<ServicePort> named_ports = {};
  std::map<std::string, SinglePodSpec> single = {};  // by name: "web-1"

  bool operator==(const PodSpec&) const = default;
};

template <typename Visit, base::SelfOf<PodSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("node", self.node, {.doc = "The node it runs on, counted from 1.", .at_least = 1});
  visit("replicas", self.replicas, {.doc = "How many equal pods.", .at_least = 1, .at_most = 100});
  visit("standby", self.standby,
        {.doc = "How many more that are not ready until an event makes them so.",
         .at_least = 0,
         .at_most = 100});
  visit("namespace", self.in_namespace,
        {.doc = "The namespace they are in, default unless said; one of topology.namespaces."});
  visit("labels", self.labels, {.doc = "Their labels, which selectors look at."});
  visit("single", self.single,
        {.doc = "What single pods have beside that, by name (web-1): labels by which they are a "
                "subset of a DestinationRule."});
}

// A namespace beside `default`; on a cluster it has a name of the run's own, and the label
// kubernetes.io/metadata.name with it.
struct NamespaceSpec {
  std::map<std::string, std::string> labels = {};

  bool operator==(const NamespaceSpec&) const = default;
};

template <typename Visit, base::SelfOf<NamespaceSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("labels", self.labels, {.doc = "Its labels, which namespaceSelectors look at."});
}

struct ServiceSpec {
  std::string target;  // the pod group behind it
  ServiceType type = ServiceType::ClusterIP;
  // Local: who comes from outside meets pods of the node it came to, with its address kept.
  base::kube::TrafficPolicy external_traffic_policy = base::kube::TrafficPolicy::Cluster;
  base::kube::SessionAffinity session_affinity = base::kube::SessionAffinity::None;

  bool operator==(const ServiceSpec&) const = default;
};

template <typename Visit, base::SelfOf<ServiceSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("target", self.target, {.doc = "The pods behind it.", .required = true});
  visit("type", self.type, {.doc = "The Service type."});
  visit("external_traffic_policy", self.external_traffic_policy,
        {.doc = "Of NodePort and LoadBalancer. Local: only pods of the node a client came to, who "
                "see its own address."});
  visit("session_affinity", self.session_affinity,
        {.doc = "ClientIP: a client stays with its pod."});
}

struct TopologySpec {
  int nodes = 2;
  std::map<std::string, PodSpec> pods;
  std::map<std::string, ServiceSpec> services;
  std::map<std::string, NamespaceSpec> namespaces = {};

  bool operator==(const TopologySpec&) const = default;
};

template <typename Visit, base::SelfOf<TopologySpec> Self>
void describe(Visit& visit, Self& self) {
  visit("nodes", self.nodes, {.doc = "How many nodes.", .at_least = 1, .at_most = 16});
  visit("pods", self.pods, {.doc = "Groups of equal pods, by name.", .required = true});
  visit("services", self.services, {.doc = "Services, by name."});
  visit("namespaces", self.namespaces,
        {.doc = "Namespaces of pods, by name, with their labels; `default` is always there."});
}

// Services beside those of a topology, for what many of them cost. Rules stand in the order of
// Services' names: the first half of the fillers are called filler-00001 and on, the rest
// other-00001 and on, so that names from a to e come before all of them, from g to n between the
// halves, and from p after them. Each has a ClusterIP and one endpoint, and nobody dials it.
// NetworkPolicies likewise (cluster/filler_policy.h).
struct Filler {
  int services = 0;
  base::AddressFamily family = base::AddressFamily::ipv4;
  // 0: policies are enforced, and there is none; absent: the environment has nothing to do with
  // them.
  std::optional<int> policies = {};
  int selectors = 2;  // peers of each policy

  bool operator==(const Filler&) const = default;
};
inline constexpr int most_fillers = 20'000;
inline constexpr int most_filler_policies = 10'000;
inline constexpr int most_filler_selectors = 20;
inline constexpr std::string_view first_filler_prefix = "filler-";
inline constexpr std::string_view second_filler_prefix = "other-";

// The client outside the cluster: where a pod's name is asked for, this stands for it. No group of
// pods may be called so.
inline constexpr std::string_view external_client = "external";

// One environment, ready to be provisioned.
struct EnvironmentPlan {
  std::string name;  // unique in a run; [a-z0-9_]+
  DatapathKind datapath = DatapathKind::direct;
  TopologySpec topology;
  std::vector<ServicePort> ports;
  std::vector<FaultKind> faults;
  base::Duration policy_delay = policy_delay_by_default;             // of the fault policy_delayed
  base::Duration interception_delay = mesh_delay_by_default;         // of interception_late
  base::Duration peer_authentication_delay = mesh_delay_by_default;  // of peer_authentication_late
  int plaintext_one_in = plaintext_one_in_by_default;                // of forwarded_in_plaintext
  Filler filler = {};
  std::string context = {};  // of a kubeconfig; empty: the one in use
  // Of pods a workload is shared among, as its generators: on a cluster an Indexed Job makes them.
  std::set<std::string> generator_groups = {};
  bool replaces_pods = false;  // pods will be asked to terminate, and to be ready again afterwards
  bool has_policies = false;   // NetworkPolicies will be applied
  bool watches_flows = false;  // agents will send packets of their own making (raw sockets)
  // Of a lab's client outside, beside its own: what it sends comes from the first of each family.
  std::vector<base::IpAddress> external_addresses = {};
  std::optional<MeshPlan> mesh = {};

  bool operator==(const EnvironmentPlan&) const = default;
};

}  // namespace cluster

template <>
struct base::EnumNames<cluster::DatapathKind> {
  static constexpr std::array names{
      std::pair{cluster::DatapathKind::direct, std::string_view("direct")},
      std::pair{cluster::DatapathKind::iptables, std::string_view("iptables")},
      std::pair{cluster::DatapathKind::nftables, std::string_view("nftables")},
      std::pair{cluster::DatapathKind::ebpf_socket, std::string_view("ebpf_socket")},
      std::pair{cluster::DatapathKind::ebpf_tc, std::string_view("ebpf_tc")},
      std::pair{cluster::DatapathKind::installed, std::string_view("installed")}};
};

template <>
struct base::EnumNames<cluster::ServiceType> {
  static constexpr std::array names{
      std::pair{cluster::ServiceType::ClusterIP, std::string_view("ClusterIP")},
      std::pair{cluster::ServiceType::NodePort, std::string_view("NodePort")},
      std::pair{cluster::ServiceType::LoadBalancer, std::string_view("LoadBalancer")}};
};

template <>
struct base::EnumNames<cluster::FaultKind> {
  static constexpr std::array names{
      std::pair{cluster::FaultKind::hook_left_out, std::string_view("hook_left_out")},
      std::pair{cluster::FaultKind::source_rewritten, std::string_view("source_rewritten")},
      std::pair{cluster::FaultKind::affinity_ignored, std::string_view("affinity_ignored")},
      std::pair{cluster::FaultKind::impostor, std::string_view("impostor")},
      std::pair{cluster::FaultKind::datagrams_lost, std::string_view("datagrams_lost")},
      std::pair{cluster::FaultKind::connection_table_too_small,
                std::string_view("connection_table_too_small")},
      std::pair{cluster::FaultKind::stale_backend, std::string_view("stale_backend")},
      std::pair{cluster::FaultKind::flows_flushed, std::string_view("flows_flushed")},
      std::pair{cluster::FaultKind::policy_delayed, std::string_view("policy_delayed")},
      std::pair{cluster::FaultKind::policy_port_too_wide, std::string_view("policy_port_too_wide")},
      std::pair{cluster::FaultKind::policy_except_ignored,
                std::string_view("policy_except_ignored")},
      std::pair{cluster::FaultKind::policy_udp_egress_open,
                std::string_view("policy_udp_egress_open")},
      std::pair{cluster::FaultKind::policy_label_change_lost,
                std::string_view("policy_label_change_lost")},
      std::pair{cluster::FaultKind::policy_new_pod_open, std::string_view("policy_new_pod_open")},
      std::pair{cluster::FaultKind::old_address_kept, std::string_view("old_address_kept")},
      std::pair{cluster::FaultKind::port_left_out_of_strict,
                std::string_view("port_left_out_of_strict")},
      std::pair{cluster::FaultKind::interception_hole, std::string_view("interception_hole")},
      std::pair{cluster::FaultKind::certificate_not_renewed,
                std::string_view("certificate_not_renewed")},
      std::pair{cluster::FaultKind::any_ca_trusted, std::string_view("any_ca_trusted")},
      std::pair{cluster::FaultKind::interception_late, std::string_view("interception_late")},
      std::pair{cluster::FaultKind::peer_authentication_late,
                std::string_view("peer_authentication_late")},
      std::pair{cluster::FaultKind::rotation_restarts_proxies,
                std::string_view("rotation_restarts_proxies")},
      std::pair{cluster::FaultKind::new_root_untrusted, std::string_view("new_root_untrusted")},
      std::pair{cluster::FaultKind::forwarded_in_plaintext,
                std::string_view("forwarded_in_plaintext")},
      std::pair{cluster::FaultKind::authorization_left_out,
                std::string_view("authorization_left_out")},
      std::pair{cluster::FaultKind::weights_ignored, std::string_view("weights_ignored")},
      std::pair{cluster::FaultKind::abort_left_out, std::string_view("abort_left_out")},
      std::pair{cluster::FaultKind::delay_left_out, std::string_view("delay_left_out")},
      std::pair{cluster::FaultKind::subsets_ignored, std::string_view("subsets_ignored")},
      std::pair{cluster::FaultKind::pool_limits_left_out, std::string_view("pool_limits_left_out")},
      std::pair{cluster::FaultKind::ejection_left_out, std::string_view("ejection_left_out")}};
};
