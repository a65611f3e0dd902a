#include "stackbench/bgp/flows.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <random>
#include <thread>

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include "base/clock.h"

namespace stackbench::bgp {
namespace {

using base::Result;
using base::UniqueFd;

constexpr auto flow_patience = std::chrono::milliseconds(500);
constexpr std::size_t sent_between_looks = 64;
constexpr std::uint16_t first_port = 10'000;
constexpr std::uint16_t last_port = 60'999;

// Runs on a thread of its own in a network namespace: sockets stay where they are opened.
Result<> inside(int netns, const std::function<Result<>()>& work) {
  Result<> outcome;
  std::thread([&] {
    outcome =
        ::setns(netns, CLONE_NEWNET) < 0 ? base::system_error(errno, "setns for flows") : work();
  }).join();
  return outcome;
}

// The source port of a UDP packet to that address; 0: it is none.
std::uint16_t source_port(const std::uint8_t* packet, std::size_t size,
                          const base::IpAddress& target) {
  const bool ipv4 = target.family == base::AddressFamily::ipv4;
  const std::size_t least = ipv4 ? sizeof(iphdr) : sizeof(ip6_hdr);
  if (size < least || packet[0] >> 4 != (ipv4 ? 4 : 6)) return 0;
  const std::size_t header = ipv4 ? static_cast<std::size_t>(packet[0] & 0xf) * 4 : least;
  const auto protocol = packet[ipv4 ? 9 : 6];
  if (protocol != IPPROTO_UDP || size < header + sizeof(udphdr)) return 0;
  const auto* destination = packet + (ipv4 ? 16 : 24);
  if (std::memcmp(destination, target.bytes.data(), ipv4 ? 4 : 16) != 0) return 0;
  return static_cast<std::uint16_t>(packet[header] << 8 | packet[header + 1]);
}

Result<> send_one(const base::Endpoint& target, std::uint16_t port) {
  const UniqueFd fd(::socket(target.address.af(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return base::system_error(errno, "socket for a flow");
  const base::SocketAddress own(
      base::Endpoint{base::IpAddress{.family = target.address.family}, port});
  if (::bind(fd.get(), own.get(), own.size()) < 0) {
    return base::system_error(errno, "bind to port {} for a flow", port);
  }
  const base::SocketAddress to(target);
  // No route is no way: the flow is seen nowhere.
  (void)::sendto(fd.get(), &port, sizeof(port), 0, to.get(), to.size());
  return {};
}

}  // namespace

Result<FlowTap> FlowTap::open(int router, int nodes) {
  UniqueFd tap;
  std::map<int, int> interfaces;
  RETURN_IF_ERROR(inside(router, [&]() -> Result<> {
    // Of every link; SOCK_DGRAM leaves their own headers out.
    tap.reset(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL)));
    if (!tap) return base::system_error(errno, "packet socket for flows");
    for (int node = 1; node <= nodes; ++node) {
      const auto name = fmt::format("node{}", node);
      const auto index = ::if_nametoindex(name.c_str());
      if (index == 0) return base::system_error(errno, "{}", name);
      interfaces[static_cast<int>(index)] = node;
    }
    constexpr int buffer = 16 << 20;
    (void)::setsockopt(tap.get(), SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer));
    return {};
  }));
  return FlowTap(std::move(tap), std::move(interfaces));
}

void FlowTap::drain(const base::Endpoint& target, FlowNodes& seen) {
  std::array<std::uint8_t, 128> packet{};
  for (;;) {
    sockaddr_ll from{};
    socklen_t length = sizeof(from);
    const auto size = ::recvfrom(tap_.get(), packet.data(), packet.size(), 0,
                                 reinterpret_cast<sockaddr*>(&from), &length);
    if (size < 0) return;
    const auto node = nodes_.find(from.sll_ifindex);
    if (node == nodes_.end() || from.sll_pkttype != PACKET_OUTGOING) continue;
    const auto port = source_port(packet.data(), static_cast<std::size_t>(size), target.address);
    if (port != 0) seen.try_emplace(port, node->second);
  }
}

Result<> FlowTap::refuse_losses() {
  tpacket_stats counts{};
  socklen_t size = sizeof(counts);
  if (::getsockopt(tap_.get(), SOL_PACKET, PACKET_STATISTICS, &counts, &size) < 0) {
    return base::system_error(errno, "counts of the flows' tap");
  }
  if (counts.tp_drops == 0) return {};
  return base::fail(base::ErrorKind::system, "the tap that follows flows lost {} packets",
                    counts.tp_drops);
}

Result<FlowNodes> FlowTap::send(int client, const base::Endpoint& target,
                                const std::vector<std::uint16_t>& ports) {
  FlowNodes before;
  drain(target, before);  // of an earlier trial
  RETURN_IF_ERROR(refuse_losses());
  FlowNodes seen;
  RETURN_IF_ERROR(inside(client, [&]() -> Result<> {
    std::size_t sent = 0;
    for (const auto port : ports) {
      RETURN_IF_ERROR(send_one(target, port));
      if (++sent % sent_between_looks == 0) drain(target, seen);
    }
    return {};
  }));
  const auto give_up = base::monotonic_now() + flow_patience;
  while (seen.size() < ports.size() && base::monotonic_now() < give_up) {
    pollfd more{.fd = tap_.get(), .events = POLLIN, .revents = 0};
    ::poll(&more, 1, 10);
    drain(target, seen);
  }
  RETURN_IF_ERROR(refuse_losses());
  return seen;
}

std::vector<std::uint16_t> draw_ports(std::size_t count, std::uint64_t seed, std::uint64_t trial) {
  std::vector<std::uint16_t> ports(last_port - first_port + 1);
  std::iota(ports.begin(), ports.end(), first_port);
  std::seed_seq words{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32),
                      static_cast<std::uint32_t>(trial)};
  std::mt19937_64 random(words);
  count = std::min(count, ports.size());
  for (std::size_t i = 0; i < count; ++i) {
    // The remainder's bias is one in 10^14.
    std::swap(ports[i], ports[i + random() % (ports.size() - i)]);
  }
  ports.resize(count);
  return ports;
}

}  // namespace stackbench::bgp
