// The report record: everything one run found, and enough to repeat it. The second schema of the
// project (the scenario is the first): these structs are the truth; the JSON file, its schema and
// every renderer follow from their descriptions. Filled by the run loop; kept in files by
// reports/store.h.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/machine.h"
#include "base/noise.h"
#include "reports/bgp_faults.h"
#include "reports/bgp_scale.h"
#include "reports/events.h"
#include "reports/growth.h"
#include "reports/judgement.h"
#include "reports/mesh.h"
#include "reports/plaintext_window.h"
#include "reports/policy.h"
#include "reports/rotation.h"
#include "reports/sample.h"

namespace reports {

// Raised when a reader of the old version would misread the new.
inline constexpr int schema_version = 1;

// A point in time on both clocks. The wall clock is for people only.
struct Stamp {
  std::string wall = {};  // RFC 3339, UTC: "2025-03-01T12:00:00Z"
  std::int64_t monotonic_ns = 0;
};

template <typename Visit, base::SelfOf<Stamp> Self>
void describe(Visit& visit, Self& self) {
  visit("wall", self.wall, {.doc = "RFC 3339, UTC."});
  visit("monotonic_ns", self.monotonic_ns,
        {.doc = "CLOCK_MONOTONIC of the boot in machine.boot_id."});
}

struct ScenarioRecord {
  std::string file = {};
  std::vector<std::string> overrides = {};  // "blocks=20", as given with --set
  base::Json resolved = base::Json::object();
};

template <typename Visit, base::SelfOf<ScenarioRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("file", self.file, {.doc = "Where it was read from."});
  visit("overrides", self.overrides, {.doc = "What --set changed."});
  visit("resolved", self.resolved, {.doc = "The whole scenario, defaults included."});
}

struct EnvironmentRecord {
  std::string name = {};
  std::string datapath = {};
  std::map<std::string, std::string> addresses = {};  // "pod/web-0" -> "10.244.2.2"
  base::Json facts = base::Json::object();
  std::optional<std::string> skipped = {};  // why it could not be had
};

template <typename Visit, base::SelfOf<EnvironmentRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "Its name in the scenario.", .required = true});
  visit("datapath", self.datapath, {.doc = "How its Services are implemented."});
  visit("addresses", self.addresses, {.doc = "Pods and Services."});
  visit("facts", self.facts, {.doc = "What it says of itself: tools, versions, rule counts."});
  visit("skipped", self.skipped, {.doc = "Why it could not be had."});
}

struct WorkloadRecord {
  std::string name =
      {};  // what arms, samples and estimates call it: the kind, where that is unique
  std::string summary = {};  // for people: "closed loop, 1 connection, spin, 300ms"
  base::Json spec = base::Json::object();
};

template <typename Visit, base::SelfOf<WorkloadRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "What the report calls it.", .required = true});
  visit("summary", self.summary, {.doc = "Its loop, connections, waiting and length in words."});
  visit("spec", self.spec, {.doc = "The workload as the scenario resolved it."});
}

struct ArmRecord {
  std::string name = {};
  std::optional<std::string> environment = {};  // absent: without any datapath
  std::string dial = {};
  std::map<std::string, std::vector<std::string>> endpoints = {};  // by workload, what was dialled
  std::optional<std::string> base_arm = {};
  std::optional<std::string> skipped = {};
};

template <typename Visit, base::SelfOf<ArmRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "The arm.", .required = true});
  visit("environment", self.environment, {.doc = "Where; absent: without any datapath."});
  visit("dial", self.dial, {.doc = "What its client dials.", .required = true});
  visit("endpoints", self.endpoints, {.doc = "The addresses dialled, by workload."});
  visit("base_arm", self.base_arm, {.doc = "The arm it is compared with."});
  visit("skipped", self.skipped, {.doc = "Why it did not run."});
}

struct PlanRecord {
  std::uint64_t order_seed = 0;
  int blocks = 0;  // wanted
  std::optional<int> client_cpu = {};
  std::optional<int> server_cpu = {};
  std::optional<int> controller_cpu = {};
  std::int64_t expected_ns = 0;      // how long it was to take; 0: nobody said
  std::int64_t clock_offset_ns = 0;  // of the agent whose clock is least known; 0: all read ours
  std::int64_t clock_uncertainty_ns = 0;
};

template <typename Visit, base::SelfOf<PlanRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("order_seed", self.order_seed, {.doc = "Of the order of arms."});
  visit("blocks", self.blocks, {.doc = "Kept blocks wanted."});
  visit("client_cpu", self.client_cpu, {.doc = "The client's core."});
  visit("server_cpu", self.server_cpu, {.doc = "The server's core."});
  visit("controller_cpu", self.controller_cpu, {.doc = "The controller's core."});
  visit("expected_ns", self.expected_ns, {.doc = "How long the run was to take; 0: unknown."});
  visit("clock_offset_ns", self.clock_offset_ns,
        {.doc = "Of the agent whose clock is least known: that clock minus ours; 0 where all read "
                "one clock."});
  visit("clock_uncertainty_ns", self.clock_uncertainty_ns,
        {.doc = "Of the offset. No figure smaller than it is shown."});
}

