#include "stackbench/policy/matrix_record.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/units.h"

namespace stackbench {
namespace {

using checks::Allowance;
using checks::CellJudgement;

// As MatrixRow says.
char mark_of(const checks::JudgedCell& cell) {
  switch (cell.judgement) {
    case CellJudgement::as_specified:
      return cell.expected == Allowance::allowed ? '+' : '.';
    case CellJudgement::leaks:
      return '!';
    case CellJudgement::blocked:
      return 'x';
    case CellJudgement::wrong_party:
      return 'w';
    case CellJudgement::unknown:
      return '?';
    case CellJudgement::no_evidence:
      return '~';
  }
  return '~';
}

// Options that say where results go, each with one value.
constexpr std::array<std::string_view, 4> of_results{"--out", "--prometheus-textfile",
                                                     "--push-gateway", "--serve-metrics"};

// A word for a shell: as it is where nothing in it means anything to one.
std::string quoted(const std::string& word) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-./=:,+@%").contains(c);
  };
  if (!word.empty() && std::ranges::all_of(word, plain)) return word;
  std::string text = "'";
  for (const char c : word) {
    if (c == '\'') {
      text += R"('\'')";
    } else {
      text += c;
    }
  }
  return text + "'";
}

// The two ends of a cell's packets.
struct CellEnds {
  base::IpAddress from;
  base::Endpoint to;
  base::Protocol protocol = base::Protocol::TCP;

  // Whether a packet between these is of the cell, on its way there or back.
  [[nodiscard]] bool has(const base::Endpoint& source, const base::Endpoint& destination,
                         base::Protocol its) const {
    if (its != protocol) return false;
    return (source.address == from && destination == to) ||
           (source == to && destination.address == from);
  }
};

// Nothing of a cell that is not in the grid.
std::optional<CellEnds> ends_of(const reports::PolicyCell& cell, const PolicyGrid& grid,
                                base::AddressFamily family) {
  const auto pod = [&](const std::string& name) {
    return std::ranges::find(grid.pods, name, &cluster::PodHandle::name);
  };
  const auto from = pod(cell.from);
  const auto to = pod(cell.to);
  const auto port = std::ranges::find(grid.ports, cell.port, &GridPort::name);
  if (from == grid.pods.end() || to == grid.pods.end() || port == grid.ports.end()) {
    return std::nullopt;
  }
  return CellEnds{.from = from->address(family),
                  .to = {to->address(family), port->spec.port},
                  .protocol = port->spec.protocol};
}

}  // namespace

std::string RepeatCommand::with(const std::vector<std::string>& more) const {
  std::string text;
  bool is_value = false;  // of an option that is left out
  for (const auto& word : argv) {
    if (std::exchange(is_value, false)) continue;
    const auto option = word.substr(0, word.find('='));
    if (std::ranges::find(of_results, option) != of_results.end()) {
      is_value = option == word;
      continue;
    }
    text += (text.empty() ? "" : " ") + quoted(word);
  }
  for (const auto& one : more) text += " --set " + quoted(one);
  return text;
}

std::vector<reports::PolicyCell> differing_records(const PolicyWrites& writes, const Sweep& sweep,
                                                   const std::vector<checks::JudgedCell>& judged,
                                                   const RepeatCommand& repeat, std::size_t most) {
  const auto& grid = writes.grid();
  std::vector<reports::PolicyCell> records;
  for (const auto& one : checks::differing_cells(writes.world(), sweep.cells, judged, most)) {
    if (one.judgement == CellJudgement::no_evidence) continue;
    const auto& cell = grid.cells[one.cell];
    const auto& port = grid.ports[cell.port];
    const auto& from = grid.pods[cell.from].name;
    const auto& to = grid.pods[cell.to].name;
    auto observed = std::string(base::enum_name(one.observed));
    if (one.answered_by && one.observed == bench::ReachOutcome::answered_by_other) {
      const auto who = std::ranges::find(grid.pods, *one.answered_by, &cluster::PodHandle::id);
      if (who != grid.pods.end()) observed += ", " + who->name;
    }
    records.push_back({.from = from,
                       .to = to,
                       .port = port.name,
                       .protocol = std::string(base::enum_name(port.spec.protocol)),
                       .expected = std::string(base::enum_name(one.expected)),
                       .observed = std::move(observed),
                       .explanation = one.explanation,
                       .repeat = repeat.with({fmt::format(
                           "policy.only={{from: {}, to: {}, port: {}}}", from, to, port.name)})});
  }
  return records;
}

