#include "base/noise.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include <fmt/ranges.h>
#include <pthread.h>
#include <sched.h>

#include "base/file.h"
#include "base/units.h"

namespace base {
namespace {

// A share of steal is not judged on fewer ticks than this: a tick is 10 ms.
constexpr std::uint64_t fewest_ticks = 50;

Result<> pin_this_thread(int cpu) {
  if (cpu < 0 || cpu >= CPU_SETSIZE) {
    return fail(ErrorKind::input, "CPU {} does not exist", cpu);
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu), &set);
  const int problem = ::pthread_setaffinity_np(::pthread_self(), sizeof set, &set);
  if (problem != 0) return system_error(problem, "noise guard: pin to CPU {}", cpu);
  return {};
}

// The words of a line, or the lines of a text, which must outlive them.
std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> parts;
  while (true) {
    const auto start = text.find_first_not_of(separators);
    if (start == std::string_view::npos) return parts;
    text.remove_prefix(start);
    const auto end = text.find_first_of(separators);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end);
  }
}

std::optional<std::uint64_t> number(std::string_view text, int base = 10) {
  std::uint64_t value = 0;
  const auto* end = text.data() + text.size();
  const auto [rest, problem] = std::from_chars(text.data(), end, value, base);
  if (problem != std::errc{} || rest != end) return std::nullopt;
  return value;
}

std::string content_of(const std::string& path) {
  auto content = read_file(path);
  return content ? std::move(*content) : std::string();
}

// "some avg10=0.18 avg60=0.06 avg300=0.22 total=8936972"
std::optional<std::uint64_t> stalled_us(const std::string& path) {
  constexpr std::string_view key = "total=";
  const std::string content = content_of(path);
  for (const auto line : split(content, "\n")) {
    if (!line.starts_with("some ")) continue;
    const auto at = line.find(key);
    if (at != std::string_view::npos) return number(line.substr(at + key.size()));
  }
  return std::nullopt;
}

// "cpu0 user nice system idle iowait irq softirq steal guest guest_nice"; guest is part of user.
void read_ticks(const std::string& stat, const std::vector<int>& cpus, NoiseCounters& counters) {
  for (const auto line : split(stat, "\n")) {
    const auto fields = split(line, " ");
    if (fields.size() < 9 || !fields[0].starts_with("cpu")) continue;
    const auto cpu = number(fields[0].substr(3));
    const auto is_this = [&](int watched) { return cpu && std::cmp_equal(watched, *cpu); };
    if (std::ranges::none_of(cpus, is_this)) continue;
    std::uint64_t busy = 0;
    for (const std::size_t field : {1u, 2u, 3u, 6u, 7u}) busy += number(fields[field]).value_or(0);
    counters.busy_ticks = counters.busy_ticks.value_or(0) + busy;
    counters.steal_ticks = counters.steal_ticks.value_or(0) + number(fields[8]).value_or(0);
  }
}

// One line a CPU, hexadecimal: processed, dropped, time squeezed, ...
std::optional<std::uint64_t> dropped_packets(const std::string& path) {
  const std::string content = content_of(path);
  std::optional<std::uint64_t> drops;
  for (const auto line : split(content, "\n")) {
    const auto fields = split(line, " ");
    if (fields.size() < 2) continue;
    drops = drops.value_or(0) + number(fields[1], 16).value_or(0);
  }
  return drops;
}

// How much a counter grew; absent where either reading is, 0 where it went back (a CPU left).
std::optional<std::uint64_t> growth(std::optional<std::uint64_t> before,
                                    std::optional<std::uint64_t> after) {
  if (!before || !after) return std::nullopt;
  return *after > *before ? *after - *before : 0;
}

std::optional<double> share_of_time(std::optional<std::uint64_t> stalled, Duration elapsed) {
  if (!stalled || elapsed <= Duration::zero()) return std::nullopt;
  return static_cast<double>(*stalled) * 1000 / static_cast<double>(elapsed.count());
}

}  // namespace

Result<std::vector<GapReading>> probe_gaps(const std::vector<int>& cpus, Duration span,
                                           Duration threshold) {
  std::vector<Result<GapReading>> readings(cpus.size());
  {
    std::vector<std::jthread> watchers;
    watchers.reserve(cpus.size());
    try {
      for (std::size_t i = 0; i < cpus.size(); ++i) {
        watchers.emplace_back([&reading = readings[i], cpu = cpus[i], span, threshold] {
          if (auto pinned = pin_this_thread(cpu); !pinned) {
            reading = std::unexpected(std::move(pinned).error());
            return;
          }
          reading = look_for_gaps(monotonic_now, span, threshold);
          reading->cpu = cpu;
        });
      }
    } catch (const std::system_error& error) {
      return system_error(error.code().value(), "noise guard: start a thread");
    }
  }
  std::vector<GapReading> gaps;
  for (auto& reading : readings) {
    ASSIGN_OR_RETURN(gaps.emplace_back(), std::move(reading));
  }
  return gaps;
}

