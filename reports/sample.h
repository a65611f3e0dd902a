// What a report keeps of a run's traffic: its blocks and the summary of every invocation.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/describe.h"
#include "base/histogram.h"
#include "base/noise.h"
#include "base/scalar.h"

namespace reports {

enum class BlockState {
  kept,
  warm_up,    // the first one: caches and CPU frequency settle; never counted
  disturbed,  // the noise guard saw something; replaced by another
};

// One invocation's place in a block.
struct Turn {
  std::string arm = {};
  std::string workload = {};
  int pass = 1;  // 1: the random order, 2: its reverse

  bool operator==(const Turn&) const = default;
};

template <typename Visit, base::SelfOf<Turn> Self>
void describe(Visit& visit, Self& self) {
  visit("arm", self.arm, {.doc = "The arm.", .required = true});
  visit("workload", self.workload, {.doc = "The workload.", .required = true});
  visit("pass", self.pass,
        {.doc = "1 in the random order, 2 in its reverse.", .at_least = 1, .at_most = 2});
}

// Every arm twice.
struct Block {
  int index = 0;  // from 0, in the order of time; a replacement is a block of its own
  BlockState state = BlockState::kept;
  std::optional<std::string> reason = {};  // why it is disturbed
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
  base::NoiseReading noise = {};
  std::vector<Turn> order = {};
};

template <typename Visit, base::SelfOf<Block> Self>
void describe(Visit& visit, Self& self) {
  visit("index", self.index, {.doc = "Its number in the run.", .required = true});
  visit("state", self.state, {.doc = "Whether it counts.", .required = true});
  visit("reason", self.reason, {.doc = "Why it is disturbed."});
  visit("start_ns", self.start_ns, {.doc = "CLOCK_MONOTONIC."});
  visit("end_ns", self.end_ns, {.doc = "CLOCK_MONOTONIC."});
  visit("noise", self.noise, {.doc = "What the noise guard saw."});
  visit("order", self.order, {.doc = "Its invocations in the order they ran."});
}

// What a tcp_stream moved in its window. CPU times include borrowed softirq; a GB is 10^9 bytes.
struct StreamSample {
  std::uint64_t bytes = 0;
  double bytes_per_second = 0;
  std::optional<double> client_cpu_per_gb_ns = {};
  std::optional<double> server_cpu_per_gb_ns = {};
  std::optional<double> cpu_per_gb_ns = {};  // the total, which the gate uses
  std::optional<double> bytes_per_skb = {};
  std::string interface = {};
  std::vector<std::string> offloads = {};
};

template <typename Visit, base::SelfOf<StreamSample> Self>
void describe(Visit& visit, Self& self) {
  visit("bytes", self.bytes, {.doc = "Acknowledged in the window.", .required = true});
  visit("bytes_per_second", self.bytes_per_second, {.doc = "The same, per second."});
  visit("client_cpu_per_gb_ns", self.client_cpu_per_gb_ns,
        {.doc = "Client CPU for 10^9 bytes, includes borrowed softirq."});
  visit("server_cpu_per_gb_ns", self.server_cpu_per_gb_ns,
        {.doc = "Server CPU for 10^9 bytes, includes borrowed softirq."});
  visit("cpu_per_gb_ns", self.cpu_per_gb_ns, {.doc = "Total CPU: the one that gates."});
  visit("bytes_per_skb", self.bytes_per_skb,
        {.doc = "Mean of what left by the client's interface, where an skb counts as a packet."});
  visit("interface", self.interface, {.doc = "The one the client sent by."});
  visit("offloads", self.offloads, {.doc = "In force there: of tso, gso, gro."});
}

// The handshakes of a tls_handshake's window.
struct TlsSample {
  std::uint64_t handshakes = 0;
  std::uint64_t resumed = 0;
  std::string version = {};
  std::string cipher = {};
  bool client_certificate = false;
};

template <typename Visit, base::SelfOf<TlsSample> Self>
void describe(Visit& visit, Self& self) {
  visit("handshakes", self.handshakes, {.doc = "Completed in the window.", .required = true});
  visit("resumed", self.resumed, {.doc = "Of those, sessions that went on.", .required = true});
  visit("version", self.version, {.doc = "Of the first, such as TLSv1.3."});
  visit("cipher", self.cipher, {.doc = "Of the first."});
  visit("client_certificate", self.client_certificate, {.doc = "Whether the client showed one."});
}

// What became of a udp_stream's datagrams, warm-up included.
struct DatagramSample {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t lost = 0;
  std::uint64_t overflowed = 0;
  std::uint64_t reordered = 0;
  std::uint64_t duplicates = 0;
  double jitter_mean_ns = 0;
  double jitter_max_ns = 0;
};

template <typename Visit, base::SelfOf<DatagramSample> Self>
void describe(Visit& visit, Self& self) {
  visit("sent", self.sent, {.doc = "Datagrams sent.", .required = true});
  visit("received", self.received, {.doc = "Received, each counted once.", .required = true});
  visit("lost", self.lost, {.doc = "Sent and not received."});
  visit("overflowed", self.overflowed,
        {.doc = "Dropped at the servers' sockets: receivers too slow, not a path that loses."});
  visit("reordered", self.reordered, {.doc = "Came after one that was sent later (RFC 4737)."});
  visit("duplicates", self.duplicates, {.doc = "Came again."});
  visit("jitter_mean_ns", self.jitter_mean_ns,
        {.doc = "Interarrival jitter (RFC 3550) at the end, mean over flows."});
  visit("jitter_max_ns", self.jitter_max_ns, {.doc = "The same, of the worst flow."});
}

// What one proxy did in an invocation of an arm that has them.
struct ProxySample {
  std::string pod = {};
  bool of_client = false;
  std::optional<double> cpu_per_request_ns = {};
  std::int64_t memory_bytes = 0;
  std::uint64_t connections = 0;
  std::uint64_t handshakes = 0;
  std::uint64_t resumed = 0;
  std::uint64_t failed = 0;
};

template <typename Visit, base::SelfOf<ProxySample> Self>
void describe(Visit& visit, Self& self) {
  visit("pod", self.pod, {.doc = "The pod it is beside.", .required = true});
  visit("of_client", self.of_client, {.doc = "Beside the client; else beside a server."});
  visit("cpu_per_request_ns", self.cpu_per_request_ns,
        {.doc = "CPU of its cgroup in the window; absent where it was not read in time."});
  visit("memory_bytes", self.memory_bytes, {.doc = "Proportional set size afterwards."});
  visit("connections", self.connections,
        {.doc = "It took, of the application or of the other proxy, over the whole invocation."});
  visit("handshakes", self.handshakes, {.doc = "TLS handshakes with the other proxy."});
  visit("resumed", self.resumed, {.doc = "Of those, resumed sessions."});
  visit("failed", self.failed, {.doc = "Handshakes that came to nothing."});
}

// One invocation: a fresh process, fresh connections. A quantile is absent where too few requests
// stand behind it (base::Histogram::honest_quantile). CPU times include borrowed softirq.
struct Sample {
  std::string arm = {};
  std::string workload = {};
  int block = 0;
  int position = 0;  // in the block's order, from 0
  int pass = 1;
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
  std::uint64_t requests = 0;
  double rate_per_second = 0;
  double latency_mean_ns = 0;
  std::optional<std::uint64_t> latency_p50_ns = {};
  std::optional<std::uint64_t> latency_p90_ns = {};
  std::optional<std::uint64_t> latency_p99_ns = {};
  std::optional<std::uint64_t> connect_p50_ns = {};
  std::optional<std::uint64_t> lateness_p50_ns = {};  // open loop only
  std::optional<std::uint64_t> lateness_p99_ns = {};
  std::optional<double> client_cpu_per_request_ns = {};
  std::optional<double> server_cpu_per_request_ns = {};
  std::optional<double> cpu_per_request_ns = {};    // the total, which the gate uses
  double utilisation = 0;                           // of the generator's core
  std::optional<double> littles_law_residual = {};  // closed loop only
  bool generator_limited = false;
  bool littles_law_violated = false;
  bool rate_capped = false;     // the rate is that of a cap on connections, and no finding
  bool oversubscribed = false;  // more hot threads than cores: its latency does not gate
  std::uint64_t involuntary_context_switches = 0;
  std::uint64_t tcp_retransmits = 0;
  std::map<std::string, std::uint64_t> errors = {};  // by class; classes without any are left out
  // How many of them an event of the scenario accounts for: those that failed after the first.
  std::uint64_t failed_by_events = 0;
  std::map<std::string, std::uint64_t> answered_by = {};  // server identity -> requests
  // Packets the kernel dropped meanwhile, by reason and function; only where something was lost.
  std::map<std::string, std::uint64_t> drops = {};
  std::optional<StreamSample> stream = {};               // tcp_stream
  std::optional<DatagramSample> datagrams = {};          // udp_stream
  std::optional<TlsSample> tls = {};                     // tls_handshake
  std::optional<std::vector<ProxySample>> proxies = {};  // of an arm that has them
  std::optional<std::uint64_t> series_row = {};          // its line in the series file, from 0

