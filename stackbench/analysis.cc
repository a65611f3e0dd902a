#include "stackbench/analysis.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace stackbench {
namespace {

// The family-wise chance of a false alarm in one run, and the confidence of printed intervals.
constexpr double alpha = 0.05;
constexpr double level = 0.95;
constexpr double gigabyte = 1e9;

std::optional<double> percentile(const base::Histogram& histogram, double q) {
  const auto value = histogram.honest_quantile(q);
  return value ? std::optional(static_cast<double>(*value)) : std::nullopt;
}

// The expectation as a one-sided or two-sided question about logarithms; greater is worse.
struct Framed {
  std::vector<double> differences;
  base::stats::Band band;
  bool turned = false;
};

double bound_log(const Bound& bound) {
  if (const auto* percent = std::get_if<base::Percent>(&bound)) {
    return base::stats::log_margin(*percent);
  }
  return std::log(number_of(bound));
}

Framed frame(const ExpectSpec& expectation, std::vector<double> differences) {
  if (expectation.within) {
    return {std::move(differences),
            base::stats::Band::within(base::stats::log_margin(*expectation.within))};
  }
  if (expectation.at_most) {
    return {std::move(differences), base::stats::Band::at_most(bound_log(*expectation.at_most))};
  }
  // The reader lets exactly one of the three through.
  assert(expectation.at_least);
  for (auto& difference : differences) difference = -difference;
  return {std::move(differences),
          base::stats::Band::at_most(-bound_log(expectation.at_least.value())), true};
}

// What the scheduler makes of two threads on one core, mostly.
bool is_latency(Metric metric) {
  switch (metric) {
    case Metric::rate:
    case Metric::throughput:
    case Metric::cpu_per_request:
    case Metric::proxy_cpu_per_request:
    case Metric::cpu_per_gb:
      return false;
    default:
      return true;
  }
}

// A logarithm as people read it: a percentage of the base arm, or the value itself.
std::string readable(double logarithm, bool relative, Metric metric) {
  if (relative) return fmt::format("{:+.1f} %", 100 * std::expm1(logarithm));
  const double value = std::exp(logarithm);
  if (metric == Metric::rate) return fmt::format("{:.0f}/s", value);
  if (metric == Metric::throughput) return fmt::format("{:.1f} MB/s", value / 1e6);
  if (metric == Metric::cpu_per_gb) return fmt::format("{:.2f} ms", value / 1e6);
  return fmt::format("{:.2f} us", value / 1000);
}

void conclude(JudgedExpectation& judged, const ExpectSpec& expectation) {
  using base::stats::Verdict;
  const bool relative = expectation.relative_to.has_value();
  const double sign = judged.higher_is_tested ? -1 : 1;
  const auto& effect = judged.judgement.effect;
  std::string found = readable(sign * effect.estimate, relative, expectation.metric);
  if (effect.interval) {
    auto low = sign * effect.interval->lower;
    auto high = sign * effect.interval->upper;
    if (low > high) std::swap(low, high);
    found += fmt::format(" [{}, {}]", readable(low, relative, expectation.metric),
                         readable(high, relative, expectation.metric));
  }
  switch (judged.judgement.verdict) {
    case Verdict::pass:
      judged.verdict = base::Verdict::pass;
      judged.sentence = fmt::format("holds: {} over {} blocks", found, judged.judgement.blocks);
      return;
    case Verdict::regression:
    case Verdict::improvement:
      judged.verdict = base::Verdict::fail;
      judged.sentence =
          fmt::format("does not hold: {} over {} blocks", found, judged.judgement.blocks);
      return;
    case Verdict::inconclusive:
      judged.verdict = base::Verdict::inconclusive;
      judged.sentence =
          fmt::format("cannot tell: {} over {} blocks", found, judged.judgement.blocks);
      if (judged.judgement.detectable) {
        judged.sentence += fmt::format(
            "; this run could have seen {}",
            readable(sign * *judged.judgement.detectable, relative, expectation.metric));
      }
      if (judged.judgement.blocks_needed) {
        judged.sentence +=
            fmt::format("; about {} blocks would settle it", *judged.judgement.blocks_needed);
      }
      return;
  }
}

// The servers' CPU for one of what `count` finds in their results; absent where that is none.
template <typename Count>
std::optional<double> servers_cpu_per(const Sample& sample, Count count) {
  std::uint64_t all = 0;
  std::int64_t cpu = 0;
  for (const auto& server : sample.servers) {
    all += count(server);
    cpu += server.cpu_user_ns + server.cpu_system_ns;
  }
  if (all == 0) return std::nullopt;
  return static_cast<double>(cpu) / static_cast<double>(all);
}

}  // namespace

