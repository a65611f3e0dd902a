// A scenario: one question, the arms it compares, and what must hold. These structs are the truth;
// the reader, the schema and the report's copy of the scenario all follow from their descriptions.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/describe.h"
#include "base/scalar.h"
#include "bench/workload.h"
#include "cluster/event.h"
#include "cluster/topology.h"
#include "stackbench/scenario/authorization.h"
#include "stackbench/scenario/bgp.h"
#include "stackbench/scenario/plaintext_window.h"
#include "stackbench/scenario/policy.h"
#include "stackbench/scenario/rotation.h"
#include "stackbench/scenario/routing.h"

namespace stackbench {

enum class CheckKind {
  translated_at,        // each arm is translated where its datapath promises
  source_ip_preserved,  // pods see the client's own address where Kubernetes promises it
  backend_identity,     // whoever answers answers as itself
  distribution,         // connections spread over the backends as the Service promises
  connection_table,     // the datapath kept every live connection in its table, the whole run long
  stale_backend,        // no new connection reaches a backend long after it left
  flows_stay,           // when a backend leaves, no other's flows move
  policy_matrix,        // every pair of pods may do what its NetworkPolicies say, and nothing else
  default_deny_holds,   // every pod is isolated by some policy, and nothing else gets through
  leak_window,          // soon after a policy or a label is written, packets obey
  established_connections,   // what was open when it was forbidden ends as the scenario says
  new_pod_protected,         // nothing that is forbidden passes from or to a pod that is new
  wire_is_encrypted,         // nothing readable crosses the wire, and the mesh is why
  impostors_refused,         // who is not of the mesh is refused by its servers
  authorization_enforced,    // requests come to what policies of the mesh say, and by its proxies
  handshake_per_connection,  // every connection between proxies is a TLS handshake of its own
  plaintext_refused,         // a port that takes mutual TLS alone resets who speaks in the clear
  certificates_valid,        // every proxy shows a certificate that is valid now; where they are
                             // rotated: all the time
  rotation_is_seamless,      // nothing fails, and nothing is held up, when certificates are rotated
  certificates_renewed,      // every proxy soon shows each new certificate in a whole handshake
  no_plaintext_window,       // while a mesh changes, nothing passes in the clear that must not
  routes_as_specified,       // requests go where VirtualServices and DestinationRules say
};

// Whether a check is about the `rotation` of a scenario, and of that alone.
[[nodiscard]] constexpr bool is_about_rotations(CheckKind kind) {
  return kind == CheckKind::rotation_is_seamless || kind == CheckKind::certificates_renewed;
}

// Whether a check is about the `policy` of a scenario, and not about arms.
[[nodiscard]] constexpr bool is_about_policies(CheckKind kind) {
  return kind == CheckKind::policy_matrix || kind == CheckKind::default_deny_holds ||
         kind == CheckKind::leak_window || kind == CheckKind::established_connections ||
         kind == CheckKind::new_pod_protected;
}

// Whether a check is about the proxies of arms in a mesh.
[[nodiscard]] constexpr bool is_about_meshes(CheckKind kind) {
  return kind == CheckKind::handshake_per_connection || kind == CheckKind::plaintext_refused ||
         kind == CheckKind::certificates_valid || kind == CheckKind::authorization_enforced ||
         kind == CheckKind::routes_as_specified;
}

// Whether a check is about the `plaintext_window` of a scenario.
[[nodiscard]] constexpr bool is_about_windows(CheckKind kind) {
  return kind == CheckKind::no_plaintext_window;
}

// Whether an object of a mesh is one that requests are allowed or refused by.
[[nodiscard]] bool decides_access(const base::Json& object);

// Whether an object of a mesh is one that says where requests go.
[[nodiscard]] bool decides_routes(const base::Json& object);

// What an arm dials: `pod/web`, each connection one of its pods at random; or a Service, which
// chooses likewise, by its ClusterIP (`service/web`), its port at a node (`node_port/web@2`) or its
// load balancer's address (`load_balancer/web`).
struct DialTarget {
  enum class Kind { pod, service, node_port, load_balancer };
  Kind kind = Kind::pod;
  std::string name;
  int node = 0;  // of a node_port, from 1
  bool operator==(const DialTarget&) const = default;
};

// Whether what a client there dials goes through a table of connections that says of itself what it
// counted: a Service in ebpf_tc, or from outside in ebpf_socket, which is paired with it.
[[nodiscard]] bool uses_connection_table(cluster::DatapathKind datapath, const DialTarget& dial,
                                         std::string_view from);

// A bound an expectation holds a metric to: `+5%` (of the base arm) or `250us`, `1000/s`,
// `500MB/s` (absolute).
using Bound = std::variant<base::Percent, base::Duration, base::RequestRate, base::DataRate>;

// A metric of one invocation.
enum class Metric {
  latency_p50,            // "latency.p50"
  latency_p90,            // "latency.p90"
  latency_p99,            // "latency.p99"
  connect_p50,            // "connect.p50": tcp_crr only
  rate,                   // completed requests per second; of a udp_stream, datagrams received
  cpu_per_request,        // of client, server and proxies together; of a udp_stream, for a datagram
  proxy_cpu_per_request,  // of that, the proxies'
  throughput,             // tcp_stream only: bytes per second
  cpu_per_gb,             // tcp_stream only: of client and server together, for 10^9 bytes
  jitter,                 // udp_stream only: mean over its flows
};

// The environment of arms that name none: one without any datapath.
inline constexpr std::string_view bare_environment = "direct";

struct EnvironmentSpec {
  cluster::DatapathKind datapath = cluster::DatapathKind::direct;
  int filler = 0;
  std::optional<int> filler_policies = {};
  int filler_selectors = cluster::Filler{}.selectors;
  std::optional<std::string> context = {};
  std::optional<cluster::MeshSpec> mesh = {};
};

template <typename Visit, base::SelfOf<EnvironmentSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("datapath", self.datapath, {.doc = "How its Services are implemented.", .required = true});
  visit("filler", self.filler,
        {.doc = "Other Services loaded beside the topology's, half of them called filler-NNNNN, "
                "half other-NNNNN; rules stand in order of name.",
         .at_least = 0,
         .at_most = cluster::most_fillers});
  visit(
      "filler_policies", self.filler_policies,
      {.doc = "How many NetworkPolicies there are: half of them are among those every pod's "
              "packets are judged by, the last allows what the arms say. 0: policies are enforced "
              "and there is none. Absent: nothing of that.",
       .at_least = 0,
       .at_most = cluster::most_filler_policies});
  visit("filler_selectors", self.filler_selectors,
        {.doc = "How many peers the rule of each of these policies names.",
         .at_least = 1,
         .at_most = cluster::most_filler_selectors});
  visit("context", self.context,
        {.doc = "On a cluster: the kubeconfig's context it is in. Absent: the one in use."});
  visit("mesh", self.mesh,
        {.doc = "Proxies beside its pods, as Istio's sidecars. Absent: none. Pods labelled "
                "sidecar.istio.io/inject: \"false\" have none either."});
}

