// The agent that ships, observing its own traffic on the loopback of a network namespace of its
// own.
#include <cstring>

#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/agent/testing/agent_process.h"
#include "bench/agent/testing/listening_agent.h"

namespace bench::testing {
namespace {

const std::string executable = AGENT;

// For before_exec: a network namespace that holds nothing but a loopback that is up.
base::Result<> enter_own_network() {
  if (::unshare(CLONE_NEWNET) < 0) return base::system_error(errno, "unshare");
  const base::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) < 0) return base::system_error(errno, "lo");
  return {};
}

TEST(AgentObserver, CountsWhatPassesTheInterfaceUntilItIsStopped) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: network namespaces and eBPF";
  auto process = base::Process::spawn({.argv = {executable},
                                       .in = base::Stdio::pipe(),
                                       .out = base::Stdio::pipe(),
                                       .before_exec = enter_own_network});
  ASSERT_TRUE(process) << process.error().message;
  auto agent =
      AgentClient::connect(std::move(process->in), std::move(process->out), "agent observer");
  ASSERT_TRUE(agent) << agent.error().message;

  const auto server = base::Endpoint::parse("127.0.0.1:7001").value();
  const auto other = base::Endpoint::parse("127.0.0.1:7002").value();
  const auto running = agent->start_server({.listen = {server}});
  ASSERT_TRUE(running) << running.error().message;
  const auto observer = agent->start_observer(
      {.interface = "lo", .service = {server}, .backends = {other}, .protocol = {}});
  ASSERT_TRUE(observer) << observer.error().message;
  const auto result =
      agent->run({.workload = {.duration = std::chrono::milliseconds(20)}, .servers = {server}});
  ASSERT_TRUE(result) << result.error().message;
  const auto counts = agent->stop_observer(observer->id);
  ASSERT_TRUE(counts) << counts.error().message;
  EXPECT_GE(counts->to_service, result->requests);
  EXPECT_EQ(counts->to_backend, 0U);
  EXPECT_EQ(counts->service_source_ports.size(), result->connections_opened);

  const auto nowhere = agent->start_observer(
      {.interface = "eth7", .service = {server}, .backends = {other}, .protocol = {}});
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().kind, base::ErrorKind::input) << nowhere.error().message;
}

TEST(AgentWithAPlan, SendsAndSeesItsFlowsFromTheFirstPacketOn) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: raw and packet sockets";
  const SocketFolder folder;
  AgentPlan plan{.session = "planned"};
  const JobId receiver{
      plan.add(CommandType::receive_flows, FlowReceiveJob{.flows = {{.id = 1, .port = 7001}}})};
  const JobId sender{plan.add(
      CommandType::send_flows,
      FlowSendJob{.flows = {{.id = 1, .to = base::Endpoint::parse("127.0.0.1:7001").value()}}})};
  const auto process = base::Process::spawn(
      {.argv = {executable, "listen", "--socket", folder.socket(), "--plan", to_text(plan)},
       .before_exec = enter_own_network});
  ASSERT_TRUE(process) << process.error().message;
  Wires wires(folder.socket());
  auto agent = connect_by(wires, {.plan = plan});
  ASSERT_TRUE(agent) << agent.error().message;
  const auto receives = agent->await_flow_receiver(receiver);
  ASSERT_TRUE(receives) << receives.error().message;
  const auto sends = agent->await_flow_sender(sender);
  ASSERT_TRUE(sends) << sends.error().message;
  // Some more are sent.
  ASSERT_TRUE(agent->ping(20));
  const auto sent = agent->stop_flow_sender(sender);
  ASSERT_TRUE(sent) << sent.error().message;
  const auto received = agent->stop_flow_receiver(receiver);
  ASSERT_TRUE(received) << received.error().message;
  const auto& probes = sent->flows.at(0).probes.list;
  ASSERT_FALSE(probes.empty());
  EXPECT_EQ(probes.front().number, 0U) << "what came before its controller is there, too";
  std::size_t seen = 0;
  for (const auto& probe : probes) {
    if (probe.error_code == 0 && probe.before_ns >= received->began_ns) ++seen;
  }
  EXPECT_EQ(received->flows.at(0).received, received->flows.at(0).probes.list.size());
  EXPECT_GE(received->flows.at(0).received, seen);
}

}  // namespace
}  // namespace bench::testing
