// The packets of a flow watch (flow_watch.h), made by its sender and read by its receiver.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/address.h"
#include "base/protocol.h"

namespace bench {

// What a probe says of itself.
struct ProbeName {
  std::uint32_t flow = 0;
  std::uint32_t number = 0;
  base::Protocol protocol = base::Protocol::TCP;

  bool operator==(const ProbeName&) const = default;
};

// A TCP header with maximum segment size and timestamps, or a UDP header and FlowDatagram.
constexpr std::size_t most_segment_bytes = 36;
struct Segment {
  std::array<std::uint8_t, most_segment_bytes> bytes{};
  std::size_t size = 0;
};

// A probe from its transport header on. Its checksum is right for these addresses, but for IPv6
// (source and destination absent) zero: the kernel fills it in (ipv6(7), IPV6_CHECKSUM), as for
// IPv4 it does not.
struct AddressPair {
  base::IpAddress source;
  base::IpAddress destination;
};
[[nodiscard]] Segment make_probe(const ProbeName& name, std::uint16_t source_port,
                                 std::uint16_t destination_port,
                                 const std::optional<AddressPair>& ipv4);
[[nodiscard]] std::size_t probe_bytes(base::Protocol protocol, base::AddressFamily family);

// The name in a packet, from its IP header on; nothing where it is no probe, or is cut short. IPv6
// extension headers are not looked behind: our probes have none.
[[nodiscard]] std::optional<ProbeName> read_probe(std::span<const std::uint8_t> packet);

}  // namespace bench
