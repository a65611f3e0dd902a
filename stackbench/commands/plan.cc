// `stackbench plan`: what a run would do, and how long it takes here.
#include "stackbench/plan.h"

#include "base/units.h"
#include "stackbench/commands/command.h"
#include "stackbench/scenario/reader.h"

namespace stackbench {
namespace {

std::string plan_text(const Plan& plan, const Overheads& overheads) {
  std::string text = plan.scenario.question + "\n\nEnvironments\n";
  for (const auto& environment : plan.environments) {
    text += fmt::format("  {:<16} datapath {}, {} nodes", environment.name,
                        base::enum_name(environment.datapath), environment.topology.nodes);
    for (const auto fault : environment.faults) {
      text += fmt::format(", broken on purpose: {}", base::enum_name(fault));
    }
    text += '\n';
  }
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
  const auto wait = [](base::Duration span) { return base::format_wait(span.count()); };
  text += fmt::format(
      "\nIt would run {} blocks and one to warm up; in each, every arm runs twice per workload:\n"
      "{} invocations, a block in {}, client on CPU {}, servers on CPU {}{}.\n",
      plan.scenario.blocks,
      2 * plan.arms.size() * plan.workloads.size() *
          (static_cast<std::size_t>(plan.scenario.blocks) + 1),
      wait(block_duration(plan, overheads)), plan.cores.client, plan.cores.server,
      plan.cores.oversubscribed() ? " (one core for both: latency is oversubscribed)" : "");
  text += fmt::format(
      "All in all about {}{}; disturbed blocks are replaced, up to half as many again.\n",
      wait(estimate_duration(plan, overheads, "lab")),
      overheads.runs == 0 ? " (a guess: nothing ran here yet)" : "");
  return text;
}

}  // namespace

Action declare_plan(CLI::App& app) {
  auto arguments = std::make_shared<ScenarioArguments>();
  declare_scenario_arguments(app, *arguments);
  return [arguments](const Context&) -> base::Result<int> {
    ASSIGN_OR_RETURN(const auto scenario, load_scenario(arguments->file, arguments->overrides));
    ASSIGN_OR_RETURN(const auto cores, usable_cores());
    ASSIGN_OR_RETURN(const auto plan, make_plan(scenario, cores));
    return print(plan_text(plan, load_overheads("lab")));
  };
}

}  // namespace stackbench
