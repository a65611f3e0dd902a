// The sender of a flow watch: one thread, one raw socket a flow, sleeping from probe to probe.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <expected>

#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "bench/pacer.h"
#include "bench/reach/flow_watch.h"
#include "bench/reach/packet.h"
#include "bench/reach/reach_frame.h"
#include "bench/sockets.h"
#include "bench/timer_slack.h"

namespace bench {
namespace {

using base::Duration;
using base::ErrorKind;
using base::MonotonicTime;
using base::Protocol;
using base::Result;

// Due times are laid out this many at a time.
constexpr std::uint64_t laid_out = 4'096;
// A sender that is late all the time looks at the stop descriptor this often.
constexpr std::uint64_t sent_between_looks = 64;

// A raw socket that sends and never receives: else every packet of its protocol that comes to this
// namespace would be copied to it (raw(7)).
Result<base::UniqueFd> raw_socket(const SentFlowSpec& flow) {
  const bool tcp = flow.protocol == Protocol::TCP;
  const int af = flow.to.address.af();
  base::UniqueFd fd(
      ::socket(af, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, tcp ? IPPROTO_TCP : IPPROTO_UDP));
  if (!fd && (errno == EPERM || errno == EACCES)) {
    return base::fail_with_mend(ErrorKind::not_permitted,
                                fmt::format("flow to {}: no raw socket may be made", flow.to),
                                "give the pod's container the capability NET_RAW");
  }
  if (!fd) return base::system_error(errno, "raw socket for {}", flow.to);
  sock_filter nothing{.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = 0};
  const sock_fprog filter{.len = 1, .filter = &nothing};
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) < 0) {
    return base::system_error(errno, "filter for {}", flow.to);
  }
  if (af == AF_INET6) {
    const int offset = tcp ? int{offsetof(tcphdr, check)} : int{offsetof(udphdr, check)};
    if (::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_CHECKSUM, &offset, sizeof(offset)) < 0) {
      return base::system_error(errno, "IPV6_CHECKSUM for {}", flow.to);
    }
  }
  return fd;
}

// Where a packet to that endpoint would leave from, or the errno that stands for why it would not.
std::expected<base::IpAddress, int> source_towards(const base::Endpoint& to) {
  const auto fd = udp_socket(base::SocketAddress(to), 0);
  if (!fd) return std::unexpected(fd.error());
  const auto local = local_endpoint(fd->get());
  if (!local) return std::unexpected(local.error().code);
  return local->address;
}

// A flow and the last of its probes, which were made room for before the first was sent.
class WatchedFlow {
 public:
  static Result<WatchedFlow> open(const SentFlowSpec& spec, std::size_t room) {
    WatchedFlow flow;
    ASSIGN_OR_RETURN(flow.fd_, raw_socket(spec));
    flow.spec_ = spec;
    // The destination's port stands in the segment; a raw socket's address has none (ipv6(7)).
    flow.to_ = base::SocketAddress(base::Endpoint{.address = spec.to.address, .port = 0});
    flow.ring_.resize(room);
    flow.result_.id = spec.id;
    flow.result_.packet_bytes =
        static_cast<std::uint32_t>(probe_bytes(spec.protocol, spec.to.address.family));
    return flow;
  }

  void send(std::uint32_t number, std::uint16_t source_port) {
    SentProbe probe{.number = number};
    probe.before_ns = base::monotonic_now().ns;
    probe.error_code = hand_over(number, source_port);
    probe.after_ns = base::monotonic_now().ns;
    ++(probe.error_code == 0 ? result_.sent : result_.not_sent);
    ring_[kept_++ % ring_.size()] = probe;
  }
  void skip() { ++result_.skipped; }

  // What came of it, in the order of time.
  [[nodiscard]] SentFlow take() {
    if (kept_ > ring_.size()) {
      result_.dropped = kept_ - ring_.size();
      std::ranges::rotate(ring_, ring_.begin() + static_cast<std::ptrdiff_t>(kept_ % ring_.size()));
    } else {
      ring_.resize(kept_);
    }
    result_.probes.list = std::move(ring_);
    return std::move(result_);
  }

 private:
  WatchedFlow() = default;

  // 0 or errno.
  int hand_over(std::uint32_t number, std::uint16_t source_port) {
    // IPv6's checksum is the kernel's, and so is the choice of the source.
    if (spec_.to.address.family == base::AddressFamily::ipv4 && !pair_) {
      const auto source = source_towards(spec_.to);
      if (!source) return source.error();
      const base::SocketAddress own(base::Endpoint{.address = *source, .port = 0});
      if (::bind(fd_.get(), own.get(), own.size()) < 0) return errno;
      pair_ = AddressPair{.source = *source, .destination = spec_.to.address};
    }
    const Segment segment =
        make_probe({.flow = spec_.id, .number = number, .protocol = spec_.protocol}, source_port,
                   spec_.to.port, pair_);
    const auto sent = ::sendto(fd_.get(), segment.bytes.data(), segment.size, MSG_NOSIGNAL,
                               to_.get(), to_.size());
    if (sent >= 0) return 0;
    const int why = errno;
    // Its address may have gone, as that of a pod made anew: the next probe looks for another.
    pair_.reset();
    return why;
  }

