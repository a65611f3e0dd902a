// The probe against crafted frames: what it must tell apart, byte by byte. They are sent from the
// pod's end of a veth pair, the probe sits at the host's end.
#include "probes/translation.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>

#include "base/json.h"
#include "base/testing/lab.h"

namespace probes {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Bytes = std::vector<std::uint8_t>;

base::Endpoint at(std::string_view text) { return base::Endpoint::parse(text).value(); }

const auto service4 = at("10.96.0.10:8001");
const auto service6 = at("[fd00:96::10]:8001");
const auto backend4 = at("10.244.1.2:7001");
const auto backend6 = at("[fd00:244:1::2]:7001");

Bytes operator+(Bytes first, const Bytes& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

Bytes u16(unsigned value) {
  return {static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value & 0xff)};
}

enum : std::uint8_t { fin = 1, syn = 2, ack = 16 };

Bytes tcp(std::uint16_t from, std::uint16_t to, std::uint8_t flags) {
  return u16(from) + u16(to) + Bytes(8, 0) + Bytes{5 << 4, flags} + Bytes(6, 0);
}

Bytes udp(std::uint16_t from, std::uint16_t to) { return u16(from) + u16(to) + u16(8) + u16(0); }

// `fragment`: the flags and offset field.
Bytes ipv4(const base::IpAddress& to, std::uint8_t protocol, const Bytes& payload,
           unsigned fragment = 0, const Bytes& options = {}) {
  const auto words = 5 + options.size() / 4;
  Bytes header{static_cast<std::uint8_t>(0x40 | words), 0};
  header = header + u16(static_cast<unsigned>(words * 4 + payload.size())) + u16(0) +
           u16(fragment) + Bytes{64, protocol} + u16(0) + Bytes{10, 244, 77, 2} +
           Bytes(to.bytes.begin(), to.bytes.begin() + 4);
  return u16(ETH_P_IP) + header + options + payload;
}

Bytes ipv6(const base::IpAddress& to, std::uint8_t next, const Bytes& payload) {
  return u16(ETH_P_IPV6) + Bytes{0x60, 0, 0, 0} + u16(static_cast<unsigned>(payload.size())) +
         Bytes{next, 64} + Bytes(16, 1) + Bytes(to.bytes.begin(), to.bytes.end()) + payload;
}

// An extension header of 8 bytes (of 16 for `length` 1), its third and fourth byte given.
Bytes extension(std::uint8_t next, std::uint8_t third = 0, std::uint8_t fourth = 0,
                std::uint8_t length = 0) {
  return Bytes{next, length, third, fourth} + Bytes(4 + std::size_t{length} * 8, 0);
}

class Translation : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = base::testing::no_lab_here()) GTEST_SKIP() << *reason;
    auto pair = base::testing::TestPair::make();
    ASSERT_TRUE(pair) << base::describe_error(pair.error());
    pair_.emplace(std::move(*pair));
    wire_ = pair_->pod.inside([] { return open_wire("pod0"); });
    ASSERT_TRUE(wire_);
  }

  static base::UniqueFd open_wire(const char* interface) {
    base::UniqueFd wire(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_ifindex = static_cast<int>(::if_nametoindex(interface));
    if (::bind(wire.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      return {};
    }
    return wire;
  }

  void attach(base::Protocol protocol = base::Protocol::TCP) {
    auto probe = pair_->host.inside([&] {
      return TranslationProbe::attach({.interface = "host0",
                                       .service = {service4, service6},
                                       .backends = {backend4, backend6},
                                       .protocol = protocol});
    });
    ASSERT_TRUE(probe) << base::describe_error(probe.error());
    probe_.emplace(std::move(*probe));
  }

  // A frame from EtherType on, to nobody's hardware address: it passes the interface and goes no
  // further.
  static void send(const base::UniqueFd& wire, const Bytes& from_type) {
    const auto frame = Bytes{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2} + from_type;
    EXPECT_EQ(::send(wire.get(), frame.data(), frame.size(), 0),
              static_cast<ssize_t>(frame.size()));
  }
  void send(const Bytes& from_type) const { send(wire_, from_type); }

  // The counts once everything sent so far has passed: a last packet to a backend from a port that
  // no test uses closes the line, and is not counted.
  TranslationCounts settled(base::Protocol protocol = base::Protocol::TCP) const {
    constexpr std::uint16_t closing_port = 9;
    send(protocol == base::Protocol::TCP
             ? ipv4(backend4.address, IPPROTO_TCP, tcp(closing_port, backend4.port, syn))
             : ipv4(backend4.address, IPPROTO_UDP, udp(closing_port, backend4.port)));
    TranslationCounts counts;
    EXPECT_TRUE(base::testing::eventually([&] {
      counts = read();
      return std::erase(counts.backend_source_ports, closing_port) == 1;
    }));
    --counts.to_backend;
    return counts;
  }

  TranslationCounts read() const {
    const auto counts = pair_->host.inside([&] { return probe_->read(); });
    EXPECT_TRUE(counts) << base::describe_error(counts.error());
    return counts.value_or(TranslationCounts{});
  }

  std::optional<base::testing::TestPair> pair_;
  base::UniqueFd wire_;
  std::optional<TranslationProbe> probe_;
};

TEST_F(Translation, TellsServiceFromBackendFromOthersInBothFamilies) {
  attach();
  for (const auto& [peer, times] : {std::pair(service4, 1), std::pair(service6, 2),
                                    std::pair(backend4, 3), std::pair(backend6, 4)}) {
    const auto segment = tcp(40000, peer.port, ack);
    for (int i = 0; i < times; ++i) {
      send(peer.address.family == base::AddressFamily::ipv4
               ? ipv4(peer.address, IPPROTO_TCP, segment)
               : ipv6(peer.address, IPPROTO_TCP, segment));
    }
  }
  // The ports with the wrong address; the address with the wrong port, which is nobody's.
  send(ipv4(at("10.96.0.11:1").address, IPPROTO_TCP, tcp(40000, service4.port, ack)));
  send(ipv4(service4.address, IPPROTO_TCP, tcp(40000, backend4.port, ack)));
  send(ipv6(at("[fd00:96::11]:1").address, IPPROTO_TCP, tcp(40000, backend6.port, ack)));
  send(ipv4(service4.address, IPPROTO_TCP, tcp(40000, 8002, ack)));
  const auto counts = settled();
  EXPECT_EQ(counts.to_service, 3U);
  EXPECT_EQ(counts.to_backend, 7U);
  EXPECT_EQ(counts.to_other, 3U);
  EXPECT_EQ(counts.unparsed, 0U);
  EXPECT_GE(counts.packets, 15U);
}

TEST_F(Translation, NotesSourcePortsOfConnectionAttemptsOnly) {
  attach();
  send(ipv4(service4.address, IPPROTO_TCP, tcp(40001, service4.port, syn)));
  send(ipv4(service4.address, IPPROTO_TCP, tcp(40001, service4.port, syn)));  // again: once
  send(ipv4(service4.address, IPPROTO_TCP, tcp(40002, service4.port, syn | ack)));
  send(ipv4(service4.address, IPPROTO_TCP, tcp(40003, service4.port, fin | ack)));
  send(ipv6(backend6.address, IPPROTO_TCP, tcp(40004, backend6.port, syn)));
  send(ipv4(backend4.address, IPPROTO_TCP, tcp(40001, backend4.port, syn)));  // a port of both
  const auto counts = settled();
  EXPECT_THAT(counts.service_source_ports, ElementsAre(40001));
  EXPECT_THAT(counts.backend_source_ports, ElementsAre(40001, 40004));
  EXPECT_EQ(counts.to_service, 4U);
  EXPECT_EQ(counts.lost, 0U);
}

TEST_F(Translation, CountsTheProtocolOfItsJobAlone) {
  attach(base::Protocol::UDP);
  send(ipv4(service4.address, IPPROTO_UDP, udp(40001, service4.port)));
  send(ipv6(backend6.address, IPPROTO_UDP, udp(40002, backend6.port)));
  send(ipv4(service4.address, IPPROTO_TCP, tcp(40003, service4.port, syn)));
  send(ipv6(backend6.address, IPPROTO_TCP, tcp(40004, backend6.port, syn)));
  const auto counts = settled(base::Protocol::UDP);
  EXPECT_EQ(counts.to_service, 1U);
  EXPECT_EQ(counts.to_backend, 1U);
  EXPECT_THAT(counts.service_source_ports, ElementsAre(40001));
  EXPECT_THAT(counts.backend_source_ports, ElementsAre(40002));
}

TEST_F(Translation, ReadsPastOptionsAndExtensionHeaders) {
  attach();
  const auto segment = tcp(40000, service4.port, ack);
  send(ipv4(service4.address, IPPROTO_TCP, segment, 0, Bytes(8, 1)));
  send(ipv6(service6.address, IPPROTO_HOPOPTS, extension(IPPROTO_TCP, 1, 4, 1) + segment));
  send(ipv6(service6.address, IPPROTO_DSTOPTS,
            extension(IPPROTO_ROUTING) + extension(IPPROTO_TCP, 0, 0) + segment));
  send(ipv6(service6.address, IPPROTO_FRAGMENT, extension(IPPROTO_TCP, 0, 1) + segment));  // first
  // An authentication header counts its length in 4 bytes beyond the first 8 (RFC 4302).
  send(ipv6(service6.address, IPPROTO_AH, Bytes{IPPROTO_TCP, 4, 0, 0} + Bytes(20, 0) + segment));
  const auto counts = settled();
  EXPECT_EQ(counts.to_service, 5U);
  EXPECT_EQ(counts.unparsed, 0U);
}

TEST_F(Translation, CountsWhatItCannotReadAsUnparsedInsteadOfGuessing) {
  attach();
  const auto segment = tcp(40000, service4.port, syn);
  send(ipv4(service4.address, IPPROTO_TCP, segment, 100));        // a later fragment
  send(ipv4(service4.address, IPPROTO_TCP, Bytes(2, 0)));         // cut in the ports
  send(ipv4(service4.address, IPPROTO_TCP, u16(1) + u16(8001)));  // cut before the flags
  send(u16(ETH_P_IP) + Bytes{0x45, 0});                           // cut in the header
  send(ipv6(service6.address, IPPROTO_FRAGMENT, extension(IPPROTO_TCP, 1, 0) + segment));
  send(ipv6(service6.address, IPPROTO_ROUTING, extension(IPPROTO_TCP, 0, 1) + segment));
  send(ipv6(service6.address, IPPROTO_HOPOPTS, Bytes{IPPROTO_TCP, 0}));
  Bytes chain;
  for (int i = 0; i < 8; ++i) chain = chain + extension(IPPROTO_DSTOPTS);
  send(ipv6(service6.address, IPPROTO_DSTOPTS, chain + extension(IPPROTO_TCP) + segment));
  send(u16(ETH_P_8021AD) + u16(7) + u16(ETH_P_8021Q) + u16(8) +
       ipv4(service4.address, IPPROTO_TCP, segment));  // two tags
  const auto counts = settled();
  EXPECT_EQ(counts.unparsed, 9U);
  EXPECT_EQ(counts.to_service, 0U);
  EXPECT_THAT(counts.service_source_ports, IsEmpty());
}

TEST_F(Translation, LeavesOtherProtocolsAlone) {
  attach();
  send(ipv4(service4.address, IPPROTO_ICMP, Bytes(8, 0)));
  send(ipv4(service4.address, IPPROTO_UDP, udp(1, service4.port), 100));  // fragment of another
  send(ipv6(service6.address, IPPROTO_ICMPV6, Bytes(8, 0)));
  send(ipv6(service6.address, IPPROTO_ESP, Bytes(16, 0)));
  send(ipv6(service6.address, IPPROTO_FRAGMENT,
            extension(IPPROTO_UDP, 1, 0) + udp(1, service6.port)));
  send(u16(ETH_P_ARP) + Bytes(28, 0));
  const auto counts = settled();
  EXPECT_EQ(counts.to_service + counts.to_other + counts.unparsed, 0U);
  EXPECT_GE(counts.packets, 7U);
}

TEST_F(Translation, ReadsPastAVlanTag) {
  attach();
  send(u16(ETH_P_8021Q) + u16(7) +
       ipv4(service4.address, IPPROTO_TCP, tcp(40000, service4.port, syn)));
  const auto counts = settled();
  EXPECT_EQ(counts.to_service, 1U);
  EXPECT_THAT(counts.service_source_ports, ElementsAre(40000));
}

TEST_F(Translation, IgnoresWhatTheNodeSendsToThePod) {
  attach();
  const auto reverse = pair_->host.inside([] { return open_wire("host0"); });
  ASSERT_TRUE(reverse);
  for (int i = 0; i < 5; ++i) {
    send(reverse, ipv4(service4.address, IPPROTO_TCP, tcp(40000, service4.port, syn)));
  }
  const auto counts = settled();
  EXPECT_EQ(counts.to_service, 0U);
  EXPECT_THAT(counts.service_source_ports, IsEmpty());
}

TEST_F(Translation, CountsPortsItHasNoRoomFor) {
  attach();
  // The closing packet's port must find room, so it goes first too.
  (void)settled();
  constexpr std::uint16_t sent = 8200;
  for (std::uint16_t i = 0; i < sent; ++i) {
    send(ipv4(service4.address, IPPROTO_TCP,
              tcp(static_cast<std::uint16_t>(20000 + i), service4.port, syn)));
  }
  TranslationCounts counts;
  EXPECT_TRUE(base::testing::eventually([&] {
    counts = read();
    return counts.to_service == sent;
  }));
  EXPECT_GT(counts.lost, 0U);
  EXPECT_EQ(counts.service_source_ports.size() + counts.lost, sent);
  EXPECT_EQ(counts.service_source_ports.front(), 20000) << "the first ones are kept";
}

TEST_F(Translation, ReportsItsOwnCost) {
  attach();
  for (int i = 0; i < 500; ++i) {
    send(ipv4(service4.address, IPPROTO_TCP, tcp(40000, service4.port, ack)));
  }
  const auto counts = settled();
  ASSERT_TRUE(counts.run_count && counts.run_time_ns);
  EXPECT_GE(*counts.run_count, 501U);
  EXPECT_GT(*counts.run_time_ns, 0U);
  RecordProperty("ns_per_packet", static_cast<int>(*counts.run_time_ns / *counts.run_count));
}

TEST_F(Translation, RefusesJobsItCannotDo) {
  const auto kind_of = [&](const TranslationJob& job) {
    const auto probe = pair_->host.inside([&] { return TranslationProbe::attach(job); });
    EXPECT_FALSE(probe);
    return probe ? base::Error{} : probe.error();
  };
  const auto elsewhere = kind_of({.interface = "pod0",
                                  .service = {service4},
                                  .backends = {},
                                  .protocol = base::Protocol::TCP});
  EXPECT_EQ(elsewhere.kind, base::ErrorKind::input);
  EXPECT_EQ(elsewhere.message, "translation probe: no interface pod0 here");
  const auto none = kind_of(
      {.interface = "host0", .service = {}, .backends = {}, .protocol = base::Protocol::TCP});
  EXPECT_EQ(none.message, "translation probe at host0: no endpoints to count");
  const auto both = kind_of({.interface = "host0",
                             .service = {service4},
                             .backends = {backend4, service4},
                             .protocol = base::Protocol::TCP});
  EXPECT_EQ(both.message,
            "translation probe at host0: 10.96.0.10:8001 is both Service and backend");
}

}  // namespace
}  // namespace probes
