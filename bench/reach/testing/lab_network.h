// A client and a server, each in a network namespace of its own with an agent that ships, and a
// router between them whose rules a test changes.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <thread>

#include <gtest/gtest.h>
#include <sched.h>

#include "base/testing/lab.h"
#include "bench/agent/client.h"

namespace bench::testing {

constexpr const char* server_v4 = "10.244.77.2";
constexpr const char* server_v6 = "fd00:244:77::2";

// Lets traffic go on for so long: what is watched is a span of time, not a condition.
inline void let_pass(std::chrono::milliseconds span) {
  std::this_thread::sleep_until(std::chrono::steady_clock::now() + span);
}

struct LabAgent {
  base::Process process;
  AgentClient client;
};

class LabNetwork {
 public:
  // The pair of base/testing/lab.h is router and server; the client is behind the router.
  static base::Result<LabNetwork> make() {
    ASSIGN_OR_RETURN(auto pair, base::testing::TestPair::make());
    ASSIGN_OR_RETURN(auto client, base::testing::TestNetns::make());
    RETURN_IF_ERROR(pair.host.run(
        fmt::format("ip link add client0 type veth peer name eth0 netns /proc/{}/fd/{}", ::getpid(),
                    client.fd())));
    for (const auto* line :
         {"ip address add 10.244.78.1/24 dev client0",
          "ip address add fd00:244:78::1/64 dev client0 nodad", "ip link set client0 up",
          // A router asks for neighbours from a link-local address (RFC 4861, 7.2.2), and its own
          // are only there once they have been tested for duplicates.
          "ip address add fe80::1/64 dev client0 nodad",
          "ip address add fe80::1/64 dev host0 nodad"}) {
      RETURN_IF_ERROR(pair.host.run(line));
    }
    for (const auto* key : {"ipv4/ip_forward", "ipv6/conf/all/forwarding"}) {
      RETURN_IF_ERROR(pair.host.run(fmt::format("tee /proc/sys/net/{}", key), "1"));
    }
    for (const auto* line :
         {"ip address add 10.244.78.2/24 dev eth0",
          "ip address add fd00:244:78::2/64 dev eth0 nodad", "ip link set eth0 up",
          "ip route add default via 10.244.78.1", "ip -6 route add default via fd00:244:78::1"}) {
      RETURN_IF_ERROR(client.run(line));
    }
    // Else a host tells the same peer of what it refuses once a second, after a burst of six.
    for (const auto* key : {"ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"}) {
      const auto line = fmt::format("tee /proc/sys/net/{}", key);
      RETURN_IF_ERROR(pair.host.run(line, "0"));
      RETURN_IF_ERROR(pair.pod.run(line, "0"));
    }
    // A new link is of use to IPv6 once its carrier has been noticed, which takes the kernel up to
    // a second: a connect that is refused has found its way.
    const auto refused = client.inside([] {
      return base::testing::dial({.address = base::IpAddress::parse(server_v6).value(), .port = 9},
                                 base::testing::Transport::tcp);
    });
    if (refused || refused.error().code != ECONNREFUSED) {
      return base::fail(base::ErrorKind::system, "no way from client to server over IPv6");
    }
    ASSIGN_OR_RETURN(auto server_agent, agent_in(pair.pod, "agent server-0"));
    ASSIGN_OR_RETURN(auto client_agent, agent_in(client, "agent client-0"));
    return LabNetwork(std::move(pair), std::move(client), std::move(client_agent),
                      std::move(server_agent));
  }

  static base::Result<LabAgent> agent_in(const base::testing::TestNetns& netns, std::string name) {
    ASSIGN_OR_RETURN(auto process,
                     base::Process::spawn({.argv = {AGENT},
                                           .in = base::Stdio::pipe(),
                                           .out = base::Stdio::pipe(),
                                           .before_exec = [&]() -> base::Result<> {
                                             if (::setns(netns.fd(), CLONE_NEWNET) < 0)
                                               return base::system_error(errno, "setns");
                                             return {};
                                           }}));
    ASSIGN_OR_RETURN(auto client, AgentClient::connect(std::move(process.in),
                                                       std::move(process.out), std::move(name)));
    return LabAgent{std::move(process), std::move(client)};
  }

  // Replaces the router's rules by these of its forward chain, lines of nft(8), and what they refer
  // to. Returns when they hold.
  base::Result<> forward(const std::string& rules, const std::string& sets = "") const {
    auto done = router_.host.run(
        "nft -f -",
        fmt::format("table inet t\ndelete table inet t\ntable inet t {{\n{}\nchain forward {{ "
                    "type filter hook forward priority 0;\n{}\n}}\n}}\n",
                    sets, rules));
    if (!done) return std::unexpected(std::move(done).error());
    return {};
  }

  // How many elements the router's set `seen` has.
  [[nodiscard]] base::Result<std::size_t> seen() const {
    ASSIGN_OR_RETURN(const auto text, router_.host.run("nft -j list set inet t seen"));
    ASSIGN_OR_RETURN(const auto json, base::parse_json(text));
    for (const auto& entry : json.value("nftables", base::Json::array())) {
      if (entry.contains("set")) return entry["set"].value("elem", base::Json::array()).size();
    }
    return base::fail(base::ErrorKind::input, "nft lists no set");
  }
  // Connections to that port of the server's namespace in the state SYN_RECV.
  [[nodiscard]] base::Result<std::size_t> half_open_at_server(std::uint16_t port) const {
    const std::string end = fmt::format(":{:04X}", port);
    std::size_t count = 0;
    for (const auto* table : {"tcp", "tcp6"}) {
      ASSIGN_OR_RETURN(const auto text,
                       router_.pod.run(fmt::format("cat /proc/self/net/{}", table)));
      std::istringstream lines(text);
      for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string slot, local, remote, state;
        words >> slot >> local >> remote >> state;
        if (state == "03" && local.ends_with(end)) ++count;
      }
    }
    return count;
  }

  [[nodiscard]] AgentClient& client() { return client_agent_.client; }
  [[nodiscard]] AgentClient& server() { return server_agent_.client; }
  [[nodiscard]] const base::testing::TestNetns& client_netns() const { return client_; }
  [[nodiscard]] const base::testing::TestNetns& server_netns() const { return router_.pod; }
  // Has the host's side of both: client0 and host0.
  [[nodiscard]] const base::testing::TestNetns& router_netns() const { return router_.host; }

 private:
  LabNetwork(base::testing::TestPair router, base::testing::TestNetns client, LabAgent client_agent,
             LabAgent server_agent)
      : router_(std::move(router)),
        client_(std::move(client)),
        client_agent_(std::move(client_agent)),
        server_agent_(std::move(server_agent)) {}

  base::testing::TestPair router_;
  base::testing::TestNetns client_;
  LabAgent client_agent_;
  LabAgent server_agent_;
};

// One network for all tests of the program; it is gone with the program.
class InLabNetwork : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (network_ || base::testing::no_lab_here()) return;
    auto made = LabNetwork::make();
    ASSERT_TRUE(made) << made.error().message;
    network_ = std::make_unique<LabNetwork>(std::move(*made));
  }
  void SetUp() override {
    if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
    ASSERT_TRUE(network_);
    const auto open = network_->forward("");
    ASSERT_TRUE(open) << open.error().message;
  }

  static LabNetwork& network() { return *network_; }
  static base::Endpoint at(std::uint16_t port, bool v6 = false) {
    const auto address = base::IpAddress::parse(v6 ? server_v6 : server_v4);
    return {.address = address.value(), .port = port};
  }

 private:
  static inline std::unique_ptr<LabNetwork> network_;
};

}  // namespace bench::testing
