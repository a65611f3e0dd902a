// What the agents that ship see of a router's rules: sweeps and held connections.
#include <gtest/gtest.h>

#include "base/testing/calm.h"
#include "bench/reach/testing/lab_network.h"

namespace bench::testing {
namespace {

using base::Protocol;

constexpr std::uint16_t port_open = 7001;
constexpr std::uint16_t port_dropped = 7002;
constexpr std::uint16_t port_prohibited = 7003;
constexpr std::uint16_t port_reset = 7004;
constexpr std::uint16_t port_reply_dropped = 7005;
constexpr std::uint16_t port_of_other = 7006;
constexpr std::uint16_t port_dead = 7009;  // nobody listens
constexpr std::uint32_t server_id = 11;
constexpr std::uint32_t other_id = 12;

ListenJob listen_on(std::uint32_t id, std::initializer_list<std::uint16_t> ports) {
  ListenJob job{.server_id = id};
  for (const auto port : ports) {
    job.ports.push_back({port, Protocol::TCP});
    job.ports.push_back({port, Protocol::UDP});
  }
  return job;
}

class ReachLab : public InLabNetwork {
 protected:
  void SetUp() override {
    InLabNetwork::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    for (const auto& job : {listen_on(server_id, {port_open, port_dropped, port_prohibited,
                                                  port_reset, port_reply_dropped}),
                            listen_on(other_id, {port_of_other})}) {
      const auto running = network().server().start_listener(job);
      ASSERT_TRUE(running) << running.error().message;
      EXPECT_EQ(running->endpoints.size(),
                job.ports.size());  // two families, one for both protocols
      listeners_.push_back(running->id);
    }
  }
  void TearDown() override {
    for (const auto id : listeners_) EXPECT_TRUE(network().server().stop_listener(id));
  }

