// The jobs as they travel: their bounds, their lists of probes, their stamps on another clock.
#include <algorithm>
#include <set>
#include <tuple>

#include "base/canary.h"
#include "bench/reach/flow_watch.h"
#include "bench/reach/hold.h"
#include "bench/reach/knock.h"
#include "bench/reach/reach.h"

namespace bench {
namespace {

using base::Duration;
using base::ErrorKind;
using base::Json;
using base::Result;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t most_held = 256;

Result<> check_span(std::string_view name, Duration span, Duration least, Duration most) {
  if (span >= least && span <= most) return {};
  const auto spelt = base::StringScalar<Duration>::format;
  return base::fail(ErrorKind::input, "job.{}: expected {} to {}, got {}", name, spelt(least),
                    spelt(most), spelt(span));
}

Result<> check_count(std::string_view name, std::size_t count, std::size_t most) {
  if (count >= 1 && count <= most) return {};
  return base::fail(ErrorKind::input, "job.{}: expected 1 to {} of them, got {}", name, most,
                    count);
}

template <typename Flow>
Result<> check_ids(const std::vector<Flow>& flows) {
  std::set<std::uint32_t> ids;
  for (const auto& flow : flows) {
    if (!ids.insert(flow.id).second) {
      return base::fail(ErrorKind::input, "job.flows: two of them have the id {}", flow.id);
    }
  }
  return {};
}

// Lists of probes travel as differences. A hostile list may hold any integers, so they are added as
// unsigned ones, which wrap.
std::int64_t wrapped_sum(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}

std::int64_t wrapped_difference(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) - static_cast<std::uint64_t>(b));
}

// The integers of a flat list, `each` to a probe.
Result<std::vector<std::int64_t>> flat_list(const Json& json, std::size_t each,
                                            const std::string& path) {
  if (!json.is_array() || json.size() % each != 0 || json.size() / each > most_kept_probes) {
    return base::fail(ErrorKind::input, "{}: expected a list of {} integers for each of at most {}",
                      path, each, most_kept_probes);
  }
  std::vector<std::int64_t> list;
  list.reserve(json.size());
  for (const auto& element : json) {
    if (!element.is_number_integer()) {
      return base::fail(ErrorKind::input, "{}: expected integers only", path);
    }
    list.push_back(element.get<std::int64_t>());
  }
  return list;
}

Json flat_schema() { return {{"type", "array"}, {"items", {{"type", "integer"}}}}; }

void shift(std::int64_t& stamp, Duration ahead) {
  if (stamp != 0) stamp -= ahead.count();
}

}  // namespace

Result<ReachJob> parse_reach_job(const Json& json) {
  ASSIGN_OR_RETURN(ReachJob job, base::from_json<ReachJob>(json, "job"));
  RETURN_IF_ERROR(check_count("targets", job.targets.size(), most_reach_targets));
  RETURN_IF_ERROR(check_span("timeout", job.timeout, milliseconds(10), seconds(10)));
  return job;
}

Result<ListenJob> parse_listen_job(const Json& json) {
  ASSIGN_OR_RETURN(ListenJob job, base::from_json<ListenJob>(json, "job"));
  RETURN_IF_ERROR(check_count("ports", job.ports.size(), most_listen_ports));
  std::set<std::pair<std::uint16_t, base::Protocol>> known;
  for (const auto& [port, protocol] : job.ports) {
    if (!known.emplace(port, protocol).second) {
      return base::fail(ErrorKind::input, "job.ports: {} {} is there twice",
                        base::enum_name(protocol), port);
    }
  }
  return job;
}

Duration reach_time_limit(const ReachJob& job) {
  const auto rounds = (job.targets.size() + job.concurrency - 1) / job.concurrency;
  return static_cast<std::int64_t>(rounds) * job.timeout + seconds(10);
}

