// BIRD and FRR, as Debian has them, at the far side of our router: what each announces is taken,
// stamped, put into the router's kernel, reached by probes, and withdrawn. Needs root and what
// ./bootstrap test unpacks.
#include <filesystem>
#include <mutex>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/file.h"
#include "base/testing/lab.h"
#include "bgp-peer/capture.h"
#include "bgp-peer/daemon.h"
#include "bgp-peer/fib.h"
#include "bgp-peer/testing.h"
#include "stackbench/bgp/probe_stream.h"

namespace stackbench::bgp {
namespace {

namespace fs = std::filesystem;
using base::testing::eventually;
using base::testing::TestNetns;
using bgp_peer::testing::address;
using bgp_peer::testing::must;
using bgp_peer::testing::prefix;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

// Both dial again after a second.
constexpr auto session_patience = std::chrono::seconds(20);
constexpr std::uint16_t port = 7003;
constexpr std::string_view by_bird = "10.201.0.7/32";
constexpr std::string_view by_frr = "10.201.0.8/32";
constexpr std::string_view by_both = "10.201.0.9/32";

const fs::path tools = fs::weakly_canonical(fs::path(STACKBENCH_BINARY_DIR) / "../../tools");

std::string tool(const std::string& path) { return (tools / path).string(); }

// A program unpacked beside the libraries it needs.
std::vector<std::string> with_libraries(std::vector<std::string> words) {
  const std::string folder = "usr/lib/x86_64-linux-gnu";
  words.insert(words.begin(),
               {"env", fmt::format("LD_LIBRARY_PATH={}:{}:{}", tool("frr/" + folder + "/frr"),
                                   tool("libyang2/" + folder), tool("libssh-gcrypt-4/" + folder))});
  return words;
}

std::string bird_configuration() {
  return fmt::format(
      "router id 10.77.1.2;\n"
      "protocol device {{}}\n"
      "protocol static announced {{ ipv4; route {} blackhole; route {} blackhole; }}\n"
      "protocol bgp tor {{\n"
      "  local 10.77.1.2 as 64512; neighbor 10.77.1.1 as 64513;\n"
      "  connect delay time 1; hold time 9;\n"
      "  ipv4 {{ import none; next hop self; export filter {{\n"
      "    if source != RTS_STATIC then reject;\n"
      "    bgp_community.add((65000,99)); accept; }}; }};\n"
      "}}\n",
      by_bird, by_both);
}

std::string frr_configuration() {
  return fmt::format(
      "hostname frr\n"
      "route-map stamped permit 10\n"
      " set community 65000:99\n"
      "exit\n"
      "router bgp 64512\n"
      " bgp router-id 10.77.2.2\n"
      " no bgp ebgp-requires-policy\n"
      " no bgp network import-check\n"
      " neighbor 10.77.2.1 remote-as 64513\n"
      " neighbor 10.77.2.1 timers 3 9\n"
      " neighbor 10.77.2.1 timers connect 1\n"
      " neighbor 10.77.2.1 advertisement-interval 0\n"
      " address-family ipv4 unicast\n"
      "  network {} route-map stamped\n"
      "  network {} route-map stamped\n"
      " exit-address-family\n",
      by_frr, by_both);
}

class OtherDaemons : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
    for (const auto* file : {"frr/usr/lib/frr/bgpd", "bird2/usr/sbin/bird"}) {
      ASSERT_TRUE(fs::exists(tools / file)) << "run ./bootstrap test";
    }
    fs::create_directories(directory_ + "/router");
    fs::create_directories(directory_ + "/vty");
    for (int i = 0; i < 4; ++i) places_.push_back(must(TestNetns::make()));
    must(router().run("sysctl -qw net.ipv4.ip_forward=1"));
    for (int index = 1; index <= 3; ++index) link(index);
    for (const auto speaker : {1, 2}) {
      for (const auto& one : {speaker == 1 ? by_bird : by_frr, by_both}) {
        must(place(speaker).run(fmt::format("ip addr add {} dev lo", one)));
        const auto at = prefix(one).address;
        responders_.push_back(must(Responder::start(place(speaker).fd(), {at, port},
                                                    static_cast<std::uint32_t>(speaker))));
      }
    }
    start_router();
    start_bird();
    start_frr();
  }
  void TearDown() override {
    watch_.reset();
    captures_.clear();
    fib_.reset();
    others_.clear();
    daemon_.reset();
    std::error_code ignored;
    fs::remove_all(directory_, ignored);
  }

