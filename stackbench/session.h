// A provisioned plan: environments that are up, agents that answer, and the two things done with
// them, measuring one invocation and looking where a Service is translated.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/interrupt.h"
#include "base/result.h"
#include "bench/agent/client.h"
#include "checks/mesh/routes_as_specified.h"
#include "checks/mtls/authorization_enforced.h"
#include "checks/mtls/impostors_refused.h"
#include "checks/mtls/wire_is_encrypted.h"
#include "checks/plaintext_refused.h"
#include "cluster/target.h"
#include "probes/drops.h"
#include "probes/translation.h"
#include "stackbench/analysis.h"
#include "stackbench/churn.h"
#include "stackbench/connection_budget.h"
#include "stackbench/plan.h"
#include "stackbench/policies_in_force.h"

namespace stackbench {

// What a probe and its client saw of one arm.
struct TranslationObservation {
  base::Result<probes::TranslationCounts> counts;  // missing or not_permitted: there is no probe
  bench::ClientResult client;
  std::vector<bench::ServerResult> servers;  // in the order of PlannedArm::servers
};

// What proxies said around an invocation: counters before its first connection and after its last,
// what they had used where its window began and where it ended.
struct ProxyReadings {
  std::vector<cluster::ProxyCounters> before = {};
  std::vector<cluster::ProxyUsage> first = {};
  std::vector<cluster::ProxyUsage> last = {};
  std::vector<cluster::ProxyCounters> after = {};
};

// The same for each proxy of an arm's pods. `warm_up`: the client's traffic before its window.
[[nodiscard]] std::vector<ProxySample> proxy_samples(const PlannedArm& arm,
                                                     const ProxyReadings& readings,
                                                     const bench::ClientResult& client,
                                                     base::Duration warm_up);

// Called from the controller's thread. Target, plan and interrupt must outlive it.
class Session {
 public:
  // Brings every environment up, and waits until the NetworkPolicies it is filled with are in
  // force, or seem never to be. Errors: as Target::provision and Target::agent; interrupted.
  static base::Result<Session> open(cluster::Target& target, const Plan& plan,
                                    const base::Interrupt& interrupt);

  [[nodiscard]] const std::vector<cluster::EnvironmentHandle>& environments() const {
    return environments_;
  }
  // By environment, of those that are filled with NetworkPolicies: whether these are in force.
  [[nodiscard]] const std::map<std::size_t, PoliciesInForce>& policies() const { return policies_; }
  // A target's facts, and of each environment what was seen of these: "network_policy"
  // {"seen_in_force", "ports_told" (by which packets tell), "seen_after_ns" (since it was up)}.
  [[nodiscard]] base::Json with_policies(base::Json facts) const;

  // Whom an arm's client dials for a workload: a Service, or every pod of a group.
  [[nodiscard]] base::Result<std::vector<base::Endpoint>> endpoints(const PlannedArm& arm,
                                                                    bench::WorkloadKind kind) const;

  // Waits until every arm's traffic gets through, where an environment is not known to be
  // programmed: dials again and again, since nobody says when a datapath has a Service. With events
  // also until each backend is sent something, or for five seconds. Errors: timed_out after 60 s,
  // with what was met last; interrupted, and as invoke().
  [[nodiscard]] base::Result<> await_services();

  // The address an arm's client has.
  [[nodiscard]] base::Result<base::IpAddress> client_address(const PlannedArm& arm) const;

  // How far the agents' clocks are from ours: of those met so far, the one least known.
  [[nodiscard]] bench::ClockOffset clock() const { return clock_; }

  // Runs one invocation: fresh server workers on every pod that may answer, a fresh client worker,
  // the scenario's events, and their results; afterwards the environment is as it was. Before
  // events on a cluster it waits, as await_services does, until each backend is sent something
  // (again), which is no part of the window. Errors: workload (nothing could be connected, a worker
  // crashed), peer_lost, interrupted, and as Target::agent.
  base::Result<Sample> invoke(std::size_t arm, std::size_t workload, std::uint64_t seed);

  // Sends a handful of requests with a probe at the client's host-side interface, outside of every
  // measurement; without the probe where the environment does not let it be loaded. Errors: as
  // invoke.
  base::Result<TranslationObservation> observe_translation(std::size_t arm, std::size_t workload);

  // Opens connections one after another for a fraction of a second, by a workload that opens one
  // for every request, outside of every measurement. Errors: as invoke.
  base::Result<Sample> observe_connections(std::size_t arm, std::size_t workload);

  // Dials each of the pods behind an arm by its own address, in the clear, from outside of any
  // mesh, with a handful of requests of a workload. Errors: as invoke.
  base::Result<std::vector<checks::DialledInClear>> observe_plaintext(std::size_t arm,
                                                                      std::size_t workload);
  // What an environment's proxies counted so far. Errors: as Target::proxy_counters.
  base::Result<std::vector<cluster::ProxyCounters>> proxy_counters(std::size_t environment);
  // Requests and replies with canaries of their own, over kept and, of http, over new connections,
  // while packets are captured at the client's host-side interface and, where all servers are on
  // other nodes, at the uplink of its own; outside of every measurement. Errors: as invoke; a place
  // where nobody may capture is an error of its point.
  base::Result<checks::WireObservation> observe_wire(std::size_t arm, std::size_t workload);

