#!/usr/bin/env python3
"""Prints golden.h: what scipy and statsmodels say of the data our statistics are tested on.

Run it at the top of the source tree, after changing a case below:

    python3 base/stats/golden.py | clang-format-19 --assume-filename=base/stats/golden.h > golden.new
    mv golden.new base/stats/golden.h

It needs scipy >= 1.13 (the committed values: 1.17.1) and statsmodels (0.15.0, for Holm alone).
Nothing here may come from our own code. Where scipy has no function (Hodges-Lehmann intervals), the
definition is applied to scipy's test: an interval is the set of centres the test does not reject.
Tied and zero data go through scipy's exhaustive permutation, a different way to the same
distribution than the counting in wilcoxon.cc.
"""

import numpy as np
import scipy
import scipy.stats as st
import statsmodels
from statsmodels.stats.multitest import multipletests

EXHAUSTIVE = st.PermutationMethod(n_resamples=np.inf)

# Paired differences on a grid of 1/1024, so that ties, zeros and shifts are exact in binary.
TIED = [3, -1, 0, 4, 4, -4, 7, 0, 9, -2, 12, 5]
MOSTLY_ZERO = [0, 0, 0, 0, 5, 0, 0, 3, 0, 0]
# Depression scores before less after (Hollander and Wolfe 1973, 29f), and log ratios of latencies as
# runs give them: a drift with one outlier, a slowdown, none at all, a gain.
DEPRESSION = [0.952, -0.147, 1.022, 0.430, 0.620, 0.590, 0.490, -0.080, 0.010]
OUTLIER = [0.011, 0.024, -0.007, 0.018, 0.305, 0.013, 0.002, 0.029, -0.015, 0.021, 0.0085, 0.0165]
SLOWER = [0.071, 0.083, 0.0655, 0.0925, 0.0772, 0.0601, 0.0888, 0.0743, 0.1021, 0.0699, 0.0817, 0.0555]
SAME = [0.0041, -0.0032, 0.0067, 0.0015, -0.0078, 0.0023, -0.0011, 0.0052, -0.0046, 0.0009, 0.0034, -0.0027]
FASTER = [-0.05207, -0.06121, -0.04836, -0.07019, -0.05554, -0.04373, -0.05928, -0.06647, -0.05181, -0.05713]
NOISY = [0.31, -0.22, 0.05, 0.18, -0.09, 0.27, -0.16, 0.12, 0.02, -0.04]
SIX = [0.02, 0.035, -0.01, 0.05, 0.0425, 0.0311]
# Permeability of the human chorioamnion (Hollander and Wolfe 1973, 69f).
AT_TERM = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
EARLIER = [1.15, 0.88, 0.90, 0.74, 1.21]
BASE_RUN = [1.01, 1.043, 0.987, 1.022, 1.0055, 0.994, 1.031, 1.0172]
HEAD_RUN = [1.052, 1.081, 1.0391, 1.0675, 1.012, 1.0933, 1.0488]
TIED_FIRST = [1, 2, 2, 3, 5, 5]
TIED_SECOND = [2, 3, 4, 4, 6, 7, 7]


def grid(values):
    return [v / 1024 for v in values]


def number(value):
    value = float(value)
    return "infinity" if np.isinf(value) else repr(value)


def numbers(values):
    return "{" + ", ".join(number(v) for v in values) + "}"


def table(struct, name, comment, rows):
    for line in comment.strip().split("\n"):
        print("//", line.strip())
    print(f"inline const std::vector<{struct}> {name}{{")
    for row in rows:
        print("{" + ", ".join(row) + "},")
    print("};\n")


def rank_rows():
    """Untied samples of 1..n whose positive ranks are chosen to give a wanted T+."""
    for n, statistics in [
        (1, [0, 1]), (5, [0, 15]), (6, [0, 1, 21]), (9, [5, 40]), (12, [13, 14, 39, 78]),
        (20, [52, 53, 105, 190]), (50, [434, 466, 637, 900]), (100, [1955, 2525, 3300]),
        (300, [17000, 19600, 22575, 26000]),
    ]:
        for statistic in statistics:
            left, sample = statistic, []
            for rank in range(n, 0, -1):
                sample.append(rank if rank <= left else -rank)
                left -= rank if rank <= left else 0
            greater = st.wilcoxon(sample, alternative="greater", method="exact")
            less = st.wilcoxon(sample, alternative="less", method="exact")
            assert left == 0 and greater.statistic == statistic
            yield [str(n), str(statistic), number(greater.pvalue), number(less.pvalue)]


