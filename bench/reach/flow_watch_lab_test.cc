// The flow watch of agents that ship, across a rule that is switched on at a known instant.
#include <algorithm>
#include <map>

#include <gtest/gtest.h>
#include <signal.h>

#include "bench/reach/testing/lab_network.h"

namespace bench::testing {
namespace {

using base::Protocol;
using std::chrono::milliseconds;

constexpr std::uint16_t watched_port = 7101;  // nobody listens
constexpr std::uint16_t served_port = 7102;   // with its replies dropped
constexpr std::uint16_t open_port = 7103;     // with nothing in the way

class FlowWatchLab : public InLabNetwork {
 protected:
  static FlowReceiveJob receiver_of(const FlowSendJob& job) {
    FlowReceiveJob receive{.interface = "pod0"};
    for (const auto& flow : job.flows) {
      receive.flows.push_back({.id = flow.id, .port = flow.to.port, .protocol = flow.protocol});
    }
    return receive;
  }
  static FlowSendJob four_flows(std::uint16_t port) {
    FlowSendJob job{.duration = std::chrono::seconds(20)};
    std::uint32_t id = 0x5eed0000;
    for (const auto protocol : {Protocol::TCP, Protocol::UDP}) {
      for (const bool v6 : {false, true}) {
        job.flows.push_back({.id = id++, .to = at(port, v6), .protocol = protocol});
      }
    }
    return job;
  }
};

// By number; each at most once.
std::map<std::uint32_t, std::int64_t> arrivals(const ReceivedFlow& flow) {
  std::map<std::uint32_t, std::int64_t> all;
  for (const auto& probe : flow.probes.list) {
    EXPECT_TRUE(all.emplace(probe.number, probe.received_ns).second) << "twice: " << probe.number;
  }
  return all;
}

TEST_F(FlowWatchLab, FindsTheInstantOfARuleByTheReceiversStamps) {
  FlowSendJob job = four_flows(watched_port);
  // Replies never come back from these, and that must not matter.
  for (auto flow : four_flows(served_port).flows) {
    flow.id += 100;
    job.flows.push_back(flow);
  }
  const auto listener = network().server().start_listener(
      {.server_id = 1, .ports = {{served_port, Protocol::TCP}, {served_port, Protocol::UDP}}});
  ASSERT_TRUE(listener) << listener.error().message;
  const std::string no_replies = "meta l4proto { tcp, udp } th sport 7102 drop\n";
  ASSERT_TRUE(network().forward(no_replies));

  const auto receiving = network().server().start_flow_receiver(receiver_of(job));
  ASSERT_TRUE(receiving) << receiving.error().message;
  const auto sending = network().client().start_flow_sender(job);
  ASSERT_TRUE(sending) << sending.error().message;
  let_pass(milliseconds(150));
  const auto before = base::monotonic_now();
  ASSERT_TRUE(network().forward(no_replies + "meta l4proto { tcp, udp } th dport 7101-7102 drop"));
  const auto closed = base::monotonic_now();
  let_pass(milliseconds(60));
  const auto opening = base::monotonic_now();
  ASSERT_TRUE(network().forward(no_replies));
  const auto open = base::monotonic_now();
  let_pass(milliseconds(60));
  const auto sent = network().client().stop_flow_sender(sending->id);
  ASSERT_TRUE(sent) << sent.error().message;
  const auto received = network().server().stop_flow_receiver(receiving->id);
  ASSERT_TRUE(received) << received.error().message;
  ASSERT_TRUE(network().server().stop_listener(listener->id));

  EXPECT_EQ(received->kernel_dropped, 0U);
  EXPECT_LT(received->clock_error_ns, 1'000'000);
  ASSERT_EQ(sent->flows.size(), job.flows.size());
  ASSERT_EQ(received->flows.size(), job.flows.size());
  std::vector<std::int64_t> on_the_way;
  std::int64_t longest_gap = 0;
  std::uint64_t skipped = 0;
  for (std::size_t i = 0; i < job.flows.size(); ++i) {
    const auto& flow = sent->flows[i];
    SCOPED_TRACE(fmt::format("{} {}", base::enum_name(job.flows[i].protocol), job.flows[i].to));
    EXPECT_EQ(flow.id, job.flows[i].id);
    EXPECT_EQ(flow.not_sent, 0U);
    EXPECT_EQ(flow.dropped, 0U);
    EXPECT_EQ(flow.sent, flow.probes.list.size());
    EXPECT_EQ(flow.sent + flow.skipped, flow.probes.list.back().number + 1);
    const auto arrived = arrivals(received->flows[i]);
    std::int64_t last_before = 0;
    std::int64_t first_after = 0;
    std::int64_t gap = 0;  // the bracket of the edge: the longest distance of probes around it
    const SentProbe* previous = nullptr;
    for (const auto& probe : flow.probes.list) {
      const auto found = arrived.find(probe.number);
      const bool came = found != arrived.end();
      if (came) {
        EXPECT_GE(found->second, probe.before_ns - received->clock_error_ns);
        on_the_way.push_back(found->second - probe.before_ns);
        if (probe.before_ns < opening.ns) last_before = std::max(last_before, found->second);
        if (probe.before_ns >= closed.ns && first_after == 0) first_after = found->second;
      }
      if (probe.after_ns < before.ns - 1'000'000) EXPECT_TRUE(came) << probe.number;
      if (probe.before_ns > closed.ns && probe.after_ns < opening.ns) {
        EXPECT_FALSE(came) << probe.number;
      }
      if (probe.before_ns > open.ns) EXPECT_TRUE(came) << probe.number;
      const bool near = probe.before_ns > before.ns - 20'000'000 && probe.before_ns < closed.ns;
      const auto since = previous == nullptr ? 0 : probe.before_ns - previous->before_ns;
      if (near) gap = std::max(gap, since);
      longest_gap = std::max(longest_gap, since);
      previous = &probe;
    }
    // The rule began to hold between `before` and `closed`.
    EXPECT_GE(last_before, before.ns - 1'000'000 - gap);
    EXPECT_LE(last_before, closed.ns + 1'000'000);
    EXPECT_GE(first_after, opening.ns - 1'000'000);
    skipped += flow.skipped;
  }
  ASSERT_FALSE(on_the_way.empty());
  std::ranges::sort(on_the_way);
  const auto middle = on_the_way[on_the_way.size() / 2];
  EXPECT_LT(middle, 1'000'000);
  const double seconds = static_cast<double>(sent->ended_ns - sent->began_ns) / 1e9;
  fmt::print(
      "{} flows at {:.0f}/s each: {} probes arrived, a median of {:.1f} us after they were sent; "
      "{} "
      "skipped, the longest gap of a flow {:.2f} ms\n",
      job.flows.size(), static_cast<double>(sent->flows[0].sent) / seconds, on_the_way.size(),
      static_cast<double>(middle) / 1e3, skipped, static_cast<double>(longest_gap) / 1e6);
}

// Of a router that notes every 5-tuple, and of the server's own sockets.
TEST_F(FlowWatchLab, SendsEachProbeOnceOnATupleOfItsOwnAndLeavesNothingOpen) {
  const auto listener = network().server().start_listener(
      {.server_id = 1, .ports = {{open_port, Protocol::TCP}, {open_port, Protocol::UDP}}});
  ASSERT_TRUE(listener) << listener.error().message;
  // A mark stands for the family: nft's sets have no type for that.
  const auto noted = network().forward(
      "meta nfproto ipv6 meta mark set 6\n"
      "meta l4proto { tcp, udp } th dport 7103 add @seen { meta mark . meta l4proto . th sport }",
      "set seen { type mark . inet_proto . inet_service; size 65535; flags dynamic; }");
  ASSERT_TRUE(noted) << noted.error().message;
  FlowSendJob job = four_flows(open_port);
  job.duration = milliseconds(100);
  const auto sending = network().client().start_flow_sender(job);
  ASSERT_TRUE(sending) << sending.error().message;
  let_pass(milliseconds(120));
  const auto sent = network().client().stop_flow_sender(sending->id);
  ASSERT_TRUE(sent) << sent.error().message;
  std::uint64_t all_sent = 0;
  for (const auto& flow : sent->flows) all_sent += flow.sent;
  const auto seen = network().seen();
  ASSERT_TRUE(seen) << seen.error().message;
  EXPECT_EQ(*seen, all_sent);
  // The sender's kernel answered each SYN-ACK with a reset: nothing is left half open.
  const auto half_open = network().half_open_at_server(open_port);
  ASSERT_TRUE(half_open) << half_open.error().message;
  EXPECT_EQ(*half_open, 0U);
  const auto counts = network().server().stop_listener(listener->id);
  ASSERT_TRUE(counts) << counts.error().message;
  EXPECT_EQ(counts->connections, 0U);
  EXPECT_EQ(counts->requests, 0U);
  EXPECT_EQ(counts->strangers, sent->flows[2].sent + sent->flows[3].sent);  // its datagrams
}

TEST_F(FlowWatchLab, CountsWhatItsReceiverLost) {
  FlowSendJob job = four_flows(watched_port);
  job.duration = milliseconds(100);
  FlowReceiveJob receive = receiver_of(job);
  receive.ring_frames = 16;
  const auto receiving = network().server().start_flow_receiver(receive);
  ASSERT_TRUE(receiving) << receiving.error().message;
  ASSERT_EQ(::kill(receiving->worker_pid, SIGSTOP), 0);
  const auto sending = network().client().start_flow_sender(job);
  ASSERT_TRUE(sending) << sending.error().message;
  // It is over by itself; what is stopped then has its result all the same.
  let_pass(milliseconds(150));
  const auto sent = network().client().stop_flow_sender(sending->id);
  ASSERT_EQ(::kill(receiving->worker_pid, SIGCONT), 0);
  ASSERT_TRUE(sent) << sent.error().message;
  const auto received = network().server().stop_flow_receiver(receiving->id);
  ASSERT_TRUE(received) << received.error().message;
  std::uint64_t all_sent = 0;
  std::uint64_t all_received = 0;
  for (const auto& flow : sent->flows) all_sent += flow.sent;
  for (const auto& flow : received->flows) all_received += flow.received;
  EXPECT_GT(all_received, 0U);
  EXPECT_GT(received->kernel_dropped, 0U);
  EXPECT_EQ(all_received + received->kernel_dropped, all_sent);
}

// As in a pod whose network is still being made: the first packets are those after the last that
// could not be sent.
TEST_F(FlowWatchLab, BeginsBeforeThereIsANetwork) {
  auto fresh = base::testing::TestNetns::make();
  ASSERT_TRUE(fresh) << fresh.error().message;
  auto agent = LabNetwork::agent_in(*fresh, "agent fresh-0");
  ASSERT_TRUE(agent) << agent.error().message;
  const FlowSendJob job = four_flows(watched_port);
  FlowReceiveJob receive = receiver_of(job);
  receive.interface = "";  // there is none yet
  const auto receiving = agent->client.start_flow_receiver(receive);
  ASSERT_TRUE(receiving) << receiving.error().message;
  const auto sending = agent->client.start_flow_sender(job);
  ASSERT_TRUE(sending) << sending.error().message;
  let_pass(milliseconds(30));
  const auto before = base::monotonic_now();
  // The destination is an address of its own: what is sent comes back by the loopback.
  ASSERT_TRUE(fresh->run(fmt::format("ip address add {}/32 dev lo", server_v4)));
  ASSERT_TRUE(fresh->run(fmt::format("ip address add {}/128 dev lo nodad", server_v6)));
  const auto there = base::monotonic_now();
  let_pass(milliseconds(30));
  const auto sent = agent->client.stop_flow_sender(sending->id);
  ASSERT_TRUE(sent) << sent.error().message;
  const auto received = agent->client.stop_flow_receiver(receiving->id);
  ASSERT_TRUE(received) << received.error().message;
  for (std::size_t i = 0; i < job.flows.size(); ++i) {
    SCOPED_TRACE(fmt::format("{} {}", base::enum_name(job.flows[i].protocol), job.flows[i].to));
    const auto& flow = sent->flows[i];
    EXPECT_GT(flow.not_sent, 0U);
    EXPECT_GT(flow.sent, 0U);
    const auto arrived = arrivals(received->flows[i]);
    for (const auto& probe : flow.probes.list) {
      // In between IPv6 has a route before its address is taken in.
      if (probe.after_ns < before.ns) EXPECT_EQ(probe.error_code, ENETUNREACH);
      if (probe.before_ns > there.ns) EXPECT_TRUE(arrived.contains(probe.number));
      if (probe.error_code != 0) EXPECT_FALSE(arrived.contains(probe.number));
    }
  }
}

TEST_F(FlowWatchLab, RefusesWhatItCannotDo) {
  FlowSendJob job = four_flows(watched_port);
  job.rate.per_second = 8'001;
  const auto fast = network().client().start_flow_sender(job);
  ASSERT_FALSE(fast);
  EXPECT_EQ(fast.error().kind, base::ErrorKind::input);
  EXPECT_THAT(fast.error().message, ::testing::HasSubstr("job.rate: "));
  FlowReceiveJob receive = receiver_of(job);
  receive.interface = "eth7";
  const auto nowhere = network().server().start_flow_receiver(receive);
  ASSERT_FALSE(nowhere);
  EXPECT_THAT(nowhere.error().message, ::testing::HasSubstr("eth7: no such interface"));
}

}  // namespace
}  // namespace bench::testing
