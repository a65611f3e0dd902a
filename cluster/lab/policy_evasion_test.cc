// Pods that try to get around policies with packets of their own making: needs root.
#include <initializer_list>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>

#include "cluster/lab/addresses.h"
#include "cluster/lab/policy_fixture.h"
#include "cluster/lab/wiring.h"

namespace cluster {
namespace {

using base::AddressFamily;
using base::testing::Transport;
using Bytes = std::vector<std::uint8_t>;

constexpr std::uint16_t their_port = 7020;
constexpr std::uint16_t our_port = 40'000;

template <typename Header>
void append(Bytes& bytes, const Header& header) {
  const auto* const raw = reinterpret_cast<const std::uint8_t*>(&header);
  bytes.insert(bytes.end(), raw, raw + sizeof(header));
}

// RFC 1071.
std::uint16_t checksum(const void* at, std::size_t size) {
  const auto* const bytes = static_cast<const std::uint8_t*>(at);
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i + 1 < size; i += 2) sum += std::uint32_t{bytes[i]} << 8 | bytes[i + 1];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return htons(static_cast<std::uint16_t>(~sum));
}

// The headers of a datagram without a payload.
Bytes datagram(const base::Endpoint& from, const base::Endpoint& to) {
  iphdr ip{};
  ip.version = 4;
  ip.ihl = 5;
  ip.tot_len = htons(sizeof(iphdr) + sizeof(udphdr));
  ip.ttl = 64;
  ip.protocol = IPPROTO_UDP;
  std::memcpy(&ip.saddr, from.address.bytes.data(), sizeof(ip.saddr));
  std::memcpy(&ip.daddr, to.address.bytes.data(), sizeof(ip.daddr));
  ip.check = checksum(&ip, sizeof(ip));
  udphdr udp{};
  udp.source = htons(from.port);
  udp.dest = htons(to.port);
  udp.len = htons(sizeof(udp));
  Bytes bytes;
  append(bytes, ip);
  append(bytes, udp);
  return bytes;
}

class LabPolicyEvasion : public SharedPolicyLab {
 protected:
  // One that says what comes to a pod.
  static base::UniqueFd listener(const std::string& pod,
                                 AddressFamily family = AddressFamily::ipv4) {
    base::UniqueFd fd;
    shared->inside(pod, [&] {
      fd = must(base::testing::listen_at(shared->at(pod, their_port, family), Transport::udp));
    });
    return fd;
  }
  // Sends a frame as it is from a pod to its node.
  static void send_frame(const std::string& pod, const Bytes& frame) {
    shared->inside(pod, [&] {
      const base::UniqueFd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
      ASSERT_TRUE(fd);
      sockaddr_ll to{};
      to.sll_family = AF_PACKET;
      to.sll_ifindex = static_cast<int>(::if_nametoindex(std::string(child_interface).c_str()));
      ASSERT_EQ(::sendto(fd.get(), frame.data(), frame.size(), 0,
                         reinterpret_cast<const sockaddr*>(&to), sizeof(to)),
                static_cast<ssize_t>(frame.size()));
    });
  }
  // Waits for a denial for this reason that came since.
  static std::optional<Denial> denied(std::int64_t since_ns, DenialReason reason) {
    std::optional<Denial> found;
    std::ignore = base::testing::eventually(
        [&] {
          for (const auto& denial : must(shared->target().recent_denials("env")).denials) {
            if (denial.at_ns >= since_ns && denial.reason == reason) found = denial;
          }
          return found.has_value();
        },
        std::chrono::seconds(2));
    return found;
  }
  static std::int64_t now() { return base::monotonic_now().ns; }
};

// A datagram of near-0 behind two tags of VLAN 0.
Bytes tagged_twice(const base::Endpoint& from, const base::Endpoint& to) {
  Bytes frame(6, 0xee);  // addresses::parent_mac
  const auto add = [&](std::initializer_list<std::uint8_t> bytes) {
    frame.insert(frame.end(), bytes.begin(), bytes.end());
  };
  add({0x02, 0x5b, 0, 0, 1, 1});
  for (int tag = 0; tag < 2; ++tag) add({0x81, 0x00, 0x00, 0x00});
  add({0x08, 0x00});
  const auto packet = datagram(from, to);
  frame.insert(frame.end(), packet.begin(), packet.end());
  return frame;
}

// The kernel takes tags of VLAN 0 off, the second only after the programs have seen the frame.
TEST_F(LabPolicyEvasion, AFrameWithTwoTagsIsItsPodsAllTheSame) {
  const auto server = listener("client-0");  // on the same node
  const auto to = shared->at("client-0", their_port);
  // From another port each time: what was allowed before is another's to judge.
  base::Endpoint from{shared->pod("near-0").ipv4, our_port};
  send_frame("near-0", tagged_twice(from, to));
  EXPECT_TRUE(base::testing::receive_from(server.get())) << "where nothing forbids it, it arrives";
  for (const auto* direction : {"Egress", "Ingress"}) {
    shared->clear();
    shared->apply("deny",
                  fmt::format(R"({{"podSelector": {{}}, "policyTypes": ["{}"]}})", direction));
    ++from.port;
    const auto before = now();
    send_frame("near-0", tagged_twice(from, to));
    const auto denial = denied(before, DenialReason::no_rule_allows);
    ASSERT_TRUE(denial) << direction;
    EXPECT_EQ(denial->from, from);
  }
  pollfd readable{.fd = server.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&readable, 1, 0), 0);
}

