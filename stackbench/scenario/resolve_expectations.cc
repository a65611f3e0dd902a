// Expectations: each must be decidable, with one bound of the right unit.
#include <algorithm>

#include "stackbench/scenario/resolve.h"

namespace stackbench {
namespace {

// Holm's correction over more leaves the default 12 blocks no room: one test at 12 blocks cannot
// get below p = 2^-12.
constexpr std::size_t gates_at_most = 8;

// What a metric may be held to beside a percentage: which alternative of Bound, and in words.
struct AbsoluteBound {
  std::size_t index;
  std::string_view words;
};
AbsoluteBound bound_of(Metric metric) {
  switch (metric) {
    case Metric::rate:
      return {Bound(base::RequestRate()).index(), "a rate such as 1000/s"};
    case Metric::throughput:
      return {Bound(base::DataRate()).index(), "a data rate such as 500MB/s"};
    default:
      return {Bound(base::Duration()).index(), "a duration such as 250us"};
  }
}

class ExpectationResolver {
 public:
  ExpectationResolver(Scenario& scenario, ReadLog& log) : scenario_(scenario), log_(log) {
    for (std::size_t i = 0; i < scenario.arms.size(); ++i) {
      arms_.push_back(scenario.arms[i].name);
      arms_known_ = arms_known_ && !log.faulty(index_path("arms", i) + ".name");
    }
    arms_known_ = arms_known_ && !log.faulty_itself("arms");
    for (std::size_t i = 0; i < scenario.workloads.size(); ++i) {
      workloads_known_ = workloads_known_ && !log.faulty(index_path("workloads", i) + ".kind");
    }
    workloads_known_ = workloads_known_ && !log.faulty_itself("workloads");
  }

  void resolve(ExpectSpec& expect, const std::string& path) {
    if (log_.faulty_itself(path)) return;
    check_arms(expect, path);
    resolve_workload(expect, path);
    check_metric(expect, path);
    check_bounds(expect, path);
  }

 private:
  // Whether its workload has the metric.
  void check_metric(const ExpectSpec& expect, const std::string& path) {
    if (!expect.workload || log_.faulty(path + ".metric") || log_.faulty(path + ".workload")) {
      return;
    }
    const auto workload =
        std::ranges::find(scenario_.workloads, *expect.workload, &bench::WorkloadSpec::kind);
    if (workload == scenario_.workloads.end()) return;
    const auto metrics = metrics_of(*workload);
    const bool cpu = expect.metric == Metric::cpu_per_request ||
                     expect.metric == Metric::cpu_per_gb ||
                     expect.metric == Metric::proxy_cpu_per_request;
    if (expect.metric == Metric::connect_p50 && bench::keeps_connections(*workload)) {
      refuse(log_, path + ".metric",
             fmt::format("{} has no connects to time here: tcp_crr has, and http and http2 with "
                         "keep_alive: false",
                         base::enum_name(*expect.workload)));
    } else if (std::ranges::find(metrics, expect.metric) == metrics.end()) {
      // A stream has metrics of its own, and others have none of them.
      std::vector<std::string_view> names;
      for (const auto metric : metrics) names.push_back(base::enum_name(metric));
      refuse(log_, path + ".metric",
             fmt::format("{} has no {}: it has {}", base::enum_name(*expect.workload),
                         base::enum_name(expect.metric), fmt::join(names, ", ")));
    } else if (cpu && workload->wait == bench::WaitStrategy::spin) {
      refuse(log_, path + ".metric",
             "a workload that spins burns its core whatever a request costs; give it wait: block");
    }
  }

  void check_arms(const ExpectSpec& expect, const std::string& path) {
    if (!arms_known_) return;
    const auto known = [&](const std::string& name) {
      return std::ranges::find(arms_, name) != arms_.end();
    };
    if (!log_.faulty(path + ".arm") && !known(expect.arm)) {
      refuse(log_, path + ".arm", unknown_name("arm", expect.arm, arms_));
    }
    if (!expect.relative_to || log_.faulty(path + ".relative_to")) return;
    if (!known(*expect.relative_to)) {
      refuse(log_, path + ".relative_to", unknown_name("arm", *expect.relative_to, arms_));
    } else if (*expect.relative_to == expect.arm && !log_.faulty(path + ".arm")) {
      refuse(log_, path + ".relative_to", "an arm cannot be compared with itself");
    }
  }

