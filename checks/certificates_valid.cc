#include "checks/certificates_valid.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "base/units.h"

namespace checks {
namespace {

constexpr std::int64_t ns_per_second = 1'000'000'000;

// Until when all that is known of a proxy's is valid.
std::optional<std::int64_t> valid_until(const ProxyCertificate& one) {
  if (!one.expires_s || !one.shown_until_s) {
    return one.expires_s ? one.expires_s : one.shown_until_s;
  }
  return std::min(*one.expires_s, *one.shown_until_s);
}

}  // namespace

Finding certificates_valid(const std::vector<ProxyCertificate>& proxies, std::int64_t now_s) {
  Finding finding;
  std::vector<std::string> expired;
  std::vector<std::string> too_early;
  std::vector<std::string> lacking;
  std::optional<std::int64_t> first;
  std::size_t known = 0;
  for (const auto& one : proxies) {
    auto& evidence = finding.evidence[one.pod];
    evidence["was_asked"] = one.was_asked;
    const auto until = valid_until(one);
    if (!until || (one.was_asked && !one.shown_until_s)) lacking.push_back(one.pod);
    if (!until) continue;
    ++known;
    const auto left = *until - now_s;
    evidence["expires_in_s"] = left;
    first = std::min(first.value_or(left), left);
    if (left <= 0) {
      expired.push_back(
          fmt::format("{}'s {} ago", one.pod, base::format_wait(-left * ns_per_second)));
    }
    if (one.shown_from_s && *one.shown_from_s > now_s) {
      too_early.push_back(fmt::format(
          "{}'s in {}", one.pod, base::format_wait((*one.shown_from_s - now_s) * ns_per_second)));
    }
  }
  const auto failed = [&](std::string_view observed, std::string_view how,
                          const std::vector<std::string>& which) {
    finding.verdict = base::Verdict::fail;
    finding.observed = observed;
    finding.sentence =
        fmt::format("{} of {} {}: {}", which.size(), base::format_count(known, "certificate"), how,
                    fmt::join(which, ", "));
    return finding;
  };
  if (!expired.empty()) return failed("expired", "expired and nobody renewed it", expired);
  if (!too_early.empty()) return failed("not_valid_yet", "not valid yet", too_early);
  if (!lacking.empty() || !first) {
    finding.sentence = fmt::format(
        "cannot tell: {}",
        lacking.empty()
            ? "no proxy shows a certificate"
            : fmt::format("no certificate is known of the proxy of {}", fmt::join(lacking, ", ")));
    return finding;
  }
  const auto asked =
      static_cast<std::size_t>(std::ranges::count_if(proxies, &ProxyCertificate::was_asked));
  finding.verdict = base::Verdict::pass;
  finding.observed = "valid";
  finding.sentence = fmt::format("{} valid, the first until {} from now{}",
                                 base::format_count(known, "certificate"),
                                 base::format_wait(*first * ns_per_second),
                                 asked == 0 ? std::string(", as the proxies themselves say")
                                            : fmt::format("; {} shown to a handshake", asked));
  return finding;
}

}  // namespace checks
