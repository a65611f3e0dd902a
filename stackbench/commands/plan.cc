// `stackbench plan`: what a run would do, and how long it takes here.
#include "stackbench/plan.h"

#include "base/units.h"
#include "stackbench/bgp/run.h"
#include "stackbench/commands/command.h"
#include "stackbench/scenario/reader.h"

namespace stackbench {
namespace {

std::string wait(base::Duration span) { return base::format_wait(span.count()); }

// "two sweeps of 486 cells": what pods do to each other.
std::string policy_plan(const Plan& plan) {
  const auto& policy = *plan.scenario.policy;
  const auto steps = policy_steps(plan);
  std::size_t pods = 0;
  for (const auto& [name, group] : plan.scenario.topology.pods) {
    pods += static_cast<std::size_t>(group.replicas + group.standby);
  }
  std::string text = "Policies\n";
  for (const auto& object : policy.objects) {
    text += fmt::format("  {}/{}\n", object.metadata.in_namespace, object.metadata.name);
  }
  text += fmt::format(
      "\nIt would have {} pods probe each other at {} ports, {} cells, until two sweeps in a row "
      "agree;\n",
      pods, policy.ports.size(), pods * pods * policy.ports.size());
  if (policy.only) return text + "of these only the part that policy.only names.\n";
  text += fmt::format(
      "try {} sets of policies made for the purpose; and watch {} writes for {} each, {} pairs at "
      "a time.\n",
      steps.cases, steps.writes, base::StringScalar<base::Duration>::format(policy.window),
      policy.watched_flows);
  return text;
}

std::string window_plan(const Plan& plan) {
  using Time = base::StringScalar<base::Duration>;
  using Rate = base::StringScalar<base::RequestRate>;
  const auto& spec = *plan.scenario.plaintext_window;
  std::string text = "Changes of the mesh\n";
  for (const auto& change : spec.changes) {
    text += fmt::format("  {:<14} {:<10} in {}, {}\n", base::enum_name(change.kind),
                        change.pod.value_or("(all)"), change.in.value_or("every environment"),
                        change.budget->count() == 0 ? std::string("no plaintext may pass")
                                                    : fmt::format("plaintext for at most {}",
                                                                  Time::format(*change.budget)));
  }
  return text + fmt::format(
                    "\nIt would watch {} changes for {} each, while {}-0 knocks in plaintext at {} "
                    "and {}-0 asks\nthe Service {} by way of its proxy at {}.\n",
                    watched_changes(plan), Time::format(spec.window), spec.outsider,
                    Rate::format(spec.knocks), spec.client, spec.service,
                    Rate::format(spec.requests));
}

// "2 s before, then each 2 s": what is done to certificates.
std::string rotation_plan(const Plan& plan) {
  using Time = base::StringScalar<base::Duration>;
  const auto& rotation = *plan.scenario.rotation;
  return fmt::format(
      "Traffic\n"
      "  new_connections  {} to service/{} from {}, one for each request\n"
      "  kept_connections {} over {} kept ones\n\n"
      "It would give every proxy a new certificate {} times, each {}, certificates lasting {};\n"
      "{}try a whole handshake with each proxy every 20 ms; {} of traffic in each environment.\n",
      base::StringScalar<base::RequestRate>::format(rotation.rate), rotation.service, rotation.from,
      base::StringScalar<base::RequestRate>::format(rotation.rate), rotation.connections,
      rotation.rotations, Time::format(rotation.every), Time::format(rotation.certificates_last),
      rotation.rotate_root ? "rotate the root, with both trusted in between; " : "",
      Time::format(traffic_lasts(rotation)));
}

std::string plan_text(const Plan& plan, const Overheads& overheads) {
  std::string text = plan.scenario.question + "\n\nEnvironments\n";
  for (const auto& environment : plan.environments) {
    text += fmt::format("  {:<16} datapath {}, {} nodes", environment.name,
                        base::enum_name(environment.datapath), environment.topology.nodes);
    if (environment.filler.services > 0) {
      text += fmt::format(", {} other Services", environment.filler.services);
    }
    if (const auto policies = environment.filler.policies) {
      text += *policies == 0 ? ", policies enforced and none there"
                             : fmt::format(", {} policies of {} peers", *policies,
                                           environment.filler.selectors);
    }
    for (const auto fault : environment.faults) {
      text += fmt::format(", broken on purpose: {}", base::enum_name(fault));
    }
    text += '\n';
  }
  const auto all =
      fmt::format("All in all about {}{}", wait(estimate_duration(plan, overheads, "lab")),
                  overheads.runs == 0 ? " (a guess: nothing ran here yet)" : "");
  if (plan.scenario.policy) return text + policy_plan(plan) + all + ".\n";
  if (plan.scenario.plaintext_window) return text + window_plan(plan) + all + ".\n";
  if (plan.scenario.rotation) return text + rotation_plan(plan) + all + ".\n";
  text += "Arms\n";
  for (const auto& arm : plan.arms) {
    text += fmt::format(
        "  {:<26} {} dials {} in {}{}\n", arm.name, arm.from,
        base::StringScalar<DialTarget>::format(arm.dial), plan.environments[arm.environment].name,
        arm.base ? fmt::format(", compared with {}", plan.arms[*arm.base].name) : "");
  }
  text += "Workloads\n";
  for (const auto& workload : plan.workloads) {
    using Time = base::StringScalar<base::Duration>;
    text += fmt::format("  {:<16} {} loop, {} after {} of warm-up\n", workload.name,
                        workload.spec.rate ? "open" : "closed",
                        Time::format(workload.spec.duration), Time::format(workload.spec.warm_up));
  }
  text += fmt::format(
      "\nIt would run {} blocks and one to warm up; in each, every arm runs twice per workload:\n"
      "{} invocations, a block in {}, client on CPU {}, servers on CPU {}{}.\n",
      plan.scenario.blocks,
      2 * plan.arms.size() * plan.workloads.size() *
          (static_cast<std::size_t>(plan.scenario.blocks) + 1),
      wait(block_duration(plan, overheads)), plan.cores.client, plan.cores.server,
      plan.cores.oversubscribed() ? " (one core for both: latency is oversubscribed)" : "");
  text += all + "; disturbed blocks are replaced, up to half as many again.\n";
  return text;
}

}  // namespace

Action declare_plan(CLI::App& app) {
  auto arguments = std::make_shared<ScenarioArguments>();
  declare_scenario_arguments(app, *arguments);
  return [arguments](const Context&) -> base::Result<int> {
    ASSIGN_OR_RETURN(const auto scenario, load_scenario(arguments->file, arguments->overrides));
    if (scenario.bgp) return print(bgp::plan_text(scenario));
    ASSIGN_OR_RETURN(const auto cores, usable_cores());
    ASSIGN_OR_RETURN(const auto plan, make_plan(scenario, cores));
    return print(plan_text(plan, load_overheads("lab")));
  };
}

}  // namespace stackbench
