// UDP_STREAM: datagrams one way, each due on a schedule made beforehand, in turn from every socket.
// A flow opens with an exchange, as udp_rr's do, and ends with the receiver's report on it. Both
// are tried several times within one timeout: a lost datagram is what this workload is to count,
// not what it is to fail by.
#include <algorithm>
#include <cstring>
#include <map>
#include <optional>

#include "bench/client.h"
#include "bench/for_wait.h"
#include "bench/lone_requester.h"
#include "bench/paced_wait.h"
#include "bench/server_choice.h"

namespace bench {
namespace {

// The last datagrams may still be under way when the first report is asked for: it is asked for
// again until all have arrived, or none has for so long.
constexpr base::Duration settling = std::chrono::milliseconds(50);
constexpr base::Duration between_reports = std::chrono::milliseconds(5);

struct DatagramFlow {
  base::UniqueFd fd;
  std::uint32_t server_id = 0;
  std::uint64_t sent = 0;  // and the latest sequence
  std::optional<FlowReport> report = {};
  int refusal = 0;  // errno of the latest that did not come
};

template <WaitStrategy wait>
class DatagramSender {
 public:
  DatagramSender(const ClientJob& job, int stop_fd)
      : spec_(job.workload),
        stop_fd_(stop_fd),
        meter_(job, wait),
        choice_(job.servers, job.seed),
        exchange_(exchange_spec(job.workload), stop_fd),
        datagram_(request_size(job.workload).count) {}

  base::Result<ClientResult> run(std::vector<base::Duration> schedule) {
    RETURN_IF_ERROR(open_all());
    if (!send_all(std::move(schedule))) return stopped_early();
    if (!collect()) return stopped_early();
    return result();
  }

 private:
  static WorkloadSpec exchange_spec(WorkloadSpec spec) {
    spec.request = base::Bytes{header_bytes};
    spec.response = base::Bytes{flow_report_bytes};
    spec.timeout = std::max<base::Duration>(spec.timeout / first_exchange_attempts,
                                            std::chrono::milliseconds(1));
    return spec;
  }

  // An exchange, tried again until `deadline`. 0 or errno; EINTR when stopped.
  int ask(int fd, base::MonotonicTime deadline, std::uint32_t& server_id) {
    int code = ETIMEDOUT;
    for (auto now = base::monotonic_now(); code == ETIMEDOUT && now < deadline;
         now = base::monotonic_now()) {
      code = as_errno(exchange_.run(fd, now, server_id));
    }
    return code;
  }

  base::Result<> open_all() {
    const auto deadline = base::monotonic_now() + spec_.timeout;
    for (int i = 0; i < spec_.connections; ++i) {
      const auto begun = base::monotonic_now();
      const auto& server = choice_.next();
      auto fd = udp_socket(server.address, 0);
      int code = fd ? bound_waits(fd->get(), wait_slice(exchange_spec(spec_))) : fd.error();
      std::uint32_t server_id = 0;
      if (code == 0) code = ask(fd->get(), deadline, server_id);
      if (code == EINTR) return stopped_early();
      if (code != 0) {
        meter_.connect_failed(code, server.endpoint);
        continue;
      }
      meter_.connected(base::monotonic_now() - begun);
      meter_.connection_opened(fd->get());
      meter_.flow_answered(server_id);
      flows_.push_back({.fd = std::move(*fd), .server_id = server_id});
    }
    if (flows_.empty()) return std::unexpected(meter_.first_connect_error());
    return {};
  }

  // Sends what is due, all of it, until the window is over; false when stopped.
  bool send_all(std::vector<base::Duration> schedule) {
    auto now = base::monotonic_now();
    const auto begin = now + spec_.warm_up;
    const auto end = begin + spec_.duration;
    OpenLoopPacer pacer(std::move(schedule), now);
    base::MonotonicTime next_look;
    while (now < end || !pacer.exhausted()) {
      if (now >= next_look) [[unlikely]] {
        if (readable(stop_fd_)) return false;
        next_look = now + look_interval;
      }
      if (!meter_.window_open() && now >= begin) meter_.open_window(begin);
      if (const auto due = pacer.take_due(now)) {
        const bool counted = *due >= begin;
        if (counted) meter_.lateness(now - *due);
        send_from(flows_[turn_], now, counted);
        turn_ = turn_ + 1 == flows_.size() ? 0 : turn_ + 1;
        now = base::monotonic_now();
      } else {
        const auto next = std::min(pacer.next_due().value_or(end), now < begin ? begin : end);
        now = wait_towards<wait>(now, next, stop_fd_, meter_);
      }
    }
    figures_.idle_spin_ns = meter_.idle_spun().count();
    meter_.close_window(end);
    return true;
  }

