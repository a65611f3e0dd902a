#include "stackbench/verify/probing.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "stackbench/verify/live_world.h"

namespace stackbench {
namespace {

using base::ErrorKind;
using base::Json;
using base::Result;

std::size_t packets_of(const ProbeCell& cell) {
  return cell.target.protocol == base::Protocol::UDP ? bench::udp_attempts : 1;
}

std::string name_of(const ProbePod& pod) {
  switch (pod.role) {
    case ProbeRole::workload:
      return pod.workload;
    case ProbeRole::elsewhere:
      return fmt::format("another namespace, on node {}", pod.node);
    case ProbeRole::outside:
      return "outside of the cluster";
    case ProbeRole::dns:
      break;
  }
  return fmt::format("DNS {}/{}", pod.in_namespace, pod.name);
}

}  // namespace

std::size_t packets_of(const std::vector<ProbeCell>& cells) {
  std::size_t packets = 0;
  for (const auto& cell : cells) packets += packets_of(cell);
  return packets;
}

bool sweeps_again(bool agree, const std::vector<JudgedCell>& judged, base::Duration since,
                  const ProbingOptions& options) {
  if (!agree) return since < options.settle_within;
  const bool as_said = std::ranges::all_of(judged, [](const JudgedCell& cell) {
    return cell.verdict == CellVerdict::as_policies_say || cell.verdict == CellVerdict::unknown;
  });
  return !as_said && since < options.enforced_within;
}

Result<> Probing::serve(const ProbePod& pod, std::uint32_t server_id) {
  ASSIGN_OR_RETURN(auto streams, pods_->agent(pod));
  ASSIGN_OR_RETURN(auto client, bench::AgentClient::connect(
                                    std::move(streams.to_agent), std::move(streams.from_agent),
                                    fmt::format("agent in pod {}/{}", pod.in_namespace, pod.name),
                                    {.interrupt = options_.interrupt,
                                     .stderr_file = std::move(streams.errors),
                                     .how_it_ended = std::move(streams.how_it_ended)}));
  bench::ListenJob job{.server_id = server_id, .ports = {}};
  for (const auto& port : pod.ports) {
    job.ports.push_back({.port = port.port,
                         .protocol = port.protocol == base::kube::Protocol::UDP
                                         ? base::Protocol::UDP
                                         : base::Protocol::TCP});
  }
  RETURN_IF_ERROR(client.start_listener(job));
  clients_.push_back(std::move(client));
  return {};
}

Result<std::vector<bench::ReachOutcome>> Probing::sweep(const std::vector<ProbeCell>& cells) {
  std::vector<bench::ReachOutcome> seen(cells.size(), bench::ReachOutcome::failed);
  // In the air at a time no more than the rate lets begin within a timeout: each takes at most one.
  const double in_one = options_.rate * std::chrono::duration<double>(options_.timeout).count();
  const auto room = static_cast<std::size_t>(std::max(1.0, std::floor(in_one)));
  const auto never = base::Interrupt::never();
  const auto& interrupt = options_.interrupt == nullptr ? never : *options_.interrupt;
  auto may_begin = base::monotonic_now();
  for (std::size_t source = 0; source < clients_.size(); ++source) {
    std::vector<std::size_t> own;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      if (cells[i].source == source) own.push_back(i);
    }
    for (std::size_t at = 0; at < own.size();) {
      bench::ReachJob job{.targets = {}, .timeout = options_.timeout};
      std::size_t packets = 0;
      const auto first = at;
      while (at < own.size() && (packets == 0 || packets + packets_of(cells[own[at]]) <= room)) {
        packets += packets_of(cells[own[at]]);
        job.targets.push_back(cells[own[at++]].target);
      }
      RETURN_IF_ERROR(interrupt.wait_until(may_begin));
      may_begin = base::monotonic_now() +
                  std::chrono::duration_cast<base::Duration>(
                      std::chrono::duration<double>(static_cast<double>(packets) / options_.rate));
      ASSIGN_OR_RETURN(const auto result, clients_[source].reach(job));
      for (std::size_t i = 0; i < std::min(result.cells.size(), at - first); ++i) {
        seen[own[first + i]] = result.cells[i].outcome;
      }
    }
  }
  return seen;
}

// A server in a pod that runs, and its place in the world.
Result<> Probing::add_end(const ProbePod& pod, checks::PolicyWorld& world, const Json& object) {
  const auto server_id = static_cast<std::uint32_t>(ends_.size() + 1);
  RETURN_IF_ERROR(serve(pod, server_id));
  ProbeEnd end{.name = name_of(pod), .role = pod.role, .server_id = server_id, .ports = pod.ports};
  auto made = policy_pod(object);
  if (pod.role == ProbeRole::outside) {
    end.addresses = std::move(made.addresses);
  } else if (const auto there = checks::find_pod(world, pod.in_namespace, pod.name)) {
    end.pod = *there;
  } else {
    end.pod = world.pods.size();
    world.pods.push_back(std::move(made));
  }
  ends_.push_back(std::move(end));
  return {};
}

Result<> Probing::make_ends(const ProbePlan& plan, checks::PolicyWorld& world,
                            std::vector<Unprobed>& unprobed) {
  const auto refuse = [&](const ProbePod& pod, const base::Error& error) -> Result<> {
    if (error.kind == ErrorKind::interrupted || pod.role != ProbeRole::workload) {
      return std::unexpected(error);
    }
    unprobed.push_back({.workload = pod.workload, .reason = error.message});
    return {};
  };
  // All at once, then one after another: they start side by side.
  std::vector<const ProbePod*> made;
  for (const auto* pods : {&plan.elsewhere, &plan.beside, &plan.of_workloads}) {
    for (const auto& pod : *pods) {
      if (const auto created = pods_->create(pod)) {
        made.push_back(&pod);
      } else {
        RETURN_IF_ERROR(refuse(pod, created.error()));
      }
    }
  }
  std::vector<const ProbePod*> serving;  // beside ends_
  for (const auto* pod : made) {
    if (const auto object = pods_->await(*pod)) {
      RETURN_IF_ERROR(add_end(*pod, world, *object));
      serving.push_back(pod);
    } else {
      RETURN_IF_ERROR(refuse(*pod, object.error()));
    }
  }
  for (std::size_t i = 0; i < serving.size(); ++i) {
    ASSIGN_OR_RETURN(ends_[i].has_network, pods_->has_network(*serving[i]));
  }
  return {};
}

Result<ProbingResult> Probing::run(const ProbePlan& plan, checks::PolicyWorld world,
                                   const std::vector<ProbeOutside>& outside) {
  ProbingResult result;
  ASSIGN_OR_RETURN(world.namespaces[plan.our_namespace], pods_->prepare());
  RETURN_IF_ERROR(make_ends(plan, world, result.unprobed));
  const auto cells = probe_cells(world, ends_, outside);
  const auto begun = base::monotonic_now();
  std::vector<bench::ReachOutcome> before;
  for (bool again = true; again;) {
    ASSIGN_OR_RETURN(auto seen, sweep(cells));
    result.settled = ++result.sweeps > 1 && seen == before;
    result.cells = judge(world, ends_, cells, seen);
    again = result.sweeps < 2 ||
            sweeps_again(result.settled, result.cells, base::monotonic_now() - begun, options_);
    before = std::move(seen);
  }
  return result;
}

Result<> Probing::remove() {
  clients_.clear();
  return pods_->remove();
}

}  // namespace stackbench
