// From a scenario to what will run, in which order, on which cores, and for how long.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/noise.h"
#include "base/result.h"
#include "cluster/topology.h"
#include "stackbench/scenario/scenario.h"

namespace stackbench {

struct PlannedArm {
  std::string name;
  std::size_t environment = 0;  // index into Plan::environments
  DialTarget dial;
  std::string from;  // the client's pod: the first of its group
  // All of its group: the generators of a workload are the first ones.
  std::vector<std::string> clients = {};
  base::AddressFamily family = base::AddressFamily::ipv4;
  std::vector<std::string> servers;       // the pods that may answer
  std::vector<std::string> standby = {};  // those that may once an event has made them ready
  std::optional<std::size_t> base;        // the arm it is compared with
};

struct PlannedWorkload {
  std::string name;  // unique: the kind, or kind_2 for its second appearance
  bench::WorkloadSpec spec;
};

// Where the hot threads run. With one core they share it, and latency is `oversubscribed`.
struct Cores {
  int client = 0;
  int server = 0;
  // Of the proxies beside them; where there are no four cores, with those they stand beside.
  int client_proxy = 0;
  int server_proxy = 0;
  [[nodiscard]] bool oversubscribed() const { return client == server; }
};

// What the target cannot have, and why.
struct SkippedEnvironment {
  std::string name;
  cluster::DatapathKind datapath = cluster::DatapathKind::direct;
  std::string reason;
};
struct SkippedArm {
  std::string name;
  std::string environment;
  DialTarget dial;
  std::string reason;
};

struct Plan {
  Scenario scenario;
  std::vector<cluster::EnvironmentPlan> environments;
  std::vector<PlannedArm> arms;
  std::vector<PlannedWorkload> workloads;
  Cores cores;
  std::vector<SkippedEnvironment> skipped_environments = {};
  std::vector<SkippedArm> skipped_arms = {};

