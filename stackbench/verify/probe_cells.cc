#include "stackbench/verify/probe_cells.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace stackbench {
namespace {

using bench::ReachOutcome;
using checks::Allowance;
using checks::PolicyWorld;

base::Protocol on_the_wire(base::kube::Protocol protocol) {
  return protocol == base::kube::Protocol::UDP ? base::Protocol::UDP : base::Protocol::TCP;
}

class Cells {
 public:
  Cells(const PolicyWorld& world, const std::vector<ProbeEnd>& ends) : world_(world), ends_(ends) {}

  // Every port of one end, from another, in every family both have.
  void add(CellKind kind, std::size_t source, std::size_t to) {
    for (const auto& port : ends_[to].ports) {
      for (const auto& address : world_.pods[ends_[to].pod].addresses) {
        if (!add_at(kind, source, {address, port.port}, port.protocol, ends_[to].name,
                    checks::PodEnd{ends_[to].pod})) {
          continue;
        }
        cells.back().to = to;
        cells.back().target.server_id = ends_[to].server_id;
      }
    }
  }

  void add(CellKind kind, std::size_t source, const ProbeOutside& outside) {
    const checks::FlowEnd end = outside.pod
                                    ? checks::FlowEnd(checks::PodEnd{*outside.pod})
                                    : checks::FlowEnd(checks::OutsideEnd{outside.endpoint.address});
    add_at(kind, source, outside.endpoint, base::kube::Protocol::TCP, outside.name, end);
  }

  std::vector<ProbeCell> cells;

 private:
  // False where the source has no address of that family.
  bool add_at(CellKind kind, std::size_t source, const base::Endpoint& endpoint,
              base::kube::Protocol protocol, const std::string& name,
              const checks::FlowEnd& destination) {
    const auto family = endpoint.address.family;
    const auto& own = world_.pods[ends_[source].pod].addresses;
    if (std::ranges::none_of(own, [&](const auto& one) { return one.family == family; })) {
      return false;
    }
    const checks::PolicyFlow flow{.source = checks::PodEnd{ends_[source].pod},
                                  .destination = destination,
                                  .family = family,
                                  .protocol = protocol,
                                  .port = endpoint.port};
    ProbeCell cell{.kind = kind,
                   .source = source,
                   .source_name = ends_[source].name,
                   .destination = name,
                   .target = {.endpoint = endpoint,
                              .protocol = on_the_wire(protocol),
                              // Of what is none of ours no identity is expected.
                              .server_id = ends_[source].server_id}};
    if (!is_control(kind)) {
      cell.expected = checks::decide(world_, flow).allowance;
      cell.why = checks::explain(world_, flow);
    }
    cells.push_back(std::move(cell));
    return true;
  }

  const PolicyWorld& world_;
  const std::vector<ProbeEnd>& ends_;
};

// From the control of an end's own server, and of the way between two nodes.
using ServerKey = std::tuple<std::size_t, base::Endpoint, base::Protocol>;
using WayKey = std::tuple<std::string, std::string, base::AddressFamily, base::Protocol>;

bool opened(ReachOutcome outcome) {
  switch (outcome) {
    case ReachOutcome::answered:
    case ReachOutcome::answered_by_other:
    case ReachOutcome::silent:
    case ReachOutcome::cut:
      return true;
    case ReachOutcome::refused:
    case ReachOutcome::unreachable:
    case ReachOutcome::timed_out:
    case ReachOutcome::failed:
      break;
  }
  return false;
}

}  // namespace

