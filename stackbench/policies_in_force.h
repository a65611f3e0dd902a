// Whether the NetworkPolicies that an environment holds beside its arms' traffic are in force
// (cluster/filler_policy.h): what they cost is measured of what is enforced alone. An API server
// takes policies at once, whoever enforces them takes its time and tells nobody, and where nobody
// enforces them nothing tells that either. Packets do: each policy that selects the arms' pods
// opens a port of its own, and one port is opened by none. Of many policies some are asked, spread
// over all of them.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/result.h"

namespace stackbench {

// What a look at them saw.
struct PoliciesSight {
  bool isolated = false;  // at the port that none of them opens nobody answered
  std::size_t open = 0;   // of the ports that they open, those that answered
  std::size_t of = 0;

  [[nodiscard]] bool all() const { return isolated && open == of; }
  bool operator==(const PoliciesSight&) const = default;
};

struct PoliciesPatience {
  base::Duration without_change = std::chrono::seconds(30);
  base::Duration between_looks = std::chrono::milliseconds(100);
};

struct PoliciesInForce {
  PoliciesSight seen;       // by the last look
  base::Duration after{0};  // from when they were first looked at to the end of the last look

  // Why nothing can be said of what they cost; nothing where all are in force.
  [[nodiscard]] std::optional<std::string> lacking() const;
};

// Looks until all are in force, or no two looks differed for so long as patience says. Errors: as
// `look`; interrupted.
[[nodiscard]] base::Result<PoliciesInForce> await_policies(
    const std::function<base::Result<PoliciesSight>()>& look, const PoliciesPatience& patience,
    const base::Interrupt& interrupt);

}  // namespace stackbench