  // Whether an arm has more hot threads than cores: its latency is mostly the scheduler's then.
  [[nodiscard]] bool oversubscribed(const PlannedArm& arm) const;
  // Of proxies that somebody else puts where they run.
  void unpin_proxies();
  // The reason where an arm of this name was skipped.
  [[nodiscard]] const std::string* skipped(const std::string& arm) const;
};

// Resolves a scenario (already validated) against the cores we may use. Errors: input (an
// environment named like the bare one but with a datapath).
[[nodiscard]] base::Result<Plan> make_plan(const Scenario& scenario, const std::vector<int>& cores);

// The cores this process may run on (sched_getaffinity), ascending. Errors: system.
[[nodiscard]] base::Result<std::vector<int>> usable_cores();

// The order of arms in a block: a random permutation, then its reverse, so that drift of the
// machine hits all arms alike. A function of (seed, block, workload): the same in every run.
[[nodiscard]] std::vector<std::size_t> arm_order(std::size_t arms, std::uint64_t seed, int block,
                                                 std::size_t workload);

// How long things beside the traffic itself take here. Learnt: every run leaves its own for the
// next plan of the same target (XDG_STATE_HOME/stackbench/overheads-lab.json).
struct Overheads {
  std::int64_t provision_ns = 600'000'000;  // per environment
  std::int64_t invocation_ns = 60'000'000;  // beside its warm_up and duration
  std::int64_t check_ns = 250'000'000;      // one exchange the checks rest on
  std::int64_t finish_ns = 700'000'000;     // judging, writing, teardown
  int runs = 0;                             // how many runs these rest on
};

template <typename Visit, base::SelfOf<Overheads> Self>
void describe(Visit& visit, Self& self) {
  visit("provision_ns", self.provision_ns, {.doc = "Per environment."});
  visit("invocation_ns", self.invocation_ns, {.doc = "Beside its warm-up and duration."});
  visit("check_ns", self.check_ns, {.doc = "One check with its traffic."});
  visit("finish_ns", self.finish_ns, {.doc = "Judging, writing, teardown."});
  visit("runs", self.runs, {.doc = "Runs they were learnt from."});
}

// What the last runs on a target from this machine left, or the defaults where there is nothing
// readable.
[[nodiscard]] Overheads load_overheads(std::string_view target);
// Mixes this run's in (half old, half new) and saves. Errors: system; nobody's run fails by it.
[[nodiscard]] base::Result<> save_overheads(std::string_view target, const Overheads& measured);

// What the checks of a scenario rest on.
struct Observed {
  bool requests = false;     // a few requests of every workload, with a probe
  bool connections = false;  // many connections of every workload that opens one for each request
  bool wire = false;         // requests with canaries of every workload that can carry them
  bool doors = false;        // connections of impostors
};
[[nodiscard]] Observed observed_by(const Scenario& scenario);
// Whether the pods behind an arm must refuse plaintext.
[[nodiscard]] bool promises_refusal(const Plan& plan, const PlannedArm& arm);
// Which arms wire_is_encrypted and impostors_refused judge: where a scenario's meshes are told to
// encrypt and to refuse in some arms, those; else every arm, for what is there unasked.
[[nodiscard]] bool is_to_be_encrypted(const Plan& plan, const PlannedArm& arm);
[[nodiscard]] bool is_to_refuse_impostors(const Plan& plan, const PlannedArm& arm);
// How many exchanges the checks of a run take.
[[nodiscard]] std::int64_t check_exchanges(const Plan& plan);

// What a cluster's pods may connect in a minute: they have some 28,000 local ports towards one
// address, and each rests for a minute after its connection. The same for every arm, whether it
// dials one address or several, so that all make the same traffic.
inline constexpr std::uint32_t cluster_connections_per_minute = 20'000;

// What is sent while certificates are rotated: a new connection for each request, of which each is
// one between proxies; and kept ones, likewise.
inline constexpr std::array rotation_traffic{bench::WorkloadKind::tcp_crr,
                                             bench::WorkloadKind::tcp_rr};

// What a scenario's policies are looked at by, over all environments.
struct PolicySteps {
  std::size_t cases = 0;   // generated sets of policies
  std::size_t writes = 0;  // watched ones: every change is done and undone, every new pod made
};
// Of a plan with a policy.
[[nodiscard]] PolicySteps policy_steps(const Plan& plan);

// Whether a change of a mesh is watched in an environment of this name.
[[nodiscard]] bool is_watched_in(const MeshChangeSpec& change, const std::string& environment);
// How many changes are watched, over all environments, of a plan with a plaintext_window.
[[nodiscard]] std::size_t watched_changes(const Plan& plan);

// The wall time of a run on a target without replaced blocks. On a cluster, clients of open loops
// with events wait until they may open an invocation's connections at once.
[[nodiscard]] base::Duration estimate_duration(const Plan& plan, const Overheads& overheads,
                                               std::string_view target);
// From where a block counts as disturbed: a gap probe watches 1 % of what an invocation takes, so
// that one of a few long ones says no less of a block than one of many short ones.
[[nodiscard]] base::NoiseLimits noise_limits(const Plan& plan);
// How many connections an invocation opens, where a loop's rate says so; 0 where they are kept.
[[nodiscard]] std::uint64_t connections_of(const bench::WorkloadSpec& workload);
// Of one block.
[[nodiscard]] base::Duration block_duration(const Plan& plan, const Overheads& overheads);

// How the servers of a workload wait, whatever arm they serve: the choice must not differ between
// an arm that dials one pod and one whose Service has several, or the difference would measure it.
// A server may spin only where a single one can be busy at a time, with one connection that is
// kept; elsewhere several would share their core and a reply would wait for the scheduler. Nor for
// a stream: nobody waits for a reply, and what its server uses is part of what is judged.
[[nodiscard]] bench::WaitStrategy server_wait(const bench::WorkloadSpec& workload);

// Where state that outlives a run is kept: XDG_STATE_HOME/stackbench, or ~/.local/state/stackbench.
// Errors: missing (neither variable is set).
[[nodiscard]] base::Result<std::string> state_directory();

}  // namespace stackbench
