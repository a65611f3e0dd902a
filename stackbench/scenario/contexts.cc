#include "stackbench/scenario/contexts.h"

#include <algorithm>
#include <array>
#include <utility>

namespace stackbench {
namespace {

constexpr std::string_view suffix_a = "_a";
constexpr std::string_view suffix_b = "_b";

}  // namespace

Scenario in_two_contexts(Scenario scenario, const std::string& context_a,
                         const std::string& context_b) {
  const auto once = std::exchange(scenario.arms, {});
  const auto is_twice = [&](const std::string& name) {
    const auto arm = std::ranges::find(once, name, &ArmSpec::name);
    return arm != once.end() && arm->in.has_value();
  };
  const auto renamed = [&](std::optional<std::string>& arm, std::string_view suffix) {
    if (arm && is_twice(*arm)) *arm += suffix;
  };
  const auto environments = std::exchange(scenario.environments, {});
  const auto expectations = std::exchange(scenario.expect, {});
  for (const auto& arm : once) {
    if (!arm.in) scenario.arms.push_back(arm);
  }
  for (const auto& [suffix, context] :
       std::array{std::pair{suffix_a, &context_a}, std::pair{suffix_b, &context_b}}) {
    for (const auto& [name, environment] : environments) {
      auto& there = scenario.environments[name + std::string(suffix)];
      there = environment;
      there.context = *context;
    }
    for (auto arm : once) {
      if (!arm.in) continue;
      const auto name = arm.name;
      arm.name += suffix;
      *arm.in += suffix;
      if (suffix == suffix_b) {
        arm.relative_to = name + std::string(suffix_a);
      } else {
        renamed(arm.relative_to, suffix);
      }
      scenario.arms.push_back(std::move(arm));
    }
    for (auto expectation : expectations) {
      const bool twice = is_twice(expectation.arm);
      if (!twice && suffix == suffix_b) continue;
      if (twice) expectation.arm += suffix;
      renamed(expectation.relative_to, suffix);
      scenario.expect.push_back(std::move(expectation));
    }
  }
  return scenario;
}

}  // namespace stackbench
