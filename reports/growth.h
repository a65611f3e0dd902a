// How a path's cost grows with the number of Services, or of NetworkPolicies, loaded beside it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/describe.h"
#include "base/scalar.h"
#include "base/terminal.h"
#include "reports/judgement.h"

namespace reports {

enum class GrowthLaw {
  grows,    // a line that rises: its interval excludes zero and is narrower than the rise, and it
            // explains nine tenths of the points' values
  shrinks,  // one that falls
  flat,     // no point is farther than 10 % from the first, and surely not the line's end
  invalid,  // the interval is wider than the difference it would claim, or no line fits
};

// What there are more and more of.
enum class GrowthBy {
  services,
  policies,  // NetworkPolicies
};

// One arm of a growth, and what its environment cost to load.
struct GrowthPoint {
  std::string arm = {};
  std::string environment = {};
  int loaded = 0;
  double value_ns = 0;
  std::optional<std::int64_t> load_ns = {};
  std::optional<std::int64_t> kernel_memory_bytes = {};
};

template <typename Visit, base::SelfOf<GrowthPoint> Self>
void describe(Visit& visit, Self& self) {
  visit("arm", self.arm, {.doc = "The arm.", .required = true});
  visit("environment", self.environment, {.doc = "Its environment."});
  visit("loaded", self.loaded,
        {.doc = "How many Services, or policies, are loaded there.", .required = true});
  visit("value_ns", self.value_ns, {.doc = "Centre of the blocks' values.", .required = true});
  visit("load_ns", self.load_ns,
        {.doc = "How long loading all of them took, over all nodes; of policies, making tables of "
                "them included."});
  visit("kernel_memory_bytes", self.kernel_memory_bytes,
        {.doc = "What the kernel's memory grew by meanwhile, machine-wide; of eBPF, the table's "
                "own size."});
}

// A straight line through the points, fitted in each block by least squares.
struct Growth {
  std::string path = {};  // "iptables service/web"
  GrowthBy by = GrowthBy::services;
  std::string workload = {};
  std::string metric = {};
  GrowthLaw law = GrowthLaw::invalid;
  std::string sentence = {};
  double per_thousand_ns = 0;
  std::optional<Interval> per_thousand_interval = {};
  double at_none_ns = 0;  // the line's value without any of them
  double explained = 0;   // R squared of the line through the points' values
  int blocks = 0;
  std::vector<GrowthPoint> points = {};  // ascending by how many are loaded
};

template <typename Visit, base::SelfOf<Growth> Self>
void describe(Visit& visit, Self& self) {
  visit("path", self.path, {.doc = "Datapath and what is dialled.", .required = true});
  visit("by", self.by, {.doc = "What there are more and more of.", .required = true});
  visit("workload", self.workload, {.doc = "The workload.", .required = true});
  visit("metric", self.metric, {.doc = "The metric.", .required = true});
  visit("law", self.law, {.doc = "What the line says.", .required = true});
  visit("sentence", self.sentence, {.doc = "The same, with its figures.", .required = true});
  visit("per_thousand_ns", self.per_thousand_ns,
        {.doc = "Slope for every 1,000 of them: Hodges-Lehmann estimate over the blocks' lines.",
         .required = true});
  visit("per_thousand_interval", self.per_thousand_interval,
        {.doc = "Exact signed-rank interval; absent under 6 blocks."});
  visit("at_none_ns", self.at_none_ns, {.doc = "The line's value without any of them."});
  visit("explained", self.explained,
        {.doc = "R squared of a line through the points' values.", .at_least = 0, .at_most = 1});
  visit("blocks", self.blocks, {.doc = "Blocks behind it.", .required = true});
  visit("points", self.points,
        {.doc = "The arms it runs through, by how many are loaded.", .required = true});
}

// "Services", "policies".
[[nodiscard]] std::string_view things_of(GrowthBy by);

// The growths by one of these as tables, lines at most as wide as the terminal: values by how many
// are loaded, and what loading them cost. Empty where there are none.
[[nodiscard]] std::string growth_tables(const std::vector<Growth>& growths, GrowthBy by,
                                        const base::Terminal& terminal);

}  // namespace reports

template <>
struct base::EnumNames<reports::GrowthLaw> {
  static constexpr std::array names{
      std::pair{reports::GrowthLaw::grows, std::string_view("grows")},
      std::pair{reports::GrowthLaw::shrinks, std::string_view("shrinks")},
      std::pair{reports::GrowthLaw::flat, std::string_view("flat")},
      std::pair{reports::GrowthLaw::invalid, std::string_view("invalid")}};
};

template <>
struct base::EnumNames<reports::GrowthBy> {
  static constexpr std::array names{
      std::pair{reports::GrowthBy::services, std::string_view("services")},
      std::pair{reports::GrowthBy::policies, std::string_view("policies")}};
};
