#include "stackbench/verify/lab.h"

#include <utility>

#include "stackbench/verify/lab_pods.h"

namespace stackbench {
namespace {

using base::Result;

// A lab loses nothing on its way, and enforces what is written before it says so.
constexpr double lab_rate = 10'000;
constexpr base::Duration lab_timeout = std::chrono::milliseconds(150);
constexpr base::Duration lab_patience = std::chrono::milliseconds(300);
constexpr base::Duration lab_settle_patience = std::chrono::seconds(10);

// Of a web server outside, whatever else is asked for.
constexpr std::uint16_t web_port = 443;

}  // namespace

Result<std::optional<VerifyResult>> verify_manifests(const VerifyOptions& options,
                                                     const LabVerifyOptions& lab_options,
                                                     const Consent& consent) {
  ASSIGN_OR_RETURN(auto objects, objects_of(lab_options.manifests, options.namespaces));
  ASSIGN_OR_RETURN(auto world, make_live_world(objects.live));
  ASSIGN_OR_RETURN(auto result,
                   judge_policies(options, world, "a lab of this machine (eBPF of stackbench's)"));
  result.target = "lab";
  result.unmade = std::move(objects.unmade);
  for (auto& note : objects.notes) result.notes.push_back(std::move(note));
  if (!options.probes) return result;
  std::vector<std::uint16_t> ports{web_port};
  for (const auto& endpoint : options.external) ports.push_back(endpoint.port);
  const auto plan = plan_lab_probes(world, ports);
  ASSIGN_OR_RETURN(const bool agreed, consent(render_lab(plan, world.world.pods.size())));
  if (!agreed) return std::nullopt;
  for (const auto& one : plan.unprobed) result.unprobed.push_back(one);
  cluster::LabTarget lab({.agent = lab_options.agent});
  ASSIGN_OR_RETURN(
      auto pods, LabPods::bring_up(lab, objects.live, plan, options.external, lab_options.faults));
  // They have their addresses now.
  ASSIGN_OR_RETURN(world, make_live_world(objects.live));
  RETURN_IF_ERROR(probe_with(pods, plan, std::move(world.world), {},
                             {.rate = lab_rate,
                              .timeout = lab_timeout,
                              .settle_within = lab_settle_patience,
                              .enforced_within = lab_patience,
                              .interrupt = options.cluster.interrupt},
                             result));
  return result;
}

}  // namespace stackbench