struct ArmSpec {
  std::string name;
  std::optional<std::string> in;  // an environment; absent: one without any datapath
  DialTarget dial;
  std::string from = "client";
  std::optional<base::AddressFamily> family = {};  // absent: the scenario's
  std::optional<std::string> relative_to;          // the arm it is compared with; absent: resolved
};

template <typename Visit, base::SelfOf<ArmSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "What the report calls it.", .required = true});
  visit("in", self.in, {.doc = "The environment it runs in; absent: no datapath at all."});
  visit("dial", self.dial, {.doc = "What the client dials.", .required = true});
  visit("from", self.from,
        {.doc = "The pods the client runs in, or external: outside the cluster."});
  visit("family", self.family, {.doc = "The address family it dials. Absent: the scenario's."});
  visit("relative_to", self.relative_to,
        {.doc = "The arm it is compared with. Absent: a Service arm is compared with the arm that "
                "dials the pod in the same environment, that one with the arm outside any."});
}

// The gate. Exactly one of at_most, at_least and within.
struct ExpectSpec {
  Metric metric = Metric::latency_p50;
  std::optional<bench::WorkloadKind> workload;
  std::string arm;
  std::optional<std::string> relative_to;
  std::optional<Bound> at_most;
  std::optional<Bound> at_least;
  std::optional<base::Percent> within;  // equivalent: inside +- this of the base arm (TOST)
};

