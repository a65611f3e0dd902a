#include "stackbench/report_builder.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <iterator>

#include <fmt/chrono.h>

#include "reports/conclude.h"
#include "stackbench/event_report.h"
#include "stackbench/growth.h"
#include "stackbench/mesh_report.h"
#include "stackbench/seen_translated.h"

namespace stackbench {
namespace {

constexpr double level = 0.95;

reports::Stamp stamp_now() {
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  return {
      fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(now))),
      base::monotonic_now().ns};
}

// "closed loop, 1 connection, client spin, servers block, 300ms"; of a stream also the size of its
// writes or datagrams.
std::string summary_of(const bench::WorkloadSpec& spec) {
  using Time = base::StringScalar<base::Duration>;
  const auto without_rate = bench::is_stream(spec.kind) ? "as fast as it goes" : "closed loop";
  auto text =
      fmt::format("{}, {} connection{}{}, client {}, servers {}, {}",
                  spec.rate ? fmt::format("open loop at {}",
                                          base::StringScalar<base::RequestRate>::format(*spec.rate))
                            : std::string(without_rate),
                  spec.connections, spec.connections == 1 ? "" : "s",
                  spec.keep_alive == std::optional(false) ? " for one request each" : "",
                  spec.wait ? base::enum_name(*spec.wait) : std::string_view("default wait"),
                  base::enum_name(server_wait(spec)), Time::format(spec.duration));
  if (spec.streams.value_or(1) > 1) text += fmt::format(", {} streams each", *spec.streams);
  if (spec.generators > 1) text += fmt::format(", {} generators", spec.generators);
  if (bench::is_stream(spec.kind)) {
    text += fmt::format(", {} each", base::StringScalar<base::Bytes>::format(request_size(spec)));
  }
  if (spec.kind == bench::WorkloadKind::tls_handshake) {
    text += fmt::format(
        ", {}{}",
        spec.session_resumption == bench::Switch::on ? "resumed sessions" : "whole handshakes",
        spec.client_certificate.value_or(true) ? ", with client certificates" : "");
  }
  if (spec.gso) text += fmt::format(", gso {}", base::enum_name(*spec.gso));
  return text;
}

std::map<std::string, std::uint64_t> classes_of(const bench::TrafficErrors& errors) {
  std::map<std::string, std::uint64_t> classes;
  const auto json = base::to_json(errors);
  for (const auto& [name, count] : json.items()) {
    if (count.get<std::uint64_t>() > 0) classes[name] = count.get<std::uint64_t>();
  }
  return classes;
}

// When the events of an invocation happened, for its line in the series.
base::Json stamps_of(const checks::Outcomes& outcomes) {
  auto all = base::Json::array();
  for (const auto& event : outcomes.events) {
    base::Json one = {{"kind", base::enum_name(event.what.kind)},
                      {"pod", event.what.pod},
                      {"happened_ns", event.what.happened_ns},
                      {"sent_ns", event.what.sent_ns},
                      {"acked_ns", event.what.acked_ns}};
    if (event.what.published_ns) one["published_ns"] = *event.what.published_ns;
    if (event.what.programmed_ns) one["programmed_ns"] = *event.what.programmed_ns;
    if (event.stale) one["stale_ns"] = event.stale->ns;
    if (event.reached) one["reached_ns"] = event.reached->ns;
    all.push_back(std::move(one));
  }
  return all;
}

reports::Unit unit_of(Metric metric) {
  switch (metric) {
    case Metric::rate:
      return reports::Unit::per_second;
    case Metric::throughput:
      return reports::Unit::bytes_per_second;
    case Metric::cpu_per_gb:
      return reports::Unit::ns_per_gb;
    default:
      return reports::Unit::ns;
  }
}

std::optional<reports::Interval> interval_as(const base::stats::Effect& effect,
                                             double (*scale)(double)) {
  if (!effect.interval) return std::nullopt;
  return reports::Interval{scale(effect.interval->lower), scale(effect.interval->upper),
                           effect.interval->level};
}

double as_value(double logarithm) { return std::exp(logarithm); }
double as_percent(double logarithm) { return 100 * std::expm1(logarithm); }

