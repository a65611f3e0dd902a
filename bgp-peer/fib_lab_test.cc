// Routes in kernels of our own; needs root and no daemon.
#include <set>
#include <sstream>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include "base/testing/lab.h"
#include "bgp-peer/fib.h"
#include "bgp-peer/testing.h"

namespace bgp_peer {
namespace {

using bgp_peer::testing::address;
using bgp_peer::testing::must;
using bgp_peer::testing::prefix;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

TEST(Fib, OnlyItsOwnRoutesAreTakenAway) {
  if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
  const auto pair = must(base::testing::TestPair::make());
  const auto& netns = pair.pod;
  const std::string left =
      fmt::format("ip route add 10.9.1.0/24 via 10.244.77.1 proto bgp metric {}", route_metric);
  // Others' routes to prefixes that ours lead to as well, a link's own among them.
  must(netns.run("ip route add 10.9.2.0/24 via 10.244.77.1 proto static"));
  must(netns.run("ip -6 route add fd00:9::/64 via fd00:244:77::1 proto static"));
  must(netns.run("ip route add 10.9.4.0/24 via 10.244.77.1 proto bgp"));  // with a metric of theirs
  const auto theirs = [&netns] {
    return must(netns.run("ip route show 10.9.2.0/24 proto static")) +
           must(netns.run("ip -6 route show fd00:9::/64 proto static")) +
           must(netns.run("ip route show 10.9.4.0/24 metric 0")) +
           must(netns.run("ip route show proto kernel")) +
           must(netns.run("ip -6 route show proto kernel"));
  };
  const auto before = theirs();
  ASSERT_THAT(before, ::testing::AllOf(HasSubstr("10.9.2.0/24"), HasSubstr("fd00:9::/64"),
                                       HasSubstr("10.9.4.0/24"), HasSubstr("10.244.77.0/24"),
                                       HasSubstr("fd00:244:77::/64")));
  must(netns.run(left));  // by one before
  {
    auto fib = must(Fib::open(netns.fd()));
    EXPECT_THAT(must(netns.run("ip route show proto bgp")), Not(HasSubstr("10.9.1.0/24")));
    const auto made = must(fib.set(prefix("10.9.2.0/24"), {address("10.244.77.1")}));
    ASSERT_THAT(made, SizeIs(1));
    EXPECT_LT(made[0].sent, made[0].acked);
    EXPECT_THAT(must(fib.set(prefix("10.9.2.0/24"), {address("10.244.77.1")})), IsEmpty());
    must(fib.set(prefix("10.9.4.0/24"), {address("10.244.77.1")}));
    must(fib.set(prefix("10.244.77.0/24"), {address("10.244.77.1")}));
    must(fib.set(prefix("fd00:9::/64"), {address("fd00:244:77::1")}));
    must(fib.set(prefix("fd00:244:77::/64"), {address("fd00:244:77::1")}));
    const auto refused = fib.set(prefix("10.9.3.0/24"), {address("192.0.2.1")});
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("route 10.9.3.0/24 via 192.0.2.1"));
    EXPECT_THAT(fib.absent(), ElementsAre(prefix("10.9.3.0/24")));
    EXPECT_THAT(must(fib.routes()), SizeIs(5));
    EXPECT_EQ(theirs(), before);
    // A link's own route is still the one that counts.
    EXPECT_THAT(must(netns.run("ip route get 10.244.77.9")), Not(HasSubstr("via")));
    EXPECT_THAT(must(netns.run("ip -6 route get fd00:244:77::9")), Not(HasSubstr("via")));
    must(fib.set(prefix("10.9.2.0/24"), {}));
    EXPECT_EQ(theirs(), before);
  }
  EXPECT_EQ(theirs(), before);
  EXPECT_EQ(must(netns.run(fmt::format("ip route show metric {}", route_metric))), "");
  EXPECT_EQ(must(netns.run(fmt::format("ip -6 route show metric {}", route_metric))), "");

