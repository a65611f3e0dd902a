#include "reports/terminal.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>
#include <vector>

#include <fmt/ranges.h>

#include "base/units.h"
#include "reports/bgp_faults.h"
#include "reports/workload_table.h"

namespace reports {
namespace {

using base::Paint;

Paint paint_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::pass:
      return Paint::green;
    case Verdict::fail:
      return Paint::red;
    case Verdict::inconclusive:
    case Verdict::invalid:
      return Paint::yellow;
    case Verdict::skip:
      break;
  }
  return Paint::dim;
}

// Builds the text part by part.
class Renderer {
 public:
  Renderer(const Report& report, const base::Terminal& terminal)
      : report_(report), terminal_(terminal), width_(static_cast<std::size_t>(terminal.width)) {}

  void header();
  void tables();
  void growth();
  void bgp_scale();
  void policy();
  void bgp_faults();
  void mesh();
  void plaintext_windows();
  void rotation();
  void skipped();
  void run_notes();
  void expectations();
  void checks();
  void errors();
  void closing(const std::string& written_to);

  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  [[nodiscard]] std::string safe(std::string_view text) const {
    return base::printable(text, terminal_.charset);
  }
  [[nodiscard]] std::string time(double ns) const {
    return base::format_time(ns, terminal_.charset);
  }
  void paragraph(std::string_view text, std::string_view lead = "") {
    text_ += base::wrapped(safe(text), width_, lead);
  }
  void heading(std::string_view text) {
    text_ += "\n" + base::painted(safe(text), Paint::bold, terminal_.colour) + "\n";
  }
  void judged(Verdict verdict, const std::string& claim, const std::string& sentence);

  const Report& report_;
  const base::Terminal& terminal_;
  std::size_t width_;
  std::string text_;
};

std::string machine_line(const Report& report) {
  const auto& machine = report.machine;
  std::vector<std::string> parts;
  const auto add = [&](std::string_view lead, const std::string& value) {
    if (!value.empty()) parts.push_back(fmt::format("{}{}", lead, value));
  };
  add("Linux ", machine.kernel);
  add("", machine.cpu_model);
  if (machine.cpus > 0) {
    parts.push_back(base::format_count(static_cast<std::uint64_t>(machine.cpus), "CPU"));
  }
  add("", machine.virtualisation);
  add("clock ", machine.clocksource);
  const auto pinned = [&](std::string_view who, const std::optional<int>& cpu) {
    if (cpu) parts.push_back(fmt::format("{} on CPU {}", who, *cpu));
  };
  pinned("client", report.plan.client_cpu);
  pinned("server", report.plan.server_cpu);
  pinned("controller", report.plan.controller_cpu);
  return fmt::format("{}", fmt::join(parts, ", "));
}

void Renderer::header() {
  const std::string question = base::wrapped(safe(report_.question), width_);
  text_ += base::painted(question.substr(0, question.size() - 1), Paint::bold, terminal_.colour);
  text_ += '\n';
  paragraph(machine_line(report_), report_.target + ": ");
  if (report_.target == "lab") {
    paragraph(
        "Network namespaces on this machine: it says what this kernel does, never what a "
        "cluster's own datapath does.",
        "     ");
  }
  if (!report_.complete) {
    const auto kept = std::ranges::count(report_.blocks, BlockState::kept, &Block::state);
    const std::string partial =
        report_.policy || !report_.bgp_faults.empty() || !report_.plaintext_windows.empty()
            ? std::string("PARTIAL: the run ended early; what is here was whole by then.")
            : fmt::format(
                  "PARTIAL: the run ended early, after {} of {}.", kept,
                  base::format_count(static_cast<std::uint64_t>(report_.plan.blocks), "block"));
    text_ += base::painted(partial, Paint::yellow, terminal_.colour) + "\n";
  }
}

