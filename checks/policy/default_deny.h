// Does default-deny hold: is every pod isolated by some policy, so that only what rules name is let
// through, and does nothing else get through.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <vector>

#include "base/scalar.h"
#include "checks/finding.h"
#include "checks/policy/matrix.h"
#include "checks/policy/oracle.h"

namespace checks {

enum class Coverage {
  denied_by_default,  // a policy isolates it, and only what is listed is let through
  // Policies isolate it, and rules of theirs, one or several together, let everybody of a family of
  // addresses through at every port of a protocol.
  allows_everything,
  uncovered,  // no policy isolates it
  unknown,    // a policy of a kind that is not modelled may select it, or hostNetwork
};

// What a rule lets through.
struct AllowedPath {
  std::string peer;   // "podSelector app=client", "anybody"
  std::string ports;  // "TCP 80", "every port"
  std::string by;     // "shop/web, rule 1"

  // Without by whom: what is compared with another day's.
  [[nodiscard]] std::string to_string() const { return peer + ", " + ports; }
  auto operator<=>(const AllowedPath&) const = default;
};

struct DirectionCoverage {
  Coverage coverage = Coverage::uncovered;
  std::string why;  // in a sentence
  std::set<AllowedPath> allowed;
};

// Of one pod of the world.
[[nodiscard]] DirectionCoverage cover(const PolicyWorld& world, std::size_t pod,
                                      PolicyDirection direction);

// How bad it is, for whoever speaks of several pods at once: uncovered is worse than
// allows_everything, that than unknown, and that than denied_by_default, which is 0.
[[nodiscard]] int badness(Coverage coverage);

// The verdict over all pods of these namespaces, in both directions, and over what was seen of a
// matrix of pods. fail: a pod is uncovered or let everybody through, or a cell from or to one of
// them leaks. inconclusive: a pod is unknown, a cell that must be closed is without evidence, there
// is no pod, or no cell that must be closed was probed. Evidence: pods, covered, gaps (pod,
// direction, coverage, why), allowed (lines), closed_cells, leaking (cells in words),
// without_evidence.
[[nodiscard]] Finding default_deny_holds(const PolicyWorld& world,
                                         const std::set<std::string>& namespaces,
                                         const std::vector<ObservedCell>& cells,
                                         const std::vector<ControlCell>& controls);

}  // namespace checks

template <>
struct base::EnumNames<checks::Coverage> {
  static constexpr std::array names{
      std::pair{checks::Coverage::denied_by_default, std::string_view("denied_by_default")},
      std::pair{checks::Coverage::allows_everything, std::string_view("allows_everything")},
      std::pair{checks::Coverage::uncovered, std::string_view("uncovered")},
      std::pair{checks::Coverage::unknown, std::string_view("unknown")}};
};
