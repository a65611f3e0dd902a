// The blocks of a run: a warm-up block, then kept ones, disturbed ones replaced.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "base/noise.h"
#include "base/result.h"
#include "base/terminal.h"
#include "stackbench/analysis.h"
#include "stackbench/plan.h"
#include "stackbench/session.h"

namespace stackbench {

struct Block {
  int index = 0;  // 0 is the warm-up block
  bool kept = false;
  std::optional<std::string> disturbed;  // why it was dropped
  base::NoiseReading noise;
  std::vector<std::vector<std::size_t>> order;  // per workload: arms, first pass then mirrored
  base::MonotonicTime start;
  base::MonotonicTime end;
};

struct Measurements {
  std::vector<Sample> samples;  // of every whole block, dropped and warm-up ones too
  std::vector<Block> blocks;
  // What ended it before its last block; what is here was measured before. Interrupted: the user.
  std::optional<base::Error> ended_by;
  base::Duration overhead_time{0};  // of invocations, beside their warm-up and duration
  // Adds a block and its samples, without their histograms and lists of stamps: a run's worth of
  // them would fill the memory.
  void add(const Block& block, std::span<const Sample> samples);
  [[nodiscard]] std::vector<int> kept_blocks() const;
  [[nodiscard]] int dropped_blocks() const;
  // More than a quarter of the measured blocks were disturbed: no verdict rests on the rest.
  [[nodiscard]] bool invalid() const;
};

// What one invocation does; Session::invoke, or a test's.
using Invoke =
    std::function<base::Result<Sample>(std::size_t arm, std::size_t workload, std::uint64_t seed)>;

// Takes each block as it ends, with its samples; afterwards their histograms are let go.
using BlockSink =
    std::function<base::Result<>(const Block& block, std::span<const Sample> samples)>;

// Runs blocks until the plan's number is kept, or half as many again were tried; none where every
// arm was skipped. Blocks until then.
// The first error of an invocation, the sink or the guard ends the run without the block it hit and
// is in `ended_by`, as is an interrupt.
[[nodiscard]] Measurements measure_blocks(const Plan& plan, const Invoke& invoke,
                                          const BlockSink& sink, base::NoiseGuard& guard,
                                          base::Progress& progress,
                                          const base::Interrupt& interrupt);

}  // namespace stackbench