template <typename Visit, base::SelfOf<ExpectSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("metric", self.metric, {.doc = "What is judged.", .required = true});
  visit("workload", self.workload,
        {.doc = "Of which workload; may be left out where the scenario has one."});
  visit("arm", self.arm, {.doc = "Of which arm.", .required = true});
  visit("relative_to", self.relative_to, {.doc = "Against which arm; needed for a percentage."});
  visit("at_most", self.at_most, {.doc = "It holds when the metric is surely not above this."});
  visit("at_least", self.at_least, {.doc = "It holds when the metric is surely not below this."});
  visit("within", self.within,
        {.doc = "It holds when the metric is surely within plus or minus this of the base arm."});
}

struct FaultSpec {
  cluster::FaultKind kind = cluster::FaultKind::hook_left_out;
  std::string environment;
  std::optional<base::Duration> delay = {};  // policy_delayed, and what is late in a mesh
  std::optional<int> one_in = {};            // forwarded_in_plaintext
};

template <typename Visit, base::SelfOf<FaultSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("kind", self.kind, {.doc = "What is broken.", .required = true});
  visit("environment", self.environment, {.doc = "Where.", .required = true});
  visit("delay", self.delay,
        {.doc = "policy_delayed, interception_late, peer_authentication_late: by how much, 50ms by "
                "default."});
  visit("one_in", self.one_in,
        {.doc = "forwarded_in_plaintext: of how many requests one, at random; of 1000 by default.",
         .at_least = 1,
         .at_most = 1'000'000});
}

// Something that happens in every invocation, to one pod.
struct EventSpec {
  base::Duration at{0};  // after the measuring window has begun
  cluster::EventKind kind = cluster::EventKind::unready;
  std::string pod;                                   // "web-0"
  std::optional<std::string> by = {};                // replace: the pod that joins
  std::optional<base::Duration> noticed_after = {};  // kill; default: noticed_by_default
  std::optional<base::Duration> grace = {};          // replace; default: grace_by_default
};
// A kubelet hears of a container's end from its runtime's events at once, and the write follows.
inline constexpr base::Duration noticed_by_default = std::chrono::milliseconds(100);
inline constexpr base::Duration grace_by_default = std::chrono::milliseconds(200);

template <typename Visit, base::SelfOf<EventSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("at", self.at, {.doc = "When, after the measuring window has begun.", .required = true});
  visit("kind", self.kind, {.doc = "What happens.", .required = true});
  visit("pod", self.pod, {.doc = "To which pod, such as web-0.", .required = true});
  visit("by", self.by, {.doc = "replace: the pod that joins as this one leaves."});
  visit("noticed_after", self.noticed_after,
        {.doc = "kill: how long after it the endpoint is written not ready, 100ms by default."});
  visit("grace", self.grace,
        {.doc = "replace: how long after the write the pod that left ends, 200ms by default."});
}

// What is sent through each arm while its wire is looked at (check wire_is_encrypted), outside of
// every measurement: HTTP, on connections that are kept. How few requests in clear could go unseen
// follows from their number.
struct WireSpec {
  base::RequestRate rate{2'500};
  base::Duration duration = std::chrono::seconds(2);
};

template <typename Visit, base::SelfOf<WireSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("rate", self.rate, {.doc = "Requests on kept connections, by the second."});
  visit("duration", self.duration, {.doc = "For how long they are sent."});
}

// How long after its removal was written a backend may still be sent new connections.
inline constexpr base::Duration stale_budget_by_default = std::chrono::milliseconds(200);

struct Scenario {
  std::string question;
  base::AddressFamily family = base::AddressFamily::ipv4;
  cluster::TopologySpec topology;
  std::map<std::string, EnvironmentSpec> environments;
  std::optional<PolicySpec> policy;
  std::vector<ArmSpec> arms;
  std::vector<bench::WorkloadSpec> workloads;
  int blocks = 12;
  std::uint64_t seed = 1;
  std::vector<CheckKind> checks;
  std::vector<ExpectSpec> expect;
  std::vector<FaultSpec> faults;
  std::vector<EventSpec> events;
  std::vector<AccessSpec> authorization;
  std::vector<RoutingSpec> routing;
  WireSpec wire;
  base::Duration stale_budget = stale_budget_by_default;
  std::optional<bgp::Spec> bgp = {};  // then there are neither arms nor workloads
  std::optional<PlaintextWindowSpec> plaintext_window = {};  // likewise
  std::optional<RotationSpec> rotation = {};                 // likewise
};

