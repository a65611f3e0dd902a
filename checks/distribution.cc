#include "checks/distribution.h"

#include <algorithm>
#include <cstdint>

#include <fmt/ranges.h>

#include "base/stats/goodness_of_fit.h"
#include "base/units.h"

namespace checks {
namespace {

using base::Verdict;

void judge_one(Finding& finding, const std::vector<std::uint64_t>& counts, std::uint64_t total) {
  const auto answered = std::ranges::count_if(counts, [](auto count) { return count > 0; });
  finding.observed = answered == 1 ? "one" : "several";
  finding.verdict = answered == 1 ? Verdict::pass : Verdict::fail;
  finding.sentence = answered == 1
                         ? fmt::format("all of {} went to one backend, as they should",
                                       base::format_count(total, "connection"))
                         : fmt::format("promised: all to one backend; {} went to {} of them",
                                       base::format_count(total, "connection"), answered);
}

void judge_even(Finding& finding, const std::vector<std::uint64_t>& counts, std::uint64_t total) {
  const auto connections = base::format_count(total, "connection");
  if (counts.size() == 1) {
    finding.observed = "one";
    finding.verdict = Verdict::pass;
    finding.sentence = fmt::format("{} went to the only backend", connections);
    return;
  }
  const std::vector<double> shares(counts.size(), 1 / static_cast<double>(counts.size()));
  const auto test = base::stats::chi_square_test(counts, shares);
  if (!test) {
    finding.sentence =
        fmt::format("{} to {} backends are too few to tell", connections, counts.size());
    return;
  }
  finding.evidence["chi_square"] = test->statistic;
  finding.evidence["p"] = test->p;
  const bool even = test->p >= uneven_by_chance;
  finding.observed = even ? "even" : "uneven";
  finding.verdict = even ? Verdict::pass : Verdict::fail;
  finding.sentence =
      fmt::format("{} went to the {} backends {} ({}; p = {:.2g})", connections, counts.size(),
                  even ? "evenly" : "unevenly", fmt::join(counts, " : "), test->p);
}

}  // namespace

Finding distribution(Spread promised, const std::vector<std::string>& backends,
                     const bench::ClientResult& client) {
  Finding finding{.evidence = {{"promised", base::enum_name(promised)},
                               {"backends", backends},
                               {"answered_by", client.answered_by}}};
  std::vector<std::uint64_t> counts;
  std::uint64_t total = 0;
  for (const auto& backend : backends) {
    const auto found = client.answered_by.find(backend);
    counts.push_back(found == client.answered_by.end() ? 0 : found->second);
    total += counts.back();
  }
  for (const auto& [id, count] : client.answered_by) {
    if (std::ranges::find(backends, id) != backends.end()) continue;
    finding.observed = "a stranger";
    finding.verdict = Verdict::fail;
    finding.sentence = fmt::format("{} answered as {}, which is no backend of this arm",
                                   base::format_count(count, "connection"), id);
    return finding;
  }
  if (total == 0) {
    finding.sentence = "cannot tell: no connection was answered";
  } else if (promised == Spread::one) {
    judge_one(finding, counts, total);
  } else {
    judge_even(finding, counts, total);
  }
  return finding;
}

}  // namespace checks