def signed_rank(sample, location, alternative):
    x = np.asarray(sample) - location
    tied = len(set(np.abs(x))) < len(x) or 0 in x
    return st.wilcoxon(x, zero_method="pratt", alternative=alternative,
                       method=EXHAUSTIVE if tied else "exact")


def signed_rank_rows():
    for sample, location in [
        (DEPRESSION, 0), (OUTLIER, 0), (OUTLIER, 0.0301), (SLOWER, 0.03), (SAME, 0.0301),
        (SAME, -0.0301), (FASTER, -0.03), (SIX, 0.0), (grid(TIED), 0), (grid(TIED), 4 / 1024),
        (grid(TIED), -1 / 1024), (grid(MOSTLY_ZERO), 0),
    ]:
        greater = signed_rank(sample, location, "greater")
        less = signed_rank(sample, location, "less")
        yield [numbers(sample), number(location), number(greater.statistic),
               number(greater.pvalue), number(less.pvalue)]


def rank_sum(first, second, shift, alternative):
    y = np.asarray(second) - shift
    pooled = list(first) + list(y)
    tied = len(set(pooled)) < len(pooled)
    return st.mannwhitneyu(y, first, alternative=alternative,
                           method=EXHAUSTIVE if tied else "exact")


def rank_sum_rows():
    for first, second, shift in [
        (EARLIER, AT_TERM, 0), (BASE_RUN, HEAD_RUN, 0), (BASE_RUN, HEAD_RUN, 0.0301),
        (HEAD_RUN, BASE_RUN, 0), (TIED_FIRST, TIED_SECOND, 0), (TIED_FIRST, TIED_SECOND, 2),
        (list(range(0, 60, 2)), list(range(13, 63, 2)), 0),
    ]:
        greater = rank_sum(first, second, shift, "greater")
        less = rank_sum(first, second, shift, "less")
        yield [numbers(first), numbers(second), number(shift), number(greater.statistic),
               number(greater.pvalue), number(less.pvalue)]


def invert(estimates, p_two_sided, level):
    """The centres not rejected at 1 - level, and the level they achieve. The p-value is constant
    between neighbouring elementary estimates, so one trial between each pair finds them all."""
    estimates = np.unique(np.round(estimates, 12))
    gaps = np.concatenate([[estimates[0] - 1], (estimates[1:] + estimates[:-1]) / 2,
                           [estimates[-1] + 1]])
    p = np.array([p_two_sided(centre) for centre in gaps])
    kept = np.flatnonzero(p > 1 - level)
    first, last = kept[0], kept[-1]
    if first == 0:
        return None
    return estimates[first - 1], estimates[last], 1 - p[first - 1]


def effect_columns(estimates, p_two_sided, level):
    found = invert(estimates, p_two_sided, level)
    interval = "std::nullopt" if found is None else "Interval{" + ", ".join(
        number(v) for v in found) + "}"
    return [number(level), number(np.median(estimates)), interval]


def one_sample_rows():
    for sample, level in [
        (DEPRESSION, 0.95), (DEPRESSION, 0.99), (OUTLIER, 0.90), (OUTLIER, 0.95), (OUTLIER, 0.99),
        (SLOWER, 0.95), (SAME, 0.95), (FASTER, 0.95), (SIX, 0.95), (SIX, 0.97), (SIX[:5], 0.95),
        (SIX[:5], 0.90), (SIX[:1], 0.5),
    ]:
        x = np.asarray(sample)
        walsh = [(x[i] + x[j]) / 2 for i in range(len(x)) for j in range(i, len(x))]
        yield [numbers(sample)] + effect_columns(
            walsh, lambda centre: st.wilcoxon(x - centre, method="exact").pvalue, level)