// The judged expectation as the report keeps it: the sign turned back where it was turned to test.
reports::Expectation record_of(const ExpectSpec& spec, const JudgedExpectation& judged,
                               std::string workload) {
  reports::Expectation record{.text = judged.text,
                              .metric = std::string(base::enum_name(spec.metric)),
                              .workload = std::move(workload),
                              .arm = spec.arm,
                              .relative_to = spec.relative_to,
                              .verdict = judged.verdict,
                              .sentence = judged.sentence};
  if (!judged.judged) return record;
  auto effect = judged.judgement.effect;
  // An absolute bound was divided out of nothing: differences are the values' own logarithms.
  const auto scale = spec.relative_to ? as_percent : as_value;
  if (judged.higher_is_tested) {
    effect.estimate = -effect.estimate;
    if (effect.interval) {
      effect.interval = base::stats::Interval{-effect.interval->upper, -effect.interval->lower,
                                              effect.interval->level};
    }
  }
  record.estimate = scale(effect.estimate);
  record.interval = interval_as(effect, scale);
  record.blocks = judged.judgement.blocks;
  const auto& raw = judged.judgement.evidence;
  const auto& adjusted = judged.judgement.adjusted;
  const auto claim = [&](const base::stats::Evidence& evidence) {
    switch (judged.judgement.verdict) {
      case base::stats::Verdict::regression:
        return evidence.p_worse;
      case base::stats::Verdict::improvement:
        return evidence.p_better;
      default:
        return evidence.p_equivalent;
    }
  };
  record.p = claim(raw);
  record.p_adjusted = claim(adjusted);
  // Of an absolute bound there is nothing to be a percentage of; the sentence has the value.
  if (judged.judgement.detectable && spec.relative_to) {
    const double sign = judged.higher_is_tested ? -1 : 1;
    record.detectable_percent = as_percent(sign * *judged.judgement.detectable);
  }
  record.blocks_needed = judged.judgement.blocks_needed;
  return record;
}

}  // namespace

ReportBuilder::ReportBuilder(const Plan& plan, std::string file, std::vector<std::string> overrides,
                             std::vector<std::string> command_line, std::string_view target)
    : plan_(&plan) {
  report_.stackbench_version = STACKBENCH_VERSION;
  report_.question = plan.scenario.question;
  report_.target = std::string(target);
  report_.scenario = {std::move(file), std::move(overrides), base::to_json(plan.scenario)};
  report_.command_line = std::move(command_line);
  report_.started = stamp_now();
  report_.machine = base::collect_machine();
  report_.plan = {.order_seed = plan.scenario.seed,
                  .blocks = plan.scenario.blocks,
                  .client_cpu = plan.cores.client,
                  .server_cpu = plan.cores.server,
                  .controller_cpu = {},
                  .expected_ns = estimate_duration(plan, load_overheads(target), target).count(),
                  .clock_offset_ns = 0,
                  .clock_uncertainty_ns = 0};
  for (const auto& workload : plan.workloads) {
    report_.workloads.push_back(
        {workload.name, summary_of(workload.spec), base::to_json(workload.spec)});
  }
}

base::Result<> ReportBuilder::add_environments(const Session& session) {
  for (const auto& environment : session.environments()) {
    reports::EnvironmentRecord record;
    record.name = environment.name;
    record.datapath = base::enum_name(environment.datapath);
    const auto family = plan_->scenario.family;
    for (const auto& pod : environment.pods) {
      record.addresses["pod/" + pod.name] = pod.address(family).to_string();
    }
    for (const auto& node : environment.nodes) {
      record.addresses[fmt::format("node/{}", node.number)] = node.address(family).to_string();
    }
    for (const auto& [name, service] : environment.services) {
      record.addresses["service/" + name] = service.address(family).to_string();
      for (const auto& address : service.load_balancer_addresses) {
        if (address.family == family)
          record.addresses["load_balancer/" + name] = address.to_string();
      }
    }
    report_.environments.push_back(std::move(record));
  }
  for (const auto& arm : plan_->arms) {
    reports::ArmRecord record;
    record.name = arm.name;
    record.environment = plan_->environments[arm.environment].name;
    record.dial = base::StringScalar<DialTarget>::format(arm.dial);
    if (arm.base) record.base_arm = plan_->arms[*arm.base].name;
    for (const auto& workload : plan_->workloads) {
      ASSIGN_OR_RETURN(const auto dialled, session.endpoints(arm, workload.spec.kind));
      for (const auto& endpoint : dialled) {
        record.endpoints[workload.name].push_back(endpoint.to_string());
      }
    }
    report_.arms.push_back(std::move(record));
  }
  for (const auto& skipped : plan_->skipped_environments) {
    report_.environments.push_back({.name = skipped.name,
                                    .datapath = std::string(base::enum_name(skipped.datapath)),
                                    .skipped = skipped.reason});
  }
  for (const auto& skipped : plan_->skipped_arms) {
    report_.arms.push_back({.name = skipped.name,
                            .environment = skipped.environment,
                            .dial = base::StringScalar<DialTarget>::format(skipped.dial),
                            .skipped = skipped.reason});
  }
  return {};
}

