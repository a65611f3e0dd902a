// Flows through a lab's router whose routes the installer makes, without any daemon: the kernel
// spreads and moves them as its kind of next hops predicts, and what is planted is found. Needs
// root.
#include <algorithm>
#include <atomic>
#include <ctime>
#include <filesystem>
#include <sstream>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include "base/file.h"
#include "base/testing/lab.h"
#include "bgp-peer/testing.h"
#include "checks/bgp_ecmp.h"
#include "cluster/lab/lab_target.h"
#include "stackbench/bgp/flows.h"

namespace stackbench::bgp {
namespace {

using base::Verdict;
using bgp_peer::NextHopKind;
using bgp_peer::testing::must;

constexpr std::size_t flows = 2000;

cluster::EnvironmentPlan three_nodes() {
  cluster::EnvironmentPlan plan;
  plan.name = "ecmp";
  plan.topology.nodes = 3;
  plan.topology.pods["web"] = {.node = 1};
  plan.ports = {{"probe", cluster::Protocol::UDP, 8003, 7003}};
  return plan;
}

class Flows : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
    environment_ = must(lab_.provision(three_nodes()));
    // No node has the address: what comes is to end there, and not to travel back until its TTL
    // ends.
    for (const auto& node : environment_.nodes) {
      must(lab_.sandbox()->ip({.netns = netns(fmt::format("node{}", node.number))},
                              "route add blackhole 172.20.0.0/16\n"
                              "route add blackhole fd00:172:20::/112\n"));
    }
    tap_.emplace(must(FlowTap::open(netns("router"), 3)));
  }

  [[nodiscard]] int netns(std::string_view place) const {
    return lab_.environment("ecmp")->netns(place);
  }

  std::vector<base::IpAddress> members(base::AddressFamily family) const {
    std::vector<base::IpAddress> all;
    for (const auto& node : environment_.nodes) all.push_back(node.address(family));
    return all;
  }

  // Sends flows, has a node leave, by `leave` or as the installer does it, and sends them again.
  struct Trial {
    checks::SpreadFlows spread;
    checks::MemberLeft left;
  };
  Trial trial(bgp_peer::Fib& fib, base::AddressFamily family, std::size_t leaves,
              const std::function<void(std::vector<base::IpAddress>)>& leave = {}) {
    const bool ipv4 = family == base::AddressFamily::ipv4;
    const base::Endpoint target{bgp_peer::testing::address(ipv4 ? "172.20.9.9" : "fd00:172:20::99"),
                                8003};
    const auto prefix = bgp_peer::Prefix::host(target.address);
    const auto all = members(family);
    must(fib.set(prefix, all));
    const auto ports = draw_ports(flows, 1, ++trials_);
    const auto before = must(tap_->send(netns(cluster::external_client), target, ports));
    auto staying = all;
    staying.erase(staying.begin() + static_cast<std::ptrdiff_t>(leaves));
    if (leave) {
      leave(staying);
    } else {
      must(fib.set(prefix, staying));
    }
    const auto after = must(tap_->send(netns(cluster::external_client), target, ports));
    must(fib.set(prefix, {}));
    Trial result{.spread = {.members = all, .flows = std::vector<std::uint64_t>(3)},
                 .left = {.members = 3, .left = leaves}};
    for (const auto& [port, node] : before) {
      ++result.spread.flows[static_cast<std::size_t>(node) - 1];
      const auto now = after.at(port);
      ++result.left.flows;
      const bool its = std::cmp_equal(node, leaves + 1);
      result.left.its += its ? 1 : 0;
      result.left.stuck += its && now == node ? 1 : 0;
      result.left.others_moved += !its && now != node ? 1 : 0;
    }
    result.spread.nowhere = ports.size() - before.size();
    return result;
  }

  cluster::LabTarget lab_;
  cluster::EnvironmentHandle environment_;
  std::optional<FlowTap> tap_;
  std::uint64_t trials_ = 0;
};

