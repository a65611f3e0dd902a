#include "stackbench/plan.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <random>
#include <utility>

#include <sched.h>

#include "base/file.h"
#include "bench/canaries.h"
#include "stackbench/policy/cases.h"

namespace stackbench {
namespace {

// Warm-up block and kept blocks, each with every arm twice.
constexpr int warm_up_blocks = 1;
constexpr int passes_per_block = 2;

// Of the noise guard's gap probes.
constexpr std::int64_t longest_probe_ns = 50'000'000;

std::string first_pod(const std::string& group) { return group + "-0"; }

// Those that are ready at first, or those on standby.
std::vector<std::string> pods_of(const cluster::TopologySpec& topology, const std::string& group,
                                 bool standby) {
  std::vector<std::string> pods;
  const auto found = topology.pods.find(group);
  if (found == topology.pods.end()) return pods;
  const auto& spec = found->second;
  const int first = standby ? spec.replicas : 0;
  const int end = standby ? spec.replicas + spec.standby : spec.replicas;
  for (int i = first; i < end; ++i) pods.push_back(fmt::format("{}-{}", group, i));
  return pods;
}

// Whether a Service sends traffic to a group.
bool serves(const cluster::TopologySpec& topology, const std::string& group) {
  return std::ranges::any_of(topology.services,
                             [&](const auto& service) { return service.second.target == group; });
}

std::string overheads_file(const std::string& directory, std::string_view target) {
  return fmt::format("{}/overheads-{}.json", directory, target);
}

// One port for every workload kind in use, or those that pods probe each other at.
std::vector<cluster::ServicePort> service_ports(const Scenario& scenario) {
  std::vector<cluster::ServicePort> ports;
  if (scenario.policy) {
    for (const auto& [name, port] : scenario.policy->ports) {
      ports.push_back(
          {.name = name, .protocol = port.protocol, .port = port.port, .target_port = port.port});
    }
  }
  const auto add = [&](bench::WorkloadKind kind) {
    cluster::ServicePort port{.name = bench::port_name(kind),
                              .protocol = bench::protocol_of(kind),
                              .port = bench::service_port(kind),
                              .target_port = bench::target_port(kind)};
    if (std::ranges::find(ports, port) == ports.end()) ports.push_back(std::move(port));
  };
  for (const auto& workload : scenario.workloads) add(workload.kind);
  if (scenario.plaintext_window) add(bench::WorkloadKind::http);
  if (scenario.rotation) {
    for (const auto kind : rotation_traffic) add(kind);
  }
  return ports;
}

base::Duration& delay_of(cluster::EnvironmentPlan& environment, cluster::FaultKind fault) {
  switch (fault) {
    case cluster::FaultKind::interception_late:
      return environment.interception_delay;
    case cluster::FaultKind::peer_authentication_late:
      return environment.peer_authentication_delay;
    default:
      return environment.policy_delay;
  }
}

// How long clients of a cluster must be at it, whatever else takes time.
base::Duration ports_need(const Plan& plan) {
  if (plan.scenario.events.empty()) return base::Duration(0);
  std::uint64_t of_a_client = 0;
  for (const auto& workload : plan.workloads) of_a_client += connections_of(workload.spec);
  // Arms take turns, so a client that several have is as busy as all of them.
  std::map<std::pair<std::size_t, std::string>, std::uint64_t> arms;
  for (const auto& arm : plan.arms) ++arms[{arm.environment, arm.from}];
  std::uint64_t most = 0;
  for (const auto& [client, count] : arms) most = std::max(most, count);
  const auto invocations =
      most * passes_per_block * static_cast<std::uint64_t>(plan.scenario.blocks + warm_up_blocks);
  const auto minutes = invocations * of_a_client / cluster_connections_per_minute;
  return std::chrono::minutes(minutes);
}

}  // namespace

Observed observed_by(const Scenario& scenario) {
  Observed observed;
  for (const auto check : scenario.checks) {
    if (check == CheckKind::connection_table) continue;  // it looks at what the whole run did
    if (is_about_policies(check) || is_about_meshes(check) || is_about_rotations(check)) continue;
    if (is_about_windows(check)) continue;
    // What is claimed of events is judged by the invocations themselves.
    if (check == CheckKind::stale_backend || check == CheckKind::flows_stay) continue;
    if (check == CheckKind::wire_is_encrypted) {
      observed.wire = true;
    } else if (check == CheckKind::impostors_refused) {
      observed.doors = true;
    } else {
      (check == CheckKind::distribution ? observed.connections : observed.requests) = true;
    }
  }
  return observed;
}

base::Result<std::vector<int>> usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) < 0) {
    return base::system_error(errno, "sched_getaffinity");
  }
  std::vector<int> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &set)) cores.push_back(cpu);
  }
  return cores;
}