std::vector<ProbeCell> probe_cells(const PolicyWorld& world, const std::vector<ProbeEnd>& ends,
                                   const std::vector<ProbeOutside>& outside) {
  Cells all(world, ends);
  std::vector<std::size_t> elsewhere;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    all.add(CellKind::own_server, i, i);
    if (ends[i].elsewhere) elsewhere.push_back(i);
  }
  for (const auto from : elsewhere) {
    for (const auto to : elsewhere) {
      if (from != to) all.add(CellKind::elsewhere, from, to);
    }
    for (const auto& one : outside) all.add(CellKind::outside_open, from, one);
  }
  for (std::size_t i = 0; i < ends.size(); ++i) {
    if (ends[i].elsewhere) continue;
    // On another node, if there is one: its own node is let in by whoever exempts it.
    auto other = std::ranges::find_if(elsewhere, [&](std::size_t one) {
      return world.pods[ends[one].pod].node != world.pods[ends[i].pod].node;
    });
    if (other == elsewhere.end()) other = elsewhere.begin();
    if (other != elsewhere.end()) {
      all.add(CellKind::from_elsewhere, *other, i);
      all.add(CellKind::to_elsewhere, i, *other);
    }
    for (std::size_t to = 0; to < ends.size(); ++to) {
      if (to != i && !ends[to].elsewhere) all.add(CellKind::between, i, to);
    }
    for (const auto& one : outside) all.add(CellKind::to_outside, i, one);
  }
  return std::move(all.cells);
}

std::vector<JudgedCell> judge(const PolicyWorld& world, const std::vector<ProbeEnd>& ends,
                              const std::vector<ProbeCell>& cells,
                              const std::vector<ReachOutcome>& seen) {
  const auto node_of = [&](std::size_t end) { return world.pods[ends[end].pod].node; };
  std::map<ServerKey, ReachOutcome> servers;
  std::map<WayKey, ReachOutcome> ways;
  std::map<base::Endpoint, bool> outside;  // whether anybody answers there
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const auto& cell = cells[i];
    const auto& target = cell.target;
    switch (cell.kind) {
      case CellKind::own_server:
        servers[{cell.source, target.endpoint, target.protocol}] = seen[i];
        if (!ends[cell.source].elsewhere) break;
        ways[{node_of(cell.source), node_of(cell.source), target.endpoint.address.family,
              target.protocol}] = seen[i];
        break;
      case CellKind::elsewhere:
        ways[{node_of(cell.source), node_of(*cell.to), target.endpoint.address.family,
              target.protocol}] = seen[i];
        break;
      case CellKind::outside_open:
        outside[target.endpoint] = outside[target.endpoint] || opened(seen[i]);
        break;
      case CellKind::between:
      case CellKind::from_elsewhere:
      case CellKind::to_elsewhere:
      case CellKind::to_outside:
        break;
    }
  }
  const auto answered = [](const auto& of, const auto& key) {
    const auto found = of.find(key);
    return found != of.end() && found->second == ReachOutcome::answered;
  };
  // Why silence there would mean nothing; empty where it means something.
  const auto doubt = [&](const ProbeCell& cell) -> std::string {
    const auto& target = cell.target;
    if (!cell.to) {
      return outside[target.endpoint] ? ""
                                      : "nobody answers there, not even a pod no policy is about";
    }
    if (!answered(servers, ServerKey{*cell.to, target.endpoint, target.protocol})) {
      return "its server does not even answer itself";
    }
    const WayKey way{node_of(cell.source), node_of(*cell.to), target.endpoint.address.family,
                     target.protocol};
    if (!answered(ways, way)) {
      return fmt::format("nothing gets from node {} to node {}, with no policy in between",
                         std::get<0>(way), std::get<1>(way));
    }
    return "";
  };
  std::vector<JudgedCell> judged;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (is_control(cells[i].kind)) continue;
    JudgedCell one{.cell = cells[i], .seen = seen[i], .note = {}};
    const bool open = opened(seen[i]);
    if (seen[i] == ReachOutcome::failed) {
      one.note = "it could not be knocked there";
    } else if (cells[i].expected == Allowance::unknown) {
      one.verdict = CellVerdict::unknown;
    } else if (open) {
      one.verdict = cells[i].expected == Allowance::allowed ? CellVerdict::as_policies_say
                                                            : CellVerdict::open_though_denied;
    } else if (one.note = doubt(cells[i]); one.note.empty()) {
      one.verdict = cells[i].expected == Allowance::denied ? CellVerdict::as_policies_say
                                                           : CellVerdict::closed_though_allowed;
    }
    judged.push_back(std::move(one));
  }
  return judged;
}

}  // namespace stackbench