void ReportBuilder::add_facts(base::Json facts) {
  for (auto& environment : report_.environments) {
    if (environment.skipped) continue;
    environment.facts = facts["environments"][environment.name];
    if (const auto seen = seen_translated(*plan_, report_.checks, environment.name);
        !seen.empty()) {
      environment.facts["seen_translated"] = seen;
    }
    const auto hooks = environment.facts.find("hooks");
    if (hooks == environment.facts.end()) continue;
    for (const auto& [hook, cost] : hooks->items()) {
      const auto events = cost.at("run_count").get<std::uint64_t>();
      const auto time_ns = cost.at("run_time_ns").get<std::uint64_t>();
      if (events == 0) continue;
      add_probe({.name = fmt::format("{} of {}", hook, environment.name),
                 .events = events,
                 .ns_per_event = static_cast<double>(time_ns) / static_cast<double>(events),
                 .lost = 0});
    }
  }
  facts.erase("environments");
  report_.target_facts = std::move(facts);
}

void ReportBuilder::add_check(std::string name, std::string arm,
                              std::optional<std::string> workload, checks::Finding finding) {
  report_.checks.push_back({.name = std::move(name),
                            .arm = std::move(arm),
                            .workload = std::move(workload),
                            .verdict = finding.verdict,
                            .sentence = std::move(finding.sentence),
                            .observed = std::move(finding.observed),
                            .evidence = std::move(finding.evidence)});
}

