// What the server over UDP keeps of the flows of a udp_stream.
#pragma once

#include <cstddef>
#include <map>

#include "base/address.h"
#include "base/clock.h"
#include "bench/arrivals.h"
#include "bench/frame.h"

namespace bench {

// One thread, the server's.
class DatagramReceiver {
 public:
  // Notes a datagram that wants no reply; false when it is not a stamped one of a flow that is
  // open.
  bool take(const base::SocketAddress& client, const char* datagram, std::size_t size);

  // Opens the client's flow if it is not, and writes what became of it so far over the
  // flow_report_bytes - header_bytes at `out`. `dropped`: what its socket has dropped altogether.
  // False when there are more flows than one would keep.
  bool report(const base::SocketAddress& client, std::uint64_t dropped, char* out);

 private:
  struct Flow {
    Arrivals arrivals;
    std::uint64_t dropped_before = 0;
  };
  Flow* find(const base::SocketAddress& client);

  std::map<base::Endpoint, Flow> flows_;
  base::SocketAddress last_;  // whose flow latest_ is
  Flow* latest_ = nullptr;
};

}  // namespace bench