void Renderer::tables() {
  for (const auto& workload : report_.workloads) {
    const auto table = workload_table(report_, workload.name, terminal_);
    if (table.text.empty()) continue;
    std::string title = workload.name;
    if (!workload.summary.empty()) title += ": " + workload.summary;
    heading(base::shorten(safe(title), width_));
    text_ += table.text;
    for (const auto& note : table.notes) paragraph(note.text, fmt::format("  {} ", note.mark));
    if (const auto events = event_table(report_.events, workload.name, terminal_);
        !events.empty()) {
      text_ += "\n" + events;
    }
  }
  if (report_.events.empty()) return;
  paragraph(
      "Events: failed requests are charged to the last event before they were due, or to the "
      "backend "
      "that left while they were under way. Stale: from the write to the last new connection or "
      "datagram that still went to the backend, middle of the "
      "invocations and worst; it may have lasted as much longer unseen. Judged by the receiver's "
      "stamp, or, where that is dead, by the sender's of what failed. Programmed: from the write "
      "until the datapath had it. Published: from the write until a watch saw the EndpointSlice; "
      "followed: from then until traffic did. Flows moved: kept flows that another backend "
      "answered than before, of those the backend had that left; others': of backends that had "
      "not.",
      "  ");
}

void Renderer::growth() {
  for (const auto by : {GrowthBy::services, GrowthBy::policies}) {
    const auto tables = growth_tables(report_.growth, by, terminal_);
    if (tables.empty()) continue;
    heading(fmt::format("Growth with the number of {}", things_of(by)));
    text_ += tables;
    paragraph(
        fmt::format(
            "Each law is a straight line through the numbers of {}, fitted in every block; flat: "
            "surely within 10 % of the cost of the fewest; invalid: the interval is wider than the "
            "difference it would claim, or the points lie on no line. {}",
            things_of(by),
            by == GrowthBy::services
                ? "Kernel memory is the whole machine's growth while rules were loaded; of eBPF "
                  "the table's own size."
                : "Loading is making a table of all policies and putting it in force, with the "
                  "kernel memory it takes; a cluster does not say."),
        "  ");
  }
}

void Renderer::bgp_scale() {
  if (report_.bgp_scale.empty()) return;
  heading("Addresses announced and withdrawn at once");
  text_ += bgp_scale_tables(report_.bgp_scale, terminal_);
  paragraph(
      "Each is announced by every node's speaker; a time to a route is to the one by all of them. "
      "UPDATEs are stamped on the wire, told by the peer's watch, routes by the kernel; from the "
      "UPDATE on all of it is the peer's and our installer's. The last UPDATE to a sink: of the "
      "same, "
      "told to one in the peer's place that only reads. All processes share this machine's CPUs. "
      "Ours is the controller, clients, captures and installer in one process.",
      "  ");
}

void Renderer::policy() {
  if (report_.policy) text_ += policy_text(*report_.policy, terminal_);
}

void Renderer::bgp_faults() {
  if (report_.bgp_faults.empty()) return;
  heading("BGP faults");
  text_ += bgp_fault_table(report_.bgp_faults, terminal_);
  paragraph(
      "Least and most of the repetitions. Session down: as the router's daemon told it. Stale "
      "route: from the fault until the router's kernel used the node's route no longer; predicted "
      "by the timers and what was on the wire. Packets: the client's, 1,250 a second.",
      "  ");
  for (const auto& fault : report_.bgp_faults) {
    if (fault.predicted.empty()) continue;
    paragraph(fmt::format("{}: {}", fault.kind, fault.predicted), "    ");
  }
}

void Renderer::plaintext_windows() {
  if (report_.plaintext_windows.empty()) return;
  heading("Plaintext while the mesh changes");
  text_ += plaintext_window_table(report_.plaintext_windows, terminal_);
  paragraph(
      "Answered: in clear, requests of a client outside of the mesh that must be refused and were "
      "answered. Readable: on the wire, requests of a client in the mesh that a capture at its "
      "node's uplink could read. Each in all repetitions, and of the longest: how long, from when "
      "to when after the write was sent; of a flip to STRICT for how long after it was "
      "acknowledged. Times are between the knocks around an edge, so they may be off by as much. "
      "The outsider's own: STRICT refuses what it says, and cannot keep it from the wire. Outage: "
      "the longest time without an answer within the mesh. May have missed: the longest time in "
      "which nobody tried the door.",
      "  ");
}

