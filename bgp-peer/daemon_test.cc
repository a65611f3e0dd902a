// Real daemons in namespaces of our own: a router, and two speakers that each have a link to it.
// Needs root and the gobgpd that ./bootstrap test unpacks.
#include "bgp-peer/daemon.h"

#include <csignal>
#include <filesystem>
#include <mutex>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "base/testing/lab.h"
#include "bgp-peer/fib.h"
#include "bgp-peer/table.h"
#include "bgp-peer/testing.h"

namespace bgp_peer {
namespace {

using base::testing::eventually;
using base::testing::TestNetns;
using bgp_peer::testing::address;
using bgp_peer::testing::must;
using bgp_peer::testing::prefix;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// GoBGP waits 5 to 10 s before it dials.
constexpr auto session_patience = std::chrono::seconds(20);
constexpr std::string_view password = "not so secret";

class ScratchDirectory {
 public:
  explicit ScratchDirectory(std::string_view name)
      : path_(fmt::format("{}/bgp-{}-{}", ::testing::TempDir(), name, ::getpid())) {
    std::filesystem::create_directory(path_);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Speaker `index` (1 or 2) is 10.77.<index>.2 and fd00:77:<index>::2, the router .1 and ::1 there.
std::string its_address(int index, int host) { return fmt::format("10.77.{}.{}", index, host); }

struct Site {
  TestNetns netns = must(TestNetns::make());
  std::optional<ScratchDirectory> directory;
  std::optional<Daemon> daemon;
};

void link(const Site& router, const Site& speaker, int index) {
  must(router.netns.run(
      fmt::format("ip link add s{} type veth peer name uplink netns /proc/{}/fd/{}", index,
                  ::getpid(), speaker.netns.fd())));
  const auto configure = [index](const TestNetns& netns, const std::string& device, int host) {
    must(netns.run(
        "ip -batch -",
        fmt::format("addr add {0}/24 dev {1}\naddr add fd00:77:{2}::{3}/64 dev {1} nodad\n"
                    "link set {1} up\n",
                    its_address(index, host), device, index, host)));
  };
  configure(router.netns, fmt::format("s{}", index), 1);
  configure(speaker.netns, "uplink", 2);
}

void start(Site& site, std::string_view name, const DaemonSpec& spec) {
  if (!site.directory) site.directory.emplace(name);
  site.daemon.emplace(must(Daemon::start(
      spec, {.directory = site.directory->path(), .spawn = in_netns(site.netns.fd())})));
}

// The first speaker comes unannounced, the second is known and signs.
SessionSpec session(std::uint32_t asn, int index) {
  return {.peer_asn = {asn},
          .password = index == 2 ? std::string(password) : "",
          .hold_time_s = 9,
          .restart_time_s = index == 2 ? std::optional(60U) : std::nullopt,
          .families = {Family::ipv4_unicast, Family::ipv6_unicast}};
}

DaemonSpec router_spec() {
  auto known = session(64512, 2);
  known.passive = true;
  return {
      .global = {.asn = {64513}, .router_id = address("10.77.0.1"), .multipath = true},
      .neighbors = {{.address = address(its_address(2, 2)), .session = known}},
      .dynamic_neighbors = {
          {.name = "nodes", .networks = {prefix("10.77.1.0/24")}, .session = session(64512, 1)}}};
}

DaemonSpec speaker_spec(int index) {
  return {
      .global = {.asn = {64512}, .router_id = address(its_address(index, 2)), .port = -1},
      .neighbors = {{.address = address(its_address(index, 1)), .session = session(64513, index)}},
      .communities = {must(Community::parse("65000:99"))}};
}

Path path_of(int index, std::string_view to) {
  const auto reached = prefix(to);
  const bool is_ipv4 = reached.address.family == base::AddressFamily::ipv4;
  return {
      .prefix = reached,
      .next_hop = address(is_ipv4 ? its_address(index, 2) : fmt::format("fd00:77:{}::2", index)),
      .origin = Origin::igp,
      .med = 7};
}

// What a watch told, and the kernel's routes made of it on the watch's own thread.
class Follower {
 public:
  explicit Follower(const Site& router)
      : fib_(must(Fib::open(router.netns.fd()))),
        watch_(
            must(router.daemon->client().watch({}, [this](const Event& event) { take(event); }))) {}

  [[nodiscard]] std::vector<Event> events() const {
    const std::lock_guard lock(mutex_);
    return events_;
  }
  [[nodiscard]] std::vector<FibChange> changes() const {
    const std::lock_guard lock(mutex_);
    return changes_;
  }
  [[nodiscard]] std::vector<KernelRoute> kernel() const {
    const std::lock_guard lock(mutex_);
    return must(fib_.routes());
  }
  [[nodiscard]] std::size_t established() const {
    std::map<base::IpAddress, SessionState> last;
    for (const auto& event : events()) {
      if (event.kind == Event::Kind::peer) last[event.peer.address] = event.peer.state;
    }
    return static_cast<std::size_t>(std::ranges::count_if(
        last, [](const auto& one) { return one.second == SessionState::established; }));
  }

 private:
  void take(const Event& event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(event);
    if (event.kind != Event::Kind::paths) return;
    auto made = fib_.apply(event.paths);
    EXPECT_TRUE(made) << base::describe_error(made.error());
    if (made) std::ranges::move(*made, std::back_inserter(changes_));
  }

  mutable std::mutex mutex_;
  Fib fib_;
  std::vector<Event> events_;
  std::vector<FibChange> changes_;
  Watch watch_;  // last: its thread uses all of the above
};

// What the kernel tells of its routes, read as it comes.
class KernelListener {
 public:
  explicit KernelListener(const Site& router)
      : monitor_(must(RouteMonitor::open(router.netns.fd()))),
        end_(::eventfd(0, EFD_CLOEXEC)),
        thread_([this] { listen(); }) {}
  KernelListener(const KernelListener&) = delete;
  KernelListener& operator=(const KernelListener&) = delete;
  ~KernelListener() {
    ::eventfd_write(end_.get(), 1);
    thread_.join();
  }
  [[nodiscard]] std::vector<RouteMonitor::Change> told() const {
    const std::lock_guard lock(mutex_);
    return told_;
  }

 private:
  void listen() {
    std::array<pollfd, 2> watched{{{.fd = monitor_.fd(), .events = POLLIN, .revents = 0},
                                   {.fd = end_.get(), .events = POLLIN, .revents = 0}}};
    while (::poll(watched.data(), watched.size(), -1) >= 0 && watched[1].revents == 0) {
      auto changes = monitor_.take();
      EXPECT_TRUE(changes) << base::describe_error(changes.error());
      const std::lock_guard lock(mutex_);
      if (changes) std::ranges::move(*changes, std::back_inserter(told_));
    }
  }

  mutable std::mutex mutex_;
  std::vector<RouteMonitor::Change> told_;
  RouteMonitor monitor_;
  base::UniqueFd end_;
  std::thread thread_;  // last: it uses all of the above
};

// The command as people and pipes call it.
class WatchCommand {
 public:
  explicit WatchCommand(const std::string& address)
      : process_(must(base::Process::spawn(
            {.argv = {STACKBENCH_BINARY_DIR "/stackbench", "bgp", "watch", "--json", address},
             .out = base::Stdio::pipe()}))) {}

  // Reads until a line of that type for that prefix comes; null when none does in 5 s.
  [[nodiscard]] base::Json route(const std::string& wanted) {
    const auto until = base::monotonic_now() + std::chrono::seconds(5);
    while (base::monotonic_now() < until) {
      const auto end = text_.find('\n');
      if (end != std::string::npos) {
        const auto line = base::parse_json(text_.substr(0, end)).value_or(base::Json());
        text_.erase(0, end + 1);
        if (line.value("prefix", "") == wanted) return line;
        continue;
      }
      pollfd ready{.fd = process_.out.get(), .events = POLLIN, .revents = 0};
      std::array<char, 4096> more{};
      if (::poll(&ready, 1, 100) <= 0) continue;
      const auto size = ::read(process_.out.get(), more.data(), more.size());
      if (size <= 0) break;
      text_.append(more.data(), static_cast<std::size_t>(size));
    }
    return {};
  }
  [[nodiscard]] base::ExitStatus interrupt() {
    must(process_.signal(SIGINT));
    return must(process_.wait(std::chrono::seconds(5)));
  }

 private:
  base::Process process_;
  std::string text_;
};

TEST(BgpPeer, RoutesGoFromSpeakersIntoTheRoutersKernelAndOutAgain) {
  if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
  Site router;
  std::array<Site, 2> speakers;
  start(router, "router", router_spec());
  for (int index : {1, 2}) {
    auto& speaker = speakers[static_cast<std::size_t>(index - 1)];
    link(router, speaker, index);
    start(speaker, fmt::format("speaker{}", index), speaker_spec(index));
  }
  must(router.netns.run("ip route add 10.9.0.0/24 via 10.77.1.2 proto static"));
  Follower follower(router);
  const KernelListener listener(router);

  ASSERT_TRUE(eventually([&] { return follower.established() == 2; }, session_patience))
      << must(base::run_for_output({"cat", router.daemon->log()}));
  const auto peers = must(router.daemon->client().peers());
  ASSERT_THAT(peers, SizeIs(2));
  EXPECT_EQ(peers[0].address, address("10.77.1.2"));
  EXPECT_EQ(peers[0].router_id, address("10.77.1.2"));
  EXPECT_EQ(peers[0].negotiated_hold_time_s, 9U);
  EXPECT_THAT(peers[0].remote.families, ElementsAre(Family::ipv4_unicast, Family::ipv6_unicast));
  EXPECT_EQ(peers[0].remote.four_octet_asn, Asn{64512});
  EXPECT_THAT(follower.kernel(), IsEmpty());

  const std::string service = "10.201.0.7/32";
  WatchCommand command(router.daemon->address());
  for (int index : {1, 2}) {
    const auto& client = speakers[static_cast<std::size_t>(index - 1)].daemon->client();
    must(client.add_path(path_of(index, service)));
    must(client.add_path(path_of(index, "fd00:201::7/128")));
  }
  const KernelRoute both{prefix(service), {address("10.77.1.2"), address("10.77.2.2")}};
  const KernelRoute both6{prefix("fd00:201::7/128"),
                          {address("fd00:77:1::2"), address("fd00:77:2::2")}};
  EXPECT_TRUE(eventually([&] { return follower.kernel() == std::vector{both, both6}; }))
      << must(router.netns.run("ip route"));
  // As others see it: one route of several next hops, under our number.
  EXPECT_THAT(must(router.netns.run("ip route show proto bgp")),
              ::testing::AllOf(HasSubstr("10.201.0.7"), HasSubstr("nexthop via 10.77.1.2"),
                               HasSubstr("nexthop via 10.77.2.2")));
  const auto learnt = must(router.daemon->client().paths(Family::ipv4_unicast));
  ASSERT_THAT(learnt, SizeIs(2));
  EXPECT_NE(learnt[0].best, learnt[1].best);
  for (const auto& path : learnt) {
    EXPECT_EQ(as_path_text(path.as_path), "64512");
    EXPECT_EQ(path.origin, Origin::igp);
    EXPECT_EQ(path.med, 7U);
    EXPECT_THAT(path.communities, ElementsAre(must(Community::parse("65000:99"))));
    EXPECT_EQ(path.neighbor, path.next_hop);
  }
  const auto line = command.route(service);
  ASSERT_TRUE(line.is_object());
  EXPECT_EQ(line["paths"][0]["as_path"][0]["numbers"][0], 64512);
  EXPECT_EQ(command.interrupt().code, 128 + SIGINT);

  // The follower watched before there was any.
  EXPECT_TRUE(std::ranges::none_of(follower.events(), [](const auto& event) {
    return event.kind == Event::Kind::paths && event.initial;
  }));
  // What the kernel told of a change of ours came after its request, and soon after its answer.
  constexpr auto soon = std::chrono::milliseconds(500);  // of a machine that does other things
  for (const auto& change : follower.changes()) {
    EXPECT_TRUE(eventually([&] {
      const auto told = listener.told();
      return std::ranges::any_of(told, [&](const auto& one) {
        return one.route == change.route && one.protocol == route_protocol &&
               one.received >= change.sent && one.received - change.acked < soon;
      });
    })) << change.route.prefix.to_string();
  }

  must(speakers[1].daemon->client().remove_path(path_of(2, service)));
  const KernelRoute first{prefix(service), {address("10.77.1.2")}};
  EXPECT_TRUE(eventually([&] {
    const auto kernel = follower.kernel();
    return !kernel.empty() && kernel[0] == first;
  }));

  // Killed without a word: the kernel closes its connections, and its routes go.
  const auto killed = base::monotonic_now();
  must(speakers[0].daemon->kill());
  const KernelRoute second6{both6.prefix, {address("fd00:77:2::2")}};
  EXPECT_TRUE(eventually([&] { return follower.kernel() == std::vector{second6}; }));
  // It withdraws the routes before it says how the session is.
  EXPECT_TRUE(eventually([&] { return follower.established() == 1; }));
  const auto last = follower.changes().back();
  std::printf("from a speaker's SIGKILL to its route out of the router's kernel: %.2f ms\n",
              static_cast<double>((last.acked - killed).count()) / 1e6);
  EXPECT_THAT(must(router.netns.run("ip route show proto static")), HasSubstr("10.9.0.0/24"));

  // The other one has agreed on a graceful restart: killed, its routes are kept, which no event
  // says.
  must(speakers[1].daemon->kill());
  EXPECT_TRUE(eventually([&] { return follower.established() == 0; }));
  WatchedTable table("router", {});
  for (const auto& event : follower.events()) table.apply(event);
  EXPECT_TRUE(table.may_be_stale());
  table.refresh_stale(must(router.daemon->client().paths(Family::ipv6_unicast)));
  EXPECT_THAT(table.render({}, base::monotonic_now()), HasSubstr("fd00:77:2::2 (stale)"));
  EXPECT_THAT(follower.kernel(), ElementsAre(second6));

  must(router.daemon->kill());
  EXPECT_TRUE(eventually([&] {
    const auto events = follower.events();
    return !events.empty() && events.back().kind == Event::Kind::ended;
  }));
  EXPECT_EQ(follower.events().back().error.kind, base::ErrorKind::peer_lost);
  const auto asked = router.daemon->client().peers();
  ASSERT_FALSE(asked);
  EXPECT_EQ(asked.error().kind, base::ErrorKind::peer_lost) << asked.error().message;
  EXPECT_THAT(asked.error().message, HasSubstr("gobgpd went away"));
}

TEST(BgpPeer, ADaemonThatCannotStartSaysWhy) {
  if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
  const auto netns = must(TestNetns::make());
  const ScratchDirectory directory("broken");
  const DaemonOptions options{.directory = directory.path(), .spawn = in_netns(netns.fd())};
  auto taken = must(Daemon::start(router_spec(), options));
  // The port is taken in this namespace.
  const ScratchDirectory other("second");
  const auto second =
      Daemon::start(router_spec(), {.directory = other.path(), .spawn = in_netns(netns.fd())});
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message, HasSubstr("gobgpd ended with exit code 1"));
  EXPECT_THAT(second.error().mend, HasSubstr("address already in use"));
  must(taken.stop());
}

}  // namespace
}  // namespace bgp_peer
