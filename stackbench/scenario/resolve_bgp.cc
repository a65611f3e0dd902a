// What a scenario's `bgp:` must be.
#include <algorithm>

#include "stackbench/scenario/bgp_pool.h"
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
  // Told by their values: a report's copy of a scenario has all of them, defaults included.
  const Scenario defaults;
  refuse_because(scenario.blocks != defaults.blocks, "blocks",
                 "a scenario with bgp has no blocks: how often it measures is bgp.rounds");
  refuse_because(scenario.stale_budget != defaults.stale_budget, "stale_budget",
                 "a scenario with bgp has no check stale_backend: its times are granted by "
                 "bgp.budget");
  refuse_because(scenario.seed != defaults.seed && !scenario.bgp->flows, "seed",
                 "nothing in this scenario is random: only bgp.flows draws their ports");
}

bool is_about_flows(bgp::Fault fault) {
  return fault == bgp::Fault::next_hops_unequal || fault == bgp::Fault::next_hop_missing ||
         fault == bgp::Fault::ports_not_hashed || fault == bgp::Fault::next_hops_rebuilt;
}

// Where the question is of many Services, or of flows, what only the other questions have is read
// by nobody.
void asks_one_thing(const bgp::Spec& spec, ReadLog& log) {
  if (spec.scale && spec.flows && !log.faulty("bgp.flows")) {
    refuse(log, "bgp.flows", "bgp.scale asks another question; ask this in a scenario of its own");
  }
  const std::string asks = spec.scale ? "bgp.scale" : spec.flows ? "bgp.flows" : "";
  const auto refuse_unused = [&](bool set, const std::string& path) {
    if (asks.empty() || !set || log.faulty(path)) return;
    log.fault(log.key_place_of(path), path,
              fmt::format("{} has no use for it: it is of one address's times", asks));
  };
  const bgp::Budget budget;
  refuse_unused(spec.budget.announce != budget.announce ||
                    spec.budget.withdraw != budget.withdraw || spec.budget.early != budget.early,
                "bgp.budget");
  refuse_unused(spec.write != bgp::Write::service, "bgp.write");
  refuse_unused(!spec.faults.empty(), "bgp.faults");
  if (log.faulty("bgp.fault") || spec.fault == bgp::Fault::none) return;
  const bool of_flows = is_about_flows(spec.fault);
  const bool of_scale = spec.fault == bgp::Fault::peer_slowed;
  if (of_flows != spec.flows.has_value() || of_scale != spec.scale.has_value()) {
    refuse(log, "bgp.fault",
           fmt::format("{} is a fault of {}", base::enum_name(spec.fault),
                       of_flows   ? "bgp.flows"
                       : of_scale ? "bgp.scale"
                                  : "one address's times, without bgp.scale and bgp.flows"));
  }
}

void check_flows(const Scenario& scenario, ReadLog& log) {
  const auto& spec = *scenario.bgp;
  const auto service = scenario.topology.services.find(spec.service);
  if (!spec.flows || log.faulty("bgp.flows") || service == scenario.topology.services.end()) return;
  if (service->second.external_traffic_policy != base::kube::TrafficPolicy::Cluster) {
    refuse(
        log, "bgp.flows",
        "under externalTrafficPolicy Local only nodes with a pod announce; flows are spread over "
        "all nodes under Cluster");
  } else if (scenario.topology.nodes < 3 && !log.faulty("topology.nodes")) {
    refuse(log, "bgp.flows",
           "expected topology.nodes to be 3 or more: of two, one that leaves "
           "takes with it whatever there was to move");
  }
}

void resolve_next_hops(bgp::Spec& spec, ReadLog& log) {
  if (log.faulty("bgp.next_hops")) return;
  if (spec.next_hops.empty()) spec.next_hops = {bgp_peer::NextHopKind::hash_threshold};
  auto kinds = spec.next_hops;
  std::ranges::sort(kinds);
  if (std::ranges::adjacent_find(kinds) != kinds.end()) {
    refuse(log, "bgp.next_hops",
           fmt::format("{} is listed twice", base::enum_name(*std::ranges::adjacent_find(kinds))));
  } else if (kinds.size() > 1 && !spec.flows) {
    refuse(log, "bgp.next_hops", "only bgp.flows asks of several kinds; name one");
  }
}

void check_scale(const Scenario& scenario, ReadLog& log) {
  const auto& scale = scenario.bgp->scale;
  if (!scale || log.faulty_itself("bgp.scale") || log.faulty("bgp.scale.services")) return;
  if (scale->services.empty()) {
    refuse(log, "bgp.scale.services", "expected how many, such as [10, 1000]");
    return;
  }
  for (std::size_t i = 0; i < scale->services.size(); ++i) {
    if (scale->services[i] >= 1 && scale->services[i] <= bgp::most_scale_services) continue;
    refuse(log, index_path("bgp.scale.services", i),
           fmt::format("expected 1 to {}, got {}", bgp::most_scale_services, scale->services[i]));
    return;
  }
  if (log.faulty("bgp.scale.pool")) return;
  const auto lab = bgp::lab_pool(scenario.family);
  const auto pool = scale->pool.value_or(lab);
  if (!lab.covers(pool)) {
    refuse(log, "bgp.scale.pool",
           fmt::format("expected a part of {}, which the lab's routers lead to nodes, got {}",
                       lab.to_string(), pool.to_string()));
    return;
  }
  const auto most = *std::ranges::max_element(scale->services);
  const auto room = bgp::addresses_in(pool, scenario.topology);
  if (room < most) {
    refuse(
        log, scale->pool ? "bgp.scale.pool" : "bgp.scale.services",
        fmt::format("the pool {} has {} addresses to give, and {} Services need one each: it must "
                    "be larger",
                    pool.to_string(), room, most));
  }
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
  asks_one_thing(spec, log);
  check_flows(scenario, log);
  resolve_next_hops(*scenario.bgp, log);
  check_scale(scenario, log);
  resolve_bgp_faults(scenario, log);
}

}  // namespace stackbench
