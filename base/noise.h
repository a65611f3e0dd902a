// The noise guard: was the machine quiet enough while a block ran? It is blind to the arms: it
// looks at the machine between invocations and across whole blocks, never at a latency, so that
// dropping a disturbed block cannot favour an arm.
//
// Four sources. An active gap probe (a thread a CPU spins reading the clock; where consecutive
// readings lie apart, the CPU was elsewhere: another process, an interrupt, the hypervisor) is the
// one that sees a shared virtual machine's stalls. Steal time (/proc/stat), pressure stall
// information (/proc/pressure, Documentation/accounting/psi.rst) and packets the kernel dropped
// before any socket (/proc/net/softnet_stat, net/core/net-procfs.c) back it up.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/describe.h"
#include "base/result.h"

namespace base {

// What one CPU lost while it was watched.
struct GapReading {
  int cpu = 0;
  std::int64_t watched_ns = 0;
  std::int64_t max_gap_ns = 0;  // the longest time between two consecutive readings
  std::int64_t lost_ns = 0;     // the sum of the gaps longer than the threshold

  bool operator==(const GapReading&) const = default;
};

// Spins for `span` reading `now` (returns MonotonicTime). On the calling thread.
template <typename Now>
[[nodiscard]] GapReading look_for_gaps(Now&& now, Duration span, Duration threshold) {
  GapReading reading;
  const MonotonicTime start = now();
  MonotonicTime last = start;
  while (last - start < span) {
    const MonotonicTime time = now();
    const Duration gap = time - last;
    if (gap.count() > reading.max_gap_ns) reading.max_gap_ns = gap.count();
    if (gap > threshold) reading.lost_ns += gap.count();
    last = time;
  }
  reading.watched_ns = (last - start).count();
  return reading;
}

// Watches each of `cpus` from a thread of its own, all at the same time, and returns when the last
// is done. Errors: system or not_permitted (a CPU this process may not run on, no thread).
[[nodiscard]] Result<std::vector<GapReading>> probe_gaps(const std::vector<int>& cpus,
                                                         Duration span, Duration threshold);

// Counters since boot; what the kernel does not offer is absent.
struct NoiseCounters {
  MonotonicTime at = {};
  std::optional<std::uint64_t> busy_ticks =
      {};  // of the watched CPUs: user, nice, system, irq, softirq
  std::optional<std::uint64_t> steal_ticks = {};
  std::optional<std::uint64_t> cpu_stall_us = {};  // PSI "some" totals
  std::optional<std::uint64_t> memory_stall_us = {};
  std::optional<std::uint64_t> io_stall_us = {};
  std::optional<std::uint64_t> softnet_drops = {};  // of all CPUs
};

// Reads them below `root`, for `cpus` where the counter is per CPU. Never fails.
[[nodiscard]] NoiseCounters read_noise_counters(const std::vector<int>& cpus, MonotonicTime at,
                                                const std::string& root = "/");

// From where a block counts as disturbed. The defaults tolerate an ordinary shared virtual machine:
// on one with 2 CPUs, over blocks of 8 probes, the worse CPU lost about 2 % in the median and 7-16
// % in nine blocks of ten, with a longest gap of 0.15 ms and 1-2 ms; in a bad quarter of an hour
// half of all 3 ms probes lost 4 %, and one in four 18 %, with gaps up to 11 ms.
struct NoiseLimits {
  std::int64_t gap_threshold_ns = 50'000;  // a shorter gap is a timer tick or an interrupt
  std::int64_t probe_span_ns = 3'000'000;  // of one probe: 1 % of an invocation of 300 ms
  std::int64_t max_gap_ns = 20'000'000;    // longer than a scheduler's slice: the CPU was taken
  double lost_share = 0.25;                // of the worst CPU's watched time
  double steal_share = 0.25;               // of the time the CPUs wanted to run
  double memory_pressure = 0.05;           // of the block's time
  double io_pressure = 0.30;
  std::uint64_t softnet_drops = 0;

