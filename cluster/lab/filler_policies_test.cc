// NetworkPolicies that an environment is filled with, in real namespaces: needs root.
#include <memory>

#include <gtest/gtest.h>

#include "cluster/filler_policy.h"
#include "cluster/lab/policy_fixture.h"

namespace cluster {
namespace {

using base::testing::Transport;

// As they are numbered: what that policy's own rule allows (cluster/filler_policy.cc).
constexpr std::uint16_t port_of_filler(int number) {
  return static_cast<std::uint16_t>(20'001 + 2 * number);
}

TEST(FillerPoliciesLab, IsolatePodsAllowThePlansPortsAndEachItsOwn) {
  if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
  auto plan = policy_plan(DatapathKind::direct);
  plan.topology.services.clear();
  plan.filler = {.services = 0, .policies = 200, .selectors = 3};
  PolicyLab filled(plan);
  const auto probe = [&](const std::string& from, const base::Endpoint& peer,
                         Transport transport = Transport::tcp) {
    return filled.probe(from, peer, transport);
  };
  for (const auto family : {base::AddressFamily::ipv4, base::AddressFamily::ipv6}) {
    EXPECT_EQ(probe("client-0", filled.at("web-0", tcp_target, family)), Outcome::answered);
  }
  EXPECT_EQ(probe("client-0", filled.at("web-0", udp_target), Transport::udp), Outcome::answered);
  EXPECT_EQ(probe("client-0", filled.at("near-0", other_target)), Outcome::denied);
  EXPECT_EQ(probe("stranger-0", filled.at("web-0", tcp_target)), Outcome::denied);
  // Nobody listens there, so what is allowed is refused: the rules of those that select pods are
  // looked up, from the first to the last, and those of the rest are nobody's.
  for (const int number : {1, 99, 199}) {
    EXPECT_EQ(probe("client-0", filled.at("web-0", port_of_filler(number))), Outcome::refused)
        << number;
    EXPECT_EQ(probe("client-0", filled.at("web-0", port_of_filler(number) + 1)), Outcome::denied)
        << number;
  }
  EXPECT_EQ(probe("client-0", filled.at("web-0", port_of_filler(100))), Outcome::denied);

  // The ports by which it is told whether they are in force.
  const auto ports = filler_ports(plan.filler);
  ASSERT_EQ(ports.size(), 100U);
  EXPECT_EQ(ports.front(), port_of_filler(1));
  EXPECT_EQ(ports.back(), port_of_filler(199));
  EXPECT_EQ(probe("client-0", filled.at("web-0", closed_filler_port)), Outcome::denied);

  const auto facts = filled.target().environment("env")->facts().at("network_policy");
  EXPECT_EQ(facts.at("policies"), 200);
  EXPECT_GT(facts.at("compile_ns").get<std::int64_t>(), 0);
  // A peer that is an address is told apart from all others by those that select pods.
  EXPECT_GE(facts.at("rules").get<int>(), 2 * 100);
}

}  // namespace
}  // namespace cluster
