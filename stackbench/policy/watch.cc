#include "stackbench/policy/watch.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace stackbench {
namespace {

// Of a sender that nobody may come to stop.
constexpr base::Duration longest_planned = std::chrono::minutes(1);

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

FlowWatch::FlowWatch(Session& session, std::size_t environment, PolicyGrid grid,
                     base::AddressFamily family, std::span<const ChosenFlow> flows,
                     const WatchedRestart& restart)
    : session_(&session),
      environment_(environment),
      grid_(std::move(grid)),
      family_(family),
      flows_(flows.begin(), flows.end()),
      restart_(restart) {}

bench::FlowReceiveJob FlowWatch::receive_job(const std::vector<std::size_t>& flows) const {
  bench::FlowReceiveJob job;
  for (const auto i : flows) {
    const auto& port = grid_.ports[flows_[i].cell.port].spec;
    job.flows.push_back({.id = id_of(i), .port = port.port, .protocol = port.protocol});
  }
  return job;
}

bench::FlowSendJob FlowWatch::send_job(const std::vector<std::size_t>& flows) const {
  bench::FlowSendJob job{.flows = {}, .rate = watch_rate};
  for (const auto i : flows) {
    const auto& flow = flows_[i];
    const auto& port = grid_.ports[flow.cell.port].spec;
    const auto& to =
        flow.to_old_address ? restart_.old_address : grid_.pods[flow.cell.to].address(family_);
    job.flows.push_back({.id = id_of(i), .to = {to, port.port}, .protocol = port.protocol});
  }
  return job;
}

std::vector<std::size_t> FlowWatch::flows_of_away(bool to) const {
  std::vector<std::size_t> its;
  for (std::size_t i = 0; i < flows_.size(); ++i) {
    const auto& flow = flows_[i];
    const bool wanted =
        to ? restart_.away == flow.cell.to : !flow.from_node && restart_.away == flow.cell.from;
    if (wanted) its.push_back(i);
  }
  return its;
}

void FlowWatch::make_plan() {
  const auto& pod = grid_.pods[*restart_.away];
  plan_.session = bench::made_up_name();
  // First what would miss something, last what others are to see.
  if (const auto its = flows_of_away(true); !its.empty()) {
    planned_receiver_ = {plan_.add(bench::CommandType::receive_flows, receive_job(its))};
  }
  bench::ListenJob listen{.server_id = pod.id, .ports = {}};
  for (const auto& port : grid_.ports) listen.ports.push_back({port.spec.port, port.spec.protocol});
  planned_listener_ = {plan_.add(bench::CommandType::listen, listen)};
  if (const auto its = flows_of_away(false); !its.empty()) {
    auto job = send_job(its);
    job.duration = longest_planned;
    planned_sender_ = {plan_.add(bench::CommandType::send_flows, job)};
  }
}

base::Result<bench::AgentClient*> FlowWatch::agent_of(const Sender& sender) {
  const auto& pod = grid_.pods[sender.pod].name;
  return sender.node ? session_->observer(environment_, pod) : session_->agent(environment_, pod);
}

base::Result<> FlowWatch::receive() {
  std::map<std::size_t, std::vector<std::size_t>> by_receiver;
  for (std::size_t i = 0; i < flows_.size(); ++i) {
    if (restart_.away != flows_[i].cell.to) by_receiver[flows_[i].cell.to].push_back(i);
  }
  for (auto& [pod, its] : by_receiver) {
    Running running{.flows = its};
    ASSIGN_OR_RETURN(running.agent, agent_of({.pod = pod}));
    ASSIGN_OR_RETURN(running.clock, session_->clock_of(*running.agent));
    ASSIGN_OR_RETURN(running.id, running.agent->send_flow_receiver(receive_job(its)));
    running.stop = {*running.agent, running.id};
    receivers_.push_back(std::move(running));
  }
  for (const auto& one : receivers_) RETURN_IF_ERROR(one.agent->await_flow_receiver(one.id));
  return {};
}

base::Result<> FlowWatch::send(const std::function<bool(const ChosenFlow&)>& wanted) {
  std::map<Sender, std::vector<std::size_t>> by_sender;
  for (std::size_t i = 0; i < flows_.size(); ++i) {
    const auto& flow = flows_[i];
    if (!wanted(flow)) continue;
    // Where the node sends, it is that of the pod it sends to.
    by_sender[{flow.from_node, flow.from_node ? flow.cell.to : flow.cell.from}].push_back(i);
  }
  const auto first = senders_.size();
  for (auto& [who, its] : by_sender) {
    Running running{.flows = its};
    ASSIGN_OR_RETURN(running.agent, agent_of(who));
    ASSIGN_OR_RETURN(running.clock, session_->clock_of(*running.agent));
    ASSIGN_OR_RETURN(running.id, running.agent->send_flow_sender(send_job(its)));
    running.stop = {*running.agent, running.id};
    senders_.push_back(std::move(running));
  }
  for (auto i = first; i < senders_.size(); ++i) {
    RETURN_IF_ERROR(senders_[i].agent->await_flow_sender(senders_[i].id));
  }
  return {};
}

base::Result<FlowWatch> FlowWatch::start(Session& session, std::size_t environment, PolicyGrid grid,
                                         base::AddressFamily family,
                                         std::span<const ChosenFlow> flows,
                                         const WatchedRestart& restart) {
  FlowWatch watch(session, environment, std::move(grid), family, flows, restart);
  const auto away = restart.away;
  if (away) watch.make_plan();
  // Whoever is to send to it later is there by then: an observer is found by way of the pod.
  for (const auto& flow : watch.flows_) {
    if (away == flow.cell.to && flow.from_node) {
      RETURN_IF_ERROR(watch.agent_of({.node = true, .pod = flow.cell.to}));
    }
  }
  RETURN_IF_ERROR(watch.receive());
  RETURN_IF_ERROR(watch.send([&](const ChosenFlow& flow) {
    return !away || (*away != flow.cell.to && (flow.from_node || *away != flow.cell.from));
  }));
  return watch;
}

base::Result<> FlowWatch::pod_has(const base::IpAddress& address) {
  auto& pod = grid_.pods[*restart_.away];
  (family_ == base::AddressFamily::ipv4 ? pod.ipv4 : pod.ipv6) = address;
  return send([&](const ChosenFlow& flow) { return *restart_.away == flow.cell.to; });
}

base::Result<> FlowWatch::add_planned(bench::AgentClient& agent,
                                      const std::vector<std::size_t>& flows, bench::JobId id,
                                      std::vector<Running>& to) {
  Running running{.agent = &agent, .id = id, .flows = flows};
  ASSIGN_OR_RETURN(running.clock, session_->clock_of(agent));
  running.stop = {agent, id};
  to.push_back(std::move(running));
  return {};
}

base::Result<> FlowWatch::pod_is_there(bench::AgentClient& agent) {
  RETURN_IF_ERROR(agent.await_listener(planned_listener_));
  if (const auto its = flows_of_away(true); !its.empty()) {
    RETURN_IF_ERROR(agent.await_flow_receiver(planned_receiver_));
    RETURN_IF_ERROR(add_planned(agent, its, planned_receiver_, receivers_));
  }
  if (const auto its = flows_of_away(false); !its.empty()) {
    RETURN_IF_ERROR(agent.await_flow_sender(planned_sender_));
    RETURN_IF_ERROR(add_planned(agent, its, planned_sender_, senders_));
  }
  return {};
}

base::Result<std::vector<SeenFlow>> FlowWatch::stop() {
  std::vector<SeenFlow> seen(flows_.size());
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
      flow.received_from_ns = result.began_ns;
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
