#include "stackbench/policy/drop_watches.h"

#include <algorithm>
#include <map>
#include <tuple>

#include <fmt/ranges.h>

namespace stackbench {

probes::Drops merged(std::vector<probes::Drops> all) {
  probes::Drops drops;
  for (auto& one : all) {
    drops.lost += one.lost;
    drops.unparsed += one.unparsed;
    std::ranges::move(one.drops, std::back_inserter(drops.drops));
  }
  // Two packets of one flow at the same nanosecond there are not.
  const auto place = [](const probes::Drop& drop) {
    return std::tuple(drop.time_ns, drop.from, drop.to, drop.protocol, drop.reason, drop.where);
  };
  std::ranges::sort(drops.drops, {}, place);
  const auto again = std::ranges::unique(drops.drops);
  drops.drops.erase(again.begin(), again.end());
  return drops;
}

base::Result<DropWatches> DropWatches::start(Session& session, std::size_t environment,
                                             const PolicyGrid& grid, bool one_kernel,
                                             const std::set<std::size_t>& pods,
                                             const probes::DropsJob& job) {
  std::map<int, std::string> observed;  // the pod whose observer it is, by node
  for (const auto pod : pods) {
    const int node = grid.pods[pod].node;
    observed[node] = std::ranges::find(grid.pods, node, &cluster::PodHandle::node)->name;
    if (one_kernel) break;
  }
  DropWatches watches;
  std::vector<std::string> names;
  const auto watch_at = [&](const std::string& pod) -> base::Result<> {
    ASSIGN_OR_RETURN(auto* const agent, session.observer(environment, pod));
    ASSIGN_OR_RETURN(const auto watch, agent->start_drops_watch(job));
    watches.running_.emplace_back(agent, watch.id);
    return {};
  };
  for (const auto& [node, pod] : observed) {
    if (auto begun = watch_at(pod); !begun) {
      // The first error is told, and what runs already ends.
      static_cast<void>(watches.stop());
      return std::unexpected(std::move(begun).error());
    }
    names.push_back(pod);
  }
  if (!one_kernel) {
    watches.seen_at_ =
        fmt::format("the node{} of {}", names.size() == 1 ? "" : "s", fmt::join(names, ", "));
  }
  return watches;
}

base::Result<probes::Drops> DropWatches::stop() {
  std::vector<probes::Drops> all;
  base::Result<> trouble;
  for (const auto& [agent, watch] : running_) {
    auto drops = agent->stop_drops_watch(watch);
    if (drops) {
      all.push_back(*std::move(drops));
    } else if (trouble) {
      trouble = std::unexpected(std::move(drops).error());
    }
  }
  running_.clear();
  RETURN_IF_ERROR(trouble);
  return merged(std::move(all));
}

}  // namespace stackbench
