#include "checks/certificates_valid.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "base/units.h"

namespace checks {

Finding certificates_valid(const std::vector<ShownCertificate>& certificates, std::int64_t now_s) {
  constexpr std::int64_t second = 1'000'000'000;
  Finding finding;
  std::vector<std::string> expired;
  std::optional<std::int64_t> first;
  std::size_t shown = 0;
  for (const auto& one : certificates) {
    if (!one.expires_s) continue;
    ++shown;
    const auto left = *one.expires_s - now_s;
    finding.evidence[one.pod] = {{"expires_in_s", left}};
    first = std::min(first.value_or(left), left);
    if (left <= 0) {
      expired.push_back(fmt::format("{}'s {} ago", one.pod, base::format_wait(-left * second)));
    }
  }
  if (!first) {
    finding.sentence = "cannot tell: no proxy shows a certificate";
    return finding;
  }
  if (!expired.empty()) {
    finding.verdict = base::Verdict::fail;
    finding.observed = "expired";
    finding.sentence =
        fmt::format("{} of {} expired and nobody renewed it: {}", expired.size(),
                    base::format_count(shown, "certificate"), fmt::join(expired, ", "));
    return finding;
  }
  finding.verdict = base::Verdict::pass;
  finding.observed = "valid";
  finding.sentence =
      fmt::format("{} valid, the first until {} from now", base::format_count(shown, "certificate"),
                  base::format_wait(*first * second));
  return finding;
}

}  // namespace checks