TEST_F(Flows, AreSpreadAndMovedAsTheKindOfNextHopsPredicts) {
  for (const auto kind : {NextHopKind::hash_threshold, NextHopKind::resilient}) {
    auto fib = must(bgp_peer::Fib::open(netns("router"), kind));
    std::vector<checks::MemberLeft> left;
    for (std::size_t leaves = 0; leaves < 3; ++leaves) {
      const auto family = leaves == 1 ? base::AddressFamily::ipv6 : base::AddressFamily::ipv4;
      const auto its = trial(fib, family, leaves);
      const auto spread = checks::bgp_ecmp_distribution(kind, its.spread);
      EXPECT_EQ(spread.verdict, Verdict::pass) << spread.sentence;
      left.push_back(its.left);
    }
    const auto moved = checks::bgp_flows_moved_as_predicted(kind, left);
    EXPECT_EQ(moved.verdict, Verdict::pass) << moved.sentence;
    std::printf("%s\n", moved.sentence.c_str());
  }
}

TEST_F(Flows, ThatMoveMoreThanTheKindPredictsAreFound) {
  const auto router = netns("router");
  for (const auto kind : {NextHopKind::hash_threshold, NextHopKind::resilient}) {
    auto fib = must(bgp_peer::Fib::open(router, kind));
    const auto rebuilt = trial(fib, base::AddressFamily::ipv4, 0, [&](auto staying) {
      // What stays is put together anew, in another order.
      const auto done = lab_.sandbox()->ip(
          {.netns = router},
          fmt::format(
              "route add 172.20.9.9/32 metric 1 nexthop via {} dev node3 nexthop via {} dev "
              "node2\n",
              staying[1], staying[0]));
      ASSERT_TRUE(done);
    });
    must(lab_.sandbox()->ip({.netns = router}, "route del 172.20.9.9/32 metric 1\n"));
    const auto moved = checks::bgp_flows_moved_as_predicted(kind, {rebuilt.left});
    EXPECT_EQ(moved.verdict, Verdict::fail) << moved.sentence;
    std::printf("%s\n", moved.sentence.c_str());
    // A member that is never taken out of the route.
    const auto stuck = trial(fib, base::AddressFamily::ipv4, 0, [](auto) {});
    EXPECT_EQ(checks::bgp_flows_moved_as_predicted(kind, {stuck.left}).verdict, Verdict::fail);
  }
}

// A route as `ip -ts monitor` tells of it: whose words are not ours.
struct Told {
  std::int64_t realtime_ns = 0;
  std::string prefix;
  bool removed = false;
};

std::vector<Told> told_by_ip(const std::string& file) {
  std::vector<Told> all;
  std::istringstream lines(base::read_file(file).value_or(""));
  // [2025-03-01T12:00:00.123456] Deleted 172.20.0.1 via ... proto bgp metric 20186
  for (std::string line; std::getline(lines, line);) {
    tm time{};
    const auto* rest = ::strptime(line.c_str(), "[%Y-%m-%dT%H:%M:%S.", &time);
    if (rest == nullptr || line.find("proto bgp") == std::string::npos) continue;
    std::istringstream words(rest);
    std::string microseconds;
    std::string prefix;
    words >> microseconds >> prefix;
    const bool removed = prefix == "Deleted";
    if (removed) words >> prefix;
    all.push_back({.realtime_ns = ::timegm(&time) * 1'000'000'000 + std::stoll(microseconds) * 1000,
                   .prefix = prefix,
                   .removed = removed});
  }
  return all;
}