  // Has impostors dial every pod that may answer an arm. Nothing where nobody has certificates for
  // that. Errors: as invoke, and as run_tls_probe.
  base::Result<std::optional<std::vector<checks::TriedServer>>> try_doors(std::size_t arm,
                                                                          std::size_t workload);
  // Who answers at the pods of an arm, in their order, by a handshake with each, made from its
  // client's node: what a pod sends its own proxy would take. Errors: as Target::observe and
  // AgentClient::tls_probe.
  base::Result<bench::TlsProbeResult> read_identities(const PlannedArm& arm,
                                                      bench::WorkloadKind kind);

  // Makes the scenario's requests under `authorization` to what an arm dials, each from its own
  // pods through their proxy. Errors: as invoke, and as run_tls_probe.
  base::Result<checks::AuthorizationObservation> try_authorization(std::size_t arm);

  // Why cells under `routing` cannot be tried on this target: the reason of a skip.
  [[nodiscard]] std::optional<std::string> why_no_routing() const;
  // Tries them at what an arm dials, a Service in a mesh with objects about that. Errors: as
  // invoke, Target::apply and run_tls_probe, naming the cell.
  base::Result<std::vector<checks::RoutingCell>> try_routing(std::size_t arm);

  // Whether there are observers in any case: on a cluster they are privileged pods, made where a
  // check cannot do without.
  [[nodiscard]] bool has_observers() const;

  // Notes from here on what the kernel drops of any of the environments' traffic. In a lab one
  // kernel carries every pod, so one watcher sees all of it; on a cluster it is that of the first
  // arm's client's node, where a check has an observer there: none is made for this. Errors: as
  // Target::observe; missing or not_permitted where the probe cannot be loaded, or nobody is there
  // to load it.
  base::Result<> watch_drops();
  // Whose kernel that is, where it is not everybody's: "the node of client-0".
  [[nodiscard]] std::optional<std::string> drops_seen_at() const;
  // What was dropped since, and the end of the watch. Errors: as invoke.
  base::Result<probes::Drops> take_drops();

  // For parts of a run that have no arms. The agent of a pod; it is connected once. Errors: as
  // Target::agent, and as AgentClient::connect.
  base::Result<bench::AgentClient*> agent(std::size_t environment, const std::string& pod);
  // Whether a pod's agent ends with the pod, and another begins with the next of its name.
  [[nodiscard]] bool agent_ends_with_pod() const { return on_cluster(); }
  // Closes the streams to a pod's agent. Pointers to it are none any more.
  void let_go(std::size_t environment, const std::string& pod) {
    agents_.erase({environment, pod});
  }
  // The agent of a pod that was made anew, whose plan it takes up. Errors: as agent().
  base::Result<bench::AgentClient*> agent_of_plan(std::size_t environment, const std::string& pod,
                                                  const bench::AgentPlan& plan);
  // The privileged agent at its host-side interface, likewise.
  base::Result<bench::AgentClient*> observer(std::size_t environment, const std::string& pod);
  // How far an agent's clock is from ours now: measured anew, for clocks of two machines drift.
  base::Result<bench::ClockOffset> clock_of(bench::AgentClient& agent);
  // Asks the target for an environment's addresses again. Errors: as Target::provision.
  base::Result<> look_again(std::size_t environment) {
    ASSIGN_OR_RETURN(environments_[environment],
                     target_->provision(plan_->environments[environment]));
    return {};
  }

  // The identities by which the pods that may answer an arm should be named, in their order.
  [[nodiscard]] base::Result<std::vector<std::string>> identities(const PlannedArm& arm) const;

 private:
  Session(cluster::Target& target, const Plan& plan, const base::Interrupt& interrupt)
      : target_(&target), plan_(&plan), interrupt_(&interrupt) {}

  // Writes what an environment's mesh has of objects. Errors: as Target::apply.
  base::Result<> put_mesh_objects(std::size_t environment);
  // The requests to the port of one workload, whose servers run.
  base::Result<> try_access(const PlannedArm& arm, const PlannedWorkload& workload,
                            const std::vector<base::Endpoint>& dialled,
                            checks::AuthorizationObservation& seen);

  using Place = std::pair<std::size_t, std::string>;  // environment, pod

  // Of an environment that just came up, where it is filled with NetworkPolicies. Errors: as
  // open().
  base::Result<> await_policies(std::size_t environment);