TEST_F(LabPolicyEvasion, AnAddressOfAnotherPodIsOfNoUse) {
  shared->apply("to-web", R"({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [
      {"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}]})");
  for (const auto family : {AddressFamily::ipv4, AddressFamily::ipv6}) {
    const auto server = listener("web-0", family);
    const auto to = shared->at("web-0", their_port, family);
    const auto send_from = [&](const std::string& pod, const base::Endpoint& source) {
      shared->inside(pod, [&] {
        const base::UniqueFd fd(::socket(source.address.af(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
        ASSERT_TRUE(fd);
        const int on = 1;
        const bool v4 = family == AddressFamily::ipv4;
        ASSERT_EQ(::setsockopt(fd.get(), v4 ? int{IPPROTO_IP} : int{IPPROTO_IPV6},
                               v4 ? IP_TRANSPARENT : IPV6_TRANSPARENT, &on, sizeof(on)),
                  0);
        const base::SocketAddress own(source);
        ASSERT_EQ(::bind(fd.get(), own.get(), own.size()), 0);
        must(base::testing::send_to(fd.get(), to, "?"));
      });
    };
    const base::Endpoint clients{shared->pod("client-0").address(family), our_port};
    send_from("client-0", clients);
    EXPECT_TRUE(base::testing::receive_from(server.get())) << "its own";
    const auto before = now();
    send_from("near-0", clients);
    const auto denial = denied(before, DenialReason::foreign_source);
    ASSERT_TRUE(denial);
    EXPECT_EQ(denial->pod, "near-0");
    EXPECT_TRUE(denial->egress);
    EXPECT_EQ(denial->from, clients);
    pollfd readable{.fd = server.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&readable, 1, 0), 0);
  }
}

TEST_F(LabPolicyEvasion, AnErrorAboutAConnectionGoesToWhoeverSentInIt) {
  shared->apply("closed", R"({"podSelector": {}})", "other");
  // A connection of near's that is allowed.
  const auto kept = shared->begin("near-0", shared->at("client-0", udp_target), Transport::udp);
  ASSERT_EQ(shared->ask(kept), Outcome::answered);
  const auto near = must(base::testing::local_of(kept.get()));
  Bytes error;
  icmphdr icmp{};
  icmp.type = ICMP_DEST_UNREACH;
  icmp.code = ICMP_PORT_UNREACH;
  append(error, icmp);
  const auto quoted = datagram(near, shared->at("client-0", udp_target));
  error.insert(error.end(), quoted.begin(), quoted.end());
  icmp.checksum = checksum(error.data(), error.size());
  std::memcpy(error.data(), &icmp, sizeof(icmp));
  const auto before = now();
  shared->inside("near-0", [&] {
    const base::UniqueFd fd(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP));
    ASSERT_TRUE(fd);
    const base::SocketAddress to(base::Endpoint{shared->pod("stranger-0").ipv4, 0});
    ASSERT_EQ(::sendto(fd.get(), error.data(), error.size(), 0, to.get(), to.size()),
              static_cast<ssize_t>(error.size()));
  });
  const auto denial = denied(before, DenialReason::no_rule_allows);
  ASSERT_TRUE(denial) << "stranger-0 sent nothing that it could be about";
  EXPECT_EQ(denial->pod, "stranger-0");
  EXPECT_EQ(denial->protocol, IPPROTO_ICMP);
}

}  // namespace
}  // namespace cluster