base::Result<Plan> make_plan(const Scenario& scenario, const std::vector<int>& cores) {
  Plan plan;
  plan.scenario = scenario;
  plan.cores = {.client = cores.front(), .server = cores.size() > 1 ? cores[1] : cores.front()};
  const bool enough = cores.size() > 3;
  plan.cores.client_proxy = enough ? cores[2] : plan.cores.client;
  plan.cores.server_proxy = enough ? cores[3] : plan.cores.server;

  const auto add_environment = [&](const std::string& name, const EnvironmentSpec& spec) {
    const bool restarts =
        scenario.policy ? restarts_pods(*scenario.policy)
                        : scenario.plaintext_window && starts_pods(*scenario.plaintext_window);
    cluster::EnvironmentPlan environment{
        .name = name,
        .datapath = spec.datapath,
        .topology = scenario.topology,
        .ports = service_ports(scenario),
        .faults = {},
        .filler = {.services = spec.filler,
                   .family = scenario.family,
                   .policies = spec.filler_policies,
                   .selectors = spec.filler_selectors},
        .context = spec.context.value_or(""),
        .replaces_pods = restarts || std::ranges::find(scenario.events, cluster::EventKind::replace,
                                                       &EventSpec::kind) != scenario.events.end(),
        .has_policies = scenario.policy.has_value() || spec.filler_policies.has_value(),
        .watches_flows = scenario.policy &&
                         !(scenario.policy->changes.empty() && scenario.policy->new_pods.empty())};
    if (spec.mesh) {
      environment.mesh = cluster::MeshPlan{.spec = *spec.mesh};
      for (const auto& [group, pods] : scenario.topology.pods) {
        environment.mesh->cpu_of[group] =
            serves(scenario.topology, group) ? plan.cores.server_proxy : plan.cores.client_proxy;
      }
      if (scenario.rotation) {
        environment.mesh->certificates_last =
            std::chrono::duration_cast<std::chrono::seconds>(scenario.rotation->certificates_last);
        environment.mesh->certificates_renewed_every =
            std::chrono::duration_cast<std::chrono::milliseconds>(scenario.rotation->every);
        environment.mesh->rotates_root = scenario.rotation->rotate_root;
      }
    }
    for (const auto& fault : scenario.faults) {
      if (fault.environment != name) continue;
      environment.faults.push_back(fault.kind);
      if (fault.delay) delay_of(environment, fault.kind) = *fault.delay;
      if (fault.one_in) environment.plaintext_one_in = *fault.one_in;
    }
    const bool shared = std::ranges::any_of(
        scenario.workloads, [](const auto& workload) { return workload.generators > 1; });
    for (const auto& arm : scenario.arms) {
      if (shared && arm.in == name && arm.from != cluster::external_client &&
          !serves(scenario.topology, arm.from)) {
        environment.generator_groups.insert(arm.from);
      }
    }
    plan.environments.push_back(std::move(environment));
  };
  for (const auto& [name, environment] : scenario.environments) {
    if (name == bare_environment && environment.datapath != cluster::DatapathKind::direct) {
      return base::fail_with_mend(
          base::ErrorKind::input,
          fmt::format("environments.{}: this name is kept for arms outside any environment", name),
          "Give the environment another name.");
    }
    // An environment that no arm enters would cost time and tell nothing; policies are looked at
    // in all of them, certificates are rotated in all, and changes of meshes are watched.
    if (!has_arms(scenario) || std::ranges::find(scenario.arms, std::optional(name),
                                                 &ArmSpec::in) != scenario.arms.end()) {
      add_environment(name, environment);
    }
  }
  if (scenario.policy && plan.environments.empty()) {
    add_environment(std::string(bare_environment), {});
  }
  const auto environment_index = [&](const std::string& name) {
    const auto found = std::ranges::find(plan.environments, name, &cluster::EnvironmentPlan::name);
    return static_cast<std::size_t>(found - plan.environments.begin());
  };

  for (const auto& arm : scenario.arms) {
    const std::string name = arm.in.value_or(std::string(bare_environment));
    if (environment_index(name) == plan.environments.size()) {
      add_environment(name, {});
    }
    PlannedArm planned{
        .name = arm.name,
        .environment = environment_index(name),
        .dial = arm.dial,
        .from = arm.from == cluster::external_client ? arm.from : first_pod(arm.from),
        .clients = pods_of(scenario.topology, arm.from, false),
        .family = arm.family.value_or(scenario.family),
        .servers = {},
        .base = {}};
    const auto& group = arm.dial.kind == DialTarget::Kind::pod
                            ? arm.dial.name
                            : scenario.topology.services.at(arm.dial.name).target;
    if (planned.clients.empty()) planned.clients = {planned.from};
    planned.servers = pods_of(scenario.topology, group, false);
    planned.standby = pods_of(scenario.topology, group, true);
    plan.arms.push_back(std::move(planned));
  }
  for (std::size_t i = 0; i < plan.arms.size(); ++i) {
    const auto& relative_to = scenario.arms[i].relative_to;
    if (!relative_to) continue;
    const auto base = std::ranges::find(plan.arms, *relative_to, &PlannedArm::name);
    if (base != plan.arms.end()) {
      plan.arms[i].base = static_cast<std::size_t>(base - plan.arms.begin());
    }
  }
  const auto names = workload_names(scenario);
  for (std::size_t i = 0; i < scenario.workloads.size(); ++i) {
    plan.workloads.push_back({.name = names[i], .spec = scenario.workloads[i]});
  }
  return plan;
}

