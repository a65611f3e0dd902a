// From samples to estimates, differences and judged expectations. The unit of analysis is one
// invocation's summary; a block's value for an arm is the mean of its two logarithms; raw samples
// of different invocations are never pooled (measurement.md, "Comparing arms").
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/stats/hodges_lehmann.h"
#include "base/stats/judge.h"
#include "base/verdict.h"
#include "bench/workload.h"
#include "checks/event_outcome.h"
#include "stackbench/plan.h"

namespace stackbench {

// What the proxy beside one of an arm's pods did in an invocation.
struct ProxySample {
  std::string pod;
  bool of_client = false;                   // else of a server
  std::optional<std::int64_t> cpu_ns = {};  // in the measuring window; absent: not read in time
  std::int64_t memory_bytes = 0;            // after it
  // From before the first connection to after the last: taken from the application or from the
  // proxy at the other side, and the TLS handshakes made for them.
  std::uint64_t connections = 0;
  std::uint64_t handshakes = 0;
  std::uint64_t resumed = 0;  // of those
  std::uint64_t failed = 0;
  std::uint64_t handshakes_ever = 0;  // those since the proxy began
};

// One arm in one block, once.
struct Sample {
  std::size_t arm = 0;
  std::size_t workload = 0;
  int block = 0;     // 0 is the warm-up block; kept ones and disturbed ones count on from 1
  int position = 0;  // in its block's order for this workload
  // From before its first connection to after its last; the controller's CLOCK_MONOTONIC.
  base::MonotonicTime begun = {};
  base::MonotonicTime ended = {};
  bench::ClientResult client;
  std::vector<bench::ServerResult> servers;
  checks::Outcomes outcomes;              // of the scenario's events
  std::vector<ProxySample> proxies = {};  // of the client's pod and the servers'
  // Its metrics, in nanoseconds or per second. One is absent where the sample cannot tell: no
  // requests, too few for the percentile, a metric its workload does not have.
  std::map<Metric, double> values;
};

// CPU per request in nanoseconds, softirq they were billed for included; absent without a request.
// The servers' share is of all they answered, warm-up included.
[[nodiscard]] std::optional<double> client_cpu_per_request(const Sample& sample);
[[nodiscard]] std::optional<double> server_cpu_per_request(const Sample& sample);

// The proxies' together; absent where one's is not known, zero where there is none.
[[nodiscard]] std::optional<double> proxy_cpu_per_request(const Sample& sample);

// The same of a udp_stream is for a datagram, without what its client spun between two of them; of
// a tcp_stream there is none.

// CPU for 10^9 bytes of a tcp_stream; absent for others, and where no byte arrived.
[[nodiscard]] std::optional<double> client_cpu_per_gb(const Sample& sample);
[[nodiscard]] std::optional<double> server_cpu_per_gb(const Sample& sample);

// Fills in sample.values from what client and servers said; `workload` is what they were asked for.
void summarise(Sample& sample, const bench::WorkloadSpec& workload);

// True where a smaller value is better.
[[nodiscard]] bool lower_is_better(Metric metric);

// One value a kept block: the mean of the logarithms of its two samples.
struct BlockLogs {
  std::vector<int> blocks;
  std::vector<double> logs;
};

// The kept blocks' values of one arm. Blocks in which a sample has no value are left out.
[[nodiscard]] BlockLogs block_logs(const std::vector<Sample>& samples,
                                   const std::vector<int>& kept_blocks, std::size_t arm,
                                   std::size_t workload, Metric metric);

// Differences log(arm / base), block by block, over the blocks both have.
[[nodiscard]] std::vector<double> paired_differences(const BlockLogs& arm, const BlockLogs& base);

// An expectation, judged.
struct JudgedExpectation {
  std::string text;  // "latency.p50 of ebpf_cluster_ip at most +5% of ebpf_pod_ip (tcp_rr)"
  base::stats::Judgement judgement;
  bool judged = false;                                  // false: no data, `sentence` says why
  bool higher_is_tested = false;                        // the sign was turned (at_least)
  base::Verdict verdict = base::Verdict::inconclusive;  // or pass, fail, skip
  std::string sentence;                                 // the finding, with its numbers
};

// Judges every expectation of the plan as one family. Errors: input (an expectation that the
// statistics refuse; the reader should have).
[[nodiscard]] base::Result<std::vector<JudgedExpectation>> judge_expectations(
    const Plan& plan, const std::vector<Sample>& samples, const std::vector<int>& kept_blocks);

// The expectation in one line.
[[nodiscard]] std::string describe_expectation(const ExpectSpec& expectation,
                                               std::string_view workload);

}  // namespace stackbench
