#include "reports/prometheus.h"

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <map>
#include <tuple>
#include <vector>

#include <fmt/format.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include "reports/prometheus_families.h"

namespace reports {
namespace {

constexpr double ns = 1e-9;  // in seconds

// What a figure in that unit is to be multiplied by, to be in seconds, bytes or nothing.
double in_base_unit(Unit unit) {
  switch (unit) {
    case Unit::ns:
      return ns;
    case Unit::ns_per_gb:
      return ns * 1e-9;
    case Unit::per_second:
    case Unit::bytes_per_second:
      return 1;
  }
  return 1;
}

using Labels = std::vector<std::pair<std::string, std::string>>;

// Families in the order they were first named.
class Exposition {
 public:
  explicit Exposition(std::string scenario) : scenario_(std::move(scenario)) {}

  void gauge(const std::string& name, const std::string& help, const Labels& labels, double value) {
    const auto [place, fresh] = index_.try_emplace(name, families_.size());
    if (fresh) {
      families_.push_back({.name = "stackbench_" + name,
                           .help = help,
                           .type = prometheus::MetricType::Gauge,
                           .metric = {}});
    }
    prometheus::ClientMetric metric;
    metric.label.push_back({.name = "scenario", .value = scenario_});
    for (const auto& [key, text] : labels) metric.label.push_back({.name = key, .value = text});
    metric.gauge.value = value;
    families_[place->second].metric.push_back(std::move(metric));
  }

  // One gauge a verdict, of which the one that is true is 1: a label that changed with the verdict
  // would leave the old series standing.
  void state(const std::string& name, const std::string& help, const Labels& labels,
             std::optional<Verdict> verdict) {
    for (const auto& [one, word] : base::EnumNames<Verdict>::names) {
      auto with_verdict = labels;
      with_verdict.emplace_back("verdict", word);
      gauge(name, help, with_verdict, verdict == one ? 1 : 0);
    }
  }

  [[nodiscard]] std::vector<prometheus::MetricFamily> take() { return std::move(families_); }