  // One that the kernel does not take is an error of its class and no datagram.
  void send_from(DatagramFlow& flow, base::MonotonicTime now, bool counted) {
    encode(RequestHeader{.request_bytes = static_cast<std::uint32_t>(datagram_.size()),
                         .response_bytes = 0,
                         .sequence = flow.sent + 1},
           datagram_.data());
    encode(DatagramStamp{.sent_ns = now.ns, .counted = counted ? 1U : 0U},
           datagram_.data() + header_bytes);
    if (::send(flow.fd.get(), datagram_.data(), datagram_.size(), MSG_NOSIGNAL) >= 0) [[likely]] {
      ++flow.sent;
    } else if (errno == EAGAIN) {
      ++meter_.errors().timed_out;
    } else {
      count_exchange_error(errno, meter_.errors());
    }
  }

  // Every receiver's report on its flow; false when stopped.
  bool collect() {
    const auto deadline = base::monotonic_now() + spec_.timeout;
    auto changed = base::monotonic_now();
    for (std::uint64_t before = 0;;) {
      std::uint64_t sent = 0;
      std::uint64_t received = 0;
      for (auto& flow : flows_) {
        flow.refusal = ask(flow.fd.get(), deadline, flow.server_id);
        if (flow.refusal == EINTR) return false;
        if (flow.refusal == 0) {
          std::memcpy(&flow.report.emplace(), exchange_.datagram() + header_bytes,
                      sizeof(FlowReport));
        }
        sent += flow.sent;
        if (flow.report) received += flow.report->received;
      }
      const auto now = base::monotonic_now();
      if (received != before) changed = now;
      before = received;
      if (received >= sent || now - changed >= settling || now >= deadline) return true;
      pollfd stop{.fd = stop_fd_, .events = POLLIN, .revents = 0};
      const timespec sleep{.tv_sec = 0, .tv_nsec = between_reports.count()};
      ::ppoll(&stop, 1, &sleep, nullptr);
    }
  }

  ClientResult result() {
    std::uint64_t counted = 0;
    std::size_t reports = 0;
    std::map<std::uint32_t, std::uint64_t> overflowed;  // by server: flows share its socket
    for (const auto& flow : flows_) {
      figures_.sent += flow.sent;
      if (!flow.report) {
        // Nobody says that anything of it arrived.
        count_exchange_error(flow.refusal, meter_.errors());
        continue;
      }
      const auto& report = *flow.report;
      counted += report.counted;
      figures_.received += report.received;
      figures_.reordered += report.reordered;
      figures_.duplicates += report.duplicates;
      figures_.jitter_mean_ns += report.jitter_ns;
      figures_.jitter_max_ns = std::max(figures_.jitter_max_ns, report.jitter_ns);
      overflowed[flow.server_id] = std::max(overflowed[flow.server_id], report.overflowed);
      ++reports;
    }
    if (reports > 0) figures_.jitter_mean_ns /= static_cast<double>(reports);
    for (const auto& [server, dropped] : overflowed) figures_.overflowed += dropped;
    figures_.lost = figures_.sent - std::min(figures_.received, figures_.sent);
    meter_.errors().lost = figures_.lost;
    meter_.delivered(counted);
    auto result = meter_.result();
    result.datagrams = figures_;
    return result;
  }

  const WorkloadSpec& spec_;
  int stop_fd_;
  Meter meter_;
  ServerChoice choice_;
  Exchange<wait, base::Protocol::UDP> exchange_;
  std::vector<char> datagram_;
  std::vector<DatagramFlow> flows_;
  std::size_t turn_ = 0;  // which flow's it is
  DatagramFigures figures_;
};

}  // namespace

base::Result<ClientResult> run_udp_stream(const ClientJob& job, WaitStrategy wait, int stop_fd) {
  const auto& spec = job.workload;
  if (!spec.rate) {
    return base::fail(base::ErrorKind::input,
                      "rate: a udp_stream needs one, for nothing else holds it back");
  }
  ASSIGN_OR_RETURN(auto schedule,
                   arrival_schedule(*spec.rate, spec.warm_up + spec.duration, job.seed));
  return for_wait(wait, [&](auto how) {
    return DatagramSender<how.value>(job, stop_fd).run(std::move(schedule));
  });
}

}  // namespace bench