  bool operator==(const NoiseLimits&) const = default;
};

template <typename Visit, SelfOf<NoiseLimits> Self>
void describe(Visit& visit, Self& self) {
  visit("gap_threshold_ns", self.gap_threshold_ns,
        {.doc = "Shorter gaps are not counted as lost."});
  visit("probe_span_ns", self.probe_span_ns, {.doc = "How long one probe watches."});
  visit("max_gap_ns", self.max_gap_ns, {.doc = "The longest gap allowed."});
  visit("lost_share", self.lost_share, {.doc = "Share of the worst CPU's watched time in gaps."});
  visit("steal_share", self.steal_share,
        {.doc = "Share of the time the CPUs wanted to run that the hypervisor took."});
  visit("memory_pressure", self.memory_pressure, {.doc = "Share of time stalled on memory."});
  visit("io_pressure", self.io_pressure, {.doc = "Share of time stalled on I/O."});
  visit("softnet_drops", self.softnet_drops, {.doc = "Packets dropped before any socket."});
}

// What was seen during one block.
struct NoiseReading {
  int probes = 0;
  std::int64_t max_gap_ns = 0;
  int max_gap_cpu = 0;
  double lost_share = 0;  // of the worst CPU
  int lost_share_cpu = 0;
  std::optional<double> steal_share =
      {};  // absent under 50 ticks: one tick would be too much of it
  std::optional<double> cpu_pressure = {};  // shown, never judged: client and server make it
  std::optional<double> memory_pressure = {};
  std::optional<double> io_pressure = {};
  std::optional<std::uint64_t> softnet_drops = {};

  bool operator==(const NoiseReading&) const = default;
};

template <typename Visit, SelfOf<NoiseReading> Self>
void describe(Visit& visit, Self& self) {
  visit("probes", self.probes, {.doc = "Gap probes, one before each invocation."});
  visit("max_gap_ns", self.max_gap_ns, {.doc = "The longest gap."});
  visit("max_gap_cpu", self.max_gap_cpu, {.doc = "The CPU that had it."});
  visit("lost_share", self.lost_share, {.doc = "Share of watched time lost by the worst CPU."});
  visit("lost_share_cpu", self.lost_share_cpu, {.doc = "That CPU."});
  visit("steal_share", self.steal_share, {.doc = "Share of wanted time taken by the hypervisor."});
  visit("cpu_pressure", self.cpu_pressure,
        {.doc = "Share of time something waited for a CPU; made by the traffic itself as well, so "
                "it is shown and not judged."});
  visit("memory_pressure", self.memory_pressure, {.doc = "Share of time stalled on memory."});
  visit("io_pressure", self.io_pressure, {.doc = "Share of time stalled on I/O."});
  visit("softnet_drops", self.softnet_drops, {.doc = "Packets dropped before any socket."});
}

// Why a block with this reading is disturbed, in one line with figures and limits; nothing when it
// is not.
[[nodiscard]] std::optional<std::string> disturbance(const NoiseReading& reading,
                                                     const NoiseLimits& limits);

// Where the guard looks: the system's own, or a test's.
struct NoiseSources {
  std::function<Result<std::vector<GapReading>>(const std::vector<int>& cpus, Duration span,
                                                Duration threshold)>
      gaps;
  std::function<NoiseCounters(const std::vector<int>& cpus)> counters;
};
[[nodiscard]] NoiseSources system_noise_sources();

// Watches the blocks of a run, one after the other. One thread.
class NoiseGuard {
 public:
  // `cpus`: those that client, server and proxies are pinned to.
  NoiseGuard(std::vector<int> cpus, NoiseLimits limits,
             NoiseSources sources = system_noise_sources());

  // Starts a block: forgets the last one and reads the counters.
  void begin_block();
  // Looks for gaps now; call it between invocations. Blocks for limits.probe_span_ns.
  // Errors: as probe_gaps().
  Result<> probe();
  // What the block saw. Judge it with disturbance().
  [[nodiscard]] NoiseReading end_block() const;

  [[nodiscard]] const NoiseLimits& limits() const { return limits_; }

 private:
  std::vector<int> cpus_;
  NoiseLimits limits_;
  NoiseSources sources_;
  NoiseCounters start_;
  int probes_ = 0;
  std::vector<GapReading> totals_;  // per CPU: the longest gap, and sums
};

}  // namespace base
