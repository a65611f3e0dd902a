// `stackbench list`: the shipped scenarios, and every word a scenario may use.
#include <algorithm>

#include "stackbench/commands/command.h"
#include "stackbench/scenario/reader.h"
#include "stackbench/shipped.h"

namespace stackbench {
namespace {

template <base::IsNamedEnum E>
std::string words_of(std::string_view what) {
  return fmt::format("  {:<12} {}\n", what, fmt::join(base::enum_names<E>(), ", "));
}

}  // namespace

Action declare_list(CLI::App&) {
  return [](const Context&) -> base::Result<int> {
    ASSIGN_OR_RETURN(const auto files, shipped_scenarios());
    std::string text = "Scenarios\n";
    std::size_t width = 0;
    for (const auto& file : files) width = std::max(width, file.size());
    for (const auto& file : files) {
      const auto scenario = load_scenario(file, {});
      text += fmt::format("  {:<{}} {}\n", file, width,
                          scenario ? scenario->question : std::string("(does not validate)"));
    }
    text += "\nWords a scenario may use\n";
    text += words_of<bench::WorkloadKind>("workloads");
    text += words_of<bench::WaitStrategy>("wait");
    text += words_of<cluster::DatapathKind>("datapaths");
    text += words_of<cluster::ServiceType>("services");
    text += words_of<base::kube::TrafficPolicy>("policies");
    text += words_of<base::kube::SessionAffinity>("affinity");
    text += fmt::format("  {:<12} {}\n", "dial", base::StringScalar<DialTarget>::example);
    text += fmt::format("  {:<12} a group of pods, or {}\n", "from", cluster::external_client);
    text += words_of<CheckKind>("checks");
    text += words_of<Metric>("metrics");
    text += words_of<cluster::FaultKind>("faults");
    text += words_of<cluster::EventKind>("events");
    text += words_of<bgp::Write>("bgp.write");
    text += words_of<bgp::Fault>("bgp.fault");
    text += words_of<bgp::FaultKind>("bgp.faults");
    text += words_of<base::AddressFamily>("family");
    text += words_of<GeneratedCases>("cases");
    text += words_of<FlowFate>("established");
    return print(text);
  };
}

}  // namespace stackbench
