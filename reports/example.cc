#include "reports/example.h"

#include <array>

#include "reports/conclude.h"

namespace reports {
namespace {

constexpr std::array arms{"direct", "iptables_pod_ip", "iptables_cluster_ip", "ebpf_cluster_ip"};

base::Machine machine() {
  return {.kernel = "6.1.0-25-amd64",
          .kernel_build = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.106-3 (2024-08-26)",
          .architecture = "x86_64",
          .os = "Debian GNU/Linux 12 (bookworm)",
          .cpu_model = "Example CPU 3000",
          .cpus = 2,
          .smt = false,
          .memory_bytes = 25'000'000'000,
          .clocksource = "tsc",
          .virtualisation = "kvm",
          .cpu_governor = "",
          .congestion_control = "bbr",
          .boot_id = "0f0e0d0c-1111-2222-3333-444455556666",
          .mitigations = {{"spectre_v2", "Mitigation: Retpolines"}}};
}

Difference difference(std::string base_arm, double percent) {
  return {.base_arm = std::move(base_arm),
          .percent = percent,
          .interval_percent = Interval{.lower = percent - 0.7, .upper = percent + 0.8},
          .blocks = 12};
}

void add_estimates(Report& report, const std::string& arm, const std::string& workload, double p50,
                   const std::optional<Difference>& against) {
  const auto add = [&](std::string metric, Unit unit, double value) -> Estimate& {
    return report.estimates.emplace_back(Estimate{.arm = arm,
                                                  .workload = workload,
                                                  .metric = std::move(metric),
                                                  .unit = unit,
                                                  .value = value,
                                                  .interval = Interval{value * 0.99, value * 1.01},
                                                  .blocks = 12});
  };
  add("latency.p50", Unit::ns, p50).difference = against;
  add("latency.p90", Unit::ns, p50 * 1.25);
  add("latency.p99", Unit::ns, p50 * 2.5);
  add("rate", Unit::per_second, 0.95e9 / p50);
  if (workload == "tcp_crr") add("connect.p50", Unit::ns, p50 * 0.6);
  auto& cpu = add("cpu_per_request", Unit::ns, p50 * 0.8);
  if (against) {
    cpu.difference = against;
    cpu.difference->percent /= 2;
    cpu.difference->interval_percent =
        Interval{.lower = cpu.difference->percent - 0.4, .upper = cpu.difference->percent + 0.5};
  }
}

std::vector<Turn> order(bool reversed) {
  std::vector<Turn> turns;
  for (const auto* workload : {"tcp_rr", "tcp_crr"}) {
    for (const auto* arm : arms) turns.push_back({.arm = arm, .workload = workload});
  }
  std::vector<Turn> all = turns;
  if (reversed) all.assign(turns.rbegin(), turns.rend());
  for (auto turn = turns.rbegin(); turn != turns.rend(); ++turn) {
    all.push_back({.arm = turn->arm, .workload = turn->workload, .pass = 2});
  }
  return all;
}

void add_block(Report& report, BlockState state) {
  const int index = static_cast<int>(report.blocks.size());
  const std::int64_t start = 1'000'000'000'000 + index * 6'000'000'000LL;
  Block block{.index = index, .state = state, .start_ns = start, .end_ns = start + 5'900'000'000};
  block.noise = {.probes = 16,
                 .max_gap_ns = 420'000,
                 .lost_share = 0.021,
                 .lost_share_cpu = 1,
                 .steal_share = 0.01,
                 .cpu_pressure = 0.4,
                 .memory_pressure = 0.0,
                 .io_pressure = 0.001,
                 .softnet_drops = 0};
  if (state == BlockState::disturbed) {
    block.noise.max_gap_ns = 31'000'000;
    block.noise.lost_share = 0.31;
    block.reason = base::disturbance(block.noise, base::NoiseLimits{});
  }
  block.order = order(index % 2 == 1);
  for (std::size_t i = 0; i < block.order.size(); ++i) {
    const auto& turn = block.order[i];
    const bool crr = turn.workload == "tcp_crr";
    const auto position = static_cast<int>(i);
    Sample sample{.arm = turn.arm,
                  .workload = turn.workload,
                  .block = index,
                  .position = position,
                  .pass = turn.pass,
                  .start_ns = start + position * 360'000'000LL,
                  .end_ns = start + position * 360'000'000LL + 300'000'000,
                  .requests = crr ? 6'200u : 21'000u,
                  .rate_per_second = crr ? 20'666.7 : 70'000.0,
                  .latency_mean_ns = crr ? 47'000.0 : 13'900.0,
                  .latency_p50_ns = crr ? 45'000 : 13'100,
                  .latency_p90_ns = crr ? 56'000 : 16'400,
                  .latency_p99_ns = crr ? 110'000 : 33'000,
                  .connect_p50_ns = crr ? std::optional<std::uint64_t>(27'000) : std::nullopt,
                  .client_cpu_per_request_ns = 6'000.0,
                  .server_cpu_per_request_ns = 5'000.0,
                  .cpu_per_request_ns = 11'000.0,
                  .utilisation = 0.93,
                  .littles_law_residual = 0.004,
                  .answered_by = {{"2", crr ? 6'200u : 21'000u}},
                  .series_row = report.samples.size()};
    // Both turns of one arm in one block, to be seen in the footnotes.
    sample.generator_limited = index == 1 && crr && turn.arm == "direct";
    report.samples.push_back(std::move(sample));
  }
  report.blocks.push_back(std::move(block));
}

Report start_of_a_report() {
  Report report;
  report.stackbench_version = "0.1.0";
  report.question = "What does a Service cost, against dialling the pod itself?";
  report.target = "lab";
  report.target_facts = {{"congestion_control", "cubic"}, {"mtu", 1500}};
  report.scenario = {.file = "scenarios/kpr.yaml",
                     .overrides = {"blocks=12"},
                     .resolved = {{"question", report.question}, {"blocks", 12}}};
  report.command_line = {"stackbench", "run", "scenarios/kpr.yaml", "--set", "blocks=12"};
  report.started = {.wall = "2025-03-01T12:00:00Z", .monotonic_ns = 999'000'000'000};
  report.machine = machine();
  report.environments = {
      {.name = "iptables",
       .datapath = "iptables",
       .addresses = {{"pod/web-0", "10.244.2.2"}, {"service/web", "10.96.0.10"}},
       .facts = {{"rules", 12}}},
      {.name = "ebpf_socket", .datapath = "ebpf_socket", .addresses = {}, .facts = {{"hooks", 4}}},
      {.name = "nftables",
       .datapath = "nftables",
       .skipped = "nft 1.0.6 has no support for this kernel's vmap"}};
  report.workloads = {{.name = "tcp_rr", .summary = "closed loop, 1 connection, spin, 300ms"},
                      {.name = "tcp_crr", .summary = "closed loop, 1 connection, block, 300ms"}};
  const std::map<std::string, std::vector<std::string>> endpoints{
      {"tcp_rr", {"10.244.2.2:7001", "10.244.2.3:7001"}},
      {"tcp_crr", {"10.244.2.2:7002", "10.244.2.3:7002"}}};
  report.arms = {{.name = "direct", .dial = "pod/web", .endpoints = endpoints},
                 {.name = "iptables_pod_ip",
                  .environment = "iptables",
                  .dial = "pod/web",
                  .endpoints = endpoints,
                  .base_arm = "direct"},
                 {.name = "iptables_cluster_ip",
                  .environment = "iptables",
                  .dial = "service/web",
                  .base_arm = "iptables_pod_ip"},
                 {.name = "nftables_cluster_ip",
                  .environment = "nftables",
                  .dial = "service/web",
                  .skipped = "its environment is not there"},
                 {.name = "ebpf_cluster_ip",
                  .environment = "ebpf_socket",
                  .dial = "service/web",
                  .base_arm = "iptables_pod_ip"}};
  report.plan = {.order_seed = 1,
                 .blocks = 12,
                 .client_cpu = 0,
                 .server_cpu = 1,
                 .controller_cpu = 1,
                 .expected_ns = 96'000'000'000};
  return report;
}

void add_expectations(Report& report) {
  report.expectations = {
      {.text = "latency.p50 of ebpf_cluster_ip at most +5% of iptables_pod_ip (tcp_rr)",
       .metric = "latency.p50",
       .workload = "tcp_rr",
       .arm = "ebpf_cluster_ip",
       .relative_to = "iptables_pod_ip",
       .verdict = Verdict::pass,
       .sentence = "It is +0.9 % [+0.2, +1.7] over 12 blocks, surely below +5 %.",
       .estimate = 0.9,
       .interval = Interval{.lower = 0.2, .upper = 1.7},
       .p = 0.000244,
       .p_adjusted = 0.00073,
       .blocks = 12},
      {.text = "latency.p50 of iptables_cluster_ip at most +5% of iptables_pod_ip (tcp_crr)",
       .metric = "latency.p50",
       .workload = "tcp_crr",
       .arm = "iptables_cluster_ip",
       .relative_to = "iptables_pod_ip",
       .verdict = Verdict::fail,
       .sentence = "It is +14.1 % [+13.4, +14.9] over 12 blocks, surely above +5 %.",
       .estimate = 14.1,
       .interval = Interval{.lower = 13.4, .upper = 14.9},
       .p = 0.000244,
       .p_adjusted = 0.00073,
       .blocks = 12},
      {.text = "rate of ebpf_cluster_ip at least 20000/s (tcp_crr)",
       .metric = "rate",
       .workload = "tcp_crr",
       .arm = "ebpf_cluster_ip",
       .verdict = Verdict::inconclusive,
       .sentence = "It is 20.9 k/s [19.7 k/s, 22.2 k/s] over 12 blocks, which cannot tell; 31 "
                   "blocks would.",
       .estimate = 20'900,
       .interval = Interval{.lower = 19'700, .upper = 22'200},
       .p = 0.21,
       .p_adjusted = 0.21,
       .detectable_percent = 6.2,
       .blocks_needed = 31,
       .blocks = 12}};
}

// As if its environments had been filled: one path that grows and one that does not.
void add_growth(Report& report) {
  const auto add = [&](const std::string& arm, std::string path, GrowthLaw law, double per_thousand,
                       std::int64_t load_ns) {
    Growth growth{
        .path = std::move(path),
        .workload = "tcp_crr",
        .metric = "connect.p50",
        .law = law,
        .sentence = fmt::format("connect.p50 from 1 to 10001 Services: {}", base::enum_name(law)),
        .per_thousand_ns = per_thousand,
        .per_thousand_interval = Interval{per_thousand - 300, per_thousand + 280},
        .at_none_ns = 27'000,
        .explained = 0.98,
        .blocks = 12};
    for (const int loaded : {1, 5'001, 10'001}) {
      growth.points.push_back({.arm = arm,
                               .environment = "iptables",
                               .loaded = loaded,
                               .value_ns = 27'000 + per_thousand * loaded / 1'000,
                               .load_ns = load_ns * loaded,
                               .kernel_memory_bytes = 5'000 * loaded});
    }
    report.growth.push_back(std::move(growth));
  };
  add("iptables_cluster_ip", "iptables service/web", GrowthLaw::grows, 15'500, 150'000);
  add("ebpf_cluster_ip", "ebpf_socket service/web", GrowthLaw::flat, 20, 3'000);
}

void add_events(Report& report) {
  EventRecord unready{.arm = "iptables_cluster_ip",
                      .workload = "tcp_crr",
                      .kind = "unready",
                      .pod = "web-0",
                      .at_ns = 200'000'000,
                      .invocations = 10,
                      .judged_by = "receiver",
                      .stale_median_ns = 21'300'000,
                      .stale_max_ns = 48'000'000,
                      .stale_error_ns = 4'100'000,
                      .programmed_median_ns = 25'200'000,
                      .programmed_max_ns = 51'000'000,
                      .flows_held = 40,
                      .flows_moved = 38};
  report.events.push_back(unready);
  EventRecord ready{.arm = "iptables_cluster_ip",
                    .workload = "tcp_crr",
                    .kind = "ready",
                    .pod = "web-0",
                    .at_ns = 700'000'000,
                    .invocations = 10,
                    .programmed_median_ns = 24'000'000,
                    .programmed_max_ns = 30'000'000,
                    .reached_median_ns = 26'500'000,
                    .reached_max_ns = 33'000'000,
                    .reached_error_ns = 3'900'000};
  report.events.push_back(ready);
  auto kill = unready;
  kill.kind = "kill";
  kill.pod = "web-1";
  kill.at_ns = 1'000'000'000;
  kill.judged_by = "sender";
  kill.failed = {{"refused", 412}, {"reset", 3}};
  kill.others_moved = 1;
  report.events.push_back(kill);
  kill.arm = "ebpf_cluster_ip";
  kill.failed = {{"refused", 335}};
  kill.stale_median_ns = 180'000;
  report.events.push_back(kill);
}

void add_checks(Report& report) {
  const auto add = [&](std::string arm, std::string observed, std::string sentence) {
    report.checks.push_back({.name = "translated_at",
                             .arm = std::move(arm),
                             .verdict = Verdict::pass,
                             .sentence = std::move(sentence),
                             .observed = std::move(observed),
                             .evidence = {{"to_service", 0}, {"to_backend", 6'200}}});
  };
  add("iptables_cluster_ip", "netfilter",
      "Every packet left the pod for the Service and reached the backend: translated on the node.");
  add("ebpf_cluster_ip", "socket",
      "No packet left the pod for the Service: translated in "
      "connect(2).");
}

base::Histogram histogram(std::uint64_t centre) {
  base::Histogram made;
  made.prepare();
  for (std::uint64_t i = 0; i < 300; ++i) made.record(centre + i * 10);
  return made;
}

}  // namespace

Report example_report() {
  Report report = start_of_a_report();
  report.complete = true;
  report.ended = {.wall = "2025-03-01T12:01:30Z", .monotonic_ns = 1'089'000'000'000};
  add_block(report, BlockState::warm_up);
  add_block(report, BlockState::kept);
  add_block(report, BlockState::disturbed);
  for (int i = 0; i < 4; ++i) add_block(report, BlockState::kept);
  report.noise = summarise_noise(report.blocks, {});
  add_estimates(report, "direct", "tcp_rr", 12'300, std::nullopt);
  add_estimates(report, "iptables_pod_ip", "tcp_rr", 13'110, difference("direct", 6.5));
  add_estimates(report, "iptables_cluster_ip", "tcp_rr", 13'900,
                difference("iptables_pod_ip", 6.1));
  add_estimates(report, "ebpf_cluster_ip", "tcp_rr", 13'230, difference("iptables_pod_ip", 0.9));
  add_estimates(report, "direct", "tcp_crr", 38'200, std::nullopt);
  add_estimates(report, "iptables_pod_ip", "tcp_crr", 44'100, difference("direct", 15.4));
  add_estimates(report, "iptables_cluster_ip", "tcp_crr", 50'300,
                difference("iptables_pod_ip", 14.1));
  add_estimates(report, "ebpf_cluster_ip", "tcp_crr", 45'400, difference("iptables_pod_ip", 2.9));
  add_growth(report);
  add_events(report);
  add_expectations(report);
  add_checks(report);
  report.probes = {{.name = "translation", .events = 12'345, .ns_per_event = 87.0}};
  report.histograms = {{.arm = "direct", .workload = "tcp_rr", .latency = histogram(12'000)},
                       {.arm = "direct",
                        .workload = "tcp_crr",
                        .latency = histogram(38'000),
                        .connect = histogram(22'000)}};
  const std::string sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
  report.series = {
      {.name = sha256 + ".ndjson", .sha256 = sha256, .bytes = 4, .rows = report.samples.size()}};
  report.conclusion = conclude(report);
  return report;
}

Report example_stream_report() {
  Report report = start_of_a_report();
  report.complete = true;
  report.ended = {.wall = "2025-03-01T12:00:40Z", .monotonic_ns = 1'039'000'000'000};
  report.environments.clear();
  report.arms.erase(report.arms.begin() + 2, report.arms.end());
  report.workloads = {
      {.name = "tcp_stream", .summary = "as fast as it goes, 1 connection, 300ms, 128KiB each"},
      {.name = "udp_stream", .summary = "open loop at 20000/s, 4 connections, 300ms, 1200B each"}};
  report.blocks.push_back({.index = 0, .state = BlockState::kept});
  report.noise = summarise_noise(report.blocks, {});
  for (const auto& arm : report.arms) {
    const bool base = !arm.base_arm;
    const auto add = [&](std::string workload, std::string metric, Unit unit, double value) {
      report.estimates.push_back(
          {.arm = arm.name,
           .workload = std::move(workload),
           .metric = std::move(metric),
           .unit = unit,
           .value = value,
           .interval = Interval{value * 0.99, value * 1.01},
           .blocks = 12,
           .difference = base ? std::nullopt : std::optional(difference("direct", 3))});
    };
    add("tcp_stream", "throughput", Unit::bytes_per_second, base ? 2.5e9 : 2.4e9);
    add("tcp_stream", "cpu_per_gb", Unit::ns_per_gb, base ? 4.5e8 : 4.6e8);
    add("udp_stream", "rate", Unit::per_second, 20'000);
    add("udp_stream", "cpu_per_request", Unit::ns, base ? 9'100 : 9'400);
    add("udp_stream", "jitter", Unit::ns, base ? 2'300 : 2'400);
    report.samples.push_back({.arm = arm.name,
                              .workload = "tcp_stream",
                              .requests = 5'700,
                              .stream = StreamSample{.bytes = 750'000'000,
                                                     .bytes_per_second = 2.5e9,
                                                     .client_cpu_per_gb_ns = 2.5e8,
                                                     .server_cpu_per_gb_ns = 2e8,
                                                     .cpu_per_gb_ns = 4.5e8,
                                                     .bytes_per_skb = 46'500,
                                                     .interface = "eth0",
                                                     .offloads = {"tso", "gso"}}});
    report.samples.push_back({.arm = arm.name,
                              .workload = "udp_stream",
                              .requests = base ? 6'000U : 5'994U,
                              .datagrams = DatagramSample{.sent = 7'000,
                                                          .received = base ? 7'000U : 6'993U,
                                                          .lost = base ? 0U : 7U,
                                                          .reordered = base ? 0U : 2U,
                                                          .jitter_mean_ns = 2'300,
                                                          .jitter_max_ns = 2'900}});
    if (!base) {
      report.samples.back().errors = {{"lost", 7}};
      report.samples.back().drops = {{"NETFILTER_DROP in nft_do_chain", 7}};
    }
  }
  report.drop_watch.watched = true;
  report.conclusion = conclude(report);
  return report;
}

Report example_partial_report() {
  Report report = start_of_a_report();
  report.signal = 2;
  report.ended = {.wall = "2025-03-01T12:00:10Z", .monotonic_ns = 1'009'000'000'000};
  add_block(report, BlockState::warm_up);
  add_block(report, BlockState::kept);
  report.noise = summarise_noise(report.blocks, {});
  report.errors = {{.kind = TroubleKind::interrupted, .message = "Stopped on request."}};
  report.conclusion = conclude(report);
  return report;
}

}  // namespace reports