// Whether it has arms, and blocks in which they are measured.
[[nodiscard]] inline bool has_arms(const Scenario& scenario) {
  return !scenario.policy && !scenario.bgp && !scenario.rotation && !scenario.plaintext_window;
}

template <typename Visit, base::SelfOf<Scenario> Self>
void describe(Visit& visit, Self& self) {
  visit("question", self.question, {.doc = "The question it answers.", .required = true});
  visit("family", self.family, {.doc = "The address family that is dialled."});
  visit("topology", self.topology, {.doc = "Pods and Services.", .required = true});
  visit("environments", self.environments, {.doc = "Datapaths, all up at once, by name."});
  // Before what they stand in for.
  visit("policy", self.policy,
        {.doc = "What it asks of NetworkPolicies, in every environment. It stands in place of arms "
                "and workloads."});
  visit(
      "bgp", self.bgp,
      {.doc = "How a LoadBalancer's address is announced, reached and withdrawn; in place of arms "
              "and workloads."});
  visit("plaintext_window", self.plaintext_window,
        {.doc = "For how long plaintext passes while a mesh changes; in place of arms and "
                "workloads."});
  visit(
      "rotation", self.rotation,
      {.doc = "What becomes of traffic while certificates are rotated, in every environment, each "
              "with a mesh; in place of arms and workloads."});
  const bool measures = has_arms(self);
  visit("arms", self.arms, {.doc = "The configurations it compares.", .required = measures});
  visit("workloads", self.workloads,
        {.doc = "The traffic each arm carries.", .required = measures});
  visit("blocks", self.blocks,
        {.doc = "Kept blocks; in each every arm runs twice. Below 6 no exact two-sided 95 % "
                "interval exists.",
         .at_least = 6,
         .at_most = 1000});
  visit("seed", self.seed, {.doc = "Of the order of arms."});
  visit("checks", self.checks, {.doc = "Claims that are true or false."});
  visit("expect", self.expect, {.doc = "What must hold, judged with its uncertainty."});
  visit("faults", self.faults, {.doc = "What is broken on purpose."});
  visit("events", self.events,
        {.doc = "What happens to pods during every invocation, in order of time; afterwards all is "
                "as it was."});
  visit("authorization", self.authorization,
        {.doc = "Check authorization_enforced: requests to each arm whose mesh has objects about "
                "that, and what they must come to."});
  visit("wire", self.wire,
        {.doc = "Check wire_is_encrypted: what is sent while the wire is looked at."});
  visit(
      "routing", self.routing,
      {.doc = "Check routes_as_specified: claims that follow from the VirtualServices and "
              "DestinationRules of each arm's mesh that has any, tried through clients' proxies."});
  visit(
      "stale_budget", self.stale_budget,
      {.doc = "Check stale_backend: how long after its removal was written a backend may still be "
              "sent new connections."});
}

// The number in a bound, in the unit samples have: nanoseconds, per second, a share.
[[nodiscard]] double number_of(const Bound& bound);

// Whether a name is an RFC 1123 label, as Kubernetes wants of pods and Services: at most 63 of
// a-z, 0-9 and dashes, no dash at either end.
[[nodiscard]] bool is_label(std::string_view name);

// The metrics a workload has, in the order they are reported.
[[nodiscard]] std::vector<Metric> metrics_of(const bench::WorkloadSpec& workload);

// A name for every workload, in order: its kind, or kind_2, kind_3 where the kind came before.
[[nodiscard]] std::vector<std::string> workload_names(const Scenario& scenario);

}  // namespace stackbench

template <>
struct base::EnumNames<base::AddressFamily> {
  static constexpr std::array names{std::pair{base::AddressFamily::ipv4, std::string_view("ipv4")},
                                    std::pair{base::AddressFamily::ipv6, std::string_view("ipv6")}};
};