  // Place 1 is BIRD's, 2 FRR's, 3 the client's; the router is at .1 of 10.77.<place>.0/24.
  [[nodiscard]] const TestNetns& router() const { return places_[0]; }
  [[nodiscard]] const TestNetns& place(int index) const {
    return places_[static_cast<std::size_t>(index)];
  }

  void link(int index) {
    must(router().run(
        fmt::format("ip link add name s{} type veth peer name uplink netns /proc/{}/fd/{}", index,
                    ::getpid(), place(index).fd())));
    must(router().run("ip -batch -", fmt::format("addr add 10.77.{0}.1/24 dev s{0}\n"
                                                 "link set s{0} up\n",
                                                 index)));
    must(place(index).run("ip -batch -", fmt::format("addr add 10.77.{0}.2/24 dev uplink\n"
                                                     "link set uplink up\n"
                                                     "route add default via 10.77.{0}.1\n",
                                                     index)));
  }

  void start_router() {
    daemon_.emplace(must(bgp_peer::Daemon::start(
        {.global = {.asn = {64513}, .router_id = address("10.77.1.1"), .multipath = true},
         .dynamic_neighbors = {{.name = "others",
                                .networks = {prefix("10.77.0.0/16")},
                                .session = {.peer_asn = {64512}, .hold_time_s = 9}}}},
        {.directory = directory_ + "/router", .spawn = bgp_peer::in_netns(router().fd())})));
    fib_.emplace(must(bgp_peer::Fib::open(router().fd())));
    for (const auto* interface : {"s1", "s2"}) {
      captures_.push_back(must(bgp_peer::Capture::start(
          {.netns = router().fd(), .interface = interface}, [this](const auto& update) {
            const std::lock_guard lock(mutex_);
            updates_.push_back(update);
          })));
    }
    watch_.emplace(must(daemon_->client().watch({}, [this](const bgp_peer::Event& event) {
      if (event.kind != bgp_peer::Event::Kind::paths) return;
      const std::lock_guard lock(mutex_);
      EXPECT_TRUE(fib_->apply(event.paths));
      events_.push_back(event);
    })));
  }

  void start_other(int index, const std::vector<std::string>& words) {
    base::SpawnOptions options{.argv = with_libraries(words)};
    options.out = base::Stdio::null();
    options.err = base::Stdio::null();
    others_.push_back(must(bgp_peer::in_netns(place(index).fd())(std::move(options))));
  }
  void start_bird() {
    must(base::write_file(directory_ + "/bird.conf", bird_configuration()));
    start_other(1, {tool("bird2/usr/sbin/bird"), "-f", "-c", directory_ + "/bird.conf", "-s",
                    directory_ + "/bird.ctl", "-P", directory_ + "/bird.pid"});
  }
  void start_frr() {
    must(base::write_file(directory_ + "/bgpd.conf", frr_configuration()));
    must(base::write_file(directory_ + "/vtysh.conf", "username root nopassword\n"));
    start_other(
        2, {tool("frr/usr/lib/frr/bgpd"), "-f", directory_ + "/bgpd.conf", "-S", "-Z", "-n", "-p",
            "0", "-P", "0", "-i", directory_ + "/bgpd.pid", "--vty_socket", directory_ + "/vty"});
  }

  void withdraw_by_bird() const {
    must(base::run_for_output(with_libraries(
        {tool("bird2/usr/sbin/birdc"), "-s", directory_ + "/bird.ctl", "disable", "announced"})));
  }
  void withdraw_by_frr(std::string_view of) const {
    must(base::run_for_output(with_libraries(
        {tool("frr/usr/bin/vtysh"), "--vty_socket", directory_ + "/vty", "--config_dir", directory_,
         "-c", "configure terminal", "-c", "router bgp 64512", "-c", "address-family ipv4 unicast",
         "-c", fmt::format("no network {} route-map stamped", of)})));
  }