reports::MatrixRecord matrix_record(const PolicyWrites& writes, const Settled& settled,
                                    const RepeatCommand& repeat) {
  const auto& grid = writes.grid();
  reports::MatrixRecord record{.environment = writes.environment()};
  // Those that are probed, where not all are.
  std::vector<std::size_t> dialled;
  std::vector<std::size_t> ports;
  const auto note = [](std::vector<std::size_t>& all, std::size_t one) {
    if (std::ranges::find(all, one) == all.end()) all.push_back(one);
  };
  for (const auto& cell : grid.cells) {
    note(dialled, cell.to);
    note(ports, cell.port);
  }
  std::ranges::sort(dialled);
  std::ranges::sort(ports);
  for (const auto pod : dialled) record.pods.push_back(grid.pods[pod].name);
  for (const auto port : ports) record.ports.push_back(grid.ports[port].name);
  for (std::size_t i = 0; i < grid.cells.size(); ++i) {
    const auto& cell = grid.cells[i];
    const auto& judged = settled.judged[i];
    const auto& from = grid.pods[cell.from].name;
    if (record.rows.empty() || record.rows.back().from != from) {
      record.rows.push_back({.from = from, .cells = std::vector<std::string>(dialled.size())});
    }
    const auto to = std::ranges::find(dialled, cell.to) - dialled.begin();
    record.rows.back().cells[static_cast<std::size_t>(to)] += mark_of(judged);
    ++(judged.expected == Allowance::allowed  ? record.allowed
       : judged.expected == Allowance::denied ? record.denied
                                              : record.unknown);
    if (judged.judgement == CellJudgement::no_evidence) ++record.no_telling;
  }
  record.cells = grid.cells.size();
  record.different = settled.different();
  record.sweeps = settled.sweeps;
  record.settled = settled.agreed;
  record.settled_ns = settled.settled_ns;
  record.watched_ns = settled.watched_ns;
  record.sweep_ns = settled.last.ended_ns - settled.last.began_ns;
  if (record.sweep_ns > 0) {
    constexpr double second = 1e9;
    record.results_per_second =
        static_cast<double>(settled.last.results) / (static_cast<double>(record.sweep_ns) / second);
  }
  record.differences = differing_records(writes, settled.last, settled.judged, repeat, cells_told);
  return record;
}

checks::Finding when_settled(checks::Finding finding, const Settled& settled) {
  finding.evidence["sweeps"] = settled.sweeps;
  finding.evidence["settled"] = settled.agreed;
  finding.evidence["settled_ns"] = settled.settled_ns;
  finding.evidence["watched_ns"] = settled.watched_ns;
  const auto earlier = std::ranges::count_if(settled.judged, checks::rests_on_earlier);
  if (earlier > 0 && finding.verdict == base::Verdict::pass) {
    finding.sentence += fmt::format(
        "; silence proves less in {}: one of the pods was seen to have a network before this sweep "
        "only, and its node cannot be asked now: {}",
        base::format_count(static_cast<std::uint64_t>(earlier), "closed cell"),
        settled.last.node_unasked);
  }
  if (settled.agreed) return finding;
  if (finding.verdict == base::Verdict::pass) {
    finding.verdict = base::Verdict::inconclusive;
    finding.observed = "never settled";
  }
  finding.sentence +=
      fmt::format("; no two of {} in a row saw the same before the deadline",
                  base::format_count(static_cast<std::uint64_t>(settled.sweeps), "sweep"));
  return finding;
}

checks::Finding judge_settled(const checks::PolicyWorld& world, const Settled& settled) {
  return when_settled(checks::policy_matrix(world, settled.last.cells, settled.last.controls),
                      settled);
}

void join_drops(std::vector<reports::PolicyCell>& cells, const PolicyGrid& grid,
                base::AddressFamily family, const std::vector<probes::Drop>& drops) {
  for (auto& cell : cells) {
    const auto ends = ends_of(cell, grid, family);
    for (const auto& drop : drops) {
      if (!ends || !ends->has(drop.from, drop.to, drop.protocol)) continue;
      const auto where = drop.where.empty() ? std::string() : " in " + drop.where;
      ++cell.drops[drop.reason + where + (drop.to == ends->to ? "" : ", of the answer")];
    }
  }
}

void join_verdicts(std::vector<reports::PolicyCell>& cells, const PolicyGrid& grid,
                   base::AddressFamily family, const std::vector<cluster::DeniedPacket>& denied) {
  for (auto& cell : cells) {
    const auto ends = ends_of(cell, grid, family);
    for (const auto& packet : denied) {
      if (!ends || !ends->has(packet.from, packet.to, packet.protocol)) continue;
      cell.verdict_event = fmt::format("denied by {}{}", packet.verdict,
                                       packet.to == ends->to ? "" : " (the answer)");
    }
  }
}

}  // namespace stackbench
