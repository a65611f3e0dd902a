// A workload that several generators carry together: each its share of the rate and of the
// connections, and their results as one.
#pragma once

#include <optional>
#include <span>

#include "base/result.h"
#include "bench/workload.h"

namespace bench {

// The share of generator `index`, from 0, of `generators`: an equal part of the rate, and of the
// connections, of which the first ones have one more where they do not come out even. Every share
// has a connection as long as there are as many as generators.
[[nodiscard]] WorkloadSpec share_of(const WorkloadSpec& whole, int index, int generators);

// What generators measured, and how far each one's clock is ahead of ours.
struct Share {
  ClientResult result;
  base::Duration clock_offset{0};
};

// The results as one generator's, on our clock: counts, rates, CPU and histograms add up (the merge
// of histograms is exact, so a percentile is that of all samples pooled); the window is from the
// first one's begin to the last one's end; a flag is set where any one's is; utilisation, and the
// residual of Little's law, are the worst. Not for streams. Errors: input (no share, different
// kinds, a stream).
[[nodiscard]] base::Result<ClientResult> merge_shares(std::span<const Share> shares);

// The same one after another, so that no more than one is held beside the sum.
class SharesSum {
 public:
  // Errors: as merge_shares.
  base::Result<> add(const Share& share);
  [[nodiscard]] base::Result<ClientResult> take();

 private:
  std::optional<ClientResult> sum_;
  int shares_ = 0;
};

}  // namespace bench
