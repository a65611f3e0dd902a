// What a scenario's `bgp.faults` must be.
#include <algorithm>

#include "stackbench/scenario/resolve.h"

namespace stackbench {
namespace {

// What its own kind needs of the scenario.
void check_bgp_fault(const Scenario& scenario, const bgp::FaultSpec& fault, const std::string& path,
                     ReadLog& log) {
  if (log.faulty(path)) return;
  const auto& spec = *scenario.bgp;
  const auto say = [&](const std::string& where, std::string why) {
    refuse(log, where, std::move(why));
  };
  const auto kind = path + ".kind";
  const auto name = base::enum_name(fault.kind);
  if (fault.node > scenario.topology.nodes && !log.faulty("topology")) {
    say(path + ".node", fmt::format("there is no node {}: the topology has {}", fault.node,
                                    scenario.topology.nodes));
  }
  if (fault.restart_time_s && !bgp::is_graceful(fault.kind)) {
    say(path + ".restart_time_s",
        fmt::format("{} is without graceful restart; leave this out", name));
  }
  if (bgp::is_graceful(fault.kind) && !fault.restart_time_s && !spec.restart_time_s) {
    say(kind, fmt::format("{} needs a restart time: its own or bgp.restart_time_s", name));
  }
  const bool waits_for_hold_timer = fault.kind == bgp::FaultKind::speaker_silent ||
                                    fault.kind == bgp::FaultKind::node_silent ||
                                    fault.kind == bgp::FaultKind::link_down;
  if (waits_for_hold_timer && (spec.hold_time_s == 0 || spec.hold_time_s > 30)) {
    say(kind, fmt::format("{} is noticed when the hold timer expires: bgp.hold_time_s must be from "
                          "3 to 30",
                          name));
  }
  if (fault.kind == bgp::FaultKind::wrong_password && spec.password.empty()) {
    say(kind, "wrong_password needs a right one: bgp.password");
  }
  if (fault.kind == bgp::FaultKind::max_prefix_exceeded && spec.max_prefixes == 0) {
    say(kind, "max_prefix_exceeded needs a limit: bgp.max_prefixes");
  }
  const bool refused_or_of_pods = bgp::is_refused(fault.kind) || bgp::is_of_pods(fault.kind);
  if (fault.budget.downtime && refused_or_of_pods) {
    say(path + ".budget.downtime",
        fmt::format("{} has no downtime to judge; leave this out", name));
  }
}

// Whether what is planted shows in a fault of this kind.
bool shows_in(bgp::Fault planted, bgp::FaultKind kind) {
  using enum bgp::FaultKind;
  switch (planted) {
    case bgp::Fault::route_kept:
      return !bgp::is_of_pods(kind) && !bgp::is_refused(kind) && kind != speaker_restarted &&
             kind != link_down;
    case bgp::Fault::never_restarted:
      return kind == speaker_killed || kind == speaker_lost || kind == speaker_restarted ||
             kind == speaker_shutdown || kind == peer_restarted;
    case bgp::Fault::restart_forgets_routes:
      return kind == speaker_restarted;
    default:
      return true;
  }
}

void check_planted(const bgp::Spec& spec, ReadLog& log) {
  if (log.faulty("bgp.fault") || log.faulty("bgp.faults") || spec.fault == bgp::Fault::none) return;
  if (bgp::is_of_faults(spec.fault) == spec.faults.empty()) {
    refuse(log, "bgp.fault",
           fmt::format("{} is planted in a scenario {} bgp.faults", base::enum_name(spec.fault),
                       spec.faults.empty() ? "with" : "without"));
    return;
  }
  const auto shows = [&](const auto& one) { return shows_in(spec.fault, one.kind); };
  if (spec.faults.empty() || std::ranges::any_of(spec.faults, shows)) return;
  refuse(log, "bgp.fault",
         fmt::format("{} shows in none of bgp.faults", base::enum_name(spec.fault)));
}

}  // namespace

void resolve_bgp_faults(const Scenario& scenario, ReadLog& log) {
  const auto& spec = *scenario.bgp;
  check_planted(spec, log);
  for (std::size_t i = 0; i < spec.faults.size(); ++i) {
    const auto path = index_path("bgp.faults", i);
    check_bgp_fault(scenario, spec.faults[i], path, log);
    const auto is_same = [&](const bgp::FaultSpec& other) {
      return other.kind == spec.faults[i].kind && other.node == spec.faults[i].node;
    };
    const auto end = spec.faults.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::find_if(spec.faults.begin(), end, is_same) == end || log.faulty(path)) continue;
    refuse(log, path,
           fmt::format("{} of node {} is listed twice; say bgp.repetitions",
                       base::enum_name(spec.faults[i].kind), spec.faults[i].node));
  }
  if (spec.faults.empty() || scenario.topology.nodes > 1 || log.faulty("topology.nodes")) return;
  refuse(log, "bgp.faults", "needs two nodes at least, so that others' routes can be looked at");
}

}  // namespace stackbench
