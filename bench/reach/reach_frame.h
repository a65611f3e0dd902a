// What prober and listener say to each other, over TCP and UDP alike, and what a flow watch's
// datagram carries. Host byte order, as bench/frame.h: both ends are ours, and of one build.
#pragma once

#include <cstdint>

namespace bench {

// A question: who are you? The nonce comes back with the answer.
struct ReachQuestion {
  static constexpr std::uint32_t expected_magic = 0x53425251;  // "SBRQ"
  std::uint32_t magic = expected_magic;
  std::uint32_t reserved = 0;
  std::uint64_t nonce = 0;
};
static_assert(sizeof(ReachQuestion) == 16);

struct ReachAnswer {
  static constexpr std::uint32_t expected_magic = 0x53425241;  // "SBRA"
  std::uint32_t magic = expected_magic;
  std::uint32_t server_id = 0;
  std::uint64_t nonce = 0;
};
static_assert(sizeof(ReachAnswer) == 16);

// The payload of a flow watch's datagram. No listener answers it: an answer would make the flow an
// established one to connection tracking, and its 5-tuple of no use for a minute or two.
struct FlowDatagram {
  static constexpr std::uint32_t expected_magic = 0x53424657;  // "SBFW"
  std::uint32_t magic = expected_magic;
  std::uint32_t flow = 0;
  std::uint32_t number = 0;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(FlowDatagram) == 16);

// Source ports of probes (flow_watch.h, reach.h) and of held connections (hold.h): apart, so that
// no probe meets the 5-tuple of a connection that is held.
constexpr std::uint16_t first_probe_port = 10'000;
constexpr std::uint16_t probe_ports = 50'000;
constexpr std::uint16_t first_held_port = 60'000;
constexpr std::uint16_t held_ports = 5'536;

}  // namespace bench
