// BGP in Prometheus: what was lost by each fault, and how it scales.
#include "reports/exposition.h"

namespace reports {
namespace {

void add_bgp_faults(Exposition& out, const Report& report) {
  for (const auto& fault : report.bgp_faults) {
    const auto range = [&](const std::string& name, const std::string& help,
                           const std::optional<Range>& its, double unit) {
      if (!its) return;
      for (const auto& [bound, value] :
           {std::pair("least", its->least), std::pair("middle", its->middle),
            std::pair("most", its->most)}) {
        out.gauge(name, help,
                  {{"fault", fault.kind}, {"node", std::to_string(fault.node)}, {"bound", bound}},
                  static_cast<double>(value) * unit);
      }
    };
    range("bgp_fault_downtime_seconds",
          "From a session's end until it was established again; absent where it never was.",
          downtime_of(fault), ns);
    range("bgp_fault_stale_route_seconds",
          "From the fault until the router's kernel used the node's route no longer.",
          stale_of(fault), ns);
    range("bgp_fault_loss_seconds", "For how long packets were lost.", loss_of(fault), ns);
    range("bgp_fault_lost_packets", "Packets that nobody answered.", lost_of(fault), 1);
  }
}

void add_bgp_scale(Exposition& out, const std::vector<BgpScalePoint>& points) {
  for (const auto& point : points) {
    const Labels labels{{"services", std::to_string(point.services)},
                        {"change", point.announced ? "announced" : "withdrawn"}};
    const auto with = [&labels](const std::string& key, const std::string& value) {
      auto more = labels;
      more.emplace_back(key, value);
      return more;
    };
    for (const auto& [event, time] : {std::pair("first_update", point.first_update_ns),
                                      std::pair("last_update", point.all_updates_ns),
                                      std::pair("last_update_to_sink", point.sink_updates_ns),
                                      std::pair("last_told", point.all_told_ns),
                                      std::pair("last_route", point.all_routes_ns)}) {
      if (!time) continue;
      out.gauge("bgp_scale_seconds",
                "From the write that announces, or withdraws, all addresses to an event; middle of "
                "the rounds.",
                with("event", event), static_cast<double>(*time) * ns);
    }
    for (const auto& [span, latency] :
         {std::pair("write_to_update", point.update), std::pair("update_to_told", point.told),
          std::pair("update_to_route", point.route), std::pair("write_to_route", point.reached)}) {
      if (!latency) continue;
      for (const auto& [percentile, time] :
           {std::pair("50", std::optional(latency->p50_ns)), std::pair("99", latency->p99_ns),
            std::pair("100", std::optional(latency->max_ns))}) {
        if (!time) continue;
        auto more = with("span", span);
        more.emplace_back("percentile", percentile);
        out.gauge("bgp_scale_prefix_seconds", "Of each prefix.", more,
                  static_cast<double>(*time) * ns);
      }
    }
    for (const auto& [who, cost] :
         {std::pair("peer", point.peer), std::pair("speakers", point.speakers),
          std::pair("ours", point.ours)}) {
      out.gauge("bgp_scale_cpu_seconds", "CPU time of a burst, middle of the rounds.",
                with("process", who), static_cast<double>(cost.cpu_ns) * ns);
      out.gauge("bgp_scale_memory_bytes", "Proportional set size after it.", with("process", who),
                static_cast<double>(cost.memory_bytes));
    }
  }
}

}  // namespace

void expose_bgp(Exposition& out, const Report& report) {
  add_bgp_scale(out, report.bgp_scale);
  add_bgp_faults(out, report);
}

}  // namespace reports
