// The receiver of a flow watch: a packet socket's ring (packet(7), PACKET_RX_RING, TPACKET_V2), of
// which a filter in the kernel lets in only what goes to a watched port.
//
// The ring is read every few milliseconds, not at every packet: the stamps are the kernel's, so the
// reader need not hurry, and it takes little of a machine that is being measured.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <limits>
#include <map>
#include <set>
#include <span>
#include <utility>

#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "bench/reach/flow_watch.h"
#include "bench/reach/packet.h"

#ifndef PACKET_IGNORE_OUTGOING  // Linux 4.20, newer than some C libraries' headers
#define PACKET_IGNORE_OUTGOING 23
#endif

namespace bench {
namespace {

using base::ErrorKind;
using base::Protocol;
using base::Result;

constexpr std::size_t frame_bytes = 256;
constexpr int read_every_ms = 5;

timespec clock_at(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return now;
}
std::int64_t in_ns(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

// CLOCK_MONOTONIC minus CLOCK_REALTIME. Both are slewed alike, so the difference is constant but
// for steps of the latter (clock_gettime(2)).
struct ClockDifference {
  std::int64_t ns = 0;
  std::int64_t error_ns = 0;
};

ClockDifference read_clocks() {
  ClockDifference best{.ns = 0, .error_ns = std::numeric_limits<std::int64_t>::max()};
  for (int i = 0; i < 3; ++i) {
    const std::int64_t before = in_ns(clock_at(CLOCK_MONOTONIC));
    const std::int64_t real = in_ns(clock_at(CLOCK_REALTIME));
    const std::int64_t after = in_ns(clock_at(CLOCK_MONOTONIC));
    const std::int64_t error = (after - before) / 2 + 1;
    if (error < best.error_ns)
      best = {.ns = before + (after - before) / 2 - real, .error_ns = error};
  }
  return best;
}

// TCP SYNs and UDP datagrams to these ports, of either family; everything else stays out of the
// ring. Offsets are from the IP header on (SOCK_DGRAM).
std::vector<sock_filter> filter_for(const std::vector<ReceivedFlowSpec>& flows) {
  std::vector<sock_filter> program;
  const auto add = [&](int code, std::uint32_t k, std::uint8_t jt = 0, std::uint8_t jf = 0) {
    program.push_back({.code = static_cast<std::uint16_t>(code), .jt = jt, .jf = jf, .k = k});
  };
  // Each protocol's part is laid out in full for each family: a program without a jump that is
  // further than the next part.
  const auto add_ports = [&](Protocol protocol, bool v4) {
    std::set<std::uint16_t> ports;
    for (const auto& flow : flows) {
      if (flow.protocol == protocol) ports.insert(flow.port);
    }
    const int load_byte = v4 ? BPF_LD | BPF_B | BPF_IND : BPF_LD | BPF_B | BPF_ABS;
    const int load_half = v4 ? BPF_LD | BPF_H | BPF_IND : BPF_LD | BPF_H | BPF_ABS;
    const std::uint32_t at = v4 ? 0 : 40;
    if (protocol == Protocol::TCP) {
      constexpr std::uint32_t syn_ack = 0x12;
      constexpr std::uint32_t syn = 0x02;
      add(load_byte, at + 13);
      add(BPF_ALU | BPF_AND | BPF_K, syn_ack);
      add(BPF_JMP | BPF_JEQ | BPF_K, syn, 1, 0);
      add(BPF_RET | BPF_K, 0);
    }
    add(load_half, at + 2);
    for (const auto port : ports) {
      add(BPF_JMP | BPF_JEQ | BPF_K, port, 0, 1);
      add(BPF_RET | BPF_K, frame_bytes);
    }
    add(BPF_RET | BPF_K, 0);
  };
  // A part behind a test of the accumulator, which jumps over it where it does not hold.
  const auto add_if_equal = [&](std::uint32_t value, const auto& part) {
    const std::size_t test = program.size();
    add(BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0);
    add(BPF_JMP | BPF_JA, 0);
    part();
    program[test + 1].k = static_cast<std::uint32_t>(program.size() - test - 2);
  };
  const auto add_protocols = [&](bool v4) {
    add_if_equal(IPPROTO_TCP, [&] { add_ports(Protocol::TCP, v4); });
    add_if_equal(IPPROTO_UDP, [&] { add_ports(Protocol::UDP, v4); });
    add(BPF_RET | BPF_K, 0);
  };
  add(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_PROTOCOL));
  add_if_equal(ETH_P_IP, [&] {
    add(BPF_LD | BPF_H | BPF_ABS, 6);
    add(BPF_JMP | BPF_JSET | BPF_K, 0x1fff, 0, 1);  // a later fragment
    add(BPF_RET | BPF_K, 0);
    add(BPF_LDX | BPF_B | BPF_MSH, 0);
    add(BPF_LD | BPF_B | BPF_ABS, 9);
    add_protocols(true);
  });
  add_if_equal(ETH_P_IPV6, [&] {
    add(BPF_LD | BPF_B | BPF_ABS, 6);
    add_protocols(false);
  });
  add(BPF_RET | BPF_K, 0);
  return program;
}

// The ring's memory, shared with the kernel.
class Ring {
 public:
  static Result<Ring> map(int fd, std::uint32_t frames) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t per_block = page / frame_bytes;
    const std::size_t blocks = (frames + per_block - 1) / per_block;
    tpacket_req request{.tp_block_size = static_cast<unsigned>(page),
                        .tp_block_nr = static_cast<unsigned>(blocks),
                        .tp_frame_size = frame_bytes,
                        .tp_frame_nr = static_cast<unsigned>(blocks * per_block)};
    if (::setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof(request)) < 0) {
      return base::system_error(errno, "PACKET_RX_RING of {} frames", request.tp_frame_nr);
    }
    Ring ring;
    ring.frames_ = request.tp_frame_nr;
    void* const memory = ::mmap(nullptr, blocks * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) return base::system_error(errno, "mmap of the packet ring");
    ring.memory_ = static_cast<std::uint8_t*>(memory);
    return ring;
  }
  Ring(Ring&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)), frames_(other.frames_) {}
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  Ring& operator=(Ring&&) = delete;
  ~Ring() {
    if (memory_ != nullptr) ::munmap(memory_, frames_ * frame_bytes);
  }

  // Hands every packet that waits to `take`, with its stamp on CLOCK_REALTIME, and gives its frame
  // back.
  template <typename Take>
  void read(const Take& take) {
    for (;; next_ = (next_ + 1) % frames_) {
      std::uint8_t* const frame = memory_ + next_ * frame_bytes;
      auto* const header = reinterpret_cast<tpacket2_hdr*>(frame);
      const std::atomic_ref<std::uint32_t> status(header->tp_status);
      if ((status.load(std::memory_order_acquire) & TP_STATUS_USER) == 0) return;
      const std::size_t offset = std::min<std::size_t>(header->tp_net, frame_bytes);
      const std::size_t size = std::min<std::size_t>(header->tp_snaplen, frame_bytes - offset);
      take(std::span<const std::uint8_t>(frame + offset, size),
           std::int64_t{header->tp_sec} * 1'000'000'000 + header->tp_nsec);
      status.store(TP_STATUS_KERNEL, std::memory_order_release);
    }
  }

 private:
  Ring() = default;

  std::uint8_t* memory_ = nullptr;
  std::size_t frames_ = 0;
  std::size_t next_ = 0;
};