// `ip` reads the same events by code of its own: they are as many, in the same order, and stamped
// as much later than the kernel acknowledged them as ours, to the wake-up of a process.
TEST_F(Flows, RoutesAreToldOfAsIpTellsOfThem) {
  const auto router = netns("router");
  const auto file = fmt::format("{}/ip-monitor-{}", ::testing::TempDir(), ::getpid());
  const base::UniqueFd out(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  auto process = must(lab_.sandbox()->spawn({.argv = {"ip", "-ts", "-o", "monitor", "route"},
                                             .environment = {{"TZ=UTC", "PATH=/usr/sbin:/sbin"}},
                                             .out = base::Stdio::descriptor(out.get())},
                                            {.netns = router}));
  auto fib = must(bgp_peer::Fib::open(router));
  const auto hops = members(base::AddressFamily::ipv4);
  const auto give_up = base::monotonic_now() + std::chrono::seconds(10);
  // Until it listens.
  while (told_by_ip(file).empty() && base::monotonic_now() < give_up) {
    must(fib.set(bgp_peer::testing::prefix("172.20.8.8/32"), hops));
    must(fib.set(bgp_peer::testing::prefix("172.20.8.8/32"), {}));
  }
  auto monitor = must(bgp_peer::RouteMonitor::open(router));
  std::vector<bgp_peer::RouteMonitor::Change> ours;
  std::atomic<bool> done = false;
  std::jthread reading([&] {
    while (!done) {
      pollfd more{.fd = monitor.fd(), .events = POLLIN, .revents = 0};
      ::poll(&more, 1, 5);
      for (auto& change : must(monitor.take())) ours.push_back(std::move(change));
    }
  });
  // One at a time: of many at once whoever wakes up late stamps all of them late.
  constexpr int rounds = 20;
  const auto is_its = [](const Told& one) { return one.prefix.starts_with("172.20.7."); };
  std::vector<bgp_peer::FibChange> made;
  std::vector<Told> theirs;
  for (int round = 0; round < rounds; ++round) {
    const auto prefix =
        bgp_peer::Prefix::host(bgp_peer::testing::address(fmt::format("172.20.7.{}", round)));
    for (const auto& wanted : {hops, std::vector<base::IpAddress>()}) {
      for (auto& change : must(fib.set(prefix, wanted))) made.push_back(std::move(change));
      do {
        theirs = told_by_ip(file);
        std::erase_if(theirs, [&](const Told& one) { return !is_its(one); });
      } while (theirs.size() < made.size() && base::monotonic_now() < give_up);
    }
  }
  done = true;
  reading.join();
  must(process.kill());
  std::filesystem::remove(file);
  ASSERT_EQ(made.size(), std::size_t{2 * rounds});
  ASSERT_EQ(theirs.size(), made.size());
  ASSERT_EQ(ours.size(), made.size());
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const auto ahead = now.tv_sec * 1'000'000'000 + now.tv_nsec - base::monotonic_now().ns;
  std::vector<std::int64_t> apart;
  for (std::size_t i = 0; i < made.size(); ++i) {
    const auto address = made[i].route.prefix.address.to_string();
    EXPECT_EQ(ours[i].route.prefix, made[i].route.prefix);
    EXPECT_EQ(theirs[i].prefix, address);
    EXPECT_EQ(ours[i].removed, made[i].route.next_hops.empty());
    EXPECT_EQ(theirs[i].removed, ours[i].removed);
    // ip cuts its stamps off to microseconds.
    EXPECT_GE(theirs[i].realtime_ns - ahead + 1000, made[i].sent.ns);
    EXPECT_GE(ours[i].received.ns, made[i].sent.ns);
    apart.push_back(std::abs(theirs[i].realtime_ns - ahead - ours[i].received.ns));
  }
  std::ranges::sort(apart);
  std::printf("ip's stamps and ours are %.0f us apart in the median, %.0f us at most\n",
              static_cast<double>(apart[apart.size() / 2]) / 1000,
              static_cast<double>(apart.back()) / 1000);
  EXPECT_LE(apart[apart.size() / 2], 1'000'000) << "a millisecond is what events are told to";
}

}  // namespace
}  // namespace stackbench::bgp
