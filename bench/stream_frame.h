// What streams add to bench/frame.h, little-endian like it. A flow of either kind opens with an
// ordinary request and its reply.
//   tcp_stream: after the reply bytes without meaning, up to the client's FIN; then the server says
//               how many they were, ReplyHeader and u64 bytes, and closes.
//   udp_stream: a datagram is a request that wants no reply (response_bytes 0), its sequence that
//               of its flow from 1, followed by a DatagramStamp. A request whose reply has room
//               for a FlowReport behind its header is answered with one.
#pragma once

#include "bench/frame.h"

namespace bench {

struct StreamReport {
  ReplyHeader header;
  std::uint64_t bytes = 0;
};

struct DatagramStamp {
  std::int64_t sent_ns = 0;   // the client's CLOCK_MONOTONIC
  std::uint32_t counted = 0;  // 1: due inside the window
  std::uint32_t unused = 0;
};

struct FlowReport {
  std::uint64_t received = 0;  // each datagram once
  std::uint64_t counted = 0;   // of them, those due inside the window
  std::uint64_t duplicates = 0;
  std::uint64_t reordered = 0;
  std::uint64_t overflowed =
      0;  // dropped at the server's socket since the flow opened, of any flow
  double jitter_ns = 0;
};

static_assert(sizeof(StreamReport) == header_bytes + 8 && sizeof(DatagramStamp) == 16 &&
              sizeof(FlowReport) == 48);

inline constexpr std::size_t least_stamped_bytes = header_bytes + sizeof(DatagramStamp);
inline constexpr std::size_t flow_report_bytes = header_bytes + sizeof(FlowReport);

}  // namespace bench