bool Plan::oversubscribed(const PlannedArm& arm) const {
  if (cores.oversubscribed()) return true;
  const bool proxied =
      arm.environment < environments.size() && environments[arm.environment].mesh.has_value();
  return proxied && (cores.client_proxy == cores.client || cores.server_proxy == cores.server);
}

void Plan::unpin_proxies() {
  for (auto& environment : environments) {
    if (environment.mesh) environment.mesh->cpu_of.clear();
  }
}

const std::string* Plan::skipped(const std::string& arm) const {
  const auto found = std::ranges::find(skipped_arms, arm, &SkippedArm::name);
  return found == skipped_arms.end() ? nullptr : &found->reason;
}

bench::WaitStrategy server_wait(const bench::WorkloadSpec& workload) {
  const bool one_kept = bench::keeps_connections(workload) && workload.connections == 1 &&
                        !bench::is_stream(workload.kind);
  return workload.wait == bench::WaitStrategy::spin && one_kept ? bench::WaitStrategy::spin
                                                                : bench::WaitStrategy::block;
}

std::vector<std::size_t> arm_order(std::size_t arms, std::uint64_t seed, int block,
                                   std::size_t workload) {
  // A seed of its own for each block and workload, by way of seed_seq, which is specified to the
  // bit; std::shuffle is not, so the permutation is drawn here (Fisher-Yates).
  std::seed_seq sequence{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32),
                         static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(workload)};
  std::mt19937 random(sequence);
  std::vector<std::size_t> order(arms);
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t i = arms; i > 1; --i) std::swap(order[i - 1], order[random() % i]);
  order.insert(order.end(), order.rbegin(), order.rend());
  return order;
}

base::Duration block_duration(const Plan& plan, const Overheads& overheads) {
  base::Duration one_pass{0};
  for (const auto& workload : plan.workloads) {
    one_pass +=
        workload.spec.warm_up + workload.spec.duration + base::Duration(overheads.invocation_ns);
  }
  return one_pass * passes_per_block * static_cast<std::int64_t>(plan.arms.size());
}