 private:
  std::vector<JobId> listeners_;
};

constexpr const char* rules_of_every_kind =
    "meta l4proto { tcp, udp } th dport 7002 drop\n"
    "meta l4proto { tcp, udp } th dport 7003 reject with icmpx type admin-prohibited\n"
    "tcp dport 7004 reject with tcp reset\n"
    "udp dport 7004 reject with icmpx type port-unreachable\n"
    "meta l4proto { tcp, udp } th sport 7005 drop\n";

TEST_F(ReachLab, ASweepTellsWhatTheRouterDoes) {
  ASSERT_TRUE(network().forward(rules_of_every_kind));
  struct Case {
    std::uint16_t port;
    ReachOutcome outcome;
    std::optional<std::uint32_t> answered_by = {};
    int code_v4 = 0;
    int code_v6 = 0;
  };
  const std::vector<Case> cases{
      {port_open, ReachOutcome::answered, server_id},
      {port_dropped, ReachOutcome::timed_out},
      {port_prohibited, ReachOutcome::unreachable, {}, EHOSTUNREACH, EACCES},
      {port_reset, ReachOutcome::refused, {}, ECONNREFUSED, ECONNREFUSED},
      {port_reply_dropped, ReachOutcome::timed_out},
      {port_of_other, ReachOutcome::answered_by_other, other_id},
      {port_dead, ReachOutcome::refused, {}, ECONNREFUSED, ECONNREFUSED},
  };
  ReachJob job;
  for (const auto& expected : cases) {
    for (const auto protocol : {Protocol::TCP, Protocol::UDP}) {
      for (const bool v6 : {false, true}) {
        job.targets.push_back(
            {.endpoint = at(expected.port, v6), .protocol = protocol, .server_id = server_id});
      }
    }
  }
  // A route of our own that says no.
  ASSERT_TRUE(network().client_netns().run("ip route replace unreachable 10.99.0.0/16"));
  job.targets.push_back(
      {.endpoint = base::Endpoint::parse("10.99.0.1:80").value(), .server_id = server_id});
  job.targets.push_back({.endpoint = base::Endpoint::parse("10.99.0.1:80").value(),
                         .protocol = Protocol::UDP,
                         .server_id = server_id});
  const auto result = network().client().reach(job);
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->cells.size(), job.targets.size());
  for (std::size_t i = 0; i < 4 * cases.size(); ++i) {
    const auto& cell = result->cells[i];
    const auto& expected = cases[i / 4];
    const auto where =
        fmt::format("{} {}", base::enum_name(job.targets[i].protocol), job.targets[i].endpoint);
    EXPECT_EQ(base::enum_name(cell.outcome), base::enum_name(expected.outcome)) << where;
    EXPECT_EQ(cell.answered_by, expected.answered_by) << where;
    EXPECT_EQ(cell.error_code, i % 2 == 0 ? expected.code_v4 : expected.code_v6) << where;
  }
  for (std::size_t i = 4 * cases.size(); i < result->cells.size(); ++i) {
    EXPECT_EQ(result->cells[i].outcome, ReachOutcome::unreachable) << i;
    EXPECT_EQ(result->cells[i].error_code, EHOSTUNREACH) << i;
  }
}

// 9 pods x 9 x 3 ports x 2 protocols, half of them dropped; and the rate where all answer.
TEST_F(ReachLab, ASweepIsQuick) {
  ASSERT_TRUE(network().forward(rules_of_every_kind));
  ReachJob half;
  for (int i = 0; i < 486; ++i) {
    half.targets.push_back({.endpoint = at(i % 2 == 0 ? port_open : port_dropped, i % 3 == 0),
                            .protocol = i % 4 < 2 ? Protocol::TCP : Protocol::UDP,
                            .server_id = server_id});
  }
  const auto asked = base::monotonic_now();
  const auto result = network().client().reach(half);
  const auto answered = base::monotonic_now();
  ASSERT_TRUE(result) << result.error().message;
  for (std::size_t i = 0; i < half.targets.size(); ++i) {
    EXPECT_EQ(base::enum_name(result->cells[i].outcome),
              base::enum_name(i % 2 == 0 ? ReachOutcome::answered : ReachOutcome::timed_out))
        << i;
  }
  EXPECT_LT(answered - asked, std::chrono::seconds(1));

  // What any machine does; how much more this one does is printed.
  constexpr double wanted_per_second = 3'000;
  ReachJob all{.timeout = std::chrono::seconds(5)};
  for (int i = 0; i < 2'000; ++i) {
    all.targets.push_back({.endpoint = at(port_open, i % 2 == 0),
                           .protocol = i % 4 < 2 ? Protocol::TCP : Protocol::UDP,
                           .server_id = server_id});
  }
  const auto best = base::testing::best_rate(wanted_per_second, 20, [&] {
    const auto rate = network().client().reach(all);
    EXPECT_TRUE(rate) << rate.error().message;
    if (!rate) return 0.0;
    for (const auto& cell : rate->cells) EXPECT_EQ(cell.outcome, ReachOutcome::answered);
    return static_cast<double>(all.targets.size()) * 1e9 /
           static_cast<double>(rate->ended_ns - rate->began_ns);
  });
  fmt::print("486 cells, half of them dropped: {:.0f} ms; answered: {:.0f} cells/s\n",
             static_cast<double>((answered - asked).count()) / 1e6, best.per_second);
  if (!best.is_known(wanted_per_second)) {
    GTEST_SKIP() << "others use this machine: no more than " << best.per_second << " cells/s";
  }
  EXPECT_GE(best.per_second, wanted_per_second);
}

HoldJob hold_each(std::uint16_t port, bool v6) {
  HoldJob job{.interval = std::chrono::milliseconds(2),
              .stall_after = std::chrono::milliseconds(60)};
  const auto address = base::IpAddress::parse(v6 ? server_v6 : server_v4).value();
  for (const auto kind : {HeldKind::busy_tcp, HeldKind::idle_tcp, HeldKind::udp}) {
    job.connections.push_back({.kind = kind, .to = {.address = address, .port = port}});
  }
  return job;
}

TEST_F(ReachLab, HeldConnectionsStallUnderADropAndGoOnAfterIt) {
  for (const bool for_good : {true, false}) {
    const auto running = network().client().start_hold(hold_each(port_open, for_good));
    ASSERT_TRUE(running) << running.error().message;
    let_pass(std::chrono::milliseconds(20));
    const auto before = base::monotonic_now();
    ASSERT_TRUE(network().forward("meta l4proto { tcp, udp } th dport 7001 drop"));
    const auto dropped = base::monotonic_now();
    let_pass(std::chrono::milliseconds(100));
    const auto mended_from = base::monotonic_now();
    if (!for_good) {
      ASSERT_TRUE(network().forward(""));
      // TCP sends again when its timer says so, 200 ms after the last request at the soonest, then
      // after twice that.
      let_pass(std::chrono::milliseconds(500));
    }
    const auto result = network().client().stop_hold(running->id);
    ASSERT_TRUE(result) << result.error().message;
    const auto& [busy, idle, udp] =
        std::tie(result->connections[0], result->connections[1], result->connections[2]);
    if (for_good) {
      for (const auto& held : result->connections) {
        EXPECT_EQ(base::enum_name(held.end), "stalled");
        EXPECT_GT(held.first_unanswered_ns, before.ns - 5'000'000);
      }
      for (const auto* held : {&busy, &udp}) {
        EXPECT_GT(held->last_reply_ns, before.ns - 10'000'000);
        EXPECT_LT(held->last_reply_ns, dropped.ns + 1'000'000);
      }
      EXPECT_GT(idle.first_unanswered_ns, mended_from.ns);  // it had not been used until then
    } else {
      for (const auto& held : result->connections) {
        EXPECT_EQ(base::enum_name(held.end), "surviving");
      }
      EXPECT_TRUE(idle.stalls.empty());
      for (const auto* held : {&busy, &udp}) {
        ASSERT_EQ(held->stalls.size(), 1U);
        EXPECT_LT(held->stalls[0].from_ns, dropped.ns + 1'000'000);
        EXPECT_GT(held->stalls[0].to_ns, mended_from.ns);
      }
    }
    ASSERT_TRUE(network().forward(""));
  }
}

TEST_F(ReachLab, HeldConnectionsAreResetByARuleThatResets) {
  const auto running = network().client().start_hold(hold_each(port_open, false));
  ASSERT_TRUE(running) << running.error().message;
  const auto before = base::monotonic_now();
  ASSERT_TRUE(
      network().forward("tcp dport 7001 reject with tcp reset\n"
                        "udp dport 7001 reject with icmpx type port-unreachable"));
  let_pass(std::chrono::milliseconds(30));
  const auto result = network().client().stop_hold(running->id);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(base::enum_name(result->connections[0].end), "reset");
  EXPECT_EQ(base::enum_name(result->connections[1].end), "reset");  // by its use at the stop
  EXPECT_EQ(base::enum_name(result->connections[2].end), "refused");
  for (const auto& held : result->connections) EXPECT_GT(held.ended_ns, before.ns);
  EXPECT_GT(result->connections[1].ended_ns, before.ns + 30'000'000);
}

TEST_F(ReachLab, AListenerThatCannotBindSaysWhere) {
  const auto second = network().server().start_listener(listen_on(13, {port_dead, port_open}));
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message, ::testing::HasSubstr("listen on TCP port 7001"));
}

}  // namespace
}  // namespace bench::testing
