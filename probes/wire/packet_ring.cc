#include "probes/wire/packet_ring.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <sstream>
#include <utility>

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/file.h"

namespace probes {
namespace {

using base::ErrorKind;
using base::Result;

// A block holds the longest frame there is before segmentation, several times.
constexpr std::size_t block_bytes = std::size_t{1} << 20;
constexpr unsigned nominal_frame = 2048;
// How long a frame may lie in a block that is not full yet.
constexpr unsigned block_patience_ms = 4;

template <typename T>
Result<> set_option(int fd, int name, const T& value, std::string_view what) {
  if (::setsockopt(fd, SOL_PACKET, name, &value, sizeof value) < 0) {
    return base::system_error(errno, "capture: {}", what);
  }
  return {};
}

}  // namespace

PacketRing::PacketRing(PacketRing&& other) noexcept
    : socket_(std::move(other.socket_)),
      sender_(std::move(other.sender_)),
      index_(other.index_),
      mac_(other.mac_),
      memory_(std::exchange(other.memory_, nullptr)),
      blocks_(other.blocks_),
      next_block_(other.next_block_),
      counts_(other.counts_) {}

PacketRing::~PacketRing() {
  if (memory_ != nullptr) ::munmap(memory_, blocks_ * block_bytes);
}

Result<PacketRing> PacketRing::open(const std::string& interface, std::uint64_t bytes) {
  PacketRing ring;
  // Without a protocol it receives nothing until it is bound, when the ring is there.
  ring.socket_.reset(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  ring.sender_.reset(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!ring.socket_ || !ring.sender_) return base::system_error(errno, "capture: a packet socket");

  ifreq request{};
  if (interface.size() >= sizeof request.ifr_name) {
    return base::fail(ErrorKind::missing, "capture: no interface \"{}\"", interface);
  }
  std::ranges::copy(interface, static_cast<char*>(request.ifr_name));
  if (::ioctl(ring.socket_.get(), SIOCGIFINDEX, &request) < 0) {
    if (errno == ENODEV) {
      return base::fail(ErrorKind::missing, "capture: no interface \"{}\"", interface);
    }
    return base::system_error(errno, "capture: {}", interface);
  }
  ring.index_ = request.ifr_ifindex;
  if (::ioctl(ring.socket_.get(), SIOCGIFHWADDR, &request) < 0) {
    return base::system_error(errno, "capture: the address of {}", interface);
  }
  if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
    return base::fail(ErrorKind::missing, "capture: {} carries no Ethernet frames", interface);
  }
  std::copy_n(static_cast<const char*>(request.ifr_hwaddr.sa_data), ring.mac_.size(),
              ring.mac_.begin());

  const int fd = ring.socket_.get();
  RETURN_IF_ERROR(set_option(fd, PACKET_VERSION, int{TPACKET_V3}, "TPACKET_V3"));
  ring.blocks_ = std::max<std::size_t>((bytes + block_bytes - 1) / block_bytes, 2);
  tpacket_req3 shape{};
  shape.tp_block_size = block_bytes;
  shape.tp_block_nr = static_cast<unsigned>(ring.blocks_);
  shape.tp_frame_size = nominal_frame;
  shape.tp_frame_nr = static_cast<unsigned>(ring.blocks_ * (block_bytes / nominal_frame));
  shape.tp_retire_blk_tov = block_patience_ms;
  RETURN_IF_ERROR(set_option(fd, PACKET_RX_RING, shape, "a ring"));
  void* memory =
      ::mmap(nullptr, ring.blocks_ * block_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return base::system_error(errno, "capture: mapping the ring");
  ring.memory_ = static_cast<std::uint8_t*>(memory);

  sockaddr_ll place{};
  place.sll_family = AF_PACKET;
  place.sll_protocol = htons(ETH_P_ALL);
  place.sll_ifindex = ring.index_;
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&place), sizeof place) < 0) {
    return base::system_error(errno, "capture: bind to {}", interface);
  }
  return ring;
}

std::size_t PacketRing::drain(const Take& take) {
  std::size_t taken = 0;
  const auto ahead = base::realtime_ahead();
  for (std::size_t looked = 0; looked < blocks_; ++looked) {
    auto* const block = reinterpret_cast<tpacket_block_desc*>(memory_ + next_block_ * block_bytes);
    std::atomic_ref status(block->hdr.bh1.block_status);
    if ((status.load(std::memory_order_acquire) & TP_STATUS_USER) == 0) break;
    const auto* at =
        reinterpret_cast<const std::uint8_t*>(block) + block->hdr.bh1.offset_to_first_pkt;
    for (std::uint32_t i = 0; i < block->hdr.bh1.num_pkts; ++i) {
      const auto* const header = reinterpret_cast<const tpacket3_hdr*>(at);
      const auto real = static_cast<std::int64_t>(header->tp_sec) * 1'000'000'000 + header->tp_nsec;
      take({at + header->tp_mac, header->tp_snaplen}, header->tp_len, {real - ahead});
      at += header->tp_next_offset;
      ++taken;
    }
    status.store(TP_STATUS_KERNEL, std::memory_order_release);
    next_block_ = (next_block_ + 1) % blocks_;
  }
  return taken;
}

Result<PacketRing::Counts> PacketRing::counts() {
  tpacket_stats_v3 since{};
  socklen_t size = sizeof since;
  // Reading it sets it back.
  if (::getsockopt(socket_.get(), SOL_PACKET, PACKET_STATISTICS, &since, &size) < 0) {
    return base::system_error(errno, "capture: counting what was lost");
  }
  counts_.packets += since.tp_packets;
  counts_.lost += since.tp_drops;
  return counts_;
}

Result<> PacketRing::send(base::ByteSpan frame) const {
  sockaddr_ll place{};
  place.sll_family = AF_PACKET;
  place.sll_ifindex = index_;
  place.sll_protocol = htons(base::read_be16(frame.subspan(12)));
  place.sll_halen = ETH_ALEN;
  std::copy_n(frame.begin(), ETH_ALEN, static_cast<unsigned char*>(place.sll_addr));
  if (::sendto(sender_.get(), frame.data(), frame.size(), 0,
               reinterpret_cast<const sockaddr*>(&place), sizeof place) < 0) {
    return base::system_error(errno, "capture: sending a sample");
  }
  return {};
}

Result<std::string> default_interface() {
  // "eth0 00000000 0102A8C0 ...": interface, destination.
  std::istringstream ipv4(base::read_file("/proc/net/route").value_or(""));
  for (std::string line; std::getline(ipv4, line);) {
    std::istringstream words(line);
    std::string name;
    std::string destination;
    std::string skipped;
    std::string mask;
    words >> name >> destination;
    for (int i = 0; i < 5; ++i) words >> skipped;
    words >> mask;
    if (destination == "00000000" && mask == "00000000") return name;
  }
  // "00...0 00 00...0 00 nexthop metric references uses flags eth0": the loopback's is a refusal.
  std::istringstream ipv6(base::read_file("/proc/net/ipv6_route").value_or(""));
  for (std::string line; std::getline(ipv6, line);) {
    std::istringstream words(line);
    std::string destination;
    std::string length;
    std::string name;
    words >> destination >> length;
    for (std::string word; words >> word;) name = word;
    if (destination == std::string(32, '0') && length == "00" && name != "lo") return name;
  }
  return base::fail(ErrorKind::missing, "capture: no default route says which interface leads out");
}

}  // namespace probes