std::optional<double> client_cpu_per_request(const Sample& sample) {
  const auto& client = sample.client;
  if (client.requests == 0 || client.stream) return std::nullopt;
  auto cpu = client.cpu_user_ns + client.cpu_system_ns;
  // Between two datagrams the sender spins on the clock alone; that is nobody's cost.
  if (client.datagrams) cpu -= std::min(cpu, client.datagrams->idle_spin_ns);
  return static_cast<double>(cpu) / static_cast<double>(client.requests);
}

std::optional<double> server_cpu_per_request(const Sample& sample) {
  if (sample.client.stream) return std::nullopt;
  const bool datagrams = sample.client.datagrams.has_value();
  return servers_cpu_per(sample, [datagrams](const bench::ServerResult& server) {
    return datagrams ? server.received : server.requests;
  });
}

std::optional<double> proxy_cpu_per_request(const Sample& sample) {
  if (sample.client.requests == 0 || sample.client.stream) return std::nullopt;
  std::int64_t cpu = 0;
  for (const auto& proxy : sample.proxies) {
    if (!proxy.cpu_ns) return std::nullopt;
    cpu += *proxy.cpu_ns;
  }
  return static_cast<double>(cpu) / static_cast<double>(sample.client.requests);
}

std::optional<double> client_cpu_per_gb(const Sample& sample) {
  if (!sample.client.stream || sample.client.stream->bytes == 0) return std::nullopt;
  return gigabyte * static_cast<double>(sample.client.cpu_user_ns + sample.client.cpu_system_ns) /
         static_cast<double>(sample.client.stream->bytes);
}

std::optional<double> server_cpu_per_gb(const Sample& sample) {
  if (!sample.client.stream) return std::nullopt;
  const auto per_byte =
      servers_cpu_per(sample, [](const bench::ServerResult& server) { return server.received; });
  return per_byte ? std::optional(gigabyte * *per_byte) : std::nullopt;
}

void summarise(Sample& sample, const bench::WorkloadSpec& workload) {
  const auto& client = sample.client;
  const auto keep = [&](Metric metric, std::optional<double> value) {
    if (value && *value > 0) sample.values[metric] = *value;
  };
  keep(Metric::latency_p50, percentile(client.latency, 0.5));
  keep(Metric::latency_p90, percentile(client.latency, 0.9));
  keep(Metric::latency_p99, percentile(client.latency, 0.99));
  if (!bench::keeps_connections(workload)) {
    keep(Metric::connect_p50, percentile(client.connect, 0.5));
  }
  if (client.stream) {
    keep(Metric::throughput, client.stream->bytes_per_second);
  } else {
    keep(Metric::rate, client.rate_per_second);
  }
  if (client.datagrams) keep(Metric::jitter, client.datagrams->jitter_mean_ns);
  const auto proxy_cpu = proxy_cpu_per_request(sample);
  keep(Metric::proxy_cpu_per_request, proxy_cpu);
  // A spinner burns its core whatever a request costs: its CPU is its latency, said twice.
  if (client.wait == bench::WaitStrategy::spin) return;
  const auto client_cpu = client_cpu_per_request(sample);
  const auto server_cpu = server_cpu_per_request(sample);
  if (client_cpu && server_cpu && proxy_cpu) {
    keep(Metric::cpu_per_request, *client_cpu + *server_cpu + *proxy_cpu);
  }
  // Of a stream the proxies' share is not told apart: with them there is no total.
  if (!sample.proxies.empty()) return;
  const auto client_gb = client_cpu_per_gb(sample);
  const auto server_gb = server_cpu_per_gb(sample);
  if (client_gb && server_gb) keep(Metric::cpu_per_gb, *client_gb + *server_gb);
}

bool lower_is_better(Metric metric) {
  return metric != Metric::rate && metric != Metric::throughput;
}

BlockLogs block_logs(const std::vector<Sample>& samples, const std::vector<int>& kept_blocks,
                     std::size_t arm, std::size_t workload, Metric metric) {
  BlockLogs series;
  for (const int block : kept_blocks) {
    double sum = 0;
    int count = 0;
    bool complete = true;
    for (const auto& sample : samples) {
      if (sample.block != block || sample.arm != arm || sample.workload != workload) continue;
      const auto value = sample.values.find(metric);
      complete = complete && value != sample.values.end();
      if (value == sample.values.end()) continue;
      sum += std::log(value->second);
      ++count;
    }
    if (!complete || count == 0) continue;
    series.blocks.push_back(block);
    series.logs.push_back(sum / count);
  }
  return series;
}

