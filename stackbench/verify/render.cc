// What was verified, for people and for programs.
#include <algorithm>
#include <cmath>

#include "base/units.h"
#include "stackbench/verify/verify.h"

namespace stackbench {
namespace {

using base::Json;
using base::Paint;
using checks::PolicyDirection;

// Of cells that say the same; all are in the JSON.
constexpr std::size_t most_shown = 20;

std::string spoken(Coverage coverage) {
  std::string text(base::enum_name(coverage));
  std::ranges::replace(text, '_', ' ');
  return text;
}

Paint paint_of(Coverage coverage) {
  switch (coverage) {
    case Coverage::denied_by_default:
      return Paint::green;
    case Coverage::unknown:
      return Paint::yellow;
    case Coverage::allows_everything:
    case Coverage::uncovered:
      break;
  }
  return Paint::red;
}

Paint paint_of(ClaimVerdict verdict) {
  switch (verdict) {
    case ClaimVerdict::pass:
      return Paint::green;
    case ClaimVerdict::inconclusive:
      return Paint::yellow;
    case ClaimVerdict::fail:
      break;
  }
  return Paint::red;
}

std::size_t widest(const std::vector<WorkloadCoverage>& coverage, std::size_t least) {
  for (const auto& workload : coverage) least = std::max(least, workload.workload.size());
  return least;
}

// Without the blanks that pad a last column.
void end_line(std::string& text) {
  while (text.ends_with(' ')) text.pop_back();
  text += "\n";
}

void add_coverage(std::string& text, const VerifyResult& result, bool colour) {
  const auto width = widest(result.coverage, std::string_view("workload").size());
  constexpr std::size_t column = 18;
  text += base::pad_right("workload", width) + "  pods";
  for (const auto& [direction, covered] : result.coverage.front().directions) {
    text += "  " + base::pad_right(base::enum_name(direction), column);
  }
  end_line(text);
  for (const auto& workload : result.coverage) {
    text += base::pad_right(workload.workload, width);
    text += base::pad_left(std::to_string(workload.pods), 6);
    for (const auto& [direction, covered] : workload.directions) {
      text += "  " + base::painted(base::pad_right(spoken(covered.coverage), column),
                                   paint_of(covered.coverage), colour);
    }
    end_line(text);
    for (const auto& [direction, covered] : workload.directions) {
      if (covered.coverage == Coverage::denied_by_default) continue;
      text += fmt::format("  ! {}: {}\n", base::enum_name(direction), covered.why);
    }
  }
}

void add_paths(std::string& text, const VerifyResult& result) {
  std::string paths;
  for (const auto& workload : result.coverage) {
    for (const auto& [direction, covered] : workload.directions) {
      const auto* word = direction == PolicyDirection::ingress ? "from" : "to";
      for (const auto& path : covered.allowed) {
        paths += fmt::format("  {} {} {} {}  ({})\n", workload.workload, base::enum_name(direction),
                             word, path.to_string(), path.by);
      }
      if (covered.coverage != Coverage::uncovered) continue;
      paths += fmt::format("  {} {} {} anybody, every port  (no policy)\n", workload.workload,
                           base::enum_name(direction), word);
    }
  }
  text += paths.empty() ? "\nAllowed paths: none.\n" : "\nAllowed paths\n" + paths;
}

std::string spoken(const JudgedCell& judged) {
  const auto& target = judged.cell.target;
  return fmt::format("{} at {} by {}: {}", judged.cell.destination, target.endpoint,
                     base::enum_name(target.protocol), base::enum_name(judged.seen));
}

void add_cells(std::string& text, const ProbingResult& probing, CellVerdict verdict,
               const std::string& heading, std::size_t width) {
  std::size_t shown = 0;
  std::size_t all = 0;
  std::string lines;
  for (const auto& judged : probing.cells) {
    if (judged.verdict != verdict) continue;
    if (++all > most_shown) continue;
    ++shown;
    lines += fmt::format("  {} to {}\n", judged.cell.source_name, spoken(judged));
    lines += base::wrapped(judged.note.empty() ? judged.cell.why : judged.note, width, "    ");
  }
  if (all == 0) return;
  text += fmt::format("\n{} ({})\n{}", heading, all, lines);
  if (all > shown) text += fmt::format("  and {} more: --json has them all\n", all - shown);
}

void add_unprobed(std::string& text, std::string_view heading,
                  std::initializer_list<const std::vector<Unprobed>*> lists) {
  std::string lines;
  for (const auto* list : lists) {
    for (const auto& [workload, reason] : *list)
      lines += fmt::format("  {}: {}\n", workload, reason);
  }
  if (!lines.empty()) text += fmt::format("\n{}\n{}", heading, lines);
}

void add_probing(std::string& text, const VerifyResult& result, std::size_t width) {
  if (!result.probing) {
    text += "\nNot probed: what packets do is not known (--no-probes).\n";
    return;
  }
  const auto& probing = *result.probing;
  const auto as_said =
      std::ranges::count(probing.cells, CellVerdict::as_policies_say, &JudgedCell::verdict);
  text += fmt::format("\nProbed: {} of {} as the policies say, in {}{}.\n", as_said,
                      base::format_count(probing.cells.size(), "path"),
                      base::format_count(static_cast<std::size_t>(probing.sweeps), "sweep"),
                      probing.settled ? "" : ", of which no two in a row agreed");
  add_cells(text, probing, CellVerdict::open_though_denied, "Open though denied", width);
  add_cells(text, probing, CellVerdict::closed_though_allowed, "Closed though allowed", width);
  add_cells(text, probing, CellVerdict::unknown, "Not known by policies we can read", width);
  add_cells(text, probing, CellVerdict::not_judged, "Not judged", width);
  add_unprobed(text, "Without a probe pod", {&result.unprobed, &probing.unprobed});
}

// With what came from the cluster safe to print.
VerifyResult printable(VerifyResult result, base::Charset charset) {
  const auto clean = [&](std::string& text) { text = base::printable(text, charset); };
  clean(result.engine);
  for (auto& workload : result.coverage) {
    for (auto& [direction, covered] : workload.directions) clean(covered.why);
  }
  for (auto& note : result.notes) clean(note);
  for (auto& one : result.unprobed) clean(one.reason);
  for (auto& one : result.unmade) {
    clean(one.workload);
    clean(one.reason);
  }
  if (result.drift) {
    for (auto& line : *result.drift) clean(line);
  }
  if (result.probing) {
    for (auto& one : result.probing->unprobed) clean(one.reason);
    for (auto& judged : result.probing->cells) clean(judged.cell.why);
  }
  return result;
}

Json json_of(const JudgedCell& judged) {
  const auto& target = judged.cell.target;
  Json cell = {{"source", judged.cell.source_name},
               {"destination", judged.cell.destination},
               {"endpoint", target.endpoint.to_string()},
               {"protocol", base::enum_name(target.protocol)},
               {"expected", base::enum_name(judged.cell.expected)},
               {"seen", base::enum_name(judged.seen)},
               {"verdict", base::enum_name(judged.verdict)},
               {"why", judged.cell.why}};
  if (!judged.note.empty()) cell["note"] = judged.note;
  return cell;
}

Json json_of(const std::vector<Unprobed>& unprobed) {
  Json all = Json::array();
  for (const auto& [workload, reason] : unprobed) {
    all.push_back({{"workload", workload}, {"reason", reason}});
  }
  return all;
}

}  // namespace

Json VerifyResult::to_json() const {
  const auto verdict = verdict_of(*this);
  Json json = {{"claim", "default_deny_holds"},      {"verdict", base::enum_name(verdict)},
               {"exit_code", exit_code_of(verdict)}, {"target", target},
               {"namespaces", namespaces},           {"policy_engine", engine},
               {"workloads", Json::array()}};
  for (const auto& workload : coverage) {
    Json one = {{"workload", workload.workload}, {"pods", workload.pods}};
    for (const auto& [direction, covered] : workload.directions) {
      Json allowed = Json::array();
      for (const auto& path : covered.allowed) {
        allowed.push_back({{"peer", path.peer}, {"ports", path.ports}, {"by", path.by}});
      }
      one[std::string(base::enum_name(direction))] = {
          {"coverage", base::enum_name(covered.coverage)},
          {"why", covered.why},
          {"allowed", std::move(allowed)}};
    }
    json["workloads"].push_back(std::move(one));
  }
  if (probing) {
    Json cells = Json::array();
    for (const auto& judged : probing->cells) cells.push_back(json_of(judged));
    json["probes"] = {
        {"sweeps", probing->sweeps}, {"settled", probing->settled}, {"cells", std::move(cells)}};
    auto refused = json_of(unprobed);
    for (const auto& one : json_of(probing->unprobed)) refused.push_back(one);
    json["unprobed"] = std::move(refused);
  }
  if (!unmade.empty()) json["not_looked_at"] = json_of(unmade);
  if (drift) json["drift"] = *drift;
  json["notes"] = notes;
  return json;
}

std::string render(const VerifyResult& raw, const base::Terminal& terminal) {
  const auto result = printable(raw, terminal.charset);
  const auto verdict = verdict_of(result);
  std::string text = fmt::format(
      "Default-deny in {}{}{}: {}\nPolicy engine: {}\n\n", fmt::join(result.namespaces, ", "),
      result.target == "lab" ? ", as manifests would make it" : "",
      result.probing ? "" : ", by what policies say",
      base::painted(base::enum_name(verdict), paint_of(verdict), terminal.colour), result.engine);
  if (!result.coverage.empty()) {
    add_coverage(text, result, terminal.colour);
    add_paths(text, result);
  }
  add_probing(text, result, static_cast<std::size_t>(terminal.width));
  add_unprobed(text, "Not looked at", {&result.unmade});
  if (result.drift) {
    text += result.drift->empty() ? "\nAs it was when it was saved.\n"
                                  : "\nOther than it was when it was saved\n";
    for (const auto& line : *result.drift) text += "  " + line + "\n";
  }
  for (const auto& note : result.notes) text += fmt::format("\nNote: {}.\n", note);
  return text;
}

std::string render(const ProbePlan& plan, std::size_t probes, const VerifyOptions& options) {
  std::string text =
      "To find out what packets do, these pods would be made, and taken away again:\n";
  bool joins = false;
  for (const auto& pod : plan.of_workloads) {
    joins = joins || !pod.joins.empty();
    if (!pod.joins.empty()) {
      text += fmt::format("  an ephemeral container in {}/{} on node {}, of {}\n", pod.in_namespace,
                          pod.joins, pod.node, pod.workload);
      continue;
    }
    text += fmt::format("  {}/{} on node {}, with the labels of {}\n", pod.in_namespace, pod.name,
                        pod.node, pod.workload);
  }
  for (const auto& pod : plan.elsewhere) {
    text += fmt::format("  {}/{} on node {}, in a namespace of its own\n", pod.in_namespace,
                        pod.name, pod.node);
  }
  if (plan.of_workloads.empty()) text += "  none\n";
  for (const auto& [workload, reason] : plan.unprobed) {
    text += fmt::format("None for {}: {}.\n", workload, reason);
  }
  if (joins) {
    text +=
        "An ephemeral container ends by itself, and its pod lists it for as long as the pod "
        "lives.\n";
  }
  if (!plan.of_workloads.empty()) {
    text += fmt::format(
        "They are never ready, and no Service sends them anything. Nothing is knocked at but they "
        "and the cluster's DNS{}.\nAbout {} a sweep, at most {:.0f} a second: {:.0f} s or more, in "
        "two sweeps at least.\n",
        options.external.empty() ? "" : ", and what --external names",
        base::format_count(probes, "packet"), options.rate,
        std::ceil(2 * static_cast<double>(probes) / options.rate));
  }
  return text;
}

std::string render_lab(const ProbePlan& plan, std::size_t pods) {
  std::string text = fmt::format(
      "In a lab of this machine {} of the manifests would be brought up, with {} of another "
      "namespace and one that stands for the cluster's DNS, and taken down again. Those that would "
      "knock and be knocked at:\n",
      base::format_count(pods, "pod"), plan.elsewhere.size());
  for (const auto& pod : plan.of_workloads) {
    text +=
        fmt::format("  {}/{} on {}, for {}\n", pod.in_namespace, pod.name, pod.node, pod.workload);
  }
  return text;
}

}  // namespace stackbench