  SentFlowSpec spec_;
  base::UniqueFd fd_;
  base::SocketAddress to_;
  std::optional<AddressPair> pair_;  // IPv4's, while the source is known
  std::vector<SentProbe> ring_;
  std::uint64_t kept_ = 0;
  SentFlow result_;
};

class FlowSender {
 public:
  FlowSender(const FlowSendJob& job, int stop_fd)
      : job_(job),
        stop_fd_(stop_fd),
        gap_ns_(1e9 / (job.rate.per_second * static_cast<double>(job.flows.size()))) {}

  Result<FlowSendResult> run(const std::function<void()>& on_ready) {
    const double all = job_.rate.per_second * std::chrono::duration<double>(job_.duration).count();
    const auto room =
        std::min(most_kept_probes / job_.flows.size(), static_cast<std::size_t>(all) + 2);
    std::vector<WatchedFlow> flows;
    for (const auto& spec : job_.flows) {
      ASSIGN_OR_RETURN(WatchedFlow flow, WatchedFlow::open(spec, room));
      flows.push_back(std::move(flow));
    }
    const NoTimerSlack no_slack;
    on_ready();
    FlowSendResult result;
    start_ = base::monotonic_now();
    result.began_ns = start_.ns;
    // Where a sender that has run at this pace since the machine started would be.
    first_port_ =
        static_cast<std::uint64_t>(static_cast<double>(start_.ns) / 1e9 * job_.rate.per_second);
    send_all(flows);
    result.ended_ns = base::monotonic_now().ns;
    for (auto& flow : flows) result.flows.push_back(flow.take());
    return result;
  }

 private:
  // When probe n of all is due, from the start.
  [[nodiscard]] Duration due(std::uint64_t n) const {
    return Duration(static_cast<std::int64_t>(static_cast<double>(n) * gap_ns_));
  }

  void send_all(std::vector<WatchedFlow>& flows) {
    const auto end = start_ + job_.duration;
    // Missed by more than this a probe is not sent: after a stall they would leave in one burst,
    // which fills queues, and what those drop reads as a rule.
    const Duration too_late(static_cast<std::int64_t>(1e9 / job_.rate.per_second));
    OpenLoopPacer pacer({}, start_);
    for (std::uint64_t n = 0;; ++n) {
      if (pacer.exhausted()) pacer = lay_out(n);
      const auto due_at = pacer.next_due().value_or(end);
      if (due_at >= end) return;
      auto now = base::monotonic_now();
      if (n % sent_between_looks == 0 && readable(stop_fd_)) return;
      while (now < due_at) {
        if (stopped_within(due_at - now)) return;
        now = base::monotonic_now();
      }
      pacer.take_due(now);
      WatchedFlow& flow = flows[n % flows.size()];
      if (now - due_at > too_late) {
        flow.skip();
        continue;
      }
      const std::uint64_t number = n / flows.size();
      flow.send(
          static_cast<std::uint32_t>(number),
          static_cast<std::uint16_t>(first_probe_port + (first_port_ + number) % probe_ports));
    }
  }

  [[nodiscard]] OpenLoopPacer lay_out(std::uint64_t from) const {
    std::vector<Duration> schedule;
    schedule.reserve(laid_out);
    for (std::uint64_t n = from; n < from + laid_out; ++n) schedule.push_back(due(n));
    return {std::move(schedule), start_};
  }

  [[nodiscard]] bool stopped_within(Duration span) const {
    const timespec sleep{.tv_sec = span.count() / 1'000'000'000,
                         .tv_nsec = span.count() % 1'000'000'000};
    pollfd stop{.fd = stop_fd_, .events = POLLIN, .revents = 0};
    return ::ppoll(&stop, 1, &sleep, nullptr) > 0;
  }

  const FlowSendJob& job_;
  int stop_fd_;
  double gap_ns_;  // from probe to probe over all flows
  MonotonicTime start_;
  std::uint64_t first_port_ = 0;
};

}  // namespace

Result<FlowSendResult> send_flows(const FlowSendJob& job, int stop_fd,
                                  const std::function<void()>& on_ready) {
  return FlowSender(job, stop_fd).run(on_ready);
}

}  // namespace bench
