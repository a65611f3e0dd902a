// The course of an invocation of many requesters on one thread and one epoll: connections first,
// then a closed loop's warm-up and window or an open loop's schedule, and the wait between events.
// What a requester is and how it speaks is its loop's own (bench/flow_loop.cc,
// bench/http2_client.cc).
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include <sys/epoll.h>

#include "bench/connection_cap.h"
#include "bench/flow.h"
#include "bench/flow_poll.h"
#include "bench/lone_requester.h"
#include "bench/measure.h"
#include "bench/pacer.h"
#include "bench/server_choice.h"
#include "bench/workload.h"

namespace bench {

// A loop derives from it, makes it a friend and has
//   void connect_all()     begins to open every connection, ahead of the first request
//   void begin_all()       has every requester of a closed loop begin its first request
//   void begin_due(std::uint32_t requester, MonotonicTime due, MonotonicTime now)
//   void handle(const epoll_event&)   of one of its descriptors
//   void after_pass()      all events of a wait were handled
//   void look_at_waits(MonotonicTime now)   counts what has waited too long, wakes what has rested
//   void close_all()
// One thread.
class LoopCourse {
 protected:
  static constexpr base::MonotonicTime never{std::numeric_limits<std::int64_t>::max()};

  LoopCourse(const ClientJob& job, WaitStrategy wait, int stop_fd)
      : job_(job),
        spec_(job.workload),
        keep_(keeps_connections(spec_)),
        open_loop_(spec_.rate.has_value()),
        stop_fd_(stop_fd),
        choice_(job.servers, job.seed),
        cap_(job.most_connections_per_minute),
        meter_(job, wait),
        idle_(static_cast<std::size_t>(requests_at_once(spec_))),
        scan_interval_(std::clamp(spec_.timeout / 10, least_scan, most_scan)) {}
  ~LoopCourse() = default;
  LoopCourse(const LoopCourse&) = delete;
  LoopCourse& operator=(const LoopCourse&) = delete;

  // The whole invocation. Errors: as run_client.
  template <WaitStrategy wait, typename Loop>
  base::Result<ClientResult> invoke(Loop& loop) {
    RETURN_IF_ERROR(poll_.open(stop_fd_));
    if (keep_) {
      // Opens every connection before the first request, so that no request waits for one.
      loop.connect_all();
      while (busy_ > 0 && pass<wait>(loop, never, false)) {
      }
      RETURN_IF_ERROR(ended_early());
    }
    RETURN_IF_ERROR(open_loop_ ? run_open<wait>(loop) : run_closed<wait>(loop));
    loop.close_all();
    return meter_.result();
  }

  // ---- what a loop's requests have in common ---------------------------------------------------

  // A request begins: where it counts is known, and its lateness. `started`: where its latency
  // begins. Whether it counts: all do but those of an open loop's warm-up.
  bool begins(base::MonotonicTime started, base::MonotonicTime now) {
    idle_since_ = {};
    const bool counted = !open_loop_ || started >= window_begin_;
    if (open_loop_ && counted) meter_.lateness(now - started);
    return counted;
  }
  // Whether a reply at `now` to a request that counts is one of the window's.
  [[nodiscard]] bool in_window(bool counted, base::MonotonicTime now) const {
    return open_loop_ ? counted : meter_.window_open() && now < window_end_;
  }
  // One of the window's was answered.
  void answered(base::Duration latency, std::uint32_t server_id, base::MonotonicTime now) {
    meter_.request_done(latency, server_id);
    if (open_loop_) last_done_ = std::max(last_done_, now);
  }
  // Whether a connection for a request that counts is timed.
  [[nodiscard]] bool times_connect(bool counted) const {
    return keep_ || (counted && (open_loop_ || meter_.window_open()));
  }
  // When a closed loop's request may begin that has to connect first, or has not: now or later.
  base::MonotonicTime turn_of(bool established, base::MonotonicTime now) {
    const auto turn = established || !cap_.set() ? now : cap_.take_turn(now);
    if (turn > now) meter_.rate_was_capped();
    return turn;
  }
  // Whether a closed loop goes on.
  [[nodiscard]] bool goes_on(base::MonotonicTime now) const {
    return now < window_end_ && !stopped_;
  }
  // The oldest request that is due. One that nobody was free for within its timeout has timed out:
  // an invocation ends soon after its window, though nobody ever answers, or not as fast as it is
  // asked.
  std::optional<base::MonotonicTime> take_due(base::MonotonicTime now) {
    while (const auto due = pacer_.take_due(now)) {
      if (now - *due <= spec_.timeout) return due;
      meter_.count_failure(FailureClass::timed_out, *due, now, now);
    }
    return std::nullopt;
  }
  // Something is to be looked at then, at the latest.
  void look_at(base::MonotonicTime at) { next_scan_ = std::min(next_scan_, at); }

  // ---- state -----------------------------------------------------------------------------------

  const ClientJob& job_;
  const WorkloadSpec& spec_;
  const bool keep_;
  const bool open_loop_;
  const int stop_fd_;
  ServerChoice choice_;
  ConnectionCap cap_;
  Meter meter_;
  FlowPoll poll_;
  IdleQueue idle_;         // an open loop's requesters that are free
  std::size_t busy_ = 0;   // what is not idle
  bool draining_ = false;  // nothing begins any more; what is outstanding is awaited

