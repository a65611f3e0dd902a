#include "stackbench/policy/watch_plan.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

namespace stackbench {
namespace {

using checks::Allowance;
using checks::PolicyChange;

class Chooser {
 public:
  Chooser(const PolicyGrid& grid, const std::vector<Allowance>& before,
          const std::vector<Allowance>& after, std::size_t most)
      : grid_(grid), before_(before), after_(after), most_(most) {}

  std::vector<ChosenFlow> choose() {
    sort_out();
    // In turns, so that both directions and then both protocols are there before any has two.
    bool added = true;
    while (added && flows_.size() < most_) {
      added = false;
      for (auto& [kind, candidates] : candidates_) added |= add_best(kind.second, candidates);
    }
    return std::move(flows_);
  }

 private:
  // Candidates by what becomes of them and their protocol, and for each pod who may always dial it.
  void sort_out() {
    for (std::size_t i = 0; i < grid_.cells.size(); ++i) {
      const auto& cell = grid_.cells[i];
      if (cell.from == cell.to) continue;
      if (before_[i] == Allowance::allowed && after_[i] == Allowance::allowed) {
        always_.try_emplace(cell.to, cell);
        continue;
      }
      const bool closes = before_[i] == Allowance::allowed && after_[i] == Allowance::denied;
      const bool opens = before_[i] == Allowance::denied && after_[i] == Allowance::allowed;
      if (!closes && !opens) continue;
      const auto change = closes ? PolicyChange::to_denied : PolicyChange::to_allowed;
      candidates_[{grid_.ports[cell.port].spec.protocol, change}].push_back(cell);
    }
  }

  bool add_best(PolicyChange change, std::vector<GridCell>& candidates) {
    // Rather to a pod that is watched already, whose control there is, and rather from another.
    const auto cost = [&](const GridCell& cell) {
      return std::pair(!controls_.contains(cell.to), sources_.contains(cell.from));
    };
    const auto best = std::ranges::min_element(candidates, {}, cost);
    if (best == candidates.end()) return false;
    const auto cell = *best;
    const std::size_t needed = controls_.contains(cell.to) ? 1 : 2;
    if (flows_.size() + needed > most_) return false;
    candidates.erase(best);
    const auto [control, fresh] = controls_.try_emplace(cell.to, flows_.size());
    if (fresh) {
      const auto always = always_.find(cell.to);
      ChosenFlow flow{.cell = always == always_.end() ? cell : always->second,
                      .from_node = always == always_.end(),
                      .control = flows_.size()};
      flows_.push_back(flow);
    }
    sources_.insert(cell.from);
    flows_.push_back({.cell = cell, .change = change, .control = control->second});
    return true;
  }

  const PolicyGrid& grid_;
  const std::vector<Allowance>& before_;
  const std::vector<Allowance>& after_;
  std::size_t most_;
  std::map<std::pair<base::Protocol, PolicyChange>, std::vector<GridCell>> candidates_;
  std::map<std::size_t, GridCell> always_;       // by the pod that is dialled
  std::map<std::size_t, std::size_t> controls_;  // by the pod that is dialled: the flow's place
  std::set<std::size_t> sources_;
  std::vector<ChosenFlow> flows_;
};

}  // namespace

std::vector<checks::Allowance> truth_of(const PolicyWrites& writes) {
  return truth_of(writes, writes.world());
}

std::vector<checks::Allowance> truth_of(const PolicyWrites& writes,
                                        const checks::PolicyWorld& world) {
  std::vector<Allowance> truth;
  truth.reserve(writes.grid().cells.size());
  for (const auto& cell : writes.grid().cells) {
    truth.push_back(checks::decide(world, writes.flow_of(cell)).allowance);
  }
  return truth;
}

std::optional<GridCell> allowed_to(const PolicyGrid& grid, const std::vector<Allowance>& truth,
                                   std::size_t to, std::size_t but_from) {
  for (std::size_t i = 0; i < grid.cells.size(); ++i) {
    const auto& cell = grid.cells[i];
    if (cell.to == to && cell.from != to && cell.from != but_from &&
        truth[i] == Allowance::allowed) {
      return cell;
    }
  }
  return std::nullopt;
}

std::string sender_of(const ChosenFlow& flow, const PolicyGrid& grid) {
  return flow.from_node ? fmt::format("node{}", grid.pods[flow.cell.to].node)
                        : grid.pods[flow.cell.from].name;
}

std::string receiver_of(const ChosenFlow& flow, const PolicyGrid& grid) {
  return grid.pods[flow.cell.to].name + (flow.to_old_address ? " (its old address)" : "");
}

std::string name_of(const ChosenFlow& flow, const PolicyGrid& grid) {
  return fmt::format("{} to {}, {}", sender_of(flow, grid), receiver_of(flow, grid),
                     grid.ports[flow.cell.port].name);
}

std::vector<ChosenFlow> choose_flows(const PolicyGrid& grid, const std::vector<Allowance>& before,
                                     const std::vector<Allowance>& after, std::size_t most) {
  return Chooser(grid, before, after, most).choose();
}

}  // namespace stackbench
