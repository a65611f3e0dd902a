#include "stackbench/run_loop.h"

#include <algorithm>

namespace stackbench {
namespace {

// A disturbed block is replaced until half as many again were tried; past a quarter of dropped
// blocks the run tells nothing.
int most_blocks(int wanted) { return wanted + (wanted + 1) / 2; }
constexpr double most_dropped = 0.25;

// Different for every invocation, the same in every run of the scenario.
std::uint64_t invocation_seed(const Plan& plan, int block, std::size_t workload,
                              std::size_t position) {
  return plan.scenario.seed * 1'000'003 + static_cast<std::uint64_t>(block) * 10'007 +
         workload * 1'009 + position;
}

// Every arm twice per workload, with the noise guard around each. Fills `block`, and of `run` what
// it took.
base::Result<std::vector<Sample>> measure_block(const Plan& plan, const Invoke& invoke,
                                                base::NoiseGuard& guard, base::Progress& progress,
                                                const base::Interrupt& interrupt, int kept_before,
                                                Block& block, Measurements& run) {
  const int wanted = plan.scenario.blocks;
  const auto arms = plan.arms.size();
  const auto per_block = 2 * arms * plan.workloads.size();
  auto done = per_block * static_cast<std::size_t>(block.index);
  std::vector<Sample> samples;
  block.start = base::monotonic_now();
  guard.begin_block();
  for (std::size_t workload = 0; workload < plan.workloads.size(); ++workload) {
    block.order.push_back(arm_order(arms, plan.scenario.seed, block.index, workload));
    for (std::size_t position = 0; position < block.order.back().size(); ++position) {
      const auto arm = block.order.back()[position];
      progress.update(done++,
                      per_block * static_cast<std::size_t>(wanted + 1 + run.dropped_blocks()),
                      fmt::format("block {} of {}: {} {}", kept_before + (block.index > 0 ? 1 : 0),
                                  wanted, plan.arms[arm].name, plan.workloads[workload].name));
      RETURN_IF_ERROR(guard.probe());
      const auto begun = base::monotonic_now();
      auto sample = invoke(arm, workload, invocation_seed(plan, block.index, workload, position));
      if (interrupt.requested()) return base::fail(base::ErrorKind::interrupted, "interrupted");
      if (!sample) return std::unexpected(std::move(sample).error());
      const auto took = base::monotonic_now() - begun;
      const auto& spec = plan.workloads[workload].spec;
      run.overhead_time += took - spec.warm_up - spec.duration;
      sample->block = block.index;
      sample->position = static_cast<int>(position);
      summarise(*sample, spec);
      samples.push_back(std::move(*sample));
    }
  }
  block.end = base::monotonic_now();
  block.noise = guard.end_block();
  if (block.index > 0) {
    block.disturbed = base::disturbance(block.noise, guard.limits());
    block.kept = !block.disturbed;
  }
  return samples;
}

}  // namespace

void Measurements::add(const Block& block, std::span<const Sample> added) {
  for (const auto& sample : added) {
    Sample light = sample;
    light.client.latency = {};
    light.client.connect = {};
    light.client.lateness = {};
    // What they say of events is in its outcomes.
    light.client.failures = {};
    light.client.moves = {};
    for (auto& server : light.servers) server.arrivals_ns = {};
    samples.push_back(std::move(light));
  }
  blocks.push_back(block);
}

std::vector<int> Measurements::kept_blocks() const {
  std::vector<int> kept;
  for (const auto& block : blocks) {
    if (block.kept) kept.push_back(block.index);
  }
  return kept;
}

int Measurements::dropped_blocks() const {
  return static_cast<int>(std::ranges::count_if(
      blocks, [](const Block& block) { return block.disturbed.has_value(); }));
}

bool Measurements::invalid() const {
  const auto measured = kept_blocks().size() + static_cast<std::size_t>(dropped_blocks());
  return measured > 0 && dropped_blocks() > most_dropped * static_cast<double>(measured);
}

Measurements measure_blocks(const Plan& plan, const Invoke& invoke, const BlockSink& sink,
                            base::NoiseGuard& guard, base::Progress& progress,
                            const base::Interrupt& interrupt) {
  Measurements run;
  if (plan.arms.empty()) return run;
  const int wanted = plan.scenario.blocks;
  int kept = 0;
  for (int index = 0; kept < wanted && index <= most_blocks(wanted); ++index) {
    Block block;
    block.index = index;
    const auto whole = [&]() -> base::Result<> {
      ASSIGN_OR_RETURN(auto samples,
                       measure_block(plan, invoke, guard, progress, interrupt, kept, block, run));
      if (block.kept) ++kept;
      RETURN_IF_ERROR(sink(block, samples));
      run.add(block, samples);
      return {};
    }();
    if (!whole) {
      run.ended_by = whole.error();
      return run;
    }
    if (index == 0) {
      progress.step_done("warm-up block");
    } else if (block.disturbed) {
      progress.note(
          fmt::format("block dropped, another is measured in its place: {}", *block.disturbed));
    } else {
      progress.step_done(fmt::format("block {} of {}", kept, wanted));
    }
  }
  return run;
}

}  // namespace stackbench
