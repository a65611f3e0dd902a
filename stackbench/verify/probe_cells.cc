#include "stackbench/verify/probe_cells.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
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
    const auto& end = ends_[to];
    for (const auto& port : end.ports) {
      for (const auto& address : addresses_of(to)) {
        const auto at = end.role == ProbeRole::outside
                            ? checks::FlowEnd(checks::OutsideEnd{address})
                            : checks::FlowEnd(checks::PodEnd{end.pod});
        if (!add_at(kind, source, {address, port.port}, port.protocol, end.name, at)) continue;
        cells.back().to = to;
        cells.back().target.server_id = end.server_id;
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
  [[nodiscard]] const std::vector<base::IpAddress>& addresses_of(std::size_t end) const {
    const auto& one = ends_[end];
    return one.role == ProbeRole::outside ? one.addresses : world_.pods[one.pod].addresses;
  }

  // False where the source has no address of that family.
  bool add_at(CellKind kind, std::size_t source, const base::Endpoint& endpoint,
              base::kube::Protocol protocol, const std::string& name,
              const checks::FlowEnd& destination) {
    const auto family = endpoint.address.family;
    const auto& own = addresses_of(source);
    const auto from = std::ranges::find(own, family, &base::IpAddress::family);
    if (from == own.end()) return false;
    const auto& end = ends_[source];
    const checks::PolicyFlow flow{.source = end.role == ProbeRole::outside
                                                ? checks::FlowEnd(checks::OutsideEnd{*from})
                                                : checks::FlowEnd(checks::PodEnd{end.pod}),
                                  .destination = destination,
                                  .family = family,
                                  .protocol = protocol,
                                  .port = endpoint.port};
    ProbeCell cell{.kind = kind,
                   .source = source,
                   .source_name = end.name,
                   .destination = name,
                   .target = {.endpoint = endpoint,
                              .protocol = on_the_wire(protocol),
                              // Of what is none of ours no identity is expected.
                              .server_id = end.server_id}};
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

// Of the node an end is on.
std::string node_of(const PolicyWorld& world, const ProbeEnd& end) {
  return end.role == ProbeRole::outside ? "(outside)" : world.pods[end.pod].node;
}

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
  std::vector<std::size_t> free;  // that no policy is about
  std::vector<std::size_t> out;
  std::vector<std::size_t> dns;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    all.add(CellKind::own_server, i, i);
    const auto role = ends[i].role;
    if (role == ProbeRole::elsewhere) elsewhere.push_back(i);
    if (role == ProbeRole::outside) out.push_back(i);
    if (role == ProbeRole::dns) dns.push_back(i);
    if (role == ProbeRole::elsewhere || role == ProbeRole::outside) free.push_back(i);
  }
  for (const auto from : free) {
    for (const auto to : free) {
      if (from != to) all.add(CellKind::elsewhere, from, to);
    }
  }
  for (const auto from : elsewhere) {
    for (const auto& one : outside) all.add(CellKind::outside_open, from, one);
  }
  for (std::size_t i = 0; i < ends.size(); ++i) {
    if (ends[i].role != ProbeRole::workload) continue;
    // On another node, if there is one: its own node is let in by whoever exempts it.
    auto other = std::ranges::find_if(elsewhere, [&](std::size_t one) {
      return node_of(world, ends[one]) != node_of(world, ends[i]);
    });
    if (other == elsewhere.end()) other = elsewhere.begin();
    if (other != elsewhere.end()) {
      all.add(CellKind::from_elsewhere, *other, i);
      all.add(CellKind::to_elsewhere, i, *other);
    }
    for (std::size_t to = 0; to < ends.size(); ++to) {
      if (to != i && ends[to].role == ProbeRole::workload) all.add(CellKind::between, i, to);
    }
    for (const auto& one : outside) all.add(CellKind::to_outside, i, one);
    for (const auto one : out) {
      all.add(CellKind::from_outside, one, i);
      all.add(CellKind::to_outside, i, one);
    }
    for (const auto one : dns) all.add(CellKind::to_dns, i, one);
  }
  return std::move(all.cells);
}

std::vector<JudgedCell> judge(const PolicyWorld& world, const std::vector<ProbeEnd>& ends,
                              const std::vector<ProbeCell>& cells,
                              const std::vector<ReachOutcome>& seen) {
  const auto node = [&](std::size_t end) { return node_of(world, ends[end]); };
  std::map<ServerKey, bool> servers;       // whether it answers itself
  std::map<WayKey, bool> ways;             // whether anybody got an answer on it
  std::map<base::Endpoint, bool> outside;  // whether anybody answers there
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const auto& cell = cells[i];
    const auto& target = cell.target;
    const bool answered = seen[i] == ReachOutcome::answered;
    const auto way_to = [&](std::size_t end) -> bool& {
      return ways[{node(cell.source), node(end), target.endpoint.address.family, target.protocol}];
    };
    switch (cell.kind) {
      case CellKind::own_server:
        servers[{cell.source, target.endpoint, target.protocol}] = answered;
        if (ends[cell.source].role == ProbeRole::elsewhere) way_to(cell.source) |= answered;
        break;
      case CellKind::elsewhere:
        way_to(*cell.to) |= answered;
        break;
      case CellKind::outside_open:
        outside[target.endpoint] |= opened(seen[i]);
        break;
      case CellKind::between:
      case CellKind::from_elsewhere:
      case CellKind::to_elsewhere:
      case CellKind::to_outside:
      case CellKind::from_outside:
      case CellKind::to_dns:
        break;
    }
  }
  // Those that somebody else got to, or that got to somebody: they have a network.
  std::set<std::size_t> alive;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (cells[i].kind == CellKind::own_server || !opened(seen[i])) continue;
    alive.insert(cells[i].source);
    if (cells[i].to) alive.insert(*cells[i].to);
  }
  const auto holds = [](const auto& of, const auto& key) {
    const auto found = of.find(key);
    return found != of.end() && found->second;
  };
  // Why silence there would mean nothing; empty where it means something.
  const auto doubt = [&](const ProbeCell& cell) -> std::string {
    const auto& target = cell.target;
    for (const auto end : {std::optional(cell.source), cell.to}) {
      if (!end || ends[*end].has_network || alive.contains(*end)) continue;
      return fmt::format("nothing gets to {}, not even from its own node", ends[*end].name);
    }
    if (!cell.to) {
      return holds(outside, target.endpoint)
                 ? ""
                 : "nobody answers there, not even a pod no policy is about";
    }
    if (!holds(servers, ServerKey{*cell.to, target.endpoint, target.protocol})) {
      return "its server does not even answer itself";
    }
    const WayKey way{node(cell.source), node(*cell.to), target.endpoint.address.family,
                     target.protocol};
    if (!holds(ways, way)) {
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
