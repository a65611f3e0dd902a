#include "checks/flows_stay.h"

#include "base/units.h"

namespace checks {

using base::Verdict;

Finding flows_stay(FlowPromise promised, const std::vector<Outcomes>& invocations) {
  std::uint64_t held = 0;
  std::uint64_t moved = 0;
  std::uint64_t others = 0;
  std::uint64_t lost = 0;
  const EventOutcome* first = nullptr;
  for (const auto& invocation : invocations) {
    lost += invocation.moves_lost;
    for (const auto& event : invocation.events) {
      held += event.flows_held;
      moved += event.flows_moved;
      others += event.others_moved;
      if (event.others_moved > 0 && first == nullptr) first = &event;
    }
  }
  Finding finding{.evidence = {{"promised", base::enum_name(promised)},
                               {"flows_of_leaving", held},
                               {"moved", moved},
                               {"others_moved", others},
                               {"lost", lost}}};
  const auto flows = base::format_count(held, "flow");
  if (held > 0) {
    const auto share = 100 * static_cast<double>(moved) / static_cast<double>(held);
    finding.observed = fmt::format("{:.0f} % moved", share);
  }
  if (first != nullptr) {
    finding.verdict = Verdict::fail;
    finding.observed = "others moved";
    finding.sentence = fmt::format(
        "{} of backends that had not left moved to another, first at {} of {}",
        base::format_count(others, "flow"), base::enum_name(first->what.kind), first->what.pod);
  } else if (promised == FlowPromise::stay && moved > 0) {
    finding.verdict = Verdict::fail;
    finding.sentence = fmt::format(
        "promised: flows end or stay; {} of the {} of backends that left moved", moved, flows);
  } else if (held == 0) {
    finding.sentence = "cannot tell: no backend that left had a flow";
  } else if (lost > 0) {
    finding.sentence =
        fmt::format("cannot tell: {} found no room to be noted", base::format_count(lost, "move"));
  } else {
    finding.verdict = Verdict::pass;
    finding.sentence =
        fmt::format("of the {} of backends that left {} moved; no other did", flows, moved);
  }
  return finding;
}

}  // namespace checks