  const base::UniqueFd ours(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  const auto own = Fib::open(ours.get());
  ASSERT_FALSE(own);
  EXPECT_EQ(own.error().kind, base::ErrorKind::input);
}

bool readable(int fd) {
  pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&one, 1, 5000) == 1;
}

// A link that is down for a moment takes its routes with it, and BGP notices nothing.
TEST(Fib, WhatALinkTookWithItIsPutBack) {
  if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
  const auto pair = must(base::testing::TestPair::make());
  const auto& netns = pair.pod;
  auto fib = must(Fib::open(netns.fd()));
  const auto service = prefix("10.201.0.7/32");
  const std::vector hops{address("10.244.77.1")};
  const KernelRoute wanted{service, hops};
  must(fib.set(service, hops));
  EXPECT_THAT(must(fib.reconcile()), IsEmpty());

  must(netns.run("ip link set pod0 down"));
  ASSERT_THAT(must(fib.routes()), IsEmpty());
  EXPECT_FALSE(fib.set(service, hops));  // not "that is so already"
  EXPECT_THAT(must(fib.reconcile()), IsEmpty());
  EXPECT_THAT(fib.absent(), ElementsAre(service));
  must(netns.run("ip link set pod0 up"));
  ASSERT_TRUE(readable(fib.fd()));
  const auto made = must(fib.reconcile());
  ASSERT_THAT(made, SizeIs(1));
  EXPECT_EQ(made[0].route, wanted);
  EXPECT_THAT(must(fib.routes()), ElementsAre(wanted));
  EXPECT_THAT(fib.absent(), IsEmpty());

  // The same by the next event that tells what was told before.
  must(netns.run("ip link set pod0 down"));
  must(netns.run("ip link set pod0 up"));
  ASSERT_THAT(must(fib.routes()), IsEmpty());
  EXPECT_THAT(must(fib.set(service, hops)), SizeIs(1));
  EXPECT_THAT(must(fib.routes()), ElementsAre(wanted));

  // Removed by somebody else's hand.
  must(netns.run("ip route del 10.201.0.7/32"));
  EXPECT_THAT(must(fib.reconcile()), SizeIs(1));

  // What went by itself was not removed by us, and has no times.
  must(netns.run("ip link set pod0 down"));
  EXPECT_THAT(must(fib.set(service, {})), IsEmpty());
  EXPECT_THAT(fib.absent(), IsEmpty());
}

// What could be made was made, though another prefix of the same event was refused.
TEST(Fib, TheTimesOfWhatWasMadeAreKept) {
  if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
  const auto pair = must(base::testing::TestPair::make());
  auto fib = must(Fib::open(pair.pod.fd()));
  std::vector<FibChange> made;
  const auto outcome = fib.apply(
      next_hops_of(
          {{.prefix = prefix("10.9.1.0/24"), .next_hop = address("192.0.2.1")},
           {.prefix = prefix("10.9.2.0/24"), .next_hop = address("10.244.77.1")},
           {.prefix = prefix("10.9.3.0/24"), .next_hop = address("0.0.0.0")}}),  // the daemon's own
      made);
  ASSERT_FALSE(outcome);
  EXPECT_THAT(outcome.error().message, HasSubstr("10.9.1.0/24"));
  ASSERT_THAT(made, SizeIs(1));
  EXPECT_EQ(made[0].route.prefix, prefix("10.9.2.0/24"));
}

// More than the kernel is asked for at once, some of which it refuses; and what it tells of our own
// doing wakes nobody.
TEST(Fib, ManyRoutesAreMadeAndRemovedInFewCalls) {
  if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
  const auto pair = must(base::testing::TestPair::make());
  auto fib = must(Fib::open(pair.pod.fd()));
  constexpr int count = 1000;
  std::map<Prefix, std::vector<base::IpAddress>> all;
  for (int i = 0; i < count; ++i) {
    const auto one = prefix(fmt::format("10.9.{}.{}/32", i / 250, i % 250));
    all[one] = {address(i % 100 == 7 ? "192.0.2.1" : "10.244.77.1")};
    all[prefix(fmt::format("fd00:9::{:x}/128", i))] = {address("fd00:244:77::1")};
  }
  std::vector<FibChange> made;
  const auto outcome = fib.apply(all, made);
  ASSERT_FALSE(outcome);
  EXPECT_THAT(outcome.error().message, HasSubstr("route 10.9.0.7/32 via 192.0.2.1"));
  EXPECT_THAT(made, SizeIs(2 * count - 10));
  EXPECT_THAT(fib.absent(), SizeIs(10));
  const auto routes = must(fib.routes());
  ASSERT_THAT(routes, SizeIs(2 * count - 10));
  for (const auto& route : routes) EXPECT_EQ(all.at(route.prefix), route.next_hops);
  must(fib.reconcile());
  must(fib.set(prefix("10.9.0.0/32"), {}));
  must(fib.set(prefix("10.9.0.0/32"), {address("10.244.77.1")}));
  pollfd told{.fd = fib.fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&told, 1, 0), 0) << "our own doing is no news";
  // Others' is.
  must(pair.pod.run("ip route del 10.9.0.1/32"));
  ASSERT_TRUE(readable(fib.fd()));
  EXPECT_THAT(must(fib.reconcile()), SizeIs(1));
  for (auto& [which, hops] : all) hops.clear();
  must(fib.apply(all, made));
  EXPECT_THAT(must(fib.routes()), IsEmpty());
  EXPECT_THAT(made, SizeIs(2 * (2 * count - 10)));
}

