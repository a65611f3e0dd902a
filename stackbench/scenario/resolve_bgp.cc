// What a scenario's `bgp:` must be.
#include "stackbench/scenario/resolve.h"

namespace stackbench {
namespace {

// A scenario asks one question: what stands beside it would be measured, or judged, by nobody.
void stands_alone(const Scenario& scenario, ReadLog& log) {
  const auto refuse_there = [&](bool there, const std::string& path) {
    if (!there || log.faulty_itself(path)) return;
    log.fault(log.key_place_of(path), path,
              "a scenario with bgp asks of BGP alone; ask this in one of its own");
  };
  refuse_there(!scenario.arms.empty(), "arms");
  refuse_there(!scenario.workloads.empty(), "workloads");
  refuse_there(!scenario.events.empty(), "events");
  refuse_there(!scenario.expect.empty(), "expect");
  const auto refuse_because = [&](bool there, const std::string& path, std::string why) {
    if (!there || log.faulty_itself(path)) return;
    log.fault(log.key_place_of(path), path, std::move(why));
  };
  refuse_because(!scenario.environments.empty(), "environments",
                 "a scenario with bgp has one environment: name its datapath in bgp.datapath");
  refuse_because(!scenario.checks.empty(), "checks",
                 "a scenario with bgp has checks of its own, always all of them; leave this out");
  refuse_because(!scenario.faults.empty(), "faults",
                 "what is broken on purpose in a scenario with bgp is bgp.fault");
}

}  // namespace

void resolve_bgp(Scenario& scenario, ReadLog& log) {
  const auto& spec = *scenario.bgp;
  stands_alone(scenario, log);
  const auto service = scenario.topology.services.find(spec.service);
  if (!log.faulty("bgp.service") && !log.faulty("topology.services")) {
    if (service == scenario.topology.services.end()) {
      refuse(log, "bgp.service",
             unknown_name("Service", spec.service, names_of(scenario.topology.services)));
    } else if (service->second.type != cluster::ServiceType::LoadBalancer) {
      refuse(log, "bgp.service",
             fmt::format("Service {} is a {}, and only a LoadBalancer's address is announced",
                         spec.service, base::enum_name(service->second.type)));
    } else if (spec.write == bgp::Write::readiness && !log.faulty("bgp.write") &&
               service->second.external_traffic_policy != base::kube::TrafficPolicy::Local) {
      refuse(log, "bgp.write",
             "under externalTrafficPolicy Cluster every node announces, whatever is ready");
    }
  }
  if (spec.datapath == cluster::DatapathKind::installed && !log.faulty("bgp.datapath")) {
    refuse(log, "bgp.datapath", "a lab has no datapath of its own; name one");
  }
  if ((spec.hold_time_s == 1 || spec.hold_time_s == 2) && !log.faulty("bgp.hold_time_s")) {
    refuse(log, "bgp.hold_time_s", "expected 0, or 3 and more (RFC 4271, 4.2)");
  }
}

}  // namespace stackbench
