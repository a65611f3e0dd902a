// bench_micro: what the steps of the hot path cost, each against a reference where one exists.
// bench/peers/compare judges the ratios; here they are only printed.
#include <chrono>
#include <random>

#include <benchmark/benchmark.h>

#include "base/histogram.h"
#include "bench/frame.h"
#include "bench/micro/hdr_reference.h"
#include "bench/pacer.h"

namespace bench {
namespace {

// Latencies as a run makes them: most near 10 us, a tail to milliseconds. Small enough to stay in
// the first cache, so that the recording is measured and not the reading.
std::vector<std::uint64_t> latencies() {
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> latency(9.2, 0.4);
  std::vector<std::uint64_t> values(2'048);
  for (auto& value : values) value = static_cast<std::uint64_t>(latency(random));
  return values;
}

void histogram_record(benchmark::State& state) {
  const auto values = latencies();
  base::Histogram histogram;
  histogram.prepare();
  for ([[maybe_unused]] auto _ : state) {
    for (const auto value : values) {
      histogram.record(value);
      // The next record comes after system calls: nothing may stay in registers between two.
      benchmark::ClobberMemory();
    }
  }
  benchmark::DoNotOptimize(histogram.max());
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(values.size()));
}
BENCHMARK(histogram_record);

void histogram_record_reference(benchmark::State& state) {
  const auto values = latencies();
  auto reference = make_hdr_reference(3'600'000'000'000);
  for ([[maybe_unused]] auto _ : state) {
    for (const auto value : values) {
      hdr_record(reference, static_cast<std::int64_t>(value));
      benchmark::ClobberMemory();
    }
  }
  benchmark::DoNotOptimize(reference.max_value);
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(values.size()));
}
BENCHMARK(histogram_record_reference);

void pacer_next(benchmark::State& state) {
  const auto schedule = arrival_schedule({1e6}, std::chrono::milliseconds(10), 1);
  for ([[maybe_unused]] auto _ : state) {
    OpenLoopPacer pacer(*schedule, base::MonotonicTime{});
    while (auto due = pacer.take_due(base::MonotonicTime{1'000'000'000})) {
      benchmark::DoNotOptimize(due);
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(schedule->size()));
}
BENCHMARK(pacer_next);

void frame_encode(benchmark::State& state) {
  std::array<char, 64> buffer{};
  std::uint64_t sequence = 0;
  for ([[maybe_unused]] auto _ : state) {
    encode(RequestHeader{.request_bytes = 64, .response_bytes = 64, .sequence = ++sequence},
           buffer.data());
    benchmark::ClobberMemory();
  }
  benchmark::DoNotOptimize(buffer);
}
BENCHMARK(frame_encode);

void frame_parse(benchmark::State& state) {
  std::array<char, 64> buffer{};
  encode(ReplyHeader{.response_bytes = 64, .server_id = 1, .sequence = 7}, buffer.data());
  FrameReader reader;
  for ([[maybe_unused]] auto _ : state) {
    reader.reset();
    benchmark::DoNotOptimize(reader.feed(buffer.data(), buffer.size()));
    benchmark::DoNotOptimize(reader.header<ReplyHeader>());
  }
}
BENCHMARK(frame_parse);

void clock_read(benchmark::State& state) {
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(base::monotonic_now());
}
BENCHMARK(clock_read);

}  // namespace
}  // namespace bench

BENCHMARK_MAIN();