 private:
  // Timeouts are looked at ten times in their length, within these bounds: they need no precision.
  static constexpr base::Duration least_scan = std::chrono::milliseconds(1);
  static constexpr base::Duration most_scan = std::chrono::milliseconds(100);

  template <WaitStrategy wait, typename Loop>
  base::Result<> run_closed(Loop& loop) {
    const auto begin = base::monotonic_now() + spec_.warm_up;
    loop.begin_all();
    while (base::monotonic_now() < begin && pass<wait>(loop, begin, false)) {
    }
    window_end_ = meter_.open_window() + spec_.duration;
    while (base::monotonic_now() < window_end_ && pass<wait>(loop, window_end_, false)) {
    }
    meter_.close_window(window_end_);
    drain<wait>(loop);
    return ended_early();
  }

  template <WaitStrategy wait, typename Loop>
  base::Result<> run_open(Loop& loop) {
    auto rate = spec_.rate.value_or(base::RequestRate{});
    if (!keep_ && cap_.within(rate) < rate) {
      rate = cap_.within(rate);
      meter_.rate_was_capped();
    }
    ASSIGN_OR_RETURN(auto schedule,
                     arrival_schedule(rate, spec_.warm_up + spec_.duration, job_.seed));
    for (int i = 0; i < requests_at_once(spec_); ++i) idle_.push(static_cast<std::uint32_t>(i));
    auto start = base::monotonic_now();
    if (job_.window_begins_ns) {
      start = std::max(start, base::MonotonicTime{*job_.window_begins_ns} - spec_.warm_up);
    }
    window_begin_ = start + spec_.warm_up;
    window_end_ = window_begin_ + spec_.duration;
    pacer_ = OpenLoopPacer(std::move(schedule), start);
    last_done_ = window_end_;
    bool opened = false;
    while ((!pacer_.exhausted() || busy_ > 0) && !over()) {
      const auto now = base::monotonic_now();
      if (!opened && now >= window_begin_) {
        meter_.open_window(window_begin_);
        opened = true;
      }
      send_due(loop, now);
      // The window's beginning is a due time as well: its accounting starts then.
      auto until = opened ? never : window_begin_;
      if (const auto due = pacer_.next_due(); due && !idle_.empty()) until = std::min(until, *due);
      pass<wait>(loop, until, until != never);
    }
    if (!opened) meter_.open_window(window_begin_);
    // Requests due at the end of the window may be answered after it.
    meter_.close_window(last_done_);
    return ended_early();
  }

  // Hands due requests to whoever has been idle longest.
  template <typename Loop>
  void send_due(Loop& loop, base::MonotonicTime now) {
    while (!idle_.empty()) {
      const auto due = take_due(now);
      if (!due) return;
      loop.begin_due(idle_.pop(), *due, now);
      now = base::monotonic_now();
    }
  }

  // Takes the replies still on their way; they belong to no window, but a connection closed before
  // its reply would be a reset the server sees.
  template <WaitStrategy wait, typename Loop>
  void drain(Loop& loop) {
    draining_ = true;
    next_scan_ = {};
    while (busy_ > 0 && pass<wait>(loop, never, false)) {
    }
  }

  // What stops an invocation: the user, or a server that was never there.
  [[nodiscard]] bool over() const { return stopped_ || meter_.nothing_ever_connected(); }
  [[nodiscard]] base::Result<> ended_early() const {
    if (stopped_) return stopped_early();
    if (meter_.nothing_ever_connected()) return std::unexpected(meter_.first_connect_error());
    return {};
  }

  // One pass: wait as the strategy says, until `until` at the latest (`due`: a request is due
  // then), and handle what has happened. False when the invocation is over before its time.
  template <WaitStrategy wait, typename Loop>
  bool pass(Loop& loop, base::MonotonicTime until, bool due) {
    const auto now = base::monotonic_now();
    if (idle_since_ != base::MonotonicTime{}) meter_.idle_spin(now - idle_since_);
    if (now >= next_scan_) {
      next_scan_ = now + scan_interval_;
      if (busy_ > 0) loop.look_at_waits(now);
    }
    auto budget = sleep_budget<wait>(now, due ? until : std::min(until, next_scan_), due, active_);
    if (due && now + budget > next_scan_) budget = std::max(next_scan_ - now, base::Duration(0));
    const auto events = poll_.wait(budget);
    // Only a pass that spun and found nothing was idle; what is sent before the next one is work
    // and takes this back.
    idle_since_ = events.empty() && budget.count() == 0 ? now : base::MonotonicTime{};
    if (events.empty()) return !over();
    active_ = base::monotonic_now();
    for (const auto& event : events) {
      if (event.data.u32 == FlowPoll::stop_marker) {
        stopped_ = true;
      } else {
        loop.handle(event);
      }
    }
    loop.after_pass();
    return !over();
  }

  OpenLoopPacer pacer_{{}, {}};  // an open loop's; empty in a closed one
  base::Duration scan_interval_;
  bool stopped_ = false;
  base::MonotonicTime window_begin_;
  base::MonotonicTime window_end_ = never;
  base::MonotonicTime last_done_;
  base::MonotonicTime next_scan_;
  base::MonotonicTime active_;      // when an event last came
  base::MonotonicTime idle_since_;  // set while spinning with nothing to do
};

}  // namespace bench