Result<FlowSendJob> parse_flow_send_job(const Json& json) {
  ASSIGN_OR_RETURN(FlowSendJob job, base::from_json<FlowSendJob>(json, "job"));
  RETURN_IF_ERROR(check_count("flows", job.flows.size(), most_sent_flows));
  RETURN_IF_ERROR(check_ids(job.flows));
  RETURN_IF_ERROR(check_span("duration", job.duration, milliseconds(1), longest_flow_watch));
  // Two such flows would take turns on the same 5-tuples.
  for (std::size_t i = 0; i < job.flows.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (job.flows[i].to == job.flows[j].to && job.flows[i].protocol == job.flows[j].protocol) {
        return base::fail(ErrorKind::input, "job.flows: two of them go to {}", job.flows[i].to);
      }
    }
  }
  const double most =
      std::min(most_flow_rate, most_sender_rate / static_cast<double>(job.flows.size()));
  if (!(job.rate.per_second >= 1) || job.rate.per_second > most) {
    return base::fail(ErrorKind::input,
                      "job.rate: expected 1/s to {}/s for each of {} flows, got {}/s", most,
                      job.flows.size(), job.rate.per_second);
  }
  return job;
}

Result<FlowReceiveJob> parse_flow_receive_job(const Json& json) {
  ASSIGN_OR_RETURN(FlowReceiveJob job, base::from_json<FlowReceiveJob>(json, "job"));
  RETURN_IF_ERROR(check_count("flows", job.flows.size(), most_received_flows));
  RETURN_IF_ERROR(check_ids(job.flows));
  return job;
}

Result<HoldJob> parse_hold_job(const Json& json) {
  ASSIGN_OR_RETURN(HoldJob job, base::from_json<HoldJob>(json, "job"));
  RETURN_IF_ERROR(check_count("connections", job.connections.size(), most_held));
  RETURN_IF_ERROR(check_span("interval", job.interval, milliseconds(1), seconds(10)));
  RETURN_IF_ERROR(check_span("stall_after", job.stall_after, milliseconds(10), seconds(2)));
  RETURN_IF_ERROR(
      check_span("connect_timeout", job.connect_timeout, milliseconds(10), seconds(10)));
  return job;
}

Result<KnockJob> parse_knock_job(const Json& json) {
  ASSIGN_OR_RETURN(KnockJob job, base::from_json<KnockJob>(json, "job"));
  if (job.kind != WorkloadKind::http && job.kind != WorkloadKind::tcp_crr) {
    return base::fail(ErrorKind::input, "job.kind: expected http or tcp_crr, got {}",
                      base::enum_name(job.kind));
  }
  if (!(job.rate.per_second >= 1) || job.rate.per_second > most_knock_rate) {
    return base::fail(ErrorKind::input, "job.rate: expected 1/s to {}/s, got {}/s", most_knock_rate,
                      job.rate.per_second);
  }
  RETURN_IF_ERROR(check_span("timeout", job.timeout, milliseconds(10), seconds(5)));
  RETURN_IF_ERROR(check_span("duration", job.duration, milliseconds(1), longest_flow_watch));
  if (job.canary && !base::is_token(*job.canary)) {
    return base::fail(ErrorKind::input, "job.canary: expected {} hexadecimal digits",
                      base::token_length);
  }
  return job;
}

Json SentProbes::to_json() const {
  Json json = Json::array();
  SentProbe last;
  for (const auto& probe : list) {
    json.push_back(std::int64_t{probe.number} - std::int64_t{last.number});
    json.push_back(wrapped_difference(probe.before_ns, last.before_ns));
    json.push_back(wrapped_difference(probe.after_ns, probe.before_ns));
    json.push_back(probe.error_code);
    last = probe;
  }
  return json;
}

Result<SentProbes> SentProbes::from_json(const Json& json, const std::string& path) {
  ASSIGN_OR_RETURN(const auto flat, flat_list(json, 4, path));
  SentProbes probes;
  probes.list.reserve(flat.size() / 4);
  SentProbe last;
  for (std::size_t i = 0; i < flat.size(); i += 4) {
    last.number = static_cast<std::uint32_t>(wrapped_sum(last.number, flat[i]));
    last.before_ns = wrapped_sum(last.before_ns, flat[i + 1]);
    last.after_ns = wrapped_sum(last.before_ns, flat[i + 2]);
    last.error_code = static_cast<int>(flat[i + 3]);
    probes.list.push_back(last);
  }
  return probes;
}

Json SentProbes::json_schema() { return flat_schema(); }