  void resolve_workload(ExpectSpec& expect, const std::string& path) {
    if (!workloads_known_ || log_.faulty(path + ".workload") || scenario_.workloads.empty()) return;
    const auto& workloads = scenario_.workloads;
    if (!expect.workload) {
      if (workloads.size() == 1) {
        expect.workload = workloads.front().kind;
      } else {
        refuse(log_, path + ".workload",
               fmt::format("missing: the scenario has several workloads ({})",
                           fmt::join(workload_names(scenario_), ", ")));
      }
      return;
    }
    const auto matching =
        std::ranges::count(workloads, *expect.workload, &bench::WorkloadSpec::kind);
    if (matching == 0) {
      refuse(log_, path + ".workload",
             fmt::format("no workload of this scenario is a {}; known here: {}",
                         base::enum_name(*expect.workload),
                         fmt::join(workload_names(scenario_), ", ")));
    } else if (matching > 1) {
      refuse(log_, path + ".workload",
             fmt::format("the scenario has {} workloads of kind {}, and an expectation cannot tell "
                         "them apart; split the scenario",
                         matching, base::enum_name(*expect.workload)));
    }
  }

  void check_bounds(const ExpectSpec& expect, const std::string& path) {
    const bool readable = !log_.faulty(path + ".at_most") && !log_.faulty(path + ".at_least") &&
                          !log_.faulty(path + ".within");
    std::vector<std::string_view> given;
    if (expect.at_most) given.push_back("at_most");
    if (expect.at_least) given.push_back("at_least");
    if (expect.within) given.push_back("within");
    if (readable && given.size() != 1) {
      refuse(log_, path,
             fmt::format("expected exactly one of at_most, at_least and within, got {}",
                         given.empty() ? "none" : fmt::format("{}", fmt::join(given, " and "))));
    }
    if (expect.at_most) check_bound(expect, *expect.at_most, path, "at_most");
    if (expect.at_least) check_bound(expect, *expect.at_least, path, "at_least");
    if (!expect.within || log_.faulty(path + ".within")) return;
    if (expect.within->fraction <= 0 || expect.within->fraction >= 1) {
      refuse(log_, path + ".within", "expected more than 0% and less than 100%");
    }
    need_base(expect, path, "within");
  }

  void check_bound(const ExpectSpec& expect, const Bound& bound, const std::string& path,
                   std::string_view field) {
    const auto at = join_path(path, field);
    if (log_.faulty(at)) return;
    if (const auto* percent = std::get_if<base::Percent>(&bound)) {
      if (percent->fraction <= -1)
        refuse(log_, at, "expected more than -100%: nothing falls below 0");
      need_base(expect, path, field);
      return;
    }
    if (log_.faulty(path + ".metric")) return;
    if (const auto wanted = bound_of(expect.metric); wanted.index != bound.index()) {
      refuse(log_, at,
             fmt::format("{} is held to {} or a percentage, got {}", base::enum_name(expect.metric),
                         wanted.words, base::StringScalar<Bound>::format(bound)));
      return;
    }
    if (number_of(bound) <= 0) refuse(log_, at, "expected more than 0");
    if (expect.relative_to && !log_.faulty(path + ".relative_to")) {
      refuse(log_, path + ".relative_to",
             fmt::format("{} is absolute and is compared with no arm; give a percentage, or leave "
                         "relative_to out",
                         field));
    }
  }

  // A percentage is one of something.
  void need_base(const ExpectSpec& expect, const std::string& path, std::string_view field) {
    if (expect.relative_to || log_.faulty(path + ".relative_to")) return;
    refuse(log_, join_path(path, field),
           "a percentage needs relative_to, the arm it is a share of");
  }

  Scenario& scenario_;
  ReadLog& log_;
  std::vector<std::string_view> arms_;
  bool arms_known_ = true;
  bool workloads_known_ = true;
};

}  // namespace

void resolve_expectations(Scenario& scenario, ReadLog& log) {
  if (scenario.expect.size() > gates_at_most) {
    refuse(
        log, index_path("expect", gates_at_most),
        fmt::format("expected at most {} expectations, got {}: each more makes all of them harder "
                    "to decide",
                    gates_at_most, scenario.expect.size()));
  }
  ExpectationResolver resolver(scenario, log);
  for (std::size_t i = 0; i < std::min(scenario.expect.size(), gates_at_most); ++i) {
    resolver.resolve(scenario.expect[i], index_path("expect", i));
  }
}

}  // namespace stackbench