// Of which nexthop object each bucket of the only group is, in their order.
std::vector<std::string> buckets(const base::testing::TestNetns& netns) {
  std::vector<std::string> owners;
  std::istringstream lines(must(netns.run("ip nexthop bucket show")));
  for (std::string line; std::getline(lines, line);) {
    if (const auto at = line.find("nhid "); at != std::string::npos) {
      owners.push_back(line.substr(at + 5));
    }
  }
  return owners;
}

TEST(Fib, AResilientGroupKeepsTheBucketsOfThoseThatStay) {
  if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
  const auto pair = must(base::testing::TestPair::make());
  const auto& netns = pair.pod;
  const auto service = prefix("10.201.0.7/32");
  const std::vector hops{address("10.244.77.1"), address("10.244.77.3"), address("10.244.77.4")};
  const std::vector staying{hops[0], hops[2]};
  {
    auto fib = must(Fib::open(netns.fd(), NextHopKind::resilient));
    must(fib.set(service, {hops[0]}));
    must(fib.set(service, hops));
    EXPECT_THAT(must(fib.routes()), ElementsAre(KernelRoute{service, hops}));
    const auto before = buckets(netns);
    ASSERT_THAT(before, SizeIs(resilient_buckets));
    EXPECT_EQ(std::set(before.begin(), before.end()).size(), 3U);
    auto monitor = must(RouteMonitor::open(netns.fd()));
    must(fib.set(service, staying));
    EXPECT_THAT(must(fib.routes()), ElementsAre(KernelRoute{service, staying}));
    const auto after = buckets(netns);
    ASSERT_EQ(after.size(), before.size());
    int moved = 0;
    for (std::size_t i = 0; i < after.size(); ++i) moved += before[i] != after[i] ? 1 : 0;
    EXPECT_EQ(moved, 86) << "those of one in three alone";
    // The route is told of, though its group changed and not it.
    ASSERT_TRUE(readable(monitor.fd()));
    const auto told = must(monitor.take());
    ASSERT_THAT(told, Not(IsEmpty()));
    EXPECT_EQ(told.back().route, (KernelRoute{service, staying}));

    must(fib.set(prefix("fd00:9::7/128"), {address("fd00:244:77::1"), address("fd00:244:77::3")}));
    EXPECT_THAT(must(fib.routes()), SizeIs(2));
    must(fib.set(prefix("fd00:9::7/128"), {}));

    // A link takes its nexthop objects along, and the group with them.
    must(netns.run("ip link set pod0 down"));
    EXPECT_THAT(must(fib.routes()), IsEmpty());
    must(netns.run("ip link set pod0 up"));
    must(fib.reconcile());
    EXPECT_THAT(must(fib.routes()), ElementsAre(KernelRoute{service, staying}));
    const auto refused = fib.set(prefix("10.9.3.0/24"), {address("192.0.2.1")});
    EXPECT_FALSE(refused);
  }
  EXPECT_EQ(must(netns.run("ip nexthop")), "");
  EXPECT_EQ(must(netns.run(fmt::format("ip -6 route show metric {}", route_metric))), "");
}

}  // namespace
}  // namespace bgp_peer
