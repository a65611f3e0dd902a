#include "stackbench/policies_in_force.h"

#include <fmt/format.h>

#include "base/units.h"

namespace stackbench {

std::optional<std::string> PoliciesInForce::lacking() const {
  if (seen.all()) return std::nullopt;
  const auto waited = base::format_time(static_cast<double>(after.count()), base::Charset::ascii);
  if (!seen.isolated) {
    return fmt::format(
        "nobody enforces its NetworkPolicies: a port that none of them opens still answers {} "
        "after "
        "they were written",
        waited);
  }
  return fmt::format(
      "of its NetworkPolicies that select these pods, as far as they were asked, {} of {} are in "
      "force {} after they were written, and no more became so",
      seen.open, seen.of, waited);
}

base::Result<PoliciesInForce> await_policies(
    const std::function<base::Result<PoliciesSight>()>& look, const PoliciesPatience& patience,
    const base::Interrupt& interrupt) {
  PoliciesInForce policies;
  const auto began = base::monotonic_now();
  auto changed = began;
  for (bool first = true;; first = false) {
    ASSIGN_OR_RETURN(const auto seen, look());
    const auto now = base::monotonic_now();
    const bool same = !first && seen == policies.seen;
    if (!same) changed = now;
    policies = {.seen = seen, .after = now - began};
    if (seen.all() || (same && now - changed >= patience.without_change)) return policies;
    RETURN_IF_ERROR(interrupt.wait_until(now + patience.between_looks));
  }
}

}  // namespace stackbench
