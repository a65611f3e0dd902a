#include "bench/shares.h"

#include <algorithm>
#include <utility>

#include "bench/stamps.h"

namespace bench {
namespace {

void add_to(std::map<std::string, std::uint64_t>& sum,
            const std::map<std::string, std::uint64_t>& one) {
  for (const auto& [name, count] : one) sum[name] += count;
}

void add_to(TrafficErrors& sum, const TrafficErrors& one) {
  sum.refused += one.refused;
  sum.reset += one.reset;
  sum.timed_out += one.timed_out;
  sum.unreachable += one.unreachable;
  sum.closed_early += one.closed_early;
  sum.bad_reply += one.bad_reply;
  sum.address_unavailable += one.address_unavailable;
  sum.lost += one.lost;
  sum.stream_reset += one.stream_reset;
  sum.goaway += one.goaway;
  sum.protocol_error += one.protocol_error;
  sum.other += one.other;
}

void add_to(ClientResult& sum, const ClientResult& one) {
  sum.start_ns = std::min(sum.start_ns, one.start_ns);
  sum.end_ns = std::max(sum.end_ns, one.end_ns);
  sum.requests += one.requests;
  sum.connections_opened += one.connections_opened;
  sum.latency.merge(one.latency);
  sum.connect.merge(one.connect);
  sum.lateness.merge(one.lateness);
  sum.rate_per_second += one.rate_per_second;
  sum.cpu_user_ns += one.cpu_user_ns;
  sum.cpu_system_ns += one.cpu_system_ns;
  sum.utilisation = std::max(sum.utilisation, one.utilisation);
  sum.littles_law_residual = std::max(sum.littles_law_residual, one.littles_law_residual);
  sum.littles_law_violated |= one.littles_law_violated;
  sum.generator_limited |= one.generator_limited;
  sum.involuntary_context_switches += one.involuntary_context_switches;
  sum.tcp_retransmits += one.tcp_retransmits;
  add_to(sum.errors, one.errors);
  add_to(sum.answered_by, one.answered_by);
  sum.failures.insert(sum.failures.end(), one.failures.begin(), one.failures.end());
  sum.failures_lost += one.failures_lost;
  add_to(sum.flows_of, one.flows_of);
  sum.moves.insert(sum.moves.end(), one.moves.begin(), one.moves.end());
  sum.moves_lost += one.moves_lost;
}

}  // namespace

WorkloadSpec share_of(const WorkloadSpec& whole, int index, int generators) {
  auto share = whole;
  share.generators = 1;
  share.connections = whole.connections / generators;
  if (index < whole.connections % generators) ++share.connections;
  if (whole.rate) share.rate = base::RequestRate{whole.rate->per_second / generators};
  return share;
}

base::Result<> SharesSum::add(const Share& share) {
  auto one = on_our_clock(share.result, share.clock_offset);
  ++shares_;
  if (is_stream(one.kind)) {
    return base::fail(base::ErrorKind::input, "a {} has one generator", base::enum_name(one.kind));
  }
  if (!sum_) {
    sum_ = std::move(one);
    return {};
  }
  if (one.kind != sum_->kind || one.loop != sum_->loop) {
    return base::fail(base::ErrorKind::input, "shares of different workloads: {} and {}",
                      base::enum_name(sum_->kind), base::enum_name(one.kind));
  }
  add_to(*sum_, one);
  return {};
}

base::Result<ClientResult> SharesSum::take() {
  if (!sum_) return base::fail(base::ErrorKind::input, "there are no shares to merge");
  auto sum = *std::exchange(sum_, std::nullopt);
  if (shares_ > 1) {
    sum.cpu.reset();
    sum.local_ports.clear();
  }
  if (sum.requests > 0) {
    sum.cpu_per_request_ns =
        (sum.cpu_user_ns + sum.cpu_system_ns) / static_cast<std::int64_t>(sum.requests);
  }
  std::ranges::sort(sum.failures, {}, &FailedRequest::ended_ns);
  std::ranges::sort(sum.moves, {}, &FlowMove::at_ns);
  return sum;
}

base::Result<ClientResult> merge_shares(std::span<const Share> shares) {
  SharesSum sum;
  for (const auto& share : shares) RETURN_IF_ERROR(sum.add(share));
  return sum.take();
}

}  // namespace bench
