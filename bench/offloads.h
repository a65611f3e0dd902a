// What the kernel does for a stream at the interface it leaves by: which interface that is, what it
// counts, and the offloads in force there. All of it is about the calling thread's network
// namespace.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/result.h"
#include "bench/workload.h"

namespace bench {

// The interface the kernel's route to `destination` leaves by (RTM_GETROUTE, rtnetlink(7)). Errors:
// system (no route...).
[[nodiscard]] base::Result<std::string> outgoing_interface(const base::IpAddress& destination);

// What left by an interface so far.
struct Departed {
  std::uint64_t bytes = 0;
  std::uint64_t packets = 0;  // an skb is one, as long as nobody has segmented it
};
// From /proc/net/dev. Errors: missing (no such interface), system.
[[nodiscard]] base::Result<Departed> departed(const std::string& interface);

// Of tso, gso and gro those that are on (ethtool_cmd in linux/ethtool.h). Errors: system.
[[nodiscard]] base::Result<std::vector<std::string>> offloads_in_force(
    const std::string& interface);

// Holds TCP segmentation (TSO) and generic segmentation (GSO) of an interface switched, and puts
// them back as they were.
class SegmentationSwitch {
 public:
  // Errors: not_permitted (without CAP_NET_ADMIN in the namespace, at the loopback interface, and
  // in the namespace that process 1 is in: that is the machine's own, or shared with somebody),
  // system.
  [[nodiscard]] static base::Result<SegmentationSwitch> set(const std::string& interface,
                                                            Switch wanted);

  SegmentationSwitch(SegmentationSwitch&& other) noexcept;
  SegmentationSwitch& operator=(SegmentationSwitch&&) = delete;
  SegmentationSwitch(const SegmentationSwitch&) = delete;
  SegmentationSwitch& operator=(const SegmentationSwitch&) = delete;
  ~SegmentationSwitch();

 private:
  explicit SegmentationSwitch(std::string interface) : interface_(std::move(interface)) {}
  struct Before {
    std::uint32_t command;  // that sets it back
    std::uint32_t value;
  };
  std::string interface_;
  std::vector<Before> before_;
};

}  // namespace bench