namespace {

// Of the check plaintext_refused: every port of every pod behind every arm that STRICT holds for.
std::int64_t plaintext_exchanges(const Plan& plan) {
  const auto& checks = plan.scenario.checks;
  if (std::ranges::find(checks, CheckKind::plaintext_refused) == checks.end()) return 0;
  std::int64_t pods = 0;
  for (const auto& arm : plan.arms) {
    if (promises_refusal(plan, arm)) pods += static_cast<std::int64_t>(arm.servers.size());
  }
  const auto workloads = std::ranges::count_if(plan.workloads, [](const PlannedWorkload& workload) {
    return bench::replies_by_tcp(workload.spec.kind);
  });
  return pods * workloads;
}

}  // namespace

bool promises_refusal(const Plan& plan, const PlannedArm& arm) {
  const auto& mesh = plan.environments[arm.environment].mesh;
  return mesh && mesh->spec.mode == base::kube::MtlsMode::STRICT;
}

bool is_to_be_encrypted(const Plan& plan, const PlannedArm& arm) {
  const auto promised = [&](const PlannedArm& one) {
    const auto& mesh = plan.environments[one.environment].mesh;
    return mesh && mesh->spec.mode != base::kube::MtlsMode::DISABLE;
  };
  return promised(arm) || std::ranges::none_of(plan.arms, promised);
}

bool is_to_refuse_impostors(const Plan& plan, const PlannedArm& arm) {
  return promises_refusal(plan, arm) || std::ranges::none_of(plan.arms, [&](const PlannedArm& one) {
           return promises_refusal(plan, one);
         });
}

std::int64_t check_exchanges(const Plan& plan) {
  const auto observed = observed_by(plan.scenario);
  const auto opening = std::ranges::count_if(plan.workloads, [](const PlannedWorkload& workload) {
    return !bench::keeps_connections(workload.spec);
  });
  const auto workloads = static_cast<std::int64_t>(plan.workloads.size());
  const auto readable = std::ranges::count_if(plan.workloads, [](const PlannedWorkload& workload) {
    return bench::can_carry_canaries(workload.spec.kind);
  });
  const auto encrypted = std::ranges::count_if(
      plan.arms, [&](const PlannedArm& arm) { return is_to_be_encrypted(plan, arm); });
  return static_cast<std::int64_t>(plan.arms.size()) *
             ((observed.requests ? workloads : 0) + (observed.connections ? opening : 0)) +
         (observed.wire ? encrypted * readable : 0) + plaintext_exchanges(plan);
}

base::NoiseLimits noise_limits(const Plan& plan) {
  base::NoiseLimits limits;
  for (const auto& workload : plan.workloads) {
    const auto span = (workload.spec.duration / 100).count();
    limits.probe_span_ns = std::clamp<std::int64_t>(span, limits.probe_span_ns, longest_probe_ns);
  }
  return limits;
}

std::uint64_t connections_of(const bench::WorkloadSpec& workload) {
  if (!workload.rate || bench::keeps_connections(workload)) return 0;
  const std::chrono::duration<double> lasts = workload.warm_up + workload.duration;
  return static_cast<std::uint64_t>(workload.rate->per_second * lasts.count());
}

bool is_watched_in(const MeshChangeSpec& change, const std::string& environment) {
  return change.in.value_or(environment) == environment;
}

std::size_t watched_changes(const Plan& plan) {
  const auto& spec = *plan.scenario.plaintext_window;
  std::size_t all = 0;
  for (const auto& environment : plan.environments) {
    all += static_cast<std::size_t>(std::ranges::count_if(
        spec.changes, [&](const auto& change) { return is_watched_in(change, environment.name); }));
  }
  return all * static_cast<std::size_t>(spec.repetitions);
}

PolicySteps policy_steps(const Plan& plan) {
  PolicySteps steps;
  const auto& spec = *plan.scenario.policy;
  if (spec.only) return steps;
  const auto environments = plan.environments.size();
  const auto writes =
      (2 * spec.changes.size() + spec.new_pods.size()) * static_cast<std::size_t>(spec.repetitions);
  steps.cases = cases_wanted(plan.scenario) * environments;
  steps.writes = writes * environments;
  return steps;
}