void Renderer::mesh() {
  if (!report_.mesh || report_.mesh->proxies.empty()) return;
  heading("What the mesh costs");
  text_ += mesh_text(*report_.mesh, terminal_);
  const auto memory =
      report_.target == "lab"
          ? "Memory is what is the process's own, with its share of what several of them map."
          : "Memory is what Envoy and istio-agent have resident, the program's pages among it.";
  paragraph(
      fmt::format(
          "CPU of a request: of client, servers and proxies together above, of one proxy below, "
          "softirq they were billed for included. Proxies: with them, plaintext between them, "
          "against without. Encryption: mutual TLS between them, against plaintext. {} Handshakes: "
          "for each connection of the client's; of http and http2, proxies keep "
          "their own.",
          memory),
      "  ");
}

void Renderer::rotation() {
  if (!report_.rotation || report_.rotation->steps.empty()) return;
  heading("While certificates are rotated");
  text_ += rotation_text(*report_.rotation, terminal_);
  paragraph(
      "Shown: in a whole handshake with each proxy, from the write of its new certificate on, the "
      "slowest proxy's. New: a connection for each request; kept: connections of before, of which "
      "those on older certificates went on with the one they were opened with. Gap: the longest "
      "time between two answers. Handshakes: of the client's proxy with the others; one that "
      "resumes a session shows no certificate.",
      "  ");
}

void Renderer::skipped() {
  std::vector<std::string> lines;
  for (const auto& environment : report_.environments) {
    if (environment.skipped) {
      lines.push_back(fmt::format("environment {}: {}", environment.name, *environment.skipped));
    }
  }
  for (const auto& arm : report_.arms) {
    if (arm.skipped) lines.push_back(fmt::format("arm {}: {}", arm.name, *arm.skipped));
  }
  if (lines.empty()) return;
  heading("Skipped");
  for (const auto& line : lines) paragraph(line, "  ");
}

// " Intervals are 95 % or better." by the least confident one shown; empty where none is.
std::string interval_level(const Report& report) {
  std::optional<double> least;
  for (const auto& estimate : report.estimates) {
    if (!estimate.difference || !estimate.difference->interval_percent) continue;
    least = std::min(least.value_or(1), estimate.difference->interval_percent->level);
  }
  if (!least) return {};
  // Rounded down, but not by what a double lacks to 0.95.
  return fmt::format(" Intervals are {:.0f} % or better.", std::floor(*least * 100 + 1e-6));
}

void Renderer::run_notes() {
  std::vector<std::string> lines;
  const auto took = [&] {
    return fmt::format("Took {}, planned {}.",
                       base::format_wait(report_.ended.monotonic_ns - report_.started.monotonic_ns),
                       base::format_wait(report_.plan.expected_ns));
  };
  const auto warm_up = std::ranges::count(report_.blocks, BlockState::warm_up, &Block::state);
  const bool changes = report_.policy || !report_.plaintext_windows.empty();
  if (changes && report_.complete && report_.plan.expected_ns > 0) {
    lines.push_back(took());
  }
  if (!report_.blocks.empty()) {
    std::string line = fmt::format("Blocks: {} kept", report_.noise.kept);
    if (warm_up > 0) line += fmt::format(", {} to warm up", warm_up);
    line +=
        fmt::format(", {} disturbed and dropped. Longest gap {}, worst block lost {:.1f} %.",
                    report_.noise.disturbed, time(static_cast<double>(report_.noise.max_gap_ns)),
                    report_.noise.worst_lost_share * 100);
    lines.push_back(line);
    for (const auto& block : report_.blocks) {
      if (block.state == BlockState::disturbed && block.reason) {
        lines.push_back(fmt::format("Block {} dropped: {}.", block.index, *block.reason));
      }
    }
    if (report_.complete && report_.plan.expected_ns > 0) {
      lines.push_back(took());
    }
    std::string clock = "one clock for client and controller";
    if (report_.plan.clock_uncertainty_ns > 0) {
      const auto ahead = static_cast<double>(report_.plan.clock_offset_ns);
      clock = fmt::format("clocks differ, one is {} {} the controller's and known to +- {}",
                          time(std::abs(ahead)), ahead < 0 ? "behind" : "ahead of",
                          time(static_cast<double>(report_.plan.clock_uncertainty_ns)));
    }
    lines.push_back(fmt::format("Resolution: histograms {:.1f} %; {}.{}",
                                100.0 / (1 << base::Histogram::precision_bits), clock,
                                interval_level(report_)));
  }
  for (const auto& probe : report_.probes) {
    std::string line =
        fmt::format("{}, at the rate of the checks: {} an event, {}.",
                    probe.name == "capture" ? "Packet capture" : "eBPF " + probe.name,
                    time(probe.ns_per_event), base::format_count(probe.events, "event"));
    if (probe.lost > 0) line += fmt::format(" {} lost.", probe.lost);
    lines.push_back(line);
  }
  if (lines.empty()) return;
  text_ += '\n';
  for (const auto& line : lines) paragraph(line);
}

