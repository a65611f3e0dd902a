// From the parts of a report to its answer and to the command's exit code.
#pragma once

#include "reports/record.h"

namespace reports {

// More disturbed blocks than this share of all after the warm-up make the figures invalid.
inline constexpr double disturbed_share_limit = 0.25;

// How quiet the machine was over all blocks; the warm-up block is left out.
[[nodiscard]] NoiseSummary summarise_noise(const std::vector<Block>& blocks,
                                           const base::NoiseLimits& limits);

// The answer, from everything in the report but report.conclusion itself:
//   128 + n  ended by signal n
//   2        an error of ours, or a run that ended early without one (our process died)
//   5        traffic could not be made, or requests failed in a kept block
//   1        a check failed; an expectation failed and the figures are valid
//   4        too disturbed, or a check or expectation came out invalid
//   3        something inconclusive, everything skipped, or no block kept at all
//   0        what was claimed holds; or nothing was claimed, and then there is no verdict
// The first that applies. With 128 + n, 2 and 5 there is no verdict: what is there is incomplete.
[[nodiscard]] Conclusion conclude(const Report& report);

// conclude(report).exit_code.
[[nodiscard]] int exit_code(const Report& report);

}  // namespace reports
