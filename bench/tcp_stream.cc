// TCP_STREAM: bytes one way, as fast as the connections take them, or in writes that are due on a
// schedule. What is counted is what the other side's kernel acknowledged inside the window, not
// what was handed to ours: megabytes of that may still lie in a buffer. The servers say at the end
// how much they have read, and that must be all that was sent.
//
// A connection that breaks is not opened again: its error fails the sample, and a stream that
// begins anew in mid-window would measure slow start.
#include <array>
#include <cstring>
#include <optional>

#include "bench/client.h"
#include "bench/for_wait.h"
#include "bench/lone_requester.h"
#include "bench/offloads.h"
#include "bench/paced_wait.h"
#include "bench/server_choice.h"

namespace bench {
namespace {

struct Stream {
  base::UniqueFd fd;
  std::uint64_t sent = 0;          // bytes handed to the kernel
  std::uint64_t acked_before = 0;  // when the window opened
};

template <WaitStrategy wait>
class Sender {
 public:
  Sender(const ClientJob& job, int stop_fd)
      : spec_(job.workload),
        stop_fd_(stop_fd),
        meter_(job, wait),
        choice_(job.servers, job.seed),
        data_(request_size(job.workload).count) {}

  base::Result<ClientResult> run(const ClientJob& job) {
    ASSIGN_OR_RETURN(figures_.interface, outgoing_interface(job.servers.front().address));
    std::optional<SegmentationSwitch> segmentation;
    if (spec_.gso) {
      ASSIGN_OR_RETURN(auto held, SegmentationSwitch::set(figures_.interface, *spec_.gso));
      segmentation.emplace(std::move(held));
    }
    ASSIGN_OR_RETURN(figures_.offloads, offloads_in_force(figures_.interface));
    RETURN_IF_ERROR(open_all());
    std::vector<base::Duration> schedule;
    if (spec_.rate) {
      ASSIGN_OR_RETURN(schedule,
                       arrival_schedule(*spec_.rate, spec_.warm_up + spec_.duration, job.seed));
    }
    RETURN_IF_ERROR(send_all(OpenLoopPacer(std::move(schedule), base::monotonic_now())));
    if (!close_all()) return stopped_early();
    return result();
  }

 private:
  // A single connection's send(2) may sleep; among several, one that is full must not hold up the
  // others, except where a schedule says when each has its turn.
  [[nodiscard]] bool may_block() const {
    return wait != WaitStrategy::spin && (streams_.size() == 1 || spec_.rate);
  }

  // The opening request and its reply, which tells who reads.
  Connected open_one(const ServerChoice::Server& server, base::MonotonicTime deadline) {
    // All of them share one timeout, or many to a server that is gone would take one each.
    const auto left = deadline - base::monotonic_now();
    if (left <= base::Duration(0)) return std::unexpected(ETIMEDOUT);
    auto fd = connect_within(server.endpoint, left, stop_fd_);
    if (!fd) return fd;
    if (const int code = bound_waits(fd->get(), wait_slice(spec_)); code != 0) {
      return std::unexpected(code);
    }
    std::uint32_t server_id = 0;
    Exchange<WaitStrategy::block> opening(opening_spec(spec_), stop_fd_);
    const int code = as_errno(opening.run(fd->get(), base::monotonic_now(), server_id));
    if (code != 0) return std::unexpected(code);
    if (const int failed = gather_writes(fd->get()); failed != 0) return std::unexpected(failed);
    meter_.flow_answered(server_id);
    return fd;
  }

  static WorkloadSpec opening_spec(WorkloadSpec spec) {
    spec.request = spec.response = base::Bytes{header_bytes};
    return spec;
  }

  base::Result<> open_all() {
    const auto deadline = base::monotonic_now() + spec_.timeout;
    for (int i = 0; i < spec_.connections; ++i) {
      const auto begun = base::monotonic_now();
      const auto& server = choice_.next();
      auto fd = open_one(server, deadline);
      if (fd) {
        meter_.connected(base::monotonic_now() - begun);
        meter_.connection_opened(fd->get());
        streams_.push_back({.fd = std::move(*fd)});
      } else {
        if (fd.error() == EINTR) return stopped_early();
        meter_.connect_failed(fd.error(), server.endpoint);
      }
    }
    if (streams_.empty()) return std::unexpected(meter_.first_connect_error());
    return {};
  }

  base::Result<> send_all(OpenLoopPacer pacer) {
    Phases phases(spec_, meter_, stop_fd_);
    for (auto now = base::monotonic_now();;) {
      const bool open_before = meter_.window_open();
      const auto next = phases.at(now);
      if (next == Phases::Next::stopped) return stopped_early();
      if (next == Phases::Next::finished) return mark_end();
      if (!open_before && meter_.window_open()) RETURN_IF_ERROR(mark_begin());
      if (spec_.rate) {
        const auto due = pacer.next_due();
        if (!due || *due > now) {
          // With nothing left to send the window's end is near.
          now = wait_towards<wait>(now, due.value_or(now + failure_rest), stop_fd_, meter_);
          continue;
        }
        if (meter_.window_open()) meter_.lateness(now - *due);
        std::ignore = pacer.take_due(now);
      }
      if (!send_one()) await_room();
      now = base::monotonic_now();
    }
  }