template <>
struct base::EnumNames<stackbench::CheckKind> {
  static constexpr std::array names{
      std::pair{stackbench::CheckKind::translated_at, std::string_view("translated_at")},
      std::pair{stackbench::CheckKind::source_ip_preserved,
                std::string_view("source_ip_preserved")},
      std::pair{stackbench::CheckKind::backend_identity, std::string_view("backend_identity")},
      std::pair{stackbench::CheckKind::distribution, std::string_view("distribution")},
      std::pair{stackbench::CheckKind::connection_table, std::string_view("connection_table")},
      std::pair{stackbench::CheckKind::stale_backend, std::string_view("stale_backend")},
      std::pair{stackbench::CheckKind::flows_stay, std::string_view("flows_stay")},
      std::pair{stackbench::CheckKind::policy_matrix, std::string_view("policy_matrix")},
      std::pair{stackbench::CheckKind::default_deny_holds, std::string_view("default_deny_holds")},
      std::pair{stackbench::CheckKind::leak_window, std::string_view("leak_window")},
      std::pair{stackbench::CheckKind::established_connections,
                std::string_view("established_connections")},
      std::pair{stackbench::CheckKind::new_pod_protected, std::string_view("new_pod_protected")},
      std::pair{stackbench::CheckKind::handshake_per_connection,
                std::string_view("handshake_per_connection")},
      std::pair{stackbench::CheckKind::plaintext_refused, std::string_view("plaintext_refused")},
      std::pair{stackbench::CheckKind::certificates_valid, std::string_view("certificates_valid")},
      std::pair{stackbench::CheckKind::wire_is_encrypted, std::string_view("wire_is_encrypted")},
      std::pair{stackbench::CheckKind::impostors_refused, std::string_view("impostors_refused")},
      std::pair{stackbench::CheckKind::no_plaintext_window,
                std::string_view("no_plaintext_window")},
      std::pair{stackbench::CheckKind::rotation_is_seamless,
                std::string_view("rotation_is_seamless")},
      std::pair{stackbench::CheckKind::certificates_renewed,
                std::string_view("certificates_renewed")},
      std::pair{stackbench::CheckKind::authorization_enforced,
                std::string_view("authorization_enforced")},
      std::pair{stackbench::CheckKind::routes_as_specified,
                std::string_view("routes_as_specified")}};
};

template <>
struct base::EnumNames<stackbench::Metric> {
  static constexpr std::array names{
      std::pair{stackbench::Metric::latency_p50, std::string_view("latency.p50")},
      std::pair{stackbench::Metric::latency_p90, std::string_view("latency.p90")},
      std::pair{stackbench::Metric::latency_p99, std::string_view("latency.p99")},
      std::pair{stackbench::Metric::connect_p50, std::string_view("connect.p50")},
      std::pair{stackbench::Metric::rate, std::string_view("rate")},
      std::pair{stackbench::Metric::cpu_per_request, std::string_view("cpu_per_request")},
      std::pair{stackbench::Metric::proxy_cpu_per_request,
                std::string_view("proxy_cpu_per_request")},
      std::pair{stackbench::Metric::throughput, std::string_view("throughput")},
      std::pair{stackbench::Metric::cpu_per_gb, std::string_view("cpu_per_gb")},
      std::pair{stackbench::Metric::jitter, std::string_view("jitter")}};
};

template <>
struct base::StringScalar<stackbench::DialTarget> {
  static Result<stackbench::DialTarget> parse(std::string_view text);
  static std::string format(const stackbench::DialTarget& value);
  static constexpr std::string_view pattern =
      "^((pod|service|load_balancer)/[a-z0-9]([a-z0-9-]*[a-z0-9])?|"
      "node_port/[a-z0-9]([a-z0-9-]*[a-z0-9])?@[1-9][0-9]?)$";
  static constexpr std::string_view example =
      "pod/web, service/web, node_port/web@2 or load_balancer/web";
};

template <>
struct base::StringScalar<stackbench::Bound> {
  static Result<stackbench::Bound> parse(std::string_view text);
  static std::string format(const stackbench::Bound& value);
  static constexpr std::string_view pattern =
      "^([+-]?[0-9]+(\\.[0-9]+)?%|[0-9]+(\\.[0-9]+)?(ns|us|ms|s|m|h|k?/s|[kMG]?B/s))$";
  static constexpr std::string_view example = "+5%, 250us, 1000/s or 500MB/s";
};