 private:
  std::string scenario_;
  std::map<std::string, std::size_t> index_;
  std::vector<prometheus::MetricFamily> families_;
};

// What a metric of the report is called here: "latency.p50" is latency_seconds{percentile="50"}.
// Not `quantile`, which Prometheus keeps for its summaries.
struct MetricName {
  std::string name;
  std::string help;
  Labels labels = {};
};

MetricName name_of(const std::string& metric) {
  const auto dot = metric.find(".p");
  const auto stem = metric.substr(0, dot);
  if (dot != std::string::npos) {
    return {.name = stem + "_seconds",
            .help = stem == "connect" ? "Connect to established, centre of the blocks' percentiles."
                                      : "Latency of a request, centre of the blocks' percentiles.",
            .labels = {{"percentile", metric.substr(dot + 2)}}};
  }
  if (metric == "rate") {
    return {.name = "requests_per_second", .help = "Completed requests per second."};
  }
  if (metric == "cpu_per_request") {
    return {
        .name = "cpu_per_request_seconds",
        .help = "CPU of client and server together for one request, borrowed softirq included."};
  }
  if (metric == "proxy_cpu_per_request") {
    return {.name = "proxies_cpu_per_request_seconds",
            .help =
                "CPU of the proxies on the way together for one request, borrowed softirq "
                "included."};
  }
  if (metric == "throughput") {
    return {.name = "throughput_bytes_per_second",
            .help = "Bytes of a stream acknowledged, per second."};
  }
  if (metric == "cpu_per_gb") {
    return {.name = "cpu_per_byte_seconds",
            .help = "CPU of client and server together for one byte, borrowed softirq included."};
  }
  if (metric == "jitter") {
    return {.name = "jitter_seconds",
            .help = "Interarrival jitter (RFC 3550) at a flow's end, mean over flows."};
  }
  return {.name = metric, .help = "A metric of the scenario."};
}

// Seconds since 1970 of an RFC 3339 stamp in UTC; nothing where it is none.
std::optional<double> unix_time(const std::string& wall) {
  std::tm parts{};
  const char* const end = ::strptime(wall.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  if (end == nullptr || *end != '\0') return std::nullopt;
  return static_cast<double>(::timegm(&parts));
}

void add_run(Exposition& out, const Report& report) {
  out.gauge("run_info", "The last run: who measured, where.",
            {{"version", report.stackbench_version},
             {"target", report.target},
             {"kernel", report.machine.kernel},
             {"cpu_model", report.machine.cpu_model}},
            1);
  // Of a run that goes on there is neither yet.
  const bool concluded = !report.conclusion.sentence.empty();
  if (const auto ended = unix_time(report.ended.wall); ended && concluded) {
    out.gauge("run_end_timestamp_seconds", "When the last run ended.", {}, *ended);
  }
  out.gauge("run_duration_seconds", "How long it took.", {},
            static_cast<double>(report.ended.monotonic_ns - report.started.monotonic_ns) * ns);
  out.gauge("run_complete", "0 where it ended before its last block.", {}, report.complete ? 1 : 0);
  if (concluded) {
    out.gauge("run_exit_code",
              "0 pass, 1 fail, 3 inconclusive, 4 too disturbed, 5 workload errors.", {},
              report.conclusion.exit_code);
  }
  out.state("run_state", "The verdict on the whole run.", {}, report.conclusion.verdict);
  out.gauge("run_blocks", "Blocks by what became of them.", {{"state", "kept"}}, report.noise.kept);
  out.gauge("run_blocks", "", {{"state", "disturbed"}}, report.noise.disturbed);
}

void add_bounds(Exposition& out, const std::string& name, const std::string& help, Labels labels,
                const Interval& interval, double unit) {
  labels.emplace_back("bound", "lower");
  out.gauge(name, help, labels, interval.lower * unit);
  labels.back().second = "upper";
  out.gauge(name, help, labels, interval.upper * unit);
}

void add_estimates(Exposition& out, const Report& report) {
  for (const auto& estimate : report.estimates) {
    auto metric = name_of(estimate.metric);
    const double unit = in_base_unit(estimate.unit);
    Labels labels{{"arm", estimate.arm}, {"workload", estimate.workload}};
    labels.insert(labels.end(), metric.labels.begin(), metric.labels.end());
    out.gauge(metric.name, metric.help, labels, estimate.value * unit);
    if (estimate.interval) {
      add_bounds(out, "interval_" + metric.name, "The ends of its interval.", labels,
                 *estimate.interval, unit);
    }
  }
  for (const auto& estimate : report.estimates) {
    if (!estimate.difference) continue;
    const auto& difference = *estimate.difference;
    const Labels labels{{"arm", estimate.arm},
                        {"base_arm", difference.base_arm},
                        {"workload", estimate.workload},
                        {"metric", estimate.metric}};
    constexpr double percent = 0.01;
    out.gauge("difference_ratio", "Against the base arm, block by block: 0.05 is 5 % more.", labels,
              difference.percent * percent);
    if (difference.interval_percent) {
      add_bounds(out, "interval_difference_ratio", "The ends of its interval.", labels,
                 *difference.interval_percent, percent);
    }
  }
}

void add_verdicts(Exposition& out, const Report& report) {
  for (const auto& expectation : report.expectations) {
    out.state("expectation_state", "Whether it holds.", {{"expectation", expectation.text}},
              expectation.verdict);
  }
  for (const auto& check : report.checks) {
    out.state(
        "check_state", "Whether the claim is true.",
        {{"check", check.name}, {"arm", check.arm}, {"workload", check.workload.value_or("")}},
        check.verdict);
  }
}

// Of streams, over all invocations: what the requests' counters do not say.
void add_streams(Exposition& out, const Report& report) {
  struct Skbs {
    double bytes = 0;
    int samples = 0;
  };
  std::map<std::pair<std::string, std::string>, Skbs> skbs;
  std::map<std::pair<std::string, std::string>, DatagramSample> datagrams;
  for (const auto& sample : report.samples) {
    const auto where = std::pair(sample.arm, sample.workload);
    if (sample.stream && sample.stream->bytes_per_skb) {
      auto& mean = skbs[where];
      mean.bytes += *sample.stream->bytes_per_skb;
      ++mean.samples;
    }
    if (!sample.datagrams) continue;
    auto& all = datagrams[where];
    all.sent += sample.datagrams->sent;
    all.lost += sample.datagrams->lost;
    all.overflowed += sample.datagrams->overflowed;
    all.reordered += sample.datagrams->reordered;
    all.duplicates += sample.datagrams->duplicates;
  }
  for (const auto& [where, mean] : skbs) {
    out.gauge("skb_bytes", "Mean size of what left by the client's interface during a stream.",
              {{"arm", where.first}, {"workload", where.second}}, mean.bytes / mean.samples);
  }
  for (const auto& [where, all] : datagrams) {
    for (const auto& [state, count] :
         {std::pair("sent", all.sent), std::pair("lost", all.lost),
          std::pair("overflowed", all.overflowed), std::pair("reordered", all.reordered),
          std::pair("duplicate", all.duplicates)}) {
      out.gauge(
          "run_datagrams",
          "Datagrams of all invocations by what became of them; overflowed ones are lost too.",
          {{"arm", where.first}, {"workload", where.second}, {"state", state}},
          static_cast<double>(count));
    }
  }
}

void add_mesh(Exposition& out, const Report& report) {
  if (!report.mesh) return;
  for (const auto& cost : report.mesh->costs) {
    const Labels labels{{"workload", cost.workload},
                        {"of", std::string(base::enum_name(cost.of))},
                        {"arm", cost.arm},
                        {"base_arm", cost.base_arm}};
    out.gauge("mesh_cost_cpu_per_request_seconds",
              "By how much more CPU a request takes with proxies, or with encryption between them.",
              labels, cost.cpu_per_request_ns * ns);
    if (!cost.interval) continue;
    for (const auto& [bound, value] :
         {std::pair("lower", cost.interval->lower), std::pair("upper", cost.interval->upper)}) {
      auto ends = labels;
      ends.emplace_back("bound", bound);
      out.gauge("mesh_cost_interval_cpu_per_request_seconds", "The ends of its interval.", ends,
                value * ns);
    }
  }
  for (const auto& proxy : report.mesh->proxies) {
    const Labels labels{{"workload", proxy.workload},
                        {"arm", proxy.arm},
                        {"pod", proxy.pod},
                        {"side", proxy.of_client ? "client" : "server"}};
    out.gauge("proxy_cpu_per_request_seconds",
              "CPU of one proxy's cgroup for one request, borrowed softirq included.", labels,
              proxy.cpu_per_request_ns * ns);
    out.gauge("proxy_cpu_per_1000_rps", "CPUs one proxy keeps busy at 1,000 requests a second.",
              labels, proxy.vcpu_per_1000_rps);
    out.gauge("proxy_memory_bytes", "Proportional set size of one proxy.", labels,
              static_cast<double>(proxy.memory_bytes));
    out.gauge("proxy_handshakes_per_connection",
              "TLS handshakes with the other proxy for each connection of the client's.", labels,
              proxy.handshakes_per_connection);
  }
}

void add_rotation(Exposition& out, const RotationRecord& rotation) {
  for (const auto& step : rotation.steps) {
    const Labels labels{{"environment", step.environment},
                        {"number", std::to_string(step.number)},
                        {"step", step.step}};
    const auto with = [&](std::string name, std::string value) {
      auto more = labels;
      more.emplace_back(std::move(name), std::move(value));
      return more;
    };
    for (const auto& traffic : step.traffic) {
      const auto its = with("traffic", traffic.name);
      out.gauge("rotation_answered_requests", "Until the next step.", its,
                static_cast<double>(traffic.answered));
      out.gauge("rotation_longest_gap_seconds", "The longest time between two answers.", its,
                static_cast<double>(traffic.longest_gap_ns) * ns);
      for (const auto& [what, count] : traffic.failed) {
        auto more = its;
        more.emplace_back("class", what);
        out.gauge("rotation_failed_requests", "By class; absent where none failed.", more,
                  static_cast<double>(count));
      }
      if (!traffic.went_on) continue;
      out.gauge("rotation_connections_went_on",
                "Kept connections from before the step that went on to its end, at least.", its,
                static_cast<double>(*traffic.went_on));
    }
    for (const auto& renewal : step.renewals) {
      if (!renewal.shown_ns) continue;
      out.gauge("rotation_shown_seconds",
                "From the write of a new certificate until its proxy showed it; absent: never.",
                with("pod", renewal.pod), static_cast<double>(*renewal.shown_ns) * ns);
    }
  }
  for (const auto& one : rotation.expired) {
    out.gauge("certificate_expired", "1: a proxy showed this certificate when it was over.",
              {{"environment", one.environment}, {"pod", one.pod}, {"identity", one.identity}}, 1);
  }
}

void add_traffic(Exposition& out, const Report& report) {
  std::map<std::pair<std::string, std::string>, std::uint64_t> requests;
  std::map<std::tuple<std::string, std::string, std::string>, std::uint64_t> failed;
  for (const auto& sample : report.samples) {
    requests[{sample.arm, sample.workload}] += sample.requests;
    for (const auto& [kind, count] : sample.errors) {
      failed[{sample.arm, sample.workload, kind}] += count;
    }
  }
  for (const auto& [where, count] : requests) {
    out.gauge("run_requests", "Requests answered in the windows of all invocations.",
              {{"arm", where.first}, {"workload", where.second}}, static_cast<double>(count));
  }
  for (const auto& [where, count] : failed) {
    out.gauge("run_failed_requests", "Requests that failed, by class; absent where none did.",
              {{"arm", std::get<0>(where)},
               {"workload", std::get<1>(where)},
               {"class", std::get<2>(where)}},
              static_cast<double>(count));
  }
  for (const auto& probe : report.probes) {
    out.gauge("probe_cost_seconds", "What an eBPF program of the run cost, an event.",
              {{"probe", probe.name}}, probe.ns_per_event * ns);
  }
}

void add_events(Exposition& out, const Report& report) {
  for (const auto& event : report.events) {
    const Labels labels{{"arm", event.arm},
                        {"workload", event.workload},
                        {"event", event.kind},
                        {"pod", event.pod},
                        // A pod may have the same happen to it twice.
                        {"at", fmt::format("{:g}s", static_cast<double>(event.at_ns) * ns)}};
    const auto time = [&](const std::string& name, const std::string& help,
                          const std::optional<std::int64_t>& value) {
      if (value) out.gauge(name, help, labels, static_cast<double>(*value) * ns);
    };
    time("event_stale_seconds",
         "From the write to the last new connection or datagram that still went to a backend that "
         "left, middle of the invocations.",
         event.stale_median_ns);
    time("event_stale_max_seconds", "The longest of them.", event.stale_max_ns);
    time("event_stale_error_seconds", "How much longer it may have lasted unseen.",
         event.stale_error_ns);
    time("event_published_seconds", "From the write until a watch saw the EndpointSlice.",
         event.published_median_ns);
    time("event_followed_seconds",
         "From that until traffic followed it: the latency of programming, middle of the "
         "invocations.",
         event.followed_median_ns);
    time("event_followed_max_seconds", "The longest of them.", event.followed_max_ns);
    time("event_programmed_seconds", "From the write until the datapath had it.",
         event.programmed_median_ns);
    time(
        "event_reached_seconds",
        "From the write to the first new connection or datagram at the backend that joined, middle "
        "of the invocations.",
        event.reached_median_ns);
    time("event_reached_max_seconds", "The longest of them.", event.reached_max_ns);
    time("event_reached_error_seconds", "How much sooner it may have been, unseen.",
         event.reached_error_ns);
    for (const auto& [kind, count] : event.failed) {
      auto with_class = labels;
      with_class.emplace_back("class", kind);
      out.gauge("event_failed_requests",
                "Requests that failed due to it, of an invocation; absent where none did.",
                with_class, static_cast<double>(count) / std::max(event.invocations, 1));
    }
    if (event.flows_held > 0) {
      out.gauge("event_flows_moved_ratio", "Of the kept flows of the backend that left.", labels,
                static_cast<double>(event.flows_moved) / static_cast<double>(event.flows_held));
    }
    out.gauge("event_others_moved_flows", "Kept flows of backends that had not left and moved.",
              labels, static_cast<double>(event.others_moved));
  }
}

void add_bgp_faults(Exposition& out, const Report& report) {
  for (const auto& fault : report.bgp_faults) {
    const auto range = [&](const std::string& name, const std::string& help,
                           const std::optional<Range>& its, double unit) {
      if (!its) return;
      for (const auto& [bound, value] :
           {std::pair("least", its->least), std::pair("middle", its->middle),
            std::pair("most", its->most)}) {
        out.gauge(name, help,
                  {{"fault", fault.kind}, {"node", std::to_string(fault.node)}, {"bound", bound}},
                  static_cast<double>(value) * unit);
      }
    };
    range("bgp_fault_downtime_seconds",
          "From a session's end until it was established again; absent where it never was.",
          downtime_of(fault), ns);
    range("bgp_fault_stale_route_seconds",
          "From the fault until the router's kernel used the node's route no longer.",
          stale_of(fault), ns);
    range("bgp_fault_loss_seconds", "For how long packets were lost.", loss_of(fault), ns);
    range("bgp_fault_lost_packets", "Packets that nobody answered.", lost_of(fault), 1);
  }
}

void add_policy(Exposition& out, const PolicyRecord& policy) {
  for (const auto& matrix : policy.matrices) {
    const Labels labels{{"environment", matrix.environment}};
    for (const auto& [state, count] :
         {std::pair("allowed", matrix.allowed), std::pair("denied", matrix.denied),
          std::pair("unknown", matrix.unknown), std::pair("different", matrix.different),
          std::pair("no_telling", matrix.no_telling)}) {
      auto with_state = labels;
      with_state.emplace_back("state", state);
      out.gauge("policy_cells",
                "Pairs of pods and ports by what policies specify; different: what was seen is not "
                "that.",
                with_state, static_cast<double>(count));
    }
    out.gauge("policy_settled",
              "Whether two sweeps in a row agreed before the deadline: 0 where they never did.",
              labels, matrix.settled ? 1 : 0);
    if (matrix.settled) {
      out.gauge("policy_settled_seconds",
                "From the last policy's write until two sweeps in a row agreed; absent where they "
                "never did.",
                labels, static_cast<double>(matrix.settled_ns) * ns);
    }
    out.gauge("policy_sweep_seconds", "How long it took to probe all of them.", labels,
              static_cast<double>(matrix.sweep_ns) * ns);
  }
  for (const auto& cases : policy.cases) {
    for (const auto& [state, count] :
         {std::pair("tried", cases.systematic + cases.random), std::pair("failed", cases.failed)}) {
      out.gauge("policy_cases",
                "Sets of policies made for the purpose; failed: not enforced as specified.",
                {{"environment", cases.environment}, {"state", state}}, count);
    }
  }
  for (const auto& window : policy.windows) {
    const Labels labels{{"environment", window.environment},
                        {"change", window.change},
                        {"write", window.what},
                        {"direction", window.direction}};
    if (window.window) {
      out.gauge("policy_window_seconds",
                "From a write to the last packet that contradicts it, middle of the repetitions.",
                labels, window.window->median_ns * ns);
      if (window.window->interval) {
        add_bounds(out, "interval_policy_window_seconds", "The ends of its interval.", labels,
                   *window.window->interval, ns);
      }
      out.gauge("policy_window_max_seconds",
                "The longest of them; at least that where policy_window_unended is not 0.", labels,
                window.window->max_ns * ns);
      out.gauge("policy_window_unended",
                "Repetitions in which packets contradicted the write to the end of the watch.",
                labels, window.unended);
    }
    for (const auto& [state, count] :
         {std::pair("judged", window.repetitions), std::pair("excluded", window.excluded)}) {
      auto with_state = labels;
      with_state.emplace_back("state", state);
      out.gauge("policy_window_repetitions",
                "By whether they count; excluded: no telling when the last such packet was.",
                with_state, count);
    }
    out.gauge("policy_window_error_seconds", "The most by which an end may be off.", labels,
              static_cast<double>(window.error_ns) * ns);
    out.gauge("policy_contradicting_packets", "In all repetitions.", labels,
              static_cast<double>(window.packets));
  }
  for (const auto& pod : policy.new_pods) {
    const Labels labels{{"environment", pod.environment}, {"pod", pod.pod}};
    out.gauge("policy_new_pod_forbidden_packets",
              "That arrived from or at a pod while it was new, in all repetitions.", labels,
              static_cast<double>(pod.packets));
    for (const auto& [state, count] :
         {std::pair("made", pod.repetitions), std::pair("unseen", pod.unseen),
          std::pair("elsewhere", pod.elsewhere)}) {
      auto with_state = labels;
      with_state.emplace_back("state", state);
      out.gauge("policy_new_pod_repetitions",
                "How often it was made; unseen: times when nothing shows that a forbidden packet "
                "would have been seen; elsewhere: it had another address than was knocked at.",
                with_state, count);
    }
    if (pod.reached_ns) {
      out.gauge("policy_new_pod_reached_seconds",
                "From the write that makes a pod to the first packet to it that is allowed, middle "
                "of the repetitions.",
                labels, *pod.reached_ns * ns);
    }
  }
  for (const auto& flows : policy.established) {
    for (const auto& [end, count] : flows.ends) {
      out.gauge("policy_established_flows",
                "Flows that were open when a write forbade them, by what became of them.",
                {{"environment", flows.environment},
                 {"change", flows.change},
                 {"write", flows.what},
                 {"kind", flows.kind},
                 {"end", end}},
                count);
    }
  }
}

void add_bgp_scale(Exposition& out, const std::vector<BgpScalePoint>& points) {
  for (const auto& point : points) {
    const Labels labels{{"services", std::to_string(point.services)},
                        {"change", point.announced ? "announced" : "withdrawn"}};
    const auto with = [&labels](const std::string& key, const std::string& value) {
      auto more = labels;
      more.emplace_back(key, value);
      return more;
    };
    for (const auto& [event, time] : {std::pair("first_update", point.first_update_ns),
                                      std::pair("last_update", point.all_updates_ns),
                                      std::pair("last_update_to_sink", point.sink_updates_ns),
                                      std::pair("last_told", point.all_told_ns),
                                      std::pair("last_route", point.all_routes_ns)}) {
      if (!time) continue;
      out.gauge("bgp_scale_seconds",
                "From the write that announces, or withdraws, all addresses to an event; middle of "
                "the rounds.",
                with("event", event), static_cast<double>(*time) * ns);
    }
    for (const auto& [span, latency] :
         {std::pair("write_to_update", point.update), std::pair("update_to_told", point.told),
          std::pair("update_to_route", point.route), std::pair("write_to_route", point.reached)}) {
      if (!latency) continue;
      for (const auto& [percentile, time] :
           {std::pair("50", std::optional(latency->p50_ns)), std::pair("99", latency->p99_ns),
            std::pair("100", std::optional(latency->max_ns))}) {
        if (!time) continue;
        auto more = with("span", span);
        more.emplace_back("percentile", percentile);
        out.gauge("bgp_scale_prefix_seconds", "Of each prefix.", more,
                  static_cast<double>(*time) * ns);
      }
    }
    for (const auto& [who, cost] :
         {std::pair("peer", point.peer), std::pair("speakers", point.speakers),
          std::pair("ours", point.ours)}) {
      out.gauge("bgp_scale_cpu_seconds", "CPU time of a burst, middle of the rounds.",
                with("process", who), static_cast<double>(cost.cpu_ns) * ns);
      out.gauge("bgp_scale_memory_bytes", "Proportional set size after it.", with("process", who),
                static_cast<double>(cost.memory_bytes));
    }
  }
}

void add_plaintext_windows(Exposition& out, const std::vector<PlaintextWindowRecord>& records) {
  for (const auto& record : records) {
    const Labels labels{
        {"environment", record.environment}, {"change", record.change}, {"pod", record.pod}};
    for (const auto& [what, which] : {std::pair("answered", &PlaintextRepetition::answered),
                                      std::pair("readable", &PlaintextRepetition::readable)}) {
      auto with = labels;
      with.emplace_back("plaintext", what);
      std::uint64_t times = 0;
      for (const auto& one : record.repetitions) times += (one.*which).times;
      const auto longest = longest_of(record, which);
      out.gauge("plaintext_requests",
                "That were answered though they must not be, or that the mesh's client sent and a "
                "capture could read, in all repetitions.",
                with, static_cast<double>(times));
      out.gauge("plaintext_window_seconds", "The longest time of that in a repetition.", with,
                static_cast<double>(longest.length_ns) * ns);
      out.gauge("plaintext_window_error_seconds", "By which it may be off, either way.", with,
                static_cast<double>(longest.error_ns) * ns);
      out.gauge("plaintext_window_unended", "Whether it was so to the end of the watch.", with,
                longest.closed ? 0 : 1);
    }
    std::int64_t outage = 0;
    for (const auto& one : record.repetitions) outage = std::max(outage, one.outage_ns);
    out.gauge("mesh_change_outage_seconds",
              "The longest time without an answer within the mesh while it changed.", labels,
              static_cast<double>(outage) * ns);
  }
}

}  // namespace

std::string prometheus_scenario(const Report& report) {
  auto name = std::filesystem::path(report.scenario.file).stem().string();
  for (char& letter : name) {
    const bool plain = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
                       (letter >= '0' && letter <= '9') || letter == '.' || letter == '-';
    if (!plain) letter = '_';
  }
  return name.empty() ? "unnamed" : name;
}

std::vector<prometheus::MetricFamily> prometheus_families(const Report& report) {
  Exposition out(prometheus_scenario(report));
  add_run(out, report);
  add_estimates(out, report);
  add_verdicts(out, report);
  add_streams(out, report);
  add_traffic(out, report);
  add_events(out, report);
  add_bgp_scale(out, report.bgp_scale);
  add_mesh(out, report);
  add_plaintext_windows(out, report.plaintext_windows);
  if (report.rotation) add_rotation(out, *report.rotation);
  if (report.policy) add_policy(out, *report.policy);
  add_bgp_faults(out, report);
  return out.take();
}

std::string render_prometheus(const Report& report) {
  return prometheus::TextSerializer().Serialize(prometheus_families(report));
}

}  // namespace reports