  // Failed requests of every class.
  [[nodiscard]] std::uint64_t failed() const {
    std::uint64_t total = 0;
    for (const auto& [kind, count] : errors) total += count;
    return total;
  }
};

template <typename Visit, base::SelfOf<Sample> Self>
void describe(Visit& visit, Self& self) {
  visit("arm", self.arm, {.doc = "The arm.", .required = true});
  visit("workload", self.workload, {.doc = "The workload.", .required = true});
  visit("block", self.block, {.doc = "The block.", .required = true});
  visit("position", self.position, {.doc = "Its place in the block's order.", .required = true});
  visit("pass", self.pass,
        {.doc = "1 in the random order, 2 in its reverse.", .at_least = 1, .at_most = 2});
  visit("start_ns", self.start_ns, {.doc = "Start of the window, CLOCK_MONOTONIC."});
  visit("end_ns", self.end_ns, {.doc = "End of the window, CLOCK_MONOTONIC."});
  visit("requests", self.requests, {.doc = "Completed in the window.", .required = true});
  visit("rate_per_second", self.rate_per_second, {.doc = "Completed requests per second."});
  visit("latency_mean_ns", self.latency_mean_ns, {.doc = "Mean latency."});
  visit("latency_p50_ns", self.latency_p50_ns,
        {.doc = "Absent, like every quantile, where too few requests stand behind it."});
  visit("latency_p90_ns", self.latency_p90_ns, {.doc = "90th percentile."});
  visit("latency_p99_ns", self.latency_p99_ns, {.doc = "99th percentile."});
  visit("connect_p50_ns", self.connect_p50_ns, {.doc = "Median of connect to established."});
  visit("lateness_p50_ns", self.lateness_p50_ns, {.doc = "Actual minus intended send, median."});
  visit("lateness_p99_ns", self.lateness_p99_ns, {.doc = "The same, 99th percentile."});
  visit("client_cpu_per_request_ns", self.client_cpu_per_request_ns,
        {.doc = "Client CPU, includes borrowed softirq."});
  visit("server_cpu_per_request_ns", self.server_cpu_per_request_ns,
        {.doc = "Server CPU, includes borrowed softirq."});
  visit("cpu_per_request_ns", self.cpu_per_request_ns,
        {.doc = "Total CPU, of proxies too: the one that gates."});
  visit("utilisation", self.utilisation, {.doc = "Busy share of the generator's core."});
  visit("littles_law_residual", self.littles_law_residual,
        {.doc = "|mean latency x rate / concurrency - 1| of a closed loop."});
  visit("generator_limited", self.generator_limited,
        {.doc = "The generator, not the path, set the latency."});
  visit("littles_law_violated", self.littles_law_violated, {.doc = "The residual is over 2 %."});
  visit("rate_capped", self.rate_capped,
        {.doc = "A cap on connections, not the path, set the rate."});
  visit("oversubscribed", self.oversubscribed,
        {.doc = "More hot threads than cores: the latency does not gate."});
  visit("involuntary_context_switches", self.involuntary_context_switches,
        {.doc = "Times the hot thread was preempted."});
  visit("tcp_retransmits", self.tcp_retransmits, {.doc = "Segments sent again."});
  visit("errors", self.errors, {.doc = "Failed requests by class."});
  visit("failed_by_events", self.failed_by_events,
        {.doc = "How many of these an event must cost, for a backend left."});
  visit("answered_by", self.answered_by, {.doc = "Requests per server identity."});
  visit("drops", self.drops,
        {.doc = "Packets the kernel dropped meanwhile, by reason and function; only where requests "
                "failed or segments were sent again."});
  visit("stream", self.stream, {.doc = "What a tcp_stream moved."});
  visit("datagrams", self.datagrams, {.doc = "What became of a udp_stream's datagrams."});
  visit("tls", self.tls, {.doc = "The handshakes of a tls_handshake."});
  visit("proxies", self.proxies, {.doc = "What each proxy did, of an arm that has them."});
  visit("series_row", self.series_row, {.doc = "Its line in the series file, from 0."});
}

// Every kept invocation of an arm under a workload, merged: to look at, never to compare by.
struct MergedHistogram {
  std::string arm = {};
  std::string workload = {};
  base::Histogram latency = {};
  std::optional<base::Histogram> connect = {};
};

template <typename Visit, base::SelfOf<MergedHistogram> Self>
void describe(Visit& visit, Self& self) {
  visit("arm", self.arm, {.doc = "The arm.", .required = true});
  visit("workload", self.workload, {.doc = "The workload.", .required = true});
  visit("latency_ns", self.latency, {.doc = "Per request.", .required = true});
  visit("connect_ns", self.connect, {.doc = "Per connection, connect to established."});
}

// A file beside the report, in <report>.d/, named by the hash of its content.
struct SeriesFile {
  std::string name = {};    // "<sha256>.ndjson"
  std::string sha256 = {};  // of its content, hexadecimal: what sha256sum prints
  std::uint64_t bytes = 0;
  std::uint64_t rows = 0;  // lines, a JSON value each

  bool operator==(const SeriesFile&) const = default;
};

template <typename Visit, base::SelfOf<SeriesFile> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "File name in <report>.d.", .required = true});
  visit("sha256", self.sha256, {.doc = "Of its content.", .required = true});
  visit("bytes", self.bytes, {.doc = "Its size.", .required = true});
  visit("rows", self.rows,
        {.doc = "Its lines: one complete client result each.", .required = true});
}

}  // namespace reports

template <>
struct base::EnumNames<reports::BlockState> {
  static constexpr std::array names{
      std::pair{reports::BlockState::kept, std::string_view("kept")},
      std::pair{reports::BlockState::warm_up, std::string_view("warm_up")},
      std::pair{reports::BlockState::disturbed, std::string_view("disturbed")}};
};