  base::Result<> mark_begin() {
    for (auto& stream : streams_) {
      if (stream.fd) stream.acked_before = acknowledged_bytes(stream.fd.get());
    }
    ASSIGN_OR_RETURN(departed_before_, departed(figures_.interface));
    return {};
  }

  base::Result<> mark_end() {
    for (const auto& stream : streams_) {
      if (stream.fd) figures_.bytes += acknowledged_bytes(stream.fd.get()) - stream.acked_before;
    }
    ASSIGN_OR_RETURN(const auto after, departed(figures_.interface));
    if (const auto packets = after.packets - departed_before_.packets; packets > 0) {
      figures_.bytes_per_skb =
          static_cast<double>(after.bytes - departed_before_.bytes) / static_cast<double>(packets);
    }
    return {};
  }

  // One write to the next connection that takes it; false when none does.
  bool send_one() {
    for (std::size_t i = 0; i < streams_.size(); ++i) {
      Stream& stream = streams_[next_];
      next_ = next_ + 1 == streams_.size() ? 0 : next_ + 1;
      if (!stream.fd) continue;
      const auto n = ::send(stream.fd.get(), data_.data(), data_.size(),
                            MSG_NOSIGNAL | (may_block() ? 0 : MSG_DONTWAIT));
      if (n >= 0) [[likely]] {
        stream.sent += static_cast<std::uint64_t>(n);
        return true;
      }
      if (errno == EAGAIN || errno == EINTR) {
        // It has slept as long as one may without a look at the clock.
        if (may_block()) return true;
        continue;
      }
      count_exchange_error(errno, meter_.errors());
      close(stream);
    }
    return false;
  }

  void close(Stream& stream) {
    if (meter_.window_open()) {
      figures_.bytes += acknowledged_bytes(stream.fd.get()) - stream.acked_before;
    }
    meter_.connection_closing(stream.fd.get());
    stream.fd.reset();
  }

  // Sleeps until a connection has room, a look is due, or, with none left, for a moment.
  void await_room() {
    if constexpr (wait == WaitStrategy::spin) return;
    polls_.clear();
    for (const auto& stream : streams_) {
      if (stream.fd) polls_.push_back({.fd = stream.fd.get(), .events = POLLOUT, .revents = 0});
    }
    if (polls_.empty()) return rest_after_failure(stop_fd_);
    const timespec look{.tv_sec = 0, .tv_nsec = look_interval.count()};
    ::ppoll(polls_.data(), polls_.size(), &look, nullptr);
  }

  // Ends every stream and asks what became of it; false when stopped.
  bool close_all() {
    const auto deadline = base::monotonic_now() + spec_.timeout;
    for (const auto& stream : streams_) {
      if (stream.fd) ::shutdown(stream.fd.get(), SHUT_WR);
    }
    for (auto& stream : streams_) {
      if (!stream.fd) continue;
      StreamReport report;
      const auto end = read_report(stream.fd.get(), deadline, report);
      if (end.kind == ExchangeEnd::Kind::stopped) return false;
      count_exchange_end(end, meter_.errors());
      if (end.kind == ExchangeEnd::Kind::replied) {
        figures_.delivered_bytes += report.bytes;
        if (report.bytes != stream.sent) ++meter_.errors().bad_reply;
      }
      meter_.connection_closing(stream.fd.get());
      stream.fd.reset();
    }
    return true;
  }

  ExchangeEnd read_report(int fd, base::MonotonicTime deadline, StreamReport& report) const {
    std::array<char, sizeof(StreamReport)> bytes{};
    for (std::size_t have = 0; have < bytes.size();) {
      const auto n = ::recv(fd, bytes.data() + have, bytes.size() - have, 0);
      if (n > 0) {
        have += static_cast<std::size_t>(n);
      } else if (n == 0) {
        return {ExchangeEnd::Kind::closed_early};
      } else if (errno != EAGAIN && errno != EINTR) {
        return {ExchangeEnd::Kind::failed, errno};
      } else if (readable(stop_fd_)) {
        return {ExchangeEnd::Kind::stopped};
      } else if (base::monotonic_now() >= deadline) {
        return {ExchangeEnd::Kind::timed_out};
      }
    }
    std::memcpy(&report, bytes.data(), sizeof(report));
    const bool ours = report.header.response_bytes == sizeof(report);
    return {ours ? ExchangeEnd::Kind::replied : ExchangeEnd::Kind::bad_reply};
  }

  ClientResult result() {
    meter_.delivered(figures_.bytes / data_.size());
    auto result = meter_.result();
    figures_.bytes_per_second = static_cast<double>(figures_.bytes) * 1e9 /
                                static_cast<double>(result.end_ns - result.start_ns);
    result.stream = std::move(figures_);
    return result;
  }

  const WorkloadSpec& spec_;
  int stop_fd_;
  Meter meter_;
  ServerChoice choice_;
  std::vector<char> data_;
  std::vector<Stream> streams_;
  std::vector<pollfd> polls_;
  std::size_t next_ = 0;  // whose turn it is
  Departed departed_before_;
  StreamFigures figures_;
};

}  // namespace

base::Result<ClientResult> run_tcp_stream(const ClientJob& job, WaitStrategy wait, int stop_fd) {
  return for_wait(wait, [&](auto how) { return Sender<how.value>(job, stop_fd).run(job); });
}

}  // namespace bench
