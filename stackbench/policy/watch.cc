#include "stackbench/policy/watch.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace stackbench {
namespace {

std::uint32_t id_of(std::size_t flow) { return static_cast<std::uint32_t>(flow) + 1; }

}  // namespace

checks::FlowStamps SeenFlow::stamps(std::int64_t before_ns) const {
  const auto last_sent = std::ranges::partition_point(
      sent, [&](const bench::SentProbe& probe) { return probe.before_ns < before_ns; });
  const auto last_received = std::ranges::partition_point(
      received, [&](const bench::ReceivedProbe& probe) { return probe.received_ns < before_ns; });
  return {.sent = {sent.begin(), last_sent},
          .received = {received.begin(), last_received},
          .packet_bytes = packet_bytes,
          .all_received = all_received};
}

base::Result<FlowWatch> FlowWatch::start(Session& session, std::size_t environment,
                                         const PolicyGrid& grid, base::AddressFamily family,
                                         std::span<const ChosenFlow> flows) {
  FlowWatch watch;
  watch.flows_ = flows.size();
  std::map<std::size_t, std::vector<std::size_t>> by_receiver;
  // By pod, or where the node sends by the pod on it.
  std::map<std::pair<bool, std::size_t>, std::vector<std::size_t>> by_sender;
  for (std::size_t i = 0; i < flows.size(); ++i) {
    const auto& flow = flows[i];
    by_receiver[flow.cell.to].push_back(i);
    by_sender[{flow.from_node, flow.from_node ? flow.cell.to : flow.cell.from}].push_back(i);
  }
  for (const auto& [pod, its] : by_receiver) {
    Running running{.flows = its};
    ASSIGN_OR_RETURN(running.agent, session.agent(environment, grid.pods[pod].name));
    ASSIGN_OR_RETURN(running.clock, session.clock_of(*running.agent));
    bench::FlowReceiveJob job;
    for (const auto i : its) {
      const auto& port = grid.ports[flows[i].cell.port].spec;
      job.flows.push_back({.id = id_of(i), .port = port.port, .protocol = port.protocol});
    }
    ASSIGN_OR_RETURN(running.id, running.agent->send_flow_receiver(job));
    running.stop = {*running.agent, running.id};
    watch.receivers_.push_back(std::move(running));
  }
  for (const auto& one : watch.receivers_) RETURN_IF_ERROR(one.agent->await_flow_receiver(one.id));
  for (const auto& [who, its] : by_sender) {
    Running running{.flows = its};
    const auto& pod = grid.pods[who.second].name;
    if (who.first) {
      ASSIGN_OR_RETURN(running.agent, session.observer(environment, pod));
    } else {
      ASSIGN_OR_RETURN(running.agent, session.agent(environment, pod));
    }
    ASSIGN_OR_RETURN(running.clock, session.clock_of(*running.agent));
    bench::FlowSendJob job{.flows = {}, .rate = watch_rate};
    for (const auto i : its) {
      const auto& port = grid.ports[flows[i].cell.port].spec;
      job.flows.push_back({.id = id_of(i),
                           .to = {grid.pods[flows[i].cell.to].address(family), port.port},
                           .protocol = port.protocol});
    }
    ASSIGN_OR_RETURN(running.id, running.agent->send_flow_sender(job));
    running.stop = {*running.agent, running.id};
    watch.senders_.push_back(std::move(running));
  }
  for (const auto& one : watch.senders_) RETURN_IF_ERROR(one.agent->await_flow_sender(one.id));
  return watch;
}

base::Result<std::vector<SeenFlow>> FlowWatch::stop() {
  std::vector<SeenFlow> seen(flows_);
  for (auto& one : senders_) RETURN_IF_ERROR(one.stop.now());
  for (const auto& one : senders_) {
    ASSIGN_OR_RETURN(auto result, one.agent->await_flow_sender_result(one.id));
    result = bench::on_our_clock(std::move(result), one.clock.offset);
    for (std::size_t i = 0; i < one.flows.size() && i < result.flows.size(); ++i) {
      auto& flow = seen[one.flows[i]];
      flow.sent = std::move(result.flows[i].probes.list);
      flow.packet_bytes = result.flows[i].packet_bytes;
      flow.clock_uncertainty = one.clock.uncertainty;
      flow.from_ns = result.began_ns;
      flow.until_ns = result.ended_ns;
    }
  }
  for (auto& one : receivers_) RETURN_IF_ERROR(one.stop.now());
  for (const auto& one : receivers_) {
    ASSIGN_OR_RETURN(auto result, one.agent->await_flow_receiver_result(one.id));
    result = bench::on_our_clock(std::move(result), one.clock.offset);
    for (std::size_t i = 0; i < one.flows.size() && i < result.flows.size(); ++i) {
      auto& flow = seen[one.flows[i]];
      flow.received = std::move(result.flows[i].probes.list);
      flow.all_received = result.kernel_dropped == 0 && result.flows[i].dropped == 0;
      flow.clock_uncertainty += one.clock.uncertainty + base::Duration(result.clock_error_ns);
      flow.from_ns = std::max(flow.from_ns, result.began_ns);
      flow.until_ns = std::min(flow.until_ns, result.ended_ns);
    }
  }
  return seen;
}

base::Result<FlowHold> FlowHold::start(Session& session, std::size_t environment,
                                       const PolicyGrid& grid, base::AddressFamily family,
                                       std::vector<HeldFlow> flows) {
  FlowHold hold;
  hold.flows_ = std::move(flows);
  std::map<std::size_t, std::vector<std::size_t>> by_sender;
  for (std::size_t i = 0; i < hold.flows_.size(); ++i) {
    by_sender[hold.flows_[i].cell.from].push_back(i);
  }
  for (const auto& [pod, its] : by_sender) {
    Running running{.flows = its};
    ASSIGN_OR_RETURN(running.agent, session.agent(environment, grid.pods[pod].name));
    ASSIGN_OR_RETURN(running.clock, session.clock_of(*running.agent));
    bench::HoldJob job;
    for (const auto i : its) {
      const auto& cell = hold.flows_[i].cell;
      job.connections.push_back(
          {hold.flows_[i].kind,
           {grid.pods[cell.to].address(family), grid.ports[cell.port].spec.port}});
    }
    ASSIGN_OR_RETURN(running.id, running.agent->send_hold(job));
    running.stop = {*running.agent, running.id};
    hold.running_.push_back(std::move(running));
  }
  for (const auto& one : hold.running_) RETURN_IF_ERROR(one.agent->await_hold(one.id));
  return hold;
}

base::Result<std::vector<bench::HeldConnection>> FlowHold::stop() {
  std::vector<bench::HeldConnection> ends(flows_.size());
  for (auto& one : running_) RETURN_IF_ERROR(one.stop.now());
  for (const auto& one : running_) {
    ASSIGN_OR_RETURN(auto result, one.agent->await_hold_result(one.id));
    result = bench::on_our_clock(std::move(result), one.clock.offset);
    for (std::size_t i = 0; i < one.flows.size() && i < result.connections.size(); ++i) {
      ends[one.flows[i]] = std::move(result.connections[i]);
    }
  }
  return ends;
}

}  // namespace stackbench
