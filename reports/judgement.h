// What a report says of the figures: estimates, and the verdicts on expectations and checks.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/describe.h"
#include "base/json.h"
#include "base/scalar.h"
#include "base/verdict.h"

namespace reports {

using base::Verdict;

enum class Unit { ns, per_second, bytes_per_second, ns_per_gb };

// A 95 % interval, unless `level` says otherwise.
struct Interval {
  double lower = 0;
  double upper = 0;
  double level = 0.95;

  bool operator==(const Interval&) const = default;
};

template <typename Visit, base::SelfOf<Interval> Self>
void describe(Visit& visit, Self& self) {
  visit("lower", self.lower, {.doc = "Lower end.", .required = true});
  visit("upper", self.upper, {.doc = "Upper end.", .required = true});
  visit("level", self.level, {.doc = "Confidence.", .at_least = 0, .at_most = 1});
}

// Against the base arm, from the differences inside each block. Never shown without its interval.
struct Difference {
  std::string base_arm = {};
  double percent = 0;
  std::optional<Interval> interval_percent = {};  // absent: too few blocks for an exact one
  int blocks = 0;
};

template <typename Visit, base::SelfOf<Difference> Self>
void describe(Visit& visit, Self& self) {
  visit("base_arm", self.base_arm, {.doc = "The arm it is compared with.", .required = true});
  visit("percent", self.percent,
        {.doc = "Hodges-Lehmann estimate over blocks of log(arm / base), as a percentage.",
         .required = true});
  visit("interval_percent", self.interval_percent,
        {.doc = "Exact signed-rank interval; absent under 6 blocks."});
  visit("blocks", self.blocks, {.doc = "Blocks behind it.", .required = true});
}

// A metric of an arm under a workload.
struct Estimate {
  std::string arm = {};
  std::string workload = {};
  std::string metric = {};  // as in the scenario: "latency.p50", "rate", "cpu_per_request"
  Unit unit = Unit::ns;
  double value = 0;
  std::optional<Interval> interval = {};
  int blocks = 0;
  std::optional<Difference> difference = {};
};

template <typename Visit, base::SelfOf<Estimate> Self>
void describe(Visit& visit, Self& self) {
  visit("arm", self.arm, {.doc = "The arm.", .required = true});
  visit("workload", self.workload, {.doc = "The workload.", .required = true});
  visit("metric", self.metric, {.doc = "The metric, as the scenario spells it.", .required = true});
  visit("unit", self.unit, {.doc = "Of value and interval.", .required = true});
  visit("value", self.value, {.doc = "Centre of the blocks' values.", .required = true});
  visit("interval", self.interval, {.doc = "Its interval."});
  visit("blocks", self.blocks, {.doc = "Blocks behind it."});
  visit("difference", self.difference, {.doc = "Against the base arm; absent for a base."});
}

// An expectation of the scenario, judged.
struct Expectation {
  std::string text =
      {};  // "latency.p50 of ebpf_cluster_ip at most +5% of iptables_pod_ip (tcp_rr)"
  std::string metric = {};
  std::string workload = {};
  std::string arm = {};
  std::optional<std::string> relative_to = {};
  Verdict verdict = Verdict::inconclusive;
  std::string sentence = {};  // the reason, with its figures
  // The figures: percent where relative_to is given, else in the metric's unit.
  std::optional<double> estimate = {};
  std::optional<Interval> interval = {};
  std::optional<double> p = {};                   // one-sided, for the verdict's claim
  std::optional<double> p_adjusted = {};          // by Holm over the scenario's expectations
  std::optional<double> detectable_percent = {};  // least true effect these blocks could have seen
  std::optional<int> blocks_needed = {};          // inconclusive: that would settle it
  int blocks = 0;
};

template <typename Visit, base::SelfOf<Expectation> Self>
void describe(Visit& visit, Self& self) {
  visit("text", self.text, {.doc = "What must hold, in words.", .required = true});
  visit("metric", self.metric, {.doc = "The metric.", .required = true});
  visit("workload", self.workload, {.doc = "The workload.", .required = true});
  visit("arm", self.arm, {.doc = "The arm.", .required = true});
  visit("relative_to", self.relative_to, {.doc = "The arm it is held against."});
  visit("verdict", self.verdict, {.doc = "Whether it holds.", .required = true});
  visit("sentence", self.sentence, {.doc = "Why, with figures.", .required = true});
  visit("estimate", self.estimate,
        {.doc = "Percent where relative_to is given, else in the metric's unit."});
  visit("interval", self.interval, {.doc = "In the same unit."});
  visit("p", self.p, {.doc = "One-sided, for the verdict's claim.", .at_least = 0, .at_most = 1});
  visit("p_adjusted", self.p_adjusted, {.doc = "By Holm.", .at_least = 0, .at_most = 1});
  visit("detectable_percent", self.detectable_percent,
        {.doc = "The least true effect these blocks would have seen four times in five."});
  visit("blocks_needed", self.blocks_needed, {.doc = "Blocks that would settle it."});
  visit("blocks", self.blocks, {.doc = "Blocks behind it."});
}

// A claim that is true or false, of one arm.
struct Check {
  std::string name = {};  // "translated_at"
  std::string arm = {};
  std::optional<std::string> workload = {};  // absent: of all
  Verdict verdict = Verdict::inconclusive;
  std::string sentence = {};
  std::optional<std::string> observed = {};  // in a word or two, for the table: "in connect(2)"
  base::Json evidence = base::Json::object();
};

template <typename Visit, base::SelfOf<Check> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "The check, as the scenario spells it.", .required = true});
  visit("arm", self.arm, {.doc = "The arm.", .required = true});
  visit("workload", self.workload, {.doc = "The workload; absent: all."});
  visit("verdict", self.verdict, {.doc = "Whether the claim is true.", .required = true});
  visit("sentence", self.sentence, {.doc = "What was seen.", .required = true});
  visit("observed", self.observed, {.doc = "The same in a word or two."});
  visit("evidence", self.evidence, {.doc = "The figures behind it."});
}

// Of the whole report.
struct Conclusion {
  std::optional<Verdict> verdict = {};  // absent: nothing was claimed, or the run did not get there
  int exit_code = 0;
  std::string sentence = {};

  bool operator==(const Conclusion&) const = default;
};

template <typename Visit, base::SelfOf<Conclusion> Self>
void describe(Visit& visit, Self& self) {
  visit("verdict", self.verdict,
        {.doc = "Absent where nothing was claimed or the run ended before it."});
  visit("exit_code", self.exit_code,
        {.doc = "0 pass, 1 fail, 2 could not run, 3 inconclusive or all skipped, 4 too disturbed, "
                "5 workload errors, 128 + n signal n.",
         .required = true});
  visit("sentence", self.sentence, {.doc = "Why.", .required = true});
}

}  // namespace reports

template <>
struct base::EnumNames<reports::Unit> {
  static constexpr std::array names{
      std::pair{reports::Unit::ns, std::string_view("ns")},
      std::pair{reports::Unit::per_second, std::string_view("per_second")},
      std::pair{reports::Unit::bytes_per_second, std::string_view("bytes_per_second")},
      std::pair{reports::Unit::ns_per_gb, std::string_view("ns_per_gb")}};
};
