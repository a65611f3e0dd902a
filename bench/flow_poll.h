// What a loop of flows waits on: one epoll for all of them and for the stop descriptor.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include <sys/epoll.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "bench/timer_slack.h"

namespace bench {

class FlowPoll {
 public:
  // Stands for the stop descriptor where an event names a flow.
  static constexpr std::uint32_t stop_marker = ~std::uint32_t{0};
  // Of one wait.
  static constexpr std::size_t most_events = 64;

  FlowPoll() = default;
  FlowPoll(const FlowPoll&) = delete;
  FlowPoll& operator=(const FlowPoll&) = delete;

  // Before anything else. Watches `stop_fd` (-1: there is none). Errors: system; missing (a kernel
  // without epoll_pwait2).
  [[nodiscard]] base::Result<> open(int stop_fd);

  // Watches a descriptor as that flow, or changes what is watched of it: what arrives and how it
  // ends, and with `room` when there is room to send. Edge-triggered. False: errno says why not.
  bool add(int fd, std::uint32_t flow, bool room) { return control(EPOLL_CTL_ADD, fd, flow, room); }
  bool change(int fd, std::uint32_t flow, bool room) {
    return control(EPOLL_CTL_MOD, fd, flow, room);
  }

  // What has happened, after that long at most; good until the next call.
  std::span<const epoll_event> wait(base::Duration longest) {
    const timespec timeout{.tv_sec = longest.count() / 1'000'000'000,
                           .tv_nsec = longest.count() % 1'000'000'000};
    const int ready = ::epoll_pwait2(epoll_.get(), events_.data(), most_events, &timeout, nullptr);
    return std::span(events_).first(ready > 0 ? static_cast<std::size_t>(ready) : 0);
  }

 private:
  bool control(int operation, int fd, std::uint32_t flow, bool room);

  // Sleeps must end when they are meant to: the default timer slack would be lateness.
  NoTimerSlack no_slack_;
  base::UniqueFd epoll_;
  std::array<epoll_event, most_events> events_{};
};

}  // namespace bench