namespace {

// Beside what policies are waited for: agents have to be told, and packets to be counted.
constexpr base::Duration case_overhead = std::chrono::milliseconds(120);
constexpr base::Duration write_overhead = std::chrono::milliseconds(250);

// Of a change of a mesh: jobs are started and stopped, and a proxy started.
constexpr base::Duration change_overhead = std::chrono::milliseconds(1500);

base::Duration policy_duration(const Plan& plan) {
  const auto& spec = *plan.scenario.policy;
  const auto steps = policy_steps(plan);
  const auto sweep = spec.matrix.timeout + case_overhead;
  return sweep * static_cast<std::int64_t>(2 * plan.environments.size() + steps.cases) +
         (spec.window + write_overhead) * static_cast<std::int64_t>(steps.writes);
}

// Before traffic there are certificates to be made anew, and agents to be told.
constexpr base::Duration rotation_overhead = std::chrono::milliseconds(800);
// Of one claim about routes, from two pods, as it was found to take.
constexpr base::Duration route_trial = std::chrono::seconds(2);

base::Duration rotation_duration(const Plan& plan) {
  return (traffic_lasts(*plan.scenario.rotation) + rotation_overhead) *
         static_cast<std::int64_t>(plan.environments.size());
}

}  // namespace

base::Duration estimate_duration(const Plan& plan, const Overheads& overheads,
                                 std::string_view target) {
  base::Duration total =
      base::Duration(overheads.provision_ns) * static_cast<std::int64_t>(plan.environments.size());
  if (plan.scenario.policy) {
    return total + policy_duration(plan) + base::Duration(overheads.finish_ns);
  }
  if (plan.scenario.plaintext_window) {
    const auto one = plan.scenario.plaintext_window->window + change_overhead;
    return total + one * static_cast<std::int64_t>(watched_changes(plan)) +
           base::Duration(overheads.finish_ns);
  }
  if (plan.scenario.rotation) {
    return total + rotation_duration(plan) + base::Duration(overheads.finish_ns);
  }
  auto traffic = block_duration(plan, overheads) * (plan.scenario.blocks + warm_up_blocks);
  if (target == "kubernetes") traffic = std::max(traffic, ports_need(plan));
  total += traffic;
  total += base::Duration(overheads.check_ns) * check_exchanges(plan);
  total += route_trial * static_cast<std::int64_t>(plan.scenario.routing.size());
  return total + base::Duration(overheads.finish_ns);
}

base::Result<std::string> state_directory() {
  // Both variables are read before any thread starts that could change them.
  const char* state = std::getenv("XDG_STATE_HOME");  // NOLINT(concurrency-mt-unsafe)
  if (state != nullptr && *state == '/') return fmt::format("{}/stackbench", state);
  const char* home = std::getenv("HOME");  // NOLINT(concurrency-mt-unsafe)
  if (home != nullptr && *home == '/') return fmt::format("{}/.local/state/stackbench", home);
  return base::fail(base::ErrorKind::missing, "neither XDG_STATE_HOME nor HOME is set");
}

Overheads load_overheads(std::string_view target) {
  const auto directory = state_directory();
  if (!directory) return {};
  const auto text = base::read_file(overheads_file(*directory, target));
  if (!text) return {};
  const auto json = base::parse_json(*text);
  if (!json) return {};
  return base::from_json<Overheads>(*json, "overheads").value_or(Overheads{});
}

base::Result<> save_overheads(std::string_view target, const Overheads& measured) {
  ASSIGN_OR_RETURN(const auto directory, state_directory());
  std::error_code problem;
  std::filesystem::create_directories(directory, problem);
  if (problem) return base::system_error(problem.value(), "make {}", directory);
  Overheads mixed = measured;
  const auto before = load_overheads(target);
  mixed.runs = before.runs + 1;
  if (before.runs > 0) {
    const auto half = [](std::int64_t a, std::int64_t b) { return a / 2 + b / 2; };
    mixed.provision_ns = half(before.provision_ns, measured.provision_ns);
    mixed.invocation_ns = half(before.invocation_ns, measured.invocation_ns);
    mixed.finish_ns = half(before.finish_ns, measured.finish_ns);
    mixed.check_ns =
        measured.check_ns > 0 ? half(before.check_ns, measured.check_ns) : before.check_ns;
  } else if (measured.check_ns <= 0) {
    mixed.check_ns = before.check_ns;
  }
  return base::write_file(overheads_file(directory, target),
                          base::dump_json_pretty(base::to_json(mixed)) + "\n");
}

}  // namespace stackbench