base::Result<> ReportBuilder::add_block(const Block& block, std::span<const Sample> samples) {
  const auto state = block.index == 0 ? reports::BlockState::warm_up
                     : block.kept     ? reports::BlockState::kept
                                      : reports::BlockState::disturbed;
  reports::Block record{.index = block.index,
                        .state = state,
                        .reason = block.disturbed,
                        .start_ns = block.start.ns,
                        .end_ns = block.end.ns,
                        .noise = block.noise,
                        .order = {}};
  // Before anything is noted: a block is in the report whole, or not at all.
  const auto first_row = rows_;
  for (const auto& sample : samples) {
    if (series_ == nullptr) break;
    RETURN_IF_ERROR(series_->append({{"arm", plan_->arms[sample.arm].name},
                                     {"workload", plan_->workloads[sample.workload].name},
                                     {"block", sample.block},
                                     {"position", sample.position},
                                     {"client", base::to_json(sample.client)},
                                     {"servers", base::to_json(sample.servers)},
                                     {"events", stamps_of(sample.outcomes)}}));
    ++rows_;
  }
  const auto arms = static_cast<int>(plan_->arms.size());
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const auto& sample = samples[i];
    const auto& client = sample.client;
    const auto& arm = plan_->arms[sample.arm].name;
    const auto& workload = plan_->workloads[sample.workload].name;
    const int pass = sample.position < arms ? 1 : 2;
    record.order.push_back({arm, workload, pass});
    reports::Sample summary{.arm = arm,
                            .workload = workload,
                            .block = sample.block,
                            .position = sample.position,
                            .pass = pass,
                            .start_ns = client.start_ns,
                            .end_ns = client.end_ns,
                            .requests = client.requests,
                            .rate_per_second = client.rate_per_second,
                            .latency_mean_ns = client.latency.mean(),
                            .latency_p50_ns = client.latency.honest_quantile(0.5),
                            .latency_p90_ns = client.latency.honest_quantile(0.9),
                            .latency_p99_ns = client.latency.honest_quantile(0.99),
                            .connect_p50_ns = client.connect.honest_quantile(0.5),
                            .lateness_p50_ns = client.lateness.honest_quantile(0.5),
                            .lateness_p99_ns = client.lateness.honest_quantile(0.99),
                            .client_cpu_per_request_ns = client_cpu_per_request(sample),
                            .server_cpu_per_request_ns = server_cpu_per_request(sample),
                            .cpu_per_request_ns = {},
                            .utilisation = client.utilisation,
                            .littles_law_residual = {},
                            .generator_limited = client.generator_limited,
                            .littles_law_violated = client.littles_law_violated,
                            .rate_capped = client.rate_capped,
                            .oversubscribed = plan_->oversubscribed(plan_->arms[sample.arm]),
                            .involuntary_context_switches = client.involuntary_context_switches,
                            .tcp_retransmits = client.tcp_retransmits,
                            .errors = classes_of(client.errors),
                            .failed_by_events = sample.outcomes.excused,
                            .answered_by = client.answered_by,
                            .series_row = {}};
    if (const auto cpu = sample.values.find(Metric::cpu_per_request); cpu != sample.values.end()) {
      summary.cpu_per_request_ns = cpu->second;
    }
    if (client.tls) {
      summary.tls = {.handshakes = client.tls->handshakes,
                     .resumed = client.tls->resumed,
                     .version = client.tls->version,
                     .cipher = client.tls->cipher,
                     .client_certificate = client.tls->client_certificate};
    }
    if (client.stream) {
      const auto cpu = sample.values.find(Metric::cpu_per_gb);
      summary.stream = {
          .bytes = client.stream->bytes,
          .bytes_per_second = client.stream->bytes_per_second,
          .client_cpu_per_gb_ns = client_cpu_per_gb(sample),
          .server_cpu_per_gb_ns = server_cpu_per_gb(sample),
          .cpu_per_gb_ns = cpu == sample.values.end() ? std::nullopt : std::optional(cpu->second),
          .bytes_per_skb = client.stream->bytes_per_skb,
          .interface = client.stream->interface,
          .offloads = client.stream->offloads};
    }
    if (client.datagrams) {
      const auto& seen = *client.datagrams;
      summary.datagrams = {.sent = seen.sent,
                           .received = seen.received,
                           .lost = seen.lost,
                           .overflowed = seen.overflowed,
                           .reordered = seen.reordered,
                           .duplicates = seen.duplicates,
                           .jitter_mean_ns = seen.jitter_mean_ns,
                           .jitter_max_ns = seen.jitter_max_ns};
    }
    summary.proxies = proxies_of(sample);
    if (client.loop == "closed" && !client.stream)
      summary.littles_law_residual = client.littles_law_residual;
    if (series_ != nullptr) summary.series_row = first_row + i;
    report_.samples.push_back(std::move(summary));
    spans_.emplace_back(sample.begun, sample.ended);
    if (state != reports::BlockState::kept) continue;
    auto& merged = merged_[{sample.workload, sample.arm}];
    merged.arm = arm;
    merged.workload = workload;
    merged.latency.merge(client.latency);
    if (!bench::keeps_connections(plan_->workloads[sample.workload].spec)) {
      if (!merged.connect) merged.connect.emplace();
      merged.connect->merge(client.connect);
    }
  }
  report_.blocks.push_back(std::move(record));
  return {};
}

void ReportBuilder::add_estimates(const Measurements& measured) {
  const auto kept = measured.kept_blocks();
  for (std::size_t workload = 0; workload < plan_->workloads.size(); ++workload) {
    for (std::size_t arm = 0; arm < plan_->arms.size(); ++arm) {
      for (const auto metric : metrics_of(plan_->workloads[workload].spec)) {
        const auto series = block_logs(measured.samples, kept, arm, workload, metric);
        const auto effect = base::stats::hodges_lehmann(series.logs, level);
        if (!effect) continue;  // no block has this metric
        reports::Estimate estimate{.arm = plan_->arms[arm].name,
                                   .workload = plan_->workloads[workload].name,
                                   .metric = std::string(base::enum_name(metric)),
                                   .unit = unit_of(metric),
                                   .value = as_value(effect->estimate),
                                   .interval = interval_as(*effect, as_value),
                                   .blocks = static_cast<int>(series.logs.size()),
                                   .difference = {}};
        if (const auto base_arm = plan_->arms[arm].base) {
          const auto differences = paired_differences(
              series, block_logs(measured.samples, kept, *base_arm, workload, metric));
          if (const auto against = base::stats::hodges_lehmann(differences, level)) {
            estimate.difference = {.base_arm = plan_->arms[*base_arm].name,
                                   .percent = as_percent(against->estimate),
                                   .interval_percent = interval_as(*against, as_percent),
                                   .blocks = static_cast<int>(differences.size())};
          }
        }
        report_.estimates.push_back(std::move(estimate));
      }
    }
  }
}

