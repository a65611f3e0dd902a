// Every frame that passes an interface, in both directions, whole, with the kernel's stamps: an
// AF_PACKET socket with a ring of blocks in shared memory (TPACKET_V3,
// Documentation/networking/packet_mmap.rst). Its memory is fixed; frames that find it full are lost
// and counted.
//
// The file that tshark reads of a BGP session is libpcap's business (bgp-peer/capture.h); this one
// keeps nothing and carries no library into the agent.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/clock.h"
#include "base/fd.h"
#include "base/packet.h"
#include "base/result.h"

namespace probes {

class PacketRing {
 public:
  // At an interface of the calling thread's network namespace; the socket stays there. `bytes` is
  // rounded up to whole blocks. Errors: missing (no such interface, or one without Ethernet
  // frames), not_permitted (needs CAP_NET_RAW), system.
  static base::Result<PacketRing> open(const std::string& interface, std::uint64_t bytes);

  PacketRing(PacketRing&& other) noexcept;
  PacketRing& operator=(PacketRing&&) = delete;
  ~PacketRing();

  // Readable when a block is full, or some milliseconds after its first frame.
  [[nodiscard]] int fd() const { return socket_.get(); }
  [[nodiscard]] base::MacAddress mac() const { return mac_; }

  // Hands out the frames of all blocks that are ready: `size` is that on the wire, `at` when the
  // kernel saw it, put onto CLOCK_MONOTONIC. How many there were.
  using Take = std::function<void(base::ByteSpan frame, std::size_t size, base::MonotonicTime at)>;
  std::size_t drain(const Take& take);

  struct Counts {
    std::uint64_t packets = 0;  // lost ones among them
    std::uint64_t lost = 0;
  };
  // Since the ring was opened. Errors: system.
  [[nodiscard]] base::Result<Counts> counts();

  // Puts a frame onto the interface by another socket, so that this ring sees it pass. Errors:
  // system.
  [[nodiscard]] base::Result<> send(base::ByteSpan frame) const;

 private:
  PacketRing() = default;

  base::UniqueFd socket_;
  base::UniqueFd sender_;
  int index_ = 0;
  base::MacAddress mac_{};
  std::uint8_t* memory_ = nullptr;
  std::size_t blocks_ = 0;
  std::size_t next_block_ = 0;
  Counts counts_;
};

// The interface the default route leaves by, of IPv4 or else of IPv6, in the calling thread's
// network namespace. Errors: missing.
[[nodiscard]] base::Result<std::string> default_interface();

}  // namespace probes