// What an eBPF program cost, a probe or a hook of a datapath, by the kernel's run-time statistics.
struct ProbeOverhead {
  std::string name = {};
  std::uint64_t events = 0;
  double ns_per_event = 0;
  std::uint64_t lost = 0;
};

template <typename Visit, base::SelfOf<ProbeOverhead> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name,
        {.doc = "The probe, or the hook and its environment.", .required = true});
  visit("events", self.events, {.doc = "Times it ran."});
  visit("ns_per_event", self.ns_per_event, {.doc = "Its own cost each time."});
  visit("lost", self.lost, {.doc = "Events it could not keep."});
}

// Whether the kernel's own account of dropped packets was there to be joined to losses.
struct DropWatch {
  bool watched = false;
  std::optional<std::string> reason = {};   // why not
  std::optional<std::string> seen_at = {};  // whose kernel; absent: the one that carries all
  std::uint64_t seen = 0;
  std::uint64_t lost = 0;
  std::uint64_t unparsed = 0;
};

template <typename Visit, base::SelfOf<DropWatch> Self>
void describe(Visit& visit, Self& self) {
  visit("watched", self.watched, {.doc = "Whether it was there for all blocks."});
  visit("reason", self.reason, {.doc = "Why not."});
  visit("seen_at", self.seen_at,
        {.doc = "Whose kernel was asked, where others carry packets, too; absent: the only one."});
  visit("seen", self.seen,
        {.doc = "Packets of the scenario's endpoints the kernel dropped during the blocks, "
                "between and after invocations included."});
  visit("lost", self.lost, {.doc = "Drops there was no room to keep."});
  visit("unparsed", self.unparsed,
        {.doc = "Dropped packets of the whole machine whose headers could not be read."});
}

struct NoiseSummary {
  base::NoiseLimits limits = {};
  int kept = 0;
  int disturbed = 0;
  double disturbed_share = 0;  // of the blocks after the warm-up
  std::int64_t max_gap_ns = 0;
  double worst_lost_share = 0;
  bool invalid = false;  // over a quarter was disturbed: no verdict on figures
};

template <typename Visit, base::SelfOf<NoiseSummary> Self>
void describe(Visit& visit, Self& self) {
  visit("limits", self.limits, {.doc = "From where a block is disturbed."});
  visit("kept", self.kept, {.doc = "Blocks that count."});
  visit("disturbed", self.disturbed, {.doc = "Blocks dropped."});
  visit("disturbed_share", self.disturbed_share, {.doc = "Of all after the warm-up."});
  visit("max_gap_ns", self.max_gap_ns, {.doc = "The longest gap in any of them."});
  visit("worst_lost_share", self.worst_lost_share, {.doc = "The worst block's lost share."});
  visit("invalid", self.invalid, {.doc = "Over a quarter of the blocks was disturbed."});
}

enum class TroubleKind {
  setup,        // what stops us: a bad file, a missing tool, a refused permission, a lost agent
  workload,     // traffic itself could not be made
  interrupted,  // the user asked to stop
};

// An error of ours, kept because the report is shorter for it.
struct Trouble {
  TroubleKind kind = TroubleKind::setup;
  std::string message = {};
  std::string mend = {};

  bool operator==(const Trouble&) const = default;
};

template <typename Visit, base::SelfOf<Trouble> Self>
void describe(Visit& visit, Self& self) {
  visit("kind", self.kind, {.doc = "Its kind.", .required = true});
  visit("message", self.message, {.doc = "What happened and where.", .required = true});
  visit("mend", self.mend, {.doc = "What can be done about it."});
}

// The Error as a report keeps it.
[[nodiscard]] Trouble trouble_from(const base::Error& error);

