#include "probes/wire/capture.h"

#include <algorithm>
#include <array>

#include <poll.h>
#include <time.h>

#include "base/clock.h"
#include "probes/wire/packet_ring.h"
#include "probes/wire/wire_watch.h"

namespace probes {
namespace {

using base::ErrorKind;
using base::Result;

// How long a sample may take from the socket to the ring.
constexpr base::Duration sample_patience = std::chrono::seconds(1);

std::int64_t thread_cpu_ns() {
  timespec used{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return static_cast<std::int64_t>(used.tv_sec) * 1'000'000'000 + used.tv_nsec;
}

// A capture at work.
class Capture {
 public:
  Capture(const CaptureJob& job, std::string interface, PacketRing ring, int stop_fd)
      : job_(job),
        interface_(std::move(interface)),
        ring_(std::move(ring)),
        watch_(job),
        stop_fd_(stop_fd) {
    for (const auto& sample : job_.samples) watch_.leave_out(sample.client);
  }

  Result<WireReport> run(const std::function<void()>& on_ready) {
    const auto cpu = thread_cpu_ns();
    const auto began = base::monotonic_now();
    ASSIGN_OR_RETURN(auto before, try_samples());
    on_ready();
    while (!stopped_) RETURN_IF_ERROR(wait(base::monotonic_now() + std::chrono::seconds(60)));
    ASSIGN_OR_RETURN(auto after, try_samples());
    // What passed before the stop is in a block by now, or the block's patience ends.
    const auto ended = base::monotonic_now();
    while (last_seen_ < ended && base::monotonic_now() - ended < sample_patience) {
      if (!drain_once(std::chrono::milliseconds(10))) break;
    }
    auto report = watch_.finish();
    report.interface = interface_;
    report.began_ns = began.ns;
    report.ended_ns = ended.ns;
    report.samples_before = std::move(before);
    report.samples_after = std::move(after);
    ASSIGN_OR_RETURN(const auto counts, ring_.counts());
    report.packets = counts.packets;
    report.lost = counts.lost;
    report.cpu_ns = thread_cpu_ns() - cpu;
    return report;
  }

 private:
  // Waits for frames or the stop, until `until` at the latest, and takes what has come.
  Result<> wait(base::MonotonicTime until) {
    const auto left = std::max(until - base::monotonic_now(), base::Duration(0));
    const timespec time{.tv_sec = left.count() / 1'000'000'000,
                        .tv_nsec = left.count() % 1'000'000'000};
    std::array<pollfd, 2> watched{{{.fd = ring_.fd(), .events = POLLIN, .revents = 0},
                                   {.fd = stop_fd_, .events = POLLIN, .revents = 0}}};
    if (stopped_) watched[1].fd = -1;
    if (::ppoll(watched.data(), watched.size(), &time, nullptr) < 0 && errno != EINTR) {
      return base::system_error(errno, "capture: poll");
    }
    if (watched[1].revents != 0) stopped_ = true;
    if ((watched[0].revents & (POLLERR | POLLHUP)) != 0) {
      return base::fail(ErrorKind::system, "capture: {} went away", interface_);
    }
    take();
    return {};
  }

  std::size_t take() {
    return ring_.drain([this](base::ByteSpan frame, std::size_t size, base::MonotonicTime at) {
      last_seen_ = at;
      watch_.take(frame, size, at);
    });
  }

  // Whether anything came within `span`.
  bool drain_once(base::Duration span) {
    const timespec time{.tv_sec = 0, .tv_nsec = span.count()};
    pollfd ring{.fd = ring_.fd(), .events = POLLIN, .revents = 0};
    if (::ppoll(&ring, 1, &time, nullptr) < 0 && errno != EINTR) return false;
    return take() > 0;
  }

  Result<> say(const ClearSample& sample, bool request, std::uint32_t sequence, std::uint8_t flags,
               std::string_view text) {
    return ring_.send(base::write_frame(
        {.source = request ? sample.client : sample.server,
         .destination = request ? sample.server : sample.client,
         .sequence = sequence,
         .flags = flags,
         .payload = {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}},
        ring_.mac()));
  }

  // One direction of a sample: opened, and a body cut within the canary, its second half first.
  Result<> say_message(const ClearSample& sample, bool request, const std::string& token) {
    constexpr std::uint32_t first = 0xffffffe0;  // so that its numbers wrap
    const auto text = (request ? sample.before_request : sample.before_reply) + token + "00000000";
    const std::string_view whole = text;
    const auto half = whole.size() - base::canary_length / 2;
    const auto at_half = first + 1 + static_cast<std::uint32_t>(half);
    const auto opening = request ? base::tcp_syn : base::tcp_syn | base::tcp_ack;
    RETURN_IF_ERROR(say(sample, request, first, static_cast<std::uint8_t>(opening), ""));
    RETURN_IF_ERROR(say(sample, request, at_half, base::tcp_ack, whole.substr(half)));
    RETURN_IF_ERROR(say(sample, request, first + 1, base::tcp_ack, whole.substr(0, half)));
    return say(sample, request, first + 1 + static_cast<std::uint32_t>(whole.size()),
               base::tcp_rst | base::tcp_ack, "");
  }

  Result<std::vector<SampleSeen>> try_samples() {
    struct Tokens {
      std::size_t request;
      std::size_t reply;
    };
    std::vector<Tokens> tokens;
    for (const auto& sample : job_.samples) {
      const auto request = base::make_token();
      const auto reply = base::make_token();
      tokens.push_back({watch_.look_for(request), watch_.look_for(reply)});
      RETURN_IF_ERROR(say_message(sample, true, request));
      RETURN_IF_ERROR(say_message(sample, false, reply));
    }
    const auto all_found = [&] {
      return std::ranges::all_of(tokens, [&](const Tokens& its) {
        return watch_.found(its.request) && watch_.found(its.reply);
      });
    };
    const auto deadline = base::monotonic_now() + sample_patience;
    while (!all_found() && base::monotonic_now() < deadline) RETURN_IF_ERROR(wait(deadline));
    std::vector<SampleSeen> seen;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      seen.push_back({job_.samples[i].protocol, watch_.found(tokens[i].request),
                      watch_.found(tokens[i].reply)});
    }
    return seen;
  }

  const CaptureJob& job_;
  std::string interface_;
  PacketRing ring_;
  WireWatch watch_;
  int stop_fd_;
  bool stopped_ = false;
  base::MonotonicTime last_seen_;
};

}  // namespace

Result<WireReport> run_capture(const CaptureJob& job, int stop_fd,
                               const std::function<void()>& on_ready) {
  std::string interface = job.interface;
  if (interface.empty()) {
    ASSIGN_OR_RETURN(interface, default_interface());
  }
  ASSIGN_OR_RETURN(auto ring, PacketRing::open(interface, job.ring.count));
  return Capture(job, std::move(interface), std::move(ring), stop_fd).run(on_ready);
}

}  // namespace probes
