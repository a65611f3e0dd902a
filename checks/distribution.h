// The check `distribution`: do a Service's connections go to its backends as promised? Every
// datapath here draws a backend at random, each as likely as the next (kube-proxy's iptables rules
// by `statistic`, its nftables rules by `numgen random`, Cilium by a random number), unless the
// Service has sessionAffinity ClientIP: then all of a client's go to one.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/scalar.h"
#include "bench/workload.h"
#include "checks/finding.h"

namespace checks {

enum class Spread {
  even,  // each backend is as likely as the next
  one,   // all of them to the same backend
};

// An even spread is called uneven where chance alone would make one at least that uneven less often
// than this: a hundred such checks a night raise a false alarm once in twenty-seven years.
inline constexpr double uneven_by_chance = 1e-6;

// Judges one arm by a client that opened a connection for every request: `backends` are the
// identities its pods answer by. Pass where the spread is as promised (Pearson's chi-square test
// for `even`), fail where it is not or an unknown identity answered; inconclusive where too few
// connections were answered to tell, five a backend. `observed` is "even", "uneven" or "one".
[[nodiscard]] Finding distribution(Spread promised, const std::vector<std::string>& backends,
                                   const bench::ClientResult& client);

}  // namespace checks

template <>
struct base::EnumNames<checks::Spread> {
  static constexpr std::array names{std::pair{checks::Spread::even, std::string_view("even")},
                                    std::pair{checks::Spread::one, std::string_view("one")}};
};
