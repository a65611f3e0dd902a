// Every planted fault of policies is there to be found, and nowhere without it: needs root.
#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cluster/lab/policy_fixture.h"

namespace cluster {
namespace {

using base::testing::Transport;

class LabPolicyFault : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
  }
};

// What is open that should not be.
std::set<FaultKind> found_in(PolicyLab& lab) {
  std::set<FaultKind> found;
  lab.apply("all", R"({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
      "ingress": [{"ports": [{"port": 7001}], "from": [{"podSelector": {}},
                   {"ipBlock": {"cidr": "172.19.0.0/16", "except": ["172.19.0.0/24"]}}]}],
      "egress": [{"ports": [{"port": 7001}], "to": [{"podSelector": {}}]}]})");
  EXPECT_EQ(lab.probe("client-0", lab.at("web-0", tcp_target)), Outcome::answered);
  if (lab.probe("client-0", lab.at("web-0", other_target)) == Outcome::answered) {
    found.insert(FaultKind::policy_port_too_wide);
  }
  if (lab.probe("external", lab.at("web-0", tcp_target)) == Outcome::answered) {
    found.insert(FaultKind::policy_except_ignored);
  }
  if (lab.probe("client-0", lab.at("external", udp_target), Transport::udp) == Outcome::answered) {
    found.insert(FaultKind::policy_udp_egress_open);
  }
  lab.apply("all", R"({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [
      {"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}]})");
  must(lab.target().set_labels("env", LabelledKind::pod, "client-0", {{"app", "other"}}));
  if (lab.probe("client-0", lab.at("web-0", tcp_target)) == Outcome::answered) {
    found.insert(FaultKind::policy_label_change_lost);
  }
  must(lab.target().set_labels("env", LabelledKind::pod, "client-0", {{"app", "client"}}));
  return found;
}

TEST_F(LabPolicyFault, EachIsFoundAndNoneInACleanLab) {
  const std::set faults{FaultKind::policy_port_too_wide, FaultKind::policy_except_ignored,
                        FaultKind::policy_udp_egress_open, FaultKind::policy_label_change_lost};
  auto plan = policy_plan(DatapathKind::direct);
  {
    PolicyLab clean(plan);
    EXPECT_EQ(found_in(clean), std::set<FaultKind>());
  }
  plan.faults.assign(faults.begin(), faults.end());
  PolicyLab broken(plan);
  EXPECT_EQ(found_in(broken), faults);
}

// A datagram every 200 us from a pod to a server, which of them came, and when each was sent.
class Stream {
 public:
  Stream(PolicyLab& lab, const std::string& from, const std::string& to) {
    const base::Endpoint peer = lab.at(to, 7020);
    lab.inside(to, [&] { server_ = must(base::testing::listen_at(peer, Transport::udp)); });
    client_ = lab.begin(from, peer, Transport::udp);
    sender_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        const auto now = base::monotonic_now().ns;
        sent_.push_back(now);
        std::ignore = ::send(client_.get(), &now, sizeof(now), 0);
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    });
  }

  // Ends it; the stamps at which those were sent that came.
  std::set<std::int64_t> received() {
    sender_.request_stop();
    sender_.join();
    std::set<std::int64_t> stamps;
    std::int64_t stamp = 0;
    while (::recv(server_.get(), &stamp, sizeof(stamp), MSG_DONTWAIT) == sizeof(stamp)) {
      stamps.insert(stamp);
    }
    return stamps;
  }
  [[nodiscard]] const std::vector<std::int64_t>& sent() const { return sent_; }

 private:
  base::UniqueFd server_;
  base::UniqueFd client_;
  std::vector<std::int64_t> sent_;  // the sender's, until it has ended
  std::jthread sender_;
};

TEST_F(LabPolicyFault, ADelayIsAsLongAsItIsSaidToBe) {
  for (const auto delay : {std::chrono::milliseconds(0), std::chrono::milliseconds(5),
                           std::chrono::milliseconds(50)}) {
    auto plan = policy_plan(DatapathKind::direct);
    if (delay.count() > 0) plan.faults = {FaultKind::policy_delayed};
    plan.policy_delay = delay;
    PolicyLab lab(plan);
    Stream stream(lab, "client-0", "web-0");
    const auto stamps = lab.apply("deny", deny_all_ingress);
    // Some are sent after it.
    std::this_thread::yield();
    ASSERT_TRUE(base::testing::eventually(
        [&] { return base::monotonic_now().ns > *stamps.programmed_ns + 5'000'000; }));
    const auto received = stream.received();
    ASSERT_FALSE(received.empty());
    EXPECT_GE(*stamps.programmed_ns, stamps.acked_ns + std::chrono::nanoseconds(delay).count());
    // Those that were sent before it was in force came, and none of those after.
    EXPECT_LE(*received.rbegin(), *stamps.programmed_ns);
    const auto certain = stamps.acked_ns + std::chrono::nanoseconds(delay).count() - 1'000'000;
    for (const auto sent : stream.sent()) {
      if (sent < certain) EXPECT_TRUE(received.contains(sent)) << certain - sent << " ns before";
    }
    if (delay.count() > 0) EXPECT_GT(*received.rbegin(), stamps.acked_ns);
  }
}

TEST_F(LabPolicyFault, ANewPodIsOpenForAWhileOnlyWhereThatIsPlanted) {
  for (const bool planted : {false, true}) {
    auto plan = policy_plan(DatapathKind::direct);
    if (planted) plan.faults = {FaultKind::policy_new_pod_open};
    PolicyLab lab(plan);
    lab.apply("deny", R"({"podSelector": {"matchLabels": {"app": "near"}},
                          "policyTypes": ["Egress"]})");
    base::UniqueFd server;
    lab.inside("web-0", [&] {
      server = must(base::testing::listen_at(lab.at("web-0", 7020), Transport::udp));
    });
    // A new socket each time, as its address is another after a while.
    const auto peer = lab.at("web-0", 7020);
    std::jthread sender([&](const std::stop_token& stop) {
      const int netns = lab.target().environment("env")->netns("near-0");
      std::ignore = lab.target().sandbox()->inside(netns, [&]() -> base::Result<> {
        while (!stop.stop_requested()) {
          const auto fd = base::testing::open_socket(peer, Transport::udp);
          if (fd) std::ignore = base::testing::send_to(fd->get(), peer, "?");
          std::this_thread::sleep_for(std::chrono::microseconds(500));
        }
        return {};
      });
    });
    const auto stamps = must(lab.target().restart_pod("env", "near-0", {}));
    ASSERT_TRUE(base::testing::eventually(
        [&] { return base::monotonic_now().ns > *stamps.programmed_ns + 5'000'000; }));
    sender.request_stop();
    sender.join();
    int came = 0;
    std::array<char, 8> buffer{};
    while (::recv(server.get(), buffer.data(), buffer.size(), MSG_DONTWAIT) > 0) ++came;
    EXPECT_EQ(came > 0, planted) << came;
    EXPECT_EQ(lab.probe("near-0", peer, Transport::udp), Outcome::denied) << "in the end it is";
  }
}

}  // namespace
}  // namespace cluster