template <typename Value>
Result<> set_option(int fd, int level, int name, const Value& value, std::string_view what) {
  if (::setsockopt(fd, level, name, &value, sizeof(value)) == 0) return {};
  return base::system_error(errno, "{}", what);
}

// Sees nothing until it is bound: the filter and the ring stand before the first packet comes.
Result<base::UniqueFd> packet_socket(const std::vector<ReceivedFlowSpec>& flows) {
  base::UniqueFd fd(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd && (errno == EPERM || errno == EACCES)) {
    return base::fail_with_mend(ErrorKind::not_permitted, "no packet socket may be made",
                                "give the pod's container the capability NET_RAW");
  }
  if (!fd) return base::system_error(errno, "packet socket");
  const int version = TPACKET_V2;
  const int on = 1;
  RETURN_IF_ERROR(set_option(fd.get(), SOL_PACKET, PACKET_VERSION, version, "PACKET_VERSION"));
  RETURN_IF_ERROR(
      set_option(fd.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, on, "PACKET_IGNORE_OUTGOING"));
  // Packets are stamped as they enter the receive path, not when they reach this tap behind a
  // queue (net/core/dev.c, netif_rx_internal).
  RETURN_IF_ERROR(set_option(fd.get(), SOL_SOCKET, SO_TIMESTAMPNS, on, "SO_TIMESTAMPNS"));
  auto program = filter_for(flows);
  const sock_fprog filter{.len = static_cast<unsigned short>(program.size()),
                          .filter = program.data()};
  RETURN_IF_ERROR(
      set_option(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, filter, "filter of the packet socket"));
  return fd;
}

