#include "stackbench/seen_translated.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

namespace stackbench {

std::string seen_translated(const Plan& plan, const std::vector<reports::Check>& checks,
                            const std::string& environment) {
  std::set<std::string> places;
  for (const auto& check : checks) {
    if (check.name != base::enum_name(CheckKind::translated_at)) continue;
    // Without evidence nobody looked.
    if (check.evidence.empty() || check.verdict == base::Verdict::inconclusive) continue;
    const auto arm = std::ranges::find(plan.arms, check.arm, &PlannedArm::name);
    if (arm == plan.arms.end() || plan.environments[arm->environment].name != environment) continue;
    if (arm->dial.kind == DialTarget::Kind::pod || arm->from == cluster::external_client) continue;
    places.insert(check.observed.value_or(""));
  }
  return fmt::format("{}", fmt::join(places, ", "));
}

}  // namespace stackbench