  // By whom the router's kernel reaches a prefix.
  [[nodiscard]] std::vector<std::string> reached_by(std::string_view wanted) const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> hops;
    for (const auto& route : must(fib_->routes())) {
      if (route.prefix != prefix(wanted)) continue;
      for (const auto& hop : route.next_hops) hops.push_back(hop.to_string());
    }
    return hops;
  }
  // The first time that this was announced on the wire, or withdrawn, by somebody.
  [[nodiscard]] std::optional<base::MonotonicTime> seen(std::string_view wanted, int by,
                                                        bool announced) const {
    const auto speaker = address(fmt::format("10.77.{}.2", by));
    const std::lock_guard lock(mutex_);
    for (const auto& one : updates_) {
      const auto& its = announced ? one.update.announced : one.update.withdrawn;
      if (one.from == speaker && std::ranges::count(its, prefix(wanted)) > 0) return one.passed;
    }
    return std::nullopt;
  }
  [[nodiscard]] std::optional<base::MonotonicTime> told(std::string_view wanted) const {
    const std::lock_guard lock(mutex_);
    for (const auto& event : events_) {
      if (bgp_peer::next_hops_of(event.paths).contains(prefix(wanted))) return event.received;
    }
    return std::nullopt;
  }

  std::string directory_ = fmt::format("{}/other-daemons-{}", ::testing::TempDir(), ::getpid());
  std::vector<TestNetns> places_;
  std::vector<Responder> responders_;
  std::optional<bgp_peer::Daemon> daemon_;
  std::vector<base::Process> others_;
  mutable std::mutex mutex_;
  std::vector<bgp_peer::CapturedUpdate> updates_;
  std::vector<bgp_peer::Event> events_;
  std::optional<bgp_peer::Fib> fib_;
  std::vector<bgp_peer::Capture> captures_;
  std::optional<bgp_peer::Watch> watch_;
};

// Whether the last probe that can have been answered was, and by whom.
std::optional<std::uint32_t> answered_lately(const ProbeStream& stream) {
  const auto all = stream.probes();
  const auto settled = base::monotonic_now() - std::chrono::milliseconds(20);
  for (auto one = all.rbegin(); one != all.rend(); ++one) {
    if (one->sent > settled) continue;
    return one->answered ? std::optional(one->by) : std::nullopt;
  }
  return std::nullopt;
}

TEST_F(OtherDaemons, AnnounceAndWithdrawThroughOurRouter) {
  EXPECT_TRUE(eventually([&] { return reached_by(by_both).size() == 2; }, session_patience));
  EXPECT_THAT(reached_by(by_bird), ElementsAre("10.77.1.2"));
  EXPECT_THAT(reached_by(by_frr), ElementsAre("10.77.2.2"));
  EXPECT_THAT(reached_by(by_both), UnorderedElementsAre("10.77.1.2", "10.77.2.2"));
  const auto peers = must(daemon_->client().peers());
  EXPECT_EQ(std::ranges::count(peers, bgp_peer::SessionState::established, &bgp_peer::Peer::state),
            2);
  for (const auto& path : must(daemon_->client().paths(bgp_peer::Family::ipv4_unicast))) {
    EXPECT_EQ(bgp_peer::as_path_text(path.as_path), "64512") << path.prefix.to_string();
    ASSERT_EQ(path.communities.size(), 1U) << path.prefix.to_string();
    EXPECT_EQ(path.communities[0].to_string(), "65000:99");
  }
  for (const auto& [what, by] : {std::pair{by_bird, 1}, std::pair{by_frr, 2}}) {
    const auto passed = seen(what, by, true);
    const auto when = told(what);
    ASSERT_TRUE(passed && when) << what;
    EXPECT_LE(*passed, *when) << what << " was told before it was on the wire";
    const auto client = place(3).fd();
    const auto stream = must(ProbeStream::start(client, {prefix(what).address, port}));
    EXPECT_TRUE(eventually([&] {
      return answered_lately(stream) == static_cast<std::uint32_t>(by);
    })) << what;
    EXPECT_FALSE(seen(what, by, false));
    by == 1 ? withdraw_by_bird() : withdraw_by_frr(what);
    EXPECT_TRUE(eventually([&] { return reached_by(what).empty(); })) << what;
    EXPECT_TRUE(eventually([&] { return !answered_lately(stream); })) << what;
    EXPECT_TRUE(seen(what, by, false)) << what;
  }
  // Of what both announced BIRD's part went, FRR's stays.
  EXPECT_THAT(reached_by(by_both), ElementsAre("10.77.2.2"));
  withdraw_by_frr(by_both);
  EXPECT_TRUE(eventually([&] { return reached_by(by_both).empty(); }));
}

}  // namespace
}  // namespace stackbench::bgp
