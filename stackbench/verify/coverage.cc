#include "stackbench/verify/coverage.h"

#include <algorithm>

namespace stackbench {
namespace {

using checks::PolicyDirection;

void note_change(std::vector<std::string>& lines, const std::string& what,
                 const std::optional<SavedDirection>& before,
                 const std::optional<SavedDirection>& now) {
  if (!now) return;
  if (!before) {
    lines.push_back(
        fmt::format("{}: was not saved, and is {}", what, base::enum_name(now->coverage)));
    return;
  }
  if (before->coverage != now->coverage) {
    lines.push_back(fmt::format("{}: was {}, is {}", what, base::enum_name(before->coverage),
                                base::enum_name(now->coverage)));
  }
  const std::set<std::string> was(before->allowed.begin(), before->allowed.end());
  const std::set<std::string> is(now->allowed.begin(), now->allowed.end());
  for (const auto& path : is) {
    if (!was.contains(path)) lines.push_back(fmt::format("{}: now allowed: {}", what, path));
  }
  for (const auto& path : was) {
    if (!is.contains(path)) lines.push_back(fmt::format("{}: no longer allowed: {}", what, path));
  }
}

std::string told(const std::vector<std::string>& names) {
  return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
}

// Which directions a saved state is of.
std::set<std::string> directions_of(const SavedCoverage& saved) {
  std::set<std::string> names;
  for (const auto& [name, workload] : saved.workloads) {
    if (workload.egress) names.insert("egress");
    if (workload.ingress) names.insert("ingress");
  }
  return names;
}

}  // namespace

std::vector<WorkloadCoverage> cover(const LiveWorld& live,
                                    const std::vector<PolicyDirection>& directions) {
  std::vector<WorkloadCoverage> all;
  for (const auto& workload : live.workloads) {
    WorkloadCoverage covered{.workload = workload.to_string(),
                             .in_namespace = workload.in_namespace,
                             .pods = workload.pods.size(),
                             .directions = {}};
    for (const auto direction : directions) {
      DirectionCoverage worst{.coverage = Coverage::denied_by_default, .why = {}, .allowed = {}};
      for (const auto pod : workload.pods) {
        auto one = checks::cover(live.world, pod, direction);
        worst.allowed.insert(one.allowed.begin(), one.allowed.end());
        if (!worst.why.empty() && checks::badness(one.coverage) <= checks::badness(worst.coverage))
          continue;
        worst.coverage = one.coverage;
        worst.why = one.coverage == Coverage::denied_by_default
                        ? one.why
                        : fmt::format("{}: {}", live.world.pods[pod].name, one.why);
      }
      covered.directions[direction] = std::move(worst);
    }
    all.push_back(std::move(covered));
  }
  return all;
}

SavedCoverage saved(const std::vector<std::string>& namespaces,
                    const std::vector<WorkloadCoverage>& coverage) {
  SavedCoverage state{.namespaces = namespaces, .workloads = {}};
  std::ranges::sort(state.namespaces);
  for (const auto& workload : coverage) {
    auto& kept = state.workloads[workload.workload];
    for (const auto& [direction, covered] : workload.directions) {
      SavedDirection one{.coverage = covered.coverage};
      std::set<std::string> paths;
      for (const auto& path : covered.allowed) paths.insert(path.to_string());
      one.allowed.assign(paths.begin(), paths.end());
      (direction == PolicyDirection::egress ? kept.egress : kept.ingress) = std::move(one);
    }
  }
  return state;
}

base::Result<std::vector<std::string>> drift(const SavedCoverage& before,
                                             const SavedCoverage& now) {
  if (before.namespaces != now.namespaces) {
    return base::fail(base::ErrorKind::input,
                      "what was saved is of the namespaces {}, and this is of {}",
                      fmt::join(before.namespaces, ", "), fmt::join(now.namespaces, ", "));
  }
  const auto were = directions_of(before);
  const auto are = directions_of(now);
  if (!were.empty() && !are.empty() && were != are) {
    return base::fail(base::ErrorKind::input, "what was saved is of {}, and this is of {}",
                      fmt::join(were, " and "), fmt::join(are, " and "));
  }
  std::vector<std::string> lines;
  for (const auto& [name, workload] : now.workloads) {
    const auto found = before.workloads.find(name);
    if (found == before.workloads.end()) {
      for (const auto& [what, is] :
           {std::pair{"egress", &workload.egress}, std::pair{"ingress", &workload.ingress}}) {
        if (!*is) continue;
        lines.push_back(
            fmt::format("{} {}: is new, and {}", name, what, base::enum_name((*is)->coverage)));
      }
      continue;
    }
    note_change(lines, name + " egress", found->second.egress, workload.egress);
    note_change(lines, name + " ingress", found->second.ingress, workload.ingress);
  }
  if (before.selected_namespaces && now.selected_namespaces) {
    for (const auto& [selector, names] : *now.selected_namespaces) {
      // A selector that is new is a path that is new.
      const auto found = before.selected_namespaces->find(selector);
      if (found == before.selected_namespaces->end() || found->second == names) continue;
      lines.push_back(fmt::format("namespaceSelector {}: selected {}, and selects {}", selector,
                                  told(found->second), told(names)));
    }
  }
  for (const auto& [name, workload] : before.workloads) {
    if (!now.workloads.contains(name)) lines.push_back(fmt::format("{}: is gone", name));
  }
  return lines;
}

}  // namespace stackbench
