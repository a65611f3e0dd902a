// The check `routes_as_specified`: do requests through clients' proxies come to what VirtualService
// and DestinationRule say, by an independent reading of them (routing_oracle.h)? A cell is one
// claim of that, tried through the proxy of each pod that asks:
//
// * requests: each comes to what it may come to, in the shares that are said (Pearson's chi-square
//   test), and as many are held up as are to be, for as long;
// * at_once: requests that are under way at one time beyond what the pool takes are refused by the
//   proxy (503, overflow: flag UO), and no others;
// * fails: a pod that fails is left alone after as many replies of 5xx as are said, and is back
//   after baseEjectionTime, looked at every `interval`;
// * writes: how long after the acknowledged write of an object a proxy obeys it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/tls_probe/tls_probe.h"
#include "checks/finding.h"
#include "checks/mesh/routing_oracle.h"

namespace checks {

enum class RoutingClaim { requests, at_once, fails, writes };

// Shares are called others than they should be where chance alone would make them at least that
// different less often than this.
inline constexpr double other_shares_by_chance = 1e-6;

// What one proxy's requests came to.
struct RoutedByProxy {
  std::string proxy;  // the pod it stands beside
  // In the order they were made; of `fails` and `writes` the changes of what came of them.
  std::vector<bench::DoorTried> replies = {};
  std::uint64_t lost = 0;                         // of such changes, for want of room
  std::optional<std::uint64_t> overflowed = {};   // that it counted meanwhile
  std::optional<std::uint64_t> connections = {};  // to pods, that it opened meanwhile
};

// A write: when it was acknowledged, and when the next was sent, CLOCK_MONOTONIC of the agents.
struct RoutingWrite {
  std::int64_t acked_ns = 0;
  std::int64_t until_ns = 0;
  bool restores = false;  // what was before
};

struct RoutingCell {
  std::string name;
  RoutingClaim claim = RoutingClaim::requests;
  RoutedAs expected = {};
  std::map<std::uint32_t, std::string> pods = {};  // by what they say they are
  std::vector<RoutedByProxy> proxies = {};
  // fails: which pod, and when nobody answered there any more, and somebody again.
  std::string failing = {};
  std::int64_t failed_ns = 0;
  std::int64_t mended_ns = 0;
  // writes: what held before, and each write of the object and of what it replaced.
  RoutedAs before = {};
  std::vector<RoutingWrite> writes = {};
};

// Fail: a request came to what it may not, shares are others, somebody was not delayed, and so on;
// inconclusive: too few requests to tell, or objects by which nobody can tell. `observed` is
// "as_specified", "otherwise" or "not_proven".
[[nodiscard]] Finding routes_as_specified(const RoutingCell& cell);

// ---- the parts of it, one for each claim --------------------------------------------------------

// What is to be said of one proxy.
struct RoutingVerdict {
  base::Verdict verdict = base::Verdict::pass;
  std::string sentence = {};
  base::Json evidence = base::Json::object();
};

[[nodiscard]] RoutingVerdict judge_requests(const RoutingCell& cell, const RoutedByProxy& seen);
[[nodiscard]] RoutingVerdict judge_at_once(const RoutingCell& cell, const RoutedByProxy& seen);
[[nodiscard]] RoutingVerdict judge_fails(const RoutingCell& cell, const RoutedByProxy& seen);
[[nodiscard]] RoutingVerdict judge_writes(const RoutingCell& cell, const RoutedByProxy& seen);

// Which of what a request may come to a reply is: its place among the ends. Nothing where it is
// none of them.
[[nodiscard]] std::optional<std::size_t> end_of(const RoutedAs& expected, const RoutingCell& cell,
                                                const bench::DoorTried& reply);
// "HTTP 200 of web-1", "HTTP 418 (fault filter abort)".
[[nodiscard]] std::string reply_text(const RoutingCell& cell, const bench::DoorTried& reply);
// "web-0 or web-1", "HTTP 418 by the proxy".
[[nodiscard]] std::string end_text(const RoutedEnd& end);

}  // namespace checks

template <>
struct base::EnumNames<checks::RoutingClaim> {
  static constexpr std::array names{
      std::pair{checks::RoutingClaim::requests, std::string_view("requests")},
      std::pair{checks::RoutingClaim::at_once, std::string_view("at_once")},
      std::pair{checks::RoutingClaim::fails, std::string_view("fails")},
      std::pair{checks::RoutingClaim::writes, std::string_view("writes")}};
};
