#include "bench/measure.h"

#include <algorithm>
#include <cmath>

#include <sys/resource.h>
#include <time.h>

#include "bench/sockets.h"

namespace bench {
namespace {

constexpr std::size_t ports_kept = 16;
constexpr double residual_allowed = 0.02;
constexpr double lateness_allowed = 0.10;
constexpr double busy_allowed = 0.95;

}  // namespace

ThreadUsage ThreadUsage::now() {
  ThreadUsage usage;
  timespec cpu{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
  usage.cpu_ns = static_cast<std::int64_t>(cpu.tv_sec) * 1'000'000'000 + cpu.tv_nsec;
  rusage resources{};
  ::getrusage(RUSAGE_THREAD, &resources);
  usage.user_ns = static_cast<std::int64_t>(resources.ru_utime.tv_sec) * 1'000'000'000 +
                  static_cast<std::int64_t>(resources.ru_utime.tv_usec) * 1'000;
  usage.involuntary_switches = static_cast<std::uint64_t>(resources.ru_nivcsw);
  return usage;
}

void AnswerTally::count_slowly(std::uint32_t server_id) {
  for (std::size_t i = 0; i < used_; ++i) {
    if (entries_[i].server_id == server_id) {
      last_ = &entries_[i];
      ++last_->requests;
      return;
    }
  }
  if (used_ == entries_.size()) {
    ++other_;
    return;
  }
  last_ = &entries_[used_++];
  *last_ = {.server_id = server_id, .requests = 1};
}

std::map<std::string, std::uint64_t> AnswerTally::by_name() const {
  std::map<std::string, std::uint64_t> names;
  for (std::size_t i = 0; i < used_; ++i) {
    const auto id = entries_[i].server_id;
    names[id == unnamed_server ? "unnamed" : fmt::format("{}", id)] = entries_[i].requests;
  }
  if (other_ != 0) names["other"] = other_;
  return names;
}

Meter::Meter(const ClientJob& job, WaitStrategy wait)
    : open_loop_(job.workload.rate.has_value()),
      note_events_(job.note_events),
      connections_(static_cast<std::uint64_t>(job.workload.connections)),
      requesters_(static_cast<std::uint64_t>(requests_at_once(job.workload))) {
  frame_.kind = job.workload.kind;
  frame_.loop = open_loop_ ? "open" : "closed";
  frame_.wait = wait;
  frame_.cpu = job.cpu;
  latency_.prepare();
  connect_.prepare();
  lateness_.prepare();
  local_ports_.reserve(ports_kept);
  if (job.answer_slice && job.answer_slice->count() > 0) {
    slice_ = *job.answer_slice;
    const auto count = static_cast<std::size_t>(job.workload.duration / slice_) + 1;
    slices_.resize(std::min(count, most_answer_slices));
  }
  if (!note_events_) return;
  failures_.reserve(failures_noted);
  moves_.reserve(moves_noted);
}

base::MonotonicTime Meter::open_window(std::optional<base::MonotonicTime> begin) {
  open_ = true;
  idle_spin_ns_ = 0;
  usage_begin_ = ThreadUsage::now();
  begin_ = begin ? *begin : base::monotonic_now();
  last_answer_ = begin_;
  return begin_;
}

void Meter::close_window(base::MonotonicTime end) {
  const auto usage = ThreadUsage::now();
  usage_end_ = std::max(base::monotonic_now(), end);
  usage_.cpu_ns = usage.cpu_ns - usage_begin_.cpu_ns;
  // The split moves in ticks and may lag the exact total.
  usage_.user_ns = std::clamp<std::int64_t>(usage.user_ns - usage_begin_.user_ns, 0, usage_.cpu_ns);
  usage_.involuntary_switches = usage.involuntary_switches - usage_begin_.involuntary_switches;
  end_ = end;
  open_ = false;
}

void Meter::connection_opened(int fd) {
  ++connections_opened_;
  if (local_ports_.size() >= ports_kept) return;
  if (const auto local = local_endpoint(fd)) local_ports_.push_back(local->port);
}

void Meter::connection_closing(int fd) { retransmits_ += retransmits(fd); }

void Meter::connect_failed(int code, const base::Endpoint& server) {
  if (!first_connect_error_) {
    first_connect_error_ = base::system_error(code, "connect {}", server).error();
    first_connect_error_->kind = base::ErrorKind::workload;
  }
  ++connect_failures_;
  count_connect_error(code, errors_);
}

void Meter::note_failure(FailureClass what, base::MonotonicTime due, base::MonotonicTime begun,
                         base::MonotonicTime ended) {
  if (!note_events_) return;
  if (failures_.size() == failures_noted) {
    ++failures_lost_;
    return;
  }
  failures_.push_back({.due_ns = due.ns, .begun_ns = begun.ns, .ended_ns = ended.ns, .what = what});
}

void Meter::answered_anew(std::uint32_t from, std::uint32_t to, base::MonotonicTime now) {
  if (!note_events_) return;
  if (from == 0) {
    flows_of_.count(to);
  } else if (moves_.size() == moves_noted) {
    ++moves_lost_;
  } else {
    moves_.push_back({.at_ns = now.ns, .from = from, .to = to});
  }
}

void Meter::note_answer(base::MonotonicTime now) {
  const auto index = static_cast<std::size_t>(std::max(now - begin_, base::Duration(0)) / slice_);
  auto& slice = slices_[std::min(index, slices_.size() - 1)];
  ++slice.answered;
  slice.last_ns = now.ns;
  if (const auto gap = (now - last_answer_).count(); gap > slice.longest_gap_ns) {
    slice.longest_gap_ns = gap;
    slice.gap_ended_ns = now.ns;
  }
  last_answer_ = now;
}

ClientResult Meter::result() const {
  ClientResult result = frame_;
  result.start_ns = begin_.ns;
  result.end_ns = end_.ns;
  result.latency = latency_;
  result.connect = connect_;
  result.lateness = lateness_;
  result.requests = is_stream(frame_.kind) ? delivered_ : latency_.count();
  result.connections_opened = connections_opened_;
  result.tcp_retransmits = retransmits_;
  result.errors = errors_;
  result.answered_by = answers_.by_name();
  result.local_ports = local_ports_;
  result.failures = failures_;
  result.failures_lost = failures_lost_;
  result.flows_of = flows_of_.by_name();
  result.moves = moves_;
  result.moves_lost = moves_lost_;
  result.answer_slices = slices_;

  const auto requests = static_cast<double>(result.requests);
  const auto window_ns = static_cast<double>((end_ - begin_).count());
  if (window_ns > 0) result.rate_per_second = requests * 1e9 / window_ns;
  result.cpu_user_ns = usage_.user_ns;
  result.cpu_system_ns = usage_.cpu_ns - usage_.user_ns;
  if (result.requests > 0) {
    result.cpu_per_request_ns = usage_.cpu_ns / static_cast<std::int64_t>(result.requests);
  }
  result.involuntary_context_switches = usage_.involuntary_switches;

  const auto used_ns = static_cast<double>((usage_end_ - begin_).count());
  const auto share = [used_ns](std::int64_t ns) {
    return used_ns > 0 ? std::clamp(static_cast<double>(ns) / used_ns, 0.0, 1.0) : 0.0;
  };
  result.utilisation = frame_.wait == WaitStrategy::spin ? 1.0 : share(usage_.cpu_ns);
  // Two connects may meet at a turn although the rate is far below the cap.
  result.rate_capped =
      waited_for_turn_ > 0 && (open_loop_ || 2 * waited_for_turn_ > result.requests);
  // One that waits for its turn is a closed loop no more, and the law has nothing to say of it.
  if (!open_loop_ && waited_for_turn_ == 0 && !is_stream(frame_.kind) && result.requests > 0) {
    const double mean_ns = latency_.mean() + static_cast<double>(occupied_extra_ns_) / requests;
    result.littles_law_residual =
        littles_law_residual(mean_ns, result.rate_per_second, static_cast<double>(requesters_));
    result.littles_law_violated = result.littles_law_residual > residual_allowed;
  }
  // Spinning for want of work keeps a core hot but holds nothing up, and a lone closed-loop
  // requester that spins does nothing else between its requests.
  const bool lone_spinner = !open_loop_ && requesters_ == 1 && frame_.wait != WaitStrategy::block;
  const double busy = lone_spinner ? 0 : share(usage_.cpu_ns - idle_spin_ns_);
  if (!is_stream(frame_.kind)) {
    result.generator_limited = generator_limited(latency_, lateness_, busy);
  } else {
    // A stream has no latency that lateness could spoil, and one that sends all it can is busy by
    // design.
    result.generator_limited = open_loop_ && busy > busy_allowed;
  }
  return result;
}

double littles_law_residual(double mean_ns, double rate_per_second, double concurrency) {
  return std::abs(mean_ns * rate_per_second / 1e9 / concurrency - 1);
}

bool generator_limited(const base::Histogram& latency, const base::Histogram& lateness,
                       double busy_share) {
  const auto late = static_cast<double>(lateness.quantile(0.99));
  return late > lateness_allowed * static_cast<double>(latency.quantile(0.99)) ||
         busy_share > busy_allowed;
}

}  // namespace bench