void ReportBuilder::add_drops(probes::Drops drops, std::optional<std::string> seen_at) {
  auto& watch = report_.drop_watch;
  watch.seen_at = std::move(seen_at);
  watch.watched = !watch.reason.has_value();
  watch.seen += drops.drops.size();
  watch.lost += drops.lost;
  watch.unparsed += drops.unparsed;
  std::ranges::move(drops.drops, std::back_inserter(drops_));
}

void ReportBuilder::no_drop_watch(const base::Error& error) {
  report_.drop_watch.watched = false;
  report_.drop_watch.reason = error.message;
}

// A sample that lost something gets what the kernel dropped from before its first connection to
// after its last. One invocation runs at a time, so what was dropped then was of its making; both
// stamps are on the controller's clock.
void ReportBuilder::join_drops() {
  for (std::size_t i = 0; i < report_.samples.size(); ++i) {
    auto& sample = report_.samples[i];
    if (sample.failed() == 0 && sample.tcp_retransmits == 0) continue;
    for (const auto& drop : drops_) {
      if (drop.time_ns < spans_[i].first.ns || drop.time_ns > spans_[i].second.ns) continue;
      const auto where = drop.where.empty() ? std::string() : " in " + drop.where;
      ++sample.drops[drop.reason + where];
    }
  }
}

base::Result<> ReportBuilder::add_growth(const Measurements& measured) {
  const auto kept = measured.kept_blocks();
  for (const auto& series : growth_series(*plan_)) {
    ASSIGN_OR_RETURN(auto growth, fit_growth(*plan_, series, measured.samples, kept));
    if (!growth) continue;
    if (plan_->cores.oversubscribed()) {
      growth->law = reports::GrowthLaw::invalid;
      growth->sentence = fmt::format("not judged, client and server share CPU {}; {}",
                                     plan_->cores.client, growth->sentence);
    }
    for (auto& point : growth->points) {
      const auto environment = std::ranges::find(report_.environments, point.environment,
                                                 &reports::EnvironmentRecord::name);
      if (environment == report_.environments.end()) continue;
      add_load_cost(environment->facts, growth->by, point);
    }
    report_.growth.push_back(std::move(*growth));
  }
  return {};
}

reports::Report ReportBuilder::so_far(const Measurements& measured) const {
  ReportBuilder copy = *this;
  copy.add_estimates(measured);
  copy.report_.events = event_records(*plan_, measured);
  copy.report_.noise = reports::summarise_noise(copy.report_.blocks, {});
  copy.report_.ended = stamp_now();
  return std::move(copy.report_);
}

base::Result<reports::Report> ReportBuilder::finish(const Measurements& measured,
                                                    const base::NoiseLimits& limits,
                                                    bool complete) && {
  add_estimates(measured);
  RETURN_IF_ERROR(add_growth(measured));
  report_.events = event_records(*plan_, measured);
  report_.mesh = mesh_record(*plan_, measured);
  auto judged_by_all = judge_events(*plan_, measured);
  std::ranges::move(judge_handshakes(*plan_, measured), std::back_inserter(judged_by_all));
  for (auto& check : judged_by_all) {
    add_check(std::string(base::enum_name(check.kind)), plan_->arms[check.arm].name,
              plan_->workloads[check.workload].name, std::move(check.finding));
  }
  join_drops();
  ASSIGN_OR_RETURN(const auto judged,
                   judge_expectations(*plan_, measured.samples, measured.kept_blocks()));
  for (std::size_t i = 0; i < judged.size(); ++i) {
    const auto& spec = plan_->scenario.expect[i];
    std::string workload = plan_->workloads.front().name;
    if (spec.workload) workload = std::string(base::enum_name(*spec.workload));
    report_.expectations.push_back(record_of(spec, judged[i], std::move(workload)));
  }
  for (auto& [where, histogram] : merged_) report_.histograms.push_back(std::move(histogram));
  report_.noise = reports::summarise_noise(report_.blocks, limits);
  if (report_.noise.invalid) {
    // The estimates stay to be seen; nothing is concluded from them.
    for (auto& expectation : report_.expectations) {
      if (expectation.verdict == reports::Verdict::skip) continue;
      expectation.verdict = reports::Verdict::invalid;
      expectation.sentence = "not judged, the machine was too disturbed; " + expectation.sentence;
    }
    for (auto& growth : report_.growth) {
      growth.law = reports::GrowthLaw::invalid;
      growth.sentence = "not judged, the machine was too disturbed; " + growth.sentence;
    }
  }
  report_.complete = complete;
  report_.ended = stamp_now();
  report_.conclusion = reports::conclude(report_);
  return std::move(report_);
}

}  // namespace stackbench
