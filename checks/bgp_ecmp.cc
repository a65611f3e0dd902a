#include "checks/bgp_ecmp.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include <fmt/ranges.h>

#include "base/stats/goodness_of_fit.h"
#include "base/stats/proportion.h"
#include "base/units.h"

namespace checks {
namespace {

using base::Verdict;
using bgp_peer::NextHopKind;

// More of them than that is no chance of a probe that was lost.
constexpr std::uint64_t one_nowhere_in = 1000;

// Which of `count` equal parts of the range, but for `without`, a point in it belongs to.
std::size_t owner_of(double point, std::size_t count, std::size_t without) {
  const std::size_t parts = without < count ? count - 1 : count;
  const auto part =
      std::min(static_cast<std::size_t>(point * static_cast<double>(parts)), parts - 1);
  return part >= without ? part + 1 : part;
}

std::string percent(double share) { return fmt::format("{:.1f} %", share * 100); }

// What was counted of one member's leaving, over its trials.
struct Counted {
  std::uint64_t flows = 0;
  std::uint64_t moved = 0;
  std::uint64_t others = 0;
};

// Whether an exact interval around what was counted holds the share that was predicted.
bool agrees(std::uint64_t count, std::uint64_t of, double predicted) {
  if (predicted == 0) return count == 0;
  const auto interval = base::stats::clopper_pearson(count, of, 1 - wrong_by_chance);
  // Shares are of buckets and ranges, rounded: by less than this.
  constexpr double rounding = 1e-9;
  return interval && interval->lower <= predicted + rounding &&
         predicted <= interval->upper + rounding;
}

}  // namespace

std::vector<double> shares_of(NextHopKind kind, std::size_t count) {
  if (kind == NextHopKind::hash_threshold) {
    return std::vector<double>(count, 1 / static_cast<double>(count));
  }
  // net/ipv4/nexthop.c, nh_res_group_rebalance: rounded bounds, so that they add up.
  std::vector<double> shares;
  double before = 0;
  for (std::size_t i = 1; i <= count; ++i) {
    const double bound = std::round(static_cast<double>(bgp_peer::resilient_buckets) *
                                    static_cast<double>(i) / static_cast<double>(count));
    shares.push_back((bound - before) / bgp_peer::resilient_buckets);
    before = bound;
  }
  return shares;
}

Finding bgp_ecmp_distribution(NextHopKind kind, const SpreadFlows& spread) {
  Finding finding;
  const auto total =
      std::accumulate(spread.flows.begin(), spread.flows.end(), std::uint64_t{0}) + spread.nowhere;
  std::vector<std::string> members;
  for (std::size_t i = 0; i < spread.members.size(); ++i) {
    members.push_back(fmt::format("{}: {}", spread.members[i], spread.flows[i]));
  }
  finding.evidence = {
      {"next_hops", base::enum_name(kind)}, {"flows", spread.flows}, {"nowhere", spread.nowhere}};
  const auto listed =
      fmt::format("{} ({})", base::format_count(total, "flow"), fmt::join(members, ", "));
  if (spread.nowhere * one_nowhere_in > total) {
    finding.verdict = Verdict::fail;
    finding.observed = "lost";
    finding.sentence = fmt::format("of {} {} reached no member", listed, spread.nowhere);
    return finding;
  }
  const auto shares = shares_of(kind, spread.members.size());
  const auto test = base::stats::chi_square_test(spread.flows, shares);
  if (!test) {
    finding.observed = "too few";
    finding.sentence =
        fmt::format("{} to {} members are too few to tell", listed, spread.members.size());
    return finding;
  }
  finding.evidence["chi_square"] = test->statistic;
  finding.evidence["degrees_of_freedom"] = test->degrees_of_freedom;
  finding.evidence["p"] = test->p;
  const bool even = test->p >= wrong_by_chance;
  finding.verdict = even ? Verdict::pass : Verdict::fail;
  finding.observed = even ? "even" : "uneven";
  finding.sentence = fmt::format(
      "{} were spread {} (chi-square {:.2f}, {} degrees of freedom, p = {:.2g})", listed,
      even ? "evenly" : "unevenly", test->statistic, test->degrees_of_freedom, test->p);
  return finding;
}

double others_moved_share(NextHopKind kind, std::size_t members, std::size_t left) {
  if (kind == NextHopKind::resilient || members < 2) return 0;
  // All bounds, before and after, lie on this grid, so that its cells belong to one as a whole.
  const auto cells = members * (members - 1);
  std::size_t moved = 0;
  for (std::size_t cell = 0; cell < cells; ++cell) {
    const double point = (static_cast<double>(cell) + 0.5) / static_cast<double>(cells);
    const auto before = owner_of(point, members, members);
    if (before != left && before != owner_of(point, members, left)) ++moved;
  }
  return static_cast<double>(moved) / static_cast<double>(cells);
}

Finding bgp_flows_moved_as_predicted(NextHopKind kind, const std::vector<MemberLeft>& trials) {
  Finding finding{.sentence = "no member left", .observed = "nothing"};
  std::map<std::pair<std::size_t, std::size_t>, Counted> by_member;
  std::uint64_t stuck = 0;
  for (const auto& trial : trials) {
    auto& counted = by_member[{trial.members, trial.left}];
    counted.flows += trial.flows;
    counted.moved += trial.its - trial.stuck + trial.others_moved;
    counted.others += trial.others_moved;
    stuck += trial.stuck;
  }
  if (by_member.empty()) return finding;
  std::vector<std::string> told;
  bool sound = stuck == 0;
  finding.evidence = {{"next_hops", base::enum_name(kind)}, {"stuck", stuck}};
  finding.evidence["members"] = base::Json::array();
  for (const auto& [which, counted] : by_member) {
    const auto [members, left] = which;
    if (counted.flows == 0) {
      finding.sentence = "no flow was seen before and after";
      return finding;
    }
    const double others = others_moved_share(kind, members, left);
    const double all = shares_of(kind, members)[left] + others;
    const bool agree =
        agrees(counted.moved, counted.flows, all) && agrees(counted.others, counted.flows, others);
    sound = sound && agree;
    const auto share = [&](std::uint64_t count) {
      return static_cast<double>(count) / static_cast<double>(counted.flows);
    };
    told.push_back(fmt::format(
        "next hop {} of {} left: {} of flows moved, {} predicted, of other "
        "members' {}, {} predicted{}",
        left + 1, members, percent(share(counted.moved)), percent(all),
        percent(share(counted.others)), percent(others), agree ? "" : " (not as predicted)"));
    base::Json one{{"members", members},
                   {"left", left + 1},
                   {"flows", counted.flows},
                   {"moved", counted.moved},
                   {"others_moved", counted.others},
                   {"moved_predicted", all},
                   {"others_moved_predicted", others}};
    for (const auto& [name, count] : {std::pair("moved_interval", counted.moved),
                                      std::pair("others_interval", counted.others)}) {
      const auto interval = base::stats::clopper_pearson(count, counted.flows, 0.95);
      if (interval) one[name] = {interval->lower, interval->upper};
    }
    finding.evidence["members"].push_back(std::move(one));
  }
  if (stuck > 0) told.push_back(base::format_count(stuck, "flow") + " went to a member that left");
  finding.verdict = sound ? Verdict::pass : Verdict::fail;
  finding.observed = sound ? "as predicted" : "not as predicted";
  finding.sentence = fmt::format("{}: {}", base::enum_name(kind), fmt::join(told, "; "));
  return finding;
}

}  // namespace checks
