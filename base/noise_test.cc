#include "base/noise.h"

#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace base {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using testing::HasSubstr;

// A clock that gives these readings, one a call, and then goes on in steps of 1 us.
class ScriptedClock {
 public:
  explicit ScriptedClock(std::vector<std::int64_t> steps) : steps_(std::move(steps)) {}
  MonotonicTime operator()() {
    now_ += next_ < steps_.size() ? steps_[next_] : 1'000;
    ++next_;
    return {now_};
  }

 private:
  std::vector<std::int64_t> steps_;
  std::size_t next_ = 0;
  std::int64_t now_ = 1'000'000;
};

TEST(GapProbe, SumsTheGapsAboveTheThresholdAndKeepsTheLongest) {
  ScriptedClock clock({0, 1'000, 60'000, 50'000, 1'000, 200'000});
  const auto reading = look_for_gaps([&] { return clock(); }, milliseconds(1), microseconds(50));
  EXPECT_EQ(reading.max_gap_ns, 200'000);
  EXPECT_EQ(reading.lost_ns, 260'000);  // a gap as long as the threshold is not lost
  EXPECT_EQ(reading.watched_ns, 1'000'000);
}

TEST(GapProbe, AQuietClockLosesNothing) {
  ScriptedClock clock({});
  const auto reading = look_for_gaps([&] { return clock(); }, milliseconds(1), microseconds(50));
  EXPECT_EQ(reading, (GapReading{.cpu = 0, .watched_ns = 1'000'000, .max_gap_ns = 1'000}));
}

TEST(GapProbe, WatchesACpuOfThisMachine) {
  const auto readings = probe_gaps({0}, microseconds(200), microseconds(50));
  ASSERT_TRUE(readings) << readings.error().message;
  ASSERT_EQ(readings->size(), 1u);
  EXPECT_GE(readings->front().watched_ns, 200'000);
  EXPECT_GE(readings->front().watched_ns, readings->front().lost_ns);
}

TEST(GapProbe, ACpuThatDoesNotExistIsAnError) {
  EXPECT_FALSE(probe_gaps({1023}, microseconds(1), microseconds(1)));
  EXPECT_EQ(probe_gaps({-1}, microseconds(1), microseconds(1)).error().kind, ErrorKind::input);
}

class FakeProc : public testing::Test {
 protected:
  FakeProc() {
    std::string pattern = (std::filesystem::temp_directory_path() / "noise_test.XXXXXX").string();
    if (::mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  ~FakeProc() override {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  void write(std::string_view name, std::string_view content) const {
    const auto file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << content;
  }
  [[nodiscard]] std::string root() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

TEST_F(FakeProc, CountersOfTheWatchedCpusAreAdded) {
  write("proc/stat",
        "cpu  111 111 111 111 111 111 111 111 0 0\n"
        "cpu0 1 2 3 100 100 4 5 6 0 0\n"
        "cpu1 10 20 30 100 100 40 50 60 0 0\n"
        "cpu10 1000 0 0 0 0 0 0 1000 0 0\n"
        "intr 1 2 3 4 5 6 7 8 9\n");
  const auto both = read_noise_counters({0, 1}, {7}, root());
  EXPECT_EQ(both.at, MonotonicTime{7});
  EXPECT_EQ(both.busy_ticks, 15u + 150u);
  EXPECT_EQ(both.steal_ticks, 66u);
  EXPECT_EQ(read_noise_counters({1}, {7}, root()).steal_ticks, 60u);
}

TEST_F(FakeProc, PressureAndDropsAreRead) {
  write("proc/pressure/cpu", "some avg10=0.18 avg60=0.06 avg300=0.22 total=893\nfull total=1\n");
  write("proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=12\n");
  write("proc/net/softnet_stat",
        "0000000d 00000001 00000000 00000000\n00001026 0000000a 00000000 00000000\n");
  const auto counters = read_noise_counters({0}, {}, root());
  EXPECT_EQ(counters.cpu_stall_us, 893u);
  EXPECT_EQ(counters.memory_stall_us, 12u);
  EXPECT_EQ(counters.io_stall_us, std::nullopt);
  EXPECT_EQ(counters.softnet_drops, 11u);
}

TEST_F(FakeProc, WhatTheKernelDoesNotOfferIsAbsent) {
  const auto counters = read_noise_counters({0}, {}, root());
  EXPECT_EQ(counters.busy_ticks, std::nullopt);
  EXPECT_EQ(counters.steal_ticks, std::nullopt);
  EXPECT_EQ(counters.cpu_stall_us, std::nullopt);
  EXPECT_EQ(counters.softnet_drops, std::nullopt);
}

// A guard on two CPUs whose sources are the test's.
class Guard : public testing::Test {
 protected:
  NoiseGuard make(std::vector<int> cpus = {0, 1}) {
    return NoiseGuard(std::move(cpus), NoiseLimits{},
                      {.gaps =
                           [this](const std::vector<int>& asked, Duration span, Duration) {
                             asked_cpus_ = asked;
                             asked_span_ = span;
                             return gaps_;
                           },
                       .counters = [this](const std::vector<int>&) { return counters_; }});
  }

  Result<std::vector<GapReading>> gaps_ = std::vector<GapReading>{};
  NoiseCounters counters_;
  std::vector<int> asked_cpus_;
  Duration asked_span_{};
};

TEST_F(Guard, AddsUpTheProbesOfABlockPerCpu) {
  auto guard = make();
  guard.begin_block();
  gaps_ = {{0, 1'000'000, 10'000, 0}, {1, 1'000'000, 500'000, 500'000}};
  ASSERT_TRUE(guard.probe());
  gaps_ = {{0, 1'000'000, 800'000, 800'000}, {1, 1'000'000, 200'000, 200'000}};
  ASSERT_TRUE(guard.probe());
  const auto block = guard.end_block();
  EXPECT_EQ(block.probes, 2);
  EXPECT_EQ(block.max_gap_ns, 800'000);
  EXPECT_EQ(block.max_gap_cpu, 0);
  EXPECT_DOUBLE_EQ(block.lost_share, 0.4);  // CPU 0: 0.8 of 2 ms; CPU 1: 0.7
  EXPECT_EQ(block.lost_share_cpu, 0);
}

TEST_F(Guard, ANewBlockForgetsTheLast) {
  auto guard = make();
  guard.begin_block();
  gaps_ = {{0, 1'000'000, 900'000, 900'000}};
  ASSERT_TRUE(guard.probe());
  guard.begin_block();
  EXPECT_EQ(guard.end_block(), NoiseReading{});
}

TEST_F(Guard, ACoreSharedByClientAndServerIsWatchedOnce) {
  auto guard = make({1, 0, 1});
  guard.begin_block();
  ASSERT_TRUE(guard.probe());
  EXPECT_EQ(asked_cpus_, (std::vector{0, 1}));
  EXPECT_EQ(asked_span_.count(), NoiseLimits{}.probe_span_ns);
}

TEST_F(Guard, CountersBecomeSharesOfTheBlock) {
  auto guard = make();
  counters_ = {.at = {0},
               .busy_ticks = 100,
               .steal_ticks = 10,
               .cpu_stall_us = 0,
               .memory_stall_us = 5'000,
               .io_stall_us = {},
               .softnet_drops = 3};
  guard.begin_block();
  counters_ = {.at = {1'000'000'000},
               .busy_ticks = 160,
               .steal_ticks = 50,
               .cpu_stall_us = 500'000,
               .memory_stall_us = 105'000,
               .io_stall_us = {},
               .softnet_drops = 5};
  const auto block = guard.end_block();
  EXPECT_DOUBLE_EQ(block.steal_share.value(), 0.4);
  EXPECT_DOUBLE_EQ(block.cpu_pressure.value(), 0.5);
  EXPECT_DOUBLE_EQ(block.memory_pressure.value(), 0.1);
  EXPECT_EQ(block.io_pressure, std::nullopt);
  EXPECT_EQ(block.softnet_drops, 2u);
}

TEST_F(Guard, StealIsNotJudgedOnAFewTicks) {
  auto guard = make();
  counters_ = {.at = {0}, .busy_ticks = 0, .steal_ticks = 0};
  guard.begin_block();
  counters_ = {.at = {1}, .busy_ticks = 20, .steal_ticks = 29};
  EXPECT_EQ(guard.end_block().steal_share, std::nullopt);
}

TEST_F(Guard, AProbeThatCannotRunIsAnError) {
  auto guard = make();
  guard.begin_block();
  gaps_ = fail(ErrorKind::not_permitted, "pin to CPU 1");
  EXPECT_EQ(guard.probe().error().kind, ErrorKind::not_permitted);
}

TEST(Disturbance, AnOrdinarySharedMachineIsQuietEnough) {
  const NoiseReading ordinary{.probes = 8,
                              .max_gap_ns = 7'000'000,
                              .max_gap_cpu = 1,
                              .lost_share = 0.16,
                              .lost_share_cpu = 1,
                              .steal_share = 0.08,
                              .cpu_pressure = 0.9,
                              .memory_pressure = 0.0,
                              .io_pressure = 0.02,
                              .softnet_drops = 0};
  EXPECT_EQ(disturbance(ordinary, NoiseLimits{}), std::nullopt);
}

TEST(Disturbance, EverySourceHasALimitAndIsNamedWithItsFigure) {
  const NoiseLimits limits;
  const auto reason = [&](const NoiseReading& reading) {
    return disturbance(reading, limits).value_or("quiet");
  };
  EXPECT_EQ(reason({.max_gap_ns = 21'000'000, .max_gap_cpu = 1}),
            "CPU 1 was away for 21.0 ms (limit 20.0 ms)");
  EXPECT_EQ(reason({.lost_share = 0.301, .lost_share_cpu = 0}),
            "CPU 0 lost to others 30.1 % (limit 25.0 %)");
  EXPECT_EQ(reason({.steal_share = 0.5}), "stolen by the hypervisor 50.0 % (limit 25.0 %)");
  EXPECT_EQ(reason({.memory_pressure = 0.06}), "stalled on memory 6.0 % (limit 5.0 %)");
  EXPECT_EQ(reason({.io_pressure = 0.31}), "stalled on I/O 31.0 % (limit 30.0 %)");
  EXPECT_EQ(reason({.softnet_drops = 1}), "1 packet dropped before any socket (limit 0)");
}

TEST(Disturbance, ALimitItselfIsStillQuiet) {
  const NoiseLimits limits;
  EXPECT_EQ(disturbance({.max_gap_ns = limits.max_gap_ns,
                         .lost_share = limits.lost_share,
                         .steal_share = limits.steal_share,
                         .memory_pressure = limits.memory_pressure,
                         .io_pressure = limits.io_pressure,
                         .softnet_drops = limits.softnet_drops},
                        limits),
            std::nullopt);
}

TEST(Disturbance, SeveralReasonsAreAllNamed) {
  EXPECT_THAT(disturbance({.lost_share = 0.5, .softnet_drops = 2}, {}).value(),
              testing::AllOf(HasSubstr("lost to others"), HasSubstr("; 2 packets dropped")));
}

}  // namespace
}  // namespace base