std::vector<double> paired_differences(const BlockLogs& arm, const BlockLogs& base) {
  std::vector<double> differences;
  for (std::size_t i = 0; i < arm.blocks.size(); ++i) {
    const auto other = std::ranges::find(base.blocks, arm.blocks[i]);
    if (other == base.blocks.end()) continue;
    const auto j = static_cast<std::size_t>(other - base.blocks.begin());
    differences.push_back(arm.logs[i] - base.logs[j]);
  }
  return differences;
}

std::string describe_expectation(const ExpectSpec& expectation, std::string_view workload) {
  std::string text =
      fmt::format("{} of {} ({})", base::enum_name(expectation.metric), expectation.arm, workload);
  const auto bound = [](const Bound& value) { return base::StringScalar<Bound>::format(value); };
  if (expectation.at_most) text += " at most " + bound(*expectation.at_most);
  if (expectation.at_least) text += " at least " + bound(*expectation.at_least);
  if (expectation.within) {
    text += fmt::format(" within {:g} %", 100 * expectation.within->fraction);
  }
  if (expectation.relative_to) text += " of " + *expectation.relative_to;
  return text;
}

base::Result<std::vector<JudgedExpectation>> judge_expectations(
    const Plan& plan, const std::vector<Sample>& samples, const std::vector<int>& kept_blocks) {
  const auto& expectations = plan.scenario.expect;
  std::vector<JudgedExpectation> judged(expectations.size());
  std::vector<Framed> frames(expectations.size());
  std::vector<base::stats::Question> questions;
  std::vector<std::size_t> asked;
  for (std::size_t i = 0; i < expectations.size(); ++i) {
    const auto& expectation = expectations[i];
    const auto arm_named = [&](const std::string& name) {
      return static_cast<std::size_t>(std::ranges::find(plan.arms, name, &PlannedArm::name) -
                                      plan.arms.begin());
    };
    std::size_t workload = 0;
    if (expectation.workload) {
      while (plan.workloads[workload].spec.kind != *expectation.workload) ++workload;
    }
    judged[i].text = describe_expectation(expectation, plan.workloads[workload].name);
    const auto* why = plan.skipped(expectation.arm);
    if (why == nullptr && expectation.relative_to) why = plan.skipped(*expectation.relative_to);
    if (why != nullptr) {
      judged[i].verdict = base::Verdict::skip;
      judged[i].sentence = *why;
      continue;
    }
    if (is_latency(expectation.metric)) {
      const auto over = [&](const std::string& name) {
        return plan.oversubscribed(plan.arms[arm_named(name)]);
      };
      if (plan.cores.oversubscribed()) {
        judged[i].sentence = fmt::format(
            "cannot tell: client and server share CPU {}, so latency is mostly the "
            "scheduler's; give the run two cores",
            plan.cores.client);
        continue;
      }
      if (over(expectation.arm) || (expectation.relative_to && over(*expectation.relative_to))) {
        judged[i].sentence =
            "cannot tell: proxies share the cores of client and server, so latency is mostly the "
            "scheduler's; give the run four cores, or judge CPU per request";
        continue;
      }
    }
    const auto arm =
        block_logs(samples, kept_blocks, arm_named(expectation.arm), workload, expectation.metric);
    auto differences = arm.logs;
    if (expectation.relative_to) {
      differences = paired_differences(
          arm, block_logs(samples, kept_blocks, arm_named(*expectation.relative_to), workload,
                          expectation.metric));
    }
    if (differences.empty()) {
      judged[i].sentence = "cannot tell: no kept block has this metric for both arms";
      continue;
    }
    frames[i] = frame(expectation, std::move(differences));
    judged[i].higher_is_tested = frames[i].turned;
    questions.push_back({frames[i].differences, frames[i].band});
    asked.push_back(i);
  }
  if (questions.empty()) return judged;
  ASSIGN_OR_RETURN(const auto answers, base::stats::judge_family(questions, alpha, level));
  for (std::size_t k = 0; k < asked.size(); ++k) {
    auto& one = judged[asked[k]];
    one.judged = true;
    one.judgement = answers[k];
    conclude(one, expectations[asked[k]]);
  }
  return judged;
}

}  // namespace stackbench
