// The one seam that matters: a target turns a topology into running pods and answers these
// requests. Everything above it is the same in a lab and on a cluster.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/result.h"
#include "cluster/impostors.h"
#include "cluster/rotation.h"
#include "cluster/topology.h"

namespace cluster {

struct PodHandle {
  std::string name;   // "web-0"
  std::string group;  // "web"
  int node = 0;       // from 1
  base::IpAddress ipv4;
  base::IpAddress ipv6;
  std::uint32_t id = 0;  // unique in its environment, from 1: the server_id of its replies
  bool standby = false;  // not ready at first
  std::string in_namespace = std::string(default_namespace);  // as the scenario calls it
  // As the API server has them now: those of the scenario, and on a cluster those of ours.
  std::map<std::string, std::string> labels = {};

  [[nodiscard]] const base::IpAddress& address(base::AddressFamily family) const {
    return family == base::AddressFamily::ipv4 ? ipv4 : ipv6;
  }
};

struct NodeHandle {
  int number = 0;  // from 1
  base::IpAddress ipv4;
  base::IpAddress ipv6;

  [[nodiscard]] const base::IpAddress& address(base::AddressFamily family) const {
    return family == base::AddressFamily::ipv4 ? ipv4 : ipv6;
  }
};

struct ServiceHandle {
  std::string name;
  std::string target;  // the pod group behind it
  base::IpAddress ipv4;
  base::IpAddress ipv6;
  std::map<std::string, std::uint16_t> node_ports = {};       // by the port's name; empty: none
  std::vector<base::IpAddress> load_balancer_addresses = {};  // at most one of each family

  [[nodiscard]] const base::IpAddress& address(base::AddressFamily family) const {
    return family == base::AddressFamily::ipv4 ? ipv4 : ipv6;
  }
};

// A namespace of an environment's pods.
struct NamespaceHandle {
  std::string name;                           // of the object: on a cluster a name of the run's own
  std::map<std::string, std::string> labels;  // kubernetes.io/metadata.name among them
};

struct EnvironmentHandle {
  std::string name;
  // As planned, or the one that is there where the plan says `installed`; that again where the
  // target cannot tell.
  DatapathKind datapath = DatapathKind::direct;
  // Whether its Services are known to be in force. Where not, whoever dials waits until they are.
  bool programmed = true;
  std::vector<NodeHandle> nodes;
  std::vector<PodHandle> pods;  // with the client outside, where the target has one: on node 0
  std::map<std::string, ServiceHandle> services;
  std::map<std::string, NamespaceHandle> namespaces = {};  // as the scenario calls them
};

// What a pod's conditions say of it.
enum class Readiness {
  ready,        // it may be sent new connections
  unready,      // its readiness probe fails, or nobody answers it
  terminating,  // it is being deleted and serves what it has
};

// Whose labels are written.
enum class LabelledKind { pod, name_space };

// The two clocks' readings around a write. The truth lies between: a watcher can act before the
// acknowledgement arrives. A lab acknowledges storage, never enforcement.
struct WriteStamps {
  std::int64_t sent_ns = 0;  // CLOCK_MONOTONIC of the controller
  std::int64_t acked_ns = 0;
  std::uint64_t resource_version = 0;
  // When the EndpointSlices said so, where it is their controller that writes them: seen by a
  // watch, so it may have been earlier.
  std::optional<std::int64_t> published_ns = {};
  // When every node's datapath had it, where a target can tell.
  std::optional<std::int64_t> programmed_ns = {};
  // Of a pod that is made anew: when it had its new address for certain, and the old one no more,
  // where a target can tell.
  std::optional<std::int64_t> there_ns = {};
  // Of a pod in a mesh that is made anew: since when its traffic was led through its proxy, where a
  // target can tell.
  std::optional<std::int64_t> intercepted_ns = {};
};

// How a pod is made anew.
struct PodRestart {
  // What its agent does from its first instant, where that starts with the pod: an AgentPlan as
  // text (bench/agent/protocol.h).
  std::string agent_plan = {};
  // Told once, before restart_pod() returns and from the caller's thread, as soon as the target
  // knows the pod's new addresses; an address that it has not (yet) is empty. Its error ends the
  // call.
  std::function<base::Result<>(const PodHandle& pod)> on_address = {};
  // Starts what is the pod's own, where its agent does not end with the pod: called once, when its
  // other containers have started, of a mesh what leads its traffic and its proxy. Its error ends
  // the call.
  std::function<base::Result<>()> start_application = {};
};

// A packet that whoever enforces policies says it denied.
struct DeniedPacket {
  std::int64_t at_ns = 0;  // CLOCK_MONOTONIC of the controller; 0: on a clock that is not ours
  base::Endpoint from;
  base::Endpoint to;
  base::Protocol protocol = base::Protocol::TCP;
  std::string verdict;  // in its words: "egress of web-0: no_rule_allows"
};

// Policies of any kind that may hold for an environment's pods and are not the run's own.
struct OtherPolicies {
  // With apiVersion and kind; metadata.namespace is as the scenario calls it.
  std::vector<base::Json> objects;
  std::map<std::string, std::string> unseen;  // kinds that could not be looked at, and why
};

// An agent's stdin and stdout, held by the controller. Closing them ends the agent.
struct AgentStreams {
  base::UniqueFd to_agent;
  base::UniqueFd from_agent;
  // What it wrote to stderr so far, at most 64 KiB and NULs up to there, for pread(2); empty where
  // a target keeps none.
  base::UniqueFd errors{};
  // How its process ended, in words: "signal 9 (Killed)"; empty while nobody knows. Empty where a
  // target cannot tell. Called from the controller's thread, while the environment is up.
  std::function<std::string()> how_it_ended{};
  // Streams to the same agent, its jobs still running, after these broke; empty where the agent
  // ends with its streams. Called from the controller's thread. Errors: peer_lost (it is gone),
  // timed_out, interrupted, and as Target::agent().
  std::function<base::Result<AgentStreams>()> reattach{};
};

// An agent with the privilege to capture and to load probes, where a pod's traffic passes.
struct Observer {
  AgentStreams streams;
  std::string interface;  // the pod's host-side interface, seen from the observer
};

// Calls come from one thread, the controller's.
class Target {
 public:
  virtual ~Target() = default;

