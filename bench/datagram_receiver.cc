#include "bench/datagram_receiver.h"

#include <cstring>

#include "bench/stream_frame.h"

namespace bench {
namespace {

// 8 KiB of memory each.
constexpr std::size_t most_flows = 4'096;

}  // namespace

DatagramReceiver::Flow* DatagramReceiver::find(const base::SocketAddress& client) {
  if (latest_ != nullptr && last_.size() == client.size() &&
      std::memcmp(last_.get(), client.get(), client.size()) == 0) [[likely]] {
    return latest_;
  }
  const auto endpoint = client.endpoint();
  if (!endpoint) return nullptr;
  const auto flow = flows_.find(*endpoint);
  if (flow == flows_.end()) return nullptr;
  last_ = client;
  latest_ = &flow->second;
  return latest_;
}

bool DatagramReceiver::take(const base::SocketAddress& client, const char* datagram,
                            std::size_t size) {
  // Stamped first: the look-up is no part of the way here.
  const auto now = base::monotonic_now();
  if (size < least_stamped_bytes) return false;
  Flow* const flow = find(client);
  if (flow == nullptr) return false;
  RequestHeader header;
  DatagramStamp stamp;
  std::memcpy(&header, datagram, sizeof(header));
  std::memcpy(&stamp, datagram + sizeof(header), sizeof(stamp));
  if (header.sequence == 0) return false;
  flow->arrivals.arrived(header.sequence, stamp.sent_ns, now.ns, stamp.counted != 0);
  return true;
}

bool DatagramReceiver::report(const base::SocketAddress& client, std::uint64_t dropped, char* out) {
  Flow* flow = find(client);
  if (flow == nullptr) {
    const auto endpoint = client.endpoint();
    if (!endpoint || flows_.size() == most_flows) return false;
    flow = &flows_[*endpoint];
    flow->dropped_before = dropped;
  }
  const auto& arrivals = flow->arrivals;
  const FlowReport report{.received = arrivals.received(),
                          .counted = arrivals.counted(),
                          .duplicates = arrivals.duplicates(),
                          .reordered = arrivals.reordered(),
                          .overflowed = dropped - flow->dropped_before,
                          .jitter_ns = arrivals.jitter_ns()};
  std::memcpy(out, &report, sizeof(report));
  return true;
}

}  // namespace bench