NoiseCounters read_noise_counters(const std::vector<int>& cpus, MonotonicTime at,
                                  const std::string& root) {
  NoiseCounters counters{.at = at};
  read_ticks(content_of(root + "/proc/stat"), cpus, counters);
  counters.cpu_stall_us = stalled_us(root + "/proc/pressure/cpu");
  counters.memory_stall_us = stalled_us(root + "/proc/pressure/memory");
  counters.io_stall_us = stalled_us(root + "/proc/pressure/io");
  counters.softnet_drops = dropped_packets(root + "/proc/net/softnet_stat");
  return counters;
}

std::optional<std::string> disturbance(const NoiseReading& reading, const NoiseLimits& limits) {
  std::vector<std::string> reasons;
  const auto time = [](std::int64_t ns) {
    return format_time(static_cast<double>(ns), Charset::ascii);
  };
  const auto over = [&](std::optional<double> share, double limit, const std::string& what) {
    if (!share || *share <= limit) return;
    reasons.push_back(fmt::format("{} {:.1f} % (limit {:.1f} %)", what, *share * 100, limit * 100));
  };
  if (reading.max_gap_ns > limits.max_gap_ns) {
    reasons.push_back(fmt::format("CPU {} was away for {} (limit {})", reading.max_gap_cpu,
                                  time(reading.max_gap_ns), time(limits.max_gap_ns)));
  }
  over(reading.lost_share, limits.lost_share,
       fmt::format("CPU {} lost to others", reading.lost_share_cpu));
  over(reading.steal_share, limits.steal_share, "stolen by the hypervisor");
  over(reading.memory_pressure, limits.memory_pressure, "stalled on memory");
  over(reading.io_pressure, limits.io_pressure, "stalled on I/O");
  if (reading.softnet_drops && *reading.softnet_drops > limits.softnet_drops) {
    reasons.push_back(fmt::format("{} dropped before any socket (limit {})",
                                  format_count(*reading.softnet_drops, "packet"),
                                  limits.softnet_drops));
  }
  if (reasons.empty()) return std::nullopt;
  return fmt::format("{}", fmt::join(reasons, "; "));
}

NoiseSources system_noise_sources() {
  return {.gaps = probe_gaps, .counters = [](const std::vector<int>& cpus) {
            return read_noise_counters(cpus, monotonic_now());
          }};
}

NoiseGuard::NoiseGuard(std::vector<int> cpus, NoiseLimits limits, NoiseSources sources)
    : cpus_(std::move(cpus)), limits_(limits), sources_(std::move(sources)) {
  // Client and server may share a core; two watchers on it would see each other.
  std::ranges::sort(cpus_);
  cpus_.erase(std::ranges::unique(cpus_).begin(), cpus_.end());
}

void NoiseGuard::begin_block() {
  probes_ = 0;
  totals_.clear();
  start_ = sources_.counters(cpus_);
}

Result<> NoiseGuard::probe() {
  ASSIGN_OR_RETURN(const auto readings, sources_.gaps(cpus_, Duration(limits_.probe_span_ns),
                                                      Duration(limits_.gap_threshold_ns)));
  ++probes_;
  for (const auto& reading : readings) {
    auto total = std::ranges::find(totals_, reading.cpu, &GapReading::cpu);
    if (total == totals_.end()) {
      totals_.push_back(reading);
      continue;
    }
    total->watched_ns += reading.watched_ns;
    total->lost_ns += reading.lost_ns;
    total->max_gap_ns = std::max(total->max_gap_ns, reading.max_gap_ns);
  }
  return {};
}

NoiseReading NoiseGuard::end_block() const {
  NoiseReading block{.probes = probes_};
  for (const auto& total : totals_) {
    if (total.max_gap_ns > block.max_gap_ns) {
      block.max_gap_ns = total.max_gap_ns;
      block.max_gap_cpu = total.cpu;
    }
    const double lost = total.watched_ns > 0 ? static_cast<double>(total.lost_ns) /
                                                   static_cast<double>(total.watched_ns)
                                             : 0;
    if (lost > block.lost_share) {
      block.lost_share = lost;
      block.lost_share_cpu = total.cpu;
    }
  }
  const NoiseCounters end = sources_.counters(cpus_);
  const auto busy = growth(start_.busy_ticks, end.busy_ticks);
  const auto steal = growth(start_.steal_ticks, end.steal_ticks);
  if (busy && steal && *busy + *steal >= fewest_ticks) {
    block.steal_share = static_cast<double>(*steal) / static_cast<double>(*busy + *steal);
  }
  const Duration elapsed = end.at - start_.at;
  block.cpu_pressure = share_of_time(growth(start_.cpu_stall_us, end.cpu_stall_us), elapsed);
  block.memory_pressure =
      share_of_time(growth(start_.memory_stall_us, end.memory_stall_us), elapsed);
  block.io_pressure = share_of_time(growth(start_.io_stall_us, end.io_stall_us), elapsed);
  block.softnet_drops = growth(start_.softnet_drops, end.softnet_drops);
  return block;
}

}  // namespace base
