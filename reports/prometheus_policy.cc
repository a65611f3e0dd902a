// Network policies in Prometheus.
#include "reports/exposition.h"

namespace reports {
namespace {

void add_policy(Exposition& out, const PolicyRecord& policy) {
  for (const auto& matrix : policy.matrices) {
    const Labels labels{{"environment", matrix.environment}};
    for (const auto& [state, count] :
         {std::pair("allowed", matrix.allowed), std::pair("denied", matrix.denied),
          std::pair("unknown", matrix.unknown), std::pair("different", matrix.different),
          std::pair("no_telling", matrix.no_telling)}) {
      auto with_state = labels;
      with_state.emplace_back("state", state);
      out.gauge("policy_cells",
                "Pairs of pods and ports by what policies specify; different: what was seen is not "
                "that.",
                with_state, static_cast<double>(count));
    }
    out.gauge("policy_settled",
              "Whether two sweeps in a row agreed before the deadline: 0 where they never did.",
              labels, matrix.settled ? 1 : 0);
    if (matrix.settled) {
      out.gauge("policy_settled_seconds",
                "From the last policy's write until two sweeps in a row agreed; absent where they "
                "never did.",
                labels, static_cast<double>(matrix.settled_ns) * ns);
    }
    out.gauge("policy_sweep_seconds", "How long it took to probe all of them.", labels,
              static_cast<double>(matrix.sweep_ns) * ns);
  }
  for (const auto& cases : policy.cases) {
    for (const auto& [state, count] :
         {std::pair("tried", cases.systematic + cases.random), std::pair("failed", cases.failed)}) {
      out.gauge("policy_cases",
                "Sets of policies made for the purpose; failed: not enforced as specified.",
                {{"environment", cases.environment}, {"state", state}}, count);
    }
  }
  for (const auto& window : policy.windows) {
    const Labels labels{{"environment", window.environment},
                        {"change", window.change},
                        {"write", window.what},
                        {"direction", window.direction}};
    if (window.window) {
      out.gauge("policy_window_seconds",
                "From a write to the last packet that contradicts it, middle of the repetitions.",
                labels, window.window->median_ns * ns);
      if (window.window->interval) {
        out.bounds("interval_policy_window_seconds", "The ends of its interval.", labels,
                   *window.window->interval, ns);
      }
      out.gauge("policy_window_max_seconds",
                "The longest of them; at least that where policy_window_unended is not 0.", labels,
                window.window->max_ns * ns);
      out.gauge("policy_window_unended",
                "Repetitions in which packets contradicted the write to the end of the watch.",
                labels, window.unended);
    }
    for (const auto& [state, count] :
         {std::pair("judged", window.repetitions), std::pair("excluded", window.excluded)}) {
      auto with_state = labels;
      with_state.emplace_back("state", state);
      out.gauge("policy_window_repetitions",
                "By whether they count; excluded: no telling when the last such packet was.",
                with_state, count);
    }
    out.gauge("policy_window_error_seconds", "The most by which an end may be off.", labels,
              static_cast<double>(window.error_ns) * ns);
    out.gauge("policy_contradicting_packets", "In all repetitions.", labels,
              static_cast<double>(window.packets));
  }
  for (const auto& pod : policy.new_pods) {
    const Labels labels{{"environment", pod.environment}, {"pod", pod.pod}};
    out.gauge("policy_new_pod_forbidden_packets",
              "That arrived from or at a pod while it was new, in all repetitions.", labels,
              static_cast<double>(pod.packets));
    for (const auto& [state, count] :
         {std::pair("made", pod.repetitions), std::pair("unseen", pod.unseen),
          std::pair("elsewhere", pod.elsewhere)}) {
      auto with_state = labels;
      with_state.emplace_back("state", state);
      out.gauge("policy_new_pod_repetitions",
                "How often it was made; unseen: times when nothing shows that a forbidden packet "
                "would have been seen; elsewhere: it had another address than was knocked at.",
                with_state, count);
    }
    if (pod.reached_ns) {
      out.gauge("policy_new_pod_reached_seconds",
                "From the write that makes a pod to the first packet to it that is allowed, middle "
                "of the repetitions.",
                labels, *pod.reached_ns * ns);
    }
  }
  for (const auto& flows : policy.established) {
    for (const auto& [end, count] : flows.ends) {
      out.gauge("policy_established_flows",
                "Flows that were open when a write forbade them, by what became of them.",
                {{"environment", flows.environment},
                 {"change", flows.change},
                 {"write", flows.what},
                 {"kind", flows.kind},
                 {"end", end}},
                count);
    }
  }
}

}  // namespace

void expose_policy(Exposition& out, const Report& report) {
  if (report.policy) add_policy(out, *report.policy);
}

}  // namespace reports