Result<> bind_to(int fd, const std::string& interface) {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = ::htons(ETH_P_ALL);
  if (!interface.empty()) {
    address.sll_ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
    if (address.sll_ifindex == 0) {
      return base::fail(ErrorKind::input, "{}: no such interface", interface);
    }
  }
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0) {
    return base::system_error(errno, "bind the packet socket");
  }
  return {};
}

class FlowReceiver {
 public:
  explicit FlowReceiver(const FlowReceiveJob& job) : job_(job) {
    result_.flows.resize(job.flows.size());
    for (std::size_t i = 0; i < job.flows.size(); ++i) {
      result_.flows[i].id = job.flows[i].id;
      places_.emplace(std::pair(job.flows[i].id, job.flows[i].protocol), i);
    }
  }

  Result<FlowReceiveResult> run(int stop_fd, const std::function<void()>& on_ready) {
    ASSIGN_OR_RETURN(const base::UniqueFd fd, packet_socket(job_.flows));
    ASSIGN_OR_RETURN(Ring ring, Ring::map(fd.get(), job_.ring_frames));
    clock_ = read_clocks();
    RETURN_IF_ERROR(bind_to(fd.get(), job_.interface));
    result_.began_ns = base::monotonic_now().ns;
    on_ready();
    for (bool stopped = false; !stopped;) {
      pollfd stop{.fd = stop_fd, .events = POLLIN, .revents = 0};
      // What arrived before the stop is read after it.
      stopped = ::poll(&stop, 1, read_every_ms) > 0;
      note_clocks();
      ring.read([&](std::span<const std::uint8_t> packet, std::int64_t real_ns) {
        take(packet, real_ns + clock_.ns);
      });
    }
    result_.ended_ns = base::monotonic_now().ns;
    tpacket_stats statistics{};
    socklen_t size = sizeof(statistics);
    if (::getsockopt(fd.get(), SOL_PACKET, PACKET_STATISTICS, &statistics, &size) < 0) {
      return base::system_error(errno, "PACKET_STATISTICS");
    }
    result_.kernel_dropped = statistics.tp_drops;
    return std::move(result_);
  }

 private:
  void note_clocks() {
    const ClockDifference now = read_clocks();
    const std::int64_t moved = std::abs(now.ns - clock_.ns);
    // Reading them twice never gives the same; a step is more than that.
    const std::int64_t step = moved > now.error_ns + clock_.error_ns ? moved : 0;
    result_.clock_error_ns = std::max(result_.clock_error_ns, now.error_ns + step);
    clock_ = now;
  }

  void take(std::span<const std::uint8_t> packet, std::int64_t received_ns) {
    const auto name = read_probe(packet);
    const auto place = name ? places_.find(std::pair(name->flow, name->protocol)) : places_.end();
    if (place == places_.end()) {
      ++result_.strangers;
      return;
    }
    ReceivedFlow& flow = result_.flows[place->second];
    ++flow.received;
    if (kept_ == most_kept_probes) {
      ++flow.dropped;
      return;
    }
    ++kept_;
    flow.probes.list.push_back({.number = name->number, .received_ns = received_ns});
  }

  const FlowReceiveJob& job_;
  FlowReceiveResult result_;
  std::map<std::pair<std::uint32_t, Protocol>, std::size_t> places_;
  std::size_t kept_ = 0;
  ClockDifference clock_;
};

}  // namespace

Result<FlowReceiveResult> receive_flows(const FlowReceiveJob& job, int stop_fd,
                                        const std::function<void()>& on_ready) {
  return FlowReceiver(job).run(stop_fd, on_ready);
}

}  // namespace bench