struct Report {
  int version = schema_version;
  std::string stackbench_version = {};
  std::string question = {};
  std::string target = {};  // "lab": what this kernel does; "kubernetes": what a cluster does
  base::Json target_facts = base::Json::object();  // what the target says of itself
  bool complete = false;           // false: the run ended early, and this is what it had
  std::optional<int> signal = {};  // that ended it
  Conclusion conclusion = {};
  ScenarioRecord scenario = {};
  std::vector<std::string> command_line = {};
  Stamp started = {};
  Stamp ended = {};
  base::Machine machine = {};
  std::vector<EnvironmentRecord> environments = {};
  std::vector<WorkloadRecord> workloads = {};
  std::vector<ArmRecord> arms = {};
  PlanRecord plan = {};
  std::vector<Estimate> estimates = {};
  std::vector<Growth> growth = {};
  std::vector<EventRecord> events = {};
  std::vector<BgpScalePoint> bgp_scale = {};
  std::optional<PolicyRecord> policy = {};
  std::vector<BgpFaultRecord> bgp_faults = {};
  std::optional<MeshRecord> mesh = {};
  std::vector<PlaintextWindowRecord> plaintext_windows = {};
  std::optional<RotationRecord> rotation = {};
  std::vector<Expectation> expectations = {};
  std::vector<Check> checks = {};
  std::vector<ProbeOverhead> probes = {};
  DropWatch drop_watch = {};
  NoiseSummary noise = {};
  std::vector<Trouble> errors = {};
  std::vector<Block> blocks = {};
  std::vector<Sample> samples = {};
  std::vector<MergedHistogram> histograms = {};
  std::vector<SeriesFile> series = {};
};

template <typename Visit, base::SelfOf<Report> Self>
void describe(Visit& visit, Self& self) {
  visit("schema_version", self.version,
        {.doc = "Of this layout.", .required = true, .at_least = 1});
  visit("stackbench_version", self.stackbench_version, {.doc = "Who wrote it.", .required = true});
  visit("question", self.question, {.doc = "What was asked.", .required = true});
  visit("target", self.target, {.doc = "lab or kubernetes.", .required = true});
  visit("target_facts", self.target_facts,
        {.doc = "What the target says of itself: versions, congestion control, MTU."});
  visit("complete", self.complete,
        {.doc = "False: the run ended early, and this is what it had.", .required = true});
  visit("signal", self.signal, {.doc = "The signal that ended it."});
  visit("conclusion", self.conclusion, {.doc = "The answer.", .required = true});
  visit("scenario", self.scenario, {.doc = "The scenario, enough to run it again."});
  visit("command_line", self.command_line, {.doc = "How it was started."});
  visit("started", self.started, {.doc = "When."});
  visit("ended", self.ended, {.doc = "When."});
  visit("machine", self.machine, {.doc = "Where: the fingerprint of the controller's machine."});
  visit("environments", self.environments, {.doc = "The environments."});
  visit("workloads", self.workloads, {.doc = "The workloads."});
  visit("arms", self.arms, {.doc = "The arms."});
  visit("plan", self.plan, {.doc = "Order, cores and clocks."});
  visit("estimates", self.estimates, {.doc = "Metrics with their uncertainty."});
  visit("growth", self.growth, {.doc = "How paths' costs grow with the number of Services."});
  visit("events", self.events,
        {.doc = "What clients noticed when backends left, died, were replaced or came back."});
  visit("bgp_scale", self.bgp_scale,
        {.doc = "How fast many LoadBalancer addresses are announced and withdrawn at once."});
  visit("policy", self.policy, {.doc = "What was found out about NetworkPolicies."});
  visit("bgp_faults", self.bgp_faults,
        {.doc = "What became of BGP's sessions, routes and traffic at faults."});
  visit("mesh", self.mesh, {.doc = "What proxies and encryption cost."});
  visit("plaintext_windows", self.plaintext_windows,
        {.doc = "For how long plaintext was answered, or readable, while a mesh changed."});
  visit("rotation", self.rotation, {.doc = "What was noticed while certificates were rotated."});
  visit("expectations", self.expectations, {.doc = "What must hold, judged."});
  visit("checks", self.checks, {.doc = "Claims, judged."});
  visit("probes", self.probes,
        {.doc = "What eBPF programs cost, probes and datapaths' hooks, at the checks' low rate."});
  visit("drop_watch", self.drop_watch,
        {.doc = "Whether the kernel's drop reasons were there to explain losses."});
  visit("noise", self.noise, {.doc = "How quiet the machine was."});
  visit("errors", self.errors, {.doc = "Our own errors; empty for a complete run."});
  visit("blocks", self.blocks, {.doc = "The blocks in the order of time."});
  visit("samples", self.samples, {.doc = "Every invocation."});
  visit("histograms", self.histograms, {.doc = "Kept invocations merged, by arm and workload."});
  visit("series", self.series, {.doc = "Files beside the report."});
}

// The JSON Schema (draft-07) of a report file; reports/report.schema.json is a copy of it.
[[nodiscard]] base::Json report_schema();

}  // namespace reports

template <>
struct base::EnumNames<reports::TroubleKind> {
  static constexpr std::array names{
      std::pair{reports::TroubleKind::setup, std::string_view("setup")},
      std::pair{reports::TroubleKind::workload, std::string_view("workload")},
      std::pair{reports::TroubleKind::interrupted, std::string_view("interrupted")}};
};
