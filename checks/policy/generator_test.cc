#include "checks/policy/generator.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checks/policy/test_world.h"

namespace checks {
namespace {

using base::kube::IntOrString;
using base::kube::NetworkPolicy;
using base::kube::PolicyType;
using base::kube::Protocol;

PolicySpace probed_space() {
  using enum Protocol;
  return {.world = test_world(),
          .ports = {80, 81, 82},
          .protocols = {TCP, UDP, SCTP},
          .families = {base::AddressFamily::ipv4, base::AddressFamily::ipv6}};
}

template <typename Visit>
void for_rules(NetworkPolicy& policy, Visit visit) {
  for (auto& rule : policy.spec.ingress) visit(rule.from, rule.ports);
  for (auto& rule : policy.spec.egress) visit(rule.to, rule.ports);
}

// An implementation with a fault, as a change of what it was told or of what it answers.
struct Wrong {
  std::string_view what;
  void (*misread)(NetworkPolicy&) = nullptr;
  // Of the world as it is; nothing: as the oracle says.
  std::optional<Allowance> (*misjudge)(const PolicyWorld&, const PolicyFlow&) = nullptr;
};

const std::vector<Wrong> wrong_ones{
    {"except is ignored",
     [](NetworkPolicy& policy) {
       for_rules(policy, [](auto& peers, auto&) {
         for (auto& peer : peers) {
           if (peer.ip_block) peer.ip_block->except.clear();
         }
       });
     }},
    {"a rule is one port too wide",
     [](NetworkPolicy& policy) {
       for_rules(policy, [](auto&, auto& ports) {
         for (auto& port : ports) {
           if (!port.port || !std::holds_alternative<std::int32_t>(port.port->value)) continue;
           port.end_port = port.end_port.value_or(std::get<std::int32_t>(port.port->value)) + 1;
         }
       });
     }},
    {"egress is not enforced for UDP", nullptr,
     [](const PolicyWorld& world, const PolicyFlow& flow) -> std::optional<Allowance> {
       if (flow.protocol != Protocol::UDP) return std::nullopt;
       return decide(world, flow).ingress.allowance;
     }},
    {"namespaceSelector is ignored beside podSelector",
     [](NetworkPolicy& policy) {
       for_rules(policy, [](auto& peers, auto&) {
         for (auto& peer : peers) {
           if (peer.pod_selector) peer.namespace_selector.reset();
         }
       });
     }},
    {"an empty list of peers is nobody",
     [](NetworkPolicy& policy) {
       std::erase_if(policy.spec.ingress, [](const auto& rule) { return rule.from.empty(); });
       std::erase_if(policy.spec.egress, [](const auto& rule) { return rule.to.empty(); });
     }},
    {"default types are both",
     [](NetworkPolicy& policy) {
       if (policy.spec.policy_types.empty()) {
         policy.spec.policy_types = {PolicyType::Ingress, PolicyType::Egress};
       }
     }},
    {"NotIn needs the label",
     [](NetworkPolicy& policy) {
       for_rules(policy, [](auto& peers, auto&) {
         for (auto& peer : peers) {
           if (!peer.pod_selector) continue;
           auto& expressions = peer.pod_selector->match_expressions;
           const auto count = expressions.size();
           for (std::size_t i = 0; i < count; ++i) {
             if (expressions[i].op == base::kube::SelectorOperator::NotIn) {
               expressions.push_back({.key = expressions[i].key});
             }
           }
         }
       });
     }},
    {"named ports are taken for any port",
     [](NetworkPolicy& policy) {
       for_rules(policy, [](auto&, auto& ports) {
         for (auto& port : ports) {
           if (port.port && std::holds_alternative<std::string>(port.port->value)) {
             port.port.reset();
           }
         }
       });
     }},
    {"ranges end at their beginning",
     [](NetworkPolicy& policy) {
       for_rules(policy, [](auto&, auto& ports) {
         for (auto& port : ports) port.end_port.reset();
       });
     }},
    {"a pod can block access to itself", nullptr,
     [](const PolicyWorld& world, const PolicyFlow& flow) -> std::optional<Allowance> {
       if (flow.source != flow.destination) return std::nullopt;
       // As if it were another with its labels and addresses.
       PolicyWorld doubled = world;
       doubled.pods.push_back(doubled.pods[std::get<PodEnd>(flow.source).pod]);
       auto other = flow;
       other.source = PodEnd{doubled.pods.size() - 1};
       return decide(doubled, other).allowance;
     }},
    {"every policy but the first is left out",
     [](NetworkPolicy& policy) {
       if (policy.metadata.name != "random-0" && policy.metadata.name != "by-port") {
         policy.metadata.in_namespace = "elsewhere";
       }
     }},
    {"IPv6 is open", nullptr,
     [](const PolicyWorld&, const PolicyFlow& flow) -> std::optional<Allowance> {
       if (flow.family != base::AddressFamily::ipv6) return std::nullopt;
       return Allowance::allowed;
     }},
};

// A flow that the wrong one answers otherwise, where there is one.
std::optional<PolicyFlow> differing(const Wrong& wrong, const PolicyWorld& world,
                                    const std::vector<PolicyFlow>& flows) {
  PolicyWorld misread = world;
  if (wrong.misread != nullptr) {
    for (auto& policy : misread.policies) wrong.misread(policy);
  }
  for (const auto& flow : flows) {
    const auto said =
        wrong.misread != nullptr ? decide(misread, flow).allowance : wrong.misjudge(world, flow);
    if (!said) continue;
    if (said != decide(world, flow).allowance) return flow;
  }
  return std::nullopt;
}

TEST(PolicyGenerator, ASeedRepeatsARun) {
  const auto space = probed_space();
  EXPECT_EQ(random_policies(space, 7), random_policies(space, 7));
  EXPECT_NE(random_policies(space, 7), random_policies(space, 8));
  // The same on every machine: what came of these seeds where this was written.
  std::size_t pieces = 0;
  for (std::uint64_t seed = 2026; seed < 2036; ++seed) {
    pieces += pieces_of(random_policies(space, seed));
  }
  EXPECT_EQ(pieces, 488U);
}

TEST(PolicyGenerator, RandomPoliciesAreValidAndBounded) {
  const auto space = probed_space();
  std::set<PolicyFeature> seen;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const auto policies = random_policies(space, seed);
    EXPECT_GE(policies.size(), 1U);
    EXPECT_LE(policies.size(), RandomBounds{}.policies);
    for (const auto& policy : policies) {
      const auto valid = base::kube::validate(policy);
      EXPECT_TRUE(valid) << valid.error().message;
    }
    seen.merge(features_of({.name = "random", .steps = {{.policies = policies}}}));
  }
  for (const auto& [feature, name] : base::EnumNames<PolicyFeature>::names) {
    if (feature == PolicyFeature::updates) continue;
    EXPECT_TRUE(seen.contains(feature)) << name;
  }
}

TEST(PolicyGenerator, SystematicCasesShowEveryFeatureInBothDirections) {
  const auto space = probed_space();
  const auto cases = systematic_cases(space);
  std::set<std::string> names;
  std::map<PolicyDirection, std::set<PolicyFeature>> seen;
  for (const auto& one : cases) {
    EXPECT_TRUE(names.insert(one.name).second) << one.name;
    for (const auto& step : one.steps) {
      EXPECT_TRUE(validate(after(space.world, step))) << one.name;
    }
    const auto features = features_of(one);
    if (one.name.starts_with("egress: ")) seen[PolicyDirection::egress].merge(std::set(features));
    if (one.name.starts_with("ingress: ")) seen[PolicyDirection::ingress].merge(std::set(features));
    if (!one.name.contains(": ")) {
      seen[PolicyDirection::egress].merge(std::set(features));
      seen[PolicyDirection::ingress].merge(std::set(features));
    }
  }
  for (const auto& [feature, name] : base::EnumNames<PolicyFeature>::names) {
    EXPECT_TRUE(seen[PolicyDirection::egress].contains(feature)) << "egress: " << name;
    EXPECT_TRUE(seen[PolicyDirection::ingress].contains(feature)) << "ingress: " << name;
  }
}

TEST(PolicyGenerator, CasesAllowAndDenyUnlessTheySelectEverything) {
  const auto space = probed_space();
  const auto flows = all_flows(space);
  const std::vector<std::string_view> open{"no policy", "everything", "anybody", "not there",
                                           "Exist"};
  for (const auto& one : systematic_cases(space)) {
    bool allows = false;
    bool denies = false;
    PolicyWorld world = space.world;
    for (const auto& step : one.steps) {
      world = after(std::move(world), step);
      for (const auto& flow : flows) {
        const auto allowance = decide(world, flow).allowance;
        allows = allows || allowance == Allowance::allowed;
        denies = denies || allowance == Allowance::denied;
        if (allows && denies) break;
      }
    }
    EXPECT_TRUE(allows) << one.name;
    EXPECT_TRUE(denies || std::ranges::any_of(
                              open, [&](std::string_view part) { return one.name.contains(part); }))
        << one.name;
  }
}

TEST(PolicyGenerator, UpdatesChangeWhatIsAllowed) {
  const auto space = probed_space();
  const auto flows = all_flows(space);
  std::size_t updates = 0;
  for (const auto& one : systematic_cases(space)) {
    if (!features_of(one).contains(PolicyFeature::updates)) continue;
    ++updates;
    PolicyWorld world = after(space.world, one.steps[0]);
    for (std::size_t i = 1; i < one.steps.size(); ++i) {
      const auto next = after(world, one.steps[i]);
      EXPECT_TRUE(std::ranges::any_of(flows,
                                      [&](const PolicyFlow& flow) {
                                        return decide(world, flow).allowance !=
                                               decide(next, flow).allowance;
                                      }))
          << one.name << ", step " << i;
      world = next;
    }
  }
  EXPECT_EQ(updates, 8U);
}

TEST(PolicyGenerator, LeavesOutWhatAWorldHasNot) {
  PolicySpace space{.world = test_world(), .ports = {80}, .protocols = {Protocol::TCP}};
  space.world.pods.resize(1);
  const auto alone = systematic_cases(space);
  EXPECT_GT(alone.size(), 10U);
  for (const auto& one : alone) {
    for (const auto& step : one.steps) EXPECT_TRUE(validate(after(space.world, step))) << one.name;
  }
  space.world.pods.clear();
  EXPECT_TRUE(systematic_cases(space).empty());
}

TEST(PolicyGenerator, EveryWrongImplementationIsFoundByRandomPoliciesAndByCases) {
  const auto space = probed_space();
  const auto flows = all_flows(space);
  const auto cases = systematic_cases(space);
  for (const auto& wrong : wrong_ones) {
    std::uint64_t seed = 0;
    for (; seed < 200; ++seed) {
      PolicyWorld world = space.world;
      world.policies = random_policies(space, seed);
      if (differing(wrong, world, flows)) break;
    }
    EXPECT_LT(seed, 200U) << wrong.what;
    RecordProperty(fmt::format("seeds until: {}", wrong.what), std::to_string(seed + 1));
    const bool by_case = std::ranges::any_of(cases, [&](const PolicyCase& one) {
      return std::ranges::any_of(one.steps, [&](const PolicyStep& step) {
        return differing(wrong, after(space.world, step), flows).has_value();
      });
    });
    EXPECT_TRUE(by_case) << wrong.what;
  }
}

TEST(PolicyShrinker, FindsTheSmallestSetThatShowsAPlantedFault) {
  const auto space = probed_space();
  const auto flows = all_flows(space);
  const auto& ignores_except = wrong_ones[0];
  ASSERT_EQ(ignores_except.what, "except is ignored");
  const StillFails fails = [&](const Policies& policies) {
    PolicyWorld world = space.world;
    world.policies = policies;
    return differing(ignores_except, world, flows).has_value();
  };
  std::size_t shrunk = 0;
  for (std::uint64_t seed = 0; seed < 200 && shrunk < 3; ++seed) {
    const auto policies = random_policies(space, seed);
    if (!fails(policies)) continue;
    ++shrunk;
    const auto smallest = shrink(policies, fails);
    EXPECT_TRUE(smallest.is_smallest);
    EXPECT_TRUE(fails(smallest.policies));
    // One policy of one rule with one peer, and an except in it; at most a type with them.
    ASSERT_EQ(smallest.policies.size(), 1U);
    const auto& spec = smallest.policies[0].spec;
    EXPECT_EQ(spec.ingress.size() + spec.egress.size(), 1U);
    EXPECT_LE(pieces_of(smallest.policies), 5U) << base::dump_json(manifest(smallest.policies[0]));
    const auto& peers = spec.ingress.empty() ? spec.egress[0].to : spec.ingress[0].from;
    ASSERT_EQ(peers.size(), 1U);
    ASSERT_TRUE(peers[0].ip_block);
    EXPECT_EQ(peers[0].ip_block->except.size(), 1U);
  }
  EXPECT_EQ(shrunk, 3U);
}

TEST(PolicyShrinker, LeavesWhatIsNeededAndEndsWhenTold) {
  // Both policies are needed, and of each one thing.
  const Policies policies{
      policy_of("x/noise", R"({"podSelector": {"matchLabels": {"pod": "c"}}, "ingress": [{}]})"),
      policy_of("x/one", R"({"podSelector": {"matchExpressions": [
          {"key": "pod", "operator": "In", "values": ["a", "b"]},
          {"key": "pod", "operator": "Exists"}]}, "ingress": [
          {"ports": [{"port": 80, "endPort": 82}, {"protocol": "UDP"}]}, {"from": [
          {"podSelector": {}, "namespaceSelector": {"matchLabels": {"ns": "y"}}}]}]})"),
      policy_of("y/two", R"({"egress": [{}]})")};
  std::uint64_t calls = 0;
  const StillFails fails = [&](const Policies& candidate) {
    ++calls;
    bool range = false;
    bool two = false;
    for (const auto& policy : candidate) {
      EXPECT_TRUE(base::kube::validate(policy));
      two = two || policy.metadata.name == "two";
      for (const auto& rule : policy.spec.ingress) {
        for (const auto& port : rule.ports) range = range || port.end_port == 82;
      }
    }
    return range && two;
  };
  const auto smallest = shrink(policies, fails);
  EXPECT_TRUE(smallest.is_smallest);
  EXPECT_EQ(smallest.tried, calls);
  ASSERT_EQ(smallest.policies.size(), 2U);
  NetworkPolicy one;
  one.metadata.name = "one";
  one.metadata.in_namespace = "x";
  one.spec.ingress = {{.ports = {{.port = IntOrString{80}, .end_port = 82}}}};
  EXPECT_EQ(smallest.policies[0], one);
  EXPECT_EQ(smallest.policies[1].spec, base::kube::NetworkPolicySpec{});
  EXPECT_EQ(pieces_of(smallest.policies), 6U);

  const auto ended = shrink(policies, fails, 3);
  EXPECT_FALSE(ended.is_smallest);
  EXPECT_EQ(ended.tried, 3U);
  EXPECT_TRUE(fails(ended.policies));
}

}  // namespace
}  // namespace checks