  // Tokens of one exchange (base/canary.h).
  struct Canaries {
    std::string request;
    std::string reply;
  };
  // An address a Service is reached at.
  struct Frontend {
    DialTarget::Kind kind;
    int node;  // of a node_port; else 0
    base::Endpoint endpoint;
  };
  static std::vector<Frontend> frontends(const cluster::EnvironmentHandle& environment,
                                         const cluster::ServiceHandle& service,
                                         bench::WorkloadKind kind, base::AddressFamily family);
  // Attaches the job's probe to the client's host-side interface. Errors: as invoke; missing or
  // not_permitted where it cannot be loaded.
  base::Result<std::pair<bench::AgentClient*, bench::JobId>> attach_probe(
      const PlannedArm& arm, probes::TranslationJob job);
  class Servers;
  class RoutingTrial;
  // The client's result and, per server, its own; servers are stopped whatever the client met. With
  // events also those of the pods on standby, and what came of the events.
  base::Result<Sample> exchange(const PlannedArm& arm, const bench::WorkloadSpec& workload,
                                std::uint64_t seed, const std::vector<EventSpec>& events,
                                bool reads_proxies, const Canaries* canaries = nullptr);
  // One client's result, with what the proxies said around its window. Errors: as invoke, and as
  // Target::proxy_counters.
  base::Result<> run_beside_proxies(const PlannedArm& arm, bench::ClientJob job,
                                    ProxyReadings& readings, bench::ClientResult& result);
  // Canaries' traffic of a workload while packets are captured at these places; adds to what is
  // seen. Errors: as invoke.
  base::Result<> watch_wire(const PlannedArm& arm, const bench::WorkloadSpec& planned,
                            const std::vector<std::pair<std::string, std::string>>& places,
                            checks::WireObservation& seen);
  // What the capture of an arm's traffic is told, but for its interface.
  base::Result<probes::CaptureJob> capture_job(const PlannedArm& arm, bench::WorkloadKind kind,
                                               const Canaries& canaries);
  // The environment as it was before the scenario's events.
  base::Result<> restore(std::size_t environment, Churn& churn);
  // Waits until this machine is calm again, or for some seconds. Errors: interrupted, system.
  base::Result<> let_settle();
  // On a cluster: holds a client to the connections its pod has local ports for. With events, whose
  // resolution is the rate, it may make a minute's at once, and waits until it may. Errors:
  // interrupted.
  base::Result<> limit_connections(const Place& client, bool events, bench::ClientJob& job);
  [[nodiscard]] bool on_cluster() const { return target_->name() == "kubernetes"; }
  base::Result<std::vector<checks::Happened>> run_with_events(
      bench::AgentClient& client, const bench::ClockOffset& clock, bench::ClientJob job,
      const std::vector<EventSpec>& events, Churn& churn, bench::ClientResult& result);
  // That an arm's Service has anybody to answer, as far as the target can tell. Errors: workload,
  // naming the pods that should.
  [[nodiscard]] base::Result<> check_somebody_answers(const PlannedArm& arm) const;
  base::Result<> await_answers(std::size_t arm, std::size_t workload, base::MonotonicTime deadline);
  // Before events: until each backend in service is sent something and nobody else is, or for five
  // seconds (stackbench/backends_seen.h). Errors: as invoke, but for those of the traffic.
  base::Result<> await_backends(std::size_t arm, std::size_t workload);
  // The core for a worker of this agent: the plan's cores are those of the machine we run on.
  static std::optional<int> core_of(const bench::AgentClient& agent, int core);
  // One client's result, or that of a workload's generators merged.
  base::Result<bench::ClientResult> run_clients(const PlannedArm& arm, const bench::ClientJob& job);
  // By which a pod is told to answer: its own, unless the fault `impostor` is planted.
  [[nodiscard]] base::Result<std::uint32_t> told_identity(const PlannedArm& arm,
                                                          const std::string& name) const;
  [[nodiscard]] base::Result<const cluster::PodHandle*> pod(std::size_t environment,
                                                            const std::string& name) const;

  struct ObserverAgent {
    bench::AgentClient client;
    std::string interface;
  };

  cluster::Target* target_;
  const Plan* plan_;
  const base::Interrupt* interrupt_;
  std::vector<cluster::EnvironmentHandle> environments_;
  bench::ClockOffset clock_;
  std::map<std::size_t, PoliciesInForce> policies_;  // by environment
  std::map<Place, bench::AgentClient> agents_;
  std::map<Place, ObserverAgent> observers_;
  std::map<Place, ConnectionBudget> budgets_;
  // By which ends of tls_handshake are known, made once for a run.
  struct TlsEnds {
    bench::TlsSettings server;
    bench::TlsSettings client;
  };
  // Of a workload, where it has any. Errors: system.
  base::Result<std::optional<TlsEnds>> tls_ends(const bench::WorkloadSpec& workload);

  std::optional<TlsEnds> tls_ends_;
  std::set<std::size_t> unreached_;          // arms that do not reach every backend
  std::optional<bench::JobId> drops_watch_;  // at the first arm's client
};

}  // namespace stackbench