def two_sample_rows():
    for first, second, level in [
        (EARLIER, AT_TERM, 0.95), (EARLIER, AT_TERM, 0.99), (BASE_RUN, HEAD_RUN, 0.95),
        (BASE_RUN, HEAD_RUN, 0.90), (BASE_RUN[:3], HEAD_RUN[:3], 0.95),
    ]:
        shifts = [b - a for a in first for b in second]
        yield [numbers(first), numbers(second)] + effect_columns(
            shifts,
            lambda shift: st.mannwhitneyu(np.asarray(second) - shift, first, method="exact").pvalue,
            level)


def judge_rows():
    for sample, lower, upper in [
        (SLOWER, -0.03, 0.03), (SAME, -0.03, 0.03), (FASTER, -0.03, 0.03), (OUTLIER, -0.03, 0.03),
        (SIX, -0.03, 0.03), (OUTLIER, -np.inf, 0.05), (SLOWER, -np.inf, 0.05),
    ]:
        worse = signed_rank(sample, upper, "greater").pvalue
        equivalent = signed_rank(sample, upper, "less").pvalue
        better = 1.0
        if np.isfinite(lower):
            equivalent = max(equivalent, signed_rank(sample, lower, "greater").pvalue)
            better = signed_rank(sample, lower, "less").pvalue
        yield [numbers(sample), "-infinity" if np.isinf(lower) else number(lower), number(upper),
               number(worse), number(equivalent), number(better)]


def planning_rows():
    """The promises of judge.h by their definition, one number of blocks after the other."""
    for sample, margin, alpha, level in [
        (NOISY, 0.15, 0.03, 0.95), (NOISY, 0.1, 0.05, 0.90), (NOISY, 0.06, 0.03, 0.95),
        (NOISY, 0.041, 0.03, 0.95), (OUTLIER, 0.02, 0.01, 0.95), (SIX, 0.01, 0.01, 0.95),
    ]:
        x = np.asarray(sample)
        n = len(x)
        walsh = [(x[i] + x[j]) / 2 for i in range(n) for j in range(i, n)]
        lower, upper, achieved = invert(
            walsh, lambda centre: st.wilcoxon(x - centre, method="exact").pvalue, level)
        truth = np.median(walsh)
        noise = (upper - lower) / 2 / st.norm.ppf((1 + achieved) / 2) * np.sqrt(n)

        def power(blocks):
            if 2.0**-blocks > alpha:
                return 0
            error, hurdle = noise / np.sqrt(blocks), st.t.ppf(1 - alpha, blocks - 1)
            if abs(truth) > margin:
                return st.norm.cdf((abs(truth) - margin) / error - hurdle)
            return (st.norm.cdf((margin - truth) / error - hurdle)
                    + st.norm.cdf((margin + truth) / error - hurdle) - 1)

        detectable = margin + (st.t.ppf(1 - alpha, n - 1) + st.norm.ppf(0.8)) * noise / np.sqrt(n)
        needed = [blocks for blocks in range(n + 1, 1001) if power(blocks) >= 0.8]
        yield [numbers(sample), number(margin), number(alpha), number(level),
               "std::nullopt" if 2.0**-n > alpha else number(detectable),
               str(needed[0]) if needed else "std::nullopt"]


def holm_rows():
    for p in [[0.01, 0.04, 0.03, 0.005], [0.2], [0.5, 0.6, 0.7], [0.02, 0.02, 0.02, 1, 0],
              [2.0**-12, 0.0031, 0.0064, 0.011, 0.04, 0.0121, 0.3, 0.0007]]:
        yield [numbers(p), numbers(multipletests(p, method="holm")[1])]


def proportion_rows():
    for k, n, level in [(0, 60, 0.95), (4, 200, 0.95), (5, 200, 0.95), (1, 1, 0.95), (0, 1, 0.9),
                        (10, 20, 0.99), (199, 200, 0.95), (37, 1000000, 0.999)]:
        both = st.binomtest(k, n).proportion_ci(level, method="exact")
        upper = st.binomtest(k, n, alternative="less").proportion_ci(level, method="exact").high
        yield [str(k), str(n), number(level), number(both.low), number(both.high), number(upper)]


