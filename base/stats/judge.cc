#include "base/stats/judge.h"

#include <algorithm>
#include <ranges>

#include "base/stats/holm.h"
#include "base/stats/sample.h"
#include "base/stats/special.h"
#include "base/stats/wilcoxon.h"

namespace base::stats {

namespace {

Result<> require_band(const Band& band) {
  if (std::isfinite(band.upper) && band.lower < band.upper) return {};
  return fail(ErrorKind::input, "margin: expected a band with an upper end, got {} .. {}",
              band.lower, band.upper);
}

Result<Evidence> weigh(const Question& question) {
  ASSIGN_OR_RETURN(const RankTest upper,
                   signed_rank_test(question.differences, question.band.upper));
  if (!std::isfinite(question.band.lower)) {
    return Evidence{.p_worse = upper.p_greater, .p_equivalent = upper.p_less, .p_better = 1};
  }
  ASSIGN_OR_RETURN(const RankTest lower,
                   signed_rank_test(question.differences, question.band.lower));
  return Evidence{.p_worse = upper.p_greater,
                  .p_equivalent = std::max(upper.p_less, lower.p_greater),
                  .p_better = lower.p_less};
}

// With alpha below one half no two claims can hold at once; the order is for the reader.
Verdict verdict_of(const Evidence& evidence, double alpha) {
  if (evidence.p_worse <= alpha) return Verdict::regression;
  if (evidence.p_equivalent <= alpha) return Verdict::pass;
  if (evidence.p_better <= alpha) return Verdict::improvement;
  return Verdict::inconclusive;
}

// The noise of one block: the standard error of the estimate times sqrt(blocks). Half the interval
// over its normal quantile is a consistent standard error of Hodges-Lehmann whatever the shape of
// the noise (Lehmann 1963, Annals of Mathematical Statistics 34), so no shape is assumed.
double noise_per_block(const Interval& interval, int blocks) {
  const double half_width = (interval.upper - interval.lower) / 2;
  return half_width / normal_quantile((1 + interval.level) / 2) * std::sqrt(blocks);
}

// Whether some outcome of `blocks` blocks has a p-value of at most alpha: the least is 2^-blocks.
bool can_decide(int blocks, double alpha) { return std::ldexp(1.0, -blocks) <= alpha; }

// How many standard errors beyond a margin the estimate must lie to be called. The normal quantile
// is too optimistic here: an exact test of few blocks spends less than alpha, and the noise is
// itself an estimate. Student's quantile is a correction of the right size, not a theorem:
// simulation_test.cc holds the promise made with it to 80 % within 10 points, for four noises.
double hurdle(int blocks, double alpha) { return student_quantile_above(alpha, blocks - 1); }

// The chance to clear the hurdle from `gap` beyond the margin, also where there is no noise at all.
double claim_power(double gap, double error, double errors_needed) {
  if (error > 0) return normal_at_most(gap / error - errors_needed);
  return gap > 0 ? 1 : 0;
}

// The chance that `blocks` blocks settle on which side of the band's ends a true difference lies.
double power(double truth, const Band& band, double noise, int blocks, double alpha) {
  if (!can_decide(blocks, alpha)) return 0;
  const double error = noise / std::sqrt(blocks);
  const double needed = hurdle(blocks, alpha);
  if (truth > band.upper) return claim_power(truth - band.upper, error, needed);
  if (truth < band.lower) return claim_power(band.lower - truth, error, needed);
  return claim_power(band.upper - truth, error, needed) +
         claim_power(truth - band.lower, error, needed) - 1;
}

void plan(Judgement& judgement, const Band& band, double alpha) {
  if (!judgement.effect.interval) return;
  const int blocks = judgement.blocks;
  const double noise = noise_per_block(*judgement.effect.interval, blocks);
  if (can_decide(blocks, alpha)) {
    const double error = noise / std::sqrt(blocks);
    judgement.detectable =
        band.upper + (hurdle(blocks, alpha) + normal_quantile(planned_power)) * error;
  }
  if (judgement.verdict != Verdict::inconclusive) return;
  // More blocks never see less, so the least number is found by halving.
  const auto more = std::views::iota(blocks + 1, std::max(blocks, max_blocks) + 1);
  const auto enough = std::ranges::partition_point(more, [&](int count) {
    return power(judgement.effect.estimate, band, noise, count, alpha) < planned_power;
  });
  if (enough != more.end()) judgement.blocks_needed = *enough;
}

// Holm over one claim of every judgement.
void adjust(std::vector<Judgement>& judgements, double Evidence::* claim) {
  std::vector<double> p_values;
  for (const Judgement& judgement : judgements) p_values.push_back(judgement.evidence.*claim);
  const std::vector<double> adjusted = holm(p_values);
  for (std::size_t i = 0; i < judgements.size(); ++i) {
    judgements[i].adjusted.*claim = adjusted[i];
  }
}

}  // namespace

Result<std::vector<Judgement>> judge_family(std::span<const Question> questions, double alpha,
                                            double level) {
  if (!(alpha > 0 && alpha < 0.5)) {
    return fail(ErrorKind::input, "alpha: expected a number between 0 and 0.5, got {}", alpha);
  }
  std::vector<Judgement> judgements;
  for (const Question& question : questions) {
    RETURN_IF_ERROR(require_band(question.band));
    Judgement judgement{.blocks = static_cast<int>(question.differences.size()),
                        .effect = {},
                        .evidence = {},
                        .adjusted = {},
                        .verdict = Verdict::inconclusive,
                        .detectable = std::nullopt,
                        .blocks_needed = std::nullopt};
    ASSIGN_OR_RETURN(judgement.effect, hodges_lehmann(question.differences, level));
    ASSIGN_OR_RETURN(judgement.evidence, weigh(question));
    judgements.push_back(judgement);
  }
  adjust(judgements, &Evidence::p_worse);
  adjust(judgements, &Evidence::p_equivalent);
  adjust(judgements, &Evidence::p_better);
  const double least_alpha = alpha / static_cast<double>(questions.size());
  for (std::size_t i = 0; i < judgements.size(); ++i) {
    judgements[i].verdict = verdict_of(judgements[i].adjusted, alpha);
    plan(judgements[i], questions[i].band, least_alpha);
  }
  return judgements;
}

Result<Judgement> judge(std::span<const double> differences, const Band& band, double alpha,
                        double level) {
  const Question question{.differences = differences, .band = band};
  ASSIGN_OR_RETURN(const std::vector<Judgement> judgements,
                   judge_family(std::span(&question, 1), alpha, level));
  return judgements.front();
}

Result<Judgement> judge(std::span<const double> differences, double margin, double alpha,
                        double level) {
  return judge(differences, Band::within(margin), alpha, level);
}

}  // namespace base::stats
