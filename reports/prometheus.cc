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

#include "reports/exposition.h"
#include "reports/prometheus_families.h"

namespace reports {
namespace {

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

void add_estimates(Exposition& out, const Report& report) {
  for (const auto& estimate : report.estimates) {
    auto metric = name_of(estimate.metric);
    const double unit = in_base_unit(estimate.unit);
    Labels labels{{"arm", estimate.arm}, {"workload", estimate.workload}};
    labels.insert(labels.end(), metric.labels.begin(), metric.labels.end());
    out.gauge(metric.name, metric.help, labels, estimate.value * unit);
    if (estimate.interval) {
      out.bounds("interval_" + metric.name, "The ends of its interval.", labels, *estimate.interval,
                 unit);
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
      out.bounds("interval_difference_ratio", "The ends of its interval.", labels,
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
  expose_bgp(out, report);
  expose_mesh(out, report);
  expose_policy(out, report);
  return out.take();
}

std::string render_prometheus(const Report& report) {
  return prometheus::TextSerializer().Serialize(prometheus_families(report));
}

}  // namespace reports