def chi_square_rows():
    for observed, expected, fitted in [
        ([16, 18, 16, 14, 12, 12], [1 / 6] * 6, 0),
        ([120, 80], [0.5, 0.5], 0),
        ([1002, 998, 1000], [1 / 3] * 3, 0),
        ([30, 14, 34, 45, 57, 20], [0.2, 0.1, 0.15, 0.2, 0.25, 0.1], 2),
        ([900, 10, 90], [0.5, 0.25, 0.25], 0),
    ]:
        total = sum(observed)
        test = st.chisquare(observed, [total * e for e in expected], ddof=fitted)
        yield ["{" + ", ".join(map(str, observed)) + "}", numbers(expected), str(fitted),
               number(test.statistic), number(test.pvalue)]


print(f"""// Golden values, printed by golden.py with scipy {scipy.__version__} and statsmodels \
{statsmodels.__version__}: do not edit.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "base/stats/hodges_lehmann.h"

namespace base::stats::golden {{

inline constexpr double infinity = std::numeric_limits<double>::infinity();

struct RankCase {{
  int n;
  double statistic;
  double at_least;
  double at_most;
}};

struct SignedRankCase {{
  std::vector<double> differences;
  double location;
  double statistic;
  double p_greater;
  double p_less;
}};

struct RankSumCase {{
  std::vector<double> first;
  std::vector<double> second;
  double shift;
  double statistic;
  double p_greater;
  double p_less;
}};

struct OneSampleCase {{
  std::vector<double> differences;
  double level;
  double estimate;
  std::optional<Interval> interval;
}};

struct TwoSampleCase {{
  std::vector<double> first;
  std::vector<double> second;
  double level;
  double estimate;
  std::optional<Interval> interval;
}};

struct JudgeCase {{
  std::vector<double> differences;
  double lower;
  double upper;
  double p_worse;
  double p_equivalent;
  double p_better;
}};

struct PlanningCase {{
  std::vector<double> differences;
  double margin;
  double alpha;
  double level;
  std::optional<double> detectable;
  std::optional<int> blocks_needed;
}};

struct HolmCase {{
  std::vector<double> p_values;
  std::vector<double> adjusted;
}};

struct ProportionCase {{
  std::uint64_t successes;
  std::uint64_t trials;
  double level;
  double lower;
  double upper;
  double one_sided_upper;
}};

struct ChiSquareCase {{
  std::vector<std::uint64_t> observed;
  std::vector<double> expected;
  int fitted;
  double statistic;
  double p;
}};
""")
table("RankCase", "signed_rank_tails", """
    scipy.stats.wilcoxon(x, alternative="greater" and "less", method="exact").pvalue, x being 1..n
    with the signs that give the statistic.""", rank_rows())
table("SignedRankCase", "signed_rank_tests", """
    scipy.stats.wilcoxon(x - location, zero_method="pratt", alternative="greater" and "less").pvalue
    with method="exact", or PermutationMethod(n_resamples=inf) where there are ties or zeros.
    """, signed_rank_rows())
table("RankSumCase", "rank_sum_tests", """
    scipy.stats.mannwhitneyu(second - shift, first, alternative="greater" and "less").pvalue, methods
    as above.""", rank_sum_rows())
table("OneSampleCase", "one_sample_effects", """
    numpy.median of the Walsh averages, and the centres c with
    scipy.stats.wilcoxon(x - c, method="exact").pvalue > 1 - level.""", one_sample_rows())
table("TwoSampleCase", "two_sample_effects", """
    numpy.median of all differences, and the shifts s with
    scipy.stats.mannwhitneyu(second - s, first, method="exact").pvalue > 1 - level.
    """, two_sample_rows())
table("JudgeCase", "evidence", """
    scipy.stats.wilcoxon as for signed_rank_tests at both ends: "greater" at the upper one, "less" at
    the lower one, and the larger of the two opposite tests.""", judge_rows())
table("PlanningCase", "planning", """
    The noise from the interval above, scipy.stats.t.ppf for the hurdle, scipy.stats.norm for the
    power.""", planning_rows())
table("HolmCase", "holm_lists", """
    statsmodels.stats.multitest.multipletests(p, method="holm")[1].""", holm_rows())
table("ProportionCase", "proportions", """
    scipy.stats.binomtest(k, n).proportion_ci(level, method="exact"), and the high end of the same
    with alternative="less".""", proportion_rows())
table("ChiSquareCase", "chi_squares", """
    scipy.stats.chisquare(observed, sum(observed) * expected, ddof=fitted).""", chi_square_rows())
print("}  // namespace base::stats::golden")