void Renderer::judged(Verdict verdict, const std::string& claim, const std::string& sentence) {
  constexpr std::size_t verdict_width = 14;  // "inconclusive" and two spaces
  const std::string word(base::enum_name(verdict));
  const std::string lead = base::pad_right("  " + word, verdict_width + 2);
  std::string lines = base::wrapped(safe(claim), width_, lead);
  lines.replace(2, word.size(), base::painted(word, paint_of(verdict), terminal_.colour));
  text_ += lines;
  if (!sentence.empty()) paragraph(sentence, std::string(verdict_width + 2, ' '));
}

void Renderer::expectations() {
  if (report_.expectations.empty()) return;
  heading("Expectations");
  for (const auto& one : report_.expectations) judged(one.verdict, one.text, one.sentence);
}

void Renderer::checks() {
  if (report_.checks.empty()) return;
  heading("Checks");
  for (const auto& check : report_.checks) {
    std::string claim = fmt::format("{} of {}", check.name, check.arm);
    if (check.workload) claim += fmt::format(" ({})", *check.workload);
    judged(check.verdict, claim, check.sentence);
  }
}

void Renderer::errors() {
  if (report_.errors.empty()) return;
  heading("Errors");
  for (const auto& error : report_.errors) {
    paragraph(error.message, "  ");
    if (!error.mend.empty()) paragraph(error.mend, "    ");
  }
}

void Renderer::closing(const std::string& written_to) {
  const auto& conclusion = report_.conclusion;
  std::string word = "no verdict";
  auto paint = Paint::yellow;
  if (conclusion.verdict) {
    word = base::enum_name(*conclusion.verdict);
    paint = paint_of(*conclusion.verdict);
  } else if (conclusion.exit_code == 0) {
    paint = Paint::plain;
  }
  // Wrapped without its colours, which have no width, and painted afterwards.
  std::string line = base::wrapped(
      safe(fmt::format("{}: {} (exit code {})", word, conclusion.sentence, conclusion.exit_code)),
      width_);
  line.replace(0, word.size(), base::painted(word, paint, terminal_.colour));
  text_ += "\n" + line;
  if (written_to.empty()) return;
  std::string file = "Report: " + written_to;
  if (!report_.series.empty()) file += fmt::format(", with every invocation in {}.d/", written_to);
  text_ += safe(file) + "\n";
}

}  // namespace

std::string render_terminal(const Report& report, const base::Terminal& terminal,
                            const std::string& written_to) {
  Renderer renderer(report, terminal);
  renderer.header();
  renderer.tables();
  renderer.growth();
  renderer.bgp_scale();
  renderer.policy();
  renderer.bgp_faults();
  renderer.mesh();
  renderer.plaintext_windows();
  renderer.rotation();
  renderer.skipped();
  renderer.run_notes();
  renderer.expectations();
  renderer.checks();
  renderer.errors();
  renderer.closing(written_to);
  return renderer.take();
}

}  // namespace reports
