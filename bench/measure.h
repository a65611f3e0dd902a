// What one invocation measures, and how its honest numbers are worked out. The hot loops record
// into preallocated memory; everything else happens before and after the window.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/histogram.h"
#include "base/result.h"
#include "bench/workload.h"

namespace bench {

// What the calling thread has used so far.
struct ThreadUsage {
  std::int64_t cpu_ns = 0;   // CLOCK_THREAD_CPUTIME_ID: exact
  std::int64_t user_ns = 0;  // RUSAGE_THREAD: the kernel's split of it
  std::uint64_t involuntary_switches = 0;

  [[nodiscard]] static ThreadUsage now();
};

// The identity of a server that gives none.
inline constexpr std::uint32_t unnamed_server = ~std::uint32_t{0};

// Counts replies per server identity without allocating. The 257th and further identities count
// together as "other", servers without one as "unnamed".
class AnswerTally {
 public:
  void count(std::uint32_t server_id) {
    if (server_id == last_->server_id && last_->requests != 0) [[likely]] {
      ++last_->requests;
      return;
    }
    count_slowly(server_id);
  }
  [[nodiscard]] std::map<std::string, std::uint64_t> by_name() const;

  AnswerTally() = default;
  AnswerTally(const AnswerTally&) = delete;  // last_ points into entries_
  AnswerTally& operator=(const AnswerTally&) = delete;

 private:
  struct Entry {
    std::uint32_t server_id = 0;
    std::uint64_t requests = 0;
  };
  void count_slowly(std::uint32_t server_id);

  std::array<Entry, 256> entries_{};
  Entry* last_ = entries_.data();
  std::size_t used_ = 0;
  std::uint64_t other_ = 0;
};

// Collects one client's numbers. One thread, the hot one.
class Meter {
 public:
  explicit Meter(const ClientJob& job, WaitStrategy wait);

  // Opens the window at `begin`, or now: CPU and context switches count from here. Returns its
  // beginning, stamped after the accounting calls so that no request pays for them.
  base::MonotonicTime open_window(std::optional<base::MonotonicTime> begin = {});
  [[nodiscard]] bool window_open() const { return open_; }
  // Closes it: `end` is the stamp the rate is worked out to. Once.
  void close_window(base::MonotonicTime end);

  // A request of the window answered, latency from its (intended) start. Requests of the warm-up
  // are not reported here; errors and connections count from the first packet on.
  void request_done(base::Duration latency, std::uint32_t server_id) {
    latency_.record(static_cast<std::uint64_t>(latency.count()));
    answers_.count(server_id);
    if (!slices_.empty()) [[unlikely]]
      note_answer(base::monotonic_now());
  }
  // A stream's flow whose opening was answered.
  void flow_answered(std::uint32_t server_id) { answers_.count(server_id); }
  // What a stream delivered in the window, in writes or datagrams: its requests. Once.
  void delivered(std::uint64_t units) { delivered_ = units; }
  void lateness(base::Duration late) {
    lateness_.record(static_cast<std::uint64_t>(late.count() > 0 ? late.count() : 0));
  }
  void connected(base::Duration took) { connect_.record(static_cast<std::uint64_t>(took.count())); }
  // Time a requester was occupied by its request when that is more than its latency: socket(2) and
  // close(2) of its own connection. Little's law is about this time.
  void occupied_beyond_latency(base::Duration extra) { occupied_extra_ns_ += extra.count(); }
  // Time the thread spun with nothing to do: work it was not doing, whatever the scheduler says.
  void idle_spin(base::Duration span) { idle_spin_ns_ += span.count(); }
  [[nodiscard]] base::Duration idle_spun() const { return base::Duration(idle_spin_ns_); }

  // A closed loop's request waited for its turn to connect; an open loop's rate was cut to the cap.
  void rate_was_capped() {
    if (open_ || open_loop_) ++waited_for_turn_;
  }

  // Off the hot path: a connection that has just been opened, and one about to be closed.
  void connection_opened(int fd);
  void connection_closing(int fd);
  TrafficErrors& errors() { return errors_; }

  // One by one, where the job asks for it and there is room: a request that failed, when it was
  // due, really begun and known to have failed; and a kept flow whose answers now come from `to`,
  // before that from `from` or, 0, from nobody.
  void note_failure(FailureClass what, base::MonotonicTime due, base::MonotonicTime begun,
                    base::MonotonicTime ended);
  // The same of one that is counted by its class alone.
  void count_failure(FailureClass what, base::MonotonicTime due, base::MonotonicTime begun,
                     base::MonotonicTime ended) {
    ++errors_.of(what);
    note_failure(what, due, begun, ended);
  }
  void answered_anew(std::uint32_t from, std::uint32_t to, base::MonotonicTime now);

  // Failures to connect before anything ever connected are one Error, "connect 10.0.0.1:7001:
  // Connection refused", kind workload. Notes the first; counts all by class.
  void connect_failed(int code, const base::Endpoint& server);
  [[nodiscard]] bool nothing_ever_connected() const {
    return connections_opened_ == 0 && connect_failures_ >= connections_;
  }
  [[nodiscard]] base::Error first_connect_error() const {
    return first_connect_error_.value_or(base::Error{});
  }

  // Where the job asks for it, of the request that was just answered.
  void note_answer(base::MonotonicTime now);

  // Everything, once the window is closed.
  [[nodiscard]] ClientResult result() const;

 private:
  ClientResult frame_;  // what the job alone decides
  bool open_loop_ = false;
  bool note_events_ = false;
  std::uint64_t connections_ = 1;
  std::uint64_t requesters_ = 1;  // of a closed loop: its concurrency
  bool open_ = false;
  base::MonotonicTime begin_;
  base::MonotonicTime end_;
  base::MonotonicTime usage_end_;  // an open loop drains beyond the window's end
  ThreadUsage usage_begin_;
  ThreadUsage usage_;  // in the window, once it is closed
  base::Histogram latency_;
  base::Histogram connect_;
  base::Histogram lateness_;
  AnswerTally answers_;
  std::int64_t occupied_extra_ns_ = 0;
  std::int64_t idle_spin_ns_ = 0;
  std::uint64_t waited_for_turn_ = 0;
  std::uint64_t connections_opened_ = 0;
  std::uint64_t connect_failures_ = 0;
  std::uint64_t retransmits_ = 0;
  std::uint64_t delivered_ = 0;
  std::optional<base::Error> first_connect_error_;
  TrafficErrors errors_;
  std::vector<int> local_ports_;
  std::vector<FailedRequest> failures_;
  std::uint64_t failures_lost_ = 0;
  AnswerTally flows_of_;
  std::vector<FlowMove> moves_;
  std::uint64_t moves_lost_ = 0;
  std::vector<AnswerSlice> slices_;
  base::Duration slice_{0};
  base::MonotonicTime last_answer_;  // or the window's beginning
};

// The verdicts on the generator itself, apart so that they can be tested with made-up numbers.
// Little's law: |mean time in system x rate / concurrency - 1|; 0 without requests.
[[nodiscard]] double littles_law_residual(double mean_ns, double rate_per_second,
                                          double concurrency);
// Lateness p99 above 10 % of latency p99, or more than 0.95 of the core busy.
[[nodiscard]] bool generator_limited(const base::Histogram& latency,
                                     const base::Histogram& lateness, double busy_share);

}  // namespace bench