  // "lab" or "kubernetes".
  [[nodiscard]] virtual std::string_view name() const = 0;
  // Why this target can never have such an environment, in a sentence: the reason of a skip, "the
  // cluster's kube-proxy runs in iptables mode". Nothing where it can. Errors: as provision().
  virtual base::Result<std::optional<std::string>> unavailable(
      [[maybe_unused]] const EnvironmentPlan& plan) {
    return std::nullopt;
  }
  // Brings the environment up and returns when its pods run and its Services are programmed, or,
  // where nobody can tell that, written with their endpoints.
  // Idempotent: a second call with the same plan returns the same handle. Errors: missing (a tool,
  // a kernel feature), not_permitted, input (a name it cannot use), system.
  virtual base::Result<EnvironmentHandle> provision(const EnvironmentPlan& plan) = 0;
  // Takes every environment down. Idempotent; goes on after an error and returns the first.
  virtual base::Result<> teardown() = 0;
  // Writes a Kubernetes object (Service, EndpointSlice, NetworkPolicy, PeerAuthentication) into an
  // environment; it is implemented before this returns. metadata.namespace is a namespace as the
  // scenario calls it: on a cluster the object goes to the one that stands for it. Errors: input
  // (unknown environment, malformed object), missing (a kind this target does not know: the
  // caller's skip), system.
  virtual base::Result<WriteStamps> apply(std::string_view environment,
                                          const base::Json& object) = 0;
  // Deletes by kind and name. Errors: as apply; an object that is not there is no error.
  virtual base::Result<WriteStamps> remove(std::string_view environment, std::string_view kind,
                                           std::string_view name) = 0;
  // Makes pods ready or not for new connections, in one write where a target can. A lab writes the
  // EndpointSlices of `family`, which is all its clients look at. On a cluster, where their
  // controller would overwrite that, conditions of the pods are written, and a pod that is to be
  // terminating is deleted: its agent serves until its streams are closed, or for 10 s; asked to be
  // ready or unready after that, it is made anew, with another agent and other addresses, which a
  // second provision() tells. Returns once the slices say so. Errors: input (no such environment or
  // pod), timed_out (the slices never said so), and as apply().
  virtual base::Result<WriteStamps> set_readiness(std::string_view environment,
                                                  base::AddressFamily family,
                                                  const std::map<std::string, Readiness>& pods) = 0;
  // Replaces the labels of a pod ("web-0"), or of a namespace as the scenario calls it, those of
  // ours and kubernetes.io/metadata.name excepted. Errors: input (no such object, a label that is
  // none), missing (a target that cannot), and as apply().
  virtual base::Result<WriteStamps> set_labels(
      [[maybe_unused]] std::string_view environment, [[maybe_unused]] LabelledKind kind,
      [[maybe_unused]] std::string_view name,
      [[maybe_unused]] const std::map<std::string, std::string>& labels) {
    return base::fail(base::ErrorKind::missing, "the target {} cannot change labels", this->name());
  }
  // Makes a pod anew under its name, with another address, which a second provision() tells; what
  // it had open is lost. On a cluster its agent ends with it, and another is to be had; t_sent and
  // t_ack are of the write that makes the new pod, once the old one is gone. Errors: input (no such
  // pod), missing (a target that cannot), and as apply().
  virtual base::Result<WriteStamps> restart_pod([[maybe_unused]] std::string_view environment,
                                                [[maybe_unused]] std::string_view pod,
                                                [[maybe_unused]] const PodRestart& how) {
    return base::fail(base::ErrorKind::missing, "the target {} cannot restart pods", this->name());
  }
  // Ends the proxy beside a pod, and returns once another is in its place and serves: t_sent before
  // it is told or killed, t_ack when it is gone, programmed_ns when the other serves. Errors: input
  // (no such pod, or none with a proxy), missing (a target that cannot), and as apply().
  virtual base::Result<WriteStamps> restart_proxy([[maybe_unused]] std::string_view environment,
                                                  [[maybe_unused]] std::string_view pod,
                                                  [[maybe_unused]] ProxyEnd how) {
    return base::fail(base::ErrorKind::missing, "the target {} cannot restart proxies",
                      this->name());
  }
  // Why nobody can answer at a Service now, in a sentence: "no endpoint of Service web is ready".
  // Nothing where somebody can, or where a target cannot tell. Errors: as apply().
  virtual base::Result<std::optional<std::string>> why_silent(
      [[maybe_unused]] std::string_view environment, [[maybe_unused]] std::string_view service) {
    return std::nullopt;
  }
  // What policies denied of TCP and UDP from `since_ns` (CLOCK_MONOTONIC of the controller) on, by
  // time; where stamps are of another clock than ours, also what was up to two seconds before.
  // Errors: input (no such environment), missing (nobody tells), not_permitted (naming the right
  // that is missing), system.
  virtual base::Result<std::vector<DeniedPacket>> denied_lately(
      [[maybe_unused]] std::string_view environment, [[maybe_unused]] std::int64_t since_ns) {
    return base::fail(base::ErrorKind::missing,
                      "on the target {} nobody tells what policies denied", this->name());
  }
  // Which policies there are that the run did not write, in the environment's namespaces or of the
  // whole cluster. Errors: input (no such environment), and as apply(); a kind that this user may
  // not list is none.
  virtual base::Result<OtherPolicies> other_policies(
      [[maybe_unused]] std::string_view environment) {
    return OtherPolicies{};
  }
  // What the proxies of an environment have used, and what they counted, by pod; none where there
  // is no mesh, or a target cannot tell. Errors: input (no such environment), and as apply().
  virtual base::Result<std::vector<ProxyUsage>> proxy_usage(
      [[maybe_unused]] std::string_view environment) {
    return std::vector<ProxyUsage>();
  }
  virtual base::Result<std::vector<ProxyCounters>> proxy_counters(
      [[maybe_unused]] std::string_view environment) {
    return std::vector<ProxyCounters>();
  }
  // Has the proxies of an environment close the connections that they keep for later, so that the
  // next request's is seen from its first packet on; not called under traffic. Nothing where there
  // is no mesh, or none that is ours to tell. Errors: input (no such environment), timed_out,
  // system.
  virtual base::Result<> close_kept_connections([[maybe_unused]] std::string_view environment) {
    return {};
  }
  // Whom the certificates of an environment's proxies are to name, and who is to have signed them.
  // Empty where there is no mesh, or a target cannot tell. Errors: input (no such environment),
  // system.
  virtual base::Result<MeshIdentities> mesh_identities(
      [[maybe_unused]] std::string_view environment) {
    return MeshIdentities{};
  }
  // Certificates by which the doors of an environment's mesh are tried. Nothing where there is no
  // mesh, or none whose authority signs for us. Errors: input (no such environment), system.
  virtual base::Result<std::optional<ImpostorCertificates>> impostor_certificates(
      [[maybe_unused]] std::string_view environment) {
    return std::nullopt;
  }
  // Takes a step of rotating the certificates of an environment's proxies, and returns once it is
  // written for each, which is before they use it: only a handshake tells that. Where certificates
  // are renewed by a clock of the mesh's own, it waits for the next time. Not called before
  // provision(), whose plan says how long certificates last. Errors: input (no such environment),
  // missing (a target, or a mesh, that cannot: the caller's skip), interrupted, system.
  virtual base::Result<Rotated> rotate_certificates([[maybe_unused]] std::string_view environment,
                                                    [[maybe_unused]] RotationStep step) {
    return base::fail(base::ErrorKind::missing,
                      "nobody here can be asked to rotate certificates on the target {}",
                      this->name());
  }
  // Starts an agent in a pod. Errors: input (no such pod), missing (no agent executable), system.
  virtual base::Result<AgentStreams> agent(std::string_view environment, std::string_view pod) = 0;
  // Starts a privileged agent at a pod's host-side interface. Errors: as agent().
  virtual base::Result<Observer> observe(std::string_view environment, std::string_view pod) = 0;
  // Versions, kernel, congestion control, MTU: for the report's fingerprint; under "environments",
  // by name, what each datapath says of itself now.
  [[nodiscard]] virtual base::Json facts() const = 0;
};

}  // namespace cluster
