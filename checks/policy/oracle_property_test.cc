// What must hold of the oracle whatever the policies are.
#include <algorithm>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "checks/policy/generator.h"
#include "checks/policy/oracle.h"
#include "checks/policy/test_world.h"

namespace checks {
namespace {

using base::kube::PolicyType;

constexpr std::uint64_t seeds = 60;
constexpr std::array directions{PolicyDirection::egress, PolicyDirection::ingress};

PolicySpace space_of_all() {
  using enum base::kube::Protocol;
  return {.world = test_world(),
          .ports = {80, 81},
          .protocols = {TCP, UDP},
          .families = {base::AddressFamily::ipv4, base::AddressFamily::ipv6}};
}

// Calls `look` for random worlds of policies, one a seed.
template <typename Look>
void for_random_worlds(Look look) {
  const auto space = space_of_all();
  const auto flows = all_flows(space);
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    PolicyWorld world = space.world;
    world.policies = random_policies(space, seed);
    SCOPED_TRACE(fmt::format("seed {}", seed));
    look(world, flows, seed);
    if (testing::Test::HasFailure()) return;
  }
}

const PodEnd& subject_of(const PolicyFlow& flow, PolicyDirection direction) {
  return std::get<PodEnd>(direction == PolicyDirection::egress ? flow.source : flow.destination);
}

TEST(PolicyOracleProperty, AnotherPolicyNeverTakesFromAPodThatIsIsolated) {
  const auto space = space_of_all();
  for_random_worlds([&](const PolicyWorld& world, const auto& flows, std::uint64_t seed) {
    PolicyWorld more = world;
    more.policies.push_back(random_policies(space, seed + 1000)[0]);
    for (const auto& flow : flows) {
      for (const auto direction : directions) {
        const auto before = decide(world, flow).of(direction);
        const auto now = decide(more, flow).of(direction);
        const auto pod = subject_of(flow, direction).pod;
        const bool was_isolated = !isolating(world, pod, direction).empty();
        const bool is_isolated = !isolating(more, pod, direction).empty();
        if (was_isolated && before.allowance == Allowance::allowed) {
          EXPECT_EQ(now.allowance, Allowance::allowed) << describe_flow(more, flow);
        }
        // The first isolates the pods it selects, in its direction, and nothing else changes.
        if (!is_isolated) {
          EXPECT_EQ(now, before) << describe_flow(more, flow);
        }
      }
    }
  });
}

TEST(PolicyOracleProperty, DirectionsAreIndependent) {
  for_random_worlds([](const PolicyWorld& world, const auto& flows, std::uint64_t) {
    for (const auto direction : directions) {
      const auto type =
          direction == PolicyDirection::ingress ? PolicyType::Ingress : PolicyType::Egress;
      PolicyWorld half = world;
      half.policies.clear();
      for (auto policy : world.policies) {
        base::kube::apply_defaults(policy);
        const auto& types = policy.spec.policy_types;
        if (std::ranges::find(types, type) == types.end()) continue;
        policy.spec.policy_types = {type};
        half.policies.push_back(std::move(policy));
      }
      for (const auto& flow : flows) {
        EXPECT_EQ(decide(half, flow).of(direction).allowance,
                  decide(world, flow).of(direction).allowance)
            << describe_flow(world, flow);
      }
    }
  });
}

TEST(PolicyOracleProperty, OrderAndRepetitionChangeNothing) {
  for_random_worlds([](const PolicyWorld& world, const auto& flows, std::uint64_t) {
    PolicyWorld other = world;
    std::ranges::reverse(other.policies);
    for (auto& policy : other.policies) {
      std::ranges::reverse(policy.spec.ingress);
      std::ranges::reverse(policy.spec.egress);
      for (auto& rule : policy.spec.ingress) std::ranges::reverse(rule.from);
      for (auto& rule : policy.spec.egress) std::ranges::reverse(rule.ports);
    }
    other.policies.push_back(other.policies[0]);
    other.policies.back().metadata.name = "again";
    for (const auto& flow : flows) {
      EXPECT_EQ(decide(other, flow).allowance, decide(world, flow).allowance)
          << describe_flow(world, flow);
    }
  });
}

TEST(PolicyOracleProperty, EmptySelectorsSelectEverything) {
  for_random_worlds([](const PolicyWorld& world, const auto& flows, std::uint64_t) {
    PolicyWorld wider = world;
    for (auto& policy : wider.policies) {
      const auto widen = [](auto& peers) {
        for (auto& peer : peers) {
          if (peer.pod_selector) peer.pod_selector.emplace();
          if (peer.namespace_selector) peer.namespace_selector.emplace();
          if (peer.ip_block) peer.ip_block->except.clear();
        }
      };
      for (auto& rule : policy.spec.ingress) widen(rule.from);
      for (auto& rule : policy.spec.egress) widen(rule.to);
    }
    for (const auto& flow : flows) {
      if (decide(world, flow).allowance == Allowance::allowed) {
        EXPECT_EQ(decide(wider, flow).allowance, Allowance::allowed) << describe_flow(world, flow);
      }
    }
    PolicyWorld all = world;
    for (auto& policy : all.policies) policy.spec.pod_selector = {};
    for (std::size_t pod = 0; pod < all.pods.size(); ++pod) {
      const auto mine = std::ranges::count_if(all.policies, [&](auto policy) {
        base::kube::apply_defaults(policy);
        const auto& types = policy.spec.policy_types;
        return policy.metadata.in_namespace == all.pods[pod].in_namespace &&
               std::ranges::find(types, PolicyType::Ingress) != types.end();
      });
      EXPECT_EQ(static_cast<std::ptrdiff_t>(isolating(all, pod, PolicyDirection::ingress).size()),
                mine);
    }
  });
}

TEST(PolicyOracleProperty, WhatTheServerFillsInMeansTheSame) {
  for_random_worlds([](const PolicyWorld& world, const auto& flows, std::uint64_t) {
    PolicyWorld stored = world;
    for (auto& policy : stored.policies) {
      auto read = base::kube::read_network_policy(base::kube::manifest(policy));
      ASSERT_TRUE(read) << read.error().message;
      policy = *read;
    }
    for (const auto& flow : flows) {
      EXPECT_EQ(decide(stored, flow), decide(world, flow)) << describe_flow(world, flow);
    }
  });
}

TEST(PolicyOracleProperty, TheExplanationSaysWhatWasDecided) {
  for_random_worlds([](const PolicyWorld& world, const auto& flows, std::uint64_t seed) {
    for (std::size_t i = seed % 7; i < flows.size(); i += 7) {
      const auto decision = decide(world, flows[i]);
      const auto sentence = explain(world, flows[i]);
      EXPECT_TRUE(sentence.starts_with(base::enum_name(decision.allowance))) << sentence;
      EXPECT_GT(sentence.size(), std::string_view("unknown: ").size());
    }
  });
}

TEST(PolicyOracle, AMatrixTakesAFractionOfItsMeasuring) {
  using enum base::kube::Protocol;
  PolicySpace space{.world = test_world(), .ports = {80, 81, 82}, .protocols = {TCP, UDP}};
  space.world.pods.pop_back();  // 9 pods to 9 pods at 3 ports by 2 protocols
  const auto flows = all_flows(space);
  ASSERT_EQ(flows.size(), 486U);
  for (std::uint64_t seed = 0; space.world.policies.size() < 50; ++seed) {
    for (auto& policy : random_policies(space, seed)) {
      policy.metadata.name = fmt::format("policy-{}", space.world.policies.size());
      if (space.world.policies.size() < 50) space.world.policies.push_back(std::move(policy));
    }
  }
  std::int64_t best = std::numeric_limits<std::int64_t>::max();
  std::size_t allowed = 0;
  for (int run = 0; run < 5; ++run) {
    const auto begin = base::monotonic_now();
    for (const auto& flow : flows) {
      allowed += decide(space.world, flow).allowance == Allowance::allowed ? 1U : 0U;
    }
    best = std::min(best, (base::monotonic_now() - begin).count());
  }
  RecordProperty("matrix_us", std::to_string(best / 1000));
  EXPECT_GT(allowed, 0U);
  // 0.2 ms where it was written; sanitizers are allowed for.
  EXPECT_LT(best, 10'000'000);
}

}  // namespace
}  // namespace checks
