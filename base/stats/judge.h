// From differences to a verdict. A margin decides, not p alone: a difference nobody would act on is
// a pass however significant, and data that cannot tell a pass from a regression are inconclusive.
//
// Direction: greater is worse. The caller turns the sign for metrics where more is better (rate),
// so nothing here knows a metric's name. Differences are one number per block, on the scale the
// margin is given in; for ratios that is the logarithm: d = log(head / base), margin = log_margin(3
// %).
#pragma once

#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/scalar.h"
#include "base/stats/hodges_lehmann.h"

namespace base::stats {

enum class Verdict {
  regression,    // surely worse than the margin
  pass,          // surely inside it
  improvement,   // surely better than the margin
  inconclusive,  // the data cannot tell
};

// The differences that count as "no change worth acting on". The ends belong to it.
struct Band {
  double lower = 0;
  double upper = 0;

  // -margin .. +margin, margin > 0: equivalence, tested by two one-sided tests.
  [[nodiscard]] static constexpr Band within(double margin) { return {-margin, margin}; }
  // Anything up to `bound`: not worse than it. There is no improvement in such a band. An absolute
  // limit is a bound of 0 on log(value / limit).
  [[nodiscard]] static constexpr Band at_most(double bound) {
    return {-std::numeric_limits<double>::infinity(), bound};
  }
};

// One-sided p-values of the three claims, by the exact signed-rank test at the band's ends.
struct Evidence {
  double p_worse = 1;       // for "above the band"
  double p_equivalent = 1;  // for "inside": the larger of the two tests against its ends (TOST)
  double p_better = 1;      // for "below the band"; 1 where the band has no lower end
};

struct Judgement {
  int blocks = 0;
  Effect effect;
  Evidence evidence;  // as measured
  Evidence adjusted;  // by Holm over the family, claim by claim; decides the verdict
  Verdict verdict = Verdict::inconclusive;
  // The least true difference that this many blocks call a regression four times in five. Absent
  // where so few blocks cannot (2^-blocks is above the alpha left to one metric), or there is no
  // interval to tell the noise from.
  std::optional<double> detectable;
  // Inconclusive only: the blocks that would settle it four times in five, were the estimate the
  // truth. Absent where the estimate sits so close to the band's end that max_blocks are not
  // enough, or there is no interval to tell the noise from.
  std::optional<int> blocks_needed;
};

// How often `detectable` and `blocks_needed` promise a verdict, and where the latter gives up.
inline constexpr double planned_power = 0.8;
inline constexpr int max_blocks = 1000;

// A run may be judged at most twice, after so many blocks and at this alpha. The parts are fixed
// beforehand and sum to 0.05, so stopping at the first look does not raise the false-alarm rate
// (Bonferroni: it holds whatever the two looks have in common).
struct Look {
  int blocks = 0;
  double alpha = 0;
};
inline constexpr std::array looks{Look{12, 0.03}, Look{20, 0.02}};

// One metric of a family.
struct Question {
  std::span<const double> differences;  // one per block
  Band band;
};

// Judges metrics that gate together. The chance of one or more false regressions among them is at
// most `alpha`, and so, each by itself, are those of a false pass and of a false improvement.
// `level` is the confidence of the displayed interval alone; 1 - 2 alpha makes it the one the tests
// draw, unadjusted. Planning uses the worst alpha Holm may leave to a metric, alpha over their
// number. Errors: input (no differences, one that is not finite, a band that is empty or has no
// upper end, an alpha outside 0..0.5, a level outside 0..1).
[[nodiscard]] Result<std::vector<Judgement>> judge_family(std::span<const Question> questions,
                                                          double alpha, double level = 0.95);

// The same for one metric alone.
[[nodiscard]] Result<Judgement> judge(std::span<const double> differences, const Band& band,
                                      double alpha, double level = 0.95);
[[nodiscard]] Result<Judgement> judge(std::span<const double> differences, double margin,
                                      double alpha, double level = 0.95);

// A margin on a ratio, on the scale of its logarithm, and back: 3 % is log(1.03). The band is
// symmetric there (1/1.03 .. 1.03), so exchanging the arms mirrors the verdict.
[[nodiscard]] inline double log_margin(Percent margin) { return std::log1p(margin.fraction); }
[[nodiscard]] inline Percent percent_from_log(double difference) {
  return {std::expm1(difference)};
}

}  // namespace base::stats

template <>
struct base::EnumNames<base::stats::Verdict> {
  static constexpr std::array names{
      std::pair{base::stats::Verdict::regression, std::string_view("regression")},
      std::pair{base::stats::Verdict::pass, std::string_view("pass")},
      std::pair{base::stats::Verdict::improvement, std::string_view("improvement")},
      std::pair{base::stats::Verdict::inconclusive, std::string_view("inconclusive")}};
};