Json ReceivedProbes::to_json() const {
  Json json = Json::array();
  ReceivedProbe last;
  for (const auto& probe : list) {
    json.push_back(std::int64_t{probe.number} - std::int64_t{last.number});
    json.push_back(wrapped_difference(probe.received_ns, last.received_ns));
    last = probe;
  }
  return json;
}

Result<ReceivedProbes> ReceivedProbes::from_json(const Json& json, const std::string& path) {
  ASSIGN_OR_RETURN(const auto flat, flat_list(json, 2, path));
  ReceivedProbes probes;
  probes.list.reserve(flat.size() / 2);
  ReceivedProbe last;
  for (std::size_t i = 0; i < flat.size(); i += 2) {
    last.number = static_cast<std::uint32_t>(wrapped_sum(last.number, flat[i]));
    last.received_ns = wrapped_sum(last.received_ns, flat[i + 1]);
    probes.list.push_back(last);
  }
  return probes;
}

Json ReceivedProbes::json_schema() { return flat_schema(); }

Json Knocks::to_json() const {
  Json json = Json::array();
  Knock last;
  for (const auto& knock : list) {
    json.push_back(std::int64_t{knock.number} - std::int64_t{last.number});
    json.push_back(wrapped_difference(knock.before_ns, last.before_ns));
    json.push_back(wrapped_difference(knock.after_ns, knock.before_ns));
    json.push_back(static_cast<int>(knock.outcome));
    last = knock;
  }
  return json;
}

Result<Knocks> Knocks::from_json(const Json& json, const std::string& path) {
  constexpr auto outcomes = base::EnumNames<ReachOutcome>::names;
  ASSIGN_OR_RETURN(const auto flat, flat_list(json, 4, path));
  Knocks knocks;
  knocks.list.reserve(flat.size() / 4);
  Knock last;
  for (std::size_t i = 0; i < flat.size(); i += 4) {
    if (flat[i + 3] < 0 || flat[i + 3] >= static_cast<std::int64_t>(outcomes.size())) {
      return base::fail(ErrorKind::input, "{}: there is no outcome {}", path, flat[i + 3]);
    }
    last.number = static_cast<std::uint32_t>(wrapped_sum(last.number, flat[i]));
    last.before_ns = wrapped_sum(last.before_ns, flat[i + 1]);
    last.after_ns = wrapped_sum(last.before_ns, flat[i + 2]);
    last.outcome = static_cast<ReachOutcome>(flat[i + 3]);
    knocks.list.push_back(last);
  }
  return knocks;
}

Json Knocks::json_schema() { return flat_schema(); }

ReachResult on_our_clock(ReachResult result, Duration ahead) {
  shift(result.began_ns, ahead);
  shift(result.ended_ns, ahead);
  for (auto& cell : result.cells) {
    shift(cell.sent_ns, ahead);
    shift(cell.done_ns, ahead);
  }
  return result;
}

FlowSendResult on_our_clock(FlowSendResult result, Duration ahead) {
  shift(result.began_ns, ahead);
  shift(result.ended_ns, ahead);
  for (auto& flow : result.flows) {
    for (auto& probe : flow.probes.list) {
      shift(probe.before_ns, ahead);
      shift(probe.after_ns, ahead);
    }
  }
  return result;
}

FlowReceiveResult on_our_clock(FlowReceiveResult result, Duration ahead) {
  shift(result.began_ns, ahead);
  shift(result.ended_ns, ahead);
  for (auto& flow : result.flows) {
    for (auto& probe : flow.probes.list) shift(probe.received_ns, ahead);
  }
  return result;
}

KnockResult on_our_clock(KnockResult result, Duration ahead) {
  shift(result.began_ns, ahead);
  shift(result.ended_ns, ahead);
  for (auto& knock : result.knocks.list) {
    shift(knock.before_ns, ahead);
    shift(knock.after_ns, ahead);
  }
  return result;
}

HoldResult on_our_clock(HoldResult result, Duration ahead) {
  for (auto& connection : result.connections) {
    for (auto* stamp : {&connection.opened_ns, &connection.last_reply_ns,
                        &connection.first_unanswered_ns, &connection.ended_ns}) {
      shift(*stamp, ahead);
    }
    for (auto& stall : connection.stalls) {
      shift(stall.from_ns, ahead);
      shift(stall.to_ns, ahead);
    }
  }
  return result;
}

}  // namespace bench
