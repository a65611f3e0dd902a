// A mesh in Prometheus: what it costs, rotations of certificates, windows of plaintext.
#include <algorithm>

#include "reports/exposition.h"

namespace reports {
namespace {

void add_mesh(Exposition& out, const Report& report) {
  if (!report.mesh) return;
  for (const auto& cost : report.mesh->costs) {
    const Labels labels{{"workload", cost.workload},
                        {"of", std::string(base::enum_name(cost.of))},
                        {"arm", cost.arm},
                        {"base_arm", cost.base_arm}};
    out.gauge("mesh_cost_cpu_per_request_seconds",
              "By how much more CPU a request takes with proxies, or with encryption between them.",
              labels, cost.cpu_per_request_ns * ns);
    if (!cost.interval) continue;
    for (const auto& [bound, value] :
         {std::pair("lower", cost.interval->lower), std::pair("upper", cost.interval->upper)}) {
      auto ends = labels;
      ends.emplace_back("bound", bound);
      out.gauge("mesh_cost_interval_cpu_per_request_seconds", "The ends of its interval.", ends,
                value * ns);
    }
  }
  for (const auto& proxy : report.mesh->proxies) {
    const Labels labels{{"workload", proxy.workload},
                        {"arm", proxy.arm},
                        {"pod", proxy.pod},
                        {"side", proxy.of_client ? "client" : "server"}};
    out.gauge("proxy_cpu_per_request_seconds",
              "CPU of one proxy's cgroup for one request, borrowed softirq included.", labels,
              proxy.cpu_per_request_ns * ns);
    out.gauge("proxy_cpu_per_1000_rps", "CPUs one proxy keeps busy at 1,000 requests a second.",
              labels, proxy.vcpu_per_1000_rps);
    out.gauge("proxy_memory_bytes", "Memory of one proxy.", labels,
              static_cast<double>(proxy.memory_bytes));
    out.gauge("proxy_handshakes_per_connection",
              "TLS handshakes with the other proxy for each connection of the client's.", labels,
              proxy.handshakes_per_connection);
  }
}

void add_rotation(Exposition& out, const RotationRecord& rotation) {
  for (const auto& step : rotation.steps) {
    const Labels labels{{"environment", step.environment},
                        {"number", std::to_string(step.number)},
                        {"step", step.step}};
    const auto with = [&](std::string name, std::string value) {
      auto more = labels;
      more.emplace_back(std::move(name), std::move(value));
      return more;
    };
    for (const auto& traffic : step.traffic) {
      const auto its = with("traffic", traffic.name);
      out.gauge("rotation_answered_requests", "Until the next step.", its,
                static_cast<double>(traffic.answered));
      out.gauge("rotation_longest_gap_seconds", "The longest time between two answers.", its,
                static_cast<double>(traffic.longest_gap_ns) * ns);
      for (const auto& [what, count] : traffic.failed) {
        auto more = its;
        more.emplace_back("class", what);
        out.gauge("rotation_failed_requests", "By class; absent where none failed.", more,
                  static_cast<double>(count));
      }
      if (!traffic.went_on) continue;
      out.gauge("rotation_connections_went_on",
                "Kept connections from before the step that went on to its end, at least.", its,
                static_cast<double>(*traffic.went_on));
    }
    for (const auto& renewal : step.renewals) {
      if (!renewal.shown_ns) continue;
      out.gauge("rotation_shown_seconds",
                "From the write of a new certificate until its proxy showed it; absent: never.",
                with("pod", renewal.pod), static_cast<double>(*renewal.shown_ns) * ns);
    }
  }
  for (const auto& one : rotation.expired) {
    out.gauge("certificate_expired", "1: a proxy showed this certificate when it was over.",
              {{"environment", one.environment}, {"pod", one.pod}, {"identity", one.identity}}, 1);
  }
}

void add_plaintext_windows(Exposition& out, const std::vector<PlaintextWindowRecord>& records) {
  for (const auto& record : records) {
    const Labels labels{
        {"environment", record.environment}, {"change", record.change}, {"pod", record.pod}};
    for (const auto& [what, which] : {std::pair("answered", &PlaintextRepetition::answered),
                                      std::pair("readable", &PlaintextRepetition::readable)}) {
      auto with = labels;
      with.emplace_back("plaintext", what);
      std::uint64_t times = 0;
      for (const auto& one : record.repetitions) times += (one.*which).times;
      const auto longest = longest_of(record, which);
      out.gauge("plaintext_requests",
                "That were answered though they must not be, or that the mesh's client sent and a "
                "capture could read, in all repetitions.",
                with, static_cast<double>(times));
      out.gauge("plaintext_window_seconds", "The longest time of that in a repetition.", with,
                static_cast<double>(longest.length_ns) * ns);
      out.gauge("plaintext_window_error_seconds", "By which it may be off, either way.", with,
                static_cast<double>(longest.error_ns) * ns);
      out.gauge("plaintext_window_unended", "Whether it was so to the end of the watch.", with,
                longest.closed ? 0 : 1);
    }
    std::int64_t outage = 0;
    for (const auto& one : record.repetitions) outage = std::max(outage, one.outage_ns);
    out.gauge("mesh_change_outage_seconds",
              "The longest time without an answer within the mesh while it changed.", labels,
              static_cast<double>(outage) * ns);
  }
}

}  // namespace

void expose_mesh(Exposition& out, const Report& report) {
  add_mesh(out, report);
  add_plaintext_windows(out, report.plaintext_windows);
  if (report.rotation) add_rotation(out, *report.rotation);
}

}  // namespace reports
