#include "stackbench/run_loop.h"

#include <map>
#include <set>

#include <gtest/gtest.h>

namespace stackbench {
namespace {

// A machine whose gaps a test decides on: one entry a probe, the last one for good.
class FakeMachine {
 public:
  // `disturbed`: the blocks (by order of begin_block) whose probes lose half of their time.
  explicit FakeMachine(std::set<int> disturbed) : disturbed_(std::move(disturbed)) {}

  base::NoiseSources sources() {
    return {.gaps = [this](const std::vector<int>& cpus, base::Duration span,
                           base::Duration) -> base::Result<std::vector<base::GapReading>> {
              std::vector<base::GapReading> readings;
              for (const int cpu : cpus) {
                const std::int64_t lost = disturbed_.contains(block_) ? span.count() / 2 : 0;
                readings.push_back({cpu, span.count(), lost, lost});
              }
              return readings;
            },
            .counters =
                [this](const std::vector<int>&) {
                  // Read at the start and at the end of each block.
                  if (reads_++ % 2 == 0) ++block_;
                  return base::NoiseCounters{};
                }};
  }

 private:
  std::set<int> disturbed_;
  int reads_ = 0;
  int block_ = -1;
};

Plan plan_of(int blocks) {
  Plan plan;
  plan.scenario.blocks = blocks;
  plan.arms.resize(3);
  for (std::size_t i = 0; i < 3; ++i) plan.arms[i].name = fmt::format("arm{}", i);
  plan.workloads = {{.name = "tcp_rr", .spec = {}}, {.name = "tcp_crr", .spec = {}}};
  return plan;
}

base::Result<Sample> quiet_invoke(std::size_t arm, std::size_t workload, std::uint64_t) {
  Sample sample;
  sample.arm = arm;
  sample.workload = workload;
  return sample;
}

Measurements measure(const Plan& plan, std::set<int> disturbed,
                     const Invoke& invoke = quiet_invoke) {
  FakeMachine machine(std::move(disturbed));
  base::NoiseGuard guard({0, 1}, {}, machine.sources());
  base::Progress progress({}, [](std::string_view) {});
  const auto never = base::Interrupt::never();
  const BlockSink sink = [](const Block&, std::span<const Sample>) -> base::Result<> { return {}; };
  return measure_blocks(plan, invoke, sink, guard, progress, never);
}

TEST(MeasureBlocks, RunsOneWarmUpBlockAndEveryArmTwicePerWorkloadAndBlock) {
  const auto run = measure(plan_of(6), {});
  ASSERT_FALSE(run.ended_by);
  EXPECT_EQ(run.blocks.size(), 7u);
  EXPECT_EQ(run.kept_blocks(), (std::vector<int>{1, 2, 3, 4, 5, 6}));
  std::map<std::tuple<int, std::size_t, std::size_t>, int> times;
  for (const auto& sample : run.samples) ++times[{sample.block, sample.arm, sample.workload}];
  EXPECT_EQ(times.size(), 7u * 3 * 2);
  for (const auto& [where, count] : times) EXPECT_EQ(count, 2);
}

TEST(MeasureBlocks, ADisturbedBlockIsDroppedWholeAndReplaced) {
  const auto run = measure(plan_of(6), {2});
  ASSERT_FALSE(run.ended_by);
  EXPECT_EQ(run.kept_blocks(), (std::vector<int>{1, 3, 4, 5, 6, 7}));
  EXPECT_EQ(run.dropped_blocks(), 1);
  EXPECT_TRUE(run.blocks[2].disturbed);
  EXPECT_FALSE(run.invalid());
}

TEST(MeasureBlocks, ADisturbedWarmUpBlockIsNotReplaced) {
  const auto run = measure(plan_of(6), {0});
  ASSERT_FALSE(run.ended_by);
  EXPECT_EQ(run.kept_blocks().size(), 6u);
  EXPECT_EQ(run.dropped_blocks(), 0);
}

TEST(MeasureBlocks, GivesUpAfterHalfAsManyAgainAndCallsTheRunInvalid) {
  const auto run = measure(plan_of(6), {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  ASSERT_FALSE(run.ended_by);
  EXPECT_EQ(run.blocks.size(), 10u);  // the warm-up and nine tries
  EXPECT_TRUE(run.kept_blocks().empty());
  EXPECT_TRUE(run.invalid());
}

TEST(MeasureBlocks, AFailedInvocationEndsTheRunWithItsErrorAndWithoutItsBlock) {
  constexpr int per_block = 3 * 2 * 2;
  int calls = 0;
  const auto run = measure(
      plan_of(6), {},
      [&](std::size_t arm, std::size_t workload, std::uint64_t seed) -> base::Result<Sample> {
        if (++calls == 3 * per_block + 5) {
          return base::fail(base::ErrorKind::workload, "connect: Connection refused");
        }
        return quiet_invoke(arm, workload, seed);
      });
  ASSERT_TRUE(run.ended_by);
  EXPECT_EQ(run.ended_by->message, "connect: Connection refused");
  EXPECT_EQ(calls, 3 * per_block + 5);
  EXPECT_EQ(run.kept_blocks(), (std::vector<int>{1, 2}));
  EXPECT_EQ(run.samples.size(), 3u * per_block);
}

TEST(MeasureBlocks, EveryInvocationHasASeedOfItsOwnAndTheSameInTheNextRun) {
  const auto seeds_of = [] {
    std::set<std::uint64_t> seeds;
    const auto run = measure(
        plan_of(6), {},
        [&](std::size_t arm, std::size_t workload, std::uint64_t seed) -> base::Result<Sample> {
          seeds.insert(seed);
          return quiet_invoke(arm, workload, seed);
        });
    EXPECT_FALSE(run.ended_by);
    return seeds;
  };
  const auto seeds = seeds_of();
  EXPECT_EQ(seeds.size(), 7u * 6 * 2);
  EXPECT_EQ(seeds, seeds_of());
}

}  // namespace
}  // namespace stackbench
